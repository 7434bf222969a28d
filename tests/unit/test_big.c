/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_big.c: blocks with mappings of their own, and the table that knows them.
 */
#include "big.h"
#include "lock.h"
#include "option.h"
#include "superslab.h"
#include "policy.h"
#include "unit.h"

#include <sys/time.h>

START_TEST(many_sizes)
{
    hkm_os_init();
    size_t page = hkm_os.page, sizes[] = { 0, 1, page - 1, page, page + 1, MIB, 32 * MIB + 5 };
    ck_assert_uint_eq(hkm_big_bytes(), 0);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t bytes = sizes[i] ? hkm_round_up(sizes[i], page) : page;
        char *p = hkm_big_alloc(sizes[i], 16, NULL);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % page, 0);
        ck_assert(all_zero(p, bytes));
        memset(p, 7, bytes);
        ck_assert_uint_eq(hkm_big_size(p), bytes);
        ck_assert_uint_eq(hkm_big_bytes(), bytes);
        ck_assert(hkm_big_free(p));
        ck_assert_uint_eq(hkm_big_bytes(), 0);
        ck_assert_uint_eq(hkm_big_size(p), 0);
        ck_assert(!unit_readable(p));
        ck_assert(!hkm_big_free(p)); /* twice */
    }
    ck_assert_ptr_null(hkm_big_alloc(SIZE_MAX, 16, NULL));
    ck_assert_ptr_null(hkm_big_alloc(PTRDIFF_MAX, 16, NULL));
    ck_assert_ptr_null(hkm_big_alloc(SIZE_MAX - 2 * page, SIZE_MAX / 2 + 1, NULL));
    ck_assert_uint_eq(hkm_big_bytes(), 0);
}
END_TEST

/* With huge pages a block is made of whole ones, aligned, and stays so when it grows. */
START_TEST(huge_pages)
{
    hkm_os_huge_init();
    size_t huge = hkm_load(&hkm_os.huge);
    hkm_store(&hkm_os.thp, 1);
    SET_OPTION(hugepages, 1);
    if (huge > 64 * MIB)
        return;
    for (size_t size = huge - 1; size <= 4 * huge; size += huge / 2 + 1) {
        size_t unit = size < huge ? hkm_os.page : huge;
        char *p = hkm_big_alloc(size, 16, NULL);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % unit, 0);
        ck_assert_uint_eq(hkm_big_size(p), hkm_round_up(size, unit));
        ck_assert_uint_eq(hkm_big_huge(), size < huge ? 0 : hkm_big_size(p));
        memset(p, 7, size);
        p = hkm_big_resize(p, 3 * size + huge);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq(hkm_big_size(p), hkm_round_up(3 * size + huge, huge));
        ck_assert_uint_eq(hkm_big_huge(), hkm_big_size(p));
        ck_assert(all_bytes(p, size, 7) && all_zero(p + hkm_round_up(size, unit), 2 * size));
        p = hkm_big_resize(p, hkm_os.page);
        ck_assert_uint_eq(hkm_big_size(p), hkm_os.page);
        ck_assert_uint_eq(hkm_big_huge(), 0);
        ck_assert(hkm_big_free(p));
        p = hkm_big_alloc(size, 4 * huge, NULL);
        ck_assert_uint_eq((uintptr_t)p % (4 * huge), 0);
        ck_assert(hkm_big_free(p));
    }
    ck_assert_ptr_null(hkm_big_alloc(SIZE_MAX, 16, NULL));
    ck_assert_ptr_null(hkm_big_alloc(PTRDIFF_MAX, 16, NULL));
}
END_TEST

