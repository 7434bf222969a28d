/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * simulate.h: a process as the learner sees it: what an epoch of a phase costs under a policy.  simulate.c plays long rows of
 * phases, tests/unit/test_learn.c short ones.
 *
 * A phase has memory that swings: so many MiB are freed and taken again every so many ms, in small blocks (slots) and in big
 * ones.  What the policy keeps for so long costs its price as idle memory; what it does not keep is purged and faulted in.
 */
#ifndef SIMULATE_H
#define SIMULATE_H

#include "learn.h"

struct sim_phase {
    const char *name;
    unsigned epochs, events;       /* how long, and slow events in an epoch */
    unsigned slots, slots_ms;      /* MiB that swing, and how often */
    unsigned big, big_ms;          /* the same in blocks of 1 MiB and more */
    unsigned noise;                /* percent up or down */
};

/* Whether the learner is told what was given back; else ACE has nothing to go by, and ELO is alone. */
static bool sim_ace;

/* Of `mib` that come again every `ms`, what is kept until then by a limit and an age. */
static inline void sim_swing(struct hkm_learn_sample *s, size_t mib, size_t ms, size_t limit_mib, size_t age_ms)
{
    if (!mib)
        return;
    size_t kept = age_ms >= ms ? (mib < limit_mib ? mib : limit_mib) : 0, lost = mib - kept;
    uint64_t pages = (uint64_t)lost * 256 * HKM_LEARN_EPOCH_MS / ms;
    s->faults += pages;
    s->purged += pages;
    s->returned += sim_ace ? pages : 0;
    s->idle += (uint64_t)kept << 20;
    if (!kept) /* for as long as it stays all the same */
        s->idle += ((uint64_t)(mib < limit_mib ? mib : limit_mib) << 20) * age_ms / ms;
}

static inline struct hkm_learn_sample sim_epoch(const struct sim_phase *ph, const struct hkm_policy *p, uint64_t *rnd)
{
    struct hkm_learn_sample s = { .ms = HKM_LEARN_EPOCH_MS, .events = ph->events, .misses = ph->events };
    sim_swing(&s, ph->slots, ph->slots_ms, hkm_policy_dirty_most(p, 0, false) >> 20, hkm_policy_purge_ms(p));
    sim_swing(&s, ph->big, ph->big_ms, hkm_policy_bigcache(p, 0) >> 20, hkm_load(&p->bigcache_ms));
    s.slow_ns = (uint64_t)ph->events * 500;
    s.resident = s.idle + ((uint64_t)200 << 20);
    *rnd = *rnd * 6364136223846793005u + 1442695040888963407u;
    uint64_t by = 100 - ph->noise + (*rnd >> 33) % (2 * ph->noise + 1);
    s.slow_ns = s.slow_ns * by / 100;
    s.faults = s.faults * by / 100;
    s.idle = s.idle * by / 100;
    return s;
}

struct sim_result {
    uint64_t cost;    /* of all epochs, in ns */
    uint64_t last;    /* of the last quarter of each phase */
};

static const struct hkm_learn_price sim_price = { .fault_ns = 400, .populate_ns = 300, .purge_ns = 120, .page = 4096 };

/* Plays the phases; `fixed`: strategies (a bit each) that stay in force, nothing is learned. */
static inline struct sim_result sim_run(const struct sim_phase *ph, unsigned count, uint64_t seed, struct hkm_learn *l,
                                        uint32_t fixed)
{
    struct sim_result r = { 0, 0 };
    struct hkm_policy p = hkm_policy_default;
    for (unsigned i = 0; i < HKM_LEARN_STRATEGIES; i++)
        if (fixed >> i & 1)
            hkm_learn_apply(i, &p);
    if (l)
        hkm_learn_begin(l, &hkm_policy_default, HKM_EVO_LEARN, sim_price);
    for (unsigned k = 0; k < count; k++)
        for (unsigned e = 0; e < ph[k].epochs; e++) {
            struct hkm_learn_sample s = sim_epoch(&ph[k], &p, &seed);
            uint64_t cost = hkm_learn_cost(&sim_price, &s);
            r.cost += cost;
            r.last += e >= ph[k].epochs / 4 * 3 ? cost : 0;
            if (l) {
                p = hkm_policy_default;
                hkm_learn_epoch(l, &s, &p);
            }
        }
    return r;
}

#endif
