#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# git.sh FOLDER: for the bench line of git. Makes a repository of 150 commits in that folder, packs it, and reads its
# history: log with patches, blame, diff, grep, fsck. Fails when the last commit or what is read is not what it must be.
set -eu
if [ $# != 1 ] || [ ! -d "$1" ]; then
    echo "usage: git.sh FOLDER" >&2
    exit 2
fi
command -v git >/dev/null || { echo "git.sh: git is not installed (Debian package git)" >&2; exit 127; }
cd "$1"
GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 TZ=UTC LC_ALL=C
export GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM TZ LC_ALL
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
git init -q -b main --object-format=sha1 bench.git
cd bench.git
git config pack.threads 1
git config index.threads 1

# Forty files of 120 lines, in each commit a line in each of eight of them changes.
awk 'BEGIN {
    for (f = 0; f < 40; f++)
        for (l = 0; l < 120; l++)
            line[f, l] = "file " f " line " l " of text, " (f * l * 7919 % 10007)
    for (c = 1; c <= 150; c++) {
        message = "Change " c "\n"
        printf "commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata %d\n%s", 1700000000 + c * 3600, \
            length(message), message
        for (f = 0; f < 40; f++) {
            if (c > 1 && (f + c) % 5)
                continue
            if (c > 1)
                line[f, c * 31 % 120] = "changed by " c ": " (c * f * 104729 % 100003)
            text = ""
            for (l = 0; l < 120; l++)
                text = text line[f, l] "\n"
            printf "M 100644 inline folder%d/file%d.txt\ndata %d\n%s", f % 4, f, length(text), text
        }
    }
}' >../stream
git fast-import --quiet <../stream
git repack -adq
git reset -q --hard main
found=$(
    git rev-parse main
    git log -p --stat main | grep -c '^[+-][a-z]'
    for f in 0 1 2 3; do git blame -s "folder$f/file$f.txt"; done | grep -c changed
    git diff main~100 main | grep -c '^+changed'
    git grep -n 'changed by 1' main | wc -l
    git fsck --full 2>/dev/null | wc -l
)
# shellcheck disable=SC2086  # words
set -- $found
echo "checksum $*"
if [ "$*" != 'd04c23168dea0dbf0d451135f51b7cd7ba16b83a 7184 96 800 408 0' ]; then
    echo "git.sh: what git found is wrong" >&2
    exit 1
fi
