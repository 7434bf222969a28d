/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_alloc.c: every size takes its path, every pointer is judged, contents stay, statistics add up.
 */
#include "alloc.h"
#include "big.h"
#include "bigcache.h"
#include "memcheck.h"
#include "option.h"
#include "policy.h"
#include "superslab.h"
#include "unit.h"

#define SITE ((const void *)0x1234)

static void give(void *p) { hkm_free_fast(p); }

/* Sizes at which something changes. */
static const size_t borders[] = {
    0, 1, 16, 17, 256, 257, 512, 513, HKM_TINY_MAX - 1, HKM_TINY_MAX, HKM_TINY_MAX + 1, 4095, 4096, 4097,
    HKM_MID_MAX - 1, HKM_MID_MAX, HKM_MID_MAX + 1, 65535, 65536, 65537, 131072, 131073, 2097151, 2097152, 2097153,
    33554431, 33554432, 33554433,
};

START_TEST(borders_of_sizes)
{
    for (int pass = 0; pass < 3; pass++) {
        void *p[COUNT_OF(borders)];
        for (size_t i = 0; i < COUNT_OF(borders); i++) {
            size_t size = borders[i];
            p[i] = pass == 2 ? hkm_alloc_zeroed_fast(1, size) : hkm_alloc(size, SITE);
            ck_assert_ptr_nonnull(p[i]);
            ck_assert_uint_eq((uintptr_t)p[i] % 16, 0);
            size_t usable = hkm_alloc_usable(p[i]);
            ck_assert_uint_ge(usable, size);
            /* A run that was cached keeps its length in pages. */
            ck_assert_uint_le(usable, (size > HKM_MID_MAX ? hkm_round_up(size, HKM_SLOT_SIZE) : size + size / 8) +
                                          hkm_os.page);
            if (pass == 2)
                ck_assert(all_zero(p[i], size));
            pattern_fill(p[i], usable, i);
            ck_assert_uint_eq(hkm_alloc_usable(p[i]), usable); /* it does not change */
        }
        for (size_t i = 0; i < COUNT_OF(borders); i++) {
            ck_assert(pattern_holds(p[i], hkm_alloc_usable(p[i]), i));
            give(p[i]);
        }
    }
}
END_TEST

START_TEST(paths)
{
    for (size_t i = 0; i < COUNT_OF(borders); i++) {
        char *p = hkm_alloc(borders[i], SITE);
        size_t slot = 0;
        struct hkm_range *r = hkm_registry_find(p, &slot);
        if (borders[i] + HKM_RED_ZONE >= hkm_policy_big(hkm_policy())) {
            ck_assert_ptr_null(r);
            ck_assert_uint_ge(hkm_big_size(p), borders[i]);
            continue;
        }
        ck_assert_ptr_nonnull(r);
        int kind = hkm_tag_at(r, slot)->kind;
        if (borders[i] + HKM_RED_ZONE > HKM_MID_MAX)
            ck_assert_int_eq(kind, HKM_KIND_RUN);
        else
            ck_assert(kind == HKM_KIND_SLAB || kind == HKM_KIND_NURSERY);
    }
    static char *p[1000];
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        p[i] = hkm_alloc_fast(100);
    size_t slot = 0;
    struct hkm_range *r = hkm_registry_find(p[COUNT_OF(p) - 1], &slot);
    ck_assert_ptr_nonnull(r);
    ck_assert_int_eq(hkm_tag_at(r, slot)->kind, HKM_KIND_SLAB); /* the nursery has an end */
    ck_assert_uint_eq(hkm_alloc_usable(p[COUNT_OF(p) - 1]), HKM_VALGRIND ? 100 : 112);
}
END_TEST

START_TEST(free_null_and_errno)
{
    errno = 77;
    give(NULL);
    hkm_free_slow(NULL);
    give(hkm_alloc(100, SITE));
    give(hkm_alloc(100000, SITE));
    give(hkm_alloc(64 * MIB, SITE));
    ck_assert_uint_eq(hkm_alloc_usable(NULL), 0);
    ck_assert_int_eq(errno, 77);
}
END_TEST

START_TEST(impossible_sizes)
{
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 100, PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, NOT_TO_BE_HAD };
    void *p = hkm_alloc(100, SITE);
    pattern_fill(p, 100, 1);
#define REFUSED(expression)                       \
    do {                                          \
        errno = 0;                                \
        ck_assert_ptr_null(expression);           \
        ck_assert_int_eq(errno, ENOMEM);          \
    } while (0)
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        REFUSED(hkm_alloc(sizes[i], SITE));
        REFUSED(hkm_alloc_zeroed_fast(1, sizes[i]));
        REFUSED(hkm_alloc_zeroed_fast(sizes[i], 1));
        REFUSED(hkm_alloc_zeroed_fast(sizes[i], 16));
        REFUSED(hkm_alloc_aligned(64, sizes[i]));
        REFUSED(hkm_alloc_aligned(MIB, sizes[i]));
        REFUSED(hkm_alloc_resize_fast(p, sizes[i]));
        REFUSED(hkm_alloc_array(p, sizes[i], 16, SITE));
        REFUSED(hkm_alloc_resize(NULL, sizes[i], SITE));
    }
    REFUSED(hkm_alloc_aligned(SIZE_MAX / 2 + 1, 1));
    REFUSED(hkm_alloc_zeroed_fast(SIZE_MAX / 2 + 1, 2)); /* the product is 0 */
    ck_assert(pattern_holds(p, 100, 1));
    give(p);
}
END_TEST

