/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_slab.c: the bitmaps of one slab, double frees, and what is known to be zero.
 */
#include "slab.h"
#include "option.h"
#include "superslab.h"
#include "policy.h"
#include "unit.h"

enum { MOST = HKM_SLOT_SIZE / 16 };

static struct hkm_slab *open_slab(unsigned cls)
{
    hkm_os_init();
    SET_OPTION(disable_purge, 1);
    struct hkm_slab *s = hkm_superslab_run(1, 1);
    ck_assert_ptr_nonnull(s);
    ck_assert(hkm_slab_open(s, cls));
    return s;
}
static size_t page_size(void)
{
    hkm_os_init();
    return hkm_os.page;
}
static void close_slab(struct hkm_slab *s)
{
    hkm_slab_close(s);
    hkm_superslab_give(s, 1);
}

static void *plain(void *p) { return (void *)((uintptr_t)p & ~HKM_ZERO); }
static void *block(const struct hkm_slab *s, unsigned i) { return s->start + (size_t)i * hkm_class[s->cls].size; }
static bool is_free(const struct hkm_slab *s, unsigned i)
{
    return hkm_load(&s->free[i / HKM_WORD_BITS]) >> i % HKM_WORD_BITS & 1;
}

static void shuffle(void **p, unsigned n, uint64_t *seed)
{
    for (unsigned i = n; i > 1; i--) {
        unsigned j = (unsigned)random_below(seed, i);
        void *t = p[i - 1];
        p[i - 1] = p[j];
        p[j] = t;
    }
}

START_TEST(all_blocks_lowest_first)
{
    static void *got[MOST + 1];
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        struct hkm_slab *s = open_slab(c);
        unsigned n = 0, step = 1;
        ck_assert(hkm_slab_valid(s) && s->nfree == hkm_class[c].blocks);
        while (n < hkm_class[c].blocks) {
            unsigned k = hkm_slab_take(s, got + n, step);
            expect(k >= 1 && k <= step);
            expect(k == step || n + k == hkm_class[c].blocks);
            n += k;
            step = step * 3 % 200 + 1;
            expect(hkm_slab_valid(s));
        }
        ck_assert_uint_eq(hkm_slab_take(s, got + n, 5), 0);
        for (unsigned i = 0; i < n; i++)
            expect(plain(got[i]) == block(s, i));
        ck_assert_uint_eq(s->nfree, 0);
        ck_assert_uint_eq(hkm_slab_give(s, got, n), n);
        ck_assert(hkm_slab_valid(s) && s->nfree == n);
        close_slab(s);
    }
}
END_TEST

START_TEST(taken_after_given)
{
    static void *got[MOST], *again[MOST];
    uint64_t seed = 1;
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        struct hkm_slab *s = open_slab(c);
        unsigned n = hkm_slab_take(s, got, MOST);
        for (unsigned i = 0; i < n; i++)
            got[i] = plain(got[i]);
        shuffle(got, n, &seed);
        for (unsigned at = 0, k; at < n; at += k) {
            k = 1 + (unsigned)random_below(&seed, n - at);
            ck_assert_uint_eq(hkm_slab_give(s, got + at, k), k);
            ck_assert(hkm_slab_valid(s));
            /* Exactly these come back, lowest first. */
            unsigned m = hkm_slab_take(s, again, MOST);
            ck_assert_uint_eq(m, k);
            for (unsigned i = 1; i < m; i++)
                expect(plain(again[i - 1]) < plain(again[i]));
            ck_assert_uint_eq(hkm_slab_give(s, again, m), m);
            ck_assert_uint_eq(hkm_slab_take(s, again, MOST), k);
            for (unsigned i = 0; i < k; i++)
                got[at + i] = plain(again[i]);
        }
        ck_assert_uint_eq(hkm_slab_give(s, got, n), n);
        close_slab(s);
    }
}
END_TEST

