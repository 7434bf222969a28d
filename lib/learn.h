/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * learn.h: the learner: finds out by trying which policy costs this process least.
 *
 * A function of its arguments: what was measured in an epoch goes in, and the policy of the next one comes out.  No clock, no
 * lock, no allocator call, and integers only, so that a recorded row of epochs gives the same decisions again.
 *
 * ELO: strategies of one group play against what is in force, in epochs A-B-B-A; the outcome is the cost per slow event.
 * EVO: what has won by 2 % and beyond doubt is a canary for some epochs, one of 16, then in force; when nothing is left to be
 * played, the policy is frozen until the cost drifts.  What costs 5 % more than it did, in time or memory, is taken back.
 * ACE: what was given back in vain is kept; and, with the trials, the budget of the Unified Caches follows what they were refused.
 */
#ifndef HKM_LEARN_H
#define HKM_LEARN_H

#include "policy.h"

enum {
#define GROUP(name) HKM_GROUP_##name,
#define STRATEGY(name, part, changes)
#include "learn.def"
#undef GROUP
#undef STRATEGY
    HKM_LEARN_GROUPS
};
/* The strategies, the first of each group (that of the options) included. */
enum {
#define GROUP(name) HKM_STRATEGY_##name,
#define STRATEGY(name, part, changes) HKM_STRATEGY_of_##name,
#include "learn.def"
#undef GROUP
#undef STRATEGY
    HKM_LEARN_STRATEGIES
};

enum {
    HKM_LEARN_EPOCH_MS = 100,       /* an epoch is at least so long */
    HKM_LEARN_GLANCE_MS = 10,       /* when something is tried, it is looked at so often */
    HKM_LEARN_EPOCH_EVENTS = 64,    /* and has so many slow events */
    HKM_LEARN_FROM_MS = 1000,       /* no learning before, */
    HKM_LEARN_FROM_EVENTS = 10000,  /* nor with fewer slow events */
    HKM_LEARN_IDLE_NS = 100000,     /* what 1 MiB that lies idle for 1 s costs: as much as 400 page faults' tenth, or so */
    HKM_LEARN_MISS_NS = 300,        /* a refill or flush: some 900 instructions (bench/instructions) */
    HKM_LEARN_SLOT_NS = 1000,       /* a slot that is taken and given back */
    HKM_LEARN_ONE = 1024,           /* gains are in units of 1/1024 */
    HKM_LEARN_GAIN = 20,            /* 2 %: less is not worth a change */
    HKM_LEARN_WORSE = 51,           /* 5 %: taken back */
    HKM_LEARN_LOSS = 100,           /* exploration may lose a 100th of all cost */
    HKM_LEARN_MATCHES = 12,         /* quadruples A-B-B-A until a match is a draw */
    HKM_LEARN_CANARY = 16,          /* one epoch of so many, */
    HKM_LEARN_CANARIES = 3,         /* so many times */
    HKM_LEARN_LARGER_KB = 65536,    /* more than twice as large, and by so much, is too large at any price */
    HKM_LEARN_DRIFT = 256,          /* 25 % off, */
    HKM_LEARN_DRIFTING = 16,        /* for so many epochs, and all is learned afresh */
    HKM_LEARN_REGRET_KB = 4096,     /* given back in vain, and more is kept */
    HKM_LEARN_KEEP_KB = 1 << 20,    /* but never more than this */
    HKM_LEARN_EXPLOSION = 2,        /* so many times what an epoch costs, and a trial ends at once */
    HKM_LEARN_ELO = 1500, HKM_LEARN_K = 32,
};

/* What things cost here, measured once. */
struct hkm_learn_price {
    uint64_t fault_ns, populate_ns, purge_ns; /* a page */
    uint64_t page;
};

/* What was measured in one epoch: differences, but for `resident`. */
struct hkm_learn_sample {
    uint64_t ms, events;
    uint64_t slow_ns;   /* spent in slow calls: their numbers, at the prices below */
    uint64_t faults, populated, purged; /* pages */
    uint64_t returned; /* pages of whole slots and mappings that were purged or unmapped */
    uint64_t back;      /* pages of slabs that were purged and have come back, which `faults` has, too */
    uint64_t idle;      /* bytes free but resident, at its end */
    uint64_t resident;  /* bytes, at its end */
    uint64_t misses, denied; /* of the Unified Caches: refills and flushes; and growth that the budget did not allow */
    uint64_t allowed;   /* bytes that they may hold, all together */
};

