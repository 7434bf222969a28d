/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * root.c: files and programs below the root of a system, which may be another one than that which runs.
 */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *root_name = "";
static int root = -1; /* an open folder; -1: the system that runs */

/* Linux 5.6; older headers do not have it. */
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
enum { STAY_INSIDE = 0x10 }; /* RESOLVE_IN_ROOT: also absolute links and .. */
static int open_inside(const char *path, int flags)
{
    const struct {
        uint64_t flags, mode, resolve;
    } how = { (uint64_t)(unsigned)flags, 0, STAY_INSIDE };
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

bool root_is_running(void) { return root < 0; }

void root_set(const char *folder, int code)
{
    struct stat s, running;
    root = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || fstat(root, &s))
        die(code, "%s: %s", folder, strerror(errno));
    if (stat("/", &running) == 0 && s.st_dev == running.st_dev && s.st_ino == running.st_ino) {
        close(root);
        root = -1;
        return;
    }
    /* Without a slash at the end: paths follow. */
    char *name = text("%s", folder);
    while (*name && name[strlen(name) - 1] == '/')
        name[strlen(name) - 1] = '\0';
    root_name = name;
    int fd = open_inside("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
    } else if (chroot(folder) == 0 && chdir("/") == 0) { /* an old kernel: go in and stay there */
        close(root);
        root = -1;
    } else {
        die(code, "%s: cannot keep to that folder: %s", folder, strerror(errno));
    }
}

int root_open(const char *path, int flags)
{
    flags |= O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY); /* openat2 refuses flags that mean nothing */
    return root < 0 ? open(path, flags) : open_inside(path, flags);
}

/* ---- programs ---------------------------------------------------------------------------------------------------- */

enum { SECONDS = 30 };

static void enter_and_start(const char *const argv[], const char *preload, int out, int report)
{
    char variable[4200];
    const char *environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/", "HAKMEM_VERBOSE=1", NULL, NULL };
    int said[2] = { 0, 0 }; /* errno; entered */
    if (preload && snprintf(variable, sizeof variable, "LD_PRELOAD=%s", preload) < (int)sizeof variable)
        environment[4] = variable;
    setpgid(0, 0);
    int in = open("/dev/null", O_RDWR);
    if (in >= 0)
        dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    signal(SIGPIPE, SIG_DFL);
    if (root < 0 ? chdir("/") == 0 : fchdir(root) == 0 && chroot(".") == 0) {
        said[1] = 1;
        execve(argv[0], (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)environment);
    }
    said[0] = errno;
    if (write(report, said, sizeof said) < 0)
        _exit(126);
    _exit(127);
}

static long milliseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until the child has ended and has no more to say.  What it leaves running may keep the pipe open: that is not waited for. */
static void listen_to(struct trial *t, pid_t child, int from)
{
    size_t length = 0;
    long end = milliseconds() + SECONDS * 1000;
    for (bool over = false;;) {
        char more[4096];
        struct pollfd p = { from, POLLIN, 0 };
        bool talks = poll(&p, 1, over ? 0 : 2) > 0;
        ssize_t n = talks ? read(from, more, sizeof more) : -1;
        if (n > 0) {
            size_t room = sizeof t->said - 1 - length, take = (size_t)n < room ? (size_t)n : room;
            memcpy(t->said + length, more, take);
            length += take;
        } else if (over) {
            break;
        } else if (n == 0) {
            from = -1; /* poll takes no notice of it then */
        }
        if (!over && waitpid(child, &t->status, WNOHANG) == child)
            over = true;
        if (!over && milliseconds() > end) {
            t->late = true;
            kill(-child, SIGKILL);
        }
    }
    t->said[length] = '\0';
}

bool root_try(struct trial *t, const char *const argv[], const char *preload)
{
    int out[2], report[2], failed[2] = { 0, 0 };
    memset(t, 0, sizeof *t);
    if (pipe2(out, O_CLOEXEC) || pipe2(report, O_CLOEXEC))
        die(EXIT_SYSTEM, "pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        die(EXIT_SYSTEM, "fork: %s", strerror(errno));
    if (!child)
        enter_and_start(argv, preload, out[1], report[1]);
    close(out[1]);
    close(report[1]);
    bool started = read(report[0], failed, sizeof failed) != sizeof failed;
    t->error = failed[0];
    t->entered = started || failed[1];
    listen_to(t, child, out[0]);
    close(out[0]);
    close(report[0]);
    return started;
}
