#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# run.sh: `hakmem run`: programs, scripts, what cannot be preloaded, and exit codes.
# shellcheck disable=SC2016,SC2317  # $1 and so on are other shells'; ok calls the functions
# shellcheck source=tests/command/common.sh
. "$(dirname "$0")/common.sh"

run() { "$hakmem" run --library "$so" "$@"; }
served() { # COMMAND...: its own process is
    HAKMEM_VERBOSE=1 "$@" >"$scratch/out" 2>"$scratch/err" </dev/null &
    pid=$!
    wait "$pid" || { cat "$scratch/err"; return 1; }
    grep -q "^hakmem: libhakmem .* serves process $pid\$" "$scratch/err" || { cat "$scratch/err"; return 1; }
}
says() { [ "$(cat "$scratch/out")" = "$1" ] || { cat "$scratch/out"; return 1; }; }

# ---- words
ok "--version" gives 0 --version
version() { grep -Eqx 'hakmem [0-9]+\.[0-9]+\.[0-9]+' "$scratch/out"; }
ok "names itself and the version" version
ok "--help" gives 0 --help
help() { grep -q 'hakmem run' "$scratch/out" && grep -q 'preload status' "$scratch/out"; }
ok "shows how it is used" help
for words in "" "bogus" "run" "run --bogus ls" "preload" "preload bogus" "preload enable --bogus" \
    "preload disable --library x" "preload status extra" "preload enable --root"; do
    # shellcheck disable=SC2086  # several words
    ok "\"hakmem $words\": wrong usage" gives 2 $words
    usage() { grep -q '^hakmem: ' "$scratch/err" && grep -q '^Usage: ' "$scratch/err" && [ ! -s "$scratch/out" ]; }
    ok "is told on standard error" usage
done

# ---- programs
ok "a program by its path" served "$hakmem" run --library "$so" /bin/ls -d /
ok "gives what it gives" says /
ok "a program by its name" served "$hakmem" run --library="$so" -- ls -d /
ok "arguments arrive whole" served "$hakmem" run --library "$so" bash -c 'printf "<%s>" "$@"; echo' x 'a  b' '' "c\$"
ok "all of them" says '<a  b><><c$>'
status() { run sh -c 'exit 42'; [ $? = 42 ]; }
ok "the program's own exit code" status
signal() { (run sh -c 'kill -9 $$') 2>/dev/null; [ $? = 137 ]; }
ok "and its signal" signal
environment() { LD_PRELOAD=/other/libx.so run sh -c 'echo "$LD_PRELOAD"' 2>/dev/null | grep -qx "$so:/other/libx.so"; }
ok "LD_PRELOAD: ours first, the others stay" environment
unset_environment() { run sh -c 'echo "$LD_PRELOAD"' | grep -qx "$so"; }
ok "LD_PRELOAD: ours alone" unset_environment
ok "the dynamic loader run by hand" served "$hakmem" run --library "$so" "$loader" /bin/ls -d /

# ---- scripts
printf '#!/bin/sh\necho "script $1"\n' >"$scratch/script"
printf '#! /bin/bash -e\necho "script $1"\n' >"$scratch/script2"
printf 'echo "script $1"\n' >"$scratch/bare"
printf '#!%s\n' "$scratch/script" >"$scratch/nested"
printf '#!/nowhere/sh\n' >"$scratch/lost"
chmod +x "$scratch"/{script,script2,bare,nested,lost}
for script in script script2 bare nested; do
    ok "a script: $script" served "$hakmem" run --library "$so" "$scratch/$script" word
done
ok "it gets its arguments" served "$hakmem" run --library "$so" "$scratch/script" word
ok "it says what it should" says "script word"
ok "a script whose interpreter is missing" fails 127 '/nowhere/sh: No such file' run --library "$so" "$scratch/lost"

