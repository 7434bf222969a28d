#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# debian.sh [PART]...: the Debian packages of this checkout build, blhc and lintian have nothing to say of them, and they hold
# what they should.  Then all parts, or those that are named:
#   check        the project's tests run while the packages are built
#   again        they are built again elsewhere and are the same, byte by byte
#   cross        they are built for arm64 on amd64
#   system       in a Debian system in a folder they are installed, used, upgraded under running programs, removed in good and in
#                bad order, and purged without a trace
#   autopkgtest  runs debian/tests in such a system
#   piuparts     installs, upgrades and purges them as Debian's own machines do
# .ci/run has not `check`, `again` and `cross`.  Prints TAP; figures for docs/packaging.md are in its comments.
# Installs nothing on this machine; what must be there is in tools/setup packaging.
# shellcheck disable=SC2154,SC2317,SC2016  # variables of system.sh; ok calls the functions; $ of others
# shellcheck source=tests/system/system.sh
. "$(dirname "$0")/system.sh"

if [ "${1-}" != inside ]; then
    for tool in git make dpkg-buildpackage dh; do
        command -v $tool >/dev/null || skip_all "no $tool"
    done
    [ -e "$source/.git" ] || skip_all "not a checkout: debian/ is no part of a release"
    no_system=$(cannot_enter) || enter "$source/tests/system/debian.sh" "$@"
    new_folder
    trap '[ -n "${KEEP_CHROOT-}" ] || rm -rf --one-file-system "$folder"' EXIT
else
    shift
    inside
    no_system=
    find_mirror || no_system="apt knows no Debian mirror"
fi
parts=" ${*:-check again cross system autopkgtest piuparts} "
part() { [[ $parts == *" $1 "* ]]; }
export LC_ALL=C
arch=$(dpkg --print-architecture) multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
version=$(dpkg-parsechangelog -l "$source/debian/changelog" -S Version)
upstream=${version%-*}
figure() { echo "# figure: $*"; }

# ---- the packages ---------------------------------------------------------------------------------------------------
first=$folder/first
make_source() { nice -n 10 "$source/tools/debian-source" "$first"; }
ok "the source package's parts" make_source || { done_testing; exit; }
build() { # FOLDER OPTIONS [ARGUMENT OF DPKG-BUILDPACKAGE]...: the log is FOLDER.log
    local at=$1 options=$2
    shift 2
    (cd "$at/hakmem-$upstream" && DEB_BUILD_OPTIONS="parallel=$(nproc) $options" dpkg-buildpackage -us -uc "$@") >"$at.log" 2>&1 ||
        { tail -n 40 "$at.log"; return 1; }
}
begin=$SECONDS
if part check; then
    ok "dpkg-buildpackage, with all tests" build "$first" "" || { done_testing; exit; }
else
    ok "dpkg-buildpackage, without tests" build "$first" nocheck || { done_testing; exit; }
fi
figure "dpkg-buildpackage: $((SECONDS - begin)) s"
deb() { echo "$first/$1_${version}_$arch.deb"; }
all_debs=("$(deb libhakmem0)" "$(deb hakmem)" "$(deb libhakmem-dev)" "$first/libhakmem-preload_${version}_all.deb")

# As Debian calls it: its compiler makes programs position-independent without being told.
hardened_log() { blhc --all --debian --arch "$arch" "$first.log"; }
if command -v blhc >/dev/null; then
    ok "blhc: hardening flags everywhere" hardened_log
else
    skip "blhc: hardening flags everywhere" "no blhc"
fi
lints() {
    lintian --allow-root --pedantic --display-info --tag-display-limit 0 "$first"/*.changes >"$folder/lintian" 2>&1
    cat "$folder/lintian"
    ! grep -v '^running with root' "$folder/lintian"
}
if command -v lintian >/dev/null; then
    ok "lintian: nothing, pedantic, without an override" lints
else
    skip "lintian: nothing, pedantic, without an override" "no lintian"
fi
no_overrides() { ! dpkg -c "$1" | grep lintian; }
for package in "${all_debs[@]}"; do
    name=${package##*/}
    ok "${name%%_*}: no overrides in it" no_overrides "$package"
done

