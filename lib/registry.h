/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * registry.h: address -> owner.
 *
 * A range is an area of address space cut into slots of 64 KiB, in use from its low end upwards.  Of every slot below
 * `used` it keeps a tag (hot, read by every free: who may push a block of this slot into which cache) and a slab record
 * (cold).  Nothing is reserved: an area is a hole that the kernel showed us, and the range's tables and slots are mapped
 * into it step by step; what strangers map there in the meantime is stepped over.  The first range serves the fast path;
 * more are added when it is full.
 *
 * Before that, a few slots that lie in our own zeroed data, the static range, have room for the nursery and a run or two: so a
 * small process maps nothing.  No slab is there, since a free finds its cache quickly in the first range alone; and once slots of
 * that are in use, nothing more is taken there but where there is no other memory.
 *
 * A pointer outside all ranges is never dereferenced.
 */
#ifndef HKM_REGISTRY_H
#define HKM_REGISTRY_H

#include "base.h"
#include "atomic.h"
#include "class.h"
#include "os.h"
#include "site.h"

enum hkm_kind {
    HKM_KIND_NONE,     /* a free slot: no block is here */
    HKM_KIND_STRANGER, /* the slot was not ours to map */
    HKM_KIND_RUN,      /* the first slot of a run */
    HKM_KIND_REST,     /* a further slot of a run */
    HKM_KIND_NURSERY,  /* a slot of nursery.c */
    HKM_KIND_SLAB,     /* blocks of one class; the tag is the first member of the owner's bin of that class */
};

/* What a free of a block in this slot needs to know, in one cache line that is read by all and rarely written. */
struct hkm_tag {
    hkm_word thread; /* atomic: the thread (hkm_os_thread) whose cache takes the blocks, 0: nobody's */
    uint32_t magic;  /* const: of the class */
    uint8_t kind;    /* const */
    uint8_t cls;     /* const */
};

/* The record of a slot: 128 bytes, so that its address is a shift away.  Its first cache line is read by every thread that
 * frees a block here and does not change while the slot is a slab; what changes with each refill, flush and post is in the
 * second. */
struct hkm_slab {
    hkm_word owner;               /* atomic; the heap, 0 for none; changes away from a heap only under that heap's lock */
    hkm_word *free;               /* owner's lock: bitmap of free blocks, then the bitmap of remotely freed ones */
    char *start;                  /* const while the slot is taken */
    struct hkm_range *range;      /* const while the slot is taken */
    uint32_t size, magic;         /* const while it is a slab, as all below down to cls */
    uint16_t blocks, words;
    uint8_t cls;
    uint8_t backing;              /* const once mapped: enum hkm_backing */
    uint32_t run;                 /* of a run: its slots */
    uint32_t again;               /* of a run: how often its run cache has handed it out again; modulo 2^32 */
    size_t bytes;                 /* of a run: usable bytes */

    struct hkm_slab *next HKM_ALIGNED(64), *prev; /* owner's lock: the list of tiny.c that it is on */
    hkm_word pending;             /* atomic: marked from a remote free until the drainer comes, see heap.c */
    hkm_word inbox_next;          /* atomic: link in the owner's inbox */
    uint8_t listed;               /* owner's lock: on which list; of a run: whether it is live, see mid.h */
    uint8_t step;                 /* owner's lock: pages to fault in at once, where fresh ones are handed out; 0: none */
    uint16_t nfree;               /* owner's lock: bits set in free */
    uint16_t hint;                /* owner's lock: no bit is set in a word below this one */
    /* Holder of the slot: a bit per page.  Set: the page is zero, apart from bytes of blocks that are out or cached; of
     * blocks smaller than a page, none was out since. */
    uint16_t zero;
    uint16_t idle;                /* owner's lock: whole free pages with memory that were so at the last look, and since */
    uint16_t backed;              /* holder of the slot: pages that were faulted in for it: zero, too, they hold memory */
    uint32_t given;               /* owner's lock: by hkm_slab_clock, when blocks last became free; of a run: see site.h */
    const void *site;             /* of a run: who asked for it, or HKM_SITE_RESIZED */
    hkm_word refused;             /* holder of the slot: the kernel would not purge it; see superslab.c */
};
enum { HKM_SLAB_SHIFT = 7 };
_Static_assert(sizeof(struct hkm_slab) <= 1 << HKM_SLAB_SHIFT, "a slab record fits its place");

/* One word of each bitmap. */
struct hkm_map {
    hkm_word dirty, fresh; /* atomic */
};
enum { HKM_NEAR = 16 };

struct hkm_range {
    uintptr_t base;          /* const once used > 0, as all but open and used */
    hkm_word open;           /* of the first range: slots that the fast paths may look at; most often `used`, see hkm_registry_shut */
    hkm_word used;           /* slots in use or stepped over; grows, under the pool lock, by release */
    struct hkm_tag **tags;   /* atomic pointers; of slots below used never NULL */
    char *slabs;             /* where the tags begin: slab records lie below, in descending order */
    size_t limit;            /* slots that the area has room for */
    size_t plain;            /* pool lock: slots at the low end that may still become huge pages, see superslab.c */
    size_t tags_mapped, slabs_mapped, maps_mapped; /* pool lock: bytes of the tables that are mapped */
    struct hkm_range *next;  /* atomic, by release */
    struct hkm_map *far;     /* see below */
    /* Bitmaps of free slots, see superslab.h: the first words are here, so that a small process has no page more, but not in
     * the cache line above, which each malloc and free reads; the others are in `far`, from word HKM_NEAR on. */
    struct hkm_map near[HKM_NEAR] HKM_ALIGNED(64);
    struct hkm_map hint;           /* of each bitmap: no bit is set in a word below this one */
};
extern struct hkm_range hkm_range HKM_HIDDEN; /* the first one */
extern struct hkm_range hkm_range_static HKM_HIDDEN; /* second in the row, once it is used */
enum { HKM_STATIC_SLOTS = 6 };

