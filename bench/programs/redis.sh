#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# redis.sh SOCKET: for the bench line of redis-server, which listens there, or soon will: its client. redis-benchmark
# makes strings, lists, sets, hashes and sorted sets; then sums are compared, and the server is shut down. It is not
# measured itself.
set -eu
[ $# = 1 ] || { echo "usage: redis.sh SOCKET" >&2; exit 2; }
for program in redis-cli redis-benchmark; do
    command -v $program >/dev/null ||
        { echo "redis.sh: $program is not installed (Debian package redis-tools)" >&2; exit 127; }
done
cli() { redis-cli -s "$socket" "$@"; }
socket=$1 tries=0
until [ -S "$socket" ] && [ "$(cli ping 2>/dev/null)" = PONG ]; do
    tries=$((tries + 1))
    [ $tries -le 200 ] || { echo "redis.sh: no server at $socket" >&2; exit 1; }
    sleep 0.05
done
redis-benchmark -s "$socket" -n 60000 -r 20000 -P 16 -d 64 -q -t set,get,incr,lpush,sadd,hset,zadd,lpop |
    tr '\r' '\n' | grep 'requests per second' || { echo "redis.sh: redis-benchmark failed" >&2; exit 1; }
# shellcheck disable=SC2016  # Lua's own $
found=$(cli eval '
    local sum = 0
    for i = 1, 20000 do
        redis.call("set", "number:" .. i, i * 3)
        redis.call("hset", "hash:" .. i % 100, i, string.rep("x", i % 50))
    end
    for i = 1, 20000 do
        sum = sum + redis.call("get", "number:" .. i) + redis.call("hstrlen", "hash:" .. i % 100, i)
    end
    return sum + redis.call("llen", "mylist")' 0)
echo "checksum $found"
[ "$found" = 600520000 ] || { echo "redis.sh: what redis-server knows is wrong" >&2; exit 1; }
cli shutdown nosave