/* Neighbours in the order of their addresses, against it, and in none, rows of every length mixed, against a model. */
START_TEST(rows)
{
    static bool held[MOST];
    static void *got[MOST], *give[MOST + 64];
    uint64_t seed = 5;
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        struct hkm_slab *s = open_slab(c);
        unsigned blocks = hkm_class[c].blocks;
        memset(held, 0, sizeof held);
        for (int round = 0; round < (EMULATED ? 10 : 60); round++) {
            unsigned want = 1 + (unsigned)random_below(&seed, blocks), n = hkm_slab_take(s, got, want);
            for (unsigned i = 0, x = 0; i < n; i++, x++) { /* the lowest that were free */
                while (held[x])
                    x++;
                expect(x < blocks && plain(got[i]) == block(s, x));
                held[x] = true;
            }
            n = 0;
            for (int k = (int)random_below(&seed, 12); k >= 0; k--) {
                unsigned x = (unsigned)random_below(&seed, blocks), most = 1 + (unsigned)random_below(&seed, k % 3 ? 20 : blocks);
                int step = (int)random_below(&seed, 5) - 2; /* -2 to 2; in place of 0, one alone */
                for (; x < blocks && held[x] && most; x += (unsigned)step, most -= step ? 1 : most) {
                    give[n++] = block(s, x);
                    held[x] = false;
                }
            }
            for (unsigned at = 0, k; at < n; at += k) {
                k = 1 + (unsigned)random_below(&seed, n - at);
                expect(hkm_slab_give(s, give + at, k) == k);
            }
            expect(hkm_slab_valid(s));
            for (unsigned x = 0; x < blocks; x++)
                expect(is_free(s, x) == !held[x]);
        }
        for (unsigned x = 0; x < blocks; x++)
            if (held[x]) {
                void *p = block(s, x);
                expect(hkm_slab_give(s, &p, 1) == 1);
            }
        close_slab(s);
    }
}
END_TEST

START_TEST(give_ends_at_another_slab)
{
    void *got[8];
    struct hkm_slab *a = open_slab(hkm_class_of(64)), *b = open_slab(hkm_class_of(64));
    ck_assert_uint_eq(hkm_slab_take(a, got, 3), 3);
    ck_assert_uint_eq(hkm_slab_take(b, got + 3, 2), 2);
    ck_assert_uint_eq(hkm_slab_take(a, got + 5, 3), 3);
    ck_assert_uint_eq(hkm_slab_give(a, got, 8), 3);
    ck_assert_uint_eq(hkm_slab_give(a, got + 3, 5), 0);
    ck_assert_uint_eq(hkm_slab_give(b, got + 3, 5), 2);
    ck_assert_uint_eq(hkm_slab_give(a, got + 5, 3), 3);
    ck_assert_uint_eq(hkm_slab_give(a, got, 0), 0);
    ck_assert(hkm_slab_valid(a) && a->nfree == a->blocks && hkm_slab_valid(b) && b->nfree == b->blocks);
}
END_TEST

/* ---- double frees ------------------------------------------------------------------------------------------------ */

static struct batch {
    struct hkm_slab *s;
    void *blocks[200];
    unsigned n;
} batch;

static void give_batch(void *arg)
{
    struct batch *b = arg;
    hkm_slab_give(b->s, b->blocks, b->n);
    CHILD(!"still here");
}
static void give_remote_batch(void *arg)
{
    struct batch *b = arg;
    for (unsigned i = 0; i < b->n; i++)
        hkm_slab_remote(b->s, b->blocks[i]);
    hkm_slab_collect(b->s);
    CHILD(!"still here");
}

START_TEST(double_frees)
{
    static void *got[MOST];
    static const unsigned classes[] = { 0, 5, 31, 40, 60, 71 };
    for (size_t k = 0; k < COUNT_OF(classes); k++) {
        struct hkm_slab *s = open_slab(classes[k]);
        unsigned n = hkm_slab_take(s, got, MOST), last = n - 1, mid = n / 2;
        hkm_slab_give(s, &got[last], 1);
        hkm_slab_give(s, &got[0], 1);
        void *first_one = plain(got[0]), *last_one = plain(got[last]), *mid_one = plain(got[mid]);
        static const char words[] = "hakmem: free(): double free: %p\n";
        /* Free already. */
        batch = (struct batch){ s, { last_one }, 1 };
        unit_aborts(give_batch, &batch, words, last_one);
        batch = (struct batch){ s, { first_one }, 1 };
        unit_aborts(give_batch, &batch, words, first_one);
        if (mid == 0 || mid == last)
            continue;
        /* Twice in one batch: side by side, with another one, of another word, between. */
        batch = (struct batch){ s, { mid_one, mid_one }, 2 };
        unit_aborts(give_batch, &batch, words, mid_one);
        batch = (struct batch){ s, { mid_one, last_one }, 2 };
        unit_aborts(give_batch, &batch, words, last_one);
        batch = (struct batch){ s, { first_one, mid_one }, 2 };
        unit_aborts(give_batch, &batch, words, first_one);
        if (n > 200) {
            batch = (struct batch){ s, { mid_one, plain(got[1]), mid_one, plain(got[2]) }, 4 };
            unit_aborts(give_batch, &batch, words, mid_one);
        }
        /* By other threads: twice, or what is free. */
        batch = (struct batch){ s, { mid_one, mid_one }, 2 };
        unit_aborts(give_remote_batch, &batch, words, mid_one);
        batch = (struct batch){ s, { last_one }, 1 };
        unit_aborts(give_remote_batch, &batch, words, last_one);
    }
}
END_TEST

