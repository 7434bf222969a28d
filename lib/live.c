/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * live.c: the live structure and the mailbox.  See live.h; the rows stand in live.def.
 */
#define HKM_SMALL
#include "live.h"
#include "big.h"
#include "heap.h"
#include "lock.h"
#include "memcheck.h"
#include "meta.h"
#include "option.h"
#include "policy.h"
#include "purge.h"
#include "teach.h"

#include <errno.h>

/* Roots are counted from 1; 0 is none. */
enum root {
    ROOT_none,
#define ROOT(name, symbol) ROOT_##name,
#include "live.def"
    ROOTS_END
};
_Static_assert(ROOTS_END <= 256, "a byte tells a root");

#define ROOT(name, symbol) _Static_assert(sizeof #name <= 32, #name);
#define LIST(name, root, via, NAMES, type) ROW(#name, HKM_LIVE_LIST, 0, 0, 0, 0)
#define ROW(name, kind, at, size, root, via) _Static_assert(sizeof(name) <= 32 && (size) <= UINT8_MAX, name);
#include "live.def"

enum {
    ROWS = ROOTS_END - 1
#define ROW(name, kind, at, size, root, via) +1
#include "live.def"
    ,
    OPTIONS = sizeof(struct hkm_option) / sizeof(hkm_word),
    ROW_NAMES = 1 /* bytes */
#define ROOT(name, symbol) +sizeof #name
#define LIST(name, root, via, NAMES, type) ROW(#name, HKM_LIVE_LIST, 0, 0, 0, 0)
#define ROW(name, kind, at, size, root, via) +sizeof(name)
#include "live.def"
    ,
    OPTION_NAMES = 1
#define X(NAME, field, def, least, most, when, words) +sizeof #NAME
#include "option.def"
#undef X
};

/* Names of the words of the lists, one behind the other. */
struct policy_names {
#define X(field, unit, def, least, most, bench) char field[sizeof #field];
#include "policy.def"
#undef X
    char end;
};

struct learn_names {
#define X(field) char field[sizeof #field];
    HKM_LEARN_SHOWN(X)
#undef X
#define GROUP(name) char in_force_##name[sizeof "in_force_" #name];
#define STRATEGY(name, part, changes)
#include "learn.def"
#undef GROUP
#undef STRATEGY
#define GROUP(name) char rating_##name[sizeof "rating_" #name];
#define STRATEGY(name, part, changes) char rating_of_##name[sizeof "rating_" #name];
#include "learn.def"
#undef GROUP
#undef STRATEGY
    char end;
};

struct tables {
    struct hkm_live head;
    struct hkm_live_row rows[ROWS];
    struct hkm_live_option options[OPTIONS];
    struct policy_names policy;
    struct learn_names learn;
    char row_names[ROW_NAMES], option_names[OPTION_NAMES];
};
_Static_assert(sizeof(struct hkm_live) == 80 && sizeof(struct hkm_live_row) == 8 && sizeof(struct hkm_live_option) == 32 &&
                   offsetof(struct tables, rows) == 80,
               "the same for all machines");

enum { START, LIVE };

/* Statistics at the end want a descriptor, which would be opened on the way: a call that the program may have forbidden itself. */
#define BY_MAIL(field, when) ((when) == LIVE && offsetof(struct hkm_option, field) != offsetof(struct hkm_option, stats))

HKM_USED HKM_HIDDEN const struct tables hkm_live = {
    .head = {
        .magic = HKM_LIVE_MAGIC,
        .order = HKM_LIVE_ORDER,
        .version = HKM_LIVE_VERSION,
        .size = sizeof(struct tables),
        .word = sizeof(void *),
        .release = HAK_VERSION_STRING,
        .rows = { offsetof(struct tables, rows), sizeof(struct hkm_live_row), ROWS, offsetof(struct tables, row_names) },
        .options = { offsetof(struct tables, options), sizeof(struct hkm_live_option), OPTIONS,
                     offsetof(struct tables, option_names) },
    },
    .rows = {
/* The note's first word is for the structure itself. */
#define ROOT(name, symbol) { 4 * ROOT_##name, 0, HKM_LIVE_ROOT, 0, 0 },
#include "live.def"
#define ROW(name, kind, at, size, root, via) { (uint32_t)(at), (uint8_t)(size), kind, root, via },
#include "live.def"
    },
    .options = {
#define X(NAME, field, def, least, most, when, words) \
        { offsetof(struct hkm_option, field), sizeof(hkm_word), BY_MAIL(field, when), def, least, most },
#include "option.def"
#undef X
    },
    .policy = {
#define X(field, unit, def, least, most, bench) .field = #field,
#include "policy.def"
#undef X
    },
    .learn = {
#define X(field) .field = #field,
    HKM_LEARN_SHOWN(X)
#undef X
#define GROUP(name) .in_force_##name = "in_force_" #name, .rating_##name = "rating_" #name,
#define STRATEGY(name, part, changes) .rating_of_##name = "rating_" #name,
#include "learn.def"
#undef GROUP
#undef STRATEGY
    },
    .row_names =
#define ROOT(name, symbol) #name "\0"
#include "live.def"
#define ROW(name, kind, at, size, root, via) name "\0"
#include "live.def"
    ,
    .option_names =
#define X(NAME, field, def, least, most, when, words) #NAME "\0"
#include "option.def"
#undef X
};

