/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * alloc.h: size -> path, pointer -> path: the gatekeeper.  The fast paths stand here, on one screen.
 *
 * malloc pops from the Unified Cache of the size's class; free pushes there, after it has found in the slot's tag that the
 * block is this thread's, and that it is a block's start, and has compared it with the block freed last.  Everything else is
 * reached by a tail call.  No locked instruction, no call, no system call; user memory is not touched.  calloc and realloc pop
 * and push in the same way, and clear and copy what is the user's.
 */
#ifndef HKM_ALLOC_H
#define HKM_ALLOC_H

#include "os.h"
#include "thread.h"

#include <string.h>

void *hkm_alloc_slow(size_t size, const void *site);
void *hkm_alloc_above(size_t size, const void *site); /* above HKM_TINY_MAX, or of any size in a thread without a heap */
void hkm_free_slow(void *p);
void hkm_free_other(void *p, struct hkm_tag *t, size_t slot); /* in the first range; its tag is no bin's of this thread */
void *hkm_alloc_hardened(size_t size, const void *site);
void hkm_free_hardened(void *p);

/* NULL and ENOMEM when memory is out; the size is checked against PTRDIFF_MAX. */
void *hkm_alloc(size_t size, const void *site);
void *hkm_alloc_zeroed(size_t size, const void *site);
void *hkm_alloc_resize(void *p, size_t size, const void *site);

/* Makes the compiler forget that it has the value in a register, so that counting is one instruction on memory. */
#define HKM_AFRESH(lvalue) __asm__("" : "+m"(lvalue))

/* Keeps a pointer out of the register that results are returned in, so that the block is loaded right into it. */
#ifdef __x86_64__
#define HKM_NOT_RESULT(pointer) __asm__("" : "+d"(pointer))
#else
#define HKM_NOT_RESULT(pointer) ((void)0)
#endif

/* NULL: it takes hkm_bin_take, or there is none. */
HKM_INLINE void *hkm_bin_pop(struct hkm_bin *b)
{
    HKM_NOT_RESULT(b);
    void *p = b->first;
    if (unlikely(!p))
        return NULL;
    void *after = b->slots[b->room];
    HKM_AFRESH(b->room);
    b->room++;
    hkm_in_order(); /* a fork may come in between: a block may be lost to the child, but none is there twice */
    b->first = after;
    if (HKM_STATS)
        hkm_count(&b->heap->count.mallocs, 1);
    return p;
}

/* Of a class up to HKM_TINY_MAX; NULL: the slow way. */
HKM_INLINE void *hkm_bin_pop_tiny(struct hkm_heap *h, size_t size) { return hkm_bin_pop(h->at[h->map[size + 15]]); }

/* A block of this bin's heap and class comes back; it is not the one that was pushed last. */
HKM_INLINE void hkm_bin_push(struct hkm_bin *b, void *p)
{
    size_t room = b->room;
    b->slots[room - 1] = p;
    HKM_AFRESH(b->room); /* the block first, then the count: a fork may come in between */
    if (unlikely(!--b->room))
        hkm_thread_full(b);
}

/* A block from a cache or a refill, of a class above HKM_TINY_MAX, may carry the flag that it is all zero. */
HKM_INLINE void *hkm_unflag(void *p) { return (void *)((uintptr_t)p & ~HKM_ZERO); }

/* From the cache of any class, perhaps flagged; NULL: the slow way.  size: at most HKM_MID_MAX. */
HKM_INLINE void *hkm_bin_pop_any(struct hkm_heap *h, size_t size)
{
    struct hkm_bin *b = h->bin[hkm_class_of(size)];
    void *p;
    if (unlikely(!b))
        return NULL;
    if (likely((p = hkm_bin_pop(b)) != NULL))
        return p;
    /* Of large blocks a cache holds few: one that comes and goes alone is in the array. */
    if (!(p = b->slots[b->room]) || b->room + 1u != b->cap)
        return NULL;
    b->room++;
    if (HKM_STATS)
        hkm_count(&h->count.mallocs, 1);
    return p;
}

HKM_INLINE void *hkm_alloc_fast(size_t size)
{
    if (HKM_HARDENED)
        return hkm_alloc_hardened(size, __builtin_return_address(0));
    if (likely(size < hkm_tls.below)) {
        void *p = hkm_bin_pop_tiny(hkm_tls.heap, size);
        return likely(p != NULL) ? p : hkm_alloc_slow(size, __builtin_return_address(0));
    }
    return hkm_alloc_above(size, __builtin_return_address(0));
}

