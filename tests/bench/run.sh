#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# run.sh: bench/run runs what it is told to, in rounds; believes no allocator before it is proven; shows what fails; and
# its exit code says so.  Runs of milliseconds: nothing here depends on a time.
# shellcheck disable=SC2016,SC2317  # $$ and $1 are other shells'; ok calls the functions
# shellcheck source=tests/bench/common.sh
. "$(dirname "$0")/common.sh"
need_so
programs=$build_dir/bench
for program in launch tiny_hot; do
    [ -x "$programs/$program" ] || skip_all "bench/$program is not built"
done
[[ $(BENCH_PROVE="exit" "$programs/tiny_hot" 2>&1) == */libc[.-]* ]] || skip_all "malloc is not glibc's here"

cat >"$scratch/lines" <<'EOF'
group fast time=1000
line fast/tiny fast 1 ops tiny_hot 16 1000
line fast/other fast 1 ops tiny_hot 64 1000
line threads/t/@t fast 1..4 ops tiny_hot 16 1000
line fast/silent fast 1 steady tiny_hot 16 1000
EOF
quick=(--build "$programs" --lines "$scratch/lines" --warmup 0 --runs 1)
ours=(--allocator glibc --allocator "hakmem=$so")
column() { # FILE FIELD
    "$python" -c 'import csv, sys; print("\n".join(r[sys.argv[2]] for r in csv.DictReader(open(sys.argv[1]))))' "$@"
}

# ---- the list ----
lists() {
    gives 0 run --list && prints 'tiny_hot/16 hot 1 tiny_hot 16 [0-9]+' && [ ! -s "$scratch/err" ] &&
        gives 0 run --list --lines "$scratch/lines" --bench 'threads/t/*' &&
        prints 'threads/t/1 fast 1 tiny_hot 16 1000' 'threads/t/2 .*' 'threads/t/4 .*' &&
        [ "$(wc -l <"$scratch/out")" = 3 ]
}
ok "--list names the lines, those of a file of one's own too, one for each number of threads" lists
ok "--list of a name that is not there" gives 1 run --list --bench tiny_hot --bench nothing
ok "is one line, and the others are listed" complains 'run: no bench nothing: see --list'

# ---- a run ----
runs() {
    gives 0 run "${quick[@]}" "${ours[@]}" --bench fast/tiny --warmup 1 --runs 2 --output "$scratch/a.csv" &&
        prints 'fast/tiny [0-9.]+/[0-9.]+ 1.00/1.00 glibc time 1000.00 held' && [ ! -s "$scratch/err" ]
}
ok "two allocators, two rounds" runs
counted() {
    [ "$(column "$scratch/a.csv" allocator | sort | uniq -c | tr -s ' \n' ' ')" = " 3 glibc 3 hakmem " ] &&
        [ "$(column "$scratch/a.csv" warmup | tr -d '\n' | fold -w 2 | sort | tr -d '\n')" = 000011 ] &&
        [ "$(column "$scratch/a.csv" round | sort | tr -d '\n')" = 000011 ]
}
ok "every run is in the CSV, the warm-up too" counted
complete() {
    local field
    for field in cpu_s wall_s peak_rss_kib minor_faults ns_per_op ops_per_s date version machine system; do
        [ "$(column "$scratch/a.csv" "$field" | grep -c .)" = 6 ] || { echo "$field"; return 1; }
    done
    [ -z "$(column "$scratch/a.csv" error | tr -d '\n')" ] &&
        [ "$(column "$scratch/a.csv" library | grep -cxF "$(realpath "$so")")" = 3 ]
}
ok "with its figures, versions, machine and date" complete
rounds() { # WANT ARGUMENT...
    local want=$1
    shift
    gives 0 run "${quick[@]}" "${ours[@]}" --bench fast/tiny --runs 8 "$@" --output "$scratch/b.csv" &&
        [ "$(column "$scratch/b.csv" round | sort -u | wc -l)" = "$want" ]
}
ok "a line ends when its interval is narrow enough, not before six rounds" rounds 6 --until 1000
ok "and never does where it may not" rounds 8 --until 0 --seed 1
shuffled() { [ "$(column "$scratch/b.csv" allocator | sed -n 'p;n' | sort -u | wc -l)" = 2 ]; }
ok "another allocator is the first of a round each time" shuffled
ok "several lines at a time" gives 0 run "${quick[@]}" "${ours[@]}" --bench fast/tiny --bench fast/other --jobs 2

