/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * live.c: finds the live structure of a running process (hakmem-live(5)) and reads what it tells.
 *
 * The way there: /proc/PID/maps says where files are mapped from their beginning; there the process's memory has their program
 * headers, and these say where the notes are.  So the files themselves are not needed: they may be deleted, replaced,
 * or in another mount namespace.
 */
#include "window.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* An address that pointers here cannot hold is none of a process that this command can read. */
static bool fits(uint64_t address, size_t size)
{
    uint64_t end;
    return !__builtin_add_overflow(address, size, &end) && end <= UINTPTR_MAX;
}

bool live_read(const struct live *l, uint64_t address, void *to, size_t size)
{
    struct iovec here = { to, size }, there = { (void *)(uintptr_t)address, size };
    if (!size)
        return true;
    if (!fits(address, size))
        return errno = EFAULT, false;
    ssize_t n = process_vm_readv(l->pid, &here, 1, &there, 1, 0);
    if (n >= 0 && (size_t)n != size)
        errno = EFAULT;
    return n == (ssize_t)size;
}

bool live_write(const struct live *l, uint64_t address, const void *from, size_t size)
{
    struct iovec here = { (void *)(uintptr_t)from, size }, there = { (void *)(uintptr_t)address, size };
    if (!fits(address, size))
        return errno = EFAULT, false;
    ssize_t n = process_vm_writev(l->pid, &here, 1, &there, 1, 0);
    if (n >= 0 && (size_t)n != size)
        errno = EFAULT;
    return n == (ssize_t)size;
}

void live_read_many(const struct live *l, const struct live_piece *pieces, size_t n)
{
    enum { BATCH = 512 };
    struct iovec here[BATCH], there[BATCH];
    for (size_t done = 0; done < n;) {
        size_t count = n - done < BATCH ? n - done : BATCH, want = 0;
        bool good = true;
        for (size_t i = 0; i < count; i++) {
            const struct live_piece *p = &pieces[done + i];
            good = good && fits(p->address, p->size);
            here[i] = (struct iovec){ p->to, p->size };
            there[i] = (struct iovec){ (void *)(uintptr_t)p->address, p->size };
            want += p->size;
        }
        if (!good || process_vm_readv(l->pid, here, count, there, count, 0) != (ssize_t)want)
            for (size_t i = 0; i < count; i++)
                if (!live_read(l, pieces[done + i].address, pieces[done + i].to, pieces[done + i].size))
                    memset(pieces[done + i].to, 0, pieces[done + i].size);
        done += count;
    }
}

uint64_t live_number(const void *bytes, unsigned size)
{
    uint8_t one;
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    switch (size) {
    case 1: return memcpy(&one, bytes, 1), one;
    case 2: return memcpy(&two, bytes, 2), two;
    case 4: return memcpy(&four, bytes, 4), four;
    case 8: return memcpy(&eight, bytes, 8), eight;
    default: return 0;
    }
}

bool live_word(const struct live *l, uint64_t address, uint64_t *value)
{
    char bytes[8];
    if (!live_read(l, address, bytes, l->word))
        return false;
    *value = live_number(bytes, l->word);
    return true;
}

/* ---- /proc ------------------------------------------------------------------------------------------------------- */

/* The beginning of a file, ended by 0. */
static ssize_t slurp(const char *path, char *to, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, to, size - 1);
    int error = errno;
    close(fd);
    errno = error;
    if (n >= 0)
        to[n] = '\0';
    return n;
}

bool live_faults(pid_t pid, struct live_faults *f)
{
    char path[64], line[2048];
    memset(f, 0, sizeof *f);
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (slurp(path, line, sizeof line) <= 0)
        return false;
    char *open = strchr(line, '('), *close = strrchr(line, ')');
    if (!open || !close || close < open)
        return false;
    *close = '\0';
    live_clean(open + 1);
    snprintf(f->command, sizeof f->command, "%s", open + 1);
    char *save = NULL, *word = strtok_r(close + 1, " ", &save);
    for (int field = 3; word; field++, word = strtok_r(NULL, " ", &save)) {
        if (field == 10)
            f->minor = strtoull(word, NULL, 10);
        else if (field == 12)
            f->major = strtoull(word, NULL, 10);
        else if (field == 22)
            f->started = strtoull(word, NULL, 10);
    }
    return true;
}

