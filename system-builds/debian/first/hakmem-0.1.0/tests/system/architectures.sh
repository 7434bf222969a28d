#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# architectures.sh: cross-builds the library for other machines and runs the unit, API, abuse and stress tests there: i386
# on the kernel itself where that runs its programs, all others in qemu's user mode.  Prints TAP.
# Run by `make check-system` and `make check-architectures`; by hand: tests/system/architectures.sh [--quick] [NAME]...
# --quick leaves most of the stress tests out.  What is installed for it: tools/setup architectures.
#
# The unit tests need Check for each machine.  It is built here, from Debian's source package, so that nothing of a foreign
# architecture has to be installed; the headers of libatomic_ops are the same for all.
#
# What qemu's user mode (7.2) does otherwise than a kernel; tests that depend on it ask for TEST_EMULATOR:
#   MADV_WIPEONFORK     accepted and ignored, so _Fork and clone go unnoticed there: only fork handlers tell of a fork
#   limits              RLIMIT_AS and RLIMIT_DATA are accepted and ignored: nothing is ever out of memory
#   fork with threads   works, but the child cannot start threads: the emulator itself aborts
#   big mappings        every page is noted down one by one: a second for 64 GiB, so nothing may be probed at start
#   mremap, madvise     in place only when the emulator pleases; no error for addresses where nothing is mapped
#   the resident size, the end by a signal      are the emulator's own, or have words of its own added
#   execve              runs programs of this machine alone, so tests that start themselves again name the emulator
#   pages of 64 KiB     -p 65536 (or 16384) rounds mappings and tells AT_PAGESZ; protection is still by the kernel's own 4 KiB
# seccomp, transparent huge pages and overcommit cannot be tested there either; tests/stress and tests/preload do.
# shellcheck source=tests/system/common.sh
. "$(dirname "$0")/common.sh"
folder+=/architectures

# NAME: HOST: EMULATOR [PAGE SIZE]
rows=(
    "i386: i686-linux-gnu: qemu-i386"
    "aarch64: aarch64-linux-gnu: qemu-aarch64"
    "aarch64-16k: aarch64-linux-gnu: qemu-aarch64 16384"
    "aarch64-64k: aarch64-linux-gnu: qemu-aarch64 65536"
    "armhf: arm-linux-gnueabihf: qemu-arm"
    "riscv64: riscv64-linux-gnu: qemu-riscv64"
    "s390x: s390x-linux-gnu: qemu-s390x"
    "musl: : "
)

quick=
[ "${1-}" = --quick ] && { quick=yes; shift; }
for name; do
    printf '%s\n' "${rows[@]}" | grep -q "^$name: " || { echo "Bail out! no row $name"; exit 2; }
done

# Debian's source of Check in $folder/check-*.  apt looks in the machine's own sources, for source packages, and keeps its
# lists in a folder of ours.
fetch_check() {
    [ -n "$(compgen -G "$folder/check-*/configure")" ] && return 0
    local apt=$folder/apt
    rm -rf "$apt"
    mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] || continue
        sed -e 's/^deb /deb-src /' -e 's/^Types:.*/Types: deb-src/' "$file" >"$apt/parts/$(basename "$file")"
    done
    [ -e "$apt/parts/sources.list" ] && mv "$apt/parts/sources.list" "$apt/parts/machine.list"
    set -- -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$apt/parts" -o Dir::State::Lists="$apt/lists" \
        -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root
    (cd "$apt" && apt-get "$@" update && apt-get "$@" source --download-only check) >"$apt.log" 2>&1 </dev/null || return 1
    tar -xf "$apt"/check_*.orig.tar.* -C "$folder"
}

# Check for one machine, and what pkg-config is to find.
build_check() { # HOST
    local root=$folder/$1.root headers
    [ -e "$root/pkgconfig/check.pc" ] && return 0
    rm -rf "$root" "$folder/$1.check"
    mkdir -p "$root/include" "$root/pkgconfig" "$folder/$1.check"
    (
        set -e
        cd "$folder/$1.check"
        configure=$(compgen -G "$folder/check-*/configure")
        "$configure" --quiet --host="$1" --prefix="$root" --disable-shared --disable-subunit \
            --disable-timeout-tests --disable-build-docs
        make -s -j"$(nproc)" -C lib
        make -s -j"$(nproc)" -C src install
        headers=$(pkg-config --variable=includedir atomic_ops)
        cp -R "$headers"/atomic_ops* "$root/include/"
        printf 'Name: atomic_ops\nDescription: headers\nVersion: %s\nCflags: -I%s/include\n' \
            "$(pkg-config --modversion atomic_ops)" "$root" >"$root/pkgconfig/atomic_ops.pc"
        printf 'Name: check\nDescription: unit tests\nVersion: 0.15.2\nCflags: -I%s/include\nLibs: -L%s/lib -lcheck -lm\n' \
            "$root" "$root" >"$root/pkgconfig/check.pc"
    ) >"$folder/$1.check.log" 2>&1 </dev/null
}

# The library and the tests.  The programs of i386 find their dynamic linker in the folder of the cross compiler's libc.
build() { # HOST
    local build=$folder/$1 flags=
    [ "$1" = i686-linux-gnu ] && flags="-Wl,--dynamic-linker=/usr/$1/lib/ld-linux.so.2 -Wl,-rpath,/usr/$1/lib"
    mkdir -p "$build"
    (
        set -e
        cd "$build"
        PKG_CONFIG_LIBDIR=$folder/$1.root/pkgconfig "$source/configure" --quiet --host="$1" --build="$(gcc -dumpmachine)" \
            LDFLAGS="$flags"
        make -s -j"$(nproc)" all
        make -s -j"$(nproc)" check TESTS=
    ) >"$folder/$1.log" 2>&1 </dev/null
}

