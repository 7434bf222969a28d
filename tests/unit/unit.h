/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * unit.h: what the unit tests share: the runner, children whose end and whose words are looked at, random numbers, and
 * patterns that show whether a block is whole.  Include it first; needs _GNU_SOURCE.
 *
 * The tests link the core alone, so that their own malloc, and Check's, is the C library's.  With CK_FORK every test
 * runs in a process of its own, in which nothing of the core has run yet.
 */
#ifndef UNIT_H
#define UNIT_H

#include "base.h"
#include "os.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Under a sanitizer limits of address space mean nothing. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* tests/system/architectures.sh runs the tests in qemu's user mode and says so by TEST_EMULATOR, the emulator's name.  That
 * takes limits of address space without a word and ignores them, as it does MADV_WIPEONFORK, and it cannot start threads
 * in the child of a process with threads. */
#define EMULATED (getenv("TEST_EMULATOR") != NULL)

/* Whether the C library can be handed a call over: glibc shows its own malloc by other names, musl does not. */
#ifdef __GLIBC__
#define LIBC_ALLOCATES true
#else
#define LIBC_ALLOCATES false
#endif
#define LIMITS_HOLD (!SANITIZED && !EMULATED)

/* Bytes that no kernel maps.  (A process of 32 bits may well get half of its address space in one piece.) */
#define NOT_TO_BE_HAD (sizeof(void *) == 8 ? SIZE_MAX / 4 : SIZE_MAX - 64 * MIB)

#define UNIT_FN __attribute__((unused)) static
/* An option as the environment or hak_option_set would have set it; needs option.h and policy.h. */
#define SET_OPTION(field, value) (hkm_store(&hkm_option.field, (value)), hkm_policy_renew())
#define COUNT_OF(a) (sizeof(a) / sizeof *(a))
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* ---- the runner ------------------------------------------------------------------------------------------------- */

/* Runs the tests and prints TAP; the number of failures. */
UNIT_FN int unit_run(const char *name, enum fork_status mode, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tests_of = tcase_create(name);
    tcase_set_timeout(tests_of, 120);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tests_of, tests[i]);
    suite_add_tcase(suite, tests_of);
    SRunner *sr = srunner_create(suite);
    srunner_set_fork_status(sr, mode);
    srunner_set_tap(sr, "-");
    srunner_run_all(sr, CK_SILENT);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed;
}

/* mode: CK_FORK, a process for every test; or CK_NOFORK, for tests that leave nothing behind. */
#define UNIT_MAIN(name, mode, ...)                            \
    int main(void)                                            \
    {                                                         \
        const TTest *const tests[] = { __VA_ARGS__ };         \
        return unit_run(name, mode, tests, COUNT_OF(tests));  \
    }

/* An assertion for loops that run a million times: Check counts each of its own. */
#define expect(cond)                             \
    do {                                         \
        if (!(cond))                             \
            ck_abort_msg("not so: %s", #cond);   \
    } while (0)

/* ---- children --------------------------------------------------------------------------------------------------- */

struct unit_child {
    int code;        /* exit status, or 128 + signal */
    size_t len;
    char text[8192]; /* what it wrote to standard error */
};

/* An assertion for children. */
#define CHILD(cond)                                                          \
    do {                                                                     \
        if (!(cond)) {                                                       \
            dprintf(2, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond);    \
            _exit(99);                                                       \
        }                                                                    \
    } while (0)

UNIT_FN int unit_wait(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        ck_assert_int_eq(errno, EINTR);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Runs fn(arg) in a child. */
UNIT_FN struct unit_child unit_child(void (*fn)(void *arg), void *arg)
{
    struct unit_child c = { 0 };
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (!pid) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        signal(SIGALRM, SIG_DFL); /* Check's would end its whole group */
        alarm(60);
        fn(arg);
        _exit(0);
    }
    close(ends[1]);
    ssize_t n;
    while ((n = read(ends[0], c.text + c.len, sizeof c.text - 1 - c.len)) > 0 || (n < 0 && errno == EINTR))
        c.len += n > 0 ? (size_t)n : 0;
    close(ends[0]);
    c.code = unit_wait(pid);
    char *more = strstr(c.text, "qemu: uncaught target signal"); /* the emulator's own words about an abort */
    if (EMULATED && more)
        c.text[c.len = (size_t)(more - c.text)] = 0;
    return c;
}

/* fn(arg) comes to a good end in a child, without a word. */
UNIT_FN void unit_passes(void (*fn)(void *arg), void *arg)
{
    struct unit_child c = unit_child(fn, arg);
    ck_assert_msg(c.code == 0 && c.len == 0, "the child ended with %d: %s", c.code, c.text);
}

/* fn(arg) aborts in a child, with exactly these words. */
__attribute__((unused, format(printf, 3, 4))) static void unit_aborts(void (*fn)(void *arg), void *arg,
                                                                      const char *format, ...)
{
    char want[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(want, sizeof want, format, arguments);
    va_end(arguments);
    struct unit_child c = unit_child(fn, arg);
    ck_assert_int_eq(c.code, 128 + SIGABRT);
    ck_assert_str_eq(c.text, want);
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

UNIT_FN pthread_t unit_start(void *(*fn)(void *arg), void *arg)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, fn, arg), 0);
    return thread;
}
UNIT_FN void *unit_join(pthread_t thread)
{
    void *result = NULL;
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    return result;
}

