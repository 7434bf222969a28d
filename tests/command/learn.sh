#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# learn.sh: a process that takes and returns the same memory again and again keeps it, once a second is over, unless it is
# told not to; it tries nothing unless it is told to; and it forgets what it has learned when learning is switched off.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/command/window.sh
. "$(dirname "$0")/window.sh"
! grep -qs 'define HKM_LEARNING 0' "${top_builddir-.}/config.h" || skip_all "built without learning"

above() { [ "$(option "$1")" -gt "$2" ] || { echo "$1 is $(option "$1"), not above $2"; return 1; }; }

# What is too much goes back at once, so that it soon shows how vain that is.
unset HAKMEM_DISABLE_LEARNING HAKMEM_EVO_POLICY HAKMEM_DISABLE_ELO HAKMEM_MINIMAL
export HAKMEM_PURGE_MS=20

start "$scratch/stand" swing
learned=$(number "$scratch/own" purged_bytes)
ok "by default more is kept" above learn_raised 0
ok "which the policy says" above policy_kept_kb 0
ok "nothing is tried" is learn_matches 0
ok "nor played with" is learn_rating_keep 1500
switched_off() { gives 0 set --wait=10 "$pid" DISABLE_LEARNING=1 && is policy_dirty_kb 4096; }
ok "switched off later: it is as the options say" switched_off
stop "$pid"

HAKMEM_DISABLE_LEARNING=1 start "$scratch/stand" swing
ok "HAKMEM_DISABLE_LEARNING=1: no epoch" is learn_epochs 0
ok "the policy is as the options say" is policy_kept_kb 0
saved() {
    local plain
    plain=$(number "$scratch/own" purged_bytes)
    [ "$plain" -gt "$((learned * 5 / 4))" ] || { echo "$plain bytes given back, $learned where it learns"; return 1; }
}
ok "more is given back, in vain" saved
stop "$pid"

HAKMEM_MINIMAL=1 start "$scratch/stand" swing
ok "HAKMEM_MINIMAL=1: no epoch" is learn_epochs 0
stop "$pid"

HAKMEM_EVO_POLICY=frozen start "$scratch/stand" swing
ok "HAKMEM_EVO_POLICY=frozen: epochs" above learn_epochs 0
ok "of which nothing comes" is policy_kept_kb 0
stop "$pid"

HAKMEM_EVO_POLICY=learn start "$scratch/stand" swing
ok "HAKMEM_EVO_POLICY=learn: more is kept, too" above learn_raised 0
stop "$pid"

HAKMEM_DIRTY_KB=5000 start "$scratch/stand" swing
ok "what an option says stays" is policy_dirty_kb 5000
stop "$pid"
done_testing
