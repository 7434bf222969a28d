/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * stat.c: `hakmem stat`: what the window shows, once, as words, as JSON or for Prometheus.
 */
#include "window.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what the words of the window share ---------------------------------------------------------------------------- */

pid_t window_pid(const char *word)
{
    char *end;
    errno = 0;
    long n = strtol(word, &end, 10);
    return !*word || *end || errno || n <= 0 || n > INT32_MAX || word[0] < '0' || word[0] > '9' ? 0 : (pid_t)n;
}

static int by_number(const void *a, const void *b)
{
    pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;
    return x < y ? -1 : x > y;
}

pid_t *window_processes(size_t *n)
{
    size_t room = 256;
    pid_t *pids = must(malloc(room * sizeof *pids));
    DIR *d = opendir("/proc");
    *n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        pid_t pid = window_pid(e->d_name);
        if (!pid)
            continue;
        if (*n == room)
            pids = must(realloc(pids, (room *= 2) * sizeof *pids));
        pids[(*n)++] = pid;
    }
    if (d)
        closedir(d);
    qsort(pids, *n, sizeof *pids, by_number);
    return pids;
}

void window_trouble(pid_t pid, const char *what)
{
    fflush(stdout);
    fprintf(stderr, "hakmem: process %d: %s\n", (int)pid, what);
}

/* ---- words --------------------------------------------------------------------------------------------------------- */

enum unit { NUMBER, BYTES };

static void row(const char *words, unsigned long long n, enum unit unit)
{
    printf("  %-46s %14llu%s\n", words, unit == BYTES ? n / 1024 : n, unit == BYTES ? " KiB" : "");
}

static void print_classes(const struct tally *t)
{
    puts("\n  classes       size    slabs      live blocks   cached     free   remote         live KiB");
    for (size_t i = 0; i < t->nclasses; i++) {
        const struct class_tally *c = &t->classes[i];
        if (c->slabs)
            printf("          %10llu %8llu %16llu %8llu %8llu %8llu %16llu\n", (unsigned long long)c->size,
                   (unsigned long long)c->slabs, (unsigned long long)c->live, (unsigned long long)c->cached,
                   (unsigned long long)c->free, (unsigned long long)c->remote, (unsigned long long)(c->live * c->size >> 10));
    }
}

static const char *state_of(const struct live *l, uint64_t state)
{
    return state == l->number.state_live     ? "live"
           : state == l->number.state_parked ? "parked"
           : state == l->number.state_late   ? "late"
                                             : "orphaned";
}

static void print_heaps(const struct live *l, const struct tally *t)
{
    puts("\n  heaps             thread  state       slabs   live KiB  cached KiB    free KiB  remote KiB     refills");
    for (size_t i = 0; i < t->nheaps; i++) {
        const struct heap_tally *h = &t->heaps[i];
        printf("  %22llx  %-8s %8llu %10llu %11llu %11llu %11llu %11llu\n", (unsigned long long)h->thread,
               state_of(l, h->state), (unsigned long long)h->slabs, (unsigned long long)(h->live_bytes >> 10),
               (unsigned long long)(h->cached_bytes >> 10), (unsigned long long)(h->free_bytes >> 10),
               (unsigned long long)(h->remote_bytes >> 10), (unsigned long long)h->refills);
    }
}

/* A number, or a dash for what is not known. */
static void known(int width, const char *before, unsigned long long n, bool is_known)
{
    char words[32] = "-";
    if (is_known)
        snprintf(words, sizeof words, "%s%llu", before, n);
    printf(" %*s", width, words);
}

