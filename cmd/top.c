/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * top.c: `hakmem top`: the window, again and again: processes, or the classes, threads, sites or the policy of one.
 *
 * On a terminal it takes keys and writes plain control sequences (ECMA-48), one write a picture; else it writes tables one
 * after another, and one unless told how many.
 */
#include "window.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum view { PROCESSES, CLASSES, THREADS, SITES, POLICY, VIEWS };
static const char *const view_names[VIEWS] = { "processes", "classes", "threads", "sites", "policy" };
static const char view_keys[] = "bctso";

/* ---- processes ----------------------------------------------------------------------------------------------------- */

struct watched {
    pid_t pid;
    struct live live;
    struct tally tally;
    bool open, good;        /* live is open; tally is true */
    double faults_a_second; /* since the look before */
    unsigned long long faults;
    double looked;          /* when */
    double again;           /* one that is not ours, or not readable: when it is tried again */
    const char *wrong;
    bool seen;              /* it is still among the processes */
};

struct screen {
    struct watched *all;
    size_t n, room;
    bool named;        /* the processes were named by the user */
    enum view view;
    unsigned sort[VIEWS];
    bool upside_down[VIEWS];
    pid_t chosen;      /* that views other than PROCESSES show; 0: the first */
    size_t first;      /* row at the top */
    double delay;
    bool names;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct watched *watch(struct screen *s, pid_t pid)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->all[i].pid == pid)
            return &s->all[i];
    if (s->n == s->room)
        s->all = must(realloc(s->all, (s->room = s->room ? 2 * s->room : 64) * sizeof *s->all));
    s->all[s->n] = (struct watched){ .pid = pid };
    return &s->all[s->n++];
}

static void leave(struct watched *w)
{
    if (w->open)
        live_close(&w->live);
    tally_forget(&w->tally);
    w->open = w->good = false;
}

/* Processes come and go. */
static void gather(struct screen *s)
{
    enum { EACH = 1 }; /* s */
    static double last;
    if (s->named || (last != 0 && now() - last < EACH))
        return;
    last = now();
    size_t n, left = 0;
    pid_t *pids = window_processes(&n);
    for (size_t i = 0; i < s->n; i++)
        s->all[i].seen = false;
    for (size_t i = 0; i < n; i++)
        watch(s, pids[i])->seen = true;
    for (size_t i = 0; i < s->n; i++) {
        if (s->all[i].seen)
            s->all[left++] = s->all[i];
        else
            leave(&s->all[i]);
    }
    s->n = left;
    free(pids);
}

static void look(struct screen *s, struct watched *w)
{
    enum { NOT_OURS = 5 }; /* s; a process may become another program, or load the library */
    double t = now();
    if (!w->open && t < w->again)
        return;
    if (w->open && !live_is_same(&w->live))
        leave(w);
    if (!w->open) {
        w->wrong = live_open(&w->live, w->pid);
        w->open = !w->wrong;
        w->faults = 0;
        w->again = t + (s->named ? 1 : NOT_OURS);
    }
    w->good = false;
    if (!w->open)
        return;
    w->wrong = tally_take(&w->live, &w->tally);
    w->good = !w->wrong && !w->tally.passed;
    if (w->wrong) {
        leave(w);
        return;
    }
    unsigned long long faults = w->tally.faults.minor + w->tally.faults.major;
    w->faults_a_second = w->faults && t > w->looked ? (double)(faults - w->faults) / (t - w->looked) : 0;
    w->faults = faults;
    w->looked = t;
}

static struct watched *chosen(struct screen *s)
{
    struct watched *first = NULL;
    for (size_t i = 0; i < s->n; i++) {
        if (s->all[i].good && s->all[i].pid == s->chosen)
            return &s->all[i];
        if (s->all[i].good && !first)
            first = &s->all[i];
    }
    return first;
}

/* ---- tables -------------------------------------------------------------------------------------------------------- */

enum { COLUMNS = 10 };
struct column {
    const char *title;
    char key;
    enum { PLAIN, KIB, HEX } form;
    int width;
};
struct line {
    uint64_t cell[COLUMNS];
    char *label;
    pid_t pid;
};
struct table {
    const struct column *columns;
    unsigned ncolumns, sort;
    bool upside_down;
    const char *label;
    struct line *lines;
    size_t n, room;
};

