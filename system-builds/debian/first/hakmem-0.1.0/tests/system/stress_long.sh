#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# stress_long.sh: the stress programs with the loops that are too long for every day.  Prints TAP: a line for each program,
# whose own lines are shown as comments.  Run by `make check-system`, or by hand in the build folder.
set -u
builddir=${top_builddir:-$PWD}

number=0
failures=0
run() { # PROGRAM [ARGUMENT]
    local program=$1
    number=$((number + 1))
    if ${MAKE:-make} -s -C "$builddir" "tests/stress/$program" >"$builddir/$program.log" 2>&1 &&
        "$builddir/tests/stress/$program" "${@:2}" >>"$builddir/$program.log" 2>&1; then
        echo "ok $number - $*"
    else
        echo "not ok $number - $*"
        failures=$((failures + 1))
    fi
    sed 's/^/# /' "$builddir/$program.log"
    rm -f "$builddir/$program.log"
}

run fork_many 10000
run fork_stdio 10000
run thread_end 200000
run producer_consumer 120
run thread_leak 300

echo "1..$number"
[ $failures = 0 ]
