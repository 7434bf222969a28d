#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# train.sh LIBRARY PROFILE CHECKSUM: for configure --enable-pgo; run by make. Runs a short selection of the benches under
# LIBRARY, which counts what it does, and makes the folder PROFILE of it: a file for each source of the library (gcc), or
# one of all (clang); and made-by, which says what they belong to. With one seed each, and times of waiting that do not
# depend on the machine: two trainings differ by what threads make of it.
# CHECKSUM is that of the sources. COMPILER is its name and version, MACHINE the processor; LLVM_PROFDATA the program of
# that name.
set -u
# shellcheck source=bench/common.sh disable=SC1091 # found with shellcheck -x from the top folder
. "$(dirname "$0")/common.sh"

[ $# = 3 ] || { sed -n '5,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
profile=$2
raw=$profile.raw

# Counting inside an allocator: counters are static words, and counting is one atomic addition, so it needs no memory, and
# is right in threads, before the library's constructors, and in malloc itself. Only writing them down, at the end of the
# process, when its threads have been joined, opens files and allocates, which the library serves then as ever. No values are
# profiled (m4/hakmem.m4): that would allocate inside malloc. No bench of the plan forks: a child would write down what its
# parent had counted, once more.
#
# What stands in here counts as used, and how often decides what is laid out for speed: so the slow paths, too.
plan() {
    cat <<'EOF'
tiny_hot 16 300000
tiny_hot 64 100000
ops calloc 100000
ops realloc 5000
random_mixed 1000000 256 1
random_mixed 1000000 10000 2
random_mixed 1000000 100000 3
comprehensive all 0 150
comprehensive all 0 500 100
threads larson 2 500000 mixed
threads xmalloc 2 500000
threads mstress 2 200000
remote pipeline 2 300000
remote shuffle 2 300000
remote neighbour 2 200000
churn 2 100 500
thread_birth 300
small cfrac 20000
small espresso 200
calloc_pages 65536 5000
realloc_growth 1048576 50 2
allocators --scenario mixed --iterations 5000
big_hot 2097152 50000 4
swing 20 62 16 2048 5 random
EOF
}

program=''
# shellcheck disable=SC2046 # the first words of the lines
need $(plan | cut -d ' ' -f 1 | sort -u)
library=$(realpath "$1") || exit 1
[ "$(served_by "$library")" = "$library" ] || die "$library does not serve malloc when it is preloaded"
rm -rf "$profile" "$raw"
mkdir -p "$raw" || exit 1
raw=$(realpath "$raw")

# Only the benches themselves run under the library. gcc's counters go to a file for each object, named like that; clang's
# to a file for each process.
plan | while read -r program arguments; do
    # shellcheck disable=SC2086 # several words
    said=$(exec env LD_PRELOAD="$library" GCOV_PREFIX="$raw" GCOV_PREFIX_STRIP=100 LLVM_PROFILE_FILE="$raw/%p.profraw" \
            "$BENCH_DIR/$program" $arguments 2>&1 >/dev/null </dev/null) ||
        { say "$program $arguments failed under the library that counts: $said"; exit 1; }
    [ -z "$said" ] || say "$program $arguments: $said"
done || exit 1

mkdir "$profile" || exit 1
case $COMPILER in
clang*) ${LLVM_PROFDATA:?} merge -o "$profile/hakmem.profdata" "$raw"/*.profraw ;;
*) mv "$raw"/*.gcda "$profile" ;;
esac || die "the benches have left no profile"
rm -rf "$raw"
printf 'compiler %s\nmachine %s\nsources %s\n' "$COMPILER" "$MACHINE" "$3" >"$profile/made-by"
