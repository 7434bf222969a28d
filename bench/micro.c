/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * micro [PART [ROUNDS]]: parts of HAKMEM by themselves, ns an operation; linked with its core, so that the program's
 * own malloc stays the C library's, and no preload matters. All parts, or one of parts[]; of ROUNDS rounds (7) of some
 * ms the one with the least CPU time counts. What an op is, parts[] says too.
 */
#include "alloc.h"
#include "bench.h"
#include "bigcache.h"
#include "learn.h"
#include "mid.h"
#include "option.h"
#include "policy.h"
#include "purge.h"
#include "shared_pool.h"
#include "site.h"
#include "superslab.h"

enum { BATCH = 64, MANY = 20000, BYTES = 64 };

static const char site;
static void *many[MANY];
static size_t volatile sink; /* what is computed for nothing goes here */

static void *need(void *p) { return bench_need(p); }

/* A slot, as from the pool. */
static struct hkm_slab *slot(void)
{
    struct hkm_slab *s;
    while (!hkm_shared_pool_acquire(&s, 1))
        if (!hkm_shared_pool_grow())
            bench_die("out of memory");
    return s;
}

static struct hkm_slab *slab(void)
{
    struct hkm_slab *s = slot();
    if (!hkm_slab_open(s, hkm_class_of(BYTES)))
        bench_die("out of memory");
    return s;
}

/* Each part does n ops, or some more, and returns how many; what it needs it makes in the first call, which does not
 * count. */

static uint64_t unified_cache(uint64_t n)
{
    static void *live[8];
    for (uint64_t i = 0; i < n; i++) {
        void **p = &live[i % 8];
        if (*p)
            hkm_free_fast(*p);
        *p = need(hkm_alloc_fast(BYTES));
    }
    return n;
}

static uint64_t refill_flush(uint64_t n)
{
    uint64_t done = 0;
    for (; done < n; done += MANY) {
        for (int i = 0; i < MANY; i++)
            many[i] = need(hkm_alloc_fast(BYTES));
        for (int i = 0; i < MANY; i++)
            hkm_free_fast(many[i]);
    }
    return done;
}

/* A slab that is half full and has been so for long: every other block is free. */
static struct hkm_slab *half_full(void)
{
    static struct hkm_slab *s;
    static void *got[HKM_SLOT_SIZE / 16];
    if (s)
        return s;
    s = slab();
    unsigned k = hkm_slab_take(s, got, s->blocks);
    for (unsigned i = 0; i < k; i += 2)
        hkm_slab_give(s, &got[i], 1);
    return s;
}

static uint64_t slab_refill(uint64_t n)
{
    struct hkm_slab *s = half_full();
    uint64_t done = 0;
    while (done < n) {
        unsigned k = hkm_slab_take(s, many, BATCH);
        hkm_slab_give(s, many, k);
        done += k;
    }
    return done;
}

static uint64_t slab_flush(uint64_t n) /* in an order that is not that of the addresses */
{
    struct hkm_slab *s = half_full();
    uint64_t done = 0;
    while (done < n) {
        unsigned k = hkm_slab_take(s, many, BATCH);
        for (unsigned i = 0; i < k; i++)
            hkm_slab_give(s, &many[i * 37 % k], 1);
        done += k;
    }
    return done;
}

static uint64_t slab_remote(uint64_t n)
{
    struct hkm_slab *s = half_full();
    uint64_t done = 0;
    while (done < n) {
        unsigned k = hkm_slab_take(s, many, BATCH);
        for (unsigned i = 0; i < k; i++)
            hkm_slab_remote(s, many[i]);
        if (hkm_slab_collect(s) != k)
            bench_die("micro: blocks were lost");
        done += k;
    }
    return done;
}

/* Addresses of blocks in many slabs, at random. */
static void **addresses(void)
{
    static void *p[MANY];
    uint64_t rnd = 1;
    for (int i = 0; !p[MANY - 1] && i < MANY; i++)
        p[i] = need(hkm_alloc_fast(1000));
    static bool mixed;
    for (int i = MANY - 1; !mixed && i > 0; i--) {
        size_t j = bench_between(&rnd, 0, (size_t)i);
        void *t = p[i];
        p[i] = p[j];
        p[j] = t;
    }
    mixed = true;
    return p;
}

static uint64_t registry(uint64_t n)
{
    void **p = addresses();
    size_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        size_t at = 0;
        struct hkm_range *r = hkm_registry_find(p[i % MANY], &at);
        sum += hkm_tag_at(r, at)->cls;
    }
    sink = sum;
    return n;
}

static uint64_t bigcache(uint64_t n)
{
    static void *p;
    if (!p) {
        need(hkm_mid_alloc((size_t)64 << 20, 16, false, NULL));    /* a heap of which it is a small share */
        hkm_bigcache_note(3 << 20, &site);
        hkm_bigcache_note(3 << 20, &site);
        p = need(hkm_mid_alloc(3 << 20, 16, false, &site));
    }
    for (uint64_t i = 0; i < n; i++) {
        if (!hkm_bigcache_put_run(hkm_registry_slab(p)))
            bench_die("micro: the BigCache does not keep a block");
        p = hkm_bigcache_take(3 << 20, &site);
        if (!p)
            bench_die("micro: the BigCache lost a block");
    }
    return n;
}

