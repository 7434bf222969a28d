/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * limits.c: little address space, from the start and later on: NULL and ENOMEM instead of a crash; what was there stays
 * whole, and what is freed can be had again.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static bool limit(int which, size_t bytes)
{
    struct rlimit r = { .rlim_cur = bytes, .rlim_max = RLIM_INFINITY };
    if (getrlimit(which, &r))
        return false;
    r.rlim_cur = bytes;
    return setrlimit(which, &r) == 0;
}

/* A list through the blocks; each holds its size and a pattern at both ends. */
struct link {
    struct link *next;
    size_t size;
};

static bool put(struct link **list, size_t n)
{
    errno = 0;
    struct link *l = malloc(n);
    if (!l) {
        if (errno != ENOMEM)
            _exit(30);
        return false;
    }
    l->next = *list;
    l->size = n;
    if (n > sizeof *l)
        memset(l + 1, (int)(n & 0xff), n - sizeof *l);
    *list = l;
    return true;
}

static bool whole(const struct link *l)
{
    return l->size >= sizeof *l && all_bytes(l + 1, l->size - sizeof *l, (unsigned char)(l->size & 0xff));
}

/* As many blocks of n bytes as there are.  Returns their bytes. */
static size_t exhaust(struct link **list, size_t n)
{
    size_t got = 0;
    while (put(list, n))
        got += n;
    return got;
}

static void free_all(struct link **list)
{
    while (*list) {
        struct link *l = *list;
        if (!whole(l))
            _exit(31);
        *list = l->next;
        free(l);
    }
}

/* No memory at all: every function of the family says so. */
static void all_fail(size_t n)
{
    void *p = NULL;
    int error;
#define FAILS(call)                       \
    errno = 0;                            \
    if ((p = (call)) || errno != ENOMEM)  \
        _exit(32)
    FAILS(malloc(n));
    FAILS(calloc(1, n));
    FAILS(realloc(NULL, n));
    FAILS(memalign(4096, n));
    FAILS(aligned_alloc(64, n));
    FAILS(valloc(n));
    if ((error = posix_memalign(&p, 64, n)) != ENOMEM || p)
        _exit(33);
}

static void all_works(void)
{
    for (size_t n = 1; n < 4 * MIB; n = n * 2 + 1) {
        char *p = malloc(n), *q = calloc(1, n);
        if (!p || !q || !all_bytes(q, n, 0))
            _exit(34);
        memset(p, 1, n);
        p = realloc(p, n + n / 2);
        if (!p || !all_bytes(p, n, 1))
            _exit(35);
        free(p);
        free(q);
    }
}

static size_t size_of_blocks, least_bytes;

static void under_limit(void)
{
    struct link *list = NULL;
    size_t first = exhaust(&list, size_of_blocks);
    if (first < least_bytes)
        _exit(36);
    /* A realloc that fails leaves the block. */
    struct link *l = list;
    errno = 0;
    void *p = realloc(l, 900 * MIB);
    if (p || errno != ENOMEM || !whole(l))
        _exit(37);
    all_fail(900 * MIB);
    free_all(&list);
    all_works();
    size_t again = exhaust(&list, size_of_blocks);
    if (again < first - first / 4)
        _exit(38);
    free_all(&list);
    /* What was slabs of one size serves another. */
    again = exhaust(&list, size_of_blocks * 3 + 100);
    if (again < first / 2)
        _exit(39);
    free_all(&list);
    all_works();
}

static void child_of_limit(void)
{
    if (!limit(RLIMIT_AS, address_space() + 256 * MIB))
        _exit(40);
    under_limit();
}
static void child_of_data_limit(void)
{
    if (!limit(RLIMIT_DATA, 256 * MIB))
        _exit(40);
    under_limit();
}

/* A heap of 100 MiB, then nothing more. */
static void child_limited_later(void)
{
    struct link *list = NULL;
    while (address_space() < 150 * MIB)
        for (size_t n = 100; n < 200000; n = n * 3)
            if (!put(&list, n))
                _exit(41);
    if (!limit(RLIMIT_AS, address_space()))
        _exit(40);
    all_fail(64 * MIB);
    for (size_t n = 64; n < 300000; n = n * 2 + 16)
        exhaust(&list, n);
    free_all(&list);
    all_works();
    /* Less than there is already. */
    if (!limit(RLIMIT_AS, 16 * MIB))
        _exit(40);
    all_fail(512 * MIB);
    for (int i = 0; i < 1000; i++) {
        void *p = malloc(100);
        free(p);
    }
    malloc_trim(0);
    if (!limit(RLIMIT_AS, RLIM_INFINITY))
        _exit(40);
    all_works();
}

static void *exhaust_in_thread(void *arg)
{
    struct link *list = NULL;
    for (int round = 0; round < 3; round++) {
        exhaust(&list, (size_t)(uintptr_t)arg);
        free_all(&list);
    }
    return arg;
}
/* Threads at the limit: some may not start; those that do get their NULLs. */
static void child_threads(void)
{
    pthread_t threads[4];
    size_t started = 0;
    if (!limit(RLIMIT_AS, address_space() + 200 * MIB))
        _exit(40);
    for (; started < COUNT_OF(threads); started++)
        if (pthread_create(&threads[started], NULL, exhaust_in_thread, (void *)(uintptr_t)(started * 3000 + 48)))
            break;
    if (!started)
        _exit(42);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    all_works();
    /* No room for another thread: it fails, and nothing else does. */
    struct link *list = NULL;
    for (size_t n = MIB; n > 100; n /= 4)
        exhaust(&list, n);
    pthread_t thread;
    if (pthread_create(&thread, NULL, exhaust_in_thread, (void *)(uintptr_t)100) == 0)
        pthread_join(thread, NULL);
    free_all(&list);
    all_works();
}

static char own[4096];

/* The same program anew, so that the limit holds from its start. */
static void child_from_start(void)
{
    if (!limit(RLIMIT_AS, 64 * MIB))
        _exit(40);
    execl(own, own, "small", (char *)NULL);
    _exit(43);
}
static void from_start(void)
{
    struct link *list = NULL;
    for (size_t n = 32; n < 5 * MIB; n = n * 4) {
        if (exhaust(&list, n) < 16 * MIB)
            _exit(36);
        free_all(&list);
    }
    all_works();
    _exit(0);
}

static void test(const char *what, void (*child)(void))
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        static const struct rlimit no_core = { 0, 0 };
        setrlimit(RLIMIT_CORE, &no_core);
        alarm(60);
        child();
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        status = -1;
    if (!ok(status == 0, "%s", what))
        note("%s %d", WIFSIGNALED(status) ? "signal" : "exit status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = { 48, 1000, 5000, 40000, 300000, 1 << 20, 33 << 20 };
    (void)argv;
    if (SANITIZED) {
        puts("1..0 # SKIP sanitizers need all address space");
        return 0;
    }
    if (argc > 1)
        from_start();
    tap_start();
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char what[100];
        size_of_blocks = sizes[i];
        least_bytes = 128 * MIB;
        snprintf(what, sizeof what, "RLIMIT_AS, blocks of %zu bytes", sizes[i]);
        test(what, child_of_limit);
    }
    size_of_blocks = 3000;
    test("RLIMIT_DATA", child_of_data_limit);
    test("RLIMIT_AS lowered later", child_limited_later);
    test("RLIMIT_AS and threads", child_threads);
    if (readlink("/proc/self/exe", own, sizeof own - 1) < 0)
        skip("RLIMIT_AS of 64 MiB from the start", "no /proc");
    else
        test("RLIMIT_AS of 64 MiB from the start", child_from_start);
    return tap_done();
}
