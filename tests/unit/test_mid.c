/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_mid.c: runs of slots: zeroed where that is wanted, resized where there is room.
 */
#include "mid.h"
#include "option.h"
#include "superslab.h"
#include "policy.h"
#include "unit.h"

static const char site;

static void start(void)
{
    hkm_os_init();
    SET_OPTION(disable_purge, 1);
}

static size_t slots(size_t bytes) { return (bytes + HKM_SLOT_SIZE - 1) / HKM_SLOT_SIZE; }

/* What the tables say of a block. */
static void check_run(const char *p, size_t size)
{
    size_t slot = 0, bytes = hkm_round_up(size, hkm_os.page), n = slots(bytes);
    struct hkm_range *r = hkm_registry_find(p, &slot);
    ck_assert_ptr_nonnull(r);
    struct hkm_slab *s = hkm_slab_at(r, slot);
    ck_assert_ptr_eq(s->start, p);
    ck_assert_uint_eq(s->bytes, bytes);
    ck_assert_uint_eq(s->run, n);
    ck_assert_ptr_eq(hkm_tag_at(r, slot), &hkm_tag_run);
    for (size_t i = 1; i < n; i++)
        expect(hkm_tag_at(r, slot + i) == &hkm_tag_rest);
    ck_assert_ptr_eq(hkm_registry_slab(p), s);
}

static char *take(size_t size, bool zero)
{
    char *p = hkm_mid_alloc(size, 16, zero, &site);
    ck_assert_ptr_nonnull(p);
    check_run(p, size);
    return p;
}

START_TEST(many_sizes)
{
    static const size_t sizes[] = { 1, 4096, 32769, 65535, 65536, 65537, 131072, 131073, 1000000, 4 << 20, 33 << 20 };
    char *p[COUNT_OF(sizes)];
    size_t sum = 0;
    start();
    ck_assert_uint_eq(hkm_mid_bytes(), 0);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        p[i] = take(sizes[i], false);
        sum += hkm_round_up(sizes[i], hkm_os.page);
        ck_assert_uint_eq(hkm_mid_bytes(), sum);
        ck_assert_ptr_eq(hkm_registry_slab(p[i])->site, &site);
        pattern_fill(p[i], hkm_round_up(sizes[i], hkm_os.page), i);
    }
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        ck_assert(pattern_holds(p[i], hkm_round_up(sizes[i], hkm_os.page), i));
        size_t slot = 0;
        struct hkm_range *r = hkm_registry_find(p[i], &slot);
        ck_assert_ptr_nonnull(r);
        hkm_mid_free(hkm_registry_slab(p[i]));
        for (size_t j = 0; j < slots(sizes[i]); j++)
            expect(hkm_tag_at(r, slot + j) == &hkm_tag_none);
        sum -= hkm_round_up(sizes[i], hkm_os.page);
        ck_assert_uint_eq(hkm_mid_bytes(), sum);
    }
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.taken), 0);
}
END_TEST

START_TEST(alignments)
{
    start();
    for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 2) {
        for (size_t size = 1; size <= MIB; size = size * 5 + 1) {
            char *p = hkm_mid_alloc(size, alignment, size % 2, NULL);
            ck_assert_ptr_nonnull(p);
            ck_assert_uint_eq((uintptr_t)p % alignment, 0);
            ck_assert_uint_eq((uintptr_t)p % HKM_SLOT_SIZE, 0);
            check_run(p, size);
        }
    }
}
END_TEST

START_TEST(only_its_own_pages_are_dirty)
{
    start();
    size_t page = hkm_os.page;
    if (HKM_SLOT_SIZE / page < 4)
        return;
    char *p = take(2 * page, true);
    ck_assert(all_zero(p, 2 * page));
    hkm_mid_free(hkm_registry_slab(p));
    ck_assert_uint_eq(hkm_registry_slab(p)->zero, hkm_pages_all() & ~3u);
}
END_TEST

START_TEST(zeroed_after_dirty_use)
{
    start();
    for (size_t size = 1; size < 3 * MIB; size = size * 2 + 777) {
        char *p = take(size, false);
        memset(p, 7, hkm_round_up(size, hkm_os.page));
        hkm_mid_free(hkm_registry_slab(p));
        char *q = take(size + size / 3, true);
        ck_assert(all_zero(q, hkm_round_up(size + size / 3, hkm_os.page)));
        memset(q, 7, hkm_round_up(size + size / 3, hkm_os.page));
        hkm_mid_free(hkm_registry_slab(q));
    }
    /* Also when the pages come from the kernel again. */
    ck_assert_uint_gt(hkm_superslab_purge(0), 0);
    char *q = take(MIB, true);
    ck_assert(all_zero(q, MIB));
}
END_TEST

