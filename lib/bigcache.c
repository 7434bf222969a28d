/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * bigcache.c: see bigcache.h.
 *
 * A table of a few ways for each size class; four classes to a doubling.  The word that names the block is the truth: who
 * clears it by compare-and-swap has the block, who finds it 0 may put one there.  What stands beside it are hints, written
 * after it, which may be another block's for a moment: so what was taken is measured by its own record.
 */
#define HKM_SMALL
#include "bigcache.h"
#include "big.h"
#include "meta.h"
#include "mid.h"
#include "os.h"
#include "policy.h"
#include "superslab.h"

enum { WAYS = 8, STEPS = 4, LEAST_BITS = 20, CLASSES = STEPS * ((int)HKM_WORD_BITS - LEAST_BITS) };
_Static_assert(HKM_BIGCACHE_LEAST == (size_t)1 << LEAST_BITS, "the classes begin there");

/* The block: the address of a run's record, or that of a big block plus 1. */
enum { IS_BIG = 1 };
struct way {
    hkm_word block, bytes, site, since;
};
static hkm_word table; /* struct way[CLASSES][WAYS]; made for the first block that is kept: few processes keep any */
static struct HKM_OWN_LINES {
    hkm_word hits; /* first: live.c shows where it is */
    hkm_word bytes; /* not less than what is in the table */
} held;
HKM_SHOWN(held, hkm_bigcache_all_hits);
_Static_assert(offsetof(__typeof__(held), hits) == 0, "it is shown where the structure begins");
static hkm_word used[(CLASSES + HKM_WORD_BITS - 1) / HKM_WORD_BITS]; /* a bit is set for each class that has a block */

size_t hkm_bigcache_bytes(void) { return hkm_load(&held.bytes); }
size_t hkm_bigcache_hits(void) { return hkm_load(&held.hits); }

static struct way *ways_of(unsigned cls) { return (struct way *)hkm_load_acq(&table) + (size_t)cls * WAYS; }

/* Threads that come here together make two, of which one is never used. */
static HKM_COLD bool make_table(void)
{
    void *t = hkm_meta_alloc(CLASSES * WAYS * sizeof(struct way), 64);
    return t && (hkm_cas(&table, 0, (size_t)t) || hkm_load(&table));
}

/* Sizes from 4, 5, 6, 7 quarters of a power of two on. */
static unsigned class_of(size_t bytes)
{
    unsigned high = hkm_high_bit(bytes);
    return (high - LEAST_BITS) * STEPS + (unsigned)(bytes >> (high - 2) & (STEPS - 1));
}

/* A block that is larger than asked for by more than this is not worth its memory. */
static size_t most_for(size_t size) { return size + size / 8; }

/* What each site has asked for last: site, class, and whether it was of that class the time before, too.  Only what such a site
 * frees is kept: where sizes change from call to call, whole blocks are of less use than the slots that they are made of.
 * Sites that share a place disturb each other, which costs no more than that their blocks are not kept. */
enum { ASKED = 128 };
extern hkm_word hkm_bigcache_asked[ASKED];
hkm_word hkm_bigcache_asked[ASKED] HKM_BEHIND;

static hkm_word *asked_by(const void *site) { return &hkm_bigcache_asked[((size_t)site >> 4 ^ (size_t)site >> 11) % ASKED]; }
static size_t request(const void *site, unsigned cls) { return (size_t)site << 10 | cls << 1; }

void hkm_bigcache_note(size_t size, const void *site)
{
    hkm_word *w = asked_by(site);
    size_t was = hkm_load(w), now = request(site, class_of(size));
    if (was != (now | 1))
        hkm_store(w, (was | 1) == (now | 1) ? now | 1 : now);
}

/* A block is up to a class above what was asked for. */
static bool is_wanted(const void *site, unsigned cls)
{
    size_t last = hkm_load(asked_by(site));
    return last == (request(site, cls) | 1) || (cls && last == (request(site, cls - 1) | 1));
}

static struct hkm_slab *run_of(size_t block) { return (struct hkm_slab *)block; }
static void *big_of(size_t block) { return (void *)(block - IS_BIG); }

/* What a block that was just taken can hold. */
static size_t capacity(size_t block)
{
    return block & IS_BIG ? hkm_big_capacity(big_of(block)) : (size_t)run_of(block)->run << HKM_SLOT_SHIFT;
}

static void give_back(size_t block)
{
    if (block & IS_BIG)
        hkm_big_drop(big_of(block));
    else
        hkm_mid_free(run_of(block));
}

/* Whoever clears the word has the block. */
static bool take(struct way *w, size_t block)
{
    if (!block || !hkm_cas(&w->block, block, 0))
        return false;
    hkm_add(&held.bytes, -capacity(block));
    return true;
}

static size_t find(unsigned cls, size_t size, const void *site, bool any)
{
    for (struct way *w = ways_of(cls), *end = w + WAYS; w < end; w++) {
        size_t block = hkm_load_acq(&w->block), bytes = hkm_load(&w->bytes);
        if (!block || bytes < size || bytes > most_for(size) || (!any && hkm_load(&w->site) != (size_t)site))
            continue;
        if (!take(w, block))
            continue;
        if (likely(capacity(block) >= size))
            return block;
        give_back(block);
    }
    return 0;
}

