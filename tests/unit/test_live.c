/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_live.c: the live structure is found by the program headers as somebody outside would find it, its rows tell the
 * truth, and the mailbox does what it is asked, refuses what it must, and comes to no harm by garbage.
 * (That what is read from outside is right is tests/command/stat.sh's part.)
 */
#include "unit.h"
#include "live.h"
#include "alloc.h"
#include "option.h"
#include "policy.h"
#include "teach.h"

#include <elf.h>
#include <link.h>

/* ---- finding ----------------------------------------------------------------------------------------------------- */

static const char *note;
static size_t note_size;

static int find_note(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    for (unsigned i = 0; i < info->dlpi_phnum && !note; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        const char *at = (const char *)info->dlpi_addr + p->p_vaddr, *end = at + p->p_memsz;
        while (p->p_type == PT_NOTE && p->p_align <= 4 && at + sizeof(ElfW(Nhdr)) <= end) {
            const ElfW(Nhdr) *n = (const void *)at;
            const char *name = at + sizeof *n, *desc = name + (n->n_namesz + 3) / 4 * 4;
            if (n->n_type == HKM_LIVE_NOTE && n->n_namesz == 7 && !memcmp(name, "HAKMEM", 7)) {
                note = desc;
                note_size = n->n_descsz;
                break;
            }
            at = desc + (n->n_descsz + 3) / 4 * 4;
        }
    }
    return 0;
}

static const char *by_word(uint32_t at)
{
    int32_t distance;
    ck_assert_uint_le(at + 4, note_size);
    memcpy(&distance, note + at, 4);
    return note + at + distance;
}

static const struct hkm_live *head(void)
{
    dl_iterate_phdr(find_note, NULL);
    ck_assert_ptr_nonnull(note);
    return (const struct hkm_live *)(const void *)by_word(0);
}

static const struct hkm_live_row *row_at(size_t i)
{
    const struct hkm_live *l = head();
    ck_assert_uint_lt(i, l->rows.count);
    return (const void *)((const char *)l + l->rows.at + i * l->rows.each);
}

/* The i-th of the names that begin there. */
static const char *name_at(uint32_t at, size_t i)
{
    const char *name = (const char *)head() + at;
    while (i-- > 0)
        name += strlen(name) + 1;
    ck_assert_uint_lt((size_t)(name - (const char *)head()), head()->size);
    return name;
}
static const char *row_name(size_t i) { return name_at(head()->rows.names, i); }

static const struct hkm_live_row *row(unsigned kind, const char *name)
{
    for (size_t i = 0; i < head()->rows.count; i++)
        if (row_at(i)->kind == kind && !strcmp(row_name(i), name))
            return row_at(i);
    ck_abort_msg("no row %s", name);
    return NULL;
}

static const struct hkm_live_option *option_at(size_t i)
{
    const struct hkm_live *l = head();
    return i < l->options.count ? (const void *)((const char *)l + l->options.at + i * l->options.each) : NULL;
}

static size_t option_index(const char *name)
{
    for (size_t i = 0; option_at(i); i++)
        if (!strcmp(name_at(head()->options.names, i), name))
            return i;
    ck_abort_msg("no option %s", name);
    return 0;
}

START_TEST(the_note_leads_to_it)
{
    const struct hkm_live *l = head();
    ck_assert_ptr_eq(l, hkm_live_find());
    ck_assert_mem_eq(l->magic, "HAKMEM live\n", 13);
    ck_assert_uint_eq(l->order, 0x01020304);
    ck_assert_uint_eq(l->version, 1);
    ck_assert_uint_eq(l->word, sizeof(void *));
    ck_assert_str_eq(l->release, HAK_VERSION_STRING);
    ck_assert_uint_le(l->rows.at + l->rows.each * l->rows.count, l->size);
    ck_assert_uint_le(l->options.at + l->options.each * l->options.count, l->size);
    ck_assert_uint_eq(l->rows.each, sizeof(struct hkm_live_row));
    ck_assert_uint_eq(l->options.each, sizeof(struct hkm_live_option));
}
END_TEST

START_TEST(the_note_needs_no_relocation)
{
    /* Who wrote there must have been the dynamic loader. */
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], rights[8] = "";
    unsigned long from, to;
    (void)head();
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) == 3 && from <= (uintptr_t)note && (uintptr_t)note < to)
            break;
    fclose(f);
    ck_assert_int_eq(rights[0], 'r');
    ck_assert_int_eq(rights[1], '-');
}
END_TEST