/* One of a row is free; or is in it twice; or behind the last block. */
START_TEST(double_frees_in_rows)
{
    static const char words[] = "hakmem: free(): double free: %p\n";
    static void *got[MOST];
    struct hkm_slab *s = open_slab(hkm_class_of(48));
    unsigned n = hkm_slab_take(s, got, MOST);
    for (int up = 0; up < 2; up++)
        for (unsigned at = 0; at < 150; at += 37) {
            batch = (struct batch){ s, { NULL }, 150 };
            for (unsigned i = 0; i < 150; i++)
                batch.blocks[up ? i : 149 - i] = block(s, 30 + i);
            ck_assert_uint_eq(hkm_slab_give(s, &batch.blocks[at], 1), 1);
            unit_aborts(give_batch, &batch, words, batch.blocks[at]);
            ck_assert_uint_eq(hkm_slab_take(s, got, 1), 1);
            ck_assert_ptr_eq(got[0], batch.blocks[at]);
            void *twice = batch.blocks[at]; /* the row ends before it, and another begins */
            batch.blocks[149] = twice;
            if (at != 149)
                unit_aborts(give_batch, &batch, words, twice);
        }
    batch = (struct batch){ s, { NULL }, 20 };
    for (unsigned i = 0; i < 20; i++)
        batch.blocks[i] = block(s, n - 19 + i);
    unit_aborts(give_batch, &batch, "hakmem: free(): invalid pointer: %p\n", batch.blocks[19]);
    for (unsigned i = 0; i < 20; i++)
        batch.blocks[i] = block(s, n - i);
    unit_aborts(give_batch, &batch, "hakmem: free(): invalid pointer: %p\n", batch.blocks[0]);
}
END_TEST

START_TEST(behind_the_last_block)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        if (HKM_SLOT_SIZE % hkm_class[c].size == 0)
            continue;
        struct hkm_slab *s = open_slab(c);
        char *p = block(s, hkm_class[c].blocks);
        ck_assert(p < s->start + HKM_SLOT_SIZE);
        batch = (struct batch){ s, { p }, 1 };
        if (c % 7 == 0) {
            unit_aborts(give_batch, &batch, "hakmem: free(): invalid pointer: %p\n", (void *)p);
            unit_aborts(give_remote_batch, &batch, "hakmem: free(): invalid pointer: %p\n", (void *)p);
        }
        close_slab(s);
    }
}
END_TEST

/* ---- remote frees ------------------------------------------------------------------------------------------------ */

START_TEST(remote_frees_wait_to_be_collected)
{
    static void *got[MOST];
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        struct hkm_slab *s = open_slab(c);
        unsigned n = hkm_slab_take(s, got, MOST), odd = n / 2;
        ck_assert_uint_eq(hkm_slab_collect(s), 0);
        for (unsigned i = 1; i < n; i += 2)
            hkm_slab_remote(s, plain(got[i]));
        ck_assert_uint_eq(s->nfree, 0);
        ck_assert_uint_eq(hkm_slab_take(s, got + n - 1, 1), 0);
        ck_assert_uint_eq(hkm_slab_collect(s), odd);
        ck_assert_uint_eq(hkm_slab_collect(s), 0);
        ck_assert(hkm_slab_valid(s) && s->nfree == odd);
        for (unsigned i = 0; i < n; i++)
            expect(is_free(s, i) == (i % 2 != 0));
        for (unsigned i = 0; i < n; i += 2)
            hkm_slab_remote(s, plain(got[i]));
        ck_assert_uint_eq(hkm_slab_collect(s), n - odd);
        ck_assert(hkm_slab_valid(s) && s->nfree == n);
        close_slab(s);
    }
}
END_TEST

