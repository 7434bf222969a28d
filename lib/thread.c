/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * thread.c: see thread.h.
 *
 * A heap is LIVE (a thread owns its cache side), PARKED (nobody does; its cache is empty), ORPHANED (a fork left its thread
 * behind), BURIED (somebody is making a parked heap of it), or LATE (the one heap that serves threads past their last destructor).  Its state changes under its own lock.
 */
#include "thread.h"
#include "meta.h"
#include "os.h"
#include "shared_pool.h"
#include "superslab.h"

#include <pthread.h>

enum { LIVE, PARKED, ORPHANED, BURIED, LATE };
enum { ROUNDS = 2, LOOKS = 8 };

__thread struct hkm_tls hkm_tls __attribute__((tls_model("initial-exec"), visibility("hidden")));

static struct hkm_lock threads_lock = HKM_LOCK_INIT(HKM_RANK_THREADS);
static struct hkm_lock late_lock = HKM_LOCK_INIT(HKM_RANK_LATE);
static hkm_word all;      /* the newest heap; linked by `next`; push only */
static hkm_word heaps;    /* how many */
static struct hkm_heap *parked; /* threads_lock: a stack, the last one parked on top */
static hkm_word nparked;
static hkm_word norphaned;
static struct hkm_heap *late; /* late_lock */
static pthread_key_t key;
static hkm_word key_made;  /* 0: no, 1: somebody is at it, 2: yes */
static hkm_word watching;  /* the fork handler is registered */

size_t hkm_thread_heaps(void) { return hkm_load(&heaps); }
size_t hkm_thread_parked(void) { return hkm_load(&nparked); }

void hkm_thread_each(void (*each)(struct hkm_heap *h, void *arg), void *arg)
{
    for (struct hkm_heap *h = (struct hkm_heap *)hkm_load_acq(&all); h; h = h->next)
        each(h, arg);
}

static void set_heap(struct hkm_heap *h) { hkm_tls.heap = (intptr_t)((uintptr_t)h - (uintptr_t)&hkm_heap_empty); }

/* ---- fork ------------------------------------------------------------------------------------------------------- */

/* In the child of fork, in its only thread.  Touches as little as it can: the child may be about to exec.  The tags must be
 * taken from the dead threads at once, though: a new thread may get the address of a dead one. */
static void after_fork(void)
{
    struct hkm_heap *mine = hkm_thread_own();
    (void)hkm_generation();
    for (struct hkm_heap *h = (struct hkm_heap *)hkm_load(&all); h; h = h->next) {
        if (h == mine || hkm_load(&h->state) != LIVE)
            continue;
        hkm_heap_assign(h, 0);
        hkm_store(&h->state, ORPHANED);
        hkm_add(&norphaned, 1);
    }
}

static void watch_forks(void)
{
    if (hkm_load(&watching) || !hkm_cas(&watching, 0, 1))
        return;
    (void)hkm_os_at_fork_child(after_fork);
}

/* ---- birth and death -------------------------------------------------------------------------------------------- */

static void park_locked(struct hkm_heap *h)
{
    h->next_parked = parked;
    parked = h;
    hkm_add(&nparked, 1);
}

static void death(void *arg)
{
    (void)arg;
    struct hkm_heap *h = hkm_thread_own();
    if (!h || hkm_tls.exits == HKM_LATE)
        return;
    /* Other destructors may still allocate: let them go first. */
    if (hkm_tls.exits++ < ROUNDS && pthread_setspecific(key, h) == 0)
        return;
    hkm_tls.heap = 0;
    hkm_tls.exits = HKM_LATE;
    hkm_heap_assign(h, 0);
    hkm_heap_flush(h);
    hkm_lock(&threads_lock);
    hkm_lock(&h->lock);
    hkm_store(&h->state, PARKED);
    hkm_unlock(&h->lock);
    park_locked(h);
    hkm_unlock(&threads_lock);
}

/* Wants death() to be called when this thread ends.  No lock is held: these functions may allocate. */
static void watch_thread(struct hkm_heap *h)
{
    while (hkm_load_acq(&key_made) != 2) {
        if (hkm_cas(&key_made, 0, 1)) {
            if (pthread_key_create(&key, death) != 0)
                return hkm_store_rel(&key_made, 0); /* none left: this thread's heap will not be parked */
            hkm_store_rel(&key_made, 2);
        } else {
            hkm_os_pause();
        }
    }
    (void)pthread_setspecific(key, h);
}

static struct hkm_heap *make_heap(uintptr_t thread, size_t state)
{
    struct hkm_heap *h = hkm_heap_new();
    if (!h)
        return NULL;
    hkm_heap_assign(h, thread);
    hkm_store(&h->state, state); /* before anybody can find it */
    size_t head;
    hkm_add(&heaps, 1);
    do {
        head = hkm_load(&all);
        h->next = (struct hkm_heap *)head;
    } while (!hkm_cas(&all, head, (size_t)h));
    return h;
}

