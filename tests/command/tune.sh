#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# tune.sh: `hakmem tune`: that it finds the setting of a program whose best one is known, also of a server; what it tells; and
# what it refuses.  The programs differ under that setting by many times the noise.
# shellcheck disable=SC2016,SC2317  # $1 and so on are other shells'; ok calls the functions
# shellcheck source=tests/command/common.sh
. "$(dirname "$0")/common.sh"
have_compiler "$cc" || skip_all "no compiler"

# swing [SERVER-FOLDER]: fills and frees a block of 40 MiB again and again, which has a mapping of its own by default; says how
# many pages it has faulted in.  As a server: when a file "go" is there.  Built with other BLOCKS it does so with them.
cat >"$scratch/swing.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifndef BLOCKS
#define BLOCKS 1
#define SIZE (40 << 20)
#endif

static void swing(void)
{
    static char *held[BLOCKS];
    for (int times = 0; times < 4; times++) {
        for (int i = 0; i < BLOCKS; i++)
            memset(held[i] = malloc(SIZE), 1, SIZE);
        __asm__ volatile("" : : "g"(held) : "memory"); /* else nothing is filled, since nobody reads it */
        for (int i = 0; i < BLOCKS; i++)
            free(held[i]);
    }
}

static void make(const char *name) { fclose(fopen(name, "w")); }

int main(int argc, char **argv)
{
    struct rusage u;
    if (argc > 1) {
        if (chdir(argv[1]))
            return 1;
        for (make("ready");; usleep(1000))
            if (unlink("go") == 0) {
                swing();
                make("done");
            }
    }
    swing();
    getrusage(RUSAGE_SELF, &u);
    printf("%ld\n", u.ru_minflt);
    return 0;
}
END
$cc -O1 -o "$scratch/swing" "$scratch/swing.c" || skip_all "the compiler makes no programs"

# What is set is not tried: this leaves few settings, so that it is soon done.
others=(HAKMEM_PURGE_MS=1000 HAKMEM_HUGEPAGES=no HAKMEM_DISABLE_BIGCACHE=0 HAKMEM_DISABLE_PREFAULT=0 HAKMEM_DISABLE_PURGE=0
    HAKMEM_DIRTY_KB=4096 HAKMEM_DIRTY_PERCENT=12 HAKMEM_CACHE_KB=65536 HAKMEM_DISABLE_CACHE_GROWTH=0 HAKMEM_DISABLE_NURSERY=0 HAKMEM_TINY_USE_SUPERSLAB=1)
tune() { # ARGUMENT...
    code=0
    env "${others[@]}" "$hakmem" tune --library "$so" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
    cat "$scratch/out" "$scratch/err"
    return "$code"
}
answer() { grep -E '^(HAKMEM_[A-Z_]+=[^ ]+ )+hakmem run ' "$scratch/out"; }

