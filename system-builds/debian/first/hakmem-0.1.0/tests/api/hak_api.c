/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * hak_api.c: every function of hakmem.h.
 */
#define _GNU_SOURCE
#include "tap.h"

#include <limits.h>
#include <pthread.h>

extern void *__libc_malloc(size_t) __attribute__((weak));

static const char place; /* stands for a call site */

static struct hak_stats stats(void)
{
    struct hak_stats s;
    memset(&s, 0xff, sizeof s);
    if (hak_stats_get(&s, sizeof s))
        abort();
    return s;
}

static void test_version(void)
{
    char text[64];
    snprintf(text, sizeof text, "%d.%d.%d", HAK_VERSION_MAJOR, HAK_VERSION_MINOR, HAK_VERSION_PATCH);
    ok(strcmp(text, HAK_VERSION_STRING) == 0, "the version's parts make its string");
    ok(strcmp(hak_version(), HAK_VERSION_STRING) == 0 && hak_version() == hak_version(), "hak_version");
}

/* The family under its own names; and its blocks are free's blocks. */
static void test_family(void)
{
    unsigned bad = 0;
    for (size_t n = 0; n < 50 * MIB; n = n < 2000 ? n + 37 : n + n / 2) {
        void *p[8] = { hak_malloc(n), hak_calloc(n, 1), hak_realloc(NULL, n), hak_reallocarray(NULL, n, 1),
                       hak_aligned_alloc(64, n), NULL, hak_alloc_at(n, &place), hak_alloc_cs(n) };
        bad += hak_posix_memalign(&p[5], 128, n) != 0;
        for (size_t i = 0; i < 8; i++) {
            if (!p[i] || !aligned(p[i], i == 4 ? 64 : i == 5 ? 128 : 16) || hak_malloc_usable_size(p[i]) < n ||
                hak_malloc_usable_size(p[i]) != malloc_usable_size(p[i])) {
                bad++;
                continue;
            }
            bad += i == 1 && !all_bytes(p[i], n, 0);
            pattern_fill(p[i], n > MIB ? MIB : n, i);
        }
        p[2] = hak_realloc(p[2], n * 2 + 1);
        p[3] = hak_reallocarray(p[3], n + 1, 2);
        for (size_t i = 0; i < 8; i++)
            bad += p[i] && !pattern_holds(p[i], n > MIB ? MIB : n, i);
        hak_free(p[0]);
        hak_free_sized(p[1], n);
        hak_free_sized(p[2], 7); /* a wrong hint */
        free(p[3]);
        hak_free_aligned_sized(p[4], 64, n);
        hak_free_aligned_sized(p[5], 1, 0);
        hak_free_at(p[6], n, &place);
        hak_free_cs(p[7], 0);
    }
    ok(!bad, "the family gives and takes blocks of all sizes");
    void *p = malloc(1000), *q = hak_malloc(100);
    hak_free(p);
    free(q);
    hak_free_at(malloc(5000), 0, NULL);
    hak_free(NULL);
    hak_free_sized(NULL, 1);
    hak_free_aligned_sized(NULL, 16, 1);
    hak_free_at(NULL, 0, NULL);
    hak_free_cs(NULL, 10);
    ok(hak_malloc_usable_size(NULL) == 0, "blocks of malloc and NULL are taken too");
}

