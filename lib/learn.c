/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * learn.c: see learn.h.
 */
#define HKM_SMALL
#include "learn.h"

#include <string.h>

/* ---- strategies ------------------------------------------------------------------------------------------------- */

static const uint8_t group_of[HKM_LEARN_STRATEGIES] = {
#define GROUP(name) [HKM_STRATEGY_##name] = HKM_GROUP_##name + 1, /* 0 is left for the strategies of the group before */
#define STRATEGY(name, part, changes)
#include "learn.def"
#undef GROUP
#undef STRATEGY
};

HKM_COLD unsigned hkm_learn_group(unsigned s)
{
    while (!group_of[s])
        s--;
    return group_of[s] - 1u;
}

static bool is_first(unsigned s) { return group_of[s] != 0; }

static unsigned first_of(unsigned s)
{
    while (!is_first(s))
        s--;
    return s;
}

/* What each strategy changes, in their order; END after each. */
enum { END = 255 };
static const struct __attribute__((packed)) {
    uint32_t value; /* UINT32_MAX: SIZE_MAX >> 10 */
    uint8_t row;
} change[] = {
#define GROUP(name) { 0, END },
#define STRATEGY(name, part, changes) changes { 0, END },
#define SET(field, to) \
    { (to) == SIZE_MAX >> 10 ? UINT32_MAX : (uint32_t)(to), offsetof(struct hkm_policy, field) / sizeof(hkm_word) },
#include "learn.def"
#undef GROUP
#undef STRATEGY
#undef SET
};

HKM_COLD void hkm_learn_apply(unsigned strategy, struct hkm_policy *p)
{
    unsigned i = 0;
    for (; strategy; i++)
        strategy -= change[i].row == END;
    for (; change[i].row != END; i++)
        hkm_store((hkm_word *)p + change[i].row, change[i].value == UINT32_MAX ? SIZE_MAX >> 10 : change[i].value);
}

/* It differs from what the options say, stays within the ranges, and touches no row that an option has set. */
static HKM_COLD bool may_play(unsigned s, const struct hkm_policy *base)
{
    struct hkm_policy p = *base, q = hkm_policy_default;
    bool differs = false;
    hkm_learn_apply(s, &p);
    hkm_learn_apply(s, &q);
    for (unsigned i = 0; i < HKM_POLICY_ROWS; i++) {
        size_t is = hkm_load((const hkm_word *)base + i), def = hkm_load((const hkm_word *)&hkm_policy_default + i);
        size_t would = hkm_load((const hkm_word *)&p + i);
        bool touched = would != is || hkm_load((const hkm_word *)&q + i) != def;
        if (touched && is != def && hkm_learn_group(s) != HKM_GROUP_huge)
            return false;
        differs = differs || would != is;
    }
    /* Huge pages of slots are only played when they were asked for. */
    bool idle = hkm_learn_group(s) == HKM_GROUP_huge && hkm_load(&base->hugepages) == HKM_HUGE_GROWN;
    return differs && !idle && hkm_policy_valid(&p);
}

/* ---- ELO -------------------------------------------------------------------------------------------------------- */

/* What a player is expected to score against one that is d points better, in 1/1024: 1 / (1 + 10^(d / 400)), every 100. */
static unsigned expected(int d)
{
    static const uint16_t at[] = { 512, 369, 246, 155, 93, 55, 31, 18, 10 };
    unsigned a = (unsigned)(d < 0 ? -d : d), i = a / 100, e;
    if (i >= sizeof at / sizeof *at - 1)
        e = at[sizeof at / sizeof *at - 1];
    else
        e = at[i] - (at[i] - at[i + 1]) * (a % 100) / 100;
    return d < 0 ? 1024 - e : e;
}

static HKM_COLD void rate(struct hkm_learn *l, unsigned a, unsigned b, unsigned score_of_b)
{
    int by = HKM_LEARN_K * ((int)score_of_b - (int)expected(l->rating[a] - l->rating[b])) / 1024;
    l->rating[b] = (l->rating[b] + by);
    l->rating[a] = (l->rating[a] - by);
}

