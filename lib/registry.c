/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * registry.c: ranges and their tables.  See registry.h.
 *
 * An area, from low to high:  slab records | tags | bitmaps | a gap | slots.  The records grow downwards from where the tags
 * begin, all else grows upwards from its own low end.  The tags begin in the middle of a page, and not where a page of the
 * page table begins: so one page, one mapping and one page of the page table do for the records and tags of a small process.
 */
#define HKM_SMALL
#include "registry.h"
#include "memcheck.h"
#include "meta.h"
#include "os.h"

enum {
    DESCRIBE = 2048,          /* slots whose tables are mapped in one step: 128 MiB of blocks */
    GAP = 1 << 20,            /* between tables and slots, never mapped */
    GUESS_BITS = sizeof(void *) == 8 ? 30 : 22, /* one page of the second level of the page table maps so much */
    ALIGN = HKM_SUPERSLAB_SIZE > (2 << 20) ? HKM_SUPERSLAB_SIZE : 2 << 20,
};
/* Address space of a range: 256 GiB, where there is plenty; less where the kernel refuses. */
static const size_t slots_most = sizeof(void *) == 8 ? (size_t)1 << 22 : 1 << 10;
static const size_t slots_least = 64;
static const size_t slots_plenty = sizeof(void *) == 8 ? (size_t)1 << 18 : 1 << 9;

struct hkm_range hkm_range HKM_USED, hkm_range_static HKM_USED;
static struct {
    char record[HKM_STATIC_SLOTS][1 << HKM_SLAB_SHIFT]; /* in descending order */
    struct hkm_tag *tag[HKM_STATIC_SLOTS];
} static_tables HKM_ALIGNED(1 << HKM_SLAB_SHIFT);
/* Before the slots and behind them a slot's size or more is left alone: a block that is written beyond its ends does not soon run
 * into what is ours. */
extern char hkm_static_room[(HKM_STATIC_SLOTS + 3) * HKM_SLOT_SIZE];
char hkm_static_room[(HKM_STATIC_SLOTS + 3) * HKM_SLOT_SIZE] HKM_BEHIND;

HKM_USED struct hkm_tag hkm_tag_none = { .kind = HKM_KIND_NONE };
HKM_USED struct hkm_tag hkm_tag_stranger = { .kind = HKM_KIND_STRANGER };
HKM_USED struct hkm_tag hkm_tag_run = { .kind = HKM_KIND_RUN };
HKM_USED struct hkm_tag hkm_tag_nursery = { .kind = HKM_KIND_NURSERY };
HKM_USED struct hkm_tag hkm_tag_rest = { .kind = HKM_KIND_REST };

/* Bytes of the far part of the bitmaps of so many slots. */
static size_t map_bytes(size_t slots)
{
    size_t words = (slots + HKM_WORD_BITS - 1) / HKM_WORD_BITS;
    return words <= HKM_NEAR ? 0 : (words - HKM_NEAR) * sizeof(struct hkm_map);
}

/* As many bytes, or a few more, so that a table of that many ends where a page does: tags and records begin in the middle of
 * one. */
static size_t to_page_end(size_t bytes)
{
    size_t half = hkm_os.page / 2;
    return hkm_round_up(bytes + half, hkm_os.page) - half;
}

/* A hole of that size.  It is only looked at, not kept: whatever is mapped later says by itself whether it is still free.
 *
 * For the first range not even that: our own data are among the highest mappings of a process, which grow downwards, so
 * there is nothing yet in the wide area below them.  (Not so in a static program at a low address, nor where addresses are
 * short.)  Should that be wrong, the next try asks the kernel. */
static char *find_hole(size_t total)
{
    static bool guessed; /* pool lock */
    uintptr_t here = (uintptr_t)&hkm_range;
    if (!guessed && here / 4 > total) {
        guessed = true;
        return (char *)((here - total) & ~(((uintptr_t)1 << GUESS_BITS) - 1));
    }
    char *hole = hkm_os_map_none(total);
    if (hole)
        hkm_os_unmap(hole, total);
    return hole;
}

/* Lays a range of that many slots out. */
static bool lay_out(struct hkm_range *r, size_t slots)
{
    size_t page = hkm_os.page;
    size_t slab_bytes = to_page_end(slots << HKM_SLAB_SHIFT) + ALIGN / 2; /* where a hole does, tags do not begin at a multiple of ALIGN */
    size_t tag_bytes = to_page_end(slots * sizeof *r->tags);
    size_t tables = slab_bytes + tag_bytes + hkm_round_up(map_bytes(slots), page);
    size_t total;
    if (slots > SIZE_MAX >> HKM_SLOT_SHIFT)
        return false;
    if (__builtin_add_overflow(tables + GAP + ALIGN, slots << HKM_SLOT_SHIFT, &total))
        return false;
    char *hole = find_hole(total);
    if (!hole)
        return false;
    r->slabs = hole + slab_bytes;
    r->tags = (struct hkm_tag **)(void *)r->slabs;
    r->far = (struct hkm_map *)(void *)(hole + slab_bytes + tag_bytes);
    hkm_store((hkm_word *)&r->base, hkm_round_up((uintptr_t)hole + tables + GAP, ALIGN));
    if (r == &hkm_range && !r->limit)
        hkm_memcheck_hide(r, sizeof *r);
    r->limit = slots;
    r->plain = 0;
    r->tags_mapped = r->slabs_mapped = r->maps_mapped = 0;
    return true;
}

static void link_after(struct hkm_range *end, struct hkm_range *r)
{
    hkm_store_rel((hkm_word *)(void *)&end->next, (size_t)r); /* pairs with hkm_range_next */
}

