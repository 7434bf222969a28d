/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_meta.c: memory for the library's own structures: zeroed, aligned, apart, between guard pages.
 */
#include "meta.h"
#include "unit.h"

START_TEST(zeroed_aligned_and_apart)
{
    enum { COUNT = 3000 };
    static struct {
        unsigned char *p;
        size_t size;
    } got[COUNT];
    uint64_t seed = 1;
    hkm_os_init();
    for (unsigned i = 0; i < COUNT; i++) {
        size_t alignment = (size_t)1 << i % (hkm_os.page_bits + 1);
        got[i].size = 1 + random_below(&seed, i % 50 ? 700 : 60000);
        got[i].p = hkm_meta_alloc(got[i].size, alignment);
        ck_assert_ptr_nonnull(got[i].p);
        ck_assert_uint_eq((uintptr_t)got[i].p % alignment, 0);
        ck_assert(all_zero(got[i].p, got[i].size));
        pattern_fill(got[i].p, got[i].size, i);
    }
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert(pattern_holds(got[i].p, got[i].size, i));
}
END_TEST

START_TEST(small_needs_no_mapping)
{
    hkm_os_init();
    size_t before = hkm_meta_bytes();
    ck_assert_uint_gt(before, 0);
    ck_assert_ptr_nonnull(hkm_meta_alloc(before / 2, 64));
    ck_assert_uint_eq(hkm_meta_bytes(), before);
    ck_assert_uint_eq(hkm_meta_areas(), 0);
    ck_assert_ptr_nonnull(hkm_meta_alloc(before, 64)); /* this one cannot be in the first chunk */
    ck_assert_uint_ge(hkm_meta_bytes(), 2 * before);
    ck_assert_uint_eq(hkm_meta_areas(), 3); /* the chunk, and a page at either end */
}
END_TEST

START_TEST(large_and_guarded)
{
    hkm_os_init();
    size_t before = hkm_meta_bytes(), page = hkm_os.page;
    for (size_t size = MIB; size <= 33 * MIB; size += 8 * MIB) {
        unsigned char *p = hkm_meta_alloc(size, page);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % page, 0);
        ck_assert(all_zero(p, size));
        ck_assert_uint_ge(hkm_meta_bytes(), before + size);
        before = hkm_meta_bytes();
        /* It has a chunk of its own.  No access before that, and none behind its end. */
        ck_assert(!unit_readable(p - 1) || !unit_readable(p - page - 1));
        size_t end = 0;
        while (end < size + 2 * page && unit_readable(p + end))
            end += page;
        ck_assert(end >= size && end < size + 2 * page);
    }
    ck_assert_ptr_null(hkm_meta_alloc(NOT_TO_BE_HAD, 64));
    ck_assert_ptr_nonnull(hkm_meta_alloc(64, 64));
}
END_TEST

/* Mappings of this process. */
static unsigned mappings(void)
{
    unsigned lines = 0;
    FILE *f = fopen("/proc/self/maps", "re");
    for (int c; f && (c = getc(f)) != EOF;)
        lines += c == '\n';
    if (f)
        fclose(f);
    return lines;
}

/* The word arrays of a heap of 20 GiB of the smallest blocks: 1 KiB a slot.  They are not touched here. */
START_TEST(few_mappings_for_much)
{
    hkm_os_init();
    unsigned before = mappings();
    for (size_t bytes = 0; bytes < 320 * MIB; bytes += KIB)
        expect(hkm_meta_words_get(KIB / sizeof(hkm_word)) != NULL);
    if (before)
        ck_assert_uint_le(mappings() - before, 200);
    ck_assert_uint_le(hkm_meta_bytes(), 400 * MIB);
}
END_TEST

START_TEST(words_are_recycled_by_size)
{
    hkm_os_init();
    for (unsigned words = 1; words <= 200; words++) {
        hkm_word *a = hkm_meta_words_get(words), *b = hkm_meta_words_get(words);
        ck_assert(a && b && a != b);
        ck_assert_uint_eq((uintptr_t)a % sizeof(hkm_word), 0);
        for (unsigned i = 0; i < words; i++) {
            hkm_store(&a[i], 1000 + i);
            hkm_store(&b[i], 2000 + i);
        }
        for (unsigned i = 0; i < words; i++)
            ck_assert(hkm_load(&a[i]) == 1000 + i && hkm_load(&b[i]) == 2000 + i);
        hkm_meta_words_put(a, words);
        hkm_meta_words_put(b, words);
        ck_assert_ptr_eq(hkm_meta_words_get(words), b); /* the last one is the warmest */
        ck_assert_ptr_eq(hkm_meta_words_get(words), a);
        hkm_meta_words_put(a, words);
        hkm_meta_words_put(b, words);
    }
    size_t before = hkm_meta_bytes();
    for (int i = 0; i < 100000; i++) {
        hkm_word *w = hkm_meta_words_get(64);
        hkm_meta_words_put(w, 64);
    }
    ck_assert_uint_eq(hkm_meta_bytes(), before);
}
END_TEST

START_TEST(note)
{
    size_t before = hkm_meta_bytes();
    hkm_meta_note(12345);
    ck_assert_uint_eq(hkm_meta_bytes(), before + 12345);
    hkm_meta_note(-(size_t)345);
    ck_assert_uint_eq(hkm_meta_bytes(), before + 12000);
}
END_TEST

static void run_out(void *arg)
{
    (void)arg;
    unit_limit(2 * MIB);
    errno = 77;
    CHILD(hkm_meta_alloc(4 * MIB, 64) == NULL);
    CHILD(hkm_meta_alloc(64, 64) != NULL);
    unsigned n = 0;
    while (hkm_meta_alloc(4096, 64))
        CHILD(++n < 1000);
    CHILD(hkm_meta_words_get(100) == NULL || hkm_meta_alloc(64, 64) != NULL); /* a small rest may be left */
    CHILD(errno == 77);
    unit_unlimit();
    CHILD(hkm_meta_alloc(4 * MIB, 64) != NULL);
    CHILD(hkm_meta_words_get(100) != NULL);
}

START_TEST(out_of_memory)
{
    hkm_os_init();
    if (LIMITS_HOLD)
        unit_passes(run_out, NULL);
}
END_TEST

static void *take_many(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    enum { COUNT = 2000, WORDS = 64 / sizeof(hkm_word) };
    static hkm_word *got[5][COUNT];
    hkm_word **mine = got[seed];
    for (unsigned i = 0; i < COUNT; i++) {
        mine[i] = i % 2 ? hkm_meta_alloc(64, 8) : hkm_meta_words_get(WORDS);
        pattern_fill(mine[i], 64, seed << 32 | i);
        if (i % 8 == 7) {
            hkm_meta_words_put(mine[i - 1], WORDS);
            mine[i - 1] = NULL;
        }
    }
    for (unsigned i = 0; i < COUNT; i++)
        if (mine[i] && !pattern_holds(mine[i], 64, seed << 32 | i))
            return NULL;
    return arg;
}

START_TEST(threads_get_memory_of_their_own)
{
    pthread_t threads[4];
    hkm_os_init();
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = unit_start(take_many, (void *)(i + 1));
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        ck_assert_ptr_nonnull(unit_join(threads[i]));
}
END_TEST

UNIT_MAIN("meta", CK_FORK, zeroed_aligned_and_apart, small_needs_no_mapping, large_and_guarded,
          few_mappings_for_much, words_are_recycled_by_size, note, out_of_memory, threads_get_memory_of_their_own)
