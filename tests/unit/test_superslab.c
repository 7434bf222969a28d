/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_superslab.c: slots from and to the kernel.  The truth is the two bitmaps: every slot of ours is in one of
 * them, or held.
 */
#include "superslab.h"
#include "meta.h"
#include "policy.h"
#include "option.h"
#include "unit.h"

#define STATS (&hkm_superslab_stats)

static size_t slot_of(const struct hkm_slab *s) { return hkm_slab_slot(s); }

/* 'd' dirty, 'f' fresh, '!' both, '-' neither. */
static char state(struct hkm_range *r, size_t slot)
{
    const struct hkm_map *m = hkm_map_at(r, slot / HKM_WORD_BITS);
    bool d = hkm_load(&m->dirty) >> slot % HKM_WORD_BITS & 1, f = hkm_load(&m->fresh) >> slot % HKM_WORD_BITS & 1;
    return d && f ? '!' : d ? 'd' : f ? 'f' : '-';
}

/* Compares bitmaps, hints, records and statistics.  For moments in which nobody is at work. */
static void check_all(void)
{
    size_t dirty = 0, mapped = 0, held = 0;
    for (struct hkm_range *r = &hkm_range; r; r = r->next) {
        for (size_t i = 0; i < hkm_load(&r->used); i++) {
            bool strange = hkm_tag_at(r, i) == &hkm_tag_stranger;
            mapped += !strange;
            switch (state(r, i)) {
            case 'd':
                expect(hkm_load(&r->hint.dirty) <= i / HKM_WORD_BITS);
                expect(hkm_tag_at(r, i) == &hkm_tag_none);
                dirty++;
                break;
            case 'f':
                expect(hkm_load(&r->hint.fresh) <= i / HKM_WORD_BITS);
                expect(hkm_tag_at(r, i) == &hkm_tag_none);
                expect(hkm_slab_at(r, i)->zero == hkm_pages_all() && !hkm_slab_at(r, i)->backed);
                break;
            case '-':
                held += !strange;
                break;
            default:
                ck_abort_msg("slot %zu is in both bitmaps", i);
            }
        }
    }
    ck_assert_uint_eq(hkm_load(&STATS->dirty), dirty);
    ck_assert_uint_eq(hkm_load(&STATS->mapped), mapped);
    ck_assert_uint_eq(hkm_load(&STATS->taken), held);
}

/* Makes the slots' pages dirty, as their holder would, and gives them back. */
static void soil(struct hkm_slab *s, size_t count)
{
    memset(s->start, 7, count << HKM_SLOT_SHIFT);
    for (size_t i = 0; i < count; i++)
        hkm_slab_at(s->range, slot_of(s) + i)->zero = 0;
}
static void give_dirty(struct hkm_slab *s, size_t count)
{
    soil(s, count);
    hkm_superslab_give(s, count);
}

static void start(void)
{
    hkm_os_init();
    SET_OPTION(disable_purge, 1); /* no purge but those that are ordered */
}

START_TEST(page_masks)
{
    hkm_os_init();
    unsigned pages = (unsigned)(HKM_SLOT_SIZE / hkm_os.page);
    size_t page = hkm_os.page;
    ck_assert_uint_eq(hkm_popcount(hkm_pages_all()), pages);
    ck_assert_uint_eq(hkm_pages(0, pages), hkm_pages_all());
    ck_assert_uint_eq(hkm_pages_of(0, HKM_SLOT_SIZE), hkm_pages_all());
    ck_assert_uint_eq(hkm_pages_of(0, 1), 1);
    ck_assert_uint_eq(hkm_pages_of(0, page), 1);
    ck_assert_uint_eq(hkm_pages_of(HKM_SLOT_SIZE - 1, HKM_SLOT_SIZE), 1u << (pages - 1));
    if (pages > 2) {
        ck_assert_uint_eq(hkm_pages_of(page - 1, page + 1), 3);
        ck_assert_uint_eq(hkm_pages_of(page, 2 * page), 2);
        ck_assert_uint_eq(hkm_pages(1, 2), 6);
    }
}
END_TEST

START_TEST(growth_and_single_slots)
{
    struct hkm_slab *s[8];
    start();
    ck_assert_uint_eq(hkm_superslab_take(s, 8, true), 0);
    ck_assert_uint_eq(hkm_superslab_take(s, 8, false), 0);
    ck_assert(hkm_superslab_grow(1));
    ck_assert_uint_eq(hkm_load(&STATS->mapped), hkm_policy_growth(hkm_policy(), 0, HKM_SLOT_SIZE) / HKM_SLOT_SIZE);
    check_all();
    ck_assert(hkm_superslab_grow(200));
    ck_assert_uint_ge(hkm_load(&STATS->mapped), 200);
    ck_assert_uint_eq(hkm_superslab_take(s, 8, true), 0); /* none is dirty */
    /* Lowest addresses first, until there are no more. */
    size_t next = 0, total = hkm_load(&STATS->mapped);
    while (next < total) {
        unsigned got = hkm_superslab_take(s, 1 + next % 8, false);
        ck_assert(got >= 1 && got <= 1 + next % 8);
        for (unsigned i = 0; i < got; i++, next++) {
            ck_assert_uint_eq(slot_of(s[i]), next);
            ck_assert_ptr_eq(s[i]->start, (char *)hkm_range.base + next * HKM_SLOT_SIZE);
            ck_assert_ptr_eq(s[i]->range, &hkm_range);
            ck_assert_uint_eq(s[i]->zero, hkm_pages_all());
            ck_assert(all_zero(s[i]->start, HKM_SLOT_SIZE));
        }
        check_all();
    }
    ck_assert_uint_eq(hkm_superslab_take(s, 1, false), 0);
}
END_TEST

START_TEST(dirty_and_fresh)
{
    struct hkm_slab *s[64], *t[64];
    start();
    ck_assert(hkm_superslab_grow(64));
    for (unsigned n = 0; n < 64;)
        n += hkm_superslab_take(s + n, 64 - n, false);
    soil(s[5], 1);
    s[5]->zero = hkm_pages_all() & (uint16_t)~1; /* one page is enough */
    hkm_superslab_give(s[5], 1);
    give_dirty(s[3], 1);
    hkm_superslab_give(s[4], 1);
    hkm_superslab_give(s[60], 1);
    ck_assert_int_eq(state(&hkm_range, 3), 'd');
    ck_assert_int_eq(state(&hkm_range, 4), 'f');
    ck_assert_int_eq(state(&hkm_range, 5), 'd');
    ck_assert_int_eq(state(&hkm_range, 60), 'f');
    check_all();
    ck_assert_uint_eq(hkm_superslab_take(t, 1, true), 1);
    ck_assert_ptr_eq(t[0], s[3]);
    ck_assert_uint_eq(hkm_superslab_take(t, 64, true), 1);
    ck_assert_ptr_eq(t[0], s[5]);
    ck_assert_uint_eq(hkm_superslab_take(t, 64, true), 0);
    ck_assert_uint_eq(hkm_superslab_take(t, 1, false), 1);
    ck_assert_ptr_eq(t[0], s[4]);
    check_all();
}
END_TEST

