/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * atomic.h: the atomic operations that HAKMEM uses, under names of its own.
 *
 * The only file that includes libatomic_ops (its header-only part, so that the library needs libc alone).  Every shared
 * word is an AO_t, which is as wide as a pointer on every target.
 *
 * Order: _rel pairs with _acq as named at the place of use; the read-modify-write operations are full barriers.
 */
#ifndef HKM_ATOMIC_H
#define HKM_ATOMIC_H

#include <stddef.h>
#include <stdint.h>

/* Each is an instruction or two; a compiler that wants small code (HKM_SMALL) would call them. */
#ifdef __GNUC__
#define HKM_OPERATION static inline __attribute__((always_inline))
#define __inline __inline __attribute__((always_inline))
#else
#define HKM_OPERATION static inline
#endif
#include <atomic_ops.h>
#undef __inline

typedef AO_t hkm_word; /* an atomic word: size_t wide, accessed by the operations below only */

#define HKM_WORD_BITS ((unsigned)(8 * sizeof(size_t)))

HKM_OPERATION size_t hkm_load(const hkm_word *w) { return AO_load(w); }
HKM_OPERATION size_t hkm_load_acq(const hkm_word *w) { return AO_load_acquire(w); }
HKM_OPERATION void hkm_store(hkm_word *w, size_t v) { AO_store(w, v); }
HKM_OPERATION void hkm_store_rel(hkm_word *w, size_t v) { AO_store_release(w, v); }
HKM_OPERATION size_t hkm_add(hkm_word *w, size_t v) { return AO_fetch_and_add_full(w, v); }
HKM_OPERATION int hkm_cas(hkm_word *w, size_t old, size_t v) { return AO_compare_and_swap_full(w, old, v); }

/* Takes what is in the word and leaves v. */
HKM_OPERATION size_t hkm_swap(hkm_word *w, size_t v)
{
#ifdef AO_HAVE_swap_full
    return AO_swap_full(w, v);
#else
    size_t old;
    do
        old = AO_load(w);
    while (!AO_compare_and_swap_full(w, old, v));
    return old;
#endif
}

/* Sets, or clears, bits and returns what was there before. */
HKM_OPERATION size_t hkm_fetch_or(hkm_word *w, size_t bits)
{
    /* Guessing that none is set saves a load, and with it a cache miss: the word comes to be written at once. */
    size_t old = 0, seen;
    while ((seen = AO_fetch_compare_and_swap_full(w, old, old | bits)) != old)
        old = seen;
    return old;
}

HKM_OPERATION size_t hkm_fetch_clear(hkm_word *w, size_t bits)
{
    size_t old = AO_load(w), seen;
    while ((seen = AO_fetch_compare_and_swap_full(w, old, old & ~bits)) != old)
        old = seen;
    return old;
}

/* Stores before come before stores after, for whoever sees this thread's memory as a fork left it.  The child of a fork
 * sees what every other thread has done up to one point of its program: pages are protected first, and a thread that
 * stores to one then waits there.  So only the compiler must be told. */
HKM_OPERATION void hkm_in_order(void) { AO_compiler_barrier(); }

/* A relaxed load of an aligned word or pointer that another thread may be storing.  Plain, so that the compiler may use
 * it as an operand of a comparison (it never does that with an atomic load), which the fast paths live on; aligned words
 * are loaded whole on every target.  What is read through a pointer that was peeked at is ordered by the address
 * dependency; the thread sanitizer does not know of those, so its builds use an atomic load with acquire. */
#if defined(__SANITIZE_THREAD__)
#define HKM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HKM_TSAN 1
#endif
#endif
/* A statistic that only its owner counts and anybody may read: one instruction, not a locked one, where there is such. */
HKM_OPERATION void hkm_count(hkm_word *w, size_t v)
{
#if defined(__x86_64__) && defined(__LP64__) && !defined(HKM_TSAN)
    __asm__("addq %1, %0" : "+m"(*w) : "er"((uint64_t)v));
#else
    AO_store(w, AO_load(w) + v);
#endif
}

/* Whether a thread's loads happen in the order of its program without being told. */
#if (defined(__x86_64__) || defined(__i386__) || defined(__s390x__)) && !defined(HKM_TSAN)
#define HKM_LOADS_IN_ORDER 1
#else
#define HKM_LOADS_IN_ORDER 0
#endif

#ifdef HKM_TSAN
#define hkm_peek(lvalue) __atomic_load_n(&(lvalue), __ATOMIC_ACQUIRE)
#else
#define hkm_peek(lvalue) (lvalue)
#endif

#endif
