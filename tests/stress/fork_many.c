/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * fork_many.c [FORKS]: eight threads allocate, free each other's blocks, and fork, so that every fork comes in the middle
 * of malloc and free of seven others.  The children allocate, free their parent's blocks, start a thread, fork again, and
 * end with a status that says what was wrong.  By fork; by _Fork and clone, which run no handlers; by vfork; and from the
 * handlers of fork.  After a child has freed all that it knows, no more is live than what the dead threads had in their
 * hands and caches.  A hang is ended by an alarm and fails.
 *
 * FORKS, or the environment's HKM_TEST_FORKS: how many of the first kind (2500).
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { THREADS = 8, KEPT = 60, MOST = 40000, SLICE = 40 };

static size_t forks_wanted = SANITIZED ? 40 : 2500;
static size_t forks_begun, bad, shown; /* atomic */
static size_t *most_lost; /* atomic; shared with all children: bytes that one of them could not free */
static size_t base; /* live before anything */
static pid_t (*method)(void);
static bool threads_allowed, busy_only; /* of this run */
static bool stop; /* atomic */

/* All that a thread holds, but for the block in its hands.  Each place is changed by its thread; others may take what is
 * there. */
static struct kept {
    void *blocks[KEPT]; /* atomic */
} kept[THREADS];

static void *make(uint64_t *state)
{
    size_t kind = random_below(state, 100);
    size_t n = 16 + random_below(state, kind < 90 ? 600 : kind < 99 ? 10000 : MOST - 16);
    unsigned char *p = malloc(n);
    if (p) {
        memcpy(p, &n, sizeof n);
        memset(p + sizeof n, (int)(n & 0xff), n - sizeof n);
    }
    return p;
}
static bool whole(const void *p)
{
    size_t n;
    memcpy(&n, p, sizeof n);
    return n >= 16 && n <= MOST && all_bytes((const char *)p + sizeof n, n - sizeof n, (unsigned char)(n & 0xff));
}

static void **place(uint64_t *state, size_t thread) { return &kept[thread].blocks[random_below(state, KEPT)]; }
static void *take(void **from) { return __atomic_exchange_n(from, NULL, __ATOMIC_ACQ_REL); }

/* Some allocations and frees; a quarter of the frees are of other threads' blocks. */
static bool work(uint64_t *state, size_t thread, int count)
{
    for (int i = 0; i < count; i++) {
        void **to = place(state, thread), *p = take(to);
        if (p && !whole(p))
            return false;
        free(p);
        if (!(p = make(state)))
            return false;
        __atomic_store_n(to, p, __ATOMIC_RELEASE);
        if (i % 4 == 0) {
            p = take(place(state, random_below(state, THREADS)));
            if (p && !whole(p))
                return false;
            free(p);
        }
    }
    return true;
}

static void *thread_of_child(void *arg)
{
    uint64_t state = (uint64_t)(uintptr_t)arg | 1;
    void *p[30];
    bool good = true;
    for (size_t i = 0; i < COUNT_OF(p); i++)
        good &= (p[i] = make(&state)) != NULL;
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        good &= p[i] && whole(p[i]);
        free(p[i]);
    }
    return good ? arg : NULL;
}

static int free_all(void)
{
    int wrong = 0;
    for (size_t t = 0; t < THREADS; t++)
        for (size_t i = 0; i < KEPT; i++) {
            void *p = take(&kept[t].blocks[i]);
            wrong += p && !whole(p);
            free(p);
        }
    return wrong;
}

static int raw_wait(pid_t pid)
{
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return status;
}

/* Blocks in the hands of the dead: one taken out and not yet freed, one made and not yet kept.  What they freed for others
 * may still be in a buffer of at most 64 KiB.  Of their caches the one of a class may be lost, of at most 160 KiB, if the
 * fork came in the middle of its change. */
static size_t bound(void) { return base + THREADS * (2 * MOST + (64 + 160) * KIB); }

static void in_child(size_t number, size_t thread)
{
    uint64_t state = 7 * number + 1;
    struct hak_stats after;
    alarm(60);
    bool measure = number % 4 == 0;
    if (!work(&state, thread, 30))
        _exit(10);
    if (number % 2 == 0 && free_all())
        _exit(11);
    if (threads_allowed && number % 8 < 5 && !SANITIZED && !EMULATED) { /* neither ThreadSanitizer nor qemu allows new threads here */
        pthread_t one;
        void *result = NULL;
        if (pthread_create(&one, NULL, thread_of_child, &kept) || pthread_join(one, &result))
            _exit(12);
        if (!result)
            _exit(13);
    }
    if (number % 6 == 0) { /* a grandchild */
        pid_t pid = method();
        if (pid == 0) {
            alarm(60);
            _exit(work(&state, thread, 30) && !free_all() ? 0 : 14);
        }
        if (raw_wait(pid) != 0)
            _exit(15);
    }
    if (measure) {
        free_all();
        hak_purge();
        hak_stats_get(&after, sizeof after);
        after.live_bytes += after.remote_bytes; /* in buffers of the dead, perhaps */
        if (after.live_bytes > bound())
            _exit(16);
        if (after.cached_bytes)
            _exit(17);
        size_t lost = after.live_bytes > base ? after.live_bytes - base : 0;
        size_t most = __atomic_load_n(most_lost, __ATOMIC_RELAXED);
        while (lost > most && !__atomic_compare_exchange_n(most_lost, &most, lost, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            ;
        if (threads_allowed && number % 3 == 0)
            exit(0);
    }
    _exit(0);
}

static void count_child(size_t number, int status)
{
    if (status == 0)
        return;
    __atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);
    if (__atomic_fetch_add(&shown, 1, __ATOMIC_RELAXED) < 10)
        fprintf(stderr, "# fork %zu: %s %d\n", number, WIFSIGNALED(status) ? "signal" : "exit status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static void *fork_and_work(void *arg)
{
    size_t thread = (size_t)((struct kept *)arg - kept);
    uint64_t state = 1000 + thread;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        if (!work(&state, thread, SLICE + (int)random_below(&state, SLICE)))
            __atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);
        if (busy_only)
            continue;
        size_t number = __atomic_fetch_add(&forks_begun, 1, __ATOMIC_RELAXED);
        if (number >= forks_wanted || __atomic_load_n(&bad, __ATOMIC_RELAXED) > 10)
            break;
        pid_t pid = method();
        if (pid == 0)
            in_child(number, thread);
        count_child(number, raw_wait(pid));
    }
    return NULL;
}

static pthread_t threads[THREADS];

static bool begin(void)
{
    forks_begun = bad = shown = 0;
    stop = false;
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, fork_and_work, &kept[i]))
            return false;
    return true;
}
static void end(void)
{
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    bad += (size_t)free_all();
}

