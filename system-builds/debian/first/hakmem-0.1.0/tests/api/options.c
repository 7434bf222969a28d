/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * options.c: the environment.  Runs itself with variables set and looks at what it says on stderr and by hak_option_get.
 */
#define _GNU_SOURCE
#include "tap.h"

#include <sys/wait.h>

static char own_name[4096];
static char said[16384]; /* stderr of the last child */
static char told[256];   /* its stdout */

/* In the child: the value of an option, after some work.  With a ! in front it is asked for before everything, too. */
static int child(const char *option)
{
    long value = -1;
    void *blocks[100];
    if (*option == '!' && hak_option_get(++option, &value))
        return 2;
    for (size_t n = 1; n < 5000000; n *= 3) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = malloc(n);
            if (!blocks[i])
                return 1;
            pattern_fill(blocks[i], n > 10000 ? 10000 : n, i);
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            if (!pattern_holds(blocks[i], n > 10000 ? 10000 : n, i))
                return 1;
            free(blocks[i]);
        }
    }
    if (hak_option_get(option, &value))
        return 2;
    printf("%ld", value);
    return 0;
}

static void take(int fd, char *text, size_t size)
{
    size_t len = 0;
    for (ssize_t n; len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = 0;
    close(fd);
}

/* Runs the child with NAME=VALUE (or without), and returns whether it ended well. */
static bool run(const char *name, const char *value, const char *option)
{
    int out[2], err[2], status = -1;
    if (pipe(out) || pipe(err))
        return false;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], 1);
        dup2(err[1], 2);
        close(out[0]), close(out[1]), close(err[0]), close(err[1]);
        if (name)
            setenv(name, value, 1);
        execute_again(own_name, option);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    take(out[0], told, sizeof told);
    take(err[0], said, sizeof said);
    waitpid(pid, &status, 0);
    if (status)
        note("status %#x, stderr: %s", (unsigned)status, said);
    return status == 0;
}

static size_t lines(const char *text)
{
    size_t n = 0;
    while ((text = strchr(text, '\n'))) {
        text++;
        n++;
    }
    return n;
}

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

int main(int argc, char **argv)
{
    if (argc > 1)
        return child(argv[1]);
    tap_start();
    ssize_t n = readlink("/proc/self/exe", own_name, sizeof own_name - 1);
    if (n < 0) {
        puts("1..0 # SKIP no /proc");
        return 0;
    }
    (void)argv;
    for (char **e = environ; *e;) {
        if (begins(*e, "HAKMEM_")) {
            char name[256];
            snprintf(name, sizeof name, "%.*s", (int)strcspn(*e, "="), *e);
            unsetenv(name);
            e = environ;
        } else {
            e++;
        }
    }

    ok(run(NULL, NULL, "VERBOSE") && !strcmp(told, "0") && !*said, "nothing set: nothing said");
    ok(run("HAKMEM_VERBOSE", "1", "VERBOSE") && !strcmp(told, "1") && lines(said) == 1 && begins(said, "hakmem: "),
       "HAKMEM_VERBOSE=1: one line at the start");
    ok(run("HAKMEM_VERBOSE", "1", "!VERBOSE") && !strcmp(told, "1") && lines(said) == 1 && strstr(said, " serves process "),
       "also when the program asks for an option before it allocates");
    ok(run("HAKMEM_VERBOSE", "0", "VERBOSE") && !strcmp(told, "0") && !*said, "HAKMEM_VERBOSE=0: nothing said");
    ok(run("HAKMEM_DIRTY_KB", "4321", "DIRTY_KB") && !strcmp(told, "4321") && !*said, "a number is taken");
    static const char *const wrong[] = { "banana", "2", "-1", "", " 1", "1 ", "0x1", "1e0", "99999999999999999999999999" };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        bool good = run("HAKMEM_VERBOSE", wrong[i], "VERBOSE") && !strcmp(told, "0") && lines(said) == 1 &&
                    begins(said, "hakmem: ") && strstr(said, "HAKMEM_VERBOSE");
        if (!ok(good, "HAKMEM_VERBOSE=\"%s\": one warning and the default", wrong[i]))
            note("stdout %s, stderr %s", told, said);
    }
    char much[20000];
    memset(much, '7', sizeof much - 1);
    much[sizeof much - 1] = 0;
    ok(run("HAKMEM_VERBOSE", much, "VERBOSE") && !strcmp(told, "0") && lines(said) == 1 && strlen(said) < 1000,
       "a very long value: one line of sane length");

    char process[64];
    ok(run("HAKMEM_STATS", "1", "STATS") && !strcmp(told, "1") && lines(said) > 10 && begins(said, "hakmem: ") &&
           strstr(said, "statistics of process ") && strstr(said, "statistics of process ") < strchr(said, '\n'),
       "HAKMEM_STATS=1: statistics at the end");
    snprintf(process, sizeof process, "statistics of process %ld", (long)getpid());
    ok(!strstr(said, process), "of the child, not of this one");
    ok(run("HAKMEM_STATS", "json", "STATS") && said[0] == '{' && strstr(said, "\"live_bytes\"") && lines(said) == 1 &&
           said[strlen(said) - 2] == '}',
       "HAKMEM_STATS=json: one object on one line");
    ok(run("HAKMEM_STATS", "0", "STATS") && !*said, "HAKMEM_STATS=0: none");

    /* Each part switched off: the program works all the same. */
    static const char *const parts[][2] = { { "MINIMAL", "1" },           { "WRAP_TINY", "0" },
                                            { "TINY_USE_SUPERSLAB", "0" }, { "DISABLE_PURGE", "1" } };
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        char name[64];
        snprintf(name, sizeof name, "HAKMEM_%s", parts[i][0]);
        ok(run(name, parts[i][1], parts[i][0]) && !strcmp(told, parts[i][1]) && !*said, "%s=%s works", name, parts[i][1]);
    }
    return tap_done();
}
