/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * site.c: call sites of a process: file and offset, which outlive it, and function and line, which addr2line of binutils
 * or eu-addr2line of elfutils finds where it is installed and the file has the information.
 */
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NT_BUILD_ID = 3, ID_BYTES = 20, BATCH = 128 };

/* A file as the process has it mapped. */
struct file {
    const struct mapping *first; /* from its beginning; NULL: not found */
    uint64_t bias;
    unsigned char id[ID_BYTES];
    size_t id_size;
};

static const struct mapping *mapping_of(const struct mapping *maps, size_t n, uint64_t address)
{
    for (size_t i = 0; i < n; i++)
        if (address >= maps[i].start && address < maps[i].end)
            return &maps[i];
    return NULL;
}

/* The mappings of a file follow one another. */
static struct file file_of(const struct live *l, const struct mapping *maps, const struct mapping *m)
{
    struct file f = { 0 };
    struct module module;
    uint64_t at;
    const struct mapping *first = m;
    while (first > maps && first->offset && first[-1].inode == m->inode && !strcmp(first[-1].path, m->path))
        first--;
    if (!m->inode || first->offset || !live_module(l, first->start, &module))
        return f;
    f.first = first;
    f.bias = module.bias;
    size_t size;
    if (live_note(l, &module, "GNU", NT_BUILD_ID, &at, &size) && size <= ID_BYTES && live_read(l, at, f.id, size))
        f.id_size = size;
    return f;
}

/* ---- addr2line ----------------------------------------------------------------------------------------------------- */

/* The file is a plain one and has this build id, or is, when that is not known, the mapped one.  Under the name of what is
 * mapped there may be anything by now, a link to a device for instance, whose opening may have an effect: so it is looked at
 * before it is opened for reading.  The descriptor; -1: it is not it. */
static int open_it(const char *path, const struct file *f)
{
    struct elf e = { 0 };
    struct stat s;
    char *self;
    int found = open(path, O_PATH | O_CLOEXEC), fd = -1;
    if (found < 0)
        return -1;
    if (fstat(found, &s) == 0 && S_ISREG(s.st_mode) && (f->id_size || s.st_ino == f->first->inode)) {
        self = text("/proc/self/fd/%d", found);
        fd = open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        free(self);
    }
    close(found);
    if (fd < 0)
        return -1;
    bool same = !elf_read(&e, fd) && (!f->id_size || memmem(e.map, e.size, f->id, f->id_size));
    if (e.map)
        munmap((void *)(uintptr_t)e.map, e.size);
    if (!same) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The file itself, if it is still to be had.  -1: it is not. */
static int open_file(const struct live *l, const struct file *f)
{
    char *paths[] = {
        text("/proc/%d/map_files/%llx-%llx", (int)l->pid, (unsigned long long)f->first->start,
             (unsigned long long)f->first->end),
        text("/proc/%d/root%s", (int)l->pid, f->first->path),
    };
    int found = -1;
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        if (found < 0)
            found = open_it(paths[i], f);
        free(paths[i]);
    }
    return found;
}

/* Whose rights addr2line gets when this is root's command: it reads what another user may have made, so it is to be able to do
 * no more than that user.  Those of the process's user, else of the file's owner, whichever is not root. */
struct rights {
    uid_t user;
    gid_t group;
};

static struct rights rights_for(const struct live *l, int file)
{
    struct rights r = { 0, 0 };
    struct stat s;
    char *path = text("/proc/%d/status", (int)l->pid), line[128];
    FILE *f = fopen(path, "re");
    unsigned real, effective;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "Uid: %u %u", &real, &effective) == 2)
            r.user = real ? real : effective;
        else if (sscanf(line, "Gid: %u", &real) == 1)
            r.group = real;
    }
    if (f)
        fclose(f);
    free(path);
    if (!r.user && fstat(file, &s) == 0)
        r = (struct rights){ s.st_uid, s.st_gid };
    return r;
}

enum { ITS_FILE = 3, NO_RIGHTS = 126, NO_PROGRAM = 127 };
#define ITS_PATH "/proc/self/fd/3"

static void become(const char *const argv[], int file, int to, struct rights rights) __attribute__((noreturn));
static void become(const char *const argv[], int file, int to, struct rights rights)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    /* The numbers may be among those that are about to be used. */
    file = fcntl(file, F_DUPFD_CLOEXEC, ITS_FILE + 1);
    to = fcntl(to, F_DUPFD_CLOEXEC, ITS_FILE + 1);
    if (dup2(null, 0) != 0 || dup2(to, 1) != 1 || dup2(null, 2) != 2 || dup2(file, ITS_FILE) != ITS_FILE)
        _exit(NO_RIGHTS);
    if (!geteuid() && rights.user &&
        (setgroups(0, NULL) || setresgid(rights.group, rights.group, rights.group) ||
         setresuid(rights.user, rights.user, rights.user)))
        _exit(NO_RIGHTS);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(NO_PROGRAM);
}

/* Starts it with its output in a pipe, and with the file; -1: it cannot be. */
static int start(const char *const argv[], int file, struct rights rights, pid_t *pid)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        return -1;
    fflush(NULL);
    *pid = fork();
    if (!*pid)
        become(argv, file, ends[1], rights);
    close(ends[1]);
    if (*pid < 0) {
        close(ends[0]);
        return -1;
    }
    return ends[0];
}

