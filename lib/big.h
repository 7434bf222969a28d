/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * big.h: blocks with mappings of their own: very large ones, and those of very large alignment.
 *
 * They are known by their address in a table of our own; nothing stands beside the block.  Thread-safe.
 */
#ifndef HKM_BIG_H
#define HKM_BIG_H

#include "base.h"

void *hkm_big_alloc(size_t size, size_t alignment);  /* zeroed; NULL: no memory */
size_t hkm_big_size(const void *p);                  /* usable bytes; 0: not a big block */
bool hkm_big_free(void *p);                          /* false: not a big block */
void *hkm_big_resize(void *p, size_t size);          /* NULL: p is as before; contents move without being copied */
size_t hkm_big_bytes(void);
/* The big block that an address lies in, or NULL. */
void *hkm_big_around(const void *p);
bool hkm_big_was(const void *p); /* p is one of the big blocks that were freed last, and nothing is there since */

#endif
