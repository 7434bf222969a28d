/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_option.c: the environment is read once, a wrong value gives one line and the default; get and set.
 */
#include "option.h"
#include "unit.h"

enum { START, LIVE };

static const struct row {
    const char *name;
    hkm_word *field;
    long def, least, most;
    int when;
    const char *words;
} rows[] = {
#define X(NAME, field, def, least, most, when, words) { #NAME, &hkm_option.field, def, least, most, when, words },
#include "option.def"
#undef X
};

static void clean_environment(void)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char name[64];
        snprintf(name, sizeof name, "HAKMEM_%s", rows[i].name);
        unsetenv(name);
    }
}

static const char *set_to;

/* In a child: HAKMEM_<row>=set_to, then the environment is read. */
static void read_one(void *arg)
{
    const struct row *r = arg;
    char name[64];
    clean_environment();
    snprintf(name, sizeof name, "HAKMEM_%s", r->name);
    setenv(name, set_to, 1);
    CHILD(hkm_option_init());
}
static void read_right(void *arg)
{
    const struct row *r = arg;
    long value = -1, want = strtol(set_to, NULL, 10);
    read_one(arg);
    if (!LIBC_ALLOCATES && !strcmp(r->name, "PASS"))
        want = 0; /* there is nobody to leave the process to */
    CHILD((long)hkm_load(r->field) == want);
    CHILD(hkm_option_get(r->name, &value) == 0 && value == want);
    bool minimal = r->field == &hkm_option.minimal && want;
    for (size_t i = 0; i < COUNT_OF(rows) && !minimal; i++)
        CHILD(&rows[i] == r || (long)hkm_load(rows[i].field) == rows[i].def);
}
static void read_wrong(void *arg)
{
    read_one(arg);
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        CHILD((long)hkm_load(rows[i].field) == rows[i].def);
}

static void accepts(const struct row *r, const char *text)
{
    set_to = text;
    unit_passes(read_right, (void *)r);
}
static void refuses(const struct row *r, const char *text)
{
    char want[512], words[64] = "";
    set_to = text;
    struct unit_child c = unit_child(read_wrong, (void *)r);
    for (const char *w = r->words; *w; w += strcspn(w, " "), w += strspn(w, " "))
        sprintf(words + strlen(words), " or %.*s", (int)strcspn(w, "="), w);
    snprintf(want, sizeof want, "hakmem: HAKMEM_%s=%.64s is not a number from %ld to %ld%s; the default %ld is used\n",
             r->name, text, r->least, r->most, words, r->def);
    ck_assert_msg(c.code == 0, "the child ended with %d: %s", c.code, c.text);
    ck_assert_str_eq(c.text, want);
}

static void defaults_hold(void *arg)
{
    clean_environment();
    setenv("HAKMEM_OF_ANOTHER_KIND", "x", 1); /* nobody's business */
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        CHILD((long)hkm_load(rows[i].field) == rows[i].def); /* also before the environment is read */
    CHILD(hkm_option_init());
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        CHILD((long)hkm_load(rows[i].field) == rows[i].def);
    (void)arg;
}

START_TEST(defaults)
{
    unit_passes(defaults_hold, NULL);
}
END_TEST

START_TEST(right_values)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[32];
        snprintf(text, sizeof text, "%ld", rows[i].least);
        accepts(&rows[i], text);
        snprintf(text, sizeof text, "00%ld", rows[i].most);
        accepts(&rows[i], text);
    }
}
END_TEST

START_TEST(wrong_values)
{
    static const char *const wrong[] = { "", "x", "1x", "x1", " 1", "1 ", "-1", "+1", "0x1", "1.0", "yes",
                                         "9223372036854775807", "18446744073709551617", "99999999999999999999999" };
    char text[128];
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        refuses(&rows[i % COUNT_OF(rows)], wrong[i]);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        snprintf(text, sizeof text, "%ld", rows[i].most + 1);
        refuses(&rows[i], text);
        if (rows[i].least) {
            snprintf(text, sizeof text, "%ld", rows[i].least - 1);
            refuses(&rows[i], text);
        }
    }
    memset(text, '7', sizeof text - 1); /* only the beginning is shown */
    text[sizeof text - 1] = 0;
    refuses(&rows[0], text);
}
END_TEST