# ---- the proof ----
wrong() { # PATTERN ARGUMENT...
    local pattern=$1
    shift
    gives 1 run "${quick[@]}" --allocator glibc --bench fast/tiny "$@" && complains "run: $pattern" &&
        prints 'fast/tiny 1.00/1.00 .*'
}
ok "an unknown allocator is one line, the others are measured" wrong 'unknown allocator nobody: .*' --allocator nobody
ok "so is one that is not there" wrong "gone is left out: $scratch/gone.so: no such file" \
    --allocator "gone=$scratch/gone.so"
echo "no library" >"$scratch/text.so"
ok "and one that does not load" wrong "text is left out: $scratch/text.so cannot be preloaded: .*" \
    --allocator "text=$scratch/text.so"
if have_compiler "$cc"; then
    echo 'int nothing;' >"$scratch/empty.c"
    # shellcheck disable=SC2086  # options in $CC
    $cc -shared -fPIC -o "$scratch/empty.so" "$scratch/empty.c"
    ok "a library without malloc is not measured under its name" \
        wrong 'empty is left out: malloc is from .*/libc[.-].*' --allocator "empty=$scratch/empty.so"
    # An allocator that is there for the proof that comes before, and gone in the runs.
    cat >"$scratch/bump.h" <<'EOF'
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static char room[1 << 20] __attribute__((aligned(16)));
static size_t used;
void *malloc(size_t n) { void *p = room + used; used += (n + 15) / 16 * 16; return used < sizeof room ? p : NULL; }
void *calloc(size_t a, size_t b) { return malloc(a * b); }
void *realloc(void *p, size_t n) { void *q = malloc(n); return p && q ? memcpy(q, p, n) : q; }
void free(void *p) { (void)p; }
EOF
    cat >"$scratch/leave.c" <<'EOF'
#include "bump.h"
__attribute__((constructor)) static void leave(int argc, char **argv)
{
    const char *prove = getenv("BENCH_PROVE");
    if (argc > 1 && prove && strcmp(prove, "exit") != 0 && !unsetenv("LD_PRELOAD"))
        execv("/proc/self/exe", argv);
}
EOF
    # shellcheck disable=SC2086
    $cc -O1 -fno-builtin -shared -fPIC -o "$scratch/leave.so" "$scratch/leave.c"
    leaves() {
        gives 1 run "${quick[@]}" --allocator glibc --allocator "leave=$scratch/leave.so" --bench fast/tiny &&
            complains 'run: fast/tiny under leave: not served: malloc is from .*/libc[.-].*' &&
            prints 'fast/tiny 1.00/1.00 not served .*'
    }
    ok "nor is one that does not serve the very run" leaves
else
    skip "a library without malloc is not measured under its name" "no C compiler"
fi

