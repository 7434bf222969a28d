#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# names.sh: what the built library shows to others.  The core keeps to hkm_*; the shared library exports exactly what
# debian/libhakmem0.symbols lists, each in its version, and needs the C library alone; the archive is complete.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

core=$built/lib/.libs/libhkm-core.a
[ -f "$core" ] || skip_all "nothing is built here"
nm=${NM:-nm}

# The instrumentation of sanitizers and coverage is not ours.
# shellcheck disable=SC2086  # NM has options
$nm -A -g "$core" | awk 'NF > 2 && $(NF - 1) ~ /^[A-TV-Zi]$/ && $NF !~ /^(hkm_|__(asan|tsan|ubsan|odr|gcov|llvm))/ \
    { print }' | no_complaints "external names of the core begin with hkm_"

so=${HAKMEM_SO-}
if [ -n "$so" ] && [ -f "$so" ]; then
    # debian/ is no part of a release tarball; tests/abi/exports.sh has a list of its own.
    symbols=debian/libhakmem0.symbols bits=32
    case $(od -An -tx1 -j4 -N1 "$so") in *02*) bits=64 ;; esac
    if [ -f $symbols ]; then
        diff <(sed -n "/^ HAKMEM_/d; s/^ (arch-bits=$bits)/ /; /^ (/d; s/^ \([^ ]*\) .*/\1/p" $symbols | LC_ALL=C sort) \
            <($nm -D --defined-only --with-symbol-versions "$so" |
                awk '$2 != "A" { sub(/@@/, "@", $3); print ($3 ~ /@/ ? $3 : $3 "@Base") }' | LC_ALL=C sort) |
            sed -n 's/^</listed, but not exported:/p; s/^>/exported, but not listed:/p' |
            no_complaints "exports are those of $symbols"
    fi

    # ld-linux is part of the C library.
    readelf -d "$so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -Ev '^(libc\.so|ld-linux)' |
        no_complaints "the shared library needs the C library alone"

    flags=$(readelf -dW "$so")
    for want in 'SONAME.*\[libhakmem\.so\.0\]' 'NODELETE' 'BIND_NOW|FLAGS.* NOW'; do
        grep -Eq "$want" <<<"$flags" || echo "no $want in readelf -d"
    done | no_complaints "soname, nodelete and now are set"
fi

archive=${HAKMEM_A-}
if [ -n "$archive" ] && [ -f "$archive" ]; then
    comm -23 <(ar t "$core" | LC_ALL=C sort) <(ar t "$archive" | LC_ALL=C sort) |
        no_complaints "the archive holds all of the core"
fi

done_testing
