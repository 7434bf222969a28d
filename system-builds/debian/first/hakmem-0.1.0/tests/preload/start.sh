#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# start.sh: the first block of a process, wherever it is asked for: by IFUNC resolvers, when thread-local storage is not
# set up and there is no environment; by functions that run before all constructors, or first among them; by dlsym and by
# a malloc that dlsym finds; in a signal handler; raced by threads; with an audit library that allocates, and one that
# brings a HAKMEM of its own; with a second HAKMEM in a namespace of dlmopen; with no standard descriptors.
# The programs call printf at the end alone: until then nothing but themselves allocates.
# shellcheck disable=SC2317,SC2086,SC2015  # ok calls the functions; CC has options; A && B || show what went wrong
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
have_compiler "$cc" || skip_all "no C compiler"
cd "$scratch" || exit 99

build() { # OUTPUT SOURCE [OPTION]...
    local output=$1 source=$2
    shift 2
    $cc -O1 -w -D_GNU_SOURCE "$source" -o "$output" "$@"
}
# The program ends well and says "good"; nothing else is said on standard output.
good() { # COMMAND...
    preloaded "$@" >out || { echo "status $?"; cat out; return 1; }
    [ "$(cat out)" = good ] || { cat out; return 1; }
}
# Builds, runs under HAKMEM, and asks whether HAKMEM served it.
try() { # DESCRIPTION NAME [OPTION]...
    local description=$1 name=$2
    shift 2
    ok "$description: compiles" build "$name" "$name.c" "$@" -ldl || return 1
    ok "$description" good "./$name" && ok "$description: HAKMEM served it" engaged
}

# What all of them do with blocks: of every kind, whole, and given back.
cat >use.h <<'END'
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define USE_SIZES 9
static const size_t use_sizes[USE_SIZES] = { 1, 24, 100, 1000, 5000, 30000, 100000, 2000000, 40000000 };
/* Takes one block of each size and marks it. */
static inline int use_take(unsigned char **blocks)
{
    for (int i = 0; i < USE_SIZES; i++) {
        if (!(blocks[i] = malloc(use_sizes[i])))
            return 0;
        blocks[i][0] = blocks[i][use_sizes[i] - 1] = (unsigned char)(i + 1);
    }
    return 1;
}
static inline int use_give(unsigned char **blocks)
{
    for (int i = 0; i < USE_SIZES; i++) {
        if (!blocks[i] || blocks[i][0] != i + 1 || blocks[i][use_sizes[i] - 1] != i + 1)
            return 0;
        free(blocks[i]);
    }
    return 1;
}
static inline int use(void)
{
    unsigned char *a[USE_SIZES] = { 0 }, *b[USE_SIZES] = { 0 };
    return use_take(a) && use_take(b) && use_give(a) && use_take(a) && use_give(b) && use_give(a);
}
END

# ---- before the constructors ----------------------------------------------------------------------------------------
# The program is relocated last, so its resolvers run when HAKMEM is relocated, but before TLS has its initial values and
# environ is set.  Blocks taken then are given back later, when the thread-local words have been set anew.
cat >ifunc.c <<'END'
#include "use.h"
static unsigned char *early[USE_SIZES];
static int resolved, no_environment;
static int answer(void) { return 42; }
static int (*resolve(void))(void)
{
    extern char **environ;
    no_environment = !environ;
    resolved = use_take(early);
    return answer;
}
int function(void) __attribute__((ifunc("resolve")));
int main(void)
{
    unsigned char *late[USE_SIZES] = { 0 };
    if (function() != 42 || !resolved || !use_take(late) || !use_give(early) || !use_give(late) || !use())
        return 1;
    puts("good");
    return no_environment ? 0 : 2;
}
END
# Lazily bound: with -z now the program's own calls are not bound yet when its resolvers run.
if echo 'int a(void){return 0;} static int (*r(void))(void){return a;} int f(void) __attribute__((ifunc("r")));
         int main(void){return f();}' | $cc -w -x c - -o ifunc-try 2>/dev/null && ./ifunc-try; then
    try "malloc in an IFUNC resolver" ifunc -Wl,-z,lazy
else
    skip "malloc in an IFUNC resolver" "the compiler has no ifunc"
fi

cat >preinit.c <<'END'
#include "use.h"
static unsigned char *early[USE_SIZES];
static int took;
static void before(void) { took = use_take(early); }
__attribute__((section(".preinit_array"), used)) static void (*const entry)(void) = before;
int main(void)
{
    if (!took || !use_give(early) || !use())
        return 1;
    puts("good");
    return 0;
}
END
try "malloc in .preinit_array, before all constructors" preinit

