#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# git.sh: git under HAKMEM: init, add, commit, log, gc with threads, clone, merge, fsck; the same objects as without.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
need git

# Nobody's settings, the same author and time each time, so that the same commits come out.
export HOME=$scratch GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0 GIT_PAGER=cat
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE "${!GIT_CONFIG_COUNT@}"

make_files() { # FOLDER
    mkdir -p "$1/sub"
    for i in 1 2 3 4 5 6 7 8; do
        awk -v seed="$i" 'BEGIN { x = seed; for (i = 0; i < 4000; i++) { x = (x * 16807) % 2147483647; print i, x } }' \
            >"$1/sub/file$i"
    done
}

# All the work, by the command in "$@".
work() { # FOLDER COMMAND...
    local folder=$1
    shift
    make_files "$folder" &&
        "$@" init -q -b main "$folder" &&
        "$@" -C "$folder" add . &&
        "$@" -C "$folder" commit -q -m first &&
        echo more >>"$folder/sub/file1" &&
        "$@" -C "$folder" commit -q -a -m second &&
        "$@" -C "$folder" checkout -q -b other HEAD~1 &&
        echo new >"$folder/new" &&
        "$@" -C "$folder" add new &&
        "$@" -C "$folder" commit -q -m third &&
        "$@" -C "$folder" merge -q -m merged main &&
        "$@" -C "$folder" -c pack.threads=4 gc -q --aggressive &&
        "$@" clone -q "file://$folder" "$folder.clone"
}
look() { # FOLDER COMMAND...
    local folder=$1
    shift
    "$@" -C "$folder.clone" log --stat --graph --format='%H %s' &&
        "$@" -C "$folder.clone" diff HEAD~1 &&
        "$@" -C "$folder.clone" status --porcelain &&
        "$@" -C "$folder.clone" grep -c 16807
}

plain() { work "$scratch/plain" git && look "$scratch/plain" git >"$scratch/expected"; }
preloaded_work() { work "$scratch/hakmem" preloaded git; }
preloaded_look() { look "$scratch/hakmem" preloaded git | sed 's/hakmem\.clone/plain.clone/' >"$scratch/got"; }
# The last command sets $pid, so it must not run in a subshell.
fsck() { preloaded git -C "$scratch/hakmem" fsck --full --strict; }

if ok "git works without HAKMEM" plain; then
    ok "init, add, commit, merge, gc, clone work" preloaded_work
    ok "clone: HAKMEM served it" engaged
    ok "clone: and its children" engaged_processes 3
    ok "log, diff, status and grep work" preloaded_look
    ok "their results are the same" same "$scratch/expected" "$scratch/got"
    ok "fsck finds no fault" fsck
    ok "fsck: HAKMEM served it" engaged
    clean() { git -C "$scratch/hakmem.clone" fsck --full --strict; }
    ok "nor does fsck without HAKMEM" clean
fi
done_testing
