/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * registry.c: ranges and their tables.  See registry.h.
 *
 * An area, from low to high:  slab records | tags | bitmaps | a gap | slots.  All grow upwards from their own low ends.
 */
#include "registry.h"
#include "meta.h"
#include "os.h"

enum {
    DESCRIBE = 2048,          /* slots whose tables are mapped in one step: 128 MiB of blocks */
    GAP = 1 << 20,            /* between tables and slots, never mapped */
    ALIGN = HKM_SUPERSLAB_SIZE > (2 << 20) ? HKM_SUPERSLAB_SIZE : 2 << 20,
};
/* Address space of a range: 256 GiB, where there is plenty; less where the kernel refuses. */
static const size_t slots_most = sizeof(void *) == 8 ? (size_t)1 << 22 : 1 << 10;
static const size_t slots_least = 64;

struct hkm_range hkm_range;

struct hkm_tag hkm_tag_none = { .kind = HKM_KIND_NONE };
struct hkm_tag hkm_tag_stranger = { .kind = HKM_KIND_STRANGER };
struct hkm_tag hkm_tag_run = { .kind = HKM_KIND_RUN };
struct hkm_tag hkm_tag_nursery = { .kind = HKM_KIND_NURSERY };
struct hkm_tag hkm_tag_rest = { .kind = HKM_KIND_REST };

/* Bytes of the far part of the bitmaps of so many slots. */
static size_t map_bytes(size_t slots)
{
    size_t words = (slots + HKM_WORD_BITS - 1) / HKM_WORD_BITS;
    return words <= HKM_NEAR ? 0 : (words - HKM_NEAR) * sizeof(struct hkm_map);
}

/* Finds a hole for a range of that many slots and lays the range out.  The hole is only looked at, not kept: whatever is
 * mapped later says by itself whether it is still free. */
static bool lay_out(struct hkm_range *r, size_t slots)
{
    size_t page = hkm_os.page;
    size_t slab_bytes = hkm_round_up(slots << HKM_SLAB_SHIFT, page);
    size_t tag_bytes = hkm_round_up(slots * sizeof *r->tags, page);
    size_t tables = slab_bytes + tag_bytes + hkm_round_up(map_bytes(slots), page);
    size_t total;
    if (__builtin_add_overflow(tables + GAP + ALIGN, slots << HKM_SLOT_SHIFT, &total))
        return false;
    char *hole = hkm_os_map_none(total);
    if (!hole)
        return false;
    hkm_os_unmap(hole, total);
    r->slabs = hole;
    r->tags = (struct hkm_tag **)(void *)(hole + slab_bytes);
    r->far = (struct hkm_map *)(void *)(hole + slab_bytes + tag_bytes);
    r->base = hkm_round_up((uintptr_t)hole + tables + GAP, ALIGN);
    r->limit = slots;
    r->tags_mapped = r->slabs_mapped = r->maps_mapped = 0;
    return true;
}

struct hkm_range *hkm_registry_room(size_t slots)
{
    struct hkm_range *last = &hkm_range;
    while (last->next)
        last = last->next;
    if (last->limit - hkm_load(&last->used) >= slots)
        return last;
    struct hkm_range *r = last;
    if (last->limit) { /* the first range is static, so that the fast path knows its address */
        r = hkm_meta_alloc(sizeof *r, 64);
        if (!r)
            return NULL;
    }
    size_t want = slots_most;
    while (want < slots)
        want *= 2;
    while (!lay_out(r, want)) {
        want /= 2;
        if (want < slots || want < slots_least)
            return NULL;
    }
    if (r != last)
        hkm_store_rel((hkm_word *)(void *)&last->next, (size_t)r); /* pairs with hkm_registry_find */
    return r;
}

/* Extends a table so that its first `need` bytes are mapped; in steps of `step` bytes while there is memory. */
static enum hkm_mapped extend(void *table, size_t *mapped, size_t need, size_t step, size_t most)
{
    if (need <= *mapped)
        return HKM_MAPPED;
    need = hkm_round_up(need, hkm_os.page);
    size_t want = hkm_round_up(need, hkm_round_up(step, hkm_os.page));
    if (want > most)
        want = most;
    enum hkm_mapped result = hkm_os_map_at((char *)table + *mapped, want - *mapped);
    if (result != HKM_MAPPED && want != need) {
        want = need;
        result = hkm_os_map_at((char *)table + *mapped, want - *mapped);
    }
    if (result == HKM_MAPPED) {
        hkm_meta_note(want - *mapped);
        *mapped = want;
    }
    return result;
}

enum hkm_mapped hkm_registry_describe(struct hkm_range *r, size_t slots)
{
    size_t page = hkm_os.page, most = r->limit;
    enum hkm_mapped result =
        extend(r->far, &r->maps_mapped, map_bytes(slots), page, hkm_round_up(map_bytes(most), page));
    if (result == HKM_MAPPED)
        result = extend(r->tags, &r->tags_mapped, slots * sizeof *r->tags, DESCRIBE * sizeof *r->tags,
                        hkm_round_up(most * sizeof *r->tags, page));
    if (result == HKM_MAPPED)
        result = extend(r->slabs, &r->slabs_mapped, slots << HKM_SLAB_SHIFT, (size_t)DESCRIBE << HKM_SLAB_SHIFT,
                        hkm_round_up(most << HKM_SLAB_SHIFT, page));
    return result;
}

void hkm_registry_extend(struct hkm_range *r, size_t count, struct hkm_tag *t)
{
    size_t used = hkm_load(&r->used);
    for (size_t i = used; i < used + count; i++)
        hkm_tag_set(r, i, t);
    hkm_store_rel(&r->used, used + count); /* pairs with hkm_registry_find */
}
