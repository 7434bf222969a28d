#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# benches.sh: docs/performance.md names every bench program and script, and every line of bench/lines runs a program that
# there is, whose head says how it is called.  Each part of micro has a line, and the allocators that bench/lines names are
# those of bench/allocators.  bench/train.sh runs what is built for it.  Programs that are built refuse a wrong command
# line, and say of themselves which malloc serves them.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

training=$(sed -n '/^TRAINING_BENCHES = /,/[^\\]$/s,^	bench/\([a-z_]*\).*,\1,p' Makefile.am)
programs=$training$'\n'$(sed -n '/^BENCHES = /,/[^\\]$/s,^	bench/\([a-z_]*\).*,\1,p' Makefile.am)
[ "$(wc -l <<<"$programs")" -gt 10 ] || echo "only $programs" | no_complaints "the list of benches is found"

for name in $programs $(sed -n '/^BENCH_FILES = /,/[^\\]$/s,^	bench/\([a-z_]*\(\.sh\|\.py\|\)\)\( .*\|\)$,\1,p' Makefile.am); do
    case $name in common.sh | launcher.py | suite.py) continue ;; esac     # read by the others
    grep -Eq "[\`/]$name([^a-z_]|\$)" docs/performance.md || echo "$name"
done | no_complaints "docs/performance.md names every bench"

diff <(echo "$training") <(sed -n '/^plan() {/,/^EOF/s/^\([a-z_]\{1,\}\) .*/\1/p' bench/train.sh | LC_ALL=C sort -u) |
    no_complaints "bench/train.sh runs the benches of TRAINING_BENCHES, and no others"

sed -n '/^BENCH_FILES = /,/[^\\]$/s,^	bench/programs/\([^ ]*\).*,\1,p' Makefile.am | while read -r file; do
    grep -q "@bench/programs/$file" bench/lines || echo "$file: no line"
    grep -qF "\`$file\`" docs/performance.md || echo "$file: docs/performance.md"
done | no_complaints "bench/lines runs all of bench/programs, and docs/performance.md names it"

for name in $programs; do
    head -n 12 "bench/$name.c" | grep -Eq "^ \* $name( |:|\$)" || echo "$name"
done | no_complaints "the head of every bench says how it is called"

python=$(PATH=/usr/bin:/bin:$PATH command -v python3)
if [ -n "$python" ]; then
    { "$python" bench/run --list && "$python" bench/run --programs --list; } | while read -r line _ _ program _; do
        case $program in
            */* | *=*) ;;
            *) grep -qx "$program" <<<"$programs" || echo "$line: $program" ;;
        esac
    done | no_complaints "every line of bench/lines runs a program of ours, or one of the system"
fi

micro=$(sed -n '/^static const struct part /,/^};/s/^    {"\([a-z_]*\)", .*/\1/p' bench/micro.c)
[ "$(wc -l <<<"$micro")" -gt 10 ] || echo "only $micro" | no_complaints "the parts of micro are found"
for part in $micro; do
    grep -q "^line  *micro/$part  *micro  *1  *ops,core  *micro $part\$" bench/lines || echo "$part: no line in bench/lines"
    grep -q "^| .micro .*[ ,]${part}[ ,]" docs/performance.md || echo "$part: docs/performance.md"
done | no_complaints "each part of micro has its line, and docs/performance.md names it"

# As both write them; hakmem is found in another way.
diff <(awk '$1 == "allocator" && $2 != "hakmem" { $1 = ""; print }' bench/lines) \
    <(sed -n '/^} packages/,/^};/s/^    {"\([a-z]*\)", {\(.*\)}},$/ \1 \2/p' bench/allocators.c | tr -d '",') |
    no_complaints "bench/allocators knows the allocators of bench/lines"

grep -n 'bench_die("usage' bench/*.c | no_complaints "who is called in a wrong way says so by bench_usage: exit code 2"

for name in $programs; do
    program=$built/bench/$name
    { [ -x "$program" ] && [ "$name" != launch ]; } || continue
    said=$("$program" no such arguments 2>&1 >/dev/null </dev/null)
    [ $? = 2 ] && [ "$(wc -l <<<"$said")" = 1 ] || echo "$name and a wrong command line: $said"
    said=$(BENCH_PROVE="exit" "$program" 2>&1 </dev/null) # not into a pipe to grep -q, which may end before the program
    grep -q '^prove: malloc=/' <<<"$said" || echo "$name says nothing of its malloc"
done | no_complaints "benches that are built refuse wrong arguments, and tell which malloc serves them"
done_testing
