#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# instructions.sh [--allocator NAME|PATH]... [--kind KIND]...: instructions per operation under callgrind, the loop and
# the call included, and those of the empty harness. Every figure is the difference of two runs with different counts,
# so that start-up cancels: it repeats exactly. Default: glibc and hakmem, all kinds.
#   pair     malloc(16) + free, 100 live        calloc   calloc(1, 64) + free
#   batch    malloc + free in 100 x 64 B        realloc  16 -> 4096 by doubling, the whole sequence
#   random   one malloc or free, 16-1039 B      100k 2m  malloc + free, 8 live
set -u
# shellcheck source=bench/common.sh disable=SC1091 # found with shellcheck -x from the top folder
. "$(dirname "$0")/common.sh"

allocators='' kinds=''
while [ $# -gt 0 ]; do
    case $1 in
    --allocator) allocators="$allocators ${2:?}"; shift 2 ;;
    --kind) kinds="$kinds ${2:?}"; shift 2 ;;
    *) sed -n '5,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
need ops tiny_hot
tool valgrind valgrind

# count LIBRARY KIND N [empty]: instructions of one whole run
count() {
    library=$1; shift
    text=$(LD_PRELOAD=$library valgrind --tool=callgrind --callgrind-out-file=/dev/null "$BENCH_DIR/ops" "$@" 2>&1) ||
        { say "ops $*${library:+ with $library} failed: $(printf '%s' "$text" | grep -v '^==' | tail -n 1)"; return 1; }
    printf '%s\n' "$text" | sed -n 's/^==[0-9]*== Collected : \([0-9]*\)$/\1/p'
}

# per_op LIBRARY KIND [empty]. Both counts lie behind the warm-up, and they differ by whole periods of the pattern.
per_op() {
    case $2 in
    random) few=40000 many=240000 ;;
    realloc|100k|2m) few=2000 many=6000 ;;
    *) few=20000 many=60000 ;;
    esac
    if first=$(count "$1" "$2" "$few" ${3+"$3"}) && second=$(count "$1" "$2" "$many" ${3+"$3"}); then
        awk -v d="$((second - first))" -v n="$((many - few))" 'BEGIN { printf "%.2f", d / n }'
    else
        printf failed
        return 1
    fi
}

bad=0
row() {                 # row NAME LIBRARY [empty]
    line=$(printf '%-16s' "$1"); library=$2; shift 2
    for kind in $kinds; do
        figure=$(per_op "$library" "$kind" "$@") || bad=1
        line="$line$(printf ' %9s' "$figure")"
    done
    printf '%s\n' "$line"
}

: "${kinds:=pair batch random calloc realloc 100k 2m}"
# shellcheck disable=SC2086 # the list is to be split
printf '%-16s%s\n' allocator "$(printf ' %9s' $kinds)"
row 'empty harness' '' empty
for name in ${allocators:-glibc hakmem}; do
    if path=$(find_allocator "$name"); then
        row "${name##*/}" "$path"
    else
        bad=1
    fi
done
[ $bad -eq 0 ] || say "not every figure could be taken"
exit $bad
