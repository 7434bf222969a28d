#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# limits.sh: what needs settings of the whole machine: every mode of transparent huge pages, strict overcommit, and a memory
# limit of a control group.  Each setting is changed only when it can be put back, for seconds, and put back however the
# script ends.  Run by `make check-system`; each test in it is skipped, with the reason, where the machine does not let us.
# shellcheck disable=SC2317,SC2086,SC2015  # ok calls the functions; CC has options; A && B || show what went wrong
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"
need_so

# ---- settings -----------------------------------------------------------------------------------------------------------
# Changes a setting: what it was is remembered first, and put back at the end, in reverse order.
changed=()
set_to() { # FILE VALUE
    local was
    was=$(cat "$1") || return 1
    case $was in *'['*']'*) was=${was#*[} was=${was%%]*} ;; esac # "always [madvise] never"
    [ -w "$1" ] || return 1
    changed=("$1=$was" "${changed[@]}")
    echo "$2" 2>/dev/null >"$1" && [ "$(tr -d '[]' <"$1")" != "" ]
}
put_back() {
    local entry
    for entry in "${changed[@]}"; do echo "${entry#*=}" >"${entry%%=*}"; done
    changed=()
}
group=""
neighbour=""
leave_group() {
    [ -z "$neighbour" ] || { kill -KILL "$neighbour"; wait "$neighbour"; } 2>/dev/null
    neighbour=
    [ -z "$group" ] || rmdir "$group"
    group=
}
clean_up() {
    leave_group
    put_back
}

# ---- transparent huge pages -----------------------------------------------------------------------------------------------
thp=/sys/kernel/mm/transparent_hugepage/enabled
program=$build_dir/tests/stress/huge_pages
built() { make -C "$build_dir" tests/stress/huge_pages; }
if [ ! -w $thp ]; then
    skip "transparent huge pages" "$thp cannot be written"
elif ok "the program is built" built; then
    least=
    for mode in always madvise never; do
        if set_to $thp $mode && grep -q "\[$mode\]" $thp; then
            "$program" kib >"$scratch/kib"
            "$program" >"$scratch/tap" # with and without, in this mode
            put_back
            read -r kib huge <"$scratch/kib"
            good() { cat "$scratch/tap"; ! grep '^not ok' "$scratch/tap" && [ "${huge:-1}" = 0 ]; }
            ok "mode $mode: the same with and without huge pages: $kib KiB" good
            like() { [ $((kib * 100)) -lt $((least * 105 + 102400)) ] && [ $((least * 100)) -lt $((kib * 105 + 102400)) ]; }
            least=${least:-$kib}
            ok "as in the other modes" like
        else
            put_back
            skip "mode $mode" "the kernel does not take it"
        fi
    done
fi

# ---- the pool of huge pages -----------------------------------------------------------------------------------------------
pool=/proc/sys/vm/nr_hugepages
if ! set_to $pool 48; then
    skip "pages of the pool" "$pool cannot be written"
elif [ "$(cat $pool)" -lt 8 ]; then
    put_back
    skip "pages of the pool" "the kernel finds no huge pages"
else
    "$program" >"$scratch/tap"
    put_back
    served() { cat "$scratch/tap"; ! grep '^not ok' "$scratch/tap" && grep '^ok.*pages of the pool are used' "$scratch/tap"; }
    ok "pages of the pool are used, and then others" served
fi

