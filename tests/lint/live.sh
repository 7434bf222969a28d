#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# live.sh: the rows of lib/live.def are those that hakmem-live(5) describes, and have all that the command asks for.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

rows=$(sed -nE -e 's/^(ROOT|NUMBER|WHOLE|VALUE|VALUE_VIA|LIST)\(([a-z_]+),.*/\2/p' \
    -e 's/^(FIELD|ARRAY)\(([a-z_]+), struct [a-z_]+, ([a-z_]+)\)$/\2.\3/p' -e 's/^ROW\("([a-z_.]+)",.*/\1/p' lib/live.def | LC_ALL=C sort -u)
page=$(sed -n '/^\.Ss Ranges/,/^\.Sh EXAMPLES/p' man/hakmem-live.5 | grep -E '\bLi ' | sed 's/.*\bLi //' | tr ' ' '\n' |
    grep -Ex '[a-z][a-z_]*(\.[a-z_]+)?' | LC_ALL=C sort -u)
{ [ "$(wc -l <<<"$rows")" -gt 100 ] || echo "few rows are found"; } | no_complaints "live.def has rows"
comm -23 <(echo "$rows") <(echo "$page") | no_complaints "hakmem-live(5) describes every row"
# What the page says of the structures in their own words: cap, room.
comm -13 <(echo "$rows") <(echo "$page") | grep -Evx 'cap|room' | no_complaints "and nothing that is not told"

# X(name), X(structure, field) in the lists of cmd/window.h.
asked=$(sed -n '/^#define LIVE_ROOTS/,/^struct live_option/p' cmd/window.h | grep -oE 'X\([a-z_]+(, [a-z_]+)?\)' |
    sed -E 's/X\((.*)\)/\1/; s/, /./' | LC_ALL=C sort -u)
comm -13 <(echo "$rows") <(echo "$asked") | no_complaints "the command asks for nothing that is not told"
done_testing
