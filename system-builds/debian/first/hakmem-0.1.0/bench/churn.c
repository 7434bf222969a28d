/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * churn [NTHREADS [ROUNDS [BLOCKS]]]: short threads, one round of NTHREADS after the other.  Each frees what one of the
 * round before left it, allocates BLOCKS blocks (0: none, just one malloc and free), frees every other one and ends.  One op
 * is a thread.  What the allocator does at a thread's birth and death is all there is, and memory of dead threads that is
 * not used again shows in the peak RSS.
 */
#include "work.h"

static unsigned long nthreads, rounds, nblocks;

struct line { uint64_t rnd; void **left; };

static void *life(void *arg)
{
    struct line *l = arg;
    if (!nblocks)
        work_put(work_get(64));
    for (unsigned long i = 0; i < nblocks; i++) {
        work_put(l->left[i]);
        l->left[i] = work_get(bench_between(&l->rnd, 16, bench_random(&l->rnd) % 16 ? 512 : 16384));
    }
    for (unsigned long i = 0; i < nblocks; i += 2) {
        work_put(l->left[i]);
        l->left[i] = NULL;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    bench_prove();
    nthreads = bench_arg(argc, argv, 1, 2);
    rounds = bench_arg(argc, argv, 2, 5000);
    nblocks = bench_arg(argc, argv, 3, 200);
    if (!nthreads || !rounds)
        bench_die("usage: churn [NTHREADS [ROUNDS [BLOCKS]]]");
    struct line *l = bench_map(nthreads * sizeof *l);
    void **left = bench_map(nthreads * nblocks * sizeof *left);
    char name[64];
    snprintf(name, sizeof name, "churn %lu %lu", nthreads, nblocks);
    struct bench_time t = bench_start();
    for (unsigned long r = 0; r < rounds; r++) {
        for (unsigned long i = 0; i < nthreads; i++)
            l[i] = (struct line){r * nthreads + i + 1, left + (i + r) % nthreads * nblocks};
        work_together(nthreads, life, l, sizeof *l);
    }
    bench_report(name, (uint64_t)nthreads * rounds, t);
    for (unsigned long i = 0; i < nthreads * nblocks; i++)
        work_put(left[i]);
    return 0;
}
