/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * huge_pages.c: what a process has resident after a purge is the same whether the kernel gives transparent huge pages or
 * not (PR_SET_THP_DISABLE): neither a fault nor khugepaged fills in again what was given back.  tests/system/limits.sh runs
 * it in every mode of the kernel.  With an argument: prints the resident KiB after the work, and that in huge pages.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <sys/prctl.h>
#include <sys/wait.h>

/* KiB of the process in transparent huge pages. */
static size_t huge(void)
{
    static char text[8192];
    int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *line = strstr(text, "AnonHugePages:");
    return line ? strtoul(line + 14, NULL, 10) : 0;
}

/* About 300 MiB of all sizes, of which one block in fifty stays. */
static void work(void)
{
    enum { COUNT = 300000 };
    uint64_t seed = 99;
    char **blocks = malloc(COUNT * sizeof *blocks); /* not static: the kernel may give a huge page for it there */
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
    for (size_t i = 0; i < COUNT; i++)
        if (i % 50 != 1)
            free(blocks[i]);
    malloc_trim(0);
    for (int i = 0; i < 20; i++) /* where a fault would bring a huge page: what is free is used a little */
        for (size_t n = 1; n < 100000; n *= 2)
            *(volatile char *)malloc(n) = 1;
    malloc_trim(0);
}

/* In a child: resident and huge KiB after the work, with huge pages as the kernel gives them, or never. */
static bool measure(bool never, unsigned long *kib, unsigned long *huge_kib)
{
    int ends[2], status = -1;
    unsigned long result[2] = { 0, 0 };
    if (pipe(ends))
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(100);
        if (never && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
            _exit(3);
        work();
        result[0] = resident() / KIB;
        result[1] = huge();
        _exit(write(ends[1], result, sizeof result) != sizeof result);
    }
    close(ends[1]);
    bool good = pid > 0 && read(ends[0], result, sizeof result) == sizeof result;
    close(ends[0]);
    good = pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && good;
    *kib = result[0];
    *huge_kib = result[1];
    return good;
}

int main(int argc, char **argv)
{
    unsigned long as_given = 0, without = 0, huge_given = 0, huge_without = 0;
    if (SANITIZED || getenv("TEST_EMULATOR")) {
        puts("1..0 # SKIP sanitizers and emulators have memory of their own");
        return 0;
    }
    (void)argv;
    if (argc > 1) {
        if (!measure(false, &as_given, &huge_given))
            return 1;
        printf("%lu %lu\n", as_given, huge_given);
        return 0;
    }
    tap_start();
    if (!ok(measure(false, &as_given, &huge_given), "the work is done"))
        return tap_done();
    if (!measure(true, &without, &huge_without)) {
        skip("the same without huge pages", "the kernel has no PR_SET_THP_DISABLE");
        return tap_done();
    }
    note("%lu KiB as the kernel gives them, %lu of them huge; %lu KiB without huge pages", as_given, huge_given, without);
    ok(huge_given == 0, "no huge page is left");
    ok(as_given < without + without / 20 + 1024 && without < as_given + as_given / 20 + 1024,
       "resident after a purge: the same with and without huge pages");
    return tap_done();
}