static void print_sites(const struct live *l, const struct tally *t, size_t most, bool names)
{
    size_t n = t->nsites < most ? t->nsites : most;
    if (!n)
        return;
    struct place *places = must(calloc(n, sizeof *places));
    site_find(l, t->sites, n, places, names);
    puts("\n  sites  live KiB  blocks   kept KiB      allocs       frees        all KiB  sizes  life ms  reuse ms");
    for (size_t i = 0; i < n; i++) {
        const struct site_tally *s = &t->sites[i];
        uint64_t life = tally_life(l, s);
        char *name = site_text(l, s->site, &places[i]);
        printf("  %15llu %7llu %10llu", (unsigned long long)(s->live_bytes >> 10), (unsigned long long)s->live_blocks,
               (unsigned long long)(s->kept_bytes >> 10));
        known(11, "", s->allocs, s->allocs || s->frees);
        known(11, "", s->frees, s->allocs || s->frees);
        known(14, "", s->bytes >> 10, s->allocs || s->frees);
        known(6, "", s->sizes, s->sizes != 0);
        known(8, life == UINT64_MAX ? ">" : "<", life == UINT64_MAX ? (uint64_t)1 << 3 * (l->number.site_lives - 1) : life,
              life != 0);
        known(9, "", s->reuse, s->reuse != 0);
        printf("  %s\n", name);
        free(name);
    }
    if (t->nsites > n)
        printf("        and %zu sites more\n", t->nsites - n);
    if (names && site_nameless())
        printf("        no functions and lines: %s\n", site_nameless());
    site_forget(places, n);
    free(places);
}

static void print_head(const struct live *l, const struct tally *t)
{
    printf("process %d (%s), libhakmem %s%s\n", (int)l->pid, l->command, l->release,
           t->passed ? ": left to the C library" : "");
}

