#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# valgrind.sh: memcheck and gdb with the library.  Prints TAP.  Run by `make check-system`, or by hand.
#   - an ordinary build under plain memcheck, which puts its own malloc in our place: errors are found, and none is made up;
#   - the same when memcheck is told to leave malloc alone: programs run, and no error is made up;
#   - a build with --enable-valgrind, malloc left alone: memcheck finds what HAKMEM tells it;
#   - an ordinary build under gdb.
# shellcheck source=tests/system/common.sh
. "$(dirname "$0")/common.sh"
folder+=/valgrind

if ! command -v valgrind >/dev/null; then
    echo "1..0 # SKIP no valgrind"
    exit 0
fi
said=$folder/said

rm -rf "$folder"
mkdir -p "$folder"
for kind in ordinary requests; do
    options=
    [ $kind = requests ] && options=--enable-valgrind
    mkdir "$folder/$kind"
    (
        set -e
        cd "$folder/$kind"
        "$source/configure" --quiet --disable-static $options
        make -s -j"$(nproc)" all
    ) >"$said" 2>&1 </dev/null
    result $? "the library builds: ${options:-no options}" || exit 1
done

cat >"$folder/mistakes.c" <<'C'
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t size;
static void *volatile keep;

static void *thread(void *arg)
{
    void *p[300];
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 300; i++)
            memset(p[i] = malloc((size_t)i * 7 + 1), 1, (size_t)i * 7 + 1);
        for (int i = 0; i < 300; i++)
            free(p[i]);
    }
    return arg;
}

/* Behind calls, so that no register or stack word of main still points to it.  (The first big block may begin where the
 * dynamic linker's data end, and that points there.) */
static __attribute__((noinline)) void leak(void)
{
    keep = malloc(size);
    memset(malloc(size), 1, size);
    free(keep);
}
static __attribute__((noinline)) void wash(void) { char room[4096]; memset(room, 0, sizeof room); keep = room; keep = NULL; }

int main(int argc, char **argv)
{
    char *p, *q;
    pthread_t t[3];
    size = argc > 2 ? strtoul(argv[2], NULL, 10) : 40;
    switch (argv[1][0]) {
    case 'l': leak(); wash(); break;
    case 'o': p = malloc(size); ((volatile char *)p)[size] = 1; free(p); break;
    case 'b': p = malloc(size); keep = malloc(size); ((volatile char *)p)[size] = 1; free(p); free(keep); break;
    case 'u': /* and once more, when such blocks have come and gone so often that they are kept */
        p = malloc(size); free(p); ((volatile char *)p)[1] = 1;
        for (int i = 0; i < 1000; i++)
            free(p = malloc(size));
        ((volatile char *)p)[2] = 1;
        break;
    case 'd': p = malloc(size); q = malloc(size); free(p); free(q); free(p); break;
    case 'n': p = malloc(size); if (((volatile char *)p)[size / 2]) puts("not zero"); free(p); break;
    case 'z': p = calloc(1, size); if (((volatile char *)p)[size - 1]) puts("not zero"); free(p); break;
    case 'r': p = realloc(malloc(size), 2 * size); ((volatile char *)p)[2 * size] = 1; free(p); break;
    case 'a': p = aligned_alloc(256, size); ((volatile char *)p)[size] = 1; free(p); break;
    case 'g': /* all is well */
        for (size_t n = 1; n < 3000000; n = n * 3 + 1) {
            p = malloc(n);
            memset(p, 1, malloc_usable_size(p));
            p = realloc(p, n + n / 2);
            memset(p, 2, n + n / 2);
            p = realloc(p, n / 2 + 1);
            free(p);
            q = calloc(3, n);
            for (size_t i = 0; i < 3 * n; i += 1 + n / 50)
                if (q[i])
                    return 3;
            free(q);
            if (posix_memalign((void **)&q, 4096, n))
                return 4;
            memset(q, 3, n);
            free(q);
        }
        for (int i = 0; i < 3; i++)
            if (pthread_create(&t[i], NULL, thread, NULL))
                return 5;
        for (int i = 0; i < 3; i++)
            pthread_join(t[i], NULL);
        malloc_trim(0);
        break;
    }
    puts("the end");
    return 0;
}
C
gcc -g -O0 -w -pthread "$folder/mistakes.c" -o "$folder/mistakes" || exit 1