/* Where little is paid for what it may save, it is not worth a trial: an eighth, or, of idle memory, half of it all, as what
 * gives memory back earlier may cost many times as much. */
static bool is_promising(const struct hkm_learn *l, unsigned s)
{
    static const uint8_t part_of[] = {
#define GROUP(name) 0,
#define STRATEGY(name, part, changes) HKM_LEARN_##part,
#include "learn.def"
#undef GROUP
#undef STRATEGY
    };
    uint64_t part = l->paid[part_of[s]], all = l->paid[0] + l->paid[1] + l->paid[2];
    if (l->kept_kb && s < HKM_STRATEGY_populate) /* that is ACE's now */
        return false;
    return part >= all / (part_of[s] == HKM_LEARN_IDLE ? 2 : 8);
}

/* The best rated of those that have not had their match, the first of them in the table where they are equal. */
HKM_COLD unsigned hkm_learn_select(const struct hkm_learn *l)
{
    unsigned best = 0;
    for (unsigned s = 1; s < HKM_LEARN_STRATEGIES; s++)
        if (l->playable >> s & 1 && !l->games[s] && (!best || l->rating[s] > l->rating[best]) && is_promising(l, s))
            best = s;
    return best;
}

/* ---- cost ------------------------------------------------------------------------------------------------------- */

static HKM_COLD uint64_t part_of_cost(const struct hkm_learn_price *price, const struct hkm_learn_sample *s, unsigned part)
{
    uint64_t faults = s->faults > s->populated ? s->faults - s->populated : 0;
    switch (part) {
    case HKM_LEARN_TIME:
        return s->slow_ns;
    case HKM_LEARN_FAULTS:
        return faults * price->fault_ns + s->populated * price->populate_ns + s->purged * price->purge_ns;
    default:
        return (s->idle >> 10) * s->ms / 1024 * HKM_LEARN_IDLE_NS / 1000;
    }
}

HKM_COLD uint64_t hkm_learn_cost(const struct hkm_learn_price *price, const struct hkm_learn_sample *s)
{
    uint64_t cost = 0;
    for (unsigned i = 0; i < HKM_LEARN_PARTS; i++)
        cost += part_of_cost(price, s, i);
    return cost;
}

/* Cost of 1024 events; what is beyond 2^50 is so by a fault of a clock or counter, and must not overflow what follows. */
static HKM_COLD uint64_t per_event(uint64_t cost, uint64_t events)
{
    const uint64_t most = (uint64_t)1 << 50;
    uint64_t each = events ? (cost < most ? cost : most) * 1024 / events : 0;
    return each < most ? each : most;
}

/* How much less b is than a, in 1/1024 of a. */
static HKM_COLD int64_t gain_of(uint64_t a, uint64_t b)
{
    int64_t gain = a ? ((int64_t)a - (int64_t)b) * HKM_LEARN_ONE / (int64_t)a : b ? -HKM_LEARN_ONE : 0;
    return gain < -HKM_LEARN_ONE ? -HKM_LEARN_ONE : gain;
}

/* ---- EVO -------------------------------------------------------------------------------------------------------- */

/* A match may begin when all that exploration has cost so far is less than the allowed part. */
static bool can_afford(const struct hkm_learn *l) { return l->lost <= l->cost_all / HKM_LEARN_LOSS; }

static HKM_COLD void forget_quad(struct hkm_learn *l)
{
    l->step = 0;
    l->tried = l->tried_cost = 0;
    memset(l->cost, 0, sizeof l->cost);
    memset(l->events, 0, sizeof l->events);
    memset(l->resident, 0, sizeof l->resident);
    memset(l->residents, 0, sizeof l->residents);
}