static void print_text(const struct live *l, const struct tally *t, bool names)
{
    enum { MOST_SITES = 20 };
    print_head(l, t);
#define X(field, unit, words) row(words, t->stats.field, unit);
#include "stats.def"
    row("page faults", t->faults.minor, NUMBER);
    row("page faults that read from a file or swap", t->faults.major, NUMBER);
    if (!t->exact)
        puts("  the process ran on meanwhile: the parts do not add up to the byte");
    print_classes(t);
    print_heaps(l, t);
    print_sites(l, t, MOST_SITES, names);
    puts("\n  policy and options");
    for (size_t i = 0; i < t->nvalues; i++)
        printf("    %-44s %14llu\n", l->values[i].name, (unsigned long long)t->values[i]);
    for (size_t i = 0; i < t->noptions; i++)
        printf("    %-44s %14lld%s\n", l->options[i].name, t->options[i],
               t->options[i] != l->options[i].def ? " *" : "");
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------- */

static void json_string(const char *s)
{
    putchar('"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else if ((unsigned char)*s < ' ')
            printf("\\u%04x", (unsigned)*s);
        else
            putchar(*s);
    }
    putchar('"');
}

static void json_sites(const struct live *l, const struct tally *t, bool names)
{
    struct place *places = must(calloc(t->nsites + 1, sizeof *places));
    site_find(l, t->sites, t->nsites, places, names);
    printf(", \"sites\": [");
    for (size_t i = 0; i < t->nsites; i++) {
        const struct site_tally *s = &t->sites[i];
        const struct place *p = &places[i];
        printf("%s{\"site\": ", i ? ", " : "");
        char *name = site_text(l, s->site, p);
        json_string(name);
        free(name);
        printf(", \"build_id\": \"%s\", \"offset\": %llu, \"module\": ", p->build_id, (unsigned long long)p->offset);
        json_string(p->module);
        printf(", \"function\": ");
        json_string(p->function);
        printf(", \"line\": ");
        json_string(p->line);
        printf(", \"live_bytes\": %llu, \"live_blocks\": %llu, \"kept_bytes\": %llu, \"kept_blocks\": %llu, "
               "\"allocs\": %llu, \"frees\": %llu, \"bytes\": %llu, \"freed_bytes\": %llu, \"sizes\": %llu, "
               "\"reuse_ms\": %llu, \"lives\": [",
               (unsigned long long)s->live_bytes, (unsigned long long)s->live_blocks, (unsigned long long)s->kept_bytes,
               (unsigned long long)s->kept_blocks, (unsigned long long)s->allocs, (unsigned long long)s->frees,
               (unsigned long long)s->bytes, (unsigned long long)s->freed, (unsigned long long)s->sizes,
               (unsigned long long)s->reuse);
        for (size_t j = 0; j < l->number.site_lives; j++)
            printf("%s%llu", j ? ", " : "", (unsigned long long)s->lives[j]);
        printf("]}");
    }
    putchar(']');
    if (names && t->nsites && site_nameless()) {
        printf(", \"nameless\": ");
        json_string(site_nameless());
    }
    site_forget(places, t->nsites);
    free(places);
}

/* The first keys are those of hak_stats_print. */
static void print_json(const struct live *l, const struct tally *t, bool names)
{
    const char *comma = "";
    printf("{\"hakmem\": ");
    json_string(l->release);
    printf(", \"pid\": %d", (int)l->pid);
#define X(field, unit, words) printf(", \"" #field "\": %llu", (unsigned long long)t->stats.field);
#include "stats.def"
    printf(", \"live_version\": %u, \"command\": ", l->version);
    json_string(l->command);
    printf(", \"module\": ");
    json_string(l->module);
    printf(", \"exact\": %s, \"passed\": %s, \"minor_faults\": %llu, \"major_faults\": %llu", t->exact ? "true" : "false",
           t->passed ? "true" : "false", t->faults.minor, t->faults.major);
    printf(", \"groups\": [");
    for (unsigned g = 0; g < 8; g++)
        printf("%s%llu", g ? ", " : "", (unsigned long long)t->group_live[g]);
    printf("], \"classes\": [");
    for (size_t i = 0; i < t->nclasses; i++) {
        const struct class_tally *c = &t->classes[i];
        if (!c->slabs)
            continue;
        printf("%s{\"size\": %llu, \"slabs\": %llu, \"live_blocks\": %llu, \"cached_blocks\": %llu, \"free_blocks\": %llu, "
               "\"remote_blocks\": %llu}", comma, (unsigned long long)c->size, (unsigned long long)c->slabs,
               (unsigned long long)c->live, (unsigned long long)c->cached, (unsigned long long)c->free,
               (unsigned long long)c->remote);
        comma = ", ";
    }
    printf("], \"threads\": [");
    for (size_t i = 0; i < t->nheaps; i++) {
        const struct heap_tally *h = &t->heaps[i];
        printf("%s{\"thread\": \"0x%llx\", \"state\": \"%s\", \"slabs\": %llu, \"live_bytes\": %llu, \"cached_bytes\": %llu, "
               "\"free_bytes\": %llu, \"spare_bytes\": %llu, \"remote_bytes\": %llu, \"refills\": %llu, \"flushes\": %llu}",
               i ? ", " : "", (unsigned long long)h->thread, state_of(l, h->state), (unsigned long long)h->slabs,
               (unsigned long long)h->live_bytes, (unsigned long long)h->cached_bytes, (unsigned long long)h->free_bytes,
               (unsigned long long)h->spare_bytes, (unsigned long long)h->remote_bytes, (unsigned long long)h->refills,
               (unsigned long long)h->flushes);
    }
    putchar(']');
    json_sites(l, t, names);
    printf(", \"policy\": {");
    for (size_t i = 0; i < t->nvalues; i++)
        printf("%s\"%s\": %llu", i ? ", " : "", l->values[i].name, (unsigned long long)t->values[i]);
    printf("}, \"options\": {");
    for (size_t i = 0; i < t->noptions; i++)
        printf("%s\"%s\": %lld", i ? ", " : "", l->options[i].name, t->options[i]);
    printf("}}\n");
}

/* ---- Prometheus ---------------------------------------------------------------------------------------------------- */

struct seen {
    struct live live;
    struct tally tally;
};

/* Numbers that only grow, besides those that are counted. */
static bool only_grows(const char *name)
{
    static const char *const names[] = { "bigcache_hits", "purged_bytes", "purges", "faults_avoided", "huge_fallbacks",
                                         "prefaulted_bytes", "prefault_fallbacks", "heaps" };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (!strcmp(names[i], name))
            return true;
    return false;
}

/* In a label.  Control characters are none of them by now. */
static void escaped(const char *s)
{
    for (; *s; s++)
        if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else
            putchar(*s);
}

/* Labels of a process, without the brace at the end. */
static void labels(const struct live *l)
{
    printf("{pid=\"%d\",command=\"", (int)l->pid);
    escaped(l->command);
    putchar('"');
}

static void family(const char *name, const char *suffix, const char *help, bool counter)
{
    printf("# HELP hakmem_%s%s %s\n# TYPE hakmem_%s%s %s\n", name, suffix, help, name, suffix, counter ? "counter" : "gauge");
}

static void metric(const struct seen *seen, size_t n, const char *name, const char *help, bool counter, size_t offset)
{
    const char *suffix = counter ? "_total" : "";
    family(name, suffix, help, counter);
    for (size_t i = 0; i < n; i++) {
        uint64_t value;
        memcpy(&value, (const char *)&seen[i].tally.stats + offset, sizeof value);
        printf("hakmem_%s%s", name, suffix);
        labels(&seen[i].live);
        printf("} %llu\n", (unsigned long long)value);
    }
}

static void class_metric(const struct seen *seen, size_t n, const char *name, const char *help, size_t offset)
{
    family(name, "", help, false);
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < seen[i].tally.nclasses; c++) {
            const struct class_tally *k = &seen[i].tally.classes[c];
            uint64_t value;
            if (!k->slabs)
                continue;
            memcpy(&value, (const char *)k + offset, sizeof value);
            printf("hakmem_%s", name);
            labels(&seen[i].live);
            printf(",size=\"%llu\"} %llu\n", (unsigned long long)k->size, (unsigned long long)value);
        }
}

