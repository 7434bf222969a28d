#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# stat.sh: `hakmem stat`: what is read from outside of a process that stands still is, to the byte, what hak_stats_get says
# inside; of one that runs it is sane; shared, static and preloaded, from a library that was deleted; and what cannot be
# read is said in one line.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/command/window.sh
. "$(dirname "$0")/window.sh"

# ---- words
for words in "" "--json" "--bogus 1" "1x" "0" "-1" "--json x" "99999999999999999999"; do
    # shellcheck disable=SC2086  # several words
    ok "\"hakmem stat $words\": wrong usage" gives 2 stat $words
done

# ---- the same, to the byte
same_numbers() { start "$@" && json "$pid" && agree; }
nothing_yet() { grep -q '"big_table_places": 0,' "$scratch/json"; }
exact() { grep -q '"exact": true' "$scratch/json"; }
for what in first fill threads; do
    ok "stand $what: the numbers are its own" same_numbers "$scratch/stand" "$what"
    ok "and they add up" exact
    [ "$what" != first ] || ok "what is not there yet is 0" nothing_yet
    last=$pid
done
faults() { # of the kernel
    local own
    own=$(awk '{ print $10 }' "/proc/$last/stat")
    [ "$(number "$scratch/json" minor_faults)" = "$own" ] || { echo "$own"; return 1; }
}
ok "page faults are the kernel's" faults
classes() { # what is in them, in the nursery, in runs and big blocks is all that lives
    python3 - "$scratch/json" <<'END'
import json, sys
j = json.load(open(sys.argv[1]))
small = sum(c["size"] * c["live_blocks"] for c in j["classes"])
large = sum(s["live_bytes"] for s in j["sites"])
nursery = j["live_bytes"] - small - large
assert 0 <= nursery <= 262144, nursery
assert sum(c["size"] * c["cached_blocks"] for c in j["classes"]) == j["cached_bytes"]
assert sum(c["size"] * c["free_blocks"] for c in j["classes"]) == j["free_bytes"]
assert sum(c["size"] * c["remote_blocks"] for c in j["classes"]) == j["remote_bytes"] > 0
assert sum(c["slabs"] for c in j["classes"]) == j["slabs"] == sum(t["slabs"] for t in j["threads"])
assert sum(s["live_blocks"] for s in j["sites"]) == j["large_allocs"] - j["large_frees"]
assert sum(t["live_bytes"] for t in j["threads"]) == small
assert sum(t["cached_bytes"] for t in j["threads"]) == j["cached_bytes"]
assert sum(t["remote_bytes"] for t in j["threads"]) == j["remote_bytes"]
assert sorted(t["state"] for t in j["threads"]) == ["live", "live", "parked", "parked"], j["threads"]
assert sum(j["groups"]) == sum(c["size"] * c["live_blocks"] for c in j["classes"] if c["size"] <= 1024)
assert j["options"]["DIRTY_KB"] == 4096
p = j["policy"]
assert p["slots_mapped"] * 65536 == j["mapped_bytes"] - j["big_bytes"], p
assert p["slots_dirty"] * 65536 == j["dirty_bytes"], p
assert p["policy_purge_ms"] == 1000 and p["policy_dirty_kb"] == 4096 and p["policy_nursery_bytes"] == 24576, p
assert j["big_blocks"] < p["big_table_places"] <= 65536 and p["big_table_places"] % 2 == 0, p
END
}
if command -v python3 >/dev/null; then
    ok "classes, threads and sites add up, too" classes
else
    skip "classes, threads and sites add up, too" "no python3"
fi

# ---- sites
site() { grep -Eo '"site": "[^"]*", "build_id": "[0-9a-f]*", "offset": [0-9]+, "module": "[^"]*/stand", "function": "here", "line": "stand.c:[0-9]+"' "$scratch/json"; }
if command -v addr2line >/dev/null; then
    ok "sites have function and line" site
else
    skip "sites have function and line" "no addr2line"
