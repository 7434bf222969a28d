#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# report.sh: bench/report computes from runs that were made up what can be computed by hand, and draws it.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/bench/common.sh
. "$(dirname "$0")/common.sh"

# Seconds of CPU in the rounds of a line under an allocator, peak RSS in KiB and millions of operations a second.
"$python" - "$source_dir/bench" "$scratch" <<'EOF' || exit 99
import csv, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import suite
folder = sys.argv[2]

def write(name, rows):
    with open(f"{folder}/{name}", "w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, suite.FIELDS)
        out.writeheader()
        for bench, group, threads, figures, allocator, times, rss, speed in rows:
            for i, t in enumerate(times):
                run = dict.fromkeys(suite.FIELDS, "")
                run.update(bench=bench, group=group, threads=threads, figures=figures, allocator=allocator, round=i,
                           warmup=0, status=0, cpu_s=t, user_s=t, sys_s=0, wall_s=t, peak_rss_kib=rss, minor_faults=1,
                           major_faults=0, ns_per_op=t, ops_per_s=speed * 1e6 if speed else "", load=1, steal_s=0.5,
                           jobs=1, seed=1, date=f"2026-01-01T00:00:0{i}+00:00", version="v1", machine="M", system="S")
                if t is None:
                    run.update(dict.fromkeys(suite.NUMBERS[3:15], ""), status=262, error="killed by SIGABRT")
                out.writerow(run)

one, odd, up = [1] * 8, [3, 1, 2, 9, 1, 3, 2, 1], list(range(1, 9))
write("a.csv", [
    # Pairs 1 to 8: of the products of two of them the median is 16, the fourth from below 4, the fourth from above 48.
    ("one/x", "g", 1, "ops", "hakmem", up, 10500, 0), ("one/x", "g", 1, "ops", "glibc", one, 10000, 0),
    ("one/x", "g", 1, "ops", "other", [2] * 8, 20000, 0),
    # The same noise in both: the ratio is exact. The rival with the least median is other.
    ("two/x", "g", 1, "ops", "hakmem", odd, 1255, 0), ("two/x", "g", 1, "ops", "glibc", [5 * t for t in odd], 1000, 0),
    ("two/x", "g", 1, "ops", "other", odd, 4000, 0),
    # Five pairs have no interval.
    ("few/x", "h", 1, "ops", "hakmem", [1, 2, 4, 8, 16], 9216, 0), ("few/x", "h", 1, "ops", "glibc", [1] * 5, 8192, 0),
    # One run of them failed; one allocator failed in all.
    ("bad/x", "h", 1, "ops", "hakmem", [2, None, 2], 1000, 0), ("bad/x", "h", 1, "ops", "glibc", [1, 1, 1], 1000, 0),
    ("bad/x", "h", 1, "ops", "other", [None], 1000, 0),
    ("s/1", "s", 1, "ops", "hakmem", one, 100, 10), ("s/2", "s", 2, "ops", "hakmem", one, 100, 19),
    ("s/1", "s", 1, "ops", "glibc", one, 100, 8), ("s/2", "s", 2, "ops", "glibc", one, 100, 4),
    ("part/x", "micro", 1, "core,ops", "hakmem", [4, 6, 5], 100, 0),
])
write("b.csv", [("two/x", "g", 1, "ops", "hakmem", [7] * 8, 1255, 0),
                ("two/x", "g", 1, "ops", "other", [7] * 8, 4000, 0),
                ("two/x", "g", 1, "ops", "glibc", [35] * 8, 1000, 0)])
text = open(f"{folder}/a.csv", encoding="utf-8").read()
open(f"{folder}/cut.csv", "w", encoding="utf-8").write(text[:text.rindex(",")])
open(f"{folder}/alien.csv", "w", encoding="utf-8").write("a,b\n1,2\n")
EOF
cat >"$scratch/bars" <<'EOF'
group g time=2.00 rss=1.05 mean-time=1.46 mean-rss=1.14
group h time=1.00 rss=1.12
group s speedup=1.95
EOF

report=(report --lines "$scratch/bars")
ok "a report" gives 0 "${report[@]}" "$scratch/a.csv"
ok "the ratio of paired runs, its interval, and the bar that it reaches" \
    prints 'one/x 4.00/1.05 1.00/1.00 2.00/2.00 2.00 to 6.93 glibc time 2.00 held, RSS 1.05 held'
ok "noise that hits both cancels; glibc and 256 KiB will do below 8 MiB" \
    prints 'two/x 1.00/1.25 5.00/1.00 1.00/4.00 1.00 to 1.00 other time 2.00 held, RSS 1.05 held'
ok "geometric means, their interval and bars" \
    prints 'geometric mean of 2 2.00/1.15 2.24/1.00 1.41/2.83 1.47 to 2.73 time 1.46 MISSED, RSS 1.14 MISSED'
ok "no interval of five pairs; 256 KiB do not do from 8 MiB on" \
    prints 'few/x 4.00/1.12 1.00/1.00 - glibc time 1.00 MISSED, RSS 1.12 held'
ok "a failed run is marked, and who failed in all has no figures" prints 'bad/x 2.00/1.00! 1.00/1.00 FAILED glibc .*'
ok "failed runs are listed" prints 'bad/x hakmem 1 of 3 killed by SIGABRT' 'bad/x other 1 of 1 killed by SIGABRT'
ok "throughput over the threads, and its bar" prints 's: 2 over 1 1.90 0.50 - 1.90 to 1.90 speedup 1.95 MISSED'
ok "parts of the library stand by themselves" prints 'part/x 5.00 4.00 6.00 3'
ok "against each of the others: by group, and all together, what both have run" \
    prints 'rival g h s all lines 95 % hakmem is' 'glibc 0.89/1.15 2.83/1.06 1.00/1.00 1.36/1.07 time open, larger' \
    'other 1.41/0.41 - - 1.41/0.41 1.04 to 1.93 slower, smaller'
ok "the summary counts" prints 'hakmem is slower than the best rival on 3 of 6 lines: one/x, few/x, bad/x.' \
    '6 of 11 bars are held; missed: .*'
ok "where and when, versions, load" \
    prints '- M; S' '- other: v1' '- load 1.00 to 1.00, 50.0 s stolen by the host during runs'
ok "medians, when asked for" gives 0 "${report[@]}" --details "$scratch/a.csv"
ok "are those of the runs that went well" prints 'one/x hakmem 8 4.500 4.500 10500 1 4.50' 'bad/x hakmem 2 2.000 .*'
ok "another subject" gives 0 "${report[@]}" --subject other "$scratch/a.csv"
ok "is compared with the best of all others" prints 'one/x 2.00/2.00 1.00/1.00 4.00/1.05 2.00 to 2.00 glibc .*' \
    'hakmem 0.71/2.46 - - 0.71/2.46 0.52 to 0.96 faster, larger'
ok "runs of two files" gives 0 "${report[@]}" "$scratch/a.csv" "$scratch/b.csv"
ok "are paired within each" prints 'two/x 1.00/1.25 5.00/1.00 1.00/4.00 1.00 to 1.00 other .*'

ok "a file that is cut short" gives 1 "${report[@]}" "$scratch/cut.csv"
ok "is reported without its last run" complains "report: $scratch/cut.csv: line 101 is left out: it is cut short"
ok "a file that is not there, and one of something else" \
    gives 1 "${report[@]}" "$scratch/no.csv" "$scratch/a.csv" "$scratch/alien.csv"
ok "are a line each; the rest is reported" complains "report: $scratch/no.csv: No such file or directory" \
    "report: $scratch/alien.csv: not written by bench/run: it has no column bench"
ok "no runs at all" gives 2 "${report[@]}" "$scratch/alien.csv"
ok "a subject that nobody knows" gives 2 "${report[@]}" --subject nobody "$scratch/a.csv"
ok "is one line" complains 'report: --subject nobody is in none of the files'

if command -v gnuplot >/dev/null; then
    drawn() {
        local chart
        gives 0 "${report[@]}" --output "$scratch/new/charts" "$scratch/a.csv" || return 1
        for chart in time memory threads; do
            grep -q '</svg>' "$scratch/new/charts/$chart.svg" || { echo "no $chart.svg"; return 1; }
            file=$(head -c 8 "$scratch/new/charts/$chart.png" | od -An -tx1 | tr -d ' ')
            [ "$file" = 89504e470d0a1a0a ] || { echo "$chart.png is none"; return 1; }
            grep -q "!\[$chart\]($chart.svg)" "$scratch/new/charts/report.md" || { echo "no $chart there"; return 1; }
        done
        grep -q '>one/x<' "$scratch/new/charts/time.svg" && grep -q '>hakmem<' "$scratch/new/charts/threads.svg"
    }
    ok "charts of time, memory and threads, SVG and PNG" drawn
else
    skip "charts of time, memory and threads, SVG and PNG" "no gnuplot"
fi
no_gnuplot() {
    local PATH=$scratch/bin
    gives 1 "${report[@]}" --output "$scratch/plain" "$scratch/a.csv" &&
        PATH=/usr/bin:/bin complains 'report: no charts: gnuplot is not installed .*'
}
mkdir "$scratch/bin"
ln -s "$(PATH=/usr/bin:/bin command -v cat)" "$scratch/bin/cat"
ok "without gnuplot, that is said" no_gnuplot
tables() {
    cmp "$scratch/out" "$scratch/plain/report.txt" && grep -qF '| one/x | 4.00/1.05 |' "$scratch/plain/report.md"
}
ok "and the tables are there" tables
touch "$scratch/file"
ok "a folder that cannot be made" gives 2 "${report[@]}" --output "$scratch/file/charts" "$scratch/a.csv"
done_testing
