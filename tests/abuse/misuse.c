/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * misuse.c: wrong pointers, one misuse each in a process of its own: exactly one line on stderr, with the function, what
 * is wrong and the address, and SIGABRT.  One case by hand: misuse CASE.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { TINY = 64, MID = 4096, LARGE = 100 * 1024, HUGE = 40 * 1024 * 1024 };

/* ---- the misuses, in the child ----------------------------------------------------------------------------------- */

/* Says which address is about to be misused. */
static void *announce(void *p)
{
    printf("%p\n", p);
    fflush(stdout);
    return p;
}

/* Beyond the first blocks of a process, which may be served in another way. */
static void warm_up(size_t size)
{
    for (int i = 0; i < 3000; i++)
        if (!hide(malloc(size)))
            _exit(0);
}

static void offset_free(size_t size, size_t offset)
{
    char *p = hide(malloc(size));
    free(announce(hide(p + offset)));
}
static void offset_realloc(size_t size, size_t offset)
{
    char *p = hide(malloc(size));
    if (realloc(announce(hide(p + offset)), size * 2))
        _exit(0);
}

static void twice(size_t size)
{
    char *p = hide(malloc(size));
    announce(p);
    free(p);
    free(hide(p));
}

static void twice_warm(size_t size)
{
    warm_up(size);
    twice(size);
}

static void twice_by_realloc(size_t size)
{
    void *p = hide(malloc(size));
    announce(p);
    free(p);
    if (realloc(hide(p), 0))
        _exit(0);
}

static void realloc_freed(size_t size, size_t to)
{
    void *p = hide(malloc(size));
    announce(p);
    free(p);
    void *q = realloc(hide(p), to);
    free(q);
    free(hide(p));
}

/* Free a, b, a; then so many others that the first ones leave the cache. */
static void between(size_t size)
{
    enum { MANY = 2000 };
    static void *many[MANY];
    for (int i = 0; i < MANY; i++)
        many[i] = malloc(size);
    void *a = hide(malloc(size)), *b = hide(malloc(size));
    announce(a);
    free(a);
    free(b);
    free(hide(a));
    for (int i = 0; i < MANY; i++)
        free(many[i]);
    malloc_trim(0);
}

/* The first free reached the slab long ago; others of that slab are in use. */
static void late(size_t size)
{
    enum { MANY = 4000 };
    static void *many[MANY];
    for (int i = 0; i < MANY; i++)
        many[i] = malloc(size);
    void *a = hide(many[MANY / 2]);
    announce(a);
    for (int i = 0; i < MANY; i++)
        if (i % 8 && many[i] != a)
            free(many[i]);
    free(a);
    malloc_trim(0);
    free(hide(a));
    malloc_trim(0);
}

static void *free_it(void *p)
{
    free(p);
    return NULL;
}
static void *free_it_with_heap(void *p)
{
    free(malloc(10));
    free(p);
    return NULL;
}

/* Freed by its owner, then by another thread. */
static void by_two_threads(size_t size, void *(*second)(void *))
{
    enum { MANY = 2000 };
    static void *many[MANY];
    pthread_t thread;
    for (int i = 0; i < MANY; i++)
        many[i] = malloc(size);
    void *a = hide(malloc(size));
    announce(a);
    free(a);
    if (pthread_create(&thread, NULL, second, hide(a)))
        _exit(0);
    pthread_join(thread, NULL);
    for (int i = 0; i < MANY; i++)
        free(many[i]);
    malloc_trim(0);
}

/* Freed by two other threads. */
static void by_two_others(size_t size)
{
    pthread_t thread;
    void *a = hide(malloc(size)), *b = malloc(size);
    announce(a);
    for (int i = 0; i < 2; i++) {
        if (pthread_create(&thread, NULL, free_it_with_heap, hide(a)))
            _exit(0);
        pthread_join(thread, NULL);
    }
    malloc_trim(0);
    free(b);
}

