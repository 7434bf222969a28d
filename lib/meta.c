/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * meta.c: a bump allocator over chunks with guard pages, and free lists of word arrays.
 *
 * The first chunk is part of the library's own zeroed data, so a small process maps nothing for it.  All state is guarded
 * by one lock; each change that matters is one store, so a lock that a fork left behind costs at most the memory that was
 * just being taken.
 */
#include "meta.h"
#include "lock.h"
#include "os.h"

enum { FIRST = 192 << 10, CHUNK = 512 << 10, SIZES = 16 };

static struct hkm_lock lock = HKM_LOCK_INIT(HKM_RANK_META);
static char first[FIRST] HKM_ALIGNED(64); /* not to a page: its first bytes share one with our other data */
static char *bump, *end;       /* under lock */
static hkm_word *lists[SIZES]; /* under lock; arrays of 1 << i words, linked through their first word */
static hkm_word mapped;

size_t hkm_meta_bytes(void) { return hkm_load(&mapped) + FIRST; }
void hkm_meta_note(size_t bytes) { hkm_add(&mapped, bytes); }

static bool more(size_t size)
{
    if (!bump) {
        end = first + FIRST;
        bump = first;
        return true;
    }
    size_t page = hkm_os.page;
    size_t chunk = hkm_round_up(size + page > CHUNK ? size + page : CHUNK, page);
    char *p = hkm_os_map_none(chunk + 2 * page); /* the pages at both ends stay inaccessible */
    if (!p && chunk > hkm_round_up(size + page, page)) {
        chunk = hkm_round_up(size + page, page);
        p = hkm_os_map_none(chunk + 2 * page);
    }
    if (!p)
        return false;
    if (!hkm_os_allow(p + page, chunk)) {
        hkm_os_unmap(p, chunk + 2 * page);
        return false;
    }
    hkm_meta_note(chunk);
    end = p + page + chunk;
    bump = p + page;
    return true;
}

static void *take(size_t size, size_t alignment)
{
    for (int tries = 0; tries < 3; tries++) {
        if (bump) {
            char *p = (char *)hkm_round_up((uintptr_t)bump, alignment);
            if (p <= end && size <= (size_t)(end - p)) {
                bump = p + size;
                return p;
            }
        }
        if (!more(size))
            return NULL;
    }
    return NULL;
}

void *hkm_meta_alloc(size_t size, size_t alignment)
{
    hkm_assert(hkm_is_pow2(alignment) && alignment <= hkm_os.page);
    hkm_lock(&lock);
    void *p = take(size, alignment);
    hkm_unlock(&lock);
    return p;
}

static unsigned list_of(unsigned words) { return words == 1 ? 0 : hkm_high_bit(words - 1) + 1; }

hkm_word *hkm_meta_words_get(unsigned words)
{
    unsigned i = list_of(words);
    hkm_check(i < SIZES);
    hkm_lock(&lock);
    hkm_word *w = lists[i];
    if (w)
        lists[i] = (hkm_word *)*w;
    else
        w = take(sizeof *w << i, sizeof *w << i < 64 ? sizeof *w << i : 64);
    hkm_unlock(&lock);
    return w;
}

void hkm_meta_words_put(hkm_word *w, unsigned words)
{
    unsigned i = list_of(words);
    hkm_lock(&lock);
    *w = (size_t)lists[i];
    lists[i] = w;
    hkm_unlock(&lock);
}
