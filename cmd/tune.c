/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * tune.c: `hakmem tune`: runs a program under the settings of tune.def, and finds the best for it.
 *
 * Machines are noisy, and their noise comes and goes.  So everything is compared with a run of the defaults in the same round,
 * whose settings are in a random order; what is said of a setting are medians of such ratios, with intervals that assume
 * nothing about how the noise is distributed.  There are three parts, each with runs of its own, because the best of many
 * looks better than it is: the screening of all settings, where those that are worse are dropped early; trials of the
 * winners together; and the proof, pairs of runs of the answer and the defaults, from which alone the gains are told.
 */
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    LEAST_ROUNDS = 6,     /* fewer pairs have no interval of 95 % */
    ROUNDS = 12, SECONDS = 600, /* the defaults of the options */
    SCREEN_ROUNDS = 4,    /* before any setting is dropped */
    READY_SECONDS = 10,   /* for a server to get ready, and to end */
    MOST_TOGETHER = 6,    /* winners that are tried together */
};

enum group { KEEP, HUGE, PACE, BIG, FAULT, CACHE, SMALL, GROUPS };
static const struct row {
    enum group group;
    const char *name, *value, *policy, *saves;
} rows[] = {
#define X(group, name, value, policy, saves, why) { group, "HAKMEM_" #name, value, policy, saves },
#include "tune.def"
#undef X
};

enum figure { COST, CPU, WALL, RSS, FAULTS, FIGURES };
struct run {
    double figure[FIGURES];
};
struct setting {
    const struct row *rows[MOST_TOGETHER];
    size_t nrows;    /* 0: the defaults */
    struct run *run; /* one a round, of which `rounds` of the table count */
    size_t rounds;   /* that it took part in */
    bool out;
};
/* A table of settings, the first of which are the defaults. */
struct table {
    struct setting *setting;
    size_t n, rounds, room; /* complete rounds */
};
struct range {
    double median, low, high; /* the interval of 95 %, or of fewer than 6 rounds all of them */
};

static const struct goal {
    const char *name, *saves;
    double cpu, rss; /* what a percent of each counts */
} goals[] = { { "time", "t", 10, 1 }, { "memory", "m", 1, 10 }, { "both", "tm", 1, 1 } };

