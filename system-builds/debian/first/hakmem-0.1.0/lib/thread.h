/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * thread.h: birth and death of threads, fork, and the order of refill.
 */
#ifndef HKM_THREAD_H
#define HKM_THREAD_H

#include "heap.h"

/* All the thread-local storage that HAKMEM has: 16 bytes, initial-exec.  Both words are 0 in a thread that has not
 * allocated yet, and before TLS is set up at all.  The heap is kept as its distance from hkm_heap_empty, so that 0 means
 * the empty heap and the fast path needs no test whether there is one. */
struct hkm_tls {
    intptr_t heap;
    uintptr_t exits; /* HKM_LATE: the thread is ending and has given up its heap for good; else 0 */
};
#define HKM_LATE ((uintptr_t)-1)
extern __thread struct hkm_tls hkm_tls __attribute__((tls_model("initial-exec"), visibility("hidden")));

HKM_INLINE struct hkm_front *hkm_thread_front(void)
{
    return (struct hkm_front *)((uintptr_t)&hkm_heap_empty + (uintptr_t)hkm_tls.heap);
}

/* For slow paths: the calling thread's heap, made or adopted if need be; NULL when memory is out.  A thread past the
 * library's destructor gets the late heap, locked until hkm_thread_end. */
struct hkm_heap *hkm_thread_begin(void);
void hkm_thread_end(struct hkm_heap *h);
/* The thread's heap if it has one, else NULL; never makes one. */
struct hkm_heap *hkm_thread_own(void);
/* The same, and it is made if need be; NULL: no memory, or the thread is past the library's destructor. */
struct hkm_heap *hkm_thread_keep(void);

/* The cache of that class is empty: fills it and returns a block (perhaps flagged HKM_ZERO); NULL: no memory. */
void *hkm_thread_refill(struct hkm_heap *h, unsigned cls);
/* The push that just came left no room in this cache. */
void hkm_thread_full(struct hkm_bin *b);
/* Something took the slow way: a moment to give idle memory back, of this and other heaps. */
void hkm_thread_tick(void);
/* Frees a block of another heap. */
void hkm_thread_free_remote(void *block, struct hkm_slab *s);

/* Calls back for every heap there is; no lock is held. */
void hkm_thread_each(void (*each)(struct hkm_heap *h, void *arg), void *arg);
size_t hkm_thread_heaps(void);
size_t hkm_thread_parked(void);
/* Gives back what idle memory there is, of all heaps.  Bytes. */
size_t hkm_thread_purge(void);

#endif