START_TEST(resize_in_place)
{
    start();
    ck_assert(hkm_superslab_grow(32)); /* room behind */
    char *p = take(40000, false);
    struct hkm_slab *s = hkm_registry_slab(p);
    pattern_fill(p, 40000, 1);
    ck_assert(hkm_mid_resize(s, 60000)); /* in its slot */
    check_run(p, 60000);
    ck_assert(hkm_mid_resize(s, 60000));
    ck_assert(hkm_mid_resize(s, 5 * HKM_SLOT_SIZE)); /* over the free ones behind it */
    check_run(p, 5 * HKM_SLOT_SIZE);
    ck_assert_uint_eq(hkm_mid_bytes(), 5 * HKM_SLOT_SIZE);
    ck_assert(pattern_holds(p, 40000, 1));
    char *q = take(40000, false);
    ck_assert_ptr_eq(q, p + 5 * HKM_SLOT_SIZE);
    ck_assert(!hkm_mid_resize(s, 5 * HKM_SLOT_SIZE + 1)); /* q is in the way */
    check_run(p, 5 * HKM_SLOT_SIZE);
    check_run(q, 40000);
    ck_assert(hkm_mid_resize(s, 2 * HKM_SLOT_SIZE));
    check_run(p, 2 * HKM_SLOT_SIZE);
    ck_assert_uint_eq(hkm_mid_bytes(), 2 * HKM_SLOT_SIZE + hkm_round_up(40000, hkm_os.page));
    char *t = take(3 * HKM_SLOT_SIZE, false); /* the tail is free for others */
    ck_assert_ptr_eq(t, p + 2 * HKM_SLOT_SIZE);
    memset(t, 7, 3 * HKM_SLOT_SIZE);
    ck_assert(pattern_holds(p, 40000, 1));
    ck_assert(!hkm_mid_resize(s, GIB));
    hkm_mid_free(hkm_registry_slab(t));
    ck_assert(hkm_mid_resize(s, 5 * HKM_SLOT_SIZE));
    ck_assert(!hkm_mid_resize(s, 6 * HKM_SLOT_SIZE));
    hkm_mid_free(s);
    hkm_mid_free(hkm_registry_slab(q));
    ck_assert_uint_eq(hkm_mid_bytes(), 0);
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.taken), 0);
}
END_TEST

START_TEST(what_a_resize_cut_off_is_dirty)
{
    start();
    size_t page = hkm_os.page;
    char *p = take(HKM_SLOT_SIZE * 2, true);
    struct hkm_slab *s = hkm_registry_slab(p);
    memset(p, 7, HKM_SLOT_SIZE * 2);
    ck_assert(hkm_mid_resize(s, page)); /* the rest of its pages, and another slot */
    hkm_mid_free(s);
    char *q = take(HKM_SLOT_SIZE * 2, true);
    ck_assert_ptr_eq(q, p);
    ck_assert(all_zero(q, HKM_SLOT_SIZE * 2));
}
END_TEST

/* Random work: contents stay, zeroed blocks are zero, the sum is right. */
START_TEST(random_work)
{
    struct {
        char *p;
        size_t size;
    } held[40] = { { 0 } };
    uint64_t seed = 1;
    start();
    for (int round = 0; round < 3000; round++) {
        size_t i = random_below(&seed, COUNT_OF(held));
        size_t size = 1 + random_below(&seed, random_below(&seed, 4) ? 150000 : 600000);
        size_t bytes = hkm_round_up(size, hkm_os.page), old = hkm_round_up(held[i].size, hkm_os.page);
        if (!held[i].p) {
            bool zero = random_below(&seed, 2);
            held[i].p = take(size, zero);
            expect(!zero || all_zero(held[i].p, bytes));
        } else {
            size_t least = bytes < old ? bytes : old;
            expect(pattern_holds(held[i].p, old, i));
            if (random_below(&seed, 2)) {
                if (!hkm_mid_resize(hkm_registry_slab(held[i].p), size))
                    size = held[i].size;
                check_run(held[i].p, size);
                expect(pattern_holds(held[i].p, size == held[i].size ? old : least, i));
                bytes = hkm_round_up(size, hkm_os.page);
            } else {
                hkm_mid_free(hkm_registry_slab(held[i].p));
                held[i].p = NULL;
                size = 0;
            }
        }
        held[i].size = size;
        if (size)
            pattern_fill(held[i].p, bytes, i);
        if (round % 500 == 0)
            hkm_superslab_purge(10 * HKM_SLOT_SIZE);
        if (round % 100 == 0) {
            size_t sum = 0;
            for (size_t j = 0; j < COUNT_OF(held); j++)
                sum += hkm_round_up(held[j].size, hkm_os.page);
            ck_assert_uint_eq(hkm_mid_bytes(), sum);
        }
    }
}
END_TEST

static void run_out(void *arg)
{
    (void)arg;
    unit_limit(32 * MIB);
    CHILD(hkm_mid_alloc(64 * MIB, 16, false, NULL) == NULL);
    CHILD(hkm_mid_bytes() == 0);
    struct hkm_slab *s;
    char *p = hkm_mid_alloc(100000, 16, false, NULL);
    CHILD(p != NULL);
    s = hkm_registry_slab(p);
    CHILD(!hkm_mid_resize(s, 64 * MIB));
    CHILD(hkm_mid_bytes() == hkm_round_up(100000, hkm_os.page));
}

