/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * slab.h: a slot full of blocks of one class, and its bitmaps.
 *
 * A block is in one of these states: handed out or cached (no bit), free (a bit in `free`), freed by another thread and
 * not yet collected (a bit in the remote bitmap).  Nothing is ever read from or written to the block itself.
 *
 * All functions but hkm_slab_remote.. and those of the hardened mode want the owner's lock (or a slab that nobody else
 * knows yet).
 */
#ifndef HKM_SLAB_H
#define HKM_SLAB_H

#include "registry.h"

/* A pointer in a cache may carry this bit: the block is known to be zero.  Only classes of a page and more use it. */
#define HKM_ZERO ((uintptr_t)1)

bool hkm_slab_open(struct hkm_slab *s, unsigned cls); /* a taken slot becomes a slab; false: no memory */
void hkm_slab_close(struct hkm_slab *s);              /* all its blocks are free: a taken slot again */

/* Moves up to `want` free blocks, lowest addresses first, into the array. */
unsigned hkm_slab_take(struct hkm_slab *s, void **out, unsigned want);
/* Gives back the blocks at the head of the array that belong to this slab; returns how many.  Aborts on a double free. */
unsigned hkm_slab_give(struct hkm_slab *s, void *const *blocks, unsigned n);
HKM_INLINE void hkm_slab_give_one(struct hkm_slab *s, void *block); /* the same of one block, smaller than a page */
/* Any thread: marks blocks as freed remotely, those whose bits are set in a word of the bitmap, or one.  Aborts on a double
 * free. */
void hkm_slab_remote_word(struct hkm_slab *s, unsigned word, size_t bits);
void hkm_slab_remote(struct hkm_slab *s, void *block);
/* Makes the remotely freed blocks free; returns how many. */
unsigned hkm_slab_collect(struct hkm_slab *s);
/* Counts the free blocks afresh: after a fork the bitmaps are the only truth. */
void hkm_slab_recount(struct hkm_slab *s);
/* Bytes of its pages that may have memory behind them. */
size_t hkm_slab_committed(const struct hkm_slab *s);
/* Gives whole free pages back to the kernel; returns bytes. */
size_t hkm_slab_purge(struct hkm_slab *s);

/* Whole free pages, a bit each, that may have memory: those that blocks are on, and those behind the last block. */
uint16_t hkm_slab_free_pages(const struct hkm_slab *s);
/* Of them, those that were free for `age` ms: nothing was freed in the slab for so long, or they were free at the last look,
 * which the caller knows to be as old, and not taken since.  `young`: the others.  None where the kernel refused. */
uint16_t hkm_slab_look(struct hkm_slab *s, size_t age, uint16_t *young);
/* The time that slabs are stamped with, in ms; it may be behind.  Whoever reads the clock sets it. */
extern hkm_word hkm_slab_clock HKM_HIDDEN;

/* Hardened mode: every block handed out is marked, so that every double free is seen at once. */
void hkm_slab_mark_live(struct hkm_slab *s, void *block);
bool hkm_slab_is_live(const struct hkm_slab *s, const void *block);
bool hkm_slab_mark_dead(struct hkm_slab *s, void *block); /* false: it was not live */

bool hkm_slab_valid(const struct hkm_slab *s);

HKM_INLINE void hkm_slab_give_one(struct hkm_slab *s, void *block)
{
    unsigned x = hkm_class_index(s->magic, (uintptr_t)block % HKM_SLOT_SIZE), w = x / HKM_WORD_BITS;
    size_t bit = (size_t)1 << x % HKM_WORD_BITS;
    if (unlikely(x >= s->blocks) || unlikely(s->free[w] & bit)) {
        (void)hkm_slab_give(s, &block, 1); /* ends the process */
        return;
    }
    s->free[w] |= bit;
    if (w < s->hint)
        s->hint = (uint16_t)w;
    s->nfree++;
    s->given = (uint32_t)hkm_load(&hkm_slab_clock);
}

#endif
