/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_tiny.c: the lists of slabs with, and without, free blocks.
 */
#include "tiny.h"
#include "option.h"
#include "superslab.h"
#include "policy.h"
#include "unit.h"

static int heap; /* its address stands for a heap */
static struct hkm_tiny tiny;

static struct hkm_slab *new_slab(unsigned cls)
{
    hkm_os_init();
    SET_OPTION(disable_purge, 1);
    struct hkm_slab *s = hkm_superslab_run(1, 1);
    ck_assert_ptr_nonnull(s);
    ck_assert(hkm_slab_open(s, cls));
    hkm_store(&s->owner, (size_t)&heap);
    return s;
}

static unsigned length(const struct hkm_slab *s)
{
    unsigned n = 0;
    for (; s; s = s->next)
        n++;
    return n;
}

static void *plain(void *p) { return (void *)((uintptr_t)p & ~HKM_ZERO); }

START_TEST(settle_and_remove)
{
    unsigned cls = hkm_class_of(8000);
    void *got[64];
    struct hkm_slab *a = new_slab(cls), *b = new_slab(cls), *c = new_slab(cls);
    ck_assert(hkm_tiny_valid(&tiny, cls, &heap));
    ck_assert_ptr_null(hkm_tiny_settle(&tiny, a, true)); /* one without blocks is kept */
    ck_assert(hkm_tiny_valid(&tiny, cls, &heap) && tiny.partial == a && a->listed == HKM_PARTIAL);
    ck_assert_ptr_eq(hkm_tiny_settle(&tiny, b, true), b); /* a second one is not */
    ck_assert(b->listed == HKM_UNLISTED && length(tiny.partial) == 1);
    ck_assert_ptr_null(hkm_tiny_settle(&tiny, a, true)); /* again: nothing changes */
    ck_assert_ptr_eq(hkm_tiny_settle(&tiny, a, false), a);
    ck_assert(!tiny.partial && !tiny.full && a->listed == HKM_UNLISTED);

    hkm_slab_take(a, got, 1);
    hkm_slab_take(b, got + 1, 1);
    ck_assert_ptr_null(hkm_tiny_settle(&tiny, a, true));
    ck_assert_ptr_null(hkm_tiny_settle(&tiny, b, false));
    ck_assert(hkm_tiny_valid(&tiny, cls, &heap) && tiny.partial == a && a->next == b); /* the head goes on being used */
    hkm_slab_take(c, got + 2, 60);
    ck_assert_ptr_null(hkm_tiny_settle(&tiny, c, true));
    ck_assert(hkm_tiny_valid(&tiny, cls, &heap) && tiny.full == c && c->listed == HKM_FULL);
    hkm_slab_give(c, got + 2, 1);
    ck_assert_ptr_null(hkm_tiny_settle(&tiny, c, true));
    ck_assert(hkm_tiny_valid(&tiny, cls, &heap) && !tiny.full && length(tiny.partial) == 3);
    hkm_slab_give(b, got + 1, 1);
    ck_assert_ptr_eq(hkm_tiny_settle(&tiny, b, true), b); /* the others have free blocks */
    ck_assert(hkm_tiny_valid(&tiny, cls, &heap) && length(tiny.partial) == 2);
    hkm_tiny_remove(&tiny, b); /* is on no list: nothing happens */
    hkm_tiny_remove(&tiny, a);
    ck_assert(hkm_tiny_valid(&tiny, cls, &heap) && tiny.partial == c && a->listed == HKM_UNLISTED);
    hkm_tiny_remove(&tiny, c);
    ck_assert(!tiny.partial && !tiny.full);
}
END_TEST

START_TEST(fill_from_all_slabs)
{
    static void *got[20000];
    static const unsigned classes[] = { 0, 7, 31, 33, 50, 71 };
    for (size_t k = 0; k < COUNT_OF(classes); k++) {
        unsigned cls = classes[k], blocks = hkm_class[cls].blocks, n = 0, step = 1;
        tiny = (struct hkm_tiny){ NULL, NULL };
        ck_assert_uint_eq(hkm_tiny_fill(&tiny, got, 100), 0);
        for (int i = 0; i < 4; i++) {
            struct hkm_slab *s = new_slab(cls);
            hkm_slab_take(s, got + 15000, 1); /* so that it is not empty */
            ck_assert_ptr_null(hkm_tiny_settle(&tiny, s, true));
        }
        while (n < 4 * (blocks - 1)) {
            unsigned got_now = hkm_tiny_fill(&tiny, got + n, step);
            ck_assert_uint_eq(got_now, step < 4 * (blocks - 1) - n ? step : 4 * (blocks - 1) - n);
            n += got_now;
            step = step * 2 + 1;
            ck_assert(hkm_tiny_valid(&tiny, cls, &heap));
            ck_assert_uint_eq(length(tiny.partial) + length(tiny.full), 4);
        }
        ck_assert_uint_eq(hkm_tiny_fill(&tiny, got + n, 1), 0);
        ck_assert(!tiny.partial && length(tiny.full) == 4);
    }
}
END_TEST

