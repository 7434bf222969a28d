/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * work.h: what the bench programs with threads share: blocks that know their size, so that a block that two threads
 * were given at once does not go unseen, parcels of blocks for another thread to free, and the start and end of
 * threads.
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

/* Blocks on their way to the thread that is to free them. An inbox is a stack: senders push, the owner takes all. */
struct parcel { struct parcel *next; unsigned n; void *p[62]; };

__attribute__((unused)) static void parcel_send(struct parcel **mine, struct parcel **inbox)
{
    struct parcel *p = *mine;
    *mine = NULL;
    if (!p)
        return;
    p->next = __atomic_load_n(inbox, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(inbox, &p->next, p, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;                               /* the release pairs with the acquire in parcel_open */
}

__attribute__((unused)) static void parcel_add(struct parcel **mine, void *block, struct parcel **inbox)
{
    if (!*mine) {
        *mine = bench_need(malloc(sizeof **mine));
        (*mine)->next = NULL;
        (*mine)->n = 0;
    }
    (*mine)->p[(*mine)->n++] = block;
    if ((*mine)->n == sizeof (*mine)->p / sizeof *(*mine)->p)
        parcel_send(mine, inbox);
}

__attribute__((unused)) static void parcel_open(struct parcel **inbox, void (*put)(void *))
{
    struct parcel *p = __atomic_exchange_n(inbox, NULL, __ATOMIC_ACQUIRE);
    while (p) {
        struct parcel *next = p->next;
        for (unsigned i = 0; i < p->n; i++)
            put(p->p[i]);
        free(p);
        p = next;
    }
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
