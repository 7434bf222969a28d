/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * scaling_costs [ROUNDS]: what the steps cost that scaling_model.py is made of, measured with the library's own functions (the
 * core is linked), in ns: a line "NAME VALUE" each, the least of ROUNDS (7).  scaling_model.py --costs reads them.
 */
#include "bench.h"
#include <pthread.h>
#include <sched.h>

#include "alloc.h"
#include "big.h"
#include "meta.h"
#include "mid.h"
#include "option.h"
#include "shared_pool.h"
#include "superslab.h"

static unsigned long rounds;

static double now(void) { return (double)bench_ns(CLOCK_MONOTONIC); }

/* The least of some rounds of `body`, done `count` times each. */
#define COST(name, count, body) do { \
    double least = 1e30; \
    for (unsigned long round = 0; round < rounds; round++) { \
        double begin = now(); \
        for (unsigned long i = 0; i < (count); i++) { body; } \
        double each = (now() - begin) / (double)(count); \
        least = each < least ? each : least; \
    } \
    printf("%s %.1f\n", name, least); \
} while (0)

static hkm_word word HKM_ALIGNED(64);
static char behind[64] HKM_ALIGNED(64) __attribute__((unused));
static int cpus[2];

/* Its processor, if there are two. */
static void settle_on(int which)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpus[which], &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

enum { TURNS = 20000 };

static void take_turns(size_t mine)
{
    for (unsigned i = 0; i < TURNS; i++) {
        while (hkm_load(&word) % 2 != mine)
            hkm_os_pause();
        hkm_add(&word, 1);
    }
}

static void *other_side(void *unused)
{
    settle_on(1);
    take_turns(1);
    return unused;
}

/* A word that two processors change in turn: a turn is one read that finds it gone, and one change. */
static void ping_pong(void)
{
    cpu_set_t had;
    double least = 1e30;
    (void)sched_getaffinity(0, sizeof had, &had);
    cpus[0] = cpus[1] = -1;
    for (int c = 0; c < CPU_SETSIZE && cpus[1] < 0; c++)
        if (CPU_ISSET((unsigned)c, &had))
            cpus[cpus[0] >= 0] = c;
    for (unsigned long round = 0; cpus[1] >= 0 && round < rounds; round++) {
        pthread_t t;
        hkm_store(&word, 0);
        double begin = now();
        if (pthread_create(&t, NULL, other_side, NULL) != 0)
            bench_die("cannot start a thread");
        settle_on(0);
        take_turns(0);
        pthread_join(t, NULL);
        double each = (now() - begin) / (2 * TURNS);
        least = each < least ? each : least;
    }
    (void)sched_setaffinity(0, sizeof had, &had);
    if (cpus[1] >= 0)
        printf("turn %.1f\n", least);
}

static void *nothing(void *unused) { return unused; }

static void *one_block(void *unused)
{
    hkm_free_fast(bench_need(hkm_alloc_fast(64)));
    return unused;
}

static void thread_with(void *(*life)(void *))
{
    pthread_t t;
    if (pthread_create(&t, NULL, life, NULL) != 0)
        bench_die("cannot start a thread");
    pthread_join(t, NULL);
}

/* All blocks of more than a cache holds come and go: each is a refill's and a flush's. */
static void wave(void **block, unsigned n, size_t size)
{
    for (unsigned i = 0; i < n; i++)
        block[i] = bench_need(hkm_alloc_fast(size));
    for (unsigned i = 0; i < n; i++)
        hkm_free_fast(block[i]);
}

/* A run of 16 slots is taken and given back, with `full` slots before it of which each second is taken: what the search under
 * the pool's lock passes by. */
static void run_behind(const char *name, unsigned full)
{
    struct hkm_slab **held = bench_map(2 * full * sizeof *held);
    for (unsigned i = 0; i < 2 * full; i++)
        held[i] = bench_need(hkm_superslab_run(1, 1));
    for (unsigned i = 0; i < full; i++)
        hkm_superslab_give(held[2 * i], 1);
    COST(name, 200, hkm_superslab_give(bench_need(hkm_superslab_run(16, 1)), 16));
    for (unsigned i = 0; i < full; i++)
        hkm_superslab_give(held[2 * i + 1], 1);
    munmap(held, 2 * full * sizeof *held);
}

int main(int argc, char **argv)
{
    static void *block[4000];
    struct hkm_lock lock = HKM_LOCK_INIT(HKM_RANK_META);
    hkm_word own[16] HKM_ALIGNED(64) = { 0 };
    rounds = bench_arg(argc, argv, 1, 7);
    if (!rounds)
        bench_usage("usage: scaling_costs [ROUNDS]");
    bench_prove();
    hkm_os_init();
    hkm_option_init();
    hkm_store(&hkm_option.disable_purge, 1);
    thread_with(nothing); /* from here on locks are taken by locked instructions */

    COST("load", 1000000, (void)*(volatile hkm_word *)&own[0]);
    COST("rmw", 1000000, hkm_add(&own[0], 1));
    COST("lock", 1000000, hkm_lock(&lock); hkm_unlock(&lock));
    ping_pong();
    COST("pair", 1000000, hkm_free_fast(hkm_alloc_fast(64)));
    struct hkm_slab *slot[1];
    (void)hkm_shared_pool_grow();
    COST("wave_64", 50, wave(block, sizeof block / sizeof *block, 64));
    COST("wave_1024", 50, wave(block, sizeof block / sizeof *block, 1024));
    COST("words", 100000, hkm_meta_words_put(hkm_meta_words_get(8), 8));
    COST("slot", 100000, if (hkm_shared_pool_acquire(slot, 1)) hkm_shared_pool_release(slot[0]));
    COST("slab", 20000, if (hkm_shared_pool_acquire(slot, 1) && hkm_slab_open(slot[0], 20)) {
        hkm_slab_close(slot[0]); hkm_shared_pool_release(slot[0]); });
    run_behind("run_behind_0", 0);
    run_behind("run_behind_1000", 1000);
    run_behind("run_behind_10000", 10000);
    run_behind("run_behind_100000", 100000);
    COST("big", 200, if (!hkm_big_free(bench_need(hkm_big_alloc(64 << 20, 16, NULL)))) bench_die("no big block"));
    COST("thread", 500, thread_with(nothing));
    COST("thread_and_block", 500, thread_with(one_block));
    return 0;
}
