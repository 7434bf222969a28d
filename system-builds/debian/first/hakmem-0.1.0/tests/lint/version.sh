#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# version.sh: every place that names the version names the same one.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

version=$(sed -n 's/^AC_INIT(\[hakmem\], \[\(.*\)\])$/\1/p' configure.ac)

same() { # FILE VERSION
    { [ "$2" = "$version" ] || echo "$1 says \"$2\", configure.ac \"$version\""; } | no_complaints "$1"
}
macro() { sed -n "s/^#define HAK_VERSION_$1 \"*\([^\"]*\)\"*\$/\1/p" lib/include/hakmem.h; }

same "hakmem.h, its string" "$(macro STRING)"
same "hakmem.h, its numbers" "$(macro MAJOR).$(macro MINOR).$(macro PATCH)"
same NEWS "$(sed -n 's/^hakmem \([0-9.]*\) .*/\1/p' NEWS | head -n 1)"
[ ! -f debian/changelog ] || # no part of a release tarball
    same debian/changelog "$(sed -n '1s/.*(\(.*\)-[^-]*).*/\1/p' debian/changelog)"
same hakmem.spec "$(sed -n 's/^Version:[[:space:]]*//p' hakmem.spec)"
done_testing
