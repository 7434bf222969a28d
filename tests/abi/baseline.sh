#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# baseline.sh: the shared library keeps the promise of abi/ (docs/abi.md); and tools/abi, which says so, lets pass what may
# be added, and refuses what would break a program that was linked before.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"
need_so
need abidw abidiff readelf
have_compiler "$cc" || skip_all "no C compiler"
tool=$source_dir/tools/abi

# ---- the tool, on small libraries of our own header -----------------------------------------------------------------
# A variant is a header, and what the library defines.
printf 'T_0 { global: hak_*; };\n' >"$scratch/map"
variant() { # NAME SCRIPT FOR THE HEADER [EXTRA CODE [OPTION OF THE COMPILER]...]
    local name=$1 script=$2 extra=${3-}
    shift $(($# < 3 ? $# : 3))
    mkdir -p "$scratch/$name"
    sed "$script" "$source_dir/lib/include/hakmem.h" >"$scratch/$name/hakmem.h"
    cat >"$scratch/$name/code.c" <<END
#include <hakmem.h>
int hak_stats_get(struct hak_stats *stats, size_t size) { return stats == NULL && size; }
void hak_free(void *p) { (void)p; }
#ifndef PURGE
#define PURGE size_t hak_purge(void) { return 0; }
#endif
PURGE
$extra
END
    # shellcheck disable=SC2086  # words
    $cc -std=gnu11 -g -O1 -shared -fPIC -I"$scratch/$name" "$@" "$scratch/$name/code.c" -o "$scratch/$name/lib.so" \
        -Wl,-soname,libtest.so.0 -Wl,--version-script="$scratch/map"
}
promise() { variant old "" && "$tool" write "$scratch/old/lib.so" "$scratch/old.abi" && [ -s "$scratch/old.abi" ]; }
ok "a promise is written" promise || done_testing

kept() { # NAME ...
    variant "$@" && "$tool" check "$scratch/$1/lib.so" "$scratch/old.abi"
}
broken() { # WORDS NAME ...
    local words=$1 status=0
    shift
    variant "$@" || return 1
    "$tool" check "$scratch/$1/lib.so" "$scratch/old.abi" >"$scratch/words" 2>&1 || status=$?
    cat "$scratch/words"
    [ $((status & 4)) = 4 ] && grep -q "$words" "$scratch/words"
}
ok "the same again keeps it" kept same ""
ok "so does a new function" kept added "" "int hak_new(void); int hak_new(void) { return 0; }" -Wno-missing-prototypes
ok "and a field at the end of hak_stats" kept end 's/^};$/    uint64_t added;\n&/'
ok "a field in its middle does not" broken "'uint64_t added'" middle 's/^    uint64_t live_bytes;/    uint64_t added;\n&/'
ok "nor one that has gone" broken "data member deletion" gone '/^    uint64_t heaps_parked;/d'
ok "nor one of another type" broken "live_bytes" smaller 's/uint64_t live_bytes;/uint32_t live_bytes, other;/'
ok "nor a function that has gone" broken "hak_purge" less "" "" "-DPURGE="
ok "nor another result" broken "hak_purge" result 's/size_t hak_purge/unsigned char hak_purge/' "" \
    "-DPURGE=unsigned char hak_purge(void) { return 0; }"
printf 'T_1 { global: hak_*; };\n' >"$scratch/map"
ok "nor another version of the same functions" broken "Removed" version ""
stripped() {
    strip -g -o "$scratch/stripped.so" "$scratch/same/lib.so" && ! "$tool" check "$scratch/stripped.so" "$scratch/old.abi" 2>&1 |
        tee "$scratch/words" && grep -q "no debug information" "$scratch/words"
}
ok "without debug information it says nothing but that" stripped

# ---- the library ----------------------------------------------------------------------------------------------------
# Link-time optimisation leaves parameters out of the debug information that nobody uses.
if grep -q 'DW_AT_producer.*GIMPLE' <(readelf --debug-dump=info "$so" 2>/dev/null); then
    skip "the library keeps the promise of abi/" "its debug information is that of link-time optimisation"
    done_testing
    exit
fi
status=0
"$tool" check "$so" >"$scratch/abi" 2>&1 || status=$?
if [ $status = 3 ] || grep -q 'no debug information' "$scratch/abi"; then
    skip "the library keeps the promise of abi/" "$(sed 's/^.*: //' "$scratch/abi")"
else
    keeps() { cat "$scratch/abi"; [ "$status" = 0 ]; }
    ok "the library keeps the promise of abi/" keeps
fi
done_testing
