#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# autogen.sh: makes ./configure from configure.ac.  Needed after a git clone and never in a release tarball.
set -eu
cd "$(dirname "$0")"

missing=
for tool in autoreconf:autoconf automake:automake libtoolize:libtool pkg-config:pkg-config; do
    command -v "${tool%%:*}" >/dev/null 2>&1 || missing="$missing ${tool##*:}"
done
if [ -n "$missing" ]; then
    echo "autogen.sh: missing:$missing" >&2
    echo "  Debian: apt-get install$missing      Fedora: dnf install$missing" >&2
    exit 1
fi
exec autoreconf --force --install --warnings=all,no-portability,no-override
