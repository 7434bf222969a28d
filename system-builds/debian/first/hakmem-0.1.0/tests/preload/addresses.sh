#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# addresses.sh: addresses of any size are numbers without a sign, none of whose bits mean anything else: what is not
# HAKMEM's goes to the C library unchanged and unlooked at, also above 2^47, where kernels with five levels of page tables
# (or with 64 KiB pages on aarch64) may map; and HAKMEM's own blocks stay where every program expects them.
# shellcheck disable=SC2317,SC2086  # ok calls the functions; CC has options
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
have_compiler "$cc" || skip_all "no C compiler"
cd "$scratch" || exit 99

# The program's own __libc_free stands before the C library's, so HAKMEM hands foreign pointers to it.
cat >program.c <<'END'
#define _GNU_SOURCE
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
static volatile uintptr_t handed[1000];
static volatile int count;
/* What compilers know of free and realloc they do not know of these. */
static void (*volatile give)(void *) = free;
static void *(*volatile change)(void *, size_t) = realloc;
void __libc_free(void *p) { handed[count++] = (uintptr_t)p; }
void *__libc_realloc(void *p, size_t size) { handed[count++] = (uintptr_t)p; return NULL; }
static int hands_over(uintptr_t address)
{
    count = 0;
    give((void *)address); /* nothing is there: whoever looks ends here */
    void *q = change((void *)address, 100);
    return count == 2 && handed[0] == address && handed[1] == address && !q;
}
int main(int argc, char **argv)
{
    unsigned bits = 8 * sizeof(uintptr_t), tried = 0;
    uintptr_t block = (uintptr_t)malloc(100);
    void *big = malloc(50000000);
    if (argc > 1) { /* a mapping above 2^47, if the kernel has one to give */
        void *hint = (void *)((uintptr_t)1 << (bits > 32 ? 50 : 31));
        char *p = mmap(hint, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || (uintptr_t)p < (uintptr_t)1 << (bits > 32 ? 47 : 31))
            return 77;
        memset(p, 1, 65536);
        if (!hands_over((uintptr_t)p + 4096) || p[4096] != 1)
            return 1;
        puts("good");
        return 0;
    }
    for (unsigned bit = 12; bit < bits; bit++) {
        uintptr_t a = (uintptr_t)1 << bit;
        /* Alone, with the sign bit, and in place of a bit of a block's own address: a mask would make a block of it. */
        uintptr_t addresses[] = { a + 16, a | (uintptr_t)1 << (bits - 1) | 16, bit >= 46 || bits == 32 ? block ^ a : a + 32,
                                  (uintptr_t)big ^ (uintptr_t)1 << (bits - 1), UINTPTR_MAX - 15 - (a - 1) / 16 * 16 };
        for (unsigned i = 0; i < sizeof addresses / sizeof *addresses; i++, tried++)
            if (bits > 32 && !hands_over(addresses[i]))
                return printf("%#lx\n", (unsigned long)addresses[i]), 1;
    }
    /* Its own blocks are below 2^47 (2^48 where the kernel gives that): tagged pointers of interpreters live on it. */
    for (size_t size = 1; size < 100000000; size = size * 3 + 1) {
        void *p = malloc(size);
        if (!p || (uintptr_t)p >> (bits > 32 ? 48 : 31) >> 1)
            return 2;
        count = 0;
        free(p);
        if (count)
            return 3;
    }
    free(big);
    puts("good");
    return 0;
}
END
good() { # COMMAND...
    preloaded "$@" >out || return
    [ "$(cat out)" = good ] || { cat out; return 1; }
}
ok "a program compiles" $cc -w -O1 -rdynamic -fno-builtin program.c -o program || done_testing
ok "addresses of all sizes that are not HAKMEM's go to the C library as they are" good ./program &&
    ok "HAKMEM served the program" engaged
high() {
    preloaded ./program high >out
}
high
case $? in
    77) skip "a mapping above 2^47 is not taken for HAKMEM's" "the kernel maps nothing there (no five-level page tables)" ;;
    *) ok "a mapping above 2^47 is not taken for HAKMEM's" good ./program high ;;
esac
done_testing
