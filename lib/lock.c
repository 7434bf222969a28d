/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * lock.c: small locks that survive fork.  See lock.h.
 *
 * Owns the generation.  How a child learns that it is one: `canary` points to a page that the kernel wipes in a child,
 * also after _Fork and clone.  A fork handler counts the generation up where the kernel cannot do that, and where it says
 * that it will and does not, as qemu's user mode.
 */
#include "lock.h"
#include "os.h"

enum { FREE, HELD, WAITED, STATE = 3 };
enum { WIPED, BUSY, ALIVE };

static hkm_word generation;
HKM_SHOWN(generation, hkm_lock_generation);
static hkm_word canary; /* address of the hkm_word in the wiped page, or 0 */
HKM_SHOWN(canary, hkm_lock_canary);

bool hkm_generation_has_page(void) { return hkm_load(&canary) != 0; }

static void forked(void) { hkm_store_rel(&generation, hkm_load(&generation) + 1); }

size_t hkm_generation(void)
{
    hkm_word *c = (hkm_word *)hkm_load_acq(&canary);
    /* Acquire pairs with the release of ALIVE below: whoever sees ALIVE sees the generation that it belongs to. */
    while (c && unlikely(hkm_load_acq(c) != ALIVE)) {
        if (hkm_cas(c, WIPED, BUSY)) {
            forked();
            hkm_store_rel(c, ALIVE);
        }
    }
    return hkm_load(&generation);
}

/* In the child of fork, in its only thread.  If the canary has not told by now, it never will. */
static void after_fork(void)
{
    static size_t last; /* the generation that it left */
    if (hkm_generation() == last)
        forked();
    last = hkm_load(&generation);
}

static hkm_word watched;    /* 1: a fork will be noticed */
static hkm_word registered; /* 1: the handler is there, or somebody is at it */

void hkm_generation_watch(void)
{
    hkm_os_init();
    /* Two threads may come here at once.  Neither goes on before a canary is there: a fork may happen at any moment. */
    hkm_word *c = hkm_os_map(hkm_os.page);
    if (c && hkm_os_wipe_on_fork(c, hkm_os.page))
        hkm_store(c, ALIVE);
    if (c && (hkm_load(c) != ALIVE || !hkm_cas(&canary, 0, (size_t)c)))
        hkm_os_unmap(c, hkm_os.page);
    if (hkm_cas(&registered, 0, 1))
        (void)hkm_os_at_fork_child(after_fork);
    hkm_store_rel(&watched, 1);
}

/* Lock ranks, checked in debug builds: a bit for each rank that the thread holds.  In a child it holds none, even where a signal
 * handler has forked in the middle of something. */
static __thread struct {
    size_t generation;
    unsigned ranks;
} held __attribute__((tls_model("initial-exec"), unused));

static void rank_enter(const struct hkm_lock *l)
{
    if (HKM_DEBUG) {
        size_t now = hkm_generation();
        if (held.generation != now)
            held.ranks = 0;
        held.generation = now;
        hkm_assert(l->rank != 0);
        hkm_assert(held.ranks >> l->rank == 0);
        held.ranks |= 1u << l->rank;
    }
}

static void rank_leave(const struct hkm_lock *l)
{
    if (HKM_DEBUG)
        held.ranks &= ~(1u << l->rank);
}

/* The futex word is the half of the lock word with the state in it. */
static const void *futex_word(const struct hkm_lock *l)
{
    const char *p = (const char *)(uintptr_t)&l->word;
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
        p += sizeof(hkm_word) - 4;
    return p;
}

bool hkm_lock_shared(struct hkm_lock *l)
{
    rank_enter(l);
    /* Asking for the generation first also means that a child learns of the fork before it takes its first lock, so no
     * lock of its own can ever look abandoned.  While the process has one thread, no fork can happen under a lock. */
    if (unlikely(!hkm_load(&watched)) && !hkm_os_single_threaded())
        hkm_generation_watch();
    size_t gen = hkm_generation();
    if (likely(hkm_cas(&l->word, FREE, gen << 2 | HELD)))
        return false;
    size_t want = HELD;
    for (unsigned spins = 0;; spins++) {
        gen = hkm_generation();
        size_t w = hkm_load(&l->word);
        if ((w & STATE) == FREE) {
            if (hkm_cas(&l->word, w, gen << 2 | want))
                return false;
        } else if (w >> 2 != gen << 2 >> 2) {
            if (hkm_cas(&l->word, w, gen << 2 | HELD))
                return true;
        } else if (spins < 100) {
            hkm_os_pause();
        } else {
            /* Once asleep, it must take the lock as WAITED: there may be other sleepers. */
            want = WAITED;
            if ((w & STATE) == WAITED || hkm_cas(&l->word, w, gen << 2 | WAITED))
                hkm_os_wait(futex_word(l), (uint32_t)(gen << 2 | WAITED));
        }
    }
}

bool hkm_lock_try(struct hkm_lock *l)
{
    if (!hkm_cas(&l->word, FREE, hkm_generation() << 2 | HELD))
        return false;
    rank_enter(l);
    return true;
}

void hkm_unlock_shared(struct hkm_lock *l)
{
    rank_leave(l);
    if (unlikely((hkm_swap(&l->word, FREE) & STATE) == WAITED))
        hkm_os_wake(futex_word(l));
}

bool hkm_lock_abandoned(const struct hkm_lock *l)
{
    size_t w = hkm_load(&l->word);
    return (w & STATE) != FREE && w >> 2 != hkm_generation() << 2 >> 2;
}
