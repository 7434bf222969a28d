/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * fork_exit [FORKS [THREADS [MIB [CHILD [SIZE]]]]]: fork, _exit of the child, and wait, from a process with THREADS threads (8)
 * and a heap of MIB MiB (1024) of live, touched blocks of mixed sizes, or of SIZE bytes each. The other threads wait meanwhile. CHILD: what the
 * child does before it ends: 0 nothing (default), 1 a hundred mallocs and frees, 2 those and frees of parent's blocks.
 */
#include "bench.h"
#include <pthread.h>
#include <sys/wait.h>

#define PARTS 64

static unsigned long nthreads, bytes, uniform;
static pthread_barrier_t full;

/* Each thread keeps an equal part of the heap, found through blocks that hold pointers. */
struct part {
    struct part *next;
    size_t n;
    void *p[PARTS];
};
static struct part *first[256];

static void *fill(void *arg)
{
    unsigned long me = (uintptr_t)arg;
    uint64_t rnd = me + 1;
    for (size_t got = 0; got < bytes / nthreads;) {
        struct part *part = bench_need(malloc(sizeof *part));
        part->next = first[me];
        first[me] = part;
        for (part->n = 0; part->n < PARTS; part->n++) {
            uint32_t kind = bench_random(&rnd) % 100;
            size_t size = uniform ? uniform : kind < 90 ? bench_between(&rnd, 16, 512) : kind < 99 ? bench_between(&rnd, 512, 16384)
                                                                              : bench_between(&rnd, 16384, 262144);
            char *p = part->p[part->n] = bench_need(malloc(size));
            memset(p, 1, size);
            got += size;
        }
    }
    for (int i = 0; i < 1000; i++)
        free(bench_need(malloc(bench_between(&rnd, 16, 1024))));
    pthread_barrier_wait(&full);
    if (me)
        for (;;)
            pause();
    return NULL;
}

static void child(unsigned long what)
{
    void *p[100];
    uint64_t rnd = 1;
    for (int i = 0; what && i < 100; i++)
        bench_touch(p[i] = bench_need(malloc(bench_between(&rnd, 16, 1024))), 16);
    for (int i = 0; what && i < 100; i++)
        free(p[i]);
    for (unsigned long t = 0; what > 1 && t < nthreads; t++)
        for (size_t i = 0; i < first[t]->n; i++)
            free(first[t]->p[i]);
    _exit(0);
}

int main(int argc, char **argv)
{
    bench_prove();
    unsigned long forks = bench_arg(argc, argv, 1, 50);
    nthreads = bench_arg(argc, argv, 2, 8);
    bytes = bench_arg(argc, argv, 3, 1024) << 20;
    unsigned long what = bench_arg(argc, argv, 4, 0);
    uniform = bench_arg(argc, argv, 5, 0);
    if (!forks || !nthreads || nthreads > 256)
        bench_die("usage: fork_exit [FORKS [THREADS (1..256) [MIB [CHILD [SIZE]]]]]");
    pthread_barrier_init(&full, NULL, (unsigned)nthreads);
    for (unsigned long i = 1; i < nthreads; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, fill, (void *)i) != 0)
            bench_die("cannot start a thread");
    }
    fill(NULL);
    struct bench_time start = bench_start();
    for (unsigned long i = 0; i < forks; i++) {
        int status;
        pid_t pid = fork();
        if (pid < 0)
            bench_die("cannot fork");
        if (!pid)
            child(what);
        if (waitpid(pid, &status, 0) != pid || status)
            bench_die("a child failed");
    }
    struct bench_time end = bench_start();
    char name[64];
    snprintf(name, sizeof name, "fork_exit %lu %lu", nthreads, bytes >> 20);
    bench_report(name, forks, start);
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u); /* the figure to compare where other processes run, too */
    double children = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    printf("%-28s us/fork=%.1f cpu_us/fork=%.1f of which children %.1f, child faults %.1f\n", name,
           (double)(end.wall - start.wall) / 1000 / (double)forks,
           ((double)(end.cpu - start.cpu) / 1000 + children) / (double)forks, children / (double)forks,
           (double)u.ru_minflt / (double)forks);
    fflush(stdout);
    _exit(0);
}