/* Inside the heap, where no block is: in what a large block left behind, with others around it. */
static void no_block_there(void)
{
    char *before = hide(malloc(800 * KIB)), *p = hide(malloc(800 * KIB)), *after = hide(malloc(800 * KIB));
    free(p);
    free(announce(hide(p + 5 * 64 * KIB)));
    free(before);
    free(after);
}

/* The first block of a slab of that size. */
static uintptr_t fresh_slab(size_t size)
{
    warm_up(size);
    for (int i = 0; i < 100000; i++) {
        uintptr_t p = (uintptr_t)hide(malloc(size));
        if ((p & 0xffff) == 0)
            return p;
    }
    _exit(0);
}

/* A block of a slab in use that was never handed out. */
static void never_handed_out(void)
{
    uintptr_t slot = fresh_slab(1024 - red_zone());
    free(announce(hide((void *)(slot + (uintptr_t)1024 * 62))));
    malloc_trim(0);
}

/* Past the last block of a slab: 48 * 1365 = 65520, 16 bytes before the slot's end. */
static void after_last_block(void)
{
    uintptr_t slot = fresh_slab(48 - red_zone());
    free(announce(hide((void *)(slot + 65520))));
    malloc_trim(0);
}

static void stack_pointer(void)
{
    char on_stack[256] __attribute__((aligned(16)));
    memset(on_stack, 0, sizeof on_stack);
    free(hide(on_stack + 32));
}
static char in_data[256] __attribute__((aligned(16)));
static void data_pointer(void) { free(hide(in_data + 32)); }

/* ---- the table --------------------------------------------------------------------------------------------------- */

enum kind {
    FREE_AT,
    REALLOC_AT,
    TWICE,
    TWICE_WARM,
    TWICE_BY_REALLOC,
    REALLOC_FREED,
    BETWEEN,
    LATE,
    OTHER_THREAD,
    ONLY_FREEING_THREAD,
    TWO_OTHERS,
    NO_BLOCK_THERE,
    NEVER_HANDED_OUT,
    AFTER_LAST,
    STACK,
    DATA,
    USABLE_AT,
    FREE_SIZED_AT,
    HAK_FREE_AT,
};

struct misuse {
    const char *what;
    enum kind kind;
    size_t size, extra;
    const char *expect; /* alternatives apart by |; "glibc": the C library's message */
};

#define REALLOC_FREED_SAYS "free(): double free|realloc(): double free|realloc(): invalid pointer"