static void give_twice(void *arg)
{
    hkm_superslab_give(arg, 1);
    hkm_superslab_give(arg, 1);
}

START_TEST(given_twice)
{
    struct hkm_slab *s;
    start();
    ck_assert(hkm_superslab_grow(1));
    ck_assert_uint_eq(hkm_superslab_take(&s, 1, false), 1);
    struct unit_child c = unit_child(give_twice, s);
    ck_assert_int_eq(c.code, 128 + SIGABRT);
    ck_assert_mem_eq(c.text, "hakmem: internal check: ", 24);
    s->zero = 0;
    c = unit_child(give_twice, s);
    ck_assert_int_eq(c.code, 128 + SIGABRT);
}
END_TEST

START_TEST(runs)
{
    static const size_t counts[] = { 1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 128, 129, 300, 1000 };
    start();
    for (size_t align = 1; align <= 64; align *= 2) {
        struct hkm_slab *s[COUNT_OF(counts)];
        for (size_t i = 0; i < COUNT_OF(counts); i++) {
            s[i] = hkm_superslab_run(counts[i], align);
            ck_assert_ptr_nonnull(s[i]);
            ck_assert_uint_eq((uintptr_t)s[i]->start % (align * HKM_SLOT_SIZE), 0);
            for (size_t j = 0; j < counts[i]; j++) {
                struct hkm_slab *t = hkm_slab_at(s[i]->range, slot_of(s[i]) + j);
                expect(t->start == s[i]->start + j * HKM_SLOT_SIZE);
                expect(t->range == s[i]->range);
                expect(state(t->range, slot_of(t)) == '-');
                memset(t->start, (int)i, HKM_SLOT_SIZE);
            }
            check_all();
        }
        for (size_t i = 0; i < COUNT_OF(counts); i++)
            ck_assert(all_bytes(s[i]->start, counts[i] * HKM_SLOT_SIZE, (unsigned char)i));
        for (size_t i = 0; i < COUNT_OF(counts); i++)
            give_dirty(s[i], counts[i]);
        check_all();
        ck_assert_uint_eq(hkm_load(&STATS->taken), 0);
    }
}
END_TEST

START_TEST(runs_fill_the_first_gap)
{
    start();
    ck_assert(hkm_superslab_grow(512));
    struct hkm_slab *all = hkm_superslab_run(400, 1), *s;
    ck_assert_uint_eq(slot_of(all), 0);
    /* Gaps of 1, 2, 3, 4 slots: dirty and fresh mixed, one across the border of two words. */
    static const size_t gaps[][2] = { { 10, 1 }, { 20, 2 }, { 62, 3 }, { 100, 4 } };
    for (size_t i = 0; i < COUNT_OF(gaps); i++) {
        for (size_t j = 0; j < gaps[i][1]; j++) {
            struct hkm_slab *one = hkm_slab_at(&hkm_range, gaps[i][0] + j);
            if (j % 2)
                give_dirty(one, 1);
            else
                hkm_superslab_give(one, 1);
        }
    }
    check_all();
    for (size_t i = COUNT_OF(gaps); i-- > 0;) {
        s = hkm_superslab_run(gaps[i][1], 1);
        ck_assert_uint_eq(slot_of(s), gaps[i][0]);
        check_all();
    }
    ck_assert_uint_eq(slot_of(hkm_superslab_run(1, 1)), 400);
    /* An aligned one skips what does not fit. */
    for (size_t j = 0; j < 8; j++)
        hkm_superslab_give(hkm_slab_at(&hkm_range, 33 + j), 1);
    ck_assert_uint_eq(slot_of(hkm_superslab_run(4, 4)), 36);
    ck_assert_uint_eq(slot_of(hkm_superslab_run(1, 8)), 40);
    check_all();
}
END_TEST

/* Where a run of that length must come to lie: the first that is free, slot by slot; SIZE_MAX: nowhere below `used`. */
static size_t first_fit(size_t count, size_t align)
{
    size_t used = hkm_load(&hkm_range.used), len = 0;
    for (size_t i = 0; i < used; i++) {
        len = state(&hkm_range, i) == '-' ? 0 : len + 1;
        for (size_t from = i + 1 - len; len && from + count <= i + 1; from++)
            if (((hkm_range.base >> HKM_SLOT_SHIFT) + from) % align == 0)
                return from;
    }
    return SIZE_MAX;
}

/* Holes of all lengths, some over several words of the bitmaps. */
START_TEST(runs_take_the_first_hole_that_fits)
{
    enum { SLOTS = 1500 };
    uint64_t seed = 5;
    hkm_os_init();
    hkm_store(&hkm_option.disable_purge, 1);
    for (unsigned round = 0; round < 40; round++) {
        struct hkm_slab *all = hkm_superslab_run(SLOTS, 1), *got;
        size_t most = round % 2 ? 300 : 6, held = 0;
        for (size_t i = 0; i < SLOTS;) { /* held and free pieces in turn */
            size_t n = 1 + random_below(&seed, (unsigned)most), rest;
            if (random_below(&seed, 4) == 0) /* up to a border of words */
                n = HKM_WORD_BITS - (slot_of(all) + i) % HKM_WORD_BITS;
            rest = SLOTS - i < n ? SLOTS - i : n;
            if ((held ^= 1) == 0)
                hkm_superslab_give(hkm_slab_after(all, i), rest);
            else
                hkm_slab_after(all, i)->run = (uint32_t)rest; /* its length, for the end */
            i += rest;
        }
        for (unsigned i = 0; i < 30; i++) {
            size_t count = 1 + random_below(&seed, (unsigned)most), align = (size_t)1 << random_below(&seed, 5);
            size_t want = first_fit(count, align);
            if (want == SIZE_MAX)
                continue;
            got = hkm_superslab_run(count, align);
            ck_assert_uint_eq(slot_of(got), want);
            hkm_superslab_give(got, count);
        }
        for (size_t i = 0, first = slot_of(all); i < SLOTS;) {
            size_t n = state(&hkm_range, first + i) == '-' ? hkm_slab_after(all, i)->run : 0;
            if (n)
                hkm_superslab_give(hkm_slab_after(all, i), n);
            i += n ? n : 1;
        }
        ck_assert_uint_eq(hkm_load(&STATS->taken), 0);
    }
    check_all();
}
END_TEST

START_TEST(extension_is_all_or_nothing)
{
    char before[300];
    start();
    ck_assert(hkm_superslab_grow(300));
    struct hkm_slab *all = hkm_superslab_run(300, 1);
    ck_assert_uint_eq(slot_of(all), 0);
    for (size_t i = 2; i < 200; i++) { /* free from 2 to 199, but for 150 */
        struct hkm_slab *one = hkm_slab_at(&hkm_range, i);
        if (i == 150)
            continue;
        if (i % 3)
            give_dirty(one, 1);
        else
            hkm_superslab_give(one, 1);
    }
    for (size_t i = 0; i < 300; i++)
        before[i] = state(&hkm_range, i);
    static const size_t failing[] = { 149, 150, 198, 1000, 100000 };
    for (size_t i = 0; i < COUNT_OF(failing); i++) {
        ck_assert(!hkm_superslab_run_extend(all, 2, failing[i]));
        for (size_t j = 0; j < 300; j++)
            expect(state(&hkm_range, j) == before[j]);
        check_all();
    }
    ck_assert(hkm_superslab_run_extend(all, 2, 148)); /* up to, not including, 150 */
    check_all();
    for (size_t i = 0; i < 150; i++) {
        ck_assert_int_eq(state(&hkm_range, i), '-');
        ck_assert_ptr_eq(hkm_slab_at(&hkm_range, i)->start, all->start + i * HKM_SLOT_SIZE);
    }
    ck_assert_int_eq(state(&hkm_range, 151), before[151]);
    ck_assert(!hkm_superslab_run_extend(all, 150, 1));
}
END_TEST

