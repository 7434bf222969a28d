/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_policy.c: what the slow paths are told stays within what they can do.
 */
#include "policy.h"
#include "class.h"
#include "heap.h"
#include "option.h"
#include "unit.h"

START_TEST(the_default_is_in_force)
{
    const hkm_word *row = (const hkm_word *)&hkm_policy_default;
    struct hkm_policy base;
    ck_assert_ptr_eq(hkm_policy(), &hkm_policy_default);
    ck_assert(hkm_policy_valid(&hkm_policy_default));
    ck_assert_uint_eq(sizeof base, HKM_POLICY_ROWS * sizeof *row);
    hkm_policy_base(&base);
    for (unsigned i = 0; i < HKM_POLICY_ROWS; i++) /* the options' defaults are those of the rows */
        ck_assert_msg(hkm_load((hkm_word *)&base + i) == hkm_load(&row[i]), "row %u", i);
    hkm_policy_renew();
    ck_assert_ptr_eq(hkm_policy(), &hkm_policy_default);
    ck_assert_uint_eq(hkm_policy_versions(), 0);
}
END_TEST

START_TEST(publishing)
{
    struct hkm_policy p = hkm_policy_default;
    hkm_store(&p.purge_ms, 77);
    ck_assert(hkm_policy_publish(&p, hkm_policy_changes()));
    const struct hkm_policy *first = hkm_policy();
    ck_assert_ptr_ne(first, &p);
    ck_assert_uint_eq(hkm_load(&first->purge_ms), 77);
    ck_assert_uint_eq(hkm_load(&first->dirty_kb), 4096);
    hkm_policy_renew();
    ck_assert_ptr_eq(hkm_policy(), &hkm_policy_default);
    ck_assert(hkm_policy_publish(&p, hkm_policy_changes())); /* the same again takes no room */
    ck_assert_ptr_eq(hkm_policy(), first);
    ck_assert_uint_eq(hkm_policy_versions(), 1);
}
END_TEST

START_TEST(what_is_out_of_range_is_refused)
{
    static const struct {
        size_t least, most;
    } range[] = {
#define X(field, unit, def, least, most, bench) { least, most },
#include "policy.def"
#undef X
    };
    for (unsigned i = 0; i < HKM_POLICY_ROWS; i++) {
        struct hkm_policy p = hkm_policy_default;
        hkm_word *row = (hkm_word *)&p + i;
        size_t values[] = { range[i].least, range[i].most };
        for (unsigned k = 0; k < 2; k++) {
            hkm_store(row, values[k]);
            ck_assert(hkm_policy_publish(&p, hkm_policy_changes()));
            ck_assert_uint_eq(hkm_load((const hkm_word *)hkm_policy() + i), values[k]);
        }
        const struct hkm_policy *was = hkm_policy();
        hkm_store(row, range[i].most + 1);
        ck_assert(!hkm_policy_publish(&p, hkm_policy_changes()));
        hkm_store(row, range[i].least - 1);
        ck_assert(!hkm_policy_publish(&p, hkm_policy_changes()));
        ck_assert_ptr_eq(hkm_policy(), was);
    }
}
END_TEST

/* Old ones make room, and what was read stays as it was for as long as can be told. */
START_TEST(many_versions)
{
    struct hkm_policy p = hkm_policy_default;
    const struct hkm_policy *last = NULL;
    enum { KEPT = 32 };
    const struct hkm_policy *seen[KEPT] = { NULL };
    for (size_t i = 1; i < 10000; i++) {
        hkm_store(&p.purge_ms, i);
        ck_assert(hkm_policy_publish(&p, hkm_policy_changes()));
        ck_assert_ptr_ne(hkm_policy(), last); /* what is in force is never written to */
        last = hkm_policy();
        ck_assert_uint_eq(hkm_load(&last->purge_ms), i);
        for (size_t k = 1; k < KEPT && k < i; k++)
            ck_assert_uint_eq(hkm_load(&seen[(i - k) % KEPT]->purge_ms), i - k);
        seen[i % KEPT] = last;
    }
}
END_TEST

