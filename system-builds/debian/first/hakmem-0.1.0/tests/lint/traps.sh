#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# traps.sh: docs/traps.md names tests that are there, and lines that are in them.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

page=docs/traps.md
# Rows end in: | files | "words" or nothing |
rows=$(sed -n 's/^|.*| *\(tests\/[^|]*[^| ]\) *| *\(.*[^ ]\)\{0,1\} *|$/\1|\2/p' "$page")
[ "$(wc -l <<<"$rows")" -gt 50 ] || echo "$page: no table was found" | no_complaints "the page is read"

while IFS='|' read -r file words; do
    if [ -z "$words" ] || [ ! -f "$file" ]; then continue; fi # a test that is not there is named below
    words=${words#\"} words=${words%\"}
    grep -qF -e "$words" "$file" 2>/dev/null || echo "$file has no \"$words\""
done <<<"$rows" | no_complaints "every line that docs/traps.md quotes is in its test"

while IFS='|' read -r files _; do
    for file in ${files//,/ }; do
        [ -f "$file" ] || echo "$file"
    done
done <<<"$rows" | LC_ALL=C sort -u | no_complaints "every test that it names is there"
done_testing
