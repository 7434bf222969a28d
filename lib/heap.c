/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * heap.c: a thread's heap.  See heap.h.
 *
 * A slab's owner changes away from a heap only under that heap's lock, and only when no cache holds blocks of the slab:
 * a parked heap's cache is empty.
 */
#include "heap.h"
#include "meta.h"
#include "os.h"
#include "policy.h"
#include "shared_pool.h"
#include "superslab.h"

#include <string.h>

const struct hkm_bin hkm_bin_none = { .tag = { .kind = HKM_KIND_NONE } };
#define NONE ((struct hkm_bin *)(uintptr_t)&hkm_bin_none)

/* A cache starts with room for 5 blocks, which with the bin's head makes two cache lines, and grows by four times.  LEAN
 * is the smallest: one place must stay free, so it holds one block. */
static const uint16_t caps[HKM_CAPS] = { 5, 29, 125, 509 };
#define FIRST_CAP caps[0]
#define PARKED_CAP caps[1]
enum { LEAN = 2 };

static size_t bin_bytes(unsigned cap)
{
    return hkm_round_up(offsetof(struct hkm_bin, slots) + (cap + 1) * sizeof(void *), 64);
}

static void rebuild(struct hkm_heap *h);

static void lock_heap(struct hkm_heap *h)
{
    if (unlikely(hkm_lock(&h->lock)))
        rebuild(h);
}

/* Between these two, a bin is in a state in which nobody may find it: its places and its counts, or what it holds and what
 * is free in the slabs, do not agree.  The child of a fork that comes there forgets what is in that bin, and in no other. */
static void change(struct hkm_bin *b)
{
    b->heap->changing = b;
    hkm_in_order();
}
static void changed(struct hkm_bin *b)
{
    hkm_in_order();
    b->heap->changing = NULL;
}

static hkm_word all; /* the newest heap, linked by `next`; push only */
static hkm_word heaps; /* how many */
HKM_SHOWN(all, hkm_heap_newest);
HKM_SHOWN(heaps, hkm_heap_number);

size_t hkm_heap_count(void) { return hkm_load(&heaps); }
struct hkm_heap *hkm_heap_first(void) { return (struct hkm_heap *)hkm_load_acq(&all); }

static void enlist(struct hkm_heap *h)
{
    size_t head;
    hkm_add(&heaps, 1);
    do {
        head = hkm_load(&all);
        h->next = (struct hkm_heap *)head;
    } while (!hkm_cas(&all, head, (size_t)h)); /* pairs with the acquire above */
}

/* Where the sizes of a small class begin in the map. */
static unsigned first_map(unsigned cls) { return cls ? hkm_class[cls - 1].size + 16 : 0; }

HKM_COLD struct hkm_heap *hkm_heap_new(void)
{
    struct hkm_heap *h = hkm_meta_alloc(HKM_HEAP_SIZE + sizeof(struct hkm_remote), 64);
    if (!h)
        return NULL;
    for (unsigned c = 0; c < HKM_TINY_CLASSES; c++) {
        h->at[c] = NONE;
        for (unsigned i = first_map(c); i < first_map(c + 1); i += 16)
            memset(&h->map[i], (int)c, 16);
    }
    h->lock.rank = HKM_RANK_HEAP;
    h->bump = (char *)h + hkm_round_up(sizeof *h, 64);
    hkm_store(&h->generation, hkm_generation());
    enlist(h);
    return h;
}

/* ---- the budget of all caches ----------------------------------------------------------------------------------- */

/* Caches grow only as far as all of them together stay within the budget.  Nobody may touch the cache of another thread,
 * so one that is idle keeps its share until its thread comes here again, or ends; the others must do with the rest. */
static struct HKM_OWN_LINES { hkm_word allowed; } all_heaps; /* bytes: the sum over all heaps that are `charged` */
HKM_SHOWN(all_heaps, hkm_heap_all_allowed);

size_t hkm_heap_allowed(void) { return hkm_load(&all_heaps.allowed); }

static size_t budget(void)
{
    return hkm_policy_cache_limit(hkm_policy(), hkm_load(&hkm_superslab_stats.mapped) << HKM_SLOT_SHIFT);
}

static size_t share(unsigned cls, unsigned cap) { return cap > LEAN ? (size_t)cap * hkm_class[cls].size : 0; }

static bool charge(struct hkm_heap *h, size_t bytes)
{
    if (h->charged && hkm_add(&all_heaps.allowed, bytes) + bytes > budget()) {
        hkm_add(&all_heaps.allowed, -bytes);
        hkm_count(&h->denied, 1);
        return false;
    }
    h->allowed += bytes;
    return true;
}

static void discharge(struct hkm_heap *h, size_t bytes)
{
    h->allowed -= bytes;
    if (h->charged)
        hkm_add(&all_heaps.allowed, -bytes);
}

/* Brings all blocks of a bin into its array. */
static void lay_out(struct hkm_bin *b)
{
    if (b->first) {
        b->slots[b->cap - 1] = b->first; /* its place; nobody looks there while there is a first one */
        hkm_in_order();
        b->first = NULL;
    }
}

