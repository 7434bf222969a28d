/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * heap.h: a thread's heap: the Unified Cache, the slabs behind it, and the frees of other threads.
 *
 * Two sides.  The cache side (bins, remote buffer, spare bins) belongs to the heap's thread alone and has no atomics.  The
 * slab side (tiny lists, spare slots, inbox) is guarded by `lock`, so that purging, adopting and draining may come from any
 * thread.  Bins are made and moved under the lock too, because the slabs' tags point to them.
 */
#ifndef HKM_HEAP_H
#define HKM_HEAP_H

#include "lock.h"
#include "mid.h"
#include "registry.h"
#include "stats.h"
#include "tiny.h"

/* The cache of one class: a stack in an array that grows downwards, and the block that the next pop returns.
 *
 * slots[room .. cap - 1] are the cached blocks, the newest at `room`; slots[cap] is NULL: so a pushed block can be compared
 * with the one before without asking whether there is one.  room >= 1 outside this file: a push needs no test before it; the
 * push that leaves no room empties the cache a bit (hkm_heap_full).
 *
 * A pop returns `first` and loads the next one, from slots[room], in time for the pop after it.  A pop that returned what it
 * loads from the array would often wait for the push before it, which must have found the bin before it can store there.
 * While there is a first one, slots[cap - 1] is NULL: so cap - room counts it too, and the last pop leaves none.  Pushes go to
 * the array alone; where there is no first one, hkm_bin_take looks there.
 *
 * The tag is in a cache line of its own: every thread that frees one of our blocks reads it. */
struct hkm_bin {
    struct hkm_tag tag;
    uint16_t cap;      /* owner: places in use */
    uint16_t places;   /* owner: that there are */
    uint16_t misses;   /* owner: refills and flushes since it got its cap */
    uint16_t seen_misses; /* owner: what misses and room were when the bin was last looked at, see heap.c's age */
    struct hkm_heap *heap; /* const */
    uint32_t size, end;    /* const: of a block; of the blocks in a slab, as an offset */
    uint32_t room HKM_ALIGNED(64); /* owner */
    uint32_t seen_room; /* owner */
    void *first;       /* owner: NULL: see above */
    void *slots[];     /* owner */
};

enum {
    HKM_MAP = HKM_TINY_MAX + 16,
    HKM_REMOTE = 255,          /* places of the remote buffer, which a byte can tell, */
    HKM_REMOTE_BYTES = 65536,  /* and the bytes that it may hold up, */
    HKM_REMOTE_LEAST = 64,     /* where smaller blocks count as much as this */
    HKM_REMOTE_HASH = 256,     /* a power of two */
    HKM_SPARES = 4,
    HKM_CAPS = 4,              /* sizes of bins that are outgrown, see heap.c */
    HKM_HEAP_SIZE = 128 << 10,
};

/* The remote buffer.  It lies behind the heap, so that a thread without remote frees does not touch a page for it.  A place
 * is for blocks of one slab, those of one word of its bitmap. */
struct hkm_remote {
    uint8_t last[HKM_REMOTE_HASH]; /* owner: by hash of the key, its newest place; 0: none */
    struct {
        uintptr_t key; /* the slab's address + the word: a record is aligned to 128 bytes, and there are no more words */
        size_t bits;
    } place[HKM_REMOTE + 1]; /* owner: from 1 on; the first stays empty */
};
_Static_assert(HKM_SLOT_SIZE / 16 / HKM_WORD_BITS <= 1 << HKM_SLAB_SHIFT, "a key has room for the word");
_Static_assert(HKM_REMOTE <= UINT8_MAX, "a byte tells a place");