fi
nameless() { gives 0 stat --json --no-names "$last" && ! grep -q '"line": "[^"]' "$scratch/out" && grep -q '"site": "stand+0x' "$scratch/out"; }
ok "without names, file and offset" nameless
outlives() { # the same places in another process, wherever it is mapped
    local first second
    json "$last"
    first=$(grep -Eo '"build_id": "[0-9a-f]*", "offset": [0-9]+, "module": "[^"]*/stand"' "$scratch/json" | sort)
    start "$scratch/stand" threads && json "$pid"
    second=$(grep -Eo '"build_id": "[0-9a-f]*", "offset": [0-9]+, "module": "[^"]*/stand"' "$scratch/json" | sort)
    [ -n "$first" ] && [ "$first" = "$second" ]
}
ok "build id and offset are those of every process" outlives

# What it had mapped is another thing by now, such as a device, whose opening may do something.
replaced() {
    local pid
    cp "$scratch/stand" "$scratch/other"
    start "$scratch/other" fill || return 1
    rm "$scratch/other"
    ln -s /dev/tty "$scratch/other (deleted)" # as maps calls it then
    strace -f -e trace=openat -o "$scratch/calls" "$hakmem" stat --json "$pid" >"$scratch/out" 2>&1
    code=$?
    stop "$pid"
    [ "$code" = 0 ] && grep -q openat "$scratch/calls" &&
        ! grep '/other (deleted)"' "$scratch/calls" | grep -v O_PATH
}
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
    ok "a file that was replaced is looked at before it is opened" replaced
else
    skip "a file that was replaced is looked at before it is opened" "no strace"
fi

# ---- as words
words() {
    gives 0 stat "$last" && grep -q "^process $last (stand), libhakmem " "$scratch/out" &&
        grep -Eq '^  live +[0-9]+ KiB$' "$scratch/out" && grep -q DIRTY_KB "$scratch/out" && [ ! -s "$scratch/err" ]
}
ok "as words" words
prometheus() {
    gives 0 stat --prometheus "$last" "$pid" || return 1
    [ "$(grep -c '^# TYPE hakmem_live_bytes gauge$' "$scratch/out")" = 1 ] &&
        [ "$(grep -c '^hakmem_live_bytes{' "$scratch/out")" = 2 ] &&
        grep -Eq "^hakmem_refills_total\{pid=\"$last\",command=\"stand\"\} [0-9]+\$" "$scratch/out" &&
        grep -Eq "^hakmem_class_live_blocks\{pid=\"$last\",command=\"stand\",size=\"[0-9]+\"\} [0-9]+\$" "$scratch/out" &&
        ! grep -Ev '^(# (HELP|TYPE) hakmem_[a-z_]+ .+|hakmem_[a-z_]+\{[^}]*\} [0-9]+)$' "$scratch/out"
}
ok "for Prometheus" prometheus
together() { # all lines of a metric, and each metric once
    [ -z "$(grep '^# TYPE' "$scratch/out" | sort | uniq -d)" ] &&
        [ "$(sed '/^#/d; s/{.*//' "$scratch/out" | uniq | sort | uniq -d)" = "" ]
}
ok "each metric stands together" together
everything() { gives 0 stat --prometheus && grep -q "pid=\"$last\"" "$scratch/out"; }
ok "without a process: of all" everything
totals() { # what only grows is what hakmem.h marks so
    local marked
    marked=$(sed -n '/^struct hak_stats {/,/^};/s/^ *uint64_t \([a-z_]*\); *\/\* \* .*/hakmem_\1_total/p' "$source_dir/lib/include/hakmem.h" | sort)
    diff <(echo "$marked") <(sed -n 's/^# TYPE \(.*\) counter$/\1/p' "$scratch/out" | grep -Ev 'hakmem_(page_faults|site_)' | sort)
}
ok "what only grows is a counter" totals
stop "$last"
named() { # the name of a process is any bytes; what is written is UTF-8 all the same
    local pid name=$'gr\xc3\xbcn\xc3\xff\xc2\x9b\xed\xa0\x80'
    cp "$scratch/stand" "$scratch/$name"
    start "$scratch/$name" first || return 1
    for form in --json --prometheus ""; do
        # shellcheck disable=SC2086  # no word, or one
        gives 0 stat $form "$pid" && iconv -f UTF-8 -t UTF-8 "$scratch/out" >/dev/null && grep -q $'gr\xc3\xbcn??' "$scratch/out" || return 1
    done
    ! LC_ALL=C grep -q $'\xc2\x9b' "$scratch/out"
    code=$?
    stop "$pid"
    return "$code"
}
ok "a name that is no text" named

