#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
"""A model of what libhakmem's threads share, for 1 to 256 processors.

Threads work by themselves and, now and then, touch what others touch: cache lines that move from processor to processor, one
transfer after the other, and locks, which lie in such lines and are held for a while. It is simulated event by event; the same
seed gives the same figures. docs/scaling.md says what it assumes, and how far it was compared with real runs.

  bench/scaling_model.py [--threads 1,2,4] [--costs FILE] [--remedy] [--svg FILE] [NAME ...]   throughput of each processor
  bench/scaling_model.py --processors 2 --threads 1,2,4,8,16,32,64                              as on a machine with two
  bench/scaling_model.py --check                                                                quick tests of the model, TAP

--costs reads lines "NAME NS" of bench/scaling_costs; the options --near and --far set what they cannot say of this machine.
"""
import argparse
import heapq
import math
import random
import sys

# In ns. Measured by bench/scaling_costs on an AMD EPYC (Zen 3); `near` and `far` are of larger machines, see docs/scaling.md.
COSTS = {
    "rmw": 3,          # read-modify-write of a line that is in the own cache
    "lock": 12,        # lock and unlock, nobody else wants it
    "near": 60,        # a line comes from another processor of the same group
    "far": 180,        # and of another one
    "looks": 2500,     # a thread that wants a lock looks at it for so long before it sleeps
    "wake": 1500,      # the call that wakes a sleeper, for the one who wakes
    "woken": 6000,     # until the sleeper runs
    "slice": 3000000,  # of a processor that several threads want
    "slot": 35, "slab": 32, "words": 11, "run_behind_0": 107, "big": 5200,
}
GROUP = 16  # processors that are near each other


class Line:
    """A cache line: one owner; requests are served in order of arrival, each takes a transfer."""
    __slots__ = ("owner", "free_at")

    def __init__(self):
        self.owner, self.free_at = None, 0.0


class Lock:
    """As lib/lock.c: looks for a while, then sleeps; who comes takes it if it is free."""
    __slots__ = ("line", "held", "waited", "spinning", "asleep")

    def __init__(self):
        self.line, self.held, self.waited, self.spinning, self.asleep = Line(), False, False, [], []


