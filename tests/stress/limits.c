/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * limits.c: little address space, from the start and later on, little data, few mappings, locked memory: NULL and ENOMEM
 * instead of a crash, a hang or a spin (every case has a minute); what was there stays whole, what is freed can be had
 * again, and threads still start.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
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
    /* Also small ones, of which the library must note more than there is memory left for. */
    again = exhaust(&list, 48);
    if (again < first / 2)
        _exit(46);
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
    execute_again(own, "small");
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

/* Not more address space than threads need for their stacks and HAKMEM for their heaps: all of them start, and are served.
 * (Whoever reserves much address space at the start is above such a limit at once.) */
static void *modest(void *arg)
{
    char *blocks[20];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        if (!(blocks[i] = malloc(50 * (i + 1))))
            return NULL;
        memset(blocks[i], 1, 50 * (i + 1));
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    return arg;
}
static void child_threads_start(void)
{
    enum { STACK = 256 << 10, THREADS = 8 };
    pthread_t threads[THREADS];
    pthread_attr_t attr;
    struct link *list = NULL;
    for (size_t got = 0, n = 100; got < 20 * MIB; got += n, n = n < 100000 ? n * 3 : 100)
        if (!put(&list, n))
            _exit(41);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    /* A heap is 128 KiB; and each thread takes a slot of 64 KiB for each of its sizes, which come in steps. */
    if (!limit(RLIMIT_AS, address_space() + THREADS * (STACK + 256 * KIB) + 20 * MIB))
        _exit(40);
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], &attr, modest, &list))
            _exit(44);
    for (size_t i = 0; i < THREADS; i++) {
        void *result = NULL;
        if (pthread_join(threads[i], &result) || result != &list)
            _exit(45);
    }
    free_all(&list);
}
/* Room for the stack alone: the thread runs, and gets blocks or NULL and ENOMEM. */
static void *thread_without_memory(void *arg)
{
    struct link *list = NULL;
    exhaust(&list, 50);
    exhaust(&list, 5000);
    free_all(&list);
    return arg;
}
static void child_thread_without_memory(void)
{
    enum { STACK = 256 << 10 };
    pthread_attr_t attr;
    pthread_t thread;
    struct link *list = NULL;
    void *result = NULL;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    free(malloc(100));
    if (!limit(RLIMIT_AS, address_space()))
        _exit(40);
    for (size_t n = 300 * KIB; n > 30; n /= 3)
        exhaust(&list, n);
    for (struct link *l = list; l && l->next; l = l->next) { /* pthread_create itself allocates, little: some of each size */
        struct link *next = l->next;
        l->next = next->next;
        free(next);
    }
    if (!limit(RLIMIT_AS, address_space() + STACK + 16 * KIB)) /* and a guard page */
        _exit(40);
    if (pthread_create(&thread, &attr, thread_without_memory, &list))
        _exit(44);
    if (pthread_join(thread, &result) || result != &list)
        _exit(45);
    free_all(&list);
    all_fail(64 * MIB);
}

/* A limit from 64 MiB to 8 GiB: half of it at least can be had, in blocks that are not touched. */
static size_t limit_from_start;
static void child_limit_from_start(void)
{
    char bytes[32];
    snprintf(bytes, sizeof bytes, "%zu", limit_from_start);
    if (!limit(RLIMIT_AS, limit_from_start))
        _exit(40);
    execl(own, own, "large", bytes, (char *)NULL);
    _exit(43);
}
static void from_start_large(size_t bytes)
{
    static const size_t sizes[] = { 100000, 1 << 20, 40 << 20 };
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        static char *blocks[100000];
        size_t n = 0;
        errno = 0;
        for (; n < COUNT_OF(blocks) && (blocks[n] = malloc(sizes[s])); n++)
            blocks[n][0] = (char)n;
        if (n < COUNT_OF(blocks) && errno != ENOMEM)
            _exit(35);
        /* A step of growth may be an eighth, and the program and its libraries take some MiB; where addresses are short,
         * ranges are small, and large blocks leave more of them unused. */
        if (n < COUNT_OF(blocks) && n * sizes[s] < bytes / (sizeof(void *) == 8 ? 2 : 4))
            _exit(36);
        for (size_t i = 0; i < n; i++) {
            if (blocks[i][0] != (char)i)
                _exit(37);
            free(blocks[i]);
        }
    }
    all_works();
    _exit(0);
}