struct hkm_heap {
    struct hkm_bin *at[HKM_TINY_CLASSES]; /* owner: the bin of that class, or hkm_bin_none */
    uint8_t map[HKM_MAP];      /* const: by size + 15, the class; here, as the heap is at hand where it is wanted */
    struct hkm_runs runs;      /* owner */
    hkm_word thread;           /* atomic: the thread that owns the cache side; 0: parked, or the late heap */
    struct hkm_bin *bin[HKM_CLASSES]; /* owner: the same by class; NULL where there is none yet */
    struct hkm_lock lock;
    struct hkm_tiny tiny[HKM_CLASSES]; /* lock */
    struct hkm_slab *spare[HKM_SPARES]; /* lock: taken slots without blocks */
    unsigned nspare;           /* lock */
    struct hkm_bin *changing;  /* owner: the bin that is being changed otherwise than by a push or a pop, for a fork */
    hkm_word free;             /* lock writes: bytes of free blocks in its slabs; for moments perhaps below 0 */
    unsigned nremote;          /* owner: places of the remote buffer in use */
    size_t remote_bytes;       /* owner: of the blocks in it */
    struct hkm_heap *next;     /* const once listed: all heaps */
    struct hkm_heap *link;     /* threads lock: the list of thread.c that it is on */
    hkm_word state;            /* threads lock; see thread.c */
    hkm_word generation;       /* threads lock: of the process in which it came into this state */
    char *bump;                /* owner, lock: bins are made from here on */
    struct hkm_bin *old[HKM_CAPS]; /* owner, lock: outgrown bins, for other classes */
    size_t shrunk;             /* owner: bytes flushed, less those refilled; within bounds, see heap.c */
    size_t allowed;            /* owner: bytes that its caches may hold, those apart that hold one block */
    bool charged;              /* owner: and they count among those of all heaps */
    hkm_word events;           /* owner writes: refills, flushes and other slow calls */
    hkm_word seen_events, seen_free; /* purge.c, one thread at a time: what they were at its last visit */
    size_t called;             /* owner, thread.c: ms: when its malloc was last called to the slow way, */
    size_t calls;              /* and how often it may be before time passes */
    hkm_word denied;           /* owner writes: caches that the budget did not let grow */
    unsigned run_frees;        /* owner: of runs, that found no room in the cache, since it was last enlarged */
    unsigned run_misses;       /* owner: requests for runs that it had not, no more than such frees before them */
    size_t seen_runs;          /* owner: what hkm_mid_held said when last looked at */
    struct hkm_counters count; /* owner writes */
    hkm_word inbox HKM_ALIGNED(64); /* atomic: slabs that others freed blocks of; push by CAS, take all by exchange */
};

/* An empty bin, for classes that have none.  Read only. */
extern const struct hkm_bin hkm_bin_none HKM_HIDDEN;

struct hkm_heap *hkm_heap_new(void); /* NULL: no memory */
size_t hkm_heap_count(void);
struct hkm_heap *hkm_heap_first(void); /* the newest of all heaps; the others by `next` */
/* Gives the cache side to a thread, or to nobody (0). */
void hkm_heap_assign(struct hkm_heap *h, uintptr_t thread);
size_t hkm_heap_allowed(void); /* bytes that the caches of all threads may hold, those apart that hold one block */

/* Refilling, in stages; thread.c says in which order.  The cache is empty; each
 * returns a block, or NULL and leaves it so. */
void *hkm_heap_refill(struct hkm_heap *h, unsigned cls);               /* from own slabs, the inbox drained first */
bool hkm_heap_supply(struct hkm_heap *h, unsigned cls); /* one more slab, from the spare slots or the Shared Pool */
bool hkm_heap_claim(struct hkm_heap *to, struct hkm_heap *from, unsigned cls); /* a slab of a parked heap */

/* The run cache had no room for a run that is freed.  False: it is not to have it. */
bool hkm_heap_keep_run(struct hkm_heap *h, struct hkm_slab *s);
size_t hkm_heap_release_runs(struct hkm_heap *h); /* slots */

