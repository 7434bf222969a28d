/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * buffers [COUNT [LIVE [MIN [MAX]]]]: COUNT buffers (2000) of MIN..MAX bytes (1 to 20 MiB), sizes from a fixed seed. Each
 * is allocated, a byte of each of its pages is written, and it is freed when LIVE newer ones (8) are there; what was
 * written is looked at then. Says how many page faults the second half took. One op is a buffer.
 */
#include "bench.h"

#define MAX_LIVE 1024

struct buffer {
    char *p;
    size_t n;
    char mark;
};

static void drop(struct buffer *b)
{
    if (b->p && (b->p[0] != b->mark || b->p[b->n / 2 & ~(size_t)4095] != b->mark || b->p[b->n - 1] != b->mark))
        bench_die("a buffer was overwritten");
    free(b->p);
    b->p = NULL;
}

int main(int argc, char **argv)
{
    bench_prove();
    unsigned long count = bench_arg(argc, argv, 1, 2000), live = bench_arg(argc, argv, 2, 8);
    size_t lo = bench_arg(argc, argv, 3, 1 << 20), hi = bench_arg(argc, argv, 4, 20 << 20);
    if (!count || !live || live > MAX_LIVE || !lo || lo > hi || hi > UINT32_MAX)
        bench_die("usage: buffers [COUNT [LIVE [MIN [MAX]]]], LIVE 1..1024, MAX below 4 GiB");

    struct buffer b[MAX_LIVE] = {{NULL, 0, 0}};
    uint64_t rnd = 1;
    long half = 0;
    struct bench_time t = bench_start();
    for (unsigned long i = 0; i < count; i++) {
        struct buffer *s = &b[i % live];
        if (i == count / 2)
            half = bench_faults();
        drop(s);
        s->n = bench_between(&rnd, lo, hi);
        s->p = bench_need(malloc(s->n));
        s->mark = (char)(i | 1);
        for (size_t at = 0; at < s->n; at += 4096)
            s->p[at] = s->mark;
        s->p[s->n - 1] = s->mark;
    }
    bench_steady(half, count - count / 2);
    for (unsigned long k = 0; k < live; k++)
        drop(&b[k]);
    char name[64];
    snprintf(name, sizeof name, "buffers %zu-%zu KiB", lo >> 10, hi >> 10);
    bench_report(name, count, t);
    return 0;
}
