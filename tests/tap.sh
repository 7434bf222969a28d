# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# tap.sh: how shell scripts say what came of a test; sourced by the common.sh and system.sh of several folders, no test itself.
# What the last test's command said is in the file $tap_said, which those name.
count=0
failures=0

skip() { # DESCRIPTION REASON
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}
skip_all() { # REASON; of those, too, that are not run any more
    [ "$count" -gt 0 ] || { echo "1..0 # SKIP $1"; exit 0; }
    skip "all others" "$1"
    echo "1..$count"
    exit $((failures > 0))
}
# One test: passed when the command succeeds.  What it says is shown when it fails.
ok() { # DESCRIPTION COMMAND...
    local description=$1
    shift
    count=$((count + 1))
    if "$@" >"${tap_said:?}" 2>&1 </dev/null; then
        echo "ok $count - $description"
    else
        echo "not ok $count - $description"
        failures=$((failures + 1))
        tail -n 30 "$tap_said" | sed 's/^/# /'
        return 1
    fi
}
