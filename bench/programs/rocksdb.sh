#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# rocksdb.sh FOLDER: for the bench line of rocksdb's db_bench: a database in that folder is filled in order,
# overwritten, and read at random, all of it found. Fails when a key is not.
set -eu
if [ $# != 1 ] || [ ! -d "$1" ]; then
    echo "usage: rocksdb.sh FOLDER" >&2
    exit 2
fi
command -v db_bench >/dev/null ||
    { echo "rocksdb.sh: db_bench is not installed (Debian package rocksdb-tools)" >&2; exit 127; }
keys=40000
db_bench --db="$1/db" --benchmarks=fillseq,overwrite,readrandom,readseq --num=$keys --value_size=100 --seed=1 \
    --threads=1 --compression_type=none --write_buffer_size=1048576 --cache_size=4194304 --disable_wal=1 >"$1/out" 2>"$1/err" ||
    { echo "rocksdb.sh: db_bench failed: $(tail -n 1 "$1/err")" >&2; exit 1; }
grep -E '^(fillseq|overwrite|readrandom|readseq) ' "$1/out"
grep -q "^readrandom .*($keys of $keys found)" "$1/out" || { echo "rocksdb.sh: keys were lost" >&2; exit 1; }