# ---- other ways in
if [ -n "$archive" ] && build -static -o "$scratch/static" "$archive" 2>"$scratch/said"; then
    ok "a static program: the numbers are its own" same_numbers "$scratch/static" threads
    stop "$pid"
else
    skip "a static program: the numbers are its own" "nothing can be linked statically here"
fi
mkdir "$scratch/copy"
cp "$so" "$scratch/copy/libhakmem.so.0"
cp "$so" "$scratch/copy/renamed.so"
deleted() {
    start env LD_LIBRARY_PATH="$scratch/copy" "$scratch/moved" fill || return 1
    rm "$scratch/copy/libhakmem.so.0"
    grep -q 'copy/libhakmem.so.0 (deleted)' "/proc/$pid/maps" && json "$pid" && agree
}
build -o "$scratch/moved" "$so"
ok "the library's file was deleted" deleted
stop "$pid"
preload() {
    env LD_PRELOAD="$scratch/copy/renamed.so" sleep 100 &
    pid=$!
    pids+=("$pid")
    sleep 0.5
    gives 0 stat --json "$pid" && grep -q '"module": ".*/renamed.so"' "$scratch/out" && grep -q '"heaps": 1,' "$scratch/out"
}
ok "preloaded, by another name" preload
stop "$pid"
namespace() {
    start unshare -rm sh -c "mount -t tmpfs none '$scratch/copy' && exec '$scratch/stand' fill" || return 1
    json "$pid" && agree
}
if unshare -rm true 2>/dev/null; then
    ok "in another mount namespace" namespace
    stop "$pid"
else
    skip "in another mount namespace" "the kernel lends none"
fi
passed() {
    env HAKMEM_PASS=1 LD_PRELOAD="$so" sleep 100 &
    pid=$!
    pids+=("$pid")
    sleep 0.5
    gives 0 stat "$pid" && grep -q 'left to the C library' "$scratch/out"
}
ok "one that is left to the C library" passed
stop "$pid"

# ---- of one that runs
sane() { # again and again; nothing can be larger than what is mapped
    local i
    start "$scratch/stand" run || return 1
    for i in {1..40}; do
        json "$pid" || return 1
        local live mapped
        live=$(number "$scratch/json" live_bytes) mapped=$(number "$scratch/json" mapped_bytes)
        if [ "$live" -gt "$mapped" ] || [ "$live" -lt 100000 ] || [ "$mapped" -gt 4000000000 ]; then
            cat "$scratch/json"
            return 1
        fi
    done
    kill -0 "$pid"
}
ok "of one that runs: sane, and it runs on" sane
stop "$pid"