class Model:
    """Threads on processors. A thread is a generator of steps:
    ("work", ns), ("move", times, ns each), ("line", line), ("lock", lock), ("unlock", lock), ("op", count)."""
    def __init__(self, threads, costs, processors=None, group=GROUP, seed=1, exponential=False):
        self.cost, self.group, self.random = costs, group, random.Random(seed)
        self.processors = processors or threads
        self.threads, self.exponential = threads, exponential
        self.now, self.seq, self.events = 0.0, 0, []
        self.ops = self.counted_ops = 0
        self.state = {}           # thread: [generator, processor or None, begin of its slice]
        self.ready, self.idle = [], list(range(self.processors - 1, -1, -1))
        self.waits = 0

    def distance(self, a, b):
        return self.cost["near"] if a // self.group == b // self.group else self.cost["far"]

    def mean_distance(self, cpu):
        """Of a line that any other processor may have had."""
        others = min(self.processors, self.threads) - 1
        if not others:
            return 0.0
        first = cpu // self.group * self.group
        near = min(self.group, others + 1 - first) - 1
        return (near * self.cost["near"] + (others - near) * self.cost["far"]) / (others + 1)

    def after(self, ns, thread):
        self.seq += 1
        heapq.heappush(self.events, (self.now + ns, self.seq, thread))

    def start(self, generators):
        for i, g in enumerate(generators):
            self.state[i] = [g, None, 0.0]
            self.ready.append(i)
        self.dispatch()

    def dispatch(self):
        while self.ready and self.idle:
            t = self.ready.pop(0)
            self.state[t][1], self.state[t][2] = self.idle.pop(), self.now
            self.after(0, t)

    def leave(self, thread):
        """The thread sleeps, or its slice is over: its processor is another's."""
        self.idle.append(self.state[thread][1])
        self.state[thread][1] = None
        self.dispatch()

    def transfer(self, line, cpu):
        """When the line has come."""
        begin = max(self.now, line.free_at)
        cost = self.cost["rmw"] if line.owner in (None, cpu) else self.distance(line.owner, cpu)
        if self.exponential:
            cost = self.random.expovariate(1 / cost)
        line.owner, line.free_at = cpu, begin + cost
        return line.free_at - self.now

    def run(self, until_ops, warm=0.25):
        """Throughput in ops a ns, after the first quarter."""
        begin_ops = begin = None
        while self.ops < until_ops:
            self.now, _, thread = heapq.heappop(self.events)
            if begin is None and self.ops >= until_ops * warm:
                begin, begin_ops = self.now, self.ops
            s = self.state[thread]
            if s[1] is None:  # woken
                self.ready.append(thread)
                self.dispatch()
                continue
            if self.ready and self.now - s[2] > self.cost["slice"]:
                self.ready.append(thread)
                self.leave(thread)
                continue
            self.step(thread, s)
        return (self.ops - begin_ops) / (self.now - begin)

    def step(self, thread, s):
        waiting = s[3] if len(s) > 3 else None
        what = waiting or next(s[0])
        if what[0] == "work":
            self.after(self.random.expovariate(1 / what[1]) if self.exponential else what[1], thread)
        elif what[0] == "move":
            times = what[1] * self.mean_distance(s[1])
            self.after(times, thread)
        elif what[0] == "line":
            self.after(self.transfer(what[1], s[1]), thread)
        elif what[0] == "op":
            self.ops += what[1]
            self.after(0, thread)
        elif what[0] == "lock":
            self.lock(thread, s, what[1], waiting)
        else:
            self.unlock(thread, s, what[1])

    def lock(self, thread, s, lock, waiting):
        delay = self.transfer(lock.line, s[1])
        if not lock.held:
            lock.held = True
            if waiting:
                s.pop()
                lock.waited = lock.waited or self.now > waiting[2]  # it has slept, and others may
                if thread in lock.spinning:
                    lock.spinning.remove(thread)
            self.after(delay + self.cost["lock"] / 2, thread)
            return
        self.waits += 1
        if not waiting:
            s.append(("lock", lock, self.now + self.cost["looks"]))
            lock.spinning.append(thread)
            self.after(self.cost["looks"], thread)  # unless it is given up before, see unlock
        elif self.now >= waiting[2]:
            if thread in lock.spinning:
                lock.spinning.remove(thread)
            lock.asleep.append(thread)
            lock.waited = True
            self.leave(thread)

    def unlock(self, thread, s, lock):
        lock.held = False
        delay = self.transfer(lock.line, s[1]) + self.cost["lock"] / 2
        if lock.waited and lock.asleep:
            delay += self.cost["wake"]
            lock.waited = False
            woken = lock.asleep.pop(0)
            self.state[woken][3] = ("lock", lock, self.now)
            self.after(delay + self.cost["woken"], woken)
        if lock.spinning:  # all of them see it; the first one's request for the line is served first
            first = lock.spinning[0]
            if self.state[first][1] is not None:
                self.now_retry(first, lock, delay)
        self.after(delay, thread)

    def now_retry(self, thread, lock, delay):
        """Takes the lock for a thread that looks at it: its own event is still to come, and must then go on."""
        s = self.state[thread]
        lock.held = True
        lock.spinning.pop(0)
        got = delay + self.transfer(lock.line, s[1])
        s.pop()
        self.events = [e for e in self.events if e[2] != thread]
        heapq.heapify(self.events)
        self.after(got, thread)


# ---- the library's shared structures ---------------------------------------------------------------------------------

class Shared:
    """Lines and locks that all threads have in common, in `shards` of each kind."""
    def __init__(self, threads, shards):
        def several(make, kind):
            return [make() for _ in range(shards.get(kind, 1))]
        self.meta = several(Lock, "meta")        # words of bitmaps, meta.c
        self.pool = several(Lock, "pool")        # growth and runs, superslab.c
        self.threads = several(Lock, "threads")  # lists of heaps, thread.c
        self.bits = several(Line, "slots")       # the words of free slots, and their hint
        self.count = several(Line, "count")      # taken, dirty, reused
        self.kernel = Lock()                     # the address space of the process
        self.big = Lock()                        # table of big blocks
        self.inbox = [Line() for _ in range(threads)]


def mine(kind, thread):
    """That thread's part of a structure that is shared out."""
    return kind[thread % len(kind)]


