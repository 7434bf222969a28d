/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * cxx_tap.h: what the tests of the C++ operators share, for C and C++: a line of TAP per check, and the proof that the
 * operators are HAKMEM's.  Include it once a program; needs _GNU_SOURCE (C++ compilers define it).
 */
#ifndef CXX_TAP_H
#define CXX_TAP_H

/* Tests write to all of malloc_usable_size, and beyond: nothing is to be checked by the C library's headers instead. */
#undef _FORTIFY_SOURCE

#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failed;

static __attribute__((format(printf, 2, 3))) int ok(int good, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("%sok %d - ", good ? "" : "not ", ++tap_count);
    vprintf(format, arguments);
    puts("");
    fflush(stdout);
    va_end(arguments);
    tap_failed += !good;
    return good;
}

static int tap_done(void)
{
    printf("1..%d\n", tap_count);
    return tap_failed != 0;
}

#define OPERATOR_NEW (sizeof(size_t) == 8 ? "_Znwm" : "_Znwj")

/* Where the program finds the symbol; NULL: nowhere. */
static void *lookup(const char *symbol, Dl_info *object)
{
    void *address = dlsym(RTLD_DEFAULT, symbol);
    return address && dladdr(address, object) && object->dli_fname ? address : NULL;
}

/* Is the library's code part of the program?  Then malloc is there, too. */
static int linked_statically(void)
{
#ifdef TEST_STATIC
    return 1;
#else
    Dl_info ours, program;
    return lookup("malloc", &ours) && dladdr((void *)(uintptr_t)&linked_statically, &program) &&
           ours.dli_fbase == program.dli_fbase;
#endif
}

static int in_hakmem(const char *symbol)
{
    Dl_info object;
    return linked_statically() || (lookup(symbol, &object) && strstr(object.dli_fname, "libhakmem"));
}

static void tap_start(void)
{
    void *volatile block = malloc(1); /* so that a linker told --as-needed keeps the library */
    free(block);
    if (!in_hakmem("malloc")) {
        puts("Bail out! malloc is not libhakmem's");
        exit(99);
    }
}

#endif
