#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# programs.sh: large programs under HAKMEM, each with its own result checked and with the proof that HAKMEM served it.
# Prints TAP.  Run by `make check-system` and `make check-programs [NAMES="NAME..."]`; by hand:
# HAKMEM_SO=... tests/system/programs.sh [NAME]...  What they need is installed by `tools/setup programs`; what is
# missing is skipped.  No network, no service of the system, no folder outside a temporary one.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck disable=SC2016  # what stands in single quotes is for other shells, gdb and dpkg-query
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"
need_so

# Each is a function program_NAME below.
programs=(postgresql redis nginx npm node java chromium ffmpeg imagemagick rocksdb openssl make git packages mariadb gdb
          php ruby lua numpy)

# ---- helpers --------------------------------------------------------------------------------------------------------

# Some programs refuse to run as root and some children change their user: all of them must get at the library.
chmod 711 "$scratch"
install -m 755 "$so" "$scratch/$(basename "$(readlink -f "$so")")"
so=$scratch/$(basename "$(readlink -f "$so")")
user=()
[ "$(id -u)" != 0 ] || user=(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/)

# Is everything there?  If not, the program is skipped with the reason.
name=
have() { # PROGRAM...
    local program
    for program; do
        if ! command -v "$program" >/dev/null; then
            skip "$name" "no $program"
            return 1
        fi
    done
}

# The folder of this program, in $here; $user owns it.
folder() {
    here=$scratch/$name
    mkdir "$here"
    [ "$(id -u)" != 0 ] || chown 65534:65534 "$here"
}

# Limits of time are for what hangs; a machine that does other things too is so much slower than an idle one.
slack=4
# Like preloaded, with a limit in seconds.  timeout itself is not preloaded; $pid is the command's.
served() { # SECONDS COMMAND...
    local status=0
    launch "$@" <&0
    wait "$watch" || status=$?
    watch=
    settle
    cat "$scratch/stderr" >&2
    [ "$status" != 124 ] || echo "not done in $(($1 * slack)) seconds" >&2
    return "$status"
}
# The same in the background: timeout is $watch, the command $pid.  `stop` or a `wait` for $watch, then `settle`.
watch=
launch() { # SECONDS COMMAND...
    local limit=$(($1 * slack))
    shift
    rm -f "$scratch/pid"
    timeout --kill-after=10 "$limit" bash -c 'echo $$ >"$1"; export LD_PRELOAD="$2"; shift 2; exec "$@"' launch \
        "$scratch/pid" "$so" env HAKMEM_VERBOSE=1 HAKMEM_STATS=1 "$@" <&0 2>"$scratch/both" &
    watch=$!
    until [ -s "$scratch/pid" ]; do
        kill -0 "$watch" 2>/dev/null || return 1
        sleep 0.02
    done
    pid=$(<"$scratch/pid")
}
settle() { heard "$scratch/both"; }
# Without HAKMEM.
plain() { timeout --kill-after=10 $(($1 * slack)) "${@:2}"; }

# Ends what is launched by a signal and takes its status for this program's: 0, or the signal's own.
stop() { # SIGNAL
    local status=0
    kill -s "$1" "$pid" 2>/dev/null
    wait "$watch" || status=$?
    watch=
    settle
    [ "$status" = 0 ] || { echo "status $status"; tail -n 20 "$scratch/stderr"; return 1; }
}
# timeout passes the signal on to all of its group.
clean_up() {
    [ -z "$watch" ] || { kill "$watch" && wait "$watch"; } 2>/dev/null
    watch=
}

# Waits until a command succeeds, as long as the launched program lives.
await() { # SECONDS COMMAND...
    local end=$((SECONDS + $1 * slack))
    shift
    until "$@" >/dev/null 2>&1; do
        if ! kill -0 "$watch" 2>/dev/null || [ "$SECONDS" -gt "$end" ]; then
            "$@"
            tail -n 20 "$scratch/both"
            return 1
        fi
        sleep 0.1
    done
}

# The launched program and its children have the library mapped, at least NUMBER processes.
family_mapped() { # NUMBER
    local child number=0
    for child in "$pid" $(ps -o pid= --ppid "$pid"); do
        mapped "$child" || { echo "$child: $(tr '\0' ' ' <"/proc/$child/cmdline")"; return 1; }
        number=$((number + 1))
    done
    [ "$number" -ge "$1" ] || { echo "$number processes"; return 1; }
}

# The program prints the same with HAKMEM as without, and is served.
compare() { # SECONDS WORDS COMMAND...
    local limit=$1 words=$2
    shift 2
    run_plain() { plain "$limit" "$@" >"$here/expected"; }
    run_served() { served "$limit" "$@" >"$here/got" && same "$here/expected" "$here/got" && [ -s "$here/got" ]; }
    ok "$name: $words, without HAKMEM" run_plain "$@" &&
        ok "$name: $words, and the same under HAKMEM" run_served "$@" &&
        ok "$name: HAKMEM served it" engaged
}

equal() { # WHAT EXPECTED
    [ "$1" = "$2" ] || { printf 'got: %s\nexpected: %s\n' "$1" "$2"; return 1; }
}

# A port that nobody listens to: one that the kernel would give out next, asked for and closed.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# ---- servers --------------------------------------------------------------------------------------------------------

