#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# gcc.sh FOLDER OPTION...: for the bench lines of gcc. Writes a C program of 50 functions into that folder, compiles it
# with the options, and runs it: fails when its sum is wrong. (CC: another compiler than gcc.)
set -eu
if [ $# -lt 1 ] || [ ! -d "$1" ]; then
    echo "usage: gcc.sh FOLDER [OPTION]..." >&2
    exit 2
fi
cc=${CC:-gcc}
command -v "$cc" >/dev/null || { echo "gcc.sh: $cc is not installed (Debian package gcc)" >&2; exit 127; }
cd "$1"
shift
awk 'BEGIN {
    print "#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>"
    for (f = 0; f < 50; f++) {
        printf "struct s%d { uint32_t a[%d], b; struct s%d *next; };\n", f, f % 7 + 2, f
        printf "static uint32_t f%d(uint32_t x, struct s%d *s)\n{\n    uint32_t t = x * %du, v[%d] = {0};\n", f, f, 2 * f + 3, f % 11 + 4
        printf "    for (unsigned i = 0; i < %d; i++) {\n        v[i %% %d] += t ^ (s->a[i %% %d] + i);\n", f % 5 + 20, f % 11 + 4, f % 7 + 2
        print "        switch ((t >> (i & 7)) % 9) {"
        for (c = 0; c < 9; c++)
            printf "        case %d: t = t * %du + v[%d] - (s->b %s %d); break;\n", c, c * f + 5, c % 4, c % 2 ? "^" : "+", f + c
        print "        }\n        if (t & 1)\n            s->a[i & 1] = t;\n        else\n            s->b += v[0];\n    }"
        if (f)
            printf "    struct s%d other;\n    memset(&other, x & 255, sizeof other);\n    return t %% 3 ? t + f%d(t >> 3, &other) : t;\n}\n", f - 1, f - 1
        else
            print "    return t;\n}"
    }
    print "int main(void)\n{\n    uint32_t sum = 1;"
    for (f = 0; f < 50; f++) {
        printf "    {\n        struct s%d s;\n        memset(&s, %d, sizeof s);\n", f, f % 200
        printf "        for (uint32_t i = 0; i < 10; i++)\n            sum = sum * 31 + f%d(sum + i, &s);\n    }\n", f
    }
    print "    printf(\"%08x\\n\", (unsigned)sum);\n    return 0;\n}"
}' >program.c
"$cc" -w -std=gnu11 "$@" -o program program.c
sum=$(./program)
echo "checksum $sum"
[ "$sum" = 5b72ce30 ] || { echo "gcc.sh: the program that it made is wrong" >&2; exit 1; }