START_TEST(zeroed)
{
    for (int pass = 0; pass < 4; pass++) {
        static void *p[200];
        for (size_t size = 1; size < 3 * MIB; size = size * 3 / 2 + 7) {
            unsigned n = size < 40000 ? COUNT_OF(p) : 4;
            for (unsigned i = 0; i < n; i++) {
                p[i] = hkm_alloc_zeroed_fast(i % 2 ? 1 : size, i % 2 ? size : 1);
                expect(p[i] && all_zero(p[i], size));
                memset(p[i], 7, hkm_alloc_usable(p[i]));
            }
            for (unsigned i = 0; i < n; i++)
                give(p[i]);
        }
        hkm_alloc_purge();
    }
    ck_assert_ptr_nonnull(hkm_alloc_zeroed_fast(0, 0));
    ck_assert_ptr_nonnull(hkm_alloc_zeroed_fast(0, SIZE_MAX));
}
END_TEST

START_TEST(aligned)
{
    for (size_t alignment = 1; alignment <= GIB; alignment *= 2) {
        static const size_t sizes[] = { 0, 1, 100, 1024, 5000, 32768, 40000, 65537, 3000000 };
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            char *p = hkm_alloc_aligned(alignment, sizes[i]), *q = hkm_alloc_aligned(alignment, sizes[i]);
            ck_assert(p && q && p != q);
            ck_assert_uint_eq((uintptr_t)p % alignment, 0);
            ck_assert_uint_eq((uintptr_t)q % alignment, 0);
            ck_assert_uint_eq((uintptr_t)q % 16, 0);
            size_t usable = hkm_alloc_usable(p);
            ck_assert_uint_ge(usable, sizes[i]);
            memset(p, 1, usable);
            memset(q, 2, hkm_alloc_usable(q));
            ck_assert(all_bytes(p, usable, 1));
            give(p);
            q = hkm_alloc_resize_fast(q, sizes[i] + 1000);
            ck_assert(q && all_bytes(q, sizes[i], 2));
            give(q);
        }
    }
    ck_assert_uint_eq(hkm_big_bytes(), 0);
}
END_TEST

START_TEST(as_the_c_library_has_it)
{
    void *p = SITE == NULL ? NULL : (void *)1;
    char *q = hkm_alloc_rounded(100, 10);
    ck_assert(q && (uintptr_t)q % 128 == 0);
    give(q);
    errno = 0;
    ck_assert_ptr_null(hkm_alloc_rounded(SIZE_MAX / 2 + 2, 10));
    ck_assert_int_eq(errno, EINVAL);
    errno = 77;
    ck_assert_int_eq(hkm_alloc_checked(&p, 3, 10), EINVAL);
    ck_assert_int_eq(hkm_alloc_checked(&p, 0, 10), EINVAL);
    ck_assert_int_eq(hkm_alloc_checked(&p, 4, 10), sizeof(void *) == 4 ? 0 : EINVAL);
    ck_assert_int_eq(hkm_alloc_checked(&p, 24, 10), EINVAL);
    ck_assert_int_eq(errno, 77);
    ck_assert_int_eq(hkm_alloc_checked(&p, 64, SIZE_MAX), ENOMEM);
    ck_assert_int_eq(errno, ENOMEM); /* as well */
    ck_assert(sizeof(void *) == 4 || p == (void *)1);
    errno = 77;
    ck_assert_int_eq(hkm_alloc_checked(&p, 64, 10), 0);
    ck_assert_uint_eq((uintptr_t)p % 64, 0);
    ck_assert_int_eq(errno, 77);
    p = hkm_alloc_array(p, 10, 20, SITE);
    ck_assert_uint_ge(hkm_alloc_usable(p), 200);
    give(p);
}
END_TEST

START_TEST(resize)
{
    /* From every border to every other one. */
    for (size_t i = 0; i < COUNT_OF(borders); i++) {
        for (size_t j = 0; j < COUNT_OF(borders); j++) {
            if (borders[i] + borders[j] > 20 * MIB && (i + j) % 7)
                continue; /* they take their time */
            size_t least = borders[i] < borders[j] ? borders[i] : borders[j];
            char *p = hkm_alloc(borders[i], SITE);
            pattern_fill(p, borders[i], i);
            char *q = hkm_alloc_resize_fast(p, borders[j]);
            if (!borders[j]) {
                ck_assert_ptr_null(q); /* it is freed */
                continue;
            }
            ck_assert_ptr_nonnull(q);
            ck_assert(pattern_holds(q, least, i));
            ck_assert_uint_ge(hkm_alloc_usable(q), borders[j]);
            pattern_fill(q, borders[j], j);
            if (borders[j] >= 16 && !HKM_VALGRIND)
                ck_assert_ptr_eq(hkm_alloc_resize_fast(q, borders[j]), q); /* the same size: the same place */
            ck_assert(pattern_holds(q, borders[j], j));
            give(q);
        }
    }
    char *p = hkm_alloc_resize(NULL, 50, SITE);
    ck_assert_ptr_nonnull(p);
    give(p);
    struct hak_stats s;
    hkm_heap_flush(hkm_thread_own());
    hkm_alloc_stats(&s);
    ck_assert_uint_eq(s.live_bytes, 0);
}
END_TEST

