/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_nursery.c: the first blocks of a process, side by side.
 */
#include "nursery.h"
#include "option.h"
#include "policy.h"
#include "superslab.h"
#include "unit.h"

enum { SLOTS = 4 };

static void *take(size_t size) { return hkm_nursery_alloc(size, hkm_class_of(size), false); }

static size_t usable(const void *p)
{
    size_t bytes = 77;
    ck_assert((hkm_nursery_look(p, &bytes) == HKM_NURSERY_BLOCK) == (bytes != 0));
    return bytes;
}

START_TEST(blocks_are_side_by_side)
{
    hkm_os_init();
    char *p = take(1), *q = take(100), *r = take(16);
    ck_assert(p && q && r);
    ck_assert_ptr_eq(q, p + 16);
    ck_assert_ptr_eq(r, q + 112);
    size_t slot = 0;
    struct hkm_range *range = hkm_registry_find(p, &slot);
    ck_assert_ptr_eq(hkm_tag_at(range, slot), &hkm_tag_nursery);
    ck_assert_uint_eq(usable(p), 16);
    ck_assert_uint_eq(usable(q), 112);
    ck_assert_uint_eq(usable(r), 16);
    ck_assert_uint_eq(hkm_nursery_live(), 144);
    ck_assert_uint_eq(usable(q + 16), 0);
    ck_assert_uint_eq(usable(q + 8), 0);
    ck_assert_uint_eq(usable(r + 16), 0);
}
END_TEST

/* Whoever is in need has all the room there is, as often as may be, and takes nothing of the share. */
START_TEST(those_in_need)
{
    hkm_os_init();
    for (int i = 0; i < 100000; i++) {
        void *p = hkm_nursery_alloc(16, 0, true);
        ck_assert_ptr_nonnull(p);
        ck_assert_int_eq(hkm_nursery_free(p), HKM_NURSERY_BLOCK);
    }
    unsigned n = 0, rest = 0;
    while (take(16))
        n++;
    ck_assert_uint_ge(n, 16);
    while (hkm_nursery_alloc(16, 0, true))
        rest++;
    ck_assert_uint_eq((n + rest) * 16, SLOTS * HKM_SLOT_SIZE);
    ck_assert_ptr_null(hkm_nursery_alloc(1, 0, true));
}
END_TEST

START_TEST(every_class_has_its_share)
{
    hkm_os_init();
    for (unsigned c = HKM_CLASSES; c-- > 0;) {
        size_t size = hkm_class[c].size;
        if (size > 4096 || c % 5) /* all of them together would not find room */
            continue;
        unsigned n = 0;
        while (hkm_nursery_alloc(size, c, false))
            n++;
        ck_assert_msg(n > 0 && hkm_policy_nursery(hkm_policy(), size, n - 1, n - 1) && !hkm_policy_nursery(hkm_policy(), size, n, n),
                      "size %zu: %u blocks", size, n);
    }
    ck_assert_uint_le(hkm_nursery_live(), SLOTS * HKM_SLOT_SIZE);
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.taken), SLOTS); /* never more than those */
}
END_TEST

/* Blocks that come and go use the same pages, but not for ever: a slab's are cheaper. */
START_TEST(large_blocks_come_again)
{
    hkm_os_init();
    enum { SIZE = 3000 };
    char *small = take(16), *p = take(SIZE), *behind = take(16), *q;
    unsigned n = 1;
    ck_assert(small && behind == p + hkm_round_up(SIZE, 16));
    for (; p; n++) {
        ck_assert_int_eq(hkm_nursery_free(p), HKM_NURSERY_BLOCK);
        q = take(SIZE);
        ck_assert(!q || q == p);
        p = q;
        ck_assert_uint_le(n, 255);
    }
    ck_assert_uint_gt(n, 20);
    ck_assert_ptr_nonnull(take(2 * SIZE)); /* another class still has its share */
}
END_TEST

/* The first hole that a wide block fits in, wherever the search before it has ended. */
START_TEST(wide_blocks_fill_holes)
{
    hkm_os_init();
    char *p[6];
    for (size_t i = 0; i < COUNT_OF(p); i++)
        ck_assert_ptr_nonnull(p[i] = take(1000 + 200 * i));
    ck_assert_int_eq(hkm_nursery_free(p[4]), HKM_NURSERY_BLOCK);
    ck_assert_ptr_eq(take(1700), p[4]);
    ck_assert_int_eq(hkm_nursery_free(p[2]), HKM_NURSERY_BLOCK);
    ck_assert_int_eq(hkm_nursery_free(p[1]), HKM_NURSERY_BLOCK);
    ck_assert_ptr_eq(take(2500), p[1]);
    ck_assert(hkm_nursery_resize(p[3], 1000));
    ck_assert_ptr_eq(take(512), p[3] + 1008);
}
END_TEST