/* A block of `old` bytes also serves so many. */
HKM_INLINE bool hkm_alloc_stays(size_t size, size_t old) { return size <= old && size && (size >= old / 2 || old <= 64); }

/* calloc.  Warm memory is sooner cleared than asked about. */
HKM_INLINE void *hkm_alloc_zeroed_fast(size_t count, size_t size)
{
    size_t bytes;
    void *p;
    if (unlikely(__builtin_mul_overflow(count, size, &bytes)))
        bytes = SIZE_MAX; /* as much as there never is */
    if (!HKM_HARDENED && likely(bytes < hkm_tls.below) &&
        likely((p = hkm_bin_pop_tiny(hkm_tls.heap, bytes)) != NULL))
        return memset(p, 0, bytes);
    return hkm_alloc_zeroed(bytes, __builtin_return_address(0));
}

HKM_INLINE void hkm_free_fast(void *p)
{
    size_t slot = ((uintptr_t)p - hkm_peek(hkm_range.base)) >> HKM_SLOT_SHIFT;
    if (HKM_HARDENED) {
        hkm_free_hardened(p);
        return;
    }
    if (likely(slot < hkm_peek(hkm_range.open))) {
        struct hkm_tag *t = hkm_peek(hkm_range.tags[slot]);
        if (unlikely(hkm_peek(t->thread) != hkm_os_thread())) {
            hkm_free_other(p, t, slot);
            return;
        }
        if (likely(hkm_class_starts(t->magic, (uintptr_t)p))) {
            struct hkm_bin *b = (struct hkm_bin *)(void *)t; /* a tag with a thread is a bin's */
            if (likely(b->slots[b->room] != p)) {
                if (HKM_STATS)
                    hkm_count(&b->heap->count.frees, 1);
                hkm_bin_push(b, p);
                return;
            }
        }
    }
    hkm_free_slow(p);
}

/* realloc.  Small and mid blocks of this thread are moved within its caches; all else, and whatever may be wrong, the long
 * way. */
HKM_INLINE void *hkm_alloc_resize_fast(void *p, size_t size)
{
    size_t slot = ((uintptr_t)p - hkm_peek(hkm_range.base)) >> HKM_SLOT_SHIFT;
    if (!HKM_HARDENED && likely(slot < hkm_peek(hkm_range.open))) {
        struct hkm_tag *t = hkm_peek(hkm_range.tags[slot]);
        struct hkm_bin *b = (struct hkm_bin *)(void *)t;
        if (likely(hkm_peek(t->thread) == hkm_os_thread()) && likely((uint16_t)(uintptr_t)p < b->end) &&
            likely(hkm_class_starts(t->magic, (uintptr_t)p)) && likely(b->slots[b->room] != p)) {
            size_t old = b->size;
            void *q;
            if (hkm_alloc_stays(size, old))
                return p;
            if (likely(size - 1 < HKM_MID_MAX)) {
                q = size <= HKM_TINY_MAX ? hkm_bin_pop_tiny(b->heap, size)
                                         : hkm_unflag(hkm_bin_pop_any(b->heap, size));
                if (likely(q != NULL)) {
                    memmove(q, p, size < old ? size : old);
                    if (HKM_STATS)
                        hkm_count(&b->heap->count.frees, 1);
                    hkm_bin_push(b, p);
                    return q;
                }
            }
        }
    }
    return hkm_alloc_resize(p, size, __builtin_return_address(0));
}

void *hkm_alloc_aligned(size_t alignment, size_t size); /* alignment: 2^k */
void *hkm_alloc_rounded(size_t alignment, size_t size); /* as memalign: any alignment, rounded up to 2^k */
int hkm_alloc_checked(void **result, size_t alignment, size_t size); /* as posix_memalign */
void *hkm_alloc_array(void *p, size_t count, size_t size, const void *site); /* as reallocarray */
size_t hkm_alloc_usable(const void *p); /* aborts when p is not a block; NULL: 0 */

/* The C library's function of that name, in a process that is left to the C library; else NULL. */
void *hkm_alloc_passed(const char *function);

void hkm_alloc_stats(struct hak_stats *s);
size_t hkm_alloc_purge(void);

#endif