START_TEST(roots_are_where_they_are)
{
    static const struct {
        const char *name;
        const void *at;
    } known[] = {
        { "range", &hkm_range },   { "tag_none", &hkm_tag_none }, { "tag_run", &hkm_tag_run },
        { "class", hkm_class },    { "option", &hkm_option },     { "os", &hkm_os },
        { "memory", &hkm_superslab_stats },
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        ck_assert_ptr_eq(by_word(row(HKM_LIVE_ROOT, known[i].name)->at), known[i].at);
    hkm_free_fast(hkm_alloc_fast(100));
    const void *newest;
    memcpy(&newest, by_word(row(HKM_LIVE_ROOT, "heaps")->at), sizeof newest);
    ck_assert_ptr_eq(newest, hkm_heap_first());
}
END_TEST

START_TEST(rows_tell_the_truth)
{
    size_t roots = 0;
    ck_assert_uint_eq(row(HKM_LIVE_FIELD, "record.nfree")->at, offsetof(struct hkm_slab, nfree));
    ck_assert_uint_eq(row(HKM_LIVE_FIELD, "record.nfree")->size, 2);
    ck_assert_uint_eq(row(HKM_LIVE_FIELD, "heap.bin")->size, sizeof(void *));
    ck_assert_uint_eq(row(HKM_LIVE_FIELD, "count.refills")->at, offsetof(struct hkm_heap, count.refills));
    ck_assert_uint_eq(row(HKM_LIVE_FIELD, "heap.remote")->at, HKM_HEAP_SIZE + offsetof(struct hkm_remote, place));
    ck_assert_uint_eq(row(HKM_LIVE_NUMBER, "classes")->at, HKM_CLASSES);
    ck_assert_uint_eq(row(HKM_LIVE_NUMBER, "heap")->at, sizeof(struct hkm_heap));
    for (size_t i = 0; i < head()->rows.count; i++) {
        const struct hkm_live_row *r = row_at(i);
        ck_assert_msg(row_name(i)[0] && strlen(row_name(i)) <= 31, "row %zu has a name", i);
        roots += r->kind == HKM_LIVE_ROOT;
        for (size_t j = 0; j < i; j++)
            ck_assert_msg(row_at(j)->kind != r->kind || strcmp(row_name(j), row_name(i)), "%s stands twice", row_name(i));
    }
    ck_assert_uint_eq(note_size, 4 * (roots + 1));
    for (size_t i = 0; i < head()->rows.count; i++) {
        ck_assert_uint_le(row_at(i)->root, roots);
        ck_assert_uint_le(row_at(i)->via, roots);
        ck_assert((row_at(i)->kind == HKM_LIVE_VALUE || row_at(i)->kind == HKM_LIVE_LIST) ==
                  (row_at(i)->root || row_at(i)->via));
    }
}
END_TEST

/* The policy in force, by the names of its rows. */
START_TEST(the_policy_is_told)
{
    static const char *const names[] = {
#define X(field, unit, def, least, most, bench) #field,
#include "policy.def"
#undef X
    };
    const struct hkm_live_row *r = row(HKM_LIVE_LIST, "policy");
    const char *name = (const char *)head() + r->at;
    size_t offset, root = 0, via = 0, i;
    for (i = 0; i < head()->rows.count; i++)
        if (row_at(i)->kind == HKM_LIVE_ROOT) {
            root = row_at(i)->at == 4u * r->root ? row_at(i)->at : root;
            via = row_at(i)->at == 4u * r->via ? row_at(i)->at : via;
        }
    SET_OPTION(purge_ms, 555);
    memcpy(&offset, by_word((uint32_t)via), sizeof offset);
    ck_assert_ptr_eq(by_word((uint32_t)root) + offset, hkm_policy());
    for (i = 0; *name; i++, name += strlen(name) + 1) {
        ck_assert_uint_lt(i, COUNT_OF(names));
        ck_assert_str_eq(name, names[i]);
        ck_assert_uint_lt(strlen("policy_") + strlen(name), 32);
    }
    ck_assert_uint_eq(i, HKM_POLICY_ROWS);
    ck_assert_uint_eq(r->size, sizeof(hkm_word));
    ck_assert_uint_lt((size_t)(name - (const char *)head()), head()->size);
}
END_TEST

/* Of the learner as many words as have names, and they are its first. */
START_TEST(the_learner_is_told)
{
    const struct hkm_live_row *r = row(HKM_LIVE_LIST, "learn");
    const char *name = (const char *)head() + r->at;
    unsigned n = 0;
    ck_assert_uint_eq(r->size, sizeof(uint32_t));
    ck_assert_ptr_eq(by_word(row(HKM_LIVE_ROOT, "learn")->at), hkm_teach_state());
    ck_assert_str_eq(name, "epochs");
    ck_assert_uint_eq(offsetof(struct hkm_learn, epochs), 0);
    for (; *name; n++, name += strlen(name) + 1) {
        ck_assert_uint_lt(strlen("learn_") + strlen(name), 32);
        if (!strcmp(name, "kept_kb"))
            ck_assert_uint_eq(n * sizeof(uint32_t), offsetof(struct hkm_learn, kept_kb));
        if (!strcmp(name, "in_force_pace"))
            ck_assert_uint_eq(n * sizeof(uint32_t), offsetof(struct hkm_learn, chosen));
        if (!strcmp(name, "rating_keep"))
            ck_assert_uint_eq(n * sizeof(uint32_t), offsetof(struct hkm_learn, rating[HKM_STRATEGY_of_keep]));
    }
    ck_assert_uint_eq(n * sizeof(uint32_t), offsetof(struct hkm_learn, rating) + sizeof(((struct hkm_learn *)0)->rating));
}
END_TEST

static void next_option(const char *name, long value, void *arg)
{
    size_t *i = arg, now;
    const struct hkm_live_option *o = option_at(*i);
    ck_assert_ptr_nonnull(o);
    ck_assert_str_eq(name + 7, name_at(head()->options.names, (*i)++));
    memcpy(&now, by_word(row(HKM_LIVE_ROOT, "option")->at) + o->at, sizeof now);
    ck_assert_int_eq((long)now, value);
    ck_assert_int_eq(value, (long)o->def);
    ck_assert(o->least <= o->def && o->def <= o->most);
}

START_TEST(options_are_told)
{
    size_t i = 0;
    hkm_option_each(next_option, &i);
    ck_assert_ptr_null(option_at(i));
    /* By mail: what hak_option_set takes, but for what would open a file. */
    for (i = 0; option_at(i); i++) {
        const struct hkm_live_option *o = option_at(i);
        const char *name = name_at(head()->options.names, i);
        ck_assert_int_eq(o->when, strcmp(name, "STATS") && hkm_option_set(name, (long)o->def) == 0);
    }
}
END_TEST

/* ---- mail -------------------------------------------------------------------------------------------------------- */

extern struct hkm_live_mailbox hkm_live_mailbox HKM_HIDDEN;

static const struct hkm_live_answer *last(void)
{
    size_t n = hkm_load(&hkm_live_mailbox.served) + hkm_load(&hkm_live_mailbox.refused);
    ck_assert_uint_gt(n, 0);
    return &hkm_live_mailbox.answer[(n - 1) % HKM_LIVE_ANSWERS];
}

static unsigned purges;
static size_t purge(void)
{
    purges++;
    return 12345;
}

static void put(size_t number, uint64_t verb, uint64_t option, uint64_t value)
{
    struct hkm_live_request *r = &hkm_live_mailbox.request;
    *r = (struct hkm_live_request){ number, verb, option, value, 0 };
    r->check = hkm_live_check(r);
    hkm_store_rel(&hkm_superslab_stats.mail, number);
}

static enum hkm_live_result ask(size_t number, uint64_t verb, uint64_t option, uint64_t value)
{
    put(number, verb, option, value);
    ck_assert(hkm_live_asked());
    hkm_live_serve(purge);
    ck_assert(!hkm_live_asked());
    ck_assert_uint_eq(hkm_load(&last()->number), number);
    return (enum hkm_live_result)hkm_load(&last()->result);
}

START_TEST(mail_is_done)
{
    ck_assert(!hkm_live_asked());
    hkm_live_serve(purge);
    ck_assert_uint_eq(purges, 0);
    ck_assert_uint_eq(hkm_load(&hkm_live_mailbox.answer[0].number), 0);
    ck_assert_int_eq(ask(5, HKM_LIVE_SET, option_index("DIRTY_KB"), 77), HKM_LIVE_DONE);
    ck_assert_uint_eq(hkm_load(&hkm_policy()->dirty_kb), 77); /* and it is in force */
    ck_assert_uint_eq(hkm_load(&hkm_option.dirty_kb), 77);
    ck_assert_uint_eq(hkm_load(&last()->value), 4096); /* before */
    ck_assert_int_eq(ask(6, HKM_LIVE_PURGE, 0, 0), HKM_LIVE_DONE);
    ck_assert_uint_eq(purges, 1);
    ck_assert_uint_eq(hkm_load(&last()->value), 12345);
    ck_assert_uint_eq(hkm_load(&hkm_live_mailbox.served), 2);
    ck_assert_uint_eq(hkm_load(&hkm_live_mailbox.refused), 0);
}
END_TEST

START_TEST(mail_is_refused)
{
    struct hkm_option was = hkm_option;
    uint64_t wrong[] = { UINT64_MAX, (uint64_t)INT64_MAX + 1, 1u << 31, 1001 };
    ck_assert_int_eq(ask(1, 99, 0, 0), HKM_LIVE_UNKNOWN);
    ck_assert_int_eq(ask(2, 0, 0, 0), HKM_LIVE_UNKNOWN);
    ck_assert_int_eq(ask(3, HKM_LIVE_SET, head()->options.count, 0), HKM_LIVE_UNKNOWN);
    ck_assert_int_eq(ask(4, HKM_LIVE_SET, UINT64_MAX, 0), HKM_LIVE_UNKNOWN);
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        ck_assert_int_eq(ask(10 + i, HKM_LIVE_SET, option_index("DIRTY_PERCENT"), wrong[i]), HKM_LIVE_RANGE);
    ck_assert_int_eq(ask(20, HKM_LIVE_SET, option_index("BIG_KB"), 2048), HKM_LIVE_NOT_NOW);
    ck_assert_int_eq(ask(21, HKM_LIVE_SET, option_index("STATS"), 1), HKM_LIVE_NOT_NOW);
    ck_assert_uint_eq(hkm_load(&hkm_live_mailbox.refused), 10);
    ck_assert_uint_eq(hkm_load(&hkm_live_mailbox.served), 0);
    ck_assert_mem_eq(&was, &hkm_option, sizeof was);
    ck_assert_uint_eq(purges, 0);
}
END_TEST

/* One bit is wrong, whichever; and anything at all. */
START_TEST(garbage_is_refused)
{
    struct hkm_option was = hkm_option;
    struct hkm_live_request good;
    size_t refused = 0;
    uint64_t seed = 88172645463325252u;
    put(7, HKM_LIVE_SET, option_index("DIRTY_KB"), 1);
    hkm_store(&hkm_superslab_stats.mail, 0);
    good = hkm_live_mailbox.request;
    for (size_t bit = 0; bit < 8 * sizeof good; bit++) {
        hkm_live_mailbox.request = good;
        ((unsigned char *)&hkm_live_mailbox.request)[bit / 8] ^= (unsigned char)(1 << bit % 8);
        hkm_store(&hkm_superslab_stats.mail, 7);
        hkm_live_serve(purge);
        ck_assert_uint_eq(hkm_load(&last()->result), HKM_LIVE_GARBLED);
        ck_assert_uint_eq(hkm_load(&hkm_live_mailbox.refused), ++refused);
    }
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t *words = (uint64_t *)&hkm_live_mailbox.request;
        for (unsigned w = 0; w < sizeof good / 8; w++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            words[w] = i % 2 ? seed : seed % 4;
        }
        hkm_store(&hkm_superslab_stats.mail, (size_t)(i % 3 ? seed | 1 : words[0] | 1));
        hkm_live_serve(purge);
        expect(hkm_load(&hkm_live_mailbox.refused) == ++refused);
    }
    ck_assert_mem_eq(&was, &hkm_option, sizeof was);
    ck_assert_uint_eq(purges, 0);
}
END_TEST