/* The most recently parked heap, its memory is the warmest. */
static struct hkm_heap *adopt(uintptr_t thread)
{
    struct hkm_heap *h = NULL;
    if (!hkm_load(&nparked))
        return NULL;
    hkm_lock(&threads_lock);
    h = parked;
    if (h) {
        parked = h->next_parked;
        hkm_add(&nparked, (size_t)-1);
        hkm_heap_drain(h); /* takes its lock: nobody is in the middle of claiming from it, and nobody will from here on */
        hkm_store(&h->state, LIVE);
    }
    hkm_unlock(&threads_lock);
    if (h)
        hkm_heap_assign(h, thread);
    return h;
}

static HKM_COLD struct hkm_heap *birth(void)
{
    uintptr_t self = hkm_os_thread();
    hkm_os_init();
    /* A first heap may have been made before TLS was set up, which then lost its place: it is still ours. */
    struct hkm_heap *h = (struct hkm_heap *)hkm_load_acq(&all);
    if (h && !h->next && hkm_load(&h->thread) == self && hkm_load(&h->state) == LIVE) {
        set_heap(h);
        return h;
    }
    bool first = !h;
    h = adopt(self);
    if (!h)
        h = make_heap(self, LIVE);
    if (!h)
        return NULL;
    set_heap(h);
    if (!first || !hkm_os_single_threaded())
        watch_forks();
    watch_thread(h);
    return h;
}

static HKM_COLD struct hkm_heap *begin_late(void)
{
    hkm_lock(&late_lock);
    if (!late)
        late = make_heap(0, LATE);
    if (!late)
        hkm_unlock(&late_lock);
    return late;
}

struct hkm_heap *hkm_thread_own(void) { return hkm_tls.heap ? (struct hkm_heap *)hkm_thread_front() : NULL; }

struct hkm_heap *hkm_thread_begin(void)
{
    if (likely(hkm_tls.heap))
        return (struct hkm_heap *)hkm_thread_front();
    return hkm_tls.exits == HKM_LATE ? begin_late() : birth();
}

void hkm_thread_end(struct hkm_heap *h)
{
    if (unlikely(hkm_load(&h->state) == LATE))
        hkm_unlock(&late_lock);
}

/* ---- refill ----------------------------------------------------------------------------------------------------- */

/* Turns heaps of threads that a fork left behind into parked ones, one at a time. */
static bool bury_orphan(void)
{
    if (!hkm_load(&norphaned))
        return false;
    for (struct hkm_heap *h = (struct hkm_heap *)hkm_load_acq(&all); h; h = h->next) {
        if (hkm_load(&h->state) != ORPHANED || !hkm_cas(&h->state, ORPHANED, BURIED))
            continue;
        hkm_add(&norphaned, (size_t)-1);
        hkm_heap_bury(h);
        hkm_lock(&threads_lock);
        hkm_store(&h->state, PARKED);
        park_locked(h);
        hkm_unlock(&threads_lock);
        return true;
    }
    return false;
}

/* Takes a slab of this class from a parked heap. */
static bool claim(struct hkm_heap *h, unsigned cls)
{
    bool got = false;
    if (!hkm_load(&nparked) || !hkm_lock_try(&threads_lock))
        return false;
    struct hkm_heap *from = NULL, *p = parked;
    for (unsigned i = 0; p && !from && i < LOOKS; i++, p = p->next_parked) {
        /* A look without its lock, to pass by those that have nothing. */
        if ((hkm_load(&p->inbox) || hkm_peek(p->tiny[cls].partial)) && hkm_lock_try(&p->lock))
            from = p;
    }
    hkm_unlock(&threads_lock);
    /* It cannot be adopted meanwhile: that takes its lock, which the claim gives up. */
    if (from)
        got = hkm_heap_claim(h, from, cls);
    return got;
}

void *hkm_thread_refill(struct hkm_heap *h, unsigned cls)
{
    for (unsigned tries = 0; tries < 64; tries++) {
        void *p = hkm_heap_refill(h, cls);
        if (p)
            return p;
        if (claim(h, cls) || hkm_heap_supply(h, cls) || bury_orphan())
            continue;
        if (!hkm_shared_pool_grow())
            break;
    }
    /* Others may have mapped or given back something while we were told that there is nothing more. */
    return hkm_heap_supply(h, cls) ? hkm_heap_refill(h, cls) : NULL;
}

void hkm_thread_free_remote(void *block, struct hkm_slab *s)
{
    /* A thread that only frees gets a heap too: for the buffer that is in it. */
    struct hkm_heap *h = hkm_tls.heap || hkm_tls.exits == HKM_LATE ? hkm_thread_own() : birth();
    if (likely(h != NULL)) {
        hkm_heap_free_remote(h, block, s);
    } else { /* past its last destructor, or out of memory: straight to the owner */
        hkm_slab_remote(s, block);
        hkm_heap_post(s);
    }
}

static void purge_one(struct hkm_heap *h, void *arg) { *(size_t *)arg += hkm_heap_purge(h); }

size_t hkm_thread_purge(void)
{
    size_t done = 0;
    struct hkm_heap *mine = hkm_thread_own();
    if (mine)
        hkm_heap_flush(mine);
    while (bury_orphan())
        ;
    hkm_thread_each(purge_one, &done);
    return done + hkm_superslab_purge(0);
}
