/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * meta.h: memory for HAKMEM's own structures, far from any block.
 *
 * What is taken is zeroed and never returned to the kernel.  Thread-safe.
 */
#ifndef HKM_META_H
#define HKM_META_H

#include "base.h"
#include "atomic.h"

/* Bytes that come from the library's own zeroed data. */
enum { HKM_META_FIRST = 192 << 10 };

/* alignment: 2^k up to a page.  NULL when memory is out. */
void *hkm_meta_alloc(size_t size, size_t alignment);

/* Arrays of words, recycled by size: contents undefined.  words >= 1. */
hkm_word *hkm_meta_words_get(unsigned words);
void hkm_meta_words_put(hkm_word *w, unsigned words);

/* Takes over memory that its owner gives up for good: zeroed, whole pages, with one on either side that nobody may touch. */
void hkm_meta_adopt(void *memory, size_t bytes);

size_t hkm_meta_bytes(void); /* mapped so far, here and by hkm_meta_note */
void hkm_meta_note(size_t bytes); /* counts metadata that another file mapped */
/* The same for areas of address space: those that the kernel has a mapping for, unless it joins them to a neighbour. */
size_t hkm_meta_areas(void);
void hkm_meta_note_area(size_t areas);

#endif
