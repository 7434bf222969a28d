/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_registry.c: ranges and their tables, without any memory for blocks behind them.
 */
#include "registry.h"
#include "meta.h"
#include "unit.h"

static char *slot_address(const struct hkm_range *r, size_t slot) { return (char *)r->base + (slot << HKM_SLOT_SHIFT); }

/* Makes `count` more slots of the range known, with a tag. */
static void extend(struct hkm_range *r, size_t count, struct hkm_tag *tag)
{
    ck_assert_int_eq(hkm_registry_describe(r, hkm_load(&r->used) + count), HKM_MAPPED);
    hkm_registry_extend(r, count, tag);
}

START_TEST(nothing_is_known_at_first)
{
    size_t slot = 77;
    int here;
    void *heap = malloc(100);
    const void *const strange[] = { NULL, &here, heap, (void *)1, (void *)UINTPTR_MAX, (void *)(UINTPTR_MAX / 2) };
    for (size_t i = 0; i < COUNT_OF(strange); i++)
        ck_assert_ptr_null(hkm_registry_find(strange[i], &slot));
    ck_assert_uint_eq(slot, 77);
    hkm_os_init();
    extend(hkm_registry_room(100), 100, &hkm_tag_none);
    for (size_t i = 0; i < COUNT_OF(strange); i++)
        ck_assert_ptr_null(hkm_registry_find(strange[i], &slot));
    free(heap);
}
END_TEST

START_TEST(first_range)
{
    hkm_os_init();
    struct hkm_range *r = hkm_registry_room(100);
    ck_assert_ptr_eq(r, &hkm_range);
    ck_assert_uint_ge(r->limit, 100);
    ck_assert_uint_eq(r->base % HKM_SUPERSLAB_SIZE, 0);
    ck_assert_uint_eq(r->base % (2 * MIB), 0); /* a huge page could stand there */
    ck_assert_uint_eq(hkm_load(&r->used), 0);
    ck_assert_ptr_eq(hkm_registry_room(100), r);
    ck_assert_ptr_eq(hkm_registry_room(r->limit), r);
    /* Only looked at, not reserved. */
    ck_assert(!unit_readable(r->slabs - 1) && !unit_readable(r->tags) && !unit_readable((void *)r->base));
    /* All tables end before the slots. */
    ck_assert(r->slabs <= (char *)r->tags);
    ck_assert((uintptr_t)r->slabs > r->limit << HKM_SLAB_SHIFT);
    ck_assert((char *)(r->tags + r->limit) <= (char *)r->far);
    ck_assert((char *)(r->far + r->limit / HKM_WORD_BITS) < (char *)r->base);
}
END_TEST

START_TEST(addresses_are_found)
{
    size_t slot = 77;
    hkm_os_init();
    struct hkm_range *r = hkm_registry_room(100);
    extend(r, 100, &hkm_tag_none);
    extend(r, 1, &hkm_tag_stranger);
    extend(r, 99, &hkm_tag_rest);
    ck_assert_uint_eq(hkm_load(&r->used), 200);
    for (size_t i = 0; i < 200; i++) {
        char *p = slot_address(r, i);
        ck_assert_ptr_eq(hkm_registry_find(p, &slot), r);
        ck_assert_uint_eq(slot, i);
        ck_assert_ptr_eq(hkm_registry_find(p + HKM_SLOT_SIZE - 1, &slot), r);
        ck_assert_uint_eq(slot, i);
        ck_assert_ptr_eq(hkm_tag_at(r, i), i < 100 ? &hkm_tag_none : i == 100 ? &hkm_tag_stranger : &hkm_tag_rest);
        struct hkm_slab *s = hkm_slab_at(r, i);
        s->range = r;
        ck_assert_uint_eq(hkm_slab_slot(s), i);
        ck_assert_ptr_eq(hkm_registry_slab(p + 12345), s);
    }
    ck_assert_ptr_null(hkm_registry_find(slot_address(r, 0) - 1, &slot));
    ck_assert_ptr_null(hkm_registry_find(slot_address(r, 200), &slot));
    hkm_tag_set(r, 7, &hkm_tag_run);
    ck_assert_int_eq(hkm_tag_at(r, 6)->kind, HKM_KIND_NONE);
    ck_assert_int_eq(hkm_tag_at(r, 7)->kind, HKM_KIND_RUN);
    ck_assert_int_eq(hkm_tag_at(r, 8)->kind, HKM_KIND_NONE);
}
END_TEST