static void words_are_numbers(void *arg)
{
    static const char *const kinds[] = { "no", "thp", "hugetlb", "grown" };
    size_t kind = (size_t)(uintptr_t)arg;
    clean_environment();
    setenv("HAKMEM_STATS", "json", 1);
    setenv("HAKMEM_HUGEPAGES", kinds[kind], 1);
    CHILD(hkm_option_init());
    CHILD(hkm_load(&hkm_option.stats) == 2);
    CHILD(hkm_load(&hkm_option.hugepages) == kind);
    CHILD((hkm_load(&hkm_os.huge) != 0) == (kind == HKM_HUGE_THP || kind == HKM_HUGE_TLB)); /* the kernel is asked only if it matters */
}

START_TEST(words)
{
    for (uintptr_t i = 0; i < 4; i++)
        unit_passes(words_are_numbers, (void *)i);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        refuses(&rows[i], "JSON");
        refuses(&rows[i], "jso");
        refuses(&rows[i], "json2");
        refuses(&rows[i], "json=2");
        refuses(&rows[i], "hugetl");
        if (rows[i].field != &hkm_option.stats)
            refuses(&rows[i], "json");
        if (rows[i].field != &hkm_option.hugepages) {
            refuses(&rows[i], "thp");
            refuses(&rows[i], "no");
        }
    }
}
END_TEST

static void two_wrong_one_right(void *arg)
{
    clean_environment();
    setenv("HAKMEM_VERBOSE", "no", 1);
    setenv("HAKMEM_DIRTY_KB", "all", 1);
    setenv("HAKMEM_DIRTY_PERCENT", "50", 1);
    CHILD(hkm_option_init());
    CHILD(hkm_load(&hkm_option.dirty_percent) == 50);
    (void)arg;
}

START_TEST(each_wrong_value_has_its_line)
{
    struct unit_child c = unit_child(two_wrong_one_right, NULL);
    ck_assert_int_eq(c.code, 0);
    ck_assert_str_eq(c.text,
                     "hakmem: HAKMEM_VERBOSE=no is not a number from 0 to 1; the default 0 is used\n"
                     "hakmem: HAKMEM_DIRTY_KB=all is not a number from 0 to 1073741824; the default 4096 is used\n");
}
END_TEST

static bool listed(const char *list, const char *program) { return hkm_option_names(list, strlen(list), program); }

