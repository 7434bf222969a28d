#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# chroot.sh: a Debian system in a folder, every process of which runs under HAKMEM: packages are installed, users made, code is
# compiled; then the preload is switched off again.  Prints TAP.  Run by `make check-chroot`, and by `make check-system`.
#
# The proof is a trace by strace of every process: each program that was started opened the library, which the dynamic loader
# had from /etc/ld.so.preload, before anything else of it ran, or is one into which nothing can be preloaded; and none of
# them had the C library's malloc grow its heap (brk).
# shellcheck disable=SC2154  # variables of system.sh
# shellcheck source=tests/system/system.sh
. "$(dirname "$0")/system.sh"
root=$folder/root trace=$folder/trace

if [ "${1-}" != inside ]; then
    for tool in strace readelf; do
        command -v $tool >/dev/null || skip_all "no $tool"
    done
    reason=$(cannot_enter) && skip_all "$reason"
    strace -o /dev/null true 2>/dev/null || skip_all "strace is not allowed"
    enter "$source/tests/system/chroot.sh"
fi
inside
find_mirror || skip_all "apt knows no Debian mirror"
make_system "$root"
mount_system "$root"

# ---- HAKMEM in it ---------------------------------------------------------------------------------------------------
libdir=/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || ${CC:-gcc} -print-multiarch)
build() {
    mkdir "$folder/build" && cd "$folder/build" &&
        "$source/configure" --quiet --prefix=/usr --libdir="$libdir" --sysconfdir=/etc &&
        make -s -j"$(nproc)" all && make -s install DESTDIR="$root"
}
(build) >"$folder/build.log" 2>&1 || bail_out "the library cannot be built" "$folder/build.log"
hakmem=$root/usr/bin/hakmem
loads() { # COMMAND...: those of its processes that open the library
    strace -f -qq -e trace=openat -o "$folder/opens" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@" &&
        grep 'libhakmem' "$folder/opens"
}

status_is() { # CODE PATTERN
    local code=0
    "$hakmem" preload status --root "$root" >"$folder/status" || code=$?
    cat "$folder/status"
    [ $code = "$1" ] && grep -q "$2" "$folder/status"
}
loads_nothing() { ! loads "$@"; }
ok "the library is installed" test -f "$root$libdir/libhakmem.so.0"
ok "the command, too" test -x "$hakmem"
ok "status: off" status_is 3 '^off: '
ok "before: a program does not load it" loads_nothing /bin/ls /
ok "hakmem run: it does" loads /usr/bin/hakmem run /bin/ls /
ok "on" "$hakmem" preload enable --root "$root"
ok "status: on" status_is 0 '^on: '
ok "a program loads it" loads /bin/ls /
installed=$(cat "$root/etc/ld.so.preload")
# shellcheck disable=SC2016  # the dynamic loader's
ok "by a name that fits every ABI" test "$installed" = '/usr/$LIB/libhakmem.so.0'

# ---- work -----------------------------------------------------------------------------------------------------------
# What is done in there: a result for each line, in a file; the number of results is known here.  In two parts: strace is much
# faster when the kernel filters for it, but then set-user-ID has no effect.
cat >"$root/lib.sh" <<'EOF'
exec >>/work.log 2>&1
try() { # DESCRIPTION COMMAND...
    description=$1
    shift
    echo "== $description"
    result="not ok"
    "$@" </dev/null && result=ok
    echo "$result $description" >>/work.results
}
EOF
cat >"$root/packages.sh" <<'EOF'
. /lib.sh
try "apt-get update" apt-get -q update
try "apt-get install, with maintainer scripts" apt-get -q -y --no-install-recommends install \
    adduser cron logrotate nano perl python3-minimal sudo gcc libc6-dev
