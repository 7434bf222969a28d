-- SPDX-License-Identifier: MIT
-- SPDX-FileCopyrightText: 2026 The libhakmem authors
--
-- For the bench line of sqlite3: sqlite3 -bail -init sqlite3.sql :memory: .quit
-- A database in memory: rows made by a rule, indexes, joins, groups, sorting, text, updates and deletes. The last table
-- takes nothing but the right sums: else sqlite3 ends with 1.
PRAGMA cache_size = -20000;
CREATE TABLE item(id INTEGER PRIMARY KEY, kind INTEGER, price INTEGER, name TEXT);
CREATE TABLE sale(item INTEGER, day INTEGER, count INTEGER, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
    INSERT INTO item SELECT i, i * 7919 % 97, i * 104729 % 10007, 'item ' || (i * 31337 % 20011) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
    INSERT INTO sale SELECT 1 + i * 7907 % 20000, i * 613 % 365, i % 13, substr('abcdefghijklmnopqrstuvwxyz', 1 + i % 26) FROM n;
CREATE INDEX sale_by_item ON sale(item);
CREATE INDEX item_by_name ON item(name);
CREATE TABLE best AS
    SELECT day, kind, sum(price * count) AS sum, group_concat(note, '-') AS notes FROM sale JOIN item ON item.id = sale.item
    GROUP BY day, kind ORDER BY sum DESC, day, kind LIMIT 5000;
UPDATE item SET name = upper(name) || ' ' || price WHERE kind % 3 = 0;
DELETE FROM sale WHERE day % 5 = 0;
INSERT INTO sale SELECT id, kind, price % 7, name FROM item WHERE name LIKE '%9%' ORDER BY name;
CREATE TABLE sums(what TEXT, value INTEGER);
INSERT INTO sums SELECT 'best', sum(sum) FROM best;
INSERT INTO sums SELECT 'notes', sum(length(notes)) FROM best;
INSERT INTO sums SELECT 'sales', sum(count * day + length(note)) FROM sale;
INSERT INTO sums SELECT 'names', sum(length(name) * (rank % 101)) FROM
    (SELECT name, rank() OVER (ORDER BY name) AS rank FROM item);
SELECT what || ' ' || value FROM sums;
CREATE TABLE checked(text TEXT CHECK (text = 'best 658226063, notes 187920, sales 54480608, names 11103647'));
INSERT INTO checked SELECT group_concat(what || ' ' || value, ', ') FROM sums;