# The dynamic linker itself is the first to ask, for a library with TLS of its own that a constructor loads.
cat >late_tls.c <<'END'
__thread char much[3000] = "initial";
char *late(void) { return much; }
END
cat >constructor_lib.c <<'END'
#include "use.h"
int constructed;
__attribute__((constructor(101))) static void first(void)
{
    void *late = dlopen("./late_tls.so", RTLD_NOW);
    char *(*function)(void) = late ? (char *(*)(void))dlsym(late, "late") : 0;
    constructed = function && !strcmp(function(), "initial") && use();
}
END
cat >constructor.c <<'END'
#include "use.h"
extern int constructed;
int main(void)
{
    if (!constructed || !use())
        return 1;
    puts("good");
    return 0;
}
END
libraries() { build late_tls.so late_tls.c -shared -fPIC && build constructor_lib.so constructor_lib.c -shared -fPIC; }
ok "libraries compile" libraries &&
    try "malloc by the dynamic linker in a library's constructor" constructor ./constructor_lib.so -Wl,-rpath,"$scratch"

# ---- dlsym ----------------------------------------------------------------------------------------------------------
# A dlsym that fails allocates its message.
cat >dlsym.c <<'END'
#include "use.h"
int main(void)
{
    if (dlsym(RTLD_DEFAULT, "there_is_no_such_symbol") || !dlerror() || !use())
        return 1;
    puts("good");
    return 0;
}
END
try "the first block is dlsym's" dlsym

# A malloc in front of HAKMEM's that finds it by dlsym, as tracers do.
cat >tracer.c <<'END'
#include <dlfcn.h>
#include <stddef.h>
unsigned long traced;
void *malloc(size_t size)
{
    static void *(*next)(size_t);
    if (!next)
        next = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    __atomic_fetch_add(&traced, 1, __ATOMIC_RELAXED);
    return next(size);
}
END
cat >traced.c <<'END'
#include "use.h"
int main(void)
{
    unsigned long *traced = dlsym(RTLD_DEFAULT, "traced");
    if (!use() || !traced || *traced < 3 * USE_SIZES)
        return 1;
    puts("good");
    return 0;
}
END
traced() {
    build tracer.so tracer.c -shared -fPIC -ldl && build traced traced.c -ldl || return 1
    so="./tracer.so $so" good ./traced
}
ok "a tracer's malloc in front of HAKMEM's, found by dlsym" traced && ok "HAKMEM served it" engaged

# ---- a signal handler, threads ----------------------------------------------------------------------------------------
cat >handler.c <<'END'
#include "use.h"
#include <signal.h>
static volatile int good;
static void handler(int number) { good = use(); }
int main(void)
{
    static char stack[16384]; /* small, as such stacks are */
    stack_t other = { .ss_sp = stack, .ss_size = sizeof stack };
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
    if (sigaltstack(&other, 0) || sigaction(SIGUSR1, &action, 0))
        return 2;
    raise(SIGUSR1);
    if (!good || !use())
        return 1;
    puts("good");
    return 0;
}
END
try "the first block in a signal handler, on a stack of 16 KiB" handler

# pthread_create allocates itself, so the very first block of a process cannot be raced.  HAKMEM's first can: the threads
# are there (on the C library's malloc) when the library is loaded, and all ask at once.
cat >race.c <<'END'
#include "use.h"
#include <pthread.h>
#include <sys/wait.h>
enum { THREADS = 8, ROUNDS = 50 };
static pthread_barrier_t loaded;
static void *(*take)(size_t);
static void (*give)(void *);
static void *work(void *arg)
{
    char *blocks[200];
    pthread_barrier_wait(&loaded);
    pthread_barrier_wait(&loaded);
    for (size_t i = 0; i < 200; i++) {
        size_t size = use_sizes[i % USE_SIZES] % 70000 + 1;
        if (!(blocks[i] = take(size)))
            return 0;
        memset(blocks[i], (int)(size_t)arg, size);
    }
    for (size_t i = 0; i < 200; i++) {
        size_t size = use_sizes[i % USE_SIZES] % 70000 + 1;
        for (size_t j = 0; j < size; j++)
            if (blocks[i][j] != (char)(size_t)arg)
                return 0;
        give(blocks[i]);
    }
    return arg;
}
static int one_race(const char *library)
{
    pthread_t threads[THREADS];
    pthread_barrier_init(&loaded, 0, THREADS + 1);
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], 0, work, (void *)(i + 1)))
            return 2;
    pthread_barrier_wait(&loaded); /* all of them run */
    void *hakmem = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    take = hakmem ? (void *(*)(size_t))dlsym(hakmem, "malloc") : 0;
    give = hakmem ? (void (*)(void *))dlsym(hakmem, "free") : 0;
    if (!take || !give || take == malloc)
        return 3;
    pthread_barrier_wait(&loaded); /* go */
    int bad = 0;
    for (size_t i = 0; i < THREADS; i++) {
        void *result = 0;
        pthread_join(threads[i], &result);
        bad += result != (void *)(i + 1);
    }
    return bad ? 4 : 0;
}
int main(int argc, char **argv)
{
    for (int i = 0; i < ROUNDS; i++) {
        int status = -1;
        pid_t pid = fork();
        if (!pid) {
            alarm(60);
            _exit(one_race(argv[1]));
        }
        if (waitpid(pid, &status, 0) != pid || status) {
            printf("round %d: status %#x\n", i, status);
            return 1;
        }
    }
    puts("good");
    return 0;
}
END
race() {
    build race race.c -pthread -ldl || return 1
    HAKMEM_VERBOSE=1 ./race "$so" >out 2>err || { cat out err; return 1; }
    # One greeting a round: whoever came first read the options, and nobody else did.
    [ "$(cat out)" = good ] && [ "$(grep -c 'serves process' err)" = 50 ] && [ "$(wc -l <err)" = 50 ] ||
        { cat out err; return 1; }
}
ok "the first block raced by 8 threads, 50 times" race

