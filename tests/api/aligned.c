/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * aligned.c: blocks with an alignment, from 1 byte to 1 GiB and odd ones, with the rules of glibc 2.36: memalign and
 * aligned_alloc round an alignment up to a power of two, posix_memalign refuses it.
 */
#define _GNU_SOURCE
#include "tap.h"

#define GIB ((size_t)1 << 30)

static void *by_memalign(size_t alignment, size_t n) { return memalign(alignment, n); }
static void *by_aligned_alloc(size_t alignment, size_t n) { return aligned_alloc(alignment, n); }
static void *by_posix_memalign(size_t alignment, size_t n)
{
    void *p = NULL;
    return posix_memalign(&p, alignment, n) ? NULL : p;
}

static const struct way {
    const char *name;
    void *(*give)(size_t, size_t);
    size_t least;
} ways[] = {
    { "memalign", by_memalign, 1 },
    { "aligned_alloc", by_aligned_alloc, 1 },
    { "posix_memalign", by_posix_memalign, sizeof(void *) },
};

static const size_t sizes[] = { 0,     1,     15,    16,    17,    100,   512,    1000,    1024,    1025,
                                4000,  4096,  4097,  16384, 32767, 32768, 32769,  65536,   65537,   100000,
                                1 << 20, (1 << 20) + 1, 5000000 };

static void test_powers(const struct way *way)
{
    for (size_t alignment = way->least; alignment <= GIB; alignment *= 2) {
        unsigned char *blocks[COUNT_OF(sizes)];
        unsigned bad = 0, spoilt = 0;
        /* At the largest alignments one at a time: 23 of them would need more than the address space of small machines. */
        size_t at_once = alignment > 16 * MIB ? 1 : COUNT_OF(sizes);
        for (size_t first = 0; first < COUNT_OF(sizes); first += at_once) {
            for (size_t i = first; i < first + at_once; i++) {
                blocks[i] = way->give(hide_size(alignment), sizes[i]);
                if (!blocks[i] || !aligned(blocks[i], alignment) || !aligned(blocks[i], 16) ||
                    malloc_usable_size(blocks[i]) < sizes[i])
                    bad++;
                else
                    pattern_fill(blocks[i], malloc_usable_size(blocks[i]) > 4 * MIB ? sizes[i]
                                                                                  : malloc_usable_size(blocks[i]), i);
            }
            for (size_t i = first; i < first + at_once; i++) {
                if (!blocks[i])
                    continue;
                spoilt += !pattern_holds(blocks[i], sizes[i], i);
                free(blocks[i]);
            }
        }
        ok(!bad && !spoilt, "%s(%zu): %zu sizes", way->name, alignment, COUNT_OF(sizes));
        if (bad || spoilt)
            note("missing or misaligned or too small %u, spoilt %u", bad, spoilt);
    }
}

static void test_odd(const struct way *way)
{
    static const size_t odd[] = { 3, 7, 12, 17, 24, 33, 48, 100, 1000, 1025, 4097, 65537, 1000000, 3 << 20 };
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        size_t power = 1;
        while (power < odd[i])
            power *= 2;
        for (size_t n = 1; n < 200000; n = n * 7 + 3) {
            void *p = way->give(hide_size(odd[i]), n);
            if (!p || !aligned(p, power)) {
                ok(0, "%s(%zu, %zu) rounds the alignment up to %zu: %p", way->name, odd[i], n, power, p);
            }
            free(p);
        }
        ok(1, "%s(%zu) rounds the alignment up to %zu", way->name, odd[i], power);
    }
    void *p = way->give(hide_size(0), 100);
    ok(p && aligned(p, 16), "%s(0) is malloc", way->name);
    free(p);
    size_t top = SIZE_MAX / 2 + 1;
    static const struct {
        const char *what;
        size_t alignment;
        int error;
    } huge[] = {
        { "a quarter of the address space", SIZE_MAX / 4 + 1, ENOMEM },
        { "the largest power of two", SIZE_MAX / 2 + 1, ENOMEM },
        { "more than that", SIZE_MAX / 2 + 2, EINVAL },
        { "SIZE_MAX", SIZE_MAX, EINVAL },
    };
    for (size_t i = 0; i < COUNT_OF(huge); i++) {
        if (i == 0 && sizeof(void *) < 8) /* that much can be had in 32 bits */
            continue;
        errno = 0;
        p = way->give(hide_size(huge[i].alignment), 1);
        if (!ok(!p && errno == huge[i].error, "%s, alignment %s: NULL and %s", way->name, huge[i].what,
                strerror(huge[i].error)))
            note("%p, errno %d", p, errno);
    }
    errno = 0;
    p = way->give(hide_size(top), hide_size(SIZE_MAX));
    ok(!p && errno == ENOMEM, "%s, the largest power of two and size: ENOMEM", way->name);
}