static void child_data_later(void)
{
    struct link *list = NULL;
    for (size_t got = 0; got < 100 * MIB; got += 5000)
        if (!put(&list, 5000))
            _exit(41);
    if (!limit(RLIMIT_DATA, 64 * MIB)) /* less than there is */
        _exit(40);
    all_fail(64 * MIB);
    exhaust(&list, 100);
    exhaust(&list, 100000);
    free_all(&list);
    for (int i = 0; i < 1000; i++)
        free(malloc(3000));
    if (!limit(RLIMIT_DATA, RLIM_INFINITY))
        _exit(40);
    all_works();
}

/* ---- few mappings (vm.max_map_count) -------------------------------------------------------------------------------- */

enum { CANNOT = 77 };
static char *used_up;
static const size_t used_up_pages = (size_t)1 << 19;
static void use_up_mappings(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    used_up = mmap(NULL, used_up_pages * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (size_t i = 1; used_up != MAP_FAILED && i < used_up_pages; i += 2)
        if (mprotect(used_up + i * page, page, PROT_READ))
            return;
    _exit(CANNOT);
}
static void give_back_mappings(void)
{
    /* From the end: no part of it needs one mapping more. */
    if (munmap(used_up, used_up_pages * (size_t)sysconf(_SC_PAGESIZE)))
        _exit(47);
}

/* No mapping is left before the process has allocated anything of note. */
static void child_no_mappings(void)
{
    struct link *list = NULL;
    use_up_mappings();
    all_fail(64 * MIB);
    for (size_t n = 64; n < 3 * MIB; n = n * 3 + 16)
        exhaust(&list, n);
    free_all(&list);
    for (size_t n = 64; n < 3 * MIB; n = n * 3 + 16)
        exhaust(&list, n);
    pthread_t thread;
    if (pthread_create(&thread, NULL, exhaust_in_thread, (void *)(uintptr_t)100) == 0)
        pthread_join(thread, NULL);
    give_back_mappings();
    free_all(&list);
    all_works();
}
/* Blocks with mappings of their own, neighbours that the kernel has made one mapping of: to unmap the one in the middle
 * needs a mapping more.  Its memory goes back all the same. */
static void child_unmap_without_mappings(void)
{
    enum { COUNT = 5, SIZE = 40 << 20 };
    char *blocks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        if (!(blocks[i] = malloc(SIZE)))
            _exit(41);
        memset(blocks[i], i + 1, SIZE);
    }
    use_up_mappings();
    size_t before = resident();
    for (int i = 1; i < COUNT; i += 2) {
        errno = 4321;
        free(blocks[i]);
        if (errno != 4321)
            _exit(48);
    }
    malloc_trim(0); /* the BigCache gives back what it has kept */
    if (resident() > before - 70 * MIB)
        _exit(49);
    errno = 0;
    char *p = realloc(blocks[2], SIZE / 2); /* shrinks in place, by a copy, or not at all */
    if (!p && errno != ENOMEM)
        _exit(50);
    if (p)
        blocks[2] = p;
    for (int i = 0; i < COUNT; i += 2)
        if (!all_bytes(blocks[i], SIZE / 2, (unsigned char)(i + 1)))
            _exit(51);
    for (int i = 0; i < COUNT; i += 2)
        free(blocks[i]);
    give_back_mappings();
    all_works();
}

/* ---- locked memory ---------------------------------------------------------------------------------------------------- */