START_TEST(extension_ends_with_the_range)
{
    start();
    ck_assert(hkm_superslab_grow(100));
    size_t used = hkm_load(&hkm_range.used);
    struct hkm_slab *s = hkm_superslab_run(used - 1, 1);
    ck_assert(!hkm_superslab_run_extend(s, used - 1, 2));
    check_all();
    ck_assert(hkm_superslab_run_extend(s, used - 1, 1));
    ck_assert(!hkm_superslab_run_extend(s, used, 1));
    check_all();
}
END_TEST

START_TEST(purge_makes_fresh_slots)
{
    start();
    ck_assert(hkm_superslab_grow(200));
    struct hkm_slab *s = hkm_superslab_run(200, 1);
    give_dirty(s, 200);
    ck_assert_uint_eq(hkm_load(&STATS->dirty), 200);
    size_t keep = 100 * HKM_SLOT_SIZE;
    ck_assert_uint_eq(hkm_superslab_purge(200 * HKM_SLOT_SIZE), 0);
    size_t done = hkm_superslab_purge(keep);
    check_all();
    ck_assert_uint_eq(hkm_load(&STATS->purged), done);
    ck_assert_uint_ge(hkm_load(&STATS->purges), 1);
    ck_assert_uint_eq(hkm_load(&STATS->dirty) * HKM_SLOT_SIZE + done, 200 * HKM_SLOT_SIZE);
    ck_assert_uint_le(hkm_load(&STATS->dirty) * HKM_SLOT_SIZE, keep);
    ck_assert_uint_gt(hkm_load(&STATS->dirty), 100 - HKM_WORD_BITS); /* not much more than was asked for */
    for (size_t i = 1; i < 200; i++) /* the highest ones went */
        ck_assert(!(state(&hkm_range, i) == 'd' && state(&hkm_range, i - 1) == 'f'));
    ck_assert_uint_gt(hkm_superslab_purge(0), 0);
    ck_assert_uint_eq(hkm_load(&STATS->dirty), 0);
    ck_assert_uint_eq(hkm_superslab_purge(0), 0);
    check_all();
    s = hkm_superslab_run(200, 1);
    ck_assert(all_zero(s->start, 200 * HKM_SLOT_SIZE));
}
END_TEST

START_TEST(purge_spares_what_is_held)
{
    start();
    ck_assert(hkm_superslab_grow(100));
    struct hkm_slab *s = hkm_superslab_run(100, 1);
    soil(s, 100);
    for (size_t i = 0; i < 100; i += 3)
        hkm_superslab_give(hkm_slab_at(&hkm_range, i), 1);
    ck_assert_uint_eq(hkm_superslab_purge(0), 34 * HKM_SLOT_SIZE);
    check_all();
    for (size_t i = 0; i < 100; i++)
        ck_assert(all_bytes(s->start + i * HKM_SLOT_SIZE, HKM_SLOT_SIZE, i % 3 ? 7 : 0));
}
END_TEST

START_TEST(purge_of_locked_memory_is_refused)
{
    start();
    ck_assert(hkm_superslab_grow(100));
    struct hkm_slab *s = hkm_superslab_run(100, 1);
    soil(s, 100);
    if (SANITIZED || mlock(s->start + 98 * HKM_SLOT_SIZE, HKM_SLOT_SIZE))
        return; /* not allowed to, or it does nothing */
    hkm_superslab_give(s, 100);
    (void)hkm_superslab_purge(0);
    check_all();
    ck_assert_int_eq(state(&hkm_range, 98), 'd');
    ck_assert(all_bytes(s->start + 98 * HKM_SLOT_SIZE, HKM_SLOT_SIZE, 7));
    ck_assert_uint_eq(hkm_load(&STATS->dirty), 1); /* the others went, though it was the first to be asked for */
    ck_assert_uint_eq(hkm_load(&STATS->refused), 1);
    /* It is remembered, also while the slot is in use and free again: nobody asks, though the kernel would not refuse. */
    munlock(s->start + 98 * HKM_SLOT_SIZE, HKM_SLOT_SIZE);
    for (int i = 0; i < 3; i++) {
        s = hkm_superslab_run(100, 1);
        soil(s, 100);
        hkm_superslab_give(s, 100);
        ck_assert_uint_eq(hkm_superslab_purge(0), 99 * HKM_SLOT_SIZE);
        ck_assert_int_eq(state(&hkm_range, 98), 'd');
        ck_assert(all_bytes(s->start + 98 * HKM_SLOT_SIZE, HKM_SLOT_SIZE, 7));
    }
    hkm_superslab_retry();
    ck_assert_uint_eq(hkm_superslab_purge(0), HKM_SLOT_SIZE);
    check_all();
    ck_assert_uint_eq(hkm_load(&STATS->dirty), 0);
}
END_TEST

/* All is locked: each slot is asked for once, and what is freed later costs nothing. */
START_TEST(refusals_do_not_repeat)
{
    start();
    ck_assert(hkm_superslab_grow(100));
    struct hkm_slab *s = hkm_superslab_run(100, 1);
    soil(s, 100);
    if (SANITIZED || mlock(s->start, 100 * HKM_SLOT_SIZE))
        return;
    hkm_superslab_give(s, 100);
    ck_assert_uint_eq(hkm_superslab_purge(0), 0);
    ck_assert_uint_eq(hkm_load(&STATS->refused), 100);
    munlock(s->start, 100 * HKM_SLOT_SIZE);
    SET_OPTION(disable_purge, 0);
    SET_OPTION(purge_ms, 0);
    SET_OPTION(dirty_kb, 0);
    SET_OPTION(dirty_percent, 0);
    for (int i = 0; i < 10; i++) {
        s = hkm_superslab_run(100, 1);
        hkm_superslab_give(s, 100);
    }
    ck_assert_uint_eq(hkm_load(&STATS->purges), 0);
    ck_assert_uint_eq(hkm_load(&STATS->dirty), 100);
    ck_assert(hkm_superslab_grow(500)); /* from time to time it is asked for again */
    s = hkm_superslab_run(101, 1);
    soil(s, 101);
    hkm_superslab_give(s, 101);
    ck_assert_uint_gt(hkm_load(&STATS->purges), 0);
    ck_assert_uint_eq(hkm_load(&STATS->dirty), 0);
    check_all();
}
END_TEST

