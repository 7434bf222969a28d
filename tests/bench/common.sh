# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# common.sh: what the tests of the bench runner and its report share; sourced, no test itself.
# shellcheck source=tests/preload/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../preload/common.sh"
python=$(PATH=/usr/bin:/bin:$PATH command -v python3) || skip_all "no python3"
unset "${!BENCH_@}"

# Runs bench/run or bench/report; the exit code, and the words on both outputs.
say() { # PROGRAM ARGUMENT...
    local program=$1
    shift
    code=0
    "$python" "$source_dir/bench/$program" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
}
gives() { # CODE PROGRAM ARGUMENT...
    local want=$1
    shift
    say "$@"
    [ "$code" = "$want" ] || { echo "exit code $code, not $want"; cat "$scratch/out" "$scratch/err"; return 1; }
}
# A line of standard output; blanks count as one.
prints() { # PATTERN...
    local pattern
    for pattern; do
        tr -s ' ' <"$scratch/out" >"$scratch/squeezed"
        grep -qxE -- "$pattern" "$scratch/squeezed" || { echo "no line $pattern in:"; cat "$scratch/out"; return 1; }
    done
}
# Exactly these lines on standard error.
complains() { # PATTERN...
    local pattern
    for pattern; do
        grep -qxE -- "$pattern" "$scratch/err" || { echo "no line $pattern in:"; cat "$scratch/err"; return 1; }
    done
    [ "$(wc -l <"$scratch/err")" = $# ] || { echo "not $# lines:"; cat "$scratch/err"; return 1; }
}
