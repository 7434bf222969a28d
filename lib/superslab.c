/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * superslab.c: slots from and to the kernel.  See superslab.h.
 *
 * Locks: the pool lock guards growth and the search for runs.  Bits are taken and given by atomic operations, so single
 * slots need no lock.  A slot between two bitmaps (being purged) is in neither; a search that misses it merely maps more.
 */
#define HKM_SMALL
#include "superslab.h"
#include "lock.h"
#include "meta.h"
#include "os.h"
#include "policy.h"

#include <string.h>

struct hkm_superslab_stats hkm_superslab_stats HKM_USED;
static struct HKM_OWN_LINES { struct hkm_lock lock; } pool = { HKM_LOCK_INIT(HKM_RANK_POOL) };

enum { BITS = 8 * sizeof(size_t) };

size_t hkm_superslab_taken(void) { return hkm_load(&hkm_superslab_stats.taken) << HKM_SLOT_SHIFT; }
size_t hkm_superslab_dirty(void) { return hkm_load(&hkm_superslab_stats.dirty) << HKM_SLOT_SHIFT; }

uint16_t hkm_pages(unsigned first, unsigned pages) { return (uint16_t)(((1u << pages) - 1) << first); }
uint16_t hkm_pages_all(void) { return hkm_pages(0, (unsigned)(HKM_SLOT_SIZE >> hkm_os.page_bits)); }
uint16_t hkm_pages_of(size_t from, size_t to)
{
    unsigned a = (unsigned)(from >> hkm_os.page_bits), b = (unsigned)((to - 1) >> hkm_os.page_bits);
    return hkm_pages(a, b - a + 1);
}

static size_t words_of(const struct hkm_range *r) { return (hkm_load_acq(&r->used) + BITS - 1) / BITS; }

static size_t low_mask(size_t n) { return n >= BITS ? ~(size_t)0 : ((size_t)1 << n) - 1; }

/* Hints.  Invariant: no bit is set in a word below the hint, but for moments in which a giver is about to lower it.  The
 * giver sets the bit, then lowers the hint; the taker raises the hint, then looks again at what it skipped: all full
 * barriers, so one of the two sees the other. */
static void lower(hkm_word *hint, size_t w)
{
    size_t h;
    while ((h = hkm_load(hint)) > w && !hkm_cas(hint, h, w))
        ;
}

static hkm_word *word_at(struct hkm_range *r, size_t w, bool dirty)
{
    struct hkm_map *m = hkm_map_at(r, w);
    return dirty ? &m->dirty : &m->fresh;
}

static void raise_hint(struct hkm_range *r, bool dirty, size_t from, size_t to)
{
    hkm_word *hint = dirty ? &r->hint.dirty : &r->hint.fresh;
    if (from >= to || !hkm_cas(hint, from, to))
        return;
    for (size_t w = from; w < to; w++) {
        if (hkm_load(word_at(r, w, dirty))) {
            lower(hint, w);
            return;
        }
    }
}

static struct hkm_slab *holder(struct hkm_range *r, size_t slot)
{
    struct hkm_slab *s = hkm_slab_at(r, slot);
    if (unlikely(s->range != r)) { /* written once, so that the records of a run's slots stay in every processor's cache */
        s->start = (char *)r->base + (slot << HKM_SLOT_SHIFT);
        s->range = r;
    }
    return s;
}

/* A slot that was just taken: its pages that need not be faulted in again. */
static unsigned used_pages(const struct hkm_slab *s) { return hkm_popcount(hkm_pages_all() & (unsigned)~s->zero); }

/* All threads count in one word: once for all slots that were taken together. */
static void note_reuse(size_t slots, size_t pages)
{
    size_t all = slots << (HKM_SLOT_SHIFT - hkm_os.page_bits);
    if (pages)
        hkm_add(&hkm_superslab_stats.reused, pages);
    if (pages < all)
        hkm_add(&hkm_superslab_stats.faulted, all - pages);
}

void hkm_superslab_note_mapping(size_t bytes)
{
    hkm_add(&hkm_superslab_stats.faulted, bytes >> hkm_os.page_bits);
}

void hkm_superslab_note_unmapping(size_t bytes)
{
    hkm_add(&hkm_superslab_stats.returned, bytes >> hkm_os.page_bits);
}

/* Neighbouring slots that were just claimed. */
static void hold(struct hkm_range *r, size_t slot, size_t count)
{
    size_t pages = 0;
    for (size_t i = 0; i < count; i++)
        pages += used_pages(holder(r, slot + i));
    note_reuse(count, pages);
}

static unsigned take_from(struct hkm_range *r, bool dirty, struct hkm_slab **out, unsigned n)
{
    size_t begin = hkm_load(dirty ? &r->hint.dirty : &r->hint.fresh), words = words_of(r), w = begin;
    while (w < words) {
        size_t bits = hkm_load(word_at(r, w, dirty)), pick = 0;
        if (!bits) {
            w++;
            continue;
        }
        for (unsigned i = 0; i < n && bits; i++) {
            pick |= bits & -bits;
            bits &= bits - 1;
        }
        pick &= hkm_fetch_clear(word_at(r, w, dirty), pick);
        unsigned got = 0;
        for (; pick; pick &= pick - 1)
            out[got++] = holder(r, w * BITS + hkm_low_bit(pick));
        if (got) {
            raise_hint(r, dirty, begin, w);
            return got;
        }
    }
    raise_hint(r, dirty, begin, words);
    return 0;
}