static void fault_metric(const struct seen *seen, size_t n, const char *kind, size_t offset)
{
    for (size_t i = 0; i < n; i++) {
        unsigned long long value;
        memcpy(&value, (const char *)&seen[i].tally.faults + offset, sizeof value);
        printf("hakmem_page_faults_total");
        labels(&seen[i].live);
        printf(",kind=\"%s\"} %llu\n", kind, value);
    }
}

/* Of the largest sites of each process: file and offset there, as they outlive the process; and no names, for which another
 * program would have to be asked at each look. */
static void site_metric(const struct seen *seen, size_t n, struct place *const *places, size_t most, const char *name,
                        const char *suffix, const char *help, size_t offset)
{
    family(name, suffix, help, *suffix);
    for (size_t i = 0; i < n; i++)
        for (size_t s = 0; s < seen[i].tally.nsites && s < most; s++) {
            const struct site_tally *k = &seen[i].tally.sites[s];
            char *site = site_text(&seen[i].live, k->site, &places[i][s]);
            uint64_t value;
            memcpy(&value, (const char *)k + offset, sizeof value);
            printf("hakmem_%s%s", name, suffix);
            labels(&seen[i].live);
            printf(",site=\"");
            escaped(site);
            printf("\",build_id=\"%s\"} %llu\n", places[i][s].build_id, (unsigned long long)value);
            free(site);
        }
}

static void site_metrics(const struct seen *seen, size_t n)
{
    enum { MOST = 50 };
    struct place **places = must(calloc(n + 1, sizeof *places));
    for (size_t i = 0; i < n; i++) {
        const struct tally *t = &seen[i].tally;
        places[i] = must(calloc(MOST, sizeof **places));
        site_find(&seen[i].live, t->sites, t->nsites < MOST ? t->nsites : MOST, places[i], false);
    }
#define METRIC(name, suffix, field, help) \
    site_metric(seen, n, places, MOST, "site_" name, suffix, help, offsetof(struct site_tally, field));
    METRIC("live_bytes", "", live_bytes, "live blocks above 32 KiB of a call site")
    METRIC("kept_bytes", "", kept_bytes, "freed blocks above 32 KiB of a call site that are kept")
    METRIC("allocs", "_total", allocs, "blocks of 1 MiB and more, and labelled ones, that a call site has got")
    METRIC("frees", "_total", frees, "those of them that were freed")
    METRIC("bytes", "_total", bytes, "bytes of blocks that a call site has got")
#undef METRIC
    for (size_t i = 0; i < n; i++) {
        site_forget(places[i], seen[i].tally.nsites < MOST ? seen[i].tally.nsites : MOST);
        free(places[i]);
    }
    free(places);
}

