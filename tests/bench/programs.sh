#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# programs.sh: what the bench programs and scripts say: of how they are called, of allocators that are not there, of parts;
# and that what is counted does not hang on the time.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/bench/common.sh
. "$(dirname "$0")/common.sh"
programs=$build_dir/bench

# Runs a command; its exit code, and the words on both outputs.
ends() { # CODE COMMAND...
    local want=$1 code=0
    shift
    "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
    [ "$code" = "$want" ] || { echo "exit code $code, not $want"; cat "$scratch/out" "$scratch/err"; return 1; }
}
silent() { [ ! -s "$scratch/out" ] || { cat "$scratch/out"; return 1; }; }
built() { # NAME DESCRIPTION
    [ -x "$programs/$1" ] || { skip "$2" "bench/$1 is not built"; return 1; }
}

# ---- the scripts ----
for script in instructions startup.sh footprint.sh fastpath.sh; do
    helps() {
        ends 0 "$source_dir/bench/$script" --help && [ ! -s "$scratch/err" ] && grep -q "^$script \[" "$scratch/out" &&
            ! grep -qE '^#|SPDX|^set ' "$scratch/out"
    }
    ok "$script --help is its head, on standard output" helps
    refuses() { ends 2 "$source_dir/bench/$script" --nothing && silent && grep -q "^$script \[" "$scratch/err"; }
    ok "$script and an unknown option: the same on standard error" refuses
done
kind() {
    ends 2 env BENCH_DIR="$scratch/none" "$source_dir/bench/instructions" --kind pair --kind zzz && silent &&
        complains 'instructions: no kind zzz: pair batch random calloc realloc 64k 100k 2m'
}
ok "instructions tells of an unknown kind before all else, in one line" kind

# ---- the programs ----
usage() { # PATTERN ARGUMENT...
    local pattern=$1
    shift
    ends 2 "$programs/phased" "$@" && silent && complains "bench: usage: phased $pattern"
}
if built phased "phased without arguments is a line"; then
    ok "phased without arguments is a line" usage 'NAME\[,NAME.*bursts, .*'
    ok "so is a phase that it does not have" usage 'NAME\[,NAME.*bursts, .*' bursts,nothing
fi

absent() { # NAME PATTERN
    ends 1 env HAKMEM="$scratch/none.so" "$programs/allocators" --allocator "$1" --scenario json --iterations 1 && silent &&
        complains "allocators: $2"
}
if built allocators "allocators and a name that nobody knows"; then
    ok "allocators and a name that nobody knows" absent nobody \
        'unknown allocator nobody: glibc, hakmem, .*, snmalloc, rpmalloc, or the path of a library'
    ok "and a path where nothing is" absent "$scratch/none.so" "$scratch/none.so: no such file"
    ok "and a library that is not built" absent hakmem 'libhakmem.so is not found: .*'
    for name in snmalloc rpmalloc; do
        soname=$(awk -v name="$name" '$1 == "allocator" && $2 == name { print $3 }' "$source_dir/bench/lines")
        if [ -n "$so" ] && [[ $("$programs/allocators" --allocator "$name" --iterations 1 2>&1) != *ns/op* ]]; then
            ok "and $name, which is not installed" absent "$name" \
                "$name is not installed: the dynamic linker finds no $soname; give the library's path"
        else
            skip "and $name, which is not installed" "it is"
        fi
        # Any allocator of that name will do.
        serves() {
            mkdir -p "$scratch/installed"
            cp "$so" "$scratch/installed/$soname"
            ends 0 env LD_LIBRARY_PATH="$scratch/installed" BENCH_PROVE=run "$programs/allocators" --allocator "$name" \
                --scenario json --iterations 1 && grep -qx "prove: malloc=$scratch/installed/$soname" "$scratch/err"
        }
        if [ -n "$so" ]; then
            ok "which is found where it is installed" serves
        else
            skip "which is found where it is installed" "no shared library is built"
        fi
    done
fi

part() { ends 0 "$programs/micro" elo_select 1 && prints 'micro elo_select ns/op=[0-9.]+ .*'; }
if built micro "micro measures how Elo selects"; then
    ok "micro measures how Elo selects" part
    nothing() { ends 2 "$programs/micro" nothing && silent && complains '.*, elo_select'; }
    ok "and names that among its parts" nothing
fi

# ---- counts ----
# A library that asks for the time as an allocator may, and says what it was told.
cat >"$scratch/asks.c" <<'EOF'
#include <stdio.h>
#include <time.h>
__attribute__((destructor)) static void ask(void)
{
    for (int i = 0; i < 3; i++) {
        struct timespec t = {0, 0};
        clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
        fprintf(stderr, "%lld.%09ld\n", (long long)t.tv_sec, t.tv_nsec);
        clock_gettime(CLOCK_MONOTONIC, &t);
        fprintf(stderr, "%lld.%09ld\n", (long long)t.tv_sec, t.tv_nsec);
    }
}
EOF
repeats() {
    ends 0 env LD_PRELOAD="$scratch/asks.so" "$programs/ops" 2m 8 && cp "$scratch/err" "$scratch/first" &&
        ends 0 env LD_PRELOAD="$scratch/asks.so" "$programs/ops" 2m 8 && same "$scratch/first" "$scratch/err" &&
        [ "$(sort -u "$scratch/first" | wc -l)" = 6 ] && sort -c "$scratch/first"
}
clock="the clock of ops says the same in each run, to the libraries too, and goes on"
# shellcheck disable=SC2086  # options in $CC
if ! have_compiler "$cc" || ! $cc -shared -fPIC -o "$scratch/asks.so" "$scratch/asks.c"; then
    skip "$clock" "no C compiler"
elif built ops "$clock"; then
    ok "$clock" repeats
fi
done_testing
