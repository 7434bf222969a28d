#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# static.sh: programs linked with -static and libhakmem.a, in C (with threads) and in C++ (with exceptions), link, work,
# and are served by HAKMEM; so does a dynamic program that takes HAKMEM from the archive.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"
[ -n "$archive" ] || skip_all "no static library is built"
have_compiler "$cc" || skip_all "no C compiler"

cat >"$scratch/program.c" <<'EOF'
#include <pthread.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void *work(void *arg)
{
    unsigned long seed = (unsigned long)arg, bad = 0;
    unsigned char *blocks[500] = { NULL };
    size_t sizes[500] = { 0 };
    for (int i = 0; i < 50000; i++) {
        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
        size_t slot = (seed >> 33) % 500, n = 1 + (seed >> 40) % (i % 100 ? 1000 : 100000);
        if (blocks[slot])
            for (size_t j = 0; j < sizes[slot]; j += 61)
                bad += blocks[slot][j] != (unsigned char)slot;
        blocks[slot] = i & 1 ? realloc(blocks[slot], n) : (free(blocks[slot]), malloc(n));
        if (!blocks[slot])
            return (void *)1000000UL;
        memset(blocks[slot], (int)slot, n);
        sizes[slot] = n;
    }
    for (int i = 0; i < 500; i++)
        free(blocks[i]);
    return (void *)bad;
}
int main(void)
{
    pthread_t threads[4];
    unsigned long bad = 0;
    for (unsigned long i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(i + 1)))
            return 1;
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        bad += (unsigned long)result;
    }
    void *p = NULL;
    bad += posix_memalign(&p, 4096, 10000) != 0 || malloc_usable_size(p) < 10000;
    free(p);
    free(strdup("the C library's own blocks"));
    char *line = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&line, &size);
    fprintf(f, "%0300d", 7);
    fclose(f);
    bad += strlen(line) != 300;
    free(line);
    printf("%lu\n", bad);
    return bad != 0;
}
EOF
cat >"$scratch/program.cc" <<'EOF'
#include <cstdio>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>
struct alignas(256) Wide { char c[1000]; };
int main()
{
    std::map<std::string, std::vector<std::string>> m;
    for (int i = 0; i < 20000; i++)
        m[std::to_string(i % 700)].push_back(std::string(i % 300, 'x'));
    unsigned long sum = 0;
    for (auto &e : m)
        sum += e.second.size();
    int caught = 0;
    try {
        throw std::runtime_error(std::string(1000, 'e'));
    } catch (const std::exception &e) {
        caught += std::string(e.what()).size() == 1000;
    }
    volatile std::size_t much = (std::size_t)-1 / 2 - 100;
    try {
        char *volatile p = static_cast<char *>(::operator new(much));
        caught += p == nullptr ? 0 : 100;
    } catch (const std::bad_alloc &) {
        caught++;
    }
    caught += ::operator new(much, std::nothrow) == nullptr;
    Wide *w = new Wide;
    caught += reinterpret_cast<std::size_t>(w) % 256 == 0;
    delete w;
    std::printf("%lu %d\n", sum, caught);
    return !(sum == 20000 && caught == 4);
}
EOF

# The archive stands before the C library, so its malloc comes first.
# Runs a program and looks for HAKMEM's words.
served() { # PROGRAM
    HAKMEM_VERBOSE=1 HAKMEM_STATS=1 "$1" >"$scratch/out" 2>"$scratch/err" &
    pid=$!
    local status=0
    wait "$pid" || status=$?
    heard "$scratch/err"
    cat "$scratch/out" "$scratch/stderr"
    [ "$status" = 0 ] || { echo "status $status"; return 1; }
    engaged
}

# shellcheck disable=SC2086  # words
has_static() { echo 'int main(void) { return 0; }' | $cc -static -x c - -o "$scratch/empty"; }
if has_static >/dev/null 2>&1; then
    # shellcheck disable=SC2086  # words
    ok "a C program links with -static" $cc -O1 "$scratch/program.c" "$archive" -static -pthread -o "$scratch/c-static" &&
        ok "it works, and HAKMEM serves it" served "$scratch/c-static"
    is_static() { ! readelf -lW "$scratch/c-static" | grep INTERP; }
    ok "it is static" is_static
    # shellcheck disable=SC2086  # words
    ok "a position-independent one links with -static-pie" \
        $cc -O1 -fPIE "$scratch/program.c" "$archive" -static-pie -pthread -o "$scratch/c-static-pie" &&
        ok "it works, and HAKMEM serves it" served "$scratch/c-static-pie"
else
    skip "static programs" "no static C library"
fi
# shellcheck disable=SC2086  # words
ok "a dynamic C program links with the archive" $cc -O1 "$scratch/program.c" "$archive" -pthread -o "$scratch/c-archive" &&
    ok "it works, and HAKMEM serves it" served "$scratch/c-archive"

if have_compiler "$cxx"; then
    if has_static >/dev/null 2>&1; then
        # shellcheck disable=SC2086  # words
        ok "a C++ program links with -static" \
            $cxx -std=c++17 -O1 "$scratch/program.cc" "$archive" -static -o "$scratch/cxx-static" &&
            ok "it works, and HAKMEM serves it" served "$scratch/cxx-static"
    fi
    # shellcheck disable=SC2086  # words
    ok "a dynamic C++ program links with the archive" \
        $cxx -std=c++17 -O1 "$scratch/program.cc" "$archive" -o "$scratch/cxx-archive" &&
        ok "it works, and HAKMEM serves it" served "$scratch/cxx-archive"
else
    skip "C++ programs" "no C++ compiler"
fi
done_testing