static const struct column process_columns[] = {
    { "PID", 'P', PLAIN, 8 },       { "MAPPED", 'M', KIB, 10 }, { "LIVE", 'L', KIB, 10 },  { "FREE", 'E', KIB, 9 },
    { "DIRTY", 'D', KIB, 9 },       { "CACHED", 'C', KIB, 9 },  { "PURGED", 'U', KIB, 10 }, { "FAULTS", 'F', PLAIN, 10 },
    { "FAULTS/s", 'R', PLAIN, 9 },
};
static const struct column class_columns[] = {
    { "SIZE", 'P', PLAIN, 8 },      { "LIVE KiB", 'L', KIB, 12 }, { "LIVE", 'B', PLAIN, 11 }, { "CACHED", 'C', PLAIN, 9 },
    { "FREE", 'E', PLAIN, 10 },     { "REMOTE", 'M', PLAIN, 8 },  { "SLABS", 'U', PLAIN, 8 },
};
static const struct column thread_columns[] = {
    { "THREAD", 'P', HEX, 17 },     { "LIVE", 'L', KIB, 11 },     { "CACHED", 'C', KIB, 9 },  { "FREE", 'E', KIB, 10 },
    { "REMOTE", 'M', KIB, 8 },      { "SLABS", 'U', PLAIN, 8 },   { "REFILLS", 'F', PLAIN, 11 },
};
static const struct column site_columns[] = {
    { "LIVE KiB", 'L', KIB, 9 },    { "BLOCKS", 'B', PLAIN, 6 },  { "KEPT KiB", 'C', KIB, 8 },  { "ALLOCS", 'M', PLAIN, 8 },
    { "SIZES", 'E', PLAIN, 5 },     { "LIFE", 'F', PLAIN, 6 },    { "REUSE", 'R', PLAIN, 6 },
};
static const struct column policy_columns[] = {
    { "VALUE", 'L', PLAIN, 20 },    { "DEFAULT", 'D', PLAIN, 20 },
};
static const struct {
    const struct column *columns;
    unsigned n, sort;
    const char *label;
} layouts[VIEWS] = {
    [PROCESSES] = { process_columns, COUNT_OF(process_columns), 2, "COMMAND" },
    [CLASSES] = { class_columns, COUNT_OF(class_columns), 1, "" },
    [THREADS] = { thread_columns, COUNT_OF(thread_columns), 1, "STATE" },
    [SITES] = { site_columns, COUNT_OF(site_columns), 0, "SITE" },
    [POLICY] = { policy_columns, COUNT_OF(policy_columns), 2, "NAME" }, /* as they come */
};

static void add(struct table *t, pid_t pid, char *label, const uint64_t *cells)
{
    if (t->n == t->room)
        t->lines = must(realloc(t->lines, (t->room = t->room ? 2 * t->room : 64) * sizeof *t->lines));
    struct line *l = &t->lines[t->n++];
    *l = (struct line){ .label = label, .pid = pid };
    memcpy(l->cell, cells, t->ncolumns * sizeof *cells);
}
#define ADD(table, pid, label, ...) add(table, pid, label, (const uint64_t[COLUMNS]){ __VA_ARGS__ })

static const struct table *sorted; /* what compare looks at */
static int compare(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    uint64_t m = x->cell[sorted->sort], n = y->cell[sorted->sort];
    int order = m > n ? -1 : m < n; /* large ones first, but for numbers that are names */
    if (sorted->columns[sorted->sort].key == 'P')
        order = -order;
    if (sorted->upside_down)
        order = -order;
    return order ? order : x->pid < y->pid ? -1 : x->pid > y->pid;
}

static void fill_processes(struct screen *s, struct table *t)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct watched *w = &s->all[i];
        const struct hak_stats *k = &w->tally.stats;
        if (w->good)
            ADD(t, w->pid, text("%s", w->live.command), (uint64_t)w->pid, k->mapped_bytes, k->live_bytes,
                k->free_bytes + k->nursery_bytes + k->waste_bytes, k->dirty_bytes,
                k->cached_bytes + k->run_cache_bytes + k->bigcache_bytes + k->spare_bytes + k->remote_bytes, k->purged_bytes,
                w->faults, (uint64_t)w->faults_a_second);
    }
}

