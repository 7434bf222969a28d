/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * remote MODE [NTHREADS [ITER [LIVE]]]: blocks that another thread frees.  One op is a malloc and its free; ITER is of each
 * thread that allocates.
 *   pipeline   pairs of threads: one fills an array of LIVE blocks while the other empties the one before, in the order in
 *              which they were made, and then they swap; all frees are remote
 *   shuffle    the same, but each array is emptied in a random order: no two blocks that follow share a slab
 *   neighbour  threads in a circle, LIVE places between them; each op puts a new block into a random place at its left or
 *              its right and frees the one found there: half of the frees are remote, in a random order
 * The work is the same whatever the allocator: threads wait for each other asleep, and only where an array ends.
 */
#include "work.h"

enum { FROM = 16, TO = 256 };

static unsigned long nthreads, iter, live;
static bool shuffled;

struct pair { void **blocks[2]; pthread_barrier_t turn; };
struct end { struct pair *pair; unsigned long seed; bool frees; };

static void fill(void **blocks, uint64_t *rnd)
{
    for (unsigned long i = 0; i < live; i++)
        blocks[i] = work_get(bench_between(rnd, FROM, TO));
}

static void empty(void **blocks, uint64_t *rnd)
{
    for (unsigned long i = 0; i < live; i++) {
        if (shuffled) {
            unsigned long j = bench_between(rnd, i, live - 1);
            void *p = blocks[j];
            blocks[j] = blocks[i];
            blocks[i] = p;
        }
        work_put(blocks[i]);
    }
}

static void *pipeline(void *arg)
{
    struct end *e = arg;
    uint64_t rnd = e->seed;
    for (unsigned long turn = 0; turn <= iter / live; turn++) {
        if (!e->frees && turn < iter / live)
            fill(e->pair->blocks[turn % 2], &rnd);
        if (e->frees && turn > 0)
            empty(e->pair->blocks[(turn - 1) % 2], &rnd);
        pthread_barrier_wait(&e->pair->turn);
    }
    return NULL;
}

static uint64_t run_pipeline(void)
{
    unsigned long pairs = (nthreads + 1) / 2;
    struct pair *pair = bench_map(pairs * sizeof *pair);
    struct end *end = bench_map(2 * pairs * sizeof *end);
    for (unsigned long i = 0; i < pairs; i++) {
        pthread_barrier_init(&pair[i].turn, NULL, 2);
        for (int j = 0; j < 2; j++) {
            pair[i].blocks[j] = bench_map(live * sizeof(void *));
            end[2 * i + j] = (struct end){&pair[i], 2 * i + j + 1, j};
        }
    }
    work_together(2 * pairs, pipeline, end, sizeof *end);
    return pairs * (iter / live * live);
}

static void **place;

static void *neighbour(void *arg)
{
    unsigned long me = *(unsigned long *)arg;
    uint64_t rnd = me;
    for (unsigned long i = 0; i < iter; i++) {
        unsigned long side = bench_random(&rnd) & 1u ? me : (me + 1) % nthreads;
        void *p = work_get(bench_between(&rnd, FROM, TO));
        work_put(__atomic_exchange_n(&place[side * live + bench_between(&rnd, 0, live - 1)], p, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

static uint64_t run_neighbour(void)
{
    unsigned long *number = bench_map(nthreads * sizeof *number);
    place = bench_map(nthreads * live * sizeof *place);
    for (unsigned long i = 0; i < nthreads; i++)
        number[i] = i;
    work_together(nthreads, neighbour, number, sizeof *number);
    for (unsigned long i = 0; i < nthreads * live; i++)
        work_put(place[i]);
    return nthreads * iter;
}

int main(int argc, char **argv)
{
    static const struct { const char *name; uint64_t (*run)(void); } modes[] = {
        {"pipeline", run_pipeline}, {"shuffle", run_pipeline}, {"neighbour", run_neighbour}};
    bench_prove();
    nthreads = bench_arg(argc, argv, 2, 2);
    iter = bench_arg(argc, argv, 3, 4000000);
    live = bench_arg(argc, argv, 4, 4000);
    for (size_t i = 0; argc > 1 && nthreads && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(argv[1], modes[i].name) == 0) {
            if (!live || iter < live)
                bench_die("ITER must be at least LIVE, and LIVE at least 1");
            shuffled = i == 1;
            char name[64];
            snprintf(name, sizeof name, "remote %s %lu", modes[i].name, nthreads);
            struct bench_time t = bench_start();
            uint64_t ops = modes[i].run();
            bench_report(name, ops, t);
            return 0;
        }
    bench_die("usage: remote pipeline|shuffle|neighbour [NTHREADS [ITER [LIVE]]]");
}
