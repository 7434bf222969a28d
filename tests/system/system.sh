# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# system.sh: a Debian system in a folder, for the scripts that need one; sourced, no test itself.  Prints TAP.
#
# All mounts are in a mount namespace, all processes in a process namespace: both end with the script, however it ends.
# The script runs itself again in there (enter), with the word `inside` as its first argument.
set -u -o pipefail
# shellcheck disable=SC2034  # for the scripts that source this one
if [ -n "${top_srcdir-}" ]; then source=$(cd "$top_srcdir" && pwd); else source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd); fi
folder=${top_builddir:-$PWD}/system-builds/$(basename "$0" .sh)

# shellcheck source=tests/tap.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"
# shellcheck disable=SC2034  # of tap.sh
tap_said=$folder/said
bail_out() { # WORDS LOG
    echo "Bail out! $1"
    [ -f "${2-}" ] && tail -n 20 "$2" | sed 's/^/# /'
    exit 99
}
done_testing() {
    echo "1..$count"
    [ "$failures" = 0 ]
}

# ---- outside: the namespaces ----------------------------------------------------------------------------------------
cannot_enter() { # says why
    local tool
    for tool in unshare setpriv chroot apt-get; do
        command -v $tool >/dev/null || { echo "no $tool"; return; }
    done
    command -v mmdebstrap >/dev/null || command -v debootstrap >/dev/null || { echo "no mmdebstrap and no debootstrap"; return; }
    [ "$(id -u)" = 0 ] || { echo "not root"; return; }
    unshare -mpf sh -c 'mount -t proc proc /proc' 2>/dev/null || { echo "the kernel gives no namespaces"; return; }
    false
}
new_folder() {
    mkdir -p "${folder%/*}"
    rm -rf --one-file-system "$folder" || exit 99
    mkdir "$folder" || exit 99
}
enter() { # SCRIPT [ARGUMENT]...
    local script=$1
    shift
    new_folder
    # Nothing outlives the namespaces' first process, and that does not outlive this one.  KEEP_CHROOT keeps the folder.
    trap 'exit 99' HUP INT TERM
    trap 'kill -KILL $child 2>/dev/null; [ -n "${KEEP_CHROOT-}" ] || rm -rf --one-file-system "$folder"' EXIT
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --propagation private bash "$script" inside "$@" &
    child=$!
    wait $child
    exit
}

# ---- inside: a system -----------------------------------------------------------------------------------------------
inside() {
    unset MAKEFLAGS MFLAGS MAKELEVEL LD_PRELOAD "${!HAKMEM_@}"
    export LC_ALL=C DEBIAN_FRONTEND=noninteractive
    exec </dev/null
    mount -t proc proc /proc || skip_all "no right to mount /proc"
}

# The mirror is the one that this machine's apt uses: bookworm there, or else what release there is.  false: there is none.
find_mirror() {
    local targets
    # shellcheck disable=SC2016  # $(...) is apt's
    targets=$(apt-get indextargets --format '$(LABEL) $(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' | sort -u)
    read -r suite mirror < <(awk '$1 == "Debian" && $3 == "main" && $2 !~ /-/ { print ($2 == "bookworm" ? 0 : 1), $2, $4 }' \
        <<<"$targets" | sort | awk 'NR == 1 { print $2, $3 }')
}

# The smallest system that apt works in.  Services are not started, names are looked up as outside.
make_system() { # ROOT [PACKAGE]...
    local root=$1 log=$folder/${1##*/}.log
    shift
    if command -v mmdebstrap >/dev/null; then
        mmdebstrap --quiet --mode=root --variant=apt "${@/#/--include=}" "$suite" "$root" "$mirror" >"$log" 2>&1
    else
        local IFS=,
        debootstrap --variant=minbase ${1+"--include=$*"} "$suite" "$root" "$mirror" >"$log" 2>&1
    fi || {
        grep -Eqi 'unreachable|could not resolve|connection (failed|refused|timed out)|403|404|502|503|timed out' "$log" &&
            skip_all "the mirror does not answer"
        bail_out "the system cannot be made" "$log"
    }
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    cat /etc/resolv.conf >"$root/etc/resolv.conf" 2>/dev/null
    cat /etc/hosts >"$root/etc/hosts" 2>/dev/null
}
mount_system() { # ROOT
    local root=$1 device
    { mount -t proc proc "$root/proc" && mount --bind /sys "$root/sys" && mount -t tmpfs -o mode=755 tmpfs "$root/dev"; } ||
        skip_all "no right to mount"
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts" 2>/dev/null
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    for device in null zero full random urandom tty; do
        : >"$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device" || bail_out "no /dev/$device"
    done
}
in_system() { # ROOT COMMAND...
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} chroot "$@"
}
