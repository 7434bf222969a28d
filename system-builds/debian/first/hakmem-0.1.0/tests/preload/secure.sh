#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# secure.sh: programs with privileges beyond their user's (AT_SECURE) take nothing from the environment: no option, no
# word, no descriptor.  A small program that links HAKMEM gets the set-user-ID bit of another user.
# shellcheck disable=SC2317,SC2086,SC2015  # ok calls the functions; CC has options; A && B || show what went wrong
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
have_compiler "$cc" || skip_all "no C compiler"
[ "$(id -u)" = 0 ] || skip_all "only root can make a program another user's"
need setpriv
chmod 755 "$scratch" && cd "$scratch" || exit 99
cp -L "$so" libhakmem.so.0 || exit 99

cat >program.c <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <hakmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
int main(void)
{
    Dl_info info;
    long dirty = -1, minimal = -1, stats = -1;
    void *own = dlsym(RTLD_DEFAULT, "malloc"), *blocks[1000];
    if (!own || !dladdr(own, &info) || !strstr(info.dli_fname, "libhakmem"))
        return puts("malloc is not HAKMEM's"), 1;
    for (int i = 0; i < 1000; i++)
        if (!(blocks[i] = malloc((size_t)i * 50)))
            return 2;
    for (int i = 0; i < 1000; i++)
        free(blocks[i]);
    if (hak_option_get("DIRTY_KB", &dirty) || hak_option_get("MINIMAL", &minimal) || hak_option_get("STATS", &stats))
        return 3;
    int descriptors = 0;
    for (int fd = 3; fd < 1024; fd++)
        descriptors += fcntl(fd, F_GETFD) >= 0 && fcntl(fd, F_GETFD) & FD_CLOEXEC;
    printf("secure %lu, dirty %ld, minimal %ld, stats %ld, descriptors %d\n", getauxval(AT_SECURE), dirty, minimal, stats,
           descriptors);
    return 0;
}
END
ok "a program compiles" $cc -w -O1 -I "$source_dir/lib/include" program.c -o program libhakmem.so.0 -ldl \
    -Wl,-rpath,"$scratch" || done_testing
chmod 755 program libhakmem.so.0

run() { # PROGRAM [VARIABLE]...
    local program=$1
    shift
    setpriv --reuid=65534 --regid=65534 --clear-groups env HAKMEM_DIRTY_KB=7 HAKMEM_MINIMAL=1 HAKMEM_STATS=1 \
        HAKMEM_VERBOSE=1 HAKMEM_BIG_KB=banana "$@" "$program" >out 2>err
}
open() { # WHAT
    run "$1" && grep -qx 'secure 0, dirty 7, minimal 1, stats 1, descriptors 1' out && grep -q 'serves process' err &&
        grep -q 'statistics of process' err && grep -q banana err || { cat out err; return 1; }
}
secure() { # PROGRAM [VARIABLE]...
    run "$@" && grep -qx 'secure 1, dirty 4096, minimal 0, stats 0, descriptors 0' out && [ ! -s err ] ||
        { cat out err; return 1; }
}
ok "as any other program it takes its options" open ./program || done_testing

cp program set-user-id && chown 1:1 set-user-id && chmod 4755 set-user-id
cp program set-group-id && chown 1:1 set-group-id && chmod 2755 set-group-id
if run ./set-user-id && grep -q 'secure 0' out; then
    skip "set-user-ID" "the file system of $(dirname "$scratch") is mounted nosuid, or privileges cannot be gained here"
else
    ok "set-user-ID: nothing" secure ./set-user-id
    ok "set-group-ID: nothing" secure ./set-group-id
    # The dynamic linker drops a preloaded library with a slash in its name; the program itself links HAKMEM.
    ok "set-user-ID, and HAKMEM preloaded besides" secure ./set-user-id LD_PRELOAD="$scratch/libhakmem.so.0"
fi
if cp program capable && setcap cap_chown+ep capable 2>/dev/null; then
    ok "with a file capability: nothing" secure ./capable
else
    skip "with a file capability" "no setcap, or not here"
fi

# Preloaded by file name into a program that knows nothing of HAKMEM: the dynamic linker drops it there, and all is well.
plain=$(command -v id)
cp "$plain" id && chown 1:1 id && chmod 4755 id
dropped() {
    run ./id LD_PRELOAD="$scratch/libhakmem.so.0" && grep -q 'euid=1' out && ! grep hakmem: err || { cat out err; return 1; }
}
if run ./id && ! grep -q 'euid=1' out; then
    skip "a set-user-ID program under preload" "set-user-ID has no effect here"
else
    ok "a set-user-ID program is left alone by a preload with a slash in it" dropped
fi
done_testing
