/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * meta.c: a bump allocator over chunks with guard pages, and free lists of word arrays.  A slab that is opened or closed comes
 * here, so there are several sets of lists, and threads are spread over them; who finds nothing in its own looks at the others.
 *
 * The first chunk is part of the library's own zeroed data, so a small process maps nothing for it.  All state is guarded
 * by locks, of which a thread holds one at a time; each change that matters is one store, so a lock that a fork left behind
 * costs at most the memory that was just being taken.
 */
#define HKM_SMALL
#include "meta.h"
#include "lock.h"
#include "memcheck.h"
#include "os.h"

enum { FIRST = HKM_META_FIRST, CHUNK = 512 << 10, SIZES = 16, LARGE = 64 << 10, LEAST_PAGE = 4096 };

extern char hkm_meta_first[FIRST];
char hkm_meta_first[FIRST] HKM_ALIGNED(64) HKM_BEHIND;
/* A chunk begins with its own state, so that going over to a new one is a single store. */
struct chunk {
    char *bump, *end; /* what is large comes from the end: most of it is not touched for long, and the small share their pages */
};
/* Who takes the lock gets what it guards in the same lines. */
static struct HKM_OWN_LINES {
    struct hkm_lock lock;
    struct chunk *chunk;    /* under lock, like all below */
    struct chunk first_chunk;
    size_t chunks;          /* bytes in chunks but the first */
} m = { .lock = HKM_LOCK_INIT(HKM_RANK_META) };
enum { SETS = 8 };
static struct HKM_OWN_LINES set {
    struct hkm_lock lock;
    hkm_word lists[SIZES]; /* written under lock: addresses of arrays of 1 << i words, linked through their first word */
} sets[SETS] = { [0 ... SETS - 1] = { .lock = HKM_LOCK_INIT(HKM_RANK_META) } };
static hkm_word mapped, areas;
HKM_SHOWN(mapped, hkm_meta_mapped);
HKM_SHOWN(areas, hkm_meta_all_areas);

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

/* Goes over to a chunk of zeros.  Lock. */
static void begin(char *p, size_t bytes)
{
    hkm_meta_note(bytes);
    hkm_meta_note_area(3); /* with the pages at its ends */
    m.chunks += bytes;
    hkm_memcheck_hide(p, bytes);
    struct chunk *c = (struct chunk *)(void *)p;
    c->bump = (char *)(c + 1);
    c->end = p + bytes;
    hkm_in_order();
    m.chunk = c;
}

static bool more(size_t size)
{
    if (!m.chunk) {
        m.first_chunk.end = hkm_meta_first + FIRST;
        m.first_chunk.bump = hkm_meta_first;
        hkm_in_order(); /* it is whole before it is found: a fork may come in between */
        m.chunk = &m.first_chunk;
        hkm_memcheck_hide(hkm_meta_first, FIRST);
        return true;
    }
    /* A chunk is up to two mappings more, so chunks grow with what there is: their number stays logarithmic. */
    size_t page = hkm_os.page, whole = hkm_round_up(size, page), least = hkm_round_up(sizeof(struct chunk) + whole, page);
    size_t bytes = hkm_round_up(m.chunks / 8 > CHUNK ? m.chunks / 8 : CHUNK, page);
    char *p = bytes > least ? guarded(bytes) : NULL;
    if (!p)
        p = guarded(bytes = least);
    if (p)
        begin(p, bytes);
    return p != NULL;
}

void hkm_meta_adopt(void *p, size_t bytes)
{
    hkm_lock(&m.lock);
    begin(p, bytes);
    hkm_unlock(&m.lock);
}

/* From the chunk; NULL: it has no room. */
static void *cut(struct chunk *c, size_t size, size_t alignment)
{
    uintptr_t low = hkm_round_up((uintptr_t)c->bump, alignment), end = (uintptr_t)c->end;
    if (low > end || size > end - low)
        return NULL;
    if (size < LARGE) {
        c->bump = (char *)low + size;
        return (char *)low;
    }
    size_t neat = alignment > LEAST_PAGE ? alignment : LEAST_PAGE; /* so that its first bytes lie in one page */
    uintptr_t high = (end - size) & ~((uintptr_t)neat - 1);
    return high < low ? NULL : (c->end = (char *)high);
}

static void *take(size_t size, size_t alignment)
{
    void *p = NULL;
    for (int tries = 0; !p && tries < 3; tries++) {
        if (m.chunk)
            p = cut(m.chunk, size, alignment);
        if (!p && !more(size))
            return NULL;
    }
    return p;
}

void *hkm_meta_alloc(size_t size, size_t alignment)
{
    hkm_assert(hkm_is_pow2(alignment) && alignment <= hkm_os.page);
    hkm_lock(&m.lock);
    void *p = take(size, alignment);
    hkm_unlock(&m.lock);
    return p;
}

/* At least a cache line: neighbours belong to slabs of different threads, who would wait for each other's bits. */
static unsigned list_of(unsigned words)
{
    enum { LINE = 64 / sizeof(hkm_word) };
    return hkm_high_bit((words < LINE ? LINE : words) - 1) + 1;
}

/* The n-th set that a thread looks at. */
static struct set *set_of(unsigned n)
{
    return &sets[(((uint32_t)(hkm_os_thread() >> 6) * 0x9e3779b1u >> 29) + n) & (SETS - 1)];
}
_Static_assert(SETS == 1 << (32 - 29), "the hash is a number below SETS");

static hkm_word *pop(struct set *s, unsigned i)
{
    hkm_word *w = (hkm_word *)hkm_load(&s->lists[i]);
    if (w)
        hkm_store(&s->lists[i], *w);
    return w;
}

static void push(struct set *s, unsigned i, hkm_word *w)
{
    *w = hkm_load(&s->lists[i]);
    hkm_store(&s->lists[i], (size_t)w);
}

/* Out of memory, but a larger array may be free: its upper halves become arrays of their own.  Lock of the set. */
static hkm_word *split(struct set *s, unsigned i)
{
    unsigned j = i;
    while (j < SIZES && !hkm_load(&s->lists[j]))
        j++;
    if (j >= SIZES)
        return NULL;
    hkm_word *w = pop(s, j);
    while (j-- > i)
        push(s, j, w + ((size_t)1 << j));
    return w;
}

static hkm_word *search(unsigned i, hkm_word *(*way)(struct set *s, unsigned i))
{
    hkm_word *w = NULL;
    for (unsigned n = 0; n < SETS && !w; n++) {
        struct set *s = set_of(n);
        if (way == pop && !hkm_load(&s->lists[i])) /* a look without the lock: who comes too soon takes new memory */
            continue;
        hkm_lock(&s->lock);
        w = way(s, i);
        hkm_unlock(&s->lock);
    }
    return w;
}

hkm_word *hkm_meta_words_get(unsigned words)
{
    unsigned i = list_of(words);
    hkm_check(i < SIZES);
    hkm_word *w = search(i, pop);
    if (!w)
        w = hkm_meta_alloc(sizeof *w << i, 64);
    return w ? w : search(i, split);
}

void hkm_meta_words_put(hkm_word *w, unsigned words)
{
    struct set *s = set_of(0);
    hkm_lock(&s->lock);
    push(s, list_of(words), w);
    hkm_unlock(&s->lock);
}
