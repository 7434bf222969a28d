# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
"""What bench/run and bench/report share: the table bench/lines, the fields of a run, and what is computed of runs.

Runs of one line in one round are a pair. The ratio of two allocators is the Hodges-Lehmann estimate of their pairs'
ratios, on logarithms, and its 95 % interval that of Wilcoxon's signed ranks: exact for any noise that hits both alike,
and a few wild rounds do not move them. It takes six pairs; with fewer there is no interval.
"""
import collections
import fnmatch
import math
import os
import re
import statistics
import sys
import textwrap

FOLDER = os.path.dirname(os.path.abspath(__file__))
# A row of the CSV. The numbers among them are empty in a run that failed before they could be taken.
WORDS = ("bench", "group", "figures", "allocator", "error", "date", "version", "library", "machine", "system")
NUMBERS = ("threads", "round", "warmup", "status", "cpu_s", "user_s", "sys_s", "wall_s", "peak_rss_kib", "minor_faults",
           "major_faults", "ns_per_op", "ops_per_s", "kept_kib", "steady_faults", "load", "steal_s", "jobs", "seed")
FIELDS = ("bench", "group", "threads", "figures", "allocator", "round", "warmup", *NUMBERS[3:15], "error", "load",
          "steal_s", "jobs", "seed", "date", "version", "library", "machine", "system")
PAIRS_AT_LEAST = 6
SMALL_HEAP_KIB, SMALL_HEAP_MORE_KIB = 8192, 256


def note(text):
    print(f"{os.path.basename(sys.argv[0])}: {' '.join(text.split())}", file=sys.stderr, flush=True)


def wrong(text):
    """Nothing can be done: exit code 2."""
    note(text)
    sys.exit(2)


# ---- the table -------------------------------------------------------------------------------------------------------

Line = collections.namedtuple("Line", "name group threads figures command")
Table = collections.namedtuple("Table", "lines groups quick allocators")


def thread_counts(word, cpus):
    def number(text):
        text = {"cpus": str(cpus), "2cpus": str(2 * cpus)}.get(text, text)
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"{word} is no number of threads")
        return int(text)
    first, dots, last = word.partition("..")
    if not dots:
        return [number(word)]
    first, last = number(first), number(last)
    return [first, *(1 << i for i in range(31) if first < 1 << i < last), *([last] if last > first else [])]


def read_table(paths, cpus=None):
    cpus = cpus or os.cpu_count() or 1
    table = Table({}, {}, [], {})
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                rows = file.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            wrong(f"{path}: {getattr(error, 'strerror', None) or error}")
        for number, row in enumerate(rows, 1):
            try:
                read_row(table, row.split(), cpus)
            except ValueError as error:
                wrong(f"{path}: line {number}: {error}")
    for line in table.lines.values():
        table.groups.setdefault(line.group, {})
    return table


def read_row(table, words, cpus):
    if not words or words[0].startswith("#"):
        return
    kind, words = words[0], words[1:]
    if kind == "line" and len(words) >= 5:
        name, group, threads, figures = words[:4]
        for t in thread_counts(threads, cpus):
            command = [re.sub(r"@t\b", str(t), w) for w in words[4:]]
            line = Line(re.sub(r"@t\b", str(t), name), group, t, frozenset(figures.split(",")) - {"-"}, command)
            if not line.figures <= {"ops", "steady", "kept", "core"}:
                raise ValueError(f"unknown figures {figures}")
            if line.name in table.lines:
                raise ValueError(f"{line.name} is there already")
            table.lines[line.name] = line
    elif kind == "group" and words:
        bars = dict(w.partition("=")[::2] for w in words[1:])
        if not set(bars) <= {"time", "rss", "mean-time", "mean-rss", "speedup"}:
            raise ValueError(f"unknown bar in {' '.join(words[1:])}")
        table.groups[words[0]] = {k: float(v) for k, v in bars.items()}
    elif kind == "quick":
        table.quick.extend(words)
    elif kind == "allocator" and len(words) >= 2:
        table.allocators[words[0]] = words[1:]
    else:
        raise ValueError(f"cannot be read: {kind} {' '.join(words)}"[:100])


