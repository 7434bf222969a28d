/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * family.c: every function that gives a block, with every function that takes one: sizes from 0 to 1 MiB; the block is
 * aligned, as big as asked for, writable to its last byte, apart from all others, and whole until it is freed.
 */
#define _GNU_SOURCE
#include "tap.h"

/* C23; older C libraries do not declare them. */
extern void free_sized(void *, size_t) __attribute__((weak));
extern void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));
/* Gone from <malloc.h>; in the static library it is found only so. */
extern void cfree(void *) __attribute__((weak));
extern void *__libc_malloc(size_t) __attribute__((weak));

#define ALIGNMENT 64

static void *by_malloc(size_t n) { return malloc(n); }
static void *by_calloc(size_t n) { return calloc(1, n); }
static void *by_calloc_product(size_t n) { return calloc((n + 7) / 8, 8); }
static void *by_realloc(size_t n) { return realloc(NULL, n); }
static void *by_reallocarray(size_t n) { return reallocarray(NULL, n, 1); }
static void *by_memalign(size_t n) { return memalign(ALIGNMENT, n); }
static void *by_aligned_alloc(size_t n) { return aligned_alloc(ALIGNMENT, n); }
static void *by_posix_memalign(size_t n)
{
    void *p = NULL;
    return posix_memalign(&p, ALIGNMENT, n) ? NULL : p;
}
static void *by_valloc(size_t n) { return valloc(n); }
static void *by_pvalloc(size_t n) { return pvalloc(n); }

static const struct giver {
    const char *name;
    void *(*give)(size_t);
    size_t alignment; /* 0: a page */
} givers[] = {
    { "malloc", by_malloc, 16 },
    { "calloc(1, n)", by_calloc, 16 },
    { "calloc(n, 8)", by_calloc_product, 16 },
    { "realloc(NULL)", by_realloc, 16 },
    { "reallocarray(NULL)", by_reallocarray, 16 },
    { "memalign", by_memalign, ALIGNMENT },
    { "aligned_alloc", by_aligned_alloc, ALIGNMENT },
    { "posix_memalign", by_posix_memalign, ALIGNMENT },
    { "valloc", by_valloc, 0 },
    { "pvalloc", by_pvalloc, 0 },
};

static void (*cfree_found)(void *);
static void take_free(void *p, size_t n, size_t alignment) { (void)n, (void)alignment, free(p); }
static void take_cfree(void *p, size_t n, size_t alignment) { (void)n, (void)alignment, cfree_found(p); }
static void take_free_sized(void *p, size_t n, size_t alignment) { (void)alignment, free_sized(p, n); }
static void take_free_aligned_sized(void *p, size_t n, size_t alignment) { free_aligned_sized(p, alignment, n); }
static void take_realloc(void *p, size_t n, size_t alignment)
{
    (void)n, (void)alignment;
    if (realloc(p, 0))
        abort();
}

static const struct taker {
    const char *name;
    void (*take)(void *, size_t, size_t);
} takers[] = {
    { "free", take_free },
    { "cfree", take_cfree },
    { "free_sized", take_free_sized },
    { "free_aligned_sized", take_free_aligned_sized },
    { "realloc(p, 0)", take_realloc },
};

static size_t sizes[3000];
static size_t size_count;

static void make_sizes(void)
{
    for (size_t n = 0; n <= 2064; n++)
        sizes[size_count++] = n;
    for (size_t unit = 2048; unit < MIB; unit *= 2)
        for (size_t n = unit; n < 2 * unit; n += unit / 8)
            for (size_t m = n - 1; m <= n + 1; m++)
                sizes[size_count++] = m;
    sizes[size_count++] = MIB - 1;
    sizes[size_count++] = MIB;
}

