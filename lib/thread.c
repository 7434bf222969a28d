/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * thread.c: see thread.h.
 *
 * A heap is LIVE (a thread owns its cache side), PARKED (nobody does; its cache is empty), ORPHANED (a fork left its
 * thread behind), BURIED (somebody is making a parked heap of it), or LATE (the one heap that serves threads past the
 * library's destructor).  Its state changes under the threads lock; that of a parked one under its own lock, too.
 *
 * The child of a fork, when it first comes here (with the first free, refill, birth or death), makes orphans of the heaps
 * whose threads it does not have, and mends the lists if their lock was left held.  Not before: it may be about to exec.
 */
#define HKM_SMALL
#include "thread.h"
#include "bigcache.h"
#include "live.h"
#include "meta.h"
#include "nursery.h"
#include "os.h"
#include "purge.h"
#include "shared_pool.h"
#include "superslab.h"

#include <pthread.h>

enum { LIVE = HKM_LIVE_HEAP_LIVE, PARKED = HKM_LIVE_HEAP_PARKED, ORPHANED = HKM_LIVE_HEAP_ORPHANED,
       BURIED = HKM_LIVE_HEAP_BURIED, LATE = HKM_LIVE_HEAP_LATE };
enum { LOOKS = 8, HOMES = 64 };

__thread struct hkm_tls hkm_tls __attribute__((tls_model("initial-exec"), visibility("hidden")));

static struct HKM_OWN_LINES {
    hkm_word nparked; /* first: live.c shows where it is */
    struct hkm_lock lock;
    /* Under the lock, linked by `link`: the parked heaps, the last one parked on top; and the live ones, hashed by their
     * thread. */
    struct hkm_heap *parked, *homes[HOMES];
} threads = { .lock = HKM_LOCK_INIT(HKM_RANK_THREADS) };
static struct HKM_OWN_LINES { struct hkm_lock lock; } late_heap = { HKM_LOCK_INIT(HKM_RANK_LATE) };
HKM_SHOWN(threads, hkm_thread_nparked);
_Static_assert(offsetof(__typeof__(threads), nparked) == 0, "it is shown where the structure begins");
static hkm_word norphaned;
static hkm_word settled;      /* threads.lock: the generation in which all heaps' states are true */
static struct hkm_heap *late; /* late_heap.lock */
static pthread_key_t key;
static hkm_word key_made;  /* 0: no, 1: somebody is at it, 2: yes */
static hkm_word watching;  /* the fork handler is registered */
static struct hkm_heap *forker; /* written by the fork handler: the heap of the thread that forked, or NULL, */
static hkm_word forked;         /* and then, by release, the child's generation */

size_t hkm_thread_heaps(void) { return hkm_heap_count(); }
size_t hkm_thread_parked(void) { return hkm_load(&threads.nparked); }

static void set_heap(struct hkm_heap *h)
{
    hkm_tls.heap = h;
    hkm_in_order(); /* for a signal handler */
    hkm_tls.below = HKM_TINY_MAX + 1;
}

/* ---- lists ------------------------------------------------------------------------------------------------------ */

static struct hkm_heap **home(uintptr_t thread)
{
    return &threads.homes[(uint32_t)(thread >> 6) * 0x9e3779b1u >> 26];
}
_Static_assert(HOMES == 1 << (32 - 26), "home is a number below HOMES");

static void push(struct hkm_heap **list, struct hkm_heap *h)
{
    h->link = *list;
    *list = h;
}

static void set_state(struct hkm_heap *h, size_t state)
{
    hkm_store(&h->generation, hkm_generation());
    hkm_store(&h->state, state);
}

static void park_locked(struct hkm_heap *h)
{
    set_state(h, PARKED);
    push(&threads.parked, h);
    hkm_add(&threads.nparked, 1);
}

static void list_live(void)
{
    for (unsigned i = 0; i < HOMES; i++)
        threads.homes[i] = NULL;
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
        if (hkm_load(&h->state) == LIVE)
            push(home(hkm_load(&h->thread)), h);
}

static void list_parked(void)
{
    size_t n = 0;
    threads.parked = NULL;
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
        if (hkm_load(&h->state) == PARKED) {
            push(&threads.parked, h);
            n++;
        }
    hkm_store(&threads.nparked, n);
}

static void lock_threads(void)
{
    if (unlikely(hkm_lock(&threads.lock))) { /* a fork caught somebody at the lists */
        list_live();
        list_parked();
    }
}

/* ---- fork ------------------------------------------------------------------------------------------------------- */

/* In the child of a fork, once; `mine` is the heap of the thread that forked, or NULL. */
static void settle(struct hkm_heap *mine, size_t generation)
{
    lock_threads();
    if (hkm_load(&settled) != generation) {
        size_t orphans = 0;
        if (mine)
            hkm_store(&mine->generation, generation);
        for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next) {
            size_t state = hkm_load(&h->state);
            if ((state == LIVE || state == BURIED) && hkm_load(&h->generation) != generation) {
                hkm_heap_assign(h, 0);
                hkm_store(&h->state, state = ORPHANED);
            }
            orphans += state == ORPHANED;
        }
        hkm_store(&norphaned, orphans);
        hkm_heap_recount();
        list_live();
        hkm_store_rel(&settled, generation); /* pairs with hkm_thread_open */
    }
    hkm_unlock(&threads.lock);
}