# ---- audit libraries --------------------------------------------------------------------------------------------------
# They are loaded before everything else, in a namespace of their own, with a C library of their own.
cat >audit.c <<'END'
#include "use.h"
#include <link.h>
static void *kept[1000];
static int n;
static void some(void)
{
    if (!use())
        abort();
    if (n < 1000)
        kept[n++] = malloc(100);
    if (n % 3 == 0)
        free(kept[--n]);
}
unsigned int la_version(unsigned int version) { some(); return version; }
char *la_objsearch(const char *name, uintptr_t *cookie, unsigned int flag) { some(); return (char *)name; }
unsigned int la_objopen(struct link_map *map, Lmid_t id, uintptr_t *cookie)
{
    some();
    return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}
void la_preinit(uintptr_t *cookie)
{
    Dl_info info;
    some();
    void *own = dlsym(RTLD_DEFAULT, "malloc");
    dprintf(2, "audit: malloc is %s\n", own && dladdr(own, &info) && strstr(info.dli_fname, "hakmem") ? "HAKMEM" : "libc");
}
uintptr_t la_symbind64(Elf64_Sym *s, unsigned int i, uintptr_t *r, uintptr_t *d, unsigned int *f, const char *name)
{
    some();
    return s->st_value;
}
END
cat >audited.c <<'END'
#include "use.h"
#include <pthread.h>
static void *thread(void *arg) { return use() ? arg : 0; }
int main(void)
{
    pthread_t t;
    void *result = 0;
    if (!use() || pthread_create(&t, 0, thread, &t) || pthread_join(t, &result) || result != &t)
        return 1;
    puts("good");
    return 0;
}
END
audited() { # AUDIT-LIBRARY WHOSE
    LD_AUDIT="$scratch/$1" good ./audited || return 1
    grep -q "^audit: malloc is $2" stderr || { cat stderr; return 1; }
}
audits() {
    build audited audited.c -pthread && build audit.so audit.c -shared -fPIC -ldl &&
        build audit-hakmem.so audit.c -shared -fPIC -ldl -Wl,--no-as-needed "$so" -Wl,-rpath,"${so%/*}"
}
if ok "audit libraries compile" audits; then
    LD_AUDIT="$scratch/audit.so" ./audited >out 2>&1
    if ! grep -q '^audit:' out; then
        skip "an audit library that allocates" "the dynamic linker has no LD_AUDIT"
    else
        ok "an audit library that allocates" audited audit.so libc && ok "HAKMEM served the program" engaged
        ok "an audit library with a HAKMEM of its own" audited audit-hakmem.so HAKMEM &&
            ok "HAKMEM served the program" engaged
    fi
fi

