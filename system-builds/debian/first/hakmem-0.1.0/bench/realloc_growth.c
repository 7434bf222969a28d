/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * realloc_growth LIMIT ITER [LIVE]: ITER times, LIVE buffers (1) grow in turn from 16 bytes by half of their size until
 * they reach LIMIT bytes. The last byte of each size, and a byte of every new page, is written, and checked after the
 * next step. One op is one realloc.
 */
#include "bench.h"

#define MAX_LIVE 64

int main(int argc, char **argv)
{
    bench_prove();
    size_t limit = bench_arg(argc, argv, 1, 1 << 20);
    unsigned long iter = bench_arg(argc, argv, 2, 1000), live = bench_arg(argc, argv, 3, 1);
    if (limit < 16 || !iter || !live || live > MAX_LIVE)
        bench_die("usage: realloc_growth LIMIT ITER [LIVE], LIMIT at least 16, LIVE 1..64");

    uint64_t ops = 0;
    struct bench_time t = bench_start();
    for (unsigned long i = 0; i < iter; i++) {
        unsigned char *p[MAX_LIVE];
        for (unsigned long k = 0; k < live; k++) {
            p[k] = bench_need(malloc(16));
            p[k][0] = (unsigned char)k;
            p[k][15] = (unsigned char)16;
        }
        for (size_t n = 16, next; n < limit; n = next) {
            next = n + n / 2 < limit ? n + n / 2 : limit;
            for (unsigned long k = 0; k < live; k++, ops++) {
                p[k] = bench_need(realloc(p[k], next));
                if (p[k][0] != (unsigned char)k || p[k][n - 1] != (unsigned char)n)
                    bench_die("realloc lost the content");
                for (size_t at = n; at < next; at += 4096)
                    p[k][at] = 1;
                p[k][next - 1] = (unsigned char)next;
            }
        }
        for (unsigned long k = 0; k < live; k++)
            free(p[k]);
    }
    char name[64];
    snprintf(name, sizeof name, "realloc_growth %zu x%lu", limit, live);
    bench_report(name, ops ? ops : 1, t);
    return 0;
}
