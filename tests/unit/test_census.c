/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_census.c: the parts add up to what is mapped, to the byte, whatever was done; what the program holds is exactly what
 * it was given; and the kernel agrees (/proc/self/smaps): mapped is what is mapped, what is resident is committed, there
 * are as many mappings.
 */
#include "census.h"
#include "alloc.h"
#include "big.h"
#include "bigcache.h"
#include "meta.h"
#include "option.h"
#include "superslab.h"
#include "unit.h"

#include <sys/prctl.h>

static struct hak_stats stats(void)
{
    struct hak_stats s;
    hkm_alloc_stats(&s);
    return s;
}

static uint64_t parts(const struct hak_stats *s)
{
    return s->live_bytes + s->remote_bytes + s->cached_bytes + s->run_cache_bytes + s->bigcache_bytes + s->spare_bytes +
           s->nursery_bytes + s->free_bytes + s->dirty_bytes + s->fresh_bytes + s->waste_bytes;
}

static void shown(const struct hak_stats *s)
{
    (void)hkm_stats_print(2, s, false);
}

/* All that holds at any moment in a process at rest. */
static struct hak_stats relations_hold(void)
{
    struct hak_stats s = stats();
    const struct hkm_superslab_stats *k = &hkm_superslab_stats;
    uint64_t slots = hkm_load(&k->mapped), taken = hkm_load(&k->taken), dirty = hkm_load(&k->dirty);
    bool good = parts(&s) == s.mapped_bytes && s.mapped_bytes == (slots << HKM_SLOT_SHIFT) + hkm_big_mapped() &&
                s.dirty_bytes == dirty << HKM_SLOT_SHIFT && s.fresh_bytes == (slots - taken - dirty) << HKM_SLOT_SHIFT &&
                s.committed_bytes <= s.mapped_bytes - s.fresh_bytes && s.big_bytes <= s.live_bytes &&
                s.big_blocks <= s.live_blocks && s.bigcache_bytes == hkm_bigcache_bytes() && s.large_allocs - s.large_frees <= s.live_blocks;
    if (HKM_STATS)
        good = good && s.mallocs + s.large_allocs - s.frees - s.large_frees == s.live_blocks;
    if (!good)
        shown(&s);
    ck_assert(good);
    return s;
}

static struct unit_gate gate = UNIT_GATE;

/* ---- one thread -------------------------------------------------------------------------------------------------- */

enum { HELD = 3000 };
static char *held[HELD];
static uint64_t seed = 1;

static size_t some_size(void)
{
    size_t kind = random_below(&seed, 1000);
    return kind < 700   ? random_below(&seed, 1100)
           : kind < 900 ? random_below(&seed, 33000)
           : kind < 990 ? random_below(&seed, 300000)
           : kind < 999 ? random_below(&seed, 3 * MIB)
                        : 33 * MIB + random_below(&seed, MIB);
}

static void drop(size_t i)
{
    hkm_free_fast(held[i]);
    held[i] = NULL;
}

/* Takes, resizes and drops; every byte of every fourth page is written, when `touch`. */
static void work(size_t steps, bool touch)
{
    for (size_t k = 0; k < steps; k++) {
        size_t i = random_below(&seed, HELD), size = some_size();
        if (held[i] && random_below(&seed, 4)) {
            drop(i);
            continue;
        }
        char *p = held[i] ? hkm_alloc_resize(held[i], size + !size, NULL)
                  : random_below(&seed, 8)
                      ? hkm_alloc_fast(size)
                      : hkm_alloc_aligned((size_t)1 << random_below(&seed, 18), size % (2 * MIB));
        expect(p != NULL);
        held[i] = p;
        if (touch)
            memset(p, 1, hkm_alloc_usable(p));
    }
}

static void what_is_held(uint64_t *blocks, uint64_t *bytes)
{
    *blocks = *bytes = 0;
    for (size_t i = 0; i < HELD; i++)
        if (held[i]) {
            ++*blocks;
            *bytes += hkm_alloc_usable(held[i]);
        }
}

static void live_is_what_is_held(void)
{
    uint64_t blocks, bytes;
    struct hak_stats s = relations_hold();
    what_is_held(&blocks, &bytes);
    ck_assert_uint_eq(s.live_blocks, blocks);
    if (!HKM_VALGRIND) /* red zones count */
        ck_assert_uint_eq(s.live_bytes, bytes);
}

START_TEST(nothing_yet)
{
    struct hak_stats s = stats();
    ck_assert_uint_eq(s.mapped_bytes, 0);
    ck_assert_uint_eq(parts(&s), 0);
    ck_assert_uint_eq(s.committed_bytes, 0);
    ck_assert_uint_eq(s.mappings, 0);
    ck_assert_uint_eq(s.heaps, 0);
    ck_assert_uint_eq(s.metadata_bytes, hkm_meta_bytes());
}
END_TEST

