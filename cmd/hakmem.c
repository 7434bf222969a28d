/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * hakmem.c: the command: its words, and `hakmem run`.
 */
#include "window.h"
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char usage[] =
    "Usage: hakmem run [--library FILE] PROGRAM [ARGUMENT]...\n"
    "       hakmem preload status|enable [--root FOLDER] [--library FILE]\n"
    "       hakmem preload disable [--root FOLDER]\n"
    "       hakmem stat [--sites|--json|--prometheus] [--no-names] PID...\n"
    "       hakmem top [-d SECONDS] [-n COUNT] [--view NAME] [--sort COLUMN] [--no-names] [PID]...\n"
    "       hakmem purge [--wait SECONDS] PID\n"
    "       hakmem set [--wait SECONDS] PID OPTION=NUMBER...\n"
    "       hakmem tune [--for time|memory|both] [--rounds NUMBER] [--time SECONDS] [--load COMMAND] [--ready COMMAND]"
    " [--save FILE] [--show] [--library FILE] PROGRAM [ARGUMENT]...\n"
    "       hakmem --version | --help\n";

/* ---- what all files use ------------------------------------------------------------------------------------------ */

void die(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fputs("hakmem: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(code);
}

void *must(void *p)
{
    if (!p)
        die(EXIT_SYSTEM, "out of memory");
    return p;
}

char *text_of(const char *format, va_list arguments)
{
    char *s;
    return must(vasprintf(&s, format, arguments) < 0 ? NULL : s);
}

char *text(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *s = text_of(format, arguments);
    va_end(arguments);
    return s;
}

/* ---- run --------------------------------------------------------------------------------------------------------- */

/* As execvp looks for it; NULL: there is none. */
static char *find_program(const char *name)
{
    if (strchr(name, '/'))
        return access(name, F_OK) ? NULL : text("%s", name);
    const char *path = getenv("PATH");
    char *denied = NULL;
    if (!path)
        path = "/bin:/usr/bin";
    for (size_t n;; path += n + 1) {
        struct stat s;
        n = strcspn(path, ":");
        char *file = text("%.*s%s%s", (int)n, path, n ? "/" : "", name);
        if (stat(file, &s) == 0 && S_ISREG(s.st_mode)) {
            if (access(file, X_OK) == 0)
                return file;
            denied = denied ? denied : file;
        }
        if (!path[n])
            return denied;
    }
}

/* The kernel raises AT_SECURE for such a program, and the loader then ignores LD_PRELOAD: when its file changes the user or
 * the group, or gives capabilities to one who is not root. */
static const char *privileged(const char *path, int fd)
{
    struct stat s;
    struct statvfs v;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 || (fstatvfs(fd, &v) == 0 && v.f_flag & ST_NOSUID) || fstat(fd, &s))
        return NULL;
    if (s.st_mode & S_ISUID && s.st_uid != getuid())
        return text("%s runs with another user's rights (setuid)", path);
    if (s.st_mode & S_ISGID && s.st_mode & S_IXGRP && s.st_gid != getgid())
        return text("%s runs with another group's rights (setgid)", path);
    if (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
        return text("%s runs with capabilities of its own", path);
    return NULL;
}

/* The interpreter that a script names in its first line; NULL: it is no script. */
static char *interpreter_of(int fd)
{
    char line[258] = "";
    if (pread(fd, line, sizeof line - 1, 0) < 2 || line[0] != '#' || line[1] != '!')
        return NULL;
    char *start = line + 2 + strspn(line + 2, " \t");
    return text("%.*s", (int)strcspn(start, " \t\n"), start);
}

/* Reads the program that will really run.  Dies when it cannot be run under a preloaded library. */
static void read_program(const char *path, struct elf *e)
{
    for (int scripts = 0; scripts < 6; scripts++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat s;
        if (stat(path, &s))
            die(errno == ENOENT || errno == ENOTDIR ? EXIT_NOT_FOUND : EXIT_CANNOT, "%s: %s", path, strerror(errno));
        if (!S_ISREG(s.st_mode) || access(path, X_OK))
            die(EXIT_CANNOT, "%s: %s", path, S_ISREG(s.st_mode) ? strerror(errno) : "not a program");
        if (fd < 0) /* it may be run, but not read */
            die(EXIT_CANNOT, "%s: cannot be read, so it is not known which library it needs: %s", path, strerror(errno));
        const char *secure = privileged(path, fd), *wrong = elf_read(e, fd);
        char *interpreter = wrong ? interpreter_of(fd) : NULL;
        if (secure && !interpreter) /* of scripts the kernel ignores these */
            die(EXIT_CANNOT, "%s: the dynamic loader ignores LD_PRELOAD for it", secure);
        close(fd);
        if (!wrong) {
            if (!e->interpreter && !e->soname)
                die(EXIT_CANNOT, "%s is linked statically: nothing can be preloaded into it", path);
            return;
        }
        if (e->map)
            die(EXIT_CANNOT, "%s: %s", path, wrong);
        path = interpreter ? interpreter : "/bin/sh"; /* as execvp does with what the kernel does not know */
        if (!*path)
            die(EXIT_CANNOT, "a script without an interpreter");
    }
    die(EXIT_CANNOT, "%s: scripts of scripts of scripts", path);
}

/* What to put into LD_PRELOAD for a program. */
static const char *entry_for(const struct elf *program, const char *library)
{
    struct loader *loaders, own = { .path = text("%s", program->interpreter ? program->interpreter : "") };
    size_t n = abi_loaders(&loaders);
    struct elf e;
    bool fits;
    if (strstr(own.path, "ld-musl"))
        die(EXIT_NO_LIBRARY, "it is a program of musl (%s), and the library is glibc's", own.path);
    const char *entry = library ? library : abi_installed(loaders, n, &fits);
    if (!entry)
        die(EXIT_NO_LIBRARY, LIBDIR "/" LIBRARY_NAME ".0: the library is not installed there");
    if (strpbrk(entry, " :"))
        die(EXIT_NO_LIBRARY, "%s: LD_PRELOAD takes no path with a blank or a colon in it", entry);
    int fd = open(*own.path ? own.path : "/proc/self/exe", O_RDONLY | O_CLOEXEC);
    const char *wrong = fd < 0 ? strerror(errno) : elf_read(&own.elf, fd);
    if (wrong)
        die(EXIT_CANNOT, "%s: %s", own.path, wrong);
    close(fd);
    if (!*own.path)
        own.elf = *program; /* the program is the loader */
    own.lib = elf_loader_lib(&own.elf);
    char *path = abi_expand(entry, own.lib);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    wrong = fd < 0 ? strerror(errno) : elf_read(&e, fd);
    if (!wrong && !elf_same_abi(&e, program))
        wrong = text("it is for another ABI (%s)", elf_abi(&e));
    if (wrong)
        die(EXIT_NO_LIBRARY, "%s: no library for this program (%s): %s", path, elf_abi(program), wrong);
    close(fd);
    return *entry == '/' ? entry : must(realpath(path, NULL));
}

/* Ours first, the others behind it. */
static void preload(const char *entry)
{
    const char *others = getenv("LD_PRELOAD");
    if (!others || !*others)
        others = NULL;
    if (setenv("LD_PRELOAD", others ? text("%s:%s", entry, others) : entry, 1))
        must(NULL);
}

char *run_prepare(const char *name, const char *library, const char **entry)
{
    struct elf program;
    char *path = find_program(name);
    if (!path)
        die(EXIT_NOT_FOUND, "%s: no such program", name);
    read_program(path, &program);
    *entry = entry_for(&program, library);
    return path;
}

void run_program(const char *path, const char *entry, char **argv)
{
    preload(entry);
    execv(path, argv);
    if (errno == ENOEXEC) {
        size_t n = 0;
        while (argv[n])
            n++;
        char **with_shell = must(calloc(n + 2, sizeof *argv));
        with_shell[0] = text("sh");
        with_shell[1] = text("%s", path);
        memcpy(with_shell + 2, argv + 1, n * sizeof *argv);
        execv("/bin/sh", with_shell);
    }
    die(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT, "%s: %s", path, strerror(errno));
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static int misused(const char *what, const char *word)
{
    fprintf(stderr, "hakmem: %s%s\n%s", what, word ? word : "", usage);
    return EXIT_USAGE;
}

int window_misused(const char *what, const char *word) { return misused(what, word); }

const char *value_of(const char *name, char ***argv)
{
    size_t length = strlen(name);
    char *word = **argv;
    if (!word || strncmp(word, name, length))
        return NULL;
    if (word[length] == '=') {
        ++*argv;
        return word + length + 1;
    }
    if (word[length] || !(*argv)[1])
        return NULL;
    *argv += 2;
    return (*argv)[-1];
}

static int preload_command(char **argv)
{
    const char *verb = *argv, *root = NULL, *library = NULL, *value;
    if (!verb || (strcmp(verb, "status") && strcmp(verb, "enable") && strcmp(verb, "disable")))
        return misused("preload takes status, enable or disable, not ", verb ? verb : "nothing");
    for (argv++; *argv;) {
        if ((value = value_of("--root", &argv)))
            root = value;
        else if (strcmp(verb, "disable") && (value = value_of("--library", &argv)))
            library = value;
        else
            return misused("not understood: ", *argv);
    }
    if (root)
        root_set(root, EXIT_SYSTEM);
    return *verb == 's' ? preload_status(library) : *verb == 'e' ? preload_enable(library) : preload_disable();
}

static int run_command(char **argv)
{
    const char *library = NULL, *value;
    while ((value = value_of("--library", &argv)))
        library = value;
    if (*argv && !strcmp(*argv, "--"))
        argv++;
    else if (*argv && **argv == '-')
        return misused("not understood: ", *argv);
    if (!*argv)
        return misused("run needs a program", NULL);
    const char *entry, *path = run_prepare(argv[0], library, &entry);
    run_program(path, entry, argv);
}

static int all_said(int code)
{
    if (fflush(stdout) || ferror(stdout))
        die(EXIT_SYSTEM, "standard output: %s", strerror(errno));
    return code;
}

static const struct {
    const char *verb;
    int (*command)(char **argv);
} windows[] = { { "stat", stat_command }, { "top", top_command }, { "purge", mail_purge }, { "set", mail_set },
                { "tune", tune_command } };

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    if (!strcmp(verb, "run"))
        return run_command(argv + 2);
    if (!strcmp(verb, "preload"))
        return all_said(preload_command(argv + 2));
    for (size_t i = 0; i < COUNT_OF(windows); i++)
        if (!strcmp(verb, windows[i].verb))
            return all_said(windows[i].command(argv + 2));
    if (!strcmp(verb, "--version")) {
        puts("hakmem " PACKAGE_VERSION);
        return all_said(EXIT_DONE);
    }
    if (!strcmp(verb, "--help")) {
        fputs(usage, stdout);
        return all_said(EXIT_DONE);
    }
    return misused(argc > 1 ? "not understood: " : "run a program, or see to the preload", argc > 1 ? verb : NULL);
}
