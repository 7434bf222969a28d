/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * abi.c: a system may have several dynamic loaders of the C library, one for each ABI, and each puts another folder in the
 * place of $LIB.  Finds them, and the copy of the library that each would load.
 */
#include "command.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIBRARY LIBDIR "/" LIBRARY_NAME ".0"

/* The C library's loaders are called so by all ABIs, and stand in these folders.  (Others, as musl's, do not read
 * /etc/ld.so.preload.) */
static const char *const folders[] = { "/lib64", "/lib", "/lib32", "/libx32", "/usr/lib64", "/usr/lib" };

static bool is_loader(const char *name)
{
    return (!strncmp(name, "ld-linux", 8) || !strncmp(name, "ld64.so.", 8) || !strcmp(name, "ld.so.1")) &&
           strstr(name, ".so.");
}

size_t abi_loaders(struct loader **loaders)
{
    struct stat seen[64];
    size_t n = 0;
    *loaders = NULL;
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        int fd = root_open(folders[i], O_RDONLY | O_DIRECTORY);
        DIR *folder = fd < 0 ? NULL : fdopendir(fd);
        for (struct dirent *d; folder && (d = readdir(folder));) {
            struct loader l = { 0 };
            struct stat s;
            if (!is_loader(d->d_name) || n == COUNT_OF(seen))
                continue;
            l.path = text("%s/%s", folders[i], d->d_name);
            fd = root_open(l.path, O_RDONLY);
            bool known = fd < 0 || fstat(fd, &s) != 0;
            for (size_t k = 0; k < n && !known; k++)
                known = seen[k].st_dev == s.st_dev && seen[k].st_ino == s.st_ino;
            if (!known && !elf_read(&l.elf, fd)) {
                l.lib = elf_loader_lib(&l.elf);
                seen[n++] = s;
                *loaders = must(realloc(*loaders, n * sizeof l));
                (*loaders)[n - 1] = l;
            }
            if (fd >= 0)
                close(fd);
        }
        if (folder)
            closedir(folder);
    }
    return n;
}

/* As the dynamic loader reads it: $LIB or ${LIB}. */
char *abi_expand(const char *entry, const char *lib)
{
    char *result = text("%s", "");
    while (*entry) {
        size_t token = !strncmp(entry, "${LIB}", 6) ? 6 : 0;
        if (!strncmp(entry, "$LIB", 4) && !strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_",
                                                   entry[4] ? entry[4] : '/'))
            token = 4;
        result = token ? text("%s%s", result, lib) : text("%s%c", result, *entry);
        entry += token ? token : 1;
    }
    return result;
}

/* ---- what the library needs -------------------------------------------------------------------------------------- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_libc(const char *name) { return !strncmp(name, "libc.so.", 8); }

static bool find_libc(const struct loader *l, const char *name, struct elf *libc)
{
    char *beside = text("%s", l->path);
    *strrchr(beside, '/') = '\0';
    const char *const at[] = { text("/%s", l->lib), text("/usr/%s", l->lib), beside };
    for (size_t i = 0; i < COUNT_OF(at); i++) {
        int fd = root_open(text("%s/%s", at[i], name), O_RDONLY);
        const char *wrong = fd < 0 ? "" : elf_read(libc, fd);
        if (fd >= 0)
            close(fd);
        if (!wrong && elf_same_abi(libc, &l->elf))
            return true;
    }
    return false;
}

static const char *check_needs(const struct loader *l, const struct elf *e)
{
    const char *name;
    for (unsigned i = 0; (name = elf_needs(e, i)); i++) {
        struct elf libc;
        if (is_loader(last_part(name)))
            continue;
        if (!is_libc(name))
            return text("it needs %s, and may need nothing but the C library", name);
        if (!find_libc(l, name, &libc))
            return text("there is no %s for %s", name, l->path);
        const char *version = elf_lacks_version(&libc, name, e);
        if (version)
            return text("the C library is too old: %s has no %s", name, version);
    }
    return NULL;
}

/* Every user must be able to load it, and root alone to change it. */
static const char *check_mode(const char *path, int fd)
{
    struct stat s;
    if (fstat(fd, &s))
        return strerror(errno);
    if (s.st_uid != 0 || s.st_mode & (S_IWGRP | S_IWOTH))
        return "others than root can change it";
    if ((s.st_mode & 0444) != 0444)
        return "not every user can read it";
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        char *folder = text("%.*s", (int)(slash - path), path);
        int at = root_open(folder, O_PATH | O_DIRECTORY);
        bool open_to_all = at >= 0 && fstat(at, &s) == 0 && s.st_mode & S_IXOTH;
        if (at >= 0)
            close(at);
        if (!open_to_all)
            return text("not every user can enter %s", folder);
    }
    return NULL;
}

const char *abi_library(const struct loader *l, const char *entry, struct elf *e, char **path)
{
    *path = abi_expand(entry, l->lib);
    int fd = root_open(*path, O_RDONLY);
    if (fd < 0)
        return strerror(errno);
    const char *wrong = elf_read(e, fd);
    if (!wrong && !elf_same_abi(e, &l->elf))
        wrong = text("it is for another ABI (%s, not %s)", elf_abi(e), elf_abi(&l->elf));
    if (!wrong && (e->interpreter || !e->soname))
        wrong = "not a shared library";
    if (!wrong)
        wrong = check_needs(l, e);
    if (!wrong)
        wrong = check_mode(*path, fd);
    close(fd);
    return wrong;
}

char *abi_installed(const struct loader *loaders, size_t n, bool *fits)
{
    struct elf e;
    int fd = root_open(LIBRARY, O_RDONLY);
    *fits = false;
    if (fd < 0)
        return NULL;
    const char *wrong = elf_read(&e, fd);
    close(fd);
    for (size_t i = 0; !wrong && i < n; i++) {
        size_t folder = strlen(LIBDIR), lib = strlen(loaders[i].lib);
        if (elf_same_abi(&e, &loaders[i].elf) && folder > lib && LIBDIR[folder - lib - 1] == '/' &&
            !strcmp(&LIBDIR[folder - lib], loaders[i].lib)) {
            *fits = true;
            return text("%.*s$LIB/" LIBRARY_NAME ".0", (int)(folder - lib), LIBDIR);
        }
    }
    return text("%s", LIBRARY);
}
