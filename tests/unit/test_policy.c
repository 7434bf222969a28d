/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_policy.c: what the slow paths are told stays within what they can do.
 */
#include "policy.h"
#include "class.h"
#include "heap.h"
#include "option.h"
#include "unit.h"

START_TEST(growth)
{
    size_t last = 0, end = sizeof(void *) == 8 ? 64 * GIB : 700 * MIB;
    for (size_t mapped = 0; mapped < end; mapped = mapped * 5 / 4 + HKM_SUPERSLAB_SIZE) {
        mapped &= ~(size_t)(HKM_SLOT_SIZE - 1);
        for (size_t need = HKM_SLOT_SIZE; need <= 256 * MIB; need = need * 2 + HKM_SLOT_SIZE) {
            size_t step = hkm_policy_growth(mapped, need);
            ck_assert_uint_ge(step, need);
            size_t unit = mapped || HKM_SUPERSLAB_SIZE <= HKM_POLICY_FIRST ? HKM_SUPERSLAB_SIZE : HKM_POLICY_FIRST;
            ck_assert_uint_ge(step, unit);
            ck_assert_uint_eq(step % unit, 0);
            /* Never much more than is there, or is asked for. */
            size_t most = mapped / 8 + HKM_SUPERSLAB_SIZE;
            if (most > 64 * MIB)
                most = 64 * MIB;
            ck_assert_uint_le(step, most > need + HKM_SUPERSLAB_SIZE ? most : need + HKM_SUPERSLAB_SIZE);
        }
        size_t step = hkm_policy_growth(mapped, HKM_SLOT_SIZE);
        ck_assert_uint_ge(step, last);
        last = step;
    }
    ck_assert_uint_eq(last, 64 * MIB);
}
END_TEST

START_TEST(growth_without_superslabs)
{
    hkm_store(&hkm_option.tiny_use_superslab, 0);
    ck_assert_uint_eq(hkm_policy_growth(0, HKM_SLOT_SIZE), HKM_SLOT_SIZE);
    ck_assert_uint_eq(hkm_policy_growth(8 * GIB, 3 * HKM_SLOT_SIZE), 3 * HKM_SLOT_SIZE);
    ck_assert_uint_eq(hkm_policy_slots(8 * GIB), 1);
}
END_TEST

START_TEST(dirty_limit)
{
    ck_assert_uint_eq(hkm_policy_dirty_limit(0), 4 * MIB);
    ck_assert_uint_eq(hkm_policy_dirty_limit(MIB), 4 * MIB);
    ck_assert_uint_eq(hkm_policy_dirty_limit(400 * MIB), 48 * MIB);
    ck_assert_uint_ge(hkm_policy_dirty_limit(SIZE_MAX / 100), 4 * MIB);
    hkm_store(&hkm_option.dirty_kb, 0);
    ck_assert_uint_eq(hkm_policy_dirty_limit(0), 0);
    ck_assert_uint_eq(hkm_policy_dirty_limit(1000), 120);
    hkm_store(&hkm_option.dirty_percent, 0);
    ck_assert_uint_eq(hkm_policy_dirty_limit(400 * MIB), 0);
    hkm_store(&hkm_option.dirty_percent, 1000);
    ck_assert_uint_eq(hkm_policy_dirty_limit(1000), 10000);
    hkm_store(&hkm_option.dirty_kb, 1 << 30);
    ck_assert_uint_eq(hkm_policy_dirty_limit(0), sizeof(void *) == 8 ? 1024 * GIB : SIZE_MAX);
    hkm_store(&hkm_option.disable_purge, 1);
    ck_assert_uint_eq(hkm_policy_dirty_limit(0), SIZE_MAX);
}
END_TEST

START_TEST(dirty_most)
{
    ck_assert_uint_eq(hkm_policy_dirty_most(0), 32 * MIB);
    ck_assert_uint_eq(hkm_policy_dirty_most(400 * MIB), 192 * MIB);
    for (size_t used = 0; used < 64 * GIB; used = used * 2 + 12345)
        ck_assert_uint_ge(hkm_policy_dirty_most(used), hkm_policy_dirty_limit(used));
    hkm_store(&hkm_option.purge_ms, 0); /* at once */
    ck_assert_uint_eq(hkm_policy_dirty_most(400 * MIB), 48 * MIB);
    hkm_store(&hkm_option.purge_ms, 1);
    hkm_store(&hkm_option.dirty_kb, 1 << 30);
    ck_assert_uint_ge(hkm_policy_dirty_most(0), hkm_policy_dirty_limit(0));
    hkm_store(&hkm_option.disable_purge, 1);
    ck_assert_uint_eq(hkm_policy_dirty_most(0), SIZE_MAX);
}
END_TEST