static void *publish_many(void *arg)
{
    struct hkm_policy p = hkm_policy_default;
    for (size_t i = 0; i < 20000; i++) {
        hkm_store(&p.dirty_kb, 1000 * (size_t)arg + i % 200);
        hkm_store(&p.purge_ms, 1000 * (size_t)arg + i % 200);
        ck_assert(hkm_policy_publish(&p, hkm_policy_changes()));
    }
    return NULL;
}

START_TEST(publishing_by_many_threads)
{
    pthread_t thread[3];
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, publish_many, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < 200000; i++) {
        const struct hkm_policy *p = hkm_policy();
        if (!hkm_policy_valid(p))
            ck_abort_msg("a policy is not whole");
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(hkm_load(&hkm_policy()->dirty_kb), hkm_load(&hkm_policy()->purge_ms));
}
END_TEST

static const char *parse(struct hkm_policy *p, const char *text, unsigned *line)
{
    return hkm_policy_parse(p, text, strlen(text), line);
}

START_TEST(saved)
{
    struct hkm_policy p = { .purge_ms = 5 };
    unsigned line;
    ck_assert_ptr_null(parse(&p, "hakmem-policy 1\n# words\n\n  dirty_kb\t5000 # more\r\npurge_ms 7\nend\n\n# behind\n", &line));
    ck_assert_uint_eq(hkm_load(&p.dirty_kb), 5000);
    ck_assert_uint_eq(hkm_load(&p.purge_ms), 7);
    ck_assert_uint_eq(hkm_load(&p.big_kb), 32768);
    ck_assert_ptr_null(parse(&p, "hakmem-policy 1\nend", &line));
    ck_assert(!memcmp(&p, &hkm_policy_default, sizeof p));
}
END_TEST

START_TEST(wrong_files)
{
    static const struct {
        const char *text;
        unsigned line;
    } wrong[] = {
        { "", 0 }, { "\n", 1 }, { "hello\n", 1 }, { "hakmem-policy\nend\n", 1 }, { "hakmem-policy 2\nend\n", 1 },
        { "hakmem-policy 1 1\nend\n", 1 }, { "hakmem-policy 1\n", 1 }, { "hakmem-policy 1\ndirty_kb 50", 2 },
        { "hakmem-policy 1\nen", 2 }, { "hakmem-policy 1\ndirty_k 50\nend\n", 2 }, { "hakmem-policy 1\ndirty_kb\nend\n", 2 },
        { "hakmem-policy 1\ndirty_kb x\nend\n", 2 }, { "hakmem-policy 1\ndirty_kb -1\nend\n", 2 },
        { "hakmem-policy 1\ndirty_kb 99999999999999999999999\nend\n", 2 }, { "hakmem-policy 1\ndirty_kb 1 2\nend\n", 2 },
        { "hakmem-policy 1\npurge_ms 3600001\nend\n", 2 }, { "hakmem-policy 1\nend\npurge_ms 1\n", 3 },
        { "dirty_kb 1\nend\n", 1 },
    };
    for (unsigned i = 0; i < COUNT_OF(wrong); i++) {
        struct hkm_policy p = { .purge_ms = 5 };
        unsigned line;
        ck_assert_msg(parse(&p, wrong[i].text, &line) != NULL, "%u: %s", i, wrong[i].text);
        ck_assert_msg(line == wrong[i].line, "%u: line %u", i, line);
        ck_assert_uint_eq(hkm_load(&p.purge_ms), 5); /* nothing of it is taken */
    }
    /* Any bytes: none of them is believed, and no more than there are is read. */
    uint64_t rnd = 1;
    for (unsigned i = 0; i < 20000; i++) {
        char text[64] = "hakmem-policy 1\ndirty_kb 55\nend\n";
        size_t n = strlen(text);
        unsigned line;
        struct hkm_policy p;
        for (unsigned k = 0; k < 3; k++) {
            rnd = rnd * 6364136223846793005u + 1442695040888963407u;
            text[(rnd >> 33) % n] = (char)(rnd >> 50);
        }
        if (!hkm_policy_parse(&p, text, (rnd >> 40) % (n + 1), &line))
            ck_assert(hkm_policy_valid(&p));
    }
}
END_TEST

static void save(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    ck_assert_int_eq(fclose(f), 0);
}

