#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
"""Runs the bench programs under several allocators and compares them.

The rounds are interleaved: each round takes the lines in a new random order, and within a line the allocators in a new
random order, so that a slow moment of the machine hits all of them alike. Every run is started by the static launcher,
which asks the kernel for the CPU time, the peak RSS and the faults of that program alone. Before anything is measured,
each program names the file that its malloc and free are bound to under each allocator; where that is not the allocator
asked for, its lines say so instead of showing glibc's figures under another name. A run that fails is shown as failed.
Exit code: 0 when every run of every line succeeded, 1 when one did not, 2 for a wrong command line.
"""
import argparse
import csv
import fnmatch
import math
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

PATTERNS = ("lifo", "fifo", "random", "interleaved", "longlived")
# line -> program and arguments; sized for a tenth to half a second each
LINES = {
    "tiny_hot/16": "tiny_hot 16 30000000",
    "tiny_hot/64": "tiny_hot 64 30000000",
    "random_mixed/256": "random_mixed 20000000 256 1",
    "random_mixed/10000": "random_mixed 15000000 10000 1",
    "random_mixed/100000": "random_mixed 10000000 100000 1",
    **{f"comprehensive/{p}/{s}": f"comprehensive {p} {s} 20000 1000" for p in PATTERNS for s in (16, 32, 64, 128)},
    **{f"comprehensive-100/{p}/64": f"comprehensive {p} 64 200000 100" for p in PATTERNS},
    "threads/larson/1": "threads larson 1 10000000",
    "threads/larson/2": "threads larson 2 6000000",
    "threads/xmalloc/2": "threads xmalloc 2 4000000",
    "threads/mstress/2": "threads mstress 2 2000000",
    "threads/larson-tiny/2": "threads larson 2 6000000 tiny",
    "threads/larson-mixed/2": "threads larson 2 4000000 mixed",
    "remote/pipeline/2": "remote pipeline 2 4000000",
    "remote/shuffle/2": "remote shuffle 2 4000000",
    "remote/neighbour/2": "remote neighbour 2 4000000",
    "churn/one": "churn 1 10000 0",
    "churn/2": "churn 2 3000 200",
    "sharing/thrash/2": "sharing thrash 2 100000",
    "sharing/scratch/2": "sharing scratch 2 100000",
    "realloc_growth/4K": "realloc_growth 4096 500000",
    "realloc_growth/1M": "realloc_growth 1048576 2000",
    "realloc_growth/64M": "realloc_growth 67108864 3 2",
    "realloc_growth/1G": "realloc_growth 1073741824 1 1",
    **{f"allocators/{s}": f"allocators --scenario {s} --iterations {n}"
       for s, n in (("json", 1000000), ("mir", 300000), ("vm", 40000), ("mixed", 20000))},
    "buffers/20M": "buffers 2000 8 1048576 20971520",
    "big_hot/100K": "big_hot 102400 3000000",
    "big_hot/1M": "big_hot 1048576 1000000",
    "big_hot/2M": "big_hot 2097152 1000000",
    "big_hot/2M-live": "big_hot 2097152 1000000 16 2",
    "big_hot/20M": "big_hot 20971520 50000",
    "small/cfrac": "small cfrac 2000000",
    "small/espresso": "small espresso 100000",
    "calloc_pages/4K": "calloc_pages 4096 4000000",
    "calloc_pages/64K": "calloc_pages 65536 50000",
    "calloc_pages/1M": "calloc_pages 1048576 1000",
    "calloc_pages/1M-sparse": "calloc_pages 1048576 5000 8 2000000",
    "after_peak/2K": "after_peak 400000 64 2048 90 1",
    "after_peak/256": "after_peak 3000000 16 256 95 1",
}
# allocator -> sonames that the dynamic linker is asked for, the first one that serves malloc is taken
PACKAGES = {
    "mimalloc": ("libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so.2.0", "libmimalloc.so"),
    "jemalloc": ("libjemalloc.so.2",),
    "tcmalloc": ("libtcmalloc_minimal.so.4",),
}
FIELDS = ("bench", "allocator", "round", "warmup", "status", "cpu_s", "user_s", "sys_s", "wall_s", "peak_rss_kib",
          "minor_faults", "major_faults", "ns_per_op", "ops_per_s", "kept_kib", "steady_faults", "error")


def note(text):
    print(f"compare.py: {text}", file=sys.stderr, flush=True)