/* Within the caches of one thread, at their edges. */
START_TEST(resize_in_the_caches)
{
    if (HKM_HARDENED)
        return;
    enum { FROM = 320, TO = 2000 };
    static char *p[2000];
    struct hkm_heap *h;
    setenv("HAKMEM_DISABLE_NURSERY", "1", 1);
    for (size_t i = 0; i < COUNT_OF(p); i++)
        ck_assert_ptr_nonnull(p[i] = hkm_alloc(i % 2 ? FROM : TO, SITE));
    h = hkm_thread_own();
    struct hkm_bin *from = h->bin[hkm_class_of(FROM)], *to = h->bin[hkm_class_of(TO)];
    for (size_t i = 0; i < COUNT_OF(p); i++) { /* each cache becomes full, and empty, on the way */
        size_t had = to->cap - to->room, full = from->room == 1;
        pattern_fill(p[i], FROM, i);
        char *q = hkm_alloc_resize_fast(p[i], i % 2 ? TO : FROM);
        ck_assert(q && q != p[i] && pattern_holds(q, FROM, i));
        if (i % 2 && had && !full && from == h->bin[hkm_class_of(FROM)])
            ck_assert_ptr_eq(from->slots[from->room], p[i]);
        ck_assert(from->room >= 1 && to->room >= 1);
        p[i] = q;
        if (i % 500 == 499)
            hkm_heap_flush(h);
        from = h->bin[hkm_class_of(FROM)];
        to = h->bin[hkm_class_of(TO)];
    }
    ck_assert(hkm_heap_valid(h));
    /* TLS was set up afresh after the heap was made: its blocks are known by the thread's address alone. */
    memset(&hkm_tls, 0, sizeof hkm_tls);
    pattern_fill(p[0], FROM, 7);
    p[0] = hkm_alloc_resize_fast(p[0], TO);
    ck_assert(p[0] && pattern_holds(p[0], FROM, 7));
    for (size_t i = 0; i < COUNT_OF(p); i++)
        give(p[i]);
    ck_assert(hkm_heap_valid(h));
}
END_TEST

/* Random work over all sizes. */
static struct {
    char *p;
    size_t size;
} held[500];

static void random_work(uint64_t seed, int rounds)
{
    for (int round = 0; round < rounds; round++) {
        size_t i = random_below(&seed, COUNT_OF(held)), kind = random_below(&seed, 100), size;
        if (kind < 60)
            size = random_below(&seed, 1100);
        else if (kind < 85)
            size = random_below(&seed, 40000);
        else if (kind < 99 || random_below(&seed, 8))
            size = random_below(&seed, 200000);
        else
            size = borders[random_below(&seed, COUNT_OF(borders))];
        if (!held[i].p) {
            bool zero = random_below(&seed, 3) == 0, align = random_below(&seed, 8) == 0;
            size_t alignment = align ? (size_t)1 << random_below(&seed, 18) : 16;
            held[i].p = zero ? hkm_alloc_zeroed_fast(1, size)
                             : align ? hkm_alloc_aligned(alignment, size) : hkm_alloc_fast(size);
            expect(held[i].p != NULL);
            expect(zero ? all_zero(held[i].p, size) : (uintptr_t)held[i].p % alignment == 0);
        } else {
            expect(pattern_holds(held[i].p, held[i].size, i));
            if (random_below(&seed, 2)) {
                give(held[i].p);
                held[i].p = NULL;
                held[i].size = 0;
                continue;
            }
            size += !size;
            held[i].p = hkm_alloc_resize_fast(held[i].p, size);
            expect(held[i].p && pattern_holds(held[i].p, size < held[i].size ? size : held[i].size, i));
        }
        held[i].size = size;
        pattern_fill(held[i].p, size, i);
        expect(hkm_alloc_usable(held[i].p) >= size);
        if (round % 4000 == 3999)
            hkm_alloc_purge();
    }
}

static void check_stats(void)
{
    struct hak_stats s;
    uint64_t live = 0, big = 0;
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        live += held[i].p ? hkm_alloc_usable(held[i].p) : 0;
        big += held[i].p ? hkm_big_size(held[i].p) : 0;
    }
    hkm_heap_flush(hkm_thread_own());
    hkm_alloc_stats(&s);
    ck_assert(HKM_VALGRIND ? s.live_bytes >= live : s.live_bytes == live); /* red zones count */
    ck_assert_uint_eq(s.big_bytes, big);
    ck_assert_uint_eq(s.cached_bytes, 0);
    ck_assert_uint_ge(s.mapped_bytes, s.live_bytes + s.free_bytes + s.dirty_bytes);
    ck_assert_uint_gt(s.metadata_bytes, 0);
    ck_assert_uint_ge(s.heaps, 1);
    ck_assert_uint_ge(s.large_allocs, s.large_frees);
    uint64_t large = 0;
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        size_t slot = 0;
        struct hkm_range *r = held[i].p ? hkm_registry_find(held[i].p, &slot) : NULL;
        large += held[i].p && (!r || hkm_tag_at(r, slot)->kind == HKM_KIND_RUN);
    }
    ck_assert_uint_eq(s.large_allocs - s.large_frees, large);
    if (HKM_STATS)
        ck_assert_uint_ge(s.mallocs + s.large_allocs, s.frees + s.large_frees);
    ck_assert(hkm_heap_valid(hkm_thread_own()));
}

