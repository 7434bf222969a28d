#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# options.sh: hakmem(7) documents the options of lib/option.def, and the variables that the library asks for by name, all of
# them and no others.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

rows=$({ sed -n 's/^X(\([A-Z0-9_]*\),.*/HAKMEM_\1/p' lib/option.def
    sed -n 's/.*hkm_os_getenv("\(HAKMEM_[A-Z0-9_]*\)").*/\1/p' lib/*.c; } | LC_ALL=C sort -u)
# HAKMEM_0 and so on are version nodes.
pages=$(grep -ho 'HAKMEM_[A-Z][A-Z0-9_]*' man/hakmem.7 | LC_ALL=C sort -u)

comm -23 <(echo "$rows") <(echo "$pages") | no_complaints "hakmem(7) documents every option"
comm -13 <(echo "$rows") <(echo "$pages") | no_complaints "hakmem(7) documents no option that is not there"
done_testing