static void fewer_dirty(size_t count)
{
    size_t left = hkm_add(&hkm_superslab_stats.dirty, -count) - count;
    if (left < hkm_load(&hkm_superslab_stats.lowest))
        hkm_store(&hkm_superslab_stats.lowest, left);
    if (unlikely(hkm_load(&hkm_superslab_stats.held) > left))
        hkm_store(&hkm_superslab_stats.held, left);
}

unsigned hkm_superslab_take(struct hkm_slab **out, unsigned n, bool dirty)
{
    if (dirty && !hkm_load(&hkm_superslab_stats.dirty))
        return 0;
    for (struct hkm_range *r = &hkm_range; r; r = hkm_range_next(r)) {
        unsigned got = r != &hkm_range_static ? take_from(r, dirty, out, n) : 0; /* see registry.h */
        if (got) {
            hkm_add(&hkm_superslab_stats.taken, got);
            if (dirty)
                fewer_dirty(got);
            size_t pages = 0;
            for (unsigned i = 0; dirty && i < got; i++)
                pages += used_pages(out[i]);
            note_reuse(got, pages);
            return got;
        }
    }
    return 0;
}

/* Sets the bits of slots that the caller holds.  Which bitmap: by their records, so this also undoes a claim. */
static size_t set_free(struct hkm_range *r, size_t slot, size_t count)
{
    size_t end = slot + count, dirty = 0;
    uint16_t clean = hkm_pages_all();
    while (slot < end) {
        size_t w = slot / BITS, d = 0, f = 0;
        for (; slot < end && slot / BITS == w; slot++) {
            size_t bit = (size_t)1 << slot % BITS;
            if (hkm_slab_at(r, slot)->zero == clean && !hkm_slab_at(r, slot)->backed)
                f |= bit;
            else
                d |= bit;
        }
        if (d) {
            hkm_add(&hkm_superslab_stats.dirty, hkm_popcount(d)); /* first, so that the count never falls below 0 */
            hkm_check(!(hkm_fetch_or(&hkm_map_at(r, w)->dirty, d) & d));
            lower(&r->hint.dirty, w);
            dirty += hkm_popcount(d);
        }
        if (f) {
            hkm_check(!(hkm_fetch_or(&hkm_map_at(r, w)->fresh, f) & f));
            lower(&r->hint.fresh, w);
        }
    }
    return dirty;
}

/* Memory that the kernel refuses to purge, because it is locked, must not cost a system call each time that something is
 * freed.  Such slots bear the number of the round in which they were refused, and as many more dirty slots may stay. */
static hkm_word purge_round = 1;

static bool is_refused(struct hkm_range *r, size_t slot)
{
    return hkm_load(&hkm_slab_at(r, slot)->refused) == hkm_load(&purge_round);
}

void hkm_superslab_retry(void)
{
    hkm_add(&purge_round, 1);
    hkm_store(&hkm_superslab_stats.refused, 0);
}

/* `held`: dirty slots of which no purge comes to anything, as others of their huge pages are in use. */
static size_t too_dirty_but(size_t keep, size_t held)
{
    size_t most = (keep >> HKM_SLOT_SHIFT) + hkm_load(&hkm_superslab_stats.refused) + held;
    size_t dirty = hkm_load(&hkm_superslab_stats.dirty);
    return dirty > most ? dirty - most : 0;
}

static size_t too_dirty(size_t keep) { return too_dirty_but(keep, hkm_load(&hkm_superslab_stats.held)); }

static hkm_word unused; /* bytes: of the taken slots, as hkm_superslab_keep was told */

/* Bytes in use, of `taken` slots. */
static size_t in_use(size_t taken)
{
    size_t all = taken << HKM_SLOT_SHIFT, idle = hkm_load(&unused);
    return all > idle ? all - idle : 0;
}

/* More than so many bytes, less one, is being given back, a piece with each slow call; 0: nothing is. */
static hkm_word aim;

static void aim_at(size_t keep)
{
    if (!hkm_load(&aim) || hkm_load(&aim) > keep + 1)
        hkm_store(&aim, keep + 1);
}

bool hkm_superslab_purging(void) { return hkm_load(&aim) != 0; }

void hkm_superslab_purge_piece(unsigned pieces)
{
    size_t keep = hkm_load(&aim) - 1;
    if (hkm_policy_dirty_limit(hkm_policy(), 0) == SIZE_MAX)
        hkm_store(&aim, 0); /* switched off in the meantime */
    else if (keep + 1 && (!hkm_superslab_purge_some(keep, pieces * HKM_POLICY_PIECE) || !too_dirty(keep)))
        hkm_store(&aim, 0);
}

/* The last purge at once: slots that it gave back, and that were taken then, and when; and until when (ms) there is none. */
static hkm_word hasty_given, hasty_taken, hasty_at, none_until;