/* The tags name dead threads, whose address a new thread may get; its first free would come into a dead thread's bin.  So the
 * tags are seen to before any free comes by the fast path.  Where a thread's loads may be out of order it might see the registry
 * open and the tag as it was, so there the tags are seen to at once. */
static void after_fork(void)
{
    size_t generation = hkm_generation();
    hkm_bigcache_recount(); /* now, as no other thread is changing the sum, unless an earlier handler has started one */
    forker = hkm_thread_own();
    hkm_store_rel(&forked, generation); /* pairs with see_to_fork */
    if (!HKM_LOADS_IN_ORDER)
        settle(forker, generation);
    else if (hkm_load(&settled) != generation) /* an earlier handler may have allocated */
        hkm_registry_shut();
}

/* After _Fork and clone, which run no handlers, a thread that the child has started since leaves it to the one that has
 * forked, which alone knows which heap is its own: one from before the fork, or none. */
static HKM_COLD void see_to_fork(size_t generation)
{
    struct hkm_heap *mine = hkm_thread_own();
    if (hkm_load_acq(&forked) == generation) {
        settle(forker, generation);
    } else if (mine ? hkm_load(&mine->generation) != generation : hkm_os_first_thread()) {
        hkm_bigcache_recount();
        settle(mine, generation);
    }
}

static void notice_fork(void)
{
    size_t generation = hkm_generation();
    if (unlikely(hkm_load(&settled) != generation))
        see_to_fork(generation);
}

HKM_COLD void hkm_thread_open(void)
{
    notice_fork();
    size_t generation = hkm_generation();
    if (hkm_load_acq(&settled) != generation) /* it is another thread's affair */
        return;
    hkm_superslab_open();
    if (unlikely(hkm_generation() != generation)) /* a signal handler has forked in between, and this is the child */
        hkm_registry_shut();
}

size_t hkm_thread_release_runs(struct hkm_heap *h)
{
    notice_fork(); /* the sum that this changes is made afresh then */
    return hkm_heap_release_runs(h);
}

void hkm_thread_each(void (*each)(struct hkm_heap *h, void *arg), void *arg)
{
    notice_fork();
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
        each(h, arg);
}

static void watch_forks(void)
{
    if (hkm_load(&watching) || !hkm_cas(&watching, 0, 1))
        return;
    (void)hkm_os_at_fork_child(after_fork);
}

/* ---- birth and death -------------------------------------------------------------------------------------------- */

/* Called when a thread ends, among the destructors of its thread-specific data.  The heap is parked at the first call:
 * whether another round of destructors comes, and with it another call, is not known, as the thread may have got its heap
 * in the last but one.  What the other destructors allocate comes from the late heap. */
static void death(void *arg)
{
    (void)arg;
    struct hkm_heap *h = hkm_thread_own();
    if (!h)
        return;
    notice_fork();
    hkm_tls.below = 0;
    hkm_in_order();
    hkm_tls.heap = HKM_LATE;
    hkm_heap_assign(h, 0);
    hkm_heap_flush(h);
    lock_threads();
    struct hkm_heap **at = home(hkm_os_thread());
    while (*at && *at != h)
        at = &(*at)->link;
    if (*at)
        *at = h->link;
    hkm_lock(&h->lock);
    park_locked(h);
    hkm_unlock(&h->lock);
    hkm_unlock(&threads.lock);
}

/* Wants death() to be called when this thread ends.  No lock is held: these functions may allocate. */
static void watch_thread(struct hkm_heap *h)
{
    while (hkm_load_acq(&key_made) != 2) {
        if (hkm_cas(&key_made, 0, 1)) {
            if (pthread_key_create(&key, death) != 0)
                return hkm_store_rel(&key_made, 0); /* none left: its heap goes to the next thread with its address */
            hkm_store_rel(&key_made, 2);
        } else {
            hkm_os_pause();
        }
    }
    (void)pthread_setspecific(key, h);
}

/* A heap that is there already: one that bears this thread's address, or else the most recently parked one, whose memory is
 * the warmest.
 *
 * An address is one live thread's at a time.  So a live heap that bears ours is ours from before TLS was set up, which then
 * lost its place; or its thread has gone without parking it: it got the heap in the last round of destructors, or ended
 * by a bare system call. */
