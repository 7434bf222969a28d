#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# man_examples.sh: what can be tried of the manual pages.  The program of hakmem(3) compiles without a warning, runs,
# and does what it says, with the shared library and with the archive; every function of hakmem.h is described; and
# hakmem(7) gives each option's default, range and time of lib/option.def (that the names agree is options.sh's part).
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

# ---- options --------------------------------------------------------------------------------------------------------
# X(NAME, field, default, least, most, when, words)
while IFS=, read -r name _ default least most when _; do
    case ${when// /} in
        LIVE) when="at any time" ;;
        START) when="in the environment" ;;
    esac
    want="Default $((default)); $((least)) to $((most)); $when."
    found=$(grep -A 1 -xF ".It Ev HAKMEM_$name" man/hakmem.7 | tail -n 1)
    [ "$found" = "$want" ] || echo "HAKMEM_$name: \"$found\" should be \"$want\""
done < <(sed -n 's/^X(\(.*\))$/\1/p' lib/option.def) |
    no_complaints "hakmem(7) has the defaults and ranges of option.def"

# ---- functions ------------------------------------------------------------------------------------------------------
grep -o '\bhak_[a-z_]*(' lib/include/hakmem.h | tr -d '(' | LC_ALL=C sort -u | while read -r name; do
    grep -q "^\.Fn $name\b" man/hakmem.3 || echo "$name is not in the synopsis"
    grep -q "^\.Nm $name\b" man/hakmem.3 || echo "$name is not in the names"
    grep -q "^\.It.* Fn $name\b" man/hakmem.3 || echo "$name is not described"
done | no_complaints "hakmem(3) describes every function of hakmem.h"

# ---- the example ----------------------------------------------------------------------------------------------------
so=${HAKMEM_SO-}
archive=${HAKMEM_A-}
if [ ! -f "$so" ] && [ ! -f "$archive" ]; then
    count=$((count + 1))
    echo "ok $count - the example of hakmem(3) # SKIP no library is built here"
    done_testing
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
read -ra cc <<<"${CC:-cc}"

# The first literal block of EXAMPLES; \e is mdoc's backslash.
awk '/^\.Sh / { on = ($2 == "EXAMPLES") } on && /^\.Bd / { inside = 1; next } inside && /^\.Ed/ { exit }
     inside { gsub(/\\e/, "\\"); print }' man/hakmem.3 >"$work/example.c"

# Standard output is four lines: three of words, and the statistics.
complaints_of_run() { # PROGRAM
    "$1" >"$work/out" 2>"$work/err" || echo "exit status $?"
    cat "$work/err"
    sed -n 1p "$work/out" | grep -Eqx 'libhakmem [0-9.]+, DIRTY_KB is [0-9]+' || echo "wrong first line"
    sed -n 2p "$work/out" | grep -Eqx '2000 buffers of 5000 bytes take [0-9]{4,5} KiB' || echo "wrong second line"
    sed -n 3p "$work/out" | grep -Eqx 'given back: [0-9]{4,5} KiB' || echo "wrong third line"
    sed -n 4p "$work/out" | grep -Eq '^\{"hakmem": .*"live_bytes": [0-9]+.*\}$' || echo "wrong fourth line"
}

try() { # NAME LIBRARY [OPTION]...
    local name=$1
    shift
    {
        # Without options, as the page says; the warnings are ours to see.
        if "${cc[@]}" -Wall -Wextra -I lib/include -o "$work/$name" "$work/example.c" "$@" 2>&1; then
            LD_LIBRARY_PATH=${so%/*} complaints_of_run "$work/$name"
        else
            echo "it does not compile"
        fi
    } | no_complaints "the example of hakmem(3), $name"
}
[ ! -f "$so" ] || try shared "$so"
[ ! -f "$archive" ] || try static "$archive" -pthread
done_testing