static bool swings(const struct hkm_policy *policy)
{
    return hkm_load(&none_until) - hkm_os_ms() <= HKM_POLICY_VAIN_WAIT * hkm_policy_purge_ms(policy);
}

static void purge_at_once(size_t keep)
{
    size_t done = hkm_superslab_purge(keep);
    hkm_store(&hasty_taken, hkm_load(&hkm_superslab_stats.taken));
    hkm_store(&hasty_at, hkm_os_ms());
    hkm_store(&hasty_given, done >> HKM_SLOT_SHIFT);
}

/* So many slots were taken until just now: as much as before the last purge at once? */
static void note_swing(size_t taken)
{
    size_t ms = hkm_policy_purge_ms(hkm_policy()), now;
    if (likely(!hkm_load(&hasty_given)) || taken < hkm_load(&hasty_taken) + hkm_load(&hasty_given) / 2)
        return;
    hkm_store(&hasty_given, 0);
    now = hkm_os_ms();
    if (now - hkm_load(&hasty_at) < HKM_POLICY_VAIN * ms)
        hkm_store(&none_until, now + HKM_POLICY_VAIN_WAIT * ms);
}

/* Looks whether more is dirty than may be, and gives it back: at once what is beyond all measure, and after a while, piece by
 * piece, what is merely more than should stay, since a heap that swings soon takes it again. */
static void keep_to_limits(size_t used)
{
    static hkm_word over; /* ms, not 0: since then more was dirty than the limit; 0: it is not */
    const struct hkm_policy *policy = hkm_policy();
    size_t limit = hkm_policy_dirty_limit(policy, used), most = hkm_policy_dirty_most(policy, used, false);
    if (!too_dirty(limit)) {
        if (hkm_load(&over))
            hkm_store(&over, 0);
    } else if (too_dirty(most) && too_dirty(most = hkm_policy_dirty_most(policy, used, swings(policy)))) {
        purge_at_once(most / 4 * 3);
    } else {
        size_t now = hkm_os_ms() | 1, since = hkm_load(&over);
        if (!since) {
            hkm_store(&over, now);
        } else if (now - since >= hkm_policy_purge_ms(policy)) {
            hkm_store(&over, 0);
            aim_at(limit / 4 * 3);
        }
    }
}

void hkm_superslab_expect(void)
{
    size_t limit = hkm_policy_dirty_limit(hkm_policy(), in_use(hkm_load(&hkm_superslab_stats.taken)));
    if (too_dirty(limit))
        hkm_superslab_purge(limit / 4 * 3);
}

/* The bits of the slots that share a huge page with that one, all in one word (may_be_huge). */
static size_t page_mates(size_t slot)
{
    size_t n = hkm_load(&hkm_os.huge) >> HKM_SLOT_SHIFT;
    return low_mask(n) << (slot % BITS & ~(n - 1));
}

/* Free slots of a huge page can be purged, now that these came: they are not held any more. */
static HKM_COLD void let_go(struct hkm_range *r, size_t slot, size_t count)
{
    for (size_t i = slot; i < slot + count; i++) {
        if (hkm_slab_at(r, i)->backing != HKM_THP)
            continue;
        const struct hkm_map *m = hkm_map_at(r, i / BITS);
        size_t mates = page_mates(i), dirty = hkm_load(&m->dirty), held = hkm_load(&hkm_superslab_stats.held);
        if (((dirty | hkm_load(&m->fresh)) & mates) == mates) {
            size_t n = hkm_popcount(dirty & mates);
            hkm_store(&hkm_superslab_stats.held, held > n ? held - n : 0);
        }
        i |= (hkm_load(&hkm_os.huge) >> HKM_SLOT_SHIFT) - 1; /* the next page */
    }
}

static size_t purge_slots(struct hkm_range *r, size_t slot, size_t count);

void hkm_superslab_give(struct hkm_slab *first, size_t count)
{
    struct hkm_range *r = first->range;
    size_t slot = hkm_slab_slot(first);
    for (size_t i = 0; i < count; i++)
        hkm_tag_set(r, slot + i, &hkm_tag_none);
    if (unlikely(r == &hkm_range_static) && hkm_load(&hkm_range.used) && hkm_policy_dirty_limit(hkm_policy(), 0) != SIZE_MAX)
        hkm_superslab_note_unmapping(purge_slots(r, slot, count) << HKM_SLOT_SHIFT); /* nothing is taken there soon */
    size_t taken = hkm_add(&hkm_superslab_stats.taken, -count) - count;
    size_t dirty = set_free(r, slot, count);
    if (unlikely(hkm_load(&hkm_superslab_stats.held)))
        let_go(r, slot, count);
    if (dirty) {
        note_swing(taken + count);
        keep_to_limits(in_use(taken));
        hkm_superslab_purge_piece(1);
    }
}

