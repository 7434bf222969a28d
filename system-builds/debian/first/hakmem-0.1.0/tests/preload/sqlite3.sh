#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# sqlite3.sh: sqlite3 under HAKMEM: create, insert, index, join, text functions, vacuum, integrity_check.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
need sqlite3

cat >"$scratch/work.sql" <<'EOF'
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, amount INTEGER, note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO item SELECT i, 'name' || (i * 7919 % 10007), i * 31 % 1009, printf('%.*c', i % 300, 'x') FROM n;
COMMIT;
CREATE INDEX by_name ON item(name);
CREATE TABLE total AS SELECT name, sum(amount) AS amount, count(*) AS n FROM item GROUP BY name;
SELECT count(*), sum(length(note)), sum(amount) FROM item;
SELECT a.name, a.n, b.id FROM total a JOIN item b ON b.name = a.name WHERE a.n > 5 ORDER BY a.name, b.id LIMIT 50;
SELECT group_concat(name) FROM (SELECT name FROM item ORDER BY note, name, id LIMIT 2000);
DELETE FROM item WHERE id % 3 = 0;
UPDATE item SET note = upper(note) || name WHERE id % 5 = 0;
VACUUM;
SELECT count(*), sum(length(note)) FROM item;
SELECT length(hex(zeroblob(5000000)));
PRAGMA integrity_check;
EOF
plain() { sqlite3 -batch "$scratch/plain.db" <"$scratch/work.sql" >"$scratch/expected"; }
run() { preloaded sqlite3 -batch "$scratch/hakmem.db" <"$scratch/work.sql" >"$scratch/got"; }
if ok "sqlite3 works without HAKMEM" plain; then
    ok "sqlite3 works" run
    ok "its results are the same" same "$scratch/expected" "$scratch/got"
    ok "HAKMEM served it" engaged
    sound() { [ "$(tail -n 1 "$scratch/got")" = ok ]; }
    ok "integrity_check is ok" sound
    check() { [ "$(sqlite3 -batch "$scratch/hakmem.db" 'PRAGMA integrity_check')" = ok ]; }
    ok "also without HAKMEM" check
fi
done_testing
