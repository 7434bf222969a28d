#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# environment.sh: what is meant for other allocators does nothing: MALLOC_* variables and GLIBC_TUNABLES; and who serves a
# program that was built with AddressSanitizer or LeakSanitizer.  Says what hakmem(7) says, "Other allocators' settings".
# shellcheck disable=SC2317,SC2086,SC2015  # ok calls the functions; CC has options; A && B || show what went wrong
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
have_compiler "$cc" || skip_all "no C compiler"
unset "${!MALLOC_@}" "${!ASAN_@}" "${!LSAN_@}" GLIBC_TUNABLES
cd "$scratch" || exit 99

# Prints what a setting of glibc's would change: fresh and freed bytes, statistics of the heap, whether much is mapped.
cat >program.c <<'END'
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void)
{
    volatile unsigned char *blocks[1000], *p;
    unsigned long sum = 0;
    for (int i = 0; i < 1000; i++) {
        size_t size = (size_t)(i * 37) % 5000 + 16;
        if (!(blocks[i] = malloc(size)))
            return 1;
        sum = sum * 31 + blocks[i][size - 1] + blocks[i][8]; /* no block was written before: zero */
        memset((void *)blocks[i], 0x77, size);
    }
    for (int i = 0; i < 1000; i++) {
        p = blocks[i];
        free((void *)p);
#ifndef GENTLE
        sum = sum * 31 + p[12]; /* HAKMEM leaves what is freed as it is */
#endif
    }
    for (int i = 0; i < 1000; i++)
        for (unsigned char *c = calloc(1, 300), *e = c + 300; c < e; c++)
            sum = sum * 31 + *c;
    struct mallinfo2 m = mallinfo2();
    printf("%lu, arena %zu, mmap %zu\n", sum, m.arena, m.hblkhd);
    return 0;
}
END
ok "a program compiles" $cc -w -O1 -D_GNU_SOURCE program.c -o program || done_testing
plain() { preloaded ./program >expected && engaged; }
ok "it runs without settings" plain

unmoved() { # VARIABLE=VALUE
    (export "${1?}" && preloaded ./program >got) || return
    pid=$(sed -n 's/.*serves process \([0-9]*\)$/\1/p' "$scratch/hakmem.words" | head -n 1)
    same expected got && [ ! -s stderr ] && engaged
}
for setting in MALLOC_ARENA_MAX=1 MALLOC_ARENA_TEST=1 MALLOC_CHECK_=3 MALLOC_MMAP_MAX_=0 MALLOC_MMAP_THRESHOLD_=16 \
    MALLOC_PERTURB_=165 MALLOC_TOP_PAD_=100000000 MALLOC_TRIM_THRESHOLD_=0 MALLOC_TRACE="$scratch/trace" \
    MALLOC_CONF=junk:true,abort_conf:true MALLOC_OPTIONS=J \
    GLIBC_TUNABLES=glibc.malloc.{arena_max=1,check=3,hugetlb=1,hugetlb=2,mmap_max=0,mmap_threshold=16,mxfast=0} \
    GLIBC_TUNABLES=glibc.malloc.{perturb=165,tcache_count=0,tcache_max=16,top_pad=100000000,trim_threshold=0} \
    GLIBC_TUNABLES=glibc.rtld.optional_static_tls=0 GLIBC_TUNABLES=glibc.pthread.rseq=0; do
    ok "$setting: nothing changes" unmoved "$setting"
done
no_trace() { [ ! -e trace ]; }
ok "and no trace was written" no_trace