static struct {
    struct hkm_slab *s;
    void *blocks[MOST];
    unsigned n;
} shared;

static void *free_quarter(void *arg)
{
    for (unsigned i = (unsigned)(uintptr_t)arg - 1; i < shared.n; i += 4)
        hkm_slab_remote(shared.s, shared.blocks[i]);
    return arg;
}

START_TEST(remote_frees_of_threads)
{
    uint64_t seed = 1;
    shared.s = open_slab(1);
    for (int round = 0; round < 50; round++) {
        pthread_t threads[4];
        unsigned got = 0;
        shared.n = hkm_slab_take(shared.s, shared.blocks, MOST);
        shuffle(shared.blocks, shared.n, &seed);
        for (size_t i = 0; i < COUNT_OF(threads); i++)
            threads[i] = unit_start(free_quarter, (void *)(i + 1));
        for (int i = 0; i < 20; i++)
            got += hkm_slab_collect(shared.s);
        for (size_t i = 0; i < COUNT_OF(threads); i++)
            unit_join(threads[i]);
        got += hkm_slab_collect(shared.s);
        ck_assert_uint_eq(got, shared.n);
        ck_assert(hkm_slab_valid(shared.s) && shared.s->nfree == shared.n);
    }
}
END_TEST

START_TEST(recount)
{
    static void *got[MOST];
    uint64_t seed = 1;
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        struct hkm_slab *s = open_slab(c);
        unsigned n = hkm_slab_take(s, got, MOST), k = (unsigned)random_below(&seed, n);
        shuffle(got, n, &seed);
        hkm_slab_give(s, got, k);
        s->nfree = 12345;
        s->hint = s->words;
        ck_assert(!hkm_slab_valid(s));
        hkm_slab_recount(s);
        ck_assert(hkm_slab_valid(s));
        ck_assert_uint_eq(s->nfree, k);
        ck_assert_uint_eq(hkm_slab_take(s, got, MOST), k);
    }
}
END_TEST

/* ---- pages ------------------------------------------------------------------------------------------------------- */

START_TEST(purge_whole_free_pages_only)
{
    static void *got[MOST];
    size_t page, purged = 0;
    uint64_t seed = 1;
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        struct hkm_slab *s = open_slab(c);
        uint32_t size = hkm_class[c].size;
        page = hkm_os.page;
        ck_assert_uint_eq(hkm_slab_committed(s), 0);
        unsigned n = hkm_slab_take(s, got, MOST);
        ck_assert_uint_eq(hkm_slab_committed(s), hkm_round_up((size_t)n * size, page));
        for (unsigned i = 0; i < n; i++)
            got[i] = plain(got[i]);
        memset(s->start, 7, (size_t)n * size);
        shuffle(got, n, &seed);
        unsigned keep = n / 20 + 1; /* these stay out */
        ck_assert_uint_eq(hkm_slab_purge(s), 0);
        hkm_slab_give(s, got + keep, n - keep);
        /* What lies behind the last block was never touched. */
        size_t done = hkm_slab_purge(s), want = 0, all = hkm_round_up((size_t)n * size, page);
        for (size_t at = 0; at < HKM_SLOT_SIZE; at += page) {
            bool out = false;
            for (unsigned i = 0; i < keep; i++) {
                size_t from = (size_t)((char *)got[i] - s->start);
                out |= from < at + page && from + size > at;
            }
            want += out || at >= all ? 0 : page;
            size_t end = at + page < (size_t)n * size ? page : at < (size_t)n * size ? (size_t)n * size - at : 0;
            expect(all_bytes(s->start + at, end, out ? 7 : 0));
        }
        ck_assert_msg(done == want, "class %u: %zu bytes purged, not %zu", c, done, want);
        ck_assert_uint_eq(hkm_slab_committed(s), all - want);
        ck_assert_uint_eq(hkm_slab_purge(s), 0); /* there is no more */
        purged += done;
        hkm_slab_give(s, got, keep);
        ck_assert_uint_eq(hkm_slab_purge(s), all - want);
        ck_assert(all_zero(s->start, HKM_SLOT_SIZE));
        close_slab(s); /* as good as new */
        ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.dirty), 0);
    }
    ck_assert(purged > 0 || hkm_os.page == HKM_SLOT_SIZE); /* where a slab is one page, some block is always out on it */
}
END_TEST

