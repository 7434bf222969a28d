/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * phased NAME [SEED SECONDS SHIFT]: one of the workloads bursts, batch, growing, pairs, births, sparse, each of which another
 * fixed setting suits best, or a row of them, as NAME,NAME...  The work is the same each time; SECONDS (default 6) is how
 * long it is spread over, as far as it fits.  SHIFT 1 is for the phases that were held out: other sizes and another pace.
 *
 * cost_ms is what the settings are compared by: processor time, and idle memory (resident, but not live) over time, of
 * which 10 MiB kept for a second count as much as 1 ms of processor time.  phased.py runs and compares.
 */
#include "bench.h"
#include <pthread.h>

enum { IDLE_NS = 100000 }; /* the price of 1 MiB for 1 s; lib/learn.h has the same */

static uint64_t rnd, began, looked, seconds, last_end;
static size_t live, shift, ops;
static double idle; /* MiB times s */

static void look(uint64_t now)
{
    double rss = (double)bench_rss_kib() / 1024, mine = (double)live / (1 << 20);
    idle += (rss > mine ? rss - mine : 0) * (double)(now - looked) / 1e9;
    looked = now;
}

static uint64_t tick(void)
{
    uint64_t now = bench_ns(CLOCK_MONOTONIC);
    if (now - looked > 5000000)
        look(now);
    return now;
}

static void sleep_until(uint64_t when)
{
    for (uint64_t now; (now = tick()) < when;) {
        uint64_t left = when - now < 5000000 ? when - now : 5000000;
        nanosleep(&(struct timespec){ 0, (long)left }, NULL);
    }
}

struct block { char *p; size_t n; };

/* Every page of it is written, as a program would. */
static void take(struct block *b, size_t n)
{
    b->n = n;
    b->p = bench_need(malloc(n));
    for (size_t i = 0; i < n; i += 4096)
        b->p[i] = 1;
    b->p[n - 1] = 1;
    live += n;
    ops++;
    if (ops % 64 == 0 || n > 1 << 20)
        (void)tick();
}

static void drop(struct block *b)
{
    if (b->p)
        live -= b->n;
    free(b->p);
    b->p = NULL;
}

/* A server: 20 MiB that stay, requests all the time, and a burst of 120 MiB now and then. */
static void bursts(void)
{
    enum { STAY = 20000, MOST = 60000 };
    struct block *stay = bench_map(STAY * sizeof *stay), *burst = bench_map(MOST * sizeof *burst);
    size_t hi = shift ? 8192 : 4096, target = shift ? 80 : 120;
    unsigned rounds = shift ? 12 : 8;
    for (size_t i = 0; i < STAY; i++)
        take(&stay[i], bench_between(&rnd, 64, 2048));
    for (unsigned k = 0; k < rounds; k++) {
        size_t n = 0, from = live;
        while (n < MOST && live - from < target << 20)
            take(&burst[n++], bench_between(&rnd, 1024, hi));
        for (size_t i = 0; i < n; i++)
            drop(&burst[i]);
        uint64_t end = last_end + (k + 1) * seconds * 1000000000 / rounds;
        for (uint64_t now = tick(); now < end; now += 2000000) {
            for (unsigned r = 0; r < 10; r++)
                bench_request(&rnd, 100, 16, 2048);
            size_t i = bench_between(&rnd, 0, STAY - 1);
            drop(&stay[i]);
            take(&stay[i], bench_between(&rnd, 64, 2048));
            sleep_until(now + 2000000 < end ? now + 2000000 : end);
        }
    }
    for (size_t i = 0; i < STAY; i++)
        drop(&stay[i]);
}

/* A batch program: a few buffers of 5-25 MiB at a time, each used once. */
static void batch(void)
{
    struct block b[4] = { { 0 } };
    size_t lo = (shift ? 1 : 5) << 20, hi = (shift ? 9 : 25) << 20;
    unsigned rounds = shift ? 1200 : 400;
    for (unsigned k = 0; k < rounds; k++) {
        struct block *at = &b[bench_between(&rnd, 0, 3)];
        drop(at);
        take(at, bench_between(&rnd, lo, hi));
        bench_request(&rnd, 200, 16, 1024);
        sleep_until(last_end + (k + 1) * seconds * 1000000000 / rounds);
    }
    for (unsigned i = 0; i < 4; i++)
        drop(&b[i]);
}

/* A heap that grows and stays. */
static void growing(void)
{
    size_t most = shift ? 1200000 : 800000, n = 0, hi = shift ? 600 : 1000;
    struct block *b = bench_map(most * sizeof *b);
    for (unsigned k = 1; k <= 100; k++) {
        for (; n < most / 100 * k; n++)
            take(&b[n], bench_between(&rnd, 16, hi));
        sleep_until(last_end + k * seconds * 1000000000 / 100);
    }
    while (n)
        drop(&b[--n]);
}

