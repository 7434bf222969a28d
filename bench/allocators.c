/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * allocators [--allocator NAME|PATH] [--scenario json|mir|vm|mixed] [--iterations N] [--live K]: blocks as a parser of
 * JSON (64 KiB), a compiler's pass (256 KiB) and a virtual machine (2 MiB) ask for, or a mixture of the three: K of them
 * live (4); each op frees the oldest, allocates one, and writes a byte of each of its pages. A tenth as many ops come
 * before; what is measured is the steady state, with the page faults in it.
 *
 * With --allocator the program starts itself again with that library preloaded, and goes on only when its malloc is bound
 * to it: glibc (no preload), hakmem (the build tree's, or $HAKMEM), another that bench/lines names, as the dynamic linker
 * finds it, or the path of any library. Without, LD_PRELOAD decides, as with the other programs.
 */
#include "bench.h"
#include <getopt.h>

#define MAX_LIVE 256
#define AGAIN "BENCH_AGAIN"

static const struct scenario {
    const char *name;
    size_t sizes[4]; /* taken at random; ended by 0 */
} scenarios[] = {
    {"json", {64 << 10}},
    {"mir", {256 << 10}},
    {"vm", {2 << 20}},
    {"mixed", {64 << 10, 256 << 10, 2 << 20}},
};

/* As in bench/lines, which this program does not find when it is run from elsewhere (tests/lint/benches.sh compares). */
static const struct {
    const char *name;
    const char *sonames[5];
} packages[] = {
    {"mimalloc", {"libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so.2.0", "libmimalloc.so"}},
    {"jemalloc", {"libjemalloc.so.2"}},
    {"tcmalloc", {"libtcmalloc_minimal.so.4", "libtcmalloc.so.4"}},
    {"tbbmalloc", {"libtbbmalloc_proxy.so.2"}},
    {"snmalloc", {"libsnmallocshim.so"}},
    {"rpmalloc", {"librpmallocwrap.so"}},
};
enum { PACKAGES = sizeof packages / sizeof *packages };

/* Why no library is found. */
static void complain(const char *name)
{
    if (strchr(name, '/')) {
        fprintf(stderr, "allocators: %s: no such file\n", name);
        return;
    }
    if (strcmp(name, "hakmem") == 0) {
        fputs("allocators: libhakmem.so is not found: build it, or set HAKMEM to its path\n", stderr);
        return;
    }
    for (size_t i = 0; i < PACKAGES; i++)
        if (strcmp(name, packages[i].name) == 0) {
            fprintf(stderr, "allocators: %s is not installed: the dynamic linker finds no %s; give the library's path\n", name,
                    packages[i].sonames[0]);
            return;
        }
    fprintf(stderr, "allocators: unknown allocator %s: glibc, hakmem", name);
    for (size_t i = 0; i < PACKAGES; i++)
        fprintf(stderr, ", %s", packages[i].name);
    fputs(", or the path of a library\n", stderr);
}

/* The library that an allocator's name stands for; NULL: none is found, "": no preload. */
static const char *find_library(const char *name)
{
    static char path[4096 + 64];
    if (strchr(name, '/'))
        return realpath(name, path);
    if (strcmp(name, "glibc") == 0)
        return "";
    if (strcmp(name, "hakmem") == 0) {
        char own[4096];
        const char *given = getenv("HAKMEM");
        ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
        if (given && *given)
            return realpath(given, path);
        if (n <= 0)
            return NULL;
        own[n] = 0;
        *strrchr(own, '/') = 0;
        char tree[sizeof own + 64];
        snprintf(tree, sizeof tree, "%s/../lib/.libs/libhakmem.so.0", own);
        return realpath(tree, path);
    }
    for (size_t i = 0; i < PACKAGES; i++)
        for (const char *const *soname = packages[i].sonames; strcmp(name, packages[i].name) == 0 && *soname; soname++)
            /* It need not load: an allocator's thread-local storage may have to be there from the start. The dynamic linker
             * finds it again; this process ends. */
            if (dlopen(*soname, RTLD_LAZY | RTLD_LOCAL) || !strstr(dlerror(), "cannot open"))
                return *soname;
    return NULL;
}

/* The file that malloc is bound to in this process. */
static const char *served_by(void)
{
    static char path[4096];
    Dl_info m;
    return dladdr(dlsym(RTLD_DEFAULT, "malloc"), &m) && realpath(m.dli_fname, path) ? path : "";
}

static void run_under(const char *name, char **argv)
{
    const char *again = getenv(AGAIN);
    if (again) { /* this is the second start */
        const char *served = served_by(), *base = strrchr(served, '/');
        bool right = strchr(again, '/')
                         ? strcmp(served, again) == 0
                         : base && strncmp(base + 1, *again ? again : "libc", *again ? strcspn(again, ".") : 4) == 0;
        if (!right) {
            fprintf(stderr, "allocators: malloc is not %s's but that of %s\n", name, served);
            exit(1);
        }
        return;
    }
    const char *library = find_library(name);
    if (!library) {
        complain(name);
        exit(1);
    }
    setenv(AGAIN, library, 1);
    if (*library)
        setenv("LD_PRELOAD", library, 1);
    else
        unsetenv("LD_PRELOAD");
    execv("/proc/self/exe", argv);
    bench_die("cannot start itself again");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"allocator", required_argument, NULL, 'a'},
        {"scenario", required_argument, NULL, 's'},
        {"iterations", required_argument, NULL, 'i'},
        {"live", required_argument, NULL, 'l'},
        {NULL, 0, NULL, 0},
    };
    const char *allocator = NULL, *wanted = "mixed";
    unsigned long iter = 20000, live = 4;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'a')
            allocator = optarg;
        else if (option == 's')
            wanted = optarg;
        else if (option == 'i')
            iter = bench_arg(optind, argv, optind - 1, 0);
        else if (option == 'l')
            live = bench_arg(optind, argv, optind - 1, 0);
        else
            iter = 0;
    }
    const struct scenario *s = NULL;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(wanted, scenarios[i].name) == 0)
            s = &scenarios[i];
    if (!s || optind < argc || !iter || !live || live > MAX_LIVE)
        bench_usage("usage: allocators [--allocator NAME|PATH] [--scenario json|mir|vm|mixed] [--iterations N] [--live K],"
                  " N at least 1, K 1..256");
    if (allocator)
        run_under(allocator, argv);
    bench_prove();

    char *p[MAX_LIVE] = {NULL};
    unsigned kinds = 0;
    while (s->sizes[kinds])
        kinds++;
    uint64_t rnd = 1;
    unsigned long before = iter / 10 + 2 * live;
    long faults = 0;
    struct bench_time t = bench_start();
    for (unsigned long i = 0; i < before + iter; i++) {
        if (i == before) {
            faults = bench_faults();
            t = bench_start();
        }
        char **at = &p[i % live];
        size_t size = s->sizes[bench_between(&rnd, 0, kinds - 1)];
        free(*at);
        *at = bench_need(malloc(size));
        for (size_t k = 0; k < size; k += 4096)
            (*at)[k] = (char)i;
        (*at)[size - 1] = (char)i;
    }
    bench_steady(faults, iter);
    char name[64];
    snprintf(name, sizeof name, "allocators %s", s->name);
    bench_report(name, iter, t);
    for (unsigned long k = 0; k < live; k++)
        free(p[k]);
    return 0;
}