/* Gives a bin another cap, within the places that it has. */
static void set_cap(struct hkm_bin *b, unsigned cap)
{
    unsigned n = b->cap - b->room;
    hkm_assert(cap <= b->places && n < cap);
    change(b);
    lay_out(b);
    memmove(&b->slots[cap - n], &b->slots[b->room], n * sizeof(void *));
    b->slots[cap] = NULL;
    b->cap = (uint16_t)cap;
    b->room = cap - n;
    changed(b);
    b->misses = 0;
}

static void shrink(struct hkm_heap *h, unsigned cls, unsigned cap)
{
    size_t less = share(cls, h->bin[cls]->cap) - share(cls, cap);
    set_cap(h->bin[cls], cap);
    discharge(h, less); /* afterwards: a fork's child, which may come here again, must not give it back a second time */
}

/* ---- runs --------------------------------------------------------------------------------------------------------- */

bool hkm_heap_keep_run(struct hkm_heap *h, struct hkm_slab *s)
{
    struct hkm_runs *c = &h->runs;
    size_t patience = hkm_policy_run_patience(hkm_policy());
    /* It is enlarged where runs come and go that it has no room for; not where many are just freed. */
    if (s->run > HKM_RUN_SLOTS || c->allowed == HKM_RUN_SLOTS_KEPT || h->run_frees++ < patience ||
        (c->allowed && h->run_misses < patience))
        return false;
    h->run_frees = h->run_misses = 0;
    if (!charge(h, HKM_RUN_MAX))
        return false;
    hkm_mid_allow(c, HKM_RUN_SLOTS);
    return hkm_mid_push(c, s);
}

size_t hkm_heap_release_runs(struct hkm_heap *h)
{
    struct hkm_runs *c = &h->runs;
    size_t slots = hkm_mid_drain(c, HKM_RUN_SLOTS + 1), allowed = c->allowed;
    if (allowed) {
        c->allowed = c->room = 0;
        hkm_in_order(); /* the child of a fork must not give it back a second time */
        discharge(h, allowed << HKM_SLOT_SHIFT);
        h->run_frees = h->run_misses = 0;
    }
    return slots;
}

/* The heap gets or loses its thread; its caches are empty when it gets one. */
static void count_in(struct hkm_heap *h, bool in)
{
    if (h->charged == in)
        return;
    h->charged = in;
    if (!in) {
        hkm_add(&all_heaps.allowed, -h->allowed);
    } else if (hkm_add(&all_heaps.allowed, h->allowed) + h->allowed > budget()) {
        for (unsigned c = 0; c < HKM_CLASSES; c++)
            if (h->bin[c] && h->bin[c]->cap > LEAN && h->bin[c]->room == h->bin[c]->cap)
                shrink(h, c, LEAN);
    }
}

void hkm_heap_recount(void)
{
    size_t sum = 0;
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
        sum += h->charged ? h->allowed : 0;
    hkm_store(&all_heaps.allowed, sum);
}

HKM_COLD void hkm_heap_assign(struct hkm_heap *h, uintptr_t thread)
{
    count_in(h, thread != 0);
    hkm_store(&h->thread, thread);
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        if (h->bin[c])
            hkm_store(&h->bin[c]->tag.thread, thread);
}

/* ---- bins ------------------------------------------------------------------------------------------------------- */

static void *bin_memory(struct hkm_heap *h, size_t bytes)
{
    for (unsigned i = 0; i < HKM_CAPS; i++) {
        struct hkm_bin *b = h->old[i];
        if (b && bytes <= bin_bytes(caps[i]) && bytes > bin_bytes(caps[i]) / 4) {
            h->old[i] = b->slots[0];
            return b;
        }
    }
    /* The first bin of a class must always find room. */
    size_t left = (size_t)((char *)h + HKM_HEAP_SIZE - h->bump);
    if (left < bytes + (bytes > bin_bytes(FIRST_CAP) ? HKM_CLASSES * bin_bytes(FIRST_CAP) : 0))
        return NULL;
    void *p = h->bump;
    h->bump += bytes;
    return p;
}

static void retag(const struct hkm_slab *list, struct hkm_tag *tag)
{
    for (const struct hkm_slab *s = list; s; s = s->next)
        hkm_tag_set(s->range, hkm_slab_slot(s), tag);
}

/* Sizes of small classes find their bin. */
static void place_bin(struct hkm_heap *h, unsigned cls)
{
    if (cls < HKM_TINY_CLASSES)
        h->at[cls] = h->bin[cls];
}

