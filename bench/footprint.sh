#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# footprint.sh [--runs N] [--allocator NAME|PATH]...: memory of small programs under glibc and under an allocator
# (default hakmem), in KiB: what is resident when they end, exactly (launch -x), and the difference; the kernel's peak, which
# is off by up to some dozen pages a processor; and the minor faults. Medians of N runs (5), interleaved. Programs that
# are not there are named.
set -u
# shellcheck source=bench/common.sh disable=SC1091 # found with shellcheck -x from the top folder
. "$(dirname "$0")/common.sh"

runs=5 allocators=''
while [ $# -gt 0 ]; do
    case $1 in
    --runs) runs=${2:?}; shift 2 ;;
    --allocator) allocators="$allocators ${2:?}"; shift 2 ;;
    -h | --help) help; exit 0 ;;
    *) help >&2; exit 2 ;;
    esac
done
need launch small tiny_hot
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

bad=0 names='' count=0
libraries="$dir/libraries"
: >"$libraries"
for name in ${allocators:-hakmem}; do
    if path=$(find_allocator "$name"); then
        names="$names ${name##*/}"
        printf '%s\n' "$path" >>"$libraries"
        count=$((count + 1))
    else
        bad=1
    fi
done
[ $count -gt 0 ] || exit 1

median() {              # median FIELD LIBRARY
    awk -F, -v f="$1" -v l="$2" '$2 == l { print $f }' "$dir/out" | sort -n |
        awk '{ v[NR] = $1 } END { printf "%d", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

measure() {             # measure COMMAND...
    label=$(printf '%s' "$*" | sed "s|$dir/||g; s|$BENCH_DIR/||g")
    # The system's own program, not a wrapper in the user's PATH.
    program=$(PATH=/usr/bin:/bin:$PATH; command -v -- "$1")
    case $program in */*) ;; *) [ -x "/usr/bin/$1" ] && program=/usr/bin/$1 ;; esac
    case $program in */*) ;; *) say "$1: not installed, left out"; return ;; esac
    shift
    set -- -- "$program" "$@"
    while read -r path; do set -- -p "$path" "$@"; done <"$dir/reversed"
    "$BENCH_DIR/launch" -q -x -n "$runs" -o "$dir/out" -p '' "$@" </dev/null || exit 1
    failed=$(awk -F, '$3 != 0' "$dir/out" | wc -l)
    [ "$failed" -eq 0 ] || { say "$label: $failed of the runs failed"; bad=1; }
    printf '%-24s %8d %8d %6d' "$label" "$(median 10 0)" "$(median 7 0)" "$(median 8 0)"
    index=1
    while [ $index -le $count ]; do
        printf ' | %8d %+6d %8d %6d' "$(median 10 $index)" $(($(median 10 $index) - $(median 10 0))) \
            "$(median 7 $index)" "$(median 8 $index)"
        index=$((index + 1))
    done
    echo
}

awk '{ line[NR] = $0 } END { for (i = NR; i; i--) print line[i] }' "$libraries" >"$dir/reversed"
printf '%-24s %8s %8s %6s' 'KiB' glibc peak faults
for name in $names; do printf ' | %8.8s %6s %8s %6s' "$name" diff peak faults; done
echo
printf 'hello\n' >"$dir/text"
measure true
measure ls /
measure cat "$dir/text"
measure sed s/a/b/ "$dir/text"
measure git --version
measure perl -e1
measure sqlite3 :memory: 'select 1'
measure sh -c :
measure bash -c :
measure python3 -c pass
measure gcc --version
measure "$BENCH_DIR/small" none
measure "$BENCH_DIR/small" cfrac
measure "$BENCH_DIR/small" espresso
exit $bad
