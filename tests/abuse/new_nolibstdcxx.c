/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * new_nolibstdcxx.c: operator new fails in a program without any C++ runtime: nobody can throw, so there is one message
 * and SIGABRT.  The nothrow forms yield NULL there.
 */
#include "../api/cxx_tap.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SZ (sizeof(size_t) == 8 ? "m" : "j")
static const char nothrow_tag;

/* "_Znw" "m" "St11align_val_t" */
static void *operator(const char *prefix, const char *suffix)
{
    char name[100];
    snprintf(name, sizeof name, "%s%s%s", prefix, SZ, suffix);
    return dlsym(RTLD_DEFAULT, name);
}

/* Calls the operator in a child.  All of them take at most three words; which ones does not matter to the others. */
static void expect_abort(const char *prefix, const char *suffix, size_t size, size_t second)
{
    static const char expected[] = "hakmem: operator new: out of memory\n";
    void *(*call)(size_t, size_t, const void *);
    *(void **)&call = operator(prefix, suffix);
    char text[200];
    size_t len = 0;
    int channel[2], status = 0;
    if (!call || pipe(channel)) {
        ok(0, "%s%s%s", prefix, SZ, suffix);
        return;
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        static const struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        dup2(channel[1], 2);
        call(size, second, &nothrow_tag);
        _exit(0);
    }
    close(channel[1]);
    for (ssize_t n; len < sizeof text - 1 && (n = read(channel[0], text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = 0;
    char *emulators = strstr(text, "qemu: uncaught target signal"); /* its own words about the end */
    if (emulators)
        *emulators = 0;
    close(channel[0]);
    waitpid(child, &status, 0);
    int aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, told = !strcmp(text, expected);
    ok(aborted && told, "%s%s%s(%zu): message and SIGABRT", prefix, SZ, suffix, size);
    if (!aborted || !told)
        printf("# status 0x%x, message: %s\n", (unsigned)status, text);
}

static void expect_null(const char *prefix, const char *suffix, size_t size, size_t second, int error)
{
    void *(*call)(size_t, size_t, const void *);
    *(void **)&call = operator(prefix, suffix);
    errno = 0;
    ok(call && !call(size, second, &nothrow_tag) && errno == error, "%s%s%s(%zu): NULL", prefix, SZ, suffix, size);
}

int main(void)
{
    tap_start();
    if (linked_statically()) {
        puts("1..0 # SKIP a C program with the library inside has no operators to call");
        return 0;
    }
    ok(!dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD), "no C++ runtime is loaded");
    void *(*new_plain)(size_t);
    void (*delete_plain)(void *);
    *(void **)&new_plain = operator("_Znw", "");
    *(void **)&delete_plain = dlsym(RTLD_DEFAULT, "_ZdlPv");
    if (ok(new_plain && delete_plain, "a C program finds the operators")) {
        void *p = new_plain(0), *q = new_plain(0);
        ok(p && q && p != q, "operator new(0) gives distinct blocks");
        delete_plain(p);
        delete_plain(q);
    }
    expect_abort("_Znw", "", SIZE_MAX, 0);
    expect_abort("_Znw", "", (size_t)PTRDIFF_MAX + 1, 0);
    expect_abort("_Zna", "", SIZE_MAX, 0);
    expect_abort("_Znw", "St11align_val_t", SIZE_MAX, 64);
    expect_abort("_Zna", "St11align_val_t", SIZE_MAX, 64);
    expect_abort("_Znw", "St11align_val_t", 100, 24); /* no alignment */
    expect_null("_Znw", "RKSt9nothrow_t", SIZE_MAX, (size_t)&nothrow_tag, ENOMEM);
    expect_null("_Zna", "RKSt9nothrow_t", SIZE_MAX, (size_t)&nothrow_tag, ENOMEM);
    expect_null("_Znw", "St11align_val_tRKSt9nothrow_t", SIZE_MAX, 64, ENOMEM);
    expect_null("_Zna", "St11align_val_tRKSt9nothrow_t", SIZE_MAX, 64, ENOMEM);
    expect_null("_Zna", "St11align_val_tRKSt9nothrow_t", 100, 24, 0);
    return tap_done();
}
