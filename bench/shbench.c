/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * shbench sh6|sh8 [THREADS [ROUNDS [PLACES]]]: a table that fills again and again, as the well-known sh6bench and
 * sh8bench are described. A round fills all PLACES but those of a fifth of the table, which keeps its blocks that time
 * and is another fifth next time; then what lies before it is freed in the order in which it was made, what lies behind
 * it in reverse.
 *   sh6  each thread for itself; 1 to 1000 bytes, small ones more often
 *   sh8  8 bytes to 160 KiB, large ones rarely; each eighth block goes to the next thread, many at a time, and is freed
 *        there; threads wait for each other after each round, so that no inbox grows
 * One op is a malloc and its free.
 */
#include "work.h"

static unsigned long nthreads, rounds, places;
static bool crossing;
static pthread_barrier_t together;

struct desk { uint64_t rnd; struct parcel *inbox, *outbox; struct desk *next; };

static size_t size_of(uint64_t *rnd)
{
    if (!crossing) /* half of a half of .. */
        return 1 + bench_between(rnd, 0, 999) / (1u << bench_between(rnd, 0, 5));
    uint32_t r = bench_random(rnd) % 4096;
    return r < 4000 ? bench_between(rnd, 8, 64) : r < 4080 ? bench_between(rnd, 65, 512)
         : r < 4095 ? bench_between(rnd, 513, 16384) : bench_between(rnd, 16385, 163840);
}

static void *clerk(void *arg)
{
    struct desk *d = arg;
    uint64_t rnd = d->rnd;                  /* a local: desks must not share a cache line through it */
    struct { char *p; size_t n; } *table = bench_map(places * sizeof *table);
    unsigned long fifth = places / 5;
    for (unsigned long r = 0; r < rounds; r++) {
        unsigned long kept = r % 5 * fifth;
        for (unsigned long i = 0; i < places; i++) {
            if (table[i].p)             /* kept from the last round */
                continue;
            size_t n = table[i].n = size_of(&rnd);
            char *p = table[i].p = bench_need(malloc(n));
            p[0] = p[n - 1] = (char)n;
        }
        for (unsigned long i = 0; i < places; i++) {
            unsigned long at = i < kept ? i : i < kept + fifth ? places : places - 1 - (i - kept - fifth);
            if (at == places)
                continue;
            if (table[at].p[0] != (char)table[at].n || table[at].p[table[at].n - 1] != (char)table[at].n)
                bench_die("a block was overwritten");
            if (crossing && nthreads > 1 && i % 8 == 0)
                parcel_add(&d->outbox, table[at].p, &d->next->inbox);
            else
                free(table[at].p);
            table[at].p = NULL;
        }
        if (crossing) {
            pthread_barrier_wait(&together);
            parcel_open(&d->inbox, free);
        }
    }
    for (unsigned long i = 0; i < places; i++)
        free(table[i].p);
    munmap(table, places * sizeof *table);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_prove();
    const char *mode = argc > 1 ? argv[1] : "";
    crossing = strcmp(mode, "sh8") == 0;
    nthreads = bench_arg(argc, argv, 2, 2);
    rounds = bench_arg(argc, argv, 3, 400);
    places = bench_arg(argc, argv, 4, 10000);
    if ((!crossing && strcmp(mode, "sh6") != 0) || !nthreads || !rounds || places < 10 || argc > 5)
        bench_usage("usage: shbench sh6|sh8 [THREADS [ROUNDS [PLACES]]], PLACES at least 10");
    struct desk *d = bench_map(nthreads * sizeof *d);
    for (unsigned long i = 0; i < nthreads; i++)
        d[i] = (struct desk){i + 1, NULL, NULL, &d[(i + 1) % nthreads]};
    pthread_barrier_init(&together, NULL, (unsigned)nthreads);
    char name[64];
    snprintf(name, sizeof name, "shbench %s %lu", mode, nthreads);
    struct bench_time t = bench_start();
    work_together(nthreads, clerk, d, sizeof *d);
    for (unsigned long i = 0; i < nthreads; i++) {
        parcel_open(&d[i].inbox, free);
        parcel_open(&d[i].outbox, free);
    }
    /* all places in the first round, and four fifths of them in the others */
    bench_report(name, (uint64_t)nthreads * (places + (rounds - 1) * (places - places / 5)), t);
    return 0;
}
