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

text = ""

def expect(what, condition, seconds=30):
    """Reads on until what the terminal has been sent since the last expectation fulfils the condition."""
    global text
    text, end, ended = "", time.time() + seconds, False
    while not condition(text) and time.time() < end and not ended:
        if select.select([master], [], [], 0.1)[0]:
            text += os.read(master, 65536).decode(errors="replace")
    good = condition(text)
    print(("ok: " if good else "NOT ok: ") + what)
    if not good:
        print(repr(text[-3000:]))
        os.kill(pid, signal.SIGKILL)
        sys.exit(1)

def pictures(sent):  # whole ones
    return sent.split("\033[H")[1:-1]

def shows(*words):
    return lambda sent: any(all(w in p for w in words) for p in pictures(sent))

def press(key, what, *words):
    os.write(master, key.encode())
    expect(what, shows(*words))

def width(line):
    return len(re.sub("\033\\[[0-9;]*[mKHJ]|\r", "", line))

expect("its own screen, without cursor, several pictures",
       lambda t: "\033[?1049h" in t and "\033[?25l" in t and len(pictures(t)) > 2)
expect("processes, sorted by what lives", shows("PID", "stand", "LIVEv"))
expect("no line is too long", lambda t: pictures(t) and all(width(l) <= 100 for p in pictures(t) for l in p.split("\n")))
expect("echo is off", lambda t: not termios.tcgetattr(slave)[3] & termios.ECHO)
press("F", "by faults", "FAULTSv")
press("r", "reversed", "FAULTS^")
press(">", "the next column", "FAULTS/s^")
press("\033[D", "and back by an arrow", "FAULTS^")
press("c", "classes", "SIZE", "SLABS")
press("t", "threads", "THREAD", "REFILLS")
press("s", "sites", "KEPT KiB", "SITE")
press("o", "options", "DEFAULT", "NAME")
press("b", "back", "PID", "MAPPED")
press("j", "one is chosen", "\033[1m")
press("\r", "its classes", "classes of process")
press("\033", "and back", "PID", "MAPPED")
size(slave, 8, 40)
os.kill(pid, signal.SIGWINCH)
expect("another size", lambda t: any("\033[8;1H" in p and all(width(l) <= 40 for l in p.split("\n")) for p in pictures(t)))
os.write(master, b"q")
expect("the screen as it was", lambda t: "\033[?1049l" in t and "\033[?25h" in t)
done, status = os.waitpid(pid, 0)
if status or termios.tcgetattr(slave) != before:
    print("it ended with", status, "or the terminal is not as it was")
    sys.exit(1)
END
if command -v python3 >/dev/null; then
    ok "on a terminal" python3 "$scratch/terminal.py" "$hakmem" "$one" "$two"
else
    skip "on a terminal" "no python3"
fi
interrupted() { # by a signal it also leaves the terminal as it was
    python3 - "$hakmem" <<'END'
import os, pty, sys
pid, master = pty.fork()
if not pid:
    os.execv(sys.argv[1], [sys.argv[1], "top", "-d", "0.1"])
text = b""
while b"\033[J" not in text: # the first picture
    text += os.read(master, 65536)
os.write(master, b"\x03")
try:
    while True:
        text += os.read(master, 65536)
except OSError: # it has ended
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
