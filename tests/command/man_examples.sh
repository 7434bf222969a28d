#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# man_examples.sh: what the manual pages tell their reader to type into a shell works as it stands there.  Every literal
# block that is no C program (tests/lint/man_examples.sh tries those) is run, all but its names of files: in an installation
# below a folder of its own, and, where it changes the system, in a small system of its own.  Those of section 5 are layouts.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/command/common.sh
. "$(dirname "$0")/common.sh"
need_root
need make pkg-config python3 awk
have_compiler "$cc" || skip_all "no C compiler"
[ -f "$build_dir/Makefile" ] || skip_all "this is not a build folder"

inst=$scratch/inst
${MAKE:-make} -C "$build_dir" install DESTDIR="$inst" >"$scratch/said" 2>&1 || { cat "$scratch/said"; exit 99; }
lib_folder=$(dirname "$(find "$inst" -name libhakmem.so.0)")

# The programs that the examples name.  The command is told where the library is that is not in its final place.
bin=$scratch/bin
mkdir -p "$bin" "$scratch/work"
cp -L /bin/ls "$bin/program"
# Its name may be cc, too: by the PATH from before.
printf '#!/bin/sh\nPATH=%s exec %s "$@"\n' "'$PATH'" "$cc" >"$bin/cc"
cat >"$bin/hakmem" <<END
#!/bin/sh
case \$1 in
    run) shift; exec '$hakmem' run --library '$so' "\$@" ;;
    tune) shift; exec '$hakmem' tune --library '$so' --rounds 6 --time 3 "\$@" ;; # as little as it does
    *) exec '$hakmem' "\$@" ;;
esac
END
# A server to be looked into.
cat >"$scratch/server.py" <<'END'
import time
while True:
    held = [bytes(5000) for _ in range(3000)]
    del held
    time.sleep(0.02)
END
LD_PRELOAD=$so PYTHONMALLOC=malloc python3 "$scratch/server.py" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$scratch"' EXIT
printf '#!/bin/sh\necho %s\n' $server >"$bin/pidof"
# Another, and its load: there is no need to wait for more.
printf '#!/bin/sh\nexec sleep 100\n' >"$bin/redis-server"
printf '#!/bin/sh\n' >"$bin/redis-benchmark"
chmod +x "$bin"/*
cat >"$scratch/work/program.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    char *p = malloc(100);
    return p == NULL || sprintf(p, "%d", 7) != 1;
}
END

# A system to be switched on and off.
root=$scratch/root
make_root "$root"
mkdir -p "$root$libdir" "$root/bin" "$root/proc"
cp "$so" "$root$libdir/libhakmem.so.0"
put_program "$root" "$hakmem" /bin/mkdir 2>/dev/null
cp "$hakmem" "$root/bin/hakmem"

# The blocks of a page, a file each; \e and \& are mdoc's.  C programs go to files of their own names.
awk -v work="$scratch/work" '
    FNR == 1 { page = FILENAME; sub(/.*\//, "", page); block = 0 }
    /^\.Bd -literal/ { inside = 1; block++; file = work "/" page "." block ".sh"; fresh = 1; next }
    /^\.Ed/ { inside = 0; close(file) }
    inside {
        gsub(/\\e/, "\\"); gsub(/\\&/, "")
        if (fresh && /^\/\* [a-z]+\.c: /) { file = work "/" $2; sub(/:$/, "", file) }
        fresh = 0; print > file
    }' "$source_dir"/man/*.[!5]

inside() { # ROOT FILE: runs a block there, with a /proc where that can be
    cp "$2" "$1/tmp/block"
    # shellcheck disable=SC2016  # for the shell that is started
    unshare -m sh -c 'mount -t proc proc "$1/proc" 2>/dev/null || mount --rbind /proc "$1/proc" 2>/dev/null
        exec chroot "$1" /bin/sh -e /tmp/block' sh "$1"
}
run_block() { # FILE
    local block=$1 status=0
    cd "$scratch/work" || return 1
    sed -i -e "s,/srv/chroot,$root,g" -e "s,/var/lib/node_exporter,$scratch,g" "$block"
    if grep -q '/etc/hakmem' "$block" || grep -q '^hakmem preload [a-z]*$' "$block"; then
        inside "$root" "$block" >"$scratch/out" 2>&1 || status=$?
    else
        env PATH="$bin:$PATH" HAKMEM_VERBOSE=1 LD_LIBRARY_PATH="$lib_folder" PKG_CONFIG_SYSROOT_DIR="$inst" \
            PKG_CONFIG_PATH="$(dirname "$(find "$inst" -name hakmem.pc)")" bash -e -u -o pipefail "$block" \
            >"$scratch/out" 2>&1 || status=$?
    fi
    cat "$block" "$scratch/out"
    [ "$status" = 0 ] || { echo "status $status"; return 1; }
    # Whatever names the library, or was linked with it, was served by it.
    case $(cat "$block") in
        *LD_PRELOAD=* | *"hakmem run"* | *./*) grep -q 'hakmem: .* serves process' "$scratch/out" ;;
    esac
}

blocks=("$scratch"/work/*.sh)
ok "the pages have blocks for the shell" test ${#blocks[@]} -ge 8
for block in "${blocks[@]}"; do
    name=$(basename "$block" .sh)
    # Not a whole command line: who looks for compilations in the log of a build (blhc) would find one.
    words=$(head -n 1 "$block")
    words=${words#cc } words=${words% \\}
    if grep -q '\bvalgrind\b' "$block" && ! command -v valgrind >/dev/null; then
        skip "${name%.*}: $words" "no valgrind"
        continue
    fi
    ok "${name%.*}: $words" run_block "$block"
done

# What they have left behind.
served() { HAKMEM_VERBOSE=1 LD_LIBRARY_PATH="$lib_folder" "$scratch/work/a.out" 2>&1 | grep 'serves process'; }
ok "the program that hakmem(7) links is served" served
off() { [ ! -e "$root/etc/ld.so.preload" ]; }
ok "the systems that were switched on are off again" off
ok "the program to be left alone is in the list" grep -qx /usr/bin/program "$root/etc/hakmem/pass.list"
done_testing
