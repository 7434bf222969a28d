# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
"""demo.py: an ordinary program that lives on malloc: it builds an index of made-up text, from four threads.

Run by tools/demo with PYTHONMALLOC=malloc, so that Python asks malloc for every object.  Prints one line for the demo to
read: a checksum, seconds of CPU time, peak memory in MiB, and page faults.
"""
import json
import random
import resource
import threading
import zlib


def index(seed, lines):
    """Words -> line numbers of a text that depends on the seed alone."""
    pick = random.Random(seed)
    words = ["".join(pick.choices("abcdefghijklmnop", k=pick.randint(3, 12))) for _ in range(4000)]
    found = {}
    for number in range(lines):
        for word in " ".join(pick.choices(words, k=12)).split():
            found.setdefault(word, []).append(str(number))
    return zlib.crc32(json.dumps(found, sort_keys=True).encode())


def main():
    sums = [0] * 4

    def work(slot):
        for turn in range(3):
            sums[slot] ^= index(slot * 100 + turn, 8000)

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(len(sums))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{zlib.crc32(repr(sums).encode()):08x} {used.ru_utime + used.ru_stime:.2f} {used.ru_maxrss / 1024:.1f} "
          f"{used.ru_minflt}")


main()
