/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * fork_stdio.c [FORKS]: forks while other threads flush all streams, one of which allocates in its write function.  fork
 * holds the locks of the streams; an allocator that held its own across fork would wait for the writer, who waits for it.
 * A hang is ended by an alarm and fails.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static size_t written; /* atomic */
static bool stop;      /* atomic */
static FILE *stream;

/* Keeps what is written for a while, in blocks of many sizes. */
static ssize_t write_and_allocate(void *cookie, const char *text, size_t len)
{
    static void *last[16]; /* the stream's lock is held, but sanitizers do not see it */
    static size_t turns;
    size_t turn = __atomic_fetch_add(&turns, 1, __ATOMIC_ACQ_REL);
    (void)cookie;
    char *p = malloc(len + turn % 3000 * (turn % 7));
    if (!p)
        return -1;
    memcpy(p, text, len);
    free(__atomic_exchange_n(&last[turn % COUNT_OF(last)], p, __ATOMIC_ACQ_REL));
    __atomic_fetch_add(&written, len, __ATOMIC_RELAXED);
    return (ssize_t)len;
}

static void *print(void *arg)
{
    size_t n = 0, number = (size_t)arg;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        fprintf(stream, "line %zu of %zu\n", n, number);
        if (++n % 50 == 0)
            free(malloc(n % 5000));
    }
    return NULL;
}
static void *flush(void *arg)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        fflush(NULL);
        free(malloc(100));
    }
    return arg;
}

int main(int argc, char **argv)
{
    int forks = argc > 1 ? atoi(argv[1]) : 500, wrong = 0;
    pthread_t threads[4];
    tap_start();
    if (SANITIZED) {
        skip("forks while streams are flushed", "the sanitizer's runtime holds its locks across fork, and hangs here by itself");
        return tap_done();
    }
    alarm(600);
    stream = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = write_and_allocate });
    if (!stream) {
        ok(0, "a stream");
        return tap_done();
    }
    setvbuf(stream, NULL, _IOFBF, 512);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        if (pthread_create(&threads[i], NULL, i % 2 ? flush : print, (void *)(uintptr_t)i)) {
            ok(0, "threads start");
            return tap_done();
        }
    for (int i = 0; i < forks; i++) {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0) {
            alarm(30);
            for (int j = 0; j < 100; j++)
                free(malloc((size_t)j * 50));
            if (fprintf(stream, "child\n") < 0 || fflush(stream) != 0 || fflush(NULL) != 0)
                _exit(10);
            if (i % 2)
                exit(0);
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
            note("fork %d: %s %d", i, WIFSIGNALED(status) ? "signal" : "exit status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            if (++wrong > 3)
                break;
        }
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    ok(!wrong, "%d forks while streams are flushed", forks);
    ok(written > 10000, "the stream was written to");
    return tap_done();
}
