/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * alloc.h: size -> path, pointer -> path: the gatekeeper.  The fast paths stand here, on one screen.
 *
 * malloc pops from the Unified Cache of the size's class; free pushes there, after it has found in the slot's tag that the
 * block is this thread's, and that it is a block's start, and has compared it with the block freed last.  Everything else is
 * reached by a tail call.  No locked instruction, no call, no system call; user memory is not touched.
 */
#ifndef HKM_ALLOC_H
#define HKM_ALLOC_H

#include "os.h"
#include "thread.h"

void *hkm_alloc_slow(size_t size, const void *site);
void *hkm_alloc_mid(size_t size, const void *site, struct hkm_front *front); /* above HKM_TINY_MAX */
void hkm_free_slow(void *p);
void hkm_free_other(void *p, struct hkm_tag *t); /* in the first range; the tag of its slot is no bin's of this thread */
void *hkm_alloc_hardened(size_t size, const void *site);
void hkm_free_hardened(void *p);

/* Makes the compiler forget that it has the value in a register, so that counting is one instruction on memory. */
#define HKM_AFRESH(lvalue) __asm__("" : "+m"(lvalue))

/* Keeps a pointer out of the register that results are returned in, so that the block is loaded right into it. */
#ifdef __x86_64__
#define HKM_NOT_RESULT(pointer) __asm__("" : "+d"(pointer))
#else
#define HKM_NOT_RESULT(pointer) ((void)0)
#endif

HKM_INLINE void *hkm_alloc_fast(size_t size)
{
    struct hkm_front *front = hkm_thread_front();
    if (HKM_HARDENED)
        return hkm_alloc_hardened(size, __builtin_return_address(0));
    if (likely(size <= HKM_TINY_MAX)) {
        struct hkm_bin *b = front->at[(size + 15) >> 4];
        HKM_NOT_RESULT(b);
        void *p = b->slots[b->room];
        if (likely(p != NULL)) {
            HKM_AFRESH(b->room);
            b->room++;
            if (HKM_STATS)
                hkm_count(&b->heap->count.mallocs, 1);
            return p;
        }
        return hkm_alloc_slow(size, __builtin_return_address(0));
    }
    return hkm_alloc_mid(size, __builtin_return_address(0), front);
}

HKM_INLINE void hkm_free_fast(void *p)
{
    size_t slot = ((uintptr_t)p - hkm_peek(hkm_range.base)) >> HKM_SLOT_SHIFT;
    if (HKM_HARDENED) {
        hkm_free_hardened(p);
        return;
    }
    if (likely(slot < hkm_peek(hkm_range.used))) {
        struct hkm_tag *t = hkm_peek(hkm_range.tags[slot]);
        if (unlikely(hkm_peek(t->thread) != hkm_os_thread())) {
            hkm_free_other(p, t);
            return;
        }
        if (likely(hkm_class_starts(t->magic, (uintptr_t)p))) {
            struct hkm_bin *b = (struct hkm_bin *)(void *)t; /* a tag with a thread is a bin's */
            size_t room = b->room;
            if (likely(b->slots[room] != p)) {
                b->slots[room - 1] = p;
                HKM_AFRESH(b->room);
                if (HKM_STATS)
                    hkm_count(&b->heap->count.frees, 1);
                if (unlikely(!--b->room))
                    hkm_thread_full(b);
                return;
            }
        }
    }
    hkm_free_slow(p);
}

/* NULL and ENOMEM when memory is out; the size is checked against PTRDIFF_MAX. */
void *hkm_alloc(size_t size, const void *site);
void *hkm_alloc_zeroed(size_t count, size_t size, const void *site);
void *hkm_alloc_aligned(size_t alignment, size_t size); /* alignment: 2^k */
void *hkm_alloc_rounded(size_t alignment, size_t size); /* as memalign: any alignment, rounded up to 2^k */
int hkm_alloc_checked(void **result, size_t alignment, size_t size); /* as posix_memalign */
void *hkm_alloc_array(void *p, size_t count, size_t size, const void *site); /* as reallocarray */
void *hkm_alloc_resize(void *p, size_t size, const void *site);
size_t hkm_alloc_usable(const void *p); /* aborts when p is not a block; NULL: 0 */

/* The C library's function of that name, in a process that is left to the C library; else NULL. */
void *hkm_alloc_passed(const char *function);

void hkm_alloc_stats(struct hak_stats *s);
size_t hkm_alloc_purge(void);

#endif
