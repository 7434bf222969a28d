#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# statistics.sh: the rows of lib/stats.def, the fields of struct hak_stats, what hakmem(3) describes, and the keys that the
# library prints as JSON are the same names; totals are marked alike in the header and the page.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

rows=$(sed -nE 's/^(X|COUNTER)\(([a-z_]+),.*/\2/p' lib/stats.def)
fields=$(sed -n '/^struct hak_stats {/,/^};/s/^ *uint64_t \([a-z_]*\);.*/\1/p' lib/include/hakmem.h)
totals=$(sed -n '/^struct hak_stats {/,/^};/s/^ *uint64_t \([a-z_]*\); *\/\* \* .*/\1/p' lib/include/hakmem.h)
page=$(sed -n '/^\.Ss Statistics/,/^\.Ss Memory/s/^\.It Fa \([a-z_]*\).*/\1/p' man/hakmem.3)
page_totals=$(sed -n '/^\.Ss Statistics/,/^\.Ss Memory/s/^\.It Fa \([a-z_]*\) No \*$/\1/p' man/hakmem.3)

same() { # NAMES NAMES
    diff <(LC_ALL=C sort <<<"$1") <(LC_ALL=C sort <<<"$2") | sed -n 's/^[<>] .*/&/p'
}
[ -n "$rows" ] || echo "no rows" | no_complaints "stats.def has rows"
LC_ALL=C sort <<<"$rows" | uniq -d | no_complaints "no row stands twice"
same "$rows" "$fields" | no_complaints "struct hak_stats has a field for each row (<), and no other (>)"
same "$rows" "$page" | no_complaints "hakmem(3) describes each row (<), and no other (>)"
same "$totals" "$page_totals" | no_complaints "totals are marked in the header (<) as on the page (>)"

# Every key that may be printed: the rows, and those that hakmem(3) names beside them.
so=${HAKMEM_SO-}
if [ -f "$so" ]; then
    keys=$(env HAKMEM_STATS=json LD_PRELOAD="$so" /bin/true 2>&1 | tr ',' '\n' | sed -n 's/^[{ ]*"\([a-z_0-9]*\)": .*/\1/p')
    same "hakmem"$'\n'"pid"$'\n'"$rows" "$(grep -v cache_hits_per_10000 <<<"$keys")" |
        no_complaints "JSON has hakmem, pid and the rows (<), and nothing else (>)"
    for key in hakmem pid cache_hits_per_10000; do
        grep -q "^\.Li $key" man/hakmem.3 || echo "$key"
    done | no_complaints "hakmem(3) names the other keys"
fi
done_testing