bool hkm_registry_lay_static(void)
{
    struct hkm_range *r = &hkm_range_static;
    if (r->limit || hkm_range.next)
        return false;
    hkm_memcheck_hide(&static_tables, sizeof static_tables);
    hkm_memcheck_hide(r, sizeof *r);
    r->tags = static_tables.tag;
    r->slabs = (char *)static_tables.tag;
    hkm_store((hkm_word *)&r->base, hkm_round_up((uintptr_t)hkm_static_room + HKM_SLOT_SIZE, HKM_SLOT_SIZE));
    r->limit = HKM_STATIC_SLOTS;
    link_after(&hkm_range, r);
    return true;
}

struct hkm_range *hkm_registry_room(size_t slots)
{
    static struct hkm_range *spare; /* pool lock: left from a call that found no hole */
    struct hkm_range *last = &hkm_range, *end = last; /* the static one is never the last to grow */
    for (; end->next; end = end->next)
        if (end->next != &hkm_range_static)
            last = end->next;
    if (spare == last) /* a fork came in between */
        spare = NULL;
    if (last->limit - hkm_load(&last->used) >= slots)
        return last;
    struct hkm_range *r = last;
    if (last->limit) { /* the first range is static, so that the fast path knows its address */
        if (!spare)
            spare = hkm_meta_alloc(sizeof *r, 64);
        r = spare;
        if (!r)
            return NULL;
    }
    size_t want = slots_most;
    /* The first range needs no probe if it can lie below our own data (find_hole), so where addresses are short it is made
     * smaller.  Kernels do not mind probing, but emulators of user mode write down every page of it, for seconds. */
    size_t below = ((uintptr_t)&hkm_range / 5) >> HKM_SLOT_SHIFT;
    if (r == &hkm_range && below >= slots_plenty)
        while (want > below)
            want /= 2;
    while (want < slots)
        want *= 2;
    while (!lay_out(r, want)) {
        want /= 2;
        if (want < slots || want < slots_least)
            return NULL;
    }
    if (r != last) {
        link_after(end, r);
        spare = NULL;
    }
    return r;
}

/* Bytes that a table is to have mapped, of which it needs `need`: more by whole steps, at most `most`. */
static size_t wish(size_t mapped, size_t need, size_t step, size_t most)
{
    if (need <= mapped)
        return mapped;
    size_t want = hkm_round_up(need, step);
    return want < most ? want : most;
}

static enum hkm_mapped map_table(char *from, size_t bytes, bool first)
{
    enum hkm_mapped result = hkm_os_map_at(from, bytes);
    if (result == HKM_MAPPED) {
        hkm_meta_note(bytes);
        hkm_meta_note_area(first);
        hkm_memcheck_hide(from, bytes);
    }
    return result;
}

/* The first tags and records, which have a page in common. */
static enum hkm_mapped begin(struct hkm_range *r, size_t slab_bytes, size_t tag_bytes)
{
    enum hkm_mapped result = map_table(r->slabs - slab_bytes, slab_bytes + tag_bytes, true);
    if (result == HKM_MAPPED) {
        r->slabs_mapped = slab_bytes;
        r->tags_mapped = tag_bytes;
    }
    return result;
}

/* Extends a table that begins at `start` to `want` bytes, or at least to `need`; `down`: it grows downwards from there. */
static enum hkm_mapped extend(char *start, size_t *mapped, size_t need, size_t want, bool down)
{
    if (need <= *mapped)
        return HKM_MAPPED;
    enum hkm_mapped result = map_table(down ? start - want : start + *mapped, want - *mapped, !*mapped);
    if (result != HKM_MAPPED && want != need) {
        want = need;
        result = map_table(down ? start - want : start + *mapped, want - *mapped, !*mapped);
    }
    if (result == HKM_MAPPED)
        *mapped = want;
    return result;
}

enum hkm_mapped hkm_registry_describe(struct hkm_range *r, size_t slots)
{
    size_t page = hkm_os.page, most = r->limit;
    size_t tag_need = to_page_end(slots * sizeof *r->tags), slab_need = to_page_end(slots << HKM_SLAB_SHIFT);
    size_t map_need = hkm_round_up(map_bytes(slots), page);
    size_t tag_want = to_page_end(wish(r->tags_mapped, tag_need, DESCRIBE * sizeof *r->tags, most * sizeof *r->tags));
    size_t slab_want = to_page_end(wish(r->slabs_mapped, slab_need, (size_t)DESCRIBE << HKM_SLAB_SHIFT, most << HKM_SLAB_SHIFT));
    enum hkm_mapped result = extend((char *)r->far, &r->maps_mapped, map_need, map_need, false);
    if (result == HKM_MAPPED && !r->tags_mapped) {
        result = begin(r, slab_want, tag_want);
        if (result != HKM_MAPPED)
            result = begin(r, slab_need, tag_need);
    }
    if (result == HKM_MAPPED)
        result = extend((char *)r->tags, &r->tags_mapped, tag_need, tag_want, false);
    if (result == HKM_MAPPED)
        result = extend(r->slabs, &r->slabs_mapped, slab_need, slab_want, true);
    return result;
}

void hkm_registry_extend(struct hkm_range *r, size_t count, struct hkm_tag *t)
{
    size_t used = hkm_load(&r->used);
    for (size_t i = used; i < used + count; i++)
        hkm_tag_set(r, i, t);
    hkm_store_rel(&r->used, used + count); /* pairs with hkm_registry_find */
    /* Not where it was shut meanwhile.  A fork may come before this: hkm_registry_is_open will find it out. */
    (void)hkm_cas(&r->open, used, used + count);
}

void hkm_registry_open(void) { hkm_store_rel(&hkm_range.open, hkm_load(&hkm_range.used)); }