START_TEST(purge_pages)
{
    start();
    size_t page = hkm_os.page;
    unsigned pages = (unsigned)(HKM_SLOT_SIZE / page);
    if (pages < 4)
        return;
    ck_assert(hkm_superslab_grow(1));
    struct hkm_slab *s = hkm_superslab_run(1, 1);
    soil(s, 1);
    ck_assert_uint_eq(hkm_superslab_purge_pages(s, 1, 2), 2 * page);
    ck_assert_uint_eq(s->zero, 6);
    ck_assert(all_bytes(s->start, page, 7) && all_zero(s->start + page, 2 * page) &&
              all_bytes(s->start + 3 * page, HKM_SLOT_SIZE - 3 * page, 7));
    hkm_superslab_give(s, 1);
    ck_assert_int_eq(state(&hkm_range, slot_of(s)), 'd');
    s = hkm_superslab_run(1, 1);
    ck_assert_uint_eq(hkm_superslab_purge_pages(s, 0, pages), HKM_SLOT_SIZE);
    hkm_superslab_give(s, 1);
    ck_assert_int_eq(state(&hkm_range, slot_of(s)), 'f');
    check_all();
}
END_TEST

START_TEST(giving_keeps_to_the_limit)
{
    start();
    SET_OPTION(disable_purge, 0);
    SET_OPTION(purge_ms, 0);
    SET_OPTION(dirty_kb, 20 * HKM_SLOT_SIZE / KIB);
    SET_OPTION(dirty_percent, 0);
    ck_assert(hkm_superslab_grow(200));
    struct hkm_slab *s = hkm_superslab_run(200, 1);
    soil(s, 200);
    for (size_t i = 0; i < 200; i++) {
        hkm_superslab_give(hkm_slab_at(&hkm_range, i), 1);
        ck_assert_uint_le(hkm_load(&STATS->dirty), 20);
        check_all();
    }
    ck_assert_uint_gt(hkm_load(&STATS->purged), 0);
    s = hkm_superslab_run(100, 1);
    SET_OPTION(dirty_kb, 0);
    give_dirty(s, 100);
    ck_assert_uint_eq(hkm_load(&STATS->dirty), 0);
}
END_TEST

/* More than the limit may lie idle for a while, much more not even so long. */
START_TEST(a_swing_is_not_purged)
{
    start();
    SET_OPTION(disable_purge, 0);
    SET_OPTION(purge_ms, 200);
    SET_OPTION(dirty_kb, 10 * HKM_SLOT_SIZE / KIB);
    SET_OPTION(dirty_percent, 0);
    ck_assert(hkm_superslab_grow(200));
    size_t began = hkm_os_ms();
    for (int swing = 0; swing < 20; swing++)
        give_dirty(hkm_superslab_run(70, 1), 70);
    if (hkm_os_ms() - began < 150) /* a busy machine may have taken its time */
        ck_assert_uint_eq(hkm_load(&STATS->purges), 0);
    ck_assert_uint_le(hkm_load(&STATS->dirty), 80);
    struct hkm_slab *s = hkm_superslab_run(1, 1);
    give_dirty(s, 1);
    usleep(250 * 1000);
    /* The next to come here finds that it has been too much for too long; each one that comes does a bit. */
    size_t least = hkm_load(&STATS->dirty);
    give_dirty(hkm_superslab_run(1, 1), 1);
    ck_assert_uint_gt(hkm_load(&STATS->purges), 0);
    ck_assert_uint_ge(hkm_load(&STATS->dirty) + HKM_POLICY_PIECE, least);
    while (hkm_superslab_purging()) {
        least = hkm_load(&STATS->dirty);
        hkm_superslab_purge_piece(1);
        ck_assert_uint_ge(hkm_load(&STATS->dirty) + HKM_POLICY_PIECE, least);
    }
    ck_assert_uint_le(hkm_load(&STATS->dirty), 10);
    size_t purges = hkm_load(&STATS->purges);
    give_dirty(hkm_superslab_run(150, 1), 150); /* more than eight times the limit */
    ck_assert_uint_gt(hkm_load(&STATS->purges), purges);
    ck_assert_uint_le(hkm_load(&STATS->dirty), 80);
    check_all();
}
END_TEST

/* What was given back at once, and taken again at once, is not given back so again. */
START_TEST(a_swing_is_found_out)
{
    start();
    SET_OPTION(disable_purge, 0);
    SET_OPTION(purge_ms, 10000);
    SET_OPTION(dirty_kb, 10 * HKM_SLOT_SIZE / KIB);
    SET_OPTION(dirty_percent, 0);
    ck_assert(hkm_superslab_grow(300));
    give_dirty(hkm_superslab_run(200, 1), 200); /* more than eight times as much as may be */
    size_t purges = hkm_load(&STATS->purges);
    ck_assert_uint_gt(purges, 0);
    for (int swing = 0; swing < 5; swing++)
        give_dirty(hkm_superslab_run(200, 1), 200);
    ck_assert_uint_eq(hkm_load(&STATS->purges), purges);
    check_all();
    SET_OPTION(purge_ms, 0); /* nothing is kept for swings */
    give_dirty(hkm_superslab_run(200, 1), 200);
    ck_assert_uint_le(hkm_load(&STATS->dirty), 10);
}
END_TEST

/* Pages that were faulted in for nobody yet are zero, but memory stands behind them. */
START_TEST(prefaulted_slots_are_dirty)
{
    start();
    size_t page = hkm_os.page, bytes = HKM_SLOT_SIZE / 2;
    if (bytes < page)
        return;
    ck_assert(hkm_superslab_grow(8));
    struct hkm_slab *s = hkm_superslab_run(8, 1), *last = hkm_slab_after(s, 7);
    last->size = (uint32_t)bytes; /* one block, and something is left over behind it */
    last->blocks = 1;
    last->step = (uint8_t)(HKM_SLOT_SIZE >> hkm_os.page_bits);
    hkm_superslab_prefault(last, 1);
    last->size = 0;
    if (!hkm_load(&STATS->prefaulted)) { /* the kernel cannot */
        ck_assert_uint_eq(hkm_load(&STATS->prefault_fallbacks), 1);
        ck_assert(!last->backed && !last->step);
        return;
    }
    ck_assert_uint_eq(hkm_load(&STATS->prefaulted), bytes);
    ck_assert_uint_eq(last->zero, hkm_pages_all());
    ck_assert_uint_eq(last->backed, hkm_pages_of(0, bytes));
    ck_assert_uint_eq(hkm_superslab_purge_pages(last, 0, 1), page);
    ck_assert_uint_eq(last->backed, hkm_pages_of(page, bytes) & ~1);
    ck_assert_uint_eq(last->step, 0); /* where something was given back pages come one by one */
    hkm_superslab_give(s, 8);
    ck_assert_int_eq(state(s->range, slot_of(last)), 'd');
    ck_assert_uint_eq(hkm_load(&STATS->dirty), 1);
    check_all();
    ck_assert_uint_eq(hkm_superslab_purge(0), HKM_SLOT_SIZE);
    ck_assert_int_eq(state(s->range, slot_of(last)), 'f');
    check_all();
}
END_TEST

/* ---- huge pages -------------------------------------------------------------------------------------------------- */

