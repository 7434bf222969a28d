/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * policy.h: decides when and how much; the slow paths ask it and do what it says.
 *
 * A policy is one value for each row of policy.def.  One is in force: each slow call reads it once (hkm_policy, one load) and
 * hands it to the functions below, which are functions of their arguments alone: no clock, no lock, no allocator call, so they
 * replay in a test.
 */
#ifndef HKM_POLICY_H
#define HKM_POLICY_H

#include "base.h"
#include "atomic.h"
#include "option.h"

/* Never changed once it is published; the words are atomic for the sake of who reads one that has been in force so long ago
 * that its place was used again (policy.c). */
struct hkm_policy {
#define X(field, unit, def, least, most, bench) hkm_word field;
#include "policy.def"
#undef X
};
enum {
#define X(field, unit, def, least, most, bench) +1
    HKM_POLICY_ROWS = 0
#include "policy.def"
#undef X
};
extern const struct hkm_policy hkm_policy_default HKM_HIDDEN;
extern hkm_word hkm_policy_offset HKM_HIDDEN; /* of the policy in force from the default one: 0 needs no relocation */

/* What is published is whole: pairs with the release in hkm_policy_publish, by the address dependency. */
HKM_INLINE const struct hkm_policy *hkm_policy(void)
{
    return (const struct hkm_policy *)((uintptr_t)&hkm_policy_default + hkm_load(&hkm_policy_offset));
}

bool hkm_policy_same(const struct hkm_policy *p, const struct hkm_policy *q);
/* Whether each value is within its row's range. */
bool hkm_policy_valid(const struct hkm_policy *p);
/* Changes of options so far; what is read of the options afterwards is at least as new. */
extern hkm_word hkm_policy_number HKM_HIDDEN;
HKM_INLINE size_t hkm_policy_changes(void) { return hkm_load_acq(&hkm_policy_number); }
/* Puts a policy in force, of which a copy is made.  The same one twice takes no room.  False: it is not valid, or options have
 * changed since there were `changes`: who changes them has put in force what they say, and that must stay. */
bool hkm_policy_publish(const struct hkm_policy *p, size_t changes);
/* What the options say. */
void hkm_policy_base(struct hkm_policy *p);
/* A saved policy, as text: a line "hakmem-policy 1", then lines "ROW VALUE" of policy.def, those that differ from the defaults,
 * then "end"; # begins a comment.  NULL, or what is wrong with it, and in which line; then *p is not changed. */
enum { HKM_POLICY_VERSION = 1 };
const char *hkm_policy_parse(struct hkm_policy *p, const char *text, size_t size, unsigned *line);
extern bool hkm_policy_is_saved HKM_HIDDEN; /* a file's values are in it; written before the process has a second thread */
/* Reads the file that HAKMEM_POLICY_FILE names, if it does: its values are the defaults from then on.  One that is wrong gives one
 * line on stderr, and the defaults stay. */
void hkm_policy_load(void);
/* Options have changed, or were read: puts that in force. */
void hkm_policy_renew(void);
int hkm_policy_option(const char *name, long value); /* hkm_option_set, and puts it in force */
size_t hkm_policy_versions(void); /* published so far, those that were the same as one before apart */

/* Bytes to map first: less than any huge page, so that they need no word against huge pages. */
#define HKM_POLICY_FIRST ((size_t)1 << 20)

/* Bytes to map next, when `mapped` are mapped and at least `need` more are needed; both multiples of a slot. */
size_t hkm_policy_growth(const struct hkm_policy *p, size_t mapped, size_t need);

/* Free dirty bytes that may stay, when `used` bytes are in use; SIZE_MAX when nothing is ever purged. */
size_t hkm_policy_dirty_limit(const struct hkm_policy *p, size_t used);
/* The same of what has its age: no more than the options say. */
size_t hkm_policy_dirty_old(const struct hkm_policy *p, size_t used);