static void test_posix_refuses(void)
{
    static const size_t bad[] = { 0, 1, 2, 3, 4, 7, 9, 12, 24, 40, 100, 1000, 4097, SIZE_MAX / 2 + 2, SIZE_MAX };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (bad[i] % sizeof(void *) == 0 && bad[i] && !(bad[i] & (bad[i] - 1)))
            continue; /* 4, where pointers have 4 bytes */
        int untouched;
        void *p = &untouched;
        errno = 4321;
        int error = posix_memalign(&p, hide_size(bad[i]), 100);
        ok(error == EINVAL && p == &untouched && errno == 4321, "posix_memalign(%zu): EINVAL, nothing touched", bad[i]);
    }
    static const size_t large[][2] = { { SIZE_MAX / 2 + 1, 1 }, { 16, SIZE_MAX }, { 64, SIZE_MAX - 100 } };
    for (size_t i = 0; i < COUNT_OF(large); i++) {
        int untouched;
        void *p = &untouched;
        errno = 4321;
        int error = posix_memalign(&p, hide_size(large[i][0]), hide_size(large[i][1]));
        /* The C library sets errno here, though no standard says so, and some programs report that. */
        ok(error == ENOMEM && p == &untouched && errno == ENOMEM, "posix_memalign(%zu, %zu): ENOMEM, *result untouched",
           large[i][0], large[i][1]);
    }
}

static void test_pages(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t n = 0; n < 4000000; n = n * 3 + 1) {
        unsigned char *p = valloc(n), *q = pvalloc(n);
        size_t rounded = (n + page - 1) / page * page;
        if (ok(p && aligned(p, page) && malloc_usable_size(p) >= n, "valloc(%zu)", n))
            pattern_fill(p, n, n);
        if (ok(q && aligned(q, page) && malloc_usable_size(q) >= rounded, "pvalloc(%zu) has whole pages", n))
            pattern_fill(q, rounded, n + 1);
        ok(p && q && pattern_holds(p, n, n) && pattern_holds(q, rounded, n + 1), "both are whole");
        free(p);
        free(q);
    }
}

static void test_realloc(void)
{
    static const size_t to[] = { 1, 100, 1024, 5000, 40000, 300000, 3000000, 40000000 };
    for (size_t alignment = 32; alignment <= 64 * MIB; alignment *= 8) {
        unsigned bad = 0;
        for (size_t i = 0; i < COUNT_OF(to); i++)
            for (size_t j = 0; j < COUNT_OF(to); j++) {
                size_t keep = to[i] < to[j] ? to[i] : to[j];
                unsigned char *p = memalign(alignment, to[i]);
                if (!p) {
                    bad++;
                    continue;
                }
                pattern_fill(p, to[i] > MIB ? MIB : to[i], i);
                memset(p + to[i] - 1, 0x5a, 1);
                p = realloc(p, to[j]);
                bool same = to[i] <= MIB ? keep < to[i] || (p && p[to[i] - 1] == 0x5a) : true;
                size_t whole = keep > MIB ? MIB : keep == to[i] ? keep - 1 : keep;
                bad += !p || !aligned(p, 16) || !same || malloc_usable_size(p) < to[j] || !pattern_holds(p, whole, i);
                free(p);
            }
        ok(bad == 0, "realloc of blocks aligned to %zu keeps their content", alignment);
    }
}

/* Address space does not leak: 300 blocks of that alignment, one after the other. */
static void test_no_leak(void)
{
    size_t before = address_space();
    unsigned missing = 0;
    for (int i = 0; i < 300; i++) {
        void *p = memalign(GIB, 100000);
        missing += !p;
        free(p);
    }
    size_t after = address_space();
    bool flat = EMULATED /* which notes every page in memory of its own */ || after < before + 8 * (size_t)1024 * MIB;
    if (!ok(!missing && flat, "300 blocks aligned to 1 GiB in turn need no more room"))
        note("missing %u, address space %zu MiB -> %zu MiB", missing, before / MIB, after / MIB);
}

int main(void)
{
    tap_start();
    for (size_t i = 0; i < COUNT_OF(ways); i++)
        test_powers(&ways[i]);
    test_odd(&ways[0]);
    test_odd(&ways[1]);
    test_posix_refuses();
    test_pages();
    test_realloc();
    if (sizeof(size_t) >= 8)
        test_no_leak();
    else
        skip("room for blocks aligned to 1 GiB", "the address space is small");
    return tap_done();
}
