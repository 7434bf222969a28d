#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# preload.sh: `hakmem preload` on small systems in folders: on, off, status, what is kept, every reason to refuse, and the
# ways out when nothing works any more.  A refusal changes nothing: the whole /etc is compared.
# shellcheck disable=SC2016,SC2317  # $LIB is the dynamic loader's; ok calls the functions
# shellcheck source=tests/command/common.sh
. "$(dirname "$0")/common.sh"
need_root
chroot / true 2>/dev/null || skip_all "no right to chroot"

first=$scratch/first root=$scratch/root
make_root "$first"
fresh() { # a new system in $root
    rm -rf "$root"
    cp -a "$first" "$root"
}
file=$root/etc/ld.so.preload
preload() { # VERB ARGUMENT...
    local verb=$1
    shift
    run_command preload "$verb" --root "$root" "$@"
}
on() { gives 0 preload enable --root "$root" --library "$entry" "$@"; }
off() { gives 0 preload disable --root "$root"; }
holds() { # TEXT
    printf '%b' "$1" | diff - "$file"
}
in_root() { # PROGRAM...: served by the system's own preload
    env -i PATH="$PATH" HAKMEM_VERBOSE=1 chroot "$root" "$@" >"$scratch/out" 2>"$scratch/err"
}
is_served() { in_root /bin/ls -d / && grep -q ' serves process ' "$scratch/err"; }
is_not_served() { in_root /bin/ls -d / && [ ! -s "$scratch/err" ]; }
image() { (cd "$root/etc" && find . -printf '%p %y %m %U %G %s %T@ %l\n' | sort; cat ld.so.preload; :) 2>/dev/null; }
refuses() { # CODE PATTERN ARGUMENT...: enable does, and nothing has changed
    local want=$1 pattern=$2
    shift 2
    image >"$scratch/before"
    fails "$want" "$pattern" preload enable --root "$root" "$@" || return 1
    image | diff "$scratch/before" -
}

# ---- on and off
fresh
ok "status of a system where it is off" gives 3 preload status --root "$root" --library "$entry"
said() { grep -Eq "$1" "$scratch/out" || { cat "$scratch/out" "$scratch/err"; return 1; }; }
ok "says so" said "^off: $file\$"
ok "and that the library is good" said "^library: $root/usr/$lib/libhakmem.so.0 \(.* bits\): good\$"
ok "and works" said '^trial: [3-9] programs work under it$'
ok "before: not served" is_not_served
ok "on" on
ok "it says where and what" said "^on: $file has /usr/\\\$LIB/libhakmem.so.0 "
ok "it says how to get out" said ": > R/etc/ld.so.preload\$"
ok "the file holds the entry" holds "$entry\n"
mode() { [ "$(stat -c '%a %u %g' "$file")" = "$1" ] || { stat "$file"; return 1; }; }
ok "the file is root's, and everybody's to read" mode '644 0 0'
ok "programs are served" is_served
ok "on again: nothing to do" on
ok "says so" said 'has .* already$'
ok "the file holds the entry once" holds "$entry\n"
ok "status of a system where it is on" gives 0 preload status --root "$root"
ok "says so" said "^on: $file has /usr/\\\$LIB/libhakmem.so.0\$"
running() {
    mkfifo "$root/tmp/wait"
    env -i PATH="$PATH" chroot "$root" /bin/cat /tmp/wait &
    local cat=$!
    for _ in {1..100}; do grep -q libhakmem "/proc/$cat/maps" && break; sleep 0.05; done
    run_command preload status --root "$root"
    : 1<>"$root/tmp/wait"
    kill "$cat" 2>/dev/null
    wait "$cat" 2>/dev/null
    said '^processes: 1 have it mapped, 0 have not; '
}
if really_root; then
    ok "status finds the processes that run under it" running
else
    skip "status finds the processes that run under it" "not really root"
fi
ok "off" off
ok "the file was made by on, and is gone" test ! -e "$file"
ok "programs are not served" is_not_served
ok "off again: nothing to do" off
ok "says so" said '^off already'
nothing_left() { find "$root/etc" -name '.ld.so*' | grep . && return 1; return 0; }
ok "no temporary file is left" nothing_left

