/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * leavers [THREADS [ROUNDS [SIZE]]]: ROUNDS times, THREADS threads (10) begin, allocate one block of SIZE bytes (32)
 * that outlives them, and end; the main thread frees it 8 rounds later. An allocator that keeps something for each
 * thread that ever was grows: the second line tells by how many KiB, from the first fifth of the rounds to the end. One
 * op is a thread.
 */
#include "work.h"

enum { LATER = 8 };

static size_t size;

static void *leave(void *arg)
{
    *(void **)arg = work_get(size);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_prove();
    unsigned long nthreads = bench_arg(argc, argv, 1, 10), rounds = bench_arg(argc, argv, 2, 2000);
    size = bench_arg(argc, argv, 3, 32);
    if (!nthreads || !rounds || size < 16 || argc > 4)
        bench_usage("usage: leavers [THREADS [ROUNDS [SIZE]]], SIZE at least 16");
    void **left = bench_map(LATER * nthreads * sizeof *left);
    long early = 0;
    struct bench_time t = bench_start();
    for (unsigned long r = 0; r < rounds; r++) {
        void **mine = left + r % LATER * nthreads;
        for (unsigned long i = 0; i < nthreads; i++)
            work_put(mine[i]);
        work_together(nthreads, leave, mine, sizeof *mine);
        if (r == rounds / 5)
            early = bench_rss_kib();
    }
    t = bench_since(t);
    long grown = bench_rss_kib() - early;
    for (unsigned long i = 0; i < LATER * nthreads; i++)
        work_put(left[i]);
    char name[64];
    snprintf(name, sizeof name, "leavers %lu", nthreads);
    bench_line(name, (uint64_t)nthreads * rounds, t);
    printf("grown rss_kib=%ld\n", grown);
    return 0;
}