# ---- strict overcommit ----------------------------------------------------------------------------------------------------
# The limit is set well above what is committed now, and most of that is reserved for root (admin_reserve_kbytes), so that
# it is this test alone, run by another user, that gets to the end.
cat >"$scratch/strict.c" <<'END'
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* Takes blocks of one size until there are no more, and gives them back; twice. */
static char *blocks[1000000];
static size_t take(size_t size)
{
    size_t n = 0;
    errno = 0;
    for (; n < 1000000 && (blocks[n] = malloc(size)); n++)
        blocks[n][0] = (char)n;
    if (n < 1000000 && errno != ENOMEM)
        exit(10);
    for (size_t i = 0; i < n; i++)
        if (blocks[i][0] != (char)i)
            exit(11);
    for (size_t i = 0; i < n; i++)
        free(blocks[i]);
    return n * size;
}
int main(int argc, char **argv)
{
    size_t most = strtoul(argv[1], NULL, 10) * 1024, got = 0;
    alarm(20);
    if (argc > 2) { /* a process under strict overcommit is charged for little */
        for (int i = 0; i < 1000; i++)
            blocks[i] = malloc(1000);
        puts("good");
        return 0;
    }
    static const size_t sizes[] = { 1000000, 40 << 20, 100000, 3000 };
    for (int i = 0; i < 4; i++) {
        size_t now = take(sizes[i]);
        printf("%zu bytes a block: %zu MiB\n", sizes[i], now >> 20);
        /* Half of the limit, or all that the array of pointers has places for. */
        if (now < most / 2 && now < sizes[i] * 1000000)
            return 12;
        got += now;
    }
    puts("good");
    return 0;
}
END
vm=/proc/sys/vm
strict() {
    local committed status=0
    committed=$(awk '/^Committed_AS/ { print $2 }' /proc/meminfo)
    # 4 GiB above what is committed, 3 of which are root's.
    set_to $vm/admin_reserve_kbytes $((3 << 20)) && set_to $vm/user_reserve_kbytes 0 &&
        set_to $vm/overcommit_kbytes $((committed + (4 << 20))) && set_to $vm/overcommit_memory 2 || { put_back; return 77; }
    [ "$(cat $vm/overcommit_memory)" = 2 ] || status=77
    [ $status != 0 ] || setpriv --reuid=65534 --regid=65534 --clear-groups env LD_PRELOAD="$scratch/libhakmem.so.0" \
        HAKMEM_VERBOSE=1 "$scratch/strict" $((512 << 10)) >"$scratch/out" 2>"$scratch/err" || status=$?
    put_back
    return $status
}
if [ ! -w $vm/overcommit_memory ] || [ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null; then
    skip "strict overcommit" "not root, or $vm/overcommit_memory cannot be written"
elif ! have_compiler "$cc"; then
    skip "strict overcommit" "no C compiler"
else
    chmod 755 "$scratch" && cp -L "$so" "$scratch/libhakmem.so.0"
    ok "a program compiles" $cc -w -O1 "$scratch/strict.c" -o "$scratch/strict"
    before=$(cat $vm/overcommit_memory $vm/overcommit_ratio $vm/overcommit_kbytes $vm/admin_reserve_kbytes \
        $vm/user_reserve_kbytes)
    # The limit is the whole machine's: what others commit meanwhile is not there for the test.  So it may try again.
    for _ in 1 2 3 4 5; do
        strict
        result=$?
        [ $result = 12 ] || break
        sleep 2
    done
    case $result in
        77) skip "strict overcommit" "the kernel does not take it" ;;
        0)
            good() { cat "$scratch/out"; grep -qx good "$scratch/out" && grep -q 'serves process' "$scratch/err"; }
            ok "strict overcommit: NULL and ENOMEM at the end, and all of it again" good
            ;;
        *) ok "strict overcommit: NULL and ENOMEM at the end, and all of it again" \
            sh -c "cat '$scratch/out' '$scratch/err'; false" ;;
    esac
    # overcommit_ratio and overcommit_kbytes are two faces of one setting: 0 in the second brings the first back.
    same_settings() {
        [ "$before" = "$(cat $vm/overcommit_memory $vm/overcommit_ratio $vm/overcommit_kbytes $vm/admin_reserve_kbytes \
            $vm/user_reserve_kbytes)" ] || { echo "$before"; cat $vm/overcommit_*; return 1; }
    }
    restore_ratio() { [ "$(sed -n 3p <<<"$before")" != 0 ] || sed -n 2p <<<"$before" >$vm/overcommit_ratio; }
    restore_ratio
    ok "the settings are as before" same_settings
fi