static uint64_t site_lookup(uint64_t n)
{
    size_t sum = 0;
    for (unsigned i = 0; i < BATCH; i++)
        hkm_site_alloc(&many[i], HKM_SITE_LEAST);
    for (uint64_t i = 0; i < n; i++)
        sum += hkm_site_find(&many[i % BATCH]) != NULL;
    sink = sum;
    return n;
}

static uint64_t site_told(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        hkm_site_free(&many[i % BATCH], HKM_SITE_LEAST, hkm_site_alloc(&many[i % BATCH], HKM_SITE_LEAST), 0);
    return n;
}

static uint64_t shared_pool(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        hkm_shared_pool_release(slot());
    return n;
}

static uint64_t purge_look(uint64_t n)
{
    struct hkm_slab *s = half_full();
    size_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint16_t young = 0;
        sum += hkm_slab_look(s, SIZE_MAX, &young);
        sum += young;
    }
    sink = sum;
    return n;
}

static uint64_t purge_tick(uint64_t n)
{
    addresses();
    struct hkm_heap *h = hkm_thread_own();
    if (!h)
        bench_die("micro: the thread has no heap");
    for (uint64_t i = 0; i < n; i++) {
        hkm_store(&h->events, hkm_load(&h->events) + 1);
        if (hkm_purge_is_due(h))
            hkm_purge_slow(h);
    }
    return n;
}

static uint64_t policy(uint64_t n)
{
    size_t mapped = hkm_load(&hkm_superslab_stats.mapped) << HKM_SLOT_SHIFT, sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += hkm_policy_cache_limit(hkm_policy(), mapped + i) + hkm_policy_dirty_limit(hkm_policy(), mapped + i) +
               hkm_policy_slots(hkm_policy(), mapped + i);
    sink = sum;
    return n;
}

/* Each time the ratings are others; all strategies may be played. */
static uint64_t elo_select(uint64_t n)
{
    static struct hkm_learn l;
    size_t sum = 0;
    hkm_learn_begin(&l, &hkm_policy_default, HKM_EVO_LEARN, (struct hkm_learn_price){0});
    for (uint64_t i = 0; i < n; i++) {
        l.rating[1 + i % (HKM_LEARN_STRATEGIES - 1)] = (int32_t)(HKM_LEARN_ELO + i % 7);
        unsigned s = hkm_learn_select(&l);
        if (!s)
            bench_die("micro: no strategy is left");
        sum += s;
    }
    sink = sum;
    return n;
}

static const struct part { const char *name; uint64_t (*run)(uint64_t n); const char *op; } parts[] = {
    {"unified_cache", unified_cache, "a push and a pop: free and malloc, of 8 live blocks"},
    {"refill_flush", refill_flush, "malloc and free, of 20000 blocks in turn: pop, push, and a share of refills and flushes"},
    {"slab_refill", slab_refill, "a block taken from a half full slab, 64 at once, and given back in order"},
    {"slab_flush", slab_flush, "the same, but given back one by one, in another order"},
    {"slab_remote", slab_remote, "the same, but given back by another thread's way, and collected"},
    {"registry", registry, "from an address, of 20 MB at random, to the class of its slot"},
    {"bigcache", bigcache, "a put and a take of 3 MiB"},
    {"site_lookup", site_lookup, "a look-up of a call site, of 64"},
    {"site_told", site_told, "a block of 1 MiB told of as it comes and as it goes, of 64 call sites"},
    {"shared_pool", shared_pool, "a release and an acquire of a slot"},
    {"purge_look", purge_look, "a look at a slab: which pages are free"},
    {"purge_tick", purge_tick, "the question after each slow call whether there is something to purge"},
    {"policy", policy, "three questions to the policy"},
    {"elo_select", elo_select, "the learner's choice of the strategy that is played next"},
};
enum { PARTS = sizeof parts / sizeof *parts };

static void measure(const struct part *p, unsigned long rounds)
{
    uint64_t n = 1000, ops = p->run(1);
    struct bench_time t = {0}, least = {0};
    double best = 0;
    do { /* so many that the clock does not matter */
        n *= 2;
        t = bench_start();
        ops = p->run(n);
        t = bench_since(t);
    } while (t.cpu < 5000000 && n < (uint64_t)1 << 40);
    for (unsigned long r = 0; r < rounds; r++) {
        t = bench_start();
        ops = p->run(n);
        t = bench_since(t);
        double ns = (double)t.cpu / (double)ops;
        if (r == 0 || ns < best) {
            best = ns;
            least = t;
        }
    }
    char name[64];
    snprintf(name, sizeof name, "micro %s", p->name);
    bench_line(name, ops, least);
}

int main(int argc, char **argv)
{
    bench_prove();
    unsigned long rounds = bench_arg(argc, argv, 2, 7);
    const struct part *one = NULL;
    for (int i = 0; argc > 1 && i < PARTS; i++)
        if (strcmp(argv[1], parts[i].name) == 0)
            one = &parts[i];
    if ((argc > 1 && !one && strcmp(argv[1], "all") != 0) || !rounds || argc > 3) {
        fputs("bench: usage: micro [PART [ROUNDS]], PART one of: all", stderr);
        for (int i = 0; i < PARTS; i++)
            fprintf(stderr, ", %s", parts[i].name);
        fputc('\n', stderr);
        return 2;
    }
    hkm_os_init();
    for (const struct part *p = one ? one : parts; p < (one ? one + 1 : parts + PARTS); p++)
        measure(p, rounds);
    return 0;
}
