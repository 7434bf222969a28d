/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * server_after_peak [THREADS MIB MIN MAX PERCENT SECONDS [MALLOCS]]: a server that has had its peak. THREADS threads
 * allocate MIB together in blocks of MIN..MAX bytes, write them, free a random PERCENT of them, and block. From then on
 * the main thread answers one call a second, MALLOCS mallocs and their frees of 16..2048 bytes, SECONDS times. Each
 * time: what is resident over what was before the peak, beside the pages that hold any byte of a live block.
 */
#include "bench.h"
#include <pthread.h>

struct block { char *p; size_t n; };
struct worker {
    pthread_t id;
    uint64_t rnd;
    size_t count, most;             /* blocks, and room for them */
    struct block *b;
};

static size_t mib, lo, hi, percent, threads;
static pthread_barrier_t ready, peak, freed;
static pthread_mutex_t block_here = PTHREAD_MUTEX_INITIALIZER;

static void *work(void *arg)
{
    struct worker *w = arg;
    pthread_barrier_wait(&ready);
    for (size_t bytes = (mib << 20) / threads, n; w->count < w->most && bytes; bytes -= n < bytes ? n : bytes) {
        n = bench_between(&w->rnd, lo, hi);
        w->b[w->count].n = n;
        w->b[w->count].p = memset(bench_need(malloc(n)), 1, n);
        w->count++;
    }
    pthread_barrier_wait(&peak);
    for (size_t i = 0; i < w->count; i++)
        if (bench_between(&w->rnd, 0, 99) < percent) {
            free(w->b[i].p);
            w->b[i].p = NULL;
        }
    pthread_barrier_wait(&freed);
    pthread_mutex_lock(&block_here); /* until the end */
    pthread_mutex_unlock(&block_here);
    return NULL;
}

/* What is resident, exactly: the kernel's quick count may be off by some hundred pages. */
static size_t resident(void)
{
    char text[4096], *rss;
    int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        bench_die("cannot read /proc/self/smaps_rollup");
    close(fd);
    text[n] = 0;
    rss = strstr(text, "Rss:");
    return rss ? strtoul(rss + 4, NULL, 10) << 10 : 0;
}

/* Shell's sort: qsort would allocate. */
static void sort(uintptr_t *list, size_t n)
{
    for (size_t gap = n / 2; gap; gap = gap == 2 ? 1 : gap * 5 / 11)
        for (size_t i = gap; i < n; i++) {
            uintptr_t v = list[i];
            size_t j = i;
            for (; j >= gap && list[j - gap] > v; j -= gap)
                list[j] = list[j - gap];
            list[j] = v;
        }
}

/* Bytes of the pages that any live block lies on; and of the blocks. */
static size_t live_pages(const struct worker *w, uintptr_t *list, size_t *live)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0, unique = 0;
    for (size_t t = 0; t < threads; t++)
        for (size_t i = 0; i < w[t].count; i++)
            if (w[t].b[i].p) {
                uintptr_t first = (uintptr_t)w[t].b[i].p / page, last = ((uintptr_t)w[t].b[i].p + w[t].b[i].n - 1) / page;
                *live += w[t].b[i].n;
                for (; first <= last; first++)
                    list[n++] = first;
            }
    sort(list, n);
    for (size_t i = 0; i < n; i++)
        unique += !i || list[i] != list[i - 1];
    return unique * page;
}

int main(int argc, char **argv)
{
    bench_prove();
    threads = bench_arg(argc, argv, 1, 8);
    mib = bench_arg(argc, argv, 2, 400);
    lo = bench_arg(argc, argv, 3, 64);
    hi = bench_arg(argc, argv, 4, 4096);
    percent = bench_arg(argc, argv, 5, 95);
    size_t seconds = bench_arg(argc, argv, 6, 10), mallocs = bench_arg(argc, argv, 7, 300);
    if (!threads || threads > 1000 || !lo || lo > hi || percent > 100 || mallocs > 1000)
        bench_die("usage: server_after_peak [THREADS MIB MIN MAX PERCENT SECONDS [MALLOCS]]");

    size_t most = (mib << 20) / threads / ((lo + hi) / 2) * 2 + 1000, page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = threads * most * (hi / page + 2) * sizeof(uintptr_t);
    struct worker *w = bench_map(threads * sizeof *w);
    uintptr_t *list = bench_map(pages);
    pthread_barrier_init(&ready, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&peak, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&freed, NULL, (unsigned)threads + 1);
    pthread_mutex_lock(&block_here);
    for (size_t t = 0; t < threads; t++) {
        w[t].rnd = t + 1;
        w[t].most = most;
        w[t].b = bench_map(most * sizeof *w[t].b);
        memset(w[t].b, 1, most * sizeof *w[t].b);
        if (pthread_create(&w[t].id, NULL, work, &w[t]))
            bench_die("cannot start a thread");
    }
    uint64_t rnd = 12345;
    size_t live = 0, count = 0;
    printf("%s", "");               /* stdio takes its buffer now */
    size_t base = resident();
    struct bench_time start = bench_start();
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&peak);
    printf("peak           rss_kib=%zu\n", (resident() - base) >> 10);
    pthread_barrier_wait(&freed);
    for (size_t t = 0; t < threads; t++)
        count += w[t].count;
    bench_report("server_after_peak", count, start);
    printf("freed          rss_kib=%zu\n", (resident() - base) >> 10);
    size_t bytes = live_pages(w, list, &live);
    munmap(list, pages);
    for (size_t i = 1; i <= seconds; i++) {
        sleep(1);
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        bench_request(&rnd, mallocs, 16, 2048);
        clock_gettime(CLOCK_MONOTONIC, &b);
        size_t rss = resident() - base;
        printf("call %-9zu rss_kib=%-8zu pages_kib=%-8zu live_kib=%-8zu ratio=%.3f call_us=%.0f\n", i, rss >> 10, bytes >> 10,
               live >> 10, (double)rss / (double)(bytes ? bytes : 1),
               (double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_nsec - a.tv_nsec) / 1e3);
    }
    pthread_mutex_unlock(&block_here);
    for (size_t t = 0; t < threads; t++)
        pthread_join(w[t].id, NULL);
    return 0;
}
