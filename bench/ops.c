/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * ops KIND N [empty]: N operations of one kind, for counting instructions (instructions). The figure of a kind is
 * the difference of two runs with different N, so start-up cancels. With "empty", stubs stand in for the allocator:
 * what is left is the harness, the loop and the calls. Each kind is one loop, compiled twice, with direct calls both
 * times.
 *
 * ops few|many|scattered N: N rounds of single functions, so many blocks that the thread's cache serves them (32), or that
 * it must be refilled and flushed (10000), in order or in disorder.
 */
#include "bench.h"

#define LIVE 100
#define SLOTS 256
#define FEW 32          /* blocks that a thread's cache holds */
#define MANY 10000      /* and so many that it does not */

struct family {
    void *(*malloc)(size_t);
    void (*free)(void *);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
};

/* For the libraries too.  By the system's, under valgrind, the first blocks are a millisecond apart in one run and not in the
 * next, and what an allocator does by that would not cancel: counts must repeat exactly. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
    static uint64_t us = 1000000000;
    (void)clock;
    us++;
    *t = (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000 * 1000)};
    return 0;
}

/* The stubs are opaque to the optimiser: the asm hides what they take and return. */
static char room[2 << 20];
#define STUB static __attribute__((noinline))
STUB void *no_malloc(size_t n) { void *p = room; __asm__ volatile("" : "+r"(p) : "r"(n) : "memory"); return p; }
STUB void no_free(void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }
STUB void *no_calloc(size_t k, size_t n) { __asm__ volatile("" : : "r"(k) : "memory"); return no_malloc(n); }
STUB void *no_realloc(void *p, size_t n) { __asm__ volatile("" : "+r"(p) : "r"(n) : "memory"); return p; }

static void *live[LIVE];
static char *slot[SLOTS];

#define LOOP static inline __attribute__((always_inline)) void

/* free the oldest of `count` live blocks, take a new one */
LOOP turn(const struct family f, unsigned long n, size_t size, unsigned count)
{
    for (unsigned long r = 0; r < n; r += count)
        for (void **l = live; l < live + count; l++) {
            f.free(*l);
            *(char *)(*l = f.malloc(size)) = 1;         /* the check: NULL would crash here */
        }
}

LOOP batch(const struct family f, unsigned long n)
{
    for (; n >= LIVE; n -= LIVE) {
        for (int i = 0; i < LIVE; i++)
            *(char *)(live[i] = bench_need(f.malloc(64))) = 1;
        for (int i = 0; i < LIVE; i++)
            f.free(live[i]);
    }
}

/* an operation is a malloc or a free: a filled slot is emptied, an empty one filled */
LOOP mixed(const struct family f, unsigned long n)
{
    for (uint64_t x = 88172645463325252u; n--;) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        char **s = &slot[x % SLOTS];
        if (*s) {
            f.free(*s);
            *s = NULL;
        } else {
            *s = bench_need(f.malloc(16 + (x >> 54)));      /* 16..1039 */
            **s = 1;
        }
    }
}

LOOP zeroed(const struct family f, unsigned long n)
{
    while (n--) {
        char *p = f.calloc(1, 64);
        *p = 1;
        f.free(p);
    }
}

LOOP growing(const struct family f, unsigned long n)
{
    while (n--) {
        char *p = f.malloc(16);
        *p = 1;
        for (size_t size = 32; size <= 4096; size *= 2) {
            p = f.realloc(p, size);
            *p = 1;
        }
        f.free(p);
    }
}

/* What single functions cost: the calls of each of these are counted by themselves. The mark keeps the compiler from making
 * one function of two that are alike. */
static char *blocks[MANY];
#define SINGLE(name, work)                                      \
    static __attribute__((noinline)) void only_##name(void)     \
    {                                                           \
        __asm__ volatile("# only_" #name);                      \
        work;                                                   \
    }
LOOP take(unsigned n, size_t size)
{
    for (unsigned i = 0; i < n; i++)
        *(blocks[i] = malloc(size)) = 1;
}
LOOP take_zeroed(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        *(blocks[i] = calloc(1, 64)) = 1;
}
LOOP give(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        free(blocks[i]);
}
SINGLE(malloc, take(FEW, 64))
SINGLE(free, give(FEW))
SINGLE(calloc, take_zeroed(FEW))
SINGLE(refill, take(MANY, 64))
SINGLE(flush, give(MANY))
SINGLE(scattered_refill, take(MANY, 64))
SINGLE(scattered_flush, give(MANY))

/* The same order each time. */
static void shuffle(void)
{
    uint64_t x = 1;
    for (size_t i = MANY - 1; i > 0; i--) {
        size_t j = bench_between(&x, 0, i);
        char *p = blocks[i];
        blocks[i] = blocks[j];
        blocks[j] = p;
    }
}

static void single(const char *kind, unsigned long n)
{
    while (n--)
        if (strcmp(kind, "few") == 0) {
            only_malloc();
            only_free();
            only_calloc();
            give(FEW);
        } else if (strcmp(kind, "many") == 0) {
            only_refill();
            only_flush();
        } else {
            only_scattered_refill();
            shuffle();
            only_scattered_flush();
        }
}

LOOP run(const struct family f, const char *kind, unsigned long n)
{
    if (strcmp(kind, "pair") == 0)
        turn(f, n, 16, LIVE);
    else if (strcmp(kind, "batch") == 0)
        batch(f, n);
    else if (strcmp(kind, "random") == 0)
        mixed(f, n);
    else if (strcmp(kind, "calloc") == 0)
        zeroed(f, n);
    else if (strcmp(kind, "realloc") == 0)
        growing(f, n);
    else if (strcmp(kind, "64k") == 0)
        turn(f, n, 64 << 10, 4);
    else if (strcmp(kind, "100k") == 0)
        turn(f, n, 100000, 8);
    else if (strcmp(kind, "2m") == 0)
        turn(f, n, 2 << 20, 8);
    else
        bench_usage("ops: no such kind");
}

int main(int argc, char **argv)
{
    bench_prove();
    if (argc < 3)
        bench_usage("usage: ops pair|batch|random|calloc|realloc|64k|100k|2m|few|many|scattered N [empty]");
    unsigned long n = bench_arg(argc, argv, 2, 0);
    if (strcmp(argv[1], "few") == 0 || strcmp(argv[1], "many") == 0 || strcmp(argv[1], "scattered") == 0)
        single(argv[1], n);
    else if (argc > 3)
        run((struct family){no_malloc, no_free, no_calloc, no_realloc}, argv[1], n);
    else
        run((struct family){malloc, free, calloc, realloc}, argv[1], n);
    return 0;
}