static void drop_all(void)
{
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        expect(!held[i].p || pattern_holds(held[i].p, held[i].size, i));
        give(held[i].p);
        held[i].p = NULL;
        held[i].size = 0;
    }
    check_stats();
}

START_TEST(random_operations)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        random_work(seed, 10000);
        check_stats();
    }
    drop_all();
    ck_assert_uint_gt(hkm_alloc_purge(), 0);
    struct hak_stats s;
    hkm_alloc_stats(&s);
    ck_assert_uint_eq(s.dirty_bytes, 0);
    ck_assert_uint_le(s.slabs, 0);
    ck_assert_uint_eq(hkm_alloc_purge(), 0); /* there is no more */
}
END_TEST

/* The same with every part of the library that can be off. */
START_TEST(random_operations_minimal)
{
    unsetenv("HAKMEM_STATS");
    setenv("HAKMEM_MINIMAL", "1", 1);
    setenv("HAKMEM_VERBOSE", "0", 1);
    random_work(7, 8000);
    ck_assert_uint_eq(hkm_load(&hkm_option.minimal), 1);
    check_stats();
    drop_all();
}
END_TEST

/* When the first range is full, blocks come from the next one, by the slow paths. */
START_TEST(random_operations_in_a_second_range)
{
    random_work(7, 2000);
    size_t used = hkm_load(&hkm_range.used);
    hkm_range.limit = used;
    random_work(8, 8000);
    ck_assert_ptr_nonnull(hkm_range.next);
    ck_assert_uint_gt(hkm_load(&hkm_range.next->used), 0);
    ck_assert_uint_eq(hkm_load(&hkm_range.used), used);
    check_stats();
    drop_all();
}
END_TEST

START_TEST(tiny_ones_by_the_c_library)
{
    setenv("HAKMEM_WRAP_TINY", "0", 1);
    size_t slot = 0;
    for (size_t size = 0; size < 2000; size += 100) {
        char *p = hkm_alloc(size, SITE), *q = hkm_alloc_zeroed_fast(1, size);
        ck_assert(p && q && all_zero(q, size));
        ck_assert_int_eq(hkm_registry_find(p, &slot) == NULL, LIBC_ALLOCATES && size + HKM_RED_ZONE <= HKM_TINY_MAX);
        pattern_fill(p, size, 1);
        p = hkm_alloc_resize_fast(p, size + 50);
        ck_assert(pattern_holds(p, size, 1));
        give(p);
        give(q);
    }
    struct hak_stats s;
    hkm_alloc_stats(&s);
    if (LIBC_ALLOCATES)
        ck_assert_uint_ge(s.foreign_frees, 15);
    else
        ck_assert_uint_eq(s.foreign_frees, 0);
}
END_TEST

/* ---- pointers of others, and wrong ones -------------------------------------------------------------------------- */

extern void *__libc_malloc(size_t) __attribute__((weak));

START_TEST(foreign_pointers)
{
    if (!&__libc_malloc)
        return;
    for (int pass = 0; pass < 2; pass++) { /* before there is a heap, and after */
        char *p = __libc_malloc(100);
        pattern_fill(p, 100, 1);
        if (!SANITIZED)
            ck_assert_uint_ge(hkm_alloc_usable(p), 100);
        p = hkm_alloc_resize_fast(p, 100000);
        ck_assert(pattern_holds(p, 100, 1));
        give(p);
        (void)hkm_alloc(10, SITE);
    }
    struct hak_stats s;
    hkm_alloc_stats(&s);
    ck_assert_uint_eq(s.foreign_frees, 2);
}
END_TEST

static void free_it(void *p)
{
    give(p);
    CHILD(!"still here");
}
static void free_it_twice(void *p)
{
    give(p);
    give(p);
    CHILD(!"still here");
}
static void resize_it(void *p)
{
    (void)hkm_alloc_resize_fast(p, 100);
    CHILD(!"still here");
}
static void measure_it(void *p)
{
    (void)hkm_alloc_usable(p);
    CHILD(!"still here");
}