void live_forget_maps(struct mapping *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(m[i].path);
    free(m);
}

struct mapping *live_maps(pid_t pid, size_t *n)
{
    char path[64], *line = NULL;
    size_t room = 0, length = 0;
    struct mapping *maps = NULL;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *f = fopen(path, "re");
    *n = 0;
    if (!f)
        return NULL;
    maps = must(malloc(sizeof *maps));
    while (getline(&line, &length, f) > 0) {
        unsigned long long start, end, offset, inode;
        char rights[8];
        int at = 0;
        if (sscanf(line, "%llx-%llx %7s %llx %*s %llu %n", &start, &end, rights, &offset, &inode, &at) < 5 || !at)
            continue;
        line[strcspn(line, "\n")] = '\0';
        if (*n == room)
            maps = must(realloc(maps, (room = room ? 2 * room : 64) * sizeof *maps));
        maps[(*n)++] = (struct mapping){ start, end, offset, inode, text("%s", line + at), rights[0] == 'r' };
    }
    int error = errno;
    free(line);
    fclose(f);
    errno = error;
    return maps;
}

/* ---- modules and notes ------------------------------------------------------------------------------------------- */

static uint64_t header(const struct module *m, size_t at64, size_t at32, unsigned size64, unsigned size32)
{
    return live_number(m->header + (m->wide ? at64 : at32), m->wide ? size64 : size32);
}
#define HEADER(m, field)                                                                                       \
    header(m, offsetof(Elf64_Ehdr, field), offsetof(Elf32_Ehdr, field), sizeof((Elf64_Ehdr *)0)->field,         \
           sizeof((Elf32_Ehdr *)0)->field)

static uint64_t segment(const struct module *m, unsigned i, size_t at64, size_t at32, unsigned size64, unsigned size32)
{
    size_t each = m->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    return live_number(m->table + i * each + (m->wide ? at64 : at32), m->wide ? size64 : size32);
}
#define SEGMENT(m, i, field)                                                                                   \
    segment(m, i, offsetof(Elf64_Phdr, field), offsetof(Elf32_Phdr, field), sizeof((Elf64_Phdr *)0)->field,     \
            sizeof((Elf32_Phdr *)0)->field)

bool live_module(const struct live *l, uint64_t start, struct module *m)
{
    const uint16_t one = 1;
    unsigned char own = *(const unsigned char *)&one ? ELFDATA2LSB : ELFDATA2MSB;
    if (!live_read(l, start, m->header, sizeof m->header) || memcmp(m->header, ELFMAG, SELFMAG) ||
        m->header[EI_DATA] != own || (m->header[EI_CLASS] != ELFCLASS64 && m->header[EI_CLASS] != ELFCLASS32))
        return false;
    m->wide = m->header[EI_CLASS] == ELFCLASS64;
    size_t each = m->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    m->count = (unsigned)HEADER(m, e_phnum);
    if (m->count == 0 || m->count > sizeof m->table / each || HEADER(m, e_phentsize) != each ||
        !live_read(l, start + HEADER(m, e_phoff), m->table, m->count * each))
        return false;
    for (unsigned i = 0; i < m->count; i++)
        if (SEGMENT(m, i, p_type) == PT_LOAD) { /* the first one has the file's beginning */
            m->bias = start - (SEGMENT(m, i, p_vaddr) - SEGMENT(m, i, p_offset));
            return true;
        }
    return false;
}

static size_t up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

static bool note_among(const char *notes, size_t size, size_t align, const char *owner, unsigned type, size_t *at, size_t *length)
{
    for (size_t i = 0; i + 12 <= size;) {
        size_t name = live_number(notes + i, 4), desc = live_number(notes + i + 4, 4);
        if (name > size || desc > size)
            return false;
        size_t start = up(i + 12 + name, align); /* of the description: its place is aligned, not the name's length */
        if (start > size || desc > size - start)
            return false;
        if (live_number(notes + i + 8, 4) == type && name == strlen(owner) + 1 && !memcmp(notes + i + 12, owner, name)) {
            *at = start;
            *length = desc;
            return true;
        }
        i = up(start + desc, align);
    }
    return false;
}

