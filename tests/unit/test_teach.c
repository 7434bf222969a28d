/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_teach.c: what the learner is told of this process, and when.
 */
#include "teach.h"
#include "alloc.h"
#include "superslab.h"
#include "thread.h"
#include "policy.h"
#include "unit.h"

static void learn(void)
{
    (void)hkm_option_init();
    hkm_store(&hkm_option.evo_policy, HKM_EVO_LEARN);
    SET_OPTION(disable_learning, 0);
}

/* So many slow events: runs that no cache keeps.  No epoch ends by itself meanwhile: the tests have a clock of their own. */
static void work(unsigned n)
{
    size_t next = hkm_load(&hkm_teach_next);
    hkm_store(&hkm_teach_next, hkm_os_ms() + 3600000);
    while (n--) {
        char *p = hkm_alloc(3 * MIB, NULL);
        ck_assert_ptr_nonnull(p);
        *p = 1;
        hkm_free_fast(p);
    }
    hkm_store(&hkm_teach_next, next);
}

START_TEST(not_before_time_and_work)
{
    learn();
    const struct hkm_learn *l = hkm_teach_state();
    work(10);
    hkm_teach_epoch(1000);
    ck_assert_uint_eq(l->epochs, 0);
    ck_assert_uint_eq(hkm_load(&hkm_teach_next), 1000 + HKM_LEARN_FROM_MS);
    hkm_teach_epoch(3000); /* too few events */
    ck_assert_uint_eq(l->epochs, 0);
    ck_assert_uint_eq(l->state, HKM_LEARN_WAIT);
    work(300); /* of 48 and more each */
    hkm_teach_epoch(4000);
    ck_assert_uint_eq(l->epochs, 1);
    ck_assert_uint_eq(l->state, HKM_LEARN_PLAY);
    ck_assert_uint_eq(l->ms_all, 3000);
    ck_assert_uint_ge(l->events_all, HKM_LEARN_FROM_EVENTS);
    ck_assert_uint_gt(l->price.fault_ns, 0);
    ck_assert_uint_gt(l->price.populate_ns, 0);
    ck_assert_uint_lt(l->price.fault_ns, 1000000);
    ck_assert_uint_gt(l->cost_all, 0);
    for (unsigned i = 1; i < 100; i++) { /* some epochs are a challenger's */
        work(10);
        hkm_teach_epoch(4000 + i * 100);
    }
    ck_assert_uint_eq(l->epochs, 100);
    ck_assert_uint_gt(hkm_policy_versions(), 0);
}
END_TEST

START_TEST(switched_off)
{
    (void)hkm_option_init();
    SET_OPTION(disable_learning, 1);
    work(300);
    for (unsigned i = 0; i < 10; i++)
        hkm_teach_epoch(1000 + i * 5000);
    ck_assert_uint_eq(hkm_teach_state()->epochs, 0);
    ck_assert_uint_eq(hkm_policy_versions(), 0);
}
END_TEST

/* Options that change while it learns are what it begins with afresh. */
START_TEST(options_change)
{
    learn();
    const struct hkm_learn *l = hkm_teach_state();
    work(300);
    hkm_teach_epoch(1000);
    work(300);
    hkm_teach_epoch(2000);
    ck_assert_uint_eq(l->epochs, 1);
    ck_assert(l->playable >> HKM_STRATEGY_of_keep & 1);
    SET_OPTION(dirty_kb, 5000);
    work(10);
    hkm_teach_epoch(3000);
    ck_assert_uint_eq(l->epochs, 0);
    ck_assert(!(l->playable >> HKM_STRATEGY_of_keep & 1));
    ck_assert_uint_eq(hkm_load(&hkm_policy()->dirty_kb), 5000);
}
END_TEST

/* Without ELO, or frozen, nothing is played. */
START_TEST(elo_is_off)
{
    learn();
    for (unsigned i = 0; i < 2; i++) {
        hkm_store(&hkm_option.disable_elo, i == 0);
        hkm_store(&hkm_option.evo_policy, i == 0 ? HKM_EVO_LEARN : HKM_EVO_FROZEN);
        SET_OPTION(purge_ms, 1000 + i); /* begins afresh */
        for (unsigned k = 0; k < 50; k++) {
            work(k < 2 ? 300 : 10);
            hkm_teach_epoch(i * 100000 + 1000 + k * 2000);
        }
        ck_assert_uint_ge(hkm_teach_state()->epochs, 40);
        ck_assert_uint_eq(hkm_teach_state()->matches, 0);
        ck_assert_uint_eq(hkm_teach_state()->playable, 0);
    }
}
END_TEST