START_TEST(a_policy_file)
{
    char path[] = "/tmp/hakmem-policy-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    save(path, "hakmem-policy 1\ndirty_kb 9000\npurge_ms 70\nend\n");
    setenv("HAKMEM_POLICY_FILE", path, 1);
    hkm_policy_load();
    SET_OPTION(purge_ms, 500);
    ck_assert_uint_eq(hkm_load(&hkm_policy()->dirty_kb), 9000);
    ck_assert_uint_eq(hkm_load(&hkm_policy()->purge_ms), 500); /* the option goes before it */
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(growth)
{
    size_t last = 0, end = sizeof(void *) == 8 ? 64 * GIB : 700 * MIB;
    for (size_t mapped = 0; mapped < end; mapped = mapped * 5 / 4 + HKM_SUPERSLAB_SIZE) {
        mapped &= ~(size_t)(HKM_SLOT_SIZE - 1);
        for (size_t need = HKM_SLOT_SIZE; need <= 256 * MIB; need = need * 2 + HKM_SLOT_SIZE) {
            size_t step = hkm_policy_growth(hkm_policy(), mapped, need);
            ck_assert_uint_ge(step, need);
            size_t unit = mapped || HKM_SUPERSLAB_SIZE <= HKM_POLICY_FIRST ? HKM_SUPERSLAB_SIZE : HKM_POLICY_FIRST;
            ck_assert_uint_ge(step, unit);
            ck_assert_uint_eq(step % unit, 0);
            /* Never much more than is there, or is asked for. */
            size_t most = mapped / 8 + HKM_SUPERSLAB_SIZE;
            if (most > 64 * MIB)
                most = 64 * MIB;
            ck_assert_uint_le(step, most > need + HKM_SUPERSLAB_SIZE ? most : need + HKM_SUPERSLAB_SIZE);
        }
        size_t step = hkm_policy_growth(hkm_policy(), mapped, HKM_SLOT_SIZE);
        ck_assert_uint_ge(step, last);
        last = step;
    }
    ck_assert_uint_eq(last, 64 * MIB);
}
END_TEST

START_TEST(growth_without_superslabs)
{
    SET_OPTION(tiny_use_superslab, 0);
    ck_assert_uint_eq(hkm_policy_growth(hkm_policy(), 0, HKM_SLOT_SIZE), HKM_SLOT_SIZE);
    ck_assert_uint_eq(hkm_policy_growth(hkm_policy(), 8 * GIB, 3 * HKM_SLOT_SIZE), 3 * HKM_SLOT_SIZE);
    ck_assert_uint_eq(hkm_policy_slots(hkm_policy(), 8 * GIB), 1);
}
END_TEST

START_TEST(dirty_limit)
{
    ck_assert_uint_eq(hkm_policy_dirty_limit(hkm_policy(), 0), 4 * MIB);
    ck_assert_uint_eq(hkm_policy_dirty_limit(hkm_policy(), MIB), 4 * MIB);
    ck_assert_uint_eq(hkm_policy_dirty_limit(hkm_policy(), 400 * MIB), 48 * MIB);
    ck_assert_uint_ge(hkm_policy_dirty_limit(hkm_policy(), SIZE_MAX / 100), 4 * MIB);
    SET_OPTION(dirty_kb, 0);
    ck_assert_uint_eq(hkm_policy_dirty_limit(hkm_policy(), 0), 0);
    ck_assert_uint_eq(hkm_policy_dirty_limit(hkm_policy(), 1000), 120);
    SET_OPTION(dirty_percent, 0);
    ck_assert_uint_eq(hkm_policy_dirty_limit(hkm_policy(), 400 * MIB), 0);
    SET_OPTION(dirty_percent, 1000);
    ck_assert_uint_eq(hkm_policy_dirty_limit(hkm_policy(), 1000), 10000);
    SET_OPTION(dirty_kb, 1 << 30);
    ck_assert_uint_eq(hkm_policy_dirty_limit(hkm_policy(), 0), sizeof(void *) == 8 ? 1024 * GIB : SIZE_MAX);
    SET_OPTION(disable_purge, 1);
    ck_assert_uint_eq(hkm_policy_dirty_limit(hkm_policy(), 0), SIZE_MAX);
}
END_TEST

START_TEST(dirty_most)
{
    ck_assert_uint_eq(hkm_policy_dirty_most(hkm_policy(), 0, false), 32 * MIB);
    ck_assert_uint_eq(hkm_policy_dirty_most(hkm_policy(), 400 * MIB, false), 192 * MIB);
    for (size_t used = 0; used < 64 * GIB; used = used * 2 + 12345)
        ck_assert_uint_ge(hkm_policy_dirty_most(hkm_policy(), used, false), hkm_policy_dirty_limit(hkm_policy(), used));
    SET_OPTION(purge_ms, 0); /* at once */
    ck_assert_uint_eq(hkm_policy_dirty_most(hkm_policy(), 400 * MIB, false), 48 * MIB);
    SET_OPTION(purge_ms, 1);
    SET_OPTION(dirty_kb, 1 << 30);
    ck_assert_uint_ge(hkm_policy_dirty_most(hkm_policy(), 0, false), hkm_policy_dirty_limit(hkm_policy(), 0));
    SET_OPTION(disable_purge, 1);
    ck_assert_uint_eq(hkm_policy_dirty_most(hkm_policy(), 0, false), SIZE_MAX);
}
END_TEST

/* What ACE keeps lies beside what the options allow: as long as it is young, and no more of it than is said. */
START_TEST(kept)
{
    struct hkm_policy p = hkm_policy_default;
    hkm_store(&p.kept_kb, 64 * MIB / KIB);
    ck_assert_uint_eq(hkm_policy_dirty_limit(&p, 0), 64 * MIB);
    ck_assert_uint_eq(hkm_policy_dirty_limit(&p, 1000 * MIB), 120 * MIB);
    ck_assert_uint_eq(hkm_policy_dirty_old(&p, 0), 4 * MIB);
    ck_assert_uint_eq(hkm_policy_dirty_most(&p, 0, false), 64 * MIB);
    ck_assert_uint_eq(hkm_policy_dirty_most(&p, 0, true), 128 * MIB);
    ck_assert_uint_eq(hkm_policy_bigcache(&p, 0), 64 * MIB);
    ck_assert_int_eq(hkm_policy_look(&p, 0, 20 * MIB, 16 * MIB, 900), HKM_LOOK_NOT);
    ck_assert_int_eq(hkm_policy_look(&p, 0, 20 * MIB, 16 * MIB, 1000), HKM_LOOK_IDLE);
    hkm_store(&p.kept_kb, 16 * MIB / KIB);
    ck_assert_uint_eq(hkm_policy_dirty_most(&p, 0, false), 32 * MIB);
    hkm_store(&p.purge, 0);
    ck_assert_uint_eq(hkm_policy_dirty_most(&p, 0, true), SIZE_MAX);
    ck_assert_uint_eq(hkm_policy_dirty_limit(&p, 0), SIZE_MAX);
}
END_TEST

/* Options have changed since somebody read them: what he makes of them does not come into force. */
START_TEST(options_go_before_what_was_learned)
{
    struct hkm_policy p;
    size_t changes = hkm_policy_changes();
    hkm_policy_base(&p);
    hkm_store(&p.kept_kb, 12345);
    ck_assert(hkm_policy_publish(&p, changes));
    ck_assert_uint_eq(hkm_load(&hkm_policy()->kept_kb), 12345);
    SET_OPTION(dirty_kb, 77);
    ck_assert(!hkm_policy_publish(&p, changes));
    ck_assert_uint_eq(hkm_load(&hkm_policy()->kept_kb), 0);
    ck_assert_uint_eq(hkm_load(&hkm_policy()->dirty_kb), 77);
}
END_TEST

START_TEST(cache_limit)
{
    ck_assert_uint_eq(hkm_policy_cache_limit(hkm_policy(), 0), 64 * MIB);
    ck_assert_uint_eq(hkm_policy_cache_limit(hkm_policy(), 512 * MIB), 64 * MIB);
    ck_assert_uint_eq(hkm_policy_cache_limit(hkm_policy(), 1600 * MIB), 200 * MIB);
    SET_OPTION(cache_kb, 0);
    ck_assert_uint_eq(hkm_policy_cache_limit(hkm_policy(), 0), 0);
    ck_assert_uint_eq(hkm_policy_cache_limit(hkm_policy(), 80 * MIB), 10 * MIB);
}
END_TEST

START_TEST(caches_grow_to_their_most)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        unsigned most = hkm_class[c].most, cap = most < 6 ? most : 6, steps = 0;
        while (cap < most) {
            unsigned next = hkm_policy_cache_growth(hkm_policy(), cap, most);
            ck_assert_uint_gt(next, cap);
            ck_assert_uint_le(next, most);
            cap = next;
            steps++;
        }
        ck_assert_uint_le(steps, HKM_CAPS); /* heap.c recycles the bins of so many sizes */
        ck_assert_uint_eq(hkm_policy_cache_growth(hkm_policy(), cap, most), most);
    }
    SET_OPTION(disable_cache_growth, 1);
    ck_assert_uint_eq(hkm_policy_cache_growth(hkm_policy(), 6, 256), 6);
}
END_TEST

