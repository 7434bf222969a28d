/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_learn.c: recorded and simulated epochs give the decisions that they should, and the same again.
 */
#include "learn.h"
#include "../../bench/simulate.h"
#include "unit.h"

static struct hkm_learn l;
static struct hkm_policy policy;
static uint64_t rnd = 1;

static void begin(enum hkm_learn_mode mode)
{
    policy = hkm_policy_default;
    hkm_learn_begin(&l, &hkm_policy_default, mode, sim_price);
}

static void epoch(const struct hkm_learn_sample *s)
{
    policy = hkm_policy_default;
    hkm_learn_epoch(&l, s, &policy);
    ck_assert(hkm_policy_valid(&policy));
}

/* So many epochs of a phase. */
static void epochs(const struct sim_phase *ph, unsigned n)
{
    while (n--) {
        struct hkm_learn_sample s = sim_epoch(ph, &policy, &rnd);
        epoch(&s);
    }
}

static const struct sim_phase calm = { "calm", 0, 2000, 0, 1, 0, 1, 10 }, buffers = { "buffers", 0, 2000, 0, 1, 60, 200, 10 };

START_TEST(strategies)
{
    unsigned groups = 0;
    for (unsigned s = 0; s < HKM_LEARN_STRATEGIES; s++) {
        struct hkm_policy p = hkm_policy_default;
        bool first = !s || hkm_learn_group(s) != hkm_learn_group(s - 1);
        groups += first;
        ck_assert_uint_eq(hkm_learn_group(s), groups - 1);
        hkm_learn_apply(s, &p);
        ck_assert(hkm_policy_valid(&p));
        bool alike = first || (HKM_NO_PREFAULT && s == HKM_STRATEGY_of_never);
        ck_assert_int_eq(alike, !memcmp(&p, &hkm_policy_default, sizeof p));
        if (first && s + 2 == HKM_LEARN_STRATEGIES) /* the last group's only one changes nothing where huge pages are off */
            break;
    }
    ck_assert_uint_eq(groups, HKM_LEARN_GROUPS);
}
END_TEST

/* What an option has set is not played with, and huge pages are not where nobody asked for them. */
START_TEST(options_are_left_alone)
{
    struct hkm_policy base = hkm_policy_default;
    begin(HKM_EVO_LEARN);
    ck_assert(l.playable >> HKM_STRATEGY_of_keep & 1 && l.playable >> HKM_STRATEGY_of_more & 1);
    ck_assert(!(l.playable >> HKM_STRATEGY_of_plain & 1) && !(l.playable >> HKM_STRATEGY_pace & 1));
    hkm_store(&base.purge_ms, 77);
    hkm_learn_begin(&l, &base, HKM_EVO_LEARN, sim_price);
    ck_assert(!(l.playable >> HKM_STRATEGY_of_keep & 1) && !(l.playable >> HKM_STRATEGY_of_longer & 1));
    ck_assert(l.playable >> HKM_STRATEGY_of_mapped & 1);
    hkm_store(&base.hugepages, HKM_HUGE_GROWN);
    hkm_learn_begin(&l, &base, HKM_EVO_LEARN, sim_price);
    ck_assert(!(l.playable >> HKM_STRATEGY_of_plain & 1));
    hkm_store(&base.hugepages, HKM_HUGE_THP);
    hkm_learn_begin(&l, &base, HKM_EVO_LEARN, sim_price);
    ck_assert(l.playable >> HKM_STRATEGY_of_plain & 1);
    hkm_learn_begin(&l, &base, HKM_EVO_FROZEN, sim_price);
    ck_assert_uint_eq(l.playable, 0);
}
END_TEST

START_TEST(cost)
{
    struct hkm_learn_sample s = { .ms = 1000, .events = 10, .slow_ns = 5000, .faults = 100, .populated = 40, .purged = 30, .idle = MIB };
    ck_assert_uint_eq(hkm_learn_cost(&sim_price, &s), 5000 + 60 * 400 + 40 * 300 + 30 * 120 + 100000);
    s.faults = 0; /* fewer than were populated: a fault of the count, not a gain */
    ck_assert_uint_eq(hkm_learn_cost(&sim_price, &s), 5000 + 40 * 300 + 30 * 120 + 100000);
    s = (struct hkm_learn_sample){ .ms = 1000, .idle = (uint64_t)1 << 45 };
    ck_assert_uint_eq(hkm_learn_cost(&sim_price, &s), ((uint64_t)1 << 25) * 100000);
}
END_TEST

