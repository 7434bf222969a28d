#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# link.sh: what `make install` installs is enough to compile and link a program by pkg-config, shared and static, and the
# program is served by HAKMEM.  Installs below a folder of its own (DESTDIR).
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"
have_compiler "$cc" || skip_all "no C compiler"
need make pkg-config
[ -f "$build_dir/Makefile" ] || skip_all "this is not a build folder"

root=$scratch/root
install() { ${MAKE:-make} -C "$build_dir" install DESTDIR="$root"; }
ok "make install" install || done_testing

pc=$(find "$root" -name hakmem.pc)
header=$(find "$root" -name hakmem.h)
found() { # FILES
    [ "$(wc -w <<<"$1")" = 1 ] || { echo "$1"; find "$root" -type f; return 1; }
}
ok "one hakmem.pc" found "$pc" || done_testing
ok "one hakmem.h" found "$header" || done_testing

# Every function of ours is found by `man`, as a page or as a request for one.
manual() {
    local name pages page missing=0
    pages=$(dirname "$(find "$root" -name hakmem.3)")
    while read -r name _; do
        page=$pages/$name.3
        [ ! -f "$page" ] || page=$(sed -n "1s,^\.so man3,$pages,p" "$page")
        [ -n "$page" ] || page=$pages/$name.3
        grep -Eq "^\.Nm $name( ,)?\$" "$page" || { echo "$name: $page"; missing=1; }
    done < <(grep '^hak_' "$source_dir/tests/abi/exports.txt")
    [ "$missing" = 0 ]
}
ok "man finds every function" manual

# pkg-config sees nothing but what was just installed.
export PKG_CONFIG_LIBDIR=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$root
unset PKG_CONFIG_PATH
version() {
    local want
    want=$(sed -n 's/^#define HAK_VERSION_STRING "\(.*\)"/\1/p' "$header")
    echo "pkg-config: $(pkg-config --modversion hakmem), header: $want"
    [ -n "$want" ] && [ "$(pkg-config --modversion hakmem)" = "$want" ]
}
ok "pkg-config knows the version" version
libs() { pkg-config --libs hakmem | tr ' ' '\n' | grep -x -e -lhakmem; }
ok "pkg-config --libs says -lhakmem" libs
alone() { ! pkg-config --libs --static hakmem | tr ' ' '\n' | grep '^-l' | grep -Ev '^-l(hakmem|pthread|c|dl)$'; }
ok "and nothing else" alone

cat >"$scratch/program.c" <<'EOF'
#include <hakmem.h>
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    struct hak_stats before, after;
    void *p;
    if (hak_stats_get(&before, sizeof before))
        return 1;
    p = malloc(50000000);
    if (!p || hak_stats_get(&after, sizeof after) || after.live_bytes < before.live_bytes + 50000000)
        return 2;
    free(p);
    puts(hak_version());
    return 0;
}
EOF
# A program that does not name HAKMEM: the linker must not leave the library out.
cat >"$scratch/plain.c" <<'EOF'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
    char *p = malloc(100 + (size_t)argc);
    if (!p)
        return 1;
    strcpy(p, "plain");
    puts(p);
    free(p);
    return argv[0] == NULL;
}
EOF
flags() { # OPTIONS OF PKG-CONFIG
    pkg-config --cflags --libs "$@" hakmem
}
served() { # PROGRAM
    local status=0
    HAKMEM_VERBOSE=1 HAKMEM_STATS=1 LD_LIBRARY_PATH=$libdir "$1" >"$scratch/out" 2>"$scratch/err" &
    pid=$!
    wait "$pid" || status=$?
    heard "$scratch/err"
    cat "$scratch/out" "$scratch/stderr"
    [ "$status" = 0 ] || { echo "status $status"; return 1; }
    engaged
}

shared=$(find "$root" -name 'libhakmem.so')
libdir=${shared%/*}
if [ -n "$shared" ]; then
    # shellcheck disable=SC2046,SC2086  # words
    link_shared() { $cc "$scratch/$1.c" $(flags) -o "$scratch/$1-shared"; }
    ok "a program links by pkg-config" link_shared program
    ok "it works, and HAKMEM serves it" served "$scratch/program-shared"
    ok "a program that does not name HAKMEM links" link_shared plain
    ok "it works, and HAKMEM serves it" served "$scratch/plain-shared"
    # The linker is told to drop what is not named: HAKMEM stays.
    # shellcheck disable=SC2046,SC2086  # words
    link_as_needed() { $cc -Wl,--as-needed "$scratch/plain.c" $(flags) -o "$scratch/plain-as-needed"; }
    ok "one that does not name it links with --as-needed" link_as_needed
    ok "it works, and HAKMEM serves it" served "$scratch/plain-as-needed"
    # A program with a C++ runtime of its own: the library asks for the functions that it needs of it, so the linker exports them.
    cat >"$scratch/own.cc" <<'EOF'
#include <cstdio>
#include <new>
static int calls;
static void handler() { if (++calls == 3) std::set_new_handler(nullptr); }
int main()
{
    volatile std::size_t much = static_cast<std::size_t>(-1) / 4;
    std::set_new_handler(handler);
    try {
        return ::operator new(much) != nullptr;
    } catch (const std::bad_alloc &) {
        return std::printf("%d calls\n", calls) < 0 || calls != 3;
    }
}
EOF
    # shellcheck disable=SC2046,SC2086  # words
    link_own() { $cxx -static-libstdc++ -static-libgcc -Wl,-u,_ZSt17__throw_bad_allocv "$scratch/own.cc" $(flags) -o "$scratch/own"; }
    if have_compiler "$cxx" && $cxx -static-libstdc++ -static-libgcc "$scratch/own.cc" -o "$scratch/empty" 2>/dev/null; then
        ok "a program with a static C++ runtime links" link_own
        ok "its new handler is called, and std::bad_alloc is caught" served "$scratch/own"
    else
        skip "a program with a static C++ runtime" "no compiler, or no such runtime"
    fi
    needs() { readelf -dW "$scratch/program-shared" | grep -F 'NEEDED' | grep -F '[libhakmem.so.0]'; }
    ok "it needs libhakmem.so.0" needs
    links() { [ -f "$libdir/libhakmem.so.0" ] && [ -L "$libdir/libhakmem.so" ]; }
    ok "libhakmem.so.0 is installed" links
else
    skip "the shared library" "not built"
fi
if [ -n "$(find "$root" -name 'libhakmem.a')" ] &&
    echo 'int main(void) { return 0; }' | $cc -static -x c - -o "$scratch/empty" 2>/dev/null; then
    # shellcheck disable=SC2046,SC2086  # words
    link_static() { $cc "$scratch/program.c" -static $(flags --static) -o "$scratch/program-static"; }
    ok "a static program links by pkg-config --static" link_static
    ok "it works, and HAKMEM serves it" served "$scratch/program-static"
    # shellcheck disable=SC2046,SC2086  # words
    link_plain_static() { $cc -Wl,--as-needed "$scratch/plain.c" -static $(flags --static) -o "$scratch/plain-static"; }
    ok "one that does not name it, too" link_plain_static
    ok "it works, and HAKMEM serves it" served "$scratch/plain-static"
else
    skip "a static program" "no static library, of ours or of C"
fi
uninstall() {
    ${MAKE:-make} -C "$build_dir" uninstall DESTDIR="$root" && ! find "$root" -name '*hakmem*' ! -type d | grep .
}
ok "make uninstall leaves nothing behind" uninstall
done_testing
