/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * command.h: what the files of the command `hakmem` share.
 *
 * The command is linked statically where that is possible: it must work on a system on which the preloaded library keeps
 * every other program from starting.  So it needs no other program either, and uses nothing of the C library that loads
 * modules (names of users, locales, character sets).
 */
#ifndef HKM_COMMAND_H
#define HKM_COMMAND_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Exit codes; hakmem(1) documents them. */
enum {
    EXIT_DONE = 0,
    EXIT_SYSTEM = 1,        /* preload: a file cannot be read or written */
    EXIT_USAGE = 2,
    EXIT_OFF = 3,           /* preload status: off */
    EXIT_REFUSED = 4,       /* preload enable: a check failed; preload status: on, but something is amiss */
    EXIT_NO_LIBRARY = 125,  /* run: no library for this program */
    EXIT_CANNOT = 126,      /* run: the program cannot be run, or not with a library preloaded */
    EXIT_NOT_FOUND = 127,   /* run: no such program */
};

#define LIBRARY_NAME "libhakmem.so"
#define COUNT_OF(a) (sizeof(a) / sizeof *(a))

/* One line on standard error, beginning with "hakmem: ", and the end. */
void die(int code, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
/* malloc and asprintf that cannot fail. */
void *must(void *p);
char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *text_of(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));

/* ---- elf.c: files in the format of programs --------------------------------------------------------------------- */

struct elf {
    const unsigned char *map;
    size_t size;
    bool wide, big_endian;   /* 64 bits; byte order */
    unsigned machine;
    const char *interpreter; /* NULL: none, which means linked statically (or a library) */
    const char *soname;      /* NULL: none */
    /* The rest is elf.c's own: offsets in the file. */
    size_t dynamic, dynamic_end, strings, strings_end;
};
/* NULL, or what is wrong with it.  The file stays mapped. */
const char *elf_read(struct elf *e, int fd);
bool elf_same_abi(const struct elf *a, const struct elf *b);
const char *elf_abi(const struct elf *e); /* its name, for messages */
/* The i-th library that it needs; NULL: there are no more. */
const char *elf_needs(const struct elf *e, unsigned i);
/* A symbol version that `user` needs of the library `provider`, and which that does not have; NULL: none. */
const char *elf_lacks_version(const struct elf *provider, const char *provider_name, const struct elf *user);
/* What $LIB stands for with this dynamic loader. */
const char *elf_loader_lib(const struct elf *loader);

/* ---- root.c: files and programs below the root of a system ------------------------------------------------------ */

extern const char *root_name;  /* for messages: "" for the system that runs, else the folder */
void root_set(const char *folder, int code); /* all below is about the system in this folder; dies with code */
int root_open(const char *path, int flags);  /* like open; symbolic links stay inside */
bool root_is_running(void); /* it is the system that runs */

/* Runs a program inside, with what it says (both outputs, the beginning of it) in `said`.  false: it could not be started,
 * `error` says why. */
struct trial {
    char said[16384];
    int status; /* as of waitpid */
    bool late;  /* it did not end, and was killed */
    int error;  /* errno */
    bool entered; /* false: the root cannot be entered */
};
bool root_try(struct trial *t, const char *const argv[], const char *preload);

/* ---- abi.c: dynamic loaders, and the library for each ------------------------------------------------------------ */

struct loader {
    char *path;
    struct elf elf;
    const char *lib; /* $LIB */
};
/* The loaders of the C library below the root; their number. */
size_t abi_loaders(struct loader **loaders);
/* Reads the library for a loader: `entry` with $LIB in its place.  NULL, or what is wrong.  *path: where it was looked for. */
const char *abi_library(const struct loader *l, const char *entry, struct elf *e, char **path);
/* What stands in /etc/ld.so.preload or LD_PRELOAD for the installed library, with $LIB where that fits the place.  NULL: it is
 * not installed.  *fits: it has $LIB. */
char *abi_installed(const struct loader *loaders, size_t n, bool *fits);
char *abi_expand(const char *entry, const char *lib);

/* ---- preload.c, tune.c and hakmem.c ------------------------------------------------------------------------------- */

/* A program's file, and in *entry what LD_PRELOAD takes for it.  Dies where nothing can be preloaded. */
char *run_prepare(const char *name, const char *library, const char **entry);
/* Becomes that program. */
void run_program(const char *path, const char *entry, char **argv) __attribute__((noreturn));
/* --NAME VALUE or --NAME=VALUE: takes it from the arguments.  NULL: it is not the next one. */
const char *value_of(const char *name, char ***argv);

int preload_status(const char *library);
int preload_enable(const char *library);
int preload_disable(void);
int tune_command(char **argv);

#endif
