/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * overwrite.c: a program that writes to every byte of its freed blocks, and behind its blocks up to their usable size,
 * spoils nothing but its own data: no block is handed out twice, none overlaps another, contents hold, and the heap goes
 * on working for long.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>

enum { SLOTS = 4000, BATCH = 500 };

struct block {
    unsigned char *p;
    size_t size, usable;
    uint64_t seed;
};

struct outcome {
    uint64_t seed;
    bool alone;
    size_t missing, spoilt, overlapping;
};

static size_t some_size(uint64_t *state)
{
    size_t kind = random_below(state, 1000);
    return 1 + random_below(state, kind < 800 ? 600 : kind < 960 ? 5000 : kind < 996 ? 40000 : 250000);
}

static int by_address(const void *a, const void *b)
{
    const struct block *x = a, *y = b;
    return x->p < y->p ? -1 : x->p > y->p;
}

/* Sorted copies side by side: a block ends before the next one begins. */
static size_t count_overlapping(const struct block *blocks, size_t n)
{
    static __thread struct block sorted[SLOTS];
    size_t live = 0, bad = 0;
    for (size_t i = 0; i < n; i++)
        if (blocks[i].p)
            sorted[live++] = blocks[i];
    qsort(sorted, live, sizeof *sorted, by_address);
    for (size_t i = 1; i < live; i++)
        bad += sorted[i - 1].p + sorted[i - 1].usable > sorted[i].p;
    return bad;
}

/* What overruns and writes after free look like. */
static void scribble(unsigned char *p, size_t n, uint64_t *state)
{
    switch (random_below(state, 4)) {
    case 0:
        memset(p, 0xff, n);
        break;
    case 1:
        memset(p, 0, n);
        break;
    case 2: /* addresses of our own */
        for (size_t i = 0; i + sizeof p <= n; i += sizeof p) {
            unsigned char *q = p + random_below(state, 65536);
            memcpy(p + i, &q, sizeof q);
        }
        break;
    default:
        pattern_fill(p, n, random_next(state));
        break;
    }
}

/* Fills what was asked for, and spoils the slack. */
static bool take(struct block *b, struct outcome *o, uint64_t *state)
{
    b->size = some_size(state);
    b->p = random_below(state, 10) ? malloc(b->size) : memalign((size_t)16 << random_below(state, 8), b->size);
    if (!b->p) {
        o->missing++;
        return false;
    }
    b->usable = malloc_usable_size(b->p);
    b->seed = random_next(state);
    pattern_fill(b->p, b->size, b->seed);
    if (b->usable > b->size)
        scribble(b->p + b->size, b->usable - b->size, state);
    return true;
}

static void *work(void *arg)
{
    struct outcome *o = arg;
    uint64_t state = o->seed * 0x9e3779b97f4a7c15ULL + 7;
    /* Not by calloc: free memory that is known to be zero no longer is when a program writes to it. */
    struct block *blocks = malloc(SLOTS * sizeof *blocks);
    if (blocks)
        memset(blocks, 0, SLOTS * sizeof *blocks);
    static __thread struct block batch[BATCH];
    for (size_t round = 0; blocks && round < 1500; round++) {
        /* Free a batch; then write to all of it: without other threads nobody has got any of it yet. */
        size_t n = 0;
        for (size_t i = 0; i < BATCH; i++) {
            struct block *b = &blocks[random_below(&state, SLOTS)];
            if (!b->p)
                continue;
            o->spoilt += !pattern_holds(b->p, b->size, b->seed);
            scribble(b->p, b->usable, &state);
            batch[n++] = *b;
            b->p = NULL;
        }
        for (size_t i = 0; i < n; i++)
            free(batch[i].p);
        for (size_t i = 0; o->alone && i < n; i++)
            scribble(hide(batch[i].p), batch[i].usable, &state);
        for (size_t i = 0; i < BATCH + 50; i++) {
            struct block *b = &blocks[random_below(&state, SLOTS)];
            if (b->p) {
                size_t size = some_size(&state), keep = size < b->size ? size : b->size;
                unsigned char *q = realloc(b->p, size);
                if (!q) {
                    o->missing++;
                    continue;
                }
                o->spoilt += !pattern_holds(q, keep, b->seed);
                b->p = q;
                b->size = size;
                b->usable = malloc_usable_size(q);
                pattern_fill(q, size, b->seed);
                if (b->usable > size)
                    scribble(q + size, b->usable - size, &state);
            } else {
                take(b, o, &state);
            }
        }
        if (round % 20 == 0)
            o->overlapping += count_overlapping(blocks, SLOTS);
        if (round % 100 == 50)
            malloc_trim(0);
    }
    for (size_t i = 0; blocks && i < SLOTS; i++) {
        o->spoilt += blocks[i].p && !pattern_holds(blocks[i].p, blocks[i].size, blocks[i].seed);
        free(blocks[i].p);
    }
    o->missing += !blocks;
    free(blocks);
    return NULL;
}

static void judge(const struct outcome *o, const char *how)
{
    if (!ok(!(o->missing + o->spoilt + o->overlapping), "seed %llu, %s", (unsigned long long)o->seed, how))
        note("missing %zu, spoilt %zu, overlapping %zu", o->missing, o->spoilt, o->overlapping);
}

/* Of one size, all there is in some slabs: freed, overwritten, and every address that comes back comes once. */
static void test_once(size_t size)
{
    enum { MANY = 5000 };
    static struct block blocks[MANY];
    size_t twice = 0, missing = 0, spoilt = 0;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < MANY; i++) {
            blocks[i].p = malloc(size);
            missing += !blocks[i].p;
            blocks[i].usable = blocks[i].p ? malloc_usable_size(blocks[i].p) : 0;
            if (blocks[i].p)
                memset(blocks[i].p, (int)i, blocks[i].usable);
        }
        for (size_t i = 0; i < MANY; i++)
            spoilt += blocks[i].p && !all_bytes(blocks[i].p, blocks[i].usable, (unsigned char)i);
        qsort(blocks, MANY, sizeof *blocks, by_address);
        for (size_t i = 1; i < MANY; i++)
            twice += blocks[i - 1].p + blocks[i - 1].usable > blocks[i].p;
        for (size_t i = 0; i < MANY; i++)
            free(blocks[i].p);
        for (size_t i = 0; i < MANY; i++)
            memset(hide(blocks[i].p), round ? 0xff : 0, blocks[i].usable);
    }
    if (!ok(!(twice + missing + spoilt), "%zu bytes: every block comes once", size))
        note("overlapping %zu, missing %zu, spoilt %zu", twice, missing, spoilt);
}

int main(void)
{
    static const size_t sizes[] = { 1, 16, 48, 64, 100, 256, 1000, 1024, 2000, 4096, 10000 };
    tap_start();
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        test_once(sizes[i]);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct outcome o = { .seed = seed, .alone = true };
        work(&o);
        judge(&o, "alone");
    }
    pthread_t threads[3];
    struct outcome outcomes[3] = { { .seed = 0 } };
    size_t started = 0;
    for (; started < COUNT_OF(threads); started++) {
        outcomes[started].seed = 100 + started;
        if (pthread_create(&threads[started], NULL, work, &outcomes[started]))
            break;
    }
    ok(started == COUNT_OF(threads), "threads start");
    for (size_t i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        judge(&outcomes[i], "among threads");
    }
    return tap_done();
}
