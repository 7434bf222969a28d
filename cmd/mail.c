/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * mail.c: `hakmem purge` and `hakmem set`: puts a request into the mailbox of a running process (hakmem-live(5)), which does
 * it with the next call of malloc or free that takes a slow way.
 */
#include "window.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { SET = 1, PURGE = 2 };
enum result { DONE, GARBLED, UNKNOWN, RANGE, NOT_NOW };
enum { POLL_MS = 5, TRIES = 20 };

struct request {
    uint64_t number, verb, option, value, check;
};

/* As lib/live.c has it. */
static uint64_t check(const struct request *r)
{
    const uint64_t words[] = { r->number, r->verb, r->option, r->value };
    uint64_t sum = 0xcbf29ce484222325u;
    for (unsigned i = 0; i < 4; i++)
        sum = (sum ^ words[i]) * 0x100000001b3u ^ sum >> 29;
    return sum;
}

static unsigned long long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned long long)t.tv_sec * 1000 + (unsigned long long)t.tv_nsec / 1000000;
}

static bool field(const struct live *l, uint64_t at, struct live_field f, uint64_t *value)
{
    char bytes[8];
    if (f.size > sizeof bytes || !live_read(l, at + f.at, bytes, f.size))
        return false;
    *value = live_number(bytes, f.size);
    return true;
}

/* A number that nobody else has: not 0, and within 31 bits, for processes of 32. */
static uint64_t new_number(void)
{
    uint32_t n;
    do {
        if (getrandom(&n, sizeof n, GRND_NONBLOCK) != sizeof n)
            n = (uint32_t)now_ms() * 2654435761u ^ (uint32_t)getpid();
        n &= 0x7fffffff;
    } while (!n);
    return n;
}

/* Waits until the word is empty.  An answer may be just being read by another sender, but needs no place of its own. */
static const char *wait_for_room(const struct live *l, unsigned long long until, bool *late)
{
    for (uint64_t mail;;) {
        if (!field(l, l->root.memory, l->memory_mail, &mail))
            return live_trouble(l);
        if (!mail)
            return NULL;
        if (now_ms() >= until) {
            *late = true;
            return "another request is waiting in its mailbox: it has made no slow call since";
        }
        usleep(POLL_MS * 1000);
    }
}

static const char *put(const struct live *l, const struct request *r)
{
    char word[8] = { 0 };
    uint32_t narrow = (uint32_t)r->number;
    if (l->memory_mail.size == sizeof narrow)
        memcpy(word, &narrow, sizeof narrow);
    else
        memcpy(word, &r->number, sizeof r->number);
    if (l->mailbox_request.size != sizeof *r || l->memory_mail.size > sizeof word)
        return "its mailbox is not as this command knows it";
    if (!live_write(l, l->root.mailbox + l->mailbox_request.at, r, sizeof *r) ||
        !live_write(l, l->root.memory + l->memory_mail.at, word, l->memory_mail.size))
        return live_trouble(l);
    return NULL;
}

/* Looks for the answer: there are places for some, which are used in turn.  `number` is what an entry is known by; it is read
 * again when it was found, as it may just have been written. */
static bool find_answer(const struct live *l, uint64_t number, uint64_t *result, uint64_t *value)
{
    size_t each = l->number.answer;
    for (unsigned i = 0; i < l->number.answers; i++) {
        uint64_t at = l->root.mailbox + l->mailbox_answer.at + i * each, found, again;
        if (field(l, at, l->answer_number, &found) && found == number && field(l, at, l->answer_result, result) &&
            field(l, at, l->answer_value, value) && field(l, at, l->answer_number, &again) && again == number)
            return true;
    }
    return false;
}

/* Sends it and waits for the answer.  NULL, or what is wrong; *late: nobody has looked yet.  A request that another sender
 * has overwritten will never be answered: that counts as garbled. */
static const char *ask(const struct live *l, struct request *r, unsigned long long until, bool *late, uint64_t *result,
                       uint64_t *value)
{
    enum { LOST_MS = 100 };
    uint64_t mail, busy;
    const char *wrong = wait_for_room(l, until, late);
    if (wrong)
        return wrong;
    if (!live_is_same(l)) /* it may have been long: what is written must not meet another program's memory */
        return "it has ended, or become another program";
    r->number = new_number();
    r->check = check(r);
    if ((wrong = put(l, r)))
        return wrong;
    unsigned long long seen = now_ms();
    do {
        if (find_answer(l, r->number, result, value))
            return NULL;
        if (!field(l, l->root.memory, l->memory_mail, &mail) || !field(l, l->root.mailbox, l->mailbox_busy, &busy))
            return live_trouble(l);
        if (mail == r->number || busy)
            seen = now_ms();
        if (now_ms() - seen > LOST_MS) {
            *result = GARBLED;
            return NULL;
        }
        usleep(POLL_MS * 1000);
    } while (now_ms() < until);
    *late = true;
    return "it has made no slow call of malloc or free since: it will act with the next one";
}