START_TEST(cache_limit)
{
    ck_assert_uint_eq(hkm_policy_cache_limit(0), 64 * MIB);
    ck_assert_uint_eq(hkm_policy_cache_limit(512 * MIB), 64 * MIB);
    ck_assert_uint_eq(hkm_policy_cache_limit(1600 * MIB), 200 * MIB);
    hkm_store(&hkm_option.cache_kb, 0);
    ck_assert_uint_eq(hkm_policy_cache_limit(0), 0);
    ck_assert_uint_eq(hkm_policy_cache_limit(80 * MIB), 10 * MIB);
}
END_TEST

START_TEST(caches_grow_to_their_most)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        unsigned most = hkm_class[c].most, cap = most < 6 ? most : 6, steps = 0;
        while (cap < most) {
            unsigned next = hkm_policy_cache_growth(cap, most);
            ck_assert_uint_gt(next, cap);
            ck_assert_uint_le(next, most);
            cap = next;
            steps++;
        }
        ck_assert_uint_le(steps, HKM_CAPS); /* heap.c recycles the bins of so many sizes */
        ck_assert_uint_eq(hkm_policy_cache_growth(cap, most), most);
    }
    hkm_store(&hkm_option.disable_cache_growth, 1);
    ck_assert_uint_eq(hkm_policy_cache_growth(6, 256), 6);
}
END_TEST

START_TEST(refill_and_flush)
{
    for (unsigned cap = 2; cap <= hkm_class[0].most; cap++) { /* the first class has the most */
        unsigned in = hkm_policy_refill(cap), out = hkm_policy_flush(cap);
        ck_assert(in >= 1 && in < cap); /* one place stays free, so that a push needs no test before it */
        ck_assert(out >= 1 && out < cap); /* the newest stays, for the next free to be compared with */
        ck_assert_uint_ge(hkm_policy_patience(cap), 1);
    }
}
END_TEST

START_TEST(nursery)
{
    unsigned last = 256;
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        size_t size = hkm_class[c].size;
        unsigned n = 0, total = 0;
        while (n < 999 && hkm_policy_nursery(size, n, n)) /* all are kept */
            n++;
        ck_assert(n >= 1 && n <= last && (n == 1 || n * size <= 24576) && !hkm_policy_nursery(size, 999, 999));
        last = n;
        while (total < 999 && hkm_policy_nursery(size, total, 0)) /* each is freed at once */
            total++;
        ck_assert(size < HKM_POLICY_NURSERY_LARGE ? total == n : total > n && total < 255);
    }
    hkm_store(&hkm_option.disable_nursery, 1);
    ck_assert(!hkm_policy_nursery(16, 0, 0));
}
END_TEST

START_TEST(prefault)
{
    for (size_t full = 0; full < 100; full++) {
        ck_assert_uint_eq(hkm_policy_prefault(0, full), 0); /* a small process stays small */
        ck_assert_uint_eq(hkm_policy_prefault(4 * MIB, full), 0);
        size_t step = hkm_policy_prefault(GIB, full), last = full ? hkm_policy_prefault(GIB, full - 1) : 0;
        ck_assert_uint_le(step, full * HKM_SLOT_SIZE / HKM_POLICY_PREFAULT_FULL); /* that part of what is full, at most */
        ck_assert_uint_le(step, HKM_SLOT_SIZE);
        ck_assert_uint_ge(step, last);
    }
    ck_assert_uint_eq(hkm_policy_prefault(GIB, 7), 0);
    ck_assert_uint_eq(hkm_policy_prefault(GIB, 8), 16 * KIB);
    ck_assert_uint_eq(hkm_policy_prefault(GIB, HKM_POLICY_PREFAULT_FULL), HKM_SLOT_SIZE);
    hkm_store(&hkm_option.disable_prefault, 1);
    ck_assert_uint_eq(hkm_policy_prefault(GIB, 100), 0);
}
END_TEST

START_TEST(huge)
{
    hkm_store(&hkm_option.hugepages, 0);
    ck_assert(!hkm_policy_huge(GIB, GIB, GIB));
    for (size_t kind = 1; kind <= 2; kind++) {
        hkm_store(&hkm_option.hugepages, kind);
        ck_assert(!hkm_policy_huge(0, 0, HKM_SLOT_SIZE) && !hkm_policy_huge(3 * MIB, 3 * MIB, MIB)); /* small stays small */
        ck_assert(hkm_policy_huge(4 * MIB, 4 * MIB, HKM_SLOT_SIZE) && hkm_policy_huge(GIB, GIB, MIB));
        ck_assert(hkm_policy_huge(MIB, MIB, 4 * MIB)); /* one large block is a growing heap, too */
        ck_assert(!hkm_policy_huge(GIB, GIB / 2, MIB)); /* full of holes, none of which was long enough */
    }
}
END_TEST

START_TEST(slots)
{
    for (size_t mapped = 0; mapped < SIZE_MAX / 4; mapped = mapped * 2 + HKM_SLOT_SIZE) {
        unsigned n = hkm_policy_slots(mapped);
        ck_assert(n >= 1 && n <= HKM_SPARES); /* one to use, the others become spares */
    }
    ck_assert_uint_eq(hkm_policy_slots(0), 1); /* a small process stays small */
}
END_TEST