static struct hkm_heap *find_heap(uintptr_t thread)
{
    lock_threads();
    struct hkm_heap *h = *home(thread);
    while (h && hkm_load(&h->thread) != thread)
        h = h->link;
    if (h) {
        /* Or its thread was left behind by a quiet fork, and perhaps in the middle of a change. */
        if (hkm_load(&h->generation) != hkm_generation())
            hkm_heap_bury(h);
        set_state(h, LIVE);
    } else if ((h = threads.parked) != NULL) {
        threads.parked = h->link;
        hkm_add(&threads.nparked, (size_t)-1);
        hkm_heap_drain(h); /* takes its lock: nobody is in the middle of claiming from it, and nobody will from here on */
        push(home(thread), h);
        set_state(h, LIVE);
        hkm_heap_assign(h, thread);
    }
    hkm_unlock(&threads.lock);
    return h;
}

static struct hkm_heap *make_heap(uintptr_t thread, size_t state)
{
    struct hkm_heap *h = hkm_heap_new();
    if (!h)
        return NULL;
    lock_threads();
    hkm_heap_assign(h, thread);
    set_state(h, state);
    if (state == LIVE)
        push(home(thread), h);
    hkm_unlock(&threads.lock);
    return h;
}

static HKM_COLD struct hkm_heap *birth(void)
{
    uintptr_t self = hkm_os_thread();
    hkm_os_init();
    notice_fork();
    bool first = !hkm_heap_first();
    struct hkm_heap *h = first ? NULL : find_heap(self);
    if (!h)
        h = make_heap(self, LIVE);
    if (!h)
        return NULL;
    set_heap(h);
    if (h->next || !hkm_os_single_threaded())
        watch_forks();
    watch_thread(h);
    return h;
}

/* A fork may have caught its user, now gone, in the middle of a change; or before it had told where the heap is. */
static HKM_COLD void mend_late(void)
{
    for (struct hkm_heap *h = hkm_heap_first(); h && !late; h = h->next)
        if (hkm_load(&h->state) == LATE)
            late = h;
    if (late)
        hkm_heap_bury(late);
}

static HKM_COLD struct hkm_heap *begin_late(void)
{
    notice_fork();
    if (hkm_lock(&late_heap.lock))
        mend_late();
    if (!late)
        late = make_heap(0, LATE);
    if (!late)
        hkm_unlock(&late_heap.lock);
    return late;
}

struct hkm_heap *hkm_thread_keep(void)
{
    return hkm_tls.heap ? hkm_thread_own() : birth();
}

struct hkm_heap *hkm_thread_begin(void)
{
    if (likely(hkm_tls.below))
        return hkm_tls.heap;
    if (hkm_tls.heap == HKM_LATE)
        return begin_late();
    return hkm_tls.heap ? hkm_tls.heap : birth(); /* a signal came between the two words: see set_heap and death */
}

void hkm_thread_end(struct hkm_heap *h)
{
    if (unlikely(hkm_load(&h->state) == LATE))
        hkm_unlock(&late_heap.lock);
}

/* ---- refill ----------------------------------------------------------------------------------------------------- */

/* Turns heaps of threads that a fork left behind into parked ones, one at a time. */
static bool bury_orphan(void)
{
    if (!hkm_load(&norphaned))
        return false;
    lock_threads();
    struct hkm_heap *h = hkm_heap_first();
    while (h && hkm_load(&h->state) != ORPHANED)
        h = h->next;
    if (h) {
        set_state(h, BURIED);
        hkm_add(&norphaned, (size_t)-1);
    }
    hkm_unlock(&threads.lock);
    if (!h)
        return false;
    hkm_heap_bury(h);
    lock_threads();
    park_locked(h);
    hkm_unlock(&threads.lock);
    return true;
}

/* Takes a slab of this class from a parked heap. */
static bool claim(struct hkm_heap *h, unsigned cls)
{
    bool got = false;
    if (!hkm_load(&threads.nparked) || !hkm_lock_try(&threads.lock))
        return false;
    struct hkm_heap *from = NULL, *p = threads.parked;
    for (unsigned i = 0; p && !from && i < LOOKS; i++, p = p->link) {
        if (unlikely(hkm_lock_abandoned(&p->lock)))
            hkm_heap_drain(p); /* mends it */
        /* A look without its lock, to pass by those that have nothing. */
        if ((hkm_load(&p->inbox) || hkm_peek(p->tiny[cls].partial)) && hkm_lock_try(&p->lock))
            from = p;
    }
    hkm_unlock(&threads.lock);
    /* It cannot be adopted meanwhile: that takes its lock, which the claim gives up. */
    if (from)
        got = hkm_heap_claim(h, from, cls);
    return got;
}