/* A fork may come while a thread is at it; in the child nobody is. */
START_TEST(a_child_is_served)
{
    hkm_store(&hkm_live_mailbox.busy, hkm_generation() + 1);
    put(3, HKM_LIVE_PURGE, 0, 0);
    hkm_live_serve(purge);
    ck_assert_uint_eq(purges, 0);
    ck_assert(hkm_live_asked()); /* it waits */
    hkm_store(&hkm_live_mailbox.busy, hkm_generation() + 2); /* that of another generation */
    hkm_live_serve(purge);
    ck_assert_uint_eq(purges, 1);
    ck_assert(!hkm_live_asked());
}
END_TEST

/* Each of the slow ways reads its mail. */
START_TEST(slow_calls_read_it)
{
    static void *p[4096];
    size_t number = 1;
    for (unsigned i = 0; i < COUNT_OF(p); i++) /* the nursery, and refills */
        p[i] = hkm_alloc_fast(64);
    put(++number, HKM_LIVE_SET, option_index("DIRTY_KB"), 100);
    for (unsigned i = 0; i < COUNT_OF(p); i++) /* flushes */
        hkm_free_fast(p[i]);
    ck_assert_uint_eq(hkm_load(&last()->number), number);
    put(++number, HKM_LIVE_SET, option_index("DIRTY_KB"), 200);
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        p[i] = hkm_alloc_fast(200);
    ck_assert_uint_eq(hkm_load(&last()->number), number);
    put(++number, HKM_LIVE_SET, option_index("DIRTY_KB"), 300);
    volatile size_t large = 100000;
    void *run = hkm_alloc_fast(large);
    ck_assert_uint_eq(hkm_load(&last()->number), number);
    ck_assert_uint_eq(hkm_load(&hkm_option.dirty_kb), 300);
    hkm_free_fast(run);
    /* And a purge in the midst of it all gives back what was dirty. */
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        memset(p[i], 1, 200);
        hkm_free_fast(p[i]);
    }
    put(++number, HKM_LIVE_PURGE, 0, 0);
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        p[i] = hkm_alloc_fast(500);
    ck_assert_uint_eq(hkm_load(&last()->number), number);
    ck_assert_uint_eq(hkm_load(&last()->result), HKM_LIVE_DONE);
    ck_assert_uint_gt(hkm_load(&last()->value), 0);
    ck_assert_uint_eq(hkm_load(&hkm_live_mailbox.served), number - 1);
}
END_TEST

