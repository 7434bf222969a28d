#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# benches.sh: docs/performance.md names every bench program and script, and every line of compare.py runs a program that
# there is, whose head says how it is called.  Programs that are built refuse a wrong command line, and say of themselves
# which malloc serves them.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

programs=$(sed -n '/^BENCHES = /,/[^\\]$/s,^	bench/\([a-z_]*\).*,\1,p' Makefile.am)
[ "$(wc -l <<<"$programs")" -gt 10 ] || echo "only $programs" | no_complaints "the list of benches is found"

for name in $programs $(sed -n '/^BENCH_FILES = /,/[^\\]$/s,^	bench/\([a-z_]*\.\(sh\|py\)\).*,\1,p' Makefile.am); do
    [ "$name" = common.sh ] || grep -Eq "[\`/]$name([^a-z_]|\$)" docs/performance.md || echo "$name"
done | no_complaints "docs/performance.md names every bench"

for name in $programs; do
    head -n 12 "bench/$name.c" | grep -Eq "^ \* $name( |:|\$)" || echo "$name"
done | no_complaints "the head of every bench says how it is called"

python=$(PATH=/usr/bin:/bin:$PATH command -v python3)
if [ -n "$python" ]; then
    "$python" bench/compare.py --list | while read -r line program _; do
        grep -qx "$program" <<<"$programs" || echo "$line: $program"
    done | no_complaints "every line of compare.py runs a program of ours"
fi

for name in $programs; do
    program=$built/bench/$name
    { [ -x "$program" ] && [ "$name" != launch ]; } || continue
    "$program" no such arguments >/dev/null 2>&1 </dev/null && echo "$name takes a wrong command line"
    BENCH_PROVE="exit" "$program" 2>&1 </dev/null | grep -q '^prove: malloc=/' || echo "$name says nothing of its malloc"
done | no_complaints "benches that are built refuse wrong arguments, and tell which malloc serves them"
done_testing