# ---- nobody does anything in the process: a thread that sleeps and executes anything must be switched to
still() {
    local before after
    start "$scratch/stand" threads || return 1
    before=$(cat "/proc/$pid"/task/*/status | grep ctxt_switches; awk '{ print $14, $15 }' "/proc/$pid/stat")
    gives 0 top -d 0.1 -n 20 "$pid" || return 1
    after=$(cat "/proc/$pid"/task/*/status | grep ctxt_switches; awk '{ print $14, $15 }' "/proc/$pid/stat")
    [ "$before" = "$after" ] || { diff <(echo "$before") <(echo "$after"); return 1; }
}
ok "top at 10 Hz: the process executes nothing" still
untouched() { # nor is a page of it written: what is private and dirty stays, and so do its contents
    local before after
    before=$(grep -E '^(Size|Rss|Private_Dirty|Shared_Dirty|Anonymous):' "/proc/$pid/smaps")
    gives 0 top -d 0.1 -n 5 "$pid" || return 1
    after=$(grep -E '^(Size|Rss|Private_Dirty|Shared_Dirty|Anonymous):' "/proc/$pid/smaps")
    [ "$before" = "$after" ] && [ -n "$before" ]
}
ok "and no page of it comes, goes or is written" untouched
calls() { # of the command: those that read, none that stops, signals or writes
    strace -f -o "$scratch/calls" "$hakmem" stat --json "$pid" >/dev/null 2>&1 || return 1
    grep -q process_vm_readv "$scratch/calls" && ! grep -E '(ptrace|kill|process_vm_writev|pidfd_[a-z_]*)\(' "$scratch/calls"
}
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
    ok "the command reads and does nothing else" calls
else
    skip "the command reads and does nothing else" "no strace"
fi
stop "$pid"