START_TEST(zero_is_known_of_blocks_of_a_page_and_more)
{
    static void *got[MOST], *again[MOST];
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        struct hkm_slab *s = open_slab(c);
        bool paged = hkm_class[c].size >= hkm_os.page;
        unsigned n = hkm_slab_take(s, got, MOST);
        for (unsigned i = 0; i < n; i++)
            expect(((uintptr_t)got[i] & HKM_ZERO) == (paged ? HKM_ZERO : 0));
        /* Cached only: still known.  Handed out: no more. */
        ck_assert_uint_eq(hkm_slab_give(s, got, n), n);
        ck_assert_uint_eq(hkm_slab_take(s, again, MOST), n);
        ck_assert_mem_eq(got, again, n * sizeof *got);
        memset(plain(got[n - 1]), 7, hkm_class[c].size);
        got[n - 1] = plain(got[n - 1]);
        ck_assert_uint_eq(hkm_slab_give(s, got, n), n);
        ck_assert_uint_eq(hkm_slab_take(s, again, MOST), n);
        ck_assert_uint_eq((uintptr_t)again[n - 1] & HKM_ZERO, 0);
        if (n > 2) /* two blocks may share a page */
            ck_assert_uint_eq((uintptr_t)again[0] & HKM_ZERO, paged ? HKM_ZERO : 0);
        /* Freed by another thread: no more, either. */
        if (n > 1) {
            memset(plain(got[0]), 7, hkm_class[c].size);
            hkm_slab_remote(s, plain(got[0]));
            ck_assert_uint_eq(hkm_slab_collect(s), 1);
            ck_assert_uint_eq(hkm_slab_take(s, again, MOST), 1);
            ck_assert_ptr_eq(again[0], plain(got[0]));
        }
    }
}
END_TEST

/* Random work on a slab.  What is said to be zero is zero, at all times. */
START_TEST(zero_means_zero)
{
    static struct {
        bool out, flagged;
    } model[MOST];
    static void *array[MOST];
    uint64_t seed = 1;
    for (unsigned c = 0; c < HKM_CLASSES; c += c < HKM_TINY_CLASSES ? 5 : 1) {
        struct hkm_slab *s = open_slab(c);
        uint32_t size = hkm_class[c].size;
        unsigned blocks = hkm_class[c].blocks;
        bool paged = size >= hkm_os.page;
        memset(model, 0, sizeof model);
        for (int round = 0; round < 300; round++) {
            unsigned n = 0, k = 1 + (unsigned)random_below(&seed, blocks), from = (unsigned)random_below(&seed, blocks);
            switch (random_below(&seed, 6)) {
            case 0:
            case 1:
                n = hkm_slab_take(s, array, k);
                for (unsigned i = 0; i < n; i++) {
                    unsigned x = (unsigned)((size_t)((char *)plain(array[i]) - s->start) / size);
                    expect(!model[x].out);
                    model[x].out = true;
                    model[x].flagged = (uintptr_t)array[i] & HKM_ZERO;
                    expect(paged || !model[x].flagged);
                    expect(!model[x].flagged || all_zero(plain(array[i]), size));
                }
                break;
            case 2: /* handed out, and written to */
                for (unsigned i = 0; i < k; i++)
                    if (model[(from + i) % blocks].out) {
                        model[(from + i) % blocks].flagged = false;
                        memset(block(s, (from + i) % blocks), 7, size);
                    }
                break;
            case 3:
            case 4: {
                bool remote = random_below(&seed, 3) == 0;
                for (unsigned i = 0; i < k; i++) {
                    unsigned x = (from + i) % blocks;
                    if (!model[x].out || (remote && model[x].flagged))
                        continue;
                    char *p = block(s, x);
                    if (remote)
                        hkm_slab_remote(s, p);
                    else
                        array[n++] = p + (model[x].flagged ? HKM_ZERO : 0);
                    model[x].out = false;
                }
                if (remote)
                    hkm_slab_collect(s);
                ck_assert_uint_eq(hkm_slab_give(s, array, n), n);
                break;
            }
            default:
                hkm_slab_purge(s);
            }
            expect(hkm_slab_valid(s));
            for (unsigned x = 0; x < blocks; x++)
                expect(is_free(s, x) != model[x].out);
            /* A page of which it is known is zero, but for blocks that are out. */
            for (size_t at = 0; at < HKM_SLOT_SIZE; at += hkm_os.page) {
                if (!(s->zero >> (at >> hkm_os.page_bits) & 1))
                    continue;
                for (size_t p = at; p < at + hkm_os.page;) {
                    size_t x = p / size, end = (x + 1) * size < at + hkm_os.page ? (x + 1) * size : at + hkm_os.page;
                    expect((x < blocks && model[x].out && paged) || all_zero(s->start + p, end - p));
                    expect(!(x < blocks && model[x].out && !paged));
                    p = end;
                }
            }
        }
    }
}
END_TEST

