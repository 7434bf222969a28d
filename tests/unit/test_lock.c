/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_lock.c: mutual exclusion, locks that a fork left behind, ranks.
 */
#include "lock.h"
#include "unit.h"

#include <dlfcn.h>
#include <sys/syscall.h>

enum { THREADS = 4, ROUNDS = 50000 };

static struct hkm_lock lock = HKM_LOCK_INIT(HKM_RANK_HEAP);

static void *try_it(void *arg)
{
    if (!hkm_lock_try(&lock))
        return NULL;
    hkm_unlock(&lock);
    return arg;
}

START_TEST(lock_try_unlock)
{
    ck_assert(!hkm_lock(&lock));
    ck_assert_ptr_null(unit_join(unit_start(try_it, &lock)));
    ck_assert(!hkm_lock_abandoned(&lock));
    hkm_unlock(&lock);
    ck_assert(!hkm_lock_abandoned(&lock));
    ck_assert_ptr_nonnull(unit_join(unit_start(try_it, &lock)));
    ck_assert(hkm_lock_try(&lock));
    ck_assert_ptr_null(unit_join(unit_start(try_it, &lock)));
    hkm_unlock(&lock);
    ck_assert_uint_eq(hkm_load(&lock.word), 0);
}
END_TEST

static volatile size_t counted;
static hkm_word inside, wrong, tried;

static void count_one(void)
{
    if (hkm_add(&inside, 1) != 0)
        hkm_add(&wrong, 1);
    counted = counted + 1;
    hkm_add(&inside, (size_t)-1);
}

static void *count_up(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 3 == 0 && hkm_lock_try(&lock)) {
            hkm_add(&tried, 1);
        } else {
            if (hkm_lock(&lock))
                hkm_add(&wrong, 1);
        }
        count_one();
        hkm_unlock(&lock);
    }
    return arg;
}

START_TEST(one_at_a_time)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = unit_start(count_up, NULL);
    for (int i = 0; i < THREADS; i++)
        unit_join(threads[i]);
    ck_assert_uint_eq(counted, (size_t)THREADS * ROUNDS);
    ck_assert_uint_eq(hkm_load(&wrong), 0);
    ck_assert_uint_gt(hkm_load(&tried), 0);
    ck_assert_uint_eq(hkm_load(&lock.word), 0);
}
END_TEST

static void *count_asleep(void *arg)
{
    for (int i = 0; i < 5; i++) {
        hkm_lock(&lock);
        count_one();
        usleep(500);
        hkm_unlock(&lock);
    }
    return arg;
}

/* Holders that sleep: the others come to wait in the kernel, and every one of them is woken. */
START_TEST(sleepers_are_woken)
{
    pthread_t threads[2 * THREADS];
    hkm_lock(&lock);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = unit_start(count_asleep, NULL);
    usleep(20000);
    ck_assert_uint_eq(counted, 0);
    hkm_unlock(&lock);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        unit_join(threads[i]);
    ck_assert_uint_eq(counted, 5 * COUNT_OF(threads));
    ck_assert_uint_eq(hkm_load(&wrong), 0);
    ck_assert_uint_eq(hkm_load(&lock.word), 0);
}
END_TEST

/* ---- fork ------------------------------------------------------------------------------------------------------- */

static struct unit_gate gate = UNIT_GATE;

static void *hold(void *arg)
{
    hkm_lock(&lock);
    unit_reach(&gate, 1);
    unit_await(&gate, 2);
    hkm_unlock(&lock);
    return arg;
}
static void *want_it(void *arg)
{
    hkm_lock(&lock);
    hkm_unlock(&lock);
    return arg;
}

static void take_over(void *arg)
{
    CHILD(hkm_lock_abandoned(&lock));
    CHILD(!hkm_lock_try(&lock));
    CHILD(hkm_generation() == 1);
    CHILD(hkm_lock(&lock)); /* it says so */
    CHILD(!hkm_lock_abandoned(&lock));
    CHILD(!hkm_lock_try(&lock));
    hkm_unlock(&lock);
    CHILD(hkm_load(&lock.word) == 0);
    CHILD(!hkm_lock(&lock)); /* but only once */
    hkm_unlock(&lock);
    CHILD(hkm_lock_try(&lock));
    hkm_unlock(&lock);
    (void)arg;
}

START_TEST(abandoned_lock_is_taken_over)
{
    hkm_os_init();
    hkm_generation_watch();
    pthread_t holder = unit_start(hold, NULL);
    unit_await(&gate, 1);
    unit_passes(take_over, NULL);
    pthread_t waiter = unit_start(want_it, NULL);
    usleep(20000); /* now somebody sleeps on it */
    unit_passes(take_over, NULL);
    ck_assert(!hkm_lock_abandoned(&lock));
    ck_assert_uint_eq(hkm_generation(), 0);
    unit_reach(&gate, 2);
    unit_join(holder);
    unit_join(waiter);
    ck_assert(!hkm_lock(&lock));
    hkm_unlock(&lock);
}
END_TEST

static void *lock_and_tell(void *arg)
{
    bool took_over = hkm_lock(&lock);
    hkm_unlock(&lock);
    return took_over ? arg : NULL;
}