static void print_prometheus(const struct seen *seen, size_t n)
{
    if (!n)
        return;
#define X(field, unit, words) \
    metric(seen, n, #field, words, only_grows(#field), offsetof(struct hak_stats, field));
#define COUNTER(field, unit, words) metric(seen, n, #field, words, true, offsetof(struct hak_stats, field));
#include "stats.def"
    family("page_faults", "_total", "page faults of the process", true);
    fault_metric(seen, n, "minor", offsetof(struct live_faults, minor));
    fault_metric(seen, n, "major", offsetof(struct live_faults, major));
    class_metric(seen, n, "class_live_blocks", "live blocks of a class", offsetof(struct class_tally, live));
    class_metric(seen, n, "class_cached_blocks", "blocks of a class in Unified Caches", offsetof(struct class_tally, cached));
    class_metric(seen, n, "class_free_blocks", "free blocks of a class in slabs", offsetof(struct class_tally, free));
    site_metrics(seen, n);
    family("policy", "", "values of the policy, and how it fares", false);
    for (size_t i = 0; i < n; i++)
        for (size_t v = 0; v < seen[i].tally.nvalues; v++) {
            printf("hakmem_policy");
            labels(&seen[i].live);
            printf(",name=\"%s\"} %llu\n", seen[i].live.values[v].name, (unsigned long long)seen[i].tally.values[v]);
        }
    family("option", "", "options of hakmem(7)", false);
    for (size_t i = 0; i < n; i++)
        for (size_t v = 0; v < seen[i].tally.noptions; v++) {
            printf("hakmem_option");
            labels(&seen[i].live);
            printf(",name=\"%s\"} %lld\n", seen[i].live.options[v].name, seen[i].tally.options[v]);
        }
}

/* ---- all of it ----------------------------------------------------------------------------------------------------- */

enum form { TEXT, SITES, JSON, PROMETHEUS };

int stat_command(char **argv)
{
    enum form form = TEXT;
    bool names = true, all, failed = false;
    size_t npids = 0, nseen = 0;
    pid_t *pids = NULL;
    for (char **a = argv; *a; a++) {
        if (!strcmp(*a, "--json"))
            form = JSON;
        else if (!strcmp(*a, "--prometheus"))
            form = PROMETHEUS;
        else if (!strcmp(*a, "--sites"))
            form = SITES;
        else if (!strcmp(*a, "--no-names"))
            names = false;
        else if (**a == '-')
            return window_misused("not understood: ", *a);
        else
            argv[npids++] = *a;
    }
    all = !npids;
    if (all && form != PROMETHEUS)
        return window_misused("stat needs a process", NULL);
    if (all)
        pids = window_processes(&npids);
    else
        pids = must(calloc(npids + 1, sizeof *pids));
    for (size_t i = 0; !all && i < npids; i++)
        if (!(pids[i] = window_pid(argv[i])))
            return window_misused("not the number of a process: ", argv[i]);
    struct seen *seen = must(calloc(npids + 1, sizeof *seen));
    for (size_t i = 0; i < npids; i++) {
        struct seen *s = &seen[nseen];
        memset(s, 0, sizeof *s);
        const char *wrong = live_open(&s->live, pids[i]);
        bool opened = !wrong;
        if (opened)
            wrong = tally_take(&s->live, &s->tally);
        if (wrong) {
            if (!all) {
                window_trouble(pids[i], wrong);
                failed = true;
            }
            tally_forget(&s->tally);
            if (opened)
                live_close(&s->live);
            continue;
        }
        if (form == JSON)
            print_json(&s->live, &s->tally, names);
        else if (form == TEXT)
            print_text(&s->live, &s->tally, names);
        else if (form == SITES)
            print_head(&s->live, &s->tally);
        if (form == SITES)
            print_sites(&s->live, &s->tally, SIZE_MAX, names);
        if (form == PROMETHEUS) {
            nseen++;
            continue;
        }
        if (form < JSON && i + 1 < npids)
            putchar('\n');
        tally_forget(&s->tally);
        live_close(&s->live);
    }
    if (form == PROMETHEUS)
        print_prometheus(seen, nseen);
    for (size_t i = 0; i < nseen; i++) {
        tally_forget(&seen[i].tally);
        live_close(&seen[i].live);
    }
    free(seen);
    free(pids);
    return failed ? EXIT_SYSTEM : EXIT_DONE;
}
