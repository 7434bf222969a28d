/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * window.h: the window into a running process: what `hakmem stat`, `top`, `purge` and `set` share.
 *
 * The process does nothing for it.  Its memory is read while it goes on, so nothing that is read is believed further than
 * that it is a number: every length is bounded, every index checked, and an address that leads nowhere is a failed read.
 * From the library's source come its public header and lib/stats.def, the names of the statistics; all else is told by the
 * process itself (hakmem-live(5)), whose library may be of another release, and of another width.
 */
#ifndef HKM_WINDOW_H
#define HKM_WINDOW_H

#include "command.h"
#include "include/hakmem.h"

#include <sys/types.h>

/* More exit codes; hakmem(1) documents them. */
enum {
    EXIT_REFUSED_MAIL = 4, /* purge, set: the process refused */
    EXIT_LATER = 5,        /* purge, set: it has not answered yet */
};

/* ---- live.c: a process, and what it tells of itself -------------------------------------------------------------- */

struct live_field {
    uint32_t at;
    uint16_t size;
};
/* What must be told: X(member, "name"). */
#define LIVE_ROOTS(X)                                                                                                   \
    X(range) X(tag_none) X(tag_stranger) X(tag_run) X(tag_rest) X(tag_nursery) X(class) X(option) X(os) X(memory)       \
    X(heaps) X(parked) X(generation) X(canary) X(meta_mapped) X(meta_areas) X(nursery_map)                                \
    X(big_table) X(big_mapped) X(big_idle) X(big_count) X(bigcache_hits) X(large_allocs) X(large_frees)                 \
    X(foreign_frees) X(frees) X(mailbox) X(heaps_made) X(site_table)
#define LIVE_NUMBERS(X)                                                                                                 \
    X(slot_shift) X(record_shift) X(near_maps) X(classes) X(first_meta) X(range) X(map) X(class) X(heap) X(heap_bytes)  \
    X(bin) X(spares) X(remote_places) X(run_live) X(run_cached) X(run_in_bigcache) X(backing_plain) X(site_resized)     \
    X(state_live) X(state_parked) X(state_late) X(big_is_idle) X(big_is_huge) X(remote_place) X(big_entry)     \
    X(answer) X(answers) X(site) X(site_rows) X(site_lives)
#define LIVE_FIELDS(X)                                                                                                  \
    X(range, base) X(range, used) X(range, tags) X(range, slabs) X(range, next) X(range, far) X(range, near)            \
    X(map, dirty) X(map, fresh)                                                                                         \
    X(record, owner) X(record, free) X(record, size) X(record, blocks) X(record, words) X(record, cls)                  \
    X(record, backing) X(record, run) X(record, bytes) X(record, pending) X(record, listed) X(record, nfree)            \
    X(record, zero) X(record, backed) X(record, site) X(record, given) X(record, again)                                 \
    X(site, site) X(site, allocs) X(site, frees) X(site, bytes) X(site, freed) X(site, recent) X(site, reuse)           \
    X(site, lives)                                                                                                      \
    X(class, size) X(class, blocks)                                                                                     \
    X(heap, thread) X(heap, bin) X(heap, nspare) X(heap, nremote) X(heap, next) X(heap, state) X(heap, bump)            \
    X(heap, remote) X(bin, cap) X(bin, room) X(remote, key) X(remote, bits)                                             \
    X(big, places) X(big, at) X(big, start) X(big, bytes) X(big, site)                                                  \
    X(os, page) X(os, huge)                                                                                  \
    X(memory, mapped) X(memory, purged) X(memory, purges) X(memory, reused) X(memory, huge) X(memory, huge_fallbacks)   \
    X(memory, prefaulted) X(memory, prefault_fallbacks) X(memory, mail)                                                 \
    X(mailbox, request) X(mailbox, busy) X(mailbox, answer) X(answer, number) X(answer, result) X(answer, value)

struct live_option {
    char name[33];
    bool by_mail;
    struct live_field field;
    long long def, least, most;
};
struct live_value { /* shown as it is */
    char name[33];
    uint64_t root;
    uint64_t via; /* address of a word to be added to it; 0: none */
    uint32_t at;
    unsigned size;
};

struct live {
    pid_t pid;
    char command[32];       /* its name */
    unsigned long long started; /* since boot, in ticks: tells it from a later process with this number */
    unsigned word;          /* bytes of its pointers */
    char release[17];       /* of its library */
    unsigned version;       /* of its live structure */
    uint64_t at;            /* address of that */
    char *module;           /* the file that has it, as /proc/PID/maps names it */
    struct {
#define X(name) uint64_t name;
        LIVE_ROOTS(X)
#undef X
    } root; /* addresses */
    struct {
#define X(name) uint64_t name;
        LIVE_NUMBERS(X)
#undef X
    } number;
#define X(type, name) struct live_field type##_##name;
    LIVE_FIELDS(X)
#undef X
    struct {
#define X(field, unit, words)
#define COUNTER(field, unit, words) struct live_field field;
#include "stats.def"
    } count; /* in a heap; of size 0 where the process does not count it */
    struct live_option *options;
    size_t noptions;
    struct live_value *values;
    size_t nvalues;
};