def wrong(text):
    note(text)
    sys.exit(2)


class Bench:
    def __init__(self, programs, timeout):
        self.programs, self.timeout = programs, timeout
        self.result = tempfile.NamedTemporaryFile(prefix="bench-", suffix=".csv")

    def path(self, program):
        return os.path.join(self.programs, program)

    def served_by(self, program, library):
        """The real path of the file that malloc and free are bound to, or None and why not."""
        env = dict(os.environ, LD_PRELOAD=library, BENCH_PROVE="exit")
        try:
            done = subprocess.run([self.path(program)], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, errors="replace", timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            return None, str(error)
        found = dict(re.findall(r"^prove: (malloc|free)=(.*)$", done.stderr, re.M))
        if done.returncode != 0 or len(found) != 2:
            return None, f"{program} does not start: exit code {done.returncode} {done.stderr.strip()[:200]}"
        if found["malloc"] != found["free"]:
            return None, f"malloc is from {found['malloc']}, but free from {found['free']}"
        return os.path.realpath(found["malloc"]), None

    def run(self, command, library):
        """One measured run: a dictionary of the fields, "error" empty when it went well."""
        words = command.split()
        launch = [self.path("launch"), "-o", self.result.name, "-p", library, "--", self.path(words[0]), *words[1:]]
        run = dict.fromkeys(FIELDS, "")
        env = {k: v for k, v in os.environ.items() if k not in ("BENCH_PROVE", "LD_PRELOAD")}
        with subprocess.Popen(launch, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True) as child:
            try:
                out, err = child.communicate(timeout=self.timeout)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)            # the group is that of this launcher alone
                child.communicate()
                return dict(run, status=-1, error=f"no end after {self.timeout} s")
        if child.returncode != 0:
            return dict(run, status=-1, error=f"launch: exit code {child.returncode} {err.strip()[:200]}")
        with open(self.result.name, encoding="ascii") as file:
            _, _, status, wall, user, system, rss, minor, major = (int(x) for x in file.read().split(","))
        run.update(status=status, cpu_s=(user + system) / 1e6, user_s=user / 1e6, sys_s=system / 1e6, wall_s=wall / 1e9,
                   peak_rss_kib=rss, minor_faults=minor, major_faults=major)
        for field, pattern in (("ns_per_op", r"ns/op=([\d.]+)"), ("ops_per_s", r"ops/s=([\d.]+)"),
                               ("kept_kib", r"^waited +rss_kib=(\d+)"), ("steady_faults", r"^steady +faults=(\d+)")):
            found = re.findall(pattern, out, re.M)
            run[field] = float(found[-1]) if found else ""
        if status >= 512:
            run["error"] = f"cannot be started: {os.strerror(status - 512)}"
        elif status >= 256:
            run["error"] = f"{signal.Signals(status - 256).name} {err.strip()[-200:]}".strip()
        elif status:
            run["error"] = f"exit code {status} {err.strip()[-200:]}".strip()
        elif "cannot be preloaded" in err:
            run["error"] = "the library was not preloaded"
        elif run["ns_per_op"] == "":
            run["error"] = "no figures in its output"
        return run


def find_programs(given):
    here = os.path.dirname(os.path.abspath(__file__))
    for place in [given] if given else [os.environ.get("BENCH_DIR"), here, "bench"]:
        if place and os.access(os.path.join(place, "launch"), os.X_OK):
            return os.path.abspath(place)
    wrong("the bench programs are not built: run make bench-programs, or give --programs, the build tree's bench")


def find_allocators(options, bench):
    """name -> path ("" for glibc). What was asked for by name and is not there is an error, the rest a remark."""
    asked = [a.partition("=")[::2] for a in options.allocator]
    given = dict(a for a in asked if a[1])
    if options.hakmem:
        given["hakmem"] = options.hakmem
    wanted, found, missing = [a[0] for a in asked] or ["glibc", "hakmem", *PACKAGES], {}, []
    if options.hakmem and "hakmem" not in wanted:
        wanted.append("hakmem")
    for name in dict.fromkeys(wanted):
        if name in given:
            choices = (os.path.realpath(given[name]),)
        elif name == "glibc":
            found[name] = ""
            continue
        elif name == "hakmem":
            near = [os.environ.get("HAKMEM") or "", *(os.path.join(bench.programs, "..", d, "libhakmem.so.0")
                                                      for d in (".libs", "lib/.libs"))]
            choices = [os.path.realpath(p) for p in near if p and os.path.exists(p)][:1]
        elif name in PACKAGES:
            choices = PACKAGES[name]
        else:
            wrong(f"unknown allocator {name}: glibc, hakmem, {', '.join(PACKAGES)}, or NAME=PATH")
        why = "not found"
        for choice in choices:
            served, why = bench.served_by("tiny_hot", choice)
            if served and os.path.basename(served).startswith(os.path.basename(choice).split(".so")[0] + ".so") \
                    if "/" not in choice else served == choice:
                found[name] = served
                break
            why = why or f"{choice} does not serve malloc, {served} does"
        else:
            note(f"{name} is left out: {why}")
            missing += [name] if options.allocator or name in given else []
    return found, missing


