#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# order.sh: the functions in lib/order are there, and what every program calls is among them.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

# FILE FUNCTION, without what the compiler adds.
listed=$(grep -E '^[a-z_]+: [^.]' lib/order | while read -r file functions; do
    for f in $functions; do
        f=${f#unlikely.} f=${f#startup.} f=${f#exit.}
        echo "${file%:} ${f%%.*}"
    done
done | LC_ALL=C sort -u)
{ [ "$(wc -l <<<"$listed")" -gt 100 ] || echo "few functions are found"; } | no_complaints "lib/order has functions"
while read -r file f; do
    grep -qE "(^|[ *])$f\(" "lib/$file.c" lib/*.h || echo "lib/$file.c has no function $f: run bench/order"
done <<<"$listed" | no_complaints "each of them is in its file"
for f in malloc free calloc realloc; do
    grep -qx "malloc $f" <<<"$listed" || echo "$f is not in lib/order"
done | no_complaints "malloc, free, calloc and realloc are among them"
done_testing