# The same as the system that runs: the command inside, on /.
install -m 755 "$hakmem" "$root/hakmem"
inside() { env -i PATH="$PATH" chroot "$root" /hakmem preload "$@" >"$scratch/out" 2>&1; }
if inside status --root / || [ $? = 3 ]; then
    ok "on, in the system that runs" inside enable --library "$entry"
    ok "says so" said '^on: /etc/ld.so.preload has '
    ok "and how to get out" said ': > /etc/ld.so.preload  '
    ok "programs are served" is_served
    ok "status" inside status
    ok "off" inside disable
    ok "says so" said '^off: /etc/ld.so.preload no longer has '
    ok "programs are not served" is_not_served
else
    skip "the command inside" "it is linked dynamically, and its libraries are not there"
fi

# Somebody holds the lock, and does not mean to give it back.
exec 8<"$root/etc"
flock 8
ok "on, though another holds the lock" on
ok "off, though another holds the lock" off
exec 8<&-

# ---- what is kept
fresh
install -m 644 "$so" "$root/usr/$lib/libother.so"
# (One comment: glibc 2.36 does not always see a second one as such.)
kept="\n# a comment with libhakmem.so.0 in it\n\n/usr/\$LIB/libother.so\n\n"
printf '%b' "$kept" >"$file"
chmod 640 "$file"
owner="0 0"
really_root && chown 12:34 "$file" && owner="12 34"
ok "on, with other entries" on
ok "ours comes before the other, comments stay" \
    holds "\n# a comment with libhakmem.so.0 in it\n\n$entry\n/usr/\$LIB/libother.so\n\n"
ok "mode and owner stay" mode "640 $owner"
ok "off, with other entries" off
ok "all is as before" holds "$kept"
ok "mode and owner, too" mode "640 $owner"
printf '# nothing but words' >"$file"
ok "on, with a comment that no newline ends" on
ok "a line of its own" holds "# nothing but words\n$entry\n"
ok "off" off
ok "the comment stays" holds '# nothing but words\n'
printf '/usr/$LIB/libother.so:%s /usr/$LIB/libother.so\n' "$entry" >"$file"
ok "off, from the middle of a line" off
others() { tr ' :' '\n' <"$file" | grep . | diff - <(printf '/usr/$LIB/libother.so\n/usr/$LIB/libother.so\n'); }
ok "the others stay" others
printf '/old/place/libhakmem.so.0.0.0\n%s\n' "$entry" >"$file"
ok "off removes every entry of ours" off
ok "nothing is left" test ! -e "$file"

# ---- reasons to refuse
fresh
ok "no such folder" fails 1 'nowhere: No such file' preload enable --root "$scratch/nowhere"
rm -r "${root:?}/etc"
ok "a root without /etc" fails 1 '/etc: No such file' preload enable --root "$root" --library "$entry"
fresh
ok "the library is missing" refuses 4 "/usr/$lib/libhakmem.so.1, for programs of .*: No such file" \
    --library '/usr/$LIB/libhakmem.so.1'
rm "$root/usr/$lib/libhakmem.so.0" # where it expects it, if it is one that is installed
ok "not installed where the command expects it" refuses 4 'libhakmem.so.0: the library is not installed there'
fresh
ok "a relative path" refuses 4 'not an absolute path' --library libhakmem.so.0
ok "a path with a blank" refuses 4 'not an absolute path without blanks' --library '/a b/libhakmem.so.0'
ok "a library of another name" refuses 4 'does not begin with libhakmem.so' --library '/usr/$LIB/libc.so.6'
echo "not a library" >"$root/usr/$lib/libhakmem.so.0"
ok "not an ELF file" refuses 4 'not an ELF file' --library "$entry"
head -c 2000 "$so" >"$root/usr/$lib/libhakmem.so.0"
ok "a damaged one" refuses 4 'damaged ELF file' --library "$entry"
cp -L /bin/ls "$root/usr/$lib/libhakmem.so.0"
ok "a program" refuses 4 'not a shared library' --library "$entry"

