/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * random_mixed ITER WS SEED: blocks of 16..1040 bytes in WS slots. Each step picks a random slot, frees the block in it
 * if there is one, allocates a block of a random size there and writes its first and last byte. One step is one op.
 */
#include "bench.h"

int main(int argc, char **argv)
{
    bench_prove();
    unsigned long iter = bench_arg(argc, argv, 1, 10000000);
    unsigned long ws = bench_arg(argc, argv, 2, 256);
    uint64_t rnd = bench_arg(argc, argv, 3, 42) * 2 + 1;
    if (!iter || !ws || ws > UINT32_MAX)
        bench_die("usage: random_mixed ITER WS SEED, ITER and WS at least 1");

    char **slot = bench_map(ws * sizeof *slot);
    struct bench_time t = bench_start();
    for (unsigned long i = 0; i < iter; i++) {
        char **s = &slot[bench_between(&rnd, 0, ws - 1)];
        if (*s)
            free(*s);
        size_t n = bench_between(&rnd, 16, 1040);
        *s = bench_need(malloc(n));
        bench_touch(*s, n);
    }
    for (unsigned long i = 0; i < ws; i++)
        free(slot[i]);
    char name[64];
    snprintf(name, sizeof name, "random_mixed %lu slots", ws);
    bench_report(name, iter, t);
    return 0;
}
