/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * benchtests simple|thread [NUMBER]...: what glibc measures of its own malloc, in its folder benchtests.
 *   simple [SIZE [ITER]]   blocks of SIZE bytes (16): 25, then 100, 400, 1600 of them are allocated and freed in the
 *                          same order; by a process that never had a second thread, by one that had, and by that second
 *                          thread
 *   thread [THREADS [ITER]] each thread frees what is in a random one of 1024 places and allocates there, 4 to 32768
 *   bytes, a
 *                          size the rarer, by its square, the larger it is
 * One op is a malloc and a free.
 */
#include "work.h"

enum { MOST = 1600, PLACES = 1024, SIZES = 1024, SMALLEST = 4, LARGEST = 32768 };

static size_t size;
static unsigned long iter;

static void rounds(void **p)
{
    static const unsigned counts[] = {25, 100, 400, MOST};
    for (unsigned c = 0; c < sizeof counts / sizeof *counts; c++)
        for (unsigned long left = iter; left; left -= left < counts[c] ? left : counts[c]) {
            unsigned n = left < counts[c] ? (unsigned)left : counts[c];
            for (unsigned i = 0; i < n; i++) {
                p[i] = bench_need(malloc(size));
                *(volatile char *)p[i] = 1;
            }
            for (unsigned i = 0; i < n; i++)
                free(p[i]);
        }
}

static void *rounds_of_thread(void *arg)
{
    rounds(*(void ***)arg);
    return NULL;
}

static void *nothing(void *arg) { return arg; }

static uint64_t simple(void)
{
    pthread_t t;
    void **p = bench_map(MOST * sizeof *p);
    rounds(p);
    work_start(&t, nothing, NULL);
    pthread_join(t, NULL);
    rounds(p);
    work_together(1, rounds_of_thread, &p, sizeof p);
    return 3 * 4 * (uint64_t)iter;
}

static uint16_t sizes[SIZES];

/* A number of 0..1 is a size by the inverse of the share of all sizes up to it: 1/SMALLEST - 1/size, of all of them. */
static void make_sizes(void)
{
    double a = 1.0 / SMALLEST, b = 1.0 / LARGEST;
    for (int i = 0; i < SIZES; i++)
        sizes[i] = (uint16_t)(1 / (a - (a - b) * i / (SIZES - 1)));
}

static void *thread(void *arg)
{
    uint64_t rnd = *(unsigned long *)arg;
    void *place[PLACES] = {NULL};
    for (unsigned long i = 0; i < iter; i++) {
        void **p = &place[bench_between(&rnd, 0, PLACES - 1)];
        free(*p);
        *p = bench_need(malloc(sizes[bench_between(&rnd, 0, SIZES - 1)]));
        *(volatile char *)*p = 1;
    }
    for (int i = 0; i < PLACES; i++)
        free(place[i]);
    return NULL;
}

static uint64_t threads(unsigned long n)
{
    unsigned long *seed = bench_map(n * sizeof *seed);
    make_sizes();
    for (unsigned long i = 0; i < n; i++)
        seed[i] = i + 1;
    work_together(n, thread, seed, sizeof *seed);
    return (uint64_t)n * iter;
}

int main(int argc, char **argv)
{
    bench_prove();
    const char *mode = argc > 1 ? argv[1] : "";
    bool is_simple = strcmp(mode, "simple") == 0;
    unsigned long n = bench_arg(argc, argv, 2, is_simple ? 16 : 2);
    iter = bench_arg(argc, argv, 3, is_simple ? 2000000 : 8000000);
    size = n;
    if ((!is_simple && strcmp(mode, "thread") != 0) || !n || !iter || argc > 4)
        bench_usage("usage: benchtests simple [SIZE [ITER]] or thread [THREADS [ITER]], numbers at least 1");
    char name[64];
    snprintf(name, sizeof name, "benchtests %s %lu", mode, n);
    struct bench_time t = bench_start();
    uint64_t ops = is_simple ? simple() : threads(n);
    bench_report(name, ops, t);
    return 0;
}
