/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * scaling [KIND [FROM [TO [ITER [ROUNDS]]]]]: FROM, twice as many, .. TO threads (1 to the number of processors), each
 * of which works on blocks of its own, ITER times: it frees what is in a random one of 1000 places and allocates one
 * there. KIND: sizes, as in kinds[]; `none' is the same without an allocator, on blocks that stay: what the machine
 * itself gives. One op is a free and a malloc.
 *
 * Of ROUNDS rounds (3), in each of which every number of threads has its turn, the least time of a number counts. Of
 * more than one number, the last line tells the throughput over that of the first: by the wall, which wants a processor
 * for each thread; by CPU time, what it would be with one; and that of `none'.
 */
#include "work.h"

#define PLACES 1000
#define MAX_COUNTS 32

static const struct kind { const char *name; size_t from, to; } kinds[] = {
    {"mixed", 16, 1040}, {"tiny", 64, 64}, {"mid", 1024, 65536}, {"none", 0, 0}};
enum { KINDS = sizeof kinds / sizeof *kinds, CONTROL = 1040 };

static unsigned long iter;
static const struct kind *kind;

static void *worker(void *arg)
{
    uint64_t rnd = *(unsigned long *)arg;
    struct kind k = *kind;
    char **place = bench_map(PLACES * sizeof *place);
    char *own = k.to ? NULL : bench_map(PLACES * CONTROL);
    for (size_t i = 0; own && i < PLACES; i++)
        place[i] = own + i * CONTROL;
    for (unsigned long i = 0; i < iter; i++) {
        char **p = &place[bench_between(&rnd, 0, PLACES - 1)];
        size_t n = own ? bench_between(&rnd, 16, CONTROL) : bench_between(&rnd, k.from, k.to);
        if (!own) {
            free(*p);
            *p = bench_need(malloc(n));
        }
        bench_touch(*p, n);
    }
    for (size_t i = 0; !own && i < PLACES; i++)
        free(place[i]);
    if (own)
        munmap(own, PLACES * CONTROL);
    munmap(place, PLACES * sizeof *place);
    return NULL;
}

struct count { unsigned long threads; struct bench_time least; };

static void turn(struct count *c, const struct kind *k)
{
    unsigned long *seed = bench_map(c->threads * sizeof *seed);
    kind = k;
    for (unsigned long i = 0; i < c->threads; i++)
        seed[i] = i + 1;
    struct bench_time t = bench_start();
    work_together(c->threads, worker, seed, sizeof *seed);
    t = bench_since(t);
    c->least.wall = c->least.wall && c->least.wall < t.wall ? c->least.wall : t.wall;
    c->least.cpu = c->least.cpu && c->least.cpu < t.cpu ? c->least.cpu : t.cpu;
    munmap(seed, c->threads * sizeof *seed);
}

/* Throughput with b's threads over that with a's. */
static double by_wall(const struct count *a, const struct count *b)
{
    return (double)b->threads / (double)b->least.wall * (double)a->least.wall / (double)a->threads;
}
static double by_cpu(const struct count *a, const struct count *b)
{
    return (double)b->threads / (double)a->threads * ((double)a->least.cpu / (double)a->threads) /
           ((double)b->least.cpu / (double)b->threads);
}

int main(int argc, char **argv)
{
    bench_prove();
    const struct kind *k = NULL;
    for (int i = 0; i < KINDS; i++)
        if (strcmp(argc > 1 ? argv[1] : kinds[0].name, kinds[i].name) == 0)
            k = &kinds[i];
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned long from = bench_arg(argc, argv, 2, 1);
    unsigned long to = bench_arg(argc, argv, 3, argc > 2 ? from : cpus > 1 ? (unsigned long)cpus : 1);
    iter = bench_arg(argc, argv, 4, 3000000);
    unsigned long rounds = bench_arg(argc, argv, 5, 3);
    if (!k || !from || to < from || !iter || !rounds || argc > 6)
        bench_usage("usage: scaling [mixed|tiny|mid|none [FROM [TO [ITER [ROUNDS]]]]], FROM at least 1, TO not less");

    struct count all[MAX_COUNTS] = {{0}}, none[MAX_COUNTS] = {{0}};
    unsigned counts = 0;
    for (unsigned long n = from;; n = n <= to / 2 ? 2 * n : to) {
        all[counts].threads = none[counts].threads = n;
        if (++counts == MAX_COUNTS || n == to)
            break;
    }
    for (unsigned long r = 0; r < rounds; r++)
        for (unsigned i = 0; i < counts; i++) {
            turn(&all[i], k);
            if (counts > 1 && k->to)
                turn(&none[i], &kinds[KINDS - 1]);
        }
    for (unsigned i = 0; i < counts; i++) {
        char name[64];
        snprintf(name, sizeof name, "scaling %s %lu", k->name, all[i].threads);
        bench_line(name, (uint64_t)all[i].threads * iter, all[i].least);
    }
    for (unsigned i = 1; i < counts; i++) {
        printf("speedup %lu/%lu wall=%.3f cpu=%.3f", all[i].threads, from, by_wall(all, &all[i]), by_cpu(all, &all[i]));
        if (k->to)
            printf(" none_wall=%.3f none_cpu=%.3f", by_wall(none, &none[i]), by_cpu(none, &none[i]));
        putchar('\n');
    }
    return 0;
}
