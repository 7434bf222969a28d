/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * option.c: reads the environment without malloc or stdio, and gets and sets options by name.
 */
#define HKM_SMALL
#include "option.h"
#include "lock.h"
#include "os.h"

#include <errno.h>

enum { START, LIVE };
enum answer { NOT_ASKED, NOT_LISTED, LISTED, IGNORED };

struct row {
    const char *name; /* with HAKMEM_ */
    const char *words; /* "word=N", several with blanks between, or "" */
    long def, least, most;
    size_t offset;
    int when;
};

HKM_USED struct hkm_option hkm_option = {
#define X(NAME, field, def, least, most, when, words) .field = (def),
#include "option.def"
#undef X
};

#define PREFIX "HAKMEM_"
#define COUNT (sizeof(struct hkm_option) / sizeof(hkm_word))

/* The texts stand one behind the other, and the rows say where: so no row needs a relocation. */
static const struct texts {
#define X(NAME, field, def, least, most, when, words) char name_##field[sizeof PREFIX #NAME], words_##field[sizeof words];
#include "option.def"
#undef X
} texts = {
#define X(NAME, field, def, least, most, when, words) .name_##field = PREFIX #NAME, .words_##field = words,
#include "option.def"
#undef X
};
static const struct {
    int32_t def, least, most;
    uint16_t name, words;
    uint8_t when;
} rows[COUNT] = {
#define X(NAME, field, def, least, most, when, words)                                                                      \
    [offsetof(struct hkm_option, field) / sizeof(hkm_word)] = { def, least, most, offsetof(struct texts, name_##field), \
                                                                offsetof(struct texts, words_##field), when },
#include "option.def"
#undef X
};
#define X(NAME, field, def, least, most, when, words)                                                   \
    _Static_assert((least) <= (def) && (def) <= (most) && (most) <= INT32_MAX && sizeof(words) <= 64, #NAME " and its range");
#include "option.def"
#undef X

static struct row row_at(unsigned i)
{
    const char *text = (const char *)&texts;
    return (struct row){ text + rows[i].name, text + rows[i].words, rows[i].def, rows[i].least, rows[i].most,
                         i * sizeof(hkm_word), rows[i].when };
}

static hkm_word *field_of(const struct row *r) { return (hkm_word *)((char *)&hkm_option + r->offset); }

/* A decimal number, nothing before or after it. */
static bool parse_number(const char *s, long *out)
{
    unsigned long n = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || n > (unsigned long)(__LONG_MAX__ - 9) / 10)
            return false;
        n = n * 10 + (unsigned long)(*s - '0');
    }
    *out = (long)n;
    return true;
}

/* The length of the word in "word=N"; 0 where there is none. */
static size_t word_length(const char *word)
{
    size_t n = 0;
    while (word[n] && word[n] != '=')
        n++;
    return n;
}

/* What follows "word=N"; N has one digit. */
static const char *next_word(const char *word)
{
    word += word_length(word) + 2;
    return *word == ' ' ? word + 1 : word;
}

static bool parse(const struct row *r, const char *s, long *out)
{
    for (const char *w = r->words; *w; w = next_word(w)) {
        size_t n = word_length(w);
        if (hkm_length(s) == n && hkm_begins(s, w, n)) {
            *out = w[n + 1] - '0';
            return true;
        }
    }
    return parse_number(s, out) && *out >= r->least && *out <= r->most;
}

static void complain(const struct row *r, const char *value)
{
    struct hkm_msg m = { 0 };
    char shown[65] = { 0 };
    for (size_t i = 0; i < sizeof shown - 1 && value[i]; i++)
        shown[i] = value[i];
    hkm_msg_str(&m, r->name);
    hkm_msg_str(&m, "=");
    hkm_msg_str(&m, shown);
    hkm_msg_str(&m, " is not a number from ");
    hkm_msg_dec(&m, (unsigned long)r->least);
    hkm_msg_str(&m, " to ");
    hkm_msg_dec(&m, (unsigned long)r->most);
    for (const char *w = r->words; *w; w = next_word(w)) {
        char word[16] = { 0 };
        for (size_t i = 0; i < word_length(w); i++)
            word[i] = w[i];
        hkm_msg_str(&m, " or ");
        hkm_msg_str(&m, word);
    }
    hkm_msg_str(&m, "; the default ");
    hkm_msg_dec(&m, (unsigned long)r->def);
    hkm_msg_str(&m, " is used");
    hkm_os_warn(&m);
}

hkm_word hkm_option_named;

static void set(const struct row *r, long value)
{
    hkm_store(field_of(r), (size_t)value);
    hkm_fetch_or(&hkm_option_named, (size_t)1 << r->offset / sizeof(hkm_word));
}

static bool given; /* written before the process has a second thread */

bool hkm_option_given(void) { return given; }

static void read_environment(void)
{
    given = hkm_os_has_env(PREFIX);
    if (!given) /* one pass over the environment serves the processes that set nothing */
        return;
    for (unsigned i = 0; i < COUNT; i++) {
        struct row r = row_at(i);
        const char *s = hkm_os_getenv(r.name);
        long value;
        if (!s)
            continue;
        if (parse(&r, s, &value))
            set(&r, value);
        else
            complain(&r, s);
    }
    if (hkm_load(&hkm_option.minimal)) {
        hkm_store(&hkm_option.tiny_use_superslab, 0);
        hkm_store(&hkm_option.disable_cache_growth, 1);
        hkm_store(&hkm_option.disable_nursery, 1);
        hkm_store(&hkm_option.disable_prefault, 1);
        hkm_store(&hkm_option.disable_hugepages, 1);
        hkm_store(&hkm_option.disable_purge, 1);
        hkm_store(&hkm_option.disable_bigcache, 1);
        hkm_store(&hkm_option.disable_sites, 1);
        hkm_store(&hkm_option.disable_big_mappings, 1);
        hkm_store(&hkm_option.disable_learning, 1);
    }
}

/* ---- programs that are left to the C library -------------------------------------------------------------------- */

/* The text fits the pattern: `*` stands for any characters, `?` for one. */
static bool fits(const char *text, const char *pattern, const char *end)
{
    const char *star = NULL, *again = NULL;
    while (*text) {
        if (pattern < end && *pattern == '*') {
            star = ++pattern;
            again = text;
        } else if (pattern < end && (*pattern == '?' || *pattern == *text)) {
            pattern++;
            text++;
        } else if (star) { /* let the last star take one more */
            pattern = star;
            text = ++again;
        } else {
            return false;
        }
    }
    while (pattern < end && *pattern == '*')
        pattern++;
    return pattern == end;
}

static const char *last_part(const char *path, const char *end)
{
    const char *part = path;
    for (; path < end; path++)
        if (*path == '/')
            part = path + 1;
    return part;
}

/* One entry, of `length` characters.  A path is compared as such first, and then, if it ends alike, as a file: /bin may be
 * a link to /usr/bin. */
static bool names(const char *entry, size_t length, const char *program)
{
    const char *base = last_part(program, program + hkm_length(program)), *end = entry + length;
    char path[4096];
    if (*entry != '/')
        return fits(base, entry, end);
    const char *part = last_part(entry, end);
    if (length >= sizeof path || hkm_length(base) != (size_t)(end - part) || !hkm_begins(base, part, (size_t)(end - part)))
        return false;
    for (size_t i = 0; i < length; i++)
        path[i] = entry[i];
    path[length] = '\0';
    return hkm_same(path, program) || hkm_os_same_file(path, program);
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

bool hkm_option_names(const char *list, size_t size, const char *program)
{
    for (const char *line = list, *end = list + size, *stop; line < end; line = stop + 1) {
        for (stop = line; stop < end && *stop != '\n';)
            stop++;
        const char *last = line; /* behind the entry */
        while (last < stop && *last != '#')
            last++;
        while (line < last && is_blank(*line))
            line++;
        while (line < last && is_blank(last[-1]))
            last--;
        if (line < last && names(line, (size_t)(last - line), program))
            return true;
    }
    return false;
}

static enum answer ask_list(void)
{
    struct hkm_file list;
    char program[4096];
    if (hkm_os_env_names("LD_PRELOAD", "libhakmem.so"))
        return NOT_LISTED;
    enum hkm_file_state state = hkm_os_file_read(HKM_OPTION_PASS_LIST, &list);
    if (state != HKM_FILE_READ)
        return state == HKM_FILE_UNSAFE ? IGNORED : NOT_LISTED;
    bool listed = hkm_os_program(program, sizeof program) && hkm_option_names(list.text, list.size, program);
    hkm_os_file_forget(&list);
    return listed ? LISTED : NOT_LISTED;
}

static struct hkm_lock lock = HKM_LOCK_INIT(HKM_RANK_OPTION);
static enum answer answer; /* under the lock */

static bool is_listed(void)
{
    if (answer == NOT_ASKED)
        answer = ask_list();
    return answer == LISTED;
}

/* Blocks that have grown get huge pages without that. */
static bool asks_kernel(size_t hugepages) { return hugepages != HKM_HUGE_NO && hugepages != HKM_HUGE_GROWN; }

/* Without the options, which may not have been read yet: what the kernel says is asked for in vain, perhaps. */
static bool may_want_huge(void)
{
    return asks_kernel(HKM_HUGEPAGES) || hkm_os_getenv(PREFIX "HUGEPAGES") != NULL;
}

void hkm_option_settle(void)
{
    hkm_lock(&lock);
    (void)is_listed();
    if (may_want_huge())
        hkm_os_huge_init();
    hkm_unlock(&lock);
}

/* Said where HAKMEM_VERBOSE asks; else every program of the system would say so. */
static void complain_of_list(void)
{
    struct hkm_msg m = { 0 };
    hkm_msg_str(&m, HKM_OPTION_PASS_LIST " is ignored: root, and root alone, must be able to write it");
    hkm_os_warn(&m);
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static hkm_word done; /* 1: the environment is read; 2: and hkm_option_init has said so */

bool hkm_option_read(void)
{
    if (likely(hkm_load_acq(&done)))
        return true;
    if (!hkm_os_env_ready())
        return false;
    hkm_lock(&lock);
    if (!hkm_load(&done)) {
        read_environment();
        bool pass = hkm_load(&hkm_option.pass) || is_listed();
        hkm_store(&hkm_option.pass, pass && hkm_os_libc_allocates());
        if (answer == IGNORED && hkm_load(&hkm_option.verbose))
            complain_of_list();
        if (asks_kernel(hkm_load(&hkm_option.hugepages)) && !hkm_load(&hkm_option.disable_hugepages))
            hkm_os_huge_init();
        hkm_store_rel(&done, 1); /* pairs with the acquire above */
    }
    hkm_unlock(&lock);
    return true;
}

bool hkm_option_init(void)
{
    if (likely(hkm_load_acq(&done) == 2))
        return false;
    return hkm_option_read() && hkm_cas(&done, 1, 2);
}

static bool find(const char *name, struct row *found)
{
    for (unsigned i = 0; i < COUNT; i++) {
        *found = row_at(i);
        if (hkm_same(found->name + sizeof PREFIX - 1, name))
            return true;
    }
    return false;
}

int hkm_option_get(const char *name, long *value)
{
    struct row r;
    (void)hkm_option_read();
    if (!find(name, &r))
        return ENOENT;
    *value = (long)hkm_load(field_of(&r));
    return 0;
}

int hkm_option_set(const char *name, long value)
{
    struct row r;
    (void)hkm_option_read();
    if (!find(name, &r))
        return ENOENT;
    if (value < r.least || value > r.most)
        return ERANGE;
    if (r.when != LIVE)
        return EPERM;
    set(&r, value);
    if (r.offset == offsetof(struct hkm_option, stats) && value)
        hkm_os_stderr_keep();
    return 0;
}

void hkm_option_each(void (*each)(const char *name, long value, void *arg), void *arg)
{
    for (unsigned i = 0; i < COUNT; i++) {
        struct row r = row_at(i);
        each(r.name, (long)hkm_load(field_of(&r)), arg);
    }
}