services() { dpkg -s cron logrotate nano python3-minimal gcc | grep -c '^Status: install ok installed' | grep -qx 5; }
try "all of them are installed" services
audit() { [ -z "$(dpkg --audit)" ]; }
try "dpkg --audit has no complaint" audit
intact() { dpkg -V >/tmp/verify; ! grep -v ' c /etc/' /tmp/verify; }
try "dpkg -V: every file is what its package says" intact
try "apt-get check" apt-get -q check
try "dpkg-query lists what there is" sh -c 'test "$(dpkg-query -W | wc -l)" -gt 80'
EOF
cat >"$root/people.sh" <<'EOF'
. /lib.sh
try "useradd" useradd -m -s /bin/bash tester
try "adduser" adduser --disabled-password --gecos '' other
passwords() { printf 'tester:one\nroot:two\n' | chpasswd; }
try "chpasswd" passwords
try "usermod, groupadd, gpasswd" sh -c 'groupadd crew && usermod -aG crew tester && gpasswd -a other crew && id other | grep -q crew'
as_tester() { [ "$(su - tester -c 'id -un; pwd; umask >/dev/null; echo $HOME')" = "tester
/home/tester
/home/tester" ]; }
try "su to a user" as_tester
back() { [ "$(su tester -c 'echo two | su root -c "id -u"')" = 0 ]; }
try "su from a user to root: setuid" back
wrong() { ! su tester -c 'echo wrong | su root -c "id -u"'; }
try "su with a wrong password" wrong
try "chage as a user: setgid" su tester -c 'chage -l tester'
try "passwd as a user: setuid" su tester -c 'passwd -S tester'
try "crontab: setgid" su tester -c 'echo "* * * * * true" | crontab - && crontab -l'
try "sudo" su tester -c 'sudo -n true; test $? = 1'
echo 'APT::Periodic::RandomSleep "0";' >/etc/apt/apt.conf.d/99-no-sleep
try "run-parts, as cron does daily" run-parts --report /etc/cron.daily
try "logrotate" logrotate -f /etc/logrotate.conf
pipeline() { # as in many a cron job
    find /usr/share /etc -xdev -type f -print0 | xargs -0 ls -ln | awk '{ s[$3] += $5 } END { for (u in s) print u, s[u] }' |
        sort -k2,2nr | head -n 5 | sed 's/^/user /' | grep -q '^user 0 [0-9]'
}
try "a pipeline of find, xargs, awk, sort, sed" pipeline
archive() {
    tar -C /usr/share/doc -cf - . | gzip -c | tee /tmp/doc.tar.gz | gzip -dc | tar -tf - | wc -l >/tmp/names
    [ "$(cat /tmp/names)" = "$(tar -tzf /tmp/doc.tar.gz | wc -l)" ] && [ "$(cat /tmp/names)" -gt 100 ]
}
try "tar, gzip, tee" archive
nested() { for i in 1 2 3 4 5 6 7 8; do (sleep 0.1; (echo "$i" & wait) | cat) & done | sort | tr -d '\n' | grep -qx 12345678; }
try "subshells in the background" nested
python() {
    python3 -c 'import threading
d = {}
def work(n):
    for i in range(20000): d[n, i] = str(i) * (i % 50)
t = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[x.start() for x in t]; [x.join() for x in t]
assert len(d) == 80000 and sum(map(len, d.values())) == 8712020, sum(map(len, d.values()))'
}
try "python3, four threads" python
try "perl" perl -e 'my %h; $h{$_ % 1000} .= "x" x ($_ % 7) for 1 .. 100000; my $n = 0; $n += length for values %h;
    my $w = 0; $w += $_ % 7 for 1 .. 100000; exit($n != $w)'
compile() {
    cat >/tmp/a.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    unsigned long sum = 0;
    for (unsigned i = 1; i < 5000; i++) {
        char *p = malloc(i);
        if (!p)
            return 1;
        memset(p, (int)(i & 63), i);
        sum += (unsigned char)p[i - 1];
        if (i % 3)
            free(p);
    }
    printf("%lu\n", sum);
    return 0;
}
C
    gcc -O2 -Wall -o /tmp/a /tmp/a.c && [ "$(/tmp/a)" = 157276 ]
}
try "gcc compiles, the program runs" compile
static_one() { gcc -O2 -static -o /tmp/alone /tmp/a.c && [ "$(/tmp/alone)" = 157276 ]; }
try "a static program" static_one
try "ldconfig" ldconfig
try "update-alternatives" update-alternatives --install /usr/bin/some-editor some-editor /bin/nano 5
try "dpkg-reconfigure" dpkg-reconfigure -f noninteractive cron
try "apt-get install again, over itself" apt-get -q -y --reinstall install nano
try "apt-get purge" apt-get -q -y purge nano logrotate
try "dpkg --audit still has none" sh -c 'test -z "$(dpkg --audit)"'
echo end >>/work.results
EOF
wanted=$(cat "$root"/{packages,people}.sh | grep -c '^try ')
mkdir "$trace"
work() { # PART [OPTION OF STRACE]
    local part=$1
    shift
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        strace -ff "$@" --quiet=attach,personality -s 300 -e trace=execve,execveat,openat,brk,mmap -e signal=none \
        -o "$trace/of" chroot "$root" /bin/sh "/$part.sh"
}
work packages --seccomp-bpf
work people
complete() {
    cat "$root/work.results"
    tail "$root/work.log"
    [ "$(tail -n 1 "$root/work.results")" = end ] && [ "$(grep -c ok "$root/work.results")" = "$wanted" ]
}
ok "all of the work was done: $wanted parts" complete
while read -r line; do
    grep -qx "ok $line" "$root/work.results" && result=true || result=false
    of_log() { $result || { sed -n "/^== $line/,/^== /p" "$root/work.log"; return 1; }; }
    ok "$line" of_log
done < <(sed -n 's/^not ok //p; s/^ok //p' "$root/work.results")

# ---- the proof ------------------------------------------------------------------------------------------------------
# A file for each process: a line for each program that it started, with what that did.  The first, chroot itself, is the
# machine's, up to its own execve.
awk '
    function tell() { if (program != "") print (loaded ? "loaded" : "bare"), (grew ? "brk" : "-"), (mapped ? "served" : "-"), program }
    FNR == 1 { tell(); program = ""; loaded = grew = mapped = 0 }
    / = -1 / || /\(No such|resumed/ { if (!/^\+\+\+/) next }
    /^execve(at)?\(/ && / = 0$/ { tell(); split($0, part, "\""); program = part[2]; last = ""; loaded = grew = mapped = 0; next }
    /^openat\(/ { if (last == "/etc/ld.so.preload" && /libhakmem\.so/) loaded = 1; split($0, part, "\""); last = part[2] }
    /^brk\(0x/ { grew = 1 }
    /^mmap\(/ && /MAP_FIXED_NOREPLACE/ { mapped = 1 }
    END { tell() }' "$trace"/of.* | sort | uniq -c | sort -rn >"$folder/programs"
# chroot of the machine is outside.
grep -v "bare - - $(command -v chroot)\$\|bare brk - $(command -v chroot)\$" "$folder/programs" >"$folder/inside"
number_of() { awk -v what="$1" '$0 ~ what { n += $1 } END { print n + 0 }' "$folder/inside"; }
started=$(number_of .) loaded=$(number_of ' loaded ') served=$(number_of ' served ')
echo "# programs started: $started, with the library: $loaded, that had it map memory: $served, processes: $(find "$trace" -type f | wc -l)"
enough() {
    head -n 50 "$folder/inside"
    # Small programs map nothing: what serves them lies in the library's own data. That it does, the heap that does not grow shows.
    [ "$started" -gt 500 ] && [ "$served" -gt $((loaded / 8)) ]
}
ok "the trace saw what was done" enough
# Into the rest nothing can be preloaded: they name no dynamic loader.
not_loaded() {
    awk '$2 == "bare" { print $1, $5 }' "$folder/inside" >"$folder/bare"
    local number program bad=0
    while read -r number program; do
        [ -f "$root$program" ] && readelf -lW "$root$program" >"$folder/segments" 2>&1 && grep -q LOAD "$folder/segments" &&
            ! grep -q INTERP "$folder/segments" && continue
        echo "$program, $number times: without the library, and not static"
        bad=1
    done <"$folder/bare"
    return $bad
}
ok "every program had the library, or is static" not_loaded
awk '$2 == "bare" { print "# static: " $5 ", " $1 " times" }' "$folder/inside"
none_grew() { ! grep ' loaded brk ' "$folder/inside"; }
ok "no program had the C library's malloc grow its heap" none_grew
none_died() { ! grep -lE '^\+\+\+ killed by SIG(SEGV|ABRT|BUS|ILL|FPE|SYS)' "$trace"/of.*; }
# So that this means something: a program that was linked statically did.
one_grew() { grep ' bare brk .*/tmp/alone' "$folder/inside"; }
ok "the static program did" one_grew
ok "no process crashed" none_died
no_words() { ! grep -aE 'ERROR: ld.so|hakmem: ' "$root/work.log"; }
ok "nobody complained of the library" no_words

# ---- off ------------------------------------------------------------------------------------------------------------
# If the library goes while it is on, programs complain, but start.
without_library() {
    mv "$root$libdir/libhakmem.so.0" "$root$libdir/away" && in_system "$root" /bin/ls -d / >"$folder/listed" 2>"$folder/complaint" && grep -qx / "$folder/listed" &&
        grep -q 'ERROR: ld.so: object .*libhakmem.so.0' "$folder/complaint"
    local result=$?
    mv "$root$libdir/away" "$root$libdir/libhakmem.so.0"
    return $result
}
ok "without the library's file programs still start" without_library
ok "off" "$hakmem" preload disable --root "$root"
ok "the file is gone, as it was before" test ! -e "$root/etc/ld.so.preload"
ok "status: off" status_is 3 '^off: '
ok "a program does not load it" loads_nothing /bin/ls /
loads_nothing_at_work() { loads_nothing /bin/sh -c 'dpkg --audit; python3 -c pass; perl -e 1; su tester -c true; /tmp/a'; }
ok "many programs do not" loads_nothing_at_work
uninstall() { make -s -C "$folder/build" uninstall DESTDIR="$root" && ! find "$root/usr" -name '*hakmem*' | grep .; }
ok "make uninstall leaves nothing" uninstall

done_testing
