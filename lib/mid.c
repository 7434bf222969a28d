/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * mid.c: runs of slots.  See mid.h.  A run is held by its one block alone, so nothing here needs a lock.
 */
#define HKM_SMALL
#include "mid.h"
#include "os.h"
#include "superslab.h"

#include <string.h>

size_t hkm_mid_bytes(void)
{
    size_t sum = 0;
    for (struct hkm_range *r = &hkm_range; r; r = hkm_range_next(r)) {
        size_t used = hkm_load_acq(&r->used);
        for (size_t i = 0; i < used; i++)
            if (hkm_tag_at(r, i) == &hkm_tag_run && !hkm_peek(hkm_slab_at(r, i)->listed))
                sum += hkm_peek(hkm_slab_at(r, i)->bytes);
    }
    return sum;
}

static size_t slots_for(size_t bytes) { return (bytes + HKM_SLOT_SIZE - 1) >> HKM_SLOT_SHIFT; }

/* Clears what is not known to be zero on the pages of bytes [0, bytes). */
static void clear(struct hkm_slab *s, size_t bytes)
{
    size_t page = hkm_os.page;
    for (size_t i = 0; i < slots_for(bytes); i++) {
        struct hkm_slab *slot = hkm_slab_after(s, i);
        size_t end = bytes - (i << HKM_SLOT_SHIFT) < HKM_SLOT_SIZE ? bytes - (i << HKM_SLOT_SHIFT) : HKM_SLOT_SIZE;
        for (size_t at = 0; at < end; at += page)
            if (!(slot->zero >> (at >> hkm_os.page_bits) & 1))
                memset(slot->start + at, 0, page);
    }
}

/* Pages of bytes [from, to) are not known to be zero any more.  Of slots that were used before most records say so already:
 * they are not written again, and stay in every processor's cache. */
static void soil(struct hkm_slab *s, size_t from, size_t to)
{
    for (size_t i = from >> HKM_SLOT_SHIFT; i < slots_for(to); i++) {
        size_t base = i << HKM_SLOT_SHIFT, a = from > base ? from - base : 0,
               b = to - base < HKM_SLOT_SIZE ? to - base : HKM_SLOT_SIZE;
        struct hkm_slab *slot = hkm_slab_after(s, i);
        uint16_t zero = slot->zero, left = zero & (uint16_t)~hkm_pages_of(a, b);
        if (left != zero)
            slot->zero = left;
    }
}

static void tag_rest(struct hkm_slab *s, size_t from, size_t to)
{
    size_t slot = hkm_slab_slot(s);
    for (size_t i = from; i < to; i++)
        hkm_tag_set(s->range, slot + i, &hkm_tag_rest);
}

void *hkm_mid_alloc(size_t size, size_t alignment, bool zero, const void *site)
{
    size_t bytes = hkm_round_up(size, hkm_os.page), slots = slots_for(bytes);
    size_t align = alignment >> HKM_SLOT_SHIFT;
    struct hkm_slab *s = hkm_superslab_run(slots, align ? align : 1);
    if (!s)
        return NULL;
    s->run = (uint32_t)slots;
    s->magic = 0;
    s->bytes = bytes;
    s->listed = 0;
    s->site = site;
    s->again = 0;
    s->given = hkm_site_alloc(site, bytes);
    if (zero)
        clear(s, bytes);
    tag_rest(s, 1, slots);
    hkm_tag_set(s->range, hkm_slab_slot(s), &hkm_tag_run);
    return s->start;
}

void hkm_mid_left(struct hkm_slab *s)
{
    hkm_site_free(s->site, s->bytes, s->given, s->again);
    s->again = s->given = 0;
}

void hkm_mid_free(struct hkm_slab *s)
{
    soil(s, 0, s->bytes);
    hkm_superslab_give(s, s->run);
}

size_t hkm_mid_drain(struct hkm_runs *c, size_t below)
{
    size_t given = 0, left = 0; /* `room` is not asked: the lists are the truth, a fork may have come between them and the sum */
    for (unsigned i = 1; i <= HKM_RUN_SLOTS; i++) {
        for (struct hkm_slab *s; i < below && (s = c->run[i]) != NULL; given += i) {
            c->run[i] = s->next;
            s->listed = 0;
            hkm_mid_left(s);
            soil(s, 0, s->bytes);
            hkm_superslab_give(s, i);
        }
        for (const struct hkm_slab *s = c->run[i]; s; s = s->next)
            left += i;
    }
    c->room = c->allowed - left;
    return given;
}

bool hkm_mid_resize(struct hkm_slab *s, size_t size)
{
    size_t bytes = hkm_round_up(size, hkm_os.page), slots = slots_for(bytes);
    if (slots != s->run) {
        hkm_mid_left(s);
        s->site = HKM_SITE_RESIZED;
    }
    if (slots > s->run) {
        if (!hkm_superslab_run_extend(s, s->run, slots - s->run))
            return false;
        tag_rest(s, s->run, slots);
        s->run = (uint32_t)slots;
    }
    if (bytes < s->bytes)
        soil(s, bytes, s->bytes); /* nobody clears these pages when the run grows again */
    s->bytes = bytes;
    if (slots < s->run) {
        struct hkm_slab *tail = hkm_slab_after(s, slots);
        size_t count = s->run - slots;
        s->run = (uint32_t)slots;
        hkm_superslab_give(tail, count);
    }
    return true;
}
