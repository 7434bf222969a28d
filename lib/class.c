/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * class.c: the table of size classes.  See class.h and class.def.
 */
#define HKM_SMALL
#include "class.h"
#include "atomic.h"

#define BLOCKS(size) (HKM_SLOT_SIZE / (size))
#define X(size, most)                                                                                  \
    { (size), (uint32_t)(((1ull << 32) + (size) - 1) / (size)), BLOCKS(size),                          \
      (BLOCKS(size) + 8 * sizeof(size_t) - 1) / (8 * sizeof(size_t)), (most) },
HKM_USED const struct hkm_class hkm_class[HKM_CLASSES] = {
#include "class.def"
};
#undef X

#define X(size, most)                                                                                   \
    _Static_assert((size) % 16 == 0 && (size) <= HKM_MID_MAX, "a class is a multiple of 16");           \
    _Static_assert((most) >= 2 && (most) * (size) <= ((size) <= HKM_TINY_MAX ? 163840 : 65536), "cached bytes");
#include "class.def"
#undef X
#define X(size, most) +1
_Static_assert(HKM_CLASSES == 0
#include "class.def"
               , "HKM_CLASSES counts the rows of class.def");
#undef X

unsigned hkm_class_aligned(size_t alignment, size_t size)
{
    if (size < alignment)
        size = alignment;
    if (size > HKM_MID_MAX)
        return HKM_CLASSES;
    /* Slabs are aligned to 64 KiB, so a block's alignment is that of its class's size.  Every power of two is a class. */
    for (unsigned c = hkm_class_of(size); c < HKM_CLASSES; c++)
        if (!(hkm_class[c].size & (alignment - 1)))
            return c;
    return HKM_CLASSES;
}

unsigned hkm_class_group(unsigned cls)
{
    unsigned top = hkm_high_bit(hkm_class[cls].size - 1); /* size 16 -> 3 */
    return top < 3 ? 0 : top - 2 < HKM_GROUPS ? top - 2 : HKM_GROUPS - 1;
}

bool hkm_class_valid(void)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        const struct hkm_class *k = &hkm_class[c];
        if (hkm_class_of(k->size) != c || (c && hkm_class_of(hkm_class[c - 1].size + 1) != c))
            return false;
        if (k->blocks != HKM_SLOT_SIZE / k->size || k->words * HKM_WORD_BITS < k->blocks)
            return false;
    }
    return true;
}