START_TEST(big)
{
    ck_assert_uint_eq(hkm_policy_big(), 32 * MIB);
    hkm_store(&hkm_option.big_kb, 1024);
    ck_assert_uint_eq(hkm_policy_big(), MIB);
    hkm_store(&hkm_option.disable_big_mappings, 1);
    ck_assert_uint_eq(hkm_policy_big(), SIZE_MAX);
    hkm_store(&hkm_option.disable_big_mappings, 0);
    ck_assert(hkm_policy_growing(0) && hkm_policy_growing(100) && !hkm_policy_growing(60000));
    hkm_store(&hkm_option.disable_big_mappings, 1);
    ck_assert(!hkm_policy_growing(0));
    hkm_store(&hkm_option.dirty_kb, 4096);
    hkm_store(&hkm_option.dirty_percent, 10);
    hkm_store(&hkm_option.bigcache_kb, 1 << 20);
    ck_assert_uint_eq(hkm_policy_bigcache(0), 4 * MIB);
    ck_assert_uint_eq(hkm_policy_bigcache(1000 * MIB), 100 * MIB);
    hkm_store(&hkm_option.bigcache_kb, 1024);
    ck_assert_uint_eq(hkm_policy_bigcache(1000 * MIB), MIB);
    hkm_store(&hkm_option.disable_bigcache, 1);
    ck_assert_uint_eq(hkm_policy_bigcache(1000 * MIB), 0);
}
END_TEST

START_TEST(looks)
{
    /* 100 MiB in use: 12 may be dirty, a look is for 3 more, and in a hurry from 24 on. */
    ck_assert_int_eq(hkm_policy_look(100 * MIB, 50 * MIB, 2 * MIB, 5000), HKM_LOOK_NOT);
    ck_assert_int_eq(hkm_policy_look(100 * MIB, 50 * MIB, 4 * MIB, 5000), HKM_LOOK_IDLE);
    ck_assert_int_eq(hkm_policy_look(100 * MIB, 50 * MIB, 4 * MIB, 900), HKM_LOOK_NOT);
    ck_assert_int_eq(hkm_policy_look(100 * MIB, 50 * MIB, 23 * MIB, 900), HKM_LOOK_NOT);
    ck_assert_int_eq(hkm_policy_look(100 * MIB, 50 * MIB, 25 * MIB, 0), HKM_LOOK_ALL);
    ck_assert_int_eq(hkm_policy_look(100 * MIB, 50 * MIB, 0, 17000), HKM_LOOK_IDLE); /* now and then */
    ck_assert_int_eq(hkm_policy_look(100 * MIB, 10 * MIB, 0, 17000), HKM_LOOK_NOT);
    ck_assert_int_eq(hkm_policy_look(0, 4 * MIB, 512 * KIB, 17000), HKM_LOOK_NOT);
    hkm_store(&hkm_option.disable_purge, 1);
    ck_assert_int_eq(hkm_policy_look(MIB, SIZE_MAX / 2, SIZE_MAX / 2, SIZE_MAX), HKM_LOOK_NOT);
}
END_TEST

START_TEST(spare)
{
    ck_assert_uint_eq(hkm_policy_spare(100, 999), 0);
    ck_assert_uint_eq(hkm_policy_spare(100, 1000), 50);
    ck_assert_uint_eq(hkm_policy_spare(100, 3000), 88);
    ck_assert_uint_eq(hkm_policy_spare(100, 3600000), 100);
    ck_assert_uint_eq(hkm_policy_spare(3, 3600000), 0);
    hkm_store(&hkm_option.purge_ms, 0);
    ck_assert_uint_eq(hkm_policy_spare(100, 0), 50);
    hkm_store(&hkm_option.disable_purge, 1);
    ck_assert_uint_eq(hkm_policy_spare(100, 3600000), 0);
}
END_TEST

START_TEST(retreat)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        unsigned cap = hkm_class[c].most, least = hkm_policy_cache_retreat(cap, hkm_class[c].size, true);
        ck_assert_uint_ge(least, cap < 3 ? cap : 3);
        size_t held = least * hkm_class[c].size;
        ck_assert(hkm_class[c].size > HKM_TINY_MAX ? least <= 3 : held <= 24 * HKM_TINY_MAX && (least <= 24 || held <= 16384));
        for (unsigned steps = 0; cap > least; steps++) {
            unsigned next = hkm_policy_cache_retreat(cap, hkm_class[c].size, false);
            ck_assert_uint_lt(next, cap);
            ck_assert_uint_ge(next, least);
            ck_assert_uint_lt(steps, 12);
            cap = next;
        }
        ck_assert_uint_eq(hkm_policy_cache_retreat(least, hkm_class[c].size, true), least);
    }
}
END_TEST

UNIT_MAIN("policy", CK_FORK, growth, growth_without_superslabs, dirty_limit, dirty_most, cache_limit, caches_grow_to_their_most,
          refill_and_flush, nursery, prefault, huge, slots, big, looks, spare, retreat)