def slot(sh, t, cost, count=1.0):
    """Takes a single slot, or gives it back."""
    yield "work", cost["slot"] / 2
    yield "line", mine(sh.bits, t)
    for _ in range(int(count)):
        yield "line", mine(sh.count, t)


def words(sh, t, cost):
    """A slab's bitmaps, got or given back."""
    lock = mine(sh.meta, t)
    yield "lock", lock
    yield "move", 1.0  # the lists; the array's own first word
    yield "work", cost["words"]
    yield "unlock", lock


def post(sh, t, rnd, local):
    """A slab is pushed onto the inbox of its owner: the neighbour, or anybody."""
    n = len(sh.inbox)
    other = t ^ 1 if local else rnd.randrange(n)
    yield "line", sh.inbox[other % n]


def collect(sh, t):
    yield "line", sh.inbox[t]


def run(sh, t, cost, before, inside):
    """A run of slots, under the pool lock. before: ns of search; inside: transfers."""
    lock = mine(sh.pool, t)
    yield "lock", lock
    yield "work", cost["run_behind_0"] / 2 + before
    yield "move", inside
    yield "line", mine(sh.bits, t)
    yield "line", mine(sh.count, t)
    yield "unlock", lock


def guarded(lock, ns, inside=0.0):
    yield "lock", lock
    yield "work", ns
    if inside:
        yield "move", inside
    yield "unlock", lock


# name: (what it is, ns an operation alone, transfers an operation beside what follows, {event: how often an operation}).
# The rates are counted: bench/transfers.py with 16 threads, HAKMEM_STATS=json, and bench programs with one thread for the ns.
WORK = {
    "local": ("independent, 16 to 1040 B: all in the threads' caches", 12, 0.0, {"slot": 1e-6}),
    "slabs": ("independent, swing, 1 to 4 KiB: refills, flushes, slabs come and go", 33, 0.16,
              {"words": 0.035, "slot": 0.018}),
    "pairs": ("remote pipeline: each pair of threads, one allocates, one frees", 35, 0.16,
              {"post_pair": 0.0063, "collect": 0.0063}),
    "xmalloc": ("threads xmalloc: producers and consumers, everybody's blocks", 42, 0.58, {"post": 0.027, "collect": 0.013}),
    "larson": ("threads larson, 2000 operations a thread's life", 40, 0.62,
               {"post": 0.013, "collect": 0.012, "birth": 0.0005, "slot": 0.001}),
    "birth": ("a thread is made, allocates a block and ends", 33000, 60.0,
              {"birth": 1, "words": 2, "slot": 2, "kernel_thread": 1}),
    "churn": ("threads of 500 blocks, half of which they inherit", 95000, 1400.0,
              {"birth": 1, "words": 40, "slot": 10, "post": 13, "collect": 10, "kernel_thread": 1}),
    "runs": ("independent, 40 KB to 1 MB, 50 live", 760, 11.5, {"run": 1.07, "slot": 0.5}),
    "big": ("independent, 2.2 to 9 MB, 4 live, in slots", 2500, 39.0, {"run": 1.45, "slot": 1.2}),
    "mapped": ("blocks of 32 MiB and more: mappings of their own, nothing touched", 500, 2.0, {"big": 1}),
}
NOW = {"meta": 8}  # what the library shares out so far
REMEDY = {"meta": 256, "pool": 64, "threads": 64, "slots": 64, "count": 256}


def events_of(kind, sh, t, cost, rnd):
    if kind == "slot":
        return slot(sh, t, cost)
    if kind == "words":
        return words(sh, t, cost)
    if kind in ("post", "post_pair"):
        return post(sh, t, rnd, kind == "post_pair")
    if kind == "collect":
        return collect(sh, t)
    if kind == "run":
        return run(sh, t, cost, 150, 6.5)
    if kind == "birth":  # found, adopted and drained; and its death
        return (s for part in (guarded(mine(sh.threads, t), 40, 4.0), guarded(mine(sh.threads, t), 30, 3.0)) for s in part)
    if kind == "kernel_thread":
        return guarded(sh.kernel, 1500)
    return (s for part in (guarded(sh.kernel, cost["big"] / 2), guarded(sh.big, 40, 2.0), guarded(sh.big, 40, 2.0),
                           guarded(sh.kernel, cost["big"] / 2)) for s in part)


