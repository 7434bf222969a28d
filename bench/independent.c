/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * independent [NTHREADS [ITER [MIN MAX [LIVE [swing]]]]]: threads that have nothing to do with each other.  Each has LIVE places
 * (2000) for blocks of MIN..MAX bytes (16..1040) and puts a new block in the place of an old one ITER times, at random; or,
 * with `swing`, fills all places and empties them again, over and over.  One op is a malloc and its free.  What is slower with
 * more threads than with one, on as many processors, is what the allocator shares between them.
 */
#include "work.h"

static unsigned long nthreads, iter, from, to, live;
static bool swings;

static void *life(void *arg)
{
    uint64_t rnd = *(unsigned long *)arg + 1;
    void **place = bench_map(live * sizeof *place);
    for (unsigned long i = 0; i < iter;) {
        for (unsigned long j = 0; swings && i < iter && j < live; i++, j++)
            place[j] = work_get(bench_between(&rnd, from, to));
        for (unsigned long j = 0; swings && j < live; j++) {
            work_put(place[j]);
            place[j] = NULL;
        }
        for (; !swings && i < iter; i++) {
            void **p = &place[bench_between(&rnd, 0, live - 1)];
            work_put(*p);
            *p = work_get(bench_between(&rnd, from, to));
        }
    }
    for (unsigned long j = 0; j < live; j++)
        work_put(place[j]);
    munmap(place, live * sizeof *place);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_prove();
    nthreads = bench_arg(argc, argv, 1, 2);
    iter = bench_arg(argc, argv, 2, 4000000);
    from = bench_arg(argc, argv, 3, 16);
    to = bench_arg(argc, argv, 4, from < 1040 ? 1040 : from);
    live = bench_arg(argc, argv, 5, 2000);
    swings = argc > 6 && strcmp(argv[6], "swing") == 0;
    if (!nthreads || !iter || from < 16 || to < from || !live || (argc > 6 && !swings))
        bench_usage("usage: independent [NTHREADS [ITER [MIN MAX [LIVE [swing]]]]]");
    unsigned long *number = bench_map(nthreads * sizeof *number);
    for (unsigned long i = 0; i < nthreads; i++)
        number[i] = i;
    struct bench_time t = bench_start();
    work_together(nthreads, life, number, sizeof *number);
    char name[80];
    snprintf(name, sizeof name, "independent %lu %lu-%lu%s", nthreads, from, to, swings ? " swing" : "");
    bench_report(name, nthreads * iter, t);
    return 0;
}