/* No learning in the first second, nor with few slow events, however long. */
START_TEST(waiting)
{
    begin(HKM_EVO_LEARN);
    struct hkm_learn_sample s = { .ms = 100, .events = 1000000, .slow_ns = 1000000 };
    for (unsigned i = 0; i < 9; i++) {
        epoch(&s);
        ck_assert_uint_eq(l.state, HKM_LEARN_WAIT);
    }
    epoch(&s);
    ck_assert_uint_eq(l.state, HKM_LEARN_PLAY);
    begin(HKM_EVO_LEARN);
    s = (struct hkm_learn_sample){ .ms = 1000, .events = 100, .slow_ns = 1000000 };
    for (unsigned i = 0; i < 99; i++) {
        epoch(&s);
        ck_assert_uint_eq(l.state, HKM_LEARN_WAIT);
        ck_assert(!memcmp(&policy, &hkm_policy_default, sizeof policy));
    }
    epoch(&s);
    ck_assert_uint_eq(l.state, HKM_LEARN_PLAY);
}
END_TEST

START_TEST(the_better_one_wins)
{
    begin(HKM_EVO_LEARN);
    epochs(&buffers, 4000);
    ck_assert_uint_eq(l.chosen[HKM_GROUP_big], HKM_STRATEGY_of_more);
    ck_assert_uint_eq(l.state, HKM_LEARN_FROZEN);
    ck_assert_uint_ge(hkm_load(&policy.bigcache_floor_kb), 131072);
    ck_assert_int_gt(l.rating[HKM_STRATEGY_of_more], HKM_LEARN_ELO);
    ck_assert_int_eq(l.games[HKM_STRATEGY_of_none], 0); /* as long as little of the cost is idle memory */
    ck_assert_uint_le(l.lost * 100, l.cost_all);
}
END_TEST

/* Frozen, it plays no more; another workload than that, and it does, beginning with what the options say. */
START_TEST(drift)
{
    begin(HKM_EVO_LEARN);
    epochs(&buffers, 4000);
    uint32_t matches = l.matches;
    epochs(&buffers, 1000);
    ck_assert_uint_eq(l.matches, matches);
    ck_assert_uint_eq(l.drifts, 0);
    static const struct sim_phase swings = { "swings", 0, 2000, 100, 300, 0, 1, 10 };
    epochs(&swings, 40);
    ck_assert_uint_eq(l.drifts, 1);
    ck_assert_uint_eq(l.chosen[HKM_GROUP_big], HKM_STRATEGY_big);
    ck_assert_uint_ge(l.rolled_back, 1);
    epochs(&swings, 6000);
    ck_assert_uint_eq(l.state, HKM_LEARN_FROZEN);
    ck_assert_uint_ne(l.chosen[HKM_GROUP_big], HKM_STRATEGY_of_more);
}
END_TEST

/* A canary that costs more than what is in force goes back, and is not tried again. */
START_TEST(roll_back)
{
    for (unsigned by_size = 0; by_size < 2; by_size++) {
        begin(HKM_EVO_LEARN);
        struct hkm_learn_sample good = { .ms = 100, .events = 1000, .slow_ns = 1000000, .faults = 1000, .resident = 100 * MIB };
        bool seen = false;
        for (unsigned i = 0; i < 200 && !l.rolled_back; i++) {
            struct hkm_learn_sample s = good;
            bool other = memcmp(&policy, &hkm_policy_default, sizeof policy) != 0;
            if (other && l.state == HKM_LEARN_PLAY)
                s.slow_ns = 600000;
            if (l.canary_in_force) {
                seen = true;
                ck_assert(other);
                s.slow_ns = by_size ? 1000000 : 1100000;
                s.resident = by_size ? 106 * MIB : 100 * MIB;
            }
            epoch(&s);
        }
        ck_assert(seen);
        ck_assert_uint_eq(l.rolled_back, 1);
        ck_assert_uint_eq(l.adopted, 0);
        ck_assert_uint_eq(l.chosen[HKM_GROUP_pace], HKM_STRATEGY_pace);
        ck_assert_uint_eq(l.games[HKM_STRATEGY_of_keep], 1);
        ck_assert_uint_ne(l.playing, HKM_STRATEGY_of_keep);
    }
}
END_TEST

