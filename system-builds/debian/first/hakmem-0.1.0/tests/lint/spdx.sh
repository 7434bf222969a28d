#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# spdx.sh: every file says its licence and its owner, in its first lines or, where it cannot, in .reuse/dep5.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

elsewhere=" $(sed -n 's/^Files: //p' .reuse/dep5 | tr '\n' ' ') "
while read -r file; do
    case $elsewhere in *" $file "*) continue ;; esac
    case $file in LICENSES/*) continue ;; esac
    for tag in SPDX-License-Identifier SPDX-FileCopyrightText; do
        head -n 12 "$file" | grep -aq "$tag: " || echo "$file: no $tag"
    done
done < <(project_files) | no_complaints "every file has its SPDX tags"
done_testing
