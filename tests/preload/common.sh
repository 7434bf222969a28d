# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# common.sh: what the tests of real programs and of the binary interface share; sourced, no test itself.  Prints TAP.
# From the harness: HAKMEM_SO and HAKMEM_A (the built libraries), CC, CXX, NM, top_srcdir, top_builddir.
set -u -o pipefail

# shellcheck source=tests/tap.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"
done_testing() {
    echo "1..$count"
    [ "$failures" = 0 ]
    exit
}

absolute() { # FILE
    (cd "$(dirname "$1")" 2>/dev/null && printf '%s/%s\n' "$PWD" "$(basename "$1")")
}
# shellcheck disable=SC2034  # all of these are for the scripts that source this one
{
    source_dir=$(absolute "${top_srcdir:-$(dirname "${BASH_SOURCE[0]}")/../..}")
    build_dir=$(absolute "${top_builddir:-.}")
    so=
    archive=
    [ -f "${HAKMEM_SO-}" ] && so=$(absolute "$HAKMEM_SO")
    [ -f "${HAKMEM_A-}" ] && archive=$(absolute "$HAKMEM_A")
    cc=${CC:-cc}
    cxx=${CXX:-c++}
    nm=${NM:-nm}
}
need_so() { [ -n "$so" ] || skip_all "no shared library is built"; }
need() { # PROGRAM...
    local program
    for program; do
        command -v "$program" >/dev/null || skip_all "no $program"
    done
}
# $CC and $CXX may have options: the first word must be a program.
have_compiler() { # COMPILER
    command -v "${1%% *}" >/dev/null
}

# A folder of our own, gone at the end; and an environment that says nothing to HAKMEM, make or the programs.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/hakmem-test.XXXXXX") || exit 99
# shellcheck disable=SC2034  # of tap.sh
tap_said=$scratch/said
clean_up() { :; } # for scripts that have more to do
trap 'clean_up; rm -rf "$scratch"' EXIT
trap 'exit 99' HUP INT TERM
unset LD_PRELOAD "${!HAKMEM_@}" MAKEFLAGS MFLAGS MAKELEVEL
export LC_ALL=C

# Runs a command under HAKMEM.  Its pid goes to $pid, its own words on stderr to $scratch/stderr, HAKMEM's (of the command
# and of all its children) to $scratch/hakmem.words.  Standard input and output are the caller's.
# HAKMEM_VERBOSE says "process PID" with the first block, HAKMEM_STATS at the end.  Both, because some programs end by
# _exit or a signal.
preloaded() { # COMMAND...
    local status=0
    env LD_PRELOAD="$so" HAKMEM_VERBOSE=1 HAKMEM_STATS=1 "$@" <&0 2>"$scratch/both" &
    pid=$!
    wait "$pid" || status=$?
    heard "$scratch/both"
    cat "$scratch/stderr" >&2
    return $status
}
heard() { # FILE
    grep -a '^hakmem: ' "$1" >"$scratch/hakmem.words" || true
    grep -av '^hakmem: ' "$1" >"$scratch/stderr" || true
}

# The last preloaded command itself, not only a child of it, was served by HAKMEM; and nothing was amiss.
engaged() {
    grep -Eq "process $pid( |\$)" "$scratch/hakmem.words" ||
        { echo "no word of process $pid"; sort "$scratch/hakmem.words" | uniq -c | head -n 20; return 1; }
    no_complaint
}
# So were at least NUMBER processes, itself and its children.
engaged_processes() { # NUMBER
    local number
    number=$(grep -Eo 'process [0-9]+' "$scratch/hakmem.words" | sort -u | wc -l)
    [ "$number" -ge "$1" ] || { echo "$number processes, not $1"; return 1; }
    no_complaint
}
no_complaint() { ! grep -aE '^hakmem: [^ ]*\(\): |^hakmem: (internal check|assertion|operator new)' "$scratch/hakmem.words"; }

# A running process has the library mapped.
mapped() { # PID
    grep -Fq "$(basename "$(readlink -f "$so")")" "/proc/$1/maps"
}

same() { # FILE FILE
    diff "$1" "$2"
}
