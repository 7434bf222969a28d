/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * launch [-n ROUNDS] [-s SEED] [-o FILE] [-q] [-p LIBRARY]... [--] COMMAND [ARGUMENT]...
 *
 * Runs COMMAND once a round with each LIBRARY preloaded ("" for none), in a new random order each round, and writes a
 * line a run to FILE (standard output): round, library's index, status, wall ns, user us, system us, peak RSS KiB,
 * minor faults, major faults. The status is the exit code, or 256 + the signal, or 512 + errno where it could not be
 * started. -q: the command's output is thrown away.
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

static void run(FILE *out, int round, int index, char **argv, char **env, const posix_spawn_file_actions_t *act)
{
    struct rusage u;
    int status;
    pid_t pid;
    unsigned long long start = now();
    int error = posix_spawnp(&pid, argv[0], act, NULL, argv, env);
    if (error) {
        fprintf(out, "%d,%d,%d,0,0,0,0,0,0\n", round, index, 512 + error);
        return;
    }
    while (wait4(pid, &status, 0, &u) < 0)
        if (errno != EINTR)
            fail("wait4");
    unsigned long long wall = now() - start;
    fprintf(out, "%d,%d,%d,%llu,%lld,%lld,%ld,%ld,%ld\n", round, index,
            WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status), wall,
            (long long)u.ru_utime.tv_sec * 1000000 + u.ru_utime.tv_usec,
            (long long)u.ru_stime.tv_sec * 1000000 + u.ru_stime.tv_usec, u.ru_maxrss, u.ru_minflt, u.ru_majflt);
}

int main(int argc, char **argv)
{
    char **env[MAX_LIBRARIES];
    int libraries = 0, order[MAX_LIBRARIES], rounds = 1, option;
    unsigned long seed = (unsigned long)now();
    FILE *out = stdout;
    posix_spawn_file_actions_t act;
    posix_spawn_file_actions_init(&act);
    while ((option = getopt(argc, argv, "+n:s:o:qp:")) != -1) {
        if (option == 'n')
            rounds = atoi(optarg);
        else if (option == 's')
            seed = strtoul(optarg, NULL, 10);
        else if (option == 'o' && !(out = fopen(optarg, "we")))
            fail(optarg);
        else if (option == 'q')
            for (int fd = 1; fd <= 2; fd++)
                posix_spawn_file_actions_addopen(&act, fd, "/dev/null", O_WRONLY, 0);
        else if (option == 'p' && libraries < MAX_LIBRARIES)
            env[libraries++] = with_preload(optarg);
        else if (option == 'p' || option == '?')
            return 125;
    }
    if (optind == argc) {
        fprintf(stderr, "usage: launch [-n ROUNDS] [-s SEED] [-o FILE] [-q] [-p LIBRARY]... [--] COMMAND...\n");
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
            run(out, r, order[i], argv + optind, env[order[i]], &act);
    }
    if (fclose(out) != 0)
        fail("write");
    return 0;
}