/* Purges by mail in the midst of what several threads do: no block is lost or given twice. */
enum { THREADS = 4, BLOCKS = 400, STEPS = 300000 };
static hkm_word running;

static void *work(void *arg)
{
    size_t me = (size_t)arg;
    uint64_t seed = 1234567 + me;
    struct {
        unsigned char *p;
        size_t size;
    } held[BLOCKS] = { 0 };
    /* On a busy machine the sender may sleep for long. */
    for (unsigned i = 0; i < STEPS || (i < 1000 * STEPS && hkm_load(&hkm_live_mailbox.served) <= 5); i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned at = (unsigned)(seed >> 33) % BLOCKS;
        size_t size = 1 + (seed >> 20) % (i % 100 ? 3000 : 300000);
        if (held[at].p) {
            expect(held[at].p[0] == (unsigned char)at && held[at].p[held[at].size - 1] == (unsigned char)me);
            hkm_free_fast(held[at].p);
            held[at].p = NULL;
        } else if ((held[at].p = hkm_alloc_fast(size))) {
            held[at].size = size;
            held[at].p[size - 1] = held[at].p[0] = (unsigned char)at;
            held[at].p[size - 1] = (unsigned char)me;
            if (size == 1)
                hkm_free_fast(held[at].p), held[at].p = NULL;
        }
    }
    for (unsigned at = 0; at < BLOCKS; at++)
        hkm_free_fast(held[at].p);
    hkm_add(&running, (size_t)-1);
    return NULL;
}

START_TEST(purges_among_threads)
{
    pthread_t threads[THREADS];
    size_t number = 0;
    hkm_store(&running, THREADS);
    for (size_t i = 0; i < THREADS; i++)
        threads[i] = unit_start(work, (void *)(i + 1));
    while (hkm_load(&running))
        if (!hkm_live_asked() && !hkm_load_acq(&hkm_live_mailbox.busy)) { /* nobody reads it */
            number++;
            put(number, number % 8 ? HKM_LIVE_PURGE : HKM_LIVE_SET, option_index("PURGE_MS"), number % 3);
            usleep(500);
        }
    for (size_t i = 0; i < THREADS; i++)
        unit_join(threads[i]);
    ck_assert_uint_gt(hkm_load(&hkm_live_mailbox.served), 5);
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
        ck_assert(hkm_heap_valid(h));
}
END_TEST

UNIT_MAIN("live", CK_FORK, the_note_leads_to_it, the_note_needs_no_relocation, roots_are_where_they_are, rows_tell_the_truth,
          the_policy_is_told, the_learner_is_told, options_are_told, mail_is_done, mail_is_refused, garbage_is_refused, a_child_is_served, slow_calls_read_it,
          purges_among_threads)