/* Of `kind`, whatever this kernel does with them; 0: their size is none for slots. */
static size_t start_huge(enum hkm_huge kind)
{
    start();
    hkm_os_huge_init();
    hkm_store(&hkm_os.thp, 1);
    SET_OPTION(hugepages, kind);
    size_t huge = hkm_load(&hkm_os.huge);
    return huge < HKM_SLOT_SIZE || huge > 2 * MIB ? 0 : huge >> HKM_SLOT_SHIFT;
}

static size_t held_slots(void) { return hkm_load(&STATS->held); }

/* A long run, all of it in huge pages, from the border of one on. */
static struct hkm_slab *huge_run(size_t count, size_t unit)
{
    struct hkm_slab *s;
    hkm_superslab_grow(1);
    size_t rest = hkm_load(&STATS->mapped);
    ck_assert_ptr_nonnull(hkm_superslab_run(rest, 1));
    s = hkm_superslab_run(count, unit);
    ck_assert_ptr_nonnull(s);
    for (size_t i = 0; i < count; i++)
        expect(hkm_slab_after(s, i)->backing == HKM_THP);
    ck_assert_uint_eq((uintptr_t)s->start % (unit * HKM_SLOT_SIZE), 0);
    return s;
}

START_TEST(huge_growth)
{
    size_t unit = start_huge(HKM_HUGE_THP), slots = 0, plain = 0;
    struct hkm_slab *s;
    if (!unit)
        return;
    while (slots < 1000 && hkm_load(&STATS->mapped) < 64 * MIB / HKM_SLOT_SIZE) {
        ck_assert_ptr_nonnull(s = hkm_superslab_run(1, 1));
        if (s->range == &hkm_range_static)
            continue;
        if (s->range != &hkm_range && sizeof(void *) == 4) /* where addresses are short, the first one may be full */
            break;
        size_t at = slot_of(s), first = at & ~(unit - 1);
        expect(at == slots++);
        plain += s->backing == HKM_PLAIN;
        /* Once it has begun it goes on, but for the end of a range, where addresses are short. */
        expect(plain == slots || s->backing == HKM_THP || sizeof(void *) == 4);
        expect(s->backing == hkm_slab_at(s->range, first)->backing); /* no page is plain in part */
    }
    ck_assert_uint_ge(plain, 3 * MIB / HKM_SLOT_SIZE);
    ck_assert_uint_le(plain, sizeof(void *) == 4 ? slots / 2 : 8 * MIB / HKM_SLOT_SIZE);
    size_t known = hkm_load(&STATS->huge) + plain + HKM_STATIC_SLOTS; /* where a range ends, the last step may be plain and not yet taken */
    ck_assert(sizeof(void *) == 4 ? known <= hkm_load(&STATS->mapped) : known == hkm_load(&STATS->mapped));
    ck_assert_uint_eq(hkm_load(&STATS->huge) % unit, 0);
    ck_assert_uint_eq(hkm_load(&STATS->huge_fallbacks), 0);
    check_all();
}
END_TEST

START_TEST(a_huge_page_is_purged_whole_or_not_at_all)
{
    size_t unit = start_huge(HKM_HUGE_THP), count = 128;
    if (!unit)
        return;
    struct hkm_slab *s = huge_run(count, unit);
    soil(s, count);
    ck_assert_uint_eq(hkm_superslab_purge_pages(s, 0, 1), 0);
    ck_assert(all_bytes(s->start, hkm_os.page, 7));
    for (size_t i = 0; i < count; i += unit) /* all of each page, but for one slot */
        hkm_superslab_give(hkm_slab_after(s, i), unit - 1);
    size_t pages = count / unit, dirty = pages * (unit - 1);
    ck_assert_uint_eq(hkm_load(&STATS->dirty), dirty);
    ck_assert_uint_eq(hkm_superslab_purge(0), 0);
    ck_assert_uint_eq(hkm_load(&STATS->purges), 0);
    ck_assert_uint_eq(held_slots(), dirty);
    ck_assert(all_bytes(s->start, (unit - 1) * HKM_SLOT_SIZE, 7));
    /* The last slot of the second page comes back: that page can go, in one call. */
    struct hkm_slab *last = hkm_slab_after(s, 2 * unit - 1);
    hkm_slab_at(last->range, slot_of(last))->zero = hkm_pages_all(); /* fresh ones belong to the page as well */
    memset(last->start, 0, HKM_SLOT_SIZE);
    hkm_superslab_give(last, 1);
    ck_assert_int_eq(state(last->range, slot_of(last)), 'f');
    ck_assert_uint_eq(held_slots(), dirty - (unit - 1));
    ck_assert_uint_eq(hkm_superslab_backed(s->range, slot_of(last)), hkm_pages_all()); /* its page has memory */
    ck_assert_uint_eq(hkm_superslab_purge(0), unit * HKM_SLOT_SIZE);
    ck_assert_uint_eq(hkm_superslab_backed(s->range, slot_of(last)), 0);
    ck_assert_uint_eq(hkm_load(&STATS->purges), 1);
    check_all();
    ck_assert(all_zero(hkm_slab_after(s, unit)->start, unit * HKM_SLOT_SIZE));
    ck_assert(all_bytes(s->start, (unit - 1) * HKM_SLOT_SIZE, 7));
    for (size_t i = 0; i < unit; i++)
        ck_assert_int_eq(state(s->range, slot_of(s) + unit + i), 'f');
    /* What is held may be used again. */
    struct hkm_slab *out[8];
    ck_assert_uint_eq(hkm_superslab_take(out, 8, true), 8);
    ck_assert_uint_le(held_slots(), hkm_load(&STATS->dirty));
    check_all();
}
END_TEST

START_TEST(held_slots_cost_no_calls)
{
    size_t unit = start_huge(HKM_HUGE_THP), count = 256;
    if (unit < 2)
        return;
    struct hkm_slab *s = huge_run(count, unit);
    soil(s, count);
    SET_OPTION(disable_purge, 0);
    SET_OPTION(purge_ms, 0);
    SET_OPTION(dirty_kb, 0);
    SET_OPTION(dirty_percent, 0);
    for (size_t i = 0; i < count; i++)
        if (i % unit)
            hkm_superslab_give(hkm_slab_after(s, i), 1);
    check_all();
    ck_assert_uint_eq(hkm_load(&STATS->purges), 0);
    ck_assert_uint_eq(hkm_load(&STATS->dirty), count - count / unit);
    for (size_t i = 0; i < count; i += unit) { /* each of these sets one free */
        hkm_superslab_give(hkm_slab_after(s, i), 1);
        ck_assert_uint_eq(hkm_load(&STATS->purges), i / unit + 1);
    }
    ck_assert_uint_eq(hkm_load(&STATS->dirty), 0);
    ck_assert_uint_eq(held_slots(), 0);
    check_all();
}
END_TEST

