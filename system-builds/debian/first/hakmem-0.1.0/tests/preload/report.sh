#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# report.sh: HAKMEM_STATS reaches the standard error that the process started with, also when the program closes it before
# it ends, as the core utilities do; and it never reaches a file that the program opened under the same number.
# shellcheck disable=SC2317,SC2086,SC2015  # ok calls the functions; CC has options; A && B || show what went wrong
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
cd "$scratch" || exit 99

statistics_of() { # FILE PID
    grep -q "^hakmem: statistics of process $2 " "$1" || { echo "no statistics of $2:"; cat "$1"; return 1; }
}
says() { # COMMAND...
    env LD_PRELOAD="$so" HAKMEM_STATS=1 "$@" >out 2>err &
    pid=$!
    wait "$pid" || { echo "status $?"; return 1; }
    statistics_of err "$pid"
}
seq 1000 >lines
for command in "ls /" "cat lines" "sort -n lines" "wc -l lines" "date" "sha256sum lines"; do
    if command -v ${command%% *} >/dev/null; then
        ok "$command: statistics at the end" says $command
    else
        skip "$command: statistics at the end" "there is none"
    fi
done
json() {
    env LD_PRELOAD="$so" HAKMEM_STATS=json ls / >out 2>err && grep -q '^{"hakmem": .*}$' err && [ "$(wc -l <err)" = 1 ]
}
ok "ls /: statistics in JSON" json
if command -v python3 >/dev/null; then
    reads() { python3 -m json.tool err >out && grep -q '"mapped_bytes": [1-9]' out; }
    ok "which python3 -m json.tool reads" reads
else
    skip "which python3 -m json.tool reads" "no python3"
fi
pipe() { [ "$( (env LD_PRELOAD="$so" HAKMEM_STATS=json cat lines >out) 2>&1 | wc -l)" = 1 ]; }
ok "into a pipe" pipe

have_compiler "$cc" || { skip "programs of our own" "no C compiler"; done_testing; }
cat >program.c <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void list(const char *what)
{
    for (int fd = 3; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("%s %d%s\n", what, fd, fcntl(fd, F_GETFD) & FD_CLOEXEC ? "" : " inherited");
}
int main(int argc, char **argv)
{
    free(malloc(100));
    if (!strcmp(argv[1], "list")) {
        list("open");
        fflush(stdout);
        int fd = open("log", O_CREAT | O_RDWR | O_TRUNC, 0600);
        printf("lowest %d\n", fd);
        fflush(stdout);
        close(fd);
        if (argc > 2)
            execl(argv[0], argv[0], "list", (char *)0);
        return 0;
    }
    if (!strcmp(argv[1], "later")) {
        int (*set)(const char *, long) = (int (*)(const char *, long))dlsym(RTLD_DEFAULT, "hak_option_set");
        if (!set || set("STATS", 1))
            return 2;
    }
    int log = open("log", O_CREAT | O_RDWR | O_TRUNC, 0600);
    if (write(log, "log\n", 4) != 4)
        return 3;
    if (!strcmp(argv[1], "all")) /* every number is the log's */
        for (int fd = 2; fd < 1024; fd++)
            dup2(log, fd);
    else if (!strcmp(argv[1], "close"))
        for (int fd = 2; fd < 1024; fd++)
            close(fd);
    else
        dup2(log, 2);
    return 0;
}
END
ok "a program compiles" $cc -w -O1 program.c -o program -ldl || done_testing
log_is_whole() { [ "$(cat log)" = log ] || { cat log; return 1; }; }
redirected() { says ./program log && log_is_whole; }
ok "a program that opens its log as standard error: statistics where it was, nothing in the log" redirected
taken() { env LD_PRELOAD="$so" HAKMEM_STATS=1 ./program all 2>err && log_is_whole && ! grep hakmem err; }
ok "one that takes every number: statistics nowhere" taken
all_closed() { env LD_PRELOAD="$so" HAKMEM_STATS=1 ./program close 2>err && ! grep hakmem err; }
ok "one that closes every number: the same" all_closed
later() {
    env LD_PRELOAD="$so" ./program later 2>err && grep -q '^hakmem: statistics of process' err && log_is_whole
}
ok "statistics that the program itself asks for" later
# shellcheck disable=SC2094  # not read before it is written
own() { # the log is what standard error was
    env LD_PRELOAD="$so" HAKMEM_STATS=1 ./program log 2>>log && grep -q '^hakmem: statistics of process' log
}
ok "one that opens the same file again" own

# What is open anyway, inherited from whoever runs this (make has a pipe), and the lowest number that is free then.
./program list >plain
sed '/^lowest/d' plain >inherited
lowest=$(grep '^lowest' plain)
news() { grep -vxFf inherited out; }
none() { env LD_PRELOAD="$so" ./program list >out && [ "$(news)" = "$lowest" ] || { cat out; return 1; }; }
ok "without HAKMEM_STATS no descriptor is opened" none
one() {
    env LD_PRELOAD="$so" HAKMEM_STATS=1 ./program list >out 2>err && news >new && grep -qx "$lowest" new &&
        [ "$(grep -c '^open' new)" = 1 ] && ! grep inherited new || { cat out; return 1; }
}
ok "with it one: not the program's next number, and close-on-exec" one
few() { (ulimit -n 12 && says ./program log) && log_is_whole; }
ok "also where only few are allowed" few
gone() {
    env LD_PRELOAD="$so" HAKMEM_STATS=1 ./program list again >out 2>err && news >new &&
        [ "$(grep -c '^open' new)" = 2 ] || { cat out; return 1; } # one each time it is listed
}
ok "a program that replaces itself has one, not two" gone
done_testing
