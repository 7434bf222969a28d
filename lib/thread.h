/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * thread.h: birth and death of threads, fork, and the order of refill.
 */
#ifndef HKM_THREAD_H
#define HKM_THREAD_H

#include "heap.h"

/* All the thread-local storage that HAKMEM has: 16 bytes, initial-exec.  Both words are 0 in a thread that has not
 * allocated yet, and before TLS is set up at all.  So `below` tells small sizes from large ones and, at once, threads that
 * have a heap from those that have none, for which no size is small: the fast path needs one test for both. */
struct hkm_tls {
    struct hkm_heap *heap; /* NULL: none yet; HKM_LATE: the thread is ending and has given up its heap for good */
    size_t below;          /* HKM_TINY_MAX + 1 (or HKM_CALLED) while `heap` is a heap, else 0; set after it and cleared before it */
};
#define HKM_LATE ((struct hkm_heap *)-1)
#define HKM_CALLED ((size_t)1) /* the next malloc is to take the slow way, as no size but 0 is below: see hkm_thread_called */
extern __thread struct hkm_tls hkm_tls __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* For slow paths: the calling thread's heap, made or adopted if need be; NULL when memory is out.  A thread past the
 * library's destructor gets the late heap, locked until hkm_thread_end. */
struct hkm_heap *hkm_thread_begin(void);
void hkm_thread_end(struct hkm_heap *h);
/* The thread's heap if it has one, else NULL; never makes one. */
HKM_INLINE struct hkm_heap *hkm_thread_own(void) { return likely(hkm_tls.below) ? hkm_tls.heap : NULL; }
/* The same, and it is made if need be; NULL: no memory, or the thread is past the library's destructor. */
struct hkm_heap *hkm_thread_keep(void);

/* The cache of that class is empty: fills it and returns a block (perhaps flagged HKM_ZERO); NULL: no memory. */
void *hkm_thread_refill(struct hkm_heap *h, unsigned cls);
/* The push that just came left no room in this cache. */
void hkm_thread_full(struct hkm_bin *b);
/* Something took the slow way: a moment to give idle memory back, of this and other heaps. */
void hkm_thread_tick(void);
/* A malloc that was called, or any other that took a slow way: sees to it, and the thread is called again or is not. */
void hkm_thread_called(void);
HKM_INLINE void hkm_thread_heed(void)
{
    if (unlikely(hkm_tls.below == HKM_CALLED))
        hkm_thread_called();
}
/* A free found the registry shut: sees to what a fork left, and opens it. */
void hkm_thread_open(void);
size_t hkm_thread_release_runs(struct hkm_heap *h); /* hkm_heap_release_runs of the caller's heap */
/* Frees a block of another heap. */
void hkm_thread_free_remote(void *block, struct hkm_slab *s);

/* Calls back for every heap there is; no lock is held. */
void hkm_thread_each(void (*each)(struct hkm_heap *h, void *arg), void *arg);
size_t hkm_thread_heaps(void);
size_t hkm_thread_parked(void);
/* Gives back what idle memory there is, of all heaps.  Bytes. */
size_t hkm_thread_purge(void);

#endif