START_TEST(refill_and_flush)
{
    for (unsigned cap = 2; cap <= hkm_class[0].most; cap++) { /* the first class has the most */
        unsigned in = hkm_policy_refill(hkm_policy(), cap), out = hkm_policy_flush(hkm_policy(), cap);
        ck_assert(in >= 1 && in < cap); /* one place stays free, so that a push needs no test before it */
        ck_assert(out >= 1 && out < cap); /* the newest stays, for the next free to be compared with */
        ck_assert_uint_ge(hkm_policy_patience(hkm_policy(), cap), 1);
    }
}
END_TEST

START_TEST(nursery)
{
    unsigned last = 256;
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        size_t size = hkm_class[c].size;
        unsigned n = 0, total = 0;
        while (n < 999 && hkm_policy_nursery(hkm_policy(), size, n, n)) /* all are kept */
            n++;
        ck_assert(n >= 1 && n <= last && (n == 1 || n * size <= 24576) && !hkm_policy_nursery(hkm_policy(), size, 999, 999));
        last = n;
        while (total < 999 && hkm_policy_nursery(hkm_policy(), size, total, 0)) /* each is freed at once */
            total++;
        ck_assert(size < HKM_POLICY_NURSERY_LARGE ? total == n : total > n && total < 255);
    }
    SET_OPTION(disable_nursery, 1);
    ck_assert(!hkm_policy_nursery(hkm_policy(), 16, 0, 0));
}
END_TEST