START_TEST(no_tag_lets_a_cache_take_blocks)
{
    struct hkm_tag *const tags[] = { &hkm_tag_none, &hkm_tag_stranger, &hkm_tag_run, &hkm_tag_rest, &hkm_tag_nursery };
    for (size_t i = 0; i < COUNT_OF(tags); i++) {
        ck_assert_uint_eq(hkm_load(&tags[i]->thread), 0);
        ck_assert_int_ne(tags[i]->kind, HKM_KIND_SLAB);
        for (size_t j = 0; j < i; j++)
            ck_assert_int_ne(tags[i]->kind, tags[j]->kind);
    }
}
END_TEST

START_TEST(tables_grow_in_place)
{
    hkm_os_init();
    struct hkm_range *r = hkm_registry_room(100);
    size_t steps[] = { 1, 63, 64, 900, 1024, 1, 10000, 100000 }, used = 0, before = hkm_meta_bytes();
    for (size_t i = 0; i < COUNT_OF(steps) && steps[i] <= r->limit - used; i++) {
        ck_assert_int_eq(hkm_registry_describe(r, used + steps[i]), HKM_MAPPED);
        for (size_t slot = used; slot < used + steps[i]; slot++)
            expect(all_zero(hkm_slab_at(r, slot), sizeof(struct hkm_slab)));
        hkm_registry_extend(r, steps[i], &hkm_tag_none);
        for (size_t slot = used; slot < used + steps[i]; slot++) {
            hkm_slab_at(r, slot)->bytes = slot;
            struct hkm_map *m = hkm_map_at(r, slot / HKM_WORD_BITS);
            size_t bit = (size_t)1 << slot % HKM_WORD_BITS;
            expect(!((hkm_load(&m->dirty) | hkm_load(&m->fresh)) & bit));
            hkm_fetch_or(slot % 3 ? &m->dirty : &m->fresh, bit);
        }
        used += steps[i];
        ck_assert_uint_eq(hkm_load(&r->used), used);
    }
    for (size_t slot = 0; slot < used; slot++) {
        struct hkm_map *m = hkm_map_at(r, slot / HKM_WORD_BITS);
        expect(hkm_slab_at(r, slot)->bytes == slot);
        expect(hkm_tag_at(r, slot) == &hkm_tag_none);
        expect((hkm_load(&m->dirty) >> slot % HKM_WORD_BITS & 1) == (slot % 3 != 0));
        expect((hkm_load(&m->fresh) >> slot % HKM_WORD_BITS & 1) == (slot % 3 == 0));
    }
    ck_assert_uint_ge(hkm_meta_bytes(), before + (used << HKM_SLAB_SHIFT) + used * sizeof(void *)); /* it is told */
    before = hkm_meta_bytes();
    ck_assert_int_eq(hkm_registry_describe(r, 1), HKM_MAPPED); /* nothing to do */
    ck_assert_uint_eq(hkm_meta_bytes(), before);
}
END_TEST

/* What the fast paths may look at grows with what is known, but for a child of a fork until it has seen to the tags. */
START_TEST(shut_until_opened)
{
    hkm_os_init();
    struct hkm_range *r = hkm_registry_room(64);
    ck_assert(hkm_registry_is_open());
    extend(r, 3, &hkm_tag_none);
    ck_assert_uint_eq(hkm_load(&r->open), 3);
    hkm_registry_shut();
    extend(r, 4, &hkm_tag_none);
    ck_assert_uint_eq(hkm_load(&r->open), 0);
    ck_assert(!hkm_registry_is_open());
    hkm_registry_open();
    ck_assert_uint_eq(hkm_load(&r->open), 7);
    extend(r, 1, &hkm_tag_none);
    ck_assert_uint_eq(hkm_load(&r->open), 8);
    hkm_store(&r->open, 7); /* a fork in the middle of an extension */
    extend(r, 1, &hkm_tag_none);
    ck_assert(!hkm_registry_is_open());
    hkm_registry_open();
    ck_assert_uint_eq(hkm_load(&r->open), 9);
}
END_TEST

