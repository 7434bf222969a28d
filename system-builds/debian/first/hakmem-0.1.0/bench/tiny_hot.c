/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * tiny_hot SIZE ITER: 100 live blocks of one size; each op frees the oldest and allocates a new one in its place.
 */
#include "bench.h"

#define LIVE 100

int main(int argc, char **argv)
{
    bench_prove();
    size_t size = bench_arg(argc, argv, 1, 16);
    unsigned long iter = bench_arg(argc, argv, 2, 20000000);
    if (!size || !iter)
        bench_die("usage: tiny_hot SIZE ITER, both at least 1");

    void *live[LIVE];
    for (int i = 0; i < LIVE; i++) {
        live[i] = bench_need(malloc(size));
        bench_touch(live[i], size);
    }
    struct bench_time t = bench_start();
    for (unsigned long done = 0, i = 0; done < iter; done++) {
        free(live[i]);
        live[i] = bench_need(malloc(size));
        bench_touch(live[i], size);
        if (++i == LIVE)
            i = 0;
    }
    for (int i = 0; i < LIVE; i++)
        free(live[i]);
    char name[64];
    snprintf(name, sizeof name, "tiny_hot %zu B", size);
    bench_report(name, iter, t);
    return 0;
}