/* A canary's cost counts in one epoch after 16, and three times until it is adopted. */
START_TEST(canaries)
{
    begin(HKM_EVO_LEARN);
    struct hkm_learn_sample s = { .ms = 100, .events = 1000, .slow_ns = 1000000, .resident = MIB };
    unsigned with = 0, all = 0;
    for (unsigned i = 0; i < 400 && !l.adopted; i++) {
        s.slow_ns = memcmp(&policy, &hkm_policy_default, sizeof policy) ? 900000 : 1000000;
        all += l.state == HKM_LEARN_CANARIED;
        with += l.canary_in_force;
        epoch(&s);
    }
    ck_assert_uint_eq(l.adopted, 1);
    ck_assert_uint_eq(with, HKM_LEARN_CANARIES * 2); /* each comes into force in one epoch, and counts in the next */
    ck_assert_uint_eq(all, HKM_LEARN_CANARIES * (HKM_LEARN_CANARY + 1));
}
END_TEST

/* Where there is nothing to learn, and where everything that is tried is worse, trying costs a hundredth at most. */
START_TEST(loss_is_bounded)
{
    static const struct sim_phase fits = { "it fits the default", 0, 500, 30, 200, 3, 200, 30 };
    begin(HKM_EVO_LEARN);
    for (unsigned i = 0; i < 5; i++) {
        epochs(i % 2 ? &calm : &fits, 4000);
        ck_assert_msg(l.lost * 100 <= l.cost_all + l.cost_all / 10, "lost %llu of %llu", (unsigned long long)l.lost,
                      (unsigned long long)l.cost_all);
    }
    /* And against the same epochs under the default. */
    struct hkm_learn other;
    struct sim_phase ph = fits;
    ph.epochs = 20000;
    for (unsigned seed = 1; seed <= 5; seed++) {
        uint64_t with = sim_run(&ph, 1, seed, &other, 0).cost, without = sim_run(&ph, 1, seed, NULL, 0).cost;
        ck_assert_uint_le(with, without + without / 100);
    }
}
END_TEST

/* The same epochs give the same decisions: the whole state, byte for byte, and the policies. */
START_TEST(replay)
{
    enum { N = 3000 };
    static struct hkm_learn_sample tape[N];
    static struct hkm_policy said[N];
    static struct hkm_learn first;
    begin(HKM_EVO_LEARN);
    for (unsigned i = 0; i < N; i++) {
        tape[i] = sim_epoch(i / 700 % 2 ? &calm : &buffers, &policy, &rnd);
        epoch(&tape[i]);
        said[i] = policy;
    }
    first = l;
    ck_assert_uint_gt(l.adopted, 0);
    ck_assert_uint_gt(l.drifts, 0);
    memset(&l, 0x5a, sizeof l);
    begin(HKM_EVO_LEARN);
    for (unsigned i = 0; i < N; i++) {
        epoch(&tape[i]);
        ck_assert_msg(!memcmp(&policy, &said[i], sizeof policy), "epoch %u", i);
    }
    ck_assert(!memcmp(&first, &l, sizeof l));
}
END_TEST

START_TEST(nothing_is_tried_when_frozen)
{
    begin(HKM_EVO_FROZEN);
    for (unsigned i = 0; i < 2000; i++) {
        epochs(&buffers, 1);
        ck_assert(!memcmp(&policy, &hkm_policy_default, sizeof policy));
    }
    ck_assert_uint_eq(l.matches, 0);
}
END_TEST

