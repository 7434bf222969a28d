/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_class.c: every size, every offset, every class.
 */
#include "class.h"
#include "unit.h"

START_TEST(smallest_class_for_every_size)
{
    unsigned want = 0;
    for (size_t size = 0; size <= HKM_MID_MAX; size++) {
        if (size > hkm_class[want].size)
            want++;
        ck_assert_msg(hkm_class_of(size) == want, "size %zu: class %u, not %u", size, hkm_class_of(size), want);
        ck_assert_uint_ge(hkm_class[want].size, size);
        ck_assert(!want || hkm_class[want - 1].size < size);
    }
    ck_assert_uint_eq(want, HKM_CLASSES - 1);
}
END_TEST

START_TEST(table_is_sound)
{
    ck_assert(hkm_class_valid());
    ck_assert_uint_eq(hkm_class[0].size, 16);
    ck_assert_uint_eq(hkm_class[HKM_TINY_CLASSES - 1].size, HKM_TINY_MAX);
    ck_assert_uint_eq(hkm_class[HKM_CLASSES - 1].size, HKM_MID_MAX);
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        const struct hkm_class *k = &hkm_class[c];
        ck_assert_uint_eq(k->size % 16, 0);
        ck_assert_uint_eq(k->blocks, HKM_SLOT_SIZE / k->size);
        ck_assert_uint_ge(k->words * 8 * sizeof(size_t), k->blocks);
        ck_assert_uint_lt((k->words - 1) * 8 * sizeof(size_t), k->blocks);
        ck_assert_uint_ge(k->blocks, 2);
        ck_assert_uint_ge(k->most, 2);
        /* What an idle thread keeps. */
        ck_assert_uint_le(k->most * k->size, c < HKM_TINY_CLASSES ? 256 * KIB : 64 * KIB);
        if (c)
            ck_assert(k->size > k[-1].size && k->most <= k[-1].most);
    }
    for (size_t size = 16; size <= HKM_MID_MAX; size *= 2) /* alignment rests on this */
        ck_assert_uint_eq(hkm_class[hkm_class_of(size)].size, size);
}
END_TEST

START_TEST(index_is_division)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        uint32_t size = hkm_class[c].size, magic = hkm_class[c].magic;
        for (uint32_t offset = 0; offset < HKM_SLOT_SIZE; offset++)
            if (hkm_class_index(magic, offset) != offset / size)
                ck_abort_msg("size %u offset %u: index %u", size, offset, hkm_class_index(magic, offset));
    }
}
END_TEST

START_TEST(starts_exactly_at_multiples)
{
    uintptr_t slot = (uintptr_t)0x7f1234560000;
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        uint32_t size = hkm_class[c].size, magic = hkm_class[c].magic;
        for (uint32_t offset = 0; offset < HKM_SLOT_SIZE; offset++)
            if (hkm_class_starts(magic, slot + offset) != (offset % size == 0))
                ck_abort_msg("size %u offset %u: starts %d", size, offset, hkm_class_starts(magic, slot + offset));
    }
}
END_TEST

START_TEST(little_is_wasted)
{
    size_t asked = 0, given = 0;
    for (size_t size = 1; size <= HKM_TINY_MAX; size++) {
        asked += size;
        given += hkm_class[hkm_class_of(size)].size;
    }
    ck_assert_msg((given - asked) * 100 <= 5 * given, "tiny: %zu of %zu", given - asked, given);
    for (size_t size = HKM_TINY_MAX + 1; size <= HKM_MID_MAX; size++) {
        size_t block = hkm_class[hkm_class_of(size)].size;
        ck_assert_msg((block - size) * 1000 <= 125 * block, "size %zu in %zu", size, block);
    }
    for (unsigned c = 0; c < HKM_CLASSES; c++) { /* and behind the last block of a slab */
        size_t tail = HKM_SLOT_SIZE - (size_t)hkm_class[c].blocks * hkm_class[c].size;
        ck_assert_uint_lt(tail, hkm_class[c].size);
    }
}
END_TEST

START_TEST(aligned_classes)
{
    for (size_t alignment = 1; alignment <= 2 * HKM_SLOT_SIZE; alignment *= 2) {
        for (size_t size = 0; size <= HKM_MID_MAX + 100; size += size < 5000 ? 1 : 13) {
            unsigned want = 0;
            while (want < HKM_CLASSES && (hkm_class[want].size < size || hkm_class[want].size % alignment))
                want++;
            unsigned got = hkm_class_aligned(alignment, size);
            if (got != want)
                ck_abort_msg("alignment %zu size %zu: class %u, not %u", alignment, size, got, want);
        }
    }
    ck_assert_uint_eq(hkm_class_aligned(16, SIZE_MAX), HKM_CLASSES);
    ck_assert_uint_eq(hkm_class_aligned(SIZE_MAX / 2 + 1, 1), HKM_CLASSES);
}
END_TEST

START_TEST(groups)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        unsigned group = hkm_class_group(c);
        ck_assert_uint_lt(group, HKM_GROUPS);
        if (c < HKM_TINY_CLASSES) { /* C1 to 16 bytes, C2 to 32, ... C7 to 1024 */
            ck_assert_uint_le(hkm_class[c].size, 8u << group);
            ck_assert_uint_gt(hkm_class[c].size, 4u << group);
        } else {
            ck_assert_uint_eq(group, HKM_GROUPS - 1);
        }
    }
}
END_TEST

UNIT_MAIN("class", CK_NOFORK, smallest_class_for_every_size, table_is_sound, index_is_division,
          starts_exactly_at_multiples, little_is_wasted, aligned_classes, groups)
