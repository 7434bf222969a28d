/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * limits.c: requests that cannot be met give NULL and ENOMEM and change nothing; what succeeds, and every free, leaves
 * errno alone; realloc with size 0.  All as glibc 2.36.
 */
#define _GNU_SOURCE
#include "tap.h"

#include <sys/mman.h>

#define SENTINEL 4321

/* The call yields NULL and errno `expected`. */
#define FAILS(call, expected)                                                                              \
    do {                                                                                                   \
        errno = SENTINEL;                                                                                  \
        void *result = (call);                                                                             \
        int error = errno;                                                                                 \
        if (!ok(!result && error == (expected), "%s: NULL and %s", #call, strerror(expected)))             \
            note("%p, errno %d", result, error);                                                           \
    } while (0)

static const size_t too_much[] = { SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 4095, SIZE_MAX - 65535, SIZE_MAX / 2 + 2,
                                   (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX,
#if UINTPTR_MAX > UINT32_MAX /* else there may be that much */
                                   PTRDIFF_MAX - 4095, PTRDIFF_MAX - 65536,
#endif
};

static void test_too_much(void)
{
    for (size_t i = 0; i < COUNT_OF(too_much); i++) {
        size_t n = hide_size(too_much[i]);
        note("n = %#zx", n);
        FAILS(malloc(n), ENOMEM);
        FAILS(calloc(1, n), ENOMEM);
        FAILS(calloc(n, 1), ENOMEM);
        FAILS(realloc(NULL, n), ENOMEM);
        FAILS(reallocarray(NULL, n, 1), ENOMEM);
        FAILS(memalign(8, n), ENOMEM);
        FAILS(memalign(64, n), ENOMEM);
        FAILS(memalign(1 << 20, n), ENOMEM);
        FAILS(aligned_alloc(4096, n), ENOMEM);
        FAILS(valloc(n), ENOMEM);
        FAILS(pvalloc(n), ENOMEM);
        int untouched;
        void *p = &untouched;
        int error = posix_memalign(&p, 64, n);
        ok(error == ENOMEM && p == &untouched, "posix_memalign(&p, 64, n): ENOMEM, p untouched");
    }
}

static void test_overflow(void)
{
    size_t most = hide_size(SIZE_MAX), half = hide_size(SIZE_MAX / 2), root = hide_size((size_t)1 << (sizeof(size_t) * 4));
    FAILS(calloc(half, 3), ENOMEM);
    FAILS(calloc(3, half), ENOMEM);
    FAILS(calloc(half + 2, 2), ENOMEM); /* the product is 2, had it not overflowed */
    FAILS(calloc(root, root), ENOMEM);
    FAILS(calloc(root + 1, root), ENOMEM);
    FAILS(calloc(most, most), ENOMEM);
    FAILS(reallocarray(NULL, half + 2, 2), ENOMEM);
    FAILS(reallocarray(NULL, root, root), ENOMEM);
    FAILS(reallocarray(NULL, most, 16), ENOMEM);
    void *p = calloc(0, hide_size(SIZE_MAX)), *q = calloc(hide_size(SIZE_MAX), 0);
    ok(p && q && p != q, "calloc(0, SIZE_MAX) and calloc(SIZE_MAX, 0) are no overflow");
    free(p);
    free(q);
}

/* A realloc that fails leaves the block. */
static void test_realloc_fails(void)
{
    static const size_t sizes[] = { 1, 16, 100, 1000, 1024, 1025, 5000, 32768, 40000, 1000000, 40000000 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t n = sizes[i];
        char *p = malloc(n);
        pattern_fill(p, n, n);
        note("block of %zu bytes", n);
        FAILS(realloc(hide(p), hide_size(SIZE_MAX)), ENOMEM);
        FAILS(realloc(hide(p), hide_size((size_t)PTRDIFF_MAX + 1)), ENOMEM);
        FAILS(reallocarray(hide(p), hide_size(SIZE_MAX / 2), 4), ENOMEM);
        ok(pattern_holds(p, n, n), "the block is whole");
        free(p);
    }
}

static void test_realloc_zero(void)
{
    static const size_t sizes[] = { 1, 100, 5000, 100000, 40000000 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        errno = SENTINEL;
        void *p = realloc(malloc(sizes[i]), 0);
        ok(!p && errno == SENTINEL, "realloc(p, 0) of %zu bytes: NULL, errno untouched", sizes[i]);
        p = reallocarray(malloc(sizes[i]), 0, 16);
        void *q = reallocarray(malloc(sizes[i]), 16, 0);
        ok(!p && !q && errno == SENTINEL, "reallocarray(p, 0, 16) and (p, 16, 0): NULL");
    }
    /* It frees: otherwise this takes 20 GB of address space.  (An emulator notes every page in memory of its own.) */
    size_t before = address_space();
    unsigned kept = 0;
    for (int i = 0; i < 500; i++)
        kept += realloc(malloc(40000000), 0) != NULL;
    ok(!kept && (EMULATED || address_space() < before + 1000 * MIB), "realloc(p, 0) frees");
    void *p = realloc(NULL, 0), *q = reallocarray(NULL, 0, 0);
    ok(p && q && p != q, "realloc(NULL, 0) gives a block");
    free(p);
    free(q);
}

/* errno after calls that succeed. */
static void test_errno(void)
{
    unsigned changed[7] = { 0 };
    static const char *const names[7] = { "malloc", "calloc", "realloc", "memalign", "posix_memalign", "free",
                                          "malloc_usable_size" };
    void *blocks[64];
    for (size_t n = 0; n < 80 * MIB; n = n < 100 ? n + 7 : n + n / 2) {
        for (unsigned i = 0; i < COUNT_OF(blocks); i++) {
            if (i && n > MIB)
                break;
            void *p = NULL;
            errno = SENTINEL;
            blocks[i] = malloc(n);
            changed[0] += errno != SENTINEL;
            errno = SENTINEL;
            blocks[i] = realloc(blocks[i], n + n / 2 + 1);
            changed[2] += errno != SENTINEL;
            errno = SENTINEL;
            changed[6] += malloc_usable_size(blocks[i]) < n || errno != SENTINEL;
            errno = SENTINEL;
            if (posix_memalign(&p, 4096, n) == 0)
                free(p);
            changed[4] += errno != SENTINEL;
            errno = SENTINEL;
            p = memalign(512, n);
            changed[3] += errno != SENTINEL;
            free(p);
            errno = SENTINEL;
            p = calloc(1, n);
            changed[1] += errno != SENTINEL;
            free(p);
        }
        for (unsigned i = 0; i < COUNT_OF(blocks); i++) {
            if (i && n > MIB)
                break;
            errno = SENTINEL;
            free(blocks[i]);
            changed[5] += errno != SENTINEL;
        }
    }
    errno = SENTINEL;
    free(NULL);
    changed[5] += errno != SENTINEL;
    for (int i = 0; i < 7; i++)
        if (!ok(!changed[i], "%s leaves errno alone", names[i]))
            note("changed %u times", changed[i]);
}

/* free and its kin when they enter the kernel: to purge, to unmap, and to be refused (locked memory is not purged). */
static void test_errno_in_the_kernel(void)
{
    long kept = 4096;
    unsigned changed = 0, refused = 0;
    size_t before = 0;
    struct hak_stats s;
    enum { COUNT = 300, SIZE = 300000 };
    static char *blocks[COUNT];
    hak_option_get("DIRTY_KB", &kept);
    hak_option_set("PURGE_MS", 0);
    hak_option_set("DIRTY_KB", 0); /* every run that is freed is purged at once */
    for (int locked = 0; locked < 2; locked++) {
        for (int i = 0; i < COUNT; i++) {
            blocks[i] = malloc(SIZE);
            memset(blocks[i], 1, SIZE);
        }
        bool holds = locked && mlock(blocks[COUNT / 2], SIZE) == 0;
        hak_stats_get(&s, sizeof s);
        before = s.purged_bytes;
        for (int i = 0; i < COUNT; i++) {
            errno = SENTINEL;
            free(blocks[i]);
            changed += errno != SENTINEL;
        }
        errno = SENTINEL;
        malloc_trim(0);
        hak_purge();
        changed += errno != SENTINEL;
        hak_stats_get(&s, sizeof s);
        if (!locked)
            ok(s.purged_bytes > before + COUNT / 2 * SIZE, "freeing purges here");
        refused += holds;
        munlockall();
    }
    hak_option_set("DIRTY_KB", kept);
    hak_option_set("PURGE_MS", 1000);
    for (int i = 0; i < 10; i++) { /* mappings of their own */
        char *p = malloc(40 * MIB);
        p[0] = 1;
        errno = SENTINEL;
        p = realloc(p, 50 * MIB);
        changed += errno != SENTINEL;
        errno = SENTINEL;
        free(p);
        changed += errno != SENTINEL;
    }
    ok(!changed, "free, malloc_trim and hak_purge leave errno alone when they purge, unmap%s",
       refused ? ", and are refused" : "");
}

static void test_still_works(void)
{
    void *p = malloc(100), *q = malloc(10 * MIB);
    ok(p && q, "malloc works after all failures");
    free(p);
    free(q);
}

int main(void)
{
    tap_start();
    test_too_much();
    test_overflow();
    test_realloc_fails();
    test_realloc_zero();
    test_errno();
    test_errno_in_the_kernel();
    test_still_works();
    return tap_done();
}
