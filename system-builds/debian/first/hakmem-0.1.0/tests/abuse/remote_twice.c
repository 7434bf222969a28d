/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * remote_twice.c: a block freed by two threads.  The second thread's free waits in its remote buffer while the first one
 * frees the block too, and the slab, empty now, is given up.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void *block;
static pthread_barrier_t gate;

static void *other(void *arg)
{
    void *own = malloc(20000);
    free(block);
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate);
    free(own);
    return arg;
}

static void misuse(void)
{
    pthread_t thread;
    pthread_barrier_init(&gate, NULL, 2);
    block = malloc(30000);
    void *neighbour = malloc(30000);
    if (pthread_create(&thread, NULL, other, NULL))
        _exit(3);
    pthread_barrier_wait(&gate);
    free(neighbour);
    free(block);
    malloc_trim(0);
    pthread_barrier_wait(&gate);
    pthread_join(thread, NULL);
}

int main(void)
{
    tap_start();
    int pipes[2], status = 0;
    char text[200] = "";
    if (pipe(pipes))
        return 1;
    pid_t pid = fork();
    if (pid == 0) {
        static const struct rlimit no_core = { 0, 0 };
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(pipes[1], 2);
        misuse();
        _exit(0);
    }
    close(pipes[1]);
    ssize_t n = read(pipes[0], text, sizeof text - 1);
    waitpid(pid, &status, 0);
    ok(n > 0 && strncmp(text, "hakmem: free(): double free: 0x", 31) == 0, "the message");
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "abort");
    return tap_done();
}
