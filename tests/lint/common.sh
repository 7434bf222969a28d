# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# common.sh: what the lints share; sourced, no test itself.  Every lint goes to the top of the source and prints TAP.
set -u -o pipefail
shopt -s lastpipe # no_complaints, at the end of a pipe, counts in this shell
here=$PWD
cd "${top_srcdir:-$(dirname "${BASH_SOURCE[0]}")/../..}" || exit 99
# shellcheck disable=SC2034  # used by the lints that look at what was built
built=${top_builddir:-$here}
count=0

skip_all() { # REASON
    echo "1..0 # SKIP $1"
    exit 0
}

# One test: passed when standard input, a list of complaints, is empty.
no_complaints() { # DESCRIPTION
    local complaints
    complaints=$(cat)
    count=$((count + 1))
    if [ -z "$complaints" ]; then
        echo "ok $count - $1"
    else
        echo "not ok $count - $1"
        printf '# %s\n' "${complaints//$'\n'/$'\n# '}"
    fi
}

# The pages of the manual; those that only name another page are made by make.
man_pages() { # PATTERN OF NAMES
    sed -n '/^MAN_PAGES = /,/[^\\]$/s,^	\(man/[^ ]*\).*,\1,p' Makefile.am | grep -x "man/$1"
}

done_testing() { echo "1..$count"; }

# The files of the project, one a line: those that git knows or would add; in a release tarball, those that neither
# configure nor make has made.
project_files() {
    local list
    if [ -e .git ] && list=$(git ls-files --cached --others --exclude-standard 2>/dev/null); then
        while read -r file; do
            [ -f "$file" ] && printf '%s\n' "$file"
        done <<<"$list"
    else
        find .ci .github .reuse LICENSES abi bench cmd debian docs examples lib m4 man pkgconfig tests tools ./*.* NEWS -type f 2>/dev/null |
            sed 's,^\./,,' |
            grep -Ev -e '/\.(deps|libs)/|\.(o|lo|la|a|log|trs|pc|pyc)$|/\.dirstamp$|\.tar\.[a-z]*$' \
                -e '^(aclocal\.m4|config\..*|Makefile\.in|m4/(libtool|lt[^/]*)\.m4)$|^autom4te\.cache/|~$' -e '^(bench|cmd|tests)/(.*/)?[^./]*$' \
                -e '^debian/(\.debhelper|tmp|hakmem|libhakmem[a-z0-9-]*)/|^debian/.*(debhelper.*|substvars)$|^debian/(files|autoreconf\..*)$'
        [ -f configure.ac ] && echo configure.ac
    fi | while read -r file; do
        # A page that is one request has been made from the page that it names.
        case $file in man/*) head -n 1 "$file" | grep -q '^\.so ' && continue ;; esac
        printf '%s\n' "$file"
    done | LC_ALL=C sort -u
}