# One folder of tests.  A test program that does not end is ended; the reason stands in its log.
run_tests() { # TARGET [VARIABLE OF MAKE]...; of the row that is on: $name $host $emulator $page
    local target=$1 log=$folder/$name.$1.log start=$SECONDS
    shift
    (
        cd "$folder/$host" || exit 1
        if [ -n "$emulator" ]; then
            export TEST_EMULATOR="$emulator" QEMU_LD_PREFIX=/usr/$host
            [ -z "$page" ] || export QEMU_PAGESIZE="$page"
        fi
        # Emulated, on a machine that does other things too, a test may take its time.
        export CK_DEFAULT_TIMEOUT=600 CK_TIMEOUT_MULTIPLIER=10
        make -s -j"$(nproc)" "check-$target" LOG_COMPILER="$folder/run" LOG_FLAGS="$emulator" AM_COLOR_TESTS=no "$@"
        status=$?
        [ $status = 0 ] || cat test-suite.log
        exit $status
    ) >"$log" 2>&1 </dev/null
    result $? "$name: $target tests ($((SECONDS - start)) s)" "$log"
}

# The first block must not cost a look at hundreds of GiB, which takes an emulator many seconds.
starts_small() {
    QEMU_LD_PREFIX=/usr/$host "$emulator" -strace "$folder/$host/tests/api/trim_first" >"$folder/$host.strace" 2>&1 &&
        ! grep -aE 'mmap2?\([^,]*,[0-9]{11,},' "$folder/$host.strace"
}

mkdir -p "$folder"
rm -f "$folder"/*.built
# What every test program is run by: the emulator, if any, and a limit of time.
printf '#!/bin/sh\nexec timeout -k 10 %s "$@"\n' 1500 >"$folder/run"
chmod +x "$folder/run"

for row in "${rows[@]}"; do
    IFS=: read -r name host emulator <<<"$row"
    wanted "$name" "$@" || continue
    host=${host# } emulator=${emulator# }
    if [ "$name" = musl ]; then
        if ! command -v musl-gcc >/dev/null; then
            skip "musl: the core builds" "no musl-gcc (tools/setup architectures)"
            continue
        fi
        rm -rf "$folder/musl"
        mkdir -p "$folder/musl/inc"
        cp -R "$(pkg-config --variable=includedir atomic_ops)"/atomic_ops* "$folder/musl/inc/"
        (
            set -e
            cd "$folder/musl"
            "$source/configure" --quiet CC=musl-gcc CXX=false ATOMIC_OPS_CFLAGS="-I$PWD/inc" ATOMIC_OPS_LIBS= CHECK_CFLAGS= \
                CHECK_LIBS= CFLAGS="-O2 -g -Werror -isystem $PWD/kernel"
            # The kernel's own headers, which musl leaves to others.
            mkdir kernel
            for part in linux asm-generic "$(gcc -print-multiarch)/asm"; do
                ln -s "/usr/include/$part" "kernel/$(basename "$part")"
            done
            make -s -j"$(nproc)" lib/libhkm-core.la
        ) >"$folder/musl.log" 2>&1 </dev/null
        result $? "musl: the core builds without a warning" "$folder/musl.log"
        continue
    fi
    read -r emulator page <<<"$emulator"
    if ! command -v "$host-gcc" >/dev/null; then
        skip "$name" "no $host-gcc (tools/setup architectures)"
        continue
    fi
    # The kernel itself, where it runs such programs.
    native=
    if [ "$name" = i386 ] && echo 'int main(void) { return sizeof(void *) == 4 ? 0 : 1; }' |
        "$host-gcc" -x c -static -o "$folder/probe" - 2>/dev/null && "$folder/probe" 2>/dev/null; then
        native=yes
    elif ! command -v "$emulator" >/dev/null; then
        skip "$name" "no $emulator (tools/setup architectures)"
        continue
    fi
    if ! fetch_check; then
        skip "$name" "the source of Check cannot be fetched, see $folder/apt.log"
        continue
    fi
    if [ ! -e "$folder/$host.built" ]; then # two rows may share a build
        rm -rf "${folder:?}/$host"
        start=$SECONDS
        log=$folder/$host.check.log
        build_check "$host" # not in a condition: that would switch set -e off inside
        status=$?
        if [ $status = 0 ]; then
            log=$folder/$host.log
            build "$host"
            status=$?
        fi
        result $status "$name: builds ($((SECONDS - start)) s)" "$log" || continue
        touch "$folder/$host.built"
    fi
    if [ -n "$native" ]; then
        emulator=
        echo "# $name: run by the kernel itself"
    else
        echo "# $name: run by $emulator${page:+, pages of $page}"
        starts_small
        result $? "$name: the first block maps nothing huge" "$folder/$host.strace"
    fi
    run_tests unit
    run_tests api
    if [ -n "$quick" ]; then
        run_tests stress STRESS_TESTS='tests/stress/fork tests/stress/threads'
    else
        run_tests abuse
        run_tests stress
    fi
done
rm -f "$folder"/*.built "$folder/run"

done_testing