static void churn(void)
{
    struct link *list = NULL;
    for (int round = 0; round < 3; round++) {
        for (size_t got = 0, n = 50; got < 40 * MIB; got += n, n = n < 200000 ? n * 2 : 50)
            if (!put(&list, n))
                _exit(41);
        free_all(&list);
        malloc_trim(0);
    }
}
static void child_mlockall(void)
{
    struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
    setrlimit(RLIMIT_MEMLOCK, &all);
    if (mlockall(MCL_CURRENT | MCL_FUTURE))
        _exit(CANNOT);
    churn();
    void *p = realloc(malloc(40 * MIB), 60 * MIB);
    pthread_t thread;
    if (!p || pthread_create(&thread, NULL, modest, &all) || pthread_join(thread, NULL))
        _exit(45);
    free(p);
    munlockall();
    churn();
    malloc_trim(0);
    if (resident() > 60 * MIB)
        _exit(49);
}
/* What is mapped from here on is locked, and little may be. */
static void child_mlockall_unprivileged(void)
{
    struct rlimit little = { 0, 0 };
    struct link *list = NULL;
    free(malloc(100));
    getrlimit(RLIMIT_MEMLOCK, &little);
    if (little.rlim_max > 64 * MIB)
        little.rlim_max = 64 * MIB;
    little.rlim_cur = little.rlim_max;
    if (little.rlim_cur < 4 * MIB || setrlimit(RLIMIT_MEMLOCK, &little) ||
        (geteuid() == 0 && setresuid(65534, 65534, 65534)) || mlockall(MCL_FUTURE) ||
        mmap(NULL, 65 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
        _exit(CANNOT);
    static const size_t some[] = { 50, 3000, 100000, 500000 };
    for (size_t i = 0; i < COUNT_OF(some); i++) {
        if (exhaust(&list, some[i]) < little.rlim_cur / 4)
            _exit(36);
        all_fail(65 * MIB);
        free_all(&list);
    }
    exhaust(&list, 5000);
    pthread_t thread; /* its stack is locked, too: it may not start */
    if (pthread_create(&thread, NULL, exhaust_in_thread, (void *)(uintptr_t)100) == 0)
        pthread_join(thread, NULL);
    free_all(&list);
    for (int i = 0; i < 1000; i++) {
        void *p = malloc((size_t)i * 100);
        if (!p)
            _exit(34);
        free(p);
    }
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
    if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT) {
        skip(what, "this machine does not let us");
        return;
    }
    if (!ok(status == 0, "%s", what))
        note("%s %d", WIFSIGNALED(status) ? "signal" : "exit status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = { 48, 1000, 5000, 40000, 300000, 1 << 20, 33 << 20 };
    if (SANITIZED) {
        puts("1..0 # SKIP sanitizers need all address space");
        return 0;
    }
    if (EMULATED) {
        puts("1..0 # SKIP the emulator ignores limits");
        return 0;
    }
    if (argc > 2)
        from_start_large(strtoul(argv[2], NULL, 10));
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
    test("RLIMIT_DATA lowered later", child_data_later);
    test("RLIMIT_AS and threads", child_threads);
    test("RLIMIT_AS lowered to little more than there is: threads start", child_threads_start);
    test("RLIMIT_AS lowered to what there is: a thread gets NULL", child_thread_without_memory);
    if (readlink("/proc/self/exe", own, sizeof own - 1) < 0) {
        skip("RLIMIT_AS from the start", "no /proc");
    } else {
        test("RLIMIT_AS of 64 MiB from the start", child_from_start);
        for (size_t mib = 64; mib <= (sizeof(void *) == 8 ? 8192 : 2048); mib *= 2) {
            char what[100];
            limit_from_start = mib * MIB;
            snprintf(what, sizeof what, "RLIMIT_AS of %zu MiB from the start, untouched", mib);
            test(what, child_limit_from_start);
        }
    }
    test("no mapping left (vm.max_map_count)", child_no_mappings);
    test("blocks are unmapped without a mapping to spare", child_unmap_without_mappings);
    test("mlockall of all that is and will be, with privilege", child_mlockall);
    test("mlockall without privilege, RLIMIT_MEMLOCK", child_mlockall_unprivileged);
    return tap_done();
}