START_TEST(strangers_among_the_tables)
{
    hkm_os_init();
    struct hkm_range *r = hkm_registry_room(100);
    extend(r, 100, &hkm_tag_none);
    char *way = r->slabs - r->slabs_mapped - hkm_os.page;
    unit_stranger(way, hkm_os.page, PROT_READ | PROT_WRITE);
    memset(way, 7, hkm_os.page);
    size_t full = r->slabs_mapped >> HKM_SLAB_SHIFT;
    if (full >= r->limit) /* where addresses are short, the tables are mapped at once */
        return;
    ck_assert_int_eq(hkm_registry_describe(r, full), HKM_MAPPED);
    ck_assert_int_eq(hkm_registry_describe(r, full + 1), HKM_TAKEN);
    ck_assert_int_eq(hkm_registry_describe(r, full + 100000), HKM_TAKEN);
    ck_assert(all_bytes(way, hkm_os.page, 7));
    ck_assert_int_eq(hkm_registry_describe(r, full), HKM_MAPPED);
    munmap(way, hkm_os.page);
    ck_assert_int_eq(hkm_registry_describe(r, full + 1), HKM_MAPPED);
}
END_TEST

START_TEST(more_ranges)
{
    struct hkm_range *r[4];
    size_t slot = 0;
    hkm_os_init();
    for (size_t i = 0; i < COUNT_OF(r); i++) {
        r[i] = hkm_registry_room(50);
        ck_assert_ptr_nonnull(r[i]);
        for (size_t j = 0; j < i; j++)
            ck_assert_ptr_ne(r[i], r[j]);
        ck_assert_ptr_eq(i ? r[i - 1]->next : &hkm_range, r[i]);
        extend(r[i], 60 + i, &hkm_tag_none);
        r[i]->limit = 60 + i + 49; /* full, or nearly */
    }
    for (size_t i = 0; i < COUNT_OF(r); i++) {
        for (size_t j = 0; j < 60 + i; j++) {
            struct hkm_slab *s = hkm_slab_at(r[i], j);
            ck_assert_ptr_eq(hkm_registry_find(slot_address(r[i], j) + 5, &slot), r[i]);
            ck_assert_uint_eq(slot, j);
            ck_assert_ptr_eq(hkm_registry_slab(slot_address(r[i], j) + 5), s);
        }
        ck_assert_ptr_null(hkm_registry_find(slot_address(r[i], 60 + i), &slot));
    }
    ck_assert_ptr_eq(hkm_registry_room(49), r[3]); /* the last one is asked only */
}
END_TEST

/* The static range stands second, and is never the one that grows. */
START_TEST(static_range)
{
    size_t slot = 0;
    hkm_os_init();
    ck_assert(hkm_registry_lay_static());
    ck_assert(!hkm_registry_lay_static());
    ck_assert_ptr_eq(hkm_range.next, &hkm_range_static);
    ck_assert_uint_eq(hkm_range_static.limit, HKM_STATIC_SLOTS);
    hkm_registry_extend(&hkm_range_static, HKM_STATIC_SLOTS, &hkm_tag_none);
    ck_assert(hkm_registry_is_open()); /* which goes for the first range */
    for (size_t i = 0; i < HKM_STATIC_SLOTS; i++) {
        ck_assert_ptr_eq(hkm_registry_find(slot_address(&hkm_range_static, i) + HKM_SLOT_SIZE - 1, &slot), &hkm_range_static);
        ck_assert_uint_eq(slot, i);
        memset(hkm_slab_at(&hkm_range_static, i), 0xff, (size_t)1 << HKM_SLAB_SHIFT);
    }
    for (size_t i = 0; i < HKM_STATIC_SLOTS; i++) /* no record lies where a tag does */
        ck_assert_ptr_eq(hkm_tag_at(&hkm_range_static, i), &hkm_tag_none);
    memset((void *)hkm_range_static.base, 0xff, HKM_STATIC_SLOTS * HKM_SLOT_SIZE);
    ck_assert(hkm_range_static.next == NULL && hkm_range.limit == 0);
    ck_assert_ptr_null(hkm_registry_find(slot_address(&hkm_range_static, 0) - 1, &slot));
    ck_assert_ptr_null(hkm_registry_find(slot_address(&hkm_range_static, HKM_STATIC_SLOTS), &slot));
    struct hkm_range *r[3];
    for (size_t i = 0; i < COUNT_OF(r); i++) {
        r[i] = hkm_registry_room(50);
        ck_assert_ptr_eq(hkm_registry_room(50), r[i]);
        extend(r[i], 60, &hkm_tag_none);
        r[i]->limit = 60;
    }
    ck_assert_ptr_eq(r[0], &hkm_range);
    ck_assert_ptr_eq(hkm_range.next, &hkm_range_static);
    ck_assert_ptr_eq(hkm_range_static.next, r[1]);
    ck_assert_ptr_eq(r[1]->next, r[2]);
    ck_assert(!hkm_registry_lay_static());
}
END_TEST

