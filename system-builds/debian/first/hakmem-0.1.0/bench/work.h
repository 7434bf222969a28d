/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * work.h: what the bench programs with threads share: blocks that know their size, so that a block that two threads were
 * given at once does not go unseen, and the start and end of threads.
 */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include "bench.h"
#include <pthread.h>
#include <stdbool.h>

/* A block that begins with its size (at least 16) and ends with its lowest bits; both are checked when it is freed. */
__attribute__((unused)) static void *work_get(size_t size)
{
    char *p = bench_need(malloc(size));
    memcpy(p, &size, sizeof size);
    p[size - 1] = (char)(size & 127);
    return p;
}

__attribute__((unused)) static void work_put(void *p)
{
    size_t size;
    if (!p)
        return;
    memcpy(&size, p, sizeof size);
    if (((char *)p)[size - 1] != (char)(size & 127))
        bench_die("a block was overwritten");
    free(p);
}

__attribute__((unused)) static void work_start(pthread_t *t, void *(*run)(void *), void *arg)
{
    if (pthread_create(t, NULL, run, arg) != 0)
        bench_die("cannot start a thread");
}

/* n threads, each with its own of n arguments of `size` bytes; all of them have ended when it returns. */
__attribute__((unused)) static void work_together(unsigned long n, void *(*run)(void *), void *args, size_t size)
{
    pthread_t *t = bench_map(n * sizeof *t);
    for (unsigned long i = 0; i < n; i++)
        work_start(&t[i], run, (char *)args + i * size);
    for (unsigned long i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    munmap(t, n * sizeof *t);
}

#endif
