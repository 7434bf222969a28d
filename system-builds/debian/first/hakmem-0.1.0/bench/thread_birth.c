/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * thread_birth [THREADS [SIZE [AT_ONCE]]]: creates a thread, which allocates one block of SIZE bytes (64) and frees it,
 * and joins it; AT_ONCE (1) of them at a time. One op is one thread.
 */
#include "bench.h"
#include <pthread.h>

static size_t size;

static void *live(void *unused)
{
    void *p = bench_need(malloc(size));
    bench_touch(p, size);
    free(p);
    return unused;
}

int main(int argc, char **argv)
{
    bench_prove();
    unsigned long threads = bench_arg(argc, argv, 1, 20000), once = bench_arg(argc, argv, 3, 1);
    size = bench_arg(argc, argv, 2, 64);
    if (!threads || !size || !once)
        bench_die("usage: thread_birth [THREADS [SIZE [AT_ONCE]]]");
    pthread_t *t = bench_map(once * sizeof *t);
    free(bench_need(malloc(size)));
    struct bench_time start = bench_start();
    for (unsigned long i = 0; i < threads; i += once) {
        for (unsigned long j = 0; j < once; j++)
            if (pthread_create(&t[j], NULL, live, NULL) != 0)
                bench_die("cannot start a thread");
        for (unsigned long j = 0; j < once; j++)
            pthread_join(t[j], NULL);
    }
    char name[64];
    snprintf(name, sizeof name, "thread_birth %zu %lu", size, once);
    bench_report(name, (threads + once - 1) / once * once, start);
    return 0;
}