static void freeze(struct hkm_learn *l)
{
    l->state = HKM_LEARN_FROZEN;
    l->usual = l->usual_of = 0;
    l->drifting = 0;
}

static HKM_COLD void next_match(struct hkm_learn *l)
{
    forget_quad(l);
    l->quads = 0;
    l->gain_sum = l->gain_squares = 0;
    l->playing = (uint8_t)hkm_learn_select(l);
    if (l->playing)
        l->state = HKM_LEARN_PLAY;
    else
        freeze(l);
}

HKM_COLD void hkm_learn_begin(struct hkm_learn *l, const struct hkm_policy *base, enum hkm_learn_mode mode, struct hkm_learn_price price)
{
    memset(l, 0, sizeof *l);
    l->price = price;
    l->mode = (uint8_t)mode;
    for (unsigned s = 0; s < HKM_LEARN_STRATEGIES; s++) {
        l->rating[s] = HKM_LEARN_ELO;
        if (is_first(s))
            l->chosen[hkm_learn_group(s)] = s;
        else if (may_play(s, base))
            l->playable |= (uint32_t)1 << s;
    }
    memmove(l->candidate, l->chosen, sizeof l->chosen);
    if (mode != HKM_EVO_LEARN)
        l->playable = 0;
}
_Static_assert(HKM_LEARN_STRATEGIES <= 32, "playable has a bit for each");

/* It is over: the challenger has won, or not. */
static HKM_COLD void end_match(struct hkm_learn *l, bool won)
{
    l->matches++;
    l->games[l->playing]++;
    if (!won) {
        next_match(l);
        return;
    }
    memmove(l->candidate, l->chosen, sizeof l->chosen);
    l->candidate[hkm_learn_group(l->playing)] = l->playing;
    forget_quad(l);
    l->tests = 0;
    l->state = HKM_LEARN_CANARIED;
}

/* What the challenger's epochs have cost above what they would have cost without it, all of them: also those in which it only
 * built up what it keeps. */
static void account(struct hkm_learn *l, uint64_t usual)
{
    uint64_t would = usual * (l->tried / 16) / 64;
    if (l->tried_cost >= would)
        l->lost += l->tried_cost - would;
    else
        l->lost -= l->lost < would - l->tried_cost ? l->lost : would - l->tried_cost;
}

static void end_quad(struct hkm_learn *l)
{
    uint64_t a = per_event(l->cost[0], l->events[0]), b = per_event(l->cost[1], l->events[1]);
    int64_t gain = gain_of(a, b);
    unsigned rival = l->chosen[hkm_learn_group(l->playing)];
    account(l, a);
    rate(l, rival, l->playing, gain >= HKM_LEARN_GAIN / 4 ? 1024 : gain <= -HKM_LEARN_GAIN / 4 ? 0 : 512);
    l->quads++;
    l->gain_sum += gain;
    l->gain_squares += gain * gain;
    forget_quad(l);
    /* Beyond doubt: the mean is four times its standard error, which is the root of (n squares - sum^2) / (n^2 (n - 1)).  There
     * are a dozen matches, and a look after each quadruple. */
    int64_t n = l->quads, sum = l->gain_sum, spread = n * l->gain_squares - sum * sum;
    if (n >= 4 && sum >= n * HKM_LEARN_GAIN && sum * sum * (n - 1) >= 16 * spread)
        end_match(l, true);
    else if ((n >= 2 && sum < -n * HKM_LEARN_ONE / 10) || (n >= 3 && sum < 0) || n >= HKM_LEARN_MATCHES)
        end_match(l, false);
}

/* A-B-B-A: eight epochs, of which those after a change show what the one before has left behind, or what it takes to build up
 * what is kept from now on: they do not count.  - A - - B B - A. */
static bool is_challengers(unsigned step) { return step >= 2 && step < 6; }
static bool counts(unsigned step) { return step == 1 || step == 4 || step == 5 || step == 7; }