def thread_of(name, t, sh, cost, rnd):
    """The endless life of a thread: a stretch of operations, then one of its events."""
    _, ns, moves, rates = WORK[name]
    total = sum(rates.values())
    kinds, weights = list(rates), [r / total for r in rates.values()]
    stretch = 1 / total
    if stretch > 1e5:
        stretch = 1e5
    yield "work", rnd.random() * ns * stretch + 1
    while True:
        yield "work", ns * stretch * (0.5 + rnd.random())
        if moves:
            yield "move", moves * stretch
        yield from events_of(rnd.choices(kinds, weights)[0], sh, t, cost, rnd)
        yield "op", stretch


def throughput(name, threads, costs, shards=None, processors=None, group=GROUP, events=30000, seed=1):
    """Operations in a ns."""
    model = Model(threads, costs, processors, group, seed)
    sh = Shared(threads, shards or NOW)
    rnd = random.Random(seed)
    model.start([thread_of(name, t, sh, costs, random.Random(rnd.random())) for t in range(threads)])
    total = sum(WORK[name][3].values())
    each = max(events // threads, 60)
    return model.run(each * threads / max(total, 1e-5))


# ---- what can be said without simulation -----------------------------------------------------------------------------

def machine_repair(threads, think, service):
    """Mean value analysis of threads that think and then queue for one server, both exponential: ops a ns, exactly."""
    queue = 0.0
    rate = 0.0
    for n in range(1, threads + 1):
        response = service * (1 + queue)
        rate = n / (think + response)
        queue = rate * response
    return rate


def one_line(think, line):
    while True:
        yield "work", think
        yield "line", line
        yield "op", 1


def lonely_line(threads, think, costs, exponential, ops=40000, seed=1):
    model = Model(threads, costs, group=threads, seed=seed, exponential=exponential)
    line = Line()
    model.start([one_line(think, line) for _ in range(threads)])
    return model.run(ops)


def one_lock(think, hold, lock):
    while True:
        yield "work", think
        yield "lock", lock
        yield "work", hold
        yield "unlock", lock
        yield "op", 1


def check():
    """Tests of the model itself."""
    number = 0
    failed = False

    def ok(holds, what):
        nonlocal number, failed
        number += 1
        failed = failed or not holds
        print(("ok" if holds else "not ok"), number, "-", what)

    flat = dict(COSTS, rmw=50, near=50, far=50)
    for threads, think in ((1, 500), (8, 500), (32, 500), (64, 5000)):
        got, want = lonely_line(threads, think, flat, True), machine_repair(threads, think, 50)
        ok(abs(got / want - 1) < 0.04, f"{threads} threads at one line: as the closed form ({got:.5f}, {want:.5f})")
    for threads in (1, 4, 10, 64):
        got = lonely_line(threads, 450, flat, False, 20000)
        want = min(threads / 500, 1 / 50)
        ok(abs(got / want - 1) < 0.02, f"{threads} threads at one line, all steps equal: the asymptotes ({got:.5f}, {want:.5f})")
    model = Model(16, COSTS)
    lock = Lock()
    model.start([one_lock(100, 1000, lock) for _ in range(16)])
    got = model.run(4000)
    ok(1 / 4000 < got < 1 / 1000, f"a lock serves one at a time ({got:.6f} ops/ns)")
    costs = dict(COSTS)
    for name in WORK:
        rates = [throughput(name, t, costs, events=3000) for t in (1, 2, 8)]
        ok(rates[0] > 0 and rates[1] / 2 <= rates[0] * 1.02 and rates[2] / 8 <= rates[1] / 2 * 1.05,
           f"{name}: no processor does more because there are others")
        again = throughput(name, 8, costs, events=3000)
        ok(again == rates[2], f"{name}: the same seed gives the same figure")
    one = throughput("local", 1, costs, events=2000)
    many = throughput("local", 128, costs, events=2000)
    ok(abs(many / 128 / one - 1) < 0.02, "threads that share nothing do not slow each other")
    plain, better = (throughput("slabs", 64, costs, s, events=6000) for s in (None, REMEDY))
    ok(better > plain, "what is shared out scales better")
    two = throughput("local", 8, costs, processors=2, events=2000)
    ok(abs(two / (2 * one) - 1) < 0.05, "eight threads on two processors do the work of two")
    print(f"1..{number}")
    return 1 if failed else 0


# ---- output -----------------------------------------------------------------------------------------------------------

def svg(rows, threads, path):
    """A line for each kind of work: throughput of a processor, 1 is that of one alone."""
    wide, high, left, top = 640, 360, 50, 20
    colours = ["#1b6ca8", "#c0392b", "#1e8449", "#8e44ad", "#d68910", "#117a65", "#7f8c8d", "#2c3e50", "#ba4a00", "#6c3483"]

    def x(t):
        return left + (wide - left - 110) * math.log2(t) / max(1, math.log2(threads[-1]))

    def y(v):
        return top + (high - top - 40) * (1 - v)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" font-family="sans-serif" font-size="11">',
           "<!-- SPDX-License-Identifier: MIT", "SPDX-FileCopyrightText: 2026 The libhakmem authors",
           "Made by bench/scaling_model.py. -->",
           f'<rect width="{wide}" height="{high}" fill="white"/>']
    for v in (0, 0.25, 0.5, 0.75, 1):
        out.append(f'<path d="M{left} {y(v):.1f}H{x(threads[-1]):.1f}" stroke="#ddd"/><text x="{left - 8}" y="{y(v) + 4:.1f}" '
                   f'text-anchor="end">{v}</text>')
    for t in threads:
        out.append(f'<text x="{x(t):.1f}" y="{high - 22}" text-anchor="middle">{t}</text>')
    out.append(f'<text x="{left}" y="{high - 6}">threads, a processor each; throughput of a processor, 1 = alone</text>')
    ends = []
    for i, (name, values) in enumerate(rows):
        points = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in zip(threads, values))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colours[i % len(colours)]}" stroke-width="2"/>')
        ends.append([y(values[-1]) + 4, name, colours[i % len(colours)]])
    ends.sort()
    for i in range(1, len(ends)):
        ends[i][0] = max(ends[i][0], ends[i - 1][0] + 12)
    for at, name, colour in ends:
        out.append(f'<text x="{x(threads[-1]) + 6:.1f}" y="{at:.1f}" fill="{colour}">{name}</text>')
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out + ["</svg>", ""]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", default="1,2,4,8,16,32,64,128,256")
    parser.add_argument("--processors", type=int, help="fewer than threads: they take turns")
    parser.add_argument("--costs", help="what bench/scaling_costs printed")
    parser.add_argument("--near", type=float, help=f"ns of a transfer among {GROUP} processors ({COSTS['near']})")
    parser.add_argument("--far", type=float, help=f"ns of any other transfer ({COSTS['far']})")
    parser.add_argument("--remedy", action="store_true", help="with the shared structures shared out, as docs/scaling.md proposes")
    parser.add_argument("--events", type=int, default=30000, help="how long to simulate")
    parser.add_argument("--ns", action="store_true", help="print ns an operation of all threads together")
    parser.add_argument("--svg", metavar="FILE", help="draw it, too")
    parser.add_argument("--check", action="store_true", help="test the model")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of " + ", ".join(WORK))
    args = parser.parse_args()
    if args.check:
        return check()
    if set(args.names) - set(WORK):
        parser.error("there is no work called " + ", ".join(sorted(set(args.names) - set(WORK))))
    costs = dict(COSTS)
    if args.costs:
        with open(args.costs, encoding="utf-8") as f:
            for line in f:
                name, value = line.split()
                if name in costs:
                    costs[name] = float(value)
    for name in ("near", "far"):
        if getattr(args, name):
            costs[name] = getattr(args, name)
    threads = [int(t) for t in args.threads.split(",")]
    print("| work | " + " | ".join(str(t) for t in threads) + " |")
    print("|---" * (len(threads) + 1) + "|")
    rows = []
    for name in args.names or WORK:
        rates = [throughput(name, t, costs, REMEDY if args.remedy else None, args.processors, events=args.events)
                 for t in threads]
        one = throughput(name, 1, costs, REMEDY if args.remedy else None, events=args.events)
        each = [r / min(t, args.processors or t) / one for t, r in zip(threads, rates)]
        rows.append((name, each))
        print(f"| {name} | " + " | ".join(f"{1 / r:.4g}" if args.ns else f"{v:.2f}" for v, r in zip(each, rates)) + " |",
              flush=True)
    if args.svg:
        svg(rows, threads, args.svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
