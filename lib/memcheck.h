/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * memcheck.h: what valgrind's memcheck is told, in a library that was configured with --enable-valgrind.  In others these
 * functions are empty.
 *
 * Such a library is hardened too, so that every call comes through the gates of alloc.c.  There each block gets a red zone
 * behind what was asked for; its last word holds that size, so that realloc copies no more and malloc_usable_size says no
 * more.  (No program can write there unnoticed: the one case where HAKMEM keeps a word beside a block.)
 *
 * Our own structures point to blocks: to the start of every slab, to what was popped from a cache last.  They are hidden, or
 * no block would ever count as lost.
 */
#ifndef HKM_MEMCHECK_H
#define HKM_MEMCHECK_H

#include "base.h"

enum { HKM_RED_ZONE = HKM_VALGRIND ? 32 : 0 }; /* bytes that are added to every request */

#if HKM_VALGRIND
#include <string.h>
#include <valgrind/memcheck.h>

/* The block at p, of so many usable bytes, was handed out for a request of `size`; its contents are undefined. */
static inline void hkm_memcheck_alloc(void *p, size_t size, size_t bytes)
{
    char *end = (char *)p + bytes;
    VALGRIND_MALLOCLIKE_BLOCK(p, size, 0, 0);
    (void)VALGRIND_MAKE_MEM_UNDEFINED(end - sizeof size, sizeof size);
    memmove(end - sizeof size, &size, sizeof size);
    (void)VALGRIND_MAKE_MEM_NOACCESS((char *)p + size, bytes - size);
}

/* What was asked for, of a block that is in use. */
static inline size_t hkm_memcheck_size(const void *p, size_t bytes)
{
    size_t size;
    const char *last = (const char *)p + bytes - sizeof size;
    (void)VALGRIND_MAKE_MEM_DEFINED(last, sizeof size);
    memmove(&size, last, sizeof size);
    (void)VALGRIND_MAKE_MEM_NOACCESS(last, sizeof size);
    return size;
}

/* Complains when the block is not in use. */
static inline void hkm_memcheck_free(void *p) { VALGRIND_FREELIKE_BLOCK(p, 0); }

static inline void hkm_memcheck_hide(void *p, size_t size)
{
    (void)VALGRIND_MAKE_MEM_NOACCESS(p, size);
    (void)VALGRIND_DISABLE_ADDR_ERROR_REPORTING_IN_RANGE(p, size);
}
#else
static inline void hkm_memcheck_alloc(void *p, size_t size, size_t bytes) { (void)p, (void)size, (void)bytes; }
static inline size_t hkm_memcheck_size(const void *p, size_t bytes) { return (void)p, bytes; }
static inline void hkm_memcheck_free(void *p) { (void)p; }
static inline void hkm_memcheck_hide(void *p, size_t size) { (void)p, (void)size; }
#endif

#endif
