#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# interpose.sh: programs, and the libraries that they use, bind their malloc, free and operator new to HAKMEM when it is
# preloaded.  The dynamic linker itself is asked (LD_DEBUG=bindings).
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"
need_so

# Does the dynamic linker talk?  (It is glibc's to do so.)
ask() { # PROGRAM...
    rm -f "$scratch"/bindings*
    env LD_BIND_NOW=1 LD_DEBUG=bindings LD_DEBUG_OUTPUT="$scratch/bindings" LD_PRELOAD="$so" "$@" >"$scratch/out"
}
ask ls / || skip_all "ls does not work under LD_DEBUG"
grep -qs 'binding file' "$scratch"/bindings* || skip_all "the dynamic linker does not tell its bindings"

# A program linked for a fixed address (Debian's python3) that takes a function's address has everybody use its own stub of
# that function: a symbol that it does not define, and that has a value.  The stub goes to where the program binds it.
lends_stub() { # FILE SYMBOL
    readelf --dyn-syms -W "$1" 2>/dev/null | awk -v symbol="$2" '
        $7 == "UND" && $2 !~ /^0+$/ && ($8 == symbol || index($8, symbol "@") == 1) { found = 1 } END { exit !found }'
}
# Somebody asked for the symbol, and whoever did got ours.  Libraries of our own name ask too; the dynamic linker binds
# its own malloc until libc is there ("ld-linux" asks).
binds() { # SYMBOL...
    local symbol line to status=0
    for symbol; do
        grep -h "normal symbol \`$symbol'" "$scratch"/bindings* >"$scratch/asked"
        if ! grep -q ' to [^ ]*libhakmem' "$scratch/asked"; then
            echo "nobody binds $symbol to libhakmem"
            status=1
        fi
        while read -r line; do
            to=${line#* to }
            lends_stub "${to%% *}" "$symbol" && continue
            echo "$line"
            status=1
        done < <(grep -v ' to [^ ]*libhakmem' "$scratch/asked")
    done
    return "$status"
}
# This very file asked.
binds_from() { # FILE SYMBOL
    grep -h "binding file [^ ]*$1 \[0\] to [^ ]*libhakmem[^ ]* .*normal symbol \`$2'" "$scratch"/bindings* ||
        { grep -h "symbol \`$2'" "$scratch"/bindings*; return 1; }
}

ok "ls runs" ask ls -l /
ok "ls binds malloc, free and calloc to HAKMEM" binds malloc free calloc
ok "the C library does, too" binds_from 'libc\.so\.6' malloc

if have_compiler "$cxx"; then
    cat >"$scratch/program.cc" <<'EOF'
#include <cstdio>
#include <map>
#include <memory>
#include <new>
#include <string>
struct alignas(128) Wide { char c[300]; };
int main()
{
    std::map<std::string, std::unique_ptr<int[]>> m;
    for (int i = 0; i < 1000; i++)
        m[std::to_string(i) + "-and-more-than-fits-into-a-short-string"] = std::make_unique<int[]>(i + 1);
    Wide *w = new Wide;
    char *n = new (std::nothrow) char[100];
    std::printf("%zu %d\n", m.size(), w != nullptr && n != nullptr);
    delete[] n;
    delete w;
}
EOF
    compile() { $cxx -std=c++17 -O1 "$scratch/program.cc" -o "$scratch/program"; }
    if ok "a C++ program compiles" compile; then
        ok "it runs" ask "$scratch/program"
        right() { [ "$(cat "$scratch/out")" = "1000 1" ]; }
        ok "its result is right" right
        ok "it binds malloc and free to HAKMEM" binds malloc free
        size_t=m
        grep -qh "symbol \`_Znwj'" "$scratch"/bindings* && size_t=j
        ok "and operator new and delete" binds "_Znw$size_t" "_Zna$size_t" _ZdaPv
        ok "and the aligned and nothrow forms" binds "_Znw${size_t}St11align_val_t" "_Zna${size_t}RKSt9nothrow_t"
        ok "by the program itself" binds_from program "_Znw$size_t"
        # libstdc++'s own operators call malloc only where nobody has replaced them; its other parts call operator new.
        ok "and by the C++ library" binds_from 'libstdc++\.so\.6' "_Znw$size_t"
    fi
else
    skip "a C++ program" "no C++ compiler"
fi

# A program may bring its own malloc, as Chromium does, but not every function that calls it: the C library's reallocarray
# calls the program's realloc, and so must the one that stands before it.  The same goes for sized frees.
if have_compiler "$cc"; then
    cat >"$scratch/own.c" <<'EOF'
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static char pool[1 << 20] __attribute__((aligned(16)));
static size_t used;
static int freed;
void *malloc(size_t size)
{
    char *p = pool + used + 16;
    used += (size + 31) & ~(size_t)15;
    if (used > sizeof pool)
        abort();
    memcpy(p - 16, &size, sizeof size);
    return p;
}
void free(void *p)
{
    freed += p != NULL;
}
void *calloc(size_t count, size_t size)
{
    return malloc(count * size);
}
void *realloc(void *p, size_t size)
{
    void *q = malloc(size);
    size_t old = 0;
    if (p)
        memcpy(&old, (char *)p - 16, sizeof old);
    if (p)
        memcpy(q, p, old < size ? old : size);
    return q;
}
extern void free_sized(void *p, size_t size) __attribute__((weak));
extern void free_aligned_sized(void *p, size_t alignment, size_t size) __attribute__((weak));
static int own(void *p)
{
    return (uintptr_t)p - (uintptr_t)pool < sizeof pool;
}
int main(void)
{
    char *p = reallocarray(NULL, 10, 10), *q;
    int fresh = own(p), count;
    strcpy(p, "what was there");
    q = reallocarray(p, 100, 10);
    count = freed;
    if (free_sized && free_aligned_sized) {
        free_sized(malloc(10), 10);
        free_aligned_sized(malloc(10), 16, 10);
        count = freed - count;
    }
    printf("%d %d %s %d %d\n", fresh, own(q), q, reallocarray(NULL, SIZE_MAX / 2, 3) == NULL, count);
    return 0;
}
EOF
    # In whichever way the compiler makes a program; -fno-builtin, as no word about malloc is true here.
    for way in "" -no-pie; do
        # shellcheck disable=SC2086  # nothing or one option
        compile() { $cc -O1 -fno-builtin-malloc -fno-builtin-free -Wno-all $way "$scratch/own.c" -o "$scratch/own"; }
        ok "a program with a malloc of its own compiles ${way:-as usual}" compile || continue
        right() { [ "$(env LD_PRELOAD="$so" "$scratch/own")" = "1 1 what was there 1 2" ]; }
        ok "reallocarray and sized frees are its own realloc and free" right
    done
else
    skip "a program with a malloc of its own" "no C compiler"
fi

if python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null </dev/null); then
    ok "python3 runs" ask "$python" -c 'import json, threading; print(json.dumps([1, 2]))'
    right() { [ "$(cat "$scratch/out")" = "[1, 2]" ]; }
    ok "its result is right" right
    ok "python3 binds malloc, free, calloc and realloc to HAKMEM" binds malloc free calloc realloc
else
    skip "python3" "there is none"
fi
done_testing