static void test_errors(void)
{
    size_t much = hide_size(SIZE_MAX - 100);
    int untouched;
    void *p;
#define FAILS(call)                                                      \
    do {                                                                 \
        errno = 0;                                                       \
        p = (call);                                                      \
        ok(!p && errno == ENOMEM, "%s: NULL and ENOMEM", #call);         \
    } while (0)
    FAILS(hak_malloc(much));
    FAILS(hak_calloc(much, 2));
    FAILS(hak_calloc(hide_size(SIZE_MAX / 2), 3));
    FAILS(hak_realloc(NULL, much));
    FAILS(hak_reallocarray(NULL, hide_size(SIZE_MAX / 2), 3));
    FAILS(hak_aligned_alloc(64, much));
    FAILS(hak_alloc_at(much, &place));
    FAILS(hak_alloc_at(much, NULL));
    FAILS(hak_alloc_cs(much));
    p = &untouched;
    ok(hak_posix_memalign(&p, 64, much) == ENOMEM && p == &untouched, "hak_posix_memalign: ENOMEM");
    ok(hak_posix_memalign(&p, hide_size(24), 10) == EINVAL && p == &untouched, "hak_posix_memalign(24): EINVAL");
    p = hak_malloc(100);
    p = hak_realloc(p, 0);
    ok(p == NULL, "hak_realloc(p, 0) frees");
    /* "the same results as malloc(3) gives": aligned_alloc rounds up */
    p = hak_aligned_alloc(hide_size(24), 100);
    ok(p && aligned(p, 32), "hak_aligned_alloc(24) rounds the alignment up as aligned_alloc does");
    hak_free(p);
    errno = 4321;
    hak_free(hak_malloc(100));
    hak_free_cs(hak_alloc_cs(5000000), 5000000);
    ok(errno == 4321, "errno is left alone");
}

static bool add_up(const struct hak_stats *s)
{
    uint64_t parts = s->live_bytes + s->remote_bytes + s->cached_bytes + s->run_cache_bytes + s->bigcache_bytes +
                     s->spare_bytes + s->nursery_bytes + s->free_bytes + s->dirty_bytes + s->fresh_bytes + s->waste_bytes;
    return parts == s->mapped_bytes && s->committed_bytes <= s->mapped_bytes - s->fresh_bytes &&
           (!s->mallocs || s->mallocs - s->frees + s->large_allocs - s->large_frees == s->live_blocks) &&
           s->big_blocks <= s->live_blocks && s->mappings >= 2 && s->big_bytes <= s->live_bytes &&
           s->heaps_parked <= s->heaps && s->refills <= s->refilled_blocks &&
           s->flushes <= s->flushed_blocks + s->flushes / 2 && s->large_frees <= s->large_allocs;
}

static void test_stats_get(void)
{
    struct hak_stats s;
    errno = 0;
    ok(hak_stats_get(NULL, sizeof s) == -1 && errno == EINVAL, "hak_stats_get(NULL): EINVAL");
    errno = 0;
    ok(hak_stats_get(&s, 0) == -1 && errno == EINVAL, "hak_stats_get of size 0: EINVAL");
    memset(&s, 0xa7, sizeof s);
    ok(hak_stats_get(&s, 3 * sizeof s.mapped_bytes) == 0 && s.mapped_bytes != 0xa7a7a7a7a7a7a7a7ULL &&
           s.live_bytes != 0xa7a7a7a7a7a7a7a7ULL &&
           all_bytes(&s.cached_bytes, sizeof s - 3 * sizeof s.mapped_bytes, 0xa7),
       "a short struct is filled as far as it goes");
    struct {
        struct hak_stats s;
        uint64_t newer[4];
    } longer;
    memset(&longer, 0xa7, sizeof longer);
    ok(hak_stats_get(&longer.s, sizeof longer) == 0 && longer.s.heaps >= 1 && longer.s.heaps < 1000,
       "a longer struct is filled too");
    s = stats();
    ok(s.mapped_bytes > 0 && s.metadata_bytes > 0 && s.live_bytes > 0 && s.heaps >= 1 && s.slabs >= 1, "not all is 0");
    ok(add_up(&s), "the sums add up");
}

enum { GIVEN = 3000 };

/* A thread that only frees. */
static void *free_all(void *arg)
{
    void **blocks = arg;
    for (size_t i = 0; i < GIVEN; i++)
        free(blocks[i]);
    return NULL;
}
/* One that has blocks of its own, too. */
static void *use_and_free_all(void *arg)
{
    for (size_t n = 1; n < 5000; n += 7)
        free(malloc(n));
    return free_all(arg);
}

static void test_stats_follow(void)
{
    static void *blocks[GIVEN];
    struct hak_stats before = stats();
    size_t usable = 0;
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = malloc(i * 3);
        usable += malloc_usable_size(blocks[i]);
    }
    struct hak_stats full = stats();
    if (!ok(red_zone() ? full.live_bytes > before.live_bytes + usable : full.live_bytes == before.live_bytes + usable,
            "live_bytes grows by exactly what is usable"))
        note("usable %zu, grown by %lld", usable, (long long)(full.live_bytes - before.live_bytes));
    ok(full.refills > before.refills && full.refilled_blocks > before.refilled_blocks + 1000, "refills are counted");
    ok(full.mallocs == 0 || full.mallocs >= before.mallocs + COUNT_OF(blocks), "mallocs are counted, or 0");
    ok(add_up(&full), "the sums add up");
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    struct hak_stats empty = stats();
    if (!ok(empty.live_bytes == before.live_bytes, "and falls by as much"))
        note("%llu before, %llu after", (unsigned long long)before.live_bytes, (unsigned long long)empty.live_bytes);
    ok(empty.flushes > full.flushes && empty.flushed_blocks > full.flushed_blocks, "flushes are counted");
    ok(add_up(&empty), "the sums add up");

    before = stats();
    void *run = malloc(200000), *big = malloc(50000000);
    full = stats();
    ok(full.large_allocs == before.large_allocs + 2 && full.live_bytes >= before.live_bytes + 50200000 &&
           full.big_bytes >= before.big_bytes + 50000000 && full.big_bytes <= before.big_bytes + 50000000 / 8 * 9,
       "large and big blocks are counted");
    free(run);
    free(big);
    empty = stats();
    ok(empty.large_frees == before.large_frees + 2 && empty.live_bytes == before.live_bytes &&
           empty.big_bytes == before.big_bytes,
       "and their frees");

    static void *(*const kinds[])(void *) = { free_all, use_and_free_all };
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
        const char *who = kind ? "by a thread with blocks of its own" : "by a thread that only frees";
        pthread_t thread;
        for (size_t i = 0; i < GIVEN; i++)
            blocks[i] = malloc(100);
        before = stats();
        if (!ok(pthread_create(&thread, NULL, kinds[kind], blocks) == 0, "a thread starts"))
            return;
        pthread_join(thread, NULL);
        struct hak_stats after = stats();
        if (!ok(after.remote_frees >= before.remote_frees + GIVEN - 64, /* the nursery's belong to nobody */ "frees %s are counted", who))
            note("remote_frees %llu -> %llu", (unsigned long long)before.remote_frees,
                 (unsigned long long)after.remote_frees);
        ok(after.live_bytes <= before.live_bytes - GIVEN * 100, "and are no longer live");
        ok(add_up(&after), "the sums add up");
    }
    ok(stats().heaps >= 2 && stats().heaps_parked >= 1, "the second one's heap waits for a thread");

    if (__libc_malloc && __libc_malloc != malloc) {
        before = stats();
        free(__libc_malloc(100));
        ok(stats().foreign_frees == before.foreign_frees + 1, "foreign frees are counted");
    } else {
        skip("foreign frees are counted", "the C library has no __libc_malloc");
    }
}