/* One thread makes messages, another frees them: queues that swing. */
enum { QUEUE = 40000 };
static struct block *queue;
static pthread_barrier_t turn;
static void *consumer(void *rounds)
{
    for (size_t k = 0; k < (size_t)rounds; k++) {
        pthread_barrier_wait(&turn);
        for (size_t i = 0; i < QUEUE; i++)
            free(queue[i].p);
        pthread_barrier_wait(&turn);
    }
    return NULL;
}
static void pairs(void)
{
    size_t rounds = shift ? 60 : 40, lo = shift ? 128 : 512, hi = shift ? 1500 : 3000;
    pthread_t t;
    queue = bench_map(QUEUE * sizeof *queue);
    pthread_barrier_init(&turn, NULL, 2);
    if (pthread_create(&t, NULL, consumer, (void *)rounds))
        bench_die("no thread");
    for (size_t k = 0; k < rounds; k++) {
        size_t before = live;
        for (size_t i = 0; i < QUEUE; i++)
            take(&queue[i], bench_between(&rnd, lo, hi));
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        live = before;
        sleep_until(last_end + (k + 1) * seconds * 1000000000 / rounds);
    }
    pthread_join(t, NULL);
    pthread_barrier_destroy(&turn);
}

/* Many threads that live shortly. */
static void *short_life(void *seed)
{
    enum { N = 2000 };
    uint64_t mine = (uint64_t)(uintptr_t)seed;
    void *p[N];
    for (size_t i = 0; i < N; i++) {
        size_t n = bench_between(&mine, 16, shift ? 4000 : 1500);
        p[i] = bench_need(malloc(n));
        bench_touch(p[i], n);
    }
    for (size_t i = 0; i < N; i++)
        free(p[i]);
    return NULL;
}
static void births(void)
{
    unsigned rounds = shift ? 300 : 500;
    for (unsigned k = 0; k < rounds; k++) {
        pthread_t t[3];
        for (unsigned i = 0; i < 3; i++)
            if (pthread_create(&t[i], NULL, short_life, (void *)(uintptr_t)(bench_random(&rnd) | 1)))
                bench_die("no thread");
        for (unsigned i = 0; i < 3; i++)
            pthread_join(t[i], NULL);
        ops += 6000;
        sleep_until(last_end + (k + 1) * seconds * 1000000000 / rounds);
    }
}

/* After a peak, a tenth of the blocks stays, here and there, and little is done. */
static void sparse(void)
{
    size_t most = shift ? 100000 : 200000, n = 0, keep = shift ? 5 : 10;
    struct block *b = bench_map(most * sizeof *b);
    for (; n < most; n++)
        take(&b[n], bench_between(&rnd, 256, shift ? 4000 : 2000));
    for (size_t i = 0; i < n; i++)
        if (bench_between(&rnd, 0, 99) >= keep)
            drop(&b[i]);
    uint64_t end = last_end + seconds * 1000000000;
    for (uint64_t now = tick(); now < end; now += 2000000) {
        for (unsigned r = 0; r < 10; r++)
            bench_request(&rnd, 100, 16, 2048);
        sleep_until(now + 2000000 < end ? now + 2000000 : end);
    }
    while (n)
        drop(&b[--n]);
}

static const struct { const char *name; void (*run)(void); } work[] = {
    { "bursts", bursts }, { "batch", batch }, { "growing", growing }, { "pairs", pairs }, { "births", births }, { "sparse", sparse },
};
enum { KINDS = sizeof work / sizeof *work };
static const char usage[] = "usage: phased NAME[,NAME...] [SEED SECONDS SHIFT], NAME bursts, batch, growing, pairs, births or sparse";

static unsigned find(const char *name, size_t len)
{
    for (unsigned i = 0; i < KINDS; i++)
        if (strlen(work[i].name) == len && !memcmp(work[i].name, name, len))
            return i;
    bench_usage(usage);
}

int main(int argc, char **argv)
{
    bench_prove();
    if (argc < 2 || argc > 5)
        bench_usage(usage);
    rnd = bench_arg(argc, argv, 2, 1) * 0x9e3779b97f4a7c15u + 1;
    seconds = bench_arg(argc, argv, 3, 6);
    shift = bench_arg(argc, argv, 4, 0);
    for (const char *s = argv[1]; *s; s += strcspn(s, ",") + (s[strcspn(s, ",")] == ','))
        (void)find(s, strcspn(s, ","));
    struct bench_time t = bench_start();
    began = looked = last_end = bench_ns(CLOCK_MONOTONIC);
    for (const char *s = argv[1]; *s; s += strcspn(s, ",") + (s[strcspn(s, ",")] == ',')) {
        work[find(s, strcspn(s, ","))].run();
        look(last_end = bench_ns(CLOCK_MONOTONIC));
    }
    double cpu = (double)(bench_ns(CLOCK_PROCESS_CPUTIME_ID) - t.cpu) / 1e6;
    printf("cost cost_ms=%.1f cpu_ms=%.1f idle_mib_s=%.1f\n", cpu + idle * IDLE_NS / 1e6, cpu, idle);
    bench_report("phased", ops ? ops : 1, t);
    return 0;
}
