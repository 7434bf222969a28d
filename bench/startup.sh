#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# startup.sh [--runs N] [--allocator NAME|PATH]... [PROGRAM]...: what a preloaded allocator costs at the start of a
# process, against an EMPTY preloaded library, which already costs something. Default: hakmem, 300 runs, true and ls.
# Runs are paired: each round starts the program once with each library, in random order, by the static launcher. Prints
# medians, and of the ratio of each pair the median with its 95 % interval (order statistics), for wall and CPU time.
# The row "none" (no preload) is for comparison; the row "empty again" is the noise: its ratio should hold 1.
set -u
# shellcheck source=bench/common.sh disable=SC1091 # found with shellcheck -x from the top folder
. "$(dirname "$0")/common.sh"

runs=300 allocators='' programs=''
while [ $# -gt 0 ]; do
    case $1 in
    --runs) runs=${2:?}; shift 2 ;;
    --allocator) allocators="$allocators ${2:?}"; shift 2 ;;
    -h | --help) help; exit 0 ;;
    -*) help >&2; exit 2 ;;
    *) programs="$programs $1"; shift ;;
    esac
done
need launch tiny_hot
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
: >"$dir/empty.c"
${CC:-cc} -O2 -shared -fPIC -o "$dir/empty.so" "$dir/empty.c" ||
    die "cannot build the empty library: is a C compiler there?"

bad=0
printf '%s\n' empty none 'empty again' >"$dir/names"
set -- -p "$dir/empty.so" -p '' -p "$dir/empty.so"
for name in ${allocators:-hakmem}; do
    if path=$(find_allocator "$name"); then
        printf '%s\n' "${name##*/}" >>"$dir/names"
        set -- "$@" -p "$path"
    else
        bad=1
    fi
done

# column FIELD LIBRARY: the sorted values of a field of one library's runs
column() { awk -F, -v f="$1" -v l="$2" '$2 == l { print f == "cpu" ? $5 + $6 : $f }' "$dir/out" | sort -n; }
median() { awk '{ v[NR] = $1 } END { printf "%d", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
# ratio FIELD LIBRARY: of each round, this library's value over the empty library's; median and 95 % interval
ratio() {
    awk -F, -v f="$1" -v l="$2" '
        { x = f == "cpu" ? $5 + $6 : $f }
        $2 == 0 { base[$1] = x }
        $2 == l { mine[$1] = x }
        END { for (r in mine) if (base[r] > 0) print mine[r] / base[r] }' "$dir/out" | sort -n |
        awk '{ v[NR] = $1 }
        END { if (!NR) { printf "-"; exit }
              k = int(NR / 2 - 0.98 * sqrt(NR)); if (k < 1) k = 1
              printf "%.3f [%.3f..%.3f]", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[k], v[NR + 1 - k] }'
}

for program in ${programs:-true ls}; do
    command=$(PATH=/usr/bin:/bin:$PATH command -v "$program")
    case $command in
    */*) ;;
    *) command=$(for d in /usr/bin /bin; do [ -x "$d/$program" ] && echo "$d/$program" && break; done) ;;
    esac
    [ -n "$command" ] || { say "$program: not found"; bad=1; continue; }
    "$BENCH_DIR/launch" -q -n 5 "$@" -- "$command" >/dev/null           # warm-up
    "$BENCH_DIR/launch" -q -n "$runs" -o "$dir/out" "$@" -- "$command" || exit 1
    failed=$(awk -F, '$3 != 0' "$dir/out" | wc -l)
    [ "$failed" -eq 0 ] || { say "$program: $failed of the runs failed"; bad=1; }
    printf '%s, %s rounds\n%-16s %8s %8s %7s %8s  %-22s %-22s\n' "$command" "$runs" preload 'wall us' 'CPU us' faults \
        'RSS KiB' 'wall / empty' 'CPU / empty'
    index=0
    while read -r name; do
        printf '%-16s %8d %8d %7d %8d  %-22s %-22s\n' "$name" $(($(column 4 $index | median) / 1000)) \
            "$(column cpu $index | median)" "$(column 8 $index | median)" "$(column 7 $index | median)" \
            "$(ratio 4 $index)" "$(ratio cpu $index)"
        index=$((index + 1))
    done <"$dir/names"
    echo
done
exit $bad
