#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# python.sh: python3 under HAKMEM: threads, multiprocessing by fork and by spawn, subprocesses, big strings; with its own
# allocator and with malloc for everything.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
need python3
# The interpreter itself: python3 may be a script that chooses one.
python=$(python3 -c 'import sys; print(sys.executable)' </dev/null) || skip_all "python3 does not work"

cat >"$scratch/work.py" <<'EOF'
import hashlib, json, multiprocessing, os, queue, re, subprocess, sys, threading, zlib


def digest(seed):
    words = [str((seed * 2654435761 + i * 40503) % 1000003) for i in range(20000)]
    text = ",".join(sorted(words))
    packed = zlib.compress(text.encode())
    assert zlib.decompress(packed).decode() == text
    table = {w: [len(w), {"w": w}] for w in words}
    assert json.loads(json.dumps(table)) == table
    assert len(re.findall(r"\d+", text)) == len(words)
    return hashlib.sha256(text.encode()).hexdigest()


def work_of_threads():
    jobs, results = queue.Queue(), {}

    def worker():
        while True:
            seed = jobs.get()
            if seed is None:
                return
            results[seed] = digest(seed)

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for t in threads:
        t.start()
    for seed in range(12):
        jobs.put(seed)
    for t in threads:
        jobs.put(None)
    for t in threads:
        t.join()
    return [results[s] for s in range(12)]


def preloaded(_):
    with open("/proc/self/maps") as maps:
        return "libhakmem" in maps.read()


def main():
    one = [digest(s) for s in range(12)]
    assert work_of_threads() == one
    print("threads")
    want = os.environ.get("LD_PRELOAD") is not None
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(3) as pool:
            assert pool.map(digest, range(12)) == one
            assert all(p == want for p in pool.map(preloaded, range(6)))
        print(method)
    out = subprocess.run([sys.executable, "-c", "print(sum(range(100000)))"], stdout=subprocess.PIPE, check=True).stdout
    assert int(out) == 4999950000
    print("subprocess")
    big = bytearray(b"x") * 50000000
    big += b"y" * 10000000
    assert len(big) == 60000000 and big[49999999:50000001] == b"xy"
    del big
    lists = [[i] * (i % 50) for i in range(200000)]
    assert sum(map(len, lists)) == 200000 // 50 * sum(range(50))
    print("big")
    print(hashlib.sha256("".join(one).encode()).hexdigest())


if __name__ == "__main__":
    main()
EOF

plain() { "$python" "$scratch/work.py" >"$scratch/expected"; }
if ok "the script works without HAKMEM" plain; then
    for allocator in default malloc; do
        export PYTHONMALLOC=$allocator
        run() { preloaded "$python" "$scratch/work.py" >"$scratch/got"; }
        ok "PYTHONMALLOC=$allocator: the script works" run
        ok "PYTHONMALLOC=$allocator: its result is the same" same "$scratch/expected" "$scratch/got"
        ok "PYTHONMALLOC=$allocator: HAKMEM served it" engaged
        ok "PYTHONMALLOC=$allocator: and its subprocess" engaged_processes 2
    done
fi
done_testing