/* A gate: two threads meet at each step. */
struct unit_gate {
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    int step;
};
#define UNIT_GATE { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 }
UNIT_FN void unit_reach(struct unit_gate *g, int step)
{
    pthread_mutex_lock(&g->mutex);
    g->step = step;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->mutex);
}
UNIT_FN void unit_await(struct unit_gate *g, int step)
{
    pthread_mutex_lock(&g->mutex);
    while (g->step < step)
        pthread_cond_wait(&g->moved, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

/* Whether the byte can be read: the kernel is asked, so nothing happens if not. */
UNIT_FN bool unit_readable(const void *p)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    ssize_t n = write(ends[1], p, 1);
    close(ends[0]);
    close(ends[1]);
    return n == 1;
}

/* A stranger's mapping, exactly there. */
UNIT_FN char *unit_stranger(void *at, size_t size, int prot)
{
    char *p = mmap(at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    ck_assert_ptr_eq(p, at);
    return p;
}

UNIT_FN size_t unit_address_space(void)
{
    char text[64] = { 0 };
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 ? strtoul(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

/* From now on the process gets that many more bytes of address space. */
UNIT_FN void unit_limit(size_t more)
{
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = unit_address_space() + more;
    CHILD(setrlimit(RLIMIT_AS, &limit) == 0);
}
UNIT_FN void unit_unlimit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = limit.rlim_max;
    CHILD(setrlimit(RLIMIT_AS, &limit) == 0);
}

/* xorshift64*: the same sequence for the same seed everywhere.  The state must not be 0. */
UNIT_FN uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dull;
}
UNIT_FN size_t random_below(uint64_t *state, size_t n) { return (size_t)((random_next(state) >> 11) % n); }

UNIT_FN bool all_bytes(const void *block, size_t size, unsigned char value)
{
    const unsigned char *p = block;
    return size == 0 || (p[0] == value && memcmp(p, p + 1, size - 1) == 0);
}
UNIT_FN bool all_zero(const void *block, size_t size) { return all_bytes(block, size, 0); }

/* Every byte of a block is a function of the seed and of its place. */
UNIT_FN void pattern_fill(void *block, size_t size, uint64_t seed)
{
    unsigned char *p = block;
    uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
    for (size_t i = 0; i < size; i += 8, x += 0xd1342543de82ef95ull)
        memcpy(p + i, &x, size - i < 8 ? size - i : 8);
}
UNIT_FN bool pattern_holds(const void *block, size_t size, uint64_t seed)
{
    const unsigned char *p = block;
    uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
    for (size_t i = 0; i < size; i += 8, x += 0xd1342543de82ef95ull)
        if (memcmp(p + i, &x, size - i < 8 ? size - i : 8) != 0)
            return false;
    return true;
}

#endif
