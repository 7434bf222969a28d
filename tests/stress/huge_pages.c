/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * huge_pages.c: what a process has resident after a purge is the same whether the kernel gives transparent huge pages or
 * not (PR_SET_THP_DISABLE): neither a fault nor khugepaged fills in again what was given back.  With HAKMEM_HUGEPAGES a
 * growing heap is in huge pages, where there are any; they go back whole, and when none is in use all of them do.  Without it
 * a block is that realloc makes larger again and again, and what is cut off it goes back.
 * tests/system/limits.sh runs it in every mode of the kernel.  With an argument: prints the resident KiB after the work,
 * and that in huge pages.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* The number behind a word of a file in /proc or /sys. */
static unsigned long said(const char *file, const char *word)
{
    static char text[8192];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *line = strstr(text, word);
    return line ? strtoul(line + strlen(word), NULL, 10) : 0;
}

/* KiB of the process in transparent huge pages, and in those of the pool. */
static unsigned long huge(void) { return said("/proc/self/smaps_rollup", "AnonHugePages:"); }
static unsigned long pool(void) { return said("/proc/self/smaps_rollup", "Private_Hugetlb:"); }

static bool never_set(void)
{
    char text[64] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
    bool read_it = fd >= 0 && read(fd, text, sizeof text - 1) > 0;
    if (fd >= 0)
        close(fd);
    return !read_it || strstr(text, "[never]");
}

/* About 300 MiB of all sizes; all of it is freed, or one block in fifty stays. */
enum { COUNT = 300000 };
static char **blocks; /* not static: the kernel may give a huge page for it there */

static void fill(void)
{
    uint64_t seed = 99;
    blocks = malloc(COUNT * sizeof *blocks);
    if (!blocks)
        _exit(2);
    for (size_t i = 0; i < COUNT; i++) {
        size_t n = i % 1000 == 0 ? 100 * KIB + random_below(&seed, 500 * KIB) : i % 100 == 0 ? random_below(&seed, 32 * KIB)
                                                                             : 64 + random_below(&seed, 1000);
        if (!(blocks[i] = malloc(n + 1)))
            _exit(2);
        memset(blocks[i], 1, n + 1);
    }
    char *big = malloc(64 * MIB);
    if (!big)
        _exit(2);
    memset(big, 1, 64 * MIB);
    free(big);
}

static void empty(size_t stay)
{
    for (size_t i = 0; i < COUNT; i++)
        if (!stay || i % stay != 1)
            free(blocks[i]);
    if (!stay)
        free(blocks);
    malloc_trim(0);
    for (int i = 0; i < 20; i++) /* where a fault would bring a huge page: what is free is used a little */
        for (size_t n = 1; n < 100000; n *= 2)
            *(volatile char *)malloc(n) = 1;
    malloc_trim(0);
}

/* A buffer that grows as it is filled, to 200 MiB, and is cut to the half in the end. */
enum { GROWS = 1 }; /* instead of `stay` */
static char *grown;

static void grow(void)
{
    for (size_t size = 0, next = 4096; size < 200 * MIB; size = next, next = next < 133 * MIB ? next + next / 2 : 200 * MIB) {
        if (!(grown = realloc(grown, next)) || (size && grown[size - 1] != 5))
            _exit(2);
        memset(grown + size, 5, next - size);
    }
}

static void cut(void)
{
    grown = realloc(grown, 100 * MIB);
    if (!grown || grown[0] != 5 || grown[100 * MIB - 1] != 5)
        _exit(2);
}

/* What a child finds. */
struct found {
    unsigned long full, kib, huge_full, huge, pool_full, pool; /* KiB resident, and huge ones, filled and in the end */
    unsigned long fallbacks, faults;
};

/* In a child: fills and empties, with huge pages as the kernel gives them, or never. */
static bool measure(bool never, const char *option, size_t stay, struct found *f)
{
    int ends[2], status = -1;
    if (pipe(ends))
        return false;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(100);
        if (never && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
            _exit(3);
        /* A process of its own: options are read at the start. */
        char number[16], end[16];
        snprintf(number, sizeof number, "%zu", stay);
        snprintf(end, sizeof end, "%d", ends[1]);
        setenv("HAKMEM_HUGEPAGES", option, 1);
        execl("/proc/self/exe", "huge_pages", "work", number, end, (char *)NULL);
        _exit(4);
    }
    close(ends[1]);
    bool good = pid > 0 && read(ends[0], f, sizeof *f) == sizeof *f;
    close(ends[0]);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && good;
}

static int work(size_t stay, int end)
{
    struct found f;
    struct rusage before, after;
    struct hak_stats s;
    getrusage(RUSAGE_SELF, &before);
    if (stay == GROWS)
        grow();
    else
        fill();
    getrusage(RUSAGE_SELF, &after);
    f.full = resident() / KIB;
    f.huge_full = huge();
    f.pool_full = pool();
    f.faults = (unsigned long)(after.ru_minflt - before.ru_minflt);
    if (stay == GROWS)
        cut();
    else
        empty(stay);
    f.kib = resident() / KIB;
    f.huge = huge();
    f.pool = pool();
    hak_stats_get(&s, sizeof s);
    f.fallbacks = (unsigned long)s.huge_fallbacks;
    return write(end, &f, sizeof f) != sizeof f;
}