/* The classes of blocks are counted as they are now: what one has, another may have. */
START_TEST(resized_blocks_count)
{
    hkm_os_init();
    for (int i = 0; i < 4; i++) {
        char *p = take(16384);
        ck_assert_ptr_nonnull(p);
        ck_assert_ptr_null(take(16384)); /* one at a time */
        ck_assert(hkm_nursery_resize(p, 1024 + 512 * (size_t)i));
    }
}
END_TEST

START_TEST(option_turns_it_off)
{
    hkm_os_init();
    SET_OPTION(disable_nursery, 1);
    ck_assert_ptr_null(take(16));
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.mapped), 0);
    ck_assert_uint_eq(hkm_nursery_live(), 0);
    ck_assert_uint_eq(hkm_nursery_purge(), 0);
}
END_TEST

START_TEST(wrong_frees_are_told_apart)
{
    hkm_os_init();
    char *p = take(64), *q = take(64);
    memset(p, 7, 128);
    size_t bytes;
    ck_assert_int_eq(hkm_nursery_look(p, &bytes), HKM_NURSERY_BLOCK);
    ck_assert_int_eq(hkm_nursery_look(p + 16, &bytes), HKM_NURSERY_INTERIOR);
    ck_assert_int_eq(hkm_nursery_look(q + 64, &bytes), HKM_NURSERY_FREE);
    ck_assert_int_eq(hkm_nursery_free(p + 16), HKM_NURSERY_INTERIOR);
    ck_assert_int_eq(hkm_nursery_free(p + 1), HKM_NURSERY_INTERIOR);
    ck_assert_int_eq(hkm_nursery_free(p), HKM_NURSERY_BLOCK);
    ck_assert_int_eq(hkm_nursery_free(p), HKM_NURSERY_FREE);
    ck_assert_int_eq(hkm_nursery_free(p + 16), HKM_NURSERY_FREE);
    ck_assert_int_eq(hkm_nursery_free(q + 64), HKM_NURSERY_FREE);
    ck_assert(all_bytes(q, 64, 7) && usable(q) == 64 && hkm_nursery_live() == 64);
    ck_assert_int_eq(hkm_nursery_free(q), HKM_NURSERY_BLOCK);
    ck_assert_uint_eq(hkm_nursery_live(), 0);
    ck_assert_ptr_eq(take(128), p); /* neighbours that are free are one hole */
}
END_TEST

START_TEST(resize_in_place)
{
    hkm_os_init();
    char *p = take(64), *q = take(64);
    ck_assert(hkm_nursery_resize(p, 64) && hkm_nursery_resize(p, 49));
    ck_assert_uint_eq(usable(p), 64);
    ck_assert(!hkm_nursery_resize(p, 65)); /* q is in the way */
    ck_assert(hkm_nursery_resize(p, 20));
    ck_assert_uint_eq(usable(p), 32);
    char *r = take(30);
    ck_assert_ptr_eq(r, p + 32);
    ck_assert(!hkm_nursery_resize(p, 33));
    ck_assert(hkm_nursery_resize(q, HKM_NURSERY_MAX));
    ck_assert_uint_eq(usable(q), HKM_NURSERY_MAX);
    ck_assert(!hkm_nursery_resize(q, HKM_NURSERY_MAX + 1) && !hkm_nursery_resize(q, SIZE_MAX - 10) &&
              !hkm_nursery_resize(q, (SIZE_MAX >> 4) + 1));
    ck_assert_uint_eq(hkm_nursery_live(), 32 + 32 + HKM_NURSERY_MAX);
    ck_assert_int_eq(hkm_nursery_free(r), HKM_NURSERY_BLOCK);
    ck_assert(hkm_nursery_resize(p, 64) && !hkm_nursery_resize(p, 65));
}
END_TEST

/* Blocks may lie across the border of two slots; both know what is zero no more, and give pages back. */
START_TEST(across_slots)
{
    hkm_os_init();
    enum { COUNT = 4, SMALLEST = 24000, STEP = 2000, SUM = COUNT * SMALLEST + 6 * STEP };
    char *p[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        p[i] = take(SMALLEST + i * STEP);
        ck_assert_ptr_nonnull(p[i]);
        pattern_fill(p[i], SMALLEST, i);
    }
    size_t slot = 0, other = 0;
    struct hkm_range *range = hkm_registry_find(p[0], &slot);
    ck_assert_ptr_eq(hkm_registry_find(p[COUNT - 1] + SMALLEST - 1, &other), range);
    ck_assert_uint_eq(other, slot + 1);
    ck_assert_ptr_eq(hkm_tag_at(range, other), &hkm_tag_nursery);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert(pattern_holds(p[i], SMALLEST, i) && usable(p[i]) == SMALLEST + i * STEP);
        ck_assert_int_eq(hkm_nursery_free(p[i]), HKM_NURSERY_BLOCK);
    }
    ck_assert_uint_eq(hkm_nursery_purge(), hkm_round_up(SUM, hkm_os.page));
    ck_assert(all_zero(p[0], SUM));
}
END_TEST

