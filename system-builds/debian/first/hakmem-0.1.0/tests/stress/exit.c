/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * exit.c: processes end while their threads allocate: by exit, with handlers that allocate; by return from main; by the
 * main thread's pthread_exit, after which the others go on; and by a thread that calls exit.  A hang fails by alarm.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

/* Under a sanitizer every exit sleeps for a second. */
enum { THREADS = 4, ROUNDS = SANITIZED ? 4 : 60 };

static void nap(long milliseconds)
{
    nanosleep(&(struct timespec){ .tv_nsec = milliseconds * 1000000 }, NULL);
}

static bool limited; /* set before the threads start: they end by themselves */

static void *busy(void *arg)
{
    uint64_t state = (uint64_t)(uintptr_t)arg * 77 + 1;
    void *blocks[300] = { NULL };
    for (size_t n = 0; !limited || n < 100000; n++) {
        size_t i = random_below(&state, COUNT_OF(blocks));
        free(blocks[i]);
        blocks[i] = malloc(1 + random_below(&state, n % 50 ? 800 : 100000));
        if (!blocks[i])
            _exit(20);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    return NULL;
}

static void start_threads(void)
{
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, busy, (void *)i) || pthread_detach(thread))
            _exit(21);
    }
}

static void *static_block;
static void handler(void)
{
    for (size_t n = 1; n < 300000; n = n * 2 + 1) {
        char *p = malloc(n);
        if (!p)
            _exit(22);
        memset(p, 1, n);
        free(p);
    }
    free(static_block);
}

static void *exits(void *arg)
{
    nap(5);
    exit((int)(intptr_t)arg);
}

static void *ends_later(void *arg)
{
    busy(arg);
    exit(23);
}

/* What the child does; it must end with status 23. */
static void by_exit(void)
{
    start_threads();
    static_block = malloc(100);
    atexit(handler);
    nap(10);
    exit(23);
}
static void by_quick_exit(void)
{
    start_threads();
    at_quick_exit(handler);
    static_block = malloc(100);
    nap(5);
    quick_exit(23);
}
static void by_thread(void)
{
    pthread_t thread;
    start_threads();
    atexit(handler);
    static_block = malloc(100000);
    if (pthread_create(&thread, NULL, exits, (void *)(intptr_t)23))
        _exit(24);
    busy(NULL);
}
static void by_main_first(void)
{
    pthread_t thread;
    limited = true;
    static_block = malloc(5000);
    atexit(handler);
    start_threads();
    if (pthread_create(&thread, NULL, ends_later, NULL))
        _exit(24);
    pthread_exit(NULL);
}
/* Nobody calls exit: the last thread's end is the process's, with status 0. */
static void by_last_thread(void)
{
    limited = true;
    start_threads();
    pthread_exit(NULL);
}

static void test(const char *what, void (*child)(void), int expected, int rounds)
{
    int bad = 0, shown = 0;
    for (int i = 0; i < rounds; i++) {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0) {
            alarm(30);
            child();
            _exit(25);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            status = -1;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != expected) {
            bad++;
            if (shown++ < 5)
                note("%s %d", WIFSIGNALED(status) ? "signal" : "exit status",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            if (bad > 3)
                break;
        }
    }
    ok(!bad, "%s", what);
}

int main(void)
{
    tap_start();
    alarm(300);
    test("exit while threads allocate", by_exit, 23, ROUNDS);
    test("quick_exit while threads allocate", by_quick_exit, 23, ROUNDS);
    test("exit from another thread while all allocate", by_thread, 23, ROUNDS);
    test("the main thread ends first, another one calls exit", by_main_first, 23, (ROUNDS + 2) / 3);
    if (SANITIZED) /* its runtime waits for somebody to call exit */
        skip("the main thread ends first, the last one ends the process", "sanitizer");
    else
        test("the main thread ends first, the last one ends the process", by_last_thread, 0, (ROUNDS + 2) / 3);
    return tap_done();
}
