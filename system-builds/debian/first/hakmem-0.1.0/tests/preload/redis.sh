#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# redis.sh: redis-server under HAKMEM, with redis-benchmark (under HAKMEM too) as its client: values, expiry, a saved
# data base that a second server loads again.  Over a socket in the file system: no port is taken.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
need redis-server redis-benchmark redis-cli

socket=$scratch/s
server=
cli() { redis-cli -s "$socket" "$@"; }

start() { # the server runs in the background, its pid in $server
    env LD_PRELOAD="$so" HAKMEM_VERBOSE=1 HAKMEM_STATS=1 redis-server --port 0 \
        --unixsocket "$socket" --dir "$scratch" --save '' \
        --appendonly no --daemonize no --io-threads 2 >"$scratch/server.out" 2>"$scratch/server.err" </dev/null &
    server=$!
    for _ in {1..100}; do
        [ "$(cli ping 2>/dev/null)" = PONG ] && return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$scratch/server.out" "$scratch/server.err"
    return 1
}
clean_up() {
    if [ -n "$server" ] && kill "$server" 2>/dev/null; then
        for _ in {1..50}; do
            kill -0 "$server" 2>/dev/null || return
            sleep 0.1
        done
        kill -9 "$server"
    fi
}
stop() {
    local status=0
    cli shutdown nosave || true
    wait "$server" || status=$?
    [ "$status" = 0 ] || { echo "status $status"; return 1; }
    heard "$scratch/server.err"
    # shellcheck disable=SC2034  # for engaged
    pid=$server
    server=
}

# ok runs its command in this shell, so $server is set here.
ok "the server starts" start || done_testing
ok "it has HAKMEM mapped" mapped "$server"
bench() {
    preloaded redis-benchmark -s "$socket" -n 20000 -r 5000 -d 200 -q \
        -t set,get,incr,lpush,lpop,sadd,hset,zadd,lrange_100,mset >"$scratch/bench.out" &&
        tr '\r' '\n' <"$scratch/bench.out" | grep '^LRANGE_100.*requests per second' &&
        tr '\r' '\n' <"$scratch/bench.out" | grep '^MSET.*requests per second'
}
ok "redis-benchmark ends well" bench
ok "HAKMEM served redis-benchmark" engaged
fill() {
    awk 'BEGIN { for (i = 0; i < 20000; i++) printf "SET k%d %0*d\r\nEXPIRE e%d 1\r\n", i, i % 500 + 1, i, i }' |
        cli --pipe >"$scratch/pipe.out" && grep -q 'errors: 0' "$scratch/pipe.out"
}
ok "20,000 values are set" fill
values() {
    local i
    for i in 0 1 17 499 500 12345 19999; do
        [ "$(cli get "k$i")" = "$(printf '%0*d' $((i % 500 + 1)) "$i")" ] || { echo "k$i"; return 1; }
    done
    local sum expected
    sum=$(cli eval 'local n = 0; for i = 0, 19999 do n = n + #redis.call("get", "k" .. i) end; return n' 0)
    expected=$(awk 'BEGIN { for (i = 0; i < 20000; i++) n += length(sprintf("%0*d", i % 500 + 1, i)); print n }')
    [ "$sum" = "$expected" ] || { echo "$sum bytes, not $expected"; return 1; }
}
ok "and are there" values
save() { # by a child of fork
    cli bgsave &&
        for _ in {1..100}; do
            [ "$(cli info persistence | tr -d '\r' | sed -n 's/^rdb_bgsave_in_progress://p')" = 0 ] && break
            sleep 0.1
        done
    [ "$(cli info persistence | tr -d '\r' | sed -n 's/^rdb_last_bgsave_status://p')" = ok ] && [ -s "$scratch/dump.rdb" ]
}
ok "a child saves the data base" save
ok "the server stops" stop
ok "HAKMEM served the server" engaged
ok "a second server loads what was saved" start || done_testing
ok "the values are there" values
ok "it stops" stop
ok "HAKMEM served it" engaged
done_testing