# ---- what they hold -------------------------------------------------------------------------------------------------
# Manual pages and the documentation that every package has are looked at by lintian.
holds() { # PACKAGE: the list is on the standard input
    diff <(sed "s/MULTIARCH/$multiarch/" | sort) \
        <(dpkg -c "$(eval echo "$first/$1_*.deb")" | awk '$1 !~ /^d/ { print substr($6, 2) ($1 ~ /^l/ ? " -> " $8 : "") }' |
            grep -Ev '/man/man|/doc/[^/]*/(changelog|copyright)' | sort)
}
for package in libhakmem0 hakmem libhakmem-dev libhakmem-preload; do
    case $package in
        libhakmem0) list='/usr/lib/MULTIARCH/libhakmem.so.0' ;;
        hakmem) list='/etc/apparmor.d/abstractions/base.d/hakmem
/usr/bin/hakmem -> ../libexec/hakmem/hakmem-static
/usr/libexec/hakmem/hakmem-static
/usr/share/bash-completion/completions/hakmem' ;;
        libhakmem-dev) list="/usr/include/hakmem.h
/usr/lib/MULTIARCH/libhakmem.a
/usr/lib/MULTIARCH/libhakmem.so -> libhakmem.so.0
/usr/lib/MULTIARCH/pkgconfig/hakmem.pc
$(dpkg -c "$(deb libhakmem-dev)" | grep -o '/usr/share/doc/libhakmem-dev/.*' | grep -E '/(README|[a-z]*)\.md(\.gz)?$')" ;;
        libhakmem-preload) list='/usr/share/doc/libhakmem-preload/README.Debian
/usr/share/doc/libhakmem-preload/examples/pass.list' ;;
    esac
    content_is() { holds "$package" <<<"$list"; }
    ok "$package: its files" content_is
