/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * cxx_local.c: a C program under HAKMEM, linked or preloaded, loads a C++ library with RTLD_LOCAL.  The C++ runtime
 * then comes after HAKMEM and is in no scope that HAKMEM can see; the library's operator new must fail properly all
 * the same.
 *
 * Usage: cxx_local [PLUGIN]; without it, cxx_plugin.so beside the program (as libtool builds it) or in .libs there.
 */
#include "cxx_tap.h"

#include <unistd.h>

static const char *const calls[] = { "plugin_containers", "plugin_bad_alloc", "plugin_handler", "plugin_nothrow" };

static void *load(const char *path)
{
    if (path)
        return dlopen(path, RTLD_NOW | RTLD_LOCAL);
    static const char *const places[] = { "cxx_plugin.so", ".libs/cxx_plugin.so" };
    char name[4096];
    ssize_t len = readlink("/proc/self/exe", name, sizeof name - 64);
    if (len <= 0)
        return NULL;
    name[len] = 0;
    char *base = strrchr(name, '/') + 1;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        strcpy(base, places[i]);
        if (!access(name, R_OK))
            return dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    tap_start();
    ok(!dlsym(RTLD_DEFAULT, "_ZSt15get_new_handlerv"), "no C++ runtime at the start");
    for (int round = 1; round <= 2; round++) {
        void *plugin = load(argc > 1 ? argv[1] : NULL);
        if (!ok(plugin != NULL, "load %d: the library opens", round)) {
            printf("# %s\n", dlerror());
            break;
        }
        ok(!dlsym(RTLD_DEFAULT, "_ZSt15get_new_handlerv"), "load %d: its runtime is not in the global scope", round);
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
            int (*call)(void);
            *(void **)&call = dlsym(plugin, calls[i]);
            ok(call && call() == 1, "load %d: %s", round, calls[i]);
        }
        dlclose(plugin); /* what HAKMEM found in the runtime must stay */
    }
    return tap_done();
}