static const struct misuse table[] = {
    /* Misaligned. */
    { "free(p + 1), 64 B", FREE_AT, TINY, 1, "free(): misaligned pointer" },
    { "free(p + 8), 64 B", FREE_AT, TINY, 8, "free(): misaligned pointer" },
    { "free(p + 63), 64 B", FREE_AT, TINY, 63, "free(): misaligned pointer" },
    { "free(p + 1), 4 KiB", FREE_AT, MID, 1, "free(): misaligned pointer" },
    { "free(p + 8), 4 KiB", FREE_AT, MID, 8, "free(): misaligned pointer" },
    { "free(p + 1), 100 KiB", FREE_AT, LARGE, 1, "free(): misaligned pointer" },
    { "free(p + 70008), 100 KiB", FREE_AT, LARGE, 70008, "free(): misaligned pointer" },
    { "free(p + 1), 40 MiB", FREE_AT, HUGE, 1, "free(): misaligned pointer" },
    { "free(p + 8), 40 MiB", FREE_AT, HUGE, 8, "free(): misaligned pointer" },
    { "free(p + 20 MiB + 8), 40 MiB", FREE_AT, HUGE, (20 << 20) + 8, "free(): misaligned pointer" },
    /* Interior. */
    { "free(p + 16), 64 B", FREE_AT, TINY, 16, "free(): interior pointer" },
    { "free(p + 48), 64 B", FREE_AT, TINY, 48, "free(): interior pointer" },
    { "free(p + 16), 4 KiB", FREE_AT, MID, 16, "free(): interior pointer" },
    { "free(p + 2048), 4 KiB", FREE_AT, MID, 2048, "free(): interior pointer" },
    { "free(p + 16), 30 KiB", FREE_AT, 30 * 1024, 16, "free(): interior pointer" },
    { "free(p + 16), 100 KiB", FREE_AT, LARGE, 16, "free(): interior pointer" },
    { "free(p + 4096), 100 KiB", FREE_AT, LARGE, 4096, "free(): interior pointer" },
    { "free(p + 65536), 100 KiB", FREE_AT, LARGE, 65536, "free(): interior pointer" },
    { "free(p + 98304), 100 KiB", FREE_AT, LARGE, 98304, "free(): interior pointer" },
    { "free(p + 3 MiB), 5 MiB", FREE_AT, 5 << 20, 3 << 20, "free(): interior pointer" },
    { "free(p + 16), 40 MiB", FREE_AT, HUGE, 16, "free(): interior pointer" },
    { "free(p + 4096), 40 MiB", FREE_AT, HUGE, 4096, "free(): interior pointer" },
    { "free(p + 2 MiB), 40 MiB", FREE_AT, HUGE, 2 << 20, "free(): interior pointer" },
    { "free(p + 40 MiB - 4096), 40 MiB", FREE_AT, HUGE, HUGE - 4096, "free(): interior pointer" },
    /* Other ways to free. */
    { "free_sized(p + 8)", FREE_SIZED_AT, TINY, 8, "free(): misaligned pointer|free_sized(): misaligned pointer" },
    { "free_sized(p + 16)", FREE_SIZED_AT, TINY, 16, "free(): interior pointer|free_sized(): interior pointer" },
    { "hak_free(p + 8)", HAK_FREE_AT, TINY, 8, "free(): misaligned pointer|hak_free(): misaligned pointer" },
    { "hak_free(p + 16)", HAK_FREE_AT, MID, 16, "free(): interior pointer|hak_free(): interior pointer" },
    /* realloc. */
    { "realloc(p + 1), 64 B", REALLOC_AT, TINY, 1, "realloc(): misaligned pointer" },
    { "realloc(p + 8), 4 KiB", REALLOC_AT, MID, 8, "realloc(): misaligned pointer" },
    { "realloc(p + 8), 100 KiB", REALLOC_AT, LARGE, 8, "realloc(): misaligned pointer" },
    { "realloc(p + 8), 40 MiB", REALLOC_AT, HUGE, 8, "realloc(): misaligned pointer" },
    { "realloc(p + 16), 64 B", REALLOC_AT, TINY, 16, "realloc(): interior pointer" },
    { "realloc(p + 16), 4 KiB", REALLOC_AT, MID, 16, "realloc(): interior pointer" },
    { "realloc(p + 4096), 100 KiB", REALLOC_AT, LARGE, 4096, "realloc(): interior pointer" },
    { "realloc(p + 65536), 100 KiB", REALLOC_AT, LARGE, 65536, "realloc(): interior pointer" },
    { "realloc(p + 4096), 40 MiB", REALLOC_AT, HUGE, 4096, "realloc(): interior pointer" },
    { "malloc_usable_size(p + 16), 4 KiB", USABLE_AT, MID, 16, "malloc_usable_size(): interior pointer" },
    /* Freed twice in a row: at once. */
    { "free twice, 1 B", TWICE, 1, 0, "free(): double free" },
    { "free twice, 64 B", TWICE, TINY, 0, "free(): double free" },
    { "free twice, 1024 B", TWICE, 1024, 0, "free(): double free" },
    { "free twice, 4 KiB", TWICE, MID, 0, "free(): double free" },
    { "free twice, 32 KiB", TWICE, 32768, 0, "free(): double free" },
    { "free twice, 64 B, later on", TWICE_WARM, TINY, 0, "free(): double free" },
    { "free twice, 4 KiB, later on", TWICE_WARM, MID, 0, "free(): double free" },
    { "free twice, 100 KiB", TWICE, LARGE, 0, "free(): double free|free(): invalid pointer" },
    { "free twice, 5 MiB", TWICE, 5 << 20, 0, "free(): double free|free(): invalid pointer" },
    { "free twice, 40 MiB", TWICE, HUGE, 0, "free(): double free" },
    { "free, realloc to 0, 64 B", TWICE_BY_REALLOC, TINY, 0, "free(): double free|realloc(): double free" },
    { "free, realloc to 0, 100 KiB", TWICE_BY_REALLOC, LARGE, 0, "free(): double free|free(): invalid pointer" },
    /* realloc of a freed block: caught by realloc itself, or when it frees the block once more. */
    { "realloc of a freed block, 64 B to 4 KiB", REALLOC_FREED, TINY, MID, REALLOC_FREED_SAYS },
    { "realloc of a freed block, 64 B to 60 B", REALLOC_FREED, TINY, 60, REALLOC_FREED_SAYS },
    { "realloc of a freed block, 4 KiB to 64 B", REALLOC_FREED, MID, TINY, REALLOC_FREED_SAYS },
    { "realloc of a freed block, 100 KiB to 1 MiB", REALLOC_FREED, LARGE, 1 << 20, REALLOC_FREED_SAYS },
    { "realloc of a freed block, 40 MiB to 50 MiB", REALLOC_FREED, HUGE, 50 << 20, REALLOC_FREED_SAYS },
    /* Later: at flush. */
    { "free a, b, a, 16 B", BETWEEN, 16, 0, "free(): double free" },
    { "free a, b, a, 64 B", BETWEEN, TINY, 0, "free(): double free" },
    { "free a, b, a, 1000 B", BETWEEN, 1000, 0, "free(): double free" },
    { "free a, b, a, 4 KiB", BETWEEN, MID, 0, "free(): double free" },
    { "free a, b, a, 20 KiB", BETWEEN, 20000, 0, "free(): double free" },
    { "free a, b, a, 100 KiB", BETWEEN, LARGE, 0, "free(): double free|free(): invalid pointer" },
    { "free again after a flush, 64 B", LATE, TINY, 0, "free(): double free" },
    { "free again after a flush, 1000 B", LATE, 1000, 0, "free(): double free" },
    { "free again after a flush, 4 KiB", LATE, MID, 0, "free(): double free" },
    /* Other threads. */
    { "free, then by another thread, 64 B", OTHER_THREAD, TINY, 0, "free(): double free" },
    { "free, then by another thread, 4 KiB", OTHER_THREAD, MID, 0, "free(): double free" },
    { "free, then by another thread, 100 KiB", OTHER_THREAD, LARGE, 0, "free(): double free|free(): invalid pointer" },
    { "free, then by a thread that only frees, 64 B", ONLY_FREEING_THREAD, TINY, 0, "free(): double free" },
    { "free by two other threads, 64 B", TWO_OTHERS, TINY, 0, "free(): double free" },
    { "free by two other threads, 4 KiB", TWO_OTHERS, MID, 0, "free(): double free" },
    /* No block. */
    { "free inside of what a large block left behind", NO_BLOCK_THERE, 0, 0, "free(): invalid pointer" },
    { "free of a block never handed out", NEVER_HANDED_OUT, 0, 0, "free(): double free|free(): invalid pointer" },
    { "free of what is left behind the last block of a slab", AFTER_LAST, 0, 0,
      "free(): invalid pointer|free(): interior pointer" },
    { "free of the stack", STACK, 0, 0, "glibc" },
    { "free of static data", DATA, 0, 0, "glibc" },
};

