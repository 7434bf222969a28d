/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * swing [MIB PERCENT MIN MAX TIMES random|last]: a heap that swings. MIB in blocks of MIN..MAX bytes, of which PERCENT,
 * random ones or those that came last, are freed and allocated again, TIMES times. Page faults are what to look at.
 */
#include "bench.h"

int main(int argc, char **argv)
{
    bench_prove();
    size_t bytes = bench_arg(argc, argv, 1, 80) << 20, percent = bench_arg(argc, argv, 2, 62);
    size_t lo = bench_arg(argc, argv, 3, 16), hi = bench_arg(argc, argv, 4, 2048);
    size_t times = bench_arg(argc, argv, 5, 60), n = 0, ops = 0;
    int any = argc > 6 && !strcmp(argv[6], "random");
    if (!lo || lo > hi || percent > 100 || (argc > 6 && !any && strcmp(argv[6], "last")))
        bench_die("usage: swing [MIB PERCENT MIN MAX TIMES random|last]");
    struct { char *p; size_t n; } *b = bench_map((bytes / lo + 1) * sizeof *b);
    uint64_t rnd = 1;
    struct bench_time t = bench_start();
    for (size_t sum = 0; sum < bytes; sum += b[n++].n) {
        b[n].n = bench_between(&rnd, lo, hi);
        b[n].p = memset(bench_need(malloc(b[n].n)), 1, b[n].n);
    }
    for (size_t k = 0; k < times; k++) {
        for (size_t i = 0; i < n; i++)
            if (any ? bench_between(&rnd, 0, 99) < percent : i >= n - n * percent / 100) {
                free(b[i].p);
                b[i].p = NULL;
            }
        for (size_t i = 0; i < n; i++)
            if (!b[i].p) {
                b[i].p = memset(bench_need(malloc(b[i].n)), 1, b[i].n);
                ops++;
            }
    }
    bench_report("swing", ops, t);
    return 0;
}