/* The same for as long as a moment, after which it is too much: hkm_policy_purge_ms.  Of a heap that swings it is four times as
 * much, but for what ACE keeps. */
size_t hkm_policy_dirty_most(const struct hkm_policy *p, size_t used, bool swings);
size_t hkm_policy_purge_ms(const struct hkm_policy *p);

/* Of dirty free slots that nobody needed for so many ms, how many to give back: half for each hkm_policy_purge_ms, until few
 * are left. */
size_t hkm_policy_spare(const struct hkm_policy *p, size_t slots, size_t waited);

/* Whether to look through all slabs for whole free pages: for those that are idle for hkm_policy_purge_ms, or for all.
 * used: bytes of blocks that are out; idle: bytes of free blocks in slabs; more: of them, those that a look has not seen, or
 * was too early for; waited: ms since the last look.  A heap of fewer slots than HKM_POLICY_LOOK is never looked through. */
enum hkm_look { HKM_LOOK_NOT, HKM_LOOK_IDLE, HKM_LOOK_ALL };
enum hkm_look hkm_policy_look(const struct hkm_policy *p, size_t used, size_t idle, size_t more, size_t waited);
/* What one slow call does of a look, at most, whichever is reached first: slots, slabs among them, and system calls. */
enum { HKM_POLICY_LOOK_SOON = 4 << 20 }; /* a heap with so many bytes more free asks before its time */
enum { HKM_POLICY_LOOK = 32, HKM_POLICY_LOOK_SLOTS = 4096, HKM_POLICY_LOOK_SLABS = 512, HKM_POLICY_LOOK_CALLS = 32,
       HKM_POLICY_LOOK_ALL_CALLS = 64 }; /* in a look for all: who frees that much waits for the kernel anyway */
enum { HKM_POLICY_PIECE = 64 }; /* free slots that one slow call purges */
/* So many of these pieces are done at once where so many ms have passed since the last one: a process that is mostly idle gives
 * back at its next calls what it would take a hundred for. */
enum { HKM_POLICY_PIECES = 8, HKM_POLICY_PIECE_MS = 8 };
static inline unsigned hkm_policy_pieces(size_t waited)
{
    return waited < (HKM_POLICY_PIECES - 1) * HKM_POLICY_PIECE_MS ? 1 + (unsigned)waited / HKM_POLICY_PIECE_MS : HKM_POLICY_PIECES;
}
/* What was given back at once, be it free slots or pages in a look for all, was so in vain when half of it is in use again
 * within so many hkm_policy_purge_ms: the heap swings.  For so many of them no look is for all, then, and four
 * times as much in free slots may stay. */
enum { HKM_POLICY_VAIN = 8, HKM_POLICY_VAIN_WAIT = 64 };

/* Bytes that the caches of all threads may hold together, when `mapped` are mapped. */
size_t hkm_policy_cache_limit(const struct hkm_policy *p, size_t mapped);

/* Places of the cache that follows one with `cap` places, at most `most`; `cap` itself when it should not grow. */
unsigned hkm_policy_cache_growth(const struct hkm_policy *p, unsigned cap, unsigned most);

/* Refills and flushes that a cache with `cap` places makes before it grows: the smallest ones are many and may never be
 * used again, so each of them is asked a bit longer. */
static inline size_t hkm_policy_patience(const struct hkm_policy *p, unsigned cap)
{
    return hkm_load(cap < 29 ? &p->patience_least : &p->patience);
}

/* Refills and flushes after which a heap looks at one more of its caches, whether it is idle. */
enum { HKM_POLICY_AGE_EVENTS = 64 };
/* Runs that a thread frees before it keeps any: few processes free many, and for the others a free slot is of more use in
 * the Shared Pool. */
static inline size_t hkm_policy_run_patience(const struct hkm_policy *p) { return hkm_load(&p->run_patience); }

