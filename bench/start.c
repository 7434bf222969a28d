/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * start [N [PROGRAM [ARGUMENT]...]]: starts PROGRAM (/bin/true) N times (1000), one after the other, in its own
 * environment, so under the same preload, its output thrown away; and fails if it fails. One op is a process, of which
 * CPU time, and in the second line the peak RSS and the faults, are told. What a preloaded library costs beyond an
 * empty one, startup.sh tells.
 */
#include "bench.h"
#include <spawn.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
    static char *trivial[] = {(char *)(uintptr_t)"/bin/true", NULL};
    bench_prove();
    unsigned long n = bench_arg(argc, argv, 1, 1000);
    char **command = argc > 2 ? argv + 2 : trivial;
    if (!n)
        bench_usage("usage: start [N [PROGRAM [ARGUMENT]...]], N at least 1");
    posix_spawn_file_actions_t quiet;
    if (posix_spawn_file_actions_init(&quiet) != 0 ||
        posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) != 0)
        bench_die("out of memory");
    struct bench_time t = bench_start();
    for (unsigned long i = 0; i < n; i++) {
        pid_t pid;
        int status, error = posix_spawnp(&pid, command[0], &quiet, NULL, command, environ);
        if (error) {
            fprintf(stderr, "bench: %s: %s\n", command[0], strerror(error));
            return error == ENOENT ? 2 : 1;
        }
        while (waitpid(pid, &status, 0) < 0)
            if (errno != EINTR)
                bench_die("cannot wait for a process");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            bench_die("a process failed");
    }
    t = bench_since(t);
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    t.cpu = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000 +
            (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
    bench_line("start", n, t);
    printf("processes peak_rss_kib=%ld faults=%.1f\n", u.ru_maxrss, (double)u.ru_minflt / (double)n);
    return 0;
}