/* Random work against a plain list of blocks. */
START_TEST(random_work)
{
    enum { COUNT = 400 };
    static struct {
        char *p;
        size_t size;
    } held[COUNT];
    uint64_t seed = 1;
    size_t live = 0, served = 0;
    hkm_os_init();
    for (int round = 0; round < 20000; round++) {
        size_t i = random_below(&seed, COUNT), size = 1 + random_below(&seed, random_below(&seed, 8) ? 300 : 4096);
        if (!held[i].p) {
            held[i].p = take(size);
            if (!held[i].p)
                continue;
            served++;
            held[i].size = size;
        } else {
            size_t granules = hkm_round_up(held[i].size, 16), least = size < held[i].size ? size : held[i].size;
            expect(usable(held[i].p) == granules);
            expect(pattern_holds(held[i].p, held[i].size, i));
            if (random_below(&seed, 4)) {
                bool ok = hkm_nursery_resize(held[i].p, size);
                expect(ok || size > held[i].size);
                expect(pattern_holds(held[i].p, ok ? least : held[i].size, i));
                held[i].size = ok ? size : held[i].size;
            } else {
                expect(hkm_nursery_free(held[i].p) == HKM_NURSERY_BLOCK);
                held[i].p = NULL;
                held[i].size = 0;
                continue;
            }
        }
        pattern_fill(held[i].p, held[i].size, i);
        if (round % 100 == 0) {
            hkm_nursery_purge();
            size_t blocks = live = 0;
            for (size_t j = 0; j < COUNT; j++) {
                blocks += held[j].p != NULL;
                live += hkm_round_up(held[j].size, 16);
                expect(!held[j].p || pattern_holds(held[j].p, held[j].size, j));
            }
            ck_assert_uint_eq(hkm_nursery_live(), live);
            ck_assert_uint_eq(hkm_nursery_blocks(), blocks);
        }
    }
    ck_assert_uint_gt(served, 200);
}
END_TEST

START_TEST(purge)
{
    hkm_os_init();
    size_t page = hkm_os.page;
    ck_assert_uint_eq(hkm_nursery_purge(), 0);
    char *p = take(3000), *q = take(4096), *r = take(16);
    memset(p, 7, 3000);
    memset(q, 7, 4096);
    memset(r, 7, 16);
    ck_assert_int_eq(hkm_nursery_free(p), HKM_NURSERY_BLOCK);
    ck_assert_int_eq(hkm_nursery_free(q), HKM_NURSERY_BLOCK);
    size_t done = hkm_nursery_purge();
    if (page == 4096) {
        ck_assert_uint_ge(done, page);
        ck_assert(all_zero(p, page));
    }
    ck_assert(all_bytes(r, 16, 7));
    ck_assert_uint_eq(usable(r), 16);
    ck_assert_uint_eq(hkm_nursery_purge(), 0); /* there is no more */
    p = take(3000);
    memset(p, 7, 3000);
    ck_assert_int_eq(hkm_nursery_free(p), HKM_NURSERY_BLOCK);
    ck_assert_uint_eq(hkm_nursery_purge(), page == 4096 ? page : 0);
}
END_TEST

static void *churn(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    for (int round = 0; round < 200; round++) {
        size_t size = 1 + random_below(&seed, 1000);
        char *p = take(size);
        if (!p)
            continue;
        pattern_fill(p, size, seed);
        if (round % 10 == 0)
            hkm_nursery_purge();
        if (!pattern_holds(p, size, seed) || usable(p) != hkm_round_up(size, 16) ||
            hkm_nursery_free(p) != HKM_NURSERY_BLOCK)
            return NULL;
    }
    return arg;
}

START_TEST(work_of_threads)
{
    pthread_t threads[4];
    hkm_os_init();
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = unit_start(churn, (void *)(i + 1));
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        ck_assert_ptr_nonnull(unit_join(threads[i]));
    ck_assert_uint_eq(hkm_nursery_live(), 0);
}
END_TEST

static void run_out(void *arg)
{
    (void)arg;
    unit_limit(0);
    while (hkm_superslab_run(1, 1)) /* the static range */
        ;
    CHILD(take(16) == NULL);
    unit_unlimit();
    CHILD(hkm_nursery_live() == 0);
    (void)take(16); /* whether it tries again is its own affair */
    (void)hkm_nursery_purge();
}

static void need_nothing(void *arg)
{
    (void)arg;
    unit_limit(0);
    CHILD(take(16) != NULL);
    CHILD(hkm_nursery_live() == 16);
    unit_unlimit();
}

START_TEST(out_of_memory)
{
    hkm_os_init();
    if (LIMITS_HOLD) {
        unit_passes(run_out, NULL);
        unit_passes(need_nothing, NULL);
    }
}
END_TEST

UNIT_MAIN("nursery", CK_FORK, blocks_are_side_by_side, every_class_has_its_share, those_in_need, large_blocks_come_again,
          wide_blocks_fill_holes, resized_blocks_count, option_turns_it_off,
          wrong_frees_are_told_apart, resize_in_place, across_slots, random_work, purge, work_of_threads, out_of_memory)