START_TEST(parts_add_up)
{
    for (int round = 0; round < 60; round++) {
        work(500, false);
        live_is_what_is_held();
        if (round % 10 == 4)
            hkm_alloc_purge();
        if (round % 10 == 5)
            live_is_what_is_held();
    }
    for (size_t i = 0; i < HELD; i++)
        drop(i);
    hkm_alloc_purge();
    struct hak_stats s = relations_hold();
    ck_assert_uint_eq(s.live_blocks, 0);
    ck_assert_uint_eq(s.live_bytes, 0);
    ck_assert_uint_eq(s.committed_bytes, 0); /* purged is clean */
    ck_assert_uint_eq(s.big_blocks, 0);
    ck_assert_uint_gt(s.faults_avoided, 0);
}
END_TEST

/* Each layer shows what lies in it. */
START_TEST(each_layer)
{
    hkm_os_init();
    if (HKM_VALGRIND)
        return; /* other sizes */
    ck_assert(hkm_superslab_grow(1)); /* nothing of the static range, where what is freed is purged at once */
    char *p = hkm_alloc_fast(100); /* the nursery's */
    struct hak_stats s = relations_hold();
    ck_assert_uint_eq(s.live_bytes, 112);
    ck_assert_uint_eq(s.live_blocks, 1);
    ck_assert_uint_eq(s.nursery_bytes, 4 * HKM_SLOT_SIZE - 112);
    ck_assert_uint_eq(s.committed_bytes, hkm_os.page);
    hkm_free_fast(p);
    hkm_option_set("DISABLE_PREFAULT", 1);
    void *runs[20];
    for (size_t i = 0; i < COUNT_OF(runs); i++)
        runs[i] = hkm_alloc(100000, NULL);
    s = relations_hold();
    size_t run = hkm_round_up(100000, hkm_os.page);
    ck_assert_uint_eq(s.live_bytes, COUNT_OF(runs) * run);
    ck_assert_uint_eq(s.waste_bytes, COUNT_OF(runs) * (2 * HKM_SLOT_SIZE - run));
    ck_assert_uint_eq(s.committed_bytes, hkm_os.page + COUNT_OF(runs) * run);
    for (size_t i = 0; i < COUNT_OF(runs); i++)
        hkm_free_fast(runs[i]);
    s = relations_hold();
    ck_assert_uint_eq(s.live_bytes, 0);
    ck_assert_uint_gt(s.run_cache_bytes, 0);
    ck_assert_uint_eq(s.run_cache_bytes % (2 * HKM_SLOT_SIZE), 0);
    ck_assert_uint_eq(s.run_cache_bytes + s.dirty_bytes, COUNT_OF(runs) * 2 * HKM_SLOT_SIZE);
    uint64_t reused = s.faults_avoided;
    void *kept = NULL;
    s.bigcache_bytes = 0;
    for (int i = 0; i < 20 && !s.bigcache_bytes; i++) { /* a site that asks for one size again and again */
        kept = hkm_alloc(3 * MIB, &gate);
        memset(kept, 1, 3 * MIB);
        hkm_free_fast(kept);
        s = relations_hold();
    }
    uint64_t hits = s.bigcache_hits;
    ck_assert_uint_ge(s.bigcache_bytes, 3 * MIB);
    ck_assert_ptr_eq(hkm_alloc(3 * MIB, &gate), kept);
    s = relations_hold();
    ck_assert_uint_eq(s.bigcache_hits, hits + 1);
    ck_assert_uint_eq(s.bigcache_bytes, 0);
    ck_assert_uint_ge(s.faults_avoided, reused + 3 * MIB / hkm_os.page);
    hkm_free_fast(kept);
    hkm_alloc_purge();
    s = relations_hold();
    void *big = hkm_alloc(40 * MIB, NULL);
    struct hak_stats t = relations_hold();
    ck_assert_uint_eq(t.big_bytes, 40 * MIB);
    ck_assert_uint_eq(t.big_blocks, 1);
    ck_assert_uint_eq(t.mappings, s.mappings + 2); /* its own, and that of the table in which it is noted */
    hkm_free_fast(big);
    ck_assert_uint_eq(relations_hold().mappings, s.mappings + 1);
}
END_TEST

START_TEST(a_child_counts_too)
{
    work(2000, false);
    unit_passes((void (*)(void *))live_is_what_is_held, NULL);
    live_is_what_is_held();
}
END_TEST

/* ---- threads ----------------------------------------------------------------------------------------------------- */

