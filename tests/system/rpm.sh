#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# rpm.sh: RPM packages out of the release tarball: they build, rpmlint has nothing to say, their files and what they need
# are the list in rpm.files, and in a small system of their own they are installed, used, upgraded and removed, never
# leaving /etc/ld.so.preload with a library that is gone.  Prints TAP.
# Run by `make check-rpm`; by hand: tests/system/rpm.sh [--quick] [--update]
#   --quick: %check runs the unit tests alone; --update: writes rpm.files anew, to be looked at and committed
# On a system of another kind (Debian's package rpm) what the spec needs for building is there by other names: --nodeps.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/command/common.sh
. "$(dirname "$0")/../command/common.sh"
need rpmbuild rpm make file
[ -f "$build_dir/Makefile" ] || skip_all "this is not a build folder"
list=$source_dir/tests/system/rpm.files
version=$(sed -n 's/^Version:[[:space:]]*//p' "$source_dir/hakmem.spec")

quick='' update=''
for word; do
    case $word in
        --quick) quick=yes ;;
        --update) update=yes ;;
        *) echo "Bail out! not understood: $word"; exit 2 ;;
    esac
done

# ---- build ----------------------------------------------------------------------------------------------------------
top=$scratch/top
mkdir -p "$top"
options=(--define "_topdir $top")
[ -z "$quick" ] || options+=(--define "check_target check-unit")
# A system that is not made of RPM packages.  RPM's scripts that run after %install need bash for a shell; and stripping is
# in other places a part of taking the debug information out.
if ! rpm -q glibc >/dev/null 2>&1; then
    brp='bash /usr/lib/rpm/brp'
    # shellcheck disable=SC2016  # rpmbuild's
    strip='find "$RPM_BUILD_ROOT%{_bindir}" "$RPM_BUILD_ROOT%{_libdir}" -maxdepth 1 -type f ! -name "*.a" -exec strip --strip-unneeded {} +'
    options+=(--nodeps --define
        "__os_install_post $brp-compress /usr; $strip; $brp-strip-static-archive strip")