/* Makes a bin of `cap` places for a class, or moves the one that there is.  NULL: this heap has no room for it.  Lock. */
static struct hkm_bin *make_bin(struct hkm_heap *h, unsigned cls, unsigned cap)
{
    struct hkm_bin *was = h->bin[cls], *b = bin_memory(h, bin_bytes(cap));
    if (!b)
        return was;
    b->cap = b->places = (uint16_t)cap;
    b->misses = 0;
    b->heap = h;
    b->size = hkm_class[cls].size;
    b->end = b->size * hkm_class[cls].blocks;
    b->first = b->slots[cap] = NULL;
    b->room = cap;
    b->tag.magic = hkm_class[cls].magic;
    if (b->tag.kind != HKM_KIND_SLAB) /* of an outgrown bin others may still be reading it */
        b->tag.kind = HKM_KIND_SLAB;
    b->tag.cls = (uint8_t)cls;
    if (was) {
        unsigned n = was->cap - was->room;
        lay_out(was);
        memmove(&b->slots[cap - n], &was->slots[was->room], n * sizeof(void *));
        b->room = cap - n;
        hkm_store(&was->tag.thread, 0); /* before the new one takes over: nobody pushes into both */
    }
    hkm_store(&b->tag.thread, hkm_load(&h->thread));
    hkm_in_order(); /* it is whole before it is found */
    h->bin[cls] = b;
    place_bin(h, cls);
    retag(h->tiny[cls].partial, &b->tag);
    retag(h->tiny[cls].full, &b->tag);
    if (was) {
        for (unsigned i = 0; i < HKM_CAPS; i++) {
            if (was->places == caps[i]) {
                was->slots[0] = h->old[i];
                hkm_in_order(); /* nobody finds a block where a bin is to be */
                h->old[i] = was;
            }
        }
    }
    return b;
}

/* The bin of a class, larger than before when it is busy.  NULL only when there is none and no room for one.  Lock. */
static struct hkm_bin *ready_bin(struct hkm_heap *h, unsigned cls)
{
    const struct hkm_policy *policy = hkm_policy();
    struct hkm_bin *b = h->bin[cls];
    unsigned cap = b ? b->cap : 0, most = hkm_class[cls].most, next = cap;
    if (!b)
        next = most < FIRST_CAP ? most : FIRST_CAP;
    else if (b->misses++ >= hkm_policy_patience(policy, cap) && cap < most)
        next = hkm_policy_cache_growth(policy, cap, most);
    if (next == cap)
        return b;
    size_t more = share(cls, next) - share(cls, cap);
    if (!charge(h, more)) {
        if (b)
            return b;
        next = LEAN;
        more = 0;
    }
    if (b && next <= b->places)
        set_cap(b, next);
    else
        b = make_bin(h, cls, next);
    if (!b || b->cap == cap) /* no room for it */
        discharge(h, more);
    return b;
}

/* ---- slots ------------------------------------------------------------------------------------------------------ */

/* Blocks of the heap became free, or, negative, are not any more.  Lock. */
static void add_free(struct hkm_heap *h, size_t bytes) { hkm_store(&h->free, hkm_load(&h->free) + bytes); }

static size_t slab_bytes(const struct hkm_slab *s) { return (size_t)s->blocks * s->size; }

/* False: there are so many already.  Lock. */
static bool keep_spare(struct hkm_heap *h, struct hkm_slab *s, unsigned most)
{
    if (h->nspare >= most)
        return false;
    h->spare[h->nspare] = s;
    hkm_in_order(); /* a fork's child believes the count */
    h->nspare++;
    return true;
}

/* A slab without blocks becomes a spare slot, or goes to the Shared Pool.  Lock. */
static void release_slab(struct hkm_heap *h, struct hkm_slab *s)
{
    add_free(h, -slab_bytes(s));
    hkm_slab_close(s);
    hkm_tag_set(s->range, hkm_slab_slot(s), &hkm_tag_none);
    hkm_store(&s->owner, 0);
    if (!hkm_load(&h->thread) || !keep_spare(h, s, (unsigned)hkm_load(&hkm_policy()->spares)))
        hkm_shared_pool_release(s);
}

static void release_list(struct hkm_heap *h, struct hkm_slab *list)
{
    for (struct hkm_slab *s = list, *next; s; s = next) {
        next = s->next;
        s->next = NULL;
        release_slab(h, s);
    }
}

static void settle(struct hkm_heap *h, struct hkm_slab *s, bool keep)
{
    s = hkm_tiny_settle(&h->tiny[s->cls], s, keep);
    if (s)
        release_slab(h, s);
}

static void release_spares(struct hkm_heap *h)
{
    while (h->nspare)
        hkm_shared_pool_release(h->spare[--h->nspare]);
}

/* A number from 0 to below - 1, any of them. */
static uint32_t draw(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 0x9e3779b1u + 0x7f4a7c15u;
    return (uint32_t)((uint64_t)*seed * below >> 32);
}

/* Blocks above a page may have pages that the program never writes to.  Whether this used-up slab has few of them: each of four
 * pages, at random, has a word that is not zero among four.  Where a part x of all pages is never written, (1 - x)^4 of the
 * slabs will say so, and what is faulted in for that is x(1 - x)^4 of the class, at most a twelfth.  What is there from former
 * blocks says nothing: only pages that came as zero, and of which nothing has come back, count.  No lock: the slab may be
 * gone by now, and the program may have locked its pages up. */