/* A block that realloc makes larger once more, and that is so large that an eighth of it is no huge page, has them from then on. */
START_TEST(huge_pages_of_grown_blocks)
{
    hkm_os_init();
    size_t page = hkm_os.page, huge = hkm_os_huge_size(), least = 8 * huge;
    ck_assert_uint_eq(hkm_load(&hkm_option.hugepages), HKM_HUGEPAGES);
    SET_OPTION(hugepages, HKM_HUGE_GROWN);
    if (huge > 64 * MIB)
        return;
    char *p = hkm_big_alloc(page, 16, NULL);
    pattern_fill(p, page, 1);
    p = hkm_big_resize(p, least + page); /* for the first time */
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq(hkm_big_size(p), least + page);
    ck_assert_uint_eq(hkm_big_huge(), 0);
    p = hkm_big_resize(p, least); /* smaller: not for that */
    ck_assert_uint_eq(hkm_big_size(p), least);
    ck_assert_uint_eq(hkm_big_huge(), 0);
    p = hkm_big_resize(p, least + 1);
    ck_assert_uint_eq(hkm_big_size(p), least + huge);
    ck_assert_uint_eq(hkm_big_huge(), least + huge);
    ck_assert_uint_eq(hkm_big_bytes(), least + huge);
    pattern_fill(p + page, 2 * page, 2);
    ck_assert_ptr_eq(hkm_big_resize(p, least + huge), p);
    p = hkm_big_resize(p, 2 * least + 1);
    ck_assert_uint_eq(hkm_big_huge(), 2 * least + huge);
    ck_assert(pattern_holds(p, page, 1) && pattern_holds(p + page, 2 * page, 2) && all_zero(p + 3 * page, 8 * page));
    ck_assert_ptr_null(hkm_big_resize(p, PTRDIFF_MAX));
    ck_assert_ptr_null(hkm_big_resize(p, SIZE_MAX));
    ck_assert_uint_eq(hkm_big_huge(), 2 * least + huge);
    p = hkm_big_resize(p, least - page); /* small enough for others, but it has them */
    ck_assert_uint_eq(hkm_big_huge(), hkm_big_size(p));
    p = hkm_big_resize(p, 3 * page);
    ck_assert_uint_eq(hkm_big_size(p), 3 * page);
    ck_assert_uint_eq(hkm_big_huge(), 0);
    ck_assert(pattern_holds(p, page, 1) && pattern_holds(p + page, 2 * page, 2));
    ck_assert(hkm_big_free(p));
    SET_OPTION(hugepages, HKM_HUGE_NO);
    p = hkm_big_resize(hkm_big_resize(hkm_big_alloc(page, 16, NULL), least), 2 * least + 1);
    ck_assert_uint_eq(hkm_big_size(p), 2 * least + page);
    ck_assert_uint_eq(hkm_big_huge(), 0);
    ck_assert(hkm_big_free(p));
}
END_TEST

/* Where there is no room for whole huge pages, the block grows without them. */
static void no_room_for_huge_pages(void *arg)
{
    size_t page = hkm_os.page, least = 8 * hkm_os_huge_size();
    (void)arg;
    SET_OPTION(hugepages, HKM_HUGE_GROWN);
    char *p = hkm_big_resize(hkm_big_alloc(page, 16, NULL), least);
    CHILD(p);
    memset(p, 7, page);
    unit_limit(2 * page);
    p = hkm_big_resize(p, least + page);
    CHILD(p && hkm_big_size(p) == least + page && all_bytes(p, page, 7));
    CHILD(hkm_big_resize(p, least + page) == p && hkm_big_resize(p, least + 1) == p); /* it does not need more for less */
    CHILD(!hkm_big_resize(p, 2 * least) && hkm_big_size(p) == least + page && all_bytes(p, page, 7));
    p = hkm_big_resize(p, least);
    CHILD(p && hkm_big_size(p) == least && all_bytes(p, page, 7));
    unit_unlimit();
    p = hkm_big_resize(p, least + 1);
    CHILD(p && hkm_big_size(p) == least + hkm_os_huge_size() && all_bytes(p, page, 7));
}
START_TEST(huge_pages_are_not_needed)
{
    hkm_os_init();
    if (hkm_os_huge_size() <= 64 * MIB && !EMULATED && !SANITIZED)
        unit_passes(no_room_for_huge_pages, NULL);
}
END_TEST