fresh
chmod 664 "$root/usr/$lib/libhakmem.so.0"
ok "others than root can change the library" refuses 4 'others than root can change it' --library "$entry"
chmod 600 "$root/usr/$lib/libhakmem.so.0"
ok "not everybody can read it" refuses 4 'not every user can read it' --library "$entry"
chmod 644 "$root/usr/$lib/libhakmem.so.0"
chmod 700 "$root/usr"
ok "not everybody can reach it" refuses 4 'not every user can enter /usr' --library "$entry"

# Another ABI: its loader is there, the library for it is not.  (A loader of ours whose header names another machine.)
fresh
mkdir -p "$root/lib"
cp -L "$loader" "$root/lib/ld-linux-foreign.so.1"
patch_machine "$root/lib/ld-linux-foreign.so.1"
ok "another ABI would find a library that is not its own" \
    refuses 4 'for programs of /lib/ld-linux-foreign.so.1 .*another ABI' --library "$entry"
# The same with a $LIB of its own, of the same length: there is nothing at all.
other_lib=$(printf %s "$lib" | sed 's/.$/0/')
LC_ALL=C sed -i "s|$lib\x00|$other_lib\x00|g" "$root/lib/ld-linux-foreign.so.1"
ok "another ABI would not find its library" \
    refuses 4 "/usr/$other_lib/libhakmem.so.0, for programs of /lib/ld-linux-foreign.so.1 .*: No such file" --library "$entry"
mkdir -p "$root/opt"
install -m 644 "$so" "$root/opt/libhakmem.so.0"
ok "a place without \$LIB, and two ABIs" refuses 4 "\\\$LIB does not fit /opt/libhakmem.so.0" --library /opt/libhakmem.so.0
rm "$root/lib/ld-linux-foreign.so.1"
ok "a place without \$LIB, and one ABI: on" gives 0 preload enable --root "$root" --library /opt/libhakmem.so.0
ok "with a word of warning" said '^note: \$LIB .* does not fit'
ok "programs are served" is_served
ok "another entry of ours is there" refuses 4 'has /opt/libhakmem.so.0 already' --library "$entry"
ok "off" off

# A C library that is too old: its newest versions get other names.
fresh
version=$(readelf -VW "$so" 2>/dev/null | sed -n 's/.*Name: \(GLIBC_2\.[0-9]*\) .*/\1/p' | sort -V | tail -n 1)
if [ -n "$version" ]; then
    LC_ALL=C find "$root" -name 'libc.so.6' -exec sed -i "s|$version\x00|${version/GLIBC/OLDIE}\x00|g" {} +
    ok "the C library is too old" refuses 4 "the C library is too old: libc.so.6 has no $version" --library "$entry"
else
    skip "the C library is too old" "no readelf to find out what the library needs"
fi

