/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * fork.c: forks 500 times while other threads are in the middle of malloc and free.  The child allocates, frees blocks of
 * its parent and of the threads that it has no more, starts a thread, and exits.  A hang is ended by an alarm and fails.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

enum { FORKS = SANITIZED ? 20 : 500, THREADS = 3, KEPT = 200, ROOM = 600 };

static bool stop; /* atomic */

/* Blocks that a thread holds while others fork.  Each place is its thread's alone. */
static struct kept {
    void *blocks[KEPT]; /* atomic */
} kept[THREADS];

static size_t some_size(uint64_t *state)
{
    size_t kind = random_below(state, 100);
    return 16 + random_below(state, kind < 90 ? 600 : kind < 98 ? 10000 : kind < 99 ? 200000 : 1 << 20);
}

/* In the first word, the size; the rest is filled with its lowest byte. */
static void *make(uint64_t *state)
{
    size_t n = some_size(state);
    unsigned char *p = random_below(state, 8) ? malloc(n) : calloc(n, 1);
    if (p) {
        size_t most = n < 2000 ? n : 2000;
        memcpy(p, &n, sizeof n);
        memset(p + sizeof n, (int)(n & 0xff), most - sizeof n);
    }
    return p;
}
static bool whole(const void *p)
{
    size_t n;
    memcpy(&n, p, sizeof n);
    return n >= 16 && n <= (1 << 20) + 16 &&
           all_bytes((const char *)p + sizeof n, (n < 2000 ? n : 2000) - sizeof n, (unsigned char)(n & 0xff));
}

static void *busy(void *arg)
{
    struct kept *k = arg;
    uint64_t state = 1000 + (uint64_t)(k - kept);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        void **place = &k->blocks[random_below(&state, KEPT)];
        /* Taken out before it is freed, so that a child finds only blocks that are in use. */
        void *p = __atomic_exchange_n(place, NULL, __ATOMIC_ACQ_REL);
        free(p);
        __atomic_store_n(place, make(&state), __ATOMIC_RELEASE);
    }
    return NULL;
}

static void *thread_of_child(void *arg)
{
    uint64_t state = (uint64_t)(uintptr_t)arg | 1;
    void *blocks[100];
    bool good = true;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            good &= (blocks[i] = make(&state)) != NULL;
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            good &= blocks[i] && whole(blocks[i]);
            free(blocks[i]);
        }
    }
    return good ? arg : NULL;
}

/* What its parent's threads held: by a new thread, which may have the address of one of those, and whose first call this is. */
static void *free_theirs(void *arg)
{
    for (size_t t = 0; t < THREADS; t++)
        for (size_t i = 0; i < KEPT; i++) {
            void *p = __atomic_load_n(&kept[t].blocks[i], __ATOMIC_ACQUIRE);
            if (p && !whole(p))
                return NULL;
            free(p);
        }
    return arg;
}

static void in_child(int number, void **own)
{
    uint64_t state = 7 * (uint64_t)number + 1;
    void *blocks[ROOM];
    alarm(20);
    bool by_thread = number % 3 == 0 && !SANITIZED && !EMULATED; /* as below */
    if (by_thread) {
        pthread_t thread;
        void *result = NULL;
        if (pthread_create(&thread, NULL, free_theirs, own) || pthread_join(thread, &result) || !result)
            _exit(12);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = make(&state);
        if (!blocks[i])
            _exit(10);
    }
    for (size_t i = 0; i < KEPT; i++) {
        if (!whole(own[i]))
            _exit(11);
        free(own[i]);
    }
    if (!by_thread && !free_theirs(own))
        _exit(12);
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        if (!whole(blocks[i]))
            _exit(13);
        free(blocks[i]);
    }
    if (!SANITIZED && !EMULATED) { /* neither ThreadSanitizer nor qemu allows new threads here */
        pthread_t thread;
        void *result = NULL;
        if (pthread_create(&thread, NULL, thread_of_child, own) || pthread_join(thread, &result))
            _exit(14);
        if (!result)
            _exit(15);
    }
    if (SANITIZED) /* in an archive malloc_trim comes with malloc, which must be the sanitizer's own */
        hak_purge();
    else
        malloc_trim(0);
    for (int i = 0; i < 300; i++)
        free(make(&state));
    if (number % 10 == 0) { /* a grandchild */
        pid_t pid = fork();
        if (pid == 0) {
            alarm(20);
            for (int i = 0; i < 300; i++)
                free(make(&state));
            _exit(0);
        }
        int status = 1;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
            _exit(16);
    }
    if (number & 1)
        exit(0);
    _exit(0);
}

int main(void)
{
    static void *own[KEPT];
    pthread_t threads[THREADS];
    uint64_t state = 4711;
    int bad = 0, done = 0, shown = 0, forks = EMULATED ? FORKS / 10 : FORKS;
    tap_start();
    alarm(300);
    for (size_t i = 0; i < KEPT; i++)
        own[i] = make(&state);
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, busy, &kept[i])) {
            ok(0, "threads start");
            return tap_done();
        }
    for (int i = 0; i < forks; i++) {
        pid_t pid = fork();
        int status = -1;
        if (pid == 0)
            in_child(i, own);
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            status = -1;
        done++;
        if (status != 0) {
            bad++;
            if (shown++ < 10)
                note("fork %d: %s %d", i, WIFSIGNALED(status) ? "signal" : "exit status",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            if (bad >= 3)
                break;
        }
        /* Our own blocks change, too. */
        size_t place = random_below(&state, KEPT);
        bad += !whole(own[place]);
        free(own[place]);
        own[place] = make(&state);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (size_t t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        for (size_t i = 0; i < KEPT; i++) {
            bad += kept[t].blocks[i] && !whole(kept[t].blocks[i]);
            free(kept[t].blocks[i]);
        }
    }
    for (size_t i = 0; i < KEPT; i++)
        free(own[i]);
    ok(!bad && done == forks, "%d forks from a busy process", forks);
    return tap_done();
}
