#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# sites.sh: what `hakmem stat` and `top` say of call sites: how often, how much, how many sizes, how long; of labels; that
# the switch takes them away; and that functions and lines are looked up by either program, with no more rights than the
# process has, or not at all, which is said.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/command/window.sh
. "$(dirname "$0")/window.sh"

cat >"$scratch/sites.c" <<'END'
#include <hakmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MIB = 1 << 20 };
static void *volatile kept;
static const char label;
#define PLACE(name, call) static void *name(size_t size) { char *volatile p = call; *p = 1; return p; }
PLACE(one, malloc(size))
PLACE(many, malloc(size))
PLACE(again, malloc(size))
PLACE(grown, malloc(size))
PLACE(cleared, calloc(1, size))
PLACE(slow, malloc(size))

int main(void)
{
    void *late = slow(3 * MIB);
    for (int i = 0; i < 100; i++)
        free(one(5 * MIB));
    for (size_t i = 0; i < 100; i++)
        free(many((3 + i * 7 % 17) * MIB));
    for (int i = 0; i < 1000; i++)
        free(again(2 * MIB));
    for (int i = 0; i < 10; i++)
        free(realloc(grown(40 * MIB), 80 * MIB));
    kept = cleared(9 * MIB);
    for (int i = 0; i < 30; i++) {
        void *p = hak_alloc_at(1000, &label);
        if (i < 20)
            hak_free_at(p, 1000, &label);
        else
            hak_free(p);
    }
    usleep(100000);
    free(late);
    hak_stats_print(1, "json");
    for (;;)
        pause();
}
END
compile() {
    # elfutils finds a line by this table, which clang leaves out.
    local aranges=-gdwarf-aranges
    $cc -Werror "$aranges" -c -x c /dev/null -o "$scratch/empty.o" 2>/dev/null || aranges=
    # shellcheck disable=SC2086  # CC has options
    $cc -g $aranges -O1 -fno-builtin -fno-inline -I "$source_dir/lib/include" "$scratch/sites.c" -o "$scratch/sites" "$so" \
        -Wl,-rpath,"$(dirname "$so")"
}
ok "a program with sites" compile || done_testing
begin() { start "$@" && json "$pid"; }
ok "it stands" begin "$scratch/sites"
told=$pid