def matches(name, pattern):
    """A line's name, a pattern, or the first parts of a name."""
    return fnmatch.fnmatchcase(name, pattern) or name.startswith(pattern.rstrip("/") + "/")


# ---- statistics ------------------------------------------------------------------------------------------------------

def ratio(pairs):
    """pairs: (a, b) -> estimate of a / b, and its 95 % interval, or None where the pairs are too few for one."""
    logs = [math.log(max(a, 1e-9) / max(b, 1e-9)) for a, b in pairs]
    n = len(logs)
    walsh = sorted((logs[i] + logs[j]) / 2 for i in range(n) for j in range(i + 1))
    estimate = math.exp(statistics.median(walsh))
    if n < PAIRS_AT_LEAST:
        return estimate, None
    ways = [1] + [0] * len(walsh)                       # in how many of the 2^n signs is the sum of ranks that
    for rank in range(1, n + 1):
        for total in range(len(walsh), rank - 1, -1):
            ways[total] += ways[total - rank]
    below, cut = 0, 0                                   # so many averages are cut off at each end
    while (below + ways[cut]) * 40 <= 1 << n:           # 2.5 % of them
        below += ways[cut]
        cut += 1
    return estimate, (math.exp(walsh[cut - 1]), math.exp(walsh[-cut]))


def within(interval, estimate, share):
    return interval is not None and interval[1] / estimate - 1 <= share and 1 - interval[0] / estimate <= share


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(max(v, 1e-9)) for v in values))


def mean_of_ratios(cells):
    """The geometric mean of independent ratios, and its interval, of theirs taken for that of a normal distribution."""
    mean = geometric_mean([c.ratio for c in cells])
    if any(c.interval is None for c in cells):
        return mean, None
    half = math.sqrt(sum((math.log(c.interval[1] / c.interval[0]) / 2) ** 2 for c in cells)) / len(cells)
    return mean, (mean * math.exp(-half), mean * math.exp(half))


# ---- what is computed of runs ----------------------------------------------------------------------------------------

def subject_of(asked, names):
    """The allocator that is compared with the others: the one asked for (None: not there), hakmem, or the first."""
    return asked if asked in names else None if asked else "hakmem" if "hakmem" in names else names[0]


def allocators_of(runs, subject):
    """In the order in which they are shown."""
    return sorted({r["allocator"] for r in runs}, key=lambda a: (a != subject, a != "glibc", a))


class Cell:
    """One allocator on one line: medians of what went well, and how it compares."""
    def __init__(self, runs):
        good = [r for r in runs if not r["error"] and not r["warmup"]]
        failed = [r for r in runs if r["error"]]        # a failure counts in the warm-up too
        self.runs, self.failed = len(good) + len(failed), len(failed)
        self.error = failed[0]["error"] if failed else ""
        self.good = {r["round"]: r for r in good}
        self.ratio = self.interval = self.rss_ratio = None

    def median(self, field):
        values = [r[field] for r in self.good.values() if r[field] != ""]
        return statistics.median(values) if values else None


class Versus:
    """Two allocators on one line: time of the rounds that both have run, and memory. None of both where there is none."""
    def __init__(self, mine, its, clock):
        pairs = [(r[clock], its.good[i][clock]) for i, r in mine.good.items() if i in its.good]
        self.ratio, self.interval = ratio(pairs) if pairs else (None, None)
        self.rss_ratio = mine.median("peak_rss_kib") / max(its.median("peak_rss_kib"), 1) if pairs else None