/* Strange epochs do no harm: none of the numbers below is out of reach for a broken clock or counter. */
START_TEST(strange_epochs)
{
    static const uint64_t odd[] = { 0, 1, 1000, (uint64_t)1 << 32, UINT64_MAX };
    begin(HKM_EVO_LEARN);
    epochs(&buffers, 15);
    for (unsigned i = 0; i < 5000; i++) {
        struct hkm_learn_sample s;
        uint64_t *word = (uint64_t *)&s;
        for (unsigned k = 0; k < sizeof s / sizeof *word; k++) {
            rnd = rnd * 6364136223846793005u + 1442695040888963407u;
            word[k] = odd[(rnd >> 33) % COUNT_OF(odd)];
        }
        epoch(&s);
    }
}
END_TEST

/* What is given back and faulted in again is kept from then on; when it is kept in vain for as long as it had come back,
 * all is as before. */
START_TEST(what_comes_back_is_kept)
{
    const struct hkm_learn_sample still = { .ms = 100, .events = 1000, .slow_ns = 1000000 };
    struct hkm_learn_sample s = still;
    begin(HKM_EVO_CANARY);
    s.faults = s.returned = s.purged = 2000;
    for (unsigned i = 0; i < 9; i++) {
        epoch(&s);
        ck_assert(!memcmp(&policy, &hkm_policy_default, sizeof policy)); /* not in the first second */
    }
    epoch(&s);
    ck_assert_uint_eq(hkm_load(&policy.kept_kb), 4 * 4096);
    ck_assert_uint_gt(hkm_load(&policy.purge_ms), 0);
    epoch(&s); /* goes back again, */
    ck_assert_uint_eq(hkm_load(&policy.kept_kb), 4 * 4096);
    epoch(&s); /* and comes back */
    ck_assert_uint_eq(hkm_load(&policy.kept_kb), 16 * 4096);
    ck_assert_uint_ge(hkm_policy_bigcache(&policy, 0), 64 * MIB);
    for (unsigned i = 0; i < 1000; i++) { /* nothing goes back, so it serves */
        s = still;
        epoch(&s);
        ck_assert_uint_eq(hkm_load(&policy.kept_kb), 16 * 4096);
    }
    s = still;
    s.purged = s.returned = 200000; /* all of it goes back by its age, and stays away */
    for (unsigned i = 0; l.kept_kb; i++) {
        ck_assert_uint_lt(i, 200);
        epoch(&s);
        s.returned = 10000;
    }
    ck_assert(!memcmp(&policy, &hkm_policy_default, sizeof policy));
    ck_assert_uint_eq(l.adopted + l.matches, 0);
}
END_TEST

/* In one epoch a peak was built up and went back: as much was faulted in as was given back, but before. */
START_TEST(a_peak_within_an_epoch)
{
    struct hkm_learn_sample s = { .ms = 2000, .events = 20000, .slow_ns = 1000000, .faults = 50000, .returned = 50000 };
    begin(HKM_EVO_CANARY);
    epoch(&s);
    s.faults = s.returned = 0;
    for (unsigned i = 0; i < 10; i++)
        epoch(&s);
    ck_assert_uint_eq(l.raised, 0);
    s.faults = s.back = 2000; /* of slabs it is known */
    epoch(&s);
    ck_assert_uint_eq(l.raised, 1);
}
END_TEST

/* A heap that grows gives nothing back, and one that shrinks needs nothing again. */
START_TEST(what_does_not_come_back_is_not)
{
    begin(HKM_EVO_CANARY);
    for (unsigned i = 0; i < 400; i++) {
        struct hkm_learn_sample s = { .ms = 100, .events = 1000, .slow_ns = 1000000 };
        if (i % 200 < 50)
            s.faults = 5000;
        else if (i % 200 < 100)
            s.returned = s.purged = 5000;
        epoch(&s);
        ck_assert(!memcmp(&policy, &hkm_policy_default, sizeof policy));
    }
}
END_TEST