# ---- programs of the system ----
cat >"$scratch/system" <<EOF
line sys/true fast 1 - /sort /dev/null
line sys/static fast 1 - @build/launch -n 1 /bin/true
line sys/missing fast 1 - /no-such-program-anywhere
line sys/path fast 1 - $scratch/none/prog
line sys/crash fast 1 - $scratch/crash
line sys/long fast 1 - /sh $scratch/long
line sys/made fast 1 - A=made /sh $scratch/made @tmp/made
line sys/read fast 1 - /sh $scratch/prepare @tmp/text ; /grep -q prepared @tmp/text
line sys/bad-read fast 1 - /false ; /true
line sys/pair fast 1 - /sh $scratch/server @tmp & /sh $scratch/client @tmp 0
line sys/bad-pair fast 1 - /sh $scratch/server @tmp & /sh $scratch/client @tmp 3
EOF
echo 'echo $$ >"${0%/*}/long.pid"; exec sleep 60' >"$scratch/long"
printf '#!/bin/sh\nkill -SEGV $$\n' >"$scratch/crash"
chmod +x "$scratch/crash"
{
    echo 'i=0; while [ ! -e "$1/stop" ] && [ $i -lt 100 ]; do i=$((i + 1)); sleep 0.05; done' >"$scratch/server"
    echo 'touch "$1/stop"; exit $2' >"$scratch/client"
}
system() { # CODE LINE
    gives "$1" run --build "$programs" --lines "$scratch/system" --bench "sys/$2" "${ours[@]}" --warmup 0 --runs 1
}
if [[ $(LD_DEBUG=bindings /bin/true 2>&1) == *"binding file"* ]]; then
    real() { system 0 "true" && prints 'sys/true [0-9.]+/[0-9.]+ 1.00/1.00 .*'; }
    ok "a program of the system, by the bindings of its malloc" real
    static() {
        system 1 static && prints 'sys/static not served not served.*' &&
            complains 'run: sys/static under glibc: not served: it is static, .*' \
                'run: sys/static under hakmem: not served: .*'
    }
    ok "a static one is shown as not served, not measured" static
    crash() {
        system 1 crash && prints 'sys/crash FAILED FAILED.*' 'sys/crash hakmem 1 of 1 killed by SIGSEGV' &&
            complains 'run: sys/crash under glibc: killed by SIGSEGV' 'run: sys/crash under hakmem: killed by SIGSEGV'
    }
    ok "a crash is shown, and is the exit code's business" crash
    ok "a server and its client" system 0 pair
    bad_pair() { system 1 bad-pair && prints 'sys/bad-pair hakmem 1 of 1 its companion: exit code 3'; }
    ok "a client that fails is the line's failure" bad_pair
    echo '[ "$A" = made ] && [ "$PWD/made" = "$1" ] && [ ! -e "$1" ] && touch "$1"' >"$scratch/made"
    ok "a run has its own environment and folder, which is empty" system 0 made
    gone() { # it may be a zombie until somebody waits for it
        local stat i
        for ((i = 0; i < 100; i++)); do
            stat=$(cat "/proc/$(cat "$scratch/long.pid")/stat" 2>/dev/null) || return 0
            [[ ${stat##*) } != Z* ]] || return 0
            sleep 0.05
        done
        echo "it is still there: $stat"
        return 1
    }
    echo '[ -z "${LD_PRELOAD-}" ] && echo prepared >"$1"' >"$scratch/prepare"
    ok "what it reads is prepared before, without the preload" system 0 "read"
    bad_read() { system 1 bad-read && prints 'sys/bad-read hakmem 1 of 1 its preparation: exit code 1'; }
    ok "a preparation that fails is the line's failure" bad_read
    long() {
        gives 1 run --build "$programs" --lines "$scratch/system" --bench sys/long --allocator glibc --timeout 0.5 &&
            complains 'run: sys/long under glibc: no end after 0.5 s' &&
            prints 'sys/long glibc 1 of 1 no end after 0.5 s' && gone
    }
    ok "a run that does not end is ended, and not tried again" long
    interrupted() {
        local runner code=0 i
        rm -f "$scratch/long.pid"
        "$python" "$source_dir/bench/run" --build "$programs" --lines "$scratch/system" --bench sys/long \
            --allocator glibc >"$scratch/out" 2>"$scratch/err" </dev/null &
        runner=$!
        for ((i = 0; i < 600; i++)); do
            [ -s "$scratch/long.pid" ] && break
            sleep 0.1
        done
        kill -TERM "$runner"
        wait "$runner" || code=$?
        [ "$code" = 130 ] && complains 'run: interrupted; this is what was measured until then' &&
            gone
    }
    ok "an interrupted runner leaves nothing behind" interrupted
    if have_compiler "$cc"; then
        printf '#include "bump.h"\nint main(void) { puts("x"); return 0; }\n' >"$scratch/own.c"
        # shellcheck disable=SC2086
        $cc -O1 -fno-builtin -rdynamic -o "$scratch/own" "$scratch/own.c"
        echo "line sys/own fast 1 - $scratch/own" >>"$scratch/system"
        own() {
            system 1 own &&
                complains 'run: sys/own under glibc: not served: .*' 'run: sys/own under hakmem: not served: .*'
        }
        ok "a program with a malloc of its own is not measured" own
    else
        skip "a program with a malloc of its own is not measured" "no C compiler"
    fi
else
    skip "a program of the system, by the bindings of its malloc" "the dynamic linker does not say what it binds"
fi
missing() {
    system 1 missing && complains 'run: sys/missing: no-such-program-anywhere is not there' &&
        prints 'sys/missing glibc 1 of 1 missing: /no-such-program-anywhere'
}
ok "a program that is not installed is one line" missing
missing_path() {
    system 1 path && complains "run: sys/path: $scratch/none/prog is not there" &&
        prints "sys/path glibc 1 of 1 missing: $scratch/none/prog"
}
ok "a path where nothing is is named as it stands" missing_path
silent() {
    gives 1 run "${quick[@]}" --allocator glibc --bench fast/silent --bench fast/tiny &&
        complains 'run: fast/silent under glibc: no steady_faults in its output' && prints 'fast/tiny 1.00/1.00 .*'
}
ok "a bench that does not print its figures has failed; the others are run" silent

# ---- a CSV that cannot be written ----
unwritten() { # FILE WHY ARGUMENT...
    gives 1 run "${quick[@]}" "${ours[@]}" --bench fast/tiny --output "$1" "${@:3}" &&
        complains "run: $1: $2; the runs go on without it" && prints 'fast/tiny [0-9.]+/[0-9.]+ 1.00/1.00 .*'
}
ok "a CSV that cannot be opened is one line; the runs go on, and are shown" \
    unwritten "$scratch/none/a.csv" "No such file or directory"
if [ -c /dev/full ]; then
    ok "so is one that cannot be written" unwritten /dev/full "No space left on device"
else
    skip "so is one that cannot be written" "no /dev/full"
fi
midway() (
    ulimit -f 2 # KiB: the head and some rows
    unwritten "$scratch/long.csv" "File too large" --runs 6 --until 0 &&
        [ "$(column "$scratch/long.csv" round | head -n 2 | tr -d '\n')" = 00 ]
)
ok "and one that cannot be written any longer" midway
# `make bench` needs it: the tools are there, what is measured are milliseconds, and nothing is built.
if command -v make >/dev/null && [ -f "$build_dir/Makefile" ]; then
    make_bench() { # CODE
        local code=0
        make -s --no-print-directory -C "$build_dir" -o all -o bench-programs bench BENCH_RESULTS="$scratch/results" \
            BENCH_ALLOCATORS=glibc BENCH_ARGS="--lines $scratch/lines --bench fast/tiny --warmup 0 --runs 1" \
            >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
        [ "$code" = "$1" ] || { cat "$scratch/out" "$scratch/err"; return 1; }
    }
    no_report() {
        mkdir -p "$scratch/results/runs.csv"
        make_bench 2 && [ ! -e "$scratch/results/run.txt" ] &&
            grep -qx "make bench: $scratch/results/runs.csv cannot be written: there would be no report" "$scratch/err"
    }
    ok "make bench without its CSV is one line, and nothing is run" no_report
    a_report() {
        rmdir "$scratch/results/runs.csv"
        if command -v gnuplot >/dev/null; then make_bench 0; else make_bench 2; fi &&
            [ "$(column "$scratch/results/runs.csv" bench)" = fast/tiny ] && [ -s "$scratch/results/report.txt" ]
    }
    ok "with it, there is a report" a_report
else
    skip "make bench without its CSV is one line, and nothing is run" "no make, or no Makefile"
fi

# ---- what cannot be done at all ----
nothing() { # PATTERN ARGUMENT...
    local pattern=$1
    shift
    gives 2 run "${quick[@]}" "$@" && complains "run: $pattern" && [ ! -s "$scratch/out" ]
}
ok "only unknown benches" gives 2 run "${quick[@]}" "${ours[@]}" --bench nothing
ok "no bench programs" gives 2 run --build "$scratch" --bench tiny_hot/16
echo 'line fast/tiny fast many ops tiny_hot' >"$scratch/bad"
ok "a table that cannot be read" nothing "$scratch/bad: line 1: many is no number of threads" --lines "$scratch/bad"
ok "a number of runs that is none" gives 2 run "${quick[@]}" --runs 0
ok "an unknown option" gives 2 run --nothing
done_testing
