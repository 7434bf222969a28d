#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# configurations.sh: builds every switch of configure out of the tree, and runs make check in each.  Prints TAP.
# Run by `make check-system`; by hand: tests/system/configurations.sh [NAME]...
# shellcheck source=tests/system/common.sh
. "$(dirname "$0")/common.sh"

# NAME: OPTIONS OF CONFIGURE.  DWARF 4: valgrind 3.19 does not read clang's DWARF 5.
rows=(
    "default:"
    "superslab-64K: --with-superslab-size=64K"
    "superslab-512K: --with-superslab-size=512K"
    "superslab-2M: --with-superslab-size=2M"
    "no_huge: --enable-hugepages=no"
    "thp: --enable-hugepages=thp"
    "hugetlb: --enable-hugepages=hugetlb"
    "no-prefault: --disable-prefault"
    "no-learning: --disable-learning"
    "stats: --enable-stats"
    "debug: --enable-debug"
    "hardened: --enable-hardened"
    "valgrind: --enable-valgrind"
    "all: --enable-stats --enable-debug --enable-hardened --with-superslab-size=64K"
    "clang: CC=clang CFLAGS='-g -gdwarf-4 -O2'"
    "clang-O0: CC=clang CFLAGS=-O0"
    "O3: CFLAGS=-O3"
    "lto: CFLAGS='-g -O2 -flto=auto -ffat-lto-objects'"
    "pgo: --enable-pgo"
    "pgo-clang: CC=clang CFLAGS='-g -gdwarf-4 -O2' --enable-pgo"
    "static: --disable-shared"
    "shared: --disable-static"
    "pic: --with-pic"
)
# And what configure must refuse, with the words that it must say.
refused=(
    "superslab-size 1M: --with-superslab-size=1M: takes 64K, 512K or 2M"
    "stats=maybe: --enable-stats=maybe: takes yes or no"
    "hugepages=1G: --enable-hugepages=1G: takes grown, no, thp or hugetlb"
    "prefault=2: --enable-prefault=2: takes yes or no"
    "pgo=maybe: --enable-pgo=maybe: takes yes or no"
    "pgo without a shared library: --enable-pgo --disable-shared: does not go with --disable-shared"
    "pgo by clang without llvm-profdata: --enable-pgo CC=clang ac_cv_path_LLVM_PROFDATA=: needs llvm-profdata.* install llvm"
    "pgo when cross-compiling: --enable-pgo --build=i686-linux-gnu --host=s390x-linux-gnu CC=gcc: cannot be done when cross-compiling"
    "no profile: --with-pgo-profile=/usr: holds no profile of HAKMEM"
    "another compiler's profile: --with-pgo-profile=../other-compiler: was made by gcc 1.2.3, and gcc is gcc"
    "another machine's profile: --with-pgo-profile=../other-machine: was made on none, and this is for"
    "no libatomic_ops: ATOMIC_OPS: libatomic-ops-dev .*libatomic_ops-devel"
    "no Check: CHECK: install check .*check-devel"
)

# A dependency that would be circular is dropped by make, which goes on: so the library was once compiled before its profile.
nothing_dropped() { # LOG
    ! grep -q '^make.*: Circular .* dependency dropped' "$1"
}

mkdir -p "$folder"
for row in "${rows[@]}"; do
    name=${row%%:*}
    wanted "$name" "$@" || continue
    rm -rf "${folder:?}/$name"
    mkdir "$folder/$name"
    (
        set -e
        cd "$folder/$name"
        eval "options=(${row#*:})"
        "$source/configure" --quiet "${options[@]}"
        make -s -j"$(nproc)" all
        make -s -j"$(nproc)" check
    ) >"$folder/$name.log" 2>&1 </dev/null
    status=$?
    nothing_dropped "$folder/$name.log" || status=1
    result $status "$name" "$folder/$name.log"
    [ $status != 0 ] || rm -rf "${folder:?}/$name"
done

# The same profile makes the same library, in whatever folder; and another one than is made without.
if wanted pgo-profile "$@"; then
    rm -rf "${folder:?}"/pgo-{trained,again,none,profile}
    mkdir "$folder"/pgo-{trained,again,none}
    (
        set -e
        pgo_build() { # FOLDER OPTION...
            cd "$folder/$1"
            "$source/configure" --quiet CFLAGS=-O2 "${@:2}"
            make -s -j"$(nproc)" lib/libhakmem.la
        }
        pgo_build pgo-trained --enable-pgo
        cp -R pgo/profile "$folder/pgo-profile"
        pgo_build pgo-again --with-pgo-profile="$folder/pgo-profile"
        pgo_build pgo-none
        cd "$folder"
        cmp pgo-trained/lib/.libs/libhakmem.so.0 pgo-again/lib/.libs/libhakmem.so.0
        cmp pgo-trained/lib/.libs/libhakmem.a pgo-again/lib/.libs/libhakmem.a
        ! cmp pgo-none/lib/.libs/libhakmem.so.0 pgo-again/lib/.libs/libhakmem.so.0
    ) >"$folder/pgo-profile.log" 2>&1 </dev/null
    status=$?
    nothing_dropped "$folder/pgo-profile.log" || status=1
    result $status "two builds with one profile are equal" "$folder/pgo-profile.log" &&
        rm -rf "${folder:?}"/pgo-{trained,again,none,profile,profile.log}
fi

mkdir -p "$folder"/other-{compiler,machine}
printf 'compiler gcc 1.2.3\nmachine none\n' >"$folder/other-compiler/made-by"
printf 'compiler gcc %s\nmachine none\n' "$(gcc -dumpfullversion)" >"$folder/other-machine/made-by"
for row in "${refused[@]}"; do
    IFS=: read -r name option words <<<"$row"
    wanted "$name" "$@" || continue
    rm -rf "${folder:?}/refused"
    mkdir "$folder/refused"
    (
        cd "$folder/refused" || exit 1
        case ${option# } in
            --*)
                read -ra options <<<"$option"
                set -- "${options[@]}"
                ;;
            # pkg-config as it is where that package is missing.
            ATOMIC_OPS) set -- PKG_CONFIG="$folder/pkg-config" PKG_MISSING=atomic_ops ;;
            CHECK) set -- PKG_CONFIG="$folder/pkg-config" PKG_MISSING=check ;;
        esac
        # shellcheck disable=SC2016  # for the script that is written
        printf '#!/bin/sh\ncase "$*" in *"$PKG_MISSING >="*) exit 1;; esac\nexec pkg-config "$@"\n' >"$folder/pkg-config"
        chmod +x "$folder/pkg-config"
        for word; do case $word in PKG_MISSING=*) export "${word?}" ;; esac; done
        ! "$source/configure" --quiet "$@"
    ) >"$folder/refused.log" 2>&1 </dev/null && tr '\n' ' ' <"$folder/refused.log" | grep -Eq -e "${words# }"
    result $? "configure refuses: $name" "$folder/refused.log"
done

done_testing
