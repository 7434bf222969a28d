/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * idle_threads.c: memory of a thread that sleeps, and of one that has ended, comes back through another thread's calls, by
 * and by, and at once by malloc_trim and hak_purge; what is live stays.
 */
#define _GNU_SOURCE
#include "tap.h"

#include <pthread.h>
#include <sys/mman.h>

enum { N = 60000, SIZE = 500, EACH = 50 };
static unsigned char *p[N];

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static int step;

static void reach(int to)
{
    pthread_mutex_lock(&mutex);
    step = to;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&mutex);
}
static void await(int to)
{
    pthread_mutex_lock(&mutex);
    while (step < to)
        pthread_cond_wait(&moved, &mutex);
    pthread_mutex_unlock(&mutex);
}

/* Frees all but each EACH-th, and sleeps. */
static void *work(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < N; i++)
        if ((p[i] = malloc(SIZE)))
            memset(p[i], (int)(i % 251), SIZE);
    reach(1);
    await(2);
    for (size_t i = 0; i < N; i++)
        if (i % EACH)
            free(p[i]);
    reach(3);
    await(4);
    return NULL;
}

static size_t page;
static char *low, *high;

/* Pages in memory, of all from the lowest to the highest block. */
static size_t pages_in(void)
{
    static unsigned char state[1 << 18];
    size_t n = (size_t)(high - low) / page, in = 0;
    if (n > sizeof state || mincore(low, n * page, state))
        return SIZE_MAX;
    for (size_t i = 0; i < n; i++)
        in += state[i] & 1;
    return in;
}

static void look_where(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    low = high = NULL;
    for (size_t i = 0; i < N; i++) {
        char *a = (char *)((uintptr_t)p[i] & ~(page - 1));
        low = !low || a < low ? a : low;
        high = a + page > high ? a + page : high;
    }
}

static bool whole(void)
{
    for (size_t i = 0; i < N; i += EACH)
        if (!all_bytes(p[i], SIZE, (unsigned char)(i % 251)))
            return false;
    return true;
}

/* As a server that answers: some hundred blocks of mixed sizes, freed again. */
static void call(uint64_t *seed)
{
    static void *q[300];
    for (size_t i = 0; i < COUNT_OF(q); i++)
        q[i] = malloc(16 + random_below(seed, 3000));
    for (size_t i = 0; i < COUNT_OF(q); i++)
        free(q[i]);
}

static void peak(pthread_t *t)
{
    step = 0;
    if (pthread_create(t, NULL, work, NULL))
        _exit(1);
    await(1);
    look_where();
}

int main(void)
{
    tap_start();
    hak_option_set("PURGE_MS", 50);
    hak_option_set("DIRTY_KB", 65536); /* so that nothing goes at once */
    uint64_t seed = 1;
    pthread_t t;
    peak(&t);
    size_t before = pages_in();
    reach(2);
    await(3);
    hak_option_set("DIRTY_KB", 128);
    size_t freed = pages_in(), now = freed;
    for (int i = 0; i < 200 && now > before / 2; i++) {
        usleep(10000);
        call(&seed);
        now = pages_in();
    }
    bool fine = page == 4096 && !SANITIZED && !EMULATED; /* larger pages all hold a live block */
    note("%zu pages at the peak, %zu when freed, %zu after some calls", before, freed, now);
    ok(!fine || now <= before / 2, "memory of a thread that sleeps comes back through another one's calls");
    ok(whole(), "its live blocks are whole");
    size_t purged = hak_purge();
    note("%zu bytes more by hak_purge", purged);
    ok(whole(), "and after hak_purge");
    reach(4);
    pthread_join(t, NULL);
    for (size_t i = 0; i < N; i += EACH)
        free(p[i]);

    hak_option_set("DISABLE_PURGE", 1);
    for (int ended = 0; ended < 2; ended++) {
        malloc_trim(0);
        peak(&t);
        before = pages_in();
        reach(2);
        await(3);
        if (ended) {
            reach(4);
            pthread_join(t, NULL);
        }
        freed = pages_in();
        ok(freed > before / 2, "with DISABLE_PURGE it stays (%zu of %zu pages)", freed, before);
        malloc_trim(0);
        now = pages_in();
        ok(!fine || now <= before / 2, "malloc_trim gives it back, of a thread that %s (%zu pages)", ended ? "has ended" : "sleeps",
           now);
        ok(whole(), "live blocks are whole");
        ok(malloc_trim(0) == 0, "there is no more");
        reach(4);
        if (!ended)
            pthread_join(t, NULL);
        for (size_t i = 0; i < N; i += EACH)
            free(p[i]);
    }
    return tap_done();
}
