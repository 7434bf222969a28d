#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# spdx.sh: every file says its licence and its owner, in its first lines or, where it cannot, in .reuse/dep5; and the
# REUSE tool agrees.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

said=$(mktemp)
trap 'rm -f "$said"' EXIT
elsewhere=" $(sed -n 's/^Files: //p' .reuse/dep5 | tr '\n' ' ') "
while read -r file; do
    case $elsewhere in *" $file "*) continue ;; esac
    case $file in LICENSES/*) continue ;; esac
    for tag in SPDX-License-Identifier SPDX-FileCopyrightText; do
        head -n 12 "$file" | grep -aq "$tag: " || echo "$file: no $tag"
    done
done < <(project_files) | no_complaints "every file has its SPDX tags"

# It looks at all that git does not ignore; in a release tarball that would be what configure and make have made, too.
skip_reuse=
[ -e .git ] || skip_reuse="this is not a checkout"
command -v reuse >/dev/null || skip_reuse="no reuse"
if [ -n "$skip_reuse" ]; then
    count=$((count + 1))
    echo "ok $count - reuse lint # SKIP $skip_reuse"
else
    # The checkout may belong to somebody else than who runs this.
    {
        GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' reuse lint >"$said" 2>&1 || tail -n 30 "$said"
    } | no_complaints "reuse lint"
fi
done_testing