/* Names of sites, remembered: addr2line may take a while. */
static char *name_of(const struct live *l, const struct site_tally *site, bool names)
{
    static struct known {
        unsigned long long started;
        pid_t pid;
        uint64_t site;
        char *name;
    } *known;
    static size_t n, room;
    for (size_t i = 0; i < n; i++)
        if (known[i].pid == l->pid && known[i].started == l->started && known[i].site == site->site)
            return text("%s", known[i].name);
    struct place place;
    site_find(l, site, 1, &place, names);
    char *name = site_text(l, site->site, &place);
    site_forget(&place, 1);
    if (n == room)
        known = must(realloc(known, (room = room ? 2 * room : 64) * sizeof *known));
    known[n++] = (struct known){ l->started, l->pid, site->site, name };
    return text("%s", name);
}

static void fill_one(struct screen *s, struct table *t, const struct watched *w)
{
    enum { MOST_SITES = 50 };
    const struct tally *y = &w->tally;
    for (size_t i = 0; s->view == CLASSES && i < y->nclasses; i++) {
        const struct class_tally *c = &y->classes[i];
        if (c->slabs)
            ADD(t, w->pid, text("%s", ""), c->size, c->live * c->size, c->live, c->cached, c->free, c->remote, c->slabs);
    }
    for (size_t i = 0; s->view == THREADS && i < y->nheaps; i++) {
        const struct heap_tally *h = &y->heaps[i];
        ADD(t, w->pid, text("%s", h->state == w->live.number.state_live     ? "live"
                                  : h->state == w->live.number.state_parked ? "parked"
                                                                            : "late, or orphaned"),
            h->thread, h->live_bytes, h->cached_bytes, h->free_bytes, h->remote_bytes, h->slabs, h->refills);
    }
    for (size_t i = 0; s->view == SITES && i < y->nsites && i < MOST_SITES; i++) {
        const struct site_tally *k = &y->sites[i];
        uint64_t life = tally_life(&w->live, k);
        ADD(t, w->pid, name_of(&w->live, k, s->names), k->live_bytes, k->live_blocks, k->kept_bytes, k->allocs, k->sizes,
            life == UINT64_MAX ? 999999 : life, k->reuse);
    }
    for (size_t i = 0; s->view == POLICY && i < y->nvalues; i++)
        ADD(t, w->pid, text("%s", w->live.values[i].name), y->values[i], 0);
    for (size_t i = 0; s->view == POLICY && i < y->noptions; i++)
        ADD(t, w->pid, text("%s", w->live.options[i].name), (uint64_t)y->options[i], (uint64_t)w->live.options[i].def);
}

static void make_table(struct screen *s, struct table *t)
{
    struct watched *w = s->view == PROCESSES ? NULL : chosen(s);
    *t = (struct table){ layouts[s->view].columns, layouts[s->view].n, s->sort[s->view], s->upside_down[s->view],
                         layouts[s->view].label, NULL, 0, 0 };
    if (s->view == PROCESSES)
        fill_processes(s, t);
    else if (w)
        fill_one(s, t, w);
    sorted = t;
    if (t->n && t->sort < t->ncolumns)
        qsort(t->lines, t->n, sizeof *t->lines, compare);
}

static void forget_table(struct table *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->lines[i].label);
    free(t->lines);
}

/* ---- a picture ----------------------------------------------------------------------------------------------------- */

struct picture {
    char *text;
    size_t length, room;
    int width; /* of the terminal; 0: none */
};

static void put(struct picture *p, const char *s, size_t n)
{
    if (p->length + n + 1 > p->room)
        p->text = must(realloc(p->text, p->room = 2 * (p->room + n) + 1024));
    memcpy(p->text + p->length, s, n);
    p->length += n;
}

