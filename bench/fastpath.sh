#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# fastpath.sh [LIBRARY [FUNCTION]...]: lists and counts the instructions on the fast path of malloc and free (or the
# FUNCTIONs), x86-64 only. The path runs from the entry to the first ret. A conditional jump is not taken, since
# compilers lay out the likely way straight ahead; where straight ahead ends in a call or leaves the function, the last
# jump that avoids it is taken instead, and marked: then judge the listing yourself. (The jump for a NULL argument never
# is.) An unconditional jump is followed. If no way reaches a ret without a call, the straight one is shown. Reports
# instructions that lock (a lock prefix, or xchg with memory), and calls.
# Exit code: 0 if all paths end in a ret and have no lock and no call, else 1.
set -u
# shellcheck source=bench/common.sh disable=SC1091 # found with shellcheck -x from the top folder
. "$(dirname "$0")/common.sh"

case ${1-} in
-h | --help) help; exit 0 ;;
-*) help >&2; exit 2 ;;
esac
tool objdump binutils
if [ $# -gt 0 ]; then library=$1; shift; else library=$(find_hakmem) || exit 1; fi
[ -r "$library" ] || die "$library: cannot be read"
[ $# -gt 0 ] || set -- malloc free
objdump -f "$library" | grep -q x86-64 || die "$library: not for x86-64"

text=$(mktemp) || exit 1
trap 'rm -f "$text"' EXIT
objdump -d --no-show-raw-insn "$library" >"$text" || exit 1

bad=0
for function; do
    # The address is that of the dynamic symbol: it is there in stripped libraries too.
    entry=$(objdump -T "$library" | awk -v f="$function" '$NF == f && $4 != "*UND*" { print $1; exit }')
    if [ -z "$entry" ]; then
        say "$library: $function is not exported"
        bad=1
        continue
    fi
    awk -v function_name="$function" -v entry="$entry" '
    # Instructions in file order, and where each address is; "limit" ends the function: the next label in the listing.
    /^[0-9a-f]+ <.*>:$/ { label[count] = 1; next }
    /^ *[0-9a-f]+:\t/ {
        address = $1; sub(/:$/, "", address)
        line = $0; sub(/^[^\t]*\t/, "", line); sub(/ *#.*$/, "", line); sub(/[ \t]+$/, "", line)
        insn[count] = line; where[count] = address; at[address] = count++
    }
    function target(line,   part, n) { n = split(line, part, /[ \t]+/); return part[2] in at ? at[part[2]] : -1 }
    # What an instruction is, without prefixes that do not change its kind.
    function kind(line) {
        gsub(/^((notrack|bnd|repz|rep|ds|cs) +)+/, "", line)
        if (line ~ /^ret/) return "ret"
        if (line ~ /^call/) return "call"
        if (line ~ /^jmp/) return line ~ /\*/ ? "leave" : "jump"
        if (line ~ /^(ud2|hlt)/) return "leave"
        return line ~ /^(j[a-z]+|loop[a-z]*) / ? "branch" : "plain"
    }
    function locks(line) {
        return line ~ /^lock / || line ~ /(^| )lock / || (line ~ /^xchg/ && line ~ /\(/)
    }
    # One way from instruction i; "way" holds the indices, "took" marks taken branches. True when a ret is reached.
    # avoid: whether a call ends the way. No instruction is visited twice, so loops end too.
    function walk(i, depth, avoid,   k, t, n) {
        n = depth
        for (;;) {
            if (i < 0 || i >= count || (i in seen)) return 0
            if (depth != n && i == start) return 0
            seen[i] = 1; took[n] = 0; way[n++] = i; length_of_way = n
            k = kind(insn[i])
            if (k == "ret") return 1
            if (k == "leave" || (k == "call" && avoid)) return 0
            t = target(insn[i])
            if (k == "jump") { if (t < 0 || outside(t)) return 0; i = t; continue }
            if (k == "branch" && avoid && t >= 0 && !outside(t)) {
                if (walk(i + 1, n, avoid)) return 1
                if (i > 0 && insn[i - 1] ~ /^test +%rdi,%rdi$/) return 0
                took[n - 1] = 1
                return walk(t, n, avoid)
            }
            i++
            if (outside(i)) return 0
        }
    }
    function outside(i) { return i < first || i >= last }
    END {
        key = entry; sub(/^0+/, "", key)
        if (!(key in at)) { print function_name ": no code at its address"; exit 1 }
        start = first = at[key]
        for (last = first + 1; last < count && !(last in label); last++) ;
        good = walk(start, 0, 1)
        if (!good) {
            for (i in seen) delete seen[i]
            walk(start, 0, 0)
        }
        printf "%s:\n", function_name
        for (n = 0; n < length_of_way; n++) {
            line = insn[way[n]]; k = kind(line); note = ""
            if (k == "branch") { note = took[n] ? "    ; TAKEN" : "    ; not taken"; taken += took[n] }
            if (locks(line)) { note = "    ; LOCKS"; locked++ }
            if (k == "call") { note = "    ; CALL"; calls++ }
            if (!good && n == length_of_way - 1 && k != "ret") { note = "    ; LEAVES the function"; leaves = 1 }
            printf "%4d  %8s  %s%s\n", n + 1, where[way[n]], line, note
        }
        printf "%s: %d instructions to the %s, %d locked, %d calls, %d jumps taken\n\n", function_name, length_of_way,
               leaves ? "way out (no ret reached)" : "ret", locked, calls, taken
        exit !(good && !locked && !calls)
    }' "$text" || bad=1
done
exit $bad