START_TEST(a_locked_huge_page_is_refused_once)
{
    size_t unit = start_huge(HKM_HUGE_THP);
    if (!unit)
        return;
    struct hkm_slab *s = huge_run(4 * unit, unit);
    soil(s, 4 * unit);
    if (SANITIZED || mlock(s->start, hkm_os.page))
        return;
    hkm_superslab_give(s, 4 * unit);
    ck_assert_uint_eq(hkm_superslab_purge(0), 3 * unit * HKM_SLOT_SIZE);
    ck_assert_uint_eq(hkm_load(&STATS->refused), unit);
    ck_assert_uint_eq(hkm_load(&STATS->dirty), unit);
    ck_assert(all_bytes(s->start, unit * HKM_SLOT_SIZE, 7)); /* none of its slots went alone */
    munlock(s->start, hkm_os.page);
    ck_assert_uint_eq(hkm_superslab_purge(0), 0); /* remembered */
    hkm_superslab_retry();
    ck_assert_uint_eq(hkm_superslab_purge(0), unit * HKM_SLOT_SIZE);
    check_all();
}
END_TEST

/* From the pool if it has some, else transparent, else plain; each step down is counted. */
START_TEST(huge_fallbacks)
{
    size_t unit = start_huge(HKM_HUGE_TLB), slot, count = (sizeof(void *) == 8 ? 64 : 16) * MIB / HKM_SLOT_SIZE;
    if (!unit)
        return;
    ck_assert(hkm_superslab_grow(count));
    check_all();
    slot = hkm_load(&hkm_range.used) - 1;
    unsigned backing = hkm_slab_at(&hkm_range, slot)->backing;
    ck_assert_uint_eq(hkm_load(&STATS->huge_fallbacks), backing == HKM_HUGETLB ? 0 : 1);
    ck_assert(backing != HKM_PLAIN);
    struct hkm_slab *s = hkm_superslab_run(count, 1);
    give_dirty(s, count);
    check_all();
    if (backing == HKM_HUGETLB) { /* kept */
        (void)hkm_superslab_purge(0);
        ck_assert_int_eq(state(&hkm_range, slot), 'd');
        return;
    }
    ck_assert_uint_gt(hkm_superslab_purge(0), 0);
    hkm_store(&hkm_os.thp, 0);
    struct hkm_slab *all = hkm_superslab_run(hkm_load(&STATS->mapped), 1);
    ck_assert_ptr_nonnull(all);
    ck_assert(hkm_superslab_grow(count));
    const struct hkm_range *newest = &hkm_range;
    while (hkm_range_next(newest))
        newest = hkm_range_next(newest);
    ck_assert_uint_eq(hkm_slab_at(newest, hkm_load(&newest->used) - 1)->backing, HKM_PLAIN);
    ck_assert_uint_eq(hkm_load(&STATS->huge_fallbacks), 3);
    check_all();
}
END_TEST

START_TEST(strangers_among_huge_pages)
{
    size_t unit = start_huge(HKM_HUGE_THP);
    if (!unit || sizeof(void *) < 8)
        return;
    huge_run(128, unit);
    for (size_t away = 0; away < 3 * unit; away += unit / 2 + 1) {
        size_t used = hkm_load(&hkm_range.used);
        char *at = (char *)hkm_range.base + (used + away) * HKM_SLOT_SIZE;
        unit_stranger(at, HKM_SLOT_SIZE, PROT_READ | PROT_WRITE);
        *at = 9;
        while (hkm_load(&hkm_range.used) <= used + away + 1) {
            struct hkm_slab *s = hkm_superslab_run(30, 1);
            ck_assert_ptr_nonnull(s);
            ck_assert_ptr_eq(s->range, &hkm_range);
            soil(s, 30);
        }
        ck_assert_int_eq(*at, 9);
        check_all();
    }
    for (size_t i = 0; i < hkm_load(&hkm_range.used); i++) /* and no huge page has a slot of a stranger's */
        expect(hkm_slab_at(&hkm_range, i)->backing == HKM_PLAIN || hkm_tag_at(&hkm_range, i) != &hkm_tag_stranger);
}
END_TEST

START_TEST(own_mappings)
{
    hkm_os_init();
    size_t huge = hkm_os_huge_size();
    SET_OPTION(hugepages, HKM_HUGE_GROWN); /* those alone that are expected to be dense, and so large that an eighth is no huge page */
    ck_assert_uint_eq(hkm_superslab_huge_unit(8 * huge, false), 0);
    ck_assert_uint_eq(hkm_superslab_huge_unit(8 * huge - 1, true), 0);
    ck_assert_uint_eq(hkm_superslab_huge_unit(8 * huge, true), huge);
    SET_OPTION(hugepages, HKM_HUGE_NO);
    ck_assert_uint_eq(hkm_superslab_huge_unit(8 * huge, true), 0);
    if (!start_huge(HKM_HUGE_THP))
        return;
    ck_assert(huge == hkm_load(&hkm_os.huge) || EMULATED); /* the kernel's huge page goes with its own page size */
    huge = hkm_load(&hkm_os.huge);
    ck_assert_uint_eq(hkm_superslab_huge_unit(huge - 1, false), 0);
    ck_assert_uint_eq(hkm_superslab_huge_unit(huge, false), huge);
    ck_assert_uint_eq(hkm_superslab_huge_unit(GIB, false), huge);
    char *p = hkm_os_map(huge);
    hkm_superslab_huge(p, huge);
    hkm_os_unmap(p, huge);
    hkm_superslab_huge(p, huge);
    ck_assert_uint_ge(hkm_load(&STATS->huge_fallbacks), EMULATED ? 0 : 1); /* an emulator takes any advice */
    hkm_store(&hkm_os.thp, 0);
    ck_assert_uint_eq(hkm_superslab_huge_unit(GIB, false), 0);
    hkm_store(&hkm_os.thp, 1);
    SET_OPTION(disable_hugepages, 1);
    ck_assert_uint_eq(hkm_superslab_huge_unit(GIB, false), 0);
}
END_TEST

/* ---- strangers, and the end of memory ---------------------------------------------------------------------------- */

START_TEST(strangers_are_stepped_over)
{
    start();
    ck_assert(hkm_superslab_grow(1));
    static const size_t away[] = { 0, 1, 5, 40 }, sizes[] = { 1, 3, 64 };
    for (size_t a = 0; a < COUNT_OF(away); a++) {
        for (size_t b = 0; b < COUNT_OF(sizes); b++) {
            size_t used = hkm_load(&hkm_range.used), bytes = sizes[b] * HKM_SLOT_SIZE;
            if (hkm_range.limit - used < 300) /* where addresses are short */
                return;
            char *at = (char *)hkm_range.base + (used + away[a]) * HKM_SLOT_SIZE;
            unit_stranger(at, bytes, PROT_READ | PROT_WRITE);
            memset(at, 9, bytes);
            for (int i = 0; i < 5 || hkm_load(&hkm_range.used) <= used + away[a]; i++) {
                struct hkm_slab *s = hkm_superslab_run(30, 1);
                ck_assert_ptr_nonnull(s);
                ck_assert_ptr_eq(s->range, &hkm_range); /* one stranger does not drive it away */
                soil(s, 30);
                check_all();
            }
            ck_assert(all_bytes(at, bytes, 9));
            for (size_t i = 0; i < sizes[b] && used + away[a] + i < hkm_load(&hkm_range.used); i++) {
                size_t slot = 0;
                ck_assert_ptr_eq(hkm_registry_find(at + i * HKM_SLOT_SIZE, &slot), &hkm_range);
                ck_assert_int_eq(hkm_tag_at(&hkm_range, slot)->kind, HKM_KIND_STRANGER);
                ck_assert_int_eq(state(&hkm_range, slot), '-');
            }
        }
    }
    ck_assert_ptr_null(hkm_range.next);
    ck_assert_uint_gt(hkm_superslab_purge(0) + 1, 0);
}
END_TEST