static bool is_written(const char *slab, unsigned zero, uint32_t pages)
{
    uint32_t seed = (uint32_t)((uintptr_t)slab >> HKM_SLOT_SHIFT);
    for (unsigned n = 0; n < 4; n++) {
        unsigned page = draw(&seed, pages), words = 4;
        if (!(zero >> page & 1))
            return false;
        while (!hkm_os_is_set(slab + ((size_t)page << hkm_os.page_bits) + 4 * (size_t)draw(&seed, (uint32_t)hkm_os.page / 4)))
            if (!--words)
                return false;
    }
    return true;
}

/* The slabs of a class that are used up, as far as they matter, and of the last one what is_written wants to know. */
struct used_up {
    const char *last;
    unsigned zero, n;
};

/* Lock. */
static struct used_up used_up(const struct hkm_heap *h, unsigned cls)
{
    const struct hkm_slab *s = h->tiny[cls].full;
    struct used_up u = {0};
    if (s) {
        u.last = s->start;
        u.zero = s->zero;
    }
    for (; s && u.n < HKM_POLICY_PREFAULT_FULL; s = s->next)
        u.n++;
    return u;
}

/* In a heap that is not small, the pages of a new slab come some at once: that costs less than one by one, and they lie
 * together, which a later fork and exit, going through them in order, are quicker for.  How many. */
static uint8_t step_for(const struct hkm_slab *s, unsigned cls, const struct used_up *u)
{
    const struct hkm_class *c = &hkm_class[cls];
    unsigned bare = s->zero & ~(unsigned)s->backed;
    if (s->backing != HKM_PLAIN || !(bare & (bare - 1))) /* less than two pages are without memory */
        return 0;
    size_t taken = hkm_load(&hkm_superslab_stats.taken) << HKM_SLOT_SHIFT;
    size_t step = hkm_policy_prefault(hkm_policy(), taken, hkm_heap_count(), u->n) >> hkm_os.page_bits;
    if (step < 2)
        return 0;
    uint32_t pages = (uint32_t)((size_t)c->blocks * c->size >> hkm_os.page_bits);
    if (c->size > hkm_os.page && (HKM_VALGRIND || !is_written(u->last, u->zero, pages)))
        return 0;
    return (uint8_t)step;
}

/* Slots that will be slabs; how many. */
static unsigned obtain(struct hkm_heap *h, struct hkm_slab **got)
{
    unsigned wish = hkm_shared_pool_wish(), n = hkm_shared_pool_reuse(got, wish);
    if (n)
        return n;
    if (hkm_mid_held(&h->runs)) /* rather than memory that nobody has touched */
        hkm_heap_release_runs(h);
    return hkm_shared_pool_acquire(got, wish);
}

/* Once a slab: rather short than quick. */
HKM_COLD bool hkm_heap_supply(struct hkm_heap *h, unsigned cls)
{
    struct hkm_slab *got[HKM_SPARES];
    unsigned n = 0;
    lock_heap(h);
    struct used_up used = used_up(h, cls);
    if (h->nspare)
        got[n++] = h->spare[--h->nspare];
    hkm_unlock(&h->lock);
    if (!n)
        n = obtain(h, got);
    if (!n)
        return false;
    uint8_t step = step_for(got[0], cls, &used);
    lock_heap(h);
    while (n > 1) /* a drain by another thread may have left spares in the meantime */
        if (!keep_spare(h, got[--n], HKM_SPARES))
            hkm_shared_pool_release(got[n]);
    struct hkm_slab *s = got[0];
    bool ok = h->bin[cls] || ready_bin(h, cls);
    ok = ok && hkm_slab_open(s, cls);
    if (ok) {
        s->step = step;
        hkm_store_rel(&s->owner, (size_t)h);
        hkm_tag_set(s->range, hkm_slab_slot(s), &h->bin[cls]->tag);
        add_free(h, slab_bytes(s));
        settle(h, s, true);
    }
    hkm_unlock(&h->lock);
    if (!ok)
        hkm_shared_pool_release(s);
    return ok;
}

/* ---- remote frees ----------------------------------------------------------------------------------------------- */

/* A slab that is posted bears the mark of its process in `pending`: the generation, plus 1.  A fork may remove a thread
 * that has set the mark and not yet pushed the slab, and then nobody would ever post that slab again.  So a mark of an
 * older generation counts as clear in a child.  For that, the slabs that do lie in an inbox must bear the child's mark:
 * they are given it before anybody in the child posts or drains.  Their links are whole, a slab's is set before the push. */
static hkm_word marked; /* the generation whose mark the slabs in inboxes bear */
static struct hkm_lock inbox_lock = HKM_LOCK_INIT(HKM_RANK_INBOX);

static HKM_COLD void mark_again(size_t generation)
{
    hkm_lock(&inbox_lock); /* taken over: it is simply done again */
    if (hkm_load(&marked) != generation) {
        for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
            for (struct hkm_slab *s = (struct hkm_slab *)hkm_load_acq(&h->inbox); s;
                 s = (struct hkm_slab *)hkm_load(&s->inbox_next))
                hkm_store(&s->pending, generation + 1);
        hkm_store_rel(&marked, generation); /* pairs with the acquire in mark */
    }
    hkm_unlock(&inbox_lock);
}

static size_t mark(void)
{
    size_t generation = hkm_generation();
    if (unlikely(hkm_load_acq(&marked) != generation))
        mark_again(generation);
    return generation + 1;
}