static int misuse(const struct misuse *m)
{
    extern void free_sized(void *, size_t) __attribute__((weak));
    char *p;
    switch (m->kind) {
    case FREE_AT: offset_free(m->size, m->extra); break;
    case REALLOC_AT: offset_realloc(m->size, m->extra); break;
    case TWICE: twice(m->size); break;
    case TWICE_WARM: twice_warm(m->size); break;
    case TWICE_BY_REALLOC: twice_by_realloc(m->size); break;
    case REALLOC_FREED: realloc_freed(m->size, m->extra); break;
    case BETWEEN: between(m->size); break;
    case LATE: late(m->size); break;
    case OTHER_THREAD: by_two_threads(m->size, free_it_with_heap); break;
    case ONLY_FREEING_THREAD: by_two_threads(m->size, free_it); break;
    case TWO_OTHERS: by_two_others(m->size); break;
    case NO_BLOCK_THERE: no_block_there(); break;
    case NEVER_HANDED_OUT: never_handed_out(); break;
    case AFTER_LAST: after_last_block(); break;
    case STACK: stack_pointer(); break;
    case DATA: data_pointer(); break;
    case USABLE_AT:
        p = malloc(m->size);
        (void)malloc_usable_size(announce(hide(p + m->extra)));
        break;
    case FREE_SIZED_AT:
        p = malloc(m->size);
        if (free_sized)
            free_sized(announce(hide(p + m->extra)), m->size);
        break;
    case HAK_FREE_AT:
        p = malloc(m->size);
        hak_free(announce(hide(p + m->extra)));
        break;
    }
    return 0;
}

