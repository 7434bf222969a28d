/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * class.h: size classes.  The rows stand in class.def.
 *
 * A slab is one slot, 64 KiB aligned to 64 KiB, full of blocks of one class from its start.  `magic` is 2^32 / size rounded
 * up: for an offset below 64 KiB, offset * magic has the block's index above bit 32, and below it less than 2^16 exactly
 * when the offset is a block's start (the rounding error is below size and is multiplied by the index at most, and
 * size * index < 2^16; any other offset leaves at least magic, which is 2^17 or more).
 */
#ifndef HKM_CLASS_H
#define HKM_CLASS_H

#include "base.h"

enum {
    HKM_SLOT_SHIFT = 16,
    HKM_SLOT_SIZE = 1 << HKM_SLOT_SHIFT,
    HKM_TINY_MAX = 1024,
    HKM_MID_MAX = 32768,
    HKM_TINY_CLASSES = 32,
    HKM_CLASSES = 72,
    HKM_GROUPS = 8, /* C0..C7, in which the tiny classes are reported */
};

struct hkm_class {
    uint32_t size;
    uint32_t magic;
    uint16_t blocks; /* in a slab */
    uint16_t words;  /* of a bitmap over them */
    uint16_t most;   /* blocks that one Unified Cache holds at most */
};
extern const struct hkm_class hkm_class[HKM_CLASSES] HKM_HIDDEN;

/* The class that serves a size.  1 <= size <= HKM_MID_MAX; 0 counts as 1. */
static inline unsigned hkm_class_of(size_t size)
{
    size_t n = size - (size != 0); /* 0-based */
    if (n < 256)
        return (unsigned)(n >> 4);
    unsigned top = hkm_high_bit(n); /* from here on, 8 classes for each power of two */
    return 16 + (top - 8) * 8 + ((unsigned)(n >> (top - 3)) & 7);
}

/* The class whose blocks are aligned and serve the size, or HKM_CLASSES.  alignment: 2^k. */
unsigned hkm_class_aligned(size_t alignment, size_t size);

/* Index of the block at an offset below 64 KiB; and whether one begins there. */
static inline unsigned hkm_class_index(uint32_t magic, size_t offset)
{
    return (unsigned)((uint64_t)(uint32_t)offset * magic >> 32);
}
static inline bool hkm_class_starts(uint32_t magic, uintptr_t address)
{
    return (uint32_t)((uint16_t)address * magic) <= 0xffff;
}

unsigned hkm_class_group(unsigned cls); /* C0..C7 of a tiny class */
bool hkm_class_valid(void);

#endif