static void race_for_it(void *arg)
{
    pthread_t threads[THREADS];
    int heirs = 0;
    for (int i = 0; i < THREADS; i++)
        CHILD(pthread_create(&threads[i], NULL, lock_and_tell, arg) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        CHILD(pthread_join(threads[i], &result) == 0);
        heirs += result != NULL;
    }
    CHILD(heirs == 1);
    CHILD(hkm_generation() == 1);
}

START_TEST(one_heir)
{
    hkm_os_init();
    hkm_generation_watch();
    pthread_t holder = unit_start(hold, NULL);
    unit_await(&gate, 1);
    for (int i = 0; i < 5 && !EMULATED; i++)
        unit_passes(race_for_it, &gate);
    unit_reach(&gate, 2);
    unit_join(holder);
}
END_TEST

static void grandchild(void *arg)
{
    CHILD(hkm_generation() == 2);
    (void)arg;
}
static void child(void *arg)
{
    CHILD(hkm_generation() == 1);
    CHILD(!hkm_lock(&lock));
    hkm_unlock(&lock);
    struct unit_child c = unit_child(grandchild, arg);
    CHILD(c.code == 0);
    CHILD(hkm_generation() == 1);
}

START_TEST(generations)
{
    hkm_os_init();
    ck_assert_uint_eq(hkm_generation(), 0);
    hkm_generation_watch();
    hkm_generation_watch(); /* does no harm */
    ck_assert_uint_eq(hkm_generation(), 0);
    unit_passes(child, NULL);
    ck_assert_uint_eq(hkm_generation(), 0);
}
END_TEST

/* A kernel that says it will wipe, and does not: the core's calls come here instead of the C library. */
static bool lying;
long syscall(long number, ...)
{
    va_list arguments;
    long a[6];
    va_start(arguments, number);
    for (size_t i = 0; i < COUNT_OF(a); i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (lying && number == SYS_madvise && a[2] == MADV_WIPEONFORK)
        return 0;
    long (*real)(long, ...) = NULL;
    *(void **)(void *)&real = dlsym(RTLD_NEXT, "syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

START_TEST(a_canary_that_is_never_wiped)
{
    hkm_os_init();
    lying = true;
    hkm_generation_watch();
    unit_passes(child, NULL);
    ck_assert_uint_eq(hkm_generation(), 0);
    pthread_t holder = unit_start(hold, NULL);
    unit_await(&gate, 1);
    unit_passes(take_over, NULL);
    unit_reach(&gate, 2);
    unit_join(holder);
}
END_TEST

/* A fork that no handler hears of. */
extern pid_t _Fork(void) __attribute__((weak));

START_TEST(forks_without_handlers_are_noticed)
{
    hkm_os_init();
    char *page = hkm_os_map(hkm_os.page);
    if (!_Fork || EMULATED || !hkm_os_wipe_on_fork(page, hkm_os.page))
        return;
    hkm_generation_watch();
    pid_t pid = _Fork();
    if (!pid)
        _exit(hkm_generation() == 1 ? 0 : 1);
    ck_assert_int_eq(unit_wait(pid), 0);
}
END_TEST

/* ---- ranks ------------------------------------------------------------------------------------------------------ */

static struct hkm_lock late = HKM_LOCK_INIT(HKM_RANK_LATE), pool = HKM_LOCK_INIT(HKM_RANK_POOL),
                       pool2 = HKM_LOCK_INIT(HKM_RANK_POOL), unranked;

static void ascend(void *arg)
{
    for (int i = 0; i < 2; i++) {
        hkm_lock(&late);
        hkm_lock(&lock);
        CHILD(hkm_lock_try(&pool));
        hkm_unlock(&pool);
        hkm_lock(&pool);
        hkm_unlock(&lock); /* in any order */
        hkm_unlock(&late);
        hkm_unlock(&pool);
    }
    (void)arg;
}
static void descend(void *arg)
{
    hkm_lock(&pool);
    hkm_lock(arg);
}
static void descend_trying(void *arg)
{
    hkm_lock(&pool);
    (void)hkm_lock_try(arg);
}
static void lock_unranked(void *arg) { hkm_lock(arg); }

START_TEST(ranks)
{
    unit_passes(ascend, NULL);
    if (!HKM_DEBUG)
        return;
    static const char wrong_order[] = "hakmem: assertion: held.ranks >> l->rank == 0\n";
    unit_aborts(descend, &lock, "%s", wrong_order);
    unit_aborts(descend, &pool2, "%s", wrong_order); /* also two of the same rank */
    unit_aborts(descend, &pool, "%s", wrong_order);  /* also the same one */
    unit_aborts(descend_trying, &late, "%s", wrong_order);
    unit_aborts(lock_unranked, &unranked, "hakmem: assertion: l->rank != 0\n");
}
END_TEST

UNIT_MAIN("lock", CK_FORK, lock_try_unlock, one_at_a_time, sleepers_are_woken, abandoned_lock_is_taken_over, one_heir,
          generations, a_canary_that_is_never_wiped, forks_without_handlers_are_noticed, ranks)