# A cluster with data checksums, pgbench from several clients, parallel queries, a backend that is killed, the
# recovery of the whole server from it, and pg_checksums over all pages at the end.
program_postgresql() {
    local bin
    bin=$(for bin in /usr/lib/postgresql/*/bin; do echo "$bin"; done | sort -V | tail -n 1)
    [ -x "$bin/postgres" ] || bin=$(pg_config --bindir 2>/dev/null)
    [ -x "$bin/postgres" ] || { skip "$name" "no postgres"; return; }
    have setpriv ps || return
    folder
    local data=$here/data
    cat >"$here/more.conf" <<END
listen_addresses = ''
unix_socket_directories = '$here'
fsync = off
autovacuum_naptime = 1s
max_parallel_workers_per_gather = 2
min_parallel_table_scan_size = 0
parallel_setup_cost = 0
parallel_tuple_cost = 0
work_mem = 1MB
END
    init() {
        served 120 "${user[@]}" "$bin/initdb" -D "$data" -k --no-sync --auth=trust -U tester --locale=C -E UTF8 \
            >"$here/out" && cat "$here/more.conf" >>"$data/postgresql.conf"
    }
    ready() { plain 10 "${user[@]}" "$bin/pg_isready" -q -h "$here"; }
    start() { launch 300 "${user[@]}" "$bin/postgres" -D "$data" >"$here/log" && await 30 ready; }
    query() { plain 60 "${user[@]}" "$bin/psql" -X -q -At -v ON_ERROR_STOP=1 -h "$here" -U tester postgres -c "$1"; }
    bench() { # CLIENT OPTIONS; under HAKMEM too, beside the server
        plain 120 "${user[@]}" env LD_PRELOAD="$so" "$bin/pgbench" -h "$here" -U tester "$@" postgres
    }
    ok "$name: initdb" init || return
    ok "$name: HAKMEM served initdb and what it ran" engaged_processes 3
    ok "$name: the server starts" start || return
    ok "$name: it and its workers have HAKMEM mapped" family_mapped 4
    ok "$name: pgbench makes its tables" bench -i -q -s 2
    transactions() { bench -n -c 4 -j 2 -t 250 | tee "$here/bench" && grep -q 'processed: 1000/1000' "$here/bench"; }
    ok "$name: pgbench, 4 clients" transactions
    backend() { # a backend is a child of the server
        local child
        child=$(query "select pg_backend_pid()") && [ -n "$child" ] &&
            equal "$(query "select pg_read_file('/proc/self/maps') like '%$(basename "$so")%'")" t
    }
    ok "$name: a backend has HAKMEM mapped" backend
    sums() {
        equal "$(query "select count(*), sum(delta) = (select sum(abalance) from pgbench_accounts),
                        sum(delta) = (select sum(tbalance) from pgbench_tellers),
                        sum(delta) = (select sum(bbalance) from pgbench_branches) from pgbench_history")" "1000|t|t|t"
    }
    ok "$name: the balances agree" sums
    large() { # sorts and hashes beyond work_mem, parallel workers, wide rows, JSON, regular expressions
        equal "$(query "select count(*), sum(a.aid + b.aid) from pgbench_accounts a join pgbench_accounts b
                        on a.aid = 200001 - b.aid")" "200000|40000200000" &&
            equal "$(query "select md5(string_agg(md5(i::text), '' order by md5(i::text)))
                            from generate_series(1, 100000) i")" \
                "$(for i in {1..100000}; do echo "$i"; done |
                    python3 -c 'import hashlib, sys
m = lambda s: hashlib.md5(s.encode()).hexdigest()
print(m("".join(sorted(m(line.strip()) for line in sys.stdin))))')" &&
            equal "$(query "select length(repeat('x', 50000000)), count(*) from (
                            select jsonb_object_agg('k' || i, repeat('v', i % 100)) j
                            from generate_series(1, 20000) i) s,
                            jsonb_object_keys(j)")" "50000000|20000"
    }
    ok "$name: large sorts, joins and values" large
    crash() { # a killed backend makes the server restart all others and recover
        query "create table kept as select i, md5(i::text) m from generate_series(1, 20000) i" || return
        local writer other
        launched=$pid
        writer=$(query "select pid from pg_stat_activity where backend_type = 'background writer'")
        kill -9 "$writer" || return
        new_writer() { other=$(query "select pid from pg_stat_activity where backend_type = 'background writer'" 2>/dev/null) && [ -n "$other" ] && [ "$other" != "$writer" ]; }
        await 30 new_writer # the server may take a while to notice
        kill -0 "$launched" && equal "$(query "select count(*), bool_and(m = md5(i::text)) from kept")" "20000|t"
    }
    ok "$name: a killed worker, and the recovery" crash
    sums_again() { sums && query "vacuum full" && query "analyze; checkpoint; reindex table pgbench_accounts" && sums; }
    ok "$name: the balances still agree" sums_again
    ok "$name: the server stops" stop INT
    ok "$name: HAKMEM served it and its children" engaged_processes 5
    checksums() {
        served 60 "${user[@]}" "$bin/pg_checksums" --check -D "$data" >"$here/sums" &&
            grep -q 'Bad checksums: *0$' "$here/sums"
    }
    ok "$name: the data checksums are right" checksums
    ok "$name: HAKMEM served pg_checksums" engaged
}

# Every command of redis-benchmark during rewrites of the append-only file and saves by children of fork; then a server
# that is killed, and one that loads what it left.
program_redis() {
    have redis-server redis-cli redis-benchmark || return
    folder
    local socket=$here/s
    cli() { plain 60 redis-cli -s "$socket" "$@"; }
    ready() { [ "$(cli ping)" = PONG ]; }
    start() {
        launch 300 redis-server --port 0 --unixsocket "$socket" --dir "$here" --appendonly yes --appendfsync no \
            --save 1 1000 --daemonize no --io-threads 2 --enable-debug-command yes --lazyfree-lazy-user-del yes \
            >"$here/log" && await 60 ready
    }
    settled() { cli info persistence | tr -d '\r' | grep -Ec '_in_progress:0' | grep -qx 2; }
    ok "$name: the server starts" start || return
    ok "$name: it has HAKMEM mapped" mapped "$pid"
    load() {
        local status=0
        plain 250 env LD_PRELOAD="$so" redis-benchmark -s "$socket" -n 10000 -r 20000 -d 300 -P 8 -q >"$here/bench" &
        local benchmark=$!
        for _ in 1 2 3; do
            sleep 1
            cli bgrewriteaof
        done
        wait "$benchmark" || status=$?
        tr '\r' '\n' <"$here/bench" | grep -q '^MSET.*requests per second' && return "$status"
    }
    ok "$name: redis-benchmark, with rewrites of the append-only file" load
    structures() { # blocks that grow, shrink and go by a lazy free
        cli eval 'for i = 1, 20000 do
                      redis.call("hset", "h" .. i % 100, "f" .. i, string.rep("v", i % 700))
                      redis.call("rpush", "l" .. i % 10, string.rep("x", i % 300))
                      redis.call("zadd", "z" .. i % 7, i, "m" .. i)
                      redis.call("append", "grown", string.rep("y", 100))
                  end return redis.call("strlen", "grown")' 0 | grep -qx 2000000 &&
            cli del l0 l1 l2 h0 h1 h2 | grep -qx 6 && cli memory purge &&
            equal "$(cli llen l5)" 2000
    }
    ok "$name: large structures" structures
    begun() { cli bgsave 2>&1 | grep -q started; } # not while the server is saving by itself
    saved() {
        await 30 settled && await 30 begun && await 60 settled &&
            cli info persistence | tr -d '\r' | grep -qx 'rdb_last_bgsave_status:ok' &&
            cli info persistence | tr -d '\r' | grep -qx 'aof_last_bgrewrite_status:ok'
    }
    ok "$name: children save and rewrite" saved
    local digest
    digest=$(cli debug digest)
    killed() {
        sleep 1 # the append-only file is written by the event loop
        kill -9 "$pid"
        wait "$watch"
        watch=
        settle
        no_complaint
    }
    ok "$name: the server is killed" killed
    ok "$name: a second one loads the append-only file" start || return
    loaded() { [ ${#digest} = 40 ] && equal "$(cli debug digest)" "$digest"; }
    ok "$name: every value is there" loaded
    reloaded() { equal "$(cli debug reload)" OK && loaded; }
    ok "$name: and after a save and a load" reloaded
    ok "$name: it stops" stop TERM
    ok "$name: HAKMEM served it" engaged
}

# Two workers; files of many sizes, compressed and not, under ab's load and during reloads of the configuration.
program_nginx() {
    have nginx ab curl ps || return
    folder
    local port size
    mkdir "$here/root" "$here/logs"
    for size in 0 1 1000 4096 65537 3000000; do
        awk -v n="$size" 'BEGIN { while (length(s) < 65536) s = s sprintf("%d line\n", length(s) * 7919 % 10007)
                                  for (; n > 0; n -= length(s)) printf "%s", substr(s, 1, n) }' >"$here/root/$size.html"
    done
    write_configuration() {
        port=$(free_port) || return
        cat >"$here/nginx.conf" <<END
daemon off;
pid $here/pid;
error_log $here/logs/error.log notice;
worker_processes 2;
$([ "$(id -u)" != 0 ] || echo "user nobody nogroup;")
events { worker_connections 256; }
http {
    types { text/html html; }
    access_log $here/logs/access.log;
    client_body_temp_path $here/body; proxy_temp_path $here/proxy; fastcgi_temp_path $here/fastcgi;
    uwsgi_temp_path $here/uwsgi; scgi_temp_path $here/scgi;
    gzip on;
    server { listen 127.0.0.1:$port; root $here/root; location /again/ { proxy_pass http://127.0.0.1:$port/; } }
}
END
    }
    fetch() { plain 20 curl --noproxy '*' -sS -f "$@"; }
    ready() { fetch -o /dev/null "http://127.0.0.1:$port/1.html"; }
    start() {
        for _ in 1 2 3; do # somebody may be quicker to take the port
            write_configuration && launch 300 nginx -p "$here/" -c "$here/nginx.conf" -e "$here/logs/error.log" &&
                await 10 ready && return
            clean_up
        done
        return 1
    }
    contents() {
        for size in 0 1 1000 4096 65537 3000000; do
            fetch -o "$here/got" "http://127.0.0.1:$port/$size.html" && cmp "$here/got" "$here/root/$size.html" &&
                fetch --compressed -o "$here/got" "http://127.0.0.1:$port/$size.html" &&
                cmp "$here/got" "$here/root/$size.html" &&
                fetch -o "$here/got" "http://127.0.0.1:$port/again/$size.html" &&
                cmp "$here/got" "$here/root/$size.html" || return
        done
    }
    load() { # NUMBER FILE OPTIONS OF AB...; ab too is served
        local number=$1 file=$2
        shift 2
        plain 120 env LD_PRELOAD="$so" HAKMEM_VERBOSE=1 ab -q -n "$number" -c 20 "$@" "http://127.0.0.1:$port/$file" \
            >"$here/ab" 2>"$here/ab.words"
        cat "$here/ab.words" "$here/ab"
        grep -Eq "^Complete requests: +$number\$" "$here/ab" && grep -Eq '^Failed requests: +0$' "$here/ab" &&
            ! grep -q '^Non-2xx' "$here/ab" && grep -q '^hakmem: .*process ' "$here/ab.words"
    }
    loads() {
        load 20000 1000.html -k && load 3000 65537.html && load 2000 65537.html -k -H 'Accept-Encoding: gzip' &&
            load 300 again/3000000.html
    }
    reloads() {
        local status=0
        load 20000 4096.html &
        local loading=$!
        for _ in 1 2 3; do
            sleep 0.3
            kill -HUP "$pid"
        done
        wait "$loading" || status=$?
        return "$status"
    }
    ok "$name: the server starts" start || return
    ok "$name: it and its workers have HAKMEM mapped" family_mapped 3
    ok "$name: what it sends is right" contents
    ok "$name: under the load of ab, which HAKMEM serves too" loads
    ok "$name: and while it reads its configuration anew" reloads
    ok "$name: what it sends is right after that" contents
    ok "$name: it stops" stop QUIT
    ok "$name: HAKMEM served it" engaged
    quiet() { ! grep -E '\[(alert|crit|emerg)\]|exited on signal' "$here/logs/error.log"; }
    ok "$name: its log has no alert" quiet
}

# InnoDB with several connections, a large transaction rolled back, sums known beforehand, a killed server, recovery.
program_mariadb() {
    have mariadbd mariadb-install-db mariadb setpriv python3 || return
    folder
    local data=$here/data
    install_data() {
        served 120 "${user[@]}" mariadb-install-db --no-defaults --datadir="$data" --skip-test-db \
            --auth-root-authentication-method=normal >"$here/out"
    }
    sql() { plain 120 "${user[@]}" mariadb --no-defaults --socket="$here/s" -u root -N -B "$@"; }
    ready() { sql -e 'select 1'; }
    start() {
        launch 300 "${user[@]}" mariadbd --no-defaults --datadir="$data" --socket="$here/s" --skip-networking \
            --pid-file="$here/pid" --innodb-flush-log-at-trx-commit=2 --innodb-buffer-pool-size=32M \
            --innodb-checksum-algorithm=strict_crc32 --tmpdir="$here" >"$here/log" && await 60 ready
    }
    ok "$name: mariadb-install-db" install_data || return
    ok "$name: HAKMEM served what it ran" engaged_processes 3
    ok "$name: the server starts" start || return
    ok "$name: it has HAKMEM mapped" mapped "$pid"
    fill() {
        sql -e "create database work; use work;
            create table t (id int primary key, k int, words text, key (k), fulltext (words)) engine=InnoDB;
            insert into t select seq, seq * 7919 % 1000, concat('word', seq % 97, ' ', repeat(md5(seq), seq % 20))
                from seq_1_to_50000;
            create table sums (k int primary key, n bigint) engine=InnoDB;
            insert into sums select k, sum(id) from t group by k;
            begin; update t set words = upper(words); delete from t where k < 500; rollback;
            begin; update t set k = k + 1 where id % 2; update t set k = k - 1 where id % 2; commit"
    }
    ok "$name: a script" fill
    together() { # 4 connections at once, transfers between rows: the total stays
        local i status=0 jobs=()
        for i in 1 2 3 4; do
            for j in {1..150}; do
                echo "begin; update sums set n = n - $j where k = $((j * i % 1000));"
                echo "update sums set n = n + $j where k = $(((j * i + i) % 1000)); commit;"
                echo "select count(*), sum(length(words)) from t where k between $((j * 3)) and $((j * 3 + 50));"
            done | sql --force work >"$here/out.$i" 2>"$here/err.$i" &
            jobs+=($!)
        done
        for i in "${jobs[@]}"; do wait "$i" || status=$?; done
        # A deadlock between two of them rolls one back; --force goes on.  Nothing else may be said.
        ! grep -hv 'ERROR 1213' "$here"/err.? && return "$status"
    }
    ok "$name: 4 connections" together
    right() {
        equal "$(sql work -e "select count(*), sum(id), sum(k), sum(length(words)), bit_xor(crc32(words)) from t")" \
            "$(python3 -c 'import hashlib, zlib
rows = [(i, i * 7919 % 1000, "word%d " % (i % 97) + hashlib.md5(str(i).encode()).hexdigest() * (i % 20))
        for i in range(1, 50001)]
x = 0
for r in rows:
    x ^= zlib.crc32(r[2].encode())
print(len(rows), sum(r[0] for r in rows), sum(r[1] for r in rows), sum(len(r[2]) for r in rows), x, sep="\t")')" &&
            equal "$(sql work -e "select sum(n), count(*) from sums")" "1250025000	1000" &&
            equal "$(sql work -e "select count(*) from t where match(words) against ('word13')")" \
                "$(python3 -c 'print(len([i for i in range(1, 50001) if i % 97 == 13]))')" &&
            sql work -e "check table t extended; check table sums extended" | tee "$here/check" &&
            equal "$(grep -c 'status	OK' "$here/check")" 2
    }
    ok "$name: what the tables hold is right" right
    killed() {
        kill -9 "$pid"
        wait "$watch"
        watch=
        settle
        no_complaint
    }
    ok "$name: the server is killed" killed
    ok "$name: a second one recovers" start || return
    ok "$name: what the tables hold is right" right
    ok "$name: it stops" stop TERM
    ok "$name: HAKMEM served it" engaged
}

# ---- languages ------------------------------------------------------------------------------------------------------

# A local project: a dependency by file:, scripts before and after, a package packed and installed from its archive.
program_npm() {
    have node npm || return
    folder
    mkdir "$here/sum" "$here/project"
    cat >"$here/sum/package.json" <<'END'
{ "name": "sum", "version": "1.2.3", "main": "sum.js", "license": "MIT" }
END
    echo 'module.exports = (...n) => n.reduce((a, b) => a + b, 0);' >"$here/sum/sum.js"
    cat >"$here/project/package.json" <<'END'
{ "name": "project", "version": "1.0.0", "private": true, "license": "MIT", "dependencies": { "sum": "file:../sum" },
  "scripts": { "prebuild": "node -e \"require('fs').writeFileSync('before', 'yes')\"", "build": "node build.js",
               "test": "node --test" } }
END
    cat >"$here/project/build.js" <<'END'
const sum = require('sum');
const { execFileSync } = require('child_process');
const child = execFileSync(process.execPath, ['-p', '6 * 7']).toString().trim();
const maps = require('fs').readFileSync('/proc/self/maps').toString();
console.log('sum', sum(1, 2, 3, 4), child, maps.includes('libhakmem') ? 'served' : 'not served');
END
    cat >"$here/project/some.test.js" <<'END'
const test = require('node:test'), assert = require('node:assert');
test('sum', () => assert.strictEqual(require('sum')(20, 22), 42));
END
    npm_run() { # ARGUMENTS...
        # The processes that answer are counted: $pid stays in this shell.
        (cd "$here/project" && served 120 env HOME="$here" npm_config_cache="$here/cache" npm_config_offline=true \
            npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false npm "$@")
    }
    add() { npm_run install && npm_run ls && [ -f "$here/project/node_modules/sum/sum.js" ] && engaged_processes 1; }
    ok "$name: install with a file: dependency, ls" add
    build() { npm_run run build | tee "$here/out" && grep -qx 'sum 10 42 served' "$here/out" &&
        [ -f "$here/project/before" ]; }
    ok "$name: run build" build
    ok "$name: HAKMEM served npm and what it ran" engaged_processes 4
    tests() { npm_run test | tee "$here/out" && grep -Eq '(#|ℹ) pass 1' "$here/out"; }
    ok "$name: test" tests
    pack() {
        npm_run pack ../sum && rm -rf "$here/project/node_modules" &&
            npm_run install ./sum-1.2.3.tgz && npm_run run build | tee "$here/out" &&
            grep -qx 'sum 10 42 served' "$here/out"
    }
    ok "$name: pack, install from the archive, build again" pack
    ok "$name: HAKMEM served that" engaged_processes 4
}

# worker_threads with shared and moved buffers, big buffers, streams through zlib, many strings.
program_node() {
    have node || return
    folder
    cat >"$here/work.js" <<'END'
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const zlib = require('zlib'), crypto = require('crypto');
const sha = (b) => crypto.createHash('sha256').update(b).digest('hex');
function fill(seed, size) {
    const b = Buffer.allocUnsafe(size);
    for (let i = 0; i < size; i += 4096)
        b.fill(String(seed * 31 + i), i, Math.min(i + 4096, size));
    return b;
}
if (!isMainThread) {
    const { seed, shared } = workerData;
    let words = new Map();
    for (let i = 0; i < 40000; i++)
        words.set('k' + i * seed, { i, s: 'v'.repeat(i % 50) });
    let total = 0;
    for (const v of words.values())
        total += v.i + v.s.length;
    const big = fill(seed, 8 << 20);
    const packed = zlib.deflateSync(big, { level: 1 });
    if (!zlib.inflateSync(packed).equals(big))
        throw new Error('zlib');
    Atomics.add(new Int32Array(shared), 0, 1);
    const moved = new Uint8Array(fill(seed + 1, 3 << 20)); // a copy of its own, moved to the main thread
    parentPort.postMessage({ seed, total, digest: sha(big), packed: sha(packed), moved }, [moved.buffer]);
} else {
    const shared = new SharedArrayBuffer(4);
    const one = (seed) => new Promise((done, fail) => {
        const w = new Worker(__filename, { workerData: { seed, shared } });
        w.once('message', done).once('error', fail);
    });
    (async () => {
        for (let round = 0; round < 3; round++) {
            const results = await Promise.all([1, 2, 3, 4, 5, 6].map((n) => one(n + round * 6)));
            for (const r of results)
                console.log(r.seed, r.total, r.digest, r.packed, sha(r.moved));
        }
        console.log('workers', Atomics.load(new Int32Array(shared), 0));
        let all = Buffer.alloc(0), parts = [];
        for (let i = 0; i < 200; i++) {
            all = Buffer.concat([all, fill(i, 100000)]);
            parts.push(Buffer.alloc(i * 1000, i));
        }
        console.log('buffers', sha(all), sha(Buffer.concat(parts)), JSON.stringify([...all.toString('latin1')]).length);
        const jobs = [];
        for (let i = 0; i < 40; i++)
            jobs.push(new Promise((done) => zlib.brotliCompress(all.subarray(i * 1000, i * 1000 + 200000),
                { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }, (e, b) => done(sha(b)))));
        console.log('pool', sha((await Promise.all(jobs)).join('')));
    })();
}
END
    compare 120 "worker_threads and big buffers" node "$here/work.js"
}

# javac and java with several threads of the program, the compiler and each collector; direct buffers, zip, processes.
program_java() {
    have javac java || return
    folder
    cat >"$here/Work.java" <<'END'
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import java.util.zip.*;

public class Work {
    record Item(int id, String words) { }
    static String hex(byte[] b) { return HexFormat.of().formatHex(b); }
    static String job(int seed) throws Exception {
        Random random = new Random(seed);
        Map<String, List<Item>> map = new HashMap<>();
        for (int i = 0; i < 60000; i++)
            map.computeIfAbsent("k" + random.nextInt(2000), k -> new ArrayList<>())
                .add(new Item(i, "w" + random.nextInt()));
        MessageDigest sha = MessageDigest.getInstance("SHA-256");
        for (String k : new TreeSet<>(map.keySet()))
            for (Item item : map.get(k))
                sha.update((item.id() + item.words()).getBytes());
        byte[] raw = new byte[1 << 20];
        random.nextBytes(raw);
        Arrays.fill(raw, 0, raw.length / 2, (byte) seed);
        Deflater deflater = new Deflater(); // zlib's memory is malloc's
        deflater.setInput(raw);
        deflater.finish();
        byte[] packed = new byte[raw.length + 1000];
        int length = deflater.deflate(packed);
        deflater.end();
        Inflater inflater = new Inflater();
        inflater.setInput(packed, 0, length);
        byte[] back = new byte[raw.length];
        if (inflater.inflate(back) != raw.length || !Arrays.equals(raw, back))
            throw new Exception("zip");
        inflater.end();
        for (int i = 0; i < 50; i++) { // so is that of direct buffers
            ByteBuffer direct = ByteBuffer.allocateDirect(1 << (8 + i % 12));
            while (direct.remaining() >= 8)
                direct.putLong(random.nextLong());
            sha.update(direct.flip());
        }
        return hex(sha.digest());
    }
    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<String>> results = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            int seed = i;
            results.add(pool.submit(() -> job(seed)));
        }
        for (Future<String> f : results)
            System.out.println(f.get());
        pool.shutdown();
        System.out.println(IntStream.range(0, 2000000).parallel().filter(i -> i % 7 == 3).asLongStream().sum());
        Process p = new ProcessBuilder("cat", "/proc/self/maps").redirectError(ProcessBuilder.Redirect.DISCARD).start();
        String maps = new String(p.getInputStream().readAllBytes());
        System.out.println(p.waitFor() + " " + (maps.contains("libhakmem") == (System.getenv("LD_PRELOAD") != null)));
    }
}
END
    compile() { # FOLDER RUNNER...
        local to=$1
        shift
        mkdir "$to" && "$@" javac -J-Xmx256m -d "$to" "$here/Work.java"
    }
    ok "$name: javac without HAKMEM" compile "$here/plain" plain 120
    ok "$name: javac" compile "$here/served" served 120
    ok "$name: HAKMEM served javac" engaged
    ok "$name: what it made is the same" diff -r "$here/plain" "$here/served"
    local options
    for options in "-XX:+UseG1GC -XX:ParallelGCThreads=4 -XX:ConcGCThreads=2" \
                   "-XX:+UseParallelGC -XX:ParallelGCThreads=4" "-XX:+UseZGC" "-XX:+UseSerialGC -Xcomp"; do
        # shellcheck disable=SC2086  # several options
        compare 200 "java $options" java -Xmx256m $options -cp "$here/served" Work
    done
}

# Children of fork, threads and Ractors; big strings; the garbage collector under stress.
program_ruby() {
    have ruby || return
    folder
    cat >"$here/work.rb" <<'END'
require 'digest'
require 'json'
require 'zlib'
Digest::SHA256 # loaded on first use, which threads at once break in Ruby itself
def job(seed)
  random = Random.new(seed)
  words = Array.new(30_000) { "w#{random.rand(100_000)}" }
  table = words.group_by(&:size).transform_values { |v| v.sort.uniq }
  raise 'json' unless JSON.parse(JSON.dump(words)) == words
  raise 'zlib' unless Zlib::Inflate.inflate(Zlib::Deflate.deflate(words.join)) == words.join
  Digest::SHA256.hexdigest(table.inspect)
end
puts (1..6).map { |n| Thread.new { job(n) } }.map(&:value)
readers = (7..10).map do |n|
  r, w = IO.pipe
  fork { r.close; w.write(job(n)); w.close; exit!(0) }
  w.close
  r
end
readers.each { |r| puts r.read }
Process.waitall.each { |_, s| raise s.to_s unless s.success? }
$VERBOSE = nil
puts (11..14).map { |n| Ractor.new(n) { |s| Array.new(50_000) { |i| (i * s).to_s }.join.sum } }.map(&:take)
s = +''
200_000.times { |i| s << 'x' * (i % 300) }
puts s.size
10.times { GC.start; GC.compact if GC.respond_to?(:compact) }
puts job(1)
END
    compare 120 "threads, children, Ractors" ruby "$here/work.rb"
}

# Its own allocator on top of malloc's big blocks, then malloc for everything.
program_php() {
    have php || return
    folder
    cat >"$here/work.php" <<'END'
<?php
function job(int $seed): string {
    mt_srand($seed);
    $all = [];
    for ($i = 0; $i < 60000; $i++)
        $all["k" . mt_rand(0, 5000)][] = ["n" => $i, "s" => str_repeat("v", $i % 60)];
    ksort($all);
    $json = json_encode($all);
    if (json_decode($json, true) != $all || unserialize(serialize($all)) != $all)
        throw new Exception("not the same");
    preg_match_all('/"n":(\d+)/', $json, $found);
    return hash('sha256', $json) . " " . array_sum($found[1]) . " " . crc32(strrev($json));
}
for ($i = 0; $i < 5; $i++)
    echo job($i), "\n";
$s = "";
for ($i = 0; $i < 300000; $i++)
    $s .= chr(65 + $i % 26) . str_repeat("y", $i % 200);
echo strlen($s), " ", md5($s), "\n";
$heap = new SplPriorityQueue();
for ($i = 0; $i < 100000; $i++)
    $heap->insert("p$i", $i * 7919 % 100003);
for ($sum = "", $i = 0; $i < 1000; $i++)
    $sum = md5($sum . $heap->extract());
echo $sum, "\n";
END
    local own
    for own in 1 0; do
        compare 120 "a script, USE_ZEND_ALLOC=$own" env USE_ZEND_ALLOC="$own" php -n -d memory_limit=1G "$here/work.php"
    done
}

program_lua() {
    have lua5.4 || return
    folder
    cat >"$here/work.lua" <<'END'
collectgarbage("generational")
local all, n = {}, 0
for i = 1, 300000 do
    all[#all + 1] = { id = i, words = ("w"):rep(i % 80) .. i }
    if i % 3 == 0 then all[i // 3] = nil end
end
for i, v in pairs(all) do n = (n * 31 + i + #v.words) % 1000000007 end
print(n)
local parts = {}
for i = 1, 100000 do parts[i] = ("%d:%s"):format(i, ("x"):rep(i % 40)) end
local s = table.concat(parts)
print(#s, s:gsub("x+", "y"):len())
local co = {}
for i = 1, 20000 do co[i] = coroutine.wrap(function(a) while true do a = coroutine.yield(a * i) end end) end
for round = 1, 5 do for i = 1, #co do n = (n + co[i](round)) % 1000000007 end end
print(n)
END
    compare 60 "a script" lua5.4 "$here/work.lua"
}

# numpy's arrays, also from threads, and in children that share them.
program_numpy() {
    local python=/usr/bin/python3
    "$python" -c 'import numpy' 2>/dev/null || python=$(command -v python3)
    "$python" -c 'import numpy' 2>/dev/null || { skip "$name" "no numpy"; return; }
    folder
    cat >"$here/work.py" <<'END'
import hashlib
import multiprocessing
import threading

import numpy as np


def job(seed):
    r = np.random.default_rng(seed)
    a = r.integers(0, 1000, (700, 700))
    b = a @ a.T
    c = np.sort(np.concatenate([b.ravel(), r.integers(0, 10**9, 300000)]))
    d = np.unique(np.array([str(x) for x in c[::97]]))
    parts = [np.full(n * 37 % 5000 + 1, n) for n in range(2000)]
    e = np.concatenate(parts).copy()
    e.resize(e.size * 2, refcheck=False)
    aligned = np.zeros((513, 1025), order="F") + 1
    return hashlib.sha256(b.tobytes() + c.tobytes() + "".join(d).encode() + e.tobytes() + aligned.tobytes()).hexdigest()


def main():
    one = [job(s) for s in range(4)]
    got = {}
    threads = [threading.Thread(target=lambda s=s: got.__setitem__(s, job(s))) for s in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [got[s] for s in range(4)] == one
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(3) as pool:
            assert pool.map(job, range(4)) == one
    print("\n".join(one))


if __name__ == "__main__":
    main()
END
    compare 200 "arrays in threads and processes" env OPENBLAS_NUM_THREADS=4 "$python" "$here/work.py"
    ok "$name: and its children" engaged_processes 5
}

# ---- pictures and browsers ------------------------------------------------------------------------------------------

# Chromium brings its own malloc, which every library of the process then uses: HAKMEM is mapped and idle, and must not
# come between (reallocarray is a function that Chromium does not bring).  The shell that starts it is HAKMEM's.
program_chromium() {
    local browser picture
    for browser in chromium chromium-headless-shell chromium-browser google-chrome ""; do
        ! command -v "${browser:-none}" >/dev/null || break
    done
    [ -n "$browser" ] || { skip "$name" "no chromium"; return; }
    have python3 || return
    folder
    picture=$here/page.png
    cat >"$here/page.html" <<'END'
<!DOCTYPE html><html><body style="margin:0;background:#fff"><canvas id="c" width="320" height="240"></canvas>
<p id="p"></p><script>
const g = document.getElementById('c').getContext('2d');
['#ff0000', '#00ff00', '#0000ff', '#000000'].forEach((c, i) => { g.fillStyle = c; g.fillRect(i * 80, 0, 80, 240); });
let n = 0;
const all = [];
for (let i = 0; i < 200000; i++) { all.push({ i, s: 'x' + i }); n = (n * 31 + all[i].s.length) % 1000003; }
const b = new Uint8Array(30000000).fill(7);
document.getElementById('p').textContent = 'result ' + n + ' ' + b.reduce((x, y) => x + y, 0);
</script></body></html>
END
    cat >"$here/check.py" <<'END'
import struct, sys, zlib
data = open(sys.argv[1], "rb").read()
assert data[:8] == b"\x89PNG\r\n\x1a\n"
at, packed = 8, b""
while at < len(data):
    size, kind = struct.unpack(">I4s", data[at:at + 8])
    body = data[at + 8:at + 8 + size]
    assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0]
    if kind == b"IHDR":
        width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
    if kind == b"IDAT":
        packed += body
    at += 12 + size
assert (depth, interlace) == (8, 0) and colour in (2, 6)
step = 3 if colour == 2 else 4
raw, before, rows = zlib.decompress(packed), bytearray(width * step), []
for y in range(height):
    kind = raw[y * (width * step + 1)]
    row = bytearray(raw[y * (width * step + 1) + 1:(y + 1) * (width * step + 1)])
    for x in range(len(row)):
        a = row[x - step] if x >= step else 0
        b, c = before[x], before[x - step] if x >= step else 0
        p = a + b - c
        paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
        row[x] = (row[x] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
    rows.append(row)
    before = row
for x, want in ((40, (255, 0, 0)), (120, (0, 255, 0)), (200, (0, 0, 255)), (280, (0, 0, 0)), (350, (255, 255, 255))):
    got = tuple(rows[120][x * step:x * step + 3])
    assert got == want, (x, got, want)
END
    # --no-sandbox: its sandbox needs a set-user-ID program, which would drop the preload, or user namespaces.
    browse() { # RUNNER OPTIONS...
        "$1" 120 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
            --disable-background-networking --disable-component-update --user-data-dir="$here/profile" \
            --window-size=400,600 "${@:2}" "file://$here/page.html"
    }
    export HOME=$here
    ok "$name: renders a page without HAKMEM" browse plain --screenshot="$here/plain.png"
    ok "$name: renders a page" browse served --screenshot="$picture"
    ok "$name: the picture is right" python3 "$here/check.py" "$picture"
    ok "$name: what HAKMEM saw of it has no complaint" no_complaint
    dom() { browse served --dump-dom >"$here/dom" && grep -o 'result [0-9]* 210000000' "$here/dom"; }
    ok "$name: the script's result is right" dom
    running() { # its processes have the library mapped
        launch 60 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
            --disable-background-networking --user-data-dir="$here/profile2" --remote-debugging-pipe about:blank \
            3<"$here/fifo" 4>"$here/answers" || return
        await 20 family_mapped 3
        local status=$?
        clean_up
        return "$status"
    }
    mkfifo "$here/fifo"
    exec 9<>"$here/fifo" # so that neither end waits for the other
    ok "$name: all its processes have HAKMEM mapped" running
    exec 9>&-
    export HOME=$home
}
home=${HOME-}

# Several encoders' threads; what is encoded and decoded is the same to the bit as without HAKMEM.
program_ffmpeg() {
    have ffmpeg || return
    folder
    local codec
    encode() { # CODEC OPTIONS...
        ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=size=640x360:rate=25:duration=4 \
            -f lavfi -i sine=frequency=440:duration=4 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
            -threads 4 -c:v "$@" -c:a flac -f matroska pipe:1
    }
    both() { # stdin: the film; its frames, scaled
        ffmpeg -nostdin -v error -threads 4 -i "$1" -vf scale=320:180,eq=brightness=0.1 -f framemd5 -
    }
    export -f encode both
    ffmpeg -v quiet -encoders >"$here/encoders" 2>/dev/null
    for codec in "ffv1 -level 3 -slices 12" "libx264 -preset fast" mpeg4; do
        grep -q " ${codec%% *} " "$here/encoders" ||
            { skip "$name: ${codec%% *}" "this ffmpeg has no such encoder"; continue; }
        # shellcheck disable=SC2086  # several options
        compare 120 "encodes ${codec%% *}" bash -c 'encode "$@"' encode $codec
        mv "$here/got" "$here/film.mkv" 2>/dev/null || continue
        compare 120 "decodes ${codec%% *}" bash -c 'both "$1"' both "$here/film.mkv"
    done
}

program_imagemagick() {
    local convert
    for convert in magick /usr/bin/convert convert ""; do
        ! command -v "${convert:-none}" >/dev/null || break
    done
    [ -n "$convert" ] || { skip "$name" "no convert"; return; }
    folder
    compare 120 "makes, changes, writes and reads pictures" bash -c '
        set -e -o pipefail
        export MAGICK_THREAD_LIMIT=4
        cd "$2"
        "$1" -size 900x600 -seed 42 plasma:red-blue -blur 0x3 -resize 120% a.png
        "$1" a.png -rotate 17 -swirl 60 -colorspace Lab -normalize -colorspace sRGB b.tif
        "$1" b.tif a.png -append -depth 8 -quality 90 c.jpg
        "$1" c.jpg -resize 50% -crop 100x100 +repage -append -colors 64 d.gif
        "$1" a.png b.tif c.jpg d.gif -format "%f %wx%h %#\n" info:-' run "$convert" "$here"
    ok "$name: each of its processes" engaged_processes 5
}

# ---- data and work --------------------------------------------------------------------------------------------------

program_rocksdb() {
    have db_bench ldb || return
    folder
    bench() { # LIST OPTIONS...
        served 200 db_bench --db="$here/db" --num=150000 --value_size=300 --threads=4 --max_background_jobs=4 \
            --cache_size=4194304 --write_buffer_size=2097152 --compression_type=none --benchmarks="$1" "${@:2}" \
            >"$here/out"
    }
    fill() { bench fillrandom,overwrite,compact,stats --seed=7 && grep -q '^overwrite' "$here/out"; }
    read_all() { # each key that is there is found again by every reader
        bench readseq,readrandom,seekrandom,readwhilewriting,multireadrandom,verifychecksum --use_existing_db=1 \
            --verify_checksum=1 --seed=7 && grep -E '^verifychecksum' "$here/out" &&
            ! grep -iE 'corrupt|error' "$here/out"
    }
    ok "$name: db_bench fills a data base" fill || return
    ok "$name: HAKMEM served db_bench" engaged
    ok "$name: db_bench reads it, checksums verified" read_all
    ok "$name: HAKMEM served that" engaged
    known() { # what ldb put is what ldb finds, and the data base is consistent
        awk 'BEGIN { for (i = 0; i < 50000; i++) printf "key%d ==> %0*d\n", i, i % 200 + 1, i }' >"$here/pairs"
        served 60 ldb --db="$here/own" --create_if_missing load <"$here/pairs" &&
            served 60 ldb --db="$here/own" compact && served 60 ldb --db="$here/own" checkconsistency &&
            served 60 ldb --db="$here/own" scan >"$here/scan" &&
            same <(sed 's/ ==> / : /' "$here/pairs" | LC_ALL=C sort) "$here/scan"
    }
    ok "$name: ldb loads and scans 50,000 pairs" known
    ok "$name: HAKMEM served ldb" engaged
}

program_openssl() {
    have openssl || return
    folder
    speed() {
        served 120 openssl speed -seconds 1 -multi 2 sha256 ecdsap256 >"$here/out" && grep -q '^sha256 ' "$here/out" &&
            grep -q 'nistp256' "$here/out"
    }
    ok "$name: speed, in 2 processes" speed
    ok "$name: HAKMEM served them" engaged_processes 3
    head -c 20000000 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 2>/dev/null >"$here/data"
    round() { # every step but the last under HAKMEM; the last without, over what HAKMEM's made
        local kind
        for kind in "RSA -pkeyopt rsa_keygen_bits:2048" "EC -pkeyopt ec_paramgen_curve:P-256"; do
            # shellcheck disable=SC2086  # several options
            served 60 openssl genpkey -quiet -algorithm $kind -out "$here/key" 2>"$here/err" ||
                served 60 openssl genpkey -algorithm $kind -out "$here/key" || return
            served 60 openssl req -x509 -new -key "$here/key" -subj /CN=test -days 2 -out "$here/cert" &&
                served 60 openssl x509 -in "$here/cert" -pubkey -noout >"$here/pub" &&
                served 60 openssl dgst -sha256 -sign "$here/key" -out "$here/sig" "$here/data" &&
                served 60 openssl dgst -sha256 -verify "$here/pub" -signature "$here/sig" "$here/data" &&
                served 60 openssl cms -encrypt -binary -in "$here/data" -outform DER -out "$here/cms" -aes256 \
                    "$here/cert" &&
                served 60 openssl cms -decrypt -binary -inform DER -in "$here/cms" -inkey "$here/key" \
                    -out "$here/back" &&
                cmp "$here/data" "$here/back" &&
                plain 60 openssl dgst -sha256 -verify "$here/pub" -signature "$here/sig" "$here/data" &&
                plain 60 openssl verify -CAfile "$here/cert" "$here/cert" || return
        done
        echo x >>"$here/data"
        ! served 60 openssl dgst -sha256 -verify "$here/pub" -signature "$here/sig" "$here/data" 2>/dev/null
    }
    ok "$name: keys, certificates, sign and verify, encrypt and decrypt" round
    ok "$name: HAKMEM served it" engaged
}

# This very library, by make -j: each object is the same as one made without HAKMEM.
program_make() {
    have make || return
    have_compiler "$cc" || { skip "$name" "no C compiler"; return; }
    folder
    cat >"$here/Makefile" <<'END'
objects = $(notdir $(patsubst %.c,%.o,$(wildcard $(FROM)/lib/*.c)))
all: $(objects) whole.so
$(objects): %.o: $(FROM)/lib/%.c
	$(CC) -std=gnu11 -O2 -fPIC -D_GNU_SOURCE= -DHAVE_CONFIG_H -iquote $(BUILD) -iquote $(FROM)/lib \
	    -I$(FROM)/lib/include $(OPS) -c $< -o $@
whole.so: $(objects)
	$(CC) -shared -nostdlib $^ -o $@ -Wl,--build-id=none
END
    build() { # FOLDER RUNNER...
        local to=$1
        shift
        mkdir "$to" && "$@" make -s -j4 -C "$to" -f "$here/Makefile" FROM="$source_dir" BUILD="$build_dir" CC="$cc" \
            OPS="$(pkg-config --cflags atomic_ops 2>/dev/null)"
    }
    ok "$name: make -j4 of this library without HAKMEM" build "$here/plain" plain 300 || return
    ok "$name: make -j4" build "$here/served" served 300
    ok "$name: HAKMEM served make, the compilers, assemblers and linkers" engaged_processes 60
    ok "$name: every file is the same" diff -r "$here/plain" "$here/served"
}

# A synthetic repository, packed by several threads, cloned over a pipe, checked.
program_git() {
    have git awk || return
    folder
    export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
    git_run() { served 120 git -c pack.threads=4 -c gc.auto=0 -c index.threads=4 "$@"; }
    script() {
        awk 'BEGIN { srand(42)
            for (c = 1; c <= 600; c++) {
                printf "commit refs/heads/main\nmark :%d\n", c
                printf "committer t <t@example.org> %d +0000\n", 1700000000 + c * 60
                printf "data 7\nstep%03d\n", c
                for (f = 0; f < 4; f++) {
                    s = ""
                    lines = int(rand() * 120)
                    for (l = 0; l < lines; l++) s = s sprintf("line %d of %d\n", int(rand() * 500), c % 37)
                    printf "M 100644 inline dir%d/file%d.txt\ndata %d\n%s\n", c % 11, (c * 7 + f) % 90, length(s), s
                }
                print ""
            } }'
    }
    make_one() {
        git_run init -q --bare "$here/one.git" && script >"$here/script" &&
            git_run -C "$here/one.git" fast-import --quiet <"$here/script"
    }
    ok "$name: fast-import of 600 commits" make_one || return
    ok "$name: HAKMEM served it" engaged
    clone() { git_run clone -q --no-local "$here/one.git" "$here/two" -b main; }
    ok "$name: clone" clone
    ok "$name: HAKMEM served it and its children" engaged_processes 3
    gc() {
        git_run -C "$here/two" gc --quiet --aggressive --prune=now &&
            git_run -C "$here/two" repack -q -a -d -f --depth=50 --window=50 --write-bitmap-index
    }
    ok "$name: gc --aggressive, repack" gc
    ok "$name: HAKMEM served that" engaged
    fsck() { git_run -C "$here/two" fsck --full --strict && plain 60 git -C "$here/two" fsck --full --strict; }
    ok "$name: fsck" fsck
    compared() { # what it says about the history, byte by byte as without HAKMEM
        git_run -C "$here/two" log -p --stat -M -C --format=fuller | sha256sum >"$here/got"
        plain 60 git -C "$here/two" log -p --stat -M -C --format=fuller | sha256sum >"$here/expected"
        same "$here/expected" "$here/got" &&
            equal "$(git_run -C "$here/two" rev-parse HEAD)" "$(plain 10 git -C "$here/one.git" rev-parse main)" &&
            equal "$(git_run -C "$here/two" rev-list --count HEAD)" 600 &&
            equal "$(git_run -C "$here/two" grep -c 'line 4' main~100 -- 'dir1*' | sha256sum)" \
                "$(plain 60 git -C "$here/two" grep -c 'line 4' main~100 -- 'dir1*' | sha256sum)"
    }
    ok "$name: log, grep" compared
    unset GIT_CONFIG_NOSYSTEM GIT_CONFIG_GLOBAL
}

# Questions to the data base of packages, and a package made and taken apart; nothing is installed.
program_packages() {
    have dpkg-query dpkg-deb apt-cache apt-get || return
    folder
    compare 60 "dpkg-query of all packages" dpkg-query -W \
        -f='${Package} ${Version} ${Architecture} ${db:Status-Status} ${Depends} ${Description}\n'
    compare 60 "dpkg --list" dpkg --list
    compare 60 "dpkg --verify of one" bash -c 'dpkg --verify bash coreutils dpkg; dpkg -L dpkg; dpkg -S /bin/ls'
    compare 120 "apt-cache" bash -c '
        apt-cache dumpavail | sha256sum; apt-cache depends --recurse bash | sha256sum
        apt-cache policy dpkg apt | sha256sum; apt-cache search allocator | sort | sha256sum'
    compare 120 "apt-get, simulated" apt-get -s -o Debug::NoLocking=1 --no-download --ignore-missing \
        dist-upgrade
    mkdir -p "$here/tree/DEBIAN" "$here/tree/usr/share"
    printf 'Package: some\nVersion: 1\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: some\n' \
        >"$here/tree/DEBIAN/control"
    awk 'BEGIN { srand(1); for (i = 0; i < 900000; i++) print int(rand() * 100000) }' >"$here/tree/usr/share/numbers"
    build() {
        SOURCE_DATE_EPOCH=1 served 60 dpkg-deb --root-owner-group -Zxz --threads-max=4 -b "$here/tree" \
            "$here/some.deb" &&
            served 60 dpkg-deb -x "$here/some.deb" "$here/out" &&
            cmp "$here/tree/usr/share/numbers" "$here/out/usr/share/numbers"
    }
    ok "$name: dpkg-deb packs and unpacks" build
    ok "$name: HAKMEM served it and its children" engaged_processes 2
}

# gdb, itself served, attaches to a served program, calls its malloc and free, and leaves it running.
program_gdb() {
    have gdb || return
    have_compiler "$cc" || { skip "$name" "no C compiler"; return; }
    folder
    cat >"$here/victim.c" <<'END'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
volatile int go_on = 1;
void *volatile kept;
static void *work(void *p)
{
    for (unsigned i = 0; go_on; i++) {
        char *s = malloc(i % 5000 + 1);
        memset(s, (int)i, i % 5000 + 1);
        free(s);
    }
    return p;
}
int main(void)
{
    pthread_t t[3];
    char answer[8];
    kept = strdup("what was kept");
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, work, NULL);
    puts("ready");
    fflush(stdout);
    if (!fgets(answer, sizeof answer, stdin))
        return 1;
    go_on = 0;
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    puts((char *)kept);
    return 0;
}
END
    compile() { $cc -g -O1 -pthread "$here/victim.c" -o "$here/victim"; }
    ok "$name: a program to look at" compile || return
    # An older gdb does not know the state of newer processors, and fails so with every program.
    gdb -nx -batch -ex 'break main' -ex run -ex 'print ((int (*)(int))abs)(-3)' "$here/victim" >"$here/probe" 2>&1 </dev/null
    if grep -q 'write extended state' "$here/probe"; then
        skip "$name: attaches" "this gdb cannot write the registers of this processor"
        return
    fi
    mkfifo "$here/in"
    exec 8<>"$here/in"
    start() { launch 120 "$here/victim" <&8 >"$here/out" && await 10 grep -q ready "$here/out"; }
    ok "$name: it runs" start || { exec 8>&-; return; }
    local victim=$pid victim_watch=$watch
    attach() {
        mv "$scratch/both" "$scratch/victim.words"
        served 60 gdb -nx -batch -p "$victim" -ex 'set confirm off' -ex 'thread apply all backtrace' \
            -ex 'print (char *)kept' -ex 'print $p = ((void *(*)(unsigned long))malloc)(100000)' \
            -ex 'print ((unsigned long (*)(void *))malloc_usable_size)($p) >= 100000' \
            -ex 'call ((void (*)(void *))free)($p)' -ex 'info symbol malloc' -ex 'info sharedlibrary' -ex detach \
            >"$here/gdb.out" 2>"$here/gdb.err"
        local status=$?
        cat "$here/gdb.out" "$here/gdb.err"
        if grep -q 'Operation not permitted' "$here/gdb.err"; then
            return 77
        fi
        [ "$status" = 0 ] && grep -q '"what was kept"' "$here/gdb.out" && grep -q '^\$3 = 1$' "$here/gdb.out" &&
            grep -q 'malloc in section .text of .*libhakmem' "$here/gdb.out" && grep -q ' in work ' "$here/gdb.out"
    }
    if grep -qx 3 /proc/sys/kernel/yama/ptrace_scope 2>/dev/null; then
        skip "$name: attaches" "this kernel lets nobody attach"
    else
        ok "$name: gdb attaches, looks, calls malloc and free in the program" attach
        ok "$name: HAKMEM served gdb" engaged
    fi
    finishes() {
        local status=0
        echo end >&8
        wait "$victim_watch" || status=$?
        watch=
        heard "$scratch/victim.words"
        pid=$victim
        [ "$status" = 0 ] && grep -qx 'what was kept' "$here/out"
    }
    watch=$victim_watch
    ok "$name: the program ends as if nothing had been" finishes
    exec 8>&-
    ok "$name: HAKMEM served it" engaged
}

# ---- all of them ----------------------------------------------------------------------------------------------------

[ $# -gt 0 ] || set -- "${programs[@]}"
for name; do
    declare -F "program_$name" >/dev/null || { echo "programs.sh: no program named $name" >&2; exit 99; }
done
for name; do
    program_"$name"
    clean_up
    rm -rf "${scratch:?}/$name"
done
done_testing