static size_t ahead(size_t taken, size_t heaps, size_t full) { return hkm_policy_prefault(hkm_policy(), taken, heaps, full); }

START_TEST(prefault)
{
    SET_OPTION(disable_prefault, 0);
    for (size_t full = 0; full < 100; full++) {
        ck_assert_uint_eq(ahead(0, 1, full), 0); /* a small process stays small */
        ck_assert_uint_eq(ahead(4 * MIB, 1, full), 0);
        for (size_t heaps = 1; heaps <= 1000; heaps *= 10) {
            for (size_t taken = 8 * MIB; taken < GIB; taken *= 2) {
                size_t step = ahead(taken, heaps, full), most = full * HKM_SLOT_SIZE / 8; /* that part of what is full, at most ... */
                ck_assert_uint_le(step, HKM_SLOT_SIZE);
                ck_assert(step <= most || heaps * HKM_CLASSES * step <= taken / 8); /* ... or of all there is */
                ck_assert(!full || step >= ahead(taken, heaps, full - 1));
                ck_assert_uint_ge(step, ahead(taken, heaps + 1, full));
            }
        }
    }
    ck_assert_uint_eq(ahead(GIB, 1000, 1), 8 * KIB);
    ck_assert_uint_eq(ahead(GIB, 1000, 2), 16 * KIB);
    ck_assert_uint_eq(ahead(GIB, 1000, 8), 16 * KIB);
    ck_assert_uint_eq(ahead(GIB, 1000, 16), 32 * KIB);
    ck_assert_uint_eq(ahead(GIB, 1000, HKM_POLICY_PREFAULT_FULL), HKM_SLOT_SIZE);
    ck_assert_uint_eq(ahead(16 * MIB, 1, 7), 42 * KIB);
    ck_assert_uint_eq(ahead(GIB, 8, 2), HKM_SLOT_SIZE);
    SET_OPTION(disable_prefault, 1);
    ck_assert_uint_eq(ahead(GIB, 1, 100), 0);
}
END_TEST

