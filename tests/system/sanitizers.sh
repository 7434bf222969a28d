#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# sanitizers.sh: the unit tests under AddressSanitizer and UndefinedBehaviorSanitizer (the core alone: their own malloc is
# the sanitizer's), and the stress programs under ThreadSanitizer, linked with the archive.  Prints TAP.
#
# ThreadSanitizer's own start calls malloc, and an instrumented malloc cannot run before that start is over.  So malloc
# stays its own there, and the stress programs call HAKMEM by its hak_ names: HKM_TEST_RENAMED tells them.  A program must
# not name any other function of lib/malloc.c either (malloc_trim, mallopt ...): it would come out of the archive together
# with malloc, and crash in the runtime's start.
# What that runtime cannot do is skipped with the reason in the programs: new threads in the child of a fork, forks that no
# handler hears of (_Fork, clone, vfork), code in the last round of destructors, and forks beside stream flushes, as it
# holds locks of its own across fork.
# Run by `make check-system`, or by hand.
# shellcheck source=tests/system/common.sh
. "$(dirname "$0")/common.sh"

sanitize() { # NAME TARGET COMPILER FLAGS [VARIABLE OF MAKE]
    # shellcheck disable=SC2086  # several flags
    if ! echo 'int main(void) { return 0; }' | $3 $4 -x c -o /dev/null - 2>/dev/null; then
        skip "$1" "$3 has no runtime for it (clang's on Debian 12: libclang-rt-14-dev)"
        return
    fi
    rm -rf "${folder:?}/$1"
    mkdir -p "$folder/$1"
    (
        set -e
        cd "$folder/$1"
        # Debug checks too; no shared library, because it could not resolve the sanitizer's symbols.
        "$source/configure" --quiet --disable-shared --enable-debug CC="$3" CFLAGS="-O1 -g -fno-omit-frame-pointer $4"
        make -s -j"$(nproc)" "$2" ${5:+"$5"}
    ) >"$folder/$1.log" 2>&1 </dev/null
    result $? "$1" "$folder/$1.log" && rm -rf "${folder:?}/$1"
}

export ASAN_OPTIONS=abort_on_error=0:detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
# One suppression, and the proof: hkm_os_init publishes the page's size by compare-and-swap, once.  One that fails writes
# nothing, so who reads the size plainly has a single write before it, with which it is in order.  ThreadSanitizer takes
# every compare-and-swap for a write.
mkdir -p "$folder"
echo 'race:hkm_os_init' >"$folder/tsan.supp"
export TSAN_OPTIONS=halt_on_error=0:exitcode=66:suppressions=$folder/tsan.supp
# -fno-sanitize=null: the thread pointer is read from address 0 of its segment.
sanitize asan+ubsan check-unit gcc "-fsanitize=address,undefined -fno-sanitize=null -fno-sanitize-recover=undefined"

# shellcheck disable=SC2016  # make's own $()
renamed='AM_CPPFLAGS=$(BASE_CPPFLAGS) -DHKM_TEST_RENAMED -include hakmem.h -Dmemalign=hak_aligned_alloc'
for name in malloc calloc realloc reallocarray free free_sized free_aligned_sized aligned_alloc posix_memalign \
            malloc_usable_size; do
    renamed="$renamed -D$name=hak_$name"
done
sanitize tsan check-stress clang "-fsanitize=thread -Wno-unknown-attributes" "$renamed"

done_testing