void hkm_superslab_keep(size_t idle)
{
    static hkm_word looked; /* ms; nothing is known of what was needed before the first time */
    const struct hkm_policy *policy = hkm_policy();
    hkm_store(&unused, idle);
    size_t now = hkm_os_ms(), waited = now - hkm_load(&looked), dirty, least, spare;
    keep_to_limits(in_use(hkm_load(&hkm_superslab_stats.taken)));
    if (waited < hkm_policy_purge_ms(policy))
        return;
    hkm_store(&looked, now);
    dirty = hkm_load(&hkm_superslab_stats.dirty);
    least = hkm_load(&hkm_superslab_stats.lowest); /* so many were not needed */
    spare = hkm_policy_spare(policy, least < dirty ? least : dirty, waited);
    if (spare)
        aim_at((dirty - spare) << HKM_SLOT_SHIFT);
    hkm_store(&hkm_superslab_stats.lowest, dirty);
}

/* Clears the bits of `count` slots from `slot` on, in both bitmaps; all or nothing. */
static bool claim(struct hkm_range *r, size_t slot, size_t count)
{
    size_t at = slot, end = slot + count;
    while (at < end) {
        size_t w = at / BITS, first = at % BITS, n = BITS - first < end - at ? BITS - first : end - at;
        size_t mask = low_mask(n) << first, d = 0, f = 0;
        if (((hkm_load(&hkm_map_at(r, w)->dirty) | hkm_load(&hkm_map_at(r, w)->fresh)) & mask) == mask) {
            d = hkm_fetch_clear(&hkm_map_at(r, w)->dirty, mask) & mask;
            f = hkm_fetch_clear(&hkm_map_at(r, w)->fresh, mask & ~d) & mask & ~d;
            fewer_dirty(hkm_popcount(d));
        }
        if ((d | f) != mask) { /* somebody was faster: put back what we hold */
            for (size_t got = d | f; got; got &= got - 1)
                set_free(r, w * BITS + hkm_low_bit(got), 1);
            set_free(r, slot, at - slot);
            return false;
        }
        at += n;
    }
    hkm_add(&hkm_superslab_stats.taken, count);
    return true;
}

static unsigned ones_below(size_t bits) { return ~bits ? hkm_low_bit(~bits) : BITS; }  /* at the low end of a word */
static unsigned ones_above(size_t bits) { return ~bits ? BITS - 1 - hkm_high_bit(~bits) : BITS; } /* at its high end */

/* Whether `count` neighbouring bits are set in a word. */
static bool has_run(size_t bits, size_t count)
{
    if (count > BITS)
        return false;
    for (size_t n = count, half; n > 1 && bits; n -= half) { /* a bit stays where ever more of its upper neighbours are set */
        half = n / 2;
        bits &= bits >> half;
    }
    return bits != 0;
}

/* First free run of that length in a range; SIZE_MAX: none.  Only a look: claim decides.  The pool lock is held, and a large
 * heap has many words with short holes: each of these is passed by in a few steps, however many holes it has. */
static size_t find_run(struct hkm_range *r, size_t count, size_t align)
{
    size_t words = words_of(r), start = 0, len = 0, align_first = (r->base >> HKM_SLOT_SHIFT) & (align - 1);
    size_t d = hkm_load(&r->hint.dirty), f = hkm_load(&r->hint.fresh);
    for (size_t w = d < f ? d : f; w < words; w++) {
        size_t bits = hkm_load(&hkm_map_at(r, w)->dirty) | hkm_load(&hkm_map_at(r, w)->fresh);
        if (len + ones_below(bits) < count && !has_run(bits, count)) {
            unsigned above = ones_above(bits);
            if (!len || above < BITS)
                start = (w + 1) * BITS - above;
            len = above < BITS ? above : len + BITS;
            continue;
        }
        for (unsigned pos = 0; pos < BITS;) {
            size_t rest = bits >> pos;
            if (!(rest & 1)) {
                len = 0;
                pos += rest ? hkm_low_bit(rest) : BITS - pos;
                continue;
            }
            unsigned ones = ~rest ? hkm_low_bit(~rest) : BITS;
            if (!len)
                start = w * BITS + pos;
            len += ones;
            pos += ones;
            size_t from = hkm_round_up(start + align_first, align) - align_first;
            if (from + count <= start + len)
                return from;
        }
    }
    return SIZE_MAX;
}

static bool grow_locked(size_t need);
static void add_fresh(struct hkm_range *r, size_t count, enum hkm_backing backing);

struct hkm_slab *hkm_superslab_run(size_t count, size_t align)
{
    struct hkm_range *found = NULL;
    size_t slot = 0;
    hkm_lock(&pool.lock);
    bool all = !hkm_load(&hkm_range.used); /* the static range, too */
    if (unlikely(all) && count <= HKM_STATIC_SLOTS && hkm_registry_lay_static())
        add_fresh(&hkm_range_static, HKM_STATIC_SLOTS, HKM_PLAIN);
    for (int tries = 0; !found && tries < 64; tries++) {
        bool raced = false; /* there was a run, but somebody took a slot of it: look again before mapping more */
        for (struct hkm_range *r = &hkm_range; r && !found; r = hkm_range_next(r)) {
            slot = r->limit && (all || r != &hkm_range_static) ? find_run(r, count, align) : SIZE_MAX;
            if (slot == SIZE_MAX)
                continue;
            if (claim(r, slot, count))
                found = r;
            else
                raced = true;
        }
        if (!found && !raced && !grow_locked(count + align - 1)) {
            if (all)
                break;
            all = true; /* better than nothing */
        }
    }
    hkm_unlock(&pool.lock);
    if (!found)
        return NULL;
    hold(found, slot, count); /* they are ours by now: no need to make others wait */
    return hkm_slab_at(found, slot);
}