# glibc's own debugging malloc is a library to preload: the first one in the list serves.
debug=$($cc -print-file-name=libc_malloc_debug.so.0)
case $debug in
    /*)
        $cc -w -O1 -D_GNU_SOURCE -DGENTLE program.c -o gentle
        before() { (so="$so $debug" MALLOC_CHECK_=3 preloaded ./gentle >got) && grep -q 'serves process' hakmem.words; }
        ok "in front of libc_malloc_debug: HAKMEM serves" before
        behind() { LD_PRELOAD="$debug $so" MALLOC_CHECK_=3 HAKMEM_VERBOSE=1 ./gentle >got 2>err && ! grep hakmem err; }
        ok "behind it: it does" behind
        ;;
    *) skip "libc_malloc_debug" "there is none" ;;
esac

# ---- sanitizers ---------------------------------------------------------------------------------------------------------
# Does it leak, and is a write behind a block seen?
cat >leak.c <<'END'
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    char *volatile p = malloc(100);
    p = NULL;
    if (argc > 1) {
        p = malloc(100);
        p[100] = 1;
        free(p);
    }
    puts("end");
    return 0;
}
END
# The sanitizer reports (it saw the malloc), or HAKMEM does.
reported() { # PROGRAM...
    LD_PRELOAD="$so" HAKMEM_VERBOSE=1 "$@" >out 2>&1 &
    pid=$! # what turns addresses into lines for it is a process of its own
    wait "$pid"
    grep -Eq 'ERROR: (Address|Leak)Sanitizer' out && ! grep "serves process $pid\$" out || { cat out; return 1; }
}
unreported() { # PROGRAM...
    LD_PRELOAD="$so" HAKMEM_VERBOSE=1 "$@" >out 2>&1 && grep -q 'serves process' out && grep -qx end out &&
        ! grep Sanitizer out || { cat out; return 1; }
}
works_alone() { # PROGRAM
    "$1" >out 2>&1
    grep -q 'ERROR: LeakSanitizer' out
}
builds() { # COMPILER NAME OPTION...
    $1 -w -g leak.c -o "$2" "${@:3}" 2>/dev/null && works_alone "./$2" # LeakSanitizer cannot work under a debugger
}
runtime() { # PROGRAM WORD
    ldd "$1" | awk -v word="$2" '$1 ~ word { print $3 }'
}
if builds "$cc" asan-static -fsanitize=address -static-libasan; then
    ok "AddressSanitizer, linked statically: it serves the program" reported ./asan-static overflow
    ok "and finds leaks" reported ./asan-static
else
    skip "AddressSanitizer, linked statically" "$cc has none, or it finds no leaks here"
fi
if builds "$cc" asan -fsanitize=address && asan=$(runtime ./asan libasan) && [ -n "$asan" ]; then
    refuses() {
        ! LD_PRELOAD="$so" ./asan >out 2>&1 && grep 'runtime does not come first' out && ! grep -x end out
    }
    ok "AddressSanitizer as a library: it does not start behind HAKMEM, and says so" refuses
    unminded() { ASAN_OPTIONS=verify_asan_link_order=0 unreported ./asan overflow; }
    ok "told not to mind (verify_asan_link_order=0): HAKMEM serves, and leaks and overflows are not seen" unminded
    in_front() { so="$asan $so" reported ./asan overflow; }
    ok "with its library in front: it serves the program" in_front
else
    skip "AddressSanitizer as a library" "$cc has none, or it finds no leaks here"
fi
# (clang links its runtime statically; gcc 12's static one does not start by itself.)
if builds "$cc" lsan-static -fsanitize=leak -static-liblsan || builds clang lsan-static -fsanitize=leak; then
    ok "LeakSanitizer, linked statically: it serves the program and finds leaks" reported ./lsan-static
else
    skip "LeakSanitizer, linked statically" "neither $cc nor clang has one, or it finds no leaks here"
fi
if builds "$cc" lsan -fsanitize=leak && lsan=$(runtime ./lsan liblsan) && [ -n "$lsan" ]; then
    ok "LeakSanitizer as a library: HAKMEM serves, and no leak is found" unreported ./lsan
    lsan_in_front() { so="$lsan $so" reported ./lsan; }
    ok "with its library in front: it serves the program and finds leaks" lsan_in_front
else
    skip "LeakSanitizer as a library" "$cc has none, or it finds no leaks here"
fi
done_testing
