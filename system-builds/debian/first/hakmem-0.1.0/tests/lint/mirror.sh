#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# mirror.sh: lib/FILE.c of the core has tests/unit/test_FILE.c, and the other way round.  (The last row of lib/LAYERS,
# the exported code, is tested through the library: tests/api, tests/abi.)
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

core=$(sed 's/#.*//; /^[[:space:]]*$/d' lib/LAYERS | sed '$d' | tr -s ' ' '\n')

for name in $core; do
    if [ -f "lib/$name.c" ] && [ ! -f "tests/unit/test_$name.c" ]; then
        echo "lib/$name.c has no tests/unit/test_$name.c"
    fi
done | no_complaints "every file of the core has its unit test"

shopt -s nullglob
for test in tests/unit/test_*.c; do
    name=${test#tests/unit/test_}
    [ -f "lib/$name" ] || [ -f "lib/${name%.c}.h" ] || echo "$test tests no file of lib/"
done | no_complaints "every unit test has its file"

done_testing
