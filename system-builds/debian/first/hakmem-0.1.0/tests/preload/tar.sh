#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# tar.sh: tar and xz under HAKMEM: a folder packed, with several threads, and unpacked again is the same.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
need tar xz

mkdir -p "$scratch/in/deep/er" "$scratch/out"
for i in {1..200}; do
    awk -v seed="$i" 'BEGIN { x = seed; for (i = 0; i < seed * 20; i++) { x = (x * 16807) % 2147483647; print x } }' \
        >"$scratch/in/deep/er/file$i"
done
head -c 6000000 /dev/zero >"$scratch/in/zeros"
cat "$scratch"/in/deep/er/* >"$scratch/in/deep/all"
ln -s deep/all "$scratch/in/link"

pack() { preloaded tar -C "$scratch/in" --sort=name --mtime=@0 --owner=0 --group=0 -cf "$scratch/a.tar" .; }
plain_pack() { tar -C "$scratch/in" --sort=name --mtime=@0 --owner=0 --group=0 -cf "$scratch/b.tar" .; }
compress() { preloaded xz -T3 --block-size=1MiB -k "$scratch/a.tar"; }
check() { xz -t "$scratch/a.tar.xz" && xz -dc "$scratch/a.tar.xz" | cmp - "$scratch/b.tar"; }
unpack() { preloaded tar -C "$scratch/out" -xJf "$scratch/a.tar.xz"; }

ok "tar packs" pack
ok "HAKMEM served it" engaged
ok "tar packs without HAKMEM" plain_pack
ok "both tarballs are the same" cmp "$scratch/a.tar" "$scratch/b.tar"
ok "xz compresses with threads" compress
ok "HAKMEM served it" engaged
ok "xz without HAKMEM finds the tarball in it" check
ok "tar and xz unpack" unpack
ok "HAKMEM served it" engaged
ok "and xz" engaged_processes 2
ok "what came out is what went in" diff -r "$scratch/in" "$scratch/out"
done_testing
