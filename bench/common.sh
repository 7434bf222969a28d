# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
# shellcheck shell=sh
#
# common.sh: read by the bench scripts. Finds the programs and the allocators.
#
# BENCH_DIR  where the built programs are (the build tree's bench/); default: beside the scripts, else ./bench
# HAKMEM     path of libhakmem.so; default: the build tree's

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$@"; exit 1; }

here=$(cd "$(dirname "$0")" && pwd) || exit 1
if [ -z "${BENCH_DIR-}" ]; then
    BENCH_DIR=$here
    [ -x "$here/launch" ] || BENCH_DIR=$PWD/bench
fi

# help: the head of the script, which says how it is called.
help() { sed -n '5,${/^#/!q;s/^# \{0,1\}//p;}' "$0"; }

# need PROGRAM...: the built bench programs are there.
need() {
    for program; do
        [ -x "$BENCH_DIR/$program" ] ||
            die "no $program in $BENCH_DIR: run make bench-programs, or set BENCH_DIR to the build tree's bench folder"
    done
}

# tool COMMAND PACKAGE
tool() { command -v "$1" >/dev/null 2>&1 || die "$1 is not installed (Debian package $2)"; }

find_hakmem() {
    for path in "${HAKMEM-}" "$BENCH_DIR"/../.libs/libhakmem.so.0 "$BENCH_DIR"/../lib/.libs/libhakmem.so.0; do
        [ -n "$path" ] && [ -e "$path" ] && { realpath "$path"; return 0; }
    done
    say "libhakmem.so is not found: build it, or set HAKMEM to its path"
    return 1
}

# The file that malloc is bound to in a bench program under LD_PRELOAD=$1. Needs the program tiny_hot.
served_by() {
    realpath "$(LD_PRELOAD=$1 BENCH_PROVE=exit "$BENCH_DIR/tiny_hot" 2>&1 | sed -n 's/^prove: malloc=//p')" 2>/dev/null
}

# find_allocator NAME|PATH: prints the path to preload (nothing for glibc), or fails with a line on stderr. The dynamic
# linker itself looks for the packages' libraries; that they serve malloc is proven, not believed.
find_allocator() {
    case $1 in
    */*) wanted=$1; [ -e "$wanted" ] || { say "$1: no such file"; return 1; } ;;
    glibc) return 0 ;;
    hakmem) wanted=$(find_hakmem) || return 1 ;;
    *)  wanted=$(awk -v name="$1" '$1 == "allocator" && $2 == name { $1 = $2 = ""; print }' "$here/lines")
        [ -n "$wanted" ] ||
            { say "unknown allocator $1: glibc, one that stands in bench/lines, or the path of a library"; return 1; } ;;
    esac
    for library in $wanted; do
        found=$(served_by "$library")
        case $library in
        */*) [ "$found" = "$(realpath "$library")" ] && { printf '%s\n' "$found"; return 0; } ;;
        *) case ${found##*/} in "${library%%.so*}".so*) printf '%s\n' "$found"; return 0 ;; esac ;;
        esac
    done
    say "$1 is not installed, or does not serve malloc when preloaded"
    return 1
}
