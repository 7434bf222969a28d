# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
"""One run of a line's command by bench/launch, its figures, and the proof of which malloc served it.

A program of ours says in every run which files its malloc and free are bound to (BENCH_PROVE, bench/bench.h). Of a
program of the system, ld.so writes down what it binds in each process (LD_DEBUG=bindings): every reference to the
malloc family must go to the allocator, and one must be the program's or a library's of it, not libc's alone.
"""
import collections
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from suite import FOLDER

Allocator = collections.namedtuple("Allocator", "name library version environment")     # library: "" for glibc
# figures: wall ns, user us, system us, peak RSS KiB, minor and major faults, or None; error: "" when it went well.
Outcome = collections.namedtuple("Outcome", "status out err figures error bound")
Command = collections.namedtuple("Command", "preparation environment words companion")
PATH = "/usr/bin:/bin:" + os.environ.get("PATH", "")
MALLOC = "malloc|calloc|realloc|free|memalign|aligned_alloc|posix_memalign"
BINDING = re.compile(r"binding file (.*?) \[\d+\] to (.*?) \[\d+\]: \w+ symbol `(\w+)'")
NO_END = "no end after"
GRACE = 30                                              # seconds that a server may go on after its client


def cut(words, mark):
    at = words.index(mark) if mark in words else len(words)
    return words[:at], words[at + 1:]


def is_libc(path):
    return re.match(r"libc[.-]", os.path.basename(path)) is not None


def serves(path, allocator):
    path = os.path.realpath(path)
    return path == allocator.library if allocator.library else is_libc(path)


def preload_error(err):
    found = re.search(r"object '(.*?)' from LD_PRELOAD cannot be preloaded(?: \((.*?)\))?", err)
    return f"{found[1]} cannot be preloaded{': ' + found[2] if found[2] else ''}" if found else ""


def proven(done, allocator):
    """Reads what bench_prove() wrote: what is wrong with the run, or that the allocator did not serve it, or ""."""
    found = re.findall(r"^prove: (?:malloc|free)=(.*)$", done.err, re.M)
    if preload_error(done.err):
        return f"not served: {preload_error(done.err)}"
    if len(found) != 2:
        return done.error or "not served: it does not say which file its malloc is from"
    others = [f for f in found if not serves(f, allocator)]
    return f"not served: malloc is from {os.path.realpath(others[0])}" if others else ""


def text_of(*path):
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def tail_of(text):
    return " ".join(text.split())[-200:]