START_TEST(lists_of_programs)
{
    static const struct {
        const char *list, *program;
        bool named;
    } cases[] = {
        { "", "/usr/bin/java", false },
        { "\n\n", "/usr/bin/java", false },
        { "/usr/bin/java", "/usr/bin/java", true }, /* no newline at the end */
        { "/usr/bin/java\n", "/usr/bin/jav", false },
        { "/usr/bin/jav\n", "/usr/bin/java", false },
        { "/opt/java\n", "/usr/bin/java", false },
        { "  /usr/bin/java\t \r\n", "/usr/bin/java", true },
        { "# /usr/bin/java\n", "/usr/bin/java", false },
        { "/usr/bin/java # brings its own\n", "/usr/bin/java", true },
        { "ls\n/usr/bin/java\n", "/usr/bin/java", true },
        { "java\n", "/usr/bin/java", true },
        { "java\n", "/usr/bin/java17", false },
        { "bin/java\n", "/usr/bin/java", false }, /* neither a path nor a last part */
        { "java*\n", "/usr/bin/java17", true },
        { "java*\n", "/usr/bin/java", true },
        { "*\n", "/usr/bin/java", true },
        { "*va\n", "/usr/bin/javava", true },
        { "j*v?\n", "/usr/bin/java", true },
        { "j*v??\n", "/usr/bin/java", false },
        { "?\n", "/usr/bin/[", true },
        { "python3.1?\n", "/usr/bin/python3.11", true },
        { "*bin*\n", "/usr/bin/java", false },
        { "/usr/bin/*\n", "/usr/bin/java", false }, /* no patterns in paths */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        ck_assert_msg(listed(cases[i].list, cases[i].program) == cases[i].named, "\"%s\" and %s", cases[i].list,
                      cases[i].program);
    ck_assert(!hkm_option_names("java", 3, "/usr/bin/java")); /* the text is not ended by 0 */
}
END_TEST

/* A path that leads to the program by a symbolic link, as /bin/ls does where /bin is a link. */
START_TEST(lists_with_links)
{
    char folder[] = "/tmp/hakmem-test.XXXXXX", file[64], link[64], list[128];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/program", folder);
    snprintf(link, sizeof link, "%s/other", folder);
    int fd = open(file, O_CREAT | O_WRONLY, 0755);
    ck_assert(fd >= 0 && close(fd) == 0 && symlink(folder, link) == 0);
    snprintf(list, sizeof list, "%s/program\n", link);
    ck_assert(listed(list, file));
    snprintf(list, sizeof list, "%s/nothing\n", link);
    ck_assert(!listed(list, file));
    unlink(link), unlink(file), rmdir(folder);
}
END_TEST

static void minimal_is_minimal(void *arg)
{
    clean_environment();
    setenv("HAKMEM_MINIMAL", "1", 1);
    setenv("HAKMEM_HUGEPAGES", "thp", 1);
    setenv("HAKMEM_TINY_USE_SUPERSLAB", "1", 1); /* MINIMAL is stronger */
    CHILD(hkm_option_init());
    CHILD(!hkm_load(&hkm_os.huge)); /* nor is the kernel asked */
    CHILD(hkm_load(&hkm_option.minimal) == 1);
    CHILD(hkm_load(&hkm_option.tiny_use_superslab) == 0);
    CHILD(hkm_load(&hkm_option.disable_cache_growth) == 1);
    CHILD(hkm_load(&hkm_option.disable_nursery) == 1);
    CHILD(hkm_load(&hkm_option.disable_prefault) == 1);
    CHILD(hkm_load(&hkm_option.disable_hugepages) == 1);
    CHILD(hkm_load(&hkm_option.disable_purge) == 1);
    CHILD(hkm_load(&hkm_option.disable_big_mappings) == 1);
    CHILD(hkm_load(&hkm_option.disable_learning) == 1);
    CHILD(hkm_load(&hkm_option.wrap_tiny) == 1);
    (void)arg;
}

START_TEST(minimal)
{
    unit_passes(minimal_is_minimal, NULL);
}
END_TEST

extern char **environ;

START_TEST(read_once)
{
    char *few[] = { (char *)"HAKMEM_DIRTY_KB=1", NULL }, *other[] = { (char *)"HAKMEM_DIRTY_KB=2", NULL };
    environ = NULL;
    ck_assert(!hkm_option_init()); /* too early: asked again later */
    ck_assert_uint_eq(hkm_load(&hkm_option.dirty_kb), 4096);
    environ = few;
    ck_assert(hkm_option_init());
    ck_assert_uint_eq(hkm_load(&hkm_option.dirty_kb), 1);
    environ = other;
    ck_assert(!hkm_option_init());
    ck_assert_uint_eq(hkm_load(&hkm_option.dirty_kb), 1);
    environ = NULL;
    ck_assert(!hkm_option_init());
}
END_TEST

static void *init_and_tell(void *arg) { return hkm_option_init() ? arg : NULL; }

START_TEST(read_by_one_thread)
{
    pthread_t threads[8];
    int readers = 0;
    clean_environment();
    setenv("HAKMEM_DIRTY_KB", "5", 1);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = unit_start(init_and_tell, threads);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        readers += unit_join(threads[i]) != NULL;
    ck_assert_int_eq(readers, 1);
    ck_assert_uint_eq(hkm_load(&hkm_option.dirty_kb), 5);
}
END_TEST

START_TEST(get_and_set)
{
    long value = -5;
    clean_environment();
    setenv("HAKMEM_DIRTY_KB", "7", 1);
    ck_assert_int_eq(hkm_option_get("DIRTY_KB", &value), 0); /* this reads the environment first */
    ck_assert_int_eq(value, 7);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct row *r = &rows[i];
        long before = (long)hkm_load(r->field);
        ck_assert_int_eq(hkm_option_set(r->name, r->most + 1), ERANGE);
        ck_assert_int_eq(hkm_option_set(r->name, r->least - 1), ERANGE);
        ck_assert_int_eq((long)hkm_load(r->field), before);
        ck_assert_int_eq(hkm_option_set(r->name, r->most), r->when == LIVE ? 0 : EPERM);
        ck_assert_int_eq((long)hkm_load(r->field), r->when == LIVE ? r->most : before);
        ck_assert_int_eq(hkm_option_get(r->name, &value), 0);
        ck_assert_int_eq(value, (long)hkm_load(r->field));
    }
    static const char *const unknown[] = { "", "NONE", "dirty_kb", "HAKMEM_DIRTY_KB", "DIRTY_K", "DIRTY_KBS" };
    for (size_t i = 0; i < COUNT_OF(unknown); i++) {
        value = -5;
        ck_assert_int_eq(hkm_option_get(unknown[i], &value), ENOENT);
        ck_assert_int_eq(value, -5);
        ck_assert_int_eq(hkm_option_set(unknown[i], 0), ENOENT);
    }
}
END_TEST