/* One line, cut at the terminal's width, between control sequences that have none. */
static void put_line(struct picture *p, const char *before, const char *line)
{
    size_t n = strlen(line);
    while (n && line[n - 1] == ' ')
        n--;
    if (p->width && n > (size_t)p->width)
        n = (size_t)p->width;
    if (!p->width) {
        put(p, line, n);
        put(p, "\n", 1);
        return;
    }
    put(p, before, strlen(before));
    put(p, line, n);
    put(p, "\033[0m\033[K\n", 8);
}

static void add_text(char *line, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void add_text(char *line, size_t size, const char *format, ...)
{
    size_t n = strlen(line);
    va_list arguments;
    va_start(arguments, format);
    if (n < size)
        vsnprintf(line + n, size - n, format, arguments);
    va_end(arguments);
}

static void draw_table(struct screen *s, struct table *t, struct picture *p, size_t rows)
{
    char line[1024] = "";
    for (unsigned c = 0; c < t->ncolumns; c++) {
        char title[32];
        snprintf(title, sizeof title, "%s%s", t->columns[c].title, p->width && c == t->sort ? (t->upside_down ? "^" : "v") : "");
        add_text(line, sizeof line, "%*s ", t->columns[c].width, title);
    }
    add_text(line, sizeof line, " %s", t->label);
    put_line(p, "\033[7m", line);
    for (size_t i = s->first; i < t->n && i - s->first < rows; i++) {
        const struct line *l = &t->lines[i];
        *line = '\0';
        for (unsigned c = 0; c < t->ncolumns; c++) {
            unsigned long long v = l->cell[c];
            if (t->columns[c].form == HEX)
                add_text(line, sizeof line, "%*llx ", t->columns[c].width, v);
            else
                add_text(line, sizeof line, "%*llu ", t->columns[c].width, t->columns[c].form == KIB ? v >> 10 : v);
        }
        add_text(line, sizeof line, " %s", l->label);
        put_line(p, s->view == PROCESSES && l->pid == s->chosen ? "\033[1m" : "", line);
    }
}

static void draw(struct screen *s, struct picture *p, int height)
{
    struct table t;
    char line[1024];
    uint64_t live = 0, dirty = 0, cached = 0;
    size_t good = 0;
    struct watched *w = s->view == PROCESSES ? NULL : chosen(s);
    make_table(s, &t);
    for (size_t i = 0; i < s->n; i++) {
        const struct hak_stats *k = &s->all[i].tally.stats;
        if (!s->all[i].good)
            continue;
        good++;
        live += k->live_bytes;
        dirty += k->dirty_bytes;
        cached += k->cached_bytes + k->run_cache_bytes + k->bigcache_bytes;
    }
    size_t rows = height > 4 ? (size_t)height - 4 : 1;
    if (s->first + rows > t.n)
        s->first = t.n > rows ? t.n - rows : 0;
    if (!height)
        rows = t.n;
    if (w)
        snprintf(line, sizeof line, "hakmem top: %s of process %d (%s, libhakmem %s): live %llu KiB, dirty %llu KiB%s",
                 view_names[s->view], (int)w->pid, w->live.command, w->live.release,
                 (unsigned long long)w->tally.stats.live_bytes >> 10, (unsigned long long)w->tally.stats.dirty_bytes >> 10,
                 w->tally.exact ? "" : ", it runs");
    else
        snprintf(line, sizeof line, "hakmem top: %zu processes: live %llu KiB, dirty %llu KiB, cached %llu KiB (sizes in KiB)",
                 good, (unsigned long long)live >> 10, (unsigned long long)dirty >> 10, (unsigned long long)cached >> 10);
    put_line(p, "", line);
    draw_table(s, &t, p, rows);
    if (!t.n)
        put_line(p, "", s->view == PROCESSES || !good ? "no process that is served by HAKMEM and may be read" : "nothing");
    forget_table(&t);
}

/* ---- the terminal -------------------------------------------------------------------------------------------------- */

static struct termios before;
static volatile sig_atomic_t ended;

static void on_end(int signal) { ended = signal; }
static void on_resize(int signal) { (void)signal; } /* poll returns, and the picture is drawn anew */

static void write_all(const char *s, size_t n)
{
    while (n) {
        ssize_t done = write(STDOUT_FILENO, s, n);
        if (done < 0 && errno != EINTR)
            return;
        if (done > 0)
            s += done, n -= (size_t)done;
    }
}

static void restore(void)
{
    static const char normal[] = "\033[?25h\033[?1049l";
    write_all(normal, sizeof normal - 1);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
}

static bool take_terminal(void)
{
    static const char own[] = "\033[?1049h\033[?25l";
    struct sigaction end = { .sa_handler = on_end }, resize = { .sa_handler = on_resize };
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &before))
        return false;
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGHUP, &end, NULL);
    sigaction(SIGWINCH, &resize, NULL);
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw))
        return false;
    atexit(restore);
    write_all(own, sizeof own - 1);
    return true;
}