# Libraries that must not be preloaded, made here.
if have_compiler "$cc"; then
    build() { # NAME FLAGS...: from $scratch/NAME.c into the system
        local name=$1
        shift
        $cc -shared -fPIC -Wl,-soname,libhakmem.so.0 -o "$scratch/$name.so" "$scratch/$name.c" "$@" &&
            install -m 644 "$scratch/$name.so" "$root/usr/$lib/libhakmem.so.0"
    }
    fresh
    printf 'double cos(double); double hak_x; void hak_f(void) { hak_x = cos(hak_x); }\n' >"$scratch/more.c"
    ok "a library that needs libm is built" build more -Wl,--no-as-needed -lm
    ok "it needs more than the C library" refuses 4 'it needs libm.so.6, and may need nothing but the C library' --library "$entry"
    printf '#include <stdlib.h>\nvoid *malloc(size_t n) { (void)n; abort(); }\nvoid *calloc(size_t n, size_t m) { (void)n, (void)m; abort(); }\n' >"$scratch/crash.c"
    ok "a library that crashes is built" build crash
    ok "programs crash under it" refuses 4 '/bin/sh fails under the library: it was killed by signal 6' --library "$entry"
    printf '#include <stddef.h>\nvoid *malloc(size_t n) { (void)n; return NULL; }\n' >"$scratch/none.c"
    ok "a library that has no memory is built" build none
    ok "programs fail under it" refuses 4 'fails under the library: ' --library "$entry"
    printf 'int hak_nothing;\n' >"$scratch/idle.c"
    ok "a library that does nothing is built" build idle
    ok "it serves nobody" refuses 4 'served none of' --library "$entry"
    # A library that fails only when the file itself names it: found out afterwards, and undone.
    cat >"$scratch/later.c" <<'EOF'
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
__attribute__((constructor)) static void start(void)
{
    static const char said[] = "hakmem: libhakmem 0 serves process 1\n";
    if (!getenv("LD_PRELOAD"))
        _exit(9);
    if (write(2, said, strlen(said)) < 0)
        _exit(8);
}
EOF
    ok "a library that fails later is built" build later
    printf '# words\n' >"$file"
    undone() {
        fails 4 'refused, and undone: no program is served' preload enable --root "$root" --library "$entry" && holds '# words\n'
    }
    ok "it is found out, and undone" undone
    rm "$file"
    undone_without() {
        fails 4 'refused, and undone' preload enable --root "$root" --library "$entry" && [ ! -e "$file" ]
    }
    ok "also where there was no file" undone_without

    # ---- the ways out, when no program starts
    fresh
    printf '#include <stdlib.h>\n__attribute__((constructor)) static void start(void) { abort(); }\n' >"$scratch/dead.c"
    ok "a library that lets nothing start is built" build dead
    static=no
    ldd "$hakmem" >/dev/null 2>&1 && ! ldd "$hakmem" 2>&1 | grep -q 'statically' || static=yes
    install -m 755 "$hakmem" "$root/hakmem"
    printf '%s\n' "$entry" >"$file"
    nothing_starts() { ! env -i PATH="$PATH" chroot "$root" /bin/ls 2>/dev/null; }
    ok "nothing starts" nothing_starts
    ok "status says so" gives 4 preload status --root "$root"
    ok "off from outside" off
    ok "programs start again" is_not_served
    printf '%s\n' "$entry" >"$file"
    ok "nothing starts" nothing_starts
    if [ $static = yes ]; then
        ok "off from inside: the command is static" env -i PATH="$PATH" chroot "$root" /hakmem preload disable
        ok "programs start again" is_not_served
    else
        skip "off from inside" "the command is not linked statically"
    fi
    # A shell that runs already, with nothing but what is built into it: the line that enable prints.
    mkfifo "$scratch/words"
    rm -f "$file"
    env -i PATH="$PATH" chroot "$root" /bin/sh <"$scratch/words" >"$scratch/shell.out" 2>&1 &
    shell=$!
    exec 7<>"$scratch/words"
    echo 'echo ready' >&7
    for _ in {1..200}; do [ -s "$scratch/shell.out" ] && break; sleep 0.05; done
    printf '%s\n' "$entry" >"$file"
    ok "nothing starts" nothing_starts
    echo ': > /etc/ld.so.preload; ls -d /; exit' >&7
    exec 7>&-
    recovers() { wait "$shell" && [ "$(tr '\n' ' ' <"$scratch/shell.out")" = 'ready / ' ]; }
    ok "a shell that runs gets out by : > /etc/ld.so.preload" recovers
    ok "programs start again" is_not_served
else
    skip "libraries that must not be preloaded" "no compiler"
fi

# ---- a broken entry is there already
fresh
printf '/usr/$LIB/libnothing.so\n' >"$file"
ok "an entry that is missing" refuses 4 'ld.so.preload is broken already: /usr/\$LIB/libnothing.so: No such file' --library "$entry"
echo words >"$root/usr/$lib/libwords.so"
printf '/usr/$LIB/libwords.so\n' >"$file"
ok "an entry that is no library" refuses 4 'is broken already: .*not an ELF file' --library "$entry"
printf 'libnowhere.so.9\n' >"$file"
ok "an entry by its name alone" refuses 4 'is broken already: ERROR: ld.so: object .libnowhere.so.9.' --library "$entry"
printf '/usr/$LIB/libnothing.so %s\n' "$entry" >"$file"
ok "off works, with a broken entry there" off
ok "and keeps it" grep -q 'libnothing.so' "$file"
printf '%s\n' "$entry" >"$file"
rm "$root/usr/$lib/libhakmem.so.0"
ok "our own library is gone" refuses 4 'is broken already' --library "$entry"
ok "off works, with our own library gone" off
ok "the file is gone" test ! -e "$file"