def prove(bench, lines, allocators):
    """(program, allocator) -> why it is not served by that allocator. Empty when all is well."""
    reasons = {}
    for program in sorted({command.split()[0] for command in lines.values()}):
        for name, path in allocators.items():
            served, why = bench.served_by(program, path)
            right = served == path if path else served and re.match(r"libc[.-]", os.path.basename(served))
            if not right:
                reasons[program, name] = f"not served by {name}: {why or served}"
    return reasons


def disturbance():
    """Load average, and CPU time stolen by the host so far, in ticks."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            steal = int(file.readline().split()[8])
    except (OSError, ValueError, IndexError):
        steal = 0
    return os.getloadavg()[0], steal


def table(rows, head):
    rows = [head, *rows]
    width = [max(len(row[i]) for row in rows if len(row) == len(head)) for i in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(w) if i < 2 or len(row) < len(head) else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(row, width))).rstrip())
    print()


def report(lines, allocators, runs):
    """runs: (line, allocator) -> measured runs. Returns how many (line, allocator) pairs had a failure."""
    rows, ratios, failures = [], [], 0
    for line in lines:
        good = {a: [r for r in runs[line, a] if not r["error"]] for a in allocators}
        least = {a: min(r["cpu_s"] for r in good[a]) for a in allocators if good[a]}
        peak = {a: statistics.median(r["peak_rss_kib"] for r in good[a]) for a in least}
        rivals = [a for a in least if a != "hakmem"] or list(least)
        best, smallest = (min((d[a] for a in rivals), default=None) for d in (least, peak))
        summary = [line, ""]
        for a in allocators:
            failed = [r["error"] for r in runs[line, a] if r["error"]]
            failures += bool(failed)
            if a in least:
                mid = lambda field: statistics.median(r[field] for r in good[a])
                shown = lambda field: f"{mid(field):.0f}" if good[a][0][field] != "" else ""
                rows.append([line, a, f"{least[a]:.3f}", f"{mid('cpu_s'):.3f}", f"{least[a] / best:.2f}",
                             f"{mid('wall_s'):.3f}", f"{peak[a]:.0f}", f"{peak[a] / smallest:.2f}",
                             f"{mid('minor_faults'):.0f}", f"{min(r['ns_per_op'] for r in good[a]):.2f}",
                             shown("kept_kib"), shown("steady_faults")])
            if failed:
                rows.append([line, a, f"FAILED {len(failed)} of {len(runs[line, a])} runs: {failed[0]}"])
            summary.append(f"{least[a] / best:.2f}/{peak[a] / smallest:.2f}" + "!" * bool(failed)
                           if a in least else "FAILED")
        ratios.append((summary, {a: (least[a] / best, peak[a] / smallest) for a in least}))
    table(rows, ["line", "allocator", "CPU min s", "median", "/ best", "wall s", "RSS KiB", "/ best", "faults", "ns/op",
                 "kept KiB", "steady faults"])
    print("CPU minimum / median peak RSS, each over the best rival (not hakmem) of that line; ! = some runs failed")
    whole = [r for _, r in ratios if len(r) == len(allocators)]
    mean = ["geometric mean", f"{len(whole)}"]
    for a in allocators:
        mean.append("/".join(f"{math.exp(statistics.fmean(math.log(r[a][i]) for r in whole)):.2f}" for i in (0, 1))
                    if whole else "-")
    table([row for row, _ in ratios] + [mean], ["line", "", *allocators])
    if "hakmem" in allocators:
        slow = [row[0] for row, r in ratios if "hakmem" in r and r["hakmem"][0] > 1]
        print(f"hakmem is slower than the best rival on {len(slow)} of {len(ratios)} lines"
              + (": " + ", ".join(slow) if slow else ""))
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--allocator", action="append", default=[], metavar="NAME[=PATH]",
                        help="glibc, hakmem, mimalloc, jemalloc, tcmalloc, or any library; default: all that are found")
    parser.add_argument("--hakmem", metavar="PATH", help="libhakmem.so; default: the build tree's, or $HAKMEM")
    parser.add_argument("--bench", action="append", default=[], metavar="NAME",
                        help="a line, a program, or a pattern such as 'comprehensive/*/16'; default: all")
    parser.add_argument("--list", action="store_true", help="print the lines and their commands")
    parser.add_argument("--runs", type=int, default=5, help="rounds that count (%(default)s)")
    parser.add_argument("--warmup", type=int, default=1, help="rounds before, that do not (%(default)s)")
    parser.add_argument("--output", metavar="FILE.csv", help="every run, warm-up too, one a row")
    parser.add_argument("--programs", metavar="DIR", help="where the built bench programs are")
    parser.add_argument("--seed", type=int, help="of the order of the runs; default: a new one")
    parser.add_argument("--timeout", type=float, default=300, help="seconds that a run may take (%(default)s)")
    options = parser.parse_args()
    if options.runs < 1 or options.warmup < 0:
        wrong("--runs must be at least 1, --warmup at least 0")

    lines = LINES
    if options.bench:
        lines = {n: c for n, c in LINES.items()
                 if any(fnmatch.fnmatch(n, b) or n.startswith(b.rstrip("/") + "/") for b in options.bench)}
        for b in options.bench:
            if not any(fnmatch.fnmatch(n, b) or n.startswith(b.rstrip("/") + "/") for n in LINES):
                wrong(f"no bench {b}: see --list")
    if options.list:
        print("\n".join(f"{name:28} {command}" for name, command in lines.items()))
        return 0
    bench = Bench(find_programs(options.programs), options.timeout)
    writer = None
    if options.output:
        try:
            output = open(options.output, "w", newline="", encoding="utf-8")
        except OSError as error:
            wrong(f"{options.output}: {error.strerror}")
        writer = csv.DictWriter(output, FIELDS)
        writer.writeheader()
    allocators, missing = find_allocators(options, bench)
    if not allocators:
        wrong("no allocator to measure")
    for name, path in allocators.items():
        print(f"{name:12} {path or 'no preload'}")
    reasons = prove(bench, lines, allocators)
    for (program, _), why in reasons.items():
        note(f"{program}: {why}")

    seed = options.seed if options.seed is not None else random.randrange(1 << 30)
    rnd, runs = random.Random(seed), {(line, a): [] for line in lines for a in allocators}
    print(f"{len(lines)} lines, {options.warmup} + {options.runs} rounds, seed {seed}\n", flush=True)
    (load, steal), begin = disturbance(), time.monotonic()
    for number in range(-options.warmup, options.runs):
        for line in rnd.sample(list(lines), len(lines)):
            for a in rnd.sample(list(allocators), len(allocators)):
                why = reasons.get((lines[line].split()[0], a))
                run = dict(dict.fromkeys(FIELDS, ""), status=-1, error=why) if why else \
                    bench.run(lines[line], allocators[a])
                run.update(bench=line, allocator=a, round=max(number, 0) if number >= 0 else number + options.warmup,
                           warmup=int(number < 0))
                if number >= 0 or run["error"]:         # a failure counts in the warm-up too
                    runs[line, a].append(run)
                if writer:
                    writer.writerow(run)
                    output.flush()
        note(f"{'warm-up' if number < 0 else 'round'} "
             f"{(number + options.warmup if number < 0 else number) + 1} done, {time.monotonic() - begin:.0f} s")
    failures = report(lines, allocators, runs)
    load_end, steal_end = disturbance()
    stolen = (steal_end - steal) / os.sysconf("SC_CLK_TCK")
    print(f"{os.cpu_count()} CPUs, load {load:.2f} at the start and {load_end:.2f} at the end, "
          f"{stolen:.1f} s stolen by the host in {time.monotonic() - begin:.0f} s")
    if writer:
        output.close()
    if failures or missing:
        note(f"{failures} lines with failed runs" + (f", missing: {', '.join(missing)}" if missing else ""))
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
