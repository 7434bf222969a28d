/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * preload.c: /etc/ld.so.preload: looks, switches on, switches off.
 *
 * Switching on checks first and changes then, by one rename; when the first program after it does not start as it did, the
 * old file comes back.  Switching off checks nothing; where no file can be made in /etc, the entry is overwritten in place
 * by blanks.
 */
#include "command.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define FOLDER "/etc"
#define NAME "ld.so.preload"
#define FILE_NAME FOLDER "/" NAME
#define PASS_LIST "/etc/hakmem/pass.list"
#define SEPARATORS " \t\n:"

/* ---- the file ---------------------------------------------------------------------------------------------------- */

struct conf {
    int folder;      /* /etc, open, and locked against other runs of this command */
    bool exists, link;
    struct stat was;
    char *text;      /* ended by 0 */
    size_t size;
};

/* Two runs at a time would undo each other's work.  Any user can hold this lock, so it is not waited for longer than a second;
 * the second look right before the rename has to do then. */
static void lock_folder(int folder)
{
    const struct timespec pause = { 0, 50 * 1000 * 1000 };
    for (int tries = 0; flock(folder, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK && tries < 20; tries++)
        nanosleep(&pause, NULL);
}

/* code: of failures. */
static struct conf conf_read(int code)
{
    struct conf c = { 0 };
    c.folder = root_open(FOLDER, O_RDONLY | O_DIRECTORY);
    if (c.folder < 0)
        die(code, "%s" FOLDER ": %s", root_name, strerror(errno));
    lock_folder(c.folder);
    c.exists = fstatat(c.folder, NAME, &c.was, AT_SYMLINK_NOFOLLOW) == 0;
    if (!c.exists && errno != ENOENT)
        die(code, "%s" FILE_NAME ": %s", root_name, strerror(errno));
    c.link = c.exists && S_ISLNK(c.was.st_mode);
    c.text = text("%s", "");
    int fd = c.exists ? root_open(FILE_NAME, O_RDONLY | O_NONBLOCK) : -1;
    if (fd < 0) {
        if (c.exists && !(c.link && errno == ENOENT))
            die(code, "%s" FILE_NAME ": %s", root_name, strerror(errno));
        return c;
    }
    char more[4096];
    ssize_t n;
    while ((n = read(fd, more, sizeof more)) > 0) {
        c.text = must(realloc(c.text, c.size + (size_t)n + 1));
        memcpy(c.text + c.size, more, (size_t)n);
        c.size += (size_t)n;
        c.text[c.size] = '\0';
    }
    if (n < 0)
        die(code, "%s" FILE_NAME ": %s", root_name, strerror(errno));
    close(fd);
    return c;
}

/* The entry at or after *at, its length in *length; NULL: no more.  Comments are skipped. */
static const char *next_entry(const struct conf *c, size_t *at, size_t *length)
{
    while (*at < c->size) {
        const char *s = c->text + *at;
        size_t left = c->size - *at;
        if (*s == '#') {
            const char *end = memchr(s, '\n', left);
            *at += end ? (size_t)(end - s) : left;
        } else if (!*s || strchr(SEPARATORS, *s)) {
            ++*at;
        } else {
            *length = strcspn(s, SEPARATORS "#");
            *at += *length;
            return s;
        }
    }
    return NULL;
}

static bool is_ours(const char *entry, size_t length)
{
    const char *last = entry;
    for (size_t i = 0; i < length; i++)
        if (entry[i] == '/')
            last = entry + i + 1;
    return (size_t)(entry + length - last) >= strlen(LIBRARY_NAME) && !strncmp(last, LIBRARY_NAME, strlen(LIBRARY_NAME));
}

static char *our_entry(const struct conf *c)
{
    size_t at = 0, length;
    for (const char *e; (e = next_entry(c, &at, &length));)
        if (is_ours(e, length))
            return text("%.*s", (int)length, e);
    return NULL;
}

static char *with_entry(const struct conf *c, const char *entry)
{
    size_t at = 0, length;
    const char *first = next_entry(c, &at, &length), *line = first ? first : c->text + c->size;
    while (first && line > c->text && line[-1] != '\n')
        line--;
    /* Before the first of the others, so that malloc is found here first; else at the end. */
    bool open_line = line > c->text && line[-1] != '\n';
    return text("%.*s%s%s\n%s", (int)(line - c->text), c->text, open_line ? "\n" : "", entry, line);
}

/* Lines on which nothing else stood go with the entry. */
static char *without_entry(const struct conf *c)
{
    char *result = must(calloc(1, c->size + 1)), *to = result;
    for (const char *line = c->text, *end; *line; line = end) {
        end = strchr(line, '\n');
        end = end ? end + 1 : line + strlen(line);
        struct conf one = { .text = text("%.*s", (int)(end - line), line), .size = (size_t)(end - line) };
        size_t at = 0, length;
        bool had = false, blank = true;
        for (const char *e; (e = next_entry(&one, &at, &length));) {
            if (is_ours(e, length)) {
                had = true;
                memset(one.text + (e - one.text), ' ', length);
            }
        }
        for (size_t i = 0; i < one.size; i++)
            blank = blank && strchr(SEPARATORS, one.text[i]);
        if (!had || !blank) {
            memcpy(to, had ? one.text : line, one.size);
            to += one.size;
        }
        free(one.text);
    }
    return result;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Security labels and access lists; where they cannot be kept, the new file has the defaults of the folder. */
static void keep_attributes(const struct conf *c, int to)
{
    char names[4096], value[4096];
    int from = c->exists && !c->link ? openat(c->folder, NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    ssize_t n = from < 0 ? -1 : flistxattr(from, names, sizeof names);
    for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
        ssize_t length = fgetxattr(from, name, value, sizeof value);
        if (length >= 0)
            (void)fsetxattr(to, name, value, (size_t)length, 0);
    }
    if (from >= 0)
        close(from);
}

static bool write_all(int fd, const char *s, size_t left)
{
    while (left) {
        ssize_t n = write(fd, s, left);
        if (n < 0 && errno != EINTR)
            return false;
        s += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool unchanged(const struct conf *c)
{
    struct stat now;
    bool exists = fstatat(c->folder, NAME, &now, AT_SYMLINK_NOFOLLOW) == 0;
    return exists == c->exists && (!exists || (now.st_ino == c->was.st_ino && now.st_dev == c->was.st_dev &&
                                               now.st_size == c->was.st_size && now.st_mtime == c->was.st_mtime));
}

/* Puts a new file in the place of the old one.  NULL, or what went wrong; then nothing has changed. */
static const char *conf_replace(const struct conf *c, const char *contents)
{
    const char *temporary = text("." NAME ".hakmem.%ld", (long)getpid()), *wrong = NULL;
    bool like_old = c->exists && !c->link;
    if (like_old && faccessat(c->folder, NAME, W_OK, AT_EACCESS))
        return strerror(errno);
    (void)unlinkat(c->folder, temporary, 0); /* of a process long dead, which had this number */
    int fd = openat(c->folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return strerror(errno);
    if (!write_all(fd, contents, strlen(contents)) ||
        (like_old && fchown(fd, c->was.st_uid, c->was.st_gid)) ||
        fchmod(fd, like_old ? c->was.st_mode & 07777 : 0644))
        wrong = strerror(errno);
    if (!wrong)
        keep_attributes(c, fd);
    if (!wrong && fsync(fd))
        wrong = strerror(errno);
    close(fd);
    if (!wrong && !unchanged(c))
        wrong = "somebody else has just changed it";
    if (!wrong && renameat(c->folder, temporary, c->folder, NAME))
        wrong = strerror(errno);
    if (wrong)
        (void)unlinkat(c->folder, temporary, 0);
    else
        (void)fsync(c->folder);
    return wrong;
}

static const char *conf_remove(const struct conf *c)
{
    if (unlinkat(c->folder, NAME, 0))
        return strerror(errno);
    (void)fsync(c->folder);
    return NULL;
}

/* No new file can be made: the disk is full, or the file is a mount of its own.  Blanks of the same length keep the file
 * whole at every moment for a program that starts just now. */
static const char *conf_blank(const struct conf *c)
{
    int fd = root_open(FILE_NAME, O_WRONLY);
    if (fd < 0)
        return strerror(errno);
    const char *wrong = NULL;
    size_t at = 0, length;
    for (const char *e; !wrong && (e = next_entry(c, &at, &length));) {
        char *blanks = must(malloc(length));
        memset(blanks, ' ', length);
        if (is_ours(e, length) && pwrite(fd, blanks, length, e - c->text) != (ssize_t)length)
            wrong = strerror(errno);
        free(blanks);
    }
    if (!wrong && fsync(fd) && errno != EINVAL)
        wrong = strerror(errno);
    close(fd);
    return wrong;
}

/* ---- trials ------------------------------------------------------------------------------------------------------ */

/* Small and large, of one thread and of several, C and C++; those that are there are tried. */
static const char *const trials[][4] = {
    { "/bin/sh", "-c", "x=$(echo hakmem | (read y; echo $y)); test $x = hakmem", NULL },
    { "/bin/ls", "-ld", "/", NULL },
    { "/bin/cat", "/etc/passwd", NULL, NULL },
    { "/usr/bin/sort", "/etc/passwd", NULL, NULL },
    { "/bin/bash", "-c", "x=$(echo hakmem | (read y; echo $y)); test $x = hakmem", NULL },
    { "/usr/bin/perl", "-e", "my %h = map { $_ => 'x' x $_ } 1 .. 999; exit(keys(%h) != 999)", NULL },
    { "/usr/bin/python3", "-c",
      "import threading\nt = [threading.Thread(target=lambda: [str(i) for i in range(999)]) for i in range(4)]\n"
      "[x.start() for x in t]\n[x.join() for x in t]", NULL },
    { "/usr/bin/apt-get", "--version", NULL, NULL },
    { "/usr/bin/rpm", "--version", NULL, NULL },
    { "/bin/mount", "--version", NULL, NULL },
    { "/lib/systemd/systemd", "--version", NULL, NULL },
};

static bool ended_well(const struct trial *t) { return !t->late && WIFEXITED(t->status) && !WEXITSTATUS(t->status); }

/* The first line of what was said, but for HAKMEM's greetings. */
static const char *first_words(const struct trial *t)
{
    for (const char *line = t->said, *end; *line; line = *end ? end + 1 : end) {
        end = line + strcspn(line, "\n");
        if (end > line && strncmp(line, "hakmem: libhakmem ", 18))
            return text(": %.*s", (int)(end - line), line);
    }
    return "";
}

static const char *how_it_ended(const struct trial *t)
{
    if (t->late)
        return "it did not end, and was killed";
    if (WIFSIGNALED(t->status))
        return text("it was killed by signal %d (%s)", WTERMSIG(t->status), strsignal(WTERMSIG(t->status)));
    return text("it ended with status %d%s", WEXITSTATUS(t->status), first_words(t));
}

/* What the loader says of an entry that it cannot load. */
static const char *loader_complains(const struct trial *t)
{
    const char *error = strstr(t->said, "ERROR: ld.so: ");
    return error ? text("%.*s", (int)strcspn(error, "\n"), error) : NULL;
}

static bool was_served(const struct trial *t)
{
    return strstr(t->said, " serves process ") || strstr(t->said, " leaves process ");
}

/* Runs the programs that are there and work, once more with `preload` (or as the system now preloads, where that is NULL and
 * `as_it_is`).  NULL, or what went wrong.  *tried: how many. */
static const char *try_programs(const char *preload, unsigned *tried)
{
    unsigned served = 0;
    const char *reason = "";
    *tried = 0;
    for (size_t i = 0; i < COUNT_OF(trials); i++) {
        struct trial without, with;
        if (!root_try(&without, trials[i], NULL)) {
            if (!without.entered)
                return text("programs of %s cannot be tried: %s", root_name, strerror(without.error));
            if (without.error != ENOENT)
                reason = text(" (%s: %s)", trials[i][0], strerror(without.error));
            continue;
        }
        const char *broken = loader_complains(&without);
        if (broken)
            return text("%s" FILE_NAME " is broken already: %s", root_name, broken);
        if (!ended_well(&without))
            continue;
        if (!root_try(&with, trials[i], preload))
            return text("%s cannot be started: %s", trials[i][0], strerror(with.error));
        const char *complaint = loader_complains(&with);
        if (complaint)
            return text("%s under the library: %s", trials[i][0], complaint);
        if (!ended_well(&with))
            return text("%s fails under the library: %s", trials[i][0], how_it_ended(&with));
        ++*tried;
        served += was_served(&with);
    }
    if (!*tried)
        return text("there is no program to try the library with%s", reason);
    return served ? NULL : text("the library served none of %u programs that were tried", *tried);
}

/* The file is in force: does the first program that was good before still work? */
static const char *try_as_it_is(void)
{
    for (size_t i = 0; i < COUNT_OF(trials); i++) {
        struct trial t;
        if (!root_try(&t, trials[i], NULL))
            continue;
        const char *complaint = loader_complains(&t);
        if (complaint)
            return complaint;
        if (ended_well(&t) && was_served(&t))
            return NULL;
    }
    return "no program is served";
}

/* ---- other entries ----------------------------------------------------------------------------------------------- */

/* Entries with a path and no token but $LIB can be looked at without running anything.  An entry is broken when no loader
 * has a library for it. */
static const char *check_others(const struct conf *c, const struct loader *loaders, size_t n)
{
    size_t at = 0, length;
    for (const char *e; (e = next_entry(c, &at, &length));) {
        char *entry = text("%.*s", (int)length, e);
        const char *wrong = NULL;
        bool found = !strchr(entry, '/');
        for (size_t i = 0; i < n && !found; i++) {
            struct elf elf;
            char *path = abi_expand(entry, loaders[i].lib);
            int fd = strchr(path, '$') ? -1 : root_open(path, O_RDONLY);
            wrong = fd < 0 ? strerror(errno) : elf_read(&elf, fd);
            found = strchr(path, '$') || (!wrong && elf_same_abi(&elf, &loaders[i].elf));
            if (!found && !wrong)
                wrong = "it is for another ABI";
            if (fd >= 0)
                close(fd);
        }
        if (!found)
            return text("%s" FILE_NAME " is broken already: %s: %s", root_name, entry, wrong);
    }
    return NULL;
}

/* ---- the list of programs to pass by ----------------------------------------------------------------------------- */

static const char *check_pass_list(void)
{
    struct stat s;
    int fd = root_open(PASS_LIST, O_PATH);
    if (fd < 0)
        return NULL;
    bool good = fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_uid == 0 && !(s.st_mode & (S_IWGRP | S_IWOTH));
    close(fd);
    return good ? NULL : text("%s" PASS_LIST " is ignored: root, and root alone, must be able to write it", root_name);
}

/* ---- on ---------------------------------------------------------------------------------------------------------- */

/* What to write, after all that can be seen without running anything. */
static char *choose_entry(const char *library, const struct loader *loaders, size_t n)
{
    bool fits = true;
    char *entry = library ? text("%s", library) : abi_installed(loaders, n, &fits);
    if (!n)
        die(EXIT_REFUSED, "refused: %s has no dynamic loader of the C library", *root_name ? root_name : "this system");
    if (!entry)
        die(EXIT_REFUSED, "refused: %s" LIBDIR "/" LIBRARY_NAME ".0: the library is not installed there", root_name);
    if (*entry != '/' || strpbrk(entry, SEPARATORS "#"))
        die(EXIT_REFUSED, "refused: %s: not an absolute path without blanks, colons and #", entry);
    if (!is_ours(entry, strlen(entry)))
        die(EXIT_REFUSED, "refused: %s: its name does not begin with " LIBRARY_NAME, entry);
    if (strcmp(abi_expand(entry, ""), entry) == 0 && n > 1)
        die(EXIT_REFUSED, "refused: $LIB does not fit %s, and there are %zu ABIs (%s: %s, %s: %s): install the library with "
            "--libdir=PREFIX/%s", entry, n, loaders[0].path, loaders[0].lib, loaders[1].path, loaders[1].lib, loaders[0].lib);
    for (size_t i = 0; i < n; i++) {
        struct elf e;
        char *path;
        const char *wrong = abi_library(&loaders[i], entry, &e, &path);
        if (wrong)
            die(EXIT_REFUSED, "refused: %s%s, for programs of %s (%s): %s", root_name, path, loaders[i].path,
                elf_abi(&loaders[i].elf), wrong);
    }
    return entry;
}

static void undo(const struct conf *before)
{
    struct conf now = conf_read(EXIT_SYSTEM);
    const char *wrong = before->exists ? conf_replace(&now, before->text) : conf_remove(&now);
    if (wrong)
        die(EXIT_SYSTEM, "%s" FILE_NAME ": cannot be undone: %s; do it by hand: : > %s" FILE_NAME, root_name, wrong,
            root_name);
}

int preload_enable(const char *library)
{
    struct loader *loaders;
    struct conf c = conf_read(EXIT_SYSTEM);
    size_t n = abi_loaders(&loaders);
    unsigned tried;
    char *ours = our_entry(&c);
    const char *wrong = check_others(&c, loaders, n);
    if (wrong)
        die(EXIT_REFUSED, "refused: %s", wrong);
    if (c.link)
        die(EXIT_REFUSED, "refused: %s" FILE_NAME " is a symbolic link", root_name);
    if (strlen(c.text) != c.size)
        die(EXIT_REFUSED, "refused: %s" FILE_NAME " is not text", root_name);
    char *entry = choose_entry(library, loaders, n);
    if (ours && strcmp(ours, entry))
        die(EXIT_REFUSED, "refused: %s" FILE_NAME " has %s already; switch that off first", root_name, ours);
    if (ours) {
        printf("%s" FILE_NAME " has %s already\n", root_name, ours);
        return EXIT_DONE;
    }
    if (faccessat(c.folder, ".", W_OK, AT_EACCESS) || (c.exists && faccessat(c.folder, NAME, W_OK, AT_EACCESS)))
        die(EXIT_SYSTEM, "%s" FILE_NAME ": %s", root_name, strerror(errno));
    wrong = try_programs(entry, &tried);
    if (wrong)
        die(EXIT_REFUSED, "refused: %s", wrong);
    wrong = conf_replace(&c, with_entry(&c, entry));
    if (wrong)
        die(EXIT_SYSTEM, "%s" FILE_NAME ": %s", root_name, wrong);
    close(c.folder); /* and unlocked: undo() locks it again */
    wrong = try_as_it_is();
    if (wrong) {
        undo(&c);
        die(EXIT_REFUSED, "refused, and undone: %s", wrong);
    }
    printf("on: %s" FILE_NAME " has %s (%u programs tried, %zu ABI%s)\n", root_name, entry, tried, n, n > 1 ? "s" : "");
    if (!strcmp(abi_expand(entry, ""), entry))
        printf("note: $LIB (%s) does not fit this place; programs of another ABI, if one is installed later, will complain\n",
               loaders[0].lib);
    wrong = check_pass_list();
    if (wrong)
        printf("note: %s\n", wrong);
    printf("Programs that start from now on are served; off again: hakmem preload disable\n"
           "If nothing starts any more, in a shell that still runs or on a rescue system (the root mounted at R):\n"
           "    : > %s" FILE_NAME "        or        : > R" FILE_NAME "\n", root_name);
    return EXIT_DONE;
}

/* ---- off --------------------------------------------------------------------------------------------------------- */

int preload_disable(void)
{
    struct conf c = conf_read(EXIT_SYSTEM);
    char *ours = our_entry(&c);
    if (!ours) {
        printf("off already: %s" FILE_NAME " has no " LIBRARY_NAME "\n", root_name);
        return EXIT_DONE;
    }
    const char *contents = without_entry(&c), *wrong;
    if (strlen(c.text) != c.size)
        wrong = "it is not text";
    else
        wrong = *contents || c.link ? conf_replace(&c, contents) : conf_remove(&c);
    if (wrong && conf_blank(&c))
        die(EXIT_SYSTEM, "%s" FILE_NAME ": %s", root_name, wrong);
    printf("off: %s" FILE_NAME " no longer has %s\n", root_name, ours);
    if (root_is_running())
        printf("Programs that run already keep it until they end.\n");
    return EXIT_DONE;
}

/* ---- status ------------------------------------------------------------------------------------------------------ */

/* 1: the process has the library mapped, 0: it has not, -1: not known, or there is nothing mapped (a kernel thread), or it
 * belongs to another root. */
static int maps_library(const char *pid)
{
    char buffer[8192 + 1];
    struct stat s, of_root;
    int folder = root_open("/", O_PATH | O_DIRECTORY), result = -1;
    bool inside = folder >= 0 && fstat(folder, &of_root) == 0 && stat(text("/proc/%s/root", pid), &s) == 0 &&
                  s.st_dev == of_root.st_dev && s.st_ino == of_root.st_ino;
    if (folder >= 0)
        close(folder);
    FILE *maps = inside ? fopen(text("/proc/%s/maps", pid), "re") : NULL;
    while (maps && result != 1 && fgets(buffer, sizeof buffer, maps))
        result = strstr(buffer, "/" LIBRARY_NAME) != NULL;
    if (maps)
        fclose(maps);
    return result;
}

static void print_processes(void)
{
    unsigned with = 0, without = 0, unknown = 0;
    DIR *proc = opendir("/proc");
    struct dirent *d;
    while (proc && (d = readdir(proc))) {
        if (!isdigit((unsigned char)*d->d_name))
            continue;
        switch (maps_library(d->d_name)) {
        case 1: with++; break;
        case 0: without++; break;
        default: unknown++; break;
        }
    }
    if (proc)
        closedir(proc);
    printf("processes: %u have it mapped, %u have not; of %u it is not known, or they are the kernel's\n", with, without,
           unknown);
}

int preload_status(const char *library)
{
    struct loader *loaders;
    struct conf c = conf_read(EXIT_SYSTEM);
    size_t n = abi_loaders(&loaders);
    char *ours = our_entry(&c);
    unsigned tried;
    bool amiss = false, fits;
    close(c.folder);
    printf("%s: %s" FILE_NAME "%s%s\n", ours ? "on" : "off", root_name, ours ? " has " : "", ours ? ours : "");
    const char *entry = ours ? ours : library ? library : abi_installed(loaders, n, &fits);
    for (size_t i = 0; i < n && entry && strchr(entry, '/'); i++) {
        struct elf e;
        char *path;
        const char *wrong = abi_library(&loaders[i], entry, &e, &path);
        amiss = amiss || wrong;
        printf("library: %s%s (%s): %s\n", root_name, path, elf_abi(&loaders[i].elf), wrong ? wrong : "good");
    }
    if (!entry)
        printf("library: not installed in %s" LIBDIR "\n", root_name);
    const char *wrong = entry ? try_programs(entry, &tried) : NULL;
    amiss = amiss || wrong;
    if (entry)
        printf("trial: %s\n", wrong ? wrong : text("%u programs work under it", tried));
    wrong = check_pass_list();
    if (wrong)
        printf("list: %s\n", wrong);
    if (root_is_running() || ours)
        print_processes();
    return !ours ? EXIT_OFF : amiss ? EXIT_REFUSED : EXIT_DONE;
}
