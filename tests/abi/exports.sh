#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# exports.sh: what both libraries show to others is the list in exports.txt, the malloc family without a version; and the
# shared library asks for nothing but the C library, has no relocations in its text, and at most 16 bytes of TLS.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"
need readelf

list=$source_dir/tests/abi/exports.txt
# The letter of size_t in C++ names is that of unsigned long, or of unsigned int where size_t is one.
letter=m
for file in "$so" "$archive"; do
    [ -n "$file" ] && readelf -h "$file" 2>/dev/null | grep 'Class: *ELF32' >/dev/null && letter=j
done
sed "/^#/d; s/{size_t}/$letter/" "$list" | LC_ALL=C sort >"$scratch/expected"

sorted() { LC_ALL=C sort -c -u <(sed '/^#/d' "$list"); }
ok "exports.txt is sorted" sorted

if [ -n "$so" ]; then
    exported() {
        # shellcheck disable=SC2086  # NM has options
        $nm -D --defined-only --with-symbol-versions "$so" |
            awk '$2 != "A" { name = $NF; sub(/@@?/, " ", name); print name }' | LC_ALL=C sort >"$scratch/exported"
        diff "$scratch/expected" "$scratch/exported"
    }
    ok "the shared library exports exactly the list" exported
    nodes() {
        readelf -VW "$so" | sed -n '/^Version definition/,/^Version needs/s/.*Name: //p' | grep -v '^libhakmem\.so' >"$scratch/nodes"
        sed -n 's/.* //p' "$scratch/expected" | LC_ALL=C sort -u | diff - <(LC_ALL=C sort -u "$scratch/nodes")
    }
    ok "its version nodes are those of the list" nodes
    family() { [ "$(grep -Ecx '(malloc|free|calloc|realloc|memalign|_Znw.|_ZdlPv)' "$scratch/exported")" = 7 ]; }
    ok "the malloc family has no version" family
    # Everything that it takes from elsewhere comes from the C library.
    undefined() {
        local wrong
        # shellcheck disable=SC2086  # NM has options
        wrong=$($nm -D --undefined-only --with-symbol-versions "$so" |
            awk '$NF !~ /@GLIBC_/ && $1 != "w" && $NF !~ /^(__gmon_start__|_ITM_.*|__tls_get_addr)/ { print $NF }')
        [ -z "$wrong" ] || { echo "$wrong"; return 1; }
    }
    ok "it imports from the C library alone" undefined
    # Every relocation with a name is a search through all libraries at each start of a process.
    vain() { ! readelf -rW "$so" | grep -E '_ZSt|_ITM_|__gmon_start__|__cxa_finalize'; }
    if grep -q '^LIB_LDFLAGS = .*-nostartfiles' "$build_dir/Makefile" 2>/dev/null; then
        ok "no name is looked up at the start that most processes do not have" vain
    else
        skip "no name is looked up at the start that most processes do not have" "the linker adds some"
    fi
    needed() {
        readelf -dW "$so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >"$scratch/needed"
        cat "$scratch/needed"
        grep -q '^libc\.so' "$scratch/needed" && ! grep -Ev '^(libc\.so|ld-linux|ld64?\.so)' "$scratch/needed"
    }
    ok "it needs the C library alone" needed
    no_textrel() { ! readelf -dW "$so" | grep -E 'TEXTREL'; }
    ok "it has no relocations in its text" no_textrel
    tls() {
        local size
        size=$(readelf -lW "$so" | awk '$1 == "TLS" { print $6 }')
        echo "TLS segment: $size"
        [ -n "$size" ] && [ $((size)) -le 16 ]
    }
    if grep -q '^#define HKM_DEBUG 1' "$build_dir/config.h" 2>/dev/null; then
        skip "its TLS segment has at most 16 bytes" "debug builds have more"
    else
        ok "its TLS segment has at most 16 bytes" tls
    fi
    static_tls() { ! readelf -rW "$so" | grep -E 'DTPMOD|TLSDESC'; }
    ok "no access to it can allocate" static_tls
    soname() { readelf -dW "$so" | grep -F 'Library soname: [libhakmem.so.0]'; }
    ok "its soname is libhakmem.so.0" soname
    stays() { readelf -dW "$so" | grep -E 'FLAGS_1.*NODELETE'; }
    ok "it is never unloaded" stays
    bound() { readelf -lW "$so" | grep GNU_RELRO && readelf -dW "$so" | grep -E 'BIND_NOW|FLAGS.* NOW'; }
    ok "relro and now are set" bound
    no_stack() { readelf -lW "$so" | awk '$1 == "GNU_STACK" { print; if ($0 ~ /RWE/) bad = 1 } END { exit bad }'; }
    ok "its stack is not executable" no_stack
else
    skip "the shared library" "none is built"
fi

if [ -n "$archive" ]; then
    archived() {
        # shellcheck disable=SC2086  # NM has options
        $nm -g --defined-only "$archive" 2>/dev/null | awk 'NF == 3 { print $3 }' | LC_ALL=C sort >"$scratch/archived"
        # Versions are the shared library's.
        sed 's/ .*//' "$scratch/expected" | LC_ALL=C sort >"$scratch/names"
        # The instrumentation of sanitizers and coverage is not ours.
        diff "$scratch/names" <(grep -Ev '^(hkm_|__(asan|tsan|ubsan|odr|gcov|llvm))' "$scratch/archived")
    }
    ok "the archive has the list and names that begin with hkm_" archived
    once() { ! uniq -d "$scratch/archived" | grep .; }
    ok "each of them once" once
else
    skip "the archive" "none is built"
fi
done_testing