START_TEST(huge)
{
    SET_OPTION(hugepages, HKM_HUGE_NO);
    ck_assert(!hkm_policy_huge(hkm_policy(), GIB, GIB, GIB));
    SET_OPTION(hugepages, HKM_HUGE_GROWN); /* no slots */
    ck_assert(!hkm_policy_huge(hkm_policy(), GIB, GIB, GIB));
    for (size_t kind = HKM_HUGE_THP; kind <= HKM_HUGE_TLB; kind++) {
        SET_OPTION(hugepages, kind);
        ck_assert(!hkm_policy_huge(hkm_policy(), 0, 0, HKM_SLOT_SIZE) && !hkm_policy_huge(hkm_policy(), 3 * MIB, 3 * MIB, MIB)); /* small stays small */
        ck_assert(hkm_policy_huge(hkm_policy(), 4 * MIB, 4 * MIB, HKM_SLOT_SIZE) && hkm_policy_huge(hkm_policy(), GIB, GIB, MIB));
        ck_assert(hkm_policy_huge(hkm_policy(), MIB, MIB, 4 * MIB)); /* one large block is a growing heap, too */
        ck_assert(!hkm_policy_huge(hkm_policy(), GIB, GIB / 2, MIB)); /* full of holes, none of which was long enough */
    }
}
END_TEST

START_TEST(slots)
{
    for (size_t mapped = 0; mapped < SIZE_MAX / 4; mapped = mapped * 2 + HKM_SLOT_SIZE) {
        unsigned n = hkm_policy_slots(hkm_policy(), mapped);
        ck_assert(n >= 1 && n <= HKM_SPARES); /* one to use, the others become spares */
    }
    ck_assert_uint_eq(hkm_policy_slots(hkm_policy(), 0), 1); /* a small process stays small */
}
END_TEST

START_TEST(big)
{
    ck_assert_uint_eq(hkm_policy_big(hkm_policy()), 32 * MIB);
    SET_OPTION(big_kb, 1024);
    ck_assert_uint_eq(hkm_policy_big(hkm_policy()), MIB);
    SET_OPTION(disable_big_mappings, 1);
    ck_assert_uint_eq(hkm_policy_big(hkm_policy()), SIZE_MAX);
    SET_OPTION(disable_big_mappings, 0);
    ck_assert(hkm_policy_growing(hkm_policy(), 0) && hkm_policy_growing(hkm_policy(), 100) && !hkm_policy_growing(hkm_policy(), 60000));
    SET_OPTION(disable_big_mappings, 1);
    ck_assert(!hkm_policy_growing(hkm_policy(), 0));
    SET_OPTION(dirty_kb, 4096);
    SET_OPTION(dirty_percent, 10);
    SET_OPTION(bigcache_kb, 1 << 20);
    ck_assert_uint_eq(hkm_policy_bigcache(hkm_policy(), 0), 4 * MIB);
    ck_assert_uint_eq(hkm_policy_bigcache(hkm_policy(), 1000 * MIB), 100 * MIB);
    SET_OPTION(bigcache_kb, 1024);
    ck_assert_uint_eq(hkm_policy_bigcache(hkm_policy(), 1000 * MIB), MIB);
    SET_OPTION(disable_bigcache, 1);
    ck_assert_uint_eq(hkm_policy_bigcache(hkm_policy(), 1000 * MIB), 0);
}
END_TEST

