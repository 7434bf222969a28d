/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * base.h: words that every file uses: branch hints, attributes, assertions, rounding.
 */
#ifndef HKM_BASE_H
#define HKM_BASE_H

#include "config.h"

/* A file that says HKM_SMALL is compiled for size: it is not run often, and every process maps it. */
#if defined HKM_SMALL && defined __OPTIMIZE__ && !defined __clang__
#pragma GCC optimize("Os")
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define HKM_COLD __attribute__((noinline, cold))
#define HKM_NOINLINE __attribute__((noinline))
#define HKM_INLINE static inline __attribute__((always_inline))
/* For data that other files see: without it the compiler reaches the data through the global offset table. */
#define HKM_HIDDEN __attribute__((visibility("hidden")))
#define HKM_EXPORT __attribute__((visibility("default")))
/* What live.c names in assembler code, where the compiler does not see it; and a name for it there, of a static variable. */
#define HKM_USED __attribute__((used))
#define HKM_SHOWN(variable, name) \
    extern __typeof__(variable) name __attribute__((alias(#variable), visibility("hidden"), used))
/* Of zeroed data that small processes do not touch: a common symbol, because the linker puts those behind all others, in
 * the order of the files.  What every process touches shares the page at which the data begins, and the next; the low end of
 * hkm_meta_first belongs to it, so in CORE_SOURCES no file that has such data stands before meta.c. */
#define HKM_BEHIND HKM_HIDDEN __attribute__((common))
#define HKM_ALIGNED(n) __attribute__((aligned(n)))
/* Of a structure: no other variable lies in its cache lines.  For static words that many threads write, apart from those that
 * many only read: a thread that reads one waits for the line each time when another has written its neighbour.
 * tests/lint/lines.sh looks where the linker has put them. */
#define HKM_OWN_LINES HKM_ALIGNED(64)

/* hkm_check holds in every build: its failure means that the heap is corrupt, and the process ends with one line.
 * hkm_assert states an invariant for readers and is checked in debug builds only. */
void hkm_os_check_failed(const char *what) __attribute__((noreturn, cold));
#define hkm_check(cond)                                     \
    do {                                                    \
        if (unlikely(!(cond)))                              \
            hkm_os_check_failed("internal check: " #cond);  \
    } while (0)
#define hkm_assert(cond)                                    \
    do {                                                    \
        if (HKM_DEBUG && unlikely(!(cond)))                 \
            hkm_os_check_failed("assertion: " #cond);       \
    } while (0)

/* Strings.  libc has these too, but each name that the library imports is looked up at every start of a process; so memmove
 * does what memcpy could. */
static inline size_t hkm_length(const char *s)
{
    const char *e = s;
    while (*e)
        e++;
    return (size_t)(e - s);
}
/* s begins with the first n bytes of t. */
static inline bool hkm_begins(const char *s, const char *t, size_t n)
{
    while (n && *s == *t && *s)
        s++, t++, n--;
    return n == 0;
}
static inline bool hkm_same(const char *s, const char *t)
{
    size_t n = hkm_length(t);
    return hkm_length(s) == n && hkm_begins(s, t, n);
}

static inline size_t hkm_round_up(size_t n, size_t unit) { return (n + unit - 1) & ~(unit - 1); } /* unit: 2^k */
static inline bool hkm_is_pow2(size_t n) { return n && !(n & (n - 1)); }

/* Index of the lowest and of the highest bit; n is not 0. */
static inline unsigned hkm_low_bit(size_t n)
{
    return sizeof n == sizeof(unsigned long) ? (unsigned)__builtin_ctzl(n) : (unsigned)__builtin_ctzll(n);
}
static inline unsigned hkm_high_bit(size_t n)
{
    return (8 * (unsigned)sizeof(unsigned long long) - 1) ^ (unsigned)__builtin_clzll(n); /* ^ is -, and one instruction */
}
/* Sets a bit, index taken modulo the word; true: it was set. */
HKM_INLINE bool hkm_set_bit(size_t *word, size_t index)
{
#ifdef __x86_64__
    bool was;
    __asm__("btsq %2, %0" : "+r"(*word), "=@ccc"(was) : "r"(index));
    return was;
#else
    size_t bit = (size_t)1 << index % (8 * sizeof bit), before = *word;
    *word |= bit;
    return (before & bit) != 0;
#endif
}
static inline unsigned hkm_popcount(size_t n) { return (unsigned)__builtin_popcountll(n); }

#endif
