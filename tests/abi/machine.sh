#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# machine.sh: the library asks nothing of the machine that its whole family does not have.  On x86-64 that is the first
# level: no AVX, no BMI, nothing of x86-64-v2 or -v3, whatever machine it was built on.  (A builder who asks for more by
# CFLAGS gets more; then this is skipped.)
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"
need_so
need objdump readelf
readelf -hW "$so" | grep 'Machine:.*X86-64' >/dev/null || skip_all "it looks for x86-64's levels alone"
grep -E "^CFLAGS = .*-m(arch|tune|cpu|avx|bmi|sse)" "$build_dir/Makefile" >"$scratch/flags" 2>/dev/null &&
    skip_all "$(cat "$scratch/flags")"

# Instructions of the levels above the first; tzcnt and lzcnt left out, of which tzcnt is what older machines take as bsf.
newer='v[a-z]+[a-z0-9]*|andn|bextr|blsi|blsmsk|blsr|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|movbe|popcnt|crc32[bwlq]?'
newer="$newer|lzcnt|pshufb|pmaddubsw|pmulhrsw|p(abs|align|hadd|hsub)[a-z]+|pcmp[ei]str[im]|pcmpgtq|pcmpeqq|ptest|round[ps][sd]|blend[a-z]+"
disassemble() { # FILE
    objdump -d --no-show-raw-insn "$1" | sed -n 's/^ *[0-9a-f]*:\t//p'
}
found() { # FILE: what there is of those
    disassemble "$1" | grep -E "^(rep |lock )?($newer)( |\$)|%[yz]mm|\{%k" | grep -Ev '^ver[rw]( |$)'
}
instructions() { [ "$(disassemble "$so" | wc -l)" -gt 5000 ]; }
ok "the library is disassembled" instructions
none() { ! found "$so"; }
ok "no instruction beyond the first level of x86-64" none
unmarked() { ! readelf -nW "$so" | grep -E 'x86 ISA needed:.*(v2|v3|v4)'; }
ok "nor does it say that it needs one" unmarked

# Would it be noticed?
cat >"$scratch/sum.c" <<'END'
unsigned long sum(const unsigned long *p, int n);
unsigned long sum(const unsigned long *p, int n)
{
    unsigned long s = 0;
    for (int i = 0; i < n; i++)
        s += p[i] & ~p[n - i] ? (unsigned long)__builtin_popcountl(p[i]) << (p[i] & 63) : 1;
    return s;
}
END
# shellcheck disable=SC2086  # words
noticed() { $cc -O3 -march=x86-64-v3 -c "$scratch/sum.c" -o "$scratch/sum.o" && found "$scratch/sum.o"; }
if have_compiler "$cc"; then ok "one that is built for the third level has some" noticed; fi
done_testing
