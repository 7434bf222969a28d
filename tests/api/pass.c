/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * pass.c: HAKMEM_PASS=1 leaves a process to the C library: every function then works on the C library's blocks, and
 * hak_* say that nothing is served.  Runs itself with the variable set.  (The list of programs: tests/command/pass_list.sh.)
 */
#define _GNU_SOURCE
#include "tap.h"

#include <pthread.h>
#include <sys/wait.h>

#define BLOCKS 64

extern void *__libc_malloc(size_t);
extern void __libc_free(void *);

static bool quiet; /* no block of HAKMEM's is out, and none ever was */
static void nothing_served(const char *after)
{
    struct hak_stats s;
    bool got = hak_stats_get(&s, sizeof s) == 0;
    quiet = got && !s.live_bytes && !s.mapped_bytes && !s.heaps && !s.large_allocs && !s.large_frees && !s.foreign_frees;
    if (!ok(quiet, "nothing served after %s", after))
        note("live %llu, mapped %llu, heaps %llu", (unsigned long long)s.live_bytes, (unsigned long long)s.mapped_bytes,
             (unsigned long long)s.heaps);
}

/* A block of the C library's: it may be given back there, behind HAKMEM's back, which would abort on any other.  */
static bool is_libcs(void *p)
{
    if (!p)
        return false;
    __libc_free(p);
    return true;
}

static bool family(void)
{
    bool good = true;
    static const size_t sizes[] = { 0, 1, 16, 100, 1024, 1025, 5000, 32768, 32769, 200000, 1 << 20, 40 << 20 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t n = sizes[i];
        void *p = NULL;
        good = good && is_libcs(malloc(n)) && is_libcs(realloc(NULL, n + 1)) && is_libcs(memalign(64, n)) &&
               is_libcs(aligned_alloc(4096, n)) && is_libcs(valloc(n)) && is_libcs(pvalloc(n)) &&
               is_libcs(reallocarray(NULL, n + 1, 2)) && posix_memalign(&p, 1 << 20, n) == 0 && aligned(p, 1 << 20) &&
               is_libcs(p);
        unsigned char *c = calloc(1, n);
        good = good && c && all_bytes(c, n, 0);
        memset(c, 1, n);
        good = good && malloc_usable_size(c) >= n && is_libcs(c);
        c = calloc(1, n); /* used memory again */
        good = good && c && all_bytes(c, n, 0) && is_libcs(c);
        good = good && is_libcs(hak_malloc(n)) && is_libcs(hak_calloc(n, 1)) && is_libcs(hak_alloc_at(n, NULL));
        /* The C library's own, given back here. */
        free(__libc_malloc(n));
        hak_free(__libc_malloc(n));
    }
    return good;
}

static bool resizing(void)
{
    unsigned char *p = malloc(10);
    size_t was = 10;
    pattern_fill(p, was, 7);
    for (size_t n = 1; n < 3000000; n = n * 3 + 1) {
        p = realloc(p, n);
        if (!p || !pattern_holds(p, was < n ? was : n, 7) || malloc_usable_size(p) < n)
            return false;
        pattern_fill(p, n, 7);
        was = n;
    }
    p = realloc(p, 0);
    return p == NULL;
}

static bool errors(void)
{
    void *p = &p;
    errno = 0;
    bool good = !malloc(hide_size(SIZE_MAX)) && errno == ENOMEM;
    errno = 0;
    good = good && !calloc(hide_size(SIZE_MAX / 2), 3) && errno == ENOMEM;
    errno = 0;
    good = good && !reallocarray(NULL, hide_size(SIZE_MAX / 2), 3) && errno == ENOMEM;
    errno = 0;
    good = good && !memalign(64, hide_size(SIZE_MAX - 100)) && errno == ENOMEM;
    errno = 7;
    good = good && posix_memalign(&p, 3, 1) == EINVAL && errno == 7;
    good = good && posix_memalign(&p, 64, hide_size(SIZE_MAX / 2)) == ENOMEM && errno == ENOMEM;
    errno = 7;
    free(NULL);
    return good && errno == 7 && p == &p && malloc_usable_size(NULL) == 0;
}

static void *worker(void *arg)
{
    uint64_t random = (uintptr_t)arg;
    void *blocks[BLOCKS] = { NULL };
    size_t sizes[BLOCKS] = { 0 };
    for (int i = 0; i < 20000; i++) {
        size_t k = random_below(&random, BLOCKS);
        if (blocks[k] && !pattern_holds(blocks[k], sizes[k], k))
            return arg;
        free(blocks[k]);
        sizes[k] = random_below(&random, 3000);
        blocks[k] = malloc(sizes[k]);
        if (!blocks[k])
            return arg;
        pattern_fill(blocks[k], sizes[k], k);
    }
    for (size_t k = 0; k < BLOCKS; k++)
        free(blocks[k]);
    return NULL;
}