void hkm_heap_post(struct hkm_slab *s)
{
    size_t posted = mark();
    for (;;) {
        /* Full barrier: the bits were set before, so whoever clears `pending` after this sees them. */
        if (hkm_swap(&s->pending, posted) == posted)
            return; /* a post is under way, and its drainer will look at the bits after it cleared the flag */
        struct hkm_heap *owner = (struct hkm_heap *)hkm_load_acq(&s->owner);
        if (owner) {
            size_t head;
            do {
                head = hkm_load(&owner->inbox);
                hkm_store(&s->inbox_next, head);
            } while (!hkm_cas(&owner->inbox, head, (size_t)s)); /* pairs with the exchange in drain */
            return;
        }
        /* The slab was emptied in the meantime, so somebody has collected our bits.  But it may have a new owner since. */
        hkm_swap(&s->pending, 0);
        if (!hkm_load_acq(&s->owner))
            return;
    }
}

/* Blocks of one slab.  True: some were collected, and the slab may have to be settled.  Lock. */
static bool collect(struct hkm_heap *h, struct hkm_slab *s)
{
    unsigned got = hkm_slab_collect(s);
    add_free(h, (size_t)got * s->size);
    return got != 0;
}

/* Collects what others freed.  Lock. */
static void drain(struct hkm_heap *h)
{
    if (likely(!hkm_load(&h->inbox)))
        return;
    (void)mark();
    bool keep = hkm_load(&h->thread) != 0;
    struct hkm_slab *s = (struct hkm_slab *)hkm_swap(&h->inbox, 0), *next;
    for (; s; s = next) {
        next = (struct hkm_slab *)hkm_load(&s->inbox_next);
        /* A full read-modify-write, before the bits are read: a freer that comes later posts again. */
        hkm_swap(&s->pending, 0);
        size_t owner = hkm_load_acq(&s->owner);
        if (owner == (size_t)h) {
            if (collect(h, s))
                settle(h, s, keep);
        } else if (owner) {
            hkm_heap_post(s); /* it has moved: post it on */
        }
    }
}

void hkm_heap_drain(struct hkm_heap *h)
{
    lock_heap(h);
    drain(h);
    hkm_unlock(&h->lock);
}

static struct hkm_slab *slab_of(const struct hkm_remote *r, unsigned place)
{
    return (struct hkm_slab *)(hkm_peek(r->place[place].key) & ~(((uintptr_t)1 << HKM_SLAB_SHIFT) - 1));
}

/* The order of the places 1..n in which those of one slab are together, but for slabs of one group: they may alternate, which
 * costs a post. */
static void group_by_slab(uint8_t *order, const struct hkm_remote *r, unsigned n)
{
    enum { GROUPS = 64 };
    uint16_t at[GROUPS + 1] = { 0 };
    for (unsigned i = 1; i <= n; i++)
        at[(r->place[i].key >> HKM_SLAB_SHIFT) % GROUPS + 1]++;
    for (unsigned g = 1; g < GROUPS; g++)
        at[g] = (uint16_t)(at[g] + at[g - 1]);
    for (unsigned i = 1; i <= n; i++)
        order[at[(r->place[i].key >> HKM_SLAB_SHIFT) % GROUPS]++] = (uint8_t)i;
}

void hkm_heap_flush_remote(struct hkm_heap *h)
{
    struct hkm_remote *r = hkm_heap_remote(h);
    uint8_t order[HKM_REMOTE];
    unsigned n = h->nremote;
    if (!n)
        return;
    /* In this order: a fork's child finds the whole buffer, of which nothing has been handed over, or nothing and no hint at
     * it. */
    memset(r->last, 0, sizeof r->last);
    h->remote_bytes = 0;
    hkm_in_order();
    h->nremote = 0;
    hkm_in_order();
    group_by_slab(order, r, n);
    for (unsigned i = 0; i < n; i++) {
        struct hkm_slab *s = slab_of(r, order[i]);
        hkm_slab_remote_word(s, (unsigned)(r->place[order[i]].key - (uintptr_t)s), r->place[order[i]].bits);
        if (i + 1 == n || slab_of(r, order[i + 1]) != s)
            hkm_heap_post(s);
    }
}

void hkm_heap_remote_twice(struct hkm_slab *s, unsigned index)
{
    hkm_os_bad_pointer("free", "double free", s->start + (size_t)index * s->size);
}

/* ---- refill and flush ------------------------------------------------------------------------------------------- */

/* Gives back n cached blocks of a class.  Owner, lock. */
static void give(struct hkm_heap *h, unsigned cls, void *const *blocks, unsigned n)
{
    add_free(h, (size_t)n * hkm_class[cls].size);
    release_list(h, hkm_tiny_drain(&h->tiny[cls], cls, blocks, n));
    hkm_count(&h->count.flushes, 1);
    hkm_count(&h->count.flushed_blocks, n);
}

