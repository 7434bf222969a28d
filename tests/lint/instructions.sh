#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# instructions.sh: bench/instructions --check fails when, and only when, a figure is more than 2 % above the baseline, and
# says which.  With made-up figures: counting takes valgrind and its time, and is done in .ci/run.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

figures() { # BUILD [NAME NUMBER]...
    printf '[%s]\n' "$1"
    shift
    [ $# = 0 ] || printf '%s %s\n' "$@"
}
# Complains unless --check of the files now and base ends with this code and says these lines, all of them.
expect() { # CODE LINE...
    local code=$1 said
    shift
    said=$(bench/instructions --check --figures "$work/now" --baseline "$work/base" 2>&1 </dev/null)
    local got=$?
    [ $got = "$code" ] || echo "exit code $got, expected $code: $said"
    # shellcheck disable=SC2001  # each line
    [ "$said" = "$(printf 'instructions: %s\n' "$@")" ] || echo "it said: $said"
}

figures "gcc 1" malloc 14.000 flush 30.000 >"$work/now"
cp "$work/now" "$work/base"
expect 0 "no figure is more than 2 % above the baseline of [gcc 1]" | no_complaints "equal figures pass"

figures "gcc 1" malloc 13.000 flush 30.000 >"$work/base"
expect 1 "malloc takes more: before 13.000, now 14.000 instructions (+7.7 %)" | no_complaints "more than before fails"

figures "gcc 1" malloc 13.000 flush 29.000 >"$work/base"
expect 1 "malloc takes more: before 13.000, now 14.000 instructions (+7.7 %)" \
    "flush takes more: before 29.000, now 30.000 instructions (+3.4 %)" | no_complaints "a line for each"

figures "gcc 1" malloc 14.000 flush 31.000 >"$work/base"
expect 0 "less: flush 30.000 (31.000): --update writes it down" \
    "no figure is more than 2 % above the baseline of [gcc 1]" | no_complaints "less than before passes, and is told"

figures "gcc 1" malloc 100.000 >"$work/base"
figures "gcc 1" malloc 102.000 >"$work/now"
expect 0 "no figure is more than 2 % above the baseline of [gcc 1]" | no_complaints "2 % more passes"
figures "gcc 1" malloc 102.001 >"$work/now"
expect 1 "malloc takes more: before 100.000, now 102.001 instructions (+2.0 %)" | no_complaints "anything above does not"

figures "gcc 1" malloc 14.000 flush 30.000 >"$work/now"
figures "gcc 1" malloc 14.000 >"$work/base"
expect 1 "flush is not in the baseline: see --update" | no_complaints "a figure that the baseline has not"
figures "gcc 1" malloc 14.000 flush 30.000 free 21.000 >"$work/base"
expect 1 "free is not measured any more: see --update" | no_complaints "a figure that only the baseline has"

{ figures "gcc 2" malloc 1.000; echo; figures "gcc 1" malloc 14.000 flush 30.000; figures "clang 1" malloc 1.000; } >"$work/base"
expect 0 "no figure is more than 2 % above the baseline of [gcc 1]" | no_complaints "the same compiler's figures count, no other's"

{ figures "gcc 2" malloc 1.000; figures "clang 1" malloc 1.000; } >"$work/base"
expect 77 "skipped: there are no figures of [gcc 1] in $work/base, only of [gcc 2] [clang 1] " |
    no_complaints "an unknown compiler is skipped, with the reason"

bench/instructions --update --figures "$work/now" --baseline "$work/base" 2>&1 |
    grep -Fxv "instructions: $work/base: now of [gcc 1] too" | no_complaints "--update says what it has done"
expect 0 "no figure is more than 2 % above the baseline of [gcc 1]" | no_complaints "what --update has written passes"
figures "gcc 1" malloc 15.000 flush 30.000 >"$work/now"
expect 1 "malloc takes more: before 14.000, now 15.000 instructions (+7.1 %)" | no_complaints "and is kept to"
bench/instructions --update --figures "$work/now" --baseline "$work/base" 2>/dev/null
{
    expect 0 "no figure is more than 2 % above the baseline of [gcc 1]"
    [ "$(grep -c '^malloc' "$work/base")" = 3 ] || cat "$work/base"
    grep -qFx 'malloc 15.000' "$work/base" || echo "no new figure"
} | no_complaints "--update replaces the figures of the same compiler, and leaves those of others"

figures "gcc 1" malloc many >"$work/base"
expect 1 "$work/base: line 2 is no figure" | no_complaints "a baseline that is none"
rm "$work/base"
expect 1 "$work/base: cannot be read" | no_complaints "a baseline that is not there"
figures "gcc 1" malloc 14.000 >"$work/base"
rm "$work/now"
expect 1 "$work/now: cannot be read" | no_complaints "figures that are not there"
: >"$work/now"
expect 1 "$work/now: not the figures of one build" | no_complaints "no figures"
printf 'malloc 14.000\n' >"$work/base"
figures "gcc 1" malloc 14.000 >"$work/now"
expect 77 "skipped: there are no figures of [gcc 1] in $work/base, only of " | no_complaints "a baseline of nobody"
mkdir "$work/folder"
bench/instructions --update --figures "$work/now" --baseline "$work/folder/none/base" 2>&1 | grep -v '^instructions:.*cannot be written$' |
    no_complaints "a baseline that cannot be written"

# The file itself: its first build's figures are like themselves.
awk '/^\[/ && n++ { exit } n' bench/instructions.baseline >"$work/now"
bench/instructions --check --figures "$work/now" 2>&1 |
    grep -v '^instructions: no figure is more' | no_complaints "bench/instructions.baseline is one"
done_testing
