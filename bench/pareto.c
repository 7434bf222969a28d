/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * pareto [THREADS [OPS [PLACES [MAX]]]]: random places and sizes as programs have them, after the description of
 * alloc-test: of PLACES places, shared out among the threads, 20 % get 80 % of the work, and 20 % of those 80 % of
 * that, and so on; sizes are 1 to 2, or 1 to 4, .. or 1 to MAX bytes, each with the same chance. An op empties the
 * place if it is full and else fills it: a malloc or a free. Blocks are written all over, and looked at when they are
 * freed.
 */
#include "work.h"

static unsigned long nops, nplaces;
static unsigned powers;

struct place { unsigned char *p; uint32_t size; };

static size_t pick(uint64_t *rnd)
{
    size_t first = 0, n = nplaces;
    for (int level = 0; level < 6 && n >= 5; level++) {
        size_t fifth = n / 5;
        if (bench_random(rnd) % 5) {    /* 80 % */
            n = fifth;
        } else {
            first += fifth;
            n -= fifth;
            break;
        }
    }
    return first + bench_between(rnd, 0, n - 1);
}

static void empty(struct place *p)
{
    unsigned char was = (unsigned char)p->size;
    if (p->p[0] != was || p->p[p->size - 1] != was)
        bench_die("a block was overwritten");
    free(p->p);
    p->p = NULL;
}

static void *worker(void *arg)
{
    uint64_t rnd = *(unsigned long *)arg;
    struct place *place = bench_map(nplaces * sizeof *place);
    for (unsigned long i = 0; i < nops; i++) {
        struct place *p = &place[pick(&rnd)];
        if (p->p) {
            empty(p);
        } else {
            p->size = (uint32_t)bench_between(&rnd, 1, (size_t)1 << bench_between(&rnd, 1, powers));
            p->p = bench_need(malloc(p->size));
            memset(p->p, (int)(p->size & 255), p->size);
        }
    }
    for (unsigned long i = 0; i < nplaces; i++)
        if (place[i].p)
            empty(&place[i]);
    munmap(place, nplaces * sizeof *place);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_prove();
    unsigned long nthreads = bench_arg(argc, argv, 1, 1);
    nops = bench_arg(argc, argv, 2, 10000000);
    nplaces = bench_arg(argc, argv, 3, 1 << 18);
    unsigned long most = bench_arg(argc, argv, 4, 1024);
    if (!nthreads || !nops || nplaces < nthreads || nplaces > UINT32_MAX || most < 2 || most > 1 << 30 || argc > 5)
        bench_usage("usage: pareto [THREADS [OPS [PLACES [MAX]]]], PLACES at least THREADS, MAX 2 to 2^30");
    nplaces /= nthreads;
    while (most >> powers > 1)
        powers++;
    unsigned long *seed = bench_map(nthreads * sizeof *seed);
    for (unsigned long i = 0; i < nthreads; i++)
        seed[i] = i + 1;
    char name[64];
    snprintf(name, sizeof name, "pareto %lu", nthreads);
    struct bench_time t = bench_start();
    work_together(nthreads, worker, seed, sizeof *seed);
    bench_report(name, (uint64_t)nthreads * nops, t);
    return 0;
}