/* A miss is served from the next class's cache, if its blocks are not too large, and that is where it is freed to. */
START_TEST(w_max)
{
    (void)hkm_option_init();
    struct hkm_policy p = hkm_policy_default;
    hkm_store(&p.nursery_blocks, 0); /* whose blocks no cache has */
    for (unsigned i = 0; i < 2; i++) {
        size_t size = i ? 3000 : 1200;
        hkm_store(&p.w_max, i ? 150 : 100);
        ck_assert(hkm_policy_publish(&p, hkm_policy_changes()));
        void *large = hkm_alloc(size * 5 / 4, NULL), *other = hkm_alloc(size * 2, NULL);
        size_t usable = hkm_alloc_usable(large);
        hkm_free_fast(large);
        hkm_free_fast(other);
        void *q = hkm_alloc(size, NULL);
        ck_assert_uint_ge(hkm_alloc_usable(q), size);
        ck_assert_int_eq(hkm_alloc_usable(q) == usable, i);
        hkm_free_fast(q);
        q = hkm_alloc(size * 5 / 4, NULL);
        ck_assert_uint_eq(hkm_alloc_usable(q), usable);
        hkm_free_fast(q);
    }
}
END_TEST

START_TEST(child_of_a_fork)
{
    learn();
    work(300);
    hkm_teach_epoch(1000);
    work(300);
    hkm_teach_epoch(2000);
    ck_assert_uint_eq(hkm_teach_state()->epochs, 1);
    pid_t child = fork();
    if (!child) {
        work(20);
        hkm_teach_epoch(3000);
        work(300);
        hkm_teach_epoch(9000);
        _exit(hkm_teach_state()->epochs >= 1 ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

/* Pages are counted as faulted in when they are handed out without memory behind them, and only then. */
START_TEST(faults_are_counted)
{
    (void)hkm_option_init();
    SET_OPTION(disable_bigcache, 1);
    size_t before = hkm_load(&hkm_superslab_stats.faulted), pages = 3 * MIB >> 12;
    void *p = hkm_alloc(3 * MIB, NULL);
    size_t first = hkm_load(&hkm_superslab_stats.faulted) - before;
    ck_assert_uint_ge(first << hkm_os.page_bits, 3 * MIB);
    ck_assert_uint_le(first, 2 * pages);
    hkm_free_fast(p);
    before = hkm_load(&hkm_superslab_stats.faulted);
    p = hkm_alloc(3 * MIB, NULL); /* warm */
    ck_assert_uint_le(hkm_load(&hkm_superslab_stats.faulted) - before, first / 10);
    void *q = hkm_alloc(64 * MIB, NULL);
    ck_assert_uint_ge((hkm_load(&hkm_superslab_stats.faulted) - before) << hkm_os.page_bits, 64 * MIB);
    hkm_free_fast(q);
    hkm_free_fast(p);
}
END_TEST

/* An epoch ends, and none will by itself. */
static void alone(size_t now)
{
    hkm_teach_epoch(now);
    hkm_store(&hkm_teach_next, hkm_os_ms() + 3600000);
}

/* Pages inside slabs that were purged and are used again: nobody counts them one by one, but they have come back. */
START_TEST(slabs_come_back)
{
    enum { N = 40000 };
    static char *p[N];
    learn();
    hkm_os_init();
    if (hkm_os.page == HKM_SLOT_SIZE) /* some block is on each page */
        return;
    work(300);
    alone(1000);
    work(300);
    alone(2000);
    ck_assert_uint_eq(hkm_teach_state()->raised, 0);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i++)
            if (!p[i] && (p[i] = hkm_alloc(1024, NULL)) != NULL)
                *p[i] = 1;
        if (round == 2)
            break;
        for (unsigned i = 0; i < N; i++)
            if (i % 40) { /* no slot becomes free */
                hkm_free_fast(p[i]);
                p[i] = NULL;
            }
        ck_assert_uint_gt(hkm_heap_purge(hkm_thread_own()), 0);
    }
    alone(3000);
    ck_assert_uint_eq(hkm_teach_state()->raised, 1); /* so more may stay from now on */
    ck_assert_uint_gt(hkm_load(&hkm_policy()->kept_kb), 4096);
}
END_TEST

UNIT_MAIN("teach", CK_FORK, not_before_time_and_work, switched_off, options_change, elo_is_off, w_max, child_of_a_fork, faults_are_counted,
          slabs_come_back)