const struct hkm_live *hkm_live_find(void) { return &hkm_live.head; }

/* A common symbol, so that it lies behind all other data, and no page is touched for what is hardly ever used. */
struct hkm_live_mailbox hkm_live_mailbox HKM_USED HKM_BEHIND;

/* The note.  C has no way to write the distance of two variables down. */
#define ROOT(name, symbol) "    .long " #symbol " - .\n"
__asm__(".pushsection .note.hakmem, \"a\", %note\n"
        "    .balign 4\n"
        "    .long 2f - 1f, 4f - 3f, 1\n" /* HKM_LIVE_NOTE */
        "1:  .asciz \"HAKMEM\"\n"
        "2:  .balign 4\n"
        "3:  .long hkm_live - .\n"
#include "live.def"
        "4:  .balign 4\n"
        "    .popsection\n");
_Static_assert(HKM_LIVE_NOTE == 1, "as the note says");

/* ---- the mailbox ------------------------------------------------------------------------------------------------ */

/* FNV-1a over the words. */
uint64_t hkm_live_check(const struct hkm_live_request *r)
{
    const uint64_t words[] = { r->number, r->verb, r->option, r->value };
    uint64_t sum = 0xcbf29ce484222325u;
    for (unsigned i = 0; i < 4; i++)
        sum = (sum ^ words[i]) * 0x100000001b3u ^ sum >> 29;
    return sum;
}

/* Somebody outside may be writing at this moment; the check tells. */
static void read_request(struct hkm_live_request *r)
{
    const volatile struct hkm_live_request *from = &hkm_live_mailbox.request;
    r->number = from->number;
    r->verb = from->verb;
    r->option = from->option;
    r->value = from->value;
    r->check = from->check;
}

static const char *option_name(uint64_t option)
{
    const char *name = hkm_live.option_names;
    while (option-- > 0)
        name += hkm_length(name) + 1;
    return name;
}

static enum hkm_live_result set(uint64_t option, uint64_t value, size_t *before)
{
    const struct hkm_live_option *o = option < OPTIONS ? &hkm_live.options[option] : NULL;
    const char *name = o ? option_name(option) : NULL;
    long old;
    if (!o)
        return HKM_LIVE_UNKNOWN;
    if (!o->when)
        return HKM_LIVE_NOT_NOW;
    if (value > (uint64_t)__LONG_MAX__)
        return HKM_LIVE_RANGE;
    if (hkm_option_get(name, &old))
        return HKM_LIVE_UNKNOWN;
    *before = (size_t)old;
    int error = hkm_policy_option(name, (long)value);
    return !error ? HKM_LIVE_DONE : error == ERANGE ? HKM_LIVE_RANGE : HKM_LIVE_NOT_NOW;
}

static void serve(size_t number, size_t (*purge)(void))
{
    struct hkm_live_mailbox *m = &hkm_live_mailbox;
    struct hkm_live_request r;
    enum hkm_live_result result = HKM_LIVE_DONE;
    size_t value = 0;
    read_request(&r);
    if (r.number != number || r.check != hkm_live_check(&r))
        result = HKM_LIVE_GARBLED;
    else if (r.verb == HKM_LIVE_SET)
        result = set(r.option, r.value, &value);
    else if (r.verb == HKM_LIVE_PURGE)
        value = purge();
    else
        result = HKM_LIVE_UNKNOWN;
    struct hkm_live_answer *a = &m->answer[(hkm_load(&m->served) + hkm_load(&m->refused)) % HKM_LIVE_ANSWERS];
    hkm_store(&a->number, 0);
    hkm_store_rel(&a->result, result); /* a number is never seen with another's answer */
    hkm_store_rel(&a->value, value);
    hkm_store_rel(&a->number, number);
    hkm_add(result == HKM_LIVE_DONE ? &m->served : &m->refused, 1);
}

void hkm_live_serve(size_t (*purge)(void))
{
    struct hkm_live_mailbox *m = &hkm_live_mailbox;
    size_t mine = hkm_generation() + 1, was = hkm_load(&m->busy);
    if (was == mine || !hkm_cas(&m->busy, was, mine))
        return; /* somebody is at it; of a process before a fork nobody is */
    size_t number = hkm_swap(&hkm_superslab_stats.mail, 0);
    if (number)
        serve(number, purge);
    hkm_store_rel(&m->busy, 0);
}
