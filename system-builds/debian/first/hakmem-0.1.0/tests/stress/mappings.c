/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * mappings.c: what a large heap costs besides its bytes.  A heap of 20 GiB of mixed sizes, touched sparsely, is fewer than
 * 1,000 mappings (vm.max_map_count is 65,530), also after half of it was freed and purged; a process is charged for little
 * more than it uses (overcommit mode 2); and its core dump holds what it has in use, not what it once had.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define GIB ((size_t)1 << 30)

/* A look at /proc/self/smaps, without malloc. */
struct look {
    size_t mappings;
    size_t charged; /* bytes of mappings that count against the commit limit */
    size_t dumped;  /* resident or swapped bytes of private mappings that a core dump would hold */
    size_t dumped_address_space; /* the size of these mappings: that of the file, with its holes */
};
static struct look look(void)
{
    static char text[65536];
    struct look l = { 0 };
    size_t have = 0, size = 0, anonymous = 0;
    int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
    for (ssize_t n; fd >= 0 && (n = read(fd, text + have, sizeof text - 1 - have)) > 0;) {
        have += (size_t)n;
        text[have] = 0;
        char *line = text, *end;
        for (; (end = strchr(line, '\n')); line = end + 1) {
            *end = 0;
            if (!strncmp(line, "Size:", 5)) {
                l.mappings++;
                size = strtoul(line + 5, NULL, 10) * KIB;
                anonymous = 0;
            } else if (!strncmp(line, "Anonymous:", 10) || !strncmp(line, "Swap:", 5)) {
                anonymous += strtoul(strchr(line, ':') + 1, NULL, 10) * KIB;
            } else if (!strncmp(line, "VmFlags:", 8)) {
                if (strstr(line, " ac"))
                    l.charged += size;
                if (!strstr(line, " dd") && anonymous) {
                    l.dumped += anonymous;
                    l.dumped_address_space += size;
                }
            }
        }
        have = strlen(line);
        memmove(text, line, have);
    }
    if (fd >= 0)
        close(fd);
    return l;
}

/* ---- 20 GiB ----------------------------------------------------------------------------------------------------------- */

enum { MOST = 1 << 21 };
static char *blocks[MOST];
static size_t count;
static uint64_t seed = 12345;

static size_t some_size(void)
{
    size_t n = random_below(&seed, 10000);
    return n < 4000   ? 4 * KIB + random_below(&seed, 28 * KIB)
           : n < 8000 ? 1 + random_below(&seed, 4 * KIB)
           : n < 9900 ? 32 * KIB + random_below(&seed, 200 * KIB) /* runs */
           : n < 9998 ? MIB + random_below(&seed, 3 * MIB)
                      : 32 * MIB + random_below(&seed, 64 * MIB); /* mappings of their own */
}
static size_t fill_to(size_t wanted)
{
    size_t got = 0;
    while (got < wanted && count < MOST) {
        size_t n = some_size();
        if (!(blocks[count] = malloc(n)))
            break;
        if (count % 16 == 0)
            blocks[count][n / 2] = 1;
        count++;
        got += n;
    }
    return got;
}
static void thin_out(void)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (random_below(&seed, 2))
            free(blocks[i]);
        else
            blocks[kept++] = blocks[i];
    }
    count = kept;
}

static void test_20_gib(void)
{
    const size_t most = 1000, wanted = 20 * GIB;
    if (sizeof(void *) < 8) {
        skip("a heap of 20 GiB", "addresses are short");
        return;
    }
    size_t got = fill_to(wanted);
    struct look l = look();
    if (got < wanted) {
        for (size_t i = 0; i < count; i++)
            free(blocks[i]);
        count = 0;
        skip("a heap of 20 GiB", "the kernel gives less (overcommit, limits)");
        return;
    }
    ok(l.mappings < most, "20 GiB in %zu blocks are fewer than %zu mappings", count, most);
    note("%zu mappings, %zu MiB resident", l.mappings, resident() / MIB);
    thin_out();
    malloc_trim(0);
    l = look();
    ok(l.mappings < most, "so are they when half of the blocks are freed and purged");
    note("%zu mappings, %zu MiB resident", l.mappings, resident() / MIB);
    fill_to(8 * GIB);
    thin_out();
    l = look();
    ok(l.mappings < most, "and when blocks come and go");
    note("%zu mappings, %zu MiB resident", l.mappings, resident() / MIB);
    while (count)
        free(blocks[--count]);
    malloc_trim(0);
    l = look();
    ok(l.mappings < most, "and when all are freed");
    ok(resident() < 400 * MIB, "which gives the memory back");
    note("%zu mappings, %zu MiB resident", l.mappings, resident() / MIB);
}

