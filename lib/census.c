/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * census.c: where all the memory is.
 *
 * Every slot is in exactly one of these states: free (dirty or fresh), spare, of the nursery, of a run, of a cached run, a
 * slab.  Each kind is counted where it is found: slots by their tags and bitmaps, slabs and spare slots on the lists of
 * their heaps, under the heaps' locks.  So nothing is counted when blocks come and go, and that the parts add up to what
 * is mapped is a test, not a definition.  Other threads go on meanwhile; of records that nobody holds still, words are
 * read one by one, and none is believed so far that it could lead astray.
 */
#define HKM_SMALL
#include "census.h"
#include "big.h"
#include "bigcache.h"
#include "lock.h"
#include "meta.h"
#include "nursery.h"
#include "os.h"
#include "superslab.h"
#include "thread.h"

/* What is counted here alone, on the way to the sums. */
struct tally {
    struct hak_stats *sum;
    uint64_t runs;    /* that the program holds */
    uint64_t nursery; /* slots */
    uint64_t remote;  /* blocks in remote_bytes */
};

enum { NONE = ~0u };

static uint64_t bytes_of(unsigned pages) { return (uint64_t)pages << hkm_os.page_bits; }

static void count_run(struct tally *t, struct hkm_range *r, size_t slot, size_t used)
{
    struct hak_stats *sum = t->sum;
    struct hkm_slab *s = hkm_slab_at(r, slot);
    size_t slots = hkm_peek(s->run), bytes = hkm_peek(s->bytes), all = slots << HKM_SLOT_SHIFT;
    if (!slots || slots > used - slot || bytes > all)
        return; /* it is just coming or going */
    unsigned kept = hkm_peek(s->listed);
    if (kept) {
        *(kept == HKM_RUN_IN_BIGCACHE ? &sum->bigcache_bytes : &sum->run_cache_bytes) += all;
    } else {
        t->runs++;
        sum->live_bytes += bytes;
        sum->waste_bytes += all - bytes;
    }
    for (size_t i = 0; i < slots; i++) {
        size_t from = i << HKM_SLOT_SHIFT, end = bytes > from ? bytes - from : 0;
        uint16_t pages = end ? hkm_pages_of(0, end < HKM_SLOT_SIZE ? end : HKM_SLOT_SIZE) : 0;
        sum->committed_bytes += bytes_of(hkm_popcount(pages | hkm_superslab_backed(r, slot + i)));
    }
}

static void count_slots(struct tally *t, struct hkm_range *r)
{
    struct hak_stats *sum = t->sum;
    size_t used = hkm_load_acq(&r->used);
    unsigned inside = NONE; /* the mapping that goes on here: what its slots are backed by */
    for (size_t i = 0; i < used; i++) {
        const struct hkm_tag *tag = hkm_tag_at(r, i);
        if (tag->kind == HKM_KIND_STRANGER) {
            inside = NONE;
            continue;
        }
        sum->mappings += inside != hkm_slab_at(r, i)->backing; /* the static range: that of our zeroed data */
        inside = hkm_slab_at(r, i)->backing;
        switch (tag->kind) {
        case HKM_KIND_NURSERY:
            t->nursery++;
            /* fall through */
        case HKM_KIND_NONE:
            sum->committed_bytes += bytes_of(hkm_popcount(hkm_superslab_backed(r, i)));
            break;
        case HKM_KIND_RUN:
            count_run(t, r, i, used);
            break;
        default: /* a slab, which its heap counts, or a further slot of a run */
            break;
        }
    }
}

static void count_free(struct hak_stats *sum, struct hkm_range *r)
{
    size_t words = (hkm_load_acq(&r->used) + HKM_WORD_BITS - 1) / HKM_WORD_BITS;
    for (size_t w = 0; w < words; w++) {
        sum->dirty_bytes += (uint64_t)hkm_popcount(hkm_load(&hkm_map_at(r, w)->dirty)) << HKM_SLOT_SHIFT;
        sum->fresh_bytes += (uint64_t)hkm_popcount(hkm_load(&hkm_map_at(r, w)->fresh)) << HKM_SLOT_SHIFT;
    }
}

static void count_heap(struct hkm_heap *h, void *arg)
{
    struct tally *t = arg;
    t->remote += hkm_heap_stats(h, t->sum);
}

static uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

void hkm_census(struct hak_stats *sum)
{
    const struct hkm_superslab_stats *k = &hkm_superslab_stats;
    struct tally t = { .sum = sum };
    hkm_os_init(); /* this may be the very first call */
    hkm_thread_each(count_heap, &t);
    for (struct hkm_range *r = &hkm_range; r; r = hkm_range_next(r)) {
        count_slots(&t, r);
        count_free(sum, r);
    }
    bool canary = hkm_generation_has_page();
    uint64_t large = less(sum->large_allocs, sum->large_frees), granules = hkm_nursery_live();
    size_t big_mapped = hkm_big_mapped();
    sum->big_bytes = hkm_big_bytes();
    sum->big_blocks = less(large, t.runs);
    sum->bigcache_bytes += less(big_mapped, sum->big_bytes);
    sum->bigcache_hits = hkm_bigcache_hits();
    sum->mapped_bytes = ((uint64_t)hkm_load(&k->mapped) << HKM_SLOT_SHIFT) + big_mapped;
    sum->metadata_bytes = hkm_meta_bytes() + (canary ? hkm_os.page : 0);
    sum->mappings += hkm_meta_areas() + hkm_big_count() + canary;
    sum->nursery_bytes = less(t.nursery << HKM_SLOT_SHIFT, granules);
    /* Of the slabs' blocks the heaps have left out those that they found in their own caches; those on their way to other
     * heaps are found in a thread's buffer, and are of slabs that anybody may own. */
    sum->live_bytes = less(sum->live_bytes, sum->remote_bytes) + granules + sum->big_bytes;
    sum->live_blocks = less(sum->live_blocks, t.remote) + hkm_nursery_blocks() + large;
    sum->committed_bytes += big_mapped;
    sum->purged_bytes = hkm_load(&k->purged);
    sum->purges = hkm_load(&k->purges);
    sum->faults_avoided = hkm_load(&k->reused);
    sum->huge_bytes = ((uint64_t)hkm_load(&k->huge) << HKM_SLOT_SHIFT) + hkm_big_huge();
    sum->huge_fallbacks = hkm_load(&k->huge_fallbacks);
    sum->prefaulted_bytes = hkm_load(&k->prefaulted);
    sum->prefault_fallbacks = hkm_load(&k->prefault_fallbacks);
    sum->heaps = hkm_thread_heaps();
    sum->heaps_parked = hkm_thread_parked();
}
