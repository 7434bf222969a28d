/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * ops KIND N [empty]: N operations of one kind, for counting instructions (instructions.sh). The figure of a kind is
 * the difference of two runs with different N, so start-up cancels. With "empty", stubs stand in for the allocator:
 * what is left is the harness, the loop and the calls. Each kind is one loop, compiled twice, with direct calls both
 * times.
 */
#include "bench.h"

#define LIVE 100
#define SLOTS 256

struct family {
    void *(*malloc)(size_t);
    void (*free)(void *);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
};

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
    else if (strcmp(kind, "100k") == 0)
        turn(f, n, 100000, 8);
    else if (strcmp(kind, "2m") == 0)
        turn(f, n, 2 << 20, 8);
    else
        bench_die("ops: no such kind");
}

int main(int argc, char **argv)
{
    bench_prove();
    if (argc < 3)
        bench_die("usage: ops pair|batch|random|calloc|realloc|100k|2m N [empty]");
    unsigned long n = bench_arg(argc, argv, 2, 0);
    if (argc > 3)
        run((struct family){no_malloc, no_free, no_calloc, no_realloc}, argv[1], n);
    else
        run((struct family){malloc, free, calloc, realloc}, argv[1], n);
    return 0;
}
