#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# man_examples.sh: what can be tried of the manual pages.  Every program of section 3 compiles without a warning, runs,
# and says what it should, with the shared library and with the archive; every function of hakmem.h and of the exports is
# described, and found by its name; and hakmem(7) gives each option's default, range and time of lib/option.def (that the
# names agree is options.sh's part).  What is to be typed into a shell is tried by tests/command/man_examples.sh.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ---- options --------------------------------------------------------------------------------------------------------
# X(NAME, field, default, least, most, when, words).  A default that configure sets is given as it is without switches.
# shellcheck disable=SC2034  # they are read by $((default))
HKM_NO_PREFAULT=0 HKM_HUGEPAGES=3
options=0
while IFS=, read -r name _ default least most when _; do
    case ${when// /} in
        LIVE) when="at any time" ;;
        START) when="in the environment" ;;
    esac
    want="Default $((default)); $((least)) to $((most)); $when."
    found=$(grep -A 1 -xF ".It Ev HAKMEM_$name" man/hakmem.7 | tail -n 1)
    [ "$found" = "$want" ] || echo "HAKMEM_$name: \"$found\" should be \"$want\""
    options=$((options + 1))
done < <(sed -n 's/^X(\(.*\))$/\1/p' lib/option.def) >"$work/complaints"
{
    cat "$work/complaints"
    [ "$options" = "$(grep -c '^X(' lib/option.def)" ] || echo "$options options were looked at, not all"
} | no_complaints "hakmem(7) has the defaults and ranges of option.def"

# ---- functions ------------------------------------------------------------------------------------------------------
pages() { sed -n "/^$1 = /,/[^\\\\]\$/s,^	man/\\(hak_[a-z_]*\\)\\.3.*,\\1,p" Makefile.am; }
section() { # NAME PAGE
    awk -v name="$1" '/^\.Sh / { on = ($2 == name) } on' "$2"
}
functions=$({
    grep -o '\bhak_[a-z_]*(' lib/include/hakmem.h | tr -d '('
    sed -n 's/^\(hak_[a-z_]*\) .*/\1/p' tests/abi/exports.txt
} | LC_ALL=C sort -u)
[ "$(wc -l <<<"$functions")" -ge 20 ] || echo "only $functions" | no_complaints "the functions are found"

# A page has the names that it begins with: its own first, links for the others.
for name in $functions; do
    mapfile -t homes < <(grep -lE "^\.Nm $name( ,)?\$" man/hak_*.3)
    if [ ${#homes[@]} != 1 ]; then
        echo "$name is a name of ${#homes[@]} pages: ${homes[*]}"
        continue
    fi
    [ "${homes[0]}" = "man/$name.3" ] || grep -qx "$name" <(pages MAN_LINKS) || echo "no link from $name to ${homes[0]}"
    grep -q "^\.Fn $name\b" < <(section SYNOPSIS "${homes[0]}") || echo "$name is not in the synopsis of ${homes[0]}"
    grep -Eq "^\.(It.* )?Fn $name\b" < <(section DESCRIPTION "${homes[0]}") || echo "$name is not described in ${homes[0]}"
    grep -q "^\.Fn $name\b" < <(section DESCRIPTION man/hakmem.3) || echo "$name is not in the overview of hakmem(3)"
    grep -Eq "^\.It.* Fn $name .*Ta [A-Z, a-z-]*MT-Safe.* Ta [0-9.]+\$" < <(section ATTRIBUTES man/hakmem.3) ||
        echo "$name has no row in ATTRIBUTES of hakmem(3)"
done | no_complaints "every function of hakmem.h has its page, its place in hakmem(3), and its attributes"

for name in $(pages MAN_PAGES) $(pages MAN_LINKS); do
    grep -qx "$name" <<<"$functions" || echo "$name"
done | no_complaints "there are no pages of other functions"

for page in $(man_pages 'hak_.*\.3'); do
    for name in "RETURN VALUES" EXAMPLES ERRORS ATTRIBUTES "SEE ALSO"; do
        case $page:$name in man/hak_version.3:*) ;; *) grep -qx "\.Sh $name" "$page" || echo "$page: no $name" ;; esac
    done
done | no_complaints "every page tells results, errors and thread-safety, and has an example"

# ---- the programs ---------------------------------------------------------------------------------------------------
so=${HAKMEM_SO-}
archive=${HAKMEM_A-}
if [ ! -f "$so" ] && [ ! -f "$archive" ]; then
    count=$((count + 1))
    echo "ok $count - the examples # SKIP no library is built here"
    done_testing
    exit 0
fi

read -ra cc <<<"${CC:-cc}"

# The literal blocks of EXAMPLES that begin with a comment, as $work/NAME.c; \e is mdoc's backslash.
section_examples() { # PAGE
    section EXAMPLES "$1" | awk -v work="$work" '/^\.Bd / { inside = 1; file = ""; next } /^\.Ed/ { inside = 0 }
        inside { gsub(/\\e/, "\\"); if (file == "" && match($0, /^\/\* [a-z]+\.c: /)) file = work "/" $2
                 if (file != "") { sub(/:$/, "", file); print > file } }'
}
for page in $(man_pages '.*\.3'); do
    before=$(cd "$work" && echo *.c)
    section_examples "$page"
    [ "$(cd "$work" && echo *.c)" != "$before" ] || echo "$page"
done | no_complaints "every page of section 3 has a program"

# What each of them prints, line by line.
json='\{"hakmem": .*"live_bytes": [0-9]+.*\}'
declare -A says=(
    [buffers]="libhakmem [0-9.]+, DIRTY_KB is [0-9]+|2000 buffers of 5000 bytes take [0-9]{4,5} KiB|given back: [0-9]{4,5} KiB|$json"
    [lines]="998001, in no less bytes than asked for|at a multiple of 64: yes"
    [frames]="9[0-9] of 100 pictures were kept blocks"
    [growth]="mapped: [0-9]+ KiB more|blocks left: 0|$json"
    [rest]="given back: [0-9]{4} KiB|then: 0 KiB"
    [keep]="VERBOSE can only be set in the environment"
    [version]="compiled with ([0-9.]+), running \\1"
)
complaints_of_run() { # PROGRAM NAME
    local number=0 line want
    "$1" >"$work/out" 2>"$work/err" </dev/null || echo "exit status $?"
    cat "$work/err"
    [ -n "${says[$2]-}" ] || { echo "this test does not know what it should print"; return; }
    while IFS= read -r want; do
        number=$((number + 1))
        line=$(sed -n ${number}p "$work/out")
        grep -Eqx -e "$want" <<<"$line" || echo "line $number: \"$line\" is not $want"
    done < <(tr '|' '\n' <<<"${says[$2]}")
    [ "$(wc -l <"$work/out")" = $number ] || echo "$(wc -l <"$work/out") lines, not $number"
}
try() { # KIND LIBRARY [OPTION]...
    local kind=$1 source name
    shift
    for source in "$work"/*.c; do
        name=$(basename "$source" .c)
        {
            # Without options, as the pages say; the warnings are ours to see.
            if "${cc[@]}" -Wall -Wextra -I lib/include -o "$work/$name-$kind" "$source" "$@" 2>&1; then
                LD_LIBRARY_PATH=${so%/*} complaints_of_run "$work/$name-$kind" "$name"
            else
                echo "it does not compile"
            fi
        } | no_complaints "$name.c, $kind"
    done
}
[ ! -f "$so" ] || try shared "$so"
[ ! -f "$archive" ] || try static "$archive" -pthread
done_testing