row() { # FUNCTION: its piece of the JSON
    tr '{' '\n' <"$scratch/json" | grep "\"function\": \"$1\""
}
has() { # FUNCTION KEY NUMBER...
    local line
    line=$(row "$1")
    shift
    while [ $# -gt 0 ]; do
        grep -q "\"$1\": $2[,}]" <<<"$line" || { echo "$1 is not $2: $line"; return 1; }
        shift 2
    done
}
mib() { echo $(($1 * 1048576)); }
lives() { row "$1" | grep -o '"lives": \[[0-9, ]*\]' | tr -dc '0-9 '; } # FUNCTION
lived() { # FUNCTION N: so many lifetimes
    [ "$(lives "$1" | tr ' ' '\n' | awk '{ s += $1 } END { print s }')" = "$2" ] || { row "$1"; return 1; }
}
not_short() { [[ "$(lives slow)" =~ ^\ ?0\ 0\ 1\ 0\ 0\ 0\ 0$ ]] || { row slow; return 1; }; }
if command -v addr2line >/dev/null; then
    ok "one size" has one allocs 100 frees 100 bytes "$(mib 500)" freed_bytes "$(mib 500)" live_blocks 0 sizes 1
    ok "many sizes" has many allocs 100 frees 100 sizes "[34]"
    ok "what a run cache hands out again" has again allocs 1000 frees 1000 bytes "$(mib 2000)" sizes 1
    ok "grown by realloc: it is its site's no more" has grown allocs 10 frees 10 bytes "$(mib 400)" live_blocks 0
    ok "cleared, and live" has cleared allocs 1 frees 0 live_blocks 1 live_bytes "$(mib 9)"
    ok "each has lived" lived one 100
    ok "a tenth of a second and more" not_short
else
    skip "counts of functions" "no addr2line"
fi
labelled() { # an address that no function has
    tr '{' '\n' <"$scratch/json" | grep '"allocs": 30, "frees": 20, "bytes": 30000, "freed_bytes": 20000, "sizes": 1,'
}
ok "a label" labelled

words() { # sites alone; the word may also stand behind the number
    gives 0 stat "$told" --sites --no-names && grep -q "^process $told (sites), libhakmem " "$scratch/out" &&
        [ "$(grep -Ec ' sites\+0x[0-9a-f]+$' "$scratch/out")" = 7 ] && ! grep -q DIRTY_KB "$scratch/out"
}
ok "stat PID --sites" words
metrics() {
    local labels="{pid=\"$told\",command=\"sites\",site=\"sites\\+0x[0-9a-f]+\",build_id=\"[0-9a-f]*\"}"
    gives 0 stat --prometheus "$told" && grep -Eq "^hakmem_site_allocs_total${labels//[\{\}]/.} 1000$" "$scratch/out" &&
        grep -Eq "^hakmem_site_live_bytes${labels//[\{\}]/.} $(mib 9)$" "$scratch/out" &&
        grep -q '^# TYPE hakmem_site_allocs_total counter$' "$scratch/out" &&
        grep -q '^# TYPE hakmem_site_live_bytes gauge$' "$scratch/out"
}
ok "for Prometheus" metrics
by() { # COLUMN NUMBER-OF-IT
    gives 0 top --view sites --sort "$1" "$told" && [ "$(wc -l <"$scratch/out")" -ge 8 ] &&
        [ "$(awk -v n="$2" 'NR > 2 { print $n }' "$scratch/out" | sort -rnc 2>&1)" = "" ]
}
ok "top, sorted by how often" by ALLOCS 4
ok "top, sorted by how long" by LIFE 6

# ---- functions and lines
mkdir "$scratch/none" "$scratch/other"
with() { PATH=$1 "$hakmem" stat "$2" "$told" >"$scratch/out" 2>&1; } # FOLDER FORM
without() { with "$scratch/none" --sites && grep -q 'no functions and lines: neither addr2line nor eu-addr2line is installed$' "$scratch/out"; }
ok "neither program" without
without_json() { with "$scratch/none" --json && grep -q '"nameless": "neither addr2line nor eu-addr2line is installed"' "$scratch/out"; }
ok "and as JSON" without_json
if command -v eu-addr2line >/dev/null; then
    ln -s "$(command -v eu-addr2line)" "$scratch/other/"
    other() { with "$scratch/other" --sites && grep -Eq ' one at sites.c:[0-9]+$' "$scratch/out"; }
    ok "by that of elfutils" other
else
    skip "by that of elfutils" "no eu-addr2line"
fi

# Of root's command: what reads another user's files has that user's rights.
unprivileged() { setpriv --reuid 12345 --regid 12346 --clear-groups "$@"; }
spy() { # PROGRAM: of its process the rights are seen
    start "$@" || return 1
    : >"$scratch/public/seen"
    PATH=$scratch/public:$PATH "$hakmem" stat --sites "$pid" >/dev/null 2>"$scratch/err"
    stop "$pid"
    [ "$(sort -u "$scratch/public/seen")" = "12345 12346 12346" ] || { cat "$scratch/public/seen" "$scratch/err"; return 1; }
}
process() { spy setpriv --reuid 12345 --regid 12346 --clear-groups "$scratch/public/sites"; }
owner() { chown 12345:12346 "$scratch/public/sites" && spy "$scratch/public/sites"; }
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && unprivileged test -x "$(dirname "$so")" 2>/dev/null; then
    mkdir "$scratch/public"
    cp "$scratch/sites" "$scratch/public/"
    # shellcheck disable=SC2016  # for that shell
    printf '#!/bin/sh\necho "$(id -u) $(id -g) $(id -G)" >>"%s"\n' "$scratch/public/seen" >"$scratch/public/addr2line"
    : >"$scratch/public/seen"
    chmod 755 "$scratch" "$scratch/public" "$scratch/public/addr2line"
    chmod 666 "$scratch/public/seen"
    ok "as root: with the rights of the process" process
    ok "as root, of a root's process: with those of the file's owner" owner
else
    skip "as root: with the rights of the process" "not root, or the library is not to be read by others"
fi

# ---- switched off
counted() { grep -q '"allocs": [1-9]' "$scratch/json"; }
off() { # VARIABLE
    begin env "$1=1" "$scratch/sites" && ! counted && ! grep -q '"sizes": [1-9]' "$scratch/json" &&
        [ "$(number "$scratch/json" DISABLE_SITES)" = 1 ]
}
ok "HAKMEM_DISABLE_SITES=1: nothing is counted" off HAKMEM_DISABLE_SITES
ok "HAKMEM_MINIMAL=1: the same" off HAKMEM_MINIMAL
on() { begin "$scratch/sites" && counted && [ "$(number "$scratch/json" DISABLE_SITES)" = 0 ]; }
ok "without: it is" on
small() { begin "$scratch/stand" first && ! grep -q '"site": ' "$scratch/json"; }
ok "a small process has none" small
done_testing