void *hkm_bigcache_take(size_t size, const void *site)
{
    if (size < HKM_BIGCACHE_LEAST)
        return NULL;
    unsigned cls = class_of(size), last = class_of(most_for(size));
    size_t block = 0;
    hkm_bigcache_note(size, site);
    if (!hkm_load(&held.bytes))
        return NULL;
    for (int any = 0; any < 2 && !block; any++)
        for (unsigned c = cls; c <= last && !block; c++)
            block = find(c, size, site, any);
    if (!block)
        return NULL;
    hkm_add(&held.hits, 1);
    hkm_add(&hkm_superslab_stats.reused, size >> hkm_os.page_bits);
    hkm_bigcache_age();
    if (block & IS_BIG) {
        hkm_big_wake(big_of(block), site);
        return big_of(block);
    }
    void *p = hkm_mid_wake(run_of(block), size, site);
    run_of(block)->given = hkm_site_alloc(site, run_of(block)->bytes);
    return p;
}

/* Whether so much more may be kept. */
static bool has_room(size_t bytes)
{
    size_t all = hkm_load(&held.bytes) + bytes, live = hkm_superslab_taken() + hkm_big_mapped();
    return all <= hkm_policy_bigcache(hkm_policy(), live > all ? live - all : 0);
}

static bool put(size_t block, size_t bytes, const void *site)
{
    if (bytes < HKM_BIGCACHE_LEAST || site == HKM_SITE_RESIZED)
        return false;
    unsigned cls = class_of(bytes);
    hkm_bigcache_age();
    if (!is_wanted(site, cls) || !has_room(bytes) || (!hkm_load(&table) && !make_table()))
        return false;
    for (struct way *w = ways_of(cls), *end = w + WAYS; w < end; w++) {
        if (hkm_load(&w->block))
            continue;
        hkm_add(&held.bytes, bytes); /* first, so that it never falls below 0 */
        if (hkm_cas(&w->block, 0, block)) {
            hkm_store(&w->bytes, bytes);
            hkm_store(&w->site, (size_t)site);
            hkm_store(&w->since, hkm_os_ms());
            hkm_fetch_or(&used[cls / HKM_WORD_BITS], (size_t)1 << cls % HKM_WORD_BITS);
            return true;
        }
        hkm_add(&held.bytes, -bytes);
    }
    return false;
}

bool hkm_bigcache_put_run(struct hkm_slab *s)
{
    hkm_mid_left(s);
    s->listed = HKM_RUN_IN_BIGCACHE; /* by which a second free is found out */
    if (put((size_t)s, (size_t)s->run << HKM_SLOT_SHIFT, s->site))
        return true;
    s->listed = HKM_RUN_LIVE;
    return false;
}

bool hkm_bigcache_free_big(void *p)
{
    const void *site;
    size_t bytes = hkm_big_idle(p, &site);
    if (bytes && !put((size_t)p + IS_BIG, bytes, site))
        hkm_big_drop(p);
    return bytes != 0;
}

/* Gives back blocks that have been there for `ms` or longer; bytes. */
static HKM_COLD size_t give_back_old(size_t ms)
{
    size_t now = hkm_os_ms(), done = 0;
    for (unsigned c = 0; c < CLASSES; c++) {
        hkm_word *word = &used[c / HKM_WORD_BITS];
        size_t bit = (size_t)1 << c % HKM_WORD_BITS;
        if (!(hkm_load(word) & bit))
            continue;
        hkm_fetch_clear(word, bit); /* before the look: who puts one there sets it afterwards */
        bool some = false;
        for (struct way *w = ways_of(c), *end = w + WAYS; w < end; w++) {
            size_t block = hkm_load_acq(&w->block);
            if (ms && block && now - hkm_load(&w->since) < ms) {
                some = true;
            } else if (take(w, block)) {
                done += capacity(block);
                give_back(block);
            }
        }
        if (some)
            hkm_fetch_or(word, bit);
    }
    return done;
}

size_t hkm_bigcache_release(void) { return hkm_load(&held.bytes) ? give_back_old(0) : 0; }

void hkm_bigcache_make_way(size_t size)
{
    if (hkm_superslab_dirty() < size)
        hkm_bigcache_release();
}

HKM_COLD void hkm_bigcache_age(void)
{
    static hkm_word looked; /* ms */
    size_t all = hkm_load(&held.bytes);
    if (!all)
        return;
    const struct hkm_policy *policy = hkm_policy();
    size_t live = hkm_superslab_taken() + hkm_big_mapped(), limit;
    limit = hkm_policy_dirty_old(policy, live > all ? live - all : 0);
    if (limit == SIZE_MAX || hkm_superslab_dirty() + all <= limit)
        return;
    size_t now = hkm_os_ms(), last = hkm_load(&looked), ms = hkm_load(&policy->bigcache_ms);
    if (now - last > ms / 4 && hkm_cas(&looked, last, now))
        give_back_old(ms);
}

HKM_COLD void hkm_bigcache_recount(void)
{
    size_t sum = 0;
    for (unsigned c = 0; c < CLASSES; c++)
        if (hkm_load(&used[c / HKM_WORD_BITS]) >> c % HKM_WORD_BITS & 1)
            for (struct way *w = ways_of(c), *end = w + WAYS; w < end; w++)
                if (hkm_load(&w->block))
                    sum += capacity(hkm_load(&w->block));
    hkm_store(&held.bytes, sum);
}