static char *line_of(FILE *f)
{
    char *line = NULL;
    size_t room = 0;
    if (getline(&line, &room, f) < 0) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\n")] = '\0';
    live_clean(line);
    return line;
}

static const char *const tools[] = { "addr2line", "eu-addr2line" };
static size_t tool; /* the one that is there, as far as was tried */
static const char *nameless;

const char *site_nameless(void) { return nameless; }

/* FILE:LINE, without folders, columns, and " (discriminator N)". */
static char *short_line(const char *line)
{
    const char *name = strrchr(line, '/');
    char *s = text("%s", name ? name + 1 : line), *colon = strchr(s, ':');
    if (colon)
        colon[1 + strspn(colon + 1, "0123456789")] = '\0';
    return s;
}

static void take_names(FILE *f, struct place **places, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *function = line_of(f), *line = function ? line_of(f) : NULL;
        if (line && *function && *function != '?') {
            free(places[i]->function);
            places[i]->function = text("%s", function);
        }
        if (line && *line && *line != '?' && !strstr(line, ":?") && !strstr(line, ":0")) {
            free(places[i]->line);
            places[i]->line = short_line(line);
        }
        free(function);
        free(line);
    }
}

static void name_batch(int file, struct rights rights, struct place **places, size_t n)
{
    const char *argv[BATCH + 6] = { NULL, "-f", "-C", "-e", ITS_PATH };
    char *addresses[BATCH];
    int status = NO_PROGRAM << 8;
    for (size_t i = 0; i < n; i++) /* a return address lies behind the call */
        argv[5 + i] = addresses[i] = text("0x%llx", (unsigned long long)(places[i]->offset - (places[i]->offset != 0)));
    while (tool < COUNT_OF(tools) && WIFEXITED(status) && WEXITSTATUS(status) == NO_PROGRAM) {
        pid_t pid;
        argv[0] = tools[tool];
        int fd = start(argv, file, rights, &pid);
        FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
        if (!f) {
            nameless = "addr2line cannot be run";
            break;
        }
        take_names(f, places, n);
        fclose(f);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        if (WIFEXITED(status) && WEXITSTATUS(status) == NO_PROGRAM)
            tool++;
        else if (WIFEXITED(status) && WEXITSTATUS(status) == NO_RIGHTS)
            nameless = "addr2line cannot be run with the rights of the process";
    }
    if (tool == COUNT_OF(tools))
        nameless = "neither addr2line nor eu-addr2line is installed";
    for (size_t i = 0; i < n; i++)
        free(addresses[i]);
}

/* All places of one file; files[i] is that of place i. */
static void name_all(const struct live *l, const struct file *files, struct place *places, size_t n)
{
    bool *done = must(calloc(n + 1, sizeof *done));
    for (size_t i = 0; i < n; i++) {
        struct place *batch[BATCH];
        size_t count = 0;
        int file = done[i] || !files[i].first ? -1 : open_file(l, &files[i]);
        struct rights rights = file >= 0 ? rights_for(l, file) : (struct rights){ 0, 0 };
        for (size_t j = i; file >= 0 && j < n; j++) {
            if (files[j].first != files[i].first)
                continue;
            done[j] = true;
            batch[count++] = &places[j];
            if (count == BATCH) {
                name_batch(file, rights, batch, count);
                count = 0;
            }
        }
        if (count)
            name_batch(file, rights, batch, count);
        if (file >= 0)
            close(file);
    }
    free(done);
}

/* ---- all of it ----------------------------------------------------------------------------------------------------- */

void site_find(const struct live *l, const struct site_tally *sites, size_t n, struct place *places, bool names)
{
    size_t nmaps;
    struct mapping *maps = live_maps(l->pid, &nmaps);
    struct file *files = must(calloc(n + 1, sizeof *files));
    for (size_t i = 0; i < n; i++) {
        const struct mapping *m = maps ? mapping_of(maps, nmaps, sites[i].site) : NULL;
        struct place *p = &places[i];
        *p = (struct place){ .offset = sites[i].site };
        p->function = text("%s", "");
        p->line = text("%s", "");
        if (m) {
            for (size_t j = 0; j < i; j++)
                if (files[j].first && !strcmp(files[j].first->path, m->path) && files[j].first->inode == m->inode)
                    files[i] = files[j];
            if (!files[i].first)
                files[i] = file_of(l, maps, m);
        }
        p->module = text("%s", files[i].first ? m->path : "");
        live_clean(p->module);
        if (!files[i].first)
            continue;
        p->offset -= files[i].bias;
        for (size_t b = 0; b < files[i].id_size; b++)
            sprintf(p->build_id + 2 * b, "%02x", files[i].id[b]);
    }
    if (names)
        name_all(l, files, places, n);
    free(files);
    if (maps)
        live_forget_maps(maps, nmaps);
}

void site_forget(struct place *places, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(places[i].module);
        free(places[i].function);
        free(places[i].line);
    }
}

char *site_text(const struct live *l, uint64_t site, const struct place *p)
{
    const char *name = strrchr(p->module, '/');
    if (site == l->number.site_resized)
        return text("resized by realloc");
    if (!site)
        return text("not known");
    if (!*p->module)
        return text("0x%llx", (unsigned long long)site);
    if (*p->function && *p->line)
        return text("%s at %s", p->function, p->line);
    if (*p->function)
        return text("%s in %s+0x%llx", p->function, name ? name + 1 : p->module, (unsigned long long)p->offset);
    return text("%s+0x%llx", name ? name + 1 : p->module, (unsigned long long)p->offset);
}