class Result:
    """One line. best and smallest: the rival (any but the subject) with the least time, and memory."""
    def __init__(self, name, runs, subject, clock):
        self.name, self.clock = name, clock
        self.group, self.threads = runs[0]["group"], runs[0]["threads"]
        self.core = "core" in runs[0]["figures"].split(",")
        by = collections.defaultdict(list)
        for r in runs:
            by[r["allocator"]].append(r)
        self.cells = {a: Cell(by[a]) for a in allocators_of(runs, subject)}
        good = {a: c for a, c in self.cells.items() if c.good}
        rivals = [a for a in good if a != subject] or list(good)
        self.best = min(rivals, key=lambda a: good[a].median(clock), default=None)
        self.smallest = min(rivals, key=lambda a: good[a].median("peak_rss_kib"), default=None)
        for cell in good.values():
            against = Versus(cell, good[self.best], clock)
            cell.ratio, cell.interval = against.ratio, against.interval
            cell.rss_ratio = cell.median("peak_rss_kib") / max(good[self.smallest].median("peak_rss_kib"), 1)

    def settled(self, subject, share):
        """Nothing is to be learned from more rounds."""
        cell = self.cells.get(subject)
        return (not self.core and cell is not None and cell.ratio is not None and self.best != subject
                and within(cell.interval, cell.ratio, share))


def analyse(runs, subject, clock="cpu_s", order=()):
    """A result for each line; in the order of the table, as far as that has them."""
    by, place = collections.defaultdict(list), {name: i for i, name in enumerate(order)}
    for r in runs:
        by[r["bench"]].append(r)
    return [Result(name, by[name], subject, clock) for name in sorted(by, key=lambda n: place.get(n, len(place)))]


def series(results):
    """stem -> {threads: result}, of those that are more than one."""
    found = collections.defaultdict(dict)
    for r in results:
        stem, _, last = r.name.rpartition("/")
        if last == str(int(r.threads)):
            found[stem][int(r.threads)] = r
    return {stem: dict(sorted(by.items())) for stem, by in found.items() if len(by) > 1}


def speedup(one, two, allocator):
    """Throughput of a line over that of another one, in the same rounds: as ratio(), or None."""
    a, b = (r.cells.get(allocator) for r in (two, one))
    pairs = [(r["ops_per_s"], b.good[i]["ops_per_s"]) for i, r in a.good.items()
             if i in b.good and r["ops_per_s"] != "" and b.good[i]["ops_per_s"] != ""] if a and b else []
    return ratio(pairs) if pairs else None


def verdicts(result, bars, subject):
    """The bars of a line: (text, holds) each."""
    cell, out = result.cells.get(subject), []
    if result.core or cell is None or result.best in (None, subject):
        return out
    if "time" in bars:
        reached = cell.interval[0] if cell.interval else cell.ratio
        out.append((f"time {bars['time']:.2f}", reached is not None and round(reached, 2) <= bars["time"]))
    if "rss" in bars:
        glibc = result.cells.get("glibc")
        small = glibc.median("peak_rss_kib") if glibc else None
        out.append((f"RSS {bars['rss']:.2f}", cell.rss_ratio is not None and (
            round(cell.rss_ratio, 2) <= bars["rss"] or small is not None and small < SMALL_HEAP_KIB
            and cell.median("peak_rss_kib") <= small + SMALL_HEAP_MORE_KIB)))
    return out


def span(interval):
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""


class Section:
    """A heading, a table (a head and rows of words; the first column is left-aligned), and remarks below it."""
    def __init__(self, heading, head=(), rows=(), remarks=()):
        self.heading, self.head, self.rows, self.remarks = heading, list(head), list(rows), list(remarks)

    def text(self):
        out, rows = [self.heading, "=" * len(self.heading)], [self.head, *self.rows] if self.head else []
        width = [max(len(r[i]) for r in rows) for i in range(len(self.head))]
        left = (0, len(width) - 1) if self.head and self.head[-1].endswith(("bars", "error", " is")) else (0,)
        out += ["  ".join(c.ljust(w) if i in left else c.rjust(w)
                          for i, (c, w) in enumerate(zip(r, width))).rstrip() for r in rows]
        return "\n".join(out + [textwrap.fill(r, 120, break_long_words=False, break_on_hyphens=False)
                                for r in self.remarks]) + "\n"

    def markdown(self):
        cell = lambda c: c.replace("|", "\\|")
        out = [f"## {self.heading}", ""]
        if self.head:
            out += ["| " + " | ".join(map(cell, r)) + " |" for r in (self.head, *self.rows)]
            out.insert(3, "|---" + "|---:" * (len(self.head) - 1) + "|")
            out.append("")
        for remark in self.remarks:
            out += [remark, ""]
        return "\n".join(out)


