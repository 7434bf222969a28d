/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * handler.c: a signal handler that allocates, which POSIX does not allow and old programs do.  It comes after each instruction
 * in turn with which a thread's first malloc begins: before a lock is taken, the thread must not be taken for one that has no
 * heap yet, or has one, when it is the other way round by now.
 *
 * The processor's trap flag stops the thread; a child process for each instruction.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#if defined __x86_64__
#include <ucontext.h>

enum { TRAP = 0x100, SIZE = 100 };
static volatile unsigned long at, count;
static volatile bool armed;
static char *from_handler;

static void trapped(int number, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    (void)number, (void)info;
    if (armed && count++ < at)
        return;
    c->uc_mcontext.gregs[REG_EFL] &= ~TRAP;
    if (armed) {
        armed = false;
        from_handler = malloc(SIZE);
        if (from_handler)
            memset(from_handler, 9, SIZE);
    }
}

/* From here on the handler counts instructions. */
#define STEP(work)                                                                          \
    do {                                                                                    \
        armed = true;                                                                       \
        __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | TRAP);             \
        work;                                                                               \
        __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~(unsigned)TRAP);  \
    } while (0)

static bool holds(const char *p, size_t size, char byte)
{
    for (size_t i = 0; i < size; i++)
        if (p[i] != byte)
            return false;
    return true;
}
static void expect(bool good, int code)
{
    if (!good)
        _exit(code);
}

static void *first_malloc(void *arg)
{
    char *volatile p;
    size_t size = *(size_t *)arg;
    STEP(p = malloc(size));
    expect(p != NULL, 31);
    memset(p, 1, size);
    expect(!from_handler || holds(from_handler, SIZE, 9), 32);
    free(p);
    return NULL;
}

/* How many of the first `limit` instructions end badly. */
static unsigned bad_ones(void *(*work)(void *arg), void *arg, unsigned long limit, unsigned *tried)
{
    unsigned bad = 0;
    *tried = 0;
    for (at = 0; at < limit; at++) {
        fflush(stdout);
        pid_t pid = fork();
        if (!pid) {
            pthread_t thread;
            struct sigaction act = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO };
            alarm(20);
            if (sigaction(SIGTRAP, &act, NULL) || pthread_create(&thread, NULL, work, arg) || pthread_join(thread, NULL))
                _exit(30);
            _exit(armed ? 40 : 0); /* 40: there are no more instructions */
        }
        int status = 0;
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            return 1000;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 40)
            break;
        if (status && ++bad < 5)
            note("after instruction %lu: status %#x", at, (unsigned)status);
        ++*tried;
    }
    return bad;
}

int main(void)
{
    unsigned tried, bad;
    tap_start();
    if (SANITIZED || EMULATED) {
        skip("a handler that allocates", "there is no single-stepping here");
        return tap_done();
    }
    free(malloc(SIZE));
    static const size_t sizes[] = { 0, 16, 1024, 1025, 40000 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t size = sizes[i];
        bad = bad_ones(first_malloc, &size, 20, &tried);
        ok(bad == 0 && tried == 20, "the first malloc of a thread, %zu bytes: after each of %u instructions", size, tried);
    }
    return tap_done();
}
#else
int main(void)
{
    tap_start();
    skip("a handler that allocates", "only written for x86-64's trap flag");
    return tap_done();
}
#endif
