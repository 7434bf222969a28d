/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * realloc.c: content survives every change of size: step by step over all borders of size classes, from any size to any
 * other, at random, and in blocks with mappings of their own.
 */
#define _GNU_SOURCE
#include "tap.h"

#include <sys/mman.h>

static size_t borders[2000];
static size_t border_count;

/* 16-byte steps to 2 KiB, then sixteenths of powers of two; each with its neighbours. */
static void make_borders(void)
{
    for (size_t n = 16; n < 2048; n += 16)
        for (size_t m = n - 1; m <= n + 1; m++)
            borders[border_count++] = m;
    for (size_t unit = 2048; unit < 64 * MIB; unit *= 2)
        for (size_t n = unit; n < 2 * unit; n += unit / 16)
            for (size_t m = n - 1; m <= n + 1; m++)
                borders[border_count++] = m;
}

/* The content of big blocks is looked at in their first and last part and once a page. */
static void fill(unsigned char *p, size_t n, uint64_t seed)
{
    if (n <= 256 * KIB) {
        pattern_fill(p, n, seed);
        return;
    }
    pattern_fill(p, 8192, seed);
    for (size_t i = 8192; i < n; i += 4096)
        p[i] = (unsigned char)(i >> 12 ^ seed);
}
/* Whether the first `keep` bytes are as filled when the block had n. */
static bool whole(const unsigned char *p, size_t keep, size_t n, uint64_t seed)
{
    if (n <= 256 * KIB)
        return pattern_holds(p, keep, seed);
    if (!pattern_holds(p, keep < 8192 ? keep : 8192, seed))
        return false;
    for (size_t i = 8192; i < keep; i += 4096)
        if (p[i] != (unsigned char)(i >> 12 ^ seed))
            return false;
    return true;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* One block along sizes[0], sizes[step], ...; `step` may be negative. */
static void test_chain(const char *what, size_t stride, bool down)
{
    size_t old = 0;
    unsigned char *p = NULL;
    unsigned missing = 0, spoilt = 0, small = 0, misaligned = 0;
    for (size_t i = 0; i < border_count; i += stride) {
        size_t n = borders[down ? border_count - 1 - i : i];
        unsigned char *q = realloc(p, n);
        if (!q) {
            missing++;
            continue;
        }
        spoilt += p && !whole(q, least(old, n), old, old);
        small += malloc_usable_size(q) < n;
        misaligned += !aligned(q, 16);
        p = q;
        old = n;
        fill(p, n, n);
    }
    free(p);
    ok(!(missing + spoilt + small + misaligned), "%s", what);
    if (missing + spoilt + small + misaligned)
        note("missing %u, spoilt %u, too small %u, misaligned %u", missing, spoilt, small, misaligned);
}

static void test_pairs(void)
{
    static const size_t some[] = { 1,     16,    17,    24,    64,    100,   256,   257,    512,    1000,   1024,
                                   1025,  1500,  2048,  2049,  4096,  5000,  8192,  8193,   16384,  20000,  32768,
                                   32769, 40000, 65536, 65537, 99999, 131072, 200000, 524289, 1048576, 1048577, 3000000 };
    unsigned bad = 0;
    for (size_t i = 0; i < COUNT_OF(some); i++)
        for (size_t j = 0; j < COUNT_OF(some); j++) {
            unsigned char *before = malloc(some[i]), *p = malloc(some[i]), *after = malloc(some[i]);
            if (!before || !p || !after) {
                bad++;
                continue;
            }
            fill(before, some[i], 1);
            fill(p, some[i], 2);
            fill(after, some[i], 3);
            unsigned char *q = realloc(p, some[j]);
            if (!q || malloc_usable_size(q) < some[j] || !whole(q, least(some[i], some[j]), some[i], 2)) {
                note("from %zu to %zu", some[i], some[j]);
                bad++;
            } else {
                memset(q, 0x77, malloc_usable_size(q));
            }
            if (!whole(before, some[i], some[i], 1) || !whole(after, some[i], some[i], 3)) {
                note("from %zu to %zu: neighbours", some[i], some[j]);
                bad++;
            }
            free(before);
            free(after);
            free(q);
        }
    ok(bad == 0, "from any of %zu sizes to any other", COUNT_OF(some));
}

static void test_random(uint64_t seed)
{
    enum { SLOTS = 64 };
    unsigned char *blocks[SLOTS] = { NULL };
    size_t sizes[SLOTS] = { 0 };
    unsigned bad = 0;
    uint64_t state = seed;
    for (int i = 0; i < 40000; i++) {
        size_t slot = random_below(&state, SLOTS);
        size_t n = 1 + random_below(&state, (size_t)16 << random_below(&state, i % 50 ? 12 : 18));
        unsigned char *q = i & 1 ? realloc(blocks[slot], n) : reallocarray(blocks[slot], n, 1);
        if (!q || (blocks[slot] && !whole(q, least(n, sizes[slot]), sizes[slot], slot + sizes[slot]))) {
            bad++;
            continue;
        }
        blocks[slot] = q;
        sizes[slot] = n;
        fill(q, n, slot + n);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        bad += blocks[i] && !whole(blocks[i], sizes[i], sizes[i], i + sizes[i]);
        free(blocks[i]);
    }
    ok(bad == 0, "random sizes, seed %llu", (unsigned long long)seed);
}

/* Mappings of their own: two that grow side by side, one that shrinks out of that range and back. */
static void test_big(void)
{
    size_t n = 20 * MIB;
    unsigned char *a = malloc(n), *b = malloc(n);
    unsigned bad = 0;
    fill(a, n, 1);
    fill(b, n, 2);
    for (; n < 150 * MIB; n += 13 * MIB + 4097) {
        size_t more = n + 13 * MIB + 4097;
        a = realloc(a, more);
        b = realloc(b, more);
        bad += !a || !b || !whole(a, n, n, 1) || !whole(b, n, n, 2) || malloc_usable_size(a) < more;
        if (bad)
            break;
        fill(a, more, 1);
        fill(b, more, 2);
    }
    ok(!bad, "two blocks grow from 20 to 160 MiB");
    static const size_t to[] = { 100 * MIB, 32 * MIB, 32 * MIB - 1, 40 * MIB, 1 * MIB, 35 * MIB, 40000, 64 * MIB, 100, 33 * MIB };
    for (size_t i = 0; i < COUNT_OF(to); i++) {
        unsigned char *q = realloc(a, to[i]);
        if (!ok(q && whole(q, least(n, to[i]), n, 1), "then one goes from %zu to %zu bytes", n, to[i]))
            break;
        a = q;
        n = to[i];
        fill(a, n, 1);
    }
    free(a);
    free(b);
}

/* A shrunk block keeps its content, and what it no longer needs comes back: 200 blocks of 4 MiB cut to 4 KiB. */
static void test_gives_back(void)
{
    if (SANITIZED) {
        skip("shrinking gives memory back", "sanitizer");
        return;
    }
    enum { BLOCKS = 100 };
    static unsigned char *blocks[BLOCKS];
    size_t before = resident();
    unsigned bad = 0;
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(4 * MIB);
        memset(blocks[i], (int)i, 4 * MIB);
        blocks[i] = realloc(blocks[i], 4096);
    }
    malloc_trim(0);
    size_t after = resident();
    for (size_t i = 0; i < BLOCKS; i++) {
        bad += !all_bytes(blocks[i], 4096, (unsigned char)i);
        free(blocks[i]);
    }
    if (!ok(!bad && after < before + 40 * MIB, "shrinking gives memory back"))
        note("bad %u, resident %zu KiB -> %zu KiB", bad, before / KIB, after / KIB);
}

/* The kernel moves a mapping only whole: what the program has split by advice must be copied. */
static void test_split_mapping(void)
{
    char *p = malloc(40 * MIB);
    memset(p, 5, 40 * MIB);
    uintptr_t page = ((uintptr_t)p + 8 * MIB) & ~(uintptr_t)65535;
    madvise((void *)page, MIB, MADV_SEQUENTIAL);
    p = realloc(p, 300 * MIB);
    ok(p && all_bytes(p, 40 * MIB, 5), "a big block of which a part was advised grows");
    free(p);
}

int main(void)
{
    tap_start();
    make_borders();
    test_chain("grow over all borders", 1, false);
    test_chain("shrink over all borders", 1, true);
    test_chain("grow by larger steps", 5, false);
    test_chain("shrink by larger steps", 17, true);
    test_pairs();
    for (uint64_t seed = 1; seed <= 4; seed++)
        test_random(seed);
    test_big();
    test_gives_back();
    test_split_mapping();
    return tap_done();
}