/* Random work: the lists are valid after each step, no block is handed out twice, slabs without blocks come back. */
START_TEST(fill_and_drain)
{
    static void *held[5000], *batch[256];
    uint64_t seed = 1;
    for (unsigned cls = 0; cls < HKM_CLASSES; cls += 3) {
        unsigned n = 0, slabs = 0;
        size_t size = hkm_class[cls].size;
        tiny = (struct hkm_tiny){ NULL, NULL };
        for (int round = 0; round < 400; round++) {
            unsigned k = 1 + (unsigned)random_below(&seed, 200);
            if (random_below(&seed, 400) >= (unsigned)(round < 350 ? 150 : 400) && n + k < COUNT_OF(held)) {
                unsigned got = hkm_tiny_fill(&tiny, held + n, k);
                for (unsigned i = n; i < n + got; i++) {
                    held[i] = plain(held[i]);
                    expect(hkm_registry_slab(held[i])->cls == cls);
                    memcpy(held[i], &held[i], sizeof held[i]);
                    memset((char *)held[i] + sizeof held[i], (int)(uintptr_t)held[i] >> 4, size - sizeof held[i]);
                }
                n += got;
                if (got < k && slabs < 20) {
                    ck_assert_ptr_null(tiny.partial);
                    ck_assert_ptr_null(hkm_tiny_settle(&tiny, new_slab(cls), true));
                    slabs++;
                }
            } else {
                k = k < n ? k : n;
                for (unsigned i = 0; i < k; i++) {
                    size_t j = random_below(&seed, n);
                    expect(*(void **)held[j] == held[j]);
                    expect(all_bytes((char *)held[j] + sizeof(void *), size - sizeof(void *),
                                     (unsigned char)((int)(uintptr_t)held[j] >> 4)));
                    batch[i] = held[j];
                    held[j] = held[--n];
                }
                for (struct hkm_slab *s = hkm_tiny_drain(&tiny, cls, batch, k), *next; s; s = next) {
                    next = s->next;
                    ck_assert(s->listed == HKM_UNLISTED && s->nfree == s->blocks);
                    hkm_slab_close(s);
                    hkm_superslab_give(s, 1);
                    slabs--;
                }
            }
            expect(hkm_tiny_valid(&tiny, cls, &heap));
            expect(length(tiny.partial) + length(tiny.full) == slabs);
            unsigned blocks = 0, empty = 0;
            for (struct hkm_slab *s = tiny.partial; s; s = s->next) {
                blocks += s->blocks - s->nfree;
                empty += s->nfree == s->blocks;
            }
            expect(blocks + length(tiny.full) * hkm_class[cls].blocks == n);
            expect(empty <= 1);
        }
        while (n) {
            unsigned k = n < 100 ? n : 100;
            for (struct hkm_slab *s = hkm_tiny_drain(&tiny, cls, held + n - k, k); s; s = s->next)
                slabs--;
            n -= k;
        }
        ck_assert(length(tiny.partial) == slabs && slabs <= 1 && !tiny.full); /* one is kept */
    }
}
END_TEST

START_TEST(valid_sees_damage)
{
    unsigned cls = hkm_class_of(100);
    void *got[2000];
    struct hkm_slab *a = new_slab(cls), *b = new_slab(cls), *c = new_slab(cls);
    hkm_slab_take(a, got, 1);
    hkm_slab_take(b, got, 1);
    hkm_slab_take(c, got, 2000);
    hkm_tiny_settle(&tiny, a, true);
    hkm_tiny_settle(&tiny, b, true);
    hkm_tiny_settle(&tiny, c, true);
    ck_assert(hkm_tiny_valid(&tiny, cls, &heap));
    ck_assert(!hkm_tiny_valid(&tiny, cls + 1, &heap));
    ck_assert(!hkm_tiny_valid(&tiny, cls, &tiny));
#define DAMAGE(lvalue, value)                                   \
    do {                                                        \
        __typeof__(lvalue) was = lvalue;                        \
        lvalue = (value);                                       \
        ck_assert(!hkm_tiny_valid(&tiny, cls, &heap));          \
        lvalue = was;                                           \
        ck_assert(hkm_tiny_valid(&tiny, cls, &heap));           \
    } while (0)
    DAMAGE(a->listed, HKM_FULL);
    DAMAGE(c->listed, HKM_PARTIAL);
    DAMAGE(a->nfree, 0);
    DAMAGE(b->nfree, (uint16_t)(b->nfree - 1));
    DAMAGE(c->nfree, 1);
    DAMAGE(b->prev, NULL);
    DAMAGE(b->owner, 0);
    DAMAGE(c->cls, 0);
    DAMAGE(a->free[0], 0);
}
END_TEST

UNIT_MAIN("tiny", CK_FORK, settle_and_remove, fill_from_all_slabs, fill_and_drain, valid_sees_damage)
