#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# z3.sh FOLDER: for the bench line of z3. Writes problems into that folder and has them solved: pigeons, machine
# arithmetic, a graph to colour, linear arithmetic. Fails when the answers are wrong.
set -eu
if [ $# != 1 ] || [ ! -d "$1" ]; then
    echo "usage: z3.sh FOLDER" >&2
    exit 2
fi
command -v z3 >/dev/null || { echo "z3.sh: z3 is not installed (Debian package z3)" >&2; exit 127; }
cd "$1"
awk 'BEGIN {
    print "(set-option :smt.random_seed 1)\n(push)"
    for (p = 0; p < 7; p++) {                                       # seven pigeons, six holes
        clause = ""
        for (h = 0; h < 6; h++) {
            printf "(declare-const p%d_%d Bool)\n", p, h
            clause = clause " p" p "_" h
        }
        print "(assert (or" clause "))"
    }
    for (h = 0; h < 6; h++)
        for (p = 0; p < 7; p++)
            for (q = 0; q < p; q++)
                printf "(assert (or (not p%d_%d) (not p%d_%d)))\n", p, h, q, h
    print "(check-sat)\n(pop)\n(push)"
    print "(declare-const a (_ BitVec 6))\n(declare-const b (_ BitVec 6))"
    print "(assert (not (= (bvmul (bvadd a b) (bvsub a b)) (bvsub (bvmul a a) (bvmul b b)))))\n(check-sat)\n(pop)\n(push)"
    for (v = 0; v < 150; v++)                                        # each is unlike three others
        printf "(declare-const c%d Int)\n(assert (and (>= c%d 0) (<= c%d 3)))\n", v, v, v
    for (v = 1; v < 150; v++)
        for (k = 1; k <= 3; k++)
            if (v * k * 31 % v != v)
                printf "(assert (not (= c%d c%d)))\n", v, (v * 7 + k * k * 13) % v
    print "(check-sat)\n(pop)\n(push)"
    for (v = 0; v < 60; v++)
        printf "(declare-const x%d Real)\n(assert (>= x%d 0))\n", v, v
    for (r = 0; r < 60; r++) {
        sum = ""
        for (v = 0; v < 60; v++)
            if ((v * 7 + r * 3) % 5 == 0)
                sum = sum " (* " (v * r % 11 + 1) " x" v ")"
        print "(assert (<= (+" sum ") " r + 10 "))\n(assert (>= (+" sum ") 1))"
    }
    print "(check-sat)\n(pop)"
}' >problems.smt2
found=$(z3 problems.smt2)
echo "checksum $found"
[ "$found" = "$(printf 'unsat\nunsat\nsat\nsat')" ] || { echo "z3.sh: its answers are wrong" >&2; exit 1; }
