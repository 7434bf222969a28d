# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# common.sh: what the tests of the command share; sourced, no test itself.  Makes small systems below $scratch out of the
# machine's own programs and libraries.  From the harness besides: HAKMEM_COMMAND, HAKMEM_LIBDIR.
command=${HAKMEM_COMMAND-} libdir=${HAKMEM_LIBDIR-} # sourcing the next one unsets them
# shellcheck source=tests/preload/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../preload/common.sh"
need_so
[ -x "$command" ] || skip_all "the command is not built"
hakmem=$(absolute "$command")

# To be root, or root of a user namespace, for chroot.
need_root() {
    [ "$(id -u)" != 0 ] || return 0
    unshare -rm true 2>/dev/null || skip_all "not root, and the kernel lends no user namespace"
    rm -rf "$scratch"
    HAKMEM_COMMAND=$hakmem HAKMEM_LIBDIR=$libdir HAKMEM_SO=$so exec unshare -rm bash "$0"
}
really_root() { [ "$(awk '{ print $3; exit }' /proc/self/uid_map)" -gt 1 ]; }

# The dynamic loader of our own ABI, and what $LIB is for it: as the loader itself sees it.
loader=$(ldd /bin/sh | sed -n 's/^[[:space:]]*\(\/[^ ]*\/ld[^ ]*\) (.*/\1/p')
[ -n "$loader" ] || skip_all "ldd does not name the dynamic loader"
libc=$(ldd /bin/sh | sed -n 's/.* => \(\/[^ ]*\)\/libc\.so\.[^ ]* .*/\1/p')
lib=
for folder in "${libc#/usr}" /lib64 /lib32 /lib; do
    mkdir -p "$scratch/dst$folder"
    cp "$so" "$scratch/dst$folder/libhakmem.so.0"
    words=$(HAKMEM_VERBOSE=1 LD_PRELOAD="$scratch/dst/\$LIB/libhakmem.so.0" /bin/ls -d / 2>&1)
    rm -r "$scratch/dst"
    [[ $words != *" serves process "* ]] || { lib=${folder#/}; break; }
done
[ -n "$lib" ] || skip_all "the dynamic loader does not say what \$LIB is"

# A system in $1 with the loader, the C library, a few programs, and the library in /usr/$LIB.
put() { # ROOT FILE...
    local root=$1 file
    shift
    for file; do
        [ -e "$root$file" ] && continue
        mkdir -p "$root$(dirname "$file")"
        cp -L --preserve=mode "$file" "$root$file"
    done
}
put_program() { # ROOT FILE...
    local root=$1 file
    shift
    for file; do
        put "$root" "$file"
        # shellcheck disable=SC2046  # many names
        put "$root" $(ldd "$file" | grep -o '/[^ ]*')
    done
}
make_root() { # ROOT
    mkdir -p "$1/etc" "$1/tmp" "$1/usr/$lib"
    echo 'root:x:0:0::/:/bin/sh' >"$1/etc/passwd"
    put_program "$1" /bin/sh /bin/ls /bin/cat /usr/bin/sort
    install -m 644 "$so" "$1/usr/$lib/libhakmem.so.0"
    chmod -R go+rX "$1"
}
# shellcheck disable=SC2016,SC2034  # $LIB is the dynamic loader's
entry='/usr/$LIB/libhakmem.so.0'

# The command, its exit code, and the words on both outputs.
run_command() { # ARGUMENT...
    code=0
    "$hakmem" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
}
gives() { # CODE ARGUMENT...
    local want=$1
    shift
    run_command "$@"
    [ "$code" = "$want" ] || { echo "exit code $code, not $want"; cat "$scratch/out" "$scratch/err"; return 1; }
}
# An error: the code, one line that begins "hakmem: " and matches, and nothing on standard output.
fails() { # CODE PATTERN ARGUMENT...
    local want=$1 pattern=$2
    shift 2
    gives "$want" "$@" || return 1
    if [ "$(wc -l <"$scratch/err")" != 1 ] || [ -s "$scratch/out" ] || ! grep -Eq "^hakmem: .*$pattern" "$scratch/err"; then
        cat "$scratch/out" "$scratch/err"
        echo "not one line with $pattern"
        return 1
    fi
}

# Makes the ELF header name another machine than this one.
foreign=183
[ "$(od -An -tu2 -j18 -N2 /bin/ls | tr -d ' ')" = 183 ] && foreign=62
patch_machine() { # FILE
    if [ "$(od -An -tu1 -j5 -N1 "$1" | tr -d ' ')" = 2 ]; then
        printf '%b' "\\0000\\0$(printf %03o $foreign)"
    else
        printf '%b' "\\0$(printf %03o $foreign)\\0000"
    fi | dd of="$1" bs=1 seek=18 conv=notrunc status=none
}