class Launcher:
    def __init__(self, build, timeout):
        self.build, self.timeout, self.running, self.lock = build, timeout, set(), threading.Lock()

    # ---- the command ----

    def find(self, program):
        """The path of a command's first word, or None."""
        if program.startswith("/") and "/" not in program[1:]:
            return shutil.which(program[1:], path=PATH)
        path = program if "/" in program else os.path.join(self.build, program)
        return path if os.access(path, os.X_OK) else None

    def command(self, line, tmp="/tmp"):
        """What a line's words say, with paths instead of @."""
        words = [w.replace("@bench", FOLDER).replace("@build", self.build).replace("@tmp", tmp) for w in line.command]
        preparation, words = cut(words, ";") if ";" in words else ([], words)
        words, companion = cut(words, "&")
        env = {}
        while words and re.match(r"[A-Za-z_]\w*=", words[0]):
            name, _, env[name] = words.pop(0).partition("=")
        return Command(preparation, env, words, companion)

    def program(self, line):
        """The first word of the command; it has a slash where the program is not one of ours."""
        return self.command(line).words[0]

    def missing(self, line):
        """The programs of a line that are not there."""
        command = self.command(line)
        parts = (command.preparation, command.words, command.companion)
        return [p[0] for p in parts if p and not self.find(p[0])] if command.words else ["(no command)"]

    # ---- processes ----

    def start(self, words, env, folder, name):
        """In a session of its own, so that all it leaves behind can be ended. Its output goes to files."""
        path = os.path.join(folder, name)
        with open(path + ".out", "wb") as out, open(path + ".err", "wb") as err:
            child = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                     cwd=os.path.join(folder, "tmp"), start_new_session=True)
        with self.lock:
            self.running.add(child)
        return child

    def kill(self, child):
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def kill_all(self):
        with self.lock:
            for child in self.running:
                self.kill(child)

    def end(self, children):
        for child in children:
            self.kill(child)
            child.wait()
        with self.lock:
            self.running.difference_update(children)

    def wait(self, child, companion):
        """Until the command has ended. What is wrong with that, or ""."""
        if companion is None:
            try:
                child.wait(self.timeout)
                return ""
            except subprocess.TimeoutExpired:
                return f"{NO_END} {self.timeout:g} s"
        last = time.monotonic() + self.timeout
        while time.monotonic() < last:
            if companion.poll():
                return f"its companion: exit code {companion.returncode}"
            if child.poll() is not None and companion.returncode == 0:
                return ""
            if child.returncode is not None or companion.returncode == 0:   # one of them is to end soon
                last = min(last, time.monotonic() + GRACE)
            time.sleep(0.005)
        return "it goes on after its companion" if companion.returncode == 0 else \
            "its companion goes on after it" if child.returncode is not None else f"{NO_END} {self.timeout:g} s"

    # ---- a run ----

    def run(self, line, allocator, more):
        """Runs a line's command once. more: environment besides, in which @folder is a folder of the run's own."""
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
            tmp, children, other = os.path.join(folder, "tmp"), [], None
            os.mkdir(tmp)
            command = self.command(line, tmp)
            program, first = self.find(command.words[0]), command.preparation
            clean = {k: v for k, v in os.environ.items() if not k.startswith(("BENCH_", "HAKMEM", "LD_"))}
            clean["PATH"] = PATH
            env = {**clean, **command.environment, **allocator.environment}
            env.update((k, v.replace("@folder", folder)) for k, v in more.items())
            library = "" if "core" in line.figures else allocator.library
            launch = [os.path.join(self.build, "launch"), "-o", os.path.join(folder, "figures"), "-p", library, "--"]
            try:
                if first:
                    children.append(self.start([self.find(first[0]), *first[1:]], clean, folder, "preparation"))
                    error = self.wait(children[0], None)
                    if error or children[0].returncode:
                        said = tail_of(text_of(folder, "preparation.err"))
                        error = error or f"exit code {children[0].returncode} {said}"
                        return Outcome(-1, "", "", None, f"its preparation: {error}".strip(), (False, {}))
                children.append(self.start([*launch, program, *command.words[1:]], env, folder, "command"))
                if command.companion:
                    words = [self.find(command.companion[0]), *command.companion[1:]]
                    children.append(other := self.start(words, clean, folder, "companion"))
                child = children[1 if first else 0]
                error = self.wait(child, other)
            finally:
                self.end(children)
            return self.outcome(folder, program, child.returncode, error)

    def outcome(self, folder, program, code, error):
        out, err = (text_of(folder, "command" + e) + text_of(folder, "companion" + e) for e in (".out", ".err"))
        tail = tail_of(err)
        try:
            _, _, status, *figures = (int(x) for x in text_of(folder, "figures").split(","))
        except ValueError:
            status, figures = -1, None
        if not error and figures is None:
            error = f"launch: exit code {code} {tail}"
        elif not error and status >= 512:
            error = f"cannot be started: {os.strerror(status - 512)}"
        elif not error and status >= 256:
            error = f"killed by {signal.Signals(status - 256).name} {tail}"
        elif not error and status:
            error = f"exit code {status} {tail}"
        return Outcome(status, out, err, figures, error.strip(), self.bindings(folder, program))

    # ---- the proof ----

    @staticmethod
    def bindings(folder, program):
        """What ld.so wrote down: is the program itself in it? And {(file, symbol): files that it is from}."""
        names, main, bound = {program}, False, collections.defaultdict(set)
        with open(program, "rb") as file:
            if file.read(2) == b"#!":
                names.update(file.readline().decode(errors="replace").split())
        for entry in os.listdir(folder):
            for source, target, symbol in BINDING.findall(text_of(folder, entry)) if entry.startswith("bound.") else ():
                main |= source in names
                if re.fullmatch(MALLOC, symbol):
                    bound[os.path.realpath(source), symbol].add(os.path.realpath(target))
        return main, dict(bound)

    def proof(self, line, allocator):
        """"", or what is wrong; that begins with "not served" where it is not the allocator that serves the program."""
        program = self.program(line)
        if "core" in line.figures:
            return ""
        if "/" not in program:
            done = self.run(line._replace(command=[program]), allocator, {"BENCH_PROVE": "exit"})
            return proven(done, allocator) or done.error and f"does not start: {done.error}"
        done = self.run(line, allocator, {"LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": "@folder/bound"})
        main, bound = done.bound
        if preload_error(done.err):
            return f"not served: {preload_error(done.err)}"
        if not main:
            return done.error or "not served: it is static, or runs with other rights: the dynamic linker has no say"

        def right(target, symbol):
            """A program with fixed addresses that takes malloc's has a stub of that name, and the stub a binding."""
            stub = bound.get((target, symbol), set()) - {target}
            return serves(target, allocator) or stub and all(serves(t, allocator) for t in stub)
        for (source, symbol), targets in bound.items():
            for target in targets if source != allocator.library else ():
                if not right(target, symbol):
                    return f"not served: {os.path.basename(source)} has its {symbol} from {target}"
        if all(source == allocator.library or is_libc(source) or os.path.basename(source).startswith("ld-")
               for source, _ in bound):
            return done.error or "not served: it calls no malloc, or one of its own"
        return ""
