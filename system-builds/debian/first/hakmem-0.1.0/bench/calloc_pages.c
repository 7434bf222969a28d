/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * calloc_pages SIZE ITER [LIVE [STEP]]: LIVE blocks (8) of zeroed memory in turn. Each op frees the oldest, callocs
 * SIZE bytes, checks that a byte of every STEP bytes (one page) is zero, and writes it, so that reused memory is
 * dirty. A STEP larger than SIZE leaves all pages but the first untouched: who knows that they still are zero?
 */
#include "bench.h"

#define MAX_LIVE 64

int main(int argc, char **argv)
{
    bench_prove();
    size_t size = bench_arg(argc, argv, 1, 65536);
    unsigned long iter = bench_arg(argc, argv, 2, 100000), live = bench_arg(argc, argv, 3, 8);
    size_t step = bench_arg(argc, argv, 4, 4096);
    if (!size || !iter || !live || live > MAX_LIVE || !step)
        bench_die("usage: calloc_pages SIZE ITER [LIVE [STEP]], LIVE 1..64");

    unsigned char *p[MAX_LIVE] = {NULL};
    struct bench_time t = bench_start();
    for (unsigned long i = 0; i < iter; i++) {
        unsigned char **s = &p[i % live];
        free(*s);
        *s = bench_need(calloc(1, size));
        unsigned char bad = (*s)[size - 1];
        for (size_t at = 0; at < size; at += step) {
            bad |= (*s)[at];
            (*s)[at] = 0xff;
        }
        if (bad)
            bench_die("calloc: not zero");
    }
    for (unsigned long k = 0; k < live; k++)
        free(p[k]);
    char name[64];
    snprintf(name, sizeof name, "calloc_pages %zu B step %zu", size, step);
    bench_report(name, iter, t);
    return 0;
}
