/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * launch [-n ROUNDS] [-s SEED] [-o FILE] [-q] [-x] [-p LIBRARY]... [--] COMMAND [ARGUMENT]...
 *
 * Runs COMMAND once a round with each LIBRARY preloaded ("" for none), in a new random order each round, and writes a
 * line a run to FILE (standard output): round, library's index, status, wall ns, user us, system us, peak RSS KiB,
 * minor faults, major faults. The status is the exit code, or 256 + the signal, or 512 + errno where it could not be
 * started. -q: the command's output is thrown away.
 *
 * -x: the kernel's peak is off by up to some dozen pages a processor, because it counts in batches. So the process is
 * stopped by ptrace when it is about to end, and its pages are counted exactly (smaps_rollup): three fields more, resident,
 * anonymous and private dirty KiB at its end. Its children are left alone. Times mean little then.
 *
 * It is linked statically, so that a preload never touches it, and it is tiny: the peak RSS that the kernel reports for
 * a child includes the image it was started from, and a runner in Python or a shell would be counted in.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_LIBRARIES 32

static unsigned long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned long long)t.tv_sec * 1000000000u + (unsigned long long)t.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "launch: %s: %s\n", what, strerror(errno));
    exit(125);
}

/* The environment with LD_PRELOAD set to the library, or without it. */
static char **with_preload(const char *library)
{
    size_t n = 0, k = 0;
    while (environ[n])
        n++;
    char **env = calloc(n + 2, sizeof *env);
    if (!env)
        fail("memory");
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "LD_PRELOAD=", 11) != 0)
            env[k++] = environ[i];
    if (*library && asprintf(&env[k], "LD_PRELOAD=%s", library) < 0)
        fail("memory");
    return env;
}

/* ---- -x ---------------------------------------------------------------------------------------------------------- */

struct pages { long resident, anonymous, dirty; };

static struct pages count_pages(pid_t pid)
{
    struct pages p = {0, 0, 0};
    char path[64], text[4096], *at;
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0)
        fail(path);
    close(fd);
    text[n] = 0;
    p.resident = (at = strstr(text, "\nRss:")) ? atol(at + 5) : 0;
    p.anonymous = (at = strstr(text, "\nAnonymous:")) ? atol(at + 11) : 0;
    p.dirty = (at = strstr(text, "\nPrivate_Dirty:")) ? atol(at + 15) : 0;
    return p;
}

/* As posix_spawnp, but the process waits for its parent before and after it is the command's. */
static int spawn_traced(pid_t *pid, char **argv, char **env, int quiet)
{
    int told[2], error = 0;
    if (pipe2(told, O_CLOEXEC) != 0)
        fail("pipe");
    if ((*pid = fork()) < 0)
        fail("fork");
    if (*pid == 0) {
        int null = quiet ? open("/dev/null", O_WRONLY) : -1;
        if (null >= 0 && (dup2(null, 1) < 0 || dup2(null, 2) < 0))
            _exit(125);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
            execvpe(argv[0], argv, env);
        error = errno;
        if (write(told[1], &error, sizeof error) != (ssize_t)sizeof error)
            _exit(125);
        _exit(0);
    }
    close(told[1]);
    if (read(told[0], &error, sizeof error) > 0)
        while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
            ;
    close(told[0]);
    return error;
}

/* Lets it run to its end; what it had then, and how it ended. */
static struct pages trace(pid_t pid, int *status, struct rusage *u)
{
    struct pages p = {0, 0, 0};
    for (int started = 0;;) {
        long signal = 0;
        if (wait4(pid, status, 0, u) < 0) {
            if (errno == EINTR)
                continue;
            fail("wait4");
        }
        if (!WIFSTOPPED(*status))
            return p;
        if (!started) { /* the stop after execve */
            started = 1;
            if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC)) != 0)
                fail("ptrace");
        } else if (*status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8)) {
            p = count_pages(pid);
        } else if (*status >> 16 == 0) {
            signal = WSTOPSIG(*status);
        }
        if (ptrace(PTRACE_CONT, pid, NULL, (void *)signal) != 0 && errno != ESRCH)
            fail("ptrace");
    }
}

static void run(FILE *out, int round, int index, char **argv, char **env, const posix_spawn_file_actions_t *act,
                int exact, int quiet)
{
    struct pages p = {0, 0, 0};
    struct rusage u;
    int status;
    pid_t pid;
    unsigned long long start = now();
    int error = exact ? spawn_traced(&pid, argv, env, quiet) : posix_spawnp(&pid, argv[0], act, NULL, argv, env);
    if (error) {
        fprintf(out, "%d,%d,%d,0,0,0,0,0,0%s\n", round, index, 512 + error, exact ? ",0,0,0" : "");
        return;
    }
    if (exact)
        p = trace(pid, &status, &u);
    else
        while (wait4(pid, &status, 0, &u) < 0)
            if (errno != EINTR)
                fail("wait4");
    unsigned long long wall = now() - start;
    fprintf(out, "%d,%d,%d,%llu,%lld,%lld,%ld,%ld,%ld", round, index,
            WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status), wall,
            (long long)u.ru_utime.tv_sec * 1000000 + u.ru_utime.tv_usec,
            (long long)u.ru_stime.tv_sec * 1000000 + u.ru_stime.tv_usec, u.ru_maxrss, u.ru_minflt, u.ru_majflt);
    if (exact)
        fprintf(out, ",%ld,%ld,%ld", p.resident, p.anonymous, p.dirty);
    fputc('\n', out);
}

int main(int argc, char **argv)
{
    char **env[MAX_LIBRARIES];
    int libraries = 0, order[MAX_LIBRARIES], rounds = 1, option, exact = 0, quiet = 0;
    unsigned long seed = (unsigned long)now();
    FILE *out = stdout;
    posix_spawn_file_actions_t act;
    posix_spawn_file_actions_init(&act);
    while ((option = getopt(argc, argv, "+n:s:o:qxp:")) != -1) {
        if (option == 'n')
            rounds = atoi(optarg);
        else if (option == 's')
            seed = strtoul(optarg, NULL, 10);
        else if (option == 'o' && !(out = fopen(optarg, "we")))
            fail(optarg);
        else if (option == 'x')
            exact = 1;
        else if (option == 'q')
            for (int fd = quiet = 1; fd <= 2; fd++)
                posix_spawn_file_actions_addopen(&act, fd, "/dev/null", O_WRONLY, 0);
        else if (option == 'p' && libraries < MAX_LIBRARIES)
            env[libraries++] = with_preload(optarg);
        else if (option == 'p' || option == '?')
            return 125;
    }
    if (optind == argc) {
        fprintf(stderr, "usage: launch [-n ROUNDS] [-s SEED] [-o FILE] [-q] [-x] [-p LIBRARY]... [--] COMMAND...\n");
        return 125;
    }
    if (!libraries)
        env[libraries++] = with_preload("");
    srandom((unsigned)seed);
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < libraries; i++) {           /* the inside-out shuffle */
            int j = (int)(random() % (i + 1));
            order[i] = order[j];
            order[j] = i;
        }
        for (int i = 0; i < libraries; i++)
            run(out, r, order[i], argv + optind, env[order[i]], &act, exact, quiet);
    }
    if (fclose(out) != 0)
        fail("write");
    return 0;
}