START_TEST(looks)
{
    /* 100 MiB in use: 12 may be dirty, a look is for 3 more, and in a hurry from 24 on. */
    ck_assert_int_eq(hkm_policy_look(hkm_policy(), 100 * MIB, 50 * MIB, 2 * MIB, 5000), HKM_LOOK_NOT);
    ck_assert_int_eq(hkm_policy_look(hkm_policy(), 100 * MIB, 50 * MIB, 4 * MIB, 5000), HKM_LOOK_IDLE);
    ck_assert_int_eq(hkm_policy_look(hkm_policy(), 100 * MIB, 50 * MIB, 4 * MIB, 900), HKM_LOOK_NOT);
    ck_assert_int_eq(hkm_policy_look(hkm_policy(), 100 * MIB, 50 * MIB, 23 * MIB, 900), HKM_LOOK_NOT);
    ck_assert_int_eq(hkm_policy_look(hkm_policy(), 100 * MIB, 50 * MIB, 25 * MIB, 0), HKM_LOOK_ALL);
    ck_assert_int_eq(hkm_policy_look(hkm_policy(), 100 * MIB, 50 * MIB, 0, 17000), HKM_LOOK_IDLE); /* now and then */
    ck_assert_int_eq(hkm_policy_look(hkm_policy(), 100 * MIB, 10 * MIB, 0, 17000), HKM_LOOK_NOT);
    ck_assert_int_eq(hkm_policy_look(hkm_policy(), 0, 4 * MIB, 512 * KIB, 17000), HKM_LOOK_NOT);
    SET_OPTION(disable_purge, 1);
    ck_assert_int_eq(hkm_policy_look(hkm_policy(), MIB, SIZE_MAX / 2, SIZE_MAX / 2, SIZE_MAX), HKM_LOOK_NOT);
}
END_TEST

START_TEST(spare)
{
    ck_assert_uint_eq(hkm_policy_pieces(0), 1);
    ck_assert_uint_eq(hkm_policy_pieces(HKM_POLICY_PIECE_MS - 1), 1);
    ck_assert_uint_eq(hkm_policy_pieces(HKM_POLICY_PIECE_MS), 2);
    ck_assert_uint_eq(hkm_policy_pieces(100), HKM_POLICY_PIECES);
    ck_assert_uint_eq(hkm_policy_pieces(SIZE_MAX), HKM_POLICY_PIECES);
    ck_assert_uint_eq(hkm_policy_spare(hkm_policy(), 100, 999), 0);
    ck_assert_uint_eq(hkm_policy_spare(hkm_policy(), 100, 1000), 50);
    ck_assert_uint_eq(hkm_policy_spare(hkm_policy(), 100, 3000), 88);
    ck_assert_uint_eq(hkm_policy_spare(hkm_policy(), 100, 3600000), 100);
    ck_assert_uint_eq(hkm_policy_spare(hkm_policy(), 3, 3600000), 0);
    SET_OPTION(purge_ms, 0);
    ck_assert_uint_eq(hkm_policy_spare(hkm_policy(), 100, 0), 50);
    SET_OPTION(disable_purge, 1);
    ck_assert_uint_eq(hkm_policy_spare(hkm_policy(), 100, 3600000), 0);
}
END_TEST

START_TEST(retreat)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        unsigned cap = hkm_class[c].most, least = hkm_policy_cache_retreat(cap, hkm_class[c].size, true);
        ck_assert_uint_ge(least, cap < 3 ? cap : 3);
        size_t held = least * hkm_class[c].size;
        ck_assert(hkm_class[c].size > HKM_TINY_MAX ? least <= 3 : held <= 24 * HKM_TINY_MAX && (least <= 24 || held <= 16384));
        for (unsigned steps = 0; cap > least; steps++) {
            unsigned next = hkm_policy_cache_retreat(cap, hkm_class[c].size, false);
            ck_assert_uint_lt(next, cap);
            ck_assert_uint_ge(next, least);
            ck_assert_uint_lt(steps, 12);
            cap = next;
        }
        ck_assert_uint_eq(hkm_policy_cache_retreat(least, hkm_class[c].size, true), least);
    }
}
END_TEST

UNIT_MAIN("policy", CK_FORK, the_default_is_in_force, publishing, what_is_out_of_range_is_refused, many_versions,
          publishing_by_many_threads, saved, wrong_files, a_policy_file, growth, growth_without_superslabs, dirty_limit, dirty_most,
          kept, options_go_before_what_was_learned, cache_limit, caches_grow_to_their_most, refill_and_flush, nursery, prefault,
          huge, slots, big, looks, spare, retreat)
