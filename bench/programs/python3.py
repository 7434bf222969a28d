# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
"""What Python programs do with memory: records, dictionaries, strings, JSON, sorting, expressions, trees of objects.

For the bench line of python3, with PYTHONMALLOC=malloc: else small objects never reach malloc.
Argument: how many times (6). Ends with 1 when what came out is wrong.
"""
import collections
import json
import re
import sys
import zlib


class Node:
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None


def put(root, key):
    while True:
        side = "left" if key < root.key else "right"
        below = getattr(root, side)
        if below is None:
            setattr(root, side, Node(key))
            return
        root = below


def depth(root):
    return 0 if root is None else 1 + max(depth(root.left), depth(root.right))


def numbers(seed):
    while True:
        seed = (seed * 1103515245 + 12345) % 2147483648
        yield seed >> 8


def work():
    rnd = numbers(1)
    people = [{"id": i, "name": f"name{next(rnd) % 5000}", "tags": [f"t{next(rnd) % 50}" for _ in range(5)],
               "score": next(rnd) % 1000 / 8} for i in range(4000)]
    text = json.dumps(people)
    back = json.loads(text)
    assert back == people
    groups = collections.defaultdict(list)
    for p in back:
        for t in p["tags"]:
            groups[t].append((p["score"], p["name"], p["id"]))
    lines = []
    for t in sorted(groups):
        best = sorted(groups[t], reverse=True)[:20]
        lines.append(t + ": " + ", ".join(f"{n}={s:.3f}/{i}" for s, n, i in best))
    words = re.findall(r"[a-z]+\d+", "\n".join(lines))
    counted = collections.Counter(words).most_common(100)
    root = Node(1 << 22)
    for _ in range(6000):
        put(root, next(rnd))
    grid = [[(x * y) % 7 for x in range(200)] for y in range(200)]
    turned = [list(row) for row in zip(*grid)]
    return zlib.crc32(repr((lines, sorted(counted), depth(root), turned, zlib.crc32(text.encode()))).encode())


def main():
    times = int(sys.argv[1]) if len(sys.argv) == 2 and sys.argv[1].isdecimal() else 6 if len(sys.argv) == 1 else 0
    if times < 1:
        print("usage: python3 python3.py [TIMES]", file=sys.stderr)
        return 2
    sums = {work() for _ in range(times)}
    print("checksum", *sums)
    if sums != {1049966418}:
        print("python3.py: the checksum is wrong", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
