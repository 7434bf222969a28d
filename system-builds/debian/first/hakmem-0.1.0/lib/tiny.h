/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * tiny.h: blocks of one size class: the tiny pool, and the classes of the mid pool up to 32 KiB.
 *
 * A heap has one struct hkm_tiny a class: its slabs of that class, those with free blocks apart from the full ones.  All
 * functions want the heap's lock.
 */
#ifndef HKM_TINY_H
#define HKM_TINY_H

#include "slab.h"

enum hkm_listed { HKM_UNLISTED, HKM_PARTIAL, HKM_FULL };

struct hkm_tiny {
    struct hkm_slab *partial, *full;
};

/* Fills the array with up to `want` blocks; returns how many. */
unsigned hkm_tiny_fill(struct hkm_tiny *t, void **out, unsigned want);
/* Takes back n blocks of this heap and class.  Slabs that became empty, but for one that is kept, are unlisted and
 * returned as a list linked by `next`. */
struct hkm_slab *hkm_tiny_drain(struct hkm_tiny *t, unsigned cls, void *const *blocks, unsigned n);
/* Lists a slab by its state; the slab is on no list, or its count of free blocks has changed.  An empty one is unlisted
 * and returned when others have free blocks (or keep is false), else NULL. */
struct hkm_slab *hkm_tiny_settle(struct hkm_tiny *t, struct hkm_slab *s, bool keep);
void hkm_tiny_remove(struct hkm_tiny *t, struct hkm_slab *s);

bool hkm_tiny_valid(const struct hkm_tiny *t, unsigned cls, const void *heap);

#endif