static struct {
    char **argv;
    const char *path, *entry, *library, *load, *ready, *save;
    const struct goal *goal;
    size_t rounds;
    double seconds, start; /* the budget; when it began */
    double run_seconds;    /* what a run takes */
    bool show;
    int signals;
    sigset_t mask; /* as it was, for programs */
    off_t input;   /* where standard input stood; -1: it cannot be read again */
} tune;
static int interrupted; /* the signal */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Where the progress stands. */
static void clear_line(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

/* As the environment has them. */
static char *words_of(const struct setting *s)
{
    char *words = text("%s", s->nrows ? "" : "the defaults");
    for (size_t i = 0; i < s->nrows; i++) {
        char *longer = text("%s%s%s=%s", words, i ? " " : "", s->rows[i]->name, s->rows[i]->value);
        free(words);
        words = longer;
    }
    return words;
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

struct child {
    pid_t pid; /* 0: there is none */
    bool over;
    int status;
    struct rusage used;
};
/* What the program says on its standard error, by lines. */
struct ear {
    int fd;
    char line[1024], last[1024];
    size_t length;
    bool served, passed;
};

/* In a group of its own, which is ended as a whole where that must be. */
static void start(struct child *c, const struct setting *s, const char *command, int out, int err)
{
    memset(c, 0, sizeof *c);
    fflush(stdout);
    c->pid = fork();
    if (c->pid < 0)
        die(EXIT_SYSTEM, "fork: %s", strerror(errno));
    if (c->pid) {
        setpgid(c->pid, c->pid); /* whichever of both is first */
        return;
    }
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, &tune.mask, NULL);
    int in = command || tune.input < 0 ? open("/dev/null", O_RDONLY) : STDIN_FILENO;
    if ((in > 0 && dup2(in, STDIN_FILENO) < 0) || dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
        _exit(EXIT_CANNOT);
    if (in > STDERR_FILENO)
        close(in);
    if (command) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        die(EXIT_CANNOT, "/bin/sh: %s", strerror(errno));
    }
    if (tune.input >= 0)
        lseek(STDIN_FILENO, tune.input, SEEK_SET);
    putenv(text("HAKMEM_VERBOSE=1"));
    for (size_t i = 0; i < s->nrows; i++)
        putenv(text("%s=%s", s->rows[i]->name, s->rows[i]->value));
    run_program(tune.path, tune.entry, tune.argv);
}

static bool alive(const struct child *c) { return c->pid && !c->over; }

static void look_after(struct child *c)
{
    if (alive(c) && wait4(c->pid, &c->status, WNOHANG, &c->used) == c->pid)
        c->over = true;
}

/* Ends what is left of it, with all that it has started; only for children that have not been waited for. */
static void end(struct child *c)
{
    double late = seconds() + READY_SECONDS;
    for (int signal = SIGTERM; alive(c); look_after(c)) {
        if (signal == SIGTERM || seconds() > late) {
            kill(-c->pid, signal);
            signal = SIGKILL;
        }
        poll(NULL, 0, 5);
    }
}

/* A line of the library's own is not shown, and tells who is served. */
static void hear_line(struct ear *e, pid_t pid)
{
    char *ours = strstr(e->line, "hakmem: libhakmem "), *who;
    if (ours && (who = strstr(ours, " process "))) {
        bool itself = strtol(who + strlen(" process "), NULL, 10) == pid;
        if (itself && strstr(ours, " serves "))
            e->served = true;
        else if (itself)
            e->passed = true;
        *ours = '\0';
    }
    if (*e->line)
        memcpy(e->last, e->line, sizeof e->last);
    if (tune.show && (*e->line || !ours))
        fprintf(stderr, "%s\n", e->line);
    e->length = 0;
}

static void hear(struct ear *e, pid_t pid)
{
    char more[4096];
    ssize_t n;
    for (int i = 0; i < 64 && e->fd >= 0 && (n = read(e->fd, more, sizeof more)) != -1; i++) { /* more than a pipe holds */
        for (ssize_t at = 0; at < n; at++) {
            e->line[e->length] = more[at] == '\n' ? '\0' : more[at];
            if (more[at] == '\n' || ++e->length == sizeof e->line - 1) {
                e->line[e->length] = '\0';
                hear_line(e, pid);
            }
        }
        if (!n) {
            close(e->fd);
            e->fd = -1; /* poll takes no notice of it then */
        }
    }
}

static void failed(const struct setting *s, const struct ear *e, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
static void failed(const struct setting *s, const struct ear *e, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *what = text_of(format, arguments);
    va_end(arguments);
    clear_line();
    die(EXIT_SYSTEM, "%s, with %s, %s%s%s", tune.argv[0], words_of(s), what, *e->last ? ": " : "", e->last);
}

static const char *how(int status)
{
    return WIFSIGNALED(status) ? text("was ended by a signal (%s)", strsignal(WTERMSIG(status)))
                               : text("ended with status %d", WEXITSTATUS(status));
}

/* Until something happens, or so many milliseconds. */
static void wait_for(struct ear *e, struct child *program, struct child *helper, int milliseconds)
{
    struct pollfd p[] = { { tune.signals, POLLIN, 0 }, { e->fd, POLLIN, 0 } };
    struct signalfd_siginfo signal;
    poll(p, COUNT_OF(p), milliseconds);
    while (read(tune.signals, &signal, sizeof signal) == sizeof signal)
        if (signal.ssi_signo != SIGCHLD)
            interrupted = (int)signal.ssi_signo;
    look_after(program);
    look_after(helper);
    hear(e, program->pid);
}

/* A server: until it is ready and the load is done, or false: that is late.  *took: how long the load was. */
static bool serve(const struct setting *s, struct ear *e, struct child *program, struct child *helper, int null, double late,
                  double *took)
{
    const char *command = tune.ready ? tune.ready : tune.load;
    double begin = seconds(), began = 0;
    bool waiting = true; /* for it to be ready: what fails is tried again */
    while (!interrupted && !program->over && !e->served && !e->passed && seconds() - begin < READY_SECONDS)
        wait_for(e, program, helper, 1000); /* else a short load could end it before it has begun */
    begin = seconds();
    while (!interrupted && !program->over) {
        if (!helper->pid) {
            began = seconds();
            start(helper, s, command, tune.show ? STDOUT_FILENO : null, tune.show ? STDERR_FILENO : null);
        }
        wait_for(e, program, helper, 1000);
        if (seconds() > late) {
            end(helper);
            return false;
        }
        if (!helper->over)
            continue;
        helper->pid = 0;
        if (helper->status == 0) {
            if (command == tune.load) {
                *took = seconds() - began;
                return true;
            }
            command = tune.load;
            waiting = false;
        } else if (waiting && began - begin < READY_SECONDS) {
            wait_for(e, program, helper, 50);
        } else {
            end(program);
            failed(s, e, "ran, but the %s %s", command == tune.load ? "load" : "command that says whether it is ready",
                   how(helper->status));
        }
    }
    end(helper);
    if (!interrupted)
        failed(s, e, "%s before the load was done; a server must stay in the foreground, and the load leave it running",
               how(program->status));
    return true;
}

/* The defaults may take all the time that there is; a setting that takes a multiple of theirs is ended as TOO_SLOW. */
static enum outcome { DONE, INTERRUPTED, TOO_SLOW } measure(const struct setting *s, struct run *r)
{
    double most = s->nrows && 5 * tune.run_seconds + 2 < tune.seconds ? 5 * tune.run_seconds + 2 : tune.seconds;

    struct child program, helper = { .pid = 0 };
    struct ear e = { .fd = -1 };
    int err[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0 || pipe2(err, O_CLOEXEC) || fcntl(err[0], F_SETFL, O_NONBLOCK))
        die(EXIT_SYSTEM, "%s: %s", null < 0 ? "/dev/null" : "pipe", strerror(errno));
    e.fd = err[0];
    double begin = seconds(), wall = 0;
    bool slow = false;
    start(&program, s, NULL, tune.show ? STDOUT_FILENO : null, err[1]);
    close(err[1]);
    if (tune.load) {
        slow = !serve(s, &e, &program, &helper, null, begin + most, &wall);
        if (alive(&program) && !interrupted)
            kill(program.pid, SIGTERM);
    }
    close(null);
    double late = tune.load ? seconds() + READY_SECONDS : begin + most;
    while (!program.over && !interrupted && seconds() < late)
        wait_for(&e, &program, &helper, 1000);
    bool stuck = !program.over && !interrupted;
    end(&program);
    if (!tune.load)
        wall = seconds() - begin;
    hear(&e, program.pid);
    if (e.fd >= 0)
        close(e.fd);
    if (interrupted)
        return INTERRUPTED;
    if (stuck && tune.load)
        failed(s, &e, "did not end within %d s of SIGTERM", READY_SECONDS);
    if ((stuck || slow) && s->nrows)
        return TOO_SLOW;
    if (slow)
        failed(s, &e, "ran, but its load was not done after %.0f s (--time)", tune.seconds);
    if (stuck)
        failed(s, &e, "still runs after %.0f s (--time); for a server, give --load", tune.seconds);
    if (tune.load ? WIFSIGNALED(program.status) && WTERMSIG(program.status) != SIGTERM : program.status != 0)
        failed(s, &e, "%s", how(program.status));
    if (!e.served)
        die(EXIT_SYSTEM, "%s: HAKMEM did not serve it: %s", tune.argv[0],
            e.passed ? "it is left to the C library (HAKMEM_PASS, or /etc/hakmem/pass.list)"
                     : "it allocates nothing, or nothing was preloaded, or it has closed its standard error");
    r->figure[CPU] = (double)(program.used.ru_utime.tv_sec + program.used.ru_stime.tv_sec) +
                     (double)(program.used.ru_utime.tv_usec + program.used.ru_stime.tv_usec) / 1e6;
    r->figure[WALL] = wall;
    r->figure[RSS] = (double)program.used.ru_maxrss; /* this process, which it was once, is smaller than any dynamic program */
    r->figure[FAULTS] = (double)(program.used.ru_minflt + program.used.ru_majflt);
    return DONE;
}

/* ---- rounds ------------------------------------------------------------------------------------------------------ */

static size_t below(size_t n)
{
    static uint64_t x;
    if (!x)
        x = (uint64_t)(seconds() * 1e9) * 2654435761u + (uint64_t)getpid();
    x = x * 6364136223846793005u + 1442695040888963407u;
    return (size_t)((x >> 33) % n);
}

static void progress(const struct table *t, const char *part, size_t left)
{
    double now = seconds() - tune.start;
    if (isatty(STDERR_FILENO) && !tune.show)
        fprintf(stderr, "\r\033[K%s: round %zu, %zu setting%s, %d:%02d", part, t->rounds + 1, left, left == 1 ? "" : "s",
                (int)now / 60, (int)now % 60);
}

static size_t number_left(const struct table *t)
{
    size_t n = 0;
    for (size_t i = 1; i < t->n; i++)
        n += !t->setting[i].out;
    return n;
}

/* One run of each setting that is left, in a random order.  false: a signal came; the round does not count. */
static bool round_of(struct table *t, const char *part)
{
    size_t order[t->n], n = 0;
    for (size_t i = 0; i < t->n; i++)
        if (!t->setting[i].out) {
            size_t j = below(++n);
            order[n - 1] = order[j];
            order[j] = i;
        }
    if (t->rounds == t->room) {
        t->room = t->room ? 2 * t->room : 16;
        for (size_t i = 0; i < t->n; i++)
            t->setting[i].run = must(realloc(t->setting[i].run, t->room * sizeof(struct run)));
    }
    progress(t, part, n - 1);
    double began = seconds();
    for (size_t i = 0; i < n; i++) {
        struct setting *s = &t->setting[order[i]];
        enum outcome o = measure(s, &s->run[t->rounds]);
        if (o == INTERRUPTED)
            return false;
        s->out = o == TOO_SLOW;
    }
    tune.run_seconds = (seconds() - began) / (double)n;
    t->rounds++;
    for (size_t i = 0; i < t->n; i++)
        if (!t->setting[i].out)
            t->setting[i].rounds = t->rounds;
    return true;
}

/* ---- figures ----------------------------------------------------------------------------------------------------- */

static double ratio(double a, double base) { return base > 0 ? a / base : a > 0 ? 2 : 1; }

/* Of a setting's run, over the defaults' in the same round. */
static double compared(const struct table *t, const struct setting *s, size_t round, enum figure f)
{
    const double *a = s->run[round].figure, *base = t->setting[0].run[round].figure;
    return f != COST ? ratio(a[f], base[f])
                     : (tune.goal->cpu * ratio(a[CPU], base[CPU]) + tune.goal->rss * ratio(a[RSS], base[RSS])) /
                           (tune.goal->cpu + tune.goal->rss);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *sorted, size_t n) { return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2; }

/* The k-th smallest and the k-th largest are around the median but with twice the probability that fewer than k of n coins fall
 * on their heads, whatever the distribution.  k is the largest for which that is below 5 %. */
static struct range range_of(const struct table *t, const struct setting *s, enum figure f)
{
    size_t n = s->rounds, k = 0;
    double sorted[n + 1], coins = 1;
    if (!n)
        return (struct range){ 1, 1, 1 };
    for (size_t i = 0; i < n; i++) {
        sorted[i] = compared(t, s, i, f);
        coins /= 2;
    }
    qsort(sorted, n, sizeof *sorted, by_size);
    for (double fewer = coins; 2 * fewer <= 0.05; fewer += coins) {
        k++;
        coins *= (double)(n - k + 1) / (double)k;
    }
    k = k ? k - 1 : 0;
    return (struct range){ median(sorted, n), sorted[k], sorted[n - 1 - k] };
}

static double cost(const struct table *t, const struct setting *s) { return range_of(t, s, COST).median; }

/* ---- the search -------------------------------------------------------------------------------------------------- */

static struct table table_of(size_t n)
{
    return (struct table){ .setting = must(calloc(n, sizeof(struct setting))), .n = n };
}

/* Is there time for another round, until this share of the budget? */
static bool time_for(const struct table *t, double share)
{
    return seconds() - tune.start + tune.run_seconds * (double)(number_left(t) + 1) <= share * tune.seconds;
}

/* Drops what is worse: than the defaults in the whole interval, or half of the time after half of the rounds; and of each
 * group, after 4 and 8 rounds, the worse half. */
static void drop(struct table *t)
{
    size_t best_first[t->n];
    for (size_t i = 1; i < t->n; i++) {
        struct setting *s = &t->setting[i];
        struct range r = s->out ? (struct range){ 0, 0, 0 } : range_of(t, s, COST);
        s->out |= r.low > 1 || (r.median > 1 && t->rounds >= tune.rounds / 2);
    }
    if (t->rounds % SCREEN_ROUNDS || t->rounds > 2 * SCREEN_ROUNDS)
        return;
    for (enum group g = 0; g < GROUPS; g++) {
        size_t n = 0;
        for (size_t i = 1; i < t->n; i++)
            if (!t->setting[i].out && t->setting[i].rows[0]->group == g) {
                size_t at = n++;
                for (; at && cost(t, &t->setting[best_first[at - 1]]) > cost(t, &t->setting[i]); at--)
                    best_first[at] = best_first[at - 1];
                best_first[at] = i;
            }
        for (size_t i = (n + 1) / 2; i < n; i++)
            t->setting[best_first[i]].out = true;
    }
}

/* The best of each group that is better than the defaults in three rounds of four, the best of all first. */
static size_t winners(const struct table *t, const struct row *won[GROUPS])
{
    double costs[GROUPS];
    size_t n = 0;
    for (enum group g = 0; g < GROUPS; g++) {
        const struct setting *best = NULL;
        for (size_t i = 1; i < t->n; i++) {
            const struct setting *s = &t->setting[i];
            size_t better = 0;
            for (size_t j = 0; j < s->rounds; j++)
                better += compared(t, s, j, COST) < 1;
            if (!s->out && s->rows[0]->group == g && 4 * better >= 3 * s->rounds && s->rounds &&
                (!best || cost(t, s) < cost(t, best)))
                best = s;
        }
        if (!best)
            continue;
        size_t at = n++;
        for (; at && costs[at - 1] > cost(t, best); at--) {
            costs[at] = costs[at - 1];
            won[at] = won[at - 1];
        }
        costs[at] = cost(t, best);
        won[at] = best->rows[0];
    }
    return n < MOST_TOGETHER ? n : MOST_TOGETHER;
}

/* The first, the first two, and so on: the shortest that is as good as any, to 2 % of the defaults' cost. */
static struct setting together(const struct row *won[], size_t n)
{
    struct table t = table_of(n + 1);
    size_t best = 1;
    for (size_t i = 1; i <= n; i++) {
        t.setting[i].nrows = i;
        memcpy(t.setting[i].rows, won, i * sizeof *won);
    }
    while (n > 1 && number_left(&t) && t.rounds < tune.rounds / 2 && (t.rounds < SCREEN_ROUNDS || time_for(&t, 0.75)))
        if (!round_of(&t, "together"))
            break;
    if (t.rounds) {
        for (size_t i = 2; i <= n; i++)
            best = !t.setting[i].out && cost(&t, &t.setting[i]) < cost(&t, &t.setting[best]) ? i : best;
        for (size_t i = best - 1; i; i--)
            best = cost(&t, &t.setting[i]) < cost(&t, &t.setting[best]) + 0.02 ? i : best;
    }
    return t.setting[best];
}

/* ---- what came out ----------------------------------------------------------------------------------------------- */

static const char *const titles[FIGURES] = { "cost", "CPU time", "time", "peak RSS", "page faults" };

static double base_of(const struct table *t, enum figure f)
{
    double sorted[t->rounds + 1];
    for (size_t i = 0; i < t->rounds; i++)
        sorted[i] = t->setting[0].run[i].figure[f];
    qsort(sorted, t->rounds, sizeof *sorted, by_size);
    return t->rounds ? median(sorted, t->rounds) : 0;
}

static void print_table(const struct table *t)
{
    if (!t->rounds)
        return;
    const struct setting *sorted[t->n];
    size_t n = 0;
    int width = 12;
    for (size_t i = 1; i < t->n; i++) {
        const struct setting *s = &t->setting[i];
        char *words = words_of(s);
        width = (int)strlen(words) > width ? (int)strlen(words) : width;
        free(words);
        size_t at = n++; /* those that stayed longer first */
        for (; at && (sorted[at - 1]->rounds < s->rounds ||
                      (sorted[at - 1]->rounds == s->rounds && cost(t, sorted[at - 1]) > cost(t, s))); at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = s;
    }
    printf("\n%-*s rounds  cost                   CPU    time  RSS    faults\n", width, "setting");
    for (size_t i = 0; i < n; i++) {
        struct range c = range_of(t, sorted[i], COST);
        if (!sorted[i]->rounds) {
            printf("%-*s      0  too slow: ended\n", width, words_of(sorted[i]));
            continue;
        }
        printf("%-*s %6zu  %.3f (%.3f to %.3f) ", width, words_of(sorted[i]), sorted[i]->rounds, c.median, c.low, c.high);
        for (enum figure f = CPU; f < FIGURES; f++)
            printf(" %.3f", range_of(t, sorted[i], f).median);
        putchar('\n');
    }
    printf("%-*s %6zu  in numbers: CPU %.3f s, time %.3f s, peak RSS %.0f KiB, page faults %.0f\n", width, "the defaults",
           t->rounds, base_of(t, CPU), base_of(t, WALL), base_of(t, RSS), base_of(t, FAULTS));
}

static void print_word(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
    if (*word && !word[strspn(word, plain)]) {
        printf(" %s", word);
        return;
    }
    fputs(" '", stdout);
    for (; *word; word++)
        *word == '\'' ? fputs("'\\''", stdout) : putchar(*word);
    putchar('\'');
}

/* A file for HAKMEM_POLICY_FILE.  NULL: the defaults. */
static void save(const struct setting *s, const struct range *c)
{
    if (!tune.save)
        return;
    char *words = s ? words_of(s) : NULL;
    char *lines = s ? text("hakmem-policy 1\n# hakmem tune --for %s: %s\n# cost %.3f (%.3f to %.3f) of the defaults'\n",
                           tune.goal->name, words, c->median, c->low, c->high)
                    : text("hakmem-policy 1\n# hakmem tune --for %s: nothing was better than the defaults\n", tune.goal->name);
    for (size_t i = 0; s && i < s->nrows; i++)
        lines = text("%s%s\n", lines, s->rows[i]->policy);
    lines = text("%send\n", lines);
    size_t length = strlen(lines);
    int fd = open(tune.save, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, lines, length) != (ssize_t)length || close(fd))
        die(EXIT_SYSTEM, "%s: %s", tune.save, strerror(errno));
}

/* The pairs of runs, and the answer if they prove one. */
static void print_answer(const struct table *t)
{
    const struct setting *s = &t->setting[1];
    struct range c = range_of(t, s, COST);
    bool better = t->rounds >= LEAST_ROUNDS && c.high < 1;
    char *words = words_of(s);
    printf("\n%s, in %zu pairs of runs with the defaults (median, and interval of 95 %%):\n", words, t->rounds);
    for (enum figure f = COST; f < FIGURES; f++) {
        struct range r = range_of(t, s, f);
        printf("  %-12s %.3f (%.3f to %.3f)\n", titles[f], r.median, r.low, r.high);
    }
    if (better) {
        printf("\n%s hakmem run", words);
        if (tune.library) {
            fputs(" --library", stdout);
            print_word(tune.library);
        }
        for (char **a = tune.argv; *a; a++)
            print_word(*a);
        putchar('\n');
    } else if (t->rounds < LEAST_ROUNDS) {
        printf("\nThat are too few pairs to tell it from the noise: %d are needed.\n", LEAST_ROUNDS);
    } else {
        puts("\nNothing is better than the defaults by more than the noise.");
    }
    if (!interrupted)
        save(better ? s : NULL, &c);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

/* The defaults, and the rows that can serve the goal and that the user has not decided. */
static struct table candidates(void)
{
    struct table t = table_of(COUNT_OF(rows) + 1);
    t.n = 1;
    const char *told = "";
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (getenv(rows[i].name)) {
            if (!strstr(told, rows[i].name)) /* no name is a part of another */
                told = text("%s %s", told, rows[i].name);
            continue;
        }
        if (!strpbrk(rows[i].saves, tune.goal->saves))
            continue;
        t.setting[t.n].rows[0] = &rows[i];
        t.setting[t.n++].nrows = 1;
    }
    if (*told)
        printf("Set, and left as they are:%s\n", told);
    return t;
}

static int search(void)
{
    const struct row *won[GROUPS];
    struct setting defaults = { .nrows = 0 };
    struct run first;
    double began = seconds();
    if (measure(&defaults, &first) != DONE) /* the first one reads files; it does not count */
        return 128 + interrupted;
    tune.run_seconds = seconds() - began;
    struct table t = candidates();
    size_t all = t.n - 1;
    double screen = 0.6 * tune.seconds / tune.run_seconds; /* runs */
    while (t.n > 2 && (double)(SCREEN_ROUNDS * t.n) > screen)
        t.n--;
    printf("%zu settings", t.n - 1);
    if (t.n - 1 < all)
        printf(" of %zu, because of --time", all);
    printf("; a run takes %.3g s; at most %.0f s (--time).\nCost: CPU time counts %.0f, peak RSS %.0f (--for %s).  "
           "All figures are medians of ratios to the defaults.\n",
           tune.run_seconds, tune.seconds, tune.goal->cpu, tune.goal->rss, tune.goal->name);

    while (number_left(&t) && t.rounds < tune.rounds && (t.rounds < SCREEN_ROUNDS || time_for(&t, 0.6)) &&
           round_of(&t, "settings"))
        if (t.rounds >= SCREEN_ROUNDS)
            drop(&t);
    clear_line();
    print_table(&t);
    size_t n = winners(&t, won);
    if (!n && !interrupted) {
        puts("\nNothing is better than the defaults.");
        save(NULL, NULL);
    }
    if (!n || interrupted)
        return interrupted ? 128 + interrupted : EXIT_DONE;

    struct table proof = table_of(2);
    proof.setting[1] = together(won, n);
    proof.setting[1].run = NULL;
    proof.setting[1].rounds = 0;
    proof.setting[1].out = false;
    while (!interrupted && number_left(&proof) && proof.rounds < 2 * tune.rounds && (proof.rounds < LEAST_ROUNDS || time_for(&proof, 1)) &&
           round_of(&proof, "proof"))
        ;
    clear_line();
    if (proof.rounds)
        print_answer(&proof);
    return interrupted ? 128 + interrupted : EXIT_DONE;
}

int tune_command(char **argv)
{
    const char *value;
    char *rest;
    tune.goal = goals;
    tune.rounds = ROUNDS;
    tune.seconds = SECONDS;
    tune.start = seconds();
    for (; *argv && **argv == '-' && strcmp(*argv, "--");) {
        if (!strcmp(*argv, "--show")) {
            tune.show = true;
            argv++;
        } else if ((value = value_of("--for", &argv))) {
            for (tune.goal = goals; tune.goal < goals + COUNT_OF(goals) && strcmp(tune.goal->name, value); tune.goal++)
                ;
            if (tune.goal == goals + COUNT_OF(goals))
                return window_misused("--for takes time, memory or both, not ", value);
        } else if ((value = value_of("--rounds", &argv))) {
            unsigned long n = strtoul(value, &rest, 10);
            if (*value < '0' || *value > '9' || *rest || n < LEAST_ROUNDS || n > 1000)
                return window_misused("--rounds takes a number from 6 to 1000, not ", value);
            tune.rounds = n;
        } else if ((value = value_of("--time", &argv))) {
            tune.seconds = strtod(value, &rest);
            if (*value < '0' || *value > '9' || *rest || !(tune.seconds >= 1 && tune.seconds <= 1e9))
                return window_misused("--time takes seconds, from 1 on, not ", value);
        } else if ((value = value_of("--load", &argv))) {
            tune.load = value;
        } else if ((value = value_of("--ready", &argv))) {
            tune.ready = value;
        } else if ((value = value_of("--save", &argv))) {
            tune.save = value;
        } else if ((value = value_of("--library", &argv))) {
            tune.library = value;
        } else {
            return window_misused("not understood: ", *argv);
        }
    }
    if (*argv && !strcmp(*argv, "--"))
        argv++;
    if (!*argv)
        return window_misused("tune needs a program", NULL);
    if (tune.ready && !tune.load)
        return window_misused("--ready is for servers, which need --load", NULL);
    tune.argv = argv;
    tune.path = run_prepare(argv[0], tune.library, &tune.entry);
    tune.input = lseek(STDIN_FILENO, 0, SEEK_CUR);
    if (tune.save) { /* better told now than after ten minutes; what is there stays until there is an answer */
        int fd = open(tune.save, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd >= 0)
            unlink(tune.save);
        else if (errno == EEXIST)
            fd = open(tune.save, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || close(fd))
            die(EXIT_SYSTEM, "%s: %s", tune.save, strerror(errno));
    }

    sigset_t wanted;
    sigemptyset(&wanted);
    signal(SIGCHLD, SIG_DFL); /* what ignores it cannot wait */
    for (size_t i = 0; i < 4; i++) { /* those that nohup and the like have ignored stay so */
        struct sigaction now;
        int signal = (const int[]){ SIGCHLD, SIGINT, SIGTERM, SIGHUP }[i];
        if (sigaction(signal, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(&wanted, signal);
    }
    sigprocmask(SIG_BLOCK, &wanted, &tune.mask);
    tune.signals = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
    if (tune.signals < 0)
        die(EXIT_SYSTEM, "signalfd: %s", strerror(errno));
    return search();
}
