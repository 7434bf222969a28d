/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * calloc.c: zero bytes, whatever the memory held before: blocks used, purged, shrunk, cut from larger ones.
 */
#define _GNU_SOURCE
#include "tap.h"

/* Blocks of that size which are dirty to the last byte, freed; then callocs.  A round with a trim in between. */
static void test_size(size_t n)
{
    enum { MOST = 400 };
    static unsigned char *blocks[MOST];
    size_t count = n < 4096 ? MOST : n < 100 * KIB ? 60 : n < MIB ? 12 : 3;
    unsigned missing = 0, dirty = 0;
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < count; i++) {
            blocks[i] = round & 1 ? malloc(n) : calloc(1, n);
            missing += !blocks[i];
            if (blocks[i])
                memset(blocks[i], 0xff, malloc_usable_size(blocks[i]));
        }
        if (round < 2) {
            for (size_t i = 0; i < count; i++)
                free(blocks[i]);
        } else { /* whole pages inside slabs that stay in use */
            for (size_t i = 0; i < count; i++)
                if (i % 8)
                    free(blocks[i]);
        }
        if (round & 1)
            malloc_trim(0);
        for (size_t i = 0; i < count; i++) {
            if (round >= 2 && i % 8 == 0)
                continue;
            blocks[i] = i & 1 ? calloc(n, 1) : calloc(1, n);
            missing += !blocks[i];
            dirty += blocks[i] && !all_bytes(blocks[i], n, 0);
            if (blocks[i])
                memset(blocks[i], 0xff, malloc_usable_size(blocks[i]));
        }
        for (size_t i = 0; i < count; i++)
            free(blocks[i]);
    }
    ok(!missing && !dirty, "calloc of %zu bytes is zero in used memory", n);
    if (missing || dirty)
        note("missing %u, dirty %u", missing, dirty);
}

/* Memory changes its size class and its owner. */
static void test_mixed(void)
{
    enum { SLOTS = 500 };
    static unsigned char *blocks[SLOTS];
    static const size_t most[] = { 300, 3000, 40000, 400000 };
    uint64_t seed = 77;
    unsigned dirty = 0, missing = 0;
    for (int i = 0; i < 60000; i++) {
        size_t slot = random_below(&seed, SLOTS), kind = random_below(&seed, 100);
        size_t n = 1 + random_below(&seed, most[kind < 60 ? 0 : kind < 90 ? 1 : kind < 99 ? 2 : 3]);
        free(blocks[slot]);
        if (i % 20000 == 19999)
            malloc_trim(0);
        size_t unit = 1 + random_below(&seed, 9);
        blocks[slot] = calloc(n / unit, unit);
        missing += !blocks[slot];
        if (blocks[slot]) {
            dirty += !all_bytes(blocks[slot], n / unit * unit, 0);
            memset(blocks[slot], 0xee, malloc_usable_size(blocks[slot]));
        }
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(blocks[i]);
    if (!ok(!dirty && !missing, "random sizes: zero in used memory"))
        note("missing %u, dirty %u", missing, dirty);
}

/* What a shrinking realloc gave back was written to. */
static void test_shrunk(void)
{
    unsigned dirty = 0;
    for (size_t n = 100000; n < 60 * MIB; n *= 5) {
        for (int round = 0; round < 4; round++) {
            unsigned char *p = malloc(n);
            memset(p, 0xdd, malloc_usable_size(p));
            p = realloc(p, n / 3);
            unsigned char *q = calloc(1, n / 2), *r = calloc(n / 100, 10);
            dirty += !all_bytes(q, n / 2, 0) + !all_bytes(r, n / 100 * 10, 0);
            free(p);
            free(q);
            free(r);
        }
    }
    ok(!dirty, "calloc after shrinking reallocs is zero");
}

/* Dirt from before an aligned block, and in its usable rest. */
static void test_aligned(void)
{
    unsigned dirty = 0;
    for (size_t alignment = 64; alignment <= MIB; alignment *= 4)
        for (int round = 0; round < 20; round++) {
            unsigned char *p = memalign(alignment, 3000);
            size_t usable = malloc_usable_size(p);
            memset(p, 0xcc, usable);
            free(p);
            p = calloc(1, usable);
            dirty += !all_bytes(p, usable, 0);
            free(p);
        }
    ok(!dirty, "calloc after aligned blocks is zero");
}

int main(void)
{
    static const size_t more[] = { 2047,  2048,  3000,   4095,   4096,    4097,    6000,    8192,     8193,
                                   16384, 20000, 32767,  32768,  32769,   40000,   65535,   65536,    65537,
                                   100000, 131072, 262145, 524288, 1000000, 1 << 20, 5000000, 33554432, 33554433, 50000000 };
    tap_start();
    for (size_t n = 1; n <= 1100; n += n < 40 ? 1 : 13)
        test_size(n);
    for (size_t i = 0; i < COUNT_OF(more); i++)
        test_size(more[i]);
    test_mixed();
    test_shrunk();
    test_aligned();
    return tap_done();
}
