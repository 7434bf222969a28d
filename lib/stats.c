/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * stats.c: sums and prints.  No stdio: one buffer on the stack, one write.
 */
#define HKM_SMALL
#include "stats.h"
#include "os.h"

#include <stddef.h>
#include <string.h>

/* A row for each field, and none besides. */
#define X(field, unit, words) +1
enum {
    ROWS = 0
#include "stats.def"
};
_Static_assert(ROWS * sizeof(uint64_t) == sizeof(struct hak_stats), "stats.def has the fields of struct hak_stats");

void hkm_stats_add(struct hak_stats *sum, const struct hkm_counters *c)
{
#define COUNTER(field, unit, words) sum->field += hkm_load(&c->field);
#include "stats.def"
}

enum unit { NUMBER, BYTES };

struct page {
    size_t len;
    bool json;
    char text[8192];
};

static void put(struct page *p, const char *s)
{
    size_t n = hkm_length(s);
    if (n > sizeof p->text - p->len)
        n = sizeof p->text - p->len;
    memmove(p->text + p->len, s, n);
    p->len += n;
}

static void put_number(struct page *p, unsigned long long n)
{
    struct hkm_msg m = { 0 };
    hkm_msg_dec(&m, n);
    hkm_msg_str(&m, "");
    m.text[m.len] = '\0';
    put(p, m.text);
}

static HKM_NOINLINE void line(struct page *p, const char *name, const char *words, unsigned long long n, enum unit unit)
{
    if (p->json) {
        put(p, ", \"");
        put(p, name);
        put(p, "\": ");
        put_number(p, n);
        return;
    }
    put(p, "hakmem:   ");
    put(p, words);
    put(p, ": ");
    if (unit == BYTES) {
        put_number(p, n / 1024);
        put(p, " KiB\n");
    } else {
        put_number(p, n);
        put(p, "\n");
    }
}

/* The rows, as a loop over tables without pointers: a call for each would take 1 KiB more.  Name and words of each in turn. */
static const char texts[] =
#define X(field, unit, words) #field "\0" words "\0"
#include "stats.def"
    ;
static const struct {
    uint8_t field, unit; /* the place in struct hak_stats; enum unit */
} rows[] = {
#define X(field, unit, words) { offsetof(struct hak_stats, field) / sizeof(uint64_t), unit },
#include "stats.def"
};

static const char *next(const char *text) { return text + hkm_length(text) + 1; }

int hkm_stats_print(int fd, const struct hak_stats *s, bool json)
{
    struct page p;
    p.len = 0;
    p.json = json;
    if (json) {
        put(&p, "{\"hakmem\": \"" HAK_VERSION_STRING "\", \"pid\": ");
        put_number(&p, hkm_os_pid());
    } else {
        put(&p, "hakmem: statistics of process ");
        put_number(&p, hkm_os_pid());
        put(&p, " (libhakmem " HAK_VERSION_STRING ")\n");
    }
    const uint64_t *values = (const uint64_t *)s;
    const char *name = texts;
    for (unsigned i = 0; i < ROWS; i++, name = next(next(name)))
        line(&p, name, next(name), values[rows[i].field], (enum unit)rows[i].unit);
    /* Every block handed out that did not cost a refill came from a Unified Cache. */
    if (s->mallocs) {
        unsigned long long hits = s->mallocs > s->refills ? s->mallocs - s->refills : 0;
        line(&p, "cache_hits_per_10000", "Unified Cache hits per 10000", hits * 10000 / s->mallocs, NUMBER);
    }
    if (json)
        put(&p, "}\n");
    return hkm_os_write(fd, p.text, p.len);
}