START_TEST(wrong_pointers)
{
    static const size_t sizes[] = { 100, 1000, 5000, 30000, 200000, 40000000 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *p = hkm_alloc(sizes[i], SITE); /* the first of its class: in the nursery, perhaps */
        for (int pass = 0; pass < 2; pass++) {
            unit_aborts(free_it, p + 1, "hakmem: free(): misaligned pointer: %p\n", (void *)(p + 1));
            unit_aborts(free_it, p + 8, "hakmem: free(): misaligned pointer: %p\n", (void *)(p + 8));
            unit_aborts(free_it, p + 16, "hakmem: free(): interior pointer: %p\n", (void *)(p + 16));
            unit_aborts(resize_it, p + 1, "hakmem: realloc(): misaligned pointer: %p\n", (void *)(p + 1));
            unit_aborts(resize_it, p + 16, "hakmem: realloc(): interior pointer: %p\n", (void *)(p + 16));
            unit_aborts(measure_it, p + 16, "hakmem: malloc_usable_size(): interior pointer: %p\n", (void *)(p + 16));
            size_t far = sizes[i] - 1;
            unit_aborts(free_it, p + far, "hakmem: free(): %s pointer: %p\n", far % 16 ? "misaligned" : "interior",
                        (void *)(p + far));
            if (!EMULATED || sizes[i] < hkm_policy_big(hkm_policy())) /* it cannot tell whether anything is there now */
                unit_aborts(free_it_twice, p, "hakmem: free(): double free: %p\n", (void *)p);
            for (int k = 0; k < 300 && sizes[i] < 40000; k++)
                p = hkm_alloc(sizes[i], SITE); /* the second time: in a slab for certain */
        }
    }
    /* Where a block would be if the slab had room for one more. */
    char *last = hkm_alloc(400, SITE);
    struct hkm_slab *slab = hkm_registry_slab(last);
    if (slab->run == 0 && slab->size >= 400) {
        char *behind = slab->start + (size_t)slab->blocks * slab->size;
        unit_aborts(resize_it, behind, "hakmem: realloc(): invalid pointer: %p\n", (void *)behind);
    }
    /* A free slot of ours. */
    struct hkm_slab *s = hkm_superslab_run(1, 1);
    hkm_superslab_give(s, 1);
    struct unit_child c = unit_child(free_it, s->start + 32);
    ck_assert_int_eq(c.code, 128 + SIGABRT);
    ck_assert_mem_eq(c.text, "hakmem: free(): ", 16);
}
END_TEST

static void free_two_twice(void *arg)
{
    void **p = arg;
    give(p[0]);
    give(p[1]);
    give(p[0]);
    hkm_heap_flush(hkm_thread_own());
    CHILD(!"still here");
}

START_TEST(double_free_seen_at_flush)
{
    void *p[2];
    for (int i = 0; i < 1000; i++)
        p[i % 2] = hkm_alloc(200, SITE);
    unit_aborts(free_two_twice, p, "hakmem: free(): double free: %p\n", p[0]);
}
END_TEST

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static hkm_word places[1000];

static void *exchange(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    for (int round = 0; round < 40000; round++) {
        size_t size = 16 + random_below(&seed, random_below(&seed, 20) ? 600 : 100000);
        char *p = random_below(&seed, 4) ? hkm_alloc(size, SITE) : hkm_alloc_zeroed_fast(1, size);
        if (!p)
            return NULL;
        pattern_fill(p + 8, size - 8, size);
        memcpy(p, &size, sizeof size);
        p = (char *)hkm_swap(&places[random_below(&seed, COUNT_OF(places))], (size_t)p);
        if (!p)
            continue;
        memcpy(&size, p, sizeof size);
        if (!pattern_holds(p + 8, size - 8, size))
            return NULL;
        if (random_below(&seed, 8) == 0) {
            p = hkm_alloc_resize_fast(p, size + 300);
            if (!p || !pattern_holds(p + 8, size - 8, size))
                return NULL;
        }
        give(p);
    }
    return arg;
}

START_TEST(work_of_threads)
{
    pthread_t threads[4];
    for (int generation = 0; generation < 2; generation++) {
        for (size_t i = 0; i < COUNT_OF(threads); i++)
            threads[i] = unit_start(exchange, (void *)(i + 1));
        for (size_t i = 0; i < COUNT_OF(threads); i++)
            ck_assert_ptr_nonnull(unit_join(threads[i]));
    }
    for (size_t i = 0; i < COUNT_OF(places); i++)
        give((void *)places[i]);
    hkm_alloc_purge();
    struct hak_stats s;
    hkm_alloc_stats(&s);
    ck_assert_uint_eq(s.live_bytes, 0);
    ck_assert_uint_eq(s.cached_bytes, 0);
    ck_assert_uint_eq(s.slabs, 0);
    ck_assert_uint_eq(s.large_allocs, s.large_frees);
    ck_assert_uint_le(s.heaps, 5);
}
END_TEST

/* The runs that the thread has cached do not stand in the way of one that needs their place. */
static void need_their_place(void *arg)
{
    static void *p[1000];
    size_t n = 0;
    (void)arg;
    unit_limit(16 * MIB);
    while (n < COUNT_OF(p) && (p[n] = hkm_alloc(HKM_SLOT_SIZE, SITE)) != NULL)
        n++;
    CHILD(n >= 100 && n < COUNT_OF(p));
    for (size_t i = n; i-- > n - 60;)
        give(p[i]);
    CHILD(hkm_mid_held(&hkm_thread_own()->runs) > 0);
    CHILD(hkm_alloc(HKM_RUN_MAX, SITE) != NULL);
    CHILD(hkm_mid_held(&hkm_thread_own()->runs) == 0);
}

START_TEST(cached_runs_are_given_up)
{
    if (!SANITIZED && !EMULATED)
        unit_passes(need_their_place, NULL);
}
END_TEST

/* Runs of another length in the cache are joined for one that they are too short for, before memory is touched that nobody has
 * used. */