/* The answer, or the program's end. */
static int send(const struct live *l, struct request *r, double seconds, uint64_t *value)
{
    static const char *const refusals[] = { "", "its mailbox is in use by others: try again", "it does not know that option",
                                            "the value is out of the option's range",
                                            "that option cannot be set in a running process" };
    unsigned long long until = now_ms() + (unsigned long long)(seconds * 1000);
    bool late = false;
    uint64_t result = GARBLED;
    for (int i = 0; i < TRIES && result == GARBLED; i++) {
        const char *wrong = ask(l, r, until, &late, &result, value);
        if (wrong)
            die(late ? EXIT_LATER : EXIT_SYSTEM, "process %d: %s", (int)l->pid, wrong);
    }
    if (result != DONE)
        die(EXIT_REFUSED_MAIL, "process %d: refused: %s", (int)l->pid,
            result < COUNT_OF(refusals) ? refusals[result] : "it does not say why");
    return EXIT_DONE;
}

static void open_or_die(struct live *l, pid_t pid)
{
    const char *wrong = live_open(l, pid);
    uint64_t heaps;
    if (wrong)
        die(EXIT_SYSTEM, "process %d: %s", (int)pid, wrong);
    if (!live_word(l, l->root.heaps, &heaps))
        die(EXIT_SYSTEM, "process %d: %s", (int)pid, live_trouble(l));
    if (!heaps)
        die(EXIT_SYSTEM, "process %d: it has allocated nothing by HAKMEM yet, or is left to the C library", (int)pid);
}

/* --wait SECONDS; false: not understood. */
static bool read_wait(char ***argv, double *seconds)
{
    for (; **argv && ***argv == '-'; ++*argv) {
        const char *value = NULL;
        char *end;
        if (!strncmp(**argv, "--wait=", 7))
            value = **argv + 7;
        else if (!strcmp(**argv, "--wait") && (*argv)[1])
            value = *++*argv;
        if (!value)
            return false;
        *seconds = strtod(value, &end);
        if (!*value || *end || !(*seconds >= 0) || *seconds > 1e6)
            return false;
    }
    return true;
}

int mail_purge(char **argv)
{
    double seconds = 2;
    if (!read_wait(&argv, &seconds))
        return window_misused("not understood: ", *argv);
    pid_t pid = *argv ? window_pid(*argv) : 0;
    if (!pid)
        return window_misused(*argv ? "not the number of a process: " : "purge needs a process", *argv);
    if (argv[1])
        return window_misused("not understood: ", argv[1]);
    struct live l;
    struct request r = { .verb = PURGE };
    uint64_t value = 0;
    open_or_die(&l, pid);
    int code = send(&l, &r, seconds, &value);
    printf("process %d: given back: %llu KiB\n", (int)pid, (unsigned long long)value >> 10);
    live_close(&l);
    return code;
}

int mail_set(char **argv)
{
    double seconds = 2;
    if (!read_wait(&argv, &seconds))
        return window_misused("not understood: ", *argv);
    pid_t pid = *argv ? window_pid(*argv) : 0;
    if (!pid)
        return window_misused(*argv ? "not the number of a process: " : "set needs a process", *argv);
    if (!argv[1])
        return window_misused("set needs OPTION=VALUE", NULL);
    struct live l;
    open_or_die(&l, pid);
    for (argv++; *argv; argv++) {
        char *name = *argv, *equals = strchr(name, '='), *end;
        size_t i = 0;
        if (!strncmp(name, "HAKMEM_", 7))
            name += 7;
        if (!equals || equals <= name || equals[1] < '0' || equals[1] > '9')
            return window_misused("not OPTION=NUMBER: ", *argv);
        errno = 0;
        unsigned long long number = strtoull(equals + 1, &end, 10);
        if (*end || errno || number > INT64_MAX)
            return window_misused("not OPTION=NUMBER: ", *argv);
        *equals = '\0';
        while (i < l.noptions && strcmp(l.options[i].name, name))
            i++;
        if (i == l.noptions)
            die(EXIT_REFUSED_MAIL, "process %d: refused: its libhakmem %s has no option %s", (int)pid, l.release, name);
        if (!l.options[i].by_mail)
            die(EXIT_REFUSED_MAIL, "process %d: refused: %s cannot be set in a running process from outside", (int)pid, name);
        if ((long long)number < l.options[i].least || (long long)number > l.options[i].most)
            die(EXIT_REFUSED_MAIL, "process %d: refused: %s takes %lld to %lld", (int)pid, name, l.options[i].least,
                l.options[i].most);
        struct request r = { .verb = SET, .option = i, .value = number };
        uint64_t before = 0;
        send(&l, &r, seconds, &before);
        printf("process %d: %s is %llu (it was %llu)\n", (int)pid, name, number, (unsigned long long)before);
    }
    live_close(&l);
    return EXIT_DONE;
}
