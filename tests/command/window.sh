# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# window.sh: what the tests of `hakmem stat`, `top`, `purge` and `set` share; sourced, no test itself.  Builds a program whose
# processes are looked into, and ends them.
# shellcheck source=tests/command/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
have_compiler "$cc" || skip_all "no compiler"

pids=()
clean_up() {
    local each
    for each in "${pids[@]}"; do
        kill -KILL "$each" 2>/dev/null
        wait "$each" 2>/dev/null
    done
}

# stand: does what its first word says, writes its own statistics as JSON, and stands still, or works on.
cat >"$scratch/stand.c" <<'END'
#include <hakmem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *held[40000];
static unsigned seed = 12345;
static unsigned below(unsigned n) { return (seed = seed * 1103515245u + 12345) / 65536 % 32768 * 32768u % n; }

static void *here(size_t size) { void *p = malloc(size); memset(p, 1, size / 2); return p; }

/* Some of everything: small, mid, runs and big blocks, kept ones, memory that was purged, and holes. */
static void fill(void)
{
    for (int i = 0; i < 20000; i++)
        held[i] = here(1 + below(i % 10 ? 900 : 30000));
    for (int i = 0; i < 100; i++)
        held[20000 + i] = here(33000 + below(1500000));
    for (int i = 0; i < 20100; i += 3) {
        free(held[i]);
        held[i] = NULL;
    }
    held[30000] = here(40 << 20);
    held[30001] = here(100 << 20);
    for (int i = 0; i < 5; i++)
        free(here(3 << 20));
    for (int i = 4000; i < 9000; i++) {
        free(held[i]);
        held[i] = NULL;
    }
    free(held[30001]);
    for (int i = 1; i < 20000; i += 50)
        held[i] = realloc(held[i], 5000);
    hak_purge();
    for (int i = 9000; i < 14000; i += 2) {
        free(held[i]);
        held[i] = NULL;
    }
}

static void stand(void)
{
    hak_stats_print(1, "json");
    for (;;)
        pause();
}

static pthread_barrier_t barrier, ended;
static void *other(void *arg)
{
    int me = (int)(long)arg;
    for (int i = 0; i < 2000; i++)
        held[33000 + 2000 * me + i] = here(16 + i % 2000);
    for (int i = 15000 + 300 * me; i < 15300 + 300 * me; i++) { /* on their way to the first thread */
        free(held[i]);
        held[i] = NULL;
    }
    pthread_barrier_wait(&barrier);
    if (me)
        return NULL;
    pthread_barrier_wait(&ended); /* the others have */
    stand();
    return NULL;
}

static void run(void)
{
    for (unsigned i = 0;; i++) {
        unsigned at = below(40000);
        free(held[at]);
        held[at] = here(1 + below(i % 100 ? 900 : 100000));
        if (i == 100000)
            hak_stats_print(1, "json");
        if (i % 1000 == 0)
            usleep(100);
    }
}

/* 48 MiB that come and go in turn, and enough to do in between for the library to look after them. */
static void swing(void)
{
    void *block[12];
    for (unsigned round = 0;; round++) {
        for (int i = 0; i < 12; i++)
            memset(block[i] = malloc(4 << 20), 1, 4 << 20);
        for (int i = 0; i < 12; i++)
            free(block[i]);
        for (int i = 0; i < 100; i++) {
            for (int k = 0; k < 200; k++)
                held[k] = here(1 + below(900));
            for (int k = 0; k < 200; k++)
                free(held[k]);
            usleep(1000);
        }
        if (round == 30)
            hak_stats_print(1, "json");
    }
}

int main(int argc, char **argv)
{
    pthread_t threads[3];
    const char *what = argc > 1 ? argv[1] : "fill";
    if (!strcmp(what, "first"))
        stand();
    if (!strcmp(what, "run"))
        run();
    if (!strcmp(what, "swing"))
        swing();
    fill();
    if (!strcmp(what, "fill"))
        stand();
    pthread_barrier_init(&barrier, NULL, 4);
    pthread_barrier_init(&ended, NULL, 2);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, other, (void *)(long)i);
    pthread_barrier_wait(&barrier);
    for (int i = 1; i < 3; i++)
        pthread_join(threads[i], NULL); /* their heaps are parked */
    pthread_barrier_wait(&ended);
    for (;;)
        pause();
}
END
build() { # FLAG... : with the library, or preloaded by the caller
    # shellcheck disable=SC2086  # CC has options
    $cc -g -O1 -fno-builtin -I "$source_dir/lib/include" "$scratch/stand.c" -pthread "$@"
}
ok "the program is built" build -o "$scratch/stand" "$so" -Wl,-rpath,"$(dirname "$so")" || done_testing

# Starts it; its number goes to $pid, and its statistics are in $scratch/own.
start() { # PROGRAM [WORD]
    rm -f "$scratch/own"
    "$@" >"$scratch/own" 2>/dev/null &
    pid=$!
    pids+=("$pid")
    for _ in {1..1200}; do
        [ ! -s "$scratch/own" ] || break
        sleep 0.05
    done
    [ -s "$scratch/own" ] || { echo "$1 says nothing"; return 1; }
    sleep 0.2 # it has come to stand still
}
stop() { # PID
    kill -KILL "$1"
    wait "$1" 2>/dev/null
}
# The number of a key in a line of JSON.
number() { # FILE KEY
    grep -o "\"$2\": [0-9]*" "$1" | sed -n '1s/.*: //p'
}
# A number of the process, by its key; and what it is to be.
option() { gives 0 stat --json "$pid" && number "$scratch/out" "$1"; }
is() { [ "$(option "$1")" = "$2" ] || { echo "$1 is $(option "$1"), not $2"; return 1; }; }
json() { gives 0 stat --json "$1" && cp "$scratch/out" "$scratch/json"; }
# Every number that the process knows of itself is what is read from outside.
agree() {
    local key wrong=0
    while read -r key; do
        if [ "$(number "$scratch/own" "$key")" != "$(number "$scratch/json" "$key")" ]; then
            echo "$key: $(number "$scratch/own" "$key") inside, $(number "$scratch/json" "$key") from outside"
            wrong=1
        fi
    done < <(grep -o '"[a-z_]*": [0-9]' "$scratch/own" | cut -d'"' -f2)
    [ "$(grep -o '"[a-z_]*": [0-9]' "$scratch/own" | wc -l)" -ge 40 ] || { echo "few numbers"; wrong=1; }
    return $wrong
}
can_read() { # skips everything where the kernel lends no window at all
    start "$scratch/stand" first || return 0
    run_command stat "$pid"
    [ "$code" = 0 ] || ! grep -q 'permission\|not implemented' "$scratch/err" || skip_all "$(cat "$scratch/err")"
    stop "$pid"
}
can_read
