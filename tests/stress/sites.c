/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * sites.c: threads that ask for large blocks, and for small labelled ones, from more sites than the table has rows, free
 * each other's, and fork: no block is handed out twice or spoilt, in the children either, and switching the table off and on
 * meanwhile does no harm.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <sys/wait.h>

enum { THREADS = 4, ROUNDS = 20000, PLACES = 8, LABELS = 500 };

static size_t *places[PLACES]; /* atomic: blocks on their way, the size in the first word, and at the end */
static const char labels[LABELS];
static size_t spoilt, missing, children, failed; /* atomic */

static void drop(size_t *p, const void *label)
{
    if (p && p[p[0] / sizeof *p - 1] != ~p[0])
        __atomic_fetch_add(&spoilt, 1, __ATOMIC_RELAXED);
    if (p)
        hak_free_at(p, p[0], label);
}

static void work(uint64_t *state)
{
    const void *label = &labels[random_below(state, LABELS)];
    size_t size = random_below(state, 4) ? 64 + 8 * random_below(state, 500) : (1 + random_below(state, 5)) * MIB;
    size_t *p = random_below(state, 50) ? hak_alloc_at(size, label) : hak_alloc_at(size = 40 * MIB, label);
    if (!p) {
        __atomic_fetch_add(&missing, 1, __ATOMIC_RELAXED);
        return;
    }
    p[0] = size;
    p[size / sizeof *p - 1] = ~size;
    drop(__atomic_exchange_n(&places[random_below(state, PLACES)], p, __ATOMIC_ACQ_REL), label);
}

static void *run(void *arg)
{
    uint64_t state = (uintptr_t)arg + 7;
    for (int i = 0; i < ROUNDS; i++) {
        work(&state);
        if (i % 1000 == 0)
            hak_option_set("DISABLE_SITES", i / 1000 % 4 == 3);
        if (i % 2000 == 0 && !SANITIZED) { /* what the others were just doing is not finished in the child */
            pid_t pid = fork();
            if (pid == 0) {
                alarm(60);
                for (int k = 0; k < 500; k++)
                    work(&state);
                _exit(__atomic_load_n(&spoilt, __ATOMIC_RELAXED) || __atomic_load_n(&missing, __ATOMIC_RELAXED));
            }
            int status = 1;
            if (pid > 0 && waitpid(pid, &status, 0) == pid)
                __atomic_fetch_add(&children, 1, __ATOMIC_RELAXED);
            if (status)
                __atomic_fetch_add(&failed, 1, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    tap_start();
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)i))
            return 99;
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ok(!spoilt && !missing, "%zu blocks were spoilt, %zu not to be had", spoilt, missing);
    if (SANITIZED)
        skip("children", "threads are not forked under a sanitizer");
    else
        ok(children && !failed, "%zu children, of which %zu failed", children, failed);
    return tap_done();
}
