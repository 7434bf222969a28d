/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * purge.c: idle memory is given back all the time, at a pace of a millisecond and on demand, while threads allocate, free
 * their own and each other's blocks, sleep, end and fork: no block loses a byte, calloc's are zero, in children too.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <sys/wait.h>

enum { THREADS = 3, SLOTS = 6000, SHARED = 512 };

static size_t spoilt, missing, dirty, forks, ends; /* atomic */
static int over;
static struct block { unsigned char *p; size_t n; } *shared[SHARED]; /* atomic: blocks on their way to another thread */

static void add(size_t *counter) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }

static struct block make(uint64_t *seed)
{
    size_t r = random_below(seed, 100), n = 16 + random_below(seed, r < 70 ? 500 : r < 98 ? 9000 : 200000);
    bool zeroed = r % 4 == 0;
    struct block b = { zeroed ? calloc(1, n) : malloc(n), n };
    if (!b.p)
        add(&missing);
    else if (zeroed && !all_bytes(b.p, n, 0))
        add(&dirty);
    if (b.p)
        pattern_fill(b.p, n, n);
    return b;
}

static void drop(struct block *b)
{
    if (b->p && !pattern_holds(b->p, b->n, b->n))
        add(&spoilt);
    free(b->p);
    b->p = NULL;
}

/* Leaves a block for another thread, and frees what was left there. */
static void swap(struct block *b, uint64_t *seed)
{
    struct block *box = malloc(sizeof *box);
    if (!box)
        return;
    *box = *b;
    b->p = NULL;
    box = __atomic_exchange_n(&shared[random_below(seed, SHARED)], box, __ATOMIC_ACQ_REL);
    if (box) {
        drop(box);
        free(box);
    }
}

static void child(struct block *b, uint64_t seed)
{
    for (size_t i = 0; i < SLOTS; i++) /* what it has from its parent is whole */
        drop(&b[i]);
    for (size_t i = 0; i < SLOTS / 2; i++)
        b[i] = make(&seed);
    hak_purge();
    for (size_t i = 0; i < SLOTS / 2; i++)
        drop(&b[i]);
    _exit(spoilt || dirty || missing ? 1 : 0);
}

/* Peaks, troughs and naps. */
static void *work(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    struct block *b = calloc(SLOTS, sizeof *b);
    for (unsigned round = 0; b && !__atomic_load_n(&over, __ATOMIC_RELAXED); round++) {
        for (size_t i = 0; i < SLOTS; i++)
            if (!b[i].p)
                b[i] = make(&seed);
        size_t keep = random_below(&seed, 30);
        for (size_t i = 0; i < SLOTS; i++) {
            if (random_below(&seed, 100) < keep)
                continue;
            if (random_below(&seed, 20))
                drop(&b[i]);
            else
                swap(&b[i], &seed);
        }
        if (round % 4 == 3)
            usleep((useconds_t)random_below(&seed, 20000));
        if (round % 8 == 5) {
            size_t before = __atomic_load_n(&spoilt, __ATOMIC_RELAXED);
            pid_t pid = fork();
            int status = 0;
            if (!pid)
                child(b, seed);
            if (pid < 0 || waitpid(pid, &status, 0) != pid || (status && before == spoilt))
                add(&spoilt);
            add(&forks);
        }
        if (round % 16 == 15)
            break; /* another thread follows */
    }
    for (size_t i = 0; b && i < SLOTS; i++)
        drop(&b[i]);
    free(b);
    add(&ends);
    return NULL;
}

static void *keep_one(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        pthread_t t;
        if (pthread_create(&t, NULL, work, (void *)(uintptr_t)(random_next(&seed) | 1)))
            break;
        pthread_join(t, NULL);
    }
    return NULL;
}

int main(void)
{
    tap_start();
    hak_option_set("PURGE_MS", 1);
    hak_option_set("DIRTY_KB", 256);
    pthread_t t[THREADS];
    size_t started = 0;
    while (started < THREADS && !pthread_create(&t[started], NULL, keep_one, (void *)(started + 1)))
        started++;
    /* Longer on a machine that does other things. */
    for (int i = 0; i < 60 || (i < 600 && !(__atomic_load_n(&forks, __ATOMIC_RELAXED) && __atomic_load_n(&ends, __ATOMIC_RELAXED)));
         i++) {
        usleep(100000);
        if (i % 3 == 0)
            hak_purge();
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < started; i++)
        pthread_join(t[i], NULL);
    for (size_t i = 0; i < SHARED; i++)
        if (shared[i]) {
            drop(shared[i]);
            free(shared[i]);
        }
    ok(started == THREADS && forks > 0 && ends > 0, "threads ran: %zu forks, %zu ends", forks, ends);
    ok(spoilt == 0, "every block kept its contents: %zu did not", spoilt);
    ok(dirty == 0, "zeroed blocks are zero: %zu were not", dirty);
    ok(missing == 0, "there was memory: %zu times not", missing);
    struct hak_stats s;
    hak_stats_get(&s, sizeof s);
    ok(s.purges > 100, "memory was given back %llu times", (unsigned long long)s.purges);
    return tap_done();
}
