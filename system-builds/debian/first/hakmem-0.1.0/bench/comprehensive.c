/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * comprehensive [PATTERN [SIZE [ROUNDS [COUNT]]]]: orders of freeing. PATTERN is one of the table below or "all"; SIZE
 * is in bytes, 0 for 16, 32, 64 and 128 in turn. A round allocates and frees COUNT blocks (1000); one op is a malloc
 * and its free. A COUNT that fits a thread's cache shows the fast paths alone, a larger one refill and flush too.
 */
#include "bench.h"

#define MAX_COUNT 100000

static unsigned count;
static void *block[MAX_COUNT], *extra[MAX_COUNT];
static unsigned order[MAX_COUNT];      /* a fixed shuffle, made before the clock starts */

static inline void *get(size_t size)
{
    void *p = bench_need(malloc(size));
    bench_touch(p, size);
    return p;
}

static void fill(size_t size)
{
    for (unsigned i = 0; i < count; i++)
        block[i] = get(size);
}

static void lifo(size_t size)
{
    fill(size);
    for (unsigned i = count; i-- > 0;)
        free(block[i]);
}

static void fifo(size_t size)
{
    fill(size);
    for (unsigned i = 0; i < count; i++)
        free(block[i]);
}

static void shuffled(size_t size)
{
    fill(size);
    for (unsigned i = 0; i < count; i++)
        free(block[order[i]]);
}

/* Every other block goes, its place is taken again, then the rest goes: holes are filled while neighbours live. */
static void interleaved(size_t size)
{
    for (unsigned i = 0; i < count / 2; i++)
        block[i] = get(size);
    for (unsigned i = 0; i < count / 2; i += 2)
        free(block[i]);
    for (unsigned i = 0; i < count / 2; i += 2)
        block[i] = get(size);
    for (unsigned i = 0; i < count / 4; i++)
        extra[i] = get(size);
    for (unsigned i = 0; i < count / 2; i++)
        free(block[i]);
    for (unsigned i = 0; i < count / 4; i++)
        free(extra[i]);
}

/* One block in ten lives for the whole round, the others die at once. */
static void longlived(size_t size)
{
    for (unsigned i = 0; i < count; i++) {
        block[i] = get(size);
        if (i % 10)
            free(block[i]);
    }
    for (unsigned i = 0; i < count; i += 10)
        free(block[i]);
}

static const struct { const char *name; void (*round)(size_t); } pattern[] = {
    {"lifo", lifo}, {"fifo", fifo}, {"random", shuffled}, {"interleaved", interleaved}, {"longlived", longlived}};

int main(int argc, char **argv)
{
    static const size_t sizes[] = {16, 32, 64, 128};
    bench_prove();
    const char *which = argc > 1 ? argv[1] : "all";
    size_t only = bench_arg(argc, argv, 2, 0);
    unsigned long rounds = bench_arg(argc, argv, 3, 10000);
    count = (unsigned)bench_arg(argc, argv, 4, 1000) & ~3u;         /* "interleaved" works in quarters */
    if (!count || count > MAX_COUNT)
        bench_die("comprehensive: COUNT is to be 4..100000");
    uint64_t rnd = 1;
    int ran = 0;
    for (unsigned i = 0; i < count; i++) {       /* the inside-out shuffle */
        size_t j = bench_between(&rnd, 0, i);
        order[i] = order[j];
        order[j] = i;
    }
    for (size_t k = 0; k < sizeof pattern / sizeof *pattern; k++)
        for (size_t s = 0; s < (only ? 1 : 4) && rounds; s++) {
            if (strcmp(which, "all") != 0 && strcmp(which, pattern[k].name) != 0)
                continue;
            size_t size = only ? only : sizes[s];
            char name[64];
            snprintf(name, sizeof name, "comprehensive %s %zu B", pattern[k].name, size);
            struct bench_time t = bench_start();
            for (unsigned long r = 0; r < rounds; r++)
                pattern[k].round(size);
            bench_report(name, (uint64_t)rounds * count, t);
            ran++;
        }
    if (!ran)
        bench_die("usage: comprehensive [all|lifo|fifo|random|interleaved|longlived [SIZE [ROUNDS [COUNT]]]]");
    return 0;
}