# ---- a control group ------------------------------------------------------------------------------------------------------
# Memory that the program has freed is given back before more is taken: it may use 40 MiB at a time in ever other sizes where
# 64 are allowed, or 128 with four threads, and whoever keeps what was one size is killed.  Memory that was given back is
# charged no more.  A program that takes too much gets NULL, or is killed by the kernel, it alone; what it had, the next one
# may have.
cat >"$scratch/group.c" <<'END'
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
enum { LIVE = 40 << 20 };
static const size_t sizes[] = { 16, 100000, 48, 3000, 500, LIVE, 20000, 1000, 1 << 20, 200 };
static char *last; /* of blocks that begin with the address of the one before */
static size_t taken;
static void take(size_t size)
{
    for (size_t i = 0; i < LIVE / size; i++) {
        char *p = memset(malloc(size), 1, size);
        *(char **)p = last;
        last = p;
    }
    taken += LIVE;
}
static void give(void)
{
    while (last) {
        char *before = *(char **)last;
        free(last);
        last = before;
    }
}
/* A quarter of LIVE in blocks of all sizes, each of which is replaced by one of another size again and again; half of them
 * by another thread, which frees the one that was there. */
enum { THREADS = 4, EACH = LIVE / THREADS / 4100, TURNS = 300000 };
static char *places[THREADS][EACH];
static void *work(void *arg)
{
    unsigned long long state = (size_t)arg + 1;
    for (size_t i = 0; i < TURNS; i++) {
        state = state * 6364136223846793005 + 1442695040888963407;
        size_t size = 16 + (state >> 33) % 8000 / (i / 50000 % 2 * 15 + 1);
        char *p = malloc(size);
        memset(p, 1, size);
        size_t whose = i % 2 ? (size_t)arg : (state >> 20) % THREADS;
        free(__atomic_exchange_n(&places[whose][(state >> 40) % EACH], p, __ATOMIC_ACQ_REL));
        __atomic_fetch_add(&taken, size, __ATOMIC_RELAXED);
    }
    return NULL;
}
static size_t charged(const char *file)
{
    char text[32] = "";
    int fd = open(file, O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        exit(11);
    close(fd);
    return strtoul(text, NULL, 10);
}
int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    alarm(120);
    switch (argv[1][0]) {
    case 's': /* sizes */
        for (int i = 0; i < 30; i++) {
            take(sizes[i % 10]);
            give();
        }
        break;
    case 't': /* threads */
        for (size_t i = 0; i < THREADS; i++)
            pthread_create(&threads[i], NULL, work, (void *)i);
        for (size_t i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        break;
    case 'g': /* given back; the second round is what counts: by then the program's own pages are there */
        for (int i = 0; i < 20; i++) {
            size_t before = charged(argv[2]);
            take(sizes[i % 10]);
            size_t all = charged(argv[2]);
            give();
            size_t freed = charged(argv[2]);
            malloc_trim(0);
            size_t after = charged(argv[2]);
            if (i < 10)
                continue;
            printf("%zu bytes a block: KiB charged: %zu, %zu more in use, %zu more when freed, %ld more when trimmed\n",
                   sizes[i % 10], before >> 10, (all - before) >> 10, (freed - before) >> 10, ((long)after - (long)before) >> 10);
            if (all < before + LIVE / 8 * 7 || after > before + (2 << 20))
                return 12;
        }
        break;
    case 'm': /* more than there is */
        for (size_t i = 0;; i++) {
            errno = 0;
            char *p = malloc(argv[2] ? strtoul(argv[2], NULL, 10) : 0);
            if (!p) {
                printf("NULL, %s\n", strerror(errno));
                return errno == ENOMEM ? 10 : 13;
            }
            memset(p, 1, malloc_usable_size(p));
        }
    }
    printf("good: %zu MiB in all\n", taken >> 20);
    return 0;
}
END
# A memory controller is in one hierarchy of groups at a time: in the single one of version 2, or in one of version 1.
mounted() { awk -v type="$1" -v option="$2" '$3 == type && ("," $4 ",") ~ option { print $2; exit }' /proc/mounts; }
limit_group() { # VERSION BYTES: makes $group, with its files $limit, $charge and $events, or sets $reason
    local parent enabled
    if [ "$1" = 1 ]; then
        parent=$(mounted cgroup ',memory,')
        limit=memory.limit_in_bytes charge=memory.usage_in_bytes events=memory.oom_control
        [ -n "$parent" ] || { reason="no hierarchy of version 1 with the memory controller is mounted"; return 1; }
    else
        parent=$(mounted cgroup2 ,)
        limit=memory.max charge=memory.current events=memory.events
        [ -n "$parent" ] || { reason="no hierarchy of version 2 is mounted"; return 1; }
        enabled=$parent/cgroup.subtree_control
        if ! grep -qw memory "$parent/cgroup.controllers"; then
            reason="that of version 2 has no memory controller"
            return 1
        elif ! grep -qw memory "$enabled"; then
            { echo +memory >"$enabled"; } 2>/dev/null || { reason="memory cannot be enabled in $enabled"; return 1; }
            changed=("$enabled=-memory" "${changed[@]}")
        fi
    fi
    mkdir "$parent/hakmem-test.$$" 2>/dev/null || { reason="no group can be made in $parent"; return 1; }
    group=$parent/hakmem-test.$$
    [ ! -e "$group/memory.swap.max" ] || echo 0 >"$group/memory.swap.max"
    { set_limit "$2"; } 2>/dev/null || { reason="$group/$limit cannot be written"; return 1; }
}
set_limit() { # BYTES: of a new group, or less than before
    echo "$1" >"$group/$limit" && { [ ! -e "$group/memory.memsw.limit_in_bytes" ] || echo "$1" >"$group/memory.memsw.limit_in_bytes"; }
}
# shellcheck disable=SC2016  # for the shell that goes into the group
in_group() { # PROGRAM...: its words are in $scratch/out and err
    LD_PRELOAD="$so" HAKMEM_VERBOSE=1 sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@" >"$scratch/out" 2>"$scratch/err"
}
words() { cat "$scratch/out" "$scratch/err"; cat "$group/$events"; }
killed() { sed -n 's/^oom_kill //p' "$group/$events"; }
good() { # MODE [ARGUMENT]
    local status=0 before
    before=$(killed)
    in_group "$scratch/group" "$@" || status=$?
    [ $status = 0 ] && grep -q '^good' "$scratch/out" && grep -q 'serves process' "$scratch/err" && [ "$(killed)" = "$before" ] ||
        { echo "status $status"; words; return 1; }
}
# $neighbour is another process in the group, small and served too, and goes on.
too_much() { # SIZE
    local status=0 before
    before=$(killed)
    { in_group "$scratch/group" more "$1" || status=$?; } 2>/dev/null # the shell's own words about a signal
    case $status in
        10) [ "$(killed)" = "$before" ] ;;
        137) [ "$(killed)" = $((before + 1)) ] ;;
        *) false ;;
    esac && grep -q 'serves process' "$scratch/err" && kill -0 "$neighbour" && ! grep -q '^State:.*Z' "/proc/$neighbour/status" ||
        { echo "status $status"; words; return 1; }
}
of_nobody() { cat "$group/$charge"; [ "$(cat "$group/$charge")" -lt $((8 << 20)) ]; }
if ! have_compiler "$cc"; then
    skip "a control group" "no C compiler"
