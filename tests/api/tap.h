/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * tap.h: what the test programs in C share: a line of TAP per check, the proof that malloc is HAKMEM's, patterns that
 * show whether a block is whole, a random number generator, and the resident size.  Include it once a program, first;
 * needs _GNU_SOURCE.  ok, note, skip and tap_done are for the main thread.
 *
 * TEST_STATIC: the program is linked with -static, or is meant to run on another malloc: no proof is asked for.
 */
#ifndef TAP_H
#define TAP_H

/* Tests write to all of malloc_usable_size, and beyond: nothing is to be checked by the C library's headers instead. */
#undef _FORTIFY_SOURCE

#include <hakmem.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Under a sanitizer resident sizes and limits of address space mean nothing. */
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

#define UNUSED_OK __attribute__((unused))

/* tests/system/architectures.sh runs the tests in qemu's user mode and says so by TEST_EMULATOR, the emulator's name.  That
 * takes limits of address space without a word and ignores them, shows its own resident size for the program's, cannot
 * start threads in the child of a process with threads, and is slow. */
#define EMULATED (getenv("TEST_EMULATOR") != NULL)
#define COUNT_OF(a) (sizeof(a) / sizeof *(a))
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* All that comes from a pipe until its other end is closed, as far as there is room; closes it. */
static UNUSED_OK void hear(int fd, char *said, size_t size)
{
    size_t length = 0;
    for (ssize_t n; length < size - 1 && (n = read(fd, said + length, size - 1 - length)) > 0;)
        length += (size_t)n;
    said[length] = 0;
    close(fd);
}

static int tap_count, tap_failed;

static UNUSED_OK __attribute__((format(printf, 2, 3))) int ok(int good, const char *format, ...)
{
    int saved = errno;
    va_list arguments;
    va_start(arguments, format);
    printf("%sok %d - ", good ? "" : "not ", ++tap_count);
    vprintf(format, arguments);
    puts("");
    fflush(stdout);
    va_end(arguments);
    tap_failed += !good;
    errno = saved;
    return good;
}

static UNUSED_OK __attribute__((format(printf, 1, 2))) void note(const char *format, ...)
{
    int saved = errno;
    va_list arguments;
    va_start(arguments, format);
    printf("# ");
    vprintf(format, arguments);
    puts("");
    fflush(stdout);
    va_end(arguments);
    errno = saved;
}

static UNUSED_OK void skip(const char *what, const char *reason)
{
    printf("ok %d - %s # SKIP %s\n", ++tap_count, what, reason);
    fflush(stdout);
}

static UNUSED_OK int tap_done(void)
{
    printf("1..%d\n", tap_count);
    fflush(stdout);
    return tap_failed != 0;
}

/* Compilers know valloc, have no switch for it, and believe that it leaves errno alone. */
static void *(*volatile valloc_unknown)(size_t) = valloc;
#define valloc(size) valloc_unknown(size)

/* This program anew, with one argument; an emulator has to be named.  Returns when that fails. */
static UNUSED_OK void execute_again(const char *own, const char *argument)
{
    const char *emulator = getenv("TEST_EMULATOR");
    if (emulator)
        execlp(emulator, emulator, own, argument, (char *)NULL);
    else
        execl(own, own, argument, (char *)NULL);
}

/* Cuts off what the emulator adds to the words of a program that aborts. */
static UNUSED_OK void cut_emulator(char *text)
{
    char *own = strstr(text, "qemu: uncaught target signal");
    if (own)
        *own = 0;
}

/* Bytes by which blocks are larger than they say: where the library was configured with --enable-valgrind, all that a block
 * has beyond what was asked for is a red zone. */
static UNUSED_OK size_t red_zone(void)
{
    void *p = malloc(100);
    size_t usable = malloc_usable_size(p);
    free(p);
    return usable == 100 ? 32 : 0;
}

/* Whether malloc is the shared library's. */
static UNUSED_OK bool in_library(void)
{
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, "malloc");
    return address && dladdr(address, &info) && info.dli_fname && strstr(info.dli_fname, "libhakmem");
}

/* Ends the program unless malloc is HAKMEM's: the shared library's, or that of the object with hak_version in it. */
static UNUSED_OK void tap_start(void)
{
#ifndef TEST_STATIC
    Dl_info info, own;
    void *address = dlsym(RTLD_DEFAULT, "malloc");
    const char *(*version)(void) = hak_version;
    if (!in_library() && (!address || !dladdr(address, &info) || !dladdr(*(void **)&version, &own) ||
                          own.dli_fbase != info.dli_fbase)) {
        puts("Bail out! malloc is not libhakmem's");
        exit(99);
    }
#endif
}

/* A pointer of which the compiler knows nothing, so that it neither warns of misuse nor removes it. */
static UNUSED_OK void *hide(const volatile void *p)
{
    void *q = (void *)(uintptr_t)p;
    __asm__ volatile("" : "+r"(q) : : "memory");
    return q;
}
static UNUSED_OK size_t hide_size(size_t n)
{
    __asm__ volatile("" : "+r"(n));
    return n;
}

static UNUSED_OK bool aligned(const void *p, size_t alignment) { return ((uintptr_t)p & (alignment - 1)) == 0; }

/* xorshift64*: the same sequence for the same seed everywhere.  The state must not be 0. */
static UNUSED_OK uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dULL;
}
static UNUSED_OK size_t random_below(uint64_t *state, size_t n) { return (size_t)((random_next(state) >> 11) % n); }

/* Every byte of a block is a function of the seed and of its place. */
static inline uint64_t pattern_word(uint64_t seed, size_t i)
{
    uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15ULL + i * 0xd1342543de82ef95ULL;
    return x ^ x >> 29;
}

static UNUSED_OK void pattern_fill(void *block, size_t size, uint64_t seed)
{
    unsigned char *p = block;
    size_t i = 0;
    for (; (i + 1) * 8 <= size; i++) {
        uint64_t word = pattern_word(seed, i);
        memcpy(p + i * 8, &word, 8);
    }
    uint64_t word = pattern_word(seed, i);
    memcpy(p + i * 8, &word, size - i * 8);
}

static UNUSED_OK bool pattern_holds(const void *block, size_t size, uint64_t seed)
{
    const unsigned char *p = block;
    size_t i = 0;
    uint64_t word, found;
    for (; (i + 1) * 8 <= size; i++) {
        memcpy(&found, p + i * 8, 8);
        if (found != pattern_word(seed, i))
            return false;
    }
    word = pattern_word(seed, i);
    return memcmp(p + i * 8, &word, size - i * 8) == 0;
}

static UNUSED_OK bool all_bytes(const void *block, size_t size, unsigned char value)
{
    const unsigned char *p = block;
    return size == 0 || (p[0] == value && memcmp(p, p + 1, size - 1) == 0);
}

/* Field `index` of /proc/self/statm in bytes, without malloc: 0 is the address space, 1 the resident size. */
static UNUSED_OK size_t statm(int index)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    char *s = text;
    unsigned long pages = 0;
    for (int i = 0; i <= index; i++)
        pages = strtoul(s, &s, 10);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}
static UNUSED_OK size_t resident(void) { return statm(1); }
static UNUSED_OK size_t address_space(void) { return statm(0); }

#endif
