/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * big_hot SIZE ITER [LIVE [SITES]]: allocates and frees SIZE bytes, ITER times, and touches nothing: what a large block
 * costs by itself. LIVE other blocks of that size (0) are there all the time, touched. SITES (1): 1 or 2 places of the
 * program that allocate, in turn. One op is a malloc and its free.
 */
#include "bench.h"

#define MAX_LIVE 1024

__attribute__((noinline)) static void *one_place(size_t size)
{
    void *p = malloc(size);
    __asm__ volatile("" ::: "memory"); /* no tail call: the place must be here */
    return p;
}

__attribute__((noinline)) static void *another_place(size_t size)
{
    void *p = malloc(size);
    __asm__ volatile("nop" ::: "memory");
    return p;
}

int main(int argc, char **argv)
{
    bench_prove();
    size_t size = bench_arg(argc, argv, 1, 2 << 20);
    unsigned long iter = bench_arg(argc, argv, 2, 100000), live = bench_arg(argc, argv, 3, 0);
    unsigned long sites = bench_arg(argc, argv, 4, 1);
    if (!size || !iter || live > MAX_LIVE || sites < 1 || sites > 2)
        bench_die("usage: big_hot SIZE ITER [LIVE [SITES]], SIZE and ITER at least 1, LIVE up to 1024, SITES 1 or 2");

    void *other[MAX_LIVE];
    for (unsigned long i = 0; i < live; i++) {
        other[i] = bench_need(malloc(size));
        bench_touch(other[i], size);
    }
    for (unsigned long i = 0; i < iter / 10 + 100; i++) /* until it is in its stride */
        free(bench_need(i % sites ? another_place(size) : one_place(size)));
    struct bench_time t = bench_start();
    for (unsigned long i = 0; i < iter; i++)
        free(bench_need(i % sites ? another_place(size) : one_place(size)));
    char name[64];
    snprintf(name, sizeof name, "big_hot %zu B", size);
    bench_report(name, iter, t);
    for (unsigned long i = 0; i < live; i++)
        free(other[i]);
    return 0;
}