/* Gives back what a class's cache holds.  Owner, lock. */
static void empty_bin(struct hkm_heap *h, unsigned cls)
{
    struct hkm_bin *b = h->bin[cls];
    if (!b)
        return;
    lay_out(b); /* also where nothing is counted: a fork may have caught the last pop halfway */
    unsigned n = b->cap - b->room;
    if (!n)
        return;
    change(b);
    give(h, cls, &b->slots[b->room], n);
    b->room = b->cap;
    changed(b);
}

/* Now and then looks at the cache of the next class.  One that was not used since the last look is emptied, and gives its
 * share of the budget back.  Owner, lock. */
static HKM_COLD void age(struct hkm_heap *h)
{
    size_t events = hkm_load(&h->events) + 1;
    hkm_store(&h->events, events);
    if (events % HKM_POLICY_AGE_EVENTS)
        return;
    unsigned c = events / HKM_POLICY_AGE_EVENTS % HKM_CLASSES;
    struct hkm_bin *b = h->bin[c];
    if (!c) {
        if (h->seen_runs == hkm_mid_held(&h->runs))
            hkm_heap_release_runs(h);
        h->seen_runs = hkm_mid_held(&h->runs);
    }
    if (!b)
        return;
    if (b->seen_misses == b->misses && b->seen_room == b->room) {
        empty_bin(h, c);
        if (b->cap > FIRST_CAP)
            shrink(h, c, FIRST_CAP);
    }
    b->seen_misses = b->misses;
    b->seen_room = b->room;
}

void *hkm_heap_refill(struct hkm_heap *h, unsigned cls)
{
    void *p = NULL;
    lock_heap(h);
    drain(h);
    struct hkm_bin *b = ready_bin(h, cls);
    if (b) {
        hkm_assert(b->room == b->cap && !b->first);
        unsigned want = hkm_policy_refill(hkm_policy(), b->cap), last = b->cap - 1u;
        hkm_assert(want <= last);
        void **to = &b->slots[last - want];
        unsigned got = hkm_tiny_fill(&h->tiny[cls], to, want);
        if (got) {
            if (got < want)
                memmove(&b->slots[last - got], to, got * sizeof *to);
            /* One is returned, the next one is the first of the cache, and the others are counted. */
            b->slots[last] = NULL;
            p = b->slots[last - got];
            hkm_in_order(); /* a fork's child believes what is there */
            b->first = b->slots[last - got + 1];
            hkm_in_order();
            b->room = last - got + 2;
            size_t bytes = (size_t)got * hkm_class[cls].size;
            add_free(h, -bytes);
            h->shrunk -= h->shrunk < bytes ? h->shrunk : bytes;
            hkm_count(&h->count.refills, 1);
            hkm_count(&h->count.refilled_blocks, got);
        }
        age(h);
    }
    hkm_unlock(&h->lock);
    return p;
}

/* Gives back the oldest blocks of a bin, all but `keep`.  Owner, lock. */
static void flush_bin(struct hkm_heap *h, struct hkm_bin *b, unsigned keep)
{
    unsigned cap = b->cap, room = b->room, n = cap - room - keep;
    change(b);
    lay_out(b);
    give(h, b->tag.cls, &b->slots[cap - n], n);
    memmove(&b->slots[room + n], &b->slots[room], keep * sizeof(void *));
    b->room = room + n;
    changed(b);
}

/* Makes a bin smaller, of a heap that shrinks; at once: as small as may be, and but for its newest block empty.  Owner, lock. */
static HKM_COLD void retreat(struct hkm_heap *h, struct hkm_bin *b, bool at_once)
{
    unsigned cap = hkm_policy_cache_retreat(b->cap, hkm_class[b->tag.cls].size, at_once), keep = at_once ? 1 : (cap + 3) / 4;
    if ((at_once || cap < b->cap) && b->cap - b->room > keep)
        flush_bin(h, b, keep);
    if (cap < b->cap)
        shrink(h, b->tag.cls, cap);
}

void *hkm_bin_take(struct hkm_bin *b)
{
    void *p = b->first, *after = b->slots[b->room];
    unsigned last = b->cap - 1u;
    if (!p && !after)
        return NULL;
    b->room++;
    hkm_in_order(); /* as in hkm_bin_pop */
    if (p) {
        b->first = after;
        return p;
    }
    if (b->room <= last) { /* the oldest goes to the head: its place is the one to be vacated */
        b->first = b->slots[last];
        hkm_in_order();
        b->slots[last] = NULL;
    }
    return after;
}

void hkm_heap_full(struct hkm_bin *b)
{
    struct hkm_heap *h = b->heap;
    lock_heap(h);
    bool shrinking = h->shrunk >= HKM_POLICY_SHRINKING;
    struct hkm_bin *now = shrinking ? b : ready_bin(h, b->tag.cls);
    if (now == b && !b->room) { /* it has not grown */
        unsigned n = hkm_policy_flush(hkm_policy(), b->cap);
        flush_bin(h, b, b->cap - n);
        if (h->shrunk < 2 * HKM_POLICY_SHRINKING)
            h->shrunk += (size_t)n * hkm_class[b->tag.cls].size;
    }
    if (shrinking) { /* this one; and another, which may never be full again */
        struct hkm_bin *other = h->bin[hkm_load(&h->events) % HKM_CLASSES];
        retreat(h, b, false);
        if (other)
            retreat(h, other, true);
    }
    age(h);
    hkm_unlock(&h->lock);
}