/* Where the kernel counts what may be written to (RLIMIT_AS, RLIMIT_DATA, strict overcommit), free slots may hold all that it
 * allows.  They are marked as a stranger's before anything is changed: what a fork in between leaves undone is lost, no more. */
HKM_COLD bool hkm_superslab_cede(void)
{
    enum { MANY = 8 };
    size_t page = hkm_os.page, count = MANY;
    struct hkm_slab *s = hkm_superslab_run(count, 1);
    if (!s)
        s = hkm_superslab_run(count = 1 + (2 * page >> HKM_SLOT_SHIFT), 1);
    if (!s)
        return false;
    size_t slot = hkm_slab_slot(s), bytes = (count << HKM_SLOT_SHIFT) - 2 * page;
    char *low = s->start, *p = low + page, *high = p + bytes;
    bool ok = true;
    for (size_t i = 0; i < count; i++) {
        ok = ok && hkm_slab_at(s->range, slot + i)->backing == HKM_PLAIN;
        hkm_tag_set(s->range, slot + i, &hkm_tag_stranger);
    }
    ok = ok && hkm_os_forbid(low, page);
    if (!ok || !hkm_os_forbid(high, page)) { /* huge pages, or no mapping left for it */
        if (ok)
            hkm_os_allow(low, page);
        hkm_superslab_give(s, count);
        return false;
    }
    if (!hkm_os_purge(p, bytes))
        memset(p, 0, bytes);
    hkm_add(&hkm_superslab_stats.taken, -count);
    hkm_add(&hkm_superslab_stats.mapped, -count);
    hkm_meta_adopt(p, bytes);
    return true;
}

HKM_COLD void hkm_superslab_open(void)
{
    hkm_lock(&pool.lock);
    hkm_registry_open();
    hkm_unlock(&pool.lock);
}

bool hkm_superslab_run_extend(struct hkm_slab *first, size_t count, size_t more)
{
    struct hkm_range *r = first->range;
    size_t slot = hkm_slab_slot(first) + count;
    hkm_lock(&pool.lock);
    bool ok = slot + more <= hkm_load(&r->used) && claim(r, slot, more);
    hkm_unlock(&pool.lock);
    if (ok)
        hold(r, slot, more);
    return ok;
}

/* Makes `count` slots known that were just mapped at the end of the used part. */
static void add_fresh(struct hkm_range *r, size_t count, enum hkm_backing backing)
{
    size_t slot = hkm_load(&r->used), end = slot + count;
    uint16_t clean = hkm_pages_all();
    for (size_t i = slot; i < end; i++) {
        hkm_slab_at(r, i)->zero = clean;
        if (backing != HKM_PLAIN)
            hkm_slab_at(r, i)->backing = (uint8_t)backing;
    }
    if (backing != HKM_PLAIN)
        hkm_add(&hkm_superslab_stats.huge, count);
    hkm_registry_extend(r, count, &hkm_tag_none);
    hkm_add(&hkm_superslab_stats.mapped, count);
    for (size_t w = slot / BITS; w * BITS < end; w++) {
        size_t from = w * BITS > slot ? 0 : slot % BITS, to = end - w * BITS < BITS ? end - w * BITS : BITS;
        hkm_fetch_or(&hkm_map_at(r, w)->fresh, low_mask(to) & ~low_mask(from));
        lower(&r->hint.fresh, w);
    }
}

/* No huge pages in newly mapped slots: otherwise khugepaged would fill in again what was purged.  As long as there is less
 * than a huge page in a row at the low end, nothing needs to be said, which saves small processes the call. */
static void no_huge(struct hkm_range *r, size_t slot, size_t count)
{
    if (slot == r->plain && (slot + count) << HKM_SLOT_SHIFT <= HKM_POLICY_FIRST) {
        r->plain += count;
        return;
    }
    if (r->plain)
        hkm_os_no_huge((char *)r->base, r->plain << HKM_SLOT_SHIFT);
    r->plain = 0;
    hkm_os_no_huge((char *)r->base + (slot << HKM_SLOT_SHIFT), count << HKM_SLOT_SHIFT);
}

static void note_fallback(void) { hkm_add(&hkm_superslab_stats.huge_fallbacks, 1); }

static enum hkm_backing fall_back(void)
{
    note_fallback();
    return HKM_PLAIN;
}

/* Maps `count` slots `skip` slots after the used part. */
static enum hkm_mapped map_slots(struct hkm_range *r, size_t skip, size_t count, enum hkm_backing backing)
{
    size_t used = hkm_load(&r->used);
    if (used + skip + count > r->limit)
        return HKM_TAKEN;
    enum hkm_mapped result = hkm_registry_describe(r, used + skip + count);
    if (result != HKM_MAPPED)
        return result;
    char *at = (char *)r->base + ((used + skip) << HKM_SLOT_SHIFT);
    size_t bytes = count << HKM_SLOT_SHIFT;
    result = backing == HKM_HUGETLB ? hkm_os_map_huge_at(at, bytes) : hkm_os_map_at(at, bytes);
    if (result == HKM_MAPPED) {
        if (backing == HKM_THP && !hkm_os_huge(at, bytes))
            backing = fall_back();
        if (backing == HKM_PLAIN)
            no_huge(r, used + skip, count);
        hkm_registry_extend(r, skip, &hkm_tag_stranger);
        add_fresh(r, count, backing);
    }
    return result;
}