static void test_purge(void)
{
    static void *blocks[30000];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = malloc(1000);
        memset(blocks[i], 1, 1000);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        if (i % 64)
            free(blocks[i]);
    struct hak_stats before = stats();
    size_t resident_before = resident();
    size_t given = hak_purge();
    size_t resident_after = resident();
    struct hak_stats after = stats();
    if (!ok(given > 0 && after.purged_bytes == before.purged_bytes + given && after.purges > before.purges,
            "hak_purge returns what it gives back, as purged_bytes has it"))
        note("given %zu, purged %llu -> %llu", given, (unsigned long long)before.purged_bytes,
             (unsigned long long)after.purged_bytes);
    if (SANITIZED)
        skip("and memory is given back", "sanitizer");
    else if (!ok(resident_after + given / 2 < resident_before, "and memory is given back"))
        note("given %zu KiB, resident %zu KiB -> %zu KiB", given / KIB, resident_before / KIB, resident_after / KIB);
    ok(hak_purge() == 0, "a second hak_purge finds nothing");
    for (size_t i = 0; i < COUNT_OF(blocks); i += 64)
        free(blocks[i]);
}

/* The text that hak_stats_print writes. */
static char *printed(const char *format, int *result)
{
    static char text[16384];
    FILE *file = tmpfile();
    if (!file)
        return NULL;
    *result = hak_stats_print(fileno(file), format);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return text;
}