# Runs a mistake; memcheck's words are in $said.
memcheck() { # LIBRARY left|taken ARGUMENTS...
    local so=$folder/$1/lib/.libs/libhakmem.so.0 left=
    [ "$2" = left ] && left=--soname-synonyms=somalloc=nouserintercepts
    shift 2
    { LD_PRELOAD=$so HAKMEM_STATS=1 valgrind $left --leak-check=full --error-exitcode=77 "$folder/mistakes" "$@" \
        >"$said" 2>&1 </dev/null; } 2>/dev/null # the shell's own words about an abort
}
# The last words of a process that ended well; valgrind's own start is preloaded too, but does not come so far.
served() { grep -Eaq '^hakmem:   heaps: [1-9]|^hakmem: free\(\)' "$said"; }
clean() { # STATUS
    [ "$1" = 0 ] && grep -aq '^the end' "$said" && grep -aq 'ERROR SUMMARY: 0 errors' "$said"
}

memcheck ordinary taken g
clean $? && ! served
result $? "ordinary build, memcheck's own malloc: threads and all kinds of calls, no error"
memcheck ordinary taken o
grep -aq 'Invalid write of size 1' "$said" && grep -aq '0 bytes after a block of size 40' "$said"
result $? "ordinary build, memcheck's own malloc: an overflow is found"
memcheck ordinary taken l
grep -aq 'definitely lost: 40 bytes in 1 blocks' "$said"
result $? "ordinary build, memcheck's own malloc: a leak is found"
memcheck ordinary left g
clean $? && served
result $? "ordinary build, HAKMEM's malloc: threads and all kinds of calls, no error"

memcheck requests left g
clean $? && served
result $? "client requests: threads and all kinds of calls, no error"
memcheck requests left z
clean $?
result $? "client requests: calloc is defined"
# Sizes of the nursery, of slabs, runs and big blocks; 32 and 1024 are a class's to the byte.
for size in 32 40 1024 5000 50000 3000000 40000000; do
    memcheck requests left l $size
    # The first big block may begin where the dynamic linker's data end (see leak above): a pointer that is none to memcheck.
    lost=definitely
    [ $size = 40000000 ] && lost='(definitely|possibly)'
    served && grep -Eaq "$lost lost: $size bytes in 1 blocks" <(tr -d , <"$said")
    result $? "client requests: a leak of $size bytes"
    for kind in o b; do
        memcheck requests left $kind $size
        served && grep -aq 'Invalid write of size 1' "$said" &&
            grep -aq "0 bytes after a block of size $size alloc'd" <(tr -d , <"$said") &&
            grep -aq 'ERROR SUMMARY: 1 errors' "$said"
        result $? "client requests: one byte too far, $size bytes ($kind)"
    done
    # A run that is freed may be purged, and a big block is unmapped; memcheck knows all the same.
    if [ $size -lt 32000000 ]; then
        memcheck requests left u $size
        served && grep -aq 'Invalid write of size 1' "$said" &&
            grep -aq "1 bytes inside a block of size $size free'd" <(tr -d , <"$said") &&
            grep -aq "2 bytes inside a block of size $size free'd" <(tr -d , <"$said")
        result $? "client requests: use after free, $size bytes"
    fi
    memcheck requests left d $size
    served && grep -aq 'Invalid free()' "$said" && grep -aq "free'd" "$said" && grep -aq 'hakmem: free(): double free' "$said"
    result $? "client requests: double free, $size bytes"
    memcheck requests left n $size
    served && grep -aq 'depends on uninitialised value' "$said"
    result $? "client requests: undefined contents, $size bytes"
done
memcheck requests left r 40
grep -aq "0 bytes after a block of size 80 alloc'd" "$said"
result $? "client requests: one byte behind a block from realloc"
memcheck requests left a 300
grep -aq "0 bytes after a block of size 300 alloc'd" "$said"
result $? "client requests: one byte behind an aligned block"

if command -v gdb >/dev/null; then
    gdb -q -batch -nx -ex "set environment LD_PRELOAD=$folder/ordinary/lib/.libs/libhakmem.so.0" \
        -ex 'set environment HAKMEM_STATS=1' -ex 'set startup-with-shell off' -ex 'break leak' -ex run -ex 'finish' \
        -ex 'call (void *)malloc(100)' -ex 'call (void)free($)' -ex continue --args "$folder/mistakes" l >"$said" 2>&1 </dev/null
    grep -q 'Breakpoint 1, leak' "$said" && grep -q '^the end' "$said" && served && grep -q 'exited normally' "$said"
    result $? "gdb: break, calls of malloc and free, to the end"
else
    skip "gdb" "no gdb"
fi

[ $failures != 0 ] || rm -rf "$folder"
done_testing
