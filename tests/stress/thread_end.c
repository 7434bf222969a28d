/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * thread_end.c [THREADS]: what threads do to memory when they begin and end.  Destructors of thread-specific data that
 * allocate in each of their rounds, also as the first that the thread ever allocates; frees after the last destructor;
 * threads that only free, beside a producer, within a bounded buffer; a thousand threads at a time; and ten thousand
 * (THREADS) one after the other, with a flat resident size.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <limits.h>
#include <pthread.h>
#include <semaphore.h>

static size_t spoilt, missing; /* atomic */
static void add(size_t *counter) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }

static struct hak_stats stats(void)
{
    struct hak_stats s;
    memset(&s, 0, sizeof s);
    hak_stats_get(&s, sizeof s);
    return s;
}

/* ---- destructors ------------------------------------------------------------------------------------------------- */

/* Four keys made before the first thread, four after it: the library's own key lies between them, so some destructors come
 * before its own and some after it, in each round. */
enum { KEYS = 8, ROUNDS = SANITIZED ? 2 : PTHREAD_DESTRUCTOR_ITERATIONS }; /* a sanitizer's runtime ends before the last */
static pthread_key_t keys[KEYS];
static size_t calls; /* atomic */

struct course {
    int from, round; /* allocates from this round on */
    unsigned char *block;
};
static __thread struct course courses[KEYS];

static void destroy(void *arg)
{
    struct course *c = arg;
    add(&calls);
    if (++c->round >= c->from) {
        if (c->block && !all_bytes(c->block, 400, (unsigned char)(c->round - 1)))
            add(&spoilt);
        free(c->block);
        c->block = c->round < ROUNDS ? malloc(400) : NULL; /* the one before the last round is freed in the last */
        if (c->block)
            memset(c->block, c->round, 400);
        for (size_t n = 1; n < 40000; n = n * 3 + 1) {
            unsigned char *p = malloc(n);
            if (!p)
                add(&missing);
            free(p);
        }
    }
    if (c->round < ROUNDS)
        pthread_setspecific(keys[c - courses], c);
}

static void *end_by_rounds(void *arg)
{
    size_t which = (size_t)(uintptr_t)arg;
    for (size_t i = 0; i < KEYS; i++)
        if (which >> 3 == 0 || which % KEYS == i) {
            courses[i] = (struct course){ .from = 1 + (int)(which / 2 % ROUNDS) };
            pthread_setspecific(keys[i], &courses[i]);
        }
    if (which % 3 == 0) /* else the first allocation comes in a destructor */
        free(malloc(100));
    return NULL;
}

static bool one_by_one(size_t count, void *(*body)(void *), bool counted)
{
    for (size_t i = 0; i < count; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, body, counted ? (void *)(uintptr_t)i : NULL) || pthread_join(t, NULL))
            return false;
    }
    return true;
}

static bool make_keys(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (pthread_key_create(&keys[i], destroy))
            return false;
    return true;
}

static void in_destructors(size_t count)
{
    bool made = make_keys(0, KEYS / 2);
    free(malloc(100)); /* the library's own */
    made = made && make_keys(KEYS / 2, KEYS);
    bool good = made && one_by_one(200, end_by_rounds, true);
    size_t warm = resident(), heaps = stats().heaps;
    good = good && one_by_one(count, end_by_rounds, true);
    struct hak_stats s = stats();
    ok(good && !spoilt && !missing && calls >= (count + 200) * ROUNDS, "%zu threads whose destructors allocate in every round",
       count + 200);
    if (!ok(s.heaps <= heaps && s.heaps <= 8, "their heaps serve one after the other"))
        note("%llu heaps after 200 threads, %llu in the end", (unsigned long long)heaps, (unsigned long long)s.heaps);
    if (SANITIZED || EMULATED)
        skip("their resident size is flat", "sanitizer or emulator");
    else if (!ok(resident() <= warm + 2 * MIB, "their resident size is flat"))
        note("%zu KiB after 200 threads, %zu KiB in the end", warm / KIB, resident() / KIB);
    for (size_t i = 0; i < KEYS; i++)
        pthread_key_delete(keys[i]);
}

/* ---- frees after the last destructor ------------------------------------------------------------------------------ */

/* A thread's value of a key with a high number is kept in a block, which the C library frees after all destructors. */
enum { MANY_KEYS = 100 };
static pthread_key_t many[MANY_KEYS];

static void *with_many_keys(void *arg)
{
    for (size_t i = 0; i < MANY_KEYS; i++)
        pthread_setspecific(many[i], many);
    return arg;
}

static void after_destructors(size_t count)
{
    bool good = true;
    for (size_t i = 0; i < MANY_KEYS; i++)
        good &= pthread_key_create(&many[i], NULL) == 0;
    good = good && one_by_one(100, with_many_keys, false);
    uint64_t live = stats().live_bytes;
    good = good && one_by_one(count, with_many_keys, false);
    hak_purge();
    struct hak_stats s = stats();
    if (!ok(good && s.live_bytes <= live + 64 * KIB, "%zu threads whose data are freed after the last destructor", count))
        note("%llu bytes live after 100 threads, %llu in the end", (unsigned long long)live,
             (unsigned long long)s.live_bytes);
    for (size_t i = 0; i < MANY_KEYS; i++)
        pthread_key_delete(many[i]);
}

/* ---- threads that only free -------------------------------------------------------------------------------------- */