/* Frees blocks of the main thread, all but the last few of which it hands over, keeps some of its own, and waits. */
static void *helper(void *arg)
{
    char **block = arg;
    for (size_t i = 0; i < 1000; i++)
        hkm_free_fast(block[i]);
    for (size_t i = 0; i < 100; i++)
        block[i] = hkm_alloc_fast(i * 10);
    unit_reach(&gate, 1);
    unit_await(&gate, 2);
    return NULL;
}

START_TEST(other_threads)
{
    static char *block[2000];
    uint64_t before = relations_hold().live_blocks;
    for (size_t i = 0; i < COUNT_OF(block); i++)
        block[i] = hkm_alloc_fast(50 + i % 50);
    pthread_t thread = unit_start(helper, block);
    unit_await(&gate, 1);
    struct hak_stats s = relations_hold();
    uint64_t bytes = 0, blocks = 0;
    for (size_t i = 0; i < COUNT_OF(block); i++) {
        if (i >= 100 && i < 1000)
            continue;
        blocks++;
        bytes += hkm_alloc_usable(block[i]);
    }
    ck_assert_uint_eq(s.live_blocks, before + blocks);
    if (!HKM_VALGRIND)
        ck_assert_uint_eq(s.live_bytes, bytes);
    ck_assert_uint_gt(s.remote_bytes, 0); /* it has some in its hands */
    ck_assert_uint_le(s.remote_bytes, HKM_REMOTE_BYTES);
    unit_reach(&gate, 2);
    unit_join(thread);
    s = relations_hold();
    ck_assert_uint_eq(s.live_blocks, before + blocks);
    ck_assert_uint_eq(s.remote_bytes, 0);
    ck_assert_uint_eq(s.heaps_parked, 1);
}
END_TEST

/* Nothing goes wrong when all is in motion, and all is right when it has come to rest. */
static hkm_word stop;
static void *in_motion(void *arg)
{
    enum { MINE = 300 };
    char *mine[MINE] = { NULL };
    uint64_t s = (uintptr_t)arg;
    while (!hkm_load(&stop)) {
        size_t i = random_below(&s, MINE);
        if (mine[i]) {
            hkm_free_fast(mine[i]);
            mine[i] = NULL;
        } else {
            mine[i] = hkm_alloc(random_below(&s, 8) ? random_below(&s, 2000) : random_below(&s, 200000), NULL);
        }
    }
    for (size_t i = 0; i < MINE; i++)
        hkm_free_fast(mine[i]);
    return NULL;
}

START_TEST(in_the_middle_of_things)
{
    pthread_t t[3];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = unit_start(in_motion, (void *)(i + 1));
    for (int i = 0; i < 200; i++) {
        struct hak_stats s = stats();
        ck_assert_uint_le(s.live_bytes, s.mapped_bytes);
        ck_assert_uint_le(s.committed_bytes, s.mapped_bytes);
        ck_assert_uint_le(s.live_blocks, 1 << 20); /* not wrapped around */
    }
    hkm_store(&stop, 1);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        unit_join(t[i]);
    ck_assert_uint_eq(relations_hold().live_blocks, 0);
}
END_TEST

/* ---- the kernel's view ------------------------------------------------------------------------------------------- */

struct view {
    uint64_t mappings, bytes, resident; /* of the ranges' slots */
    uint64_t all;                       /* mappings of the process */
    bool joined;                        /* where addresses are short: something else lies right behind, in the same mapping */
};

/* Where the used part ends of the range that the address is in; 0: it is in none. */
static uintptr_t end_of_range(uintptr_t at)
{
    for (struct hkm_range *r = &hkm_range; r; r = hkm_range_next(r))
        if (at >= r->base && at - r->base < hkm_load(&r->used) << HKM_SLOT_SHIFT)
            return r->base + (hkm_load(&r->used) << HKM_SLOT_SHIFT);
    return 0;
}

static struct view look(void)
{
    struct view v = { 0 };
    FILE *f = fopen("/proc/self/smaps", "re");
    static char line[8192];
    bool ours = false, named = false;
    while (f && fgets(line, sizeof line, f)) {
        unsigned long long from, to, kib;
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2) {
            uintptr_t end = end_of_range((uintptr_t)from);
            ours = end != 0;
            v.joined = v.joined || (ours && to > end);
            to = ours && to > end ? end : to;
            named = strchr(line, '/') || strchr(line, '[');
            v.all += !named;
            v.mappings += ours;
            v.bytes += ours ? to - from : 0;
        } else if (ours && (sscanf(line, "Rss: %llu", &kib) == 1 || sscanf(line, "Swap: %llu", &kib) == 1)) {
            v.resident += kib * KIB;
        }
    }
    if (f)
        fclose(f);
    return v;
}

