#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# phased.py [--programs DIR] [--hakmem FILE] [--rounds N] [--seconds N] [--held-out] [--work NAME]... [--setting NAME]...:
# the workloads of bench/phased under every fixed setting, the default, and what is learned, interleaved; the median cost of
# each, and the best fixed setting of each workload. The list of settings and the workloads were fixed before the learner
# was tuned; --held-out runs other seeds, sizes and rows of phases, which nothing was tuned with.
import argparse
import os
import re
import statistics
import subprocess
import sys

LEARNING = ("ace", "learned")
SETTINGS = {
    "default": "HAKMEM_DISABLE_LEARNING=1",
    "keep": "HAKMEM_DISABLE_LEARNING=1 HAKMEM_DIRTY_PERCENT=100 HAKMEM_DIRTY_KB=65536 HAKMEM_PURGE_MS=5000",
    "keep-all": "HAKMEM_DISABLE_LEARNING=1 HAKMEM_DISABLE_PURGE=1",
    "eager": "HAKMEM_DISABLE_LEARNING=1 HAKMEM_PURGE_MS=100 HAKMEM_DIRTY_KB=1024 HAKMEM_DIRTY_PERCENT=3",
    "slow": "HAKMEM_DISABLE_LEARNING=1 HAKMEM_PURGE_MS=4000",
    "quick": "HAKMEM_DISABLE_LEARNING=1 HAKMEM_PURGE_MS=250",
    "big-4m": "HAKMEM_DISABLE_LEARNING=1 HAKMEM_BIG_KB=4096",
    "no-prefault": "HAKMEM_DISABLE_LEARNING=1 HAKMEM_DISABLE_PREFAULT=1",
    "no-bigcache": "HAKMEM_DISABLE_LEARNING=1 HAKMEM_DISABLE_BIGCACHE=1",
    "huge": "HAKMEM_DISABLE_LEARNING=1 HAKMEM_HUGEPAGES=thp",
    "ace": "HAKMEM_DISABLE_LEARNING=0 HAKMEM_EVO_POLICY=canary",
    "learned": "HAKMEM_DISABLE_LEARNING=0 HAKMEM_EVO_POLICY=learn",
}
WORK = ["bursts", "batch", "growing", "pairs", "births", "sparse"]
ROWS = ["sparse,batch", "growing,bursts", "pairs,sparse,births"]


def run(options, work, setting, seed):
    env = {k: v for k, v in os.environ.items() if not k.startswith("HAKMEM_") and k != "LD_PRELOAD"}
    env.update(word.split("=", 1) for word in SETTINGS[setting].split())
    env["LD_PRELOAD"] = options.hakmem
    out = subprocess.run([os.path.join(options.programs, "phased"), work, str(seed), str(options.seconds),
                          "1" if options.held_out else "0"], env=env, capture_output=True, text=True, check=True,
                         stdin=subprocess.DEVNULL)
    if out.stderr.strip():
        sys.exit(f"phased.py: {work} under {setting}: {out.stderr.strip()}")
    return {k: float(v) for k, v in re.findall(r"(cost_ms|cpu_ms|idle_mib_s|faults)=([\d.]+)", out.stdout)}


def main():
    parser = argparse.ArgumentParser(description="Phased workloads under fixed and learned settings.")
    parser.add_argument("--programs", default="bench")
    parser.add_argument("--hakmem", default="lib/.libs/libhakmem.so.0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--work", action="append")
    parser.add_argument("--setting", action="append", choices=SETTINGS)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    options.hakmem = os.path.realpath(options.hakmem)
    works = options.work or (WORK + ROWS if options.held_out else WORK)
    settings = options.setting or list(SETTINGS)
    cost = {}
    for turn in range(options.rounds):
        for work in works:
            # Each begins once, and goes either way: what else the machine does comes and goes in minutes.
            first = (turn * 5 + works.index(work)) % len(settings)
            order = settings[first:] + settings[:first]
            for setting in order if turn % 2 == 0 else reversed(order):
                figures = run(options, work, setting, (101 if options.held_out else 1) + turn)
                cost.setdefault((work, setting), []).append(figures)
                if options.verbose:
                    print(work, setting, figures, file=sys.stderr)
    median = {key: statistics.median(f["cost_ms"] for f in runs) for key, runs in cost.items()}
    print(f"{'cost_ms':22}" + "".join(f"{s:>12}" for s in settings))
    for work in works:
        best = min(median[work, s] for s in settings if s not in LEARNING)
        print(f"{work:22}" + "".join(f"{median[work, s]:11.0f}{'*' if median[work, s] == best else ' '}" for s in settings))
        spread = max((max(f["cost_ms"] for f in cost[work, s]) - min(f["cost_ms"] for f in cost[work, s]))
                     / median[work, s] for s in settings)
        learned = "".join(f"{s} is {median[work, s] / best:.3f} of the best fixed one, " for s in LEARNING if s in settings)
        print(f"{'':22}{learned}widest spread {spread * 100:.0f} %")
    # What does not depend on what else the machine does.
    for work in works:
        faults = [statistics.median(f["faults"] for f in cost[work, s]) for s in settings]
        print(f"{work + ', faults':22}" + "".join(f"{f:12.0f}" for f in faults))
    # Each workload counts the same: the geometric mean of the cost against the default.
    if "default" in settings:
        mean = {s: statistics.geometric_mean(median[w, s] / median[w, "default"] for w in works) for s in settings}
        print(f"{'all, of the default':22}" + "".join(f"{mean[s]:12.3f}" for s in settings))


main()