/* A huge page is to lie in one word of the bitmaps, and at a border of it; ranges are aligned to 2 MiB.  (Those of 32 MiB
 * and more, which kernels with larger pages have, are for big blocks alone.) */
static bool may_be_huge(void)
{
    size_t huge = hkm_load_acq(&hkm_os.huge);
    return huge >= HKM_SLOT_SIZE && huge <= (size_t)2 << 20;
}
_Static_assert((2 << 20) / HKM_SLOT_SIZE <= BITS, "a word has the slots of a huge page");

/* Maps at least `want` slots in huge pages; those up to the border of the first one are plain. */
static enum hkm_mapped map_huge(struct hkm_range *r, size_t need, size_t want)
{
    enum hkm_mapped result = HKM_MAPPED;
    size_t unit = hkm_load(&hkm_os.huge) >> HKM_SLOT_SHIFT, gap = -hkm_load(&r->used) & (unit - 1);
    if (gap)
        result = map_slots(r, 0, gap, HKM_PLAIN);
    if (result != HKM_MAPPED)
        return result;
    need = hkm_round_up(need, unit);
    want = hkm_round_up(want, unit);
    if (hkm_policy_huge_kind(hkm_policy()) == HKM_HUGE_TLB) {
        result = map_slots(r, 0, want, HKM_HUGETLB);
        if (result != HKM_MAPPED && need < want)
            result = map_slots(r, 0, need, HKM_HUGETLB);
        if (result == HKM_MAPPED)
            return result;
        note_fallback();
    }
    return map_slots(r, 0, want, hkm_load(&hkm_os.thp) ? HKM_THP : fall_back());
}

static bool grow_locked(size_t need)
{
    if (need > SIZE_MAX >> (HKM_SLOT_SHIFT + 1))
        return false;
    size_t mapped = hkm_load(&hkm_range.used) ? hkm_load(&hkm_superslab_stats.mapped) << HKM_SLOT_SHIFT : 0;
    const struct hkm_policy *policy = hkm_policy();
    size_t want = hkm_policy_growth(policy, mapped, need << HKM_SLOT_SHIFT) >> HKM_SLOT_SHIFT;
    size_t taken = hkm_load(&hkm_superslab_stats.taken) << HKM_SLOT_SHIFT;
    bool huge = may_be_huge() && hkm_policy_huge(policy, mapped, taken, need << HKM_SLOT_SHIFT);
    for (int tries = 0; tries < 4; tries++) {
        struct hkm_range *r = hkm_registry_room(need);
        if (!r)
            return false;
        size_t room = r->limit - hkm_load(&r->used);
        enum hkm_mapped result = huge ? map_huge(r, need, want) : HKM_TAKEN;
        if (result != HKM_MAPPED)
            result = map_slots(r, 0, want < room ? want : room, HKM_PLAIN);
        if (result != HKM_MAPPED)
            result = map_slots(r, 0, need, HKM_PLAIN); /* less is better than nothing */
        /* Something strange stands in the way: step over it, with ever longer steps, up to 4 GiB. */
        for (size_t skip = 1; result == HKM_TAKEN && skip <= 1 << 16 && skip + need <= room; skip *= 2)
            result = map_slots(r, skip, need, HKM_PLAIN);
        if (result == HKM_MAPPED) {
            if (hkm_load(&hkm_superslab_stats.refused))
                hkm_superslab_retry();
            return true;
        }
        if (result == HKM_NO_MEMORY)
            return false;
        r->limit = hkm_load(&r->used); /* blocked for good: the next try makes a new range */
    }
    return false;
}

bool hkm_superslab_grow(size_t need)
{
    size_t seen = hkm_load(&hkm_superslab_stats.mapped);
    hkm_lock(&pool.lock);
    /* Threads that find nothing left come here together: what the first of them maps is for all. */
    bool ok = hkm_load(&hkm_superslab_stats.mapped) >= seen + need || grow_locked(need);
    hkm_unlock(&pool.lock);
    return ok;
}

static void note_purge(size_t bytes)
{
    hkm_add(&hkm_superslab_stats.purged, bytes);
    hkm_add(&hkm_superslab_stats.purges, 1);
}

static void refuse(struct hkm_range *r, size_t slot)
{
    if (!is_refused(r, slot)) {
        hkm_store(&hkm_slab_at(r, slot)->refused, hkm_load(&purge_round));
        hkm_add(&hkm_superslab_stats.refused, 1);
    }
}

