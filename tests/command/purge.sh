#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# purge.sh: `hakmem purge` and `hakmem set`: the process does what it is asked with its next slow call, and says what came
# of it; one that makes none is not waited for; what it must not do is refused; and garbage in the mailbox harms nobody.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/command/window.sh
. "$(dirname "$0")/window.sh"

for words in "purge" "purge x" "purge 1 2" "purge --bogus 1" "purge --wait x 1" "set" "set 1" "set x A=1" "set --wait -1 1 A=1"; do
    # shellcheck disable=SC2086  # several words
    ok "\"hakmem $words\": wrong usage" gives 2 $words
done

start "$scratch/stand" run
purged() {
    local before after
    before=$(option purged_bytes)
    gives 0 purge "$pid" && grep -Eqx "process $pid: given back: [0-9]+ KiB" "$scratch/out" || return 1
    after=$(option purged_bytes)
    [ "$after" -gt "$before" ] || { echo "$before, then $after"; return 1; }
}
ok "purge: memory is given back" purged
set_one() { gives 0 set "$pid" DIRTY_KB=128 && [ "$(cat "$scratch/out")" = "process $pid: DIRTY_KB is 128 (it was 4096)" ]; }
ok "set: an option, and what it was" set_one
ok "it is so" is DIRTY_KB 128
several() { gives 0 set --wait=5 "$pid" HAKMEM_DIRTY_PERCENT=3 PURGE_MS=0 && is DIRTY_PERCENT 3 && is PURGE_MS 0; }
ok "several at once" several
kept() { # the option has an effect: of this program at most 128 KiB and 3 % stay dirty
    sleep 1
    local dirty live
    dirty=$(option dirty_bytes) live=$(option live_bytes)
    [ "$dirty" -le $((live / 10 + 1048576)) ] || { echo "dirty $dirty of live $live"; return 1; }
}
ok "and it works" kept

refused() { fails 4 "process $pid: refused: .*$1" set "$pid" "$2"; }
ok "an option that is unknown" refused 'has no option BOGUS' BOGUS=1
ok "one for the start alone" refused 'BIG_KB cannot be set' BIG_KB=2048
ok "one that would open a file" refused 'STATS cannot be set' STATS=1
ok "a value out of range" refused 'DIRTY_PERCENT takes 0 to 1000' DIRTY_PERCENT=1001
for words in "DIRTY_KB" "DIRTY_KB=" "DIRTY_KB=x" "DIRTY_KB=-1" "=1" "DIRTY_KB=99999999999999999999"; do
    ok "\"hakmem set PID $words\": not understood" gives 2 set "$pid" "$words"
done
ok "nothing of it was done" is DIRTY_KB 128
alive() { kill -0 "$pid" && is requests_refused 0; }
ok "and the process was not bothered" alive

# Two at a time, and many: each is answered.
crowd() {
    local i rc=0 asked=()
    for i in 1 2 3 4 5 6 7 8; do
        "$hakmem" set --wait 20 "$pid" "CACHE_KB=$((1000 + i))" >"$scratch/out.$i" 2>&1 &
        asked+=("$!")
    done
    for i in "${asked[@]}"; do
        wait "$i" || rc=1
    done
    cat "$scratch"/out.?
    [ "$rc" = 0 ] && kill -0 "$pid"
}
ok "many at a time" crowd

# Garbage, by one who has the right to write but does not know how.
garbage() {
    python3 - "$pid" "$so" <<'END'
import ctypes, os, random, subprocess, sys
pid, so = int(sys.argv[1]), sys.argv[2]
symbols = {l.split()[-1]: int(l.split()[0], 16) for l in
           subprocess.run(["nm", so], capture_output=True, text=True).stdout.splitlines() if len(l.split()) == 3}
if "hkm_live_mailbox" not in symbols:
    print("no symbols")
    sys.exit(77)
base = min(int(l.split("-")[0], 16) for l in open(f"/proc/{pid}/maps") if os.path.realpath(so) in l)
random.seed(1)
word = ctypes.sizeof(ctypes.c_void_p)
with open(f"/proc/{pid}/mem", "r+b", buffering=0) as mem:
    for i in range(300):
        for at, n in (symbols["hkm_live_mailbox"], 40), (symbols["hkm_superslab_stats"] + word, word):
            mem.seek(base + at)
            mem.write(random.randbytes(n))
        end = 0
        for _ in range(200000 if i == 299 else 300):
            mem.seek(base + symbols["hkm_superslab_stats"] + word)
            if mem.read(word) == bytes(word):
                break
END
}
if command -v python3 >/dev/null && command -v nm >/dev/null && nm "$so" 2>/dev/null | grep hkm_live_mailbox >/dev/null; then
    ok "garbage is written" garbage
    survives() { kill -0 "$pid" && is DIRTY_KB 128 && is DIRTY_PERCENT 3 && [ "$(option requests_refused)" -gt 0 ]; }
    ok "it is refused and counted" survives
    ok "the mailbox still works" gives 0 set "$pid" DIRTY_KB=256
else
    skip "garbage is written" "no python3, or no symbols"
fi
stop "$pid"

# One that makes no slow call.
start "$scratch/stand" fill
ok "a process that sleeps" fails 5 "process $pid: it has made no slow call of malloc or free since: it will act" purge --wait 0.3 "$pid"
ok "is not asked twice" fails 5 "process $pid: another request is waiting in its mailbox" set --wait 0.3 "$pid" DIRTY_KB=1
stop "$pid"
sleep 100 &
pids+=("$!")
ok "not a HAKMEM process" fails 1 "process $!: it is not served by HAKMEM" purge "$!"
ok "no such process" fails 1 'process 4194303: no such process' set 4194303 DIRTY_KB=1
env HAKMEM_PASS=1 LD_PRELOAD="$so" sleep 100 &
pids+=("$!")
sleep 0.5
ok "one that is left to the C library" fails 1 "process $!: it has allocated nothing by HAKMEM yet, or is left" purge "$!"
done_testing