START_TEST(blocked_area_is_left)
{
    start();
    if (sizeof(void *) < 8)
        return;
    ck_assert(hkm_superslab_grow(1));
    size_t used = hkm_load(&hkm_range.used), total = hkm_load(&STATS->mapped);
    unit_stranger((char *)hkm_range.base + used * HKM_SLOT_SIZE, (hkm_range.limit - used) * HKM_SLOT_SIZE, PROT_NONE);
    struct hkm_slab *s = hkm_superslab_run(total + 100, 1);
    ck_assert_ptr_nonnull(s);
    ck_assert_ptr_ne(s->range, &hkm_range);
    ck_assert_ptr_eq(s->range, hkm_range.next);
    ck_assert_uint_eq(hkm_load(&hkm_range.used), used);
    size_t slot = 0;
    ck_assert_ptr_eq(hkm_registry_find(s->start + 99 * HKM_SLOT_SIZE, &slot), s->range);
    soil(s, total + 100);
    check_all();
    /* Single slots come from both. */
    struct hkm_slab *one[8];
    size_t old = 0, more = 0;
    while (hkm_superslab_take(one, 1, false) == 1)
        *(one[0]->range == &hkm_range ? &old : &more) += 1;
    ck_assert_uint_eq(old, total);
    ck_assert(hkm_superslab_grow(10));
    ck_assert_uint_eq(hkm_superslab_take(one, 1, false), 1);
    ck_assert_ptr_eq(one[0]->range, s->range);
    hkm_superslab_give(s, total + 100);
    hkm_superslab_purge(0);
    check_all();
}
END_TEST

static void run_out(void *arg)
{
    (void)arg;
    struct hkm_slab *s;
    CHILD(hkm_superslab_grow(1));
    unit_limit(24 * MIB);
    CHILD(!hkm_superslab_grow(64 * MIB / HKM_SLOT_SIZE));
    CHILD(hkm_superslab_run(64 * MIB / HKM_SLOT_SIZE, 1) == NULL);
    size_t n = 0;
    errno = 77;
    while ((s = hkm_superslab_run(8, 1)) != NULL) {
        soil(s, 8);
        CHILD(++n < 1000);
    }
    CHILD(errno == 77);
    CHILD(n > 8 * MIB / (8 * HKM_SLOT_SIZE)); /* most of it was of use */
    CHILD(!hkm_superslab_grow(8));
    unit_unlimit();
    CHILD(hkm_superslab_run(64 * MIB / HKM_SLOT_SIZE, 1) != NULL);
    check_all();
}

START_TEST(out_of_memory)
{
    start();
    if (LIMITS_HOLD)
        unit_passes(run_out, NULL);
    ck_assert_ptr_null(hkm_superslab_run(SIZE_MAX >> HKM_SLOT_SHIFT, 1));
    if (sizeof(void *) == 8)
        ck_assert_ptr_null(hkm_superslab_run(SIZE_MAX >> (HKM_SLOT_SHIFT + 2), 1));
    ck_assert(!hkm_superslab_grow(SIZE_MAX));
    ck_assert_ptr_nonnull(hkm_superslab_run(1, 1));
    check_all();
}
END_TEST

/* Free slots, dirty and fresh, become metadata: zeros between pages that nobody may touch; others are not touched. */
static void cede(void *unused)
{
    (void)unused;
    CHILD(hkm_superslab_grow(19) && hkm_meta_alloc(64, 64));
    struct hkm_slab *s = hkm_superslab_run(8, 1), *other = hkm_superslab_run(8, 1);
    CHILD(s && other);
    give_dirty(s, 8);
    soil(other, 8);
    unit_limit(0); /* no more than there is */
    size_t mapped = hkm_load(&STATS->mapped), bytes = hkm_meta_bytes(), page = hkm_os.page, count = 0;
    CHILD(hkm_superslab_cede());
    CHILD(hkm_meta_bytes() == bytes + 8 * HKM_SLOT_SIZE - 2 * page);
    CHILD(hkm_load(&STATS->mapped) == mapped - 8);
    for (char *p; (p = hkm_meta_alloc(4096, 64)); count++) {
        CHILD(p >= s->start + page && p + 4096 <= s->start + 8 * HKM_SLOT_SIZE - page);
        CHILD(all_zero(p, 4096));
        memset(p, 1, 4096);
    }
    CHILD(count >= (8 * HKM_SLOT_SIZE - 2 * page) / 4096 - 1);
    CHILD(!unit_readable(s->start + page - 1) && !unit_readable(s->start + 8 * HKM_SLOT_SIZE - page));
    for (size_t i = 0; i < 8 * HKM_SLOT_SIZE; i++)
        CHILD(other->start[i] == 7);
    while (hkm_superslab_cede()) /* what is left of the first step: single slots in the end */
        CHILD(++count < 10000);
    CHILD(hkm_load(&STATS->mapped) >= 8);
    unit_unlimit();
    hkm_superslab_give(other, 8);
    check_all();
}

START_TEST(slots_become_metadata)
{
    start();
    if (LIMITS_HOLD)
        unit_passes(cede, NULL);
}
END_TEST

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static hkm_word holders[1 << 16], wrong; /* by address: there may be several ranges */

static void hold(const struct hkm_slab *s, size_t count, int by)
{
    for (size_t i = 0; i < count; i++)
        if (hkm_add(&holders[(((uintptr_t)s->start >> HKM_SLOT_SHIFT) + i) % COUNT_OF(holders)], (size_t)by) !=
            (by > 0 ? 0 : 1))
            hkm_add(&wrong, 1);
}