# ---- the table
rows() {
    local name value row least most words bad=0
    while IFS=, read -r name value; do
        row=$(grep "^X($name, " "$source_dir/lib/option.def") || { echo "no option $name"; bad=1; continue; }
        IFS=, read -r _ _ _ least most _ words <<<"$row"
        if [[ $value =~ ^[0-9]+$ ]]; then
            [ "$value" -ge $((least)) ] && [ "$value" -le $((most)) ]
        else
            [[ $words == *[\"\ ]$value=* ]]
        fi || { echo "$name=$value"; bad=1; }
    done < <(sed -n 's/^X([A-Z]*, \([A-Z_]*\), "\([^"]*\)".*/\1,\2/p' "$source_dir/cmd/tune.def")
    [ "$(grep -c '^X(' "$source_dir/cmd/tune.def")" -ge 10 ] && [ "$bad" = 0 ]
}
ok "every row of tune.def is an option and a value of it" rows

policy() { # NAME VALUE: what is in force in a process with that in its environment
    local pid
    env "$1=$2" LD_PRELOAD="$so" sleep 100 2>"$scratch/err" &
    pid=$!
    pids+=("$pid")
    for _ in {1..100}; do
        "$hakmem" stat --json --no-names "$pid" >"$scratch/json" 2>/dev/null &&
            grep -q '"slots_mapped": [1-9]' "$scratch/json" && break # the first block is there
        sleep 0.05
    done
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
    cat "$scratch/err"
    grep -o '"policy": {[^}]*}' "$scratch/json" | tr ',' '\n' | grep '"policy_'
}
same() {
    local name value lines bad=0
    while IFS=';' read -r name value lines; do
        printf 'hakmem-policy 1\n%b\nend\n' "$lines" >"$scratch/file"
        policy "HAKMEM_$name" "$value" | grep -v "prefault_from_kb" >"$scratch/option"
        policy HAKMEM_POLICY_FILE "$scratch/file" | grep -v "prefault_from_kb" >"$scratch/policy"
        [ "$(wc -l <"$scratch/option")" -ge 20 ] || { echo "no policy"; bad=1; }
        diff "$scratch/option" "$scratch/policy" || { echo "$name=$value"; bad=1; }
    done < <(sed -n 's/^X([A-Z]*, \([A-Z_]*\), "\([^"]*\)", "\([^"]*\)".*/\1;\2;\3/p' "$source_dir/cmd/tune.def")
    return "$bad"
}
pids=()
clean_up() { for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null; done; }
ok "as an option and as rows of a policy it is the same" same

# ---- finding
found() {
    tune --rounds 6 --time 20 --save "$scratch/best" "$scratch/swing" && answer | grep -q '^HAKMEM_BIG_KB=262144 hakmem run '
}
ok "finds the setting that is better" found
told() { grep -Eq '^  page faults  0\.[0-5][0-9]* \([0-9.]+ to 0\.[0-9]+\)$' "$scratch/out" && grep -q '^the defaults ' "$scratch/out"; }
ok "tells the gains and their spread" told
stays() { grep -q '^Set, and left as they are:.* HAKMEM_HUGEPAGES' "$scratch/out"; }
ok "what is set is left as it is, and said" stays
copied() { # the line works as it stands there
    local with without
    with=$(cd "$scratch" && PATH=$(dirname "$hakmem"):$PATH bash -c "$(answer)") || return 1
    without=$("$hakmem" run --library "$so" "$scratch/swing")
    echo "$with $without"
    [ "$((with * 2))" -lt "$without" ]
}
ok "the line can be copied" copied
saved() {
    local with without
    cat "$scratch/best"
    [ "$(head -n 1 "$scratch/best")" = "hakmem-policy 1" ] && grep -qx 'big_kb 262144' "$scratch/best" || return 1
    with=$(HAKMEM_POLICY_FILE=$scratch/best "$hakmem" run --library "$so" "$scratch/swing" 2>"$scratch/err")
    without=$("$hakmem" run --library "$so" "$scratch/swing")
    echo "$with $without"
    [ "$((with * 2))" -lt "$without" ] && [ ! -s "$scratch/err" ]
}
ok "--save: a policy file, which does the same" saved
# PURGE_MS=0 is all that is left to try then, and 24 MiB that swing within a second are faulted in each time.
$cc -O1 -DBLOCKS=1536 -DSIZE=16384 -o "$scratch/small" "$scratch/swing.c"
nothing() {
    code=0
    env "${others[@]:1}" HAKMEM_BIG_KB=32768 "$hakmem" tune --library "$so" --rounds 6 --time 20 --for memory \
        --save "$scratch/best" "$scratch/small" >"$scratch/out" 2>"$scratch/err" || code=$?
    cat "$scratch/out" "$scratch/err"
    [ "$code" = 0 ] && grep -q '^1 settings*; ' "$scratch/out" && grep -qx 'Nothing is better than the defaults.' "$scratch/out" &&
        ! answer && [ "$(grep -v '^#' "$scratch/best" | tr '\n' ' ')" = 'hakmem-policy 1 end ' ]
}
ok "nothing is better: it says so, and saves no option" nothing

# ---- servers
mkdir "$scratch/server"
load="cd '$scratch/server' && [ -e ready ] && rm ready && touch go && until [ -e done ]; do sleep 0.01; done; rm done"
alone() { ! pgrep -f "^$scratch/swing " >/dev/null; }
server() {
    tune --rounds 6 --time 20 --load "$load" -- "$scratch/swing" "$scratch/server" && answer | grep -q '^HAKMEM_BIG_KB=262144 hakmem run ' && alone
}
ok "a server: it is ended when its load is done" server
short() { # it must have begun when the load does
    tune --rounds 6 --time 2 --load true -- sh -c 'exec sleep 100' && ! grep -q 'did not serve' "$scratch/err"
}
ok "a load that is over at once" short
refused_load() { fails 1 'swing, with the defaults, ran, but the load ended with status 7' tune --library "$so" --ready true --load 'exit 7' -- "$scratch/swing" "$scratch/server" && alone; }
ok "a load that fails" refused_load
ok "a server that ends too soon" fails 1 'with the defaults, ended with status 0 before the load was done' \
    tune --library "$so" --load 'sleep 5' -- "$scratch/swing"
late() { fails 1 'its load was not done after 1 s' tune --library "$so" --time 1 --load 'sleep 100' -- "$scratch/swing" "$scratch/server" && alone; }
ok "a load without end" late
ok "a server without a load" fails 1 'still runs after 1 s .*--load' tune --library "$so" --time 1 -- "$scratch/swing" "$scratch/server"

# ---- what programs get and say
printf 'one\ntwo\nthree\n' >"$scratch/input"
# Each run must get the whole input.
input() {
    env "${others[@]}" "$hakmem" tune --library "$so" --rounds 6 --time 20 --show sh -c '[ "$(wc -l)" = 3 ] && echo all of it && echo words >&2' \
        <"$scratch/input" >"$scratch/out" 2>"$scratch/err" || { cat "$scratch/err"; return 1; }
    [ "$(grep -cx 'all of it' "$scratch/out")" -ge 13 ] && [ "$(grep -cx words "$scratch/err")" -ge 13 ]
}
ok "the same input each time; --show" input
silent() { ! grep 'serves process' "$scratch/err"; }
ok "but not the library's words" silent

# ---- an end by a signal
stopped() {
    local pid status=0
    env "${others[@]}" "$hakmem" tune --library "$so" -- sh -c 'sleep 321 & wait' >"$scratch/out" 2>"$scratch/err" </dev/null &
    pid=$!
    sleep 0.5
    kill -TERM "$pid"
    wait "$pid" || status=$?
    echo "status $status"
    [ "$status" = 143 ] && ! pgrep -f '^sleep 321$'
}
ok "SIGTERM ends what was started" stopped
known() { # what is known by then: one run, two rounds of three, and in the third, before any setting can drop out, the program ends it
    local status=0
    : >"$scratch/runs"
    env "${others[@]}" "$hakmem" tune --library "$so" --rounds 1000 -- \
        sh -c 'echo run >>"$0"; [ "$(wc -l <"$0")" -lt 8 ] || { kill -TERM "$PPID"; exec sleep 10; }' "$scratch/runs" \
        >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
    echo "status $status after $(wc -l <"$scratch/runs") runs"
    cat "$scratch/out" "$scratch/err"
    [ "$status" = 143 ] && grep -Eq '^the defaults +[2-9]  ' "$scratch/out" && grep -Eq '^HAKMEM_BIG_KB=[0-9]+ +[0-9]+  ' "$scratch/out"
}
ok "and what is known is told" known

# ---- what cannot be
for words in "" "--bogus ls" "--for speed ls" "--rounds 5 ls" "--rounds x ls" "--time 0 ls" "--ready true ls" "--for"; do
    # shellcheck disable=SC2086  # several words
    ok "\"hakmem tune $words\": wrong usage" gives 2 tune $words
done
ok "no such program" fails 127 'no-such-program: no such program' tune --library "$so" no-such-program
ok "no library" fails 125 'no library for this program' tune --library /nowhere/libhakmem.so.0 ls
kept() { # what is there already
    echo old >"$scratch/best"
    fails 1 'ended with status 3' tune --library "$so" --save "$scratch/best" sh -c 'exit 3' && grep -qx old "$scratch/best" || return 1
    fails 1 'ended with status 3' tune --library "$so" --save "$scratch/none" sh -c 'exit 3' && [ ! -e "$scratch/none" ]
}
ok "--save leaves the file alone when there is no answer" kept
ok "a program that fails" fails 1 'sh, with the defaults, ended with status 3: last words' \
    tune --library "$so" sh -c 'echo first words >&2; echo last words >&2; exit 3'
ok "a program that crashes" fails 1 'sh, with the defaults, was ended by a signal' tune --library "$so" sh -c 'kill -SEGV $$'
cat >"$scratch/picky.c" <<'END'
#include <stdlib.h>
int main(void) { free(malloc(1)); return getenv("HAKMEM_BIG_KB") ? 9 : 0; }
END
$cc -o "$scratch/picky" "$scratch/picky.c"
picky() { ! tune "$scratch/picky" && [ "$code" = 1 ] && grep -q '^hakmem: .*picky, with HAKMEM_BIG_KB=[0-9]*, ended with status 9$' "$scratch/err"; }
ok "a program that fails under a setting" picky
left() { HAKMEM_PASS=1 fails 1 'HAKMEM did not serve it: it is left to the C library' tune --library "$so" ls; }
ok "a program that is left to the C library" left
printf 'int main(void) { return 0; }\n' >"$scratch/empty.c"
$cc "$scratch/empty.c" -o "$scratch/empty"
ok "a program that allocates nothing" fails 1 'HAKMEM did not serve it: it allocates nothing, or ' tune --library "$so" "$scratch/empty"
if $cc -static "$scratch/empty.c" -o "$scratch/alone" 2>/dev/null; then
    ok "a static program" fails 126 'alone is linked statically' tune --library "$so" "$scratch/alone"
else
    skip "a static program" "no static C library"
fi
if [ "$(id -u)" = 0 ] && really_root && cp /bin/ls "$scratch/suid" && chown 65534:65534 "$scratch/suid" &&
    chmod 4755 "$scratch/suid" && ! findmnt -nT "$scratch" -o OPTIONS 2>/dev/null | grep -q nosuid; then
    ok "a setuid program" fails 126 "suid runs with another user's rights" tune --library "$so" "$scratch/suid"
else
    skip "a setuid program" "needs root, and a file system that has such"
fi
ok "a file that cannot be written" fails 1 '/nowhere/file: No such file' tune --library "$so" --save /nowhere/file ls
done_testing