static void *refill(struct hkm_heap *h, unsigned cls)
{
    for (unsigned tries = 0; tries < 64; tries++) {
        void *p = hkm_heap_refill(h, cls);
        if (p)
            return p;
        if (claim(h, cls) || hkm_heap_supply(h, cls) || hkm_bigcache_release() || bury_orphan())
            continue;
        if (!hkm_shared_pool_grow())
            break;
    }
    /* Others may have mapped or given back something while we were told that there is nothing more. */
    return hkm_heap_supply(h, cls) ? hkm_heap_refill(h, cls) : NULL;
}

static size_t purge_all(void)
{
    size_t before = hkm_load(&hkm_superslab_stats.purged);
    hkm_nursery_purge();
    hkm_thread_purge();
    return hkm_load(&hkm_superslab_stats.purged) - before; /* slots may also be purged as they become free on the way */
}

/* A thread whose caches have all that it needs takes no slow way for long, and what waits to go back in time would wait with it.
 * So its next malloc of a small block is called to hkm_thread_called, but not more often than four times in a millisecond, and some
 * hundred times after a while without: a busy thread has slow calls enough, or is too busy to be asked. */
static __attribute__((noinline)) void purge_and_call(const struct hkm_heap *h)
{
    hkm_purge_slow(h);
    if (hkm_tls.below > HKM_CALLED && (h->calls || hkm_load(&hkm_slab_clock) != h->called))
        hkm_tls.below = HKM_CALLED;
}

/* Now and then each slow call comes here, with no lock but perhaps that of the late heap. */
HKM_INLINE void tick(struct hkm_heap *h)
{
    if (hkm_purge_is_due(h))
        purge_and_call(h);
    if (unlikely(hkm_live_asked()))
        hkm_live_serve(purge_all);
}

HKM_COLD void hkm_thread_called(void)
{
    enum { EACH_MS = 4, MOST = 512 };
    struct hkm_heap *h = hkm_tls.heap;
    size_t now = hkm_os_ms(), passed = now - h->called;
    hkm_tls.below = HKM_TINY_MAX + 1;
    if (!passed && h->calls) {
        h->calls--;
        hkm_tls.below = HKM_CALLED;
    } else if (passed) {
        h->called = now;
        passed = passed < MOST / EACH_MS ? h->calls + passed * EACH_MS : MOST;
        h->calls = passed < MOST ? passed : MOST;
        hkm_store(&h->events, hkm_load(&h->events) | 3); /* purging is due with the next */
        hkm_thread_tick();
    }
}

void *hkm_thread_refill(struct hkm_heap *h, unsigned cls)
{
    notice_fork();
    void *p = refill(h, cls);
    tick(h);
    return p;
}

void hkm_thread_full(struct hkm_bin *b)
{
    struct hkm_heap *h = b->heap;
    hkm_heap_full(b);
    tick(h);
}

void hkm_thread_tick(void)
{
    struct hkm_heap *h = hkm_thread_own();
    if (!h)
        return;
    hkm_store(&h->events, hkm_load(&h->events) + 1); /* or a heap that never refills would not come to its turn */
    tick(h);
}

void hkm_thread_free_remote(void *block, struct hkm_slab *s)
{
    /* A thread that only frees gets a heap too: for the buffer that is in it. */
    struct hkm_heap *h = hkm_thread_keep();
    if (likely(h != NULL)) {
        hkm_heap_free_remote(h, s, hkm_class_index(s->magic, (uint16_t)(uintptr_t)block));
    } else { /* past the library's destructor, or out of memory: straight to the owner */
        hkm_slab_remote(s, block);
        hkm_heap_post(s);
    }
}

static void purge_one(struct hkm_heap *h, void *arg) { *(size_t *)arg += hkm_heap_purge(h); }

size_t hkm_thread_purge(void)
{
    enum { MOST = 1 << 20 }; /* waits of some 50 ms, for a thread that does not come to run */
    size_t done = 0, slots;
    struct hkm_heap *mine = hkm_thread_own();
    notice_fork();
    if (mine)
        hkm_heap_flush(mine);
    while (bury_orphan())
        ;
    hkm_bigcache_release();
    hkm_superslab_retry(); /* the program asks for it, so it may have unlocked memory */
    hkm_thread_each(purge_one, &done);
    for (unsigned i = 0; (slots = hkm_superslab_purge(0)) == HKM_PURGE_BUSY && i < MOST; i++)
        hkm_os_pause();
    hkm_policy_renew(); /* what comes back of this was not given back in vain; and what was learned to be kept is not wanted */
    return (done + slots) & ~(size_t)HKM_PURGE_BUSY;
}
