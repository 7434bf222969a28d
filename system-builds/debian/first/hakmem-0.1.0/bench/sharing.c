/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * sharing MODE [NTHREADS [ITER [SIZE [WRITES]]]]: does the allocator put blocks of two threads into one cache line?
 *   thrash   each thread allocates a block of SIZE bytes, writes each of its bytes WRITES times and frees it, ITER times
 *   scratch  the same, but first each thread frees a block that the main thread has made beside those of the others: an
 *            allocator that gives it to that thread again lets the threads share a line for good
 * One op is a malloc, its writes and its free.  Without a shared line two threads take as long as one.
 */
#include "work.h"

static unsigned long iter, size, writes;

static void *work(void *arg)
{
    free(*(void **)arg);
    for (unsigned long i = 0; i < iter; i++) {
        volatile char *p = bench_need(malloc(size));
        for (unsigned long w = 0; w < writes; w++)
            for (unsigned long j = 0; j < size; j++)
                p[j] = (char)(p[j] + 1);
        free((void *)(uintptr_t)p);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    bench_prove();
    bool scratch = argc > 1 && strcmp(argv[1], "scratch") == 0;
    unsigned long nthreads = bench_arg(argc, argv, 2, 2);
    iter = bench_arg(argc, argv, 3, 100000);
    size = bench_arg(argc, argv, 4, 8);
    writes = bench_arg(argc, argv, 5, 200);
    if (argc < 2 || (!scratch && strcmp(argv[1], "thrash") != 0) || !nthreads || !iter || !size)
        bench_die("usage: sharing thrash|scratch [NTHREADS [ITER [SIZE [WRITES]]]]");
    void **first = bench_map(nthreads * sizeof *first);
    for (unsigned long i = 0; scratch && i < nthreads; i++)
        first[i] = bench_need(malloc(size));
    char name[64];
    snprintf(name, sizeof name, "sharing %s %lu", argv[1], nthreads);
    struct bench_time t = bench_start();
    work_together(nthreads, work, first, sizeof *first);
    bench_report(name, (uint64_t)nthreads * iter, t);
    return 0;
}