START_TEST(cached_runs_are_joined)
{
    void *p[20];
    struct hak_stats before, after;
    for (size_t i = 0; i < COUNT_OF(p); i++)
        ck_assert_ptr_nonnull(p[i] = hkm_alloc(2 * HKM_SLOT_SIZE, SITE));
    for (size_t i = 0; i < COUNT_OF(p); i++)
        give(p[i]);
    ck_assert_uint_ge(hkm_mid_held(&hkm_thread_own()->runs), 8);
    hkm_alloc_stats(&before);
    ck_assert_ptr_nonnull(hkm_alloc(30 * HKM_SLOT_SIZE, SITE));
    hkm_alloc_stats(&after);
    ck_assert_uint_eq(after.mapped_bytes, before.mapped_bytes);
    ck_assert_uint_eq(after.fresh_bytes, before.fresh_bytes);
    ck_assert_uint_eq(hkm_mid_held(&hkm_thread_own()->runs), 0);
}
END_TEST

/* More room is made for runs that come and go, not for what is freed at the end. */
START_TEST(the_run_cache_grows_by_need)
{
    void *p[120];
    const struct hkm_runs *c = &hkm_thread_keep()->runs;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT_OF(p); i++)
            ck_assert_ptr_nonnull(p[i] = hkm_alloc(2 * HKM_SLOT_SIZE, SITE));
        for (size_t i = 0; i < COUNT_OF(p); i++)
            give(p[i]);
        ck_assert_uint_eq(c->allowed, round ? 2 * HKM_RUN_SLOTS : HKM_RUN_SLOTS); /* the second time half of them came back */
    }
    for (size_t i = 0; i < 4; i++)
        ck_assert_ptr_nonnull(p[i] = hkm_alloc(HKM_RUN_MAX, SITE));
    for (unsigned i = 0; i < 1000; i++) {
        size_t slots = i % 3 == 0 ? HKM_RUN_SLOTS : i % 3;
        give(p[i % 4]);
        ck_assert_ptr_nonnull(p[i % 4] = hkm_alloc(slots * HKM_SLOT_SIZE, SITE));
        ck_assert_uint_le(hkm_mid_held(c), c->allowed);
        ck_assert_uint_le(c->allowed, HKM_RUN_SLOTS_KEPT);
    }
    ck_assert_uint_eq(c->allowed, HKM_RUN_SLOTS_KEPT);
    size_t all = hkm_heap_allowed(), kept = hkm_heap_release_runs(hkm_thread_own());
    ck_assert_uint_le(kept, HKM_RUN_SLOTS_KEPT);
    ck_assert_uint_eq(hkm_heap_allowed(), all - ((size_t)HKM_RUN_SLOTS_KEPT << HKM_SLOT_SHIFT));
    ck_assert(!c->allowed && !hkm_mid_held(c));
}
END_TEST

/* Runs that are longer than any that is kept are not, however much room there is. */
START_TEST(the_run_cache_has_no_long_runs)
{
    char *p[HKM_RUN_SLOTS_KEPT + 1];
    struct hkm_runs *c = &hkm_thread_keep()->runs;
    for (size_t slots = 1; slots <= HKM_RUN_SLOTS_KEPT; slots++)
        ck_assert_ptr_nonnull(p[slots] = hkm_alloc(slots * HKM_SLOT_SIZE, SITE));
    hkm_mid_allow(c, HKM_RUN_SLOTS_KEPT - c->allowed);
    for (size_t slots = HKM_RUN_SLOTS_KEPT; slots > HKM_RUN_SLOTS; slots--) {
        give(p[slots]);
        ck_assert_uint_eq(hkm_mid_held(c), 0);
    }
    give(p[HKM_RUN_SLOTS]);
    ck_assert_uint_eq(hkm_mid_held(c), HKM_RUN_SLOTS);
    give(p[HKM_RUN_SLOTS - 1]);
    ck_assert_uint_eq(hkm_mid_held(c), 2 * HKM_RUN_SLOTS - 1);
}
END_TEST

/* A block is freed and taken, over and over, where the cache had just run empty: that must not go the slow way each time. */
START_TEST(pairs_in_an_empty_cache)
{
    if (HKM_HARDENED)
        return;
    setenv("HAKMEM_DISABLE_NURSERY", "1", 1);
    void *p = hkm_alloc(100, SITE);
    struct hkm_heap *h = hkm_thread_own();
    unsigned cls = hkm_class_of(100);
    for (int by_calloc = 0; by_calloc < 2; by_calloc++) {
        while (h->bin[cls]->room < h->bin[cls]->cap)
            ck_assert_ptr_nonnull(hkm_alloc(100, SITE));
        for (int round = 0; round < 50; round++) {
            give(p);
            p = by_calloc ? hkm_alloc_zeroed(100, SITE) : hkm_alloc(100, SITE);
            ck_assert_ptr_nonnull(h->bin[cls]->first);
        }
        ck_assert(hkm_heap_valid(h));
    }
}
END_TEST

START_TEST(lengths_that_come_back_stay_cached)
{
    static const size_t slots[] = { 2, 4, 3, 5, 1 };
    ck_assert_ptr_nonnull(hkm_alloc(100, SITE));
    for (int round = 0; round < 40; round++)
        for (size_t i = 0; i < COUNT_OF(slots); i++) {
            ck_assert(round < 20 || hkm_thread_own()->runs.run[slots[i]]);
            give(hkm_alloc(slots[i] * HKM_SLOT_SIZE, SITE));
        }
}
END_TEST