bool live_note(const struct live *l, const struct module *m, const char *owner, unsigned type, uint64_t *address, size_t *size)
{
    enum { MOST = 1 << 16 };
    static char notes[MOST];
    for (unsigned i = 0; i < m->count; i++) {
        size_t at, length = (size_t)SEGMENT(m, i, p_memsz), align = SEGMENT(m, i, p_align) == 8 ? 8 : 4;
        uint64_t start = m->bias + SEGMENT(m, i, p_vaddr);
        if (SEGMENT(m, i, p_type) != PT_NOTE || length > MOST || !live_read(l, start, notes, length))
            continue;
        if (note_among(notes, length, align, owner, type, &at, size)) {
            *address = start + at;
            return true;
        }
    }
    return false;
}

/* ---- what is told ------------------------------------------------------------------------------------------------ */

/* As in lib/live.h, which hakmem-live(5) describes. */
#define OWNER "HAKMEM"
#define MAGIC "HAKMEM live\n"
enum { NOTE = 1, VERSION = 1, ORDER = 0x01020304, MOST_BYTES = 1 << 20, MOST_ROOTS = 1024 };
enum kind { ROOT = 1, FIELD, NUMBER, VALUE, LIST };
struct table {
    uint32_t at, each, count, names;
};
struct head {
    char magic[16];
    uint32_t order, version, size, word;
    char release[16];
    struct table rows, options;
};
struct row {
    uint32_t at;
    uint8_t size, kind, root, via;
    char name[32]; /* of the table of names */
};
struct option {
    uint32_t at;
    uint16_t size, when;
    int64_t def, least, most;
    char name[32];
};

enum { ROW_BYTES = offsetof(struct row, name), OPTION_BYTES = offsetof(struct option, name) };

struct told {
    struct head head;
    char *all; /* head.size bytes */
    struct row *rows; /* head.rows.count, with their names */
    uint64_t note;
    size_t words; /* in the note */
    int32_t note_words[MOST_ROOTS];
};

static bool table_is_good(const struct told *t, struct table table, size_t least)
{
    return table.each >= least && table.each % 4 == 0 && table.count <= MOST_BYTES / table.each &&
           table.at <= t->head.size && (uint64_t)table.each * table.count <= t->head.size - table.at;
}

/* The names of a table's entries stand in their order.  Takes the next one, at most 31 characters of it; beyond the end there
 * are none. */
static void next_name(const struct told *t, uint32_t *at, char *name)
{
    size_t left = *at < t->head.size ? t->head.size - *at : 0, n = strnlen(t->all + t->head.size - left, left);
    snprintf(name, 32, "%.*s", (int)(n < 32 ? n : 32), t->all + t->head.size - left);
    *at += (uint32_t)(n < left ? n + 1 : n);
}

static struct row *read_rows(const struct told *t)
{
    struct row *rows = must(calloc(t->head.rows.count + 1, sizeof *rows));
    uint32_t name = t->head.rows.names;
    for (size_t i = 0; i < t->head.rows.count; i++) {
        memcpy(&rows[i], t->all + t->head.rows.at + i * t->head.rows.each, ROW_BYTES);
        next_name(t, &name, rows[i].name);
    }
    return rows;
}

static bool find_row(const struct told *t, enum kind kind, const char *name, struct row *found)
{
    for (size_t i = 0; i < t->head.rows.count; i++) {
        *found = t->rows[i];
        if (found->kind == kind && !strcmp(found->name, name))
            return true;
    }
    return false;
}

static uint64_t narrow(const struct live *l, uint64_t address) { return l->word == 4 ? (uint32_t)address : address; }

static uint64_t root_address(const struct live *l, const struct told *t, uint32_t at)
{
    if (at % 4 || at / 4 >= t->words)
        return 0;
    return narrow(l, t->note + at + (uint64_t)(int64_t)t->note_words[at / 4]);
}

/* The i-th root, counted from 1. */
static uint64_t nth_root(const struct live *l, const struct told *t, unsigned n)
{
    return n ? root_address(l, t, 4 * n) : 0;
}