START_TEST(unknown_pointers)
{
    int here;
    hkm_os_init();
    for (int round = 0; round < 2; round++) {
        ck_assert_uint_eq(hkm_big_size(&here), 0);
        ck_assert_uint_eq(hkm_big_size(NULL), 0);
        ck_assert(!hkm_big_free(&here));
        ck_assert_ptr_null(hkm_big_resize(&here, 100));
        ck_assert_ptr_null(hkm_big_around(&here));
        ck_assert_ptr_nonnull(hkm_big_alloc(1, 1, NULL)); /* the second time there is a table */
    }
}
END_TEST

START_TEST(around)
{
    hkm_os_init();
    size_t page = hkm_os.page;
    char *p = hkm_big_alloc(3 * page, 16, NULL), *q = hkm_big_alloc(3 * page, 16, NULL);
    ck_assert_ptr_eq(hkm_big_around(p), p);
    ck_assert_ptr_eq(hkm_big_around(p + 1), p);
    ck_assert_ptr_eq(hkm_big_around(p + 3 * page - 1), p);
    ck_assert_ptr_eq(hkm_big_around(q + page), q);
    ck_assert_ptr_ne(hkm_big_around(p + 3 * page), p);
    ck_assert_ptr_ne(hkm_big_around(p - 1), p);
    ck_assert_uint_eq(hkm_big_size(p + page), 0); /* only the start counts */
    ck_assert(!hkm_big_free(p + page));
    ck_assert(hkm_big_free(p));
    ck_assert_ptr_null(hkm_big_around(p + page));
}
END_TEST

START_TEST(alignments)
{
    hkm_os_init();
    size_t page = hkm_os.page;
    for (size_t alignment = 1; alignment <= GIB; alignment *= 2) {
        size_t before = unit_address_space();
        char *p = hkm_big_alloc(2 * page, alignment, NULL);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % alignment, 0);
        ck_assert_uint_eq(hkm_big_size(p), 2 * page);
        memset(p, 7, 2 * page);
        if (alignment >= 16 * MIB && LIMITS_HOLD) /* what was cut off is gone */
            ck_assert_uint_lt(unit_address_space(), before + 8 * MIB);
        ck_assert(hkm_big_free(p));
    }
    ck_assert_uint_eq(hkm_big_bytes(), 0);
}
END_TEST

/* Ten thousand entries, then random work against a plain list: whatever is removed, the others are found. */
START_TEST(table)
{
    enum { COUNT = 10000 };
    static char *p[COUNT];
    uint64_t seed = 1;
    hkm_os_init();
    size_t page = hkm_os.page, sum = 0;
    for (size_t i = 0; i < COUNT; i++) {
        p[i] = hkm_big_alloc((1 + i % 3) * page, 16, NULL);
        ck_assert_ptr_nonnull(p[i]);
        sum += (1 + i % 3) * page;
        expect(hkm_big_size(p[i]) == (1 + i % 3) * page);
        expect(hkm_big_size(p[i / 2]) == (1 + i / 2 % 3) * page);
    }
    ck_assert_uint_eq(hkm_big_bytes(), sum);
    for (int round = 0; round < 20; round++) {
        for (int k = 0; k < 1000; k++) {
            size_t i = random_below(&seed, COUNT), bytes = (1 + i % 3) * page;
            if (p[i]) {
                char *was = p[i];
                expect(hkm_big_free(p[i]));
                p[i] = NULL;
                sum -= bytes;
                expect(hkm_big_size(was) == 0);
            } else {
                p[i] = hkm_big_alloc(bytes, 16, NULL);
                expect(p[i] != NULL);
                sum += bytes;
            }
        }
        for (size_t i = 0; i < COUNT; i++)
            expect(!p[i] || hkm_big_size(p[i]) == (1 + i % 3) * page);
        ck_assert_uint_eq(hkm_big_bytes(), sum);
    }
    for (size_t i = 0; i < COUNT; i++)
        if (p[i])
            expect(hkm_big_free(p[i]));
    ck_assert_uint_eq(hkm_big_bytes(), 0);
}
END_TEST