static void run_out(void *arg)
{
    (void)arg;
    give(hkm_alloc(1, SITE));
    unit_limit(32 * MIB);
    for (size_t size = 16; size < 10 * MIB; size = size * 5 + 16) {
        void **last = NULL;
        size_t n = 0;
        errno = 0;
        for (void **p; (p = hkm_alloc(size, SITE)) != NULL; last = p, n++)
            *p = last;
        CHILD(errno == ENOMEM);
        CHILD(n * size > 8 * MIB);
        CHILD(hkm_alloc_resize_fast(last, 40 * MIB) == NULL);
        for (void **next; last; last = next) {
            next = *last;
            give(last);
        }
        hkm_alloc_purge();
    }
    unit_unlimit();
    CHILD(hkm_alloc(64 * MIB, SITE) != NULL && hkm_alloc(100, SITE) != NULL);
}

/* A run that cannot grow where it is gets a mapping of its own, in which it grows on. */
START_TEST(a_run_outgrows_its_place)
{
    enum { SIZE = 6 << 20 };
    char *p = hkm_alloc(SIZE, SITE), *q = hkm_alloc(SIZE, SITE), *low = p < q ? p : q, *high = p < q ? q : p;
    ck_assert_ptr_eq(low + SIZE, high);
    pattern_fill(p, SIZE, 1);
    pattern_fill(q, SIZE, 1);
    ck_assert_ptr_nonnull(p = hkm_alloc_resize_fast(low, SIZE + MIB));
    ck_assert(pattern_holds(p, SIZE, 1) && pattern_holds(high, SIZE, 1));
    ck_assert_uint_ge(hkm_big_size(p), SIZE + MIB);
    static const size_t sizes[] = { 90 * MIB, 2 * MIB, 1000 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        ck_assert_ptr_nonnull(p = hkm_alloc_resize_fast(p, sizes[i]));
        ck_assert(pattern_holds(p, sizes[i] < SIZE ? sizes[i] : SIZE, 1));
    }
    give(p);
    /* When there are as many as may be, it is copied among the slots. */
    char *some[512];
    for (size_t i = 0; i < COUNT_OF(some); i++)
        ck_assert_ptr_nonnull(some[i] = hkm_big_alloc(1, 16, SITE));
    ck_assert_ptr_nonnull(p = hkm_alloc(SIZE, SITE));
    ck_assert_ptr_nonnull(q = hkm_alloc(SIZE, SITE));
    ck_assert_ptr_nonnull(high = hkm_alloc_resize_fast(high, 3 * SIZE));
    ck_assert_uint_eq(hkm_big_size(high), 0);
    ck_assert(pattern_holds(high, SIZE, 1));
}
END_TEST

/* What is freed is handed out again, a second free is found out, and calloc clears it. */
START_TEST(kept_big_blocks)
{
    static const size_t sizes[] = { 3 * MIB, 40 * MIB };
    setenv("HAKMEM_PURGE_MS", "3600000", 1); /* a slow machine takes more than a second for what is done here */
    char *keep = hkm_alloc(400 * MIB, SITE);
    ck_assert_ptr_nonnull(keep);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        give(hkm_alloc(sizes[i], SITE)); /* a site that asks twice will ask again */
        char *p = hkm_alloc(sizes[i], SITE);
        memset(p, 3, sizes[i]);
        give(p);
        ck_assert_uint_ge(hkm_bigcache_bytes(), sizes[i]);
        unit_aborts(free_it, p, "hakmem: free(): double free: %p\n", (void *)p);
        unit_aborts(resize_it, p, "hakmem: realloc(): double free: %p\n", (void *)p);
        ck_assert_ptr_eq(hkm_alloc_zeroed(sizes[i] - HKM_RED_ZONE, SITE), p); /* by the same site, or it is not kept */
        ck_assert(all_zero(p, sizes[i] - HKM_RED_ZONE));
        give(p);
        ck_assert_ptr_eq(hkm_alloc(sizes[i] - HKM_RED_ZONE, SITE), p);
        give(p);
        hkm_alloc_purge();
        ck_assert_uint_eq(hkm_bigcache_bytes(), 0);
    }
    give(keep);
}
END_TEST

/* Where sites are switched off, no block has one, and what one place frees serves another of its size. */
START_TEST(without_sites)
{
    static const char a, b;
    const void *site = &a;
    setenv("HAKMEM_DISABLE_SITES", "1", 1);
    setenv("HAKMEM_PURGE_MS", "3600000", 1);
    char *keep = hkm_alloc(400 * MIB, &a);
    give(hkm_alloc(40 * MIB, &a));
    char *p = hkm_alloc(40 * MIB, &b); /* sites alone have asked once each */
    give(p);
    ck_assert_ptr_null(hkm_site_find(&a));
    ck_assert_ptr_eq(hkm_alloc(40 * MIB, &a), p);
    ck_assert_uint_ne(hkm_big_idle(p, &site), 0);
    ck_assert_ptr_null(site);
    hkm_big_drop(p);
    give(keep);
}
END_TEST

