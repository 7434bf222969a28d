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
#include "memcheck.h"
#include "os.h"

enum { FIRST = 192 << 10, CHUNK = 512 << 10, SIZES = 16 };

static struct hkm_lock lock = HKM_LOCK_INIT(HKM_RANK_META);
/* A common symbol, because the linker puts those behind all other data: what little there is shares the page at which the
 * data begins, and that page is touched anyway. */
extern char hkm_meta_first[FIRST];
char hkm_meta_first[FIRST] HKM_ALIGNED(64) HKM_HIDDEN __attribute__((common));
/* A chunk begins with its own state, so that going over to a new one is a single store. */
struct chunk {
    char *bump, *end;
};
static struct chunk first_chunk;
static struct chunk *chunk; /* under lock */
static hkm_word *lists[SIZES]; /* under lock; arrays of 1 << i words, linked through their first word */
static size_t chunks; /* under lock; bytes in chunks but the first */
static hkm_word mapped, areas;

size_t hkm_meta_bytes(void) { return hkm_load(&mapped) + FIRST; }
void hkm_meta_note(size_t bytes) { hkm_add(&mapped, bytes); }
size_t hkm_meta_areas(void) { return hkm_load(&areas); }
void hkm_meta_note_area(size_t more) { hkm_add(&areas, more); }

/* Memory between two pages that stay inaccessible; NULL when the kernel refuses. */
static char *guarded(size_t bytes)
{
    size_t page = hkm_os.page;
    char *p = hkm_os_map_none(bytes + 2 * page);
    if (p && !hkm_os_allow(p + page, bytes)) {
        hkm_os_unmap(p, bytes + 2 * page);
        p = NULL;
    }
    return p ? p + page : NULL;
}

static bool more(size_t size)
{
    if (!chunk) {
        first_chunk.end = hkm_meta_first + FIRST;
        first_chunk.bump = hkm_meta_first;
        chunk = &first_chunk;
        hkm_memcheck_hide(hkm_meta_first, FIRST);
        return true;
    }
    /* A chunk is up to two mappings more, so chunks grow with what there is: their number stays logarithmic. */
    size_t page = hkm_os.page, least = hkm_round_up(sizeof *chunk + size + page, page);
    size_t bytes = hkm_round_up(chunks / 8 > CHUNK ? chunks / 8 : CHUNK, page);
    char *p = bytes > least ? guarded(bytes) : NULL;
    if (!p)
        p = guarded(bytes = least);
    if (!p)
        return false;
    hkm_meta_note(bytes);
    hkm_meta_note_area(3); /* with the pages at its ends */
    chunks += bytes;
    hkm_memcheck_hide(p, bytes);
    struct chunk *c = (struct chunk *)(void *)p;
    c->bump = (char *)(c + 1);
    c->end = p + bytes;
    chunk = c;
    return true;
}

static void *take(size_t size, size_t alignment)
{
    for (int tries = 0; tries < 3; tries++) {
        if (chunk) {
            char *p = (char *)hkm_round_up((uintptr_t)chunk->bump, alignment);
            if (p <= chunk->end && size <= (size_t)(chunk->end - p)) {
                chunk->bump = p + size;
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

/* Out of memory, but a larger array may be free: its upper halves become arrays of their own. */
static hkm_word *split(unsigned i)
{
    unsigned j = i + 1;
    while (j < SIZES && !lists[j])
        j++;
    if (j >= SIZES)
        return NULL;
    hkm_word *w = lists[j];
    lists[j] = (hkm_word *)*w;
    while (j-- > i) {
        hkm_word *half = w + ((size_t)1 << j);
        *half = (size_t)lists[j];
        lists[j] = half;
    }
    return w;
}

hkm_word *hkm_meta_words_get(unsigned words)
{
    unsigned i = list_of(words);
    hkm_check(i < SIZES);
    hkm_lock(&lock);
    hkm_word *w = lists[i];
    if (w)
        lists[i] = (hkm_word *)*w;
    else if (!(w = take(sizeof *w << i, sizeof *w << i < 64 ? sizeof *w << i : 64)))
        w = split(i);
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
