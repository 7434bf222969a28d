/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * crossing [THREADS [LOOPS [BLOCKS [MIN [MAX]]]]]: server threads whose blocks are half their own and half the next
 * thread's, as rptest is described. Each has BLOCKS places; a loop replaces a tenth of them, in strides from a random
 * place on, by blocks of MIN to MAX bytes (16, 16000), the fewer the larger; in every other loop the old blocks are
 * sent to the next thread, which frees them. All wait for each other every 32 loops, so that no inbox grows. One op is
 * a malloc and its free.
 */
#include "work.h"

enum { TOGETHER = 32 };

static unsigned long nthreads, loops, nblocks, least, most;
static pthread_barrier_t together;

struct server { uint64_t rnd; struct parcel *inbox, *outbox; struct server *next; };

static void *serve(void *arg)
{
    struct server *s = arg;
    uint64_t rnd = s->rnd;                  /* a local: servers must not share a cache line through it */
    void **place = bench_map(nblocks * sizeof *place);
    for (unsigned long l = 0; l < loops; l++) {
        unsigned long at = bench_between(&rnd, 0, nblocks - 1);
        for (unsigned long i = 0; i < (nblocks + 9) / 10; i++, at = (at + 7) % nblocks) {
            if (place[at] && l % 2 && nthreads > 1)
                parcel_add(&s->outbox, place[at], &s->next->inbox);
            else
                work_put(place[at]);
            size_t a = bench_between(&rnd, least, most), b = bench_between(&rnd, least, most);
            place[at] = work_get(a < b ? a : b);
        }
        parcel_send(&s->outbox, &s->next->inbox);
        parcel_open(&s->inbox, work_put);
        if (l % TOGETHER == 0)
            pthread_barrier_wait(&together);
    }
    for (unsigned long i = 0; i < nblocks; i++)
        work_put(place[i]);
    munmap(place, nblocks * sizeof *place);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_prove();
    nthreads = bench_arg(argc, argv, 1, 2);
    loops = bench_arg(argc, argv, 2, 20000);
    nblocks = bench_arg(argc, argv, 3, 1000);
    least = bench_arg(argc, argv, 4, 16);
    most = bench_arg(argc, argv, 5, 16000);
    if (!nthreads || !loops || !nblocks || least < 16 || most < least || most > INT32_MAX || argc > 6)
        bench_usage("usage: crossing [THREADS [LOOPS [BLOCKS [MIN [MAX]]]]], MIN at least 16, MAX not less");
    struct server *s = bench_map(nthreads * sizeof *s);
    for (unsigned long i = 0; i < nthreads; i++)
        s[i] = (struct server){i + 1, NULL, NULL, &s[(i + 1) % nthreads]};
    pthread_barrier_init(&together, NULL, (unsigned)nthreads);
    char name[64];
    snprintf(name, sizeof name, "crossing %lu", nthreads);
    struct bench_time t = bench_start();
    work_together(nthreads, serve, s, sizeof *s);
    for (unsigned long i = 0; i < nthreads; i++)
        parcel_open(&s[i].inbox, work_put);
    bench_report(name, (uint64_t)nthreads * loops * ((nblocks + 9) / 10), t);
    return 0;
}