static void choose(struct screen *s, int step)
{
    struct table t;
    enum view view = s->view;
    if (view != PROCESSES) {
        if (step > 0 || s->first)
            s->first += (size_t)step;
        return;
    }
    make_table(s, &t);
    size_t at = 0;
    while (at < t.n && t.lines[at].pid != s->chosen)
        at++;
    if (at == t.n)
        at = 0;
    else if (step < 0 ? at > 0 : at + 1 < t.n)
        at += (size_t)step;
    if (t.n)
        s->chosen = t.lines[at].pid;
    if (at < s->first)
        s->first = at;
    forget_table(&t);
}

/* false: the end. */
static bool on_key(struct screen *s, int key)
{
    const char *view = key ? strchr(view_keys, key) : NULL;
    unsigned n = layouts[s->view].n, *sort = &s->sort[s->view];
    if (key == 'q')
        return false;
    if (view) {
        s->view = (enum view)(view - view_keys);
        s->first = 0;
    } else if (key == '\n' || key == '\r') {
        s->view = s->view == PROCESSES ? CLASSES : PROCESSES;
        s->first = 0;
    } else if (key == 'r') {
        s->upside_down[s->view] = !s->upside_down[s->view];
    } else if (key == '<') {
        *sort = *sort ? *sort - 1 : 0;
    } else if (key == '>') {
        *sort = *sort + 1 < n ? *sort + 1 : n - 1;
    } else if (key == 'j' || key == 'k') {
        choose(s, key == 'j' ? 1 : -1);
    } else if (key == '+' || key == '-') {
        s->delay = key == '+' ? s->delay * 2 : s->delay / 2;
        s->delay = s->delay < 0.05 ? 0.05 : s->delay > 60 ? 60 : s->delay;
    } else {
        for (unsigned c = 0; c < n; c++)
            if (layouts[s->view].columns[c].key == key)
                *sort = c;
    }
    return true;
}

static bool read_keys(struct screen *s)
{
    char keys[64];
    ssize_t n = read(STDIN_FILENO, keys, sizeof keys);
    for (ssize_t i = 0; i < n; i++) {
        int key = keys[i];
        if (key == '\033' && i + 2 < n && keys[i + 1] == '[') { /* arrows */
            key = keys[i + 2] == 'A' ? 'k' : keys[i + 2] == 'B' ? 'j' : keys[i + 2] == 'C' ? '>' : keys[i + 2] == 'D' ? '<' : 0;
            i += 2;
        } else if (key == '\033') {
            key = 'b';
        }
        if (!on_key(s, key))
            return false;
    }
    return n != 0;
}

