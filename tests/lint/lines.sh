#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# lines.sh: of the library's own variables, none that every slow call only reads lies in a cache line with one that many
# threads write (HKM_OWN_LINES, docs/scaling.md), and no two locks lie in one line.  Looks at what the linker made.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

read_by_all='hkm_option|hkm_os|hkm_tag_(none|stranger|run|rest|nursery)|generation|canary|watched|settled|marked|aim|mode|heaps|all'
written='m|sets|pool|big|nursery|late_heap|threads|look|held|all_heaps'
so=$built/lib/.libs/libhakmem.so.0
[ -r "$so" ] || skip_all "the library is not built"
# shellcheck disable=SC2086  # NM may have options
symbols=$(${NM:-nm} -S "$so" 2>/dev/null | sed -n 's/^\([0-9a-f]*\) \([0-9a-f]*\) [bBdDrR] \([a-z_]*\)\(\.[a-z0-9_.]*\)*$/\1 \2 \3/p')
[ -n "$symbols" ] || skip_all "the library has no symbols"

# Name and line of each variable of a list; of the statistics of slots, and of the first range, the lines that are meant.
lines_of() { # NAMES
    grep -E " ($1)\$" <<<"$symbols" | while read -r at size name; do
        for ((line = 0x$at / 64; line <= (0x$at + 0x$size - 1) / 64; line++)); do echo "$name $line"; done
    done
}
part_of() { # NAME PART: a line of a variable
    grep -E " $1\$" <<<"$symbols" | while read -r at _ name; do echo "$name $((0x$at / 64 + $2))"; done
}
quiet=$(lines_of "$read_by_all"; part_of hkm_superslab_stats 0; part_of hkm_range 0)
busy=$(lines_of "$written"; part_of hkm_superslab_stats 1)

for name in ${read_by_all//[|()]/ } ${written//|/ }; do
    case $name in hkm_tag_) name=hkm_tag_none ;; none | stranger | run | rest | nursery) continue ;; esac
    grep -q " $name\$" <<<"$symbols" || echo "$name"
done | no_complaints "the variables are there"

join -1 2 -2 2 <(sort -k2,2 <<<"$quiet") <(sort -k2,2 <<<"$busy") | awk '{ print $2 " shares a line with " $3 }' |
    no_complaints "what all threads read is apart from what they write"

sort -u <<<"$busy" | cut -d' ' -f2 | sort | uniq -d | while read -r line; do
    grep " $line\$" <<<"$busy" | cut -d' ' -f1 | paste -sd' '
done | no_complaints "what threads write for different reasons is apart"
done_testing
