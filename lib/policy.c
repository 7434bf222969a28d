/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * policy.c: see policy.h.
 */
#include "policy.h"
#include "class.h"
#include "option.h"

/* KiB to bytes, as many as a size_t can say. */
static size_t bytes_of(size_t kib) { return kib > SIZE_MAX >> 10 ? SIZE_MAX : kib << 10; }

size_t hkm_policy_growth(size_t mapped, size_t need)
{
    if (!hkm_load(&hkm_option.tiny_use_superslab))
        return need;
    /* An eighth of what is there keeps the number of steps logarithmic and the part never touched small. */
    size_t step = hkm_round_up(mapped / 8, HKM_SUPERSLAB_SIZE);
    if (step < HKM_SUPERSLAB_SIZE)
        step = HKM_SUPERSLAB_SIZE;
    if (step > (size_t)64 << 20)
        step = (size_t)64 << 20;
    if (!mapped && step > HKM_POLICY_FIRST)
        step = HKM_POLICY_FIRST;
    if (need <= step)
        return step;
    need = hkm_round_up(need, HKM_SUPERSLAB_SIZE);
    return step > need ? step : need;
}

static size_t share_of(size_t used)
{
    size_t floor = bytes_of(hkm_load(&hkm_option.dirty_kb));
    size_t share = used / 100 * hkm_load(&hkm_option.dirty_percent);
    return floor > share ? floor : share;
}

size_t hkm_policy_dirty_limit(size_t used)
{
    return hkm_load(&hkm_option.disable_purge) ? SIZE_MAX : share_of(used);
}

/* Of a heap that swings by a third, or by 32 MiB, nothing is given back in each trough. */
size_t hkm_policy_dirty_most(size_t used)
{
    size_t limit = hkm_policy_dirty_limit(used);
    if (!hkm_policy_purge_ms() || limit == SIZE_MAX)
        return limit;
    size_t floor = bytes_of(hkm_load(&hkm_option.dirty_kb));
    size_t most = floor > SIZE_MAX / 8 ? SIZE_MAX : floor * 8;
    size_t share = limit > SIZE_MAX / 4 ? SIZE_MAX : used / 100 * hkm_load(&hkm_option.dirty_percent) * 4;
    return most > share ? most : share;
}

size_t hkm_policy_bigcache(size_t used)
{
    size_t share = share_of(used), most = bytes_of(hkm_load(&hkm_option.bigcache_kb));
    return hkm_load(&hkm_option.disable_bigcache) ? 0 : share < most ? share : most;
}

bool hkm_policy_growing(size_t mappings)
{
    enum { MOST = 512 }; /* the kernel counts each, and allows 65530 by default */
    return mappings < MOST && !hkm_load(&hkm_option.disable_big_mappings);
}

size_t hkm_policy_spare(size_t slots, size_t waited)
{
    size_t ms = hkm_policy_purge_ms(), halvings = ms ? waited / ms : 1;
    if (slots < 4 || hkm_load(&hkm_option.disable_purge))
        return 0;
    return halvings < HKM_WORD_BITS ? slots - (slots >> halvings) : slots;
}

size_t hkm_policy_purge_ms(void) { return hkm_load(&hkm_option.purge_ms); }

enum hkm_look hkm_policy_look(size_t used, size_t idle, size_t more, size_t waited)
{
    size_t limit = hkm_policy_dirty_limit(used), ms = hkm_policy_purge_ms();
    if (limit == SIZE_MAX)
        return HKM_LOOK_NOT;
    /* Where a heap swings, such a look is in vain, and purge.c finds out. */
    if (more > (limit > SIZE_MAX / 2 ? SIZE_MAX : limit * 2))
        return HKM_LOOK_ALL;
    if (waited < ms)
        return HKM_LOOK_NOT;
    /* And now and then, as free blocks move together where as many are taken as are freed. */
    return more > limit / 4 || (waited / 16 >= ms && idle > limit) ? HKM_LOOK_IDLE : HKM_LOOK_NOT;
}

size_t hkm_policy_cache_limit(size_t mapped)
{
    size_t floor = bytes_of(hkm_load(&hkm_option.cache_kb)), part = mapped / 8;
    return floor > part ? floor : part;
}

unsigned hkm_policy_cache_growth(unsigned cap, unsigned most)
{
    if (hkm_load(&hkm_option.disable_cache_growth))
        return cap;
    unsigned next = cap * 4 + 6; /* 6, 30, 126, 510 */
    return next < most ? next : most;
}

unsigned hkm_policy_cache_retreat(unsigned cap, size_t size, bool at_once)
{
    unsigned least = size > HKM_TINY_MAX ? 3 : size > 16384 / 24 ? 24 : (unsigned)(16384 / size), half = cap / 2;
    if (least < half && !at_once)
        least = half;
    return least < cap ? least : cap;
}

bool hkm_policy_nursery(size_t size, unsigned taken, unsigned live)
{
    if (hkm_load(&hkm_option.disable_nursery))
        return false;
    /* A class that uses more than six pages at a time is worth pages of its own; of small blocks, one that has filled one.  So is
     * one with many blocks: a slab's are cheaper to take and to free, so what comes again and again must end up in one. */
    if (size < HKM_POLICY_NURSERY_LARGE)
        return taken < 16 || (taken + 1) * size <= 4096;
    return taken < 32 && (live < 1 || (live < 16 && (live + 1) * size <= 24576));
}

/* A class gets one more slab when all that it has are full: so a thirty-second of those, in each class, is never more than that
 * of the live heap, and it grows and shrinks with what is in use.  (With an eighth, a heap of 1 GiB of mixed sizes in eight
 * threads was 1 % larger, and so was what a fork copies.)  Four pages at once cost 10 to 25 % less than four
 * faults, sixteen 25 to 40 %, and 256 no less than sixteen (docs/performance.md): so a step is 16 KiB to one slot. */
size_t hkm_policy_prefault(size_t mapped, size_t full)
{
    enum { FROM = 8 << 20, LEAST = 16 << 10 };
    if (hkm_load(&hkm_option.disable_prefault) || mapped < FROM)
        return 0;
    size_t step = (full < HKM_POLICY_PREFAULT_FULL ? full : HKM_POLICY_PREFAULT_FULL) * (HKM_SLOT_SIZE / HKM_POLICY_PREFAULT_FULL);
    return step < LEAST ? 0 : step;
}

enum hkm_huge hkm_policy_huge_kind(void)
{
    return hkm_load(&hkm_option.disable_hugepages) ? HKM_HUGE_NO : (enum hkm_huge)hkm_load(&hkm_option.hugepages);
}

/* A heap that grows because it is full, and by so much that what is left of the last huge page is little: it will be dense.
 * One with holes is not; there a few blocks would hold each huge page. */
bool hkm_policy_huge(size_t mapped, size_t taken, size_t need)
{
    enum { FROM = 4 << 20 };
    return hkm_policy_huge_kind() != HKM_HUGE_NO && (mapped >= FROM || need >= FROM) && taken >= mapped / 8 * 7;
}

unsigned hkm_policy_slots(size_t mapped)
{
    if (!hkm_load(&hkm_option.tiny_use_superslab) || mapped <= HKM_SUPERSLAB_SIZE)
        return 1;
    return 4;
}

size_t hkm_policy_big(void)
{
    if (hkm_load(&hkm_option.disable_big_mappings))
        return SIZE_MAX;
    return bytes_of(hkm_load(&hkm_option.big_kb));
}
