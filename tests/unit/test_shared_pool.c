/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_shared_pool.c: single slots between threads.
 */
#include "shared_pool.h"
#include "option.h"
#include "superslab.h"
#include "policy.h"
#include "unit.h"

static void start(void)
{
    hkm_os_init();
    SET_OPTION(disable_purge, 1);
}

START_TEST(empty_until_it_grows)
{
    struct hkm_slab *s[4];
    start();
    ck_assert_uint_eq(hkm_shared_pool_acquire(s, 4), 0);
    ck_assert_uint_eq(hkm_shared_pool_wish(), 1);
    ck_assert(hkm_shared_pool_grow());
    unsigned n = hkm_shared_pool_acquire(s, 4);
    ck_assert(n >= 1 && n <= 4);
    for (unsigned i = 0; i < n; i++) {
        ck_assert_ptr_eq(s[i]->start, (char *)hkm_range.base + i * HKM_SLOT_SIZE);
        ck_assert_uint_eq(hkm_load(&s[i]->owner), 0);
    }
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.taken), n);
}
END_TEST

START_TEST(used_slots_first)
{
    struct hkm_slab *s[4], *t;
    start();
    for (int i = 0; i < 4; i++) {
        if (!hkm_shared_pool_acquire(&s[i], 1)) {
            ck_assert(hkm_shared_pool_grow());
            ck_assert_uint_eq(hkm_shared_pool_acquire(&s[i], 1), 1);
        }
    }
    ck_assert(hkm_superslab_grow(4)); /* so that there are untouched ones */
    hkm_store(&s[2]->owner, 12345);
    memset(s[2]->start, 7, HKM_SLOT_SIZE);
    s[2]->zero = 0;
    hkm_shared_pool_release(s[0]); /* clean */
    hkm_shared_pool_release(s[2]);
    ck_assert_uint_eq(hkm_load(&s[2]->owner), 0);
    ck_assert_ptr_eq(hkm_tag_at(s[2]->range, hkm_slab_slot(s[2])), &hkm_tag_none);
    ck_assert_uint_eq(hkm_shared_pool_acquire(&t, 1), 1);
    ck_assert_ptr_eq(t, s[2]);
    ck_assert_uint_eq(hkm_shared_pool_acquire(&t, 1), 1);
    ck_assert_ptr_eq(t, s[0]);
}
END_TEST

START_TEST(wishes)
{
    start();
    ck_assert(hkm_superslab_grow(64 * MIB / HKM_SLOT_SIZE));
    unsigned n = hkm_shared_pool_wish();
    ck_assert(n > 1 && n <= 4);
    SET_OPTION(tiny_use_superslab, 0);
    ck_assert_uint_eq(hkm_shared_pool_wish(), 1);
}
END_TEST

static hkm_word holders[4096], wrong;

static void *churn(void *arg)
{
    struct hkm_slab *s[4];
    uint64_t seed = (uintptr_t)arg;
    for (int i = 0; i < 20000; i++) {
        unsigned n = hkm_shared_pool_acquire(s, 1 + (unsigned)random_below(&seed, 4));
        if (!n && !hkm_shared_pool_grow())
            return NULL;
        for (unsigned j = 0; j < n; j++) {
            if (hkm_add(&holders[hkm_slab_slot(s[j])], 1) != 0)
                hkm_add(&wrong, 1);
            hkm_store(&s[j]->owner, (size_t)arg);
        }
        for (unsigned j = 0; j < n; j++) {
            if (random_below(&seed, 2))
                s[j]->zero = 0;
            if (hkm_load(&s[j]->owner) != (size_t)arg || hkm_add(&holders[hkm_slab_slot(s[j])], (size_t)-1) != 1)
                hkm_add(&wrong, 1);
            hkm_shared_pool_release(s[j]);
        }
    }
    return arg;
}

START_TEST(no_slot_twice)
{
    pthread_t threads[4];
    start();
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = unit_start(churn, (void *)(i + 1));
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        ck_assert_ptr_nonnull(unit_join(threads[i]));
    ck_assert_uint_eq(hkm_load(&wrong), 0);
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.taken), 0);
    ck_assert_uint_le(hkm_load(&hkm_superslab_stats.mapped), 16 * (4 + HKM_SUPERSLAB_SIZE / HKM_SLOT_SIZE));
}
END_TEST

UNIT_MAIN("shared_pool", CK_FORK, empty_until_it_grows, used_slots_first, wishes, no_slot_twice)
