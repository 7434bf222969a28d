#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
"""Counts what threads share in the library: read-modify-writes, and cache lines that move between threads, per operation.

Builds the library with a counter on each of its memory accesses (transfers.c says how), runs programs with it, and prints, for
each run, per operation of the program: read-modify-writes, transfers, and where those come from. A transfer is an access to
a line that another thread has written, or has to give up, since this one last had it, if each thread had a processor.

  bench/transfers.py [--build DIR] [--threads 1,2,4,8,16] [--detail N] [--keep DIR] [NAME ...]

The programs are those of `make bench-programs`, in DIR/bench. NAME: of the runs below; all without one.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIB = HERE.parent / "lib"
KINDS = {1: "slab records", 2: "tags", 3: "far bitmaps", 4: "bins", 5: "heap", 6: "inbox", 7: "remote buffer", 8: "words"}
# name, command, ops of a thread
RUNS = [
    ("mstress", "threads mstress {t} {n}", 20000),
    ("larson", "threads larson {t} {n}", 40000),
    ("xmalloc", "threads xmalloc {t} {n}", 40000),
    ("pipeline", "remote pipeline {t} {n}", 40000),
    ("shuffle", "remote shuffle {t} {n}", 40000),
    ("neighbour", "remote neighbour {t} {n}", 40000),
    ("churn", "churn {t} 20 500", 0),
    ("birth", "thread_birth 400 64 {t}", 0),
    ("small", "independent {t} {n} 16 1040 2000", 100000),
    ("slabs", "independent {t} {n} 1024 4096 400 swing", 40000),
    ("runs", "independent {t} {n} 40000 1000000 50", 4000),
    ("big", "independent {t} {n} 2200000 9000000 4", 1000),
]


def build(folder, build_dir):
    """The library with its counters."""
    flags = ["-DHAVE_CONFIG_H", "-D_GNU_SOURCE", "-std=gnu11", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-fexceptions",
             "-fno-strict-aliasing", "-ftls-model=initial-exec", "-iquote", str(build_dir), "-iquote", str(LIB),
             "-I", str(LIB / "include")]
    flags += [f"-fno-builtin-{f}" for f in ("malloc", "calloc", "realloc", "free", "memalign", "aligned_alloc")]
    cc = os.environ.get("CC", "gcc").split()
    objects = []
    for source in sorted(LIB.glob("*.c")) + [HERE / "transfers.c"]:
        objects.append(str(folder / (source.stem + ".o")))
        own = [] if source.stem == "transfers" else ["-fsanitize=thread", "-include", str(HERE / "transfers.h")]
        subprocess.run(cc + flags + own + ["-c", "-o", objects[-1], str(source)], check=True)
    library = folder / "libtransfers.so"
    subprocess.run(cc + ["-shared", "-Wl,-z,now", "-o", str(library)] + objects, check=True)
    return library


class Names:
    """Addresses in the library as functions, and its data as variables."""
    def __init__(self, library):
        self.library = library
        self.data, self.functions = [], {}
        for line in subprocess.run(["nm", "-n", "-S", str(library)], stdout=subprocess.PIPE, text=True,
                                   check=True).stdout.splitlines():
            f = line.split()
            if len(f) == 4 and f[2] in "bBdDrRcC":
                self.data.append((int(f[0], 16), int(f[1], 16), re.sub(r"\.\d+$", "", f[3])))

    def find(self, addresses):
        todo = sorted(set(addresses) - set(self.functions))
        text = subprocess.run(["addr2line", "-f", "-e", str(self.library)] + [hex(a - 1) for a in todo],
                              stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines() if todo else []
        for i, a in enumerate(todo):
            place = text[2 * i + 1].split(" ")[0].rsplit("/", 1)[-1].split(":")[0]
            self.functions[a] = f"{place.removesuffix('.c')}:{text[2 * i]}"

    def what(self, number):
        if number in KINDS:
            return KINDS[number]
        names = [n for at, size, n in self.data if at < number + 64 and at + size > number]
        return "static: " + " ".join(dict.fromkeys(names)) if names else "static"


def run(library, programs, command, threads, scratch):
    out = scratch / "counts"
    out.unlink(missing_ok=True)
    env = dict(os.environ, LD_PRELOAD=str(library), TRANSFERS=str(out), CORES=str(min(threads, 64)), YIELD="8",
               HAKMEM_STATS="json")
    argv = command.split()
    done = subprocess.run([str(programs / argv[0])] + argv[1:], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: exit {done.returncode}: {done.stderr.strip()[:300]}")
    if not out.exists() or not out.stat().st_size:
        raise RuntimeError(f"{command}: the library counted nothing")
    ops = int(re.search(r"ops=(\d+)", done.stdout).group(1))
    rows = [[int(x, 16) for x in line.split()[:2]] + [int(x) for x in line.split()[2:]]
            for line in out.read_text().splitlines()]
    return ops, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default="build", help="the folder with config.h and bench/")
    parser.add_argument("--threads", default="1,2,4,8,16")
    parser.add_argument("--detail", type=int, default=8, help="rows for each run with most threads")
    parser.add_argument("--keep", help="use this folder for the library, and keep it")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of " + ", ".join(r[0] for r in RUNS))
    args = parser.parse_args()
    unknown = set(args.names) - {r[0] for r in RUNS}
    if unknown:
        parser.error("there is no run called " + ", ".join(sorted(unknown)))
    rows = []
    folder = Path(args.keep) if args.keep else Path(tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    status = 0
    try:
        library = build(folder, Path(args.build).resolve())
        names = Names(library)
        threads = [int(t) for t in args.threads.split(",")]
        print("per op: loads and stores, read-modify-writes, transfers (by loads, stores, read-modify-writes)")
        for name, command, n in (r for r in RUNS if not args.names or r[0] in args.names):
            for t in threads:
                try:
                    ops, rows = run(library, Path(args.build) / "bench", command.format(t=t, n=n), t, folder)
                except (RuntimeError, AttributeError, OSError) as e:
                    print(f"{name} {t}: {e}", file=sys.stderr)
                    status = 1
                    continue
                total = [sum(r[i] for r in rows) / ops for i in range(2, 8)]
                print(f"{name:12} {t:3} threads {ops:8} ops: {total[0] + total[1]:8.2f} {total[2]:8.4f} "
                      f"{sum(total[3:]):8.4f} ({total[3]:.4f} {total[4]:.4f} {total[5]:.4f})", flush=True)
            if not rows or not args.detail:
                continue
            names.find(r[0] for r in rows)
            sums = {}
            for r in rows:
                s = sums.setdefault(names.what(r[1]), [0, 0, {}])
                s[0] += sum(r[5:])
                s[1] += r[4]
                f = names.functions[r[0]]
                s[2][f] = s[2].get(f, 0) + sum(r[5:])
            for what, s in sorted(sums.items(), key=lambda x: -x[1][0])[:args.detail]:
                if s[0]:
                    top = ", ".join(f"{f} {c / ops:.4f}" for f, c in sorted(s[2].items(), key=lambda x: -x[1])[:4] if c)
                    print(f"      {s[0] / ops:8.4f} transfers {s[1] / ops:8.4f} rmw  {what}\n               {top}")
    finally:
        if not args.keep:
            shutil.rmtree(folder)
    return status


if __name__ == "__main__":
    sys.exit(main())