START_TEST(resize_moves_the_contents)
{
    hkm_os_init();
    size_t page = hkm_os.page;
    char *p = hkm_big_alloc(4 * page, 16, NULL), *q;
    pattern_fill(p, 4 * page, 1);
    ck_assert_ptr_eq(hkm_big_resize(p, 4 * page), p);
    ck_assert_ptr_eq(hkm_big_resize(p, 3 * page + 1), p);
    ck_assert_uint_eq(hkm_big_size(p), 4 * page);
    q = hkm_big_resize(p, 2 * page);
    bool stayed = q == p;
    ck_assert(stayed || EMULATED);
    p = q;
    ck_assert_uint_eq(hkm_big_size(p), 2 * page);
    ck_assert_uint_eq(hkm_big_bytes(), 2 * page);
    if (stayed) /* now it cannot; else what is behind it is somebody else's */
        mmap(p + 2 * page, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    q = hkm_big_resize(p, 1000 * page);
    ck_assert_ptr_nonnull(q);
    ck_assert(q != p || !stayed);
    ck_assert(q == p || hkm_big_size(p) == 0);
    ck_assert_uint_eq(hkm_big_size(q), 1000 * page);
    ck_assert_uint_eq(hkm_big_bytes(), 1000 * page);
    ck_assert(pattern_holds(q, 2 * page, 1) && all_zero(q + 2 * page, 998 * page));
    /* In vain: everything is as it was. */
    ck_assert_ptr_null(hkm_big_resize(q, SIZE_MAX));
    ck_assert_ptr_null(hkm_big_resize(q, PTRDIFF_MAX));
    ck_assert_uint_eq(hkm_big_size(q), 1000 * page);
    ck_assert_uint_eq(hkm_big_bytes(), 1000 * page);
    ck_assert(pattern_holds(q, 2 * page, 1));
    ck_assert(hkm_big_free(q));
}
END_TEST

static void *churn(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    struct {
        char *p;
        size_t pages;
    } held[50] = { { 0 } };
    for (int round = 0; round < 3000; round++) {
        size_t i = random_below(&seed, COUNT_OF(held)), pages = 1 + random_below(&seed, 8);
        if (!held[i].p) {
            held[i].p = hkm_big_alloc(pages * hkm_os.page, hkm_os.page << random_below(&seed, 3), NULL);
        } else {
            if (*held[i].p != (char)i || hkm_big_size(held[i].p) != held[i].pages * hkm_os.page)
                return NULL;
            if (random_below(&seed, 2)) {
                held[i].p = hkm_big_resize(held[i].p, pages * hkm_os.page);
            } else {
                if (!hkm_big_free(held[i].p))
                    return NULL;
                held[i].p = NULL;
                continue;
            }
        }
        if (!held[i].p)
            return NULL;
        held[i].pages = pages;
        *held[i].p = (char)i;
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        if (held[i].p && !hkm_big_free(held[i].p))
            return NULL;
    return arg;
}

/* Free slots that may lie idle for a while must not do so beside a big block: together they may be more than the process is
 * allowed. */
static size_t dirty_bytes(void) { return hkm_load(&hkm_superslab_stats.dirty) << HKM_SLOT_SHIFT; }
static void make_dirty(size_t count)
{
    struct hkm_slab *s = hkm_superslab_run(count, 1);
    ck_assert_ptr_nonnull(s);
    for (size_t i = 0; i < count; i++)
        hkm_slab_after(s, i)->zero = 0;
    hkm_superslab_give(s, count);
}
START_TEST(idle_memory_goes_first)
{
    hkm_os_init();
    SET_OPTION(purge_ms, 3600000);
    SET_OPTION(dirty_kb, 4 * MIB / KIB);
    SET_OPTION(dirty_percent, 0);
    make_dirty(16 * MIB / HKM_SLOT_SIZE);
    ck_assert_uint_eq(dirty_bytes(), 16 * MIB);
    char *p = hkm_big_alloc(33 * MIB, 16, NULL);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_le(dirty_bytes(), 4 * MIB);
    make_dirty(16 * MIB / HKM_SLOT_SIZE);
    p = hkm_big_resize(p, 20 * MIB);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_ge(dirty_bytes(), 16 * MIB); /* it has become smaller */
    p = hkm_big_resize(p, 40 * MIB);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_le(dirty_bytes(), 4 * MIB);
    ck_assert(hkm_big_free(p));
}
END_TEST

START_TEST(work_of_threads)
{
    pthread_t threads[4];
    hkm_os_init();
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = unit_start(churn, (void *)(i + 1));
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        ck_assert_ptr_nonnull(unit_join(threads[i]));
    ck_assert_uint_eq(hkm_big_bytes(), 0);
}
END_TEST

static void run_out(void *arg)
{
    (void)arg;
    char *p = hkm_big_alloc(MIB, 16, NULL);
    CHILD(p != NULL);
    pattern_fill(p, MIB, 1);
    unit_limit(16 * MIB);
    errno = 77;
    CHILD(hkm_big_alloc(32 * MIB, 16, NULL) == NULL);
    CHILD(hkm_big_alloc(1, 64 * MIB, NULL) == NULL);
    CHILD(hkm_big_resize(p, 32 * MIB) == NULL);
    CHILD(errno == 77);
    CHILD(hkm_big_size(p) == MIB && pattern_holds(p, MIB, 1) && hkm_big_bytes() == MIB);
    p = hkm_big_resize(p, 8 * MIB);
    CHILD(p && pattern_holds(p, MIB, 1) && hkm_big_free(p));
}

START_TEST(out_of_memory)
{
    hkm_os_init();
    if (LIMITS_HOLD)
        unit_passes(run_out, NULL);
}
END_TEST

/* Freed last, and the address is nobody's: a double free.  When somebody else has mapped something there, it is his. */
START_TEST(freed_before)
{
    if (EMULATED) /* where the emulator says that all addresses are mapped, nothing is certain */
        return;
    hkm_os_init();
    size_t page = hkm_os.page;
    char *p = hkm_big_alloc(4 * page, 16, NULL), *q = hkm_big_alloc(4 * page, 16, NULL);
    ck_assert(!hkm_big_was(p) && !hkm_big_was(NULL));
    ck_assert(hkm_big_free(p));
    ck_assert(hkm_big_was(p) && !hkm_big_was(q) && !hkm_big_was(p + page) && !hkm_big_was(NULL));
    unit_stranger(p, page, PROT_READ | PROT_WRITE);
    ck_assert(!hkm_big_was(p));
    munmap(p, page);
    ck_assert(hkm_big_was(p));
    ck_assert(hkm_big_free(q));
}
END_TEST

/* Forks in the middle of every change of the table: a signal comes after each instruction where the processor can be made
 * to do so, else after some microseconds, and its handler forks.  To the child the thread that was at the table is gone, as
 * the lock's generation is not its own.  All blocks must be found there, once. */
extern pid_t _Fork(void) __attribute__((weak));
static char *fixed[32];
static volatile sig_atomic_t steps, forks, failed, stride;

static bool all_found(void)
{
    size_t page = hkm_os.page;
    for (size_t i = 0; i < COUNT_OF(fixed); i++)
        if (hkm_big_size(fixed[i]) != (1 + i % 5) * page)
            return false;
    return true;
}

static void examine(void)
{
    size_t page = hkm_os.page, before;
    if (!all_found())
        _exit(1);
    before = hkm_big_bytes();
    for (size_t i = 0; i < 20; i++) {
        char *p = hkm_big_alloc(page, 16, NULL);
        if (!p || hkm_big_size(p) != page || (i % 2 && !hkm_big_free(p)))
            _exit(2);
    }
    for (size_t i = 0; i < COUNT_OF(fixed); i += 2) {
        if (!hkm_big_free(fixed[i]) || hkm_big_size(fixed[i]) || !hkm_big_size(fixed[i + 1]))
            _exit(3);
        before -= (1 + i % 5) * page;
    }
    _exit(hkm_big_bytes() == before + 10 * page ? 0 : 4);
}

static void step(int number)
{
    (void)number;
    if (++steps % stride)
        return;
    int status = -1;
    pid_t pid = _Fork();
    if (!pid) {
        alarm(20);
        examine();
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    failed += status != 0;
    forks++;
}

#if defined(__x86_64__) && !SANITIZED
#define SINGLE_STEP 1
#else
#define SINGLE_STEP 0
#endif

static void watch(bool on)
{
#if SINGLE_STEP
    if (on) /* the trap flag; below the red zone */
        __asm__ volatile("subq $128, %%rsp; pushfq; orq $0x100, (%%rsp); popfq; addq $128, %%rsp" : : : "cc", "memory");
    else
        __asm__ volatile("subq $128, %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; addq $128, %%rsp" : : : "cc", "memory");
#else
    struct itimerval t = { { 0, 0 }, { 0, on ? 1 : 0 } };
    setitimer(ITIMER_REAL, &t, NULL);
#endif
}

START_TEST(fork_in_the_middle)
{
    uint64_t seed = 1;
    char *p[32]; /* with the others they fill the first table to the half */
    hkm_os_init();
    hkm_generation_watch();
    size_t page = hkm_os.page;
    if (!_Fork || EMULATED || !hkm_os_wipe_on_fork(hkm_os_map(page), page))
        return;
    struct sigaction act = { .sa_handler = step, .sa_flags = SA_RESTART };
    sigaction(SIGTRAP, &act, NULL);
    sigaction(SIGALRM, &act, NULL);
    /* Neighbours would have their places apart from each other.  Who comes last is not at home, and moves up later. */
    for (size_t i = 0; i < COUNT_OF(p); i++)
        ck_assert_ptr_nonnull(p[i] = hkm_big_alloc(page, page << random_below(&seed, 14), NULL));
    for (size_t i = 0; i < COUNT_OF(fixed); i++)
        ck_assert_ptr_nonnull(fixed[i] = hkm_big_alloc((1 + i % 5) * page, page << random_below(&seed, 14), NULL));
    stride = SINGLE_STEP ? 3 : 1; /* other instructions each time */
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        watch(true);
        bool freed = hkm_big_free(p[i]);
        watch(false);
        ck_assert(freed);
    }
    for (size_t i = 0; i <= COUNT_OF(p); i++) { /* in the end it grows */
        stride = !SINGLE_STEP ? 1 : i < COUNT_OF(p) ? 17 : 7;
        watch(true);
        char *q = hkm_big_alloc(page, 16, NULL);
        watch(false);
        ck_assert_ptr_nonnull(q);
    }
    ck_assert_int_eq(failed, 0);
    ck_assert_int_ge(forks, SINGLE_STEP ? 1000 : 0);
    ck_assert(all_found());
}
END_TEST

UNIT_MAIN("big", CK_FORK, many_sizes, huge_pages, huge_pages_of_grown_blocks,
          huge_pages_are_not_needed, unknown_pointers, around, alignments, table, resize_moves_the_contents,
          idle_memory_goes_first, work_of_threads, out_of_memory, freed_before, fork_in_the_middle)