extern struct hkm_tag hkm_tag_none HKM_HIDDEN, hkm_tag_stranger HKM_HIDDEN, hkm_tag_run HKM_HIDDEN, hkm_tag_rest HKM_HIDDEN,
    hkm_tag_nursery HKM_HIDDEN;

HKM_INLINE struct hkm_slab *hkm_slab_at(const struct hkm_range *r, size_t slot)
{
    return (struct hkm_slab *)(void *)(r->slabs + (~slot << HKM_SLAB_SHIFT)); /* ~slot is -1 - slot */
}
/* The same for an address, in fewer steps. */
HKM_INLINE struct hkm_slab *hkm_slab_of(const struct hkm_range *r, const void *p)
{
    size_t below = ((uintptr_t)p - r->base) >> (HKM_SLOT_SHIFT - HKM_SLAB_SHIFT) & ~(((size_t)1 << HKM_SLAB_SHIFT) - 1);
    return (struct hkm_slab *)(void *)(r->slabs - below - ((size_t)1 << HKM_SLAB_SHIFT));
}
/* The record of the slot `n` slots after that one: records of neighbours are neighbours, in descending order. */
HKM_INLINE struct hkm_slab *hkm_slab_after(struct hkm_slab *s, size_t n)
{
    return (struct hkm_slab *)(void *)((char *)s - (n << HKM_SLAB_SHIFT));
}
HKM_INLINE size_t hkm_slab_slot(const struct hkm_slab *s)
{
    return ((size_t)(s->range->slabs - (const char *)s) >> HKM_SLAB_SHIFT) - 1;
}
HKM_INLINE struct hkm_map *hkm_map_at(struct hkm_range *r, size_t w)
{
    return w < HKM_NEAR ? &r->near[w] : &r->far[w - HKM_NEAR];
}
HKM_INLINE struct hkm_tag *hkm_tag_at(const struct hkm_range *r, size_t slot)
{
    /* Acquire: pairs with hkm_tag_set.  (The fast path relies on the address dependency instead.) */
    return (struct hkm_tag *)hkm_load_acq((const hkm_word *)(const void *)&r->tags[slot]);
}
/* Release: whoever follows the tag sees what it points to. */
HKM_INLINE void hkm_tag_set(const struct hkm_range *r, size_t slot, struct hkm_tag *t)
{
    hkm_store_rel((hkm_word *)(void *)&r->tags[slot], (size_t)t);
}

HKM_INLINE struct hkm_range *hkm_range_next(const struct hkm_range *r)
{
    return (struct hkm_range *)hkm_load_acq((const hkm_word *)(const void *)&r->next);
}

/* The range that an address lies in, and its slot there; NULL for an address that was never ours. */
HKM_INLINE struct hkm_range *hkm_registry_find(const void *p, size_t *slot)
{
    struct hkm_range *r = &hkm_range;
    do {
        size_t used = hkm_load_acq(&r->used); /* first: with it comes the base */
        size_t i = ((uintptr_t)p - hkm_peek(r->base)) >> HKM_SLOT_SHIFT;
        if (likely(i < used)) {
            *slot = i;
            return r;
        }
        r = hkm_range_next(r);
    } while (r);
    return NULL;
}

/* The slab record of an address in a slot that is known to be taken. */
HKM_INLINE struct hkm_slab *hkm_registry_slab(const void *p)
{
    size_t i = ((uintptr_t)p - hkm_range.base) >> HKM_SLOT_SHIFT;
    if (likely(i < hkm_load(&hkm_range.used)))
        return hkm_slab_at(&hkm_range, i);
    struct hkm_range *r = hkm_registry_find(p, &i);
    hkm_check(r != NULL);
    return hkm_slab_at(r, i);
}

/* In the child of a fork, whose tags still name threads that it does not have.  From here on every free comes to the slow path,
 * until they have been seen to and hkm_superslab_open is called. */
HKM_INLINE void hkm_registry_shut(void) { hkm_store(&hkm_range.open, 0); }
HKM_INLINE bool hkm_registry_is_open(void) { return hkm_load(&hkm_range.open) == hkm_load(&hkm_range.used); }

/* The following are called under the pool lock (superslab.c). */

/* Lays the static range out; its HKM_STATIC_SLOTS are still to be made known.  False: it has been, or there is a second already. */
bool hkm_registry_lay_static(void);
/* A range with room for at least `slots`: the last one made, or a new one; NULL when no hole is found. */
struct hkm_range *hkm_registry_room(size_t slots);
/* Maps the tables of all slots below `slots`. */
enum hkm_mapped hkm_registry_describe(struct hkm_range *r, size_t slots);
/* Makes `count` more slots known, all with the same tag. */
void hkm_registry_extend(struct hkm_range *r, size_t count, struct hkm_tag *t);
void hkm_registry_open(void); /* the fast paths may look at all slots again */

#endif