else
    ok "a program compiles" $cc -w -O1 -pthread "$scratch/group.c" -o "$scratch/group"
    reasons=
    for version in 2 1; do
        limit_group $version $((128 << 20)) && break
        reasons+="; $reason"
        version=
        leave_group
        put_back
    done
    if [ -z "$version" ]; then
        skip "within the limit of a control group" "${reasons#; }"
    else
        echo "# a control group of version $version${reasons:+ ($reason)}"
        ok "within the limit of a control group, four threads" good threads
        ok "the limit is lowered" set_limit $((64 << 20))
        ok "within the limit of a control group, in ever other sizes" good sizes
        ok "what is given back is charged to the group no more" good given "$group/$charge"
        grep '^[0-9].*charged' "$scratch/out" | sed 's/^/# /'
        LD_PRELOAD="$so" sh -c 'echo $$ >"$0/cgroup.procs" && exec sleep 600' "$group" &
        neighbour=$!
        for size in 100 5000 300000 3000000 50000000; do
            ok "beyond the limit of a control group, blocks of $size: NULL, or the process alone is killed" too_much $size
        done
        ok "what a process that was killed had is free again" of_nobody
        ok "and is had by the next one" good sizes
    fi
    leave_group
    put_back
    gone() { ! find /sys/fs/cgroup -maxdepth 3 -name "hakmem-test.$$" | grep .; }
    ok "no group is left" gone
fi
done_testing
