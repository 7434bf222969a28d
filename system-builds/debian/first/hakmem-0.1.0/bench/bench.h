/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * bench.h: what every bench program shares: numbers from the command line, a random generator that is the same
 * everywhere, the clock, the report line, and the proof of which library serves malloc.
 *
 * The programs call plain malloc and free; LD_PRELOAD chooses the allocator. They are compiled with -fno-builtin, so
 * that no call is optimised away, and every allocation is checked and written.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

__attribute__((noreturn, cold, unused)) static void bench_die(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static inline void *bench_need(void *p)
{
    if (__builtin_expect(!p, 0))
        bench_die("out of memory");
    return p;
}

/* Argument i as a number, or def where it is not given. */
__attribute__((unused)) static unsigned long bench_arg(int argc, char **argv, int i, unsigned long def)
{
    if (i >= argc)
        return def;
    char *end;
    errno = 0;
    unsigned long v = strtoul(argv[i], &end, 10);
    if (argv[i][0] < '0' || argv[i][0] > '9' || *end || errno) {
        fprintf(stderr, "%s: not a number: %s\n", argv[0], argv[i]);
        exit(2);
    }
    return v;
}

/* Knuth's 64-bit multiplicative generator: two instructions a number; the high bits are the good ones. */
static inline uint32_t bench_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* A number in lo..hi without a division. */
static inline size_t bench_between(uint64_t *state, size_t lo, size_t hi)
{
    return lo + (size_t)(((uint64_t)bench_random(state) * (hi - lo + 1)) >> 32);
}

static inline void bench_touch(void *p, size_t n)
{
    ((volatile char *)p)[0] = 1;
    ((volatile char *)p)[n - 1] = 2;
}

/* What is resident now. */
__attribute__((unused)) static long bench_rss_kib(void)
{
    char text[128];                 /* read(2), not stdio: the measurement must not allocate */
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        bench_die("cannot read /proc/self/statm");
    close(fd);
    text[n] = 0;
    char *resident = strchr(text, ' ');
    return resident ? strtol(resident, NULL, 10) * (sysconf(_SC_PAGESIZE) / 1024) : 0;
}

/* A call, as programs answer many: count blocks (at most 1000) of lo..hi bytes, some freed on the way, the others at its end. */
__attribute__((unused)) static void bench_request(uint64_t *rnd, size_t count, size_t lo, size_t hi)
{
    char *p[1000];
    for (size_t i = 0; i < count; i++) {
        size_t n = bench_between(rnd, lo, hi);
        p[i] = bench_need(malloc(n));
        bench_touch(p[i], n);
        if (i % 4 == 3) {
            free(p[i - 2]);
            p[i - 2] = NULL;
        }
    }
    for (size_t i = 0; i < count; i++)
        free(p[i]);
}

/* Arrays of the bench itself come from the kernel, so that the allocator's own blocks are all that differs. */
__attribute__((unused)) static void *bench_map(size_t bytes)
{
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return bench_need(p == MAP_FAILED ? NULL : p);
}

static inline uint64_t bench_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct bench_time { uint64_t cpu, wall; };

static inline struct bench_time bench_start(void)
{
    return (struct bench_time){bench_ns(CLOCK_PROCESS_CPUTIME_ID), bench_ns(CLOCK_MONOTONIC)};
}

/* Page faults so far; and a line that says how many came since then, in so many ops. */
static inline long bench_faults(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_minflt + u.ru_majflt;
}
static inline void bench_steady(long since, uint64_t ops)
{
    long faults = bench_faults() - since;
    printf("steady faults=%ld faults/op=%.3f\n", faults, (double)faults / (double)ops);
}

/* One line a measurement. The runner reads "ns/op=" and "ops/s=" of the last one. CPU is that of all threads. */
static inline void bench_report(const char *name, uint64_t ops, struct bench_time start)
{
    struct bench_time end = bench_start();
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double cpu = (double)(end.cpu - start.cpu), wall = (double)(end.wall - start.wall);
    printf("%-28s ns/op=%.2f ops/s=%.0f ops=%llu wall_s=%.3f faults=%ld rss_kib=%ld\n", name, cpu / (double)ops,
           (double)ops * 1e9 / (wall > 0 ? wall : 1), (unsigned long long)ops, wall / 1e9, u.ru_minflt, u.ru_maxrss);
}

/* The proof. With BENCH_PROVE set, the files that malloc and free are bound to go to stderr; BENCH_PROVE=exit then
 * ends the program, any other value lets it run. Call it first in main. */
static inline void bench_prove(void)
{
    const char *prove = getenv("BENCH_PROVE");
    if (!prove)
        return;
    Dl_info m, f;
    if (!dladdr(dlsym(RTLD_DEFAULT, "malloc"), &m) || !dladdr(dlsym(RTLD_DEFAULT, "free"), &f))
        bench_die("cannot tell which library malloc is bound to");
    fprintf(stderr, "prove: malloc=%s\nprove: free=%s\n", m.dli_fname, f.dli_fname);
    if (strcmp(prove, "exit") == 0)
        exit(0);
}

#endif
