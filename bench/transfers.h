/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * transfers.h: included first in every file of the library that transfers.py builds.  The operations of atomic.h become the
 * compiler's own, which it tells transfers.c of; those of libatomic_ops are inline assembly, which it cannot see into.
 */
#ifndef TRANSFERS_H
#define TRANSFERS_H

#include "atomic.h"

#define hkm_load(w) __atomic_load_n(w, __ATOMIC_RELAXED)
#define hkm_load_acq(w) __atomic_load_n(w, __ATOMIC_ACQUIRE)
#define hkm_store(w, v) __atomic_store_n(w, v, __ATOMIC_RELAXED)
#define hkm_store_rel(w, v) __atomic_store_n(w, v, __ATOMIC_RELEASE)
#define hkm_add(w, v) __atomic_fetch_add(w, (size_t)(v), __ATOMIC_SEQ_CST)
#define hkm_swap(w, v) __atomic_exchange_n(w, v, __ATOMIC_SEQ_CST)
#define hkm_cas(w, old, v) transfers_cas(w, old, v)
#define hkm_fetch_or(w, bits) transfers_or(w, bits)
#define hkm_fetch_clear(w, bits) transfers_clear(w, bits)
#define hkm_count(w, v) transfers_count(w, v)

#define INLINE static inline __attribute__((always_inline, unused))
INLINE int transfers_cas(hkm_word *w, size_t old, size_t v)
{
    return __atomic_compare_exchange_n(w, &old, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
INLINE size_t transfers_or(hkm_word *w, size_t bits)
{
    size_t old = 0;
    while (!__atomic_compare_exchange_n(w, &old, old | bits, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
    return old;
}
INLINE size_t transfers_clear(hkm_word *w, size_t bits)
{
    size_t old = hkm_load(w);
    while (!__atomic_compare_exchange_n(w, &old, old & ~bits, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
    return old;
}
INLINE void transfers_count(hkm_word *w, size_t v) { *(size_t *)w += v; }
#undef INLINE

#endif