START_TEST(untouched_slab_stays_fresh)
{
    void *got[4];
    struct hkm_slab *s = open_slab(0);
    close_slab(s);
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.dirty), 0);
    if (hkm_class[HKM_CLASSES - 1].size >= hkm_os.page) { /* of smaller blocks it is not known */
        s = open_slab(HKM_CLASSES - 1);
        ck_assert_uint_eq(hkm_slab_take(s, got, 4), 2);
        ck_assert_uint_eq(hkm_slab_give(s, got, 2), 2);
        close_slab(s);
        ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.dirty), 0);
    }
    s = open_slab(0);
    ck_assert_uint_eq(hkm_slab_take(s, got, 4), 4); /* these could have been written to */
    ck_assert_uint_eq(hkm_slab_give(s, got, 4), 4);
    ck_assert_uint_eq(s->zero, hkm_pages_all() & ~1u); /* on one page */
    close_slab(s);
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.dirty), 1);
}
END_TEST

/* Pages come in steps, when the first of them is used; a single one is left to its fault. */
START_TEST(pages_come_in_steps)
{
    static void *got[MOST];
    unsigned all = (unsigned)(HKM_SLOT_SIZE / page_size());
    for (unsigned c = 0; c < HKM_CLASSES && hkm_class[c].size <= page_size(); c++) {
        for (unsigned step = 1; step <= all; step *= 2) {
            struct hkm_slab *s = open_slab(c);
            s->step = (uint8_t)step;
            for (unsigned n = 0; n < hkm_class[c].blocks;) {
                n += hkm_slab_take(s, got + n, 1);
                unsigned used = hkm_popcount(hkm_pages_of(0, (size_t)n * hkm_class[c].size));
                if (!s->step) /* the kernel cannot */
                    return;
                expect(s->backed == (step > 1 ? hkm_pages(0, (used + step - 1) / step * step) : 0));
            }
            ck_assert_uint_eq(hkm_slab_give(s, got, hkm_class[c].blocks), hkm_class[c].blocks);
            size_t purged = hkm_slab_purge(s);
            ck_assert(step == 1 || purged);
            uint16_t left = s->backed;
            ck_assert(step == 1 || !s->step);
            hkm_slab_take(s, got, 1);
            ck_assert_uint_eq(s->backed, left); /* no more steps */
            hkm_slab_give(s, got, 1);
            close_slab(s);
            hkm_superslab_purge(0);
        }
    }
}
END_TEST

START_TEST(live_marks)
{
    static void *got[MOST];
    if (!HKM_HARDENED)
        return;
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        struct hkm_slab *s = open_slab(c);
        unsigned n = hkm_slab_take(s, got, MOST);
        for (unsigned i = 0; i < n; i += 3)
            hkm_slab_mark_live(s, plain(got[i]));
        for (unsigned i = 0; i < n; i++)
            expect(hkm_slab_is_live(s, plain(got[i])) == (i % 3 == 0));
        for (unsigned i = 0; i < n; i++)
            expect(hkm_slab_mark_dead(s, plain(got[i])) == (i % 3 == 0));
        for (unsigned i = 0; i < n; i++)
            expect(!hkm_slab_is_live(s, plain(got[i])) && !hkm_slab_mark_dead(s, plain(got[i])));
        ck_assert_uint_eq(hkm_slab_give(s, got, n), n);
        ck_assert(hkm_slab_valid(s));
        close_slab(s);
    }
}
END_TEST