/* Purges neighbouring slots that the caller holds.  Returns how many; the others are marked as refused. */
static size_t purge_slots(struct hkm_range *r, size_t slot, size_t count)
{
    size_t bytes = count << HKM_SLOT_SHIFT, done = 0;
    if (hkm_os_purge((char *)r->base + (slot << HKM_SLOT_SHIFT), bytes)) {
        note_purge(bytes);
        for (size_t i = 0; i < count; i++) {
            hkm_slab_at(r, slot + i)->zero = hkm_pages_all();
            hkm_slab_at(r, slot + i)->backed = 0;
        }
        return count;
    }
    if (count > 1 && hkm_slab_at(r, slot)->backing == HKM_PLAIN) { /* some of them, perhaps */
        for (size_t i = 0; i < count; i++)
            done += purge_slots(r, slot + i, 1);
        return done;
    }
    for (size_t i = slot; i < slot + count; i++)
        refuse(r, i);
    return 0;
}

/* Of dirty free slots of a word, those in huge pages of which other slots are in use, or that are never given back. */
static size_t held_ones(struct hkm_range *r, size_t w, size_t dirty)
{
    size_t free = dirty | hkm_load(&hkm_map_at(r, w)->fresh), held = 0;
    for (size_t left = dirty; left; left &= left - 1) {
        size_t slot = w * BITS + hkm_low_bit(left);
        unsigned backing = hkm_slab_at(r, slot)->backing;
        if (backing == HKM_PLAIN)
            continue;
        size_t mates = page_mates(slot);
        if (backing == HKM_HUGETLB || (free & mates) != mates)
            held |= dirty & mates;
        left = (left & ~mates) | (left & -left);
    }
    return held;
}

/* Dirty free slots of a word that can be purged; none that were refused.  Counts those that cannot. */
static size_t candidates(struct hkm_range *r, size_t w, size_t *count_held)
{
    size_t bits = hkm_load(&hkm_map_at(r, w)->dirty);
    if (unlikely(hkm_load(&hkm_superslab_stats.huge))) {
        size_t held = held_ones(r, w, bits);
        *count_held += hkm_popcount(held);
        bits &= ~held;
    }
    if (unlikely(hkm_load(&hkm_superslab_stats.refused)))
        for (size_t left = bits; left; left &= left - 1)
            if (is_refused(r, w * BITS + hkm_low_bit(left)))
                bits &= ~(left & -left);
    return bits;
}

/* What is being purged is in neither bitmap.  It is noted here, so that the child of a fork that came in between can put it
 * back.  Under `busy`. */
static struct {
    hkm_word busy; /* generation + 1 of the purging process: one thread at a time is enough */
    struct hkm_range *range;
    size_t word;
    hkm_word bits;
} purging;

/* Those of a huge page: all of its slots, fresh ones as well, or none.  Bytes. */
static size_t purge_huge(struct hkm_range *r, size_t w, size_t mates)
{
    struct hkm_map *m = hkm_map_at(r, w);
    size_t first = w * BITS + hkm_low_bit(mates), done = 0;
    size_t got = hkm_fetch_clear(&m->dirty, mates) & mates;
    fewer_dirty(hkm_popcount(got));
    hkm_store_rel(&purging.bits, got);
    got |= hkm_fetch_clear(&m->fresh, mates & ~got) & mates & ~got;
    hkm_store_rel(&purging.bits, got);
    if (got == mates)
        done = purge_slots(r, first, hkm_popcount(mates)) << HKM_SLOT_SHIFT;
    hkm_store_rel(&purging.bits, 0);
    for (; got; got &= got - 1)
        set_free(r, w * BITS + hkm_low_bit(got), 1);
    return done;
}

/* Some slots of one word, each run of neighbours by one call.  Bytes. */
static size_t purge_word(struct hkm_range *r, size_t w, size_t bits)
{
    size_t done = 0;
    purging.range = r;
    purging.word = w;
    if (unlikely(hkm_load(&hkm_superslab_stats.huge))) {
        for (size_t left = bits; left; left &= left - 1) {
            size_t slot = w * BITS + hkm_low_bit(left);
            if (hkm_slab_at(r, slot)->backing == HKM_PLAIN)
                continue;
            size_t mates = page_mates(slot);
            done += purge_huge(r, w, mates);
            bits &= ~mates;
            left = (left & ~mates) | (left & -left);
        }
    }
    bits &= hkm_fetch_clear(&hkm_map_at(r, w)->dirty, bits);
    fewer_dirty(hkm_popcount(bits));
    hkm_store_rel(&purging.bits, bits);
    while (bits) {
        unsigned first = hkm_low_bit(bits);
        size_t rest = ~(bits >> first);
        unsigned n = rest ? hkm_low_bit(rest) : BITS;
        done += purge_slots(r, w * BITS + first, n) << HKM_SLOT_SHIFT;
        bits &= ~(low_mask(n) << first);
        hkm_store_rel(&purging.bits, bits);
        set_free(r, w * BITS + first, n);
    }
    return done;
}

static size_t highest(size_t bits, size_t n)
{
    for (size_t have = hkm_popcount(bits); have > n; have--)
        bits &= bits - 1;
    return bits;
}