static void test_stats_print(void)
{
    int result = -2;
    char *text = printed(NULL, &result);
    if (!text) {
        skip("hak_stats_print", "no temporary file");
        return;
    }
    unsigned wrong = 0;
    size_t lines = 0;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, lines++)
        wrong += strncmp(line, "hakmem: ", 8) != 0;
    char first[64];
    snprintf(first, sizeof first, "statistics of process %ld", (long)getpid());
    ok(result == 0 && lines > 10 && !wrong && text[strlen(text) - 1] == '\n', "text: lines that begin with \"hakmem: \"");
    char *found = strstr(text, first);
    ok(found && found < strchr(text, '\n'), "the first one names the process");
    ok((text = printed("text", &result)) && result == 0 && strstr(text, first), "format \"text\" is the same");

    text = printed("json", &result);
    ok(result == 0 && text && text[0] == '{' && strchr(text, '}'), "format \"json\" is an object");
    char name[] = "/tmp/hakmem-json-XXXXXX";
    int fd = mkstemp(name);
    FILE *script = fd < 0 || system("python3 -c 'import json' >/dev/null 2>&1") ? NULL : popen("python3 -", "w");
    if (script) {
        hak_stats_print(fd, "json");
        fprintf(script,
                "import json\n"
                "s = json.load(open('%s'))\n"
                "names = '"
#define X(field, unit, words) #field " "
#include "stats.def"
                "'\n"
                "missing = [n for n in names.split() if not isinstance(s.get(n), int)]\n"
                "assert not missing, missing\n"
                "assert s['mapped_bytes'] >= s['live_bytes'] > 0\n",
                name);
        ok(pclose(script) == 0, "which python3 reads, with all fields of struct hak_stats");
    } else {
        skip("which python3 reads, with all fields of struct hak_stats", "no python3");
    }
    if (fd >= 0) {
        close(fd);
        unlink(name);
    }

    errno = 0;
    ok((text = printed("xml", &result)) && result == -1 && !*text && errno == EINVAL, "format \"xml\": EINVAL");
    errno = 0;
    ok(hak_stats_print(-1, NULL) == -1 && errno == EBADF, "a closed descriptor: EBADF");
    int full = open("/dev/full", O_WRONLY);
    if (full >= 0) {
        errno = 0;
        ok(hak_stats_print(full, "json") == -1 && errno == ENOSPC, "a full device: ENOSPC");
        close(full);
    } else {
        skip("a full device: ENOSPC", "no /dev/full");
    }
}

static void test_options(void)
{
    long value = 77;
    errno = 0;
    ok(hak_option_get("VERBOSE", &value) == 0 && value == 0, "hak_option_get");
    ok(hak_option_set("DIRTY_KB", 1234) == 0 && hak_option_get("DIRTY_KB", &value) == 0 && value == 1234,
       "hak_option_set is seen by hak_option_get");
    value = 77;
    ok(hak_option_get("NO_SUCH_OPTION", &value) == -1 && errno == ENOENT && value == 77, "get, unknown: ENOENT");
    errno = 0;
    ok(hak_option_set("NO_SUCH_OPTION", 1) == -1 && errno == ENOENT, "set, unknown: ENOENT");
    errno = 0;
    ok(hak_option_get("", &value) == -1 && errno == ENOENT, "get, empty name: ENOENT");
    errno = 0;
    ok(hak_option_get("HAKMEM_VERBOSE", &value) == -1 && errno == ENOENT, "names have no HAKMEM_ in front");
    errno = 0;
    ok(hak_option_set("DIRTY_KB", LONG_MAX) == -1 && errno == ERANGE, "set, too much: ERANGE");
    errno = 0;
    ok(hak_option_set("DIRTY_KB", -1) == -1 && errno == ERANGE, "set, too little: ERANGE");
    ok(hak_option_get("DIRTY_KB", &value) == 0 && value == 1234, "and nothing is changed");
    errno = 0;
    ok(hak_option_set("MINIMAL", 1) == -1 && errno == EPERM, "set, only in the environment: EPERM");
    errno = 0;
    ok(hak_option_get(NULL, &value) == -1 && errno == EINVAL, "get, no name: EINVAL");
    errno = 0;
    ok(hak_option_get("VERBOSE", NULL) == -1 && errno == EINVAL, "get, nowhere to put it: EINVAL");
    errno = 0;
    ok(hak_option_set(NULL, 1) == -1 && errno == EINVAL, "set, no name: EINVAL");
}

int main(void)
{
    tap_start();
    test_version();
    test_family();
    test_errors();
    test_stats_get();
    test_stats_follow();
    test_purge();
    test_stats_print();
    test_options();
    return tap_done();
}
