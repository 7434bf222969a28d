#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# syscalls.sh: what strace sees: under HAKMEM a real program makes the system calls that it makes without, those of the
# dynamic linker for one library more, and those of hakmem(7), "System calls".  (stress/syscalls proves the list by a
# filter; this is the cross-check with programs that were not written for it.)
# shellcheck disable=SC2317,SC2015  # ok calls the functions; A && B || skip
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
need strace
cd "$scratch" || exit 99
strace -o trace true 2>/dev/null && grep -q execve trace || skip_all "strace may not trace here"

# Names of the calls, each once.
names() { sed -n 's/^[0-9]* *\([a-z_0-9]*\)(.*/\1/p' "$1" | LC_ALL=C sort -u; }
# For one library more: open, read and map it, protect its data.
loading='openat|read|pread64|close|newfstatat|fstat|fstat64|statx|mmap|mmap2|mprotect'
listed='mmap|mmap2|munmap|mprotect|madvise|mremap|futex|futex_time64|clock_gettime|clock_gettime64'
nothing_else() { # COMMAND...
    preloaded "$@" >got 2>/dev/null </dev/null && engaged || return
    strace -f -qq -o without "$@" >expected 2>&1 </dev/null || { cat expected; return 1; }
    strace -f -qq -o with -E LD_PRELOAD="$so" "$@" >got 2>&1 </dev/null || { cat got; return 1; }
    same expected got || return
    # brk tells whose malloc it is: glibc's calls it, and nothing else does but the dynamic linker, at its start.
    [ "$(grep -c 'brk(' with)" -lt "$(grep -c 'brk(' without)" ] || { grep 'brk(' with; return 1; }
    names with | grep -vxFf <(names without) | grep -Evx "$loading|$listed" | grep . && return 1
    return 0
}
seq 1 50000 | sort -R --random-source=/dev/zero >lines
ok "sort" nothing_else sort -n --parallel=1 lines
if command -v sqlite3 >/dev/null; then
    ok "sqlite3" nothing_else sqlite3 :memory: "create table t(a); insert into t select value from
        (with recursive c(value) as (select 1 union all select value+1 from c limit 20000) select value from c);
        select count(*), sum(a) from t;"
else
    skip "sqlite3" "there is none"
fi
if command -v perl >/dev/null; then
    # shellcheck disable=SC2016  # perl's
    ok "perl" nothing_else perl -e 'my %h; $h{$_ % 5000} .= "x" x ($_ % 100) for 1..50000; print length join "", values %h;'
else
    skip "perl" "there is none"
fi
done_testing