# ---- what cannot be
ok "no such program" fails 127 'no-such-program: no such program' run --library "$so" no-such-program
ok "no such path" fails 127 '/no/such: no such program' run --library "$so" /no/such
ok "a folder" fails 126 '/: not a program' run --library "$so" /
cp /bin/ls "$scratch/plain" && chmod 644 "$scratch/plain"
ok "no right to run it" fails 126 'plain: Permission denied' run --library "$so" "$scratch/plain"
head -c 100 /bin/ls >"$scratch/short" && chmod 755 "$scratch/short"
ok "a damaged program" fails 126 'damaged ELF' run --library "$so" "$scratch/short"
ok "no library there" fails 125 'no library for this program' run --library /nowhere/libhakmem.so.0 ls
ok "a library that is none" fails 125 'not an ELF file' run --library /etc/passwd ls
ok "a path that LD_PRELOAD cannot take" fails 125 'blank or a colon' run --library "/a b/libhakmem.so.0" ls
if [ ! -e "$libdir/libhakmem.so.0" ]; then
    ok "the library is not installed" fails 125 "$libdir/libhakmem.so.0: .*not installed" run ls
else
    ok "the library that is installed" served "$hakmem" run ls
fi

printf 'int main(void) { return 0; }\n' >"$scratch/empty.c"
for how in -static -static-pie; do
    if have_compiler "$cc" && $cc $how "$scratch/empty.c" -o "$scratch/alone" 2>/dev/null; then
        ok "a program linked with $how" fails 126 'alone is linked statically' run --library "$so" "$scratch/alone"
        printf '#!%s\n' "$scratch/alone" >"$scratch/by_static"
        chmod +x "$scratch/by_static"
        ok "a script run by it" fails 126 'alone is linked statically' run --library "$so" "$scratch/by_static"
    else
        skip "a program linked with $how" "no static C library"
    fi
done

# Another ABI: the same program, but its header names another machine.
cp /bin/ls "$scratch/foreign" && patch_machine "$scratch/foreign"
ok "a program of another ABI" fails 125 'no library for this program \((AArch64|x86-64), [0-9]+ bits\).*another ABI' \
    run --library "$so" "$scratch/foreign"

# Privileges: only where files can belong to others.
if [ "$(id -u)" = 0 ] && really_root && cp /bin/ls "$scratch/suid" && chown 65534:65534 "$scratch/suid"; then
    chmod 4755 "$scratch/suid"
    if [ -n "$(find "$scratch/suid" -perm -4000)" ] && ! findmnt -nT "$scratch" -o OPTIONS 2>/dev/null | grep -q nosuid; then
        ok "a setuid program" fails 126 "suid runs with another user's rights" run --library "$so" "$scratch/suid"
        chmod 2755 "$scratch/suid"
        ok "a setgid program" fails 126 "suid runs with another group's rights" run --library "$so" "$scratch/suid"
        chown 0:0 "$scratch/suid" && chmod 6755 "$scratch/suid"
        ok "setuid to the user that runs it: no privilege" served "$hakmem" run --library "$so" "$scratch/suid" -d /
        chmod 755 "$scratch/suid"
        chmod 755 "$scratch"
        if command -v setcap >/dev/null && command -v setpriv >/dev/null && setcap cap_net_raw+ep "$scratch/suid" 2>/dev/null; then
            as_nobody() {
                code=0
                setpriv --reuid 65534 --regid 65534 --clear-groups "$hakmem" run --library "$so" "$scratch/suid" -d / \
                    >"$scratch/out" 2>"$scratch/err" || code=$?
                cat "$scratch/err"
                [ "$code" = 126 ] && grep -q 'suid runs with capabilities' "$scratch/err"
            }
            if setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$hakmem"; then
                ok "a program with capabilities" as_nobody
            else
                skip "a program with capabilities" "other users cannot enter the build folder"
            fi
        else
            skip "a program with capabilities" "no setcap or setpriv, or no capabilities in files here"
        fi
    else
        skip "setuid programs" "the scratch folder's file system has none"
    fi
else
    skip "setuid programs" "needs root"
fi
done_testing