/* Contiguous areas of our own in the ranges. */
static uint64_t areas(void)
{
    uint64_t n = 0;
    for (struct hkm_range *r = &hkm_range; r; r = hkm_range_next(r))
        for (size_t i = 0; i < hkm_load(&r->used); i++)
            n += hkm_tag_at(r, i) != &hkm_tag_stranger && (!i || hkm_tag_at(r, i - 1) == &hkm_tag_stranger);
    return n;
}

static void the_kernel_agrees(bool purged)
{
    struct hak_stats s = relations_hold();
    struct view v = look();
    uint64_t live = s.live_bytes - s.big_bytes, committed = s.committed_bytes - hkm_big_mapped();
    ck_assert_uint_eq(v.bytes, s.mapped_bytes - hkm_big_mapped());
    ck_assert_uint_eq(v.mappings, areas());
    ck_assert(!v.joined || sizeof(void *) == 4);
    if (v.joined)
        return;
    ck_assert_uint_ge(v.resident, live); /* all of it was written */
    if (purged) /* nothing else is left */
        ck_assert_uint_eq(v.resident, committed);
    else
        ck_assert_uint_le(v.resident, committed);
    /* Unless somebody holds a cached block, a page is there for a live block. */
    if (purged)
        ck_assert_uint_le(s.dirty_bytes + s.spare_bytes + s.run_cache_bytes, 0);
}

START_TEST(smaps)
{
    struct view before = look();
    if (!before.all || SANITIZED || EMULATED || prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
        return; /* nothing to compare with, or not what the kernel of this machine does */
    hkm_os_init();
    hkm_option_init();
    hkm_option_set("DISABLE_PREFAULT", 1); /* pages that come unasked for are resident, but not used */
    ck_assert(hkm_superslab_grow(1)); /* the static range has no mapping to itself */
    void *warm[4] = { hkm_alloc_fast(1) };
    before = look(); /* stdio's buffer, too, is there now */
    struct hak_stats first = stats();
    for (int round = 0; round < 20; round++) {
        work(1000, true);
        the_kernel_agrees(false);
        if (round % 4 == 3) {
            hkm_alloc_purge();
            the_kernel_agrees(true);
        }
    }
    struct hak_stats s = stats();
    ck_assert_uint_le(look().all - before.all, s.mappings - first.mappings);
    uint64_t purged = s.purged_bytes, committed = s.committed_bytes - hkm_big_mapped();
    for (size_t i = 0; i < HELD; i++)
        drop(i);
    hkm_free_fast(warm[0]);
    hkm_alloc_purge();
    the_kernel_agrees(true);
    s = stats();
    ck_assert_uint_eq(look().resident, 0);
    ck_assert_uint_ge(s.purged_bytes, purged + committed); /* pages that went back were there */
}
END_TEST

/* A stranger in the middle of a range makes two areas of it. */
START_TEST(strangers)
{
    hkm_os_init();
    ck_assert(hkm_superslab_grow(1)); /* nothing of the static range */
    void *p = hkm_alloc_fast(10);
    uint64_t before = relations_hold().mappings;
    char *end = (char *)hkm_range.base + (hkm_load(&hkm_range.used) << HKM_SLOT_SHIFT);
    unit_stranger(end, 3 * HKM_SLOT_SIZE, PROT_NONE);
    void *q = hkm_alloc(5 * MIB, NULL);
    struct hak_stats s = relations_hold();
    ck_assert_uint_eq(s.mappings, before + 1);
    ck_assert_uint_eq(areas(), 2);
    hkm_free_fast(q);
    hkm_free_fast(p);
}
END_TEST

/* What a small process has: nothing is mapped for it. */
START_TEST(static_range)
{
    hkm_os_init();
    void *p = hkm_alloc_fast(100), *q = hkm_alloc(50000, NULL);
    struct hak_stats s = relations_hold();
    ck_assert_uint_eq(s.mapped_bytes, HKM_STATIC_SLOTS * HKM_SLOT_SIZE);
    ck_assert_uint_eq(s.mappings, 1);
    ck_assert_uint_eq(hkm_load(&hkm_range.used), 0);
    memset(q, 1, 50000);
    hkm_free_fast(q);
    ck_assert_uint_eq(relations_hold().dirty_bytes, HKM_SLOT_SIZE);
    hkm_alloc_purge();
    ck_assert_uint_eq(relations_hold().dirty_bytes, 0);
    hkm_free_fast(p);
    work(1000, true); /* now there is more */
    relations_hold();
    ck_assert_uint_gt(hkm_load(&hkm_range.used), 0);
}
END_TEST

UNIT_MAIN("census", CK_FORK, nothing_yet, parts_add_up, each_layer, a_child_counts_too, other_threads,
          in_the_middle_of_things, smaps, strangers, static_range)
