/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * after_peak [COUNT MIN MAX PERCENT WAIT]: what a process keeps after its peak. Allocates COUNT blocks of MIN..MAX
 * bytes, writes them all, frees a random PERCENT of them, waits WAIT seconds, makes a few hundred calls, and asks for
 * malloc_trim at last; prints the resident set after each step beside the bytes that live.
 */
#include "bench.h"
#include <malloc.h>

static long base;                   /* the resident set before the first block, with the array of pointers */

static void show(const char *when, size_t live)
{
    long rss = bench_rss_kib() - base;
    printf("%-14s rss_kib=%-8ld live_kib=%-8zu ratio=%.2f\n", when, rss, live >> 10,
           (double)rss * 1024 / (double)(live ? live : 1));
}

int main(int argc, char **argv)
{
    bench_prove();
    size_t count = bench_arg(argc, argv, 1, 400000), lo = bench_arg(argc, argv, 2, 64);
    size_t hi = bench_arg(argc, argv, 3, 2048), percent = bench_arg(argc, argv, 4, 90);
    unsigned wait = (unsigned)bench_arg(argc, argv, 5, 3);
    if (!count || !lo || lo > hi || hi > UINT32_MAX || percent > 100)
        bench_die("usage: after_peak [COUNT [MIN [MAX [PERCENT [WAIT]]]]]");

    struct { char *p; size_t n; } *b = bench_map(count * sizeof *b);
    memset(b, 1, count * sizeof *b);
    printf("%s", "");               /* stdio takes its buffer now */
    base = bench_rss_kib();
    uint64_t rnd = 1;
    size_t live = 0;
    struct bench_time t = bench_start();
    for (size_t i = 0; i < count; i++) {
        b[i].n = bench_between(&rnd, lo, hi);
        b[i].p = bench_need(malloc(b[i].n));
        memset(b[i].p, 1, b[i].n);
        live += b[i].n;
    }
    show("peak", live);
    for (size_t i = 0; i < count; i++)
        if (bench_between(&rnd, 0, 99) < percent) {
            free(b[i].p);
            live -= b[i].n;
        }
    show("freed", live);
    bench_report("after_peak", count, t);
    for (unsigned i = 0; i < wait; i++)
        sleep(1);
    show("waited", live);
    bench_request(&rnd, 400, 16, 2048);
    show("woken", live);
    malloc_trim(0);
    show("trimmed", live);
    return 0;
}