/* NULL, or what is wrong, as it follows "process N: "; such words stand until the next ones. */
const char *live_open(struct live *l, pid_t pid);
void live_close(struct live *l);
/* Is it still the process, and the program, that was opened? */
bool live_is_same(const struct live *l);
const char *live_trouble(const struct live *l); /* what is wrong, when a read has just failed: errno as it is */

bool live_read(const struct live *l, uint64_t address, void *to, size_t size); /* all of it, or false and errno */
bool live_write(const struct live *l, uint64_t address, const void *from, size_t size);
struct live_piece {
    uint64_t address;
    void *to;
    size_t size;
};
void live_read_many(const struct live *l, const struct live_piece *pieces, size_t n); /* those that fail are zeros */
uint64_t live_number(const void *bytes, unsigned size); /* of 1, 2, 4 or 8 bytes */
static inline uint64_t live_get(const void *from, struct live_field f)
{
    return live_number((const char *)from + f.at, f.size);
}
bool live_word(const struct live *l, uint64_t address, uint64_t *value); /* of the process's width */

struct live_faults {
    unsigned long long minor, major, started;
    char command[32];
};
bool live_faults(pid_t pid, struct live_faults *f); /* of /proc/PID/stat */
void live_clean(char *s); /* makes of it what may be shown on a terminal */

/* Mappings of a process. */
struct mapping {
    uint64_t start, end, offset;
    unsigned long long inode;
    char *path; /* "" for none */
    bool readable;
};
struct mapping *live_maps(pid_t pid, size_t *n); /* NULL: errno */
void live_forget_maps(struct mapping *m, size_t n);

/* The program header table of what is mapped from its beginning at `start`; see live.c. */
struct module {
    uint64_t bias;
    bool wide;
    unsigned count;
    unsigned char header[64], table[64 * 56];
};
bool live_module(const struct live *l, uint64_t start, struct module *m);
/* Looks for a note; its description is at *address. */
bool live_note(const struct live *l, const struct module *m, const char *owner, unsigned type, uint64_t *address, size_t *size);

/* ---- tally.c: the sums ------------------------------------------------------------------------------------------- */

struct class_tally {
    uint64_t size, slabs, live, cached, free, remote; /* blocks */
};
struct heap_tally {
    uint64_t address, thread, state, slabs, live_bytes, cached_bytes, free_bytes, spare_bytes, remote_bytes;
    uint64_t refills, flushes;
};
enum { MOST_LIVES = 16 };
struct site_tally {
    uint64_t site, live_bytes, live_blocks, kept_bytes, kept_blocks; /* of runs and big blocks */
    uint64_t allocs, frees, bytes, freed; /* so far, as the table of sites knows it */
    uint64_t sizes;                       /* classes among its last four requests; 0: not known */
    uint64_t reuse;                       /* ms, mean from a free to the next request; 0: not known */
    uint64_t lives[MOST_LIVES];           /* blocks by lifetime: below 8 ms, 64 ms and so on */
};
/* What half of its blocks live less than, in ms; 0: not known, UINT64_MAX: longer than is told. */
uint64_t tally_life(const struct live *l, const struct site_tally *s);
struct tally {
    struct hak_stats stats;
    struct live_faults faults;
    bool exact; /* the parts add up: nothing moved meanwhile */
    bool passed; /* the process is left to the C library */
    uint64_t group_live[8]; /* bytes, of the tiny classes by C0..C7 */
    struct class_tally *classes;
    struct heap_tally *heaps;
    struct site_tally *sites; /* largest first */
    long long *options;
    uint64_t *values;
    size_t nclasses, nheaps, nsites, noptions, nvalues;
};
/* NULL, or what is wrong.  What is in *t is freed before, so it must be zeroed the first time. */
const char *tally_take(const struct live *l, struct tally *t);
void tally_forget(struct tally *t);

/* ---- site.c: addresses to names ----------------------------------------------------------------------------------- */

struct place {
    char build_id[41]; /* hexadecimal; "" for none */
    char *module;      /* as mapped; "" for memory that belongs to no file */
    uint64_t offset;   /* in the module, as its symbols count: for the process's life and beyond */
    char *function;    /* "" for not known */
    char *line;        /* FILE:LINE; "" for not known */
};
/* Places of sites; those whose names are wanted by addr2line, if it is there. */
void site_find(const struct live *l, const struct site_tally *sites, size_t n, struct place *places, bool names);
void site_forget(struct place *places, size_t n);
char *site_text(const struct live *l, uint64_t site, const struct place *p);
/* NULL, or why functions and lines are not known that were wanted; of all that was looked up so far. */
const char *site_nameless(void);

/* ---- stat.c, top.c, mail.c ---------------------------------------------------------------------------------------- */

int stat_command(char **argv);
int top_command(char **argv);
int mail_purge(char **argv);
int mail_set(char **argv);
int window_misused(const char *what, const char *word);
/* A number of a process; 0: it is none. */
pid_t window_pid(const char *word);
/* All processes, in rising order. */
pid_t *window_processes(size_t *n);
void window_trouble(pid_t pid, const char *what); /* one line on standard error */

#endif