/* Draws, and takes keys until it is time for the next look.  false: the end. */
static bool show(struct screen *s, double until)
{
    static const char help[] =
        "b processes  c classes  t threads  s sites  o options  j k choose  L D C U F P < > sort  r reverse  + - pace  q quit";
    for (;;) {
        struct winsize size = { 0 };
        struct picture p = { 0 };
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_row || !size.ws_col)
            size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
        p.width = size.ws_col;
        put(&p, "\033[H", 3);
        draw(s, &p, size.ws_row);
        put(&p, "\033[J", 3);
        char last[32];
        snprintf(last, sizeof last, "\033[%d;1H\033[2m", size.ws_row);
        put(&p, last, strlen(last));
        put(&p, help, sizeof help - 1 < (size_t)p.width ? sizeof help - 1 : (size_t)p.width);
        put(&p, "\033[0m", 4);
        write_all(p.text, p.length);
        free(p.text);
        double left = until - now();
        struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
        int n = poll(&in, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
        if (ended || (n > 0 && !read_keys(s)))
            return false;
        if (n == 0)
            return true;
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------------------- */

static void print(struct screen *s, bool again)
{
    struct picture p = { 0 };
    if (again)
        put(&p, "\n", 1);
    draw(s, &p, 0);
    fwrite(p.text, 1, p.length, stdout);
    fflush(stdout);
    free(p.text);
}

/* "-x VALUE", "-xVALUE", "--long VALUE", "--long=VALUE"; NULL: it is not that. */
static const char *value(char ***argv, const char *name, const char *longer)
{
    const char *word = **argv;
    size_t n = strlen(longer);
    if (!strncmp(word, longer, n) && word[n] == '=')
        return word + n + 1;
    if (!strcmp(word, longer) || (name && !strcmp(word, name)))
        return (*argv)[1] ? *++*argv : NULL;
    if (name && !strncmp(word, name, 2) && word[1] != '-')
        return word + 2;
    return NULL;
}

static bool choose_sort(struct screen *s, const char *name)
{
    for (unsigned c = 0; c < layouts[s->view].n; c++)
        if (!strcasecmp(layouts[s->view].columns[c].title, name)) {
            s->sort[s->view] = c;
            return true;
        }
    return false;
}

int top_command(char **argv)
{
    struct screen s = { .delay = 2, .names = true };
    const char *v, *sort = NULL;
    long count = -1;
    char *end;
    for (unsigned i = 0; i < VIEWS; i++)
        s.sort[i] = layouts[i].sort;
    for (; *argv && **argv == '-'; argv++) {
        const char *word = *argv;
        if ((v = value(&argv, "-d", "--delay"))) {
            s.delay = strtod(v, &end);
            if (!*v || *end || !(s.delay >= 0.01) || s.delay > 86400)
                return window_misused("-d takes seconds, from 0.01 on, not ", v);
        } else if ((v = value(&argv, "-n", "--count"))) {
            count = strtol(v, &end, 10);
            if (!*v || *end || count < 1)
                return window_misused("-n takes a number from 1 on, not ", v);
        } else if ((v = value(&argv, NULL, "--sort"))) {
            sort = v;
        } else if ((v = value(&argv, NULL, "--view"))) {
            for (s.view = PROCESSES; s.view < VIEWS && strcmp(view_names[s.view], v);)
                s.view++;
            if (s.view == VIEWS)
                return window_misused("--view takes processes, classes, threads, sites or policy, not ", v);
        } else if (!strcmp(word, "--no-names")) {
            s.names = false;
        } else {
            return window_misused("not understood: ", word);
        }
    }
    if (sort && !choose_sort(&s, sort))
        return window_misused("no such column: ", sort);
    s.named = *argv != NULL;
    for (; *argv; argv++) {
        pid_t pid = window_pid(*argv);
        if (!pid)
            return window_misused("not the number of a process: ", *argv);
        watch(&s, pid);
    }
    bool batch = !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO) || !take_terminal(), failed = false;
    if (batch && count < 0)
        count = 1;
    for (long i = 0; !ended && (count < 0 || i < count); i++) {
        double until = now() + s.delay;
        gather(&s);
        for (size_t w = 0; w < s.n; w++) {
            bool was_good = s.all[w].good;
            look(&s, &s.all[w]);
            if (batch && s.named && s.all[w].wrong && (was_good || i == 0)) {
                window_trouble(s.all[w].pid, s.all[w].wrong);
                failed = true;
            }
        }
        if (batch) {
            print(&s, i != 0);
            if (i + 1 < count && until > now())
                usleep((useconds_t)((until - now()) * 1e6));
        } else if (!show(&s, until)) {
            break;
        }
    }
    for (size_t w = 0; w < s.n; w++)
        leave(&s.all[w]);
    free(s.all);
    return failed ? EXIT_SYSTEM : EXIT_DONE;
}
