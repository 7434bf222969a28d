/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * thread_churn.c: thousands of short-lived threads, some of which leave blocks to others, allocate in destructors of
 * thread-specific data in every round of them, and in destructors of thread-local objects: what they had comes back, so
 * the resident size stays flat, and there are no more heaps than threads at one time.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <limits.h>
#include <pthread.h>

/* What C++ compilers call for the destructor of a thread_local object. */
extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *) __attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

enum { THREADS = 2000, AT_ONCE = 4, LEFT = 20 };

static pthread_key_t keys[3];
static size_t spoilt, missing, rounds, destroyed; /* atomic */

struct job {
    uint64_t seed;
    void *left[LEFT]; /* for the main thread to free */
};

static void add(size_t *counter) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }

/* Some blocks made, checked and freed. */
static void work(uint64_t seed, size_t count)
{
    unsigned char *blocks[50];
    size_t sizes[50];
    for (size_t i = 0; i < count; i++) {
        sizes[i] = 1 + random_below(&seed, i % 10 ? 500 : 50000);
        blocks[i] = malloc(sizes[i]);
        if (blocks[i])
            pattern_fill(blocks[i], sizes[i], sizes[i]);
        else
            add(&missing);
    }
    for (size_t i = 0; i < count; i++) {
        if (blocks[i] && !pattern_holds(blocks[i], sizes[i], sizes[i]))
            add(&spoilt);
        free(blocks[i]);
    }
}

/* The system ends it earlier.  A sanitizer's runtime is gone in the last round, in which our code would then crash. */
#define MOST_ROUNDS (SANITIZED ? 2 : PTHREAD_DESTRUCTOR_ITERATIONS * (int)COUNT_OF(keys))

/* The value is a block of the thread's.  Comes again until the last round that the system allows. */
static __thread int round_of_thread;
static void destructor(void *value)
{
    unsigned char *p = value;
    if (!all_bytes(p, 100, 0x42))
        add(&spoilt);
    free(p);
    add(&rounds);
    work((uint64_t)(uintptr_t)p | 1, 12);
    if (++round_of_thread < MOST_ROUNDS && (p = malloc(100))) {
        memset(p, 0x42, 100);
        if (pthread_setspecific(keys[round_of_thread % (int)COUNT_OF(keys)], p))
            free(p);
    }
}

static void tls_destructor(void *value)
{
    unsigned char *p = value;
    if (!all_bytes(p, 333, 0x43))
        add(&spoilt);
    work((uint64_t)(uintptr_t)p | 1, 20);
    free(p);
    add(&destroyed);
}

static void *thread(void *arg)
{
    struct job *job = arg;
    work(job->seed, 50);
    for (size_t i = 0; i < LEFT; i++) {
        job->left[i] = malloc(1 + (job->seed >> 3) % 3000 + i);
        if (!job->left[i])
            add(&missing);
    }
    if (job->seed & 1) {
        unsigned char *p = malloc(100);
        if (p) {
            memset(p, 0x42, 100);
            pthread_setspecific(keys[job->seed % COUNT_OF(keys)], p);
        }
    }
    if (&__cxa_thread_atexit_impl && job->seed & 2) {
        unsigned char *p = malloc(333);
        if (p) {
            memset(p, 0x43, 333);
            __cxa_thread_atexit_impl(tls_destructor, p, &__dso_handle);
        }
    }
    return NULL;
}

static void churn(size_t count)
{
    static struct job jobs[AT_ONCE];
    uint64_t state = 5;
    for (size_t n = 0; n < count; n += AT_ONCE) {
        pthread_t threads[AT_ONCE];
        size_t started = 0;
        for (; started < AT_ONCE; started++) {
            memset(&jobs[started], 0, sizeof jobs[started]);
            jobs[started].seed = random_next(&state) | 4;
            if (pthread_create(&threads[started], NULL, thread, &jobs[started]))
                break;
        }
        missing += started != AT_ONCE;
        for (size_t i = 0; i < started; i++) {
            pthread_join(threads[i], NULL);
            for (size_t j = 0; j < LEFT; j++)
                free(jobs[i].left[j]);
        }
    }
}

/* A thread that has never allocated frees what another has made, and ends. */
static void *only_free(void *p)
{
    free(p);
    return NULL;
}

int main(void)
{
    tap_start();
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (pthread_key_create(&keys[i], destructor)) {
            ok(0, "a key");
            return tap_done();
        }
    churn(200);
    size_t warm = resident(), space = address_space();
    churn(THREADS);
    size_t after = resident();
    ok(!spoilt && !missing, "%d threads, %d at a time: nothing spoilt, nothing missing", THREADS, AT_ONCE);
    ok(rounds > THREADS, "destructors of thread-specific data allocated in %zu rounds", rounds);
    if (&__cxa_thread_atexit_impl)
        ok(destroyed > THREADS / 4, "destructors of thread-local objects allocated, %zu of them", destroyed);
    else
        skip("destructors of thread-local objects", "the C library has none");
    if (SANITIZED || EMULATED) {
        skip("the resident size is flat", "sanitizer or emulator");
        skip("the address space is flat", "sanitizer or emulator");
    } else {
        if (!ok(after <= warm + 4 * MIB, "the resident size is flat"))
            note("%zu KiB after 200 threads, %zu KiB after %d", warm / KIB, after / KIB, THREADS);
        if (!ok(address_space() <= space + 64 * MIB, "the address space is flat"))
            note("%zu KiB after 200 threads, %zu KiB after %d", space / KIB, address_space() / KIB, THREADS);
    }
#ifndef TEST_STATIC
    struct hak_stats s;
    if (!ok(hak_stats_get(&s, sizeof s) == 0 && s.heaps <= AT_ONCE + 4, "no more heaps than threads at one time"))
        note("%llu heaps", (unsigned long long)s.heaps);
#endif

    size_t failed = 0;
    for (int i = 0; i < 1000; i++) {
        pthread_t t;
        void *p = malloc(i % 10 ? 200 : 20000);
        if (pthread_create(&t, NULL, only_free, p))
            failed++;
        else
            pthread_join(t, NULL);
    }
    after = resident();
    if (!ok(!failed && (SANITIZED || EMULATED || after <= warm + 4 * MIB), "1000 threads that only free"))
        note("failed %zu, %zu KiB resident", failed, after / KIB);
    return tap_done();
}