static void play(struct hkm_learn *l, const struct hkm_learn_sample *s, uint64_t cost)
{
    if (l->step == 0 && !can_afford(l)) /* pay back first */
        return;
    unsigned b = is_challengers(l->step);
    if (b) {
        l->tried += s->events;
        l->tried_cost += cost;
    }
    if (counts(l->step)) {
        l->cost[b] += cost;
        l->events[b] += s->events;
    }
    if (++l->step == 8)
        end_quad(l);
}

static HKM_COLD void roll_back(struct hkm_learn *l)
{
    l->rolled_back++;
    l->canary_in_force = false;
    next_match(l);
}

/* One epoch of 16, after one in which it only takes its place: what it keeps must first be there. */
static void canary(struct hkm_learn *l, const struct hkm_learn_sample *s, uint64_t cost)
{
    unsigned b = l->step == HKM_LEARN_CANARY;
    if (l->step != HKM_LEARN_CANARY - 1 && l->step) { /* the first one has what the canary has left behind */
        l->cost[b] += cost;
        l->events[b] += s->events;
        l->resident[b] += s->resident >> 10;
        l->residents[b]++;
    }
    if (++l->step <= HKM_LEARN_CANARY)
        return;
    l->step = 0;
    l->canaries++;
    uint64_t a_cost = per_event(l->cost[0], l->events[0]), b_cost = per_event(l->cost[1], l->events[1]);
    uint64_t a_size = l->resident[0] / l->residents[0], b_size = l->resident[1] / l->residents[1];
    /* Idle memory is part of the cost, by its price: what is cheaper even so may be larger, but for twice as much and more. */
    bool worse = gain_of(a_cost, b_cost) < -HKM_LEARN_WORSE ||
                 (gain_of(a_size, b_size) < -HKM_LEARN_WORSE && gain_of(a_cost, b_cost) < HKM_LEARN_GAIN) ||
                 b_size > 2 * a_size + HKM_LEARN_LARGER_KB;
    if (worse) {
        l->lost += b_cost > a_cost ? (b_cost - a_cost) * l->events[1] / 1024 : 0;
        roll_back(l);
    } else if (++l->tests == HKM_LEARN_CANARIES) {
        memmove(l->chosen, l->candidate, sizeof l->chosen);
        l->adopted++;
        next_match(l);
    }
}

/* The usual cost is that of the first epochs after freezing.  One that stays away from it is another program's, so to speak:
 * everything is played again, and what was learned goes first: it must win against what the options say, or it goes. */
static void watch(struct hkm_learn *l, const struct hkm_learn_sample *s, uint64_t cost)
{
    uint64_t now = per_event(cost, s->events);
    if (l->usual_of < HKM_LEARN_DRIFTING) {
        l->usual = (l->usual * l->usual_of + now) / (l->usual_of + 1);
        l->usual_of++;
        return;
    }
    int64_t gain = gain_of(l->usual, now);
    /* Twice as much is no drift any more. */
    l->drifting = gain < -HKM_LEARN_DRIFT || gain > HKM_LEARN_DRIFT ? l->drifting + (gain <= -HKM_LEARN_ONE ? 4 : 1) : 0;
    if (l->drifting < HKM_LEARN_DRIFTING || l->mode != HKM_EVO_LEARN)
        return;
    l->drifts++;
    for (unsigned g = 0; g < HKM_LEARN_GROUPS; g++) {
        unsigned now_in_force = l->chosen[g], first = first_of(now_in_force);
        if (now_in_force != first) { /* the safe one again, and the other is the first challenger */
            l->chosen[g] = first;
            l->rolled_back++;
        }
    }
    for (unsigned i = 0; i < HKM_LEARN_STRATEGIES; i++) {
        l->rating[i] = ((l->rating[i] + HKM_LEARN_ELO) / 2);
        l->games[i] = 0;
    }
    next_match(l);
}

/* ---- ACE -------------------------------------------------------------------------------------------------------- */