def number(value, form="s"):
    return "" if value is None else format(value, form)


class Report:
    """All sections, made of runs. Bars are counted on the way, for the summary."""
    def __init__(self, runs, subject, table, clock="cpu_s"):
        self.subject, self.groups, self.clock = subject, table.groups, clock
        self.names, self.results = allocators_of(runs, subject), analyse(runs, subject, clock, table.lines)
        self.compared = [r for r in self.results if not r.core]
        self.held, self.missed = 0, []

    def sections(self, details=False):
        out = [self.group(g) for g in self.group_names()] + self.threads() + self.parts()
        return out + (self.medians() if details else []) + self.failures() + self.rivals() + self.summary()

    def group_names(self):
        seen = dict.fromkeys(r.group for r in self.compared)
        return [g for g in self.groups if g in seen] + [g for g in seen if g not in self.groups]

    def judge(self, name, bars):
        """bars: (text, holds) each. The words for them."""
        self.held += sum(holds for _, holds in bars)
        self.missed += [f"{name} ({text})" for text, holds in bars if not holds]
        return ", ".join(text + (" held" if holds else " MISSED") for text, holds in bars)

    def rival(self, result):
        """Whether the subject has something to be compared with."""
        return self.subject in result.cells and result.best != self.subject

    def group(self, group):
        lines, rows = [r for r in self.compared if r.group == group], []
        for r in lines:
            interval = r.cells[self.subject].interval if self.rival(r) else None
            rows.append([r.name, *(self.shown(r.cells.get(a)) for a in self.names), span(interval), r.best or "",
                         self.judge(r.name, verdicts(r, self.groups.get(group, {}), self.subject))])
        whole = [r for r in lines if all(a in r.cells and r.cells[a].ratio for a in self.names)]
        if len(whole) > 1:
            rows.append(self.mean(group, whole))
        time_of = {"cpu_s": "CPU", "wall_s": "wall"}[self.clock]
        return Section(f"{group}: {time_of} time/peak RSS, over the best rival",
                       ["line", *self.names, f"{self.subject}: 95 %", "best", "bars"], rows)

    def mean(self, group, lines):
        cells = {a: [r.cells[a] for r in lines] for a in self.names}
        memory = {a: geometric_mean([c.rss_ratio for c in cells[a]]) for a in self.names}
        means = {a: mean_of_ratios(cells[a]) for a in self.names}
        bars, judged, interval = self.groups.get(group, {}), [], None
        if all(self.rival(r) for r in lines):
            mean, interval = means[self.subject]
            if "mean-time" in bars:
                judged.append((f"time {bars['mean-time']:.2f}",
                               round((interval or (mean,))[0], 2) <= bars["mean-time"]))
            if "mean-rss" in bars:
                judged.append((f"RSS {bars['mean-rss']:.2f}", round(memory[self.subject], 2) <= bars["mean-rss"]))
        return [f"geometric mean of {len(lines)}", *(f"{means[a][0]:.2f}/{memory[a]:.2f}" for a in self.names),
                span(interval), "", self.judge(f"geometric mean of {group}", judged)]

    def rivals(self):
        """The subject over each of the others, where both have run: whether its user would gain."""
        groups, rows = [g for g in self.group_names() if g != "machine"], []
        for rival in (a for a in self.names if a != self.subject):
            by = {g: [v for v in (Versus(r.cells[self.subject], r.cells[rival], self.clock) for r in self.compared
                                  if r.group == g and self.subject in r.cells and rival in r.cells) if v.ratio]
                  for g in groups}
            found = [v for of_group in by.values() for v in of_group]
            if found:
                interval, memory = mean_of_ratios(found)[1], geometric_mean([v.rss_ratio for v in found])
                speed = "time open" if not interval else \
                    "faster" if interval[1] < 1 else "slower" if interval[0] > 1 else "as fast"
                rows.append([rival, *(self.both(by[g]) for g in groups), self.both(found), span(interval), speed + ", "
                             + ("smaller" if memory < 0.995 else "larger" if memory >= 1.005 else "as large")])
        return [Section(f"{self.subject} over each: time/peak RSS, geometric means",
                        ["rival", *groups, "all lines", "95 %", f"{self.subject} is"], rows)] if rows else []

    @staticmethod
    def both(found):
        return f"{mean_of_ratios(found)[0]:.2f}/{geometric_mean([v.rss_ratio for v in found]):.2f}" if found else "-"

    @staticmethod
    def shown(cell):
        if cell is None:
            return "-"
        if cell.ratio is None:
            return "not served" if cell.error.startswith("not served") else "FAILED" if cell.failed else "-"
        return f"{cell.ratio:.2f}/{cell.rss_ratio:.2f}" + "!" * bool(cell.failed)

    def threads(self):
        """Throughput of each series over that of its first line, which has the fewest threads."""
        rows = []
        for stem, by in series(self.compared).items():
            first, *more = by
            for t in more:
                found = {a: speedup(by[first], by[t], a) for a in self.names}
                mine, judged, bar = found.get(self.subject), [], self.groups.get(by[t].group, {}).get("speedup")
                if mine and bar and (first, t) == (1, 2):
                    judged = [(f"speedup {bar:.2f}", round((mine[1] or (0, mine[0]))[1], 2) >= bar)]
                rows.append([f"{stem}: {t} over {first}", *(f"{f[0]:.2f}" if f else "-" for f in found.values()),
                             span(mine[1]) if mine else "", self.judge(stem, judged)])
        return [Section("Threads: throughput over that of the fewest",
                        ["series", *self.names, f"{self.subject}: 95 %", "bars"], rows)] if rows else []

    def parts(self):
        """Lines that look at one part of HAKMEM, and have no rivals."""
        rows = []
        for r in self.results:
            for cell in r.cells.values() if r.core else ():
                values = [run["ns_per_op"] for run in cell.good.values() if run["ns_per_op"] != ""]
                if values:
                    rows.append([r.name, f"{statistics.median(values):.2f}", f"{min(values):.2f}", f"{max(values):.2f}",
                                 str(len(values))])
        return [Section("Parts of HAKMEM: ns for an operation", ["line", "median", "least", "most", "runs"],
                        rows)] if rows else []

    def medians(self):
        fields = {"CPU s": ("cpu_s", ".3f"), "wall s": ("wall_s", ".3f"), "RSS KiB": ("peak_rss_kib", ".0f"),
                  "faults": ("minor_faults", ".0f"), "ns/op": ("ns_per_op", ".2f"), "ops/s": ("ops_per_s", ".4g"),
                  "kept KiB": ("kept_kib", ".0f"), "steady faults": ("steady_faults", ".0f")}
        rows = [[r.name, a, str(len(c.good)), *(number(c.median(f), form) for f, form in fields.values())]
                for r in self.results for a, c in r.cells.items() if c.good]
        return [Section("Medians", ["line", "allocator", "runs", *fields], rows)]

    def failures(self):
        rows = [[r.name, a, f"{c.failed} of {c.runs}", c.error]
                for r in self.results for a, c in r.cells.items() if c.failed]
        return [Section("Failed", ["line", "allocator", "runs", "error"], rows)] if rows else []

    def summary(self):
        judged, remarks = [r for r in self.compared if self.rival(r) and r.cells[self.subject].ratio], []
        slower = [r.name for r in judged if round(r.cells[self.subject].ratio, 2) > 1]
        failed = sum(bool(c.failed) for r in self.results for c in r.cells.values())
        if judged:
            remarks.append(f"{self.subject} is slower than the best rival on {len(slower)} of {len(judged)} lines"
                           + (": " + ", ".join(slower) if slower else "") + ".")
        if self.held or self.missed:
            remarks.append(f"{self.held} of {self.held + len(self.missed)} bars are held"
                           + ("; missed: " + ", ".join(self.missed) if self.missed else "") + ".")
        if failed:
            remarks.append(f"{failed} cells have failed runs, which are listed above.")
        return [Section("Summary", remarks=remarks)] if remarks else []
