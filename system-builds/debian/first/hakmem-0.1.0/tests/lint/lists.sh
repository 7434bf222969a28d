#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# lists.sh: every file of the tree stands in a list of Makefile.am, so it is built, run and released.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

words=$(sed 's/#.*//' Makefile.am | tr -cs '[:alnum:]./_@+-' '\n' | LC_ALL=C sort -u)
while read -r file; do
    case $file in
        # What Automake finds by itself, and what belongs to the checkout alone.
        debian/*) continue ;; # no part of a release: distributions bring their own
        configure.ac | Makefile.am | NEWS | README.md | m4/hakmem.m4 | pkgconfig/hakmem.pc.in | .gitignore) continue ;;
        tests/*/*.c | bench/*.c)
            grep -qxF -e "$file" -e "${file%.c}" <<<"$words" || echo "$file" ;;
        *) grep -qxF -e "$file" <<<"$words" || echo "$file" ;;
    esac
done < <(project_files) | no_complaints "every file stands in a list of Makefile.am"
done_testing