/* The caches' budget grows by a quarter while caches that are missed in are refused to grow, up to four times what the
 * options say; when less than a quarter of it is used for a while, it goes back.  Two thresholds, so that it rests between. */
static void adapt_caches(struct hkm_learn *l, const struct hkm_learn_sample *s, size_t base_kb)
{
    uint64_t kb = l->cache_kb ? l->cache_kb : base_kb;
    l->refused = s->denied * 16 > s->misses && s->denied ? l->refused + 1 : 0;
    l->idle_for = s->allowed >> 10 < kb / 4 ? l->idle_for + 1 : 0;
    if (l->refused >= 2 && base_kb && kb + kb / 4 <= (uint64_t)base_kb * 4 && base_kb <= (1 << 30) / 4) {
        l->cache_kb = kb + kb / 4;
        l->refused = 0;
    } else if (l->idle_for >= 16) {
        l->cache_kb = 0;
        l->idle_for = 0;
    }
}

static bool may_learn(const struct hkm_learn *l)
{
    return l->ms_all >= HKM_LEARN_FROM_MS && l->events_all >= HKM_LEARN_FROM_EVENTS;
}

/* Pages that were given back and are faulted in again soon were given back in vain.  Where that happens, more is kept, four
 * times as much each time, and for as long as costs what a fault and a purge cost: what is not needed until then goes back by
 * its age, half of it in each half of that time.  So what is kept in vain costs as much as a fault.  No more of it is than
 * came back before; then all is as the options say. */
static void adapt_pace(struct hkm_learn *l, const struct hkm_learn_sample *s, size_t base_kb)
{
    const struct hkm_learn_price *price = &l->price;
    const uint64_t many = (uint64_t)1 << 32; /* of no counter that is right */
    uint64_t each = price->page * HKM_LEARN_IDLE_NS >> 20; /* ns: of a page in 1000 ms */
    uint64_t pays = each ? (price->fault_ns + price->purge_ns) * 1000 / each : 0, kb = price->page >> 10;
    pays = pays < 2000 ? 2000 : pays < 10000 ? pays : 10000;
    l->keep_ms = pays / 2;
    /* Of what went back in this epoch nothing has come back yet, but what is known to: the faults may all have been before. */
    uint64_t others = s->faults - s->back, back = l->credit < others ? l->credit : others;
    l->credit += (s->returned < many ? s->returned : 0) - back;
    back += s->back;
    uint64_t gone = s->ms < pays ? (l->credit * s->ms + pays - 1) / pays : l->credit;
    l->credit -= gone;
    l->regret = l->regret - l->regret / 8 + back;
    uint64_t most = l->kept_kb / kb * (uint64_t)2; /* in free slots, and in the BigCache */
    l->trust += back;
    l->trust = l->trust < most ? l->trust : most;
    l->trust -= gone < l->trust ? gone : l->trust;
    if (!may_learn(l))
        return;
    if (back && l->regret * kb >= HKM_LEARN_REGRET_KB && base_kb) {
        uint64_t from = l->kept_kb ? l->kept_kb : base_kb;
        l->kept_kb = (uint32_t)(from * 4 < HKM_LEARN_KEEP_KB ? from * 4 : HKM_LEARN_KEEP_KB);
        l->raised++;
        l->trust += l->regret;
        l->regret = l->credit = 0; /* what is to be seen next is what this leaves */
    } else if (l->kept_kb && !l->trust) {
        l->kept_kb = 0;
        l->lowered++;
    }
}

/* Only rows that are as the options' defaults. */
#define is_default(base, field) (hkm_load(&(base)->field) == hkm_load(&hkm_policy_default.field))
static HKM_COLD void raise(struct hkm_policy *p, const struct hkm_policy *base, unsigned row, uint64_t to)
{
    size_t is = hkm_load((const hkm_word *)base + row);
    if (is == hkm_load((const hkm_word *)&hkm_policy_default + row) && is < to)
        hkm_store((hkm_word *)p + row, (size_t)to);
}
#define RAISE(p, base, field, to) raise(p, base, offsetof(struct hkm_policy, field) / sizeof(hkm_word), to)

