/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * random.c: 200,000 random calls of the family a seed, sizes from 0 to 4 MiB, every content checked; then four seeds in
 * four threads at once.  A failing seed is printed and repeats itself: random SEED.
 */
#define _GNU_SOURCE
#include "tap.h"

#include <pthread.h>

enum { SLOTS = 1000, OPERATIONS = 200000 };

struct block {
    unsigned char *p;
    size_t size;
    uint64_t seed;
};

struct outcome {
    uint64_t seed;
    size_t missing, misaligned, small, spoilt, dirty;
};

/* Of large blocks, the ends and a word a page. */
static void fill(const struct block *b)
{
    if (b->size <= 16384) {
        pattern_fill(b->p, b->size, b->seed);
        return;
    }
    pattern_fill(b->p, 4096, b->seed);
    for (size_t i = 4096; i + sizeof b->seed <= b->size - 4096; i += 4096)
        memcpy(b->p + i, &b->seed, sizeof b->seed);
    pattern_fill(b->p + b->size - 4096, 4096, b->seed + 1);
}
/* The first `keep` bytes. */
static bool whole(const unsigned char *p, const struct block *b, size_t keep)
{
    if (b->size <= 16384)
        return pattern_holds(p, keep, b->seed);
    if (!pattern_holds(p, keep < 4096 ? keep : 4096, b->seed))
        return false;
    for (size_t i = 4096; i + sizeof b->seed <= b->size - 4096 && i + sizeof b->seed <= keep; i += 4096)
        if (memcmp(p + i, &b->seed, sizeof b->seed) != 0)
            return false;
    return keep < b->size || pattern_holds(p + b->size - 4096, 4096, b->seed + 1);
}

/* 64 B to 4 MiB and a little below, small ones more often. */
static size_t some_size(uint64_t *state)
{
    size_t kind = random_below(state, 1000);
    if (kind < 20)
        return random_below(state, 64);
    if (kind < 850)
        return 64 + random_below(state, 2000);
    if (kind < 970)
        return 64 + random_below(state, 40000);
    if (kind < 997)
        return 64 + random_below(state, 400000);
    return 64 + random_below(state, 4 * MIB);
}

static void *work(void *arg)
{
    struct outcome *o = arg;
    uint64_t state = o->seed * 0x9e3779b97f4a7c15ULL + 1;
    struct block *blocks = calloc(SLOTS, sizeof *blocks);
    if (!blocks) {
        o->missing++;
        return NULL;
    }
    for (size_t i = 0; i < OPERATIONS; i++) {
        struct block *b = &blocks[random_below(&state, SLOTS)];
        size_t n = some_size(&state), alignment = 16, what = random_below(&state, 100);
        if (b->p && what < 75) {
            o->spoilt += !whole(b->p, b, b->size);
            free(b->p);
            b->p = NULL;
            if (what < 35)
                continue;
        }
        if (b->p) {
            n += n == 0;
            unsigned char *q = realloc(b->p, n);
            if (!q) {
                o->missing++;
                continue;
            }
            o->spoilt += !whole(q, b, n < b->size ? n : b->size);
            b->p = q;
        } else if (what % 10 < 6) {
            b->p = malloc(n);
        } else if (what % 10 < 8) {
            b->p = calloc(1, n);
            o->dirty += b->p && !all_bytes(b->p, n, 0);
        } else {
            alignment = (size_t)16 << random_below(&state, what % 10 == 8 ? 4 : 13);
            b->p = memalign(alignment, n);
        }
        if (!b->p) {
            o->missing++;
            continue;
        }
        o->misaligned += !aligned(b->p, alignment);
        o->small += malloc_usable_size(b->p) < n;
        b->size = n;
        b->seed = random_next(&state);
        fill(b);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        o->spoilt += blocks[i].p && !whole(blocks[i].p, &blocks[i], blocks[i].size);
        free(blocks[i].p);
    }
    free(blocks);
    return NULL;
}

static void judge(const struct outcome *o, const char *how)
{
    if (!ok(!(o->missing + o->misaligned + o->small + o->spoilt + o->dirty), "seed %llu, %s", (unsigned long long)o->seed,
            how))
        note("missing %zu, misaligned %zu, too small %zu, spoilt %zu, calloc not zero %zu", o->missing, o->misaligned,
             o->small, o->spoilt, o->dirty);
}

int main(int argc, char **argv)
{
    tap_start();
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, last = argc > 1 ? first : 4;
    for (uint64_t seed = first; seed <= last; seed++) {
        struct outcome o = { .seed = seed };
        work(&o);
        judge(&o, "alone");
    }
    pthread_t threads[4];
    struct outcome outcomes[4] = { { 0 } };
    size_t started = 0;
    for (; started < COUNT_OF(threads); started++) {
        outcomes[started].seed = first + 100 + started;
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
