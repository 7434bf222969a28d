#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# gcc.sh: the C compiler under HAKMEM: the same object code as without, and what it links runs, also under HAKMEM.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
need gcc

# Much code from little: a thousand functions by the preprocessor.
cat >"$scratch/program.c" <<'EOF'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define F(n) static int f##n(const char *s, int x) { char *c = malloc(100 + n); int r = n; if (!c) return 0; \
    snprintf(c, 100, "%s-%d-%d", s, x, n); for (char *p = c; *p; p++) r = r * 31 + *p; \
    switch (r & 7) { case 0: r ^= x; break; case 1: r += n; break; case 5: r = -r; break; default: r *= 3; } \
    free(c); return r; }
#define F10(n) F(n##0) F(n##1) F(n##2) F(n##3) F(n##4) F(n##5) F(n##6) F(n##7) F(n##8) F(n##9)
#define F100(n) F10(n##0) F10(n##1) F10(n##2) F10(n##3) F10(n##4) F10(n##5) F10(n##6) F10(n##7) F10(n##8) F10(n##9)
F100(1) F100(2) F100(3) F100(4)
#define C(n) sum += (unsigned)f##n("text", n);
#define C10(n) C(n##0) C(n##1) C(n##2) C(n##3) C(n##4) C(n##5) C(n##6) C(n##7) C(n##8) C(n##9)
#define C100(n) C10(n##0) C10(n##1) C10(n##2) C10(n##3) C10(n##4) C10(n##5) C10(n##6) C10(n##7) C10(n##8) C10(n##9)
int main(void) { unsigned sum = 0; C100(1) C100(2) C100(3) C100(4) printf("%u\n", sum); return 0; }
EOF
cd "$scratch" || exit 99
compile() { preloaded gcc -std=gnu11 -O2 -c program.c -o hakmem.o; }
link_it() { preloaded gcc hakmem.o -o hakmem; }
run_it() { preloaded ./hakmem >got; }
plain() { gcc -std=gnu11 -O2 -c program.c -o plain.o && gcc plain.o -o plain && ./plain >expected; }
if ok "gcc works without HAKMEM" plain; then
    ok "gcc compiles" compile
    ok "HAKMEM served it" engaged
    ok "and cc1 and as" engaged_processes 3
    ok "the object file is the same" cmp plain.o hakmem.o
    ok "gcc links" link_it
    ok "HAKMEM served it" engaged
    ok "and collect2 and ld" engaged_processes 3
    ok "the program runs" run_it
    ok "HAKMEM served it" engaged
    ok "its result is the same" same expected got
fi
done_testing