static void run(const char *what, pid_t (*how)(void), size_t count, bool may_start_threads)
{
    method = how;
    forks_wanted = count;
    threads_allowed = may_start_threads;
    bool started = begin();
    if (started)
        end();
    ok(started && !bad, "%zu times %s from %d threads in the middle of malloc", count, what, THREADS);
}

static pid_t by_clone(void)
{
#if defined(__s390__) || defined(__s390x__)
    return (pid_t)syscall(SYS_clone, NULL, SIGCHLD, NULL, NULL, 0UL);
#else
    return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0UL);
#endif
}

extern pid_t _Fork(void) __attribute__((weak));

/* vfork, and then exec, while the others are at work. */
static void run_vfork(int count)
{
    static int wrong;
    busy_only = true;
    if (!begin()) {
        ok(0, "threads start");
        return;
    }
    for (volatile int i = 0; i < count; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
            _exit(127);
        }
        int status = raw_wait(pid);
        wrong += !WIFEXITED(status) || WEXITSTATUS(status) != 7;
        free(malloc((size_t)i * 10));
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    end();
    busy_only = false;
    ok(!wrong && !bad, "%d times vfork and exec beside %d threads", count, THREADS);
}

/* Handlers of fork that allocate, and that fork themselves, once. */
static __thread bool in_handler;
static size_t handled; /* atomic */
static __thread void *of_handler;
static void prepare(void) { of_handler = malloc(777); }
static void in_parent(void) { free(of_handler); }
static void in_handled_child(void)
{
    uint64_t state = 3;
    void *p[20];
    free(of_handler);
    for (size_t i = 0; i < COUNT_OF(p); i++)
        p[i] = make(&state);
    if (!in_handler) {
        in_handler = true;
        pid_t pid = fork();
        if (pid == 0) {
            for (size_t i = 0; i < COUNT_OF(p); i++)
                free(p[i]);
            _exit(p[0] && whole(p[0] = make(&state)) ? 0 : 1);
        }
        if (raw_wait(pid) != 0)
            _exit(20);
        in_handler = false;
    }
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        if (!p[i] || !whole(p[i]))
            _exit(21);
        free(p[i]);
    }
    handled++;
}
static pid_t by_handled_fork(void)
{
    pid_t pid = fork();
    if (pid == 0 && !handled)
        _exit(22);
    return pid;
}

int main(int argc, char **argv)
{
    const char *wanted = argc > 1 ? argv[1] : getenv("HKM_TEST_FORKS");
    struct hak_stats s;
    tap_start();
    alarm(1800);
    most_lost = mmap(NULL, sizeof *most_lost, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (most_lost == MAP_FAILED) {
        ok(0, "shared memory");
        return tap_done();
    }
    hak_stats_get(&s, sizeof s);
    base = s.live_bytes + 256 * KIB; /* and what the C library takes for threads */
    if (EMULATED)
        forks_wanted /= 10;
    size_t count = wanted ? strtoul(wanted, NULL, 10) : forks_wanted, fewer = count / 5 + 1;
    run("fork", fork, count, true);
    if (SANITIZED) { /* its runtime hears of forks by handlers only */
        skip("_Fork", "sanitizer");
        skip("clone", "sanitizer");
        skip("vfork", "sanitizer");
    } else {
        if (EMULATED)
            skip("_Fork", "the emulator ignores MADV_WIPEONFORK");
        else if (_Fork)
            run("_Fork", _Fork, fewer, false);
        else
            skip("_Fork", "the C library has none");
        if (EMULATED)
            skip("clone", "the emulator ignores MADV_WIPEONFORK");
        else
            run("clone", by_clone, fewer, false);
        run_vfork(50);
    }
    if (pthread_atfork(prepare, in_parent, in_handled_child))
        ok(0, "handlers of fork");
    run("fork with handlers that fork", by_handled_fork, fewer, true);
    note("at most %zu KiB were lost to a child", *most_lost / KIB);
    return tap_done();
}