/* What is missing; NULL: nothing. */
static const char *know(struct live *l, const struct told *t)
{
    struct row r;
#define X(name)                                                                             \
    if (!find_row(t, ROOT, #name, &r) || !(l->root.name = root_address(l, t, r.at)))        \
        return "root " #name;
    LIVE_ROOTS(X)
#undef X
#define X(name)                            \
    if (!find_row(t, NUMBER, #name, &r))   \
        return "number " #name;            \
    l->number.name = r.at;
    LIVE_NUMBERS(X)
#undef X
#define X(type, name)                                                                             \
    if (!find_row(t, FIELD, #type "." #name, &r))                                                 \
        return "field " #type "." #name;                                                          \
    l->type##_##name = (struct live_field){ r.at, r.size };
    LIVE_FIELDS(X)
#undef X
#define X(field, unit, words)
#define COUNTER(field, unit, words)                                  \
    if (find_row(t, FIELD, "count." #field, &r))                     \
        l->count.field = (struct live_field){ r.at, r.size };
#include "stats.def"
    return NULL;
}

static void clean_name(char *s);

static void add_value(struct live *l, const struct told *t, const struct row *r, uint32_t at)
{
    struct live_value *v = &l->values[l->nvalues++];
    memcpy(v->name, r->name, sizeof r->name);
    clean_name(v->name);
    v->root = nth_root(l, t, r->root);
    v->at = at;
    v->via = nth_root(l, t, r->via);
    v->size = r->size;
}

/* The words of a list, whose names lie in the structure: as many as there are names.  list: NAME. */
static void add_list(struct live *l, const struct told *t, struct row *list)
{
    char prefix[sizeof list->name];
    memcpy(prefix, list->name, sizeof prefix);
    const char *name = t->all + list->at, *end = t->all + t->head.size;
    if (list->at > t->head.size)
        return;
    for (uint32_t i = 0; i < MOST_ROOTS && name < end && *name; i++) {
        size_t n = strnlen(name, (size_t)(end - name));
        l->values = must(realloc(l->values, (l->nvalues + t->head.rows.count + 1) * sizeof *l->values));
        snprintf(list->name, sizeof list->name, "%s_%.*s", prefix, (int)(n < 32 ? n : 32), name);
        add_value(l, t, list, i * list->size);
        name += n + 1;
    }
}

static void know_values(struct live *l, const struct told *t)
{
    l->values = must(calloc(t->head.rows.count + 1, sizeof *l->values));
    for (size_t i = 0; i < t->head.rows.count; i++) {
        struct row r = t->rows[i];
        if (r.kind == VALUE)
            add_value(l, t, &r, r.at);
        else if (r.kind == LIST)
            add_list(l, t, &r);
    }
    l->noptions = t->head.options.count;
    l->options = must(calloc(l->noptions + 1, sizeof *l->options));
    uint32_t name = t->head.options.names;
    for (size_t i = 0; i < l->noptions; i++) {
        struct option o;
        memcpy(&o, t->all + t->head.options.at + i * t->head.options.each, OPTION_BYTES);
        next_name(t, &name, o.name);
        memcpy(l->options[i].name, o.name, sizeof o.name);
        clean_name(l->options[i].name);
        l->options[i].by_mail = o.when;
        l->options[i].field = (struct live_field){ o.at, o.size };
        l->options[i].def = o.def;
        l->options[i].least = o.least;
        l->options[i].most = o.most;
    }
}

static bool lies_in(struct live_field f, uint64_t size) { return f.at <= size && f.size <= size - f.at; }

/* Whether each field lies in its structure, and each structure is of a size that can be.  The process may be anybody's: what
 * it tells of itself must not lead this command astray. */
static bool is_sane(const struct live *l)
{
    uint64_t big_head = 64, record = (uint64_t)1 << (l->number.record_shift & 31), anything = 1 << 16, alone = 1 << 16;
    /* Of how many bytes the structure is read that a field is looked for in. */
    const uint64_t size_range = l->number.range, size_map = l->number.map, size_record = record, size_class = l->number.class,
                   size_heap = l->number.heap, size_bin = l->number.bin, size_remote = l->number.remote_place,
                   size_big = anything, size_os = alone, size_memory = alone, size_mailbox = alone, size_answer = alone,
                   size_site = l->number.site;
    if (l->number.slot_shift != 16 || l->number.record_shift < 5 || l->number.record_shift > 8 || l->number.classes > 256 ||
        l->number.near_maps > 4096 || size_range > 1 << 17 || size_map > 64 || size_class > 256 || size_heap > 1 << 17 ||
        l->number.heap_bytes > 1 << 20 || size_heap > l->number.heap_bytes || size_bin > 4096 || l->number.spares > 4096 ||
        l->number.remote_places > 65535 || size_remote > 64 || !l->number.big_entry || l->number.big_entry > 64 ||
        l->number.answer > 256 || l->number.answers > 256 || size_site > 4096 || l->number.site_rows > 1 << 16 ||
        l->number.site_lives > MOST_LIVES)
        return false;
#define X(type, name)                                                                                                    \
    if (&l->type##_##name != &l->heap_remote && !lies_in(l->type##_##name, size_##type))                                 \
        return false;
    LIVE_FIELDS(X)
#undef X
#define X(field, unit, words)
#define COUNTER(field, unit, words)                 \
    if (!lies_in(l->count.field, size_heap))        \
        return false;
#include "stats.def"
    return l->site_lives.at + l->number.site_lives * l->site_lives.size <= size_site &&
           l->heap_remote.at <= 2 * l->number.heap_bytes && l->heap_remote.at >= size_heap &&
           l->heap_bin.at + l->number.classes * l->word <= size_heap &&
           l->range_near.at + l->number.near_maps * size_map <= size_range && l->big_at.at <= big_head &&
           lies_in(l->big_places, big_head) && lies_in(l->big_start, l->number.big_entry) &&
           lies_in(l->big_bytes, l->number.big_entry) && lies_in(l->big_site, l->number.big_entry);
}

/* Bytes of the UTF-8 character at `s`, if it is one and may be shown; else 0. */
static unsigned character(const char *s)
{
    const unsigned char *c = (const unsigned char *)s;
    unsigned n = *c < 0x80 ? 1 : *c < 0xc2 ? 0 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : *c < 0xf5 ? 4 : 0;
    for (unsigned i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    if (*c < ' ' || *c == 127 || (*c == 0xc2 && c[1] < 0xa0)) /* control characters */
        return 0;
    if ((*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] > 0x9f) || (*c == 0xf0 && c[1] < 0x90) || (*c == 0xf4 && c[1] > 0x8f))
        return 0; /* too long a form, a surrogate, or beyond the last */
    return n;
}

/* JSON and the text of Prometheus are UTF-8, and a name of a process is cut by the kernel, or anything at all. */
void live_clean(char *s)
{
    while (*s) {
        unsigned n = character(s);
        if (!n)
            *s = '?';
        s += n ? n : 1;
    }
}

/* Names that are told are names: they are shown on terminals, and as JSON. */
static void clean_name(char *s)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+~-";
    for (; *s; s++)
        if (!strchr(good, *s))
            *s = '?';
}

/* What is wrong, in words with numbers in them.  One at a time: `hakmem top` asks again and again, for days. */
static const char *trouble(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *trouble(const char *format, ...)
{
    static char said[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(said, sizeof said, format, arguments);
    va_end(arguments);
    return said;
}

static const char *listen_to(struct live *l, uint64_t note, size_t size)
{
    static struct told t;
    t.note = note;
    t.words = size / 4 < MOST_ROOTS ? size / 4 : MOST_ROOTS;
    t.rows = NULL;
    if (!live_read(l, note, t.note_words, 4 * t.words) || !t.words)
        return live_trouble(l);
    l->at = note + (uint64_t)(int64_t)t.note_words[0];
    if (!live_read(l, l->at, &t.head, sizeof t.head))
        return live_trouble(l);
    if (memcmp(t.head.magic, MAGIC, sizeof MAGIC) || t.head.order != ORDER)
        return "its live structure is damaged";
    memcpy(l->release, t.head.release, sizeof t.head.release);
    clean_name(l->release);
    l->version = t.head.version;
    l->word = t.head.word;
    if (l->version != VERSION)
        return trouble("its libhakmem %s has a live structure of version %u, and this command reads version %d: use the "
                       "command of that release", l->release, l->version, VERSION);
    if (l->word != 4 && l->word != 8)
        return "its live structure is damaged";
    if (l->word > sizeof(void *))
        return "it is a process of 64 bits, and this command has 32: use the command of 64 bits";
    if (t.head.size < sizeof t.head || t.head.size > MOST_BYTES)
        return "its live structure is damaged";
    t.all = must(malloc(t.head.size));
    const char *missing = NULL, *wrong = NULL;
    if (!live_read(l, l->at, t.all, t.head.size))
        wrong = live_trouble(l);
    else if (!table_is_good(&t, t.head.rows, ROW_BYTES) || !table_is_good(&t, t.head.options, OPTION_BYTES))
        wrong = "its live structure is damaged";
    else if (t.rows = read_rows(&t), (missing = know(l, &t)))
        wrong = trouble("its libhakmem %s does not tell its %s: use the command of that release", l->release, missing);
    else if (!is_sane(l))
        wrong = "its live structure is damaged";
    if (!wrong)
        know_values(l, &t);
    free(t.rows);
    free(t.all);
    return wrong;
}

/* ---- the process ------------------------------------------------------------------------------------------------- */

const char *live_trouble(const struct live *l)
{
    int error = errno;
    char scope[8] = "", path[64];
    snprintf(path, sizeof path, "/proc/%d", (int)l->pid);
    if (error == ESRCH || access(path, F_OK))
        return l->at ? "it has ended" : "no such process";
    if (error != EPERM && error != EACCES)
        return error == EFAULT ? "its memory has changed while it was read" : trouble("%s", strerror(error));
    if (slurp("/proc/sys/kernel/yama/ptrace_scope", scope, sizeof scope) > 0 && *scope != '0')
        return trouble("no permission to read its memory: be root, or set kernel.yama.ptrace_scope to 0 (it is %c)", *scope);
    return "no permission to read its memory: it is another user's, or protected; be root";
}

/* The order in which files are asked: those that are called like the library, then all others. */
static bool is_called_so(const struct mapping *m)
{
    const char *name = strrchr(m->path, '/');
    return name && strstr(name, "hakmem");
}

static const char *find(struct live *l, const struct mapping *maps, size_t n)
{
    struct module m;
    bool denied = false, narrower = false;
    for (int others = 0; others < 2; others++)
        for (size_t i = 0; i < n; i++) {
            uint64_t note;
            size_t size;
            if (maps[i].offset || !maps[i].inode || !maps[i].readable || is_called_so(&maps[i]) == others)
                continue;
            errno = 0;
            if (maps[i].start > UINTPTR_MAX) {
                narrower = true;
            } else if (!live_module(l, maps[i].start, &m)) {
                denied = denied || errno == EPERM || errno == EACCES;
                if (errno == ESRCH || denied)
                    return live_trouble(l);
            } else if (live_note(l, &m, OWNER, NOTE, &note, &size)) {
                l->module = text("%s", maps[i].path);
                live_clean(l->module);
                return listen_to(l, note, size);
            }
        }
    if (narrower)
        return "it is a process of 64 bits, and this command has 32: use the command of 64 bits";
    return "it is not served by HAKMEM";
}

const char *live_open(struct live *l, pid_t pid)
{
    struct live_faults f;
    memset(l, 0, sizeof *l);
    l->pid = pid;
    if (!live_faults(pid, &f))
        return "no such process";
    l->started = f.started;
    memcpy(l->command, f.command, sizeof l->command);
    size_t n;
    struct mapping *maps = live_maps(pid, &n);
    if (!maps)
        return live_trouble(l);
    const char *wrong = find(l, maps, n);
    live_forget_maps(maps, n);
    if (wrong)
        live_close(l);
    return wrong;
}

void live_close(struct live *l)
{
    free(l->module);
    free(l->options);
    free(l->values);
    l->module = NULL;
    l->options = NULL;
    l->values = NULL;
}

bool live_is_same(const struct live *l)
{
    struct live_faults f;
    struct head now;
    return live_faults(l->pid, &f) && f.started == l->started && live_read(l, l->at, &now, sizeof now) &&
           !memcmp(now.magic, MAGIC, sizeof MAGIC) && !strncmp(now.release, l->release, sizeof now.release);
}