static void little_address_space(void *arg)
{
    (void)arg;
    unit_limit(64 * MIB);
    struct hkm_range *r = hkm_registry_room(64); /* the first one costs nothing before it is mapped */
    CHILD(r == &hkm_range && r->limit >= 64);
    CHILD(hkm_registry_describe(r, 64) == HKM_MAPPED);
    hkm_registry_extend(r, 64, &hkm_tag_none);
    r->limit = 64;
    r = hkm_registry_room(64);
    CHILD(r != NULL && r != &hkm_range && r->limit >= 64 && r->limit < 1024);
    CHILD(hkm_registry_describe(r, r->limit) == HKM_MAPPED);
    hkm_registry_extend(r, r->limit, &hkm_tag_stranger);
    CHILD(hkm_registry_room(4096) == NULL);
    CHILD(r->next == NULL);
    unit_unlimit();
    r = hkm_registry_room(4096);
    CHILD(r != NULL && r->limit >= 4096);
}

START_TEST(ranges_fit_the_limit)
{
    hkm_os_init();
    if (LIMITS_HOLD)
        unit_passes(little_address_space, NULL);
}
END_TEST

START_TEST(absurd_wishes)
{
    hkm_os_init();
    ck_assert_ptr_null(hkm_registry_room(SIZE_MAX >> HKM_SLOT_SHIFT));
    struct hkm_range *r = hkm_registry_room(1);
    ck_assert_ptr_nonnull(r);
    r->limit = 1;
    /* They cost nothing, however often they come. */
    hkm_registry_room(SIZE_MAX >> HKM_SLOT_SHIFT);
    char *before = hkm_meta_alloc(1, 1);
    for (int i = 0; i < 100; i++)
        ck_assert_ptr_null(hkm_registry_room(SIZE_MAX >> HKM_SLOT_SHIFT));
    ck_assert_ptr_eq((char *)hkm_meta_alloc(1, 1), before + 1);
    struct hkm_range *second = hkm_registry_room(2);
    ck_assert(second != NULL && second != r && r->next == second);
    second->limit = 1;
    struct hkm_range *third = hkm_registry_room(2);
    ck_assert(third != NULL && third != second && second->next == third && third->next == NULL);
}
END_TEST

/* Addresses in the upper half of what a pointer can say, as kernels with five levels of page tables have them, and 32-bit
 * ones: compared as numbers without a sign, and none of their bits is used for anything else. */
START_TEST(high_addresses)
{
    static struct hkm_tag *tags[4];
    static char records[4 << HKM_SLAB_SHIFT] HKM_ALIGNED(64);
    const unsigned bits = 8 * sizeof(uintptr_t), lowest = bits > 32 ? 47 : 24;
    for (unsigned i = 0; i < 4; i++)
        tags[i] = &hkm_tag_none;
    for (unsigned top = lowest; top < bits; top++) {
        uintptr_t base = (uintptr_t)1 << top, slot_bytes = HKM_SLOT_SIZE;
        size_t slot = 77;
        hkm_store((hkm_word *)&hkm_range.base, base);
        hkm_range.tags = tags;
        hkm_range.slabs = records + sizeof records;
        hkm_store_rel(&hkm_range.used, 4);
        for (unsigned i = 0; i < 4; i++) {
            ck_assert_ptr_eq(hkm_registry_find((void *)(base + i * slot_bytes + 16), &slot), &hkm_range);
            ck_assert_uint_eq(slot, i);
            ck_assert_ptr_eq(hkm_registry_slab((void *)(base + i * slot_bytes + 16)), &records[(3 - i) << HKM_SLAB_SHIFT]);
        }
        ck_assert_ptr_null(hkm_registry_find((void *)(base - 16), &slot));
        ck_assert_ptr_null(hkm_registry_find((void *)(base + 4 * slot_bytes), &slot));
        ck_assert_ptr_null(hkm_registry_find((void *)(base ^ (uintptr_t)1 << (lowest - 1)), &slot));
        ck_assert_ptr_null(hkm_registry_find(NULL, &slot));
        ck_assert_ptr_null(hkm_registry_find((void *)UINTPTR_MAX, &slot));
    }
    hkm_store_rel(&hkm_range.used, 0);
}
END_TEST

UNIT_MAIN("registry", CK_FORK, nothing_is_known_at_first, first_range, shut_until_opened, addresses_are_found,
          no_tag_lets_a_cache_take_blocks, tables_grow_in_place, strangers_among_the_tables, more_ranges, static_range,
          ranges_fit_the_limit, absurd_wishes, high_addresses)