/* A cached block (perhaps flagged HKM_ZERO), or NULL. */
void *hkm_bin_take(struct hkm_bin *b);
/* The push that just came left no room in this cache. */
void hkm_heap_full(struct hkm_bin *b);
void hkm_heap_post(struct hkm_slab *s); /* tells the slab's owner that blocks were freed */
/* Empties the cache side, all of it; the slabs that become empty go back to the Shared Pool. */
void hkm_heap_flush(struct hkm_heap *h);
void hkm_heap_flush_remote(struct hkm_heap *h);
void hkm_heap_remote_twice(struct hkm_slab *s, unsigned index) HKM_COLD __attribute__((noreturn));

HKM_INLINE struct hkm_remote *hkm_heap_remote(struct hkm_heap *h)
{
    return (struct hkm_remote *)(void *)((char *)h + HKM_HEAP_SIZE);
}

/* A block of another heap, by its index in the slab: into the remote buffer, and from there in batches.  The slab's bitmap is
 * shared with its owner, so blocks of one word are brought together before it is touched. */
HKM_INLINE void hkm_heap_free_remote(struct hkm_heap *h, struct hkm_slab *s, unsigned index)
{
    struct hkm_remote *r = hkm_heap_remote(h);
    unsigned word = index / HKM_WORD_BITS, n;
    uintptr_t key = (uintptr_t)s + word;
    size_t bit = (size_t)1 << index % HKM_WORD_BITS;
    uint8_t *last = &r->last[(((uintptr_t)s >> HKM_SLAB_SHIFT) * 8 + word) % HKM_REMOTE_HASH];
    hkm_count(&h->count.remote_frees, 1);
    h->remote_bytes += s->size > HKM_REMOTE_LEAST ? s->size : HKM_REMOTE_LEAST;
    n = *last;
    if (likely(r->place[n].key == key)) {
        /* While it is in the buffer, nobody can have been given it again. */
        if (unlikely(r->place[n].bits & bit))
            hkm_heap_remote_twice(s, index);
        r->place[n].bits |= bit;
    } else {
        n = h->nremote + 1;
        r->place[n].key = key;
        r->place[n].bits = bit;
        hkm_in_order(); /* a fork's child believes the count */
        h->nremote = n;
        hkm_in_order();
        *last = (uint8_t)n;
        if (unlikely(n == HKM_REMOTE))
            hkm_heap_flush_remote(h);
    }
    if (unlikely(h->remote_bytes >= HKM_REMOTE_BYTES))
        hkm_heap_flush_remote(h);
}
/* Any thread. */
void hkm_heap_drain(struct hkm_heap *h);   /* collects the inbox */
size_t hkm_heap_purge(struct hkm_heap *h); /* spare slots to the pool, free pages of slabs to the kernel; bytes */
/* For purge.c, which never waits.  hkm_heap_tend collects the inbox of a heap that was not used since the last visit, and
 * gives its spare slots back.  Under hkm_heap_try (false: somebody has the lock), hkm_heap_look collects what others freed in
 * a slab of that heap, which may leave it empty and give it back, and else says which of its pages may be purged. */
void hkm_heap_tend(struct hkm_heap *h);
bool hkm_heap_try(struct hkm_heap *h);
void hkm_heap_leave(struct hkm_heap *h);
uint16_t hkm_heap_look(struct hkm_heap *h, struct hkm_slab *s, size_t age, uint16_t *young);
/* Adds what it has to the sums; blocks in the remote buffer, whose number it returns, are in remote_bytes, but still count
 * as live ones of the heaps that own them. */
size_t hkm_heap_stats(struct hkm_heap *h, struct hak_stats *sum);
/* After a fork: the heap's thread does not exist in this process.  Gives back what its remote buffer and its cache hold, but
 * for a bin that the fork caught in the middle of a change: that is forgotten.  Where it caught the heap's lock, the slab
 * side is made afresh from tags and bitmaps.  May be done again, if another fork came in between. */
void hkm_heap_bury(struct hkm_heap *h);
void hkm_heap_recount(void); /* after a fork: makes the sum of what all caches may hold afresh */
bool hkm_heap_valid(struct hkm_heap *h);

#endif