START_TEST(set_is_not_undone)
{
    clean_environment();
    setenv("HAKMEM_DIRTY_KB", "7", 1);
    ck_assert_int_eq(hkm_option_set("DIRTY_KB", 9), 0); /* reads the environment first, so that it stays at 9 */
    ck_assert(hkm_option_init()); /* who serves the first block greets, whoever asked before */
    ck_assert(!hkm_option_init());
    ck_assert_uint_eq(hkm_load(&hkm_option.dirty_kb), 9);
}
END_TEST

START_TEST(statistics_set_later_keep_standard_error)
{
    clean_environment();
    ck_assert_int_eq(hkm_option_set("STATS", 0), 0);
    ck_assert_int_eq(hkm_option_set("DIRTY_KB", 1), 0);
    ck_assert_int_eq(hkm_os_stderr_kept(), -1);
    ck_assert_int_eq(hkm_option_set("STATS", 2), 0);
    ck_assert_int_eq(hkm_os_stderr_kept(), 2);
}
END_TEST

static void next_row(const char *name, long value, void *arg)
{
    size_t *at = arg;
    ck_assert_uint_lt(*at, COUNT_OF(rows));
    ck_assert_mem_eq(name, "HAKMEM_", 7);
    ck_assert_str_eq(name + 7, rows[*at].name);
    ck_assert_int_eq(value, (long)hkm_load(rows[*at].field));
    ++*at;
}

START_TEST(each_in_order)
{
    size_t at = 0;
    hkm_option_each(next_row, &at);
    ck_assert_uint_eq(at, COUNT_OF(rows));
}
END_TEST

UNIT_MAIN("option", CK_FORK, defaults, right_values, wrong_values, words, each_wrong_value_has_its_line, lists_of_programs,
          lists_with_links, minimal, read_once, read_by_one_thread, get_and_set, set_is_not_undone,
          statistics_set_later_keep_standard_error, each_in_order)