/* Where they are not, its blocks are told of. */
START_TEST(with_sites)
{
    static const char a;
    give(hkm_alloc(40 * MIB, &a));
    give(hkm_alloc(3 * MIB, &a));
    void *p = hkm_alloc(5 * MIB, &a);
    const struct hkm_site *s = hkm_site_find(&a);
    ck_assert_ptr_nonnull(s);
    ck_assert_uint_eq(hkm_load(&s->allocs), 3);
    ck_assert_uint_eq(hkm_load(&s->frees), 2);
    ck_assert_uint_ge(hkm_load(&s->bytes), 48 * MIB);
    ck_assert_uint_ge(hkm_load(&s->bytes) - hkm_load(&s->freed), 5 * MIB);
    give(p);
}
END_TEST

START_TEST(out_of_memory)
{
    if (LIMITS_HOLD)
        unit_passes(run_out, NULL);
}
END_TEST

/* A process that allocates little maps nothing; and when it comes to more, what lies in the static range is not kept there. */
START_TEST(few_blocks_map_nothing)
{
    void *p[40], *run = hkm_alloc(40000, SITE);
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        ck_assert_ptr_nonnull(p[i] = hkm_alloc(10 + 50 * i, SITE));
        memset(p[i], (int)i, 10 + 50 * i);
    }
    ck_assert_uint_eq(hkm_load(&hkm_range.used), 0);
    ck_assert_uint_ge(hkm_alloc_usable(run), 40000);
    memset(run, 7, 40000);
    ck_assert_ptr_eq(run = hkm_alloc_resize(run, 60000, SITE), run);
    struct hkm_heap *h = hkm_thread_own();
    for (int i = 0; i < 10; i++) {
        give(run);
        ck_assert_ptr_eq(hkm_alloc(50000, SITE), run); /* again */
    }
    give(run);
    ck_assert_uint_eq(hkm_mid_held(&h->runs), 1); /* or a loop would go the long way each time */
    ck_assert_ptr_eq(hkm_alloc(50000, SITE), run);
    ck_assert_uint_eq(hkm_mid_held(&h->runs), 0);
    void *large = hkm_alloc(500000, SITE), *others[20];
    ck_assert_uint_gt(hkm_load(&hkm_range.used), 0);
    size_t purged = hkm_load(&hkm_superslab_stats.purged);
    give(run);
    ck_assert_uint_eq(hkm_mid_held(&h->runs), 0);
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.purged), purged + HKM_SLOT_SIZE); /* as it is not taken again soon */
    for (size_t i = 0; i < COUNT_OF(others); i++)
        ck_assert_ptr_ne(others[i] = hkm_alloc(50000, SITE), run);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        give(others[i]);
    give(large);
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        ck_assert_uint_eq(*((unsigned char *)p[i] + 9 + 50 * i), i);
        give(p[i]);
    }
}
END_TEST

/* What is left of the static range when nothing more can be mapped. */
static void first_block_too_long(void *arg)
{
    (void)arg;
    unit_limit(0);
    CHILD(!hkm_alloc(500000, SITE));
    CHILD(hkm_alloc(10, SITE));
    CHILD(hkm_alloc(100000, SITE));
}
static void slab_refused(void *arg)
{
    (void)arg;
    CHILD(hkm_alloc(10, SITE));
    unit_limit(0);
    size_t n = 0;
    while (hkm_alloc(64, SITE))
        n += 64;
    CHILD(n > 4 * HKM_SLOT_SIZE - 4096 && n <= 4 * HKM_SLOT_SIZE); /* all of the nursery, though no class has so much of it */
    void *run = hkm_alloc(100000, SITE);
    CHILD(run);
    give(run);
    CHILD(hkm_alloc(60000, SITE));
}
static void run_freed_at_last(void *arg)
{
    (void)arg;
    void *run = hkm_alloc(100000, SITE);
    CHILD(run && hkm_alloc(500000, SITE) && hkm_load(&hkm_range.used));
    unit_limit(0);
    while (hkm_alloc(60000, SITE))
        ;
    give(run);
    CHILD(hkm_alloc(100000, SITE) == run);
}
START_TEST(static_range_in_need)
{
    hkm_option_init();
    if (LIMITS_HOLD) {
        unit_passes(first_block_too_long, NULL);
        unit_passes(slab_refused, NULL);
        unit_passes(run_freed_at_last, NULL);
    }
}
END_TEST

UNIT_MAIN("alloc", CK_FORK, borders_of_sizes, paths, free_null_and_errno, impossible_sizes, zeroed, aligned,
          as_the_c_library_has_it, resize, resize_in_the_caches, random_operations, random_operations_minimal,
          random_operations_in_a_second_range, tiny_ones_by_the_c_library, foreign_pointers, wrong_pointers,
          double_free_seen_at_flush, pairs_in_an_empty_cache, work_of_threads, cached_runs_are_given_up, cached_runs_are_joined,
          the_run_cache_grows_by_need, the_run_cache_has_no_long_runs, lengths_that_come_back_stay_cached,
          a_run_outgrows_its_place, few_blocks_map_nothing, static_range_in_need, kept_big_blocks, without_sites, with_sites, out_of_memory)
