#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# examples.sh: what examples/ shows works as it stands there, with the library as it is installed: C++, CMake, Python.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"
need_so
need make pkg-config
[ -f "$build_dir/Makefile" ] || skip_all "this is not a build folder"

inst=$scratch/inst
install() { ${MAKE:-make} -C "$build_dir" install DESTDIR="$inst"; }
ok "make install" install || done_testing
lib_folder=$(dirname "$(find "$inst" -name libhakmem.so.0)")
PKG_CONFIG_PATH=$(dirname "$(find "$inst" -name hakmem.pc)")
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR=$inst

# The lines of README.md for one language: the indented ones behind the line that begins with its name.
cp "$source_dir"/examples/* "$scratch/"
lines() { # WORD
    awk -v word="$1" '/^[A-Z]/ { on = index($0, word) == 1 } on && /^    / { print substr($0, 5) }' "$scratch/README.md"
}
typed() { # WORD [COMMAND BEFORE]
    lines "$1" >"$scratch/typed"
    [ -s "$scratch/typed" ] || { echo "no line for $1"; return 1; }
    cd "$scratch" || return 1
    mkdir -p bin
    # The C++ compiler of this build, by the name that everybody has; which may be its own: by the PATH from before.
    printf '#!/bin/sh\nPATH=%s exec %s "$@"\n' "'$PATH'" "$cxx" >bin/c++
    chmod +x bin/c++
    env -u CC CXX=c++ PATH="$scratch/bin:$PATH" LD_LIBRARY_PATH="$lib_folder" bash -e typed 2>&1 | tee out
    return "${PIPESTATUS[0]}"
}
counted() {
    cat "$scratch/out"
    grep -Eqx '[0-9]{2,} different words' "$scratch/out" &&
        grep -Eqx '[0-9]{2,} blocks with [1-9][0-9]* KiB, by HAKMEM [0-9.]+' "$scratch/out"
}
if have_compiler "$cxx"; then
    ok "C++: the lines run" typed "C++"
    ok "it counts, served by HAKMEM" counted
    if command -v cmake >/dev/null; then
        ok "CMake: the lines run" typed CMake
        ok "it counts, served by HAKMEM" counted
        # A program that names nothing of ours, and a linker that drops what is not named.
        as_needed() {
            printf '#include <string>\nint main(int n, char **) { return std::string(100, 65).size() + n == 7; }\n' \
                >"$scratch/words.cc"
            rm -rf "$scratch/build"
            (cd "$scratch" && env -u CC CXX="$cxx" cmake -B build -DCMAKE_EXE_LINKER_FLAGS=-Wl,--as-needed &&
                cmake --build build) || return 1
            HAKMEM_VERBOSE=1 LD_LIBRARY_PATH="$lib_folder" "$scratch/build/words" 2>&1 | tee "$scratch/out"
            grep -q 'serves process' "$scratch/out"
        }
        ok "CMake: so is a program that calls nothing of it, under --as-needed" as_needed
    else
        skip "CMake" "no cmake"
    fi
else
    skip "C++" "no C++ compiler"
fi
if command -v python3 >/dev/null; then
    ok "Python: the line runs" typed Python
    under() { grep -Eqx 'under HAKMEM [0-9.]+' "$scratch/out"; }
    ok "it runs under HAKMEM" under
else
    skip "Python" "no python3"
fi
done_testing