static bool threads(void)
{
    pthread_t id[4];
    bool good = true;
    for (uintptr_t i = 0; i < COUNT_OF(id); i++)
        good = pthread_create(&id[i], NULL, worker, (void *)(i + 1)) == 0 && good;
    for (size_t i = 0; i < COUNT_OF(id); i++) {
        void *result = id;
        good = pthread_join(id[i], &result) == 0 && !result && good;
    }
    return good;
}

static bool child_of_fork(void)
{
    int status = -1;
    pid_t pid = fork();
    if (!pid)
        _exit(family() && resizing() ? 0 : 1);
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static bool information(void)
{
    char text[8192] = "";
    void *p = malloc(100000);
    struct mallinfo2 m = mallinfo2();
    FILE *f = fmemopen(text, sizeof text, "w");
    bool good = p && m.uordblks >= 100000 && f && malloc_info(0, f) == 0 && fclose(f) == 0;
    free(p);
    return good && strstr(text, "<malloc version=\"1\">"); /* HAKMEM's own says hakmem-1 */
}

/* Trimming gives back what the C library keeps: the top of its heap. */
static bool trimming(void)
{
    static void *blocks[1000];
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        memset(blocks[i] = malloc(20000), 1, 20000);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    char *before = sbrk(0);
    int gave = malloc_trim(0);
    return gave == 1 && (char *)sbrk(0) <= before - 10000000;
}

/* Blocks from before the process had an environment, so before it was known that it passes: they stay HAKMEM's. */
static unsigned char *early[3];
__attribute__((constructor)) static void before_all(int argc, char **argv)
{
    char **kept = environ;
    if (argc < 2 || strcmp(argv[1], "early"))
        return;
    environ = NULL;
    for (size_t i = 0; i < COUNT_OF(early); i++)
        pattern_fill(early[i] = malloc(100 + 2000 * i), 100 + 2000 * i, i);
    environ = kept;
}

static int passing_late(char **argv)
{
    tap_count = atoi(argv[2]); /* what passing() has counted */
    tap_failed = atoi(argv[3]);
    struct hak_stats s;
    bool good = true;
    ok(hak_stats_get(&s, sizeof s) == 0 && s.live_bytes >= 6000, "blocks from before there was an environment are HAKMEM's");
    ok(is_libcs(malloc(100)), "those after it are the C library's");
    free(early[0]);
    early[1] = realloc(early[1], 100000);
    ok(pattern_holds(early[1], 2100, 1) && is_libcs(early[1]), "an early one moves to the C library by realloc");
    ok(malloc_usable_size(early[2]) >= 4100 && pattern_holds(early[2], 4100, 2), "an early one is whole");
    for (int i = 0; i < 1000; i++)
        good = good && is_libcs(malloc(2000 + (size_t)i));
    free(early[2]);
    ok(good && family() && resizing(), "the family works");
    ok(hak_stats_get(&s, sizeof s) == 0 && s.live_bytes == 0, "none of the early ones is left");
    return tap_done();
}

static int passing(void)
{
    long value = -1;
    ok(family(), "all functions of the family return the C library's blocks, and take them");
    nothing_served("the family");
    ok(resizing(), "realloc keeps the contents");
    ok(errors(), "errors are the C library's");
    ok(threads(), "four threads");
    ok(child_of_fork(), "a child of fork");
    nothing_served("threads and a fork");
    ok(information(), "mallinfo2 and malloc_info are the C library's");
    ok(trimming(), "mallopt and malloc_trim are the C library's");
    ok(hak_purge() == 0, "hak_purge has nothing to give back");
    ok(hak_option_get("PASS", &value) == 0 && value == 1, "the option PASS says so");
    ok(hak_option_set("PASS", 0) == -1 && errno == EPERM, "and cannot be taken back");
    nothing_served("all");
    char so_far[16], failed[16];
    snprintf(so_far, sizeof so_far, "%d", tap_count);
    snprintf(failed, sizeof failed, "%d", tap_failed);
    execl("/proc/self/exe", "pass", "early", so_far, failed, (char *)NULL);
    return 99;
}

int main(int argc, char **argv)
{
    char own_name[4096] = "";
    if (argc > 1)
        return strcmp(argv[1], "early") ? passing() : passing_late(argv);
    if (SANITIZED) {
        puts("1..0 # SKIP the sanitizer has a malloc of its own");
        return 0;
    }
    if (EMULATED) {
        puts("1..0 # SKIP the emulator does not start itself for another program");
        return 0;
    }
    tap_start();
    long value = -1;
    struct hak_stats s;
    free(hide(malloc(10)));
    if (hak_option_get("PASS", &value) || value != 0 || hak_stats_get(&s, sizeof s) || !s.heaps) {
        puts("Bail out! HAKMEM does not serve this process");
        return 99;
    }
    if (readlink("/proc/self/exe", own_name, sizeof own_name - 1) < 0) {
        puts("1..0 # SKIP no /proc");
        return 0;
    }
    setenv("HAKMEM_PASS", "1", 1);
    unsetenv("MALLOC_TRIM_THRESHOLD_");
    execl(own_name, own_name, "pass", (char *)NULL);
    return 99;
}