fi
dist() { ${MAKE:-make} -s -C "$build_dir" dist; }
ok "make dist" dist || done_testing
build() {
    env -u CC -u CXX rpmbuild -ta "${options[@]}" "$build_dir/hakmem-$version.tar.gz" >"$top/log" 2>&1 ||
        { grep -aE '^(not ok|error:|# FAIL)|rror:|unpackaged' "$top/log"; tail -n 30 "$top/log"; return 1; }
}
start=$SECONDS
ok "rpmbuild -ba" build || done_testing
echo "# built in $((SECONDS - start)) s"
packages=("$top"/RPMS/*/hakmem*.rpm)
# Unless the machine says otherwise there is one with debug information, too.
main=()
for package in "${packages[@]}"; do
    case $package in *-debuginfo-* | *-debugsource-*) ;; *) main+=("$package") ;; esac
done
ok "four packages" test ${#main[@]} = 4
checked() { grep -aq '^# PASS: *[1-9]' "$top/log" && ! grep -aE '^# (FAIL|ERROR): *[1-9]' "$top/log"; }
ok "its %check ran tests, and all of them passed" checked

# ---- what is in them ------------------------------------------------------------------------------------------------
contents() {
    local package name
    for package in "${main[@]}"; do
        name=$(rpm -qp --qf '%{NAME}' "$package")
        echo "$name: licence $(rpm -qp --qf '%{LICENSE}' "$package")"
        rpm -qp --qf '[file %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES} %{FILELINKTOS}\n]' "$package"
        # Which of glibc's versions are needed depends on the machine that builds.
        rpm -qp --requires "$package" | sed -e 's/^/requires /' -e 's/(GLIBC_[^)]*)/(GLIBC)/' -e '/ rpmlib(/d'
        rpm -qp --provides "$package" | sed -e 's/^/provides /'
    done | sed -e "s,$version-[^ ]*,VERSION," -e "s,$version,VERSION,g" -e "s,$(rpm --eval '%{_libdir}'),LIBDIR,g" \
        -e "s,($(uname -m | tr _ -)),(ARCH)," -e '/\.build-id/d' -e 's/ *$//' | awk '/^[a-z-]*: / { split("", seen) } !seen[$0]++'
}
# The list, with a package's own lines together.
listed() { sed '/^#/d' "$list"; }
contents >"$scratch/contents"
if [ -n "$update" ]; then
    { sed '/^#/!d' "$list"; cat "$scratch/contents"; } >"$scratch/list" && cp "$scratch/list" "$list"
fi
as_listed() { diff <(listed) "$scratch/contents"; }
ok "files, what they need and what they provide are those of rpm.files" as_listed
figures() {
    rpm -qp --qf '# %{NAME}: %{LONGSIZE} bytes installed\n' "${main[@]}"
    for package in "${main[@]}"; do echo "# $(basename "$package"): $(stat -c %s "$package") bytes"; done
}
figures

if command -v rpmlint >/dev/null; then
    lint() {
        rpmlint --config "$source_dir/tests/system/rpmlint.toml" "$source_dir/hakmem.spec" "$top"/SRPMS/*.rpm "${main[@]}" |
            tee "$scratch/rpmlint"
        grep -q ' 0 errors, 0 warnings' "$scratch/rpmlint"
    }
    ok "rpmlint has nothing to say" lint
else
    skip "rpmlint" "no rpmlint"
fi

# ---- installed ------------------------------------------------------------------------------------------------------
root=$scratch/system
if [ "$(id -u)" != 0 ] || ! really_root; then
    skip "in a system of its own" "not root"
    done_testing
fi
make_root "$root"
rm "$root/usr/$lib/libhakmem.so.0"
put_program "$root" /bin/mkdir /usr/bin/env
mkdir -p "$root/dev"
in_root() { chroot "$root" "$@"; }
# Debian's rpm wants to hear that we know what we do.
rpm --force-debian --version >/dev/null 2>&1 && force=(--force-debian) || force=()
into() { rpm "${force[@]}" --root "$root" --dbpath /var/lib/rpm "$@" 2>&1 | tee "$scratch/rpm.words"; return "${PIPESTATUS[0]}"; }
# The root has a C library and a shell, but no package that says so; among themselves the packages are complete.
installed() {
    into -i --nodeps "${main[@]}" && [ ! -s "$scratch/rpm.words" ] && in_root /usr/bin/hakmem --version
}
ok "rpm -i" installed
among_themselves() { # what a package needs of the others is provided by them
    local package
    for package in "${main[@]}"; do rpm -qp --requires "$package"; done | grep '^hakmem' | LC_ALL=C sort -u >"$scratch/needs"
    for package in "${main[@]}"; do rpm -qp --provides "$package"; done | LC_ALL=C sort -u >"$scratch/gives"
    [ -s "$scratch/needs" ] && comm -23 "$scratch/needs" "$scratch/gives" | diff /dev/null -
}
ok "what they need of each other, they have" among_themselves
verified() { into -V --nodeps hakmem hakmem-libs hakmem-devel hakmem-static; }
ok "rpm -V: all files are as they were packed" verified
runs() { in_root /usr/bin/env HAKMEM_VERBOSE=1 hakmem run ls / 2>&1 | tee "$scratch/words" && grep -q 'serves process' "$scratch/words"; }
ok "hakmem run ls: served" runs
switch_on() {
    in_root hakmem preload enable && grep -q libhakmem "$root/etc/ld.so.preload" &&
        in_root /usr/bin/env HAKMEM_VERBOSE=1 /bin/ls / 2>&1 | tee "$scratch/words" && grep -q 'serves process' "$scratch/words"
}
ok "hakmem preload enable: every program is served" switch_on
upgraded() {
    into -U --nodeps --replacepkgs "${main[@]}" && [ ! -s "$scratch/rpm.words" ] &&
        grep -q libhakmem "$root/etc/ld.so.preload" && in_root /bin/ls / >/dev/null
}
ok "upgraded while it is switched on: it stays on, and programs start" upgraded
refused() {
    ! into -e --nodeps hakmem-libs && grep -q 'hakmem preload disable' "$scratch/rpm.words" &&
        in_root /usr/bin/env HAKMEM_VERBOSE=1 /bin/ls / 2>&1 | grep 'serves process'
}
ok "the library alone is not removed while it is switched on" refused
removed() {
    into -e hakmem hakmem-libs hakmem-devel hakmem-static && [ ! -s "$scratch/rpm.words" ] &&
        [ ! -e "$root/etc/ld.so.preload" ] && in_root /bin/ls / >/dev/null
}
ok "all of it removed: switched off before" removed
nothing_left() { ! find "$root" -name '*hakmem*' -o -name 'hak_*' | grep .; }
ok "no file is left behind" nothing_left
done_testing