done
pages() { # PACKAGE SECTION...: has pages of these sections alone, and some
    diff <(dpkg -c "$(deb "$1")" | grep -o '/man/man.' | sort -u) <(printf '/man/man%s\n' "${@:2}" | sort)
}
sections() { # PATTERN: those that there are pages of
    local page
    # shellcheck disable=SC2231  # a pattern
    for page in "$source"/man/*.$1; do printf '%s\n' "${page##*.}"; done | sort -u
}
for package in 'libhakmem-dev [35]' 'hakmem [178]'; do
    mapfile -t found < <(sections "${package#* }")
    ok "${package% *}: manual pages of sections ${found[*]}" pages "${package% *}" "${found[@]}"
done
field() { # PACKAGE FIELD VALUE
    local is
    is=$(dpkg -f "$(eval echo "$first/$1_*.deb")" "$2")
    echo "$2: $is"
    [ "$is" = "$3" ]
}
ok "libhakmem0 needs the C library alone" field libhakmem0 Depends "$(dpkg -f "$(deb libhakmem0)" Depends | grep -Ex 'libc6[^,]*')"
ok "libhakmem0: for several architectures at a time" field libhakmem0 Multi-Arch same
ok "libhakmem0 is what apt means by libhakmem" field libhakmem0 Provides "libhakmem (= $version)"
ok "hakmem: its static C library is named" field hakmem Built-Using "glibc (= $(dpkg-query -Wf '${source:Version}' libc6-dev:"$arch"))"

tree=$folder/tree
for package in "${all_debs[@]}" "$(deb libhakmem0-dbgsym)"; do dpkg -x "$package" "$tree"; done
so=$tree/usr/lib/$multiarch/libhakmem.so.0 command=$tree/usr/libexec/hakmem/hakmem-static
size=$(stat -c %s "$so")
figure "libhakmem.so.0, stripped: $size bytes; $(for p in "${all_debs[@]}"; do printf '%s %s, ' "$(basename "$p" | sed 's/_.*//')" "$(stat -c %s "$p")"; done)installed KiB: $(for p in "${all_debs[@]}"; do dpkg -f "$p" Installed-Size; done | paste -sd ' ')"
ok "the library has at most 120 KiB" test "$size" -le 122880
# Those that are packed into a bitmap count by its words.
relocations=$(readelf -rW "$so" | awk '/^[0-9a-f]+  [0-9a-f]+ R_/ { n++ } /relr\.dyn/ { for (i = 1; i < NF; i++) if ($i == "contains") n += $(i + 1) }
    END { print n }')
figure "relocations: $relocations entries: $(readelf -rW "$so" | grep -c ' R_') and a bitmap of $(readelf -rW "$so" | sed -n 's/^ *\([0-9]*\) offsets$/\1/p' | grep . || echo no) relative ones"
if [ "$arch" = amd64 ]; then
    ok "at most 60 relocations, a bitmap's words among them" test "$relocations" -le 60
fi
flags_of() { # FILE WORD...
    local word file=$1
    shift
    readelf -lWd "$file" >"$folder/flags"
    for word; do grep -Eq "$word" "$folder/flags" || { echo "no $word"; return 1; }; done
}
ok "the library: relro, now, nodelete" flags_of "$so" GNU_RELRO 'BIND_NOW|FLAGS.*NOW' NODELETE
# Nothing is bound late where there is no dynamic section.
ok "the command: relro, no code on its stack" flags_of "$command" GNU_RELRO 'GNU_STACK .* RW '
alone() { ! readelf -lWd "$command" | grep -E 'NEEDED|INTERP|DYNAMIC'; }
ok "the command needs no loader and no library" alone
# The distribution's flags must not make the fast paths longer; endbr64 is one more where the compiler puts it.
fast() { # MALLOC FREE
    local more=0
    "$source/bench/fastpath.sh" "$so" >"$folder/paths"
    cat "$folder/paths"
    grep -q '^ *1 .*endbr64' "$folder/paths" && more=1
    awk -v malloc="$(($1 + more))" -v free="$(($2 + more))" '/ instructions to the ret/ { n[$1] = $2 }
        END { exit !(n["malloc:"] && n["malloc:"] <= malloc && n["free:"] && n["free:"] <= free) }' "$folder/paths"
}
if [ "$arch" = amd64 ]; then
    figure "fast paths with the distribution's flags: $("$source/bench/fastpath.sh" "$so" | grep -o '^[a-z]*: [0-9]* instructions' | paste -sd, )"
    ok "the fast paths: at most 14 and 21 instructions, as without the distribution's flags" fast 14 21
fi
# What the toolchain gives to an empty library (CET, BTI) is in ours, too.
notes() { # the properties of an ELF file
    readelf -nW "$1" | sed -n 's/.*Properties: //p' | tr ',' '\n' | grep -oE 'IBT|SHSTK|BTI|PAC' | sort
}
cet() {
    local flags
    flags=$(DEB_BUILD_MAINT_OPTIONS=hardening=+all dpkg-buildflags --get CFLAGS)
    # shellcheck disable=SC2086  # words
    echo 'int f(void) { return 0; }' | gcc $flags -shared -fPIC -x c - -o "$folder/empty.so" && diff <(notes "$folder/empty.so") <(notes "$so")
}
ok "CET and BTI notes: what the toolchain gives" cet
symbols_found() {
    local id file
    id=$(readelf -nW "$so" | sed -n 's/.*Build ID: //p')
    file=$tree/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug
    echo "$file"
    [ -f "$file" ] && grep -q debug_info <(readelf -SW "$file")
}
ok "libhakmem0-dbgsym: the debug symbols of this library" symbols_found
stripped() { ! readelf -SW "$so" | grep -E '\.(symtab|debug_)'; }
ok "the library itself is stripped" stripped

# ---- again, and for another machine ---------------------------------------------------------------------------------
second=$folder/other/place/second
again() {
    mkdir -p "$second" && cp "$first/hakmem_$upstream.orig.tar.gz" "$first"/*.debian.tar.xz "$first"/*.dsc "$second" &&
        (umask 002 && cd "$second" && dpkg-source -x ./*.dsc "hakmem-$upstream" >/dev/null && TZ=Asia/Tokyo LANG=C.UTF-8 HOME=/nowhere \
            build "$second" nocheck) || return 1
    local package same=0
    for package in "$first"/*.deb; do
        cmp "$package" "$second/${package##*/}" || { diffoscope "$package" "$second/${package##*/}" 2>/dev/null | head -n 40; return 1; }
        same=$((same + 1))
    done
    [ $same -ge 5 ]
}
if part again; then
    ok "built again, in another folder, time zone and umask, and without tests: the same bytes" again
fi

# All that is needed of the other machine is Debian's own: no package of this machine is touched.
cross=$folder/cross
cross_system() {
    make_system "$cross" debhelper crossbuild-essential-arm64 && mount_system "$cross" &&
        in_system "$cross" dpkg --add-architecture arm64 && in_system "$cross" apt-get -q update &&
        mkdir "$cross/srv/cross" && cp "$first/hakmem_$upstream.orig.tar.gz" "$first"/*.debian.tar.xz "$first"/*.dsc "$cross/srv/cross" &&
        in_system "$cross" sh -c "cd /srv/cross && dpkg-source -x *.dsc hakmem-$upstream"
}
build_depends() { # the other machine's C library is what sbuild, too, adds to every cross build
    in_system "$cross" apt-get -q -y --no-install-recommends install libc6-dev:arm64 &&
        in_system "$cross" apt-get -q -y --no-install-recommends -a arm64 -P cross,nocheck build-dep "/srv/cross/hakmem-$upstream"
}
cross_build() {
    in_system "$cross" sh -c "cd /srv/cross/hakmem-$upstream && DEB_BUILD_OPTIONS='parallel=$(nproc) nocheck' dpkg-buildpackage -us -uc -b -aarm64 -Pcross,nocheck" &&
        [ "$(dpkg -f "$cross/srv/cross/libhakmem0_${version}_arm64.deb" Architecture)" = arm64 ]
}
# A file that both machines' packages have must be the same, or they cannot be installed at a time.
together() {
    local package file number=0
    for package in libhakmem0 libhakmem-dev; do
        rm -rf "$folder/here" "$folder/there"
        dpkg -x "$(deb $package)" "$folder/here" && dpkg -x "$cross/srv/cross/${package}_${version}_arm64.deb" "$folder/there" || return 1
        while read -r file; do
            [ ! -e "$folder/there/$file" ] || { cmp "$folder/here/$file" "$folder/there/$file" && number=$((number + 1)); } || return 1
        done < <(cd "$folder/here" && find . -type f)
    done
    [ $number -gt 5 ]
}
machine() { readelf -hW "$folder/arm/$1" | grep 'Machine: *AArch64'; }
cross_parts() {
    local package
    for package in libhakmem0 hakmem; do dpkg -x "$cross/srv/cross/${package}_${version}_arm64.deb" "$folder/arm" || return 1; done
    machine usr/lib/aarch64-linux-gnu/libhakmem.so.0 && machine usr/libexec/hakmem/hakmem-static
}
emulated() { [ "$(qemu-aarch64 "$folder/arm/usr/bin/hakmem" --version)" = "hakmem $upstream" ]; }
if ! part cross; then
    :
elif [ -n "$no_system" ] || [ "$arch" != amd64 ]; then
    skip "cross-built for arm64" "${no_system:-for amd64 only}"
else
    ok "a Debian system with the cross compiler for arm64" cross_system
    ok "the other machine's packages, by Build-Depends" build_depends
    ok "dpkg-buildpackage -aarm64" cross_build
    ok "library and command are arm64's" cross_parts
    if command -v qemu-aarch64 >/dev/null; then
        ok "the command runs in an emulator" emulated
    else
        skip "the command runs in an emulator" "no qemu-aarch64"
    fi
    ok "packages of both machines can be installed at a time: common files are the same" together
fi

# ---- a Debian system ------------------------------------------------------------------------------------------------
if ! part system && ! part autopkgtest && ! part piuparts; then
    done_testing
    exit
elif [ -n "$no_system" ]; then
    skip "the packages in a Debian system" "$no_system"
    done_testing
    exit
fi

# ---- autopkgtest: in a system of its own -----------------------------------------------------------------------------
if part autopkgtest && command -v autopkgtest >/dev/null; then
    tested=$folder/tested
    make_system "$tested"
    mount_system "$tested"
    (cd "$folder" && dpkg-source -x "$first"/*.dsc tests-source) >"$folder/said" 2>&1
    autopkgtest --apt-upgrade -B -o "$folder/autopkgtest" "${all_debs[@]}" "$folder/tests-source/" -- chroot "$tested" >"$folder/autopkgtest.log" 2>&1 </dev/null
    passes() { # TEST
        local said=$folder/autopkgtest/$1-stdout
        grep -Eq "^$1 +PASS" "$folder/autopkgtest/summary" && return
        cat "$folder/autopkgtest/summary"
        tail -n 20 "$folder/autopkgtest/$1-stderr" 2>/dev/null
        grep -E '(: FAILED |^not ok |^Bail out)' -A 3 "$said" || tail -n 20 "$said"
        return 1
    }
    while read -r test; do
        ok "autopkgtest: $test" passes "$test"
    done < <(sed -n 's/^Tests: //p' "$source/debian/tests/control")
    sed -n 's/.*: \(.*: skipped: .*\)/# \1/p; s/^\([0-9]* good, .*\)/# suite: \1/p' "$folder/autopkgtest.log"
elif part autopkgtest; then
    skip "autopkgtest" "it is not installed"
fi

# ---- piuparts -------------------------------------------------------------------------------------------------------
# It copies the system that it is given, and wants nothing changed but what a package's own files say.
pure() {
    piuparts --existing-chroot "$folder/pure" -d "$suite" -m "$mirror" --no-eatmydata -t "$folder" "$@" >"$folder/piuparts.log" 2>&1
    local result=$?
    grep -E 'ERROR|FAIL|WARN' "$folder/piuparts.log"
    tail -n 3 "$folder/piuparts.log"
    return $result
}
if part piuparts && command -v piuparts >/dev/null; then
    make_system "$folder/pure"
    ok "piuparts: the library" pure "${all_debs[0]}"
    ok "piuparts: all of them, the system switched over" pure "${all_debs[@]}"
    rm -rf --one-file-system "$folder/pure"
elif part piuparts; then
    skip "piuparts" "it is not installed"
fi
if ! part system; then
    done_testing
    exit
fi

root=$folder/root
begin=$SECONDS
make_system "$root" gcc libc6-dev pkgconf man-db apparmor initramfs-tools
mount_system "$root"
figure "a Debian system was made in $((SECONDS - begin)) s"

# ---- the packages in it ---------------------------------------------------------------------------------------------
sys() { in_system "$root" "$@"; }
apt() { sys apt-get -q -y --no-install-recommends "$@"; }

# A later version of the same packages, for upgrades.
later() { # VERSION
    local package work=$folder/later
    mkdir -p "$root/srv/$1"
    for package in "${all_debs[@]}"; do
        rm -rf "$work"
        dpkg-deb -R "$package" "$work" && sed -i "s/$version/$1/" "$work/DEBIAN/control" &&
            dpkg-deb --root-owner-group -b "$work" "$root/srv/$1/$(basename "$package" | sed "s/$version/$1/")" || return 1
    done
    (cd "$root/srv/$1" && dpkg-scanpackages . >Packages)
}
repository() { # VERSION: what apt finds
    echo "deb [trusted=yes] file:/srv/$1 ./" >"$root/etc/apt/sources.list.d/hakmem.list"
    apt update -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/hakmem.list -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0
}
two=${version%?}2 three=${version%?}3
mkdir -p "$root/srv/$version"
cp "${all_debs[@]}" "$root/srv/$version"
(cd "$root/srv/$version" && dpkg-scanpackages . >Packages) 2>"$folder/said" || bail_out "no dpkg-scanpackages" "$folder/said"
ok "later versions, for upgrades" later "$two" && ok "and one more" later "$three"

files() { # all that there is, but for what packages and their tools keep in /var, and the manual's index
    (cd "$root" && find . -xdev \( -path ./var/cache -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/log -o -path ./srv -o -path ./tmp \
        -o -path ./etc/ld.so.cache -o -path ./etc/apt \) -prune -o -print | sort)
}
preload=$root/etc/ld.so.preload
line='/usr/$LIB/libhakmem.so.0'
served() { # COMMAND...: says that it is, and ends well
    sys env HAKMEM_VERBOSE=1 "$@" >"$folder/words" 2>&1 && grep -a ' serves process ' "$folder/words" && return
    cat "$folder/words"
    return 1
}
not_served() { ! served "$@"; }
quiet() { [ -z "$(sys "$@" 2>&1 >/dev/null)" ] || { sys "$@"; return 1; }; }
status_is() { # CODE
    local code=0
    sys hakmem preload status || code=$?
    [ $code = "$1" ]
}
gone() { [ ! -e "$preload" ] && quiet /bin/ls /; }
state() { # PACKAGE STATE
    local is
    is=$(sys dpkg-query -Wf '${db:Status-Status}' "$1" 2>/dev/null || true)
    echo "$1: ${is:-not known}"
    [ "${is:-not-installed}" = "$2" ]
}
files >"$folder/before"

# ---- used as meant --------------------------------------------------------------------------------------------------
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
begin=$(milliseconds)
from_nothing() { apt install "/srv/$version/libhakmem0_${version}_$arch.deb" && served env LD_PRELOAD=libhakmem.so.0 /bin/ls /; }
ok "apt install ./libhakmem0.deb, and a program runs on it" from_nothing
figure "apt install ./libhakmem0.deb to a program that is served: $(($(milliseconds) - begin)) ms"
ok "removed again" apt purge libhakmem0
ok "the packages stand in a repository" repository "$version"
by_name() { apt install libhakmem && state libhakmem0 installed; }
ok "apt install libhakmem" by_name
ok "apt install hakmem libhakmem-dev" apt install hakmem libhakmem-dev
ok "nothing is preloaded by that" not_served /bin/ls /
run() { served hakmem run /bin/ls /; }
ok "hakmem run: served" run
manual() { sys sh -c 'man 3 hakmem | grep -q "HAKMEM" && man 1 hakmem | grep -q "preload" && man 7 hakmem | grep -q HAKMEM_VERBOSE'; }
ok "man 3, 1 and 7 hakmem" manual
links() {
    cat >"$root/tmp/a.c" <<'C'
#include <stdlib.h>
#include <stdio.h>
int main(void)
{
    char *p = malloc(100);
    if (!p)
        return 1;
    snprintf(p, 100, "plain");
    puts(p);
    free(p);
    return 0;
}
C
    sys sh -c 'cd /tmp && gcc -Wl,--as-needed -o a a.c $(pkg-config --cflags --libs hakmem) &&
        gcc -static -o b a.c $(pkg-config --static --cflags --libs hakmem)' && served /tmp/a && served /tmp/b
}
ok "pkg-config --libs hakmem: a program that names nothing of it is served, shared and static" links
completes() { sys bash -c '. /usr/share/bash-completion/completions/hakmem; COMP_WORDS=(hakmem pre) COMP_CWORD=1; _hakmem; [ "${COMPREPLY[*]}" = preload ]'; }
ok "bash completes the command" completes
ok "apt install libhakmem-preload" apt install libhakmem-preload
ok "the system is switched over" test "$(cat "$preload")" = "$line"
ok "status: on, and well" status_is 0
ok "every program is served" served /bin/ls /
ok "and says nothing by itself" quiet /bin/ls /
work() { apt install --reinstall hostname && sys sh -c 'dpkg --audit; dpkg -V libhakmem0 hakmem libhakmem-dev libhakmem-preload' >"$folder/work" && [ ! -s "$folder/work" ]; }
ok "apt and dpkg work under it" work

# ---- where paths are confined -----------------------------------------------------------------------------------------
# No kernel is needed to compile a profile, none to make an initramfs.
confined() { # what a served program opens stands in the rules, not in a comment
    printf '%s\n' '#include <tunables/global>' 'profile p /usr/bin/p {' '#include <abstractions/base>' '}' >"$root/tmp/profile"
    sys apparmor_parser -QK /tmp/profile && sys apparmor_parser -p /tmp/profile >"$folder/rules" || return 1
    local rule
    for rule in '@{etc_ro}/ld.so.preload r,' '@{etc_ro}/hakmem/pass.list r,' '/{usr/,}lib/@{multiarch}/**.so* mr,'; do
        tr -s ' ' <"$folder/rules" | grep -Fx " $rule" || { echo "no $rule"; return 1; }
    done
}
ok "AppArmor: a profile with abstractions/base compiles, and allows what a served program opens" confined
initramfs() {
    mkdir -p "$root/lib/modules/6.1.0-0" && echo CONFIG_RD_GZIP=y >"$root/boot/config-6.1.0-0" && sys mkinitramfs -c gzip -o /tmp/initrd 6.1.0-0 &&
        sys unmkinitramfs /tmp/initrd /tmp/early || return 1
    local early=$root/tmp/early
    [ ! -d "$early/main" ] || early=$early/main
    [ -x "$early/init" ] && [ ! -e "$early/etc/ld.so.preload" ] && [ -z "$(chroot "$early" /bin/udevadm --version 2>&1 >/dev/null)" ]
}
ok "an initramfs is made under it, has no /etc/ld.so.preload, and its programs run without a complaint" initramfs
rm -rf "$root/lib/modules" "$root/boot/config-6.1.0-0" "$root"/tmp/{early,initrd,profile}

# ---- upgrades under running programs --------------------------------------------------------------------------------
# Programs start all the time; one runs on from before to after.
cat >"$root/tmp/starts" <<'EOF'
n=0
while [ ! -e /tmp/stop ]; do
    /bin/true || echo "true failed" >&2
    x=$(echo "$n" | /bin/cat) || echo "cat failed" >&2
    [ "$x" = "$n" ] || echo "cat is wrong" >&2
    n=$((n + 1))
done
echo "$n" >/tmp/started
EOF
upgrade() { # VERSION
    rm -f "$root"/tmp/{stop,started}
    sys sh /tmp/starts 2>"$folder/complaints" &
    local starts=$!
    sys perl -e 'my %h; open(M, "/proc/self/maps"); $n = grep { /libhakmem/ } <M>; $| = 1; print $n ? "served" : "bare", "\n";
        until (-e "/tmp/stop") { $h{$_ % 5000} = "x" x ($_ % 999) for 1 .. 20000 } print scalar(keys %h), "\n"' >"$folder/perl" 2>&1 &
    local perl=$!
    until [ -s "$folder/perl" ]; do sleep 0.1; done
    repository "$1" && apt dist-upgrade
    local result=$?
    touch "$root/tmp/stop"
    wait $perl && wait $starts || result=1
    cat "$folder/complaints" "$folder/perl"
    [ $result = 0 ] && [ ! -s "$folder/complaints" ] && [ "$(paste -sd ' ' "$folder/perl")" = "served 5000" ] &&
        [ "$(sys dpkg-query -Wf '${Version}' libhakmem0)" = "$1" ]
}
ok "an upgrade under running programs: all of them go on, all that start meanwhile have the library" upgrade "$two"
figure "programs started during the upgrade: $((2 * $(cat "$root/tmp/started")))"
ok "still on" status_is 0
off_stays() { sys hakmem preload disable && repository "$three" && apt dist-upgrade && gone; }
ok "switched off by hand, an upgrade leaves it off" off_stays
back() { repository "$version" && apt install --allow-downgrades "libhakmem0=$version" "hakmem=$version" "libhakmem-dev=$version" "libhakmem-preload=$version" && gone; }
ok "so does a downgrade" back
ok "on by hand" sys hakmem preload enable

# ---- removal in good order ------------------------------------------------------------------------------------------
ok "dpkg -r libhakmem0 is refused while others need it" test "$(sys dpkg -r libhakmem0 >/dev/null 2>&1; echo $?)" != 0
ok "and all stays on" status_is 0
remove_preload() { apt remove libhakmem-preload && gone && state libhakmem0 installed; }
ok "apt remove libhakmem-preload: off, the library stays" remove_preload
again_on() { apt install libhakmem-preload && served /bin/ls /; }
ok "installed again: on again" again_on
remove_all() { apt remove libhakmem0 && gone && state libhakmem-preload not-installed && state hakmem config-files; }
ok "apt remove libhakmem0: the preload goes first, then all that needs it" remove_all
purge() { apt purge libhakmem0 hakmem libhakmem-dev libhakmem-preload && files >"$folder/after" && diff "$folder/before" "$folder/after"; }
ok "purged: no file is left" purge

# ---- and in bad -----------------------------------------------------------------------------------------------------
ok "all installed once more" apt install libhakmem-preload
forced() { sys dpkg --force-depends -r libhakmem0 && gone; }
ok "dpkg --force-depends -r libhakmem0: off before it goes" forced
ok "apt mends that" apt --fix-broken install
no_command() { sys dpkg --force-depends -r hakmem && gone && sys dpkg -r libhakmem-preload && gone; }
ok "the command goes first, by force: off; libhakmem-preload can still be removed" no_command
ok "all away" apt purge libhakmem0 hakmem libhakmem-preload
# By hand, without the command.  Before|after, lines by ;
while IFS='|' read -r before after; do
    by_hand() {
        apt install libhakmem0 || return 1
        tr ';' '\n' <<<"$before" | sed "s,MULTIARCH,$multiarch," >"$preload"
        chmod 640 "$preload"
        apt remove libhakmem0 || { cat "$preload"; return 1; }
        if [ -n "$after" ]; then
            diff <(tr ';' '\n' <<<"$after" | sed "s,MULTIARCH,$multiarch,") "$preload" && [ "$(stat -c %a "$preload")" = 640 ]
        else
            [ ! -e "$preload" ]
        fi
    }
    ok "by hand: '$before' becomes '$after' when the library goes" by_hand
    rm -f "$preload"
done <<'EOF'
/usr/lib/MULTIARCH/libhakmem.so.0|
/usr/${LIB}/libhakmem.so.0:libhakmem.so.0|:
# mine;/usr/$LIB/libhakmem.so.0 /lib/MULTIARCH/libhakmem.so.0;/usr/$LIB/libc.so.6 # and /usr/$LIB/libhakmem.so.0|# mine; ;/usr/$LIB/libc.so.6 # and /usr/$LIB/libhakmem.so.0
/usr/local/lib/libhakmem.so.0|/usr/local/lib/libhakmem.so.0
EOF
# What cannot be undone is refused: a file that is a mount of its own cannot be replaced.
mounted() {
    apt install libhakmem0 && echo "$line" >"$preload" && mount --bind "$preload" "$preload" || return 1
    ! sys dpkg -r libhakmem0 && state libhakmem0 installed && [ "$(cat "$preload")" = "$line" ] && [ ! -e "$preload.dpkg-tmp" ] && served /bin/ls /
    local result=$?
    umount "$preload"
    return $result
}
ok "the file cannot be replaced: the removal is refused, all stays as it was" mounted
ok "when it can: removed" apt remove libhakmem0
ok "and the file is gone" gone
unpacked() {
    apt install libhakmem0 hakmem && sys hakmem preload enable && sys dpkg --unpack "/srv/$two/libhakmem0_${two}_$arch.deb" &&
        state libhakmem0 unpacked && sys dpkg --force-depends -r libhakmem0 && gone
}
ok "unpacked and never configured, then removed: off" unpacked
ok "away" apt purge libhakmem0 hakmem
refused() {
    echo /nowhere/some.so >"$preload"
    ! apt install libhakmem-preload && grep -q 'hakmem: refused: /etc/ld.so.preload is broken already' "$folder/said" &&
        state libhakmem-preload half-configured && [ "$(cat "$preload")" = /nowhere/some.so ]
}
ok "the command refuses: libhakmem-preload says why, and stays half-configured" refused
half_removed() { sys dpkg -r libhakmem-preload && state libhakmem-preload not-installed && [ "$(cat "$preload")" = /nowhere/some.so ]; }
ok "half-configured, it can be removed" half_removed
mended() { ! apt install libhakmem-preload && rm "$preload" && sys dpkg --configure -a && served /bin/ls / && status_is 0; }
ok "or mended: dpkg --configure -a switches on" mended
ok "purged" apt purge libhakmem0 hakmem libhakmem-preload
ok "and off" gone
quiet_end() { files >"$folder/after" && diff <(sed '/^\.\/tmp/d' "$folder/before") "$folder/after"; }
ok "no file is left" quiet_end
audit() { [ -z "$(sys dpkg --audit)" ]; }
ok "dpkg --audit has no complaint" audit

done_testing