/* All sizes at once, so that blocks which overlap spoil each other. */
static void test_pair(const struct giver *giver, const struct taker *taker)
{
    static unsigned char *blocks[COUNT_OF(sizes)];
    static size_t usable[COUNT_OF(sizes)];
    size_t alignment = giver->alignment ? giver->alignment : (size_t)sysconf(_SC_PAGESIZE);
    size_t missing = 0, misaligned = 0, small = 0, changed = 0, spoilt = 0;
    for (size_t i = 0; i < size_count; i++) {
        blocks[i] = giver->give(sizes[i]);
        if (!blocks[i]) {
            missing++;
            continue;
        }
        misaligned += !aligned(blocks[i], alignment < 16 ? 16 : alignment);
        usable[i] = malloc_usable_size(blocks[i]);
        small += usable[i] < sizes[i];
        pattern_fill(blocks[i], usable[i], i);
    }
    for (size_t i = 0; i < size_count; i++) {
        if (!blocks[i])
            continue;
        changed += malloc_usable_size(blocks[i]) != usable[i];
        spoilt += !pattern_holds(blocks[i], usable[i], i);
        taker->take(blocks[i], sizes[i], alignment);
    }
    ok(!(missing + misaligned + small + changed + spoilt), "%s, %s: %zu sizes", giver->name, taker->name, size_count);
    if (missing + misaligned + small + changed + spoilt)
        note("missing %zu, misaligned %zu, too small %zu, usable size changed %zu, spoilt %zu", missing, misaligned, small,
             changed, spoilt);
}

static void test_zero(void)
{
    for (size_t g = 0; g < COUNT_OF(givers); g++) {
        void *p = givers[g].give(0), *q = givers[g].give(0);
        ok(p && q && p != q && aligned(p, 16) && aligned(q, 16), "%s of 0 bytes: distinct blocks", givers[g].name);
        free(p);
        free(q);
    }
}

static void test_null(void)
{
    free(NULL);
    if (cfree_found)
        cfree_found(NULL);
    if (free_sized)
        free_sized(NULL, 10);
    if (free_aligned_sized)
        free_aligned_sized(NULL, 32, 10);
    ok(1, "NULL is freed without effect");
    ok(malloc_usable_size(NULL) == 0, "malloc_usable_size(NULL) is 0");
}

/* The sizes given to the sized frees are hints. */
static void test_wrong_hints(void)
{
    static const size_t hints[] = { 0, 1, 16, 100, 1024, 5000, 100000, 50000000, SIZE_MAX };
    unsigned bad = 0;
    for (size_t n = 1; n < 3 * MIB; n = n * 3 + 1)
        for (size_t h = 0; h < COUNT_OF(hints); h++)
            for (size_t a = 0; a < COUNT_OF(hints); a++) {
                void *p = malloc(n), *other = malloc(n);
                pattern_fill(other, n, h);
                free_sized(p, hide_size(hints[h]));
                p = malloc(n);
                free_aligned_sized(p, hide_size(hints[a]), hide_size(hints[h]));
                void *again = malloc(n);
                memset(again, 0xa5, n);
                bad += !pattern_holds(other, n, h) || malloc_usable_size(again) < n || again == other;
                free(again);
                free(other);
            }
    ok(bad == 0, "wrong sizes and alignments given to the sized frees are never harmful");
}

/* Blocks of the C library's own malloc, as an RTLD_DEEPBIND plugin has them. */
static void test_foreign(void)
{
    if (!__libc_malloc || __libc_malloc == malloc) {
        skip("foreign blocks", "the C library has no __libc_malloc");
        return;
    }
    static const size_t some[] = { 1, 100, 1024, 5000, 100000, 5000000 };
    for (size_t i = 0; i < COUNT_OF(some); i++) {
        size_t n = some[i];
        char *p = __libc_malloc(n);
        if (!ok(p && malloc_usable_size(p) >= n, "usable size of a foreign block of %zu bytes", n))
            continue;
        pattern_fill(p, n, i);
        p = realloc(p, n * 2);
        ok(p && malloc_usable_size(p) >= n * 2 && pattern_holds(p, n, i), "its realloc keeps the content");
        free(p);
        free(__libc_malloc(n));
        ok(1, "its free");
    }
}

int main(void)
{
    tap_start();
    make_sizes();
    *(void **)&cfree_found = dlsym(RTLD_DEFAULT, "cfree");
    if (!cfree_found && !in_library())
        cfree_found = cfree;
    bool there[COUNT_OF(takers)] = { true, ok(cfree_found != NULL, "cfree is there"),
                                     ok(free_sized != NULL, "free_sized is there"),
                                     ok(free_aligned_sized != NULL, "free_aligned_sized is there"), true };
    for (size_t g = 0; g < COUNT_OF(givers); g++)
        test_pair(&givers[g], &takers[0]);
    for (size_t t = 1; t < COUNT_OF(takers); t++) {
        if (!there[t])
            continue;
        test_pair(&givers[0], &takers[t]);
        test_pair(&givers[5], &takers[t]);
    }
    test_zero();
    test_null();
    if (there[2] && there[3])
        test_wrong_hints();
    test_foreign();
    return tap_done();
}
