#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# manpages.sh: mandoc has nothing to say about the manual pages.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

command -v mandoc >/dev/null || skip_all "no mandoc"
for page in man/*.[1-8]; do
    mandoc -Tlint -W warning "$page" 2>&1 | no_complaints "$page"
done
done_testing