enum { FREERS = 4, BATCH = 1000, BATCHES = 60 };
static void *batch[BATCH];
static size_t next; /* atomic */
static pthread_barrier_t ready, freed;
static bool over; /* barrier */

static void *only_free(void *arg)
{
    for (;;) {
        pthread_barrier_wait(&ready);
        if (over)
            return arg;
        for (size_t i; (i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < BATCH;)
            free(batch[i]);
        pthread_barrier_wait(&freed);
    }
}

/* After each batch all blocks are free; those who freed them may keep back 64 KiB each at most, not yet handed over. */
static uint64_t not_free(void)
{
    struct hak_stats s = stats();
    return s.live_bytes + s.remote_bytes;
}
static void threads_that_free(size_t size)
{
    pthread_t threads[FREERS];
    bool started = true;
    uint64_t most = 0;
    over = false;
    pthread_barrier_init(&ready, NULL, FREERS + 1);
    pthread_barrier_init(&freed, NULL, FREERS + 1);
    uint64_t before = not_free();
    for (size_t i = 0; i < FREERS; i++)
        started &= pthread_create(&threads[i], NULL, only_free, NULL) == 0;
    if (!started) {
        ok(0, "threads start");
        exit(1);
    }
    for (size_t n = 0; n < BATCHES; n++) {
        for (size_t i = 0; i < BATCH; i++)
            if (!(batch[i] = malloc(size)))
                add(&missing);
        next = 0;
        pthread_barrier_wait(&ready);
        pthread_barrier_wait(&freed);
        uint64_t live = not_free();
        most = live > most ? live : most;
    }
    over = true;
    pthread_barrier_wait(&ready);
    for (size_t i = 0; i < FREERS; i++)
        pthread_join(threads[i], NULL);
    uint64_t bound = before + FREERS * (64 * KIB + size) + 64 * KIB;
    if (!ok(!missing && most <= bound, "%d threads that only free blocks of %zu bytes hold back little", FREERS, size))
        note("%llu bytes live or kept back, then up to %llu", (unsigned long long)before, (unsigned long long)most);
}

/* ---- many threads ------------------------------------------------------------------------------------------------- */

static sem_t go, there;

static void *one_of_many(void *arg)
{
    unsigned char *p[20];
    size_t seed = (uintptr_t)arg;
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        size_t n = 1 + (seed * 37 + i * 91) % 3000;
        p[i] = malloc(n);
        if (p[i])
            memset(p[i], (int)(seed + i), n);
        else
            add(&missing);
    }
    sem_post(&there);
    while (sem_wait(&go))
        ;
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        if (p[i] && !all_bytes(p[i], 1 + (seed * 37 + i * 91) % 3000, (unsigned char)(seed + i)))
            add(&spoilt);
        free(p[i]);
    }
    return NULL;
}

static void at_a_time(size_t count)
{
    static pthread_t threads[1000];
    pthread_attr_t small;
    size_t after[3] = { 0 };
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 * KIB);
    sem_init(&go, 0, 0);
    sem_init(&there, 0, 0);
    bool good = true;
    for (int round = 0; round < 3 && good; round++) {
        size_t started = 0;
        for (; started < count; started++)
            if (pthread_create(&threads[started], &small, one_of_many, (void *)started))
                break;
        good = started == count;
        for (size_t i = 0; i < started; i++)
            while (sem_wait(&there))
                ;
        for (size_t i = 0; i < started; i++)
            sem_post(&go);
        for (size_t i = 0; i < started; i++)
            pthread_join(threads[i], NULL);
        hak_purge(); /* what is free may stay for a while, where a heap swings */
        after[round] = resident();
    }
    ok(good && !spoilt && !missing, "%zu threads at a time, three times", count);
    struct hak_stats s = stats();
    if (!ok(s.heaps <= count + 8, "no more heaps than threads at one time"))
        note("%llu heaps", (unsigned long long)s.heaps);
    if (SANITIZED || EMULATED)
        skip("the resident size is the same each time", "sanitizer or emulator");
    else if (!ok(after[2] <= after[0] + after[0] / 4 + 8 * MIB, "the resident size is the same each time"))
        note("%zu, %zu, %zu KiB", after[0] / KIB, after[1] / KIB, after[2] / KIB);
    pthread_attr_destroy(&small);
}

static void *short_life(void *arg)
{
    uint64_t state = (uint64_t)(uintptr_t)arg + 1;
    void *p[30];
    for (size_t i = 0; i < COUNT_OF(p); i++)
        p[i] = malloc(1 + random_below(&state, i % 10 ? 800 : 100000));
    for (size_t i = 0; i < COUNT_OF(p); i++)
        free(p[i]);
    return NULL;
}

static void one_after_the_other(size_t count)
{
    bool good = one_by_one(500, short_life, true);
    size_t warm = resident();
    good = good && one_by_one(count, short_life, true);
    ok(good, "%zu threads one after the other", count);
    if (SANITIZED || EMULATED)
        skip("the resident size is flat", "sanitizer or emulator");
    else if (!ok(resident() <= warm + 1 * MIB, "the resident size is flat"))
        note("%zu KiB after 500 threads, %zu KiB in the end", warm / KIB, resident() / KIB);
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : SANITIZED ? 500 : 10000;
    tap_start();
    in_destructors(SANITIZED ? 100 : count / 5);
    after_destructors(SANITIZED ? 100 : 1000);
    threads_that_free(100);
    threads_that_free(30000);
    at_a_time(SANITIZED ? 100 : 1000);
    one_after_the_other(count);
    return tap_done();
}