/* ---- all of it -------------------------------------------------------------------------------------------------- */

/* Is something in force that is but tried? */
HKM_COLD bool hkm_learn_is_trial(const struct hkm_learn *l)
{
    return (l->state == HKM_LEARN_PLAY && is_challengers(l->step)) || l->canary_in_force;
}

HKM_COLD bool hkm_learn_explodes(const struct hkm_learn *l, const struct hkm_learn_sample *s)
{
    return hkm_learn_is_trial(l) && hkm_learn_cost(&l->price, s) / HKM_LEARN_EXPLOSION > l->calm / 1024 * HKM_LEARN_EPOCH_MS + 1000000;
}

/* What of late was so much is now a bit more like this. */
static HKM_COLD void follow(uint64_t *mean, uint64_t value) { *mean = *mean ? *mean - *mean / 16 + value / 16 : value; }

HKM_COLD void hkm_learn_epoch(struct hkm_learn *l, const struct hkm_learn_sample *s, struct hkm_policy *p)
{
    const struct hkm_policy base = *p;
    uint64_t cost = hkm_learn_cost(&l->price, s);
    l->epochs++;
    l->cost_all += cost;
    l->events_all += s->events;
    l->ms_all += s->ms;
    if (!hkm_learn_is_trial(l)) {
        if (s->ms)
            follow(&l->calm, cost / s->ms * 1024);
        for (unsigned i = 0; i < HKM_LEARN_PARTS; i++)
            follow(&l->paid[i], part_of_cost(&l->price, s, i));
    }
    if (l->mode != HKM_EVO_FROZEN) {
        if (!l->limit_given && is_default(&base, dirty_kb) && is_default(&base, dirty_percent))
            adapt_pace(l, s, hkm_load(&base.dirty_kb));
        if (may_learn(l) && l->mode == HKM_EVO_LEARN) /* else what is promised of CACHE_KB is kept */
            adapt_caches(l, s, hkm_load(&base.cache_kb));
    }
    if (hkm_learn_explodes(l, s)) {
        l->exploded++;
        l->lost += cost - l->calm / 1024 * s->ms < cost ? cost - l->calm / 1024 * s->ms : 0;
        if (l->state == HKM_LEARN_PLAY) {
            rate(l, l->chosen[hkm_learn_group(l->playing)], l->playing, 0);
            end_match(l, false);
        } else {
            roll_back(l);
        }
    } else if (l->state == HKM_LEARN_WAIT) {
        if (may_learn(l))
            next_match(l);
    } else if (l->state == HKM_LEARN_PLAY) {
        play(l, s, cost);
    } else if (l->state == HKM_LEARN_CANARIED) {
        canary(l, s, cost);
    } else {
        watch(l, s, cost);
    }
    /* The policy of the next epoch. */
    l->canary_in_force = l->state == HKM_LEARN_CANARIED && l->step >= HKM_LEARN_CANARY - 1;
    bool challenged = l->state == HKM_LEARN_PLAY && is_challengers(l->step);
    for (unsigned g = 0; g < HKM_LEARN_GROUPS; g++)
        hkm_learn_apply(challenged && g == hkm_learn_group(l->playing) ? l->playing
                        : l->canary_in_force                           ? l->candidate[g]
                                                                       : l->chosen[g],
                        p);
    if (l->cache_kb)
        RAISE(p, &base, cache_kb, l->cache_kb);
    if (l->kept_kb) {
        hkm_store(&p->kept_kb, l->kept_kb);
        if (!l->pace_given) {
            RAISE(p, &base, purge_ms, l->keep_ms);
            RAISE(p, &base, bigcache_ms, l->keep_ms);
        }
    }
}
