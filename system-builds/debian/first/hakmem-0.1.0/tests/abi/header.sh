#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# header.sh: <hakmem.h> alone, first and twice in a file, compiles without a word as C99, C11, C17 and as C++98 to C++20,
# pedantically, by every compiler that is there; what it declares links.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"

cat >"$scratch/use.c" <<'EOF'
#include <hakmem.h>
#include <hakmem.h>
int main(void)
{
    struct hak_stats stats;
    long value = 0;
    void *p = hak_malloc(10), *q = hak_calloc(2, 5), *r = hak_alloc_at(100, (const void *)&value), *s = hak_alloc_cs(7);
    void *t = hak_aligned_alloc(64, 64), *u = NULL;
    int bad = hak_posix_memalign(&u, 64, 100);
    p = hak_realloc(p, 20);
    q = hak_reallocarray(q, 3, 10);
    bad |= hak_malloc_usable_size(p) < 20;
    bad |= hak_version()[0] == 0 || HAK_VERSION_MAJOR < 0 || HAK_VERSION_MINOR < 0 || HAK_VERSION_PATCH < 0;
    bad |= sizeof(HAK_VERSION_STRING) < 6;
    bad |= hak_stats_get(&stats, sizeof stats) || stats.live_bytes == 0;
    bad |= hak_stats_print(-1, "json") != -1;
    bad |= hak_option_get("STATS", &value) || hak_option_set("STATS", value);
    hak_free(p);
    hak_free_sized(q, 30);
    hak_free_at(r, 100, (const void *)&value);
    hak_free_cs(s, 7);
    hak_free_aligned_sized(t, 64, 64);
    hak_free(u);
    return bad | (hak_purge() == (size_t)-1);
}
EOF
cp "$scratch/use.c" "$scratch/use.cc"

include=$source_dir/lib/include
warn="-pedantic -pedantic-errors -Wall -Wextra -Wshadow -Wundef -Wconversion -Werror"
# The compilers of the build, and others that may be there; each once.
tried=" "
try() { # COMPILER FILE LANGUAGE STANDARD...
    local compiler=$1 file=$2 language=$3 standard
    shift 3
    have_compiler "$compiler" || return
    case $tried in *" $compiler "*) return ;; esac
    tried="$tried$compiler "
    for standard; do
        # shellcheck disable=SC2086  # words
        if ! echo "extern int x;" | $compiler -std="$standard" -x "$language" -c -o "$scratch/x.o" - 2>/dev/null; then
            skip "$compiler -std=$standard" "the compiler does not know it"
            continue
        fi
        # shellcheck disable=SC2086  # words
        ok "$compiler -std=$standard" $compiler -std="$standard" $warn -I"$include" -c "$scratch/$file" -o "$scratch/use.o"
    done
}

warn="$warn -Wstrict-prototypes -Wmissing-prototypes"
for compiler in "$cc" gcc clang cc; do
    try "$compiler" use.c c c99 c11 c17 c2x gnu11
done
tried=" "
warn=${warn%% -Wstrict*}
for compiler in "$cxx" g++ clang++ c++; do
    try "$compiler" use.cc c++ c++98 c++11 c++14 c++17 c++20
done

if [ -n "$so" ]; then
    # shellcheck disable=SC2086  # words
    links() { $cc -I"$include" "$scratch/use.c" -o "$scratch/use" "$so" -Wl,-rpath,"$(dirname "$so")"; }
    ok "a program that uses all of it links" links
    ok "and runs" "$scratch/use"
fi
# What a compiler without GNU extensions sees.
bare() {
    # shellcheck disable=SC2086  # words
    $cc -std=c99 -U__GNUC__ -I"$include" -E "$scratch/use.c" 2>/dev/null | grep 'hak_[a-z_]* *(' >"$scratch/bare" &&
        ! grep -n '__attribute__' "$scratch/bare"
}
ok "without GNU extensions the header uses none" bare
done_testing
