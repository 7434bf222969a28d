#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# tls.sh: static thread-local storage is scarce for libraries that come late: HAKMEM takes 16 bytes of it, by the
# initial-exec model, so its own accesses never allocate; it loads when all but a little is gone, and after many modules
# with TLS of their own.
# shellcheck disable=SC2317,SC2086  # ok calls the functions; CC has options
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"
need_so
need readelf
cd "$scratch" || exit 99

most=16
grep -Eq '^#define HKM_DEBUG (1|true)' "$build_dir/config.h" 2>/dev/null && most=24 # lock ranks
size() {
    local bytes
    # Type Offset VirtAddr PhysAddr FileSiz MemSiz
    bytes=$(readelf -lW "$so" | awk '$1 == "TLS" { print $6 }')
    echo "TLS segment: $bytes"
    [ $((bytes)) -gt 0 ] && [ $((bytes)) -le $most ]
}
ok "at most $most bytes of TLS" size
model() {
    # R_X86_64_TPOFF64, R_AARCH64_TLS_TPREL, R_RISCV_TLS_TPREL64, R_390_TLS_TPOFF ...: an offset from the thread pointer;
    # DTPMOD and TLSDESC go through the dynamic linker.
    readelf -rW "$so" | grep -E 'DTPMOD|DTPOFF|DTPREL|TLSDESC|__tls_get_addr' && return 1
    readelf -dW "$so" | grep STATIC_TLS
}
ok "initial-exec: no relocation that needs the dynamic linker later" model

have_compiler "$cc" || { skip "loading it late" "no C compiler"; done_testing; }
cat >eater.c <<'END'
__thread char eaten[64] __attribute__((tls_model("initial-exec"), aligned(16)));
char *eat(void) { return eaten; }
END
cat >module.c <<'END'
__thread char own[200] = "own";
char *get(void) { return own; }
END
cat >program.c <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { MOST = 200 };
static char *(*get[MOST])(void);
static int modules;
static void *(*take)(size_t) = malloc;
static void (*give)(void *) = free;
static void *work(void *arg)
{
    char *blocks[300];
    for (int i = 0; i < modules; i++)
        if (strcmp(get[i](), "own"))
            return NULL;
    for (int i = 0; i < 300; i++) {
        if (!(blocks[i] = take((size_t)i * 100 + 1)))
            return NULL;
        memset(blocks[i], i, (size_t)i * 100 + 1);
    }
    for (int i = 0; i < 300; i++)
        give(blocks[i]);
    return arg;
}
static int work_in_threads(void)
{
    pthread_t threads[8];
    int bad = work(get) != get;
    for (int i = 0; i < 8; i++)
        bad += pthread_create(&threads[i], NULL, work, get) != 0;
    for (int i = 0; i < 8; i++) {
        void *result = NULL;
        bad += pthread_join(threads[i], &result) != 0 || result != get;
    }
    return bad;
}
/* program eat NUMBER [LIBRARY]: how many of NUMBER modules that need static TLS can be loaded; then LIBRARY
 * program load NUMBER [LIBRARY]: the same with modules that do not need it, all of which must load */
int main(int argc, char **argv)
{
    int number = atoi(argv[2]), eat = !strcmp(argv[1], "eat"), i;
    for (i = 0; i < number && i < MOST; i++) {
        char name[64];
        snprintf(name, sizeof name, "./%s%d.so", eat ? "eater" : "module", i);
        void *module = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (!module && eat)
            break;
        if (!module)
            return puts(dlerror()), 1;
        if (!eat && !(*(void **)&get[modules++] = dlsym(module, "get")))
            return 2;
    }
    if (argc > 3) {
        void *library = dlopen(argv[3], RTLD_NOW | RTLD_LOCAL);
        if (!library)
            return puts(dlerror()), 3;
        *(void **)&take = dlsym(library, "malloc");
        *(void **)&give = dlsym(library, "free");
        if (!take || !give || take == malloc)
            return 4;
    }
    if (work_in_threads())
        return 5;
    printf("%d\n", i);
    return 0;
}
END
compiled() {
    $cc -w -O1 program.c -o program -pthread -ldl && $cc -w -O1 -shared -fPIC eater.c -o eater0.so &&
        $cc -w -O1 -shared -fPIC module.c -o module0.so || return 1
    for i in {1..199}; do cp eater0.so eater$i.so && cp module0.so module$i.so || return 1; done
}
ok "programs compile" compiled || done_testing
eaten=$(./program eat 199)
if [ "${eaten:-0}" -ge 1 ] && [ "$eaten" -lt 199 ]; then
    ok "static TLS ends with $eaten modules of 64 bytes; it loads as the last one" ./program eat $((eaten - 1)) "$so"
else
    skip "loading it as the last one" "static TLS does not end here: ${eaten:-nothing} modules"
fi
ok "it loads behind 199 modules with TLS" ./program load 199 "$so"
preloaded_modules() { preloaded ./program load 199 >out && [ "$(cat out)" = 199 ]; }
ok "preloaded, it serves a program that loads 199 modules with TLS" preloaded_modules && ok "HAKMEM served it" engaged
done_testing
