#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# scripts.sh: shellcheck has nothing to say about the shell scripts.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

command -v shellcheck >/dev/null || skip_all "no shellcheck"
while read -r file; do
    case $file in
        *.sh) ;;
        *) head -c 64 "$file" | head -n 1 | tr -d '\0' | grep -Eq '^#!.*[/ ](ba|da)?sh( |$)' || continue ;;
    esac
    shellcheck --external-sources --format=gcc "$file" </dev/null 2>&1 | no_complaints "$file"
done < <(project_files)
done_testing
