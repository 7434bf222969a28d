#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# layers.sh: every file of lib/ stands in a row of lib/LAYERS and includes only what its row may.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

shopt -s nullglob
files=(lib/*.c lib/*.h lib/*.def)

# shellcheck disable=SC2016  # awk's own $
awk '
    FILENAME == "lib/LAYERS" { sub(/#.*/, ""); if (NF) { n++; for (i = 1; i <= NF; i++) row[$i] = n } next }
    FNR == 1 {
        self = FILENAME; sub(/^.*\//, "", self); sub(/\.[a-z]+$/, "", self)
        if (!(self in row)) print FILENAME ": stands in no row of lib/LAYERS"
    }
    self in row && match($0, /^[ \t]*#[ \t]*include[ \t]*"[^"]+"/) {
        other = $0; sub(/^[^"]*"/, "", other); sub(/".*/, "", other); sub(/^.*\//, "", other)
        sub(/\.[a-z]+$/, "", other)
        if (other == self || other == "config")
            next
        if (!(other in row))
            print FILENAME ":" FNR ": includes " other ", which stands in no row"
        else if (row[other] >= row[self])
            print FILENAME ":" FNR ": row " row[self] " includes " other " of row " row[other]
    }' lib/LAYERS "${files[@]}" | no_complaints "files include only rows above their own"

{
    grep -HnE '#[[:space:]]*include[[:space:]]*<(sys/mman|sys/syscall|unistd)\.h>' "${files[@]}" |
        grep -v '^lib/os\.c:'
} | no_complaints "only os.c enters the kernel"

grep -HnE '#[[:space:]]*include[[:space:]]*<atomic_ops' "${files[@]}" | grep -v '^lib/atomic\.h:' |
    no_complaints "only atomic.h includes libatomic_ops"

done_testing