/* Pages are ripe when nothing was freed in the slab for so long, or when they were free at the last look and since. */
START_TEST(idle_pages)
{
    static void *got[MOST];
    hkm_os_init();
    unsigned cls = hkm_class_of(512), n = hkm_class[cls].blocks, page_blocks = (unsigned)(hkm_os.page / 512);
    if (hkm_os.page >= HKM_SLOT_SIZE / 2)
        return;
    uint16_t young, all = hkm_pages_all();
    hkm_store(&hkm_slab_clock, 1000);
    struct hkm_slab *s = open_slab(cls);
    ck_assert_uint_eq(hkm_slab_take(s, got, n), n);
    for (unsigned i = 0; i < n; i++)
        memset(got[i], 7, 512);
    ck_assert_uint_eq(hkm_slab_look(s, 100, &young), 0);
    ck_assert_uint_eq(young, 0);
    ck_assert_uint_eq(hkm_slab_give(s, got, n), n);
    ck_assert_uint_eq(hkm_slab_look(s, 100, &young), 0);
    ck_assert_uint_eq(young, all);
    /* The first page is used in between: it begins anew, the others are ripe though blocks were freed just now. */
    hkm_store(&hkm_slab_clock, 1090);
    ck_assert_uint_eq(hkm_slab_take(s, got, page_blocks), page_blocks);
    ck_assert_uint_eq(hkm_slab_give(s, got, page_blocks), page_blocks);
    hkm_store(&hkm_slab_clock, 1110);
    uint16_t ripe = hkm_slab_look(s, 100, &young);
    ck_assert_uint_eq(ripe, all & ~1u);
    ck_assert_uint_eq(young, 1);
    ck_assert_uint_eq(hkm_superslab_purge_pages(s, 1, HKM_SLOT_SIZE / hkm_os.page - 1), HKM_SLOT_SIZE - hkm_os.page);
    ck_assert_uint_eq(hkm_slab_look(s, 100, &young), 1); /* those are clean now; this one was free at the last look, too */
    ck_assert_uint_eq(young, 0);
    hkm_store(&hkm_slab_clock, 1190);
    ck_assert_uint_eq(hkm_slab_look(s, 100, &young), 1); /* untouched since 1090 */
    ck_assert_uint_eq(young, 0);
    ck_assert_uint_eq(hkm_slab_take(s, got, n), n);
    ck_assert(all_zero(s->start + hkm_os.page, HKM_SLOT_SIZE - hkm_os.page));
    ck_assert_uint_eq(hkm_slab_give(s, got, n), n);
    ck_assert_uint_eq(hkm_slab_look(s, 0, &young), all); /* no age: whatever is free */
    close_slab(s);
}
END_TEST

START_TEST(refused_pages_are_left)
{
    static void *got[MOST];
    uint16_t young;
    struct hkm_slab *s = open_slab(hkm_class_of(512));
    unsigned n = hkm_slab_take(s, got, MOST);
    for (unsigned i = 0; i < n; i++)
        memset(got[i], 7, 512);
    ck_assert_uint_eq(hkm_slab_give(s, got, n), n);
    if (SANITIZED || mlock(s->start, hkm_os.page))
        return; /* not allowed to, or it does nothing */
    ck_assert_uint_eq(hkm_slab_look(s, 0, &young), hkm_pages_all());
    (void)hkm_slab_purge(s);
    ck_assert_uint_eq(hkm_slab_look(s, 0, &young), 0);
    munlock(s->start, hkm_os.page);
    ck_assert_uint_eq(hkm_slab_look(s, 0, &young), 0); /* nobody asks again */
    hkm_superslab_retry();
    ck_assert_uint_ne(hkm_slab_look(s, 0, &young), 0);
    ck_assert_uint_ge(hkm_slab_purge(s), hkm_os.page);
    close_slab(s);
}
END_TEST

UNIT_MAIN("slab", CK_FORK, all_blocks_lowest_first, taken_after_given, rows, give_ends_at_another_slab,
          double_frees, double_frees_in_rows, behind_the_last_block, remote_frees_wait_to_be_collected,
          remote_frees_of_threads, recount, purge_whole_free_pages_only, zero_is_known_of_blocks_of_a_page_and_more, zero_means_zero,
          untouched_slab_stays_fresh, pages_come_in_steps, live_marks, idle_pages, refused_pages_are_left)