size_t hkm_superslab_purge_some(size_t keep, size_t slots)
{
    size_t gen = hkm_generation() + 1, was = hkm_load(&purging.busy), done = 0;
    if (was == gen || !hkm_cas(&purging.busy, was, gen))
        return HKM_PURGE_BUSY;
    size_t lost = hkm_load(&purging.bits);
    if (unlikely(lost)) { /* by a thread that a fork left behind */
        hkm_store(&purging.bits, 0);
        for (; lost; lost &= lost - 1)
            set_free(purging.range, purging.word * BITS + hkm_low_bit(lost), 1);
    }
    size_t held = 0;
    for (struct hkm_range *r = &hkm_range; r && too_dirty_but(keep, held); r = hkm_range_next(r))
        for (size_t w = words_of(r); w-- > 0 && done >> HKM_SLOT_SHIFT < slots && too_dirty_but(keep, held);) {
            size_t bits = candidates(r, w, &held);
            if (bits)
                done += purge_word(r, w, highest(bits, slots - (done >> HKM_SLOT_SHIFT)));
        }
    if (done >> HKM_SLOT_SHIFT < slots || held > hkm_load(&hkm_superslab_stats.held)) /* else only a part was looked at */
        hkm_store(&hkm_superslab_stats.held, held);
    hkm_store_rel(&purging.busy, 0);
    hkm_superslab_note_unmapping(done);
    return done;
}

bool hkm_superslab_refused(const struct hkm_slab *s) { return is_refused(s->range, hkm_slab_slot(s)); }

/* First the memory goes, then it is said to be zero.  The child of a fork that comes in between does not know of the zeros,
 * which is no harm; and it cannot know of them and have the memory: the kernel copies nothing while it purges, and where it
 * locks mapping by mapping, it copies the records first, which lie below the slots. */
size_t hkm_superslab_purge_pages(struct hkm_slab *s, unsigned first, size_t pages)
{
    size_t bytes = pages << hkm_os.page_bits, in_slot = HKM_SLOT_SIZE >> hkm_os.page_bits, done = 0;
    if (s->backing != HKM_PLAIN)
        return 0;
    bool ok = hkm_os_purge(s->start + ((size_t)first << hkm_os.page_bits), bytes);
    if (ok) {
        note_purge(bytes);
        done = bytes;
    } else if (first + pages <= in_slot) {
        refuse(s->range, hkm_slab_slot(s));
        return 0;
    }
    while (pages) {
        size_t n = first + pages <= in_slot ? pages : in_slot - first;
        if (ok) {
            s->zero |= hkm_pages(first, (unsigned)n);
            s->backed &= (uint16_t)~hkm_pages(first, (unsigned)n);
            s->step = 0;
        } else { /* some slots, perhaps */
            done += hkm_superslab_purge_pages(s, first, n);
        }
        pages -= n;
        first = 0;
        s = hkm_slab_after(s, 1);
    }
    return done;
}

void hkm_superslab_prefault(struct hkm_slab *s, uint16_t pages)
{
    size_t bare = s->zero & (uint16_t)~s->backed & hkm_pages_of(0, (size_t)s->blocks * s->size); /* not what is left over */
    hkm_assert(s->backing == HKM_PLAIN && (pages & bare));
    unsigned first = hkm_low_bit(pages & bare), n = hkm_low_bit(~(bare >> first)), now = hkm_low_bit(~((size_t)pages >> first));
    unsigned most = s->step > now ? s->step : now; /* all that is handed out, at least */
    if (n > most)
        n = most;
    if (n < 2) /* a fault costs less */
        return;
    size_t bytes = (size_t)n << hkm_os.page_bits;
    enum hkm_populated result = hkm_os_populate(s->start + ((size_t)first << hkm_os.page_bits), bytes);
    if (result != HKM_UNKNOWN) /* refused in the middle of it, perhaps */
        s->backed |= hkm_pages(first, n);
    if (result == HKM_POPULATED) {
        hkm_add(&hkm_superslab_stats.prefaulted, bytes);
    } else {
        hkm_add(&hkm_superslab_stats.prefault_fallbacks, 1);
        s->step = 0;
    }
}

uint16_t hkm_superslab_backed(struct hkm_range *r, size_t slot)
{
    const struct hkm_slab *s = hkm_slab_at(r, slot);
    if (s->backing == HKM_PLAIN)
        return (uint16_t)((~hkm_peek(s->zero) | hkm_peek(s->backed)) & hkm_pages_all());
    size_t mates = page_mates(slot), fresh = hkm_load(&hkm_map_at(r, slot / BITS)->fresh);
    return (fresh & mates) == mates ? 0 : hkm_pages_all();
}

size_t hkm_superslab_huge_unit(size_t bytes, bool dense)
{
    size_t huge = hkm_os_huge_size();
    switch (hkm_policy_huge_kind(hkm_policy())) {
    case HKM_HUGE_NO:
        return 0;
    case HKM_HUGE_GROWN: /* what is left of the last one is an eighth at most */
        return dense && bytes / 8 >= huge ? huge : 0;
    default:
        return hkm_load(&hkm_os.thp) && bytes >= huge ? huge : 0;
    }
}

void hkm_superslab_huge(void *addr, size_t bytes)
{
    if (!hkm_os_huge(addr, bytes))
        note_fallback();
}