/* Gives back all cached blocks.  Where the thread is gone, its large caches become middling ones: the next thread may not need
 * them, and its first refill of each would bring many blocks in vain.  Owner, lock. */
static void flush_cache(struct hkm_heap *h)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        empty_bin(h, c);
        if (h->bin[c] && h->bin[c]->cap > PARKED_CAP && !hkm_load(&h->thread))
            shrink(h, c, PARKED_CAP);
    }
}

/* Releases slabs without blocks, also those kept for the next refill.  Lock. */
static void release_empty(struct hkm_heap *h)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        for (struct hkm_slab *s = h->tiny[c].partial, *next; s; s = next) {
            next = s->next;
            settle(h, s, false);
        }
}

void hkm_heap_flush(struct hkm_heap *h)
{
    hkm_heap_flush_remote(h);
    hkm_heap_release_runs(h);
    lock_heap(h);
    drain(h);
    flush_cache(h);
    release_empty(h);
    release_spares(h);
    hkm_unlock(&h->lock);
}

HKM_COLD bool hkm_heap_claim(struct hkm_heap *to, struct hkm_heap *from, unsigned cls)
{
    /* The caller, who is to's thread, holds from's lock and knows that it is parked. */
    drain(from);
    struct hkm_slab *s = to->bin[cls] ? from->tiny[cls].partial : NULL;
    size_t bytes = s ? (size_t)s->nfree * s->size : 0;
    if (s) {
        add_free(from, -bytes);
        hkm_tiny_remove(&from->tiny[cls], s);
        hkm_store_rel(&s->owner, (size_t)to); /* from here on posts go to the new owner */
        /* Before the lock is given up: whoever adopts `from` then must not take the slab for his. */
        hkm_tag_set(s->range, hkm_slab_slot(s), &to->bin[cls]->tag);
    }
    hkm_unlock(&from->lock);
    if (!s)
        return false;
    lock_heap(to);
    add_free(to, bytes);
    /* Somebody may have drained our inbox in the meantime: then it is listed already, or was emptied and is gone. */
    if (hkm_load(&s->owner) == (size_t)to && s->listed == HKM_UNLISTED)
        settle(to, s, true);
    hkm_unlock(&to->lock);
    return true;
}

/* ---- any thread ------------------------------------------------------------------------------------------------- */

/* Collects what was freed remotely and never posted, because a fork removed the thread in between.  Lock. */
static void sweep(struct hkm_heap *h)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        struct hkm_slab *const lists[] = { h->tiny[c].full, h->tiny[c].partial };
        for (unsigned i = 0; i < 2; i++)
            for (struct hkm_slab *s = lists[i], *next; s; s = next) {
                next = s->next;
                if (collect(h, s))
                    settle(h, s, true);
            }
    }
}

HKM_COLD size_t hkm_heap_purge(struct hkm_heap *h)
{
    size_t done = 0;
    lock_heap(h);
    drain(h);
    if (hkm_generation())
        sweep(h);
    release_empty(h);
    release_spares(h);
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        for (struct hkm_slab *s = h->tiny[c].partial; s; s = s->next)
            done += hkm_slab_purge(s);
    hkm_unlock(&h->lock);
    return done;
}

HKM_COLD void hkm_heap_tend(struct hkm_heap *h)
{
    size_t events = hkm_load(&h->events);
    bool idle = events == hkm_load(&h->seen_events);
    hkm_store(&h->seen_events, events);
    hkm_store(&h->seen_free, hkm_load(&h->free));
    if (!idle || !hkm_heap_try(h))
        return;
    drain(h);
    release_spares(h);
    hkm_heap_leave(h);
}

bool hkm_heap_try(struct hkm_heap *h) { return hkm_lock_try(&h->lock); }
void hkm_heap_leave(struct hkm_heap *h) { hkm_unlock(&h->lock); }

HKM_COLD uint16_t hkm_heap_look(struct hkm_heap *h, struct hkm_slab *s, size_t age, uint16_t *young)
{
    *young = 0;
    hkm_assert(s->free);
    if (hkm_load(&s->pending) && collect(h, s)) /* it stays posted: then there is nothing left to collect */
        settle(h, s, hkm_load(&h->thread) != 0);
    return hkm_load(&s->owner) == (size_t)h ? hkm_slab_look(s, age, young) : 0;
}

static HKM_COLD void add_slabs(struct hak_stats *sum, const struct hkm_slab *list)
{
    for (const struct hkm_slab *s = list; s; s = s->next) {
        sum->slabs++;
        sum->free_bytes += (uint64_t)s->nfree * s->size;
        sum->live_bytes += (uint64_t)(s->blocks - s->nfree) * s->size;
        sum->live_blocks += (uint64_t)(s->blocks - s->nfree);
        sum->waste_bytes += HKM_SLOT_SIZE - (uint64_t)s->blocks * s->size;
        sum->committed_bytes += hkm_slab_committed(s);
    }
}