START_TEST(out_of_memory)
{
    start();
    if (LIMITS_HOLD)
        unit_passes(run_out, NULL);
    ck_assert_ptr_null(hkm_mid_alloc(PTRDIFF_MAX, 16, false, NULL));
    ck_assert_uint_eq(hkm_mid_bytes(), 0);
}
END_TEST

/* The cache of runs: what is in it is not out, keeps what was written, and is bounded; all of it goes back. */
START_TEST(cache_of_runs)
{
    static struct hkm_runs c;
    start();
    char *p = take(100000, false), *q = take(64 * 1024, false), *r = take(HKM_RUN_MAX, false);
    struct hkm_slab *s = hkm_registry_slab(p), *t = hkm_registry_slab(q), *u = hkm_registry_slab(r);
    memset(p, 7, 100000);
    ck_assert(!hkm_mid_push(&c, s)); /* nothing is allowed yet */
    ck_assert_ptr_null(hkm_mid_pop(&c, 100000, &site));
    hkm_mid_allow(&c, 3);
    ck_assert(hkm_mid_push(&c, s) && hkm_mid_push(&c, t) && !hkm_mid_push(&c, u));
    ck_assert_uint_eq(hkm_mid_held(&c), 3);
    ck_assert(s->listed && t->listed && !u->listed);
    ck_assert_uint_eq(hkm_mid_bytes(), HKM_RUN_MAX);
    ck_assert_ptr_null(hkm_mid_pop(&c, 131073, &site)); /* of that length there is none */
    ck_assert_ptr_eq(hkm_mid_pop(&c, 65537, NULL), p);
    ck_assert(!s->listed && s->site == NULL); /* what was written stays known */
    ck_assert_uint_eq(s->bytes, hkm_round_up(100000, hkm_os.page));
    ck_assert(hkm_mid_push(&c, s));
    ck_assert_ptr_eq(hkm_mid_pop(&c, 131072, &site), p);
    ck_assert_uint_eq(s->bytes, 131072);
    ck_assert(hkm_mid_push(&c, s));
    size_t taken = hkm_load(&hkm_superslab_stats.taken);
    ck_assert_uint_eq(hkm_mid_drain(&c, 1), 0); /* none is as short */
    ck_assert_uint_eq(hkm_mid_held(&c), 3);
    ck_assert_uint_eq(hkm_mid_drain(&c, HKM_RUN_SLOTS + 1), 3);
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.taken), taken - 3);
    ck_assert(hkm_mid_held(&c) == 0 && hkm_mid_drain(&c, HKM_RUN_SLOTS + 1) == 0);
    c.room = c.allowed - 2; /* a push that a fork cut off: counted, and not yet linked */
    ck_assert(hkm_mid_drain(&c, HKM_RUN_SLOTS + 1) == 0 && hkm_mid_held(&c) == 0);
    ck_assert(hkm_mid_push(&c, u) == false); /* too long for what is allowed */
    hkm_mid_allow(&c, HKM_RUN_SLOTS - c.allowed);
    ck_assert(hkm_mid_push(&c, u));
    c.room = c.allowed; /* linked, and not yet counted */
    ck_assert(hkm_mid_drain(&c, HKM_RUN_SLOTS + 1) == HKM_RUN_SLOTS && hkm_mid_held(&c) == 0);
    u = hkm_registry_slab(take(HKM_RUN_MAX, false));
    hkm_mid_free(u);
    ck_assert_uint_eq(hkm_mid_bytes(), 0);
    char *z = take(131072, true); /* it may lie where the others did */
    ck_assert(all_zero(z, 131072));
    hkm_mid_free(hkm_registry_slab(z));
}
END_TEST

/* Runs come and go in slots that were used before.  Nothing new is to be said of all but the first, so nothing is written there:
 * other threads, whose slots these were, have those lines in their caches. */
START_TEST(records_of_used_slots_are_only_read)
{
    start();
    size_t page = hkm_os.page, n = 3 * (page >> HKM_SLAB_SHIFT) + 1;
    char *p = take(n << HKM_SLOT_SHIFT, false);
    struct hkm_slab *s = hkm_registry_slab(p);
    hkm_mid_free(s);
    uintptr_t from = hkm_round_up((uintptr_t)hkm_slab_after(s, n - 1), page), to = (uintptr_t)s & ~(page - 1);
    ck_assert_uint_ge(to - from, 2 * page);
    uint64_t reused = hkm_load(&hkm_superslab_stats.reused);
    ck_assert_int_eq(mprotect((void *)from, to - from, PROT_READ), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_ptr_eq(hkm_mid_alloc(n << HKM_SLOT_SHIFT, 16, false, &site), p);
        ck_assert_uint_eq(s->run, n);
        hkm_mid_free(s);
    }
    ck_assert_int_eq(mprotect((void *)from, to - from, PROT_READ | PROT_WRITE), 0);
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.reused), reused + 3 * n * (HKM_SLOT_SIZE >> hkm_os.page_bits));
}
END_TEST

UNIT_MAIN("mid", CK_FORK, many_sizes, alignments, only_its_own_pages_are_dirty, zeroed_after_dirty_use, resize_in_place,
          what_a_resize_cut_off_is_dirty, random_work, cache_of_runs,
          records_of_used_slots_are_only_read, out_of_memory)