/* What an option has set stays, whatever comes back. */
START_TEST(options_are_not_raised)
{
    struct hkm_learn_sample s = { .ms = 1000, .events = 20000, .slow_ns = 1000000, .faults = 9999, .returned = 9999 };
    begin(HKM_EVO_CANARY);
    for (unsigned i = 0; i < 10; i++) {
        policy = hkm_policy_default;
        hkm_store(&policy.purge_ms, 77);
        hkm_learn_epoch(&l, &s, &policy);
        ck_assert_uint_eq(hkm_load(&policy.purge_ms), 77);
    }
    ck_assert_uint_gt(hkm_load(&policy.kept_kb), 4096);
    for (unsigned given = 0; given < 3; given++) { /* also where it says what is the default */
        begin(HKM_EVO_CANARY);
        l.limit_given = given == 0;
        l.pace_given = given == 1;
        for (unsigned i = 0; i < 10; i++) {
            policy = hkm_policy_default;
            hkm_store(&policy.dirty_percent, given == 2 ? 13 : 12);
            hkm_learn_epoch(&l, &s, &policy);
        }
        ck_assert_int_eq(hkm_load(&policy.kept_kb) > 0, given == 1);
        ck_assert_uint_eq(hkm_load(&policy.purge_ms), 1000);
        ck_assert_uint_eq(hkm_load(&policy.bigcache_ms), 1000);
    }
    begin(HKM_EVO_FROZEN);
    for (unsigned i = 0; i < 10; i++)
        epoch(&s);
    ck_assert(!memcmp(&policy, &hkm_policy_default, sizeof policy));
}
END_TEST

/* What costs many times as much is over at once, within its first epoch. */
START_TEST(explosions)
{
    begin(HKM_EVO_LEARN);
    struct hkm_learn_sample calm_one = { .ms = 100, .events = 1000, .slow_ns = 1000000, .faults = 1000 };
    unsigned tried = 0;
    for (unsigned i = 0; i < 300; i++) {
        struct hkm_learn_sample s = calm_one;
        ck_assert(!hkm_learn_explodes(&l, &s));
        if (hkm_learn_is_trial(&l)) {
            s.ms = 10;
            s.faults = 100000;
            ck_assert(hkm_learn_explodes(&l, &s));
            tried++;
        }
        epoch(&s);
    }
    ck_assert_uint_gt(tried, 0);
    ck_assert_uint_eq(l.exploded, tried); /* each has one epoch, and not a whole one */
    ck_assert_uint_eq(l.adopted, 0);
    ck_assert_uint_le(tried, HKM_LEARN_STRATEGIES - HKM_LEARN_GROUPS);
}
END_TEST

START_TEST(budget_of_the_caches)
{
    struct hkm_learn_sample s = { .ms = 100, .events = 100000, .slow_ns = 1000000, .misses = 1000, .denied = 500,
                                  .allowed = 64 * MIB };
    uint64_t last = 65536;
    begin(HKM_EVO_CANARY); /* what is promised is kept */
    for (unsigned i = 0; i < 100; i++)
        epoch(&s);
    ck_assert_uint_eq(hkm_load(&policy.cache_kb), last);
    begin(HKM_EVO_LEARN);
    for (unsigned i = 0; i < 100; i++) {
        epoch(&s);
        ck_assert_uint_ge(hkm_load(&policy.cache_kb), last);
        ck_assert_uint_le(hkm_load(&policy.cache_kb), 4 * 65536);
        last = hkm_load(&policy.cache_kb);
    }
    ck_assert_uint_gt(last, 3 * 65536);
    s.denied = 0; /* enough, and in use */
    s.allowed = 100 * MIB;
    for (unsigned i = 0; i < 100; i++)
        epoch(&s);
    ck_assert_uint_eq(hkm_load(&policy.cache_kb), last);
    s.allowed = MIB;
    for (unsigned i = 0; i < 20; i++)
        epoch(&s);
    ck_assert_uint_eq(hkm_load(&policy.cache_kb), 65536);
}
END_TEST

UNIT_MAIN("learn", CK_FORK, strategies, options_are_left_alone, cost, waiting, the_better_one_wins, drift, roll_back, canaries,
          loss_is_bounded, replay, nothing_is_tried_when_frozen, strange_epochs, what_comes_back_is_kept, a_peak_within_an_epoch,
          what_does_not_come_back_is_not, options_are_not_raised, explosions, budget_of_the_caches)