/* Blocks on their way to other heaps, as far as they can be seen from another thread. */
static size_t add_remote(struct hak_stats *sum, struct hkm_heap *h)
{
    const struct hkm_remote *r = hkm_heap_remote(h);
    unsigned n = hkm_peek(h->nremote);
    size_t blocks = 0;
    for (unsigned i = 1; i <= n && i <= HKM_REMOTE; i++) {
        const struct hkm_slab *s = slab_of(r, i);
        unsigned count = hkm_popcount(hkm_peek(r->place[i].bits));
        sum->remote_bytes += (uint64_t)count * hkm_peek(s->size);
        blocks += count;
    }
    return blocks;
}

HKM_COLD size_t hkm_heap_stats(struct hkm_heap *h, struct hak_stats *sum)
{
    uint64_t live = sum->live_bytes, blocks = sum->live_blocks, cached = 0, held = 0;
    lock_heap(h);
    drain(h);
    sum->spare_bytes += (uint64_t)h->nspare << HKM_SLOT_SHIFT;
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        add_slabs(sum, h->tiny[c].partial);
        add_slabs(sum, h->tiny[c].full);
        const struct hkm_bin *b = h->bin[c]; /* another thread's, perhaps: a look at a moment */
        if (b) {
            unsigned room = hkm_peek(b->room), cap = b->cap, n = room < cap ? cap - room : 0;
            cached += (uint64_t)n * hkm_class[c].size;
            held += n;
        }
    }
    hkm_unlock(&h->lock);
    live = sum->live_bytes - live;
    blocks = sum->live_blocks - blocks;
    sum->live_bytes -= cached < live ? cached : live;
    sum->live_blocks -= held < blocks ? held : blocks;
    sum->cached_bytes += cached;
    hkm_stats_add(sum, &h->count);
    return add_remote(sum, h);
}

/* ---- after a fork ----------------------------------------------------------------------------------------------- */

/* A slab that the thread which is gone was just giving back (release_slab): all its blocks are free.  Lock. */
static HKM_COLD void release_half_closed(struct hkm_slab *s)
{
    if (s->free) {
        hkm_slab_recount(s);
        hkm_slab_close(s);
    }
    hkm_tag_set(s->range, hkm_slab_slot(s), &hkm_tag_none);
    hkm_store(&s->owner, 0);
    hkm_shared_pool_release(s);
}

/* Makes the lists afresh from tags and bitmaps, which are the truth.  Lock, taken over from a thread that is gone. */
static void rebuild(struct hkm_heap *h)
{
    memset(h->tiny, 0, sizeof h->tiny);
    hkm_store(&h->free, 0);
    for (struct hkm_range *r = &hkm_range; r; r = hkm_range_next(r)) {
        size_t used = hkm_load_acq(&r->used);
        for (size_t i = 0; i < used; i++) {
            if (hkm_tag_at(r, i)->kind != HKM_KIND_SLAB)
                continue;
            struct hkm_slab *s = hkm_slab_at(r, i);
            if (hkm_load(&s->owner) != (size_t)h)
                continue;
            if (!s->free || s->size != hkm_class[s->cls].size) { /* see hkm_slab_close */
                release_half_closed(s);
                continue;
            }
            hkm_slab_recount(s);
            hkm_slab_collect(s);
            add_free(h, (size_t)s->nfree * s->size);
            s->listed = HKM_UNLISTED;
            s->next = s->prev = NULL;
            if (h->bin[s->cls]) /* the bin may just have been moved */
                hkm_tag_set(r, i, &h->bin[s->cls]->tag);
            settle(h, s, true);
        }
    }
}

HKM_COLD void hkm_heap_bury(struct hkm_heap *h)
{
    hkm_heap_flush_remote(h); /* none of them has been handed over: the count is cleared before */
    hkm_heap_release_runs(h); /* linked and unlinked by one store each */
    lock_heap(h);
    struct hkm_bin *b = h->changing;
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        if (h->bin[c])
            place_bin(h, c); /* it may just have been moved */
    if (b) {
        b->room = b->cap;
        b->first = b->slots[b->cap] = NULL;
        changed(b);
    }
    flush_cache(h);
    drain(h);
    release_empty(h);
    release_spares(h);
    hkm_unlock(&h->lock);
}

HKM_COLD bool hkm_heap_valid(struct hkm_heap *h)
{
    bool ok = true;
    size_t free = 0;
    lock_heap(h);
    for (unsigned c = 0; c < HKM_CLASSES && ok; c++) {
        const struct hkm_bin *b = h->bin[c];
        ok = hkm_tiny_valid(&h->tiny[c], c, h) &&
             (!b || (b->heap == h && b->tag.cls == c && b->slots[b->cap] == NULL && b->room <= b->cap &&
                     (!b->first || (b->room < b->cap && b->slots[b->cap - 1] == NULL))));
        for (const struct hkm_slab *s = h->tiny[c].partial; s; s = s->next)
            free += (size_t)s->nfree * s->size;
    }
    ok = ok && free == hkm_load(&h->free);
    hkm_unlock(&h->lock);
    return ok;
}
