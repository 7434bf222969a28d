# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# common.sh: what those scripts share that make builds of their own; sourced, no test itself.  Prints TAP.
set -u
# shellcheck disable=SC2034  # for the scripts that source this one
{
    source=$(cd "${top_srcdir:-$(dirname "${BASH_SOURCE[0]}")/../..}" && pwd)
    folder=${top_builddir:-$PWD}/system-builds
}
# Each build finds its own compiler, and nothing is said to HAKMEM.
unset CC CXX NM top_srcdir top_builddir MAKEFLAGS MFLAGS MAKELEVEL LD_PRELOAD "${!HAKMEM_@}"
export LC_ALL=C

number=0
failures=0
# What was wrong is shown: the lines of the log (or of $said) that tell it, or else its last ones.
result() { # STATUS NAME [LOG]
    local log=${3:-${said-}}
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2 # see $log"
        failures=$((failures + 1))
        { grep -ahE '^(not ok|Bail)|error:|\*\*\*|: Circular ' "$log" || tail -n 30 "$log"; } 2>/dev/null | head -n 30 | sed 's/^/# /'
    fi
    return "$1"
}
skip() { # NAME REASON
    number=$((number + 1))
    echo "ok $number - $1 # SKIP $2"
}
done_testing() {
    echo "1..$number"
    [ $failures = 0 ]
}
# No row is named, or this one is.
wanted() { # NAME ARGUMENTS...
    local name=$1 argument
    shift
    [ $# -gt 0 ] || return 0
    for argument; do [ "$argument" = "$name" ] && return 0; done
    return 1
}