/* Blocks to bring by a refill, and to give back by a flush, of a cache with `cap` places.  Three quarters of a small cache;
 * of a large one less, so that a program whose live blocks swing by nearly `cap` moves few of them.  A flush moves the
 * blocks that stay, so it should be worth it; it always leaves the newest, with which the next free is compared. */
static inline unsigned hkm_policy_batch(unsigned cap, unsigned most) { return cap * 3 / 4 + 1 < most ? cap * 3 / 4 : most; }
static inline unsigned hkm_policy_refill(const struct hkm_policy *p, unsigned cap)
{
    return cap < 4 ? 1 : hkm_policy_batch(cap, (unsigned)hkm_load(&p->refill_most));
}
static inline unsigned hkm_policy_flush(const struct hkm_policy *p, unsigned cap)
{
    return cap < 4 ? cap - 1 : hkm_policy_batch(cap, (unsigned)hkm_load(&p->flush_most));
}

/* A thread that flushes so many bytes more than it refills shrinks.  Nobody can take from it what it leaves in its caches
 * when it goes to sleep, so they retreat: the one it is at by half, down to 16 KiB or 24 places of small blocks and 3 of
 * others, and in turn another one so far at once.  (Fewer places make each free of a heap that is taken down a flush.) */
enum { HKM_POLICY_SHRINKING = 1 << 20 };
unsigned hkm_policy_cache_retreat(unsigned cap, size_t size, bool at_once);

/* The nursery serves one more block of that size, after `taken` ones of which `live` are in use; false: the class is to have
 * a slab.  From that many bytes on, only those in use count. */
enum { HKM_POLICY_NURSERY_LARGE = 512, HKM_POLICY_NURSERY_SMALL = 4096 };
static inline bool hkm_policy_nursery(const struct hkm_policy *p, size_t size, unsigned taken, unsigned live)
{
    size_t blocks = hkm_load(&p->nursery_blocks);
    if (!blocks)
        return false;
    /* A class that uses more than six pages at a time is worth pages of its own; of small blocks, one that has filled one.  So is
     * one with many blocks: a slab's are cheaper to take and to free, so what comes again and again must end up in one. */
    if (size < HKM_POLICY_NURSERY_LARGE)
        return taken < blocks || (taken + 1) * size <= HKM_POLICY_NURSERY_SMALL;
    return taken < 32 && (live < 1 || (live < blocks && (live + 1) * size <= hkm_load(&p->nursery_bytes)));
}

/* Bytes to fault in at once of a slot that becomes a slab, when `full` slabs of its class are in use by its heap, and `taken` bytes
 * of slots by all `heaps`. */
size_t hkm_policy_prefault(const struct hkm_policy *p, size_t taken, size_t heaps, size_t full);
enum { HKM_POLICY_PREFAULT_FULL = 32 }; /* more of them do not matter */

/* Huge pages as HAKMEM_HUGEPAGES says, of which this part is on. */
enum hkm_huge hkm_policy_huge_kind(const struct hkm_policy *p);
/* Whether the next step is mapped in huge pages, when of `mapped` bytes `taken` are in use and `need` more are needed. */
bool hkm_policy_huge(const struct hkm_policy *p, size_t mapped, size_t taken, size_t need);

/* Slots that a thread takes from the Shared Pool at once. */
unsigned hkm_policy_slots(const struct hkm_policy *p, size_t mapped);

/* Bytes that the BigCache may hold, when `used` bytes are in use. */
size_t hkm_policy_bigcache(const struct hkm_policy *p, size_t used);

/* A block that must move to grow to so many bytes gets a mapping of its own, when there are `mappings` of those.  Smaller ones
 * do better in slots that are warm (bench/realloc_growth). */
enum { HKM_POLICY_GROWING = 4 << 20 };
bool hkm_policy_growing(const struct hkm_policy *p, size_t mappings);

/* From here on a block has a mapping of its own. */
size_t hkm_policy_big(const struct hkm_policy *p);

#endif
