#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# engagement.sh: no test and no benchmark believes a result before it has seen that HAKMEM, and not the C library, served
# the process: every script of tests/preload asks for its words, every C program calls tap_start, every bench goes through
# what proves it.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

for script in tests/preload/*.sh; do
    [ "$script" = tests/preload/common.sh ] && continue
    grep -Eq '\bengaged(_processes)?\b|serves process|statistics of process|\bmapped\b' "$script" ||
        grep -q "malloc is not HAKMEM's" "$script" || echo "$script"
done | no_complaints "every script of tests/preload asks whether HAKMEM served the process"

for program in tests/api/*.c tests/abuse/*.c tests/stress/*.c; do
    grep -q '\btap_start()' "$program" || echo "$program"
done | no_complaints "every program of tests/api, abuse and stress begins with tap_start"

for bench in bench/*.sh; do
    [ "$bench" = bench/common.sh ] && continue
    grep -Eq 'common\.sh' "$bench" || echo "$bench"
done | no_complaints "every script of bench finds its allocators by common.sh"
{
    grep -q 'served_by' bench/common.sh || echo "bench/common.sh proves nothing"
    grep -q 'prove' bench/bench.h || echo "bench/bench.h proves nothing"
    grep -q 'BENCH_PROVE' bench/compare.py || echo "bench/compare.py proves nothing"
} | no_complaints "which, as compare.py, proves who serves malloc"
done_testing
