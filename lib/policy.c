/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * policy.c: see policy.h.
 */
#define HKM_SMALL
#include "policy.h"
#include "class.h"
#include "lock.h"
#include "os.h"

HKM_USED const struct hkm_policy hkm_policy_default = {
#define X(field, unit, def, least, most, bench) .field = (def),
#include "policy.def"
#undef X
};
#define X(field, unit, def, least, most, bench) \
    _Static_assert((least) <= (def) && (def) <= (most), "default of " #field " is out of its range");
#include "policy.def"
#undef X

/* ---- the policy in force ---------------------------------------------------------------------------------------- */

/* The policies that were in force.  There are few different ones: options are set now and then, and the learner goes back
 * and forth between the same.  Each is written once, before it is published, so a reader that is preempted, or a child of a
 * fork, finds what it began with.  When all places are taken, the one is used again that was first, word by word, but
 * never the one in force: a reader that was preempted for so many changes may then see values of two policies.  Each is in
 * its range, and nothing relies on two of them fitting each other. */
enum { VERSIONS = 64 };
struct hkm_policy hkm_policy_version[VERSIONS] HKM_BEHIND;
static struct hkm_lock lock = HKM_LOCK_INIT(HKM_RANK_POLICY);
static hkm_word versions; /* lock writes: made so far */
HKM_USED hkm_word hkm_policy_offset;

size_t hkm_policy_versions(void) { return hkm_load(&versions); }

/* What all rows but few can have fits in 32 bits; UINT32_MAX stands for SIZE_MAX >> 10. */
#define NO_LIMIT (SIZE_MAX >> 10)
static const struct __attribute__((packed)) {
    uint32_t most;
    uint16_t least;
} range[] = {
#define X(field, unit, def, least, most, bench) { (most) == NO_LIMIT ? UINT32_MAX : (uint32_t)(most), (least) },
#include "policy.def"
#undef X
};
#define X(field, unit, def, least, most, bench) \
    _Static_assert(((most) < UINT32_MAX || (most) == NO_LIMIT) && (least) <= UINT16_MAX, "range of " #field " does not fit");
#include "policy.def"
#undef X

HKM_COLD bool hkm_policy_valid(const struct hkm_policy *p)
{
    for (unsigned i = 0; i < HKM_POLICY_ROWS; i++) {
        size_t value = hkm_load((const hkm_word *)p + i);
        if (value < range[i].least || value > (range[i].most == UINT32_MAX ? NO_LIMIT : range[i].most))
            return false;
    }
    return true;
}

HKM_COLD bool hkm_policy_same(const struct hkm_policy *p, const struct hkm_policy *q)
{
    const hkm_word *a = (const hkm_word *)p, *b = (const hkm_word *)q;
    for (unsigned i = 0; i < HKM_POLICY_ROWS; i++)
        if (hkm_load(&a[i]) != hkm_load(&b[i]))
            return false;
    return true;
}

/* One that is there already, or a place for it.  Lock. */
static const struct hkm_policy *keep(const struct hkm_policy *p)
{
    size_t n = hkm_load(&versions);
    if (hkm_policy_same(p, &hkm_policy_default))
        return &hkm_policy_default;
    for (size_t i = 0; i < n && i < VERSIONS; i++)
        if (hkm_policy_same(p, &hkm_policy_version[i]))
            return &hkm_policy_version[i];
    if (&hkm_policy_version[n % VERSIONS] == hkm_policy())
        n++;
    for (unsigned i = 0; i < HKM_POLICY_ROWS; i++)
        hkm_store((hkm_word *)&hkm_policy_version[n % VERSIONS] + i, hkm_load((const hkm_word *)p + i));
    hkm_store_rel(&versions, n + 1);
    return &hkm_policy_version[n % VERSIONS];
}

/* Lock. */
static HKM_COLD __attribute__((noinline)) void put_in_force(const struct hkm_policy *p)
{
    hkm_store_rel(&hkm_policy_offset, (uintptr_t)keep(p) - (uintptr_t)&hkm_policy_default);
}

hkm_word hkm_policy_number; /* lock writes: of changes of options, so far */

HKM_COLD bool hkm_policy_publish(const struct hkm_policy *p, size_t since)
{
    if (!hkm_policy_valid(p))
        return false;
    hkm_lock(&lock); /* one that a fork left behind: a place may be half written, which is not in force */
    bool ok = hkm_load(&hkm_policy_number) == since;
    if (ok)
        put_in_force(p);
    hkm_unlock(&lock);
    return ok;
}

/* Options are checked where they are read, but some address spaces are smaller than their ranges. */
static void put(hkm_word *row, size_t value, size_t most) { hkm_store(row, value < most ? value : most); }

static void take_saved(struct hkm_policy *p);

HKM_COLD void hkm_policy_base(struct hkm_policy *p)
{
    const struct hkm_option *o = &hkm_option;
    *p = hkm_policy_default;
    hkm_store(&p->superslabs, hkm_load(&o->tiny_use_superslab));
    hkm_store(&p->cache_growth, !hkm_load(&o->disable_cache_growth));
    hkm_store(&p->purge, !hkm_load(&o->disable_purge));
    hkm_store(&p->dirty_kb, hkm_load(&o->dirty_kb));
    hkm_store(&p->dirty_percent, hkm_load(&o->dirty_percent));
    hkm_store(&p->purge_ms, hkm_load(&o->purge_ms));
    hkm_store(&p->cache_kb, hkm_load(&o->cache_kb));
    hkm_store(&p->bigcache_kb, hkm_load(&o->disable_bigcache) ? 0 : hkm_load(&o->bigcache_kb));
    hkm_store(&p->bigcache_floor_kb, hkm_load(&o->dirty_kb));
    hkm_store(&p->bigcache_percent, hkm_load(&o->dirty_percent));
    hkm_store(&p->bigcache_ms, hkm_load(&o->purge_ms));
    put(&p->big_kb, hkm_load(&o->disable_big_mappings) ? SIZE_MAX : hkm_load(&o->big_kb), SIZE_MAX >> 10);
    if (hkm_load(&o->disable_big_mappings))
        hkm_store(&p->big_mappings, 0);
    if (hkm_load(&o->disable_nursery))
        hkm_store(&p->nursery_blocks, 0);
    hkm_store(&p->prefault_from_kb, hkm_load(&o->disable_prefault) ? SIZE_MAX >> 10 : 8192);
    hkm_store(&p->hugepages, hkm_load(&o->disable_hugepages) ? HKM_HUGE_NO : hkm_load(&o->hugepages));
    take_saved(p);
}

/* ---- a saved policy --------------------------------------------------------------------------------------------- */

struct hkm_policy hkm_policy_saved HKM_BEHIND; /* written before the process has a second thread */
bool hkm_policy_is_saved;

/* What an option says goes before what was saved, and that before the defaults. */
static void take_saved(struct hkm_policy *p)
{
    for (unsigned i = 0; hkm_policy_is_saved && i < HKM_POLICY_ROWS; i++)
        if (hkm_load((hkm_word *)p + i) == hkm_load((const hkm_word *)&hkm_policy_default + i))
            hkm_store((hkm_word *)p + i, hkm_load((hkm_word *)&hkm_policy_saved + i));
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* The next word of the line; its length, 0: there is none. */
static size_t word(const char **at, const char *end)
{
    size_t n = 0;
    while (*at < end && is_blank(**at))
        ++*at;
    while (*at + n < end && !is_blank((*at)[n]))
        n++;
    return n;
}

static bool is(const char *w, size_t n, const char *name) { return hkm_length(name) == n && hkm_begins(w, name, n); }

static bool number(const char *w, size_t n, size_t *value)
{
    *value = 0;
    for (size_t i = 0; i < n; i++)
        if (w[i] < '0' || w[i] > '9' || __builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, (size_t)(w[i] - '0'), value))
            return false;
    return n != 0;
}

static const char names[] =
#define X(field, unit, def, least, most, bench) #field "\0"
#include "policy.def"
#undef X
    ;

static hkm_word *row_named(struct hkm_policy *p, const char *w, size_t n)
{
    const char *name = names;
    for (unsigned i = 0; i < HKM_POLICY_ROWS; i++, name += hkm_length(name) + 1)
        if (is(w, n, name))
            return (hkm_word *)p + i;
    return NULL;
}

/* One line; *state: 0 before the first, 1 within, 2 after the end. */
static HKM_COLD const char *parse_line(struct hkm_policy *p, const char *at, const char *end, int *state)
{
    size_t n = word(&at, end), value;
    const char *first = at;
    if (!n)
        return NULL;
    at += n;
    size_t m = word(&at, end);
    const char *second = at;
    at += m;
    if (word(&at, end) || *state == 2)
        return "more than there should be";
    if (*state == 0) {
        if (!is(first, n, "hakmem-policy") || !number(second, m, &value))
            return "not a policy of HAKMEM";
        if (value != HKM_POLICY_VERSION)
            return "a policy of another version";
        *state = 1;
        return NULL;
    }
    if (!m && is(first, n, "end")) {
        *state = 2;
        return NULL;
    }
    hkm_word *row = row_named(p, first, n);
    if (!row)
        return "no such row";
    if (!number(second, m, &value))
        return "not a number";
    hkm_store(row, value);
    return hkm_policy_valid(p) ? NULL : "out of its range";
}

HKM_COLD const char *hkm_policy_parse(struct hkm_policy *p, const char *text, size_t size, unsigned *line)
{
    struct hkm_policy q = hkm_policy_default;
    const char *wrong = NULL, *end = text + size;
    int state = 0;
    *line = 0;
    while (text < end && !wrong) {
        const char *stop = text, *last;
        while (stop < end && *stop != '\n')
            stop++;
        for (last = text; last < stop && *last != '#';)
            last++;
        ++*line;
        wrong = parse_line(&q, text, last, &state);
        text = stop < end ? stop + 1 : stop;
    }
    if (!wrong && state != 2)
        wrong = state ? "cut off: it does not say end" : "not a policy of HAKMEM";
    if (!wrong)
        *p = q;
    return wrong;
}

HKM_COLD void hkm_policy_load(void)
{
    const char *path = hkm_os_getenv("HAKMEM_POLICY_FILE"), *wrong;
    struct hkm_file f;
    struct hkm_policy p;
    unsigned line = 0;
    if (likely(!path) || !*path)
        return;
    if (hkm_os_file_read_any(path, &f) == HKM_FILE_ABSENT) {
        wrong = "cannot be read";
    } else {
        wrong = f.text ? hkm_policy_parse(&p, f.text, f.size, &line) : "not a policy of HAKMEM";
        hkm_os_file_forget(&f);
    }
    if (wrong) {
        struct hkm_msg m = { 0 };
        hkm_msg_str(&m, "HAKMEM_POLICY_FILE=");
        for (unsigned i = 0; i < 128 && path[i]; i++)
            hkm_msg_str(&m, (char[]){ path[i], 0 });
        if (line) {
            hkm_msg_str(&m, ": line ");
            hkm_msg_dec(&m, line);
        }
        hkm_msg_str(&m, ": ");
        hkm_msg_str(&m, wrong);
        hkm_msg_str(&m, "; the defaults are used");
        hkm_os_warn(&m);
        return;
    }
    hkm_policy_saved = p;
    hkm_policy_is_saved = true;
}

HKM_COLD void hkm_policy_renew(void)
{
    struct hkm_policy p;
    hkm_lock(&lock); /* so that who comes last has seen all changes */
    hkm_store_rel(&hkm_policy_number, hkm_load(&hkm_policy_number) + 1); /* the options came before: pairs with hkm_policy_changes */
    hkm_policy_base(&p);
    put_in_force(&p);
    hkm_unlock(&lock);
}

int hkm_policy_option(const char *name, long value)
{
    int error = hkm_option_set(name, value);
    if (!error)
        hkm_policy_renew();
    return error;
}

/* ---- what it says ----------------------------------------------------------------------------------------------- */

/* KiB to bytes, as many as a size_t can say. */
static size_t bytes_of(size_t kib) { return kib >= SIZE_MAX >> 10 ? SIZE_MAX : kib << 10; }

size_t hkm_policy_growth(const struct hkm_policy *p, size_t mapped, size_t need)
{
    if (!hkm_load(&p->superslabs))
        return need;
    /* An eighth of what is there keeps the number of steps logarithmic and the part never touched small. */
    size_t step = hkm_round_up(mapped / hkm_load(&p->growth_share), HKM_SUPERSLAB_SIZE), most = bytes_of(hkm_load(&p->growth_most_kb));
    if (step < HKM_SUPERSLAB_SIZE)
        step = HKM_SUPERSLAB_SIZE;
    if (step > most)
        step = most;
    if (!mapped && step > HKM_POLICY_FIRST)
        step = HKM_POLICY_FIRST;
    if (need <= step)
        return step;
    need = hkm_round_up(need, HKM_SUPERSLAB_SIZE);
    return step > need ? step : need;
}

static size_t share_of(size_t used, size_t floor_kb, size_t percent)
{
    size_t floor = bytes_of(floor_kb), share = used / 100 * percent;
    return floor > share ? floor : share;
}

size_t hkm_policy_dirty_old(const struct hkm_policy *p, size_t used)
{
    return hkm_load(&p->purge) ? share_of(used, hkm_load(&p->dirty_kb), hkm_load(&p->dirty_percent)) : SIZE_MAX;
}

static size_t at_least_kept(const struct hkm_policy *p, size_t bytes)
{
    size_t kept = bytes_of(hkm_load(&p->kept_kb));
    return bytes > kept ? bytes : kept;
}

size_t hkm_policy_dirty_limit(const struct hkm_policy *p, size_t used) { return at_least_kept(p, hkm_policy_dirty_old(p, used)); }

/* With the defaults: of a heap that swings by a third, or by 32 MiB, nothing is given back in each trough. */
size_t hkm_policy_dirty_most(const struct hkm_policy *p, size_t used, bool swings)
{
    size_t limit = hkm_policy_dirty_old(p, used), burst = hkm_load(&p->dirty_burst) * (swings ? 4 : 1);
    if (!hkm_policy_purge_ms(p) || limit == SIZE_MAX)
        return at_least_kept(p, limit);
    size_t floor = bytes_of(hkm_load(&p->dirty_kb)), most = floor > SIZE_MAX / burst ? SIZE_MAX : floor * burst;
    size_t share = limit > SIZE_MAX / burst ? SIZE_MAX : used / 100 * hkm_load(&p->dirty_percent) * (burst / 2);
    return at_least_kept(p, most > share ? most : share);
}

size_t hkm_policy_bigcache(const struct hkm_policy *p, size_t used)
{
    size_t share = at_least_kept(p, share_of(used, hkm_load(&p->bigcache_floor_kb), hkm_load(&p->bigcache_percent)));
    size_t most = bytes_of(hkm_load(&p->bigcache_kb));
    return share < most ? share : most;
}

bool hkm_policy_growing(const struct hkm_policy *p, size_t mappings)
{
    return mappings < hkm_load(&p->big_mappings); /* the kernel counts each, and allows 65530 by default */
}

size_t hkm_policy_spare(const struct hkm_policy *p, size_t slots, size_t waited)
{
    size_t ms = hkm_policy_purge_ms(p), halvings = ms ? waited / ms : 1;
    if (slots < 4 || !hkm_load(&p->purge))
        return 0;
    return halvings < HKM_WORD_BITS ? slots - (slots >> halvings) : slots;
}

size_t hkm_policy_purge_ms(const struct hkm_policy *p) { return hkm_load(&p->purge_ms); }

enum hkm_look hkm_policy_look(const struct hkm_policy *p, size_t used, size_t idle, size_t more, size_t waited)
{
    size_t limit = hkm_policy_dirty_old(p, used), hurry = hkm_policy_dirty_limit(p, used), ms = hkm_policy_purge_ms(p);
    if (limit == SIZE_MAX)
        return HKM_LOOK_NOT;
    /* Where a heap swings, such a look is in vain, and purge.c finds out. */
    if (more > (hurry > SIZE_MAX / 2 ? SIZE_MAX : hurry * 2))
        return HKM_LOOK_ALL;
    if (waited < ms)
        return HKM_LOOK_NOT;
    /* And now and then, as free blocks move together where as many are taken as are freed. */
    return more > limit / 4 || (waited / 16 >= ms && idle > limit) ? HKM_LOOK_IDLE : HKM_LOOK_NOT;
}

size_t hkm_policy_cache_limit(const struct hkm_policy *p, size_t mapped)
{
    size_t floor = bytes_of(hkm_load(&p->cache_kb)), part = mapped / hkm_load(&p->cache_share);
    return floor > part ? floor : part;
}

unsigned hkm_policy_cache_growth(const struct hkm_policy *p, unsigned cap, unsigned most)
{
    if (!hkm_load(&p->cache_growth))
        return cap;
    unsigned next = cap * 4 + 9; /* 5, 29, 125, 509 */
    return next < most ? next : most;
}

unsigned hkm_policy_cache_retreat(unsigned cap, size_t size, bool at_once)
{
    unsigned least = size > HKM_TINY_MAX ? 3 : size > 16384 / 24 ? 24 : (unsigned)(16384 / size), half = cap / 2;
    if (least < half && !at_once)
        least = half;
    return least < cap ? least : cap;
}

/* A class gets one more slab when all that it has are full, and a further step when the last one is handed out: so an eighth of
 * what is full, in each class, is never more than that of all that is in use.  Where heaps are so large that a slot for each
 * class of each of them is less than that, too, a step may be a slot whatever is full.  Four pages at once cost 10 to 25 %
 * less than four faults, sixteen 25 to 40 %, and 256 no less than sixteen; and a fork goes more quickly through pages that came
 * together (docs/performance.md). */
size_t hkm_policy_prefault(const struct hkm_policy *p, size_t taken, size_t heaps, size_t full)
{
    size_t from = bytes_of(hkm_load(&p->prefault_from_kb)), share = taken / heaps;
    if (!full || taken < from)
        return 0;
    bool large = share >> HKM_SLOT_SHIFT >= 8 * HKM_CLASSES;
    size_t most = full < 8 && !large ? full * HKM_SLOT_SIZE / 8 : HKM_SLOT_SIZE, least = bytes_of(hkm_load(&p->prefault_least_kb));
    size_t step = (full < HKM_POLICY_PREFAULT_FULL ? full : HKM_POLICY_PREFAULT_FULL) * bytes_of(hkm_load(&p->prefault_step_kb));
    step *= 1 + share / from;
    if (step < least)
        step = least;
    return step < most ? step : most;
}

enum hkm_huge hkm_policy_huge_kind(const struct hkm_policy *p)
{
    return (enum hkm_huge)hkm_load(&p->hugepages);
}

/* A heap that grows because it is full, and by so much that what is left of the last huge page is little: it will be dense.
 * One with holes is not; there a few blocks would hold each huge page. */
bool hkm_policy_huge(const struct hkm_policy *p, size_t mapped, size_t taken, size_t need)
{
    size_t from = bytes_of(hkm_load(&p->huge_from_kb));
    enum hkm_huge kind = hkm_policy_huge_kind(p);
    bool wanted = kind == HKM_HUGE_THP || kind == HKM_HUGE_TLB;
    return wanted && (mapped >= from || need >= from) && taken >= mapped / 8 * 7;
}

unsigned hkm_policy_slots(const struct hkm_policy *p, size_t mapped)
{
    if (!hkm_load(&p->superslabs) || mapped <= HKM_SUPERSLAB_SIZE)
        return 1;
    return (unsigned)hkm_load(&p->pool_slots);
}

size_t hkm_policy_big(const struct hkm_policy *p)
{
    return bytes_of(hkm_load(&p->big_kb));
}
