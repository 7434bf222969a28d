#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# pass_list.sh: /etc/hakmem/pass.list, on a small system in a folder whose /etc/ld.so.preload has the library.
# shellcheck disable=SC2016,SC2317  # $LIB is the dynamic loader's; ok calls the functions
# shellcheck source=tests/command/common.sh
. "$(dirname "$0")/common.sh"
need_root
chroot / true 2>/dev/null || skip_all "no right to chroot"
chmod 755 "$scratch"

root=$scratch/root
make_root "$root"
list=$root/etc/hakmem/pass.list
mkdir "${list%/*}" "$root/proc"
printf '%s\n' "$entry" >"$root/etc/ld.so.preload"
# /proc tells a program which file it is.
unshare -m mount --bind /proc "$root/proc" 2>/dev/null || skip_all "no right to mount /proc"
inside() { # PROGRAM...
    unshare -m sh -c 'mount --rbind /proc "$1/proc" && shift && exec env HAKMEM_VERBOSE=1 chroot "$@"' sh "$root" "$root" "$@" \
        >"$scratch/out" 2>"$scratch/err"
}
served() { inside "$@" && grep -q ' serves process ' "$scratch/err" && ! grep -v ' serves process ' "$scratch/err"; }
left() {
    inside "$@" && grep -q ' leaves process .* to the C library$' "$scratch/err" &&
        ! grep -v ' leaves process ' "$scratch/err"
}
writes() { printf '%b' "$1" >"$list" && chmod 644 "$list"; }

ok "no list: served" served /bin/ls -d /
writes ''
ok "an empty list: served" served /bin/ls -d /
writes '# /bin/ls\n\n/bin/cat\n'
ok "another program's line: served" served /bin/ls -d /
ok "that program: left" left /bin/cat /etc/passwd
writes '/bin/ls # by its path\n'
ok "by its path: left" left /bin/ls -d /
result() { [ "$(cat "$scratch/out")" = / ]; }
ok "and it works" result
writes 'l?\nso*\n'
ok "by a pattern: left" left /bin/ls -d /
ok "by another pattern: left" left /usr/bin/sort /etc/passwd
ok "not by any: served" served /bin/cat /etc/passwd
ln "$root/bin/ls" "$root/bin/other"
ln -s ls "$root/bin/link"
ok "a link to a program on the list is that program" left /bin/link -d /
ok "another name of the same file is not" served /bin/other -d /
mkdir "$root/more"
ln -s ../bin "$root/more/bin"
writes '/more/bin/ls\n'
ok "a line whose folder is a link" left /bin/ls -d /

writes 'ls\n'
by_name() { inside /bin/sh -c 'LD_PRELOAD=/usr/'"$lib"'/libhakmem.so.0 ls -d /' && ! grep -q ' leaves process' "$scratch/err"; }
ok "LD_PRELOAD names the library: served all the same" by_name
other_name() { inside /bin/sh -c 'LD_PRELOAD=/usr/'"$lib"'/libother.so ls -d /' && grep -q ' leaves process' "$scratch/err"; }
install -m 644 "$so" "$root/usr/$lib/libother.so"
ok "LD_PRELOAD names something else: left" other_name

# Believed only when root alone can write it.
ignored() {
    inside /bin/ls -d / && grep -q ' serves process ' "$scratch/err" &&
        grep -q '^hakmem: /etc/hakmem/pass.list is ignored' "$scratch/err" && [ "$(wc -l <"$scratch/err")" = 2 ]
}
for mode in 664 646 666; do
    chmod $mode "$list"
    ok "a list with mode $mode is ignored" ignored
done
quiet() { env -u HAKMEM_VERBOSE chroot "$root" /bin/ls -d / 2>&1 | grep -qx /; }
ok "without a word, unless HAKMEM_VERBOSE asks" quiet
chmod 600 "$list"
ok "a list that is root's secret works for root" left /bin/ls -d /
chmod 644 "$list"
rm "$list" && mkdir "$list"
ok "a folder is ignored" ignored
rmdir "$list" && mkfifo "$list"
ok "a pipe is ignored, and not waited for" ignored
rm "$list"

# A program that forbids itself to open files before its first malloc: the list was asked before main.
if have_compiler "$cc"; then
    cat >"$scratch/closed.c" <<'EOF'
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { 4, code };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        return 77;
    char *volatile p = malloc(100);
    free(p);
    return p && write(1, "good\n", 5) == 5 ? 0 : 1;
}
EOF
    writes '# nobody\n'
    if $cc -o "$scratch/closed" "$scratch/closed.c" 2>"$scratch/said" && "$scratch/closed" >/dev/null; then
        put_program "$root" "$scratch/closed" && mv "$root$scratch/closed" "$root/bin/closed"
        ok "a program that may open no file" served /bin/closed
        writes 'closed\n'
        ok "the same, on the list" left /bin/closed
    else
        skip "a program that may open no file" "no seccomp here"
    fi
else
    skip "a program that may open no file" "no compiler"
fi

if really_root; then
    writes 'ls\n'
    chown 65534 "$list"
    ok "somebody else's list is ignored" ignored
    chown 0 "$list"
    ok "root's is not" left /bin/ls -d /
    # A privileged program does not take HAKMEM_PASS from its user, but the list is obeyed.  It cannot say so: HAKMEM_VERBOSE is
    # not taken either.  So it is asked for malloc_info.
    if have_compiler "$cc" && ! findmnt -nT "$scratch" -o OPTIONS 2>/dev/null | grep -q nosuid; then
        cat >"$scratch/who.c" <<'EOF'
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
int main(void)
{
    char text[8192] = "";
    free(malloc(100));
    FILE *f = fmemopen(text, sizeof text, "w");
    if (!f || malloc_info(0, f) || fclose(f))
        return 1;
    text[23] = 0;
    printf("%lu %s\n", getauxval(AT_SECURE), text);
    return 0;
}
EOF
        $cc -o "$scratch/who" "$scratch/who.c" && put_program "$root" "$scratch/who" && mv "$root$scratch/who" "$root/bin/who"
        cp "$root/bin/who" "$root/bin/whom"
        chmod 4755 "$root/bin/who" "$root/bin/whom"
        chmod 755 "$root"
        asked() { # PROGRAM WANT
            unshare -m sh -c 'mount --rbind /proc "$1/proc" && shift && HAKMEM_PASS=1 exec chroot --userspec=65534:65534 "$@"' \
                sh "$root" "$root" "/bin/$1" >"$scratch/out" 2>"$scratch/err"
            cat "$scratch/out" "$scratch/err"
            [ "$(cat "$scratch/out")" = "$2" ]
        }
        writes 'whom\n'
        ok "HAKMEM_PASS has no effect on a setuid program" asked who '1 <malloc version="hakmem'
        ok "the list has" asked whom '1 <malloc version="1">
<h'
        chmod 755 "$root/bin/who"
        ok "HAKMEM_PASS has an effect on others" asked who '0 <malloc version="1">
<h'
    else
        skip "setuid programs" "no compiler, or no setuid here"
    fi
else
    skip "lists of others, and setuid programs" "not really root"
fi
done_testing
