/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_stats.c: sums, and the two printed forms.
 */
#include "stats.h"
#include "unit.h"

/* The fields of struct hak_stats that are printed, with the names that JSON has for them. */
static const struct field {
    const char *name;
    size_t offset;
} fields[] = {
#define X(field, unit, words) { #field, offsetof(struct hak_stats, field) },
#include "stats.def"
};

static char text[16384];

static void print(const struct hak_stats *s, bool json)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(hkm_stats_print(ends[1], s, json), 0);
    close(ends[1]);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    ck_assert_int_gt((int)n, 0);
    text[n] = 0;
    close(ends[0]);
}

static void put(struct hak_stats *s, const struct field *f, uint64_t value)
{
    memcpy((char *)s + f->offset, &value, sizeof value);
}

START_TEST(every_field_is_printed)
{
    ck_assert_uint_eq(COUNT_OF(fields), sizeof(struct hak_stats) / sizeof(uint64_t));
}
END_TEST

START_TEST(add)
{
    struct hkm_counters a = { 0 }, b = { 0 };
    struct hak_stats s = { 0 };
    size_t n = 1;
#define COUNTER(field, unit, words) hkm_count(&a.field, n); hkm_count(&b.field, 1000 * n); hkm_count(&b.field, 1); n++;
#include "stats.def"
    s.live_bytes = 5;
    hkm_stats_add(&s, &a);
    hkm_stats_add(&s, &b);
    n = 1;
#define COUNTER(field, unit, words) ck_assert_uint_eq(s.field, 1001 * n + 1); n++;
#include "stats.def"
    ck_assert_uint_eq(s.live_bytes, 5);
    ck_assert_uint_eq(s.mapped_bytes, 0);
}
END_TEST

static void json_is_whole(const struct hak_stats *s)
{
    char want[128];
    print(s, true);
    int n = snprintf(want, sizeof want, "{\"hakmem\": \"" HAK_VERSION_STRING "\", \"pid\": %d, \"", (int)getpid());
    ck_assert_mem_eq(text, want, (size_t)n);
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        uint64_t value;
        memcpy(&value, (const char *)s + fields[i].offset, sizeof value);
        snprintf(want, sizeof want, ", \"%s\": %llu", fields[i].name, (unsigned long long)value);
        const char *at = strstr(text, want);
        ck_assert_msg(at && strchr(",}", at[strlen(want)]), "%s is not in %s", want, text);
    }
    /* One object on one line: quotes in pairs, nothing behind it. */
    size_t quotes = 0;
    for (const char *p = text; *p; p++)
        quotes += *p == '"';
    ck_assert_uint_eq(quotes % 2, 0);
    ck_assert_str_eq(text + strlen(text) - 2, "}\n");
    ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
    ck_assert_ptr_eq(strrchr(text, '{'), text);
    ck_assert_ptr_null(strstr(text, ",}"));
}

START_TEST(json)
{
    struct hak_stats s = { 0 };
    json_is_whole(&s);
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        put(&s, &fields[i], 1000 + i);
    json_is_whole(&s);
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        put(&s, &fields[i], UINT64_MAX); /* as long as it can get */
    json_is_whole(&s);
}
END_TEST

START_TEST(text_lines)
{
    struct hak_stats s = { 0 };
    char want[128];
    s.mapped_bytes = 5 * MIB + 1023;
    s.slabs = 17;
    s.refills = 123456;
    print(&s, false);
    int n = snprintf(want, sizeof want, "hakmem: statistics of process %d (libhakmem " HAK_VERSION_STRING ")\n",
                     (int)getpid());
    ck_assert_mem_eq(text, want, (size_t)n);
    ck_assert_ptr_nonnull(strstr(text, "\nhakmem:   mapped for blocks: 5120 KiB\n"));
    ck_assert_ptr_nonnull(strstr(text, "\nhakmem:   slabs: 17\n"));
    ck_assert_ptr_nonnull(strstr(text, "\nhakmem:   refills of Unified Caches: 123456\n"));
    ck_assert_ptr_null(strstr(text, "per 10000")); /* nothing was counted that this could be made of */
    size_t lines = 0;
    for (const char *p = text; *p; p = strchr(p, '\n') + 1, lines++)
        ck_assert_mem_eq(p, "hakmem: ", 8);
    ck_assert_uint_eq(lines, 1 + COUNT_OF(fields));
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        put(&s, &fields[i], UINT64_MAX);
    print(&s, false);
    ck_assert_str_eq(text + strlen(text) - 1, "\n"); /* not cut off */
    ck_assert_ptr_nonnull(strstr(text, "per 10000"));
}
END_TEST

START_TEST(hits)
{
    struct hak_stats s = { 0 };
    s.mallocs = 1000;
    s.refills = 25;
    print(&s, false);
    ck_assert_ptr_nonnull(strstr(text, "\nhakmem:   Unified Cache hits per 10000: 9750\n"));
    s.refills = 2000; /* also those whose blocks went to aligned requests, which are not counted */
    print(&s, true);
    ck_assert_ptr_nonnull(strstr(text, "\"cache_hits_per_10000\": 0}"));
}
END_TEST

START_TEST(errors)
{
    struct hak_stats s = { 0 };
    errno = 77;
    ck_assert_int_eq(hkm_stats_print(-1, &s, false), EBADF);
    ck_assert_int_eq(hkm_stats_print(-1, &s, true), EBADF);
    ck_assert_int_eq(errno, 77);
}
END_TEST

UNIT_MAIN("stats", CK_NOFORK, every_field_is_printed, add, json, text_lines, hits, errors)
