#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# top.sh: `hakmem top`: tables where there is no terminal, and on one: keys, views, another size, and the terminal as it was.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/command/window.sh
. "$(dirname "$0")/window.sh"

for words in "--bogus" "-n 0" "-n x" "-d 0" "-d x" "-d" "--view bogus" "--sort bogus" "x" "-n 1 0"; do
    # shellcheck disable=SC2086  # several words
    ok "\"hakmem top $words\": wrong usage" gives 2 top $words
done

start "$scratch/stand" fill
one=$pid
start "$scratch/stand" threads
two=$pid
json "$two"
live=$(($(number "$scratch/json" live_bytes) / 1024))

once() {
    gives 0 top "$one" "$two" || return 1
    [ "$(wc -l <"$scratch/out")" = 4 ] && grep -q '^ *PID .* LIVE .* DIRTY .* CACHED .* PURGED .* FAULTS .* COMMAND$' "$scratch/out" &&
        awk -v pid="$two" -v live="$live" '$1 == pid && $3 == live && $NF == "stand" { found = 1 } END { exit !found }' "$scratch/out"
}
ok "no terminal: one table" once
found() { gives 0 top && awk -v a="$one" -v b="$two" '$1 == a || $1 == b { n++ } END { exit n != 2 }' "$scratch/out"; }
ok "all processes that may be read" found
often() { gives 0 top -n 3 -d 0.05 "$one" && [ "$(grep -c '^hakmem top: ' "$scratch/out")" = 3 ]; }
ok "as often as told" often
no_control() { ! grep -q $'\033' "$scratch/out"; }
ok "without control sequences" no_control
in_order() { gives 0 top --sort pid "$two" "$one" && [ "$(awk 'NR > 2 { print $1 }' "$scratch/out" | sort -nc 2>&1)" = "" ]; }
ok "sorted by the number" in_order
by_live() { gives 0 top --sort=LIVE && [ "$(awk 'NR > 2 { print $3 }' "$scratch/out" | sort -rnc 2>&1)" = "" ]; }
ok "sorted by what lives" by_live
view() { gives 0 top --view "$1" "$two" && grep -Eq "$2" "$scratch/out" && [ "$(wc -l <"$scratch/out")" -ge 3 ]; }
ok "classes" view classes '^ *SIZE +LIVE KiB '
ok "threads" view threads ' parked$'
ok "sites" view sites '(here at stand.c:[0-9]+|stand\+0x[0-9a-f]+)$'
ok "policy and options" view policy '^ *4096 +4096 +DIRTY_KB$'
nobody() { gives 1 top 4194303 && grep -q '^hakmem: process 4194303: no such process$' "$scratch/err"; }
ok "no such process" nobody
ends() { # while it is watched
    start "$scratch/stand" first || return 1
    local short=$pid
    "$hakmem" top -n 10 -d 0.1 "$short" >"$scratch/out" 2>"$scratch/err" &
    local reader=$!
    sleep 0.4
    stop "$short"
    wait "$reader"
    [ $? = 1 ] && grep -q "^hakmem: process $short: " "$scratch/err" && [ "$(wc -l <"$scratch/err")" -le 2 ] &&
        grep -q 'no process that is served' "$scratch/out"
}
ok "one that ends meanwhile" ends

# On a terminal of our own.
cat >"$scratch/terminal.py" <<'END'
import fcntl, os, pty, re, select, signal, struct, sys, termios, time

def size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

master, slave = pty.openpty()
size(slave, 20, 100)
before = termios.tcgetattr(slave)
pid = os.fork()
if not pid:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in 0, 1, 2:
        os.dup2(slave, fd)
    os.execv(sys.argv[1], sys.argv[1:2] + ["top", "-d", "0.2"] + sys.argv[2:])

def read(seconds):
    text, end = b"", time.time() + seconds
    while time.time() < end:
        if select.select([master], [], [], 0.05)[0]:
            try:
                text += os.read(master, 65536)
            except OSError:
                break
    return text.decode(errors="replace")

def picture(text):  # the last whole one
    return text.split("\033[H")[-2]

def expect(what, condition, text):
    print(("ok: " if condition else "NOT ok: ") + what)
    if not condition:
        print(repr(text))
        os.kill(pid, signal.SIGKILL)
        sys.exit(1)

def press(key):
    os.write(master, key.encode())
    return read(0.7)

text = read(1.5)
expect("its own screen, without cursor", "\033[?1049h" in text and "\033[?25l" in text, text)
expect("several pictures", text.count("\033[H") > 3, text)
expect("processes", "PID" in picture(text) and "stand" in picture(text), text)
expect("sorted by what lives", "LIVEv" in picture(text), text)
expect("echo is off", not termios.tcgetattr(slave)[3] & termios.ECHO, text)
lines = picture(text).split("\r\n")
expect("no line is too long", all(len(re.sub("\033\\[[0-9]*[mK]|\r", "", l)) <= 100 for l in lines[:-1]), lines)
expect("faults", "FAULTSv" in picture(press("F")), "")
expect("reversed", "FAULTS^" in picture(press("r")), "")
expect("the next column", "FAULTS/sv" in picture(press("r>")) , "")
expect("classes", "SIZE" in picture(press("c")) , "")
expect("threads", "THREAD" in picture(press("t")), "")
expect("sites", "SITE" in picture(press("s")), "")
expect("options", "DIRTY_KB" in picture(press("o")) or "NAME" in picture(press("o")), "")
text = press("b")
expect("back", "PID" in picture(text), text)
expect("one is chosen", "\033[1m" in picture(press("j")), "")
size(slave, 8, 40)
os.kill(pid, signal.SIGWINCH)
text = picture(read(0.8))
expect("another size", "\033[8;1H" in text and all(len(l) < 60 for l in text.split("\r\n")[:-1]), text)
text = press("q")
expect("the screen as it was", "\033[?1049l" in text and "\033[?25h" in text, text)
done, status = os.waitpid(pid, 0)
expect("a good end", status == 0, status)
expect("the terminal as it was", termios.tcgetattr(slave) == before, "")
END
if command -v python3 >/dev/null; then
    ok "on a terminal" python3 "$scratch/terminal.py" "$hakmem" "$one" "$two"
else
    skip "on a terminal" "no python3"
fi
interrupted() { # by a signal it also leaves the terminal as it was
    python3 - "$hakmem" <<'END'
import os, pty, signal, sys, termios, time
pid, master = pty.fork()
if not pid:
    os.execv(sys.argv[1], [sys.argv[1], "top", "-d", "0.1"])
time.sleep(1)
os.write(master, b"\x03")
text, end = b"", time.time() + 5
try:
    while time.time() < end:
        text += os.read(master, 65536)
except OSError:
    pass
assert b"\033[?1049l" in text, text[-200:]
assert os.waitpid(pid, 0)[1] == 0
END
}
if command -v python3 >/dev/null; then
    ok "interrupted" interrupted
else
    skip "interrupted" "no python3"
fi
done_testing
