/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * no_memory.c: a message needs nothing: it comes when there is no memory at all, no mapping left, every stream of stdio
 * locked by another thread, on a small stack, and with standard error closed the process still aborts.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* What is wrong with the pointer, and how the message begins. */
static char *block;
static void interior(void) { free(hide(block + 16)); }
static void twice(void)
{
    free(block);
    free(hide(block));
}
static void by_realloc(void)
{
    volatile char *p = realloc(hide(block + 16), 1000);
    (void)p;
}
static void by_usable(void) { (void)malloc_usable_size(hide(block + 8)); }

static const struct misuse {
    const char *name;
    void (*run)(void);
    const char *words;
} misuses[] = {
    { "interior pointer", interior, "hakmem: free(): interior pointer: 0x" },
    { "double free", twice, "hakmem: free(): double free: 0x" },
    { "realloc of an interior pointer", by_realloc, "hakmem: realloc(): interior pointer: 0x" },
    { "malloc_usable_size of a misaligned one", by_usable, "hakmem: malloc_usable_size(): misaligned pointer: 0x" },
};

/* ---- what the process lacks ------------------------------------------------------------------------------------------ */

static void lack_nothing(void) {}

static void lack_memory(void)
{
    struct rlimit none = { 0, 0 };
    getrlimit(RLIMIT_AS, &none);
    none.rlim_cur = 0; /* from here on no mapping, and no stack beyond what there is */
    if (setrlimit(RLIMIT_AS, &none))
        _exit(40);
    for (size_t n = 100 * MIB; n; n /= 2)
        for (void *volatile p = NULL; (p = malloc(n));)
            ;
    if (errno != ENOMEM)
        _exit(41);
}

static int step[2]; /* a pipe: the locks are held */
static void *lock_streams(void *arg)
{
    (void)arg;
    flockfile(stdin);
    flockfile(stdout);
    flockfile(stderr);
    if (write(step[1], "", 1) != 1)
        _exit(42);
    for (;;)
        pause();
    return NULL;
}
static void lack_stdio(void)
{
    pthread_t thread;
    char byte;
    if (pipe(step) || pthread_create(&thread, NULL, lock_streams, NULL) || read(step[0], &byte, 1) != 1)
        _exit(43);
}

static void lack_both(void)
{
    lack_stdio();
    lack_memory();
}

static void lack_mappings(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (size_t)1 << 19;
    char *p = mmap(NULL, pages * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (size_t i = 1; p != MAP_FAILED && i < pages; i += 2)
        if (mprotect(p + i * page, page, PROT_READ))
            return;
    _exit(77);
}

static void lack_standard_error(void) { close(2); }

static const struct lack {
    const char *name;
    void (*run)(void);
    bool silent;
} lacks[] = {
    { "nothing amiss", lack_nothing, false },
    { "no memory", lack_memory, false },
    { "all streams locked", lack_stdio, false },
    { "no memory, and all streams locked", lack_both, false },
    { "no mapping left", lack_mappings, false },
    { "no standard error", lack_standard_error, true },
};

/* On an alternate stack of a signal, which is small. */
static void (*in_handler)(void);
static void handler(int number)
{
    (void)number;
    in_handler();
}
static void on_small_stack(void (*misuse)(void))
{
    static char stack[16 << 10];
    stack_t other = { .ss_sp = stack, .ss_size = sizeof stack };
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
    in_handler = misuse;
    if (sigaltstack(&other, NULL) || sigaction(SIGUSR1, &action, NULL))
        _exit(44);
    raise(SIGUSR1);
}

static void test(const struct misuse *m, const struct lack *l, bool small)
{
    char said[4096] = "";
    int ends[2], status = -1;
    if (pipe(ends))
        return;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        static const struct rlimit no_core = { 0, 0 };
        setrlimit(RLIMIT_CORE, &no_core);
        alarm(60);
        dup2(ends[1], 2);
        close(ends[0]), close(ends[1]);
        for (int i = 0; i < 100; i++) /* past the nursery */
            if (!(block = malloc(100)))
                _exit(45);
        l->run();
        if (small)
            on_small_stack(m->run);
        else
            m->run();
        _exit(46);
    }
    close(ends[1]);
    hear(ends[0], said, sizeof said);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        status = -1;
    char what[200];
    snprintf(what, sizeof what, "%s, %s%s: %s, and abort", m->name, l->name, small ? ", on a small stack" : "",
             l->silent ? "nothing" : "one line");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        skip(what, "the kernel allows more mappings than are tried");
        return;
    }
    bool line = l->silent ? !*said
                          : strncmp(said, m->words, strlen(m->words)) == 0 && strchr(said, '\n') == said + strlen(said) - 1;
    if (!ok(line && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s", what))
        note("status %#x: %s", (unsigned)status, said);
}

int main(void)
{
    if (SANITIZED || getenv("TEST_EMULATOR")) {
        puts("1..0 # SKIP sanitizers report by themselves, emulators need memory");
        return 0;
    }
    tap_start();
    for (size_t l = 0; l < COUNT_OF(lacks); l++)
        for (size_t m = 0; m < COUNT_OF(misuses); m++)
            test(&misuses[m], &lacks[l], false);
    test(&misuses[0], &lacks[3], true);
    test(&misuses[1], &lacks[0], true);
    return tap_done();
}