/* ---- charges, and core dumps ------------------------------------------------------------------------------------------ */

static void churn(size_t bytes)
{
    fill_to(bytes);
    for (size_t i = 0; i < count; i++)
        memset(blocks[i], 0x55, malloc_usable_size(blocks[i]));
    while (count)
        free(blocks[--count]);
    malloc_trim(0);
}

/* In a child that begins small: what the process would be charged for under overcommit mode 2, above what it has before. */
static int child_charge(void)
{
    struct look before = look();
    free(malloc(100));
    struct look small = look();
    for (int i = 0; i < 1000; i++)
        blocks[i] = malloc(100000);
    struct look large = look();
    /* The least step of growth and what describes it; then at most an eighth more than the blocks. */
    if (small.charged - before.charged > 3 * MIB)
        return 1;
    if (large.charged - before.charged > 140 * MIB)
        return 2;
    return 0;
}

/* The core of a child that had 300 MiB in use and has 20 MiB: the kernel writes one. */
static int child_core(void)
{
    struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
    churn(300 * MIB);
    for (int i = 0; i < 200; i++)
        memset(blocks[i] = malloc(100000), 1, 100000);
    struct look l = look();
    if (l.dumped > 60 * MIB)
        return 1;
    if (l.dumped_address_space > 600 * MIB)
        return 2;
    getrlimit(RLIMIT_CORE, &all);
    all.rlim_cur = all.rlim_max;
    setrlimit(RLIMIT_CORE, &all);
    prctl(PR_SET_DUMPABLE, 1);
    abort();
}

static int in_child(int (*child)(void))
{
    int status = -1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(100);
        _exit(child());
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static void test_core(void)
{
    char folder[] = "/tmp/hakmem-core.XXXXXX", pattern[256] = "", name[600];
    int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, pattern, sizeof pattern - 1) : 0;
    if (fd >= 0)
        close(fd);
    pattern[n > 0 ? n : 0] = 0;
    pattern[strcspn(pattern, "\n")] = 0;
    bool own = mkdtemp(folder) && chdir(folder) == 0;
    int status = in_child(child_core);
    if (!ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "a core dump would hold what is in use"))
        note("status %#x", (unsigned)status);
    /* A file of that name in this folder, perhaps with the process's number behind it; else somebody else has the core. */
    struct stat s = { 0 };
    bool found = false;
    if (own && !strchr(pattern, '/') && !strchr(pattern, '|') && !strchr(pattern, '%') && WCOREDUMP(status)) {
        snprintf(name, sizeof name, "%s", pattern);
        found = stat(name, &s) == 0;
    }
    if (!found) {
        skip("the core file is of sane size", "this system writes none here");
    } else if (!ok((size_t)s.st_size < 600 * MIB && (size_t)s.st_blocks * 512 < 100 * MIB, "the core file is of sane size")) {
        note("%zu MiB, %zu MiB on disk", (size_t)s.st_size / MIB, (size_t)s.st_blocks * 512 / MIB);
    }
    if (own) {
        if (found)
            unlink(name);
        if (chdir("/") == 0)
            rmdir(folder);
    }
}

int main(void)
{
    if (SANITIZED || getenv("TEST_EMULATOR")) {
        puts("1..0 # SKIP sanitizers and emulators have mappings of their own");
        return 0;
    }
    tap_start();
    struct look l = look();
    if (!l.mappings) {
        puts("1..0 # SKIP no /proc/self/smaps");
        return 0;
    }
    int status = in_child(child_charge);
    if (!ok(status == 0, "a process is charged for little more than it uses"))
        note("status %#x", (unsigned)status);
    test_core();
    test_20_gib();
    return tap_done();
}