# ---- a namespace of dlmopen -------------------------------------------------------------------------------------------
# A plugin in it has a C library of its own; linked with HAKMEM, a second HAKMEM, too.  Both live side by side, also in
# threads, and each knows its own blocks.
cat >plugin.c <<'END'
#include "use.h"
int plugin_use(void) { return use(); }
void *plugin_malloc(size_t size) { return malloc(size); }
void plugin_free(void *p) { free(p); }
size_t plugin_usable(void *p) { return malloc_usable_size(p); }
const char *plugin_library(void)
{
    static Dl_info info;
    void *own = dlsym(RTLD_DEFAULT, "malloc");
    return own && dladdr(own, &info) && strstr(info.dli_fname, "hakmem") ? "HAKMEM" : "libc";
}
END
cat >namespace.c <<'END'
#include "use.h"
#include <pthread.h>
static int (*plugin_use)(void);
static void *(*plugin_malloc)(size_t);
static void (*plugin_free)(void *);
static size_t (*plugin_usable)(void *);
static const char *(*plugin_library)(void);
static void *thread(void *arg)
{
    for (int i = 0; i < 20; i++)
        if (!use() || !plugin_use())
            return 0;
    return arg;
}
int main(int argc, char **argv)
{
    enum { COUNT = 20000 };
    static void *ours[COUNT], *theirs[COUNT];
    void *first = malloc(10), *handle = dlmopen(LM_ID_NEWLM, argv[1], RTLD_NOW);
    if (!handle)
        return fprintf(stderr, "%s\n", dlerror()), 2;
#define GET(name) (*(void **)&name = dlsym(handle, #name))
    if (!GET(plugin_use) || !GET(plugin_malloc) || !GET(plugin_free) || !GET(plugin_usable) || !GET(plugin_library))
        return 3;
    if (strcmp(plugin_library(), argv[2]))
        return fprintf(stderr, "malloc there is %s\n", plugin_library()), 4;
    /* In turn, so that both grow, and each meets the other's mappings. */
    for (int i = 0; i < COUNT; i++) {
        size_t size = i % 100 == 0 ? 300000 : (size_t)(i * 7) % 3000 + 1;
        ours[i] = malloc(size);
        theirs[i] = plugin_malloc(size);
        if (!ours[i] || !theirs[i] || ours[i] == theirs[i] || plugin_usable(theirs[i]) < size)
            return 5;
        memset(ours[i], i % 100, size);
        memset(theirs[i], i % 100 + 100, size);
    }
    for (int i = 0; i < COUNT; i++) {
        size_t size = i % 100 == 0 ? 300000 : (size_t)(i * 7) % 3000 + 1;
        unsigned char *a = ours[i], *b = theirs[i];
        if (a[0] != i % 100 || a[size - 1] != i % 100 || b[0] != i % 100 + 100 || b[size - 1] != i % 100 + 100)
            return 6;
        free(a);
        plugin_free(b);
    }
    /* pthread_create is this namespace's; the other C library has not heard of these threads, but its TLS is theirs. */
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], 0, thread, threads))
            return 7;
    for (int i = 0; i < 4; i++) {
        void *result = 0;
        if (pthread_join(threads[i], &result) || result != threads)
            return 8;
    }
    free(first);
    puts("good");
    return 0;
}
END
plugins() {
    build namespace namespace.c -pthread -ldl && build plugin.so plugin.c -shared -fPIC -ldl &&
        build plugin-hakmem.so plugin.c -shared -fPIC -ldl -Wl,--no-as-needed "$so" -Wl,-rpath,"${so%/*}"
}
if ok "plugins compile" plugins; then
    ok "a plugin in a namespace of its own, on the C library's malloc" good ./namespace ./plugin.so libc &&
        ok "HAKMEM served the program" engaged
    ok "a plugin in a namespace with a second HAKMEM" good ./namespace ./plugin-hakmem.so HAKMEM &&
        ok "HAKMEM served the program" engaged
    ok "a second HAKMEM beside the C library's malloc" ./namespace ./plugin-hakmem.so HAKMEM
fi

# ---- no standard descriptors ------------------------------------------------------------------------------------------
# A file that the program then opens gets number 2, and must hold what the program wrote and nothing else.
cat >closed.c <<'END'
#include "use.h"
#include <fcntl.h>
int main(int argc, char **argv)
{
    for (int i = 0; i < 3; i++) {
        char name[] = "file0";
        name[4] += i;
        if (open(name, O_CREAT | O_RDWR | O_TRUNC, 0600) != i || write(i, name, 5) != 5)
            return 1;
    }
    return use() ? 0 : 2;
}
END
closed() { # VARIABLE...
    rm -f file?
    env LD_PRELOAD="$so" "$@" ./closed <&- >&- 2>&- || return
    [ "$(cat file0)" = file0 ] && [ "$(cat file1)" = file1 ] && [ "$(cat file2)" = file2 ] || { head file?; return 1; }
}
ok "a program without standard descriptors compiles" build closed closed.c &&
    ok "it runs, and its files are its own" closed HAKMEM_DIRTY_KB=1 &&
    ok "also when statistics are asked for" closed HAKMEM_STATS=1
done_testing
