/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * superslab.h: slots from and to the kernel: mapping by SuperSlabs, free slots, runs of slots, purge.
 *
 * A free slot has a bit in exactly one of two bitmaps of its range: `dirty` when memory may stand behind it, `fresh` when
 * it holds none and reads as zero.  Taking a slot is clearing its bit: whoever clears it holds the slot alone.
 */
#ifndef HKM_SUPERSLAB_H
#define HKM_SUPERSLAB_H

#include "registry.h"

/* The pages behind a slot.  A huge one is given back whole, when all of its slots are free; one of the system's pool never:
 * before Linux 6.9 a page that was given back could be lost to another process, and our next touch would kill us. */
enum hkm_backing { HKM_PLAIN, HKM_THP, HKM_HUGETLB };

/* Takes up to n free single slots, lowest addresses first; dirty ones, or fresh ones.  Lock-free. */
unsigned hkm_superslab_take(struct hkm_slab **out, unsigned n, bool dirty);
/* Gives back `count` neighbouring slots that the caller holds; each slab's zero says which pages are known zero. */
void hkm_superslab_give(struct hkm_slab *first, size_t count);
/* Takes `count` neighbouring slots, the first aligned to `align` slots (2^k); maps more if need be.  NULL: no memory. */
struct hkm_slab *hkm_superslab_run(size_t count, size_t align);
/* Takes the `more` slots that follow a run of `count`, if they are free. */
bool hkm_superslab_run_extend(struct hkm_slab *first, size_t count, size_t more);
/* Memory is out, and our own structures need some: makes them a present of some free slots.  False: there are none. */
bool hkm_superslab_cede(void);
void hkm_superslab_open(void); /* hkm_registry_open, under the lock */
/* Maps more slots: at least `need` in a row. */
bool hkm_superslab_grow(size_t need);
/* Gives memory of dirty free slots back to the kernel until at most `keep` bytes are dirty; highest addresses first.  What
 * the kernel refused to take (locked memory) stays, and is not offered again until hkm_superslab_retry.  Bytes; or
 * HKM_PURGE_BUSY, no slot's but not 0, when another thread is at it.  The first: about so many slots at most. */
enum { HKM_PURGE_BUSY = 1 };
size_t hkm_superslab_purge_some(size_t keep, size_t slots);
HKM_INLINE size_t hkm_superslab_purge(size_t keep) { return hkm_superslab_purge_some(keep, SIZE_MAX); }
/* Much memory from elsewhere is about to be used: what is dirty beyond the limit goes at once. */
void hkm_superslab_expect(void);
void hkm_superslab_retry(void); /* the kernel may have another mind by now */
/* Some of these pages, which are about to be used, have no memory yet: faults in s->step pages from there on, or all of them.
 * Owner's lock of the slab. */
void hkm_superslab_prefault(struct hkm_slab *s, uint16_t pages);
/* A mapping of its own, for a block, which is expected to be used from end to end or not: what its size, and
 * best its address, are to be multiples of, so that it can have huge pages; 0: it is not to.  And asks for them. */
size_t hkm_superslab_huge_unit(size_t bytes, bool dense);
void hkm_superslab_huge(void *addr, size_t bytes);
/* Counts its pages among those that will be faulted in, or went back. */
void hkm_superslab_note_mapping(size_t bytes);
void hkm_superslab_note_unmapping(size_t bytes);

/* Purges pages of slots that the caller holds, from a page of the first one on, and marks them zero; none of
 * huge pages.  Returns bytes. */
size_t hkm_superslab_purge_pages(struct hkm_slab *s, unsigned first_page, size_t pages);
bool hkm_superslab_refused(const struct hkm_slab *s); /* the kernel would not purge it, and has not been asked again */
/* Told now and then: how many bytes of the slots that are taken are free blocks.  Looks whether more slots are dirty than
 * should be, and gives half of those back that nobody needed for hkm_policy_purge_ms. */
void hkm_superslab_keep(size_t idle);
bool hkm_superslab_purging(void);    /* there is something left to do of what was found to be too much: */
void hkm_superslab_purge_piece(unsigned pieces); /* does a part of it */

/* Bytes of slots that are taken, and of those that are free and dirty. */
size_t hkm_superslab_taken(void);
size_t hkm_superslab_dirty(void);
/* The pages of a slot that may have memory behind them; of a huge page all or none. */
uint16_t hkm_superslab_backed(struct hkm_range *r, size_t slot);

/* Bit mask of all pages of a slot, of `pages` pages from `first`, and of those that bytes [from, to) lie on. */
uint16_t hkm_pages_all(void);
uint16_t hkm_pages(unsigned first, unsigned pages);
uint16_t hkm_pages_of(size_t from, size_t to);

/* The first line is read by every slow call and seldom written, the second is written with every slot. */
struct HKM_OWN_LINES hkm_superslab_stats {
    hkm_word mapped; /* slots */
    hkm_word mail;   /* written from outside: there is a request (live.h); here, as each slow tick reads `mapped` */
    hkm_word refused; /* slots that the kernel would not purge, free or not */
    hkm_word held;    /* slots: dirty ones in huge pages that others of their slots keep, as the last purge found them */
    hkm_word huge;    /* slots in huge pages, taken or free */
    hkm_word huge_fallbacks; /* so far: huge pages were wanted, and there were none (hugetlb, then thp: two) */
    hkm_word prefault_fallbacks; /* so far: the kernel could not, or had no memory for it */
    hkm_word taken HKM_ALIGNED(64); /* slots */
    hkm_word dirty;  /* slots */
    hkm_word lowest; /* superslab.c: the least that dirty was since hkm_superslab_keep looked at it */
    hkm_word reused; /* pages so far that had memory behind them when their free slot, or a kept block, was taken */
    hkm_word purged; /* bytes so far */
    hkm_word purges; /* calls so far */
    hkm_word prefaulted; /* bytes so far */
    hkm_word returned; /* pages so far that went back whole: free slots, and mappings of their own */
    hkm_word faulted; /* pages so far that had no memory behind them when their slot, or a mapping, was taken */
};
extern struct hkm_superslab_stats hkm_superslab_stats HKM_HIDDEN;

#endif
