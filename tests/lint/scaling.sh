#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# scaling.sh: the model of docs/scaling.md agrees with what can be said without it: closed forms where there are such, no
# processor gains by others, the same seed gives the same figures.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

python=$(PATH=/usr/bin:/bin:$PATH command -v python3)
[ -n "$python" ] || skip_all "no python3"
exec "$python" bench/scaling_model.py --check