# ---- errors
ok "no such process" fails 1 'process 4194303: no such process' stat 4194303
sleep 100 &
pids+=("$!")
ok "not a HAKMEM process" fails 1 "process $!: it is not served by HAKMEM" stat "$!"
ok "as JSON, too" fails 1 "process $!: it is not served by HAKMEM" stat --json "$!"
ok "a thread of the kernel, or nobody" fails 1 'process 2: (no such process|it is not served|no permission)' stat 2
denied() {
    start "$scratch/stand" first || return 1
    cp "$hakmem" "$scratch/hakmem" && chmod 755 "$scratch" "$scratch/hakmem"
    setpriv --reuid 65534 --regid 65534 --clear-groups "$scratch/hakmem" stat "$pid" >"$scratch/out" 2>"$scratch/err"
    [ $? = 1 ] && [ "$(wc -l <"$scratch/err")" = 1 ] && grep -q "^hakmem: process $pid: no permission to read its memory" "$scratch/err"
}
if really_root && [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    ok "no permission" denied
else
    skip "no permission" "not root"
fi
# A live structure of another version, or damaged, in a copy of the library.
at=$(LC_ALL=C grep -abo 'HAKMEM live' "$so" | head -n 1 | cut -d: -f1)
patched() { # OFFSET BYTES PATTERN: of the structure
    cp "$so" "$scratch/copy/libhakmem.so.0"
    printf '%b' "$2" | dd of="$scratch/copy/libhakmem.so.0" bs=1 seek=$((at + $1)) conv=notrunc status=none
    start env LD_LIBRARY_PATH="$scratch/copy" "$scratch/moved" first || return 1
    fails 1 "process $pid: .*$3" stat "$pid" && fails 1 "process $pid: .*$3" purge "$pid"
}
ok "another version" patched 20 '\x7\x7\x7\x7' 'has a live structure of version 117901063, and this command reads version 1'
ok "another byte order" patched 16 '\x1\x1\x1\x1' 'its live structure is damaged'
ok "a size that cannot be" patched 24 '\xff\xff\xff\x7f' 'its live structure is damaged'
ok "a table beyond its end" patched 48 '\xf0\xff\xff\x7f' 'its live structure is damaged'
word_at() { od -An -tu4 -j "$((at + $1))" -N 4 "$so" | tr -d ' '; } # OFFSET: in the structure
ok "a row that is not told" patched "$(word_at 60)" 'xxxx' 'does not tell its root range'
# Rows that lead to other numbers: each is sane by itself.  That these were believed once made the command read beyond its
# buffers, and want more memory than there is.
row_at() { # NAME: where in the file; the names stand in the order of the rows
    local nth
    nth=$(tail -c "+$((at + $(word_at 60) + 1))" "$so" | tr '\0' '\n' | LC_ALL=C grep -anxm 1 "$1" | cut -d: -f1)
    echo $((at + $(word_at 48) + (nth - 1) * $(word_at 52)))
}
misled() { # ROW OTHER-ROW: the first shows what the second does, as a word of 64 bits
    local row other
    row=$(row_at "$1") other=$(row_at "$2")
    cp "$so" "$scratch/copy/libhakmem.so.0"
    dd if="$so" of="$scratch/copy/libhakmem.so.0" bs=1 skip="$other" seek="$row" count=6 conv=notrunc status=none
    start env LD_LIBRARY_PATH="$scratch/copy" "$scratch/moved" threads || return 1
    run_command stat --json --no-names "$pid"
    stop "$pid"
    [ "$code" -le 1 ] && ! grep -v "^hakmem: process $pid: " "$scratch/err"
}
for rows in "record.words record.owner" "record.words record.free" "record.blocks record.owner" "record.run record.owner" \
    "range.used range.base" "range.next range.base" "big.places big.start" "heap.nremote heap.next" "heap.bump heap.next"; do
    # shellcheck disable=SC2086  # two words
    ok "${rows% *} leads to ${rows#* }: an error or numbers, never a crash" misled $rows
done

gone() { # it ends in the middle: an error or the last numbers, never a crash
    local i
    for i in 1 2 3 4 5 6; do
        start "$scratch/stand" threads || return 1
        "$hakmem" stat --json "$pid" "$pid" "$pid" "$pid" "$pid" "$pid" "$pid" "$pid" >"$scratch/out" 2>"$scratch/err" &
        local reader=$!
        sleep "0.0$((i * 5))"
        stop "$pid"
        wait "$reader"
        code=$?
        [ "$code" -le 1 ] || { echo "exit code $code"; cat "$scratch/err"; return 1; }
        ! grep -v "^hakmem: process $pid: " "$scratch/err" || return 1
    done
}
ok "gone in the middle" gone

# Anything at all in what it tells, and in what it holds: an error or numbers, never a crash, and soon.
garbage() {
    start "$scratch/stand" threads || return 1
    python3 - "$hakmem" "$pid" "$(readlink -f "$so")" <<'END'
import random, subprocess, sys
hakmem, pid, so = sys.argv[1:]
random.seed(7)
maps = [(int(a, 16), int(b, 16), rights, path) for a, b, rights, path in
        ((*l.split()[0].split("-"), l.split()[1], l.split()[-1]) for l in open(f"/proc/{pid}/maps"))]
base = min(m[0] for m in maps if m[3] == so)
blob = open(so, "rb").read()
told = [(base + blob.index(b"HAKMEM\0\0") - 12, 150), (base + blob.index(b"HAKMEM live\n"), 6000)]
held = told + [(m[0], min(m[1] - m[0], 1 << 20)) for m in maps
               if m[2].startswith("rw") and (m[3] == so or "/" not in m[3] and "[" not in m[3])]
with open(f"/proc/{pid}/mem", "r+b", buffering=0) as mem:
    for i in range(60):
        was = []
        for _ in range(random.choice([1, 2, 5, 50])):
            start, size = random.choice(told if i % 2 else held)
            at, n = start + random.randrange(size) // 4 * 4, random.choice([1, 2, 4, 8])
            mem.seek(at)
            was.append((at, mem.read(n)))
            mem.seek(at)
            mem.write(random.choice([random.randbytes(n), b"\xff" * n, bytes(n), b"\xff" * (n - 1) + b"\x7f"]))
        r = subprocess.run([hakmem, "stat", "--json", "--no-names", pid], capture_output=True, timeout=60)
        assert r.returncode in (0, 1), (i, r)
        assert (r.returncode == 1) == (r.stderr.count(b"\n") == 1), (i, r)
        for at, old in reversed(was):
            mem.seek(at)
            mem.write(old)
END
}
if command -v python3 >/dev/null; then
    ok "garbage in its memory" garbage
else
    skip "garbage in its memory" "no python3"
fi
done_testing
