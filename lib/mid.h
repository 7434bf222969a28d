/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * mid.h: the upper part of the mid pool, and big blocks inside ranges: runs of slots, page-granular.
 *
 * A run takes whole slots of address space, but only its pages are ever touched; usable size is a multiple of a page.
 * Thread-safe.
 */
#ifndef HKM_MID_H
#define HKM_MID_H

#include "registry.h"

/* zero: the caller wants it cleared.  alignment: 2^k.  NULL: no memory. */
void *hkm_mid_alloc(size_t size, size_t alignment, bool zero, const void *site);
void hkm_mid_free(struct hkm_slab *s);
/* Grows or shrinks in place; false: it must move. */
bool hkm_mid_resize(struct hkm_slab *s, size_t size);

size_t hkm_mid_bytes(void); /* usable bytes of all runs that are out */

#endif