# ---- odd files
fresh
mkdir "$file"
ok "a folder" fails 1 'ld.so.preload: Is a directory' preload enable --root "$root" --library "$entry"
rmdir "$file"
printf 'x\0y\n' >"$file"
ok "not text" refuses 4 'is not text|is broken already' --library "$entry"
printf '%s\n\0\n' "$entry" >"$file"
ok "off, though it is not text" off
in_place() { [ "$(tr -d ' \n\0' <"$file" | wc -c)" = 0 ]; }
ok "by blanks in the place of the entry" in_place
rm "$file"
echo >"$root/etc/elsewhere"
ln -s elsewhere "$file"
ok "a symbolic link" refuses 4 'is a symbolic link' --library "$entry"
printf '%s\n# words\n' "$entry" >"$root/etc/elsewhere"
ok "off, though it is a symbolic link" off
ok "a file has taken its place" holds '# words\n'

# Links stay inside: /etc of this system leads to the absolute /inner, which the machine must not have.
fresh
mv "$root/etc" "$root/inner-$$"
ln -s "/inner-$$" "$root/etc"
ok "on, where /etc is an absolute link" on
ok "it is the folder inside" test -s "$root/inner-$$/ld.so.preload"
ok "off" off
ok "inside, too" test ! -e "$root/inner-$$/ld.so.preload"

# ---- no right to write
fresh
if really_root && command -v setpriv >/dev/null; then
    chmod 755 "$scratch"
    as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
    nobody_fails() { # VERB ARGUMENT...
        image >"$scratch/before"
        code=0
        as_nobody "$hakmem" preload "$@" --root "$root" >"$scratch/out" 2>"$scratch/err" || code=$?
        cat "$scratch/err"
        [ "$code" = 1 ] && grep -q '^hakmem: .*ld.so.preload: Permission denied$' "$scratch/err" && image | diff "$scratch/before" -
    }
    if as_nobody test -x "$hakmem"; then
        ok "on, without the right to" nobody_fails enable --library "$entry"
        printf '%s\n' "$entry" >"$file"
        ok "off, without the right to" nobody_fails disable
        rm "$file"
    else
        skip "without the right to write" "other users cannot enter the build folder"
    fi
else
    skip "without the right to write" "needs root and setpriv"
fi
if unshare -m true 2>/dev/null; then
    read_only() { # COMMAND...
        unshare -m sh -c 'root=$1; shift; mount --bind "$root/etc" "$root/etc" && mount -o remount,bind,ro "$root/etc" &&
            exec "$@"' sh "$root" "$@" >"$scratch/out" 2>"$scratch/err"
    }
    read_only_fails() { # VERB ARGUMENT...
        code=0
        read_only "$hakmem" preload "$@" --root "$root" || code=$?
        cat "$scratch/err"
        [ "$code" = 1 ] && grep -q '^hakmem: .*ld.so.preload: Read-only file system$' "$scratch/err"
    }
    ok "on, where /etc is read-only" read_only_fails enable --library "$entry"
    ok "nothing is there" test ! -e "$file"
    printf '%s\n' "$entry" >"$file"
    ok "off, where /etc is read-only" read_only_fails disable
    # A file that is a mount of its own, as containers have them, cannot be replaced.
    printf '# words\n%s\n' "$entry" >"$scratch/mounted"
    mount_of_its_own() {
        unshare -m sh -c 'mount --bind "$1" "$2" && exec "$3" preload disable --root "$4"' sh \
            "$scratch/mounted" "$file" "$hakmem" "$root" && [ "$(tr -d ' ' <"$scratch/mounted" | tr '\n' .)" = '#words..' ]
    }
    ok "off, where the file is a mount of its own: in place" mount_of_its_own
else
    skip "read-only file systems" "no right to mount"
fi

# ---- the list of programs to pass by
fresh
mkdir -p "$root/etc/hakmem"
echo /bin/ls >"$root/etc/hakmem/pass.list"
chmod 666 "$root/etc/hakmem/pass.list"
ok "on, with a list that all can write" on
ok "says that it is ignored" said '^note: .*/etc/hakmem/pass.list is ignored'
preload status
ok "status, too" said '^list: .*/etc/hakmem/pass.list is ignored'
done_testing