static bool alike(unsigned long a, unsigned long b) { return a < b + b / 20 + 1024 && b < a + a / 20 + 1024; }

/* With the option: the kernel's choice, and without any. */
static void in_huge_pages(const char *option, const struct found *plain, const struct found *all_plain)
{
    struct found given = { 0 }, never = { 0 }, all = { 0 };
    if (!ok(measure(false, option, 50, &given) && measure(false, option, 0, &all), "%s: the work is done", option))
        return;
    note("%s: %lu KiB, %lu of them huge, %lu faults; after the purge %lu, %lu; %lu fallbacks", option, given.full,
         given.huge_full, given.faults, given.kib, given.huge, given.fallbacks);
    if (!never_set())
        ok(given.huge_full > given.full / 2 && given.faults < plain->faults / 4, "%s: the heap is in huge pages", option);
    else
        skip("the heap is in huge pages", "the kernel gives none");
    ok(given.full < plain->full + plain->full / 8, "%s: no more than an eighth is resident for nothing", option);
    ok(alike(all.kib, all_plain->kib) && all.huge <= 4096, "%s: all of them go back", option);
    if (!measure(true, option, 50, &never)) {
        skip("without huge pages", "the kernel has no PR_SET_THP_DISABLE");
        return;
    }
    ok(never.huge_full == 0 && never.fallbacks > 0 && alike(never.kib, plain->kib), "%s: where they are forbidden, as without it",
       option);
}

/* Linux does since 6.7, but not for programs of 32 bits; else what is moved falls into small pages, without a fault. */
static bool kernel_aligns(void)
{
    bool all = true;
    for (int i = 0; i < 4 && all; i++) { /* they stay: one may lie at such a border by chance */
        char *p = mmap(NULL, 4 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        all = p != MAP_FAILED && !((uintptr_t)p % (2 * MIB));
        (void)mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    return all;
}

static void grown_blocks(void)
{
    struct found huge = { 0 }, plain = { 0 };
    if (!ok(measure(false, "grown", GROWS, &huge) && measure(false, "no", GROWS, &plain), "a block grows"))
        return;
    note("grown: %lu KiB, %lu of them huge, %lu faults (%lu without); cut to the half %lu, %lu", huge.full, huge.huge_full, huge.faults,
         plain.faults, huge.kib, huge.huge);
    if (never_set() || sysconf(_SC_PAGESIZE) > 4096)
        skip("it is in huge pages", "the kernel gives none, or none of 2 MiB");
    else
        ok((huge.huge_full > 170 * KIB || !kernel_aligns()) && huge.faults < 200 * MIB / 4096 / 4, "it is in huge pages");
    ok(alike(huge.full, plain.full), "no more is resident than without them");
    ok(alike(huge.kib, plain.kib), "what is cut off goes back");
    if (measure(true, "grown", GROWS, &huge))
        ok(huge.huge_full == 0 && alike(huge.full, plain.full), "where they are forbidden, as without them");
    else
        skip("where they are forbidden", "the kernel has no PR_SET_THP_DISABLE");
}

/* Pages of the system's pool, if there are some (tests/system/limits.sh sees to it): all that it has, and they are kept. */
static void in_the_pool(void)
{
    struct found all = { 0 };
    unsigned long free_pages = said("/proc/meminfo", "HugePages_Free:"), kib = said("/proc/meminfo", "Hugepagesize:");
    if (!free_pages) {
        skip("pages of the pool", "it is empty (vm.nr_hugepages)");
        return;
    }
    ok(measure(false, "hugetlb", 0, &all), "pages of the pool: the work is done");
    note("pool: %lu of %lu KiB used, %lu kept; %lu fallbacks", all.pool_full, free_pages * kib, all.pool, all.fallbacks);
    ok(all.pool_full > 0 && all.pool_full <= free_pages * kib, "pages of the pool are used");
    ok(all.pool == all.pool_full, "and kept");
    ok(all.pool_full > 200 * KIB || all.fallbacks > 0, "those that were missing are counted");
}

int main(int argc, char **argv)
{
    struct found given, never, all;
    if (SANITIZED || getenv("TEST_EMULATOR")) {
        puts("1..0 # SKIP sanitizers and emulators have memory of their own");
        return 0;
    }
    if (argc == 4 && !strcmp(argv[1], "work"))
        return work(strtoul(argv[2], NULL, 10), atoi(argv[3]));
    if (argc > 1) {
        if (!measure(false, "no", 50, &given))
            return 1;
        printf("%lu %lu\n", given.kib, given.huge);
        return 0;
    }
    tap_start();
    if (!ok(measure(false, "no", 50, &given) && measure(false, "no", 0, &all), "the work is done"))
        return tap_done();
    if (measure(true, "no", 50, &never)) {
        note("%lu KiB as the kernel gives them, %lu of them huge; %lu KiB without huge pages", given.kib, given.huge, never.kib);
        ok(given.huge == 0, "no huge page is left");
        ok(alike(given.kib, never.kib), "resident after a purge: the same with and without huge pages");
    } else {
        skip("the same without huge pages", "the kernel has no PR_SET_THP_DISABLE");
    }
    grown_blocks();
    in_huge_pages("thp", &given, &all);
    if (said("/proc/meminfo", "HugePages_Free:"))
        skip("hugetlb without a pool", "there is one");
    else
        in_huge_pages("hugetlb", &given, &all);
    in_the_pool();
    return tap_done();
}