/* ---- the judge, in the parent ------------------------------------------------------------------------------------ */

static void take(int fd, char *text, size_t size)
{
    size_t len = 0;
    for (ssize_t n; len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = 0;
    close(fd);
}

/* "hakmem: EXPECTED: ADDRESS\n" for one of the alternatives, and nothing else. */
static bool said_it(const char *text, const char *expect, const char *address)
{
    while (*expect) {
        size_t len = strcspn(expect, "|");
        char line[256];
        snprintf(line, sizeof line, "hakmem: %.*s: %s", (int)len, expect, address);
        if (strcmp(text, line) == 0)
            return true;
        expect += len + (expect[len] == '|');
    }
    return false;
}

static void judge(const char *own, size_t number)
{
    const struct misuse *m = &table[number];
    int out[2], err[2], status = 0;
    char address[64], text[1024], argument[16];
    if (pipe(out) || pipe(err)) {
        ok(0, "%s: a pipe", m->what);
        return;
    }
    snprintf(argument, sizeof argument, "%zu", number);
    pid_t pid = fork();
    if (pid == 0) {
        static const struct rlimit no_core = { 0, 0 };
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(out[1], 1);
        dup2(err[1], 2);
        close(out[0]), close(out[1]), close(err[0]), close(err[1]);
        execute_again(own, argument);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    take(out[0], address, sizeof address);
    take(err[0], text, sizeof text);
    cut_emulator(text);
    waitpid(pid, &status, 0);
    bool aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    /* Where an emulator says that all addresses are mapped, what was a big block may be the C library's. */
    bool theirs = EMULATED && m->size == HUGE && (m->kind == TWICE || m->kind == REALLOC_FREED);
    bool told = !theirs && strcmp(m->expect, "glibc")
                    ? said_it(text, m->expect, address)
                    : !strstr(text, "hakmem") &&
                          (strstr(text, "free(): invalid pointer") || strstr(text, "realloc(): invalid pointer") ||
                           strstr(text, "free(): invalid size") || strstr(text, "munmap_chunk(): invalid pointer"));
    if (!ok(aborted && told, "%s: %s", m->what, m->expect)) {
        note("%s %d; address %.*s; stderr:", WIFSIGNALED(status) ? "signal" : "exit status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), (int)strcspn(address, "\n"), address);
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
            note("%s", line);
    }
}

int main(int argc, char **argv)
{
    char own[4096] = "";
    if (argc > 1) {
        size_t number = strtoul(argv[1], NULL, 10);
        return number < COUNT_OF(table) ? misuse(&table[number]) : 2;
    }
    tap_start();
    if (readlink("/proc/self/exe", own, sizeof own - 1) < 0) {
        puts("1..0 # SKIP no /proc");
        return 0;
    }
    for (size_t i = 0; i < COUNT_OF(table); i++)
        judge(own, i);
    return tap_done();
}