static void *take_and_give(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    struct {
        struct hkm_slab *s;
        size_t count;
    } held[40] = { { 0 } };
    for (int round = 0; round < 6000; round++) {
        size_t i = random_below(&seed, COUNT_OF(held));
        if (held[i].s) {
            hold(held[i].s, held[i].count, -1);
            if (random_below(&seed, 3)) {
                held[i].s->start[5] = 1;
                for (size_t j = 0; j < held[i].count; j++)
                    hkm_slab_at(held[i].s->range, slot_of(held[i].s) + j)->zero = 0;
            }
            hkm_superslab_give(held[i].s, held[i].count);
            held[i].s = NULL;
        } else if (random_below(&seed, 4)) {
            struct hkm_slab *got[4];
            unsigned n = hkm_superslab_take(got, 4, random_below(&seed, 2));
            for (unsigned j = 0; j < n; j++)
                hold(got[j], 1, 1);
            for (unsigned j = 1; j < n; j++) {
                hold(got[j], 1, -1);
                hkm_superslab_give(got[j], 1);
            }
            held[i].s = n ? got[0] : NULL;
            held[i].count = 1;
        } else {
            held[i].count = 1 + random_below(&seed, 20);
            held[i].s = hkm_superslab_run(held[i].count, (size_t)1 << random_below(&seed, 3));
            hold(held[i].s, held[i].count, 1);
            if (random_below(&seed, 2)) {
                size_t more = 1 + random_below(&seed, 10);
                if (hkm_superslab_run_extend(held[i].s, held[i].count, more)) {
                    hold(hkm_slab_at(held[i].s->range, slot_of(held[i].s) + held[i].count), more, 1);
                    held[i].count += more;
                }
            }
        }
        if (round % 50 == 0)
            hkm_superslab_purge(random_below(&seed, 30) * HKM_SLOT_SIZE);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        if (held[i].s) {
            hold(held[i].s, held[i].count, -1);
            hkm_superslab_give(held[i].s, held[i].count);
        }
    return arg;
}

static void share_among_threads(size_t taken)
{
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = unit_start(take_and_give, (void *)(i + 1));
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        unit_join(threads[i]);
    ck_assert_uint_eq(hkm_load(&wrong), 0);
    ck_assert_uint_eq(hkm_load(&STATS->taken), taken);
    ck_assert(!hkm_range.next || EMULATED); /* an emulator may not let it grow */
    check_all();
}

/* A piece that another thread is at is no end of the purge; and who orders one is told of it. */
static pthread_barrier_t all_there;
static void *do_pieces(void *arg)
{
    pthread_barrier_wait(&all_there);
    while (hkm_superslab_purging())
        hkm_superslab_purge_piece(1);
    return arg;
}
static void *order(void *arg)
{
    pthread_barrier_wait(&all_there);
    while (hkm_superslab_purge(0) == HKM_PURGE_BUSY)
        continue;
    return arg;
}
START_TEST(threads_purge_together)
{
    enum { SLOTS = 500, KEPT = (3 << 20) / HKM_SLOT_SIZE }; /* less than is purged at once; three quarters of DIRTY_KB */
    start();
    ck_assert(hkm_superslab_grow(SLOTS));
    pthread_barrier_init(&all_there, NULL, 3);
    for (unsigned round = 0; round < 10; round++) {
        pthread_t threads[3];
        struct hkm_slab *s = hkm_superslab_run(SLOTS, 1);
        SET_OPTION(purge_ms, 100000);
        give_dirty(s, SLOTS);
        SET_OPTION(disable_purge, 0);
        SET_OPTION(purge_ms, 1);
        for (unsigned i = 0; i < 2; i++) {
            hkm_superslab_keep(0);
            usleep(20000); /* its clock is a coarse one */
        }
        ck_assert(hkm_superslab_purging());
        for (unsigned i = 0; i < 3; i++)
            threads[i] = unit_start(round % 2 && i == 2 ? order : do_pieces, NULL);
        for (unsigned i = 0; i < 3; i++)
            unit_join(threads[i]);
        ck_assert_uint_le(hkm_load(&STATS->dirty), round % 2 ? 0 : KEPT);
        SET_OPTION(disable_purge, 1);
        check_all();
    }
    pthread_barrier_destroy(&all_there);
}
END_TEST

START_TEST(threads_never_share_a_slot)
{
    start();
    ck_assert(hkm_superslab_grow(64));
    share_among_threads(0);
}
END_TEST

/* Whole huge pages are purged among them. */
START_TEST(threads_never_share_a_slot_of_a_huge_page)
{
    size_t unit = start_huge(HKM_HUGE_THP);
    if (!unit)
        return;
    struct hkm_slab *s = huge_run(128, unit);
    soil(s, 128);
    hkm_superslab_give(s, 128);
    share_among_threads(hkm_load(&STATS->taken));
    ck_assert_uint_gt(hkm_load(&STATS->purges), 0);
}
END_TEST

/* The static range: runs alone come from there, and none once there is another. */
START_TEST(static_slots)
{
    struct hkm_slab *s[HKM_STATIC_SLOTS], *one;
    size_t slot;
    start();
    for (size_t i = 0; i < HKM_STATIC_SLOTS; i++) {
        ck_assert_ptr_nonnull(s[i] = hkm_superslab_run(1, 1));
        ck_assert_ptr_eq(s[i]->range, &hkm_range_static);
        ck_assert_uint_eq(slot_of(s[i]), i);
        ck_assert_uint_eq((uintptr_t)s[i]->start % HKM_SLOT_SIZE, 0);
        ck_assert(all_bytes(s[i]->start, HKM_SLOT_SIZE, 0));
        ck_assert_ptr_eq(hkm_registry_find(s[i]->start + 100, &slot), &hkm_range_static);
        ck_assert_uint_eq(slot, i);
    }
    ck_assert_uint_eq(hkm_load(&STATS->mapped), HKM_STATIC_SLOTS);
    ck_assert_uint_eq(hkm_load(&hkm_range.used), 0);
    check_all();
    give_dirty(s[2], 1);
    hkm_superslab_give(s[3], 1);
    ck_assert_uint_eq(hkm_load(&STATS->dirty), 1);
    ck_assert_uint_eq(hkm_superslab_take(&one, 1, true), 0);
    ck_assert_uint_eq(hkm_superslab_take(&one, 1, false), 0);
    ck_assert(hkm_superslab_run_extend(s[1], 1, 2)); /* in place */
    hkm_superslab_give(s[2], 2);
    ck_assert_ptr_eq(hkm_superslab_run(1, 1), s[2]);
    give_dirty(s[2], 1);
    ck_assert_uint_gt(hkm_superslab_purge(0), 0);
    ck_assert(all_bytes(s[2]->start, HKM_SLOT_SIZE, 0));
    check_all();

    ck_assert_ptr_nonnull(one = hkm_superslab_run(HKM_STATIC_SLOTS, 1));
    ck_assert_ptr_eq(one->range, &hkm_range);
    ck_assert_uint_gt(hkm_load(&hkm_range.used), 0);
    ck_assert_uint_eq(hkm_load(&STATS->mapped) - HKM_STATIC_SLOTS, hkm_policy_growth(hkm_policy(), 0, HKM_SLOT_SIZE) / HKM_SLOT_SIZE);
    for (int i = 0; i < 300; i++) { /* the static one has room, and keeps it */
        ck_assert_ptr_nonnull(one = hkm_superslab_run(1, 1));
        ck_assert_ptr_ne(one->range, &hkm_range_static);
    }
    check_all();
}
END_TEST

UNIT_MAIN("superslab", CK_FORK, page_masks, growth_and_single_slots, dirty_and_fresh, given_twice, runs,
          runs_fill_the_first_gap, runs_take_the_first_hole_that_fits, extension_is_all_or_nothing,
          extension_ends_with_the_range, purge_makes_fresh_slots,
          purge_spares_what_is_held, purge_of_locked_memory_is_refused, refusals_do_not_repeat, purge_pages,
          giving_keeps_to_the_limit, a_swing_is_not_purged, a_swing_is_found_out, prefaulted_slots_are_dirty, huge_growth,
          a_huge_page_is_purged_whole_or_not_at_all, held_slots_cost_no_calls, a_locked_huge_page_is_refused_once,
          huge_fallbacks, strangers_among_huge_pages, own_mappings, strangers_are_stepped_over, blocked_area_is_left,
          out_of_memory, slots_become_metadata, threads_purge_together,
          threads_never_share_a_slot, threads_never_share_a_slot_of_a_huge_page, static_slots)