/* What a strategy may save. */
enum hkm_learn_part { HKM_LEARN_TIME, HKM_LEARN_FAULTS, HKM_LEARN_IDLE, HKM_LEARN_PARTS };

enum hkm_learn_mode { HKM_EVO_LEARN, HKM_EVO_CANARY, HKM_EVO_FROZEN };
enum hkm_learn_state { HKM_LEARN_WAIT, HKM_LEARN_PLAY, HKM_LEARN_CANARIED, HKM_LEARN_FROZEN };

/* What is shown of it (live.def): how often this has happened; what is done now; and what may stay of free memory, by ACE. */
#define HKM_LEARN_SHOWN(X) \
    X(epochs) X(matches) X(adopted) X(canaries) X(rolled_back) X(drifts) X(exploded) X(raised) X(lowered) X(state) X(kept_kb)

struct hkm_learn {
    /* These come first, 32 bits each; live.c has their names. */
#define X(name) uint32_t name;
    HKM_LEARN_SHOWN(X)
#undef X
    uint32_t chosen[HKM_LEARN_GROUPS]; /* strategies in force */
    int32_t rating[HKM_LEARN_STRATEGIES];
    /* The rest is nobody's business. */
    struct hkm_learn_price price;
    uint32_t playable;      /* a bit for each strategy */
    uint8_t mode;
    bool limit_given, pace_given; /* what may lie free, and for how long, was said by options: ACE lets that alone */
    uint32_t candidate[HKM_LEARN_GROUPS]; /* strategies that are to be a canary */
    uint8_t playing;        /* the challenger */
    uint8_t step;           /* of the eight epochs of A-B-B-A, each twice; of 16 with a canary */
    uint8_t tests;          /* canary epochs so far */
    uint8_t drifting;       /* epochs in a row */
    bool canary_in_force;
    /* The match: quadruples so far, and their gains. */
    uint32_t quads;
    int64_t gain_sum, gain_squares;
    /* The quadruple: events and cost of A and B as far as they count, and of all B epochs. */
    uint64_t cost[2], events[2], tried, tried_cost;
    uint64_t resident[2], residents[2]; /* sums, epochs */
    uint8_t games[HKM_LEARN_STRATEGIES];
    uint64_t cost_all, events_all, ms_all; /* since the process began to be watched */
    uint64_t lost;          /* by exploration, less what it has won; never below 0 */
    uint64_t usual;         /* frozen: cost of 1024 events */
    uint32_t usual_of;      /* epochs that it is the mean of */
    uint64_t calm;          /* cost of 1024 ms when nothing is tried, of late */
    uint64_t paid[HKM_LEARN_PARTS]; /* what cost is made of, of late */
    uint64_t cache_kb;      /* ACE; 0: as the options say */
    uint64_t keep_ms;       /* for so long kept_kb may stay; that is 0 where all is as the options say */
    uint64_t credit, regret, trust; /* pages: given back, and may come back yet; given back in vain; may be kept in vain */
    uint32_t refused, idle_for;
};

/* base: what the options say. */
void hkm_learn_begin(struct hkm_learn *l, const struct hkm_policy *base, enum hkm_learn_mode mode, struct hkm_learn_price price);
/* An epoch has ended.  policy: base goes in, and the policy of the next one comes out. */
void hkm_learn_epoch(struct hkm_learn *l, const struct hkm_learn_sample *s, struct hkm_policy *policy);
uint64_t hkm_learn_cost(const struct hkm_learn_price *price, const struct hkm_learn_sample *s); /* ns */
bool hkm_learn_is_trial(const struct hkm_learn *l); /* what is in force now is but tried */
/* What was measured since the last epoch: so much more than usual that it must end now? */
bool hkm_learn_explodes(const struct hkm_learn *l, const struct hkm_learn_sample *s);
/* The strategy to be played next, or 0: none is left. */
unsigned hkm_learn_select(const struct hkm_learn *l);
/* Makes its changes; the first of a group has none. */
void hkm_learn_apply(unsigned strategy, struct hkm_policy *policy);
unsigned hkm_learn_group(unsigned strategy);

#endif
