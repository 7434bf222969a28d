/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * tally.c: where all the memory of a process is: lib/census.c from outside.
 *
 * Slots are told apart by their tags, slabs counted by their records, caches by the bins of the heaps.  Of a process that
 * stands still the sums are those of hak_stats_get, but for one thing: what other threads freed and the owner has not
 * collected yet counts as free here, and hak_stats_get collects it.  Of one that runs they are those of the moments at which each
 * table was read; a few looks are tried for one at which they add up.
 */
#include "window.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOOKS = 3, MOST_RANGES = 1024, MOST_HEAPS = 1 << 20, MOST_SLOTS = 1 << 22, MOST_BIG = 1 << 24 };

/* A range, as it was read. */
struct range {
    uint64_t base, used, slabs; /* slots in use; where the records begin downwards */
    char *tags;                 /* words */
    char *records;              /* in the order of memory: the last slot's first */
    char *maps;                 /* of all words of the bitmaps */
    size_t words;
};

struct look {
    const struct live *l;
    struct tally *t;
    struct hak_stats *sum;
    uint64_t page, huge; /* bytes */
    unsigned page_bits;
    uint16_t all_pages;
    unsigned bits; /* in a word */
    struct range *ranges;
    size_t nranges;
    uint64_t runs, run_slots, slots, nursery_slots, remote_blocks;
    uint64_t room; /* bytes that its tables may take here yet */
    const char *wrong;
};

static struct live_field own_word(const struct live *l) { return (struct live_field){ 0, (uint16_t)l->word }; }

static uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

static unsigned ones(uint64_t n) { return (unsigned)__builtin_popcountll(n); }

/* Tables are some 0.2 % of the memory that they tell of: who tells of more than a quarter of this machine's makes it up. */
static uint64_t room_for_tables(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / 4 : SIZE_MAX / 4;
}

static bool has_room(struct look *k, uint64_t n, uint64_t each)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(n, each, &bytes) || bytes > k->room || bytes > SIZE_MAX / 4) {
        k->wrong = "its tables are damaged";
        return false;
    }
    k->room -= bytes;
    return true;
}

static uint64_t root_word(struct look *k, uint64_t address)
{
    uint64_t value = 0;
    if (!live_word(k->l, address, &value) && !k->wrong)
        k->wrong = live_trouble(k->l);
    return value;
}

/* A field of a structure that stands alone. */
static uint64_t root_field(struct look *k, uint64_t address, struct live_field f)
{
    char bytes[8] = { 0 };
    if (f.size > sizeof bytes || !live_read(k->l, address + f.at, bytes, f.size)) {
        if (!k->wrong)
            k->wrong = live_trouble(k->l);
        return 0;
    }
    return live_number(bytes, f.size);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static bool read_classes(struct look *k)
{
    const struct live *l = k->l;
    size_t n = l->number.classes, each = l->number.class;
    char table[256 * 256];
    if (!live_read(l, l->root.class, table, n * each))
        return false;
    k->t->classes = must(calloc(n, sizeof *k->t->classes));
    k->t->nclasses = n;
    for (size_t i = 0; i < n; i++)
        k->t->classes[i].size = live_get(table + i * each, l->class_size);
    return true;
}

/* True: there is more to come.  A range that is just being made has nothing in use. */
static bool read_range(struct look *k, uint64_t address, uint64_t *next)
{
    const struct live *l = k->l;
    struct range *r = &k->ranges[k->nranges];
    size_t each = (size_t)1 << l->number.record_shift, near = l->number.near_maps, map = l->number.map;
    char *head = must(malloc(l->number.range));
    memset(r, 0, sizeof *r);
    bool good = live_read(l, address, head, l->number.range);
    if (good) {
        *next = live_get(head, l->range_next);
        r->base = live_get(head, l->range_base);
        r->slabs = live_get(head, l->range_slabs);
        r->used = live_get(head, l->range_used);
        if (r->used > MOST_SLOTS)
            k->wrong = "its tables are damaged";
        good = !k->wrong && has_room(k, r->used, l->word + each);
    }
    if (good && r->used) {
        r->words = (r->used + k->bits - 1) / k->bits;
        r->tags = must(malloc(r->used * l->word));
        r->records = must(malloc(r->used * each));
        r->maps = must(calloc(r->words > near ? r->words : near, map));
        memcpy(r->maps, head + l->range_near.at, near * map);
        good = live_read(l, live_get(head, l->range_tags), r->tags, r->used * l->word) &&
               live_read(l, r->slabs - r->used * each, r->records, r->used * each) &&
               (r->words <= near ||
                live_read(l, live_get(head, l->range_far), r->maps + near * map, (r->words - near) * map));
    }
    free(head);
    k->nranges++;
    return good;
}

static void forget_ranges(struct look *k)
{
    for (size_t i = 0; i < k->nranges; i++) {
        free(k->ranges[i].tags);
        free(k->ranges[i].records);
        free(k->ranges[i].maps);
    }
    free(k->ranges);
}

static bool read_ranges(struct look *k)
{
    uint64_t at = k->l->root.range, next = 0;
    while (at && k->nranges < MOST_RANGES) {
        k->ranges = must(realloc(k->ranges, (k->nranges + 1) * sizeof *k->ranges));
        if (!read_range(k, at, &next))
            return false;
        at = next;
    }
    return true;
}

static const char *record_at(const struct look *k, const struct range *r, uint64_t slot)
{
    return r->records + ((r->used - 1 - slot) << k->l->number.record_shift);
}

/* The record that an address points to; NULL: none does. */
static const char *record_of(const struct look *k, uint64_t address)
{
    unsigned shift = (unsigned)k->l->number.record_shift;
    for (size_t i = 0; i < k->nranges; i++) {
        const struct range *r = &k->ranges[i];
        uint64_t below = r->slabs - address;
        if (address < r->slabs && below >> shift <= r->used && (below & ((1u << shift) - 1)) == 0)
            return record_at(k, r, (below >> shift) - 1);
    }
    return NULL;
}

/* ---- sites --------------------------------------------------------------------------------------------------------- */

static struct site_tally *new_site(struct tally *t, uint64_t site)
{
    if ((t->nsites & (t->nsites + 1)) == 0) /* room for a power of two, less one */
        t->sites = must(realloc(t->sites, (2 * t->nsites + 1) * sizeof *t->sites));
    t->sites[t->nsites] = (struct site_tally){ .site = site };
    return &t->sites[t->nsites++];
}

static struct site_tally *note_site(struct look *k, uint64_t site, uint64_t bytes, bool kept)
{
    struct site_tally *s = new_site(k->t, site);
    *(kept ? &s->kept_bytes : &s->live_bytes) = bytes;
    *(kept ? &s->kept_blocks : &s->live_blocks) = 1;
    return s;
}

/* What a run cache did since the table of sites was told of the run. */
static void note_again(const struct live *l, struct site_tally *s, const char *record, bool cached)
{
    uint64_t again = live_get(record, l->record_again), bytes = live_get(record, l->record_bytes);
    if (!live_get(record, l->record_given))
        return;
    s->allocs = again;
    s->bytes = again * bytes;
    s->frees = again + cached;
    s->freed = s->frees * bytes;
}

/* The table of sites.  Of one that is entered twice the rows are added up, as all that is known of one site is. */
static void read_table_of_sites(struct look *k)
{
    const struct live *l = k->l;
    uint64_t at = root_word(k, l->root.site_table), rows = l->number.site_rows, each = l->number.site;
    if (!at || k->wrong || !has_room(k, rows, each))
        return;
    char *table = must(malloc(rows * each + 1));
    if (!live_read(l, at, table, rows * each))
        rows = 0;
    for (size_t i = 0; i < rows; i++) {
        const char *row = table + i * each;
        struct site_tally *s = live_get(row, l->site_site) ? new_site(k->t, live_get(row, l->site_site)) : NULL;
        if (!s)
            continue;
        s->allocs = live_get(row, l->site_allocs);
        s->frees = live_get(row, l->site_frees);
        s->bytes = live_get(row, l->site_bytes);
        s->freed = live_get(row, l->site_freed);
        s->reuse = (live_get(row, l->site_reuse) + 7) / 8;
        uint32_t recent = (uint32_t)live_get(row, l->site_recent);
        for (unsigned j = 0; j < 4; j++) {
            bool seen = !(recent >> 8 * j & 0xff);
            for (unsigned m = 0; m < j; m++)
                seen = seen || (recent >> 8 * j & 0xff) == (recent >> 8 * m & 0xff);
            s->sizes += !seen;
        }
        for (size_t j = 0; j < l->number.site_lives; j++)
            s->lives[j] = live_number(row + l->site_lives.at + j * l->site_lives.size, l->site_lives.size);
    }
    free(table);
}

uint64_t tally_life(const struct live *l, const struct site_tally *s)
{
    uint64_t all = 0, sum = 0;
    size_t n = l->number.site_lives;
    for (size_t i = 0; i < n; i++)
        all += s->lives[i];
    for (size_t i = 0; all && i + 1 < n; i++)
        if ((sum += s->lives[i]) >= (all + 1) / 2)
            return (uint64_t)8 << 3 * i;
    return all ? UINT64_MAX : 0;
}

static int by_site(const void *a, const void *b)
{
    uint64_t x = ((const struct site_tally *)a)->site, y = ((const struct site_tally *)b)->site;
    return x < y ? -1 : x > y;
}
static int by_bytes(const void *a, const void *b)
{
    const struct site_tally *s = a, *t = b;
    uint64_t x = s->live_bytes + s->kept_bytes, y = t->live_bytes + t->kept_bytes;
    if (x == y) {
        x = s->bytes;
        y = t->bytes;
    }
    return x > y ? -1 : x < y ? 1 : by_site(a, b);
}

static void join_sites(struct tally *t)
{
    size_t n = 0;
    if (!t->nsites)
        return;
    qsort(t->sites, t->nsites, sizeof *t->sites, by_site);
    for (size_t i = 1; i < t->nsites; i++) {
        struct site_tally *to = &t->sites[n], *s = &t->sites[i];
        if (to->site != s->site) {
            t->sites[++n] = *s;
            continue;
        }
        to->live_bytes += s->live_bytes;
        to->live_blocks += s->live_blocks;
        to->kept_bytes += s->kept_bytes;
        to->kept_blocks += s->kept_blocks;
        to->allocs += s->allocs;
        to->frees += s->frees;
        to->bytes += s->bytes;
        to->freed += s->freed;
        to->sizes = s->sizes > to->sizes ? s->sizes : to->sizes;
        to->reuse = s->reuse > to->reuse ? s->reuse : to->reuse;
        for (size_t j = 0; j < MOST_LIVES; j++)
            to->lives[j] += s->lives[j];
    }
    t->nsites = n + 1;
    qsort(t->sites, t->nsites, sizeof *t->sites, by_bytes);
}

/* ---- slots --------------------------------------------------------------------------------------------------------- */

static uint16_t pages_of(const struct look *k, uint64_t bytes)
{
    uint64_t pages = (bytes + k->page - 1) >> k->page_bits;
    return pages >= 16 ? 0xffff : (uint16_t)((1u << pages) - 1);
}

/* The pages of a slot that may have memory behind them; of a huge page all or none. */
static uint16_t backed(const struct look *k, const struct range *r, uint64_t slot, const char *record)
{
    const struct live *l = k->l;
    if (live_get(record, l->record_backing) == l->number.backing_plain)
        return (uint16_t)((~live_get(record, l->record_zero) | live_get(record, l->record_backed)) & k->all_pages);
    uint64_t n = k->huge >> l->number.slot_shift, first = slot % k->bits;
    if (!n || n > k->bits || (n & (n - 1)))
        return k->all_pages;
    uint64_t mates = (n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1) << (first & ~(n - 1));
    uint64_t fresh = live_get(r->maps + slot / k->bits * l->number.map, l->map_fresh);
    return (fresh & mates) == mates ? 0 : k->all_pages;
}

static void count_run(struct look *k, const struct range *r, uint64_t slot, const char *record)
{
    const struct live *l = k->l;
    uint64_t slots = live_get(record, l->record_run), bytes = live_get(record, l->record_bytes);
    uint64_t all = slots << l->number.slot_shift, kept = live_get(record, l->record_listed);
    if (!slots || slots > r->used - slot || bytes > all || slots > k->slots - k->run_slots)
        return; /* it is just coming or going */
    k->run_slots += slots;
    if (kept == l->number.run_live) {
        k->runs++;
        k->sum->live_bytes += bytes;
        k->sum->waste_bytes += all - bytes;
    } else {
        *(kept == l->number.run_in_bigcache ? &k->sum->bigcache_bytes : &k->sum->run_cache_bytes) += all;
    }
    note_again(l, note_site(k, live_get(record, l->record_site), kept == l->number.run_live ? bytes : all,
                            kept != l->number.run_live), record, kept == l->number.run_cached);
    uint64_t slot_bytes = (uint64_t)1 << l->number.slot_shift;
    for (uint64_t i = 0; i < slots; i++) {
        uint64_t from = i << l->number.slot_shift, end = bytes > from ? bytes - from : 0;
        uint16_t pages = pages_of(k, end < slot_bytes ? end : slot_bytes);
        k->sum->committed_bytes +=
            (uint64_t)ones(pages | backed(k, r, slot + i, record_at(k, r, slot + i))) << k->page_bits;
    }
}

static int heap_order(const void *a, const void *b)
{
    uint64_t x = ((const struct heap_tally *)a)->address, y = ((const struct heap_tally *)b)->address;
    return x < y ? -1 : x > y;
}

static struct heap_tally *heap_of(struct look *k, uint64_t address)
{
    struct heap_tally key = { .address = address };
    return k->t->nheaps ? bsearch(&key, k->t->heaps, k->t->nheaps, sizeof key, heap_order) : NULL;
}

/* Those of the pages that no block reaches into that somebody holds; `free` has a bit for each of the slab's blocks. */
static uint16_t free_among(const struct look *k, uint64_t size, uint64_t blocks, uint64_t free, uint16_t pages)
{
    uint16_t found = 0;
    for (unsigned p = 0; p < 16; p++) {
        uint64_t at = (uint64_t)p << k->page_bits, first = at / size, last = (at + k->page - 1) / size;
        bool all = true;
        if (!(pages >> p & 1))
            continue;
        for (uint64_t b = first; b <= last && b < blocks; b++)
            all = all && (free >> b & 1);
        if (all)
            found |= (uint16_t)(1u << p);
    }
    return found;
}

/* Slabs of which more than the record must be read: the bitmaps. */
struct more {
    const char *record;
    struct class_tally *class;
    struct heap_tally *heap;
    size_t first, words; /* pieces: words of the free bits, and as many of the remote ones */
};

struct bitmaps {
    struct more *more;
    size_t n;
    struct live_piece *pieces;
    size_t npieces;
    char *bytes;
    size_t nbytes;
};

/* Whether the record is that of a slab. */
static bool is_slab(struct look *k, const char *record, struct class_tally **class)
{
    const struct live *l = k->l;
    uint64_t cls = live_get(record, l->record_cls), size = live_get(record, l->record_size);
    uint64_t blocks = live_get(record, l->record_blocks), nfree = live_get(record, l->record_nfree);
    uint64_t words = live_get(record, l->record_words), slot = (uint64_t)1 << l->number.slot_shift;
    if (cls >= k->t->nclasses || !size || size != k->t->classes[cls].size || nfree > blocks || blocks > slot / size ||
        words > slot / k->bits || words * k->bits < blocks)
        return false;
    *class = &k->t->classes[cls];
    return true;
}

static void count_slab(struct look *k, const char *record, struct bitmaps *b)
{
    const struct live *l = k->l;
    struct class_tally *c;
    uint64_t owner = live_get(record, l->record_owner);
    if (!owner || !is_slab(k, record, &c))
        return; /* it is just coming or going */
    uint64_t blocks = live_get(record, l->record_blocks), nfree = live_get(record, l->record_nfree), out = blocks - nfree;
    struct heap_tally *h = heap_of(k, owner);
    uint16_t zero = 0;
    if (live_get(record, l->record_backing) == l->number.backing_plain)
        zero = (uint16_t)(live_get(record, l->record_zero) & ~live_get(record, l->record_backed) & k->all_pages);
    k->sum->slabs++;
    k->sum->free_bytes += nfree * c->size;
    k->sum->live_bytes += out * c->size;
    k->sum->live_blocks += out;
    k->sum->waste_bytes += ((uint64_t)1 << l->number.slot_shift) - blocks * c->size;
    k->sum->committed_bytes += (uint64_t)ones(k->all_pages) << k->page_bits;
    c->slabs++;
    c->free += nfree;
    c->live += out;
    if (h) {
        h->slabs++;
        h->free_bytes += nfree * c->size;
        h->live_bytes += out * c->size;
    }
    if (c->size < k->page)
        k->sum->committed_bytes -= (uint64_t)ones(zero) << k->page_bits;
    bool posted = live_get(record, l->record_pending) != 0;
    if (!posted && (c->size < k->page || !zero))
        return;
    size_t words = live_get(record, l->record_words);
    if ((b->n & (b->n + 1)) == 0)
        b->more = must(realloc(b->more, (2 * b->n + 1) * sizeof *b->more));
    b->more[b->n++] = (struct more){ record, c, h, b->nbytes, posted ? 2 * words : words };
    b->nbytes += (posted ? 2 * words : words) * l->word;
}

static void read_bitmaps(struct look *k, struct bitmaps *b)
{
    const struct live *l = k->l;
    if (k->wrong || !has_room(k, b->nbytes, 1)) {
        free(b->more);
        return;
    }
    b->bytes = must(calloc(1, b->nbytes + 1));
    b->pieces = must(malloc((b->n + 1) * sizeof *b->pieces));
    for (size_t i = 0; i < b->n; i++)
        b->pieces[i] = (struct live_piece){ live_get(b->more[i].record, l->record_free), b->bytes + b->more[i].first,
                                            b->more[i].words * l->word };
    live_read_many(l, b->pieces, b->n);
    for (size_t i = 0; i < b->n; i++) {
        const struct more *m = &b->more[i];
        const char *record = m->record, *bits = b->bytes + m->first;
        uint64_t words = live_get(record, l->record_words), blocks = live_get(record, l->record_blocks), freed = 0;
        uint64_t out = blocks - live_get(record, l->record_nfree), size = m->class->size;
        uint16_t zero = (uint16_t)(live_get(record, l->record_zero) & ~live_get(record, l->record_backed) & k->all_pages);
        if (size >= k->page && live_get(record, l->record_backing) == l->number.backing_plain)
            k->sum->committed_bytes -=
                (uint64_t)ones(free_among(k, size, blocks, live_get(bits, own_word(l)), zero)) << k->page_bits;
        for (uint64_t w = words; w < m->words; w++)
            freed += ones(live_get(bits + w * l->word, own_word(l)));
        if (freed > out)
            freed = out;
        k->sum->live_bytes -= freed * size;
        k->sum->free_bytes += freed * size;
        k->sum->live_blocks -= freed;
        m->class->live -= freed;
        m->class->free += freed;
        if (m->heap) {
            m->heap->live_bytes -= freed * size;
            m->heap->free_bytes += freed * size;
        }
    }
    free(b->bytes);
    free(b->pieces);
    free(b->more);
}

static void count_range(struct look *k, const struct range *r, struct bitmaps *b)
{
    const struct live *l = k->l;
    k->slots += r->used;
    uint64_t inside = UINT64_MAX; /* the mapping that goes on here: what its slots are backed by */
    for (uint64_t i = 0; i < r->used; i++) {
        uint64_t tag = live_get(r->tags + i * l->word, own_word(l));
        const char *record = record_at(k, r, i);
        if (tag == l->root.tag_stranger) {
            inside = UINT64_MAX;
            continue;
        }
        k->sum->mappings += inside != live_get(record, l->record_backing);
        inside = live_get(record, l->record_backing);
        if (tag == l->root.tag_none || tag == l->root.tag_nursery) {
            k->nursery_slots += tag == l->root.tag_nursery;
            k->sum->committed_bytes += (uint64_t)ones(backed(k, r, i, record)) << k->page_bits;
        } else if (tag == l->root.tag_run) {
            count_run(k, r, i, record);
        } else if (tag != l->root.tag_rest) {
            count_slab(k, record, b);
        }
    }
    for (size_t w = 0; w < r->words; w++) {
        const char *map = r->maps + w * l->number.map;
        k->sum->dirty_bytes += (uint64_t)ones(live_get(map, l->map_dirty)) << l->number.slot_shift;
        k->sum->fresh_bytes += (uint64_t)ones(live_get(map, l->map_fresh)) << l->number.slot_shift;
    }
}

/* ---- heaps --------------------------------------------------------------------------------------------------------- */

/* The heap's own memory from its beginning to where bins are made next.  NULL: it cannot be read. */
static char *read_heap(struct look *k, uint64_t address, size_t *size)
{
    const struct live *l = k->l;
    char *h = must(malloc(l->number.heap_bytes));
    *size = l->number.heap;
    if (!live_read(l, address, h, *size)) {
        free(h);
        return NULL;
    }
    uint64_t bump = live_get(h, l->heap_bump);
    if (bump > address + *size && bump - address <= l->number.heap_bytes &&
        live_read(l, address + *size, h + *size, (size_t)(bump - address) - *size))
        *size = (size_t)(bump - address);
    return h;
}

/* Before the slabs are counted: their heaps are to be known. */
static bool list_heaps(struct look *k)
{
    struct tally *t = k->t;
    const struct live *l = k->l;
    uint64_t at = root_word(k, l->root.heaps), made = root_word(k, l->root.heaps_made);
    size_t room = 0;
    while (at && t->nheaps < MOST_HEAPS && t->nheaps < made + 64) {
        char next[8];
        if (t->nheaps == room)
            t->heaps = must(realloc(t->heaps, (room = room ? 2 * room : 16) * sizeof *t->heaps));
        t->heaps[t->nheaps++] = (struct heap_tally){ .address = at };
        if (l->heap_next.size > sizeof next || !live_read(l, at + l->heap_next.at, next, l->heap_next.size))
            return false;
        at = live_number(next, l->heap_next.size);
    }
    qsort(t->heaps, t->nheaps, sizeof *t->heaps, heap_order);
    for (size_t i = 1; i < t->nheaps; i++)
        if (t->heaps[i].address == t->heaps[i - 1].address)
            k->wrong = "its heaps are damaged";
    return true;
}

static void count_remote(struct look *k, const char *heap, struct heap_tally *to)
{
    const struct live *l = k->l;
    size_t n = live_get(heap, l->heap_nremote), each = l->number.remote_place;
    if (!n || n > l->number.remote_places)
        return;
    char *places = must(calloc(n + 1, each));
    if (live_read(l, to->address + l->heap_remote.at, places, (n + 1) * each)) {
        for (size_t i = 1; i <= n; i++) {
            uint64_t key = live_get(places + i * each, l->remote_key), mask = ((uint64_t)1 << l->number.record_shift) - 1;
            unsigned blocks = ones(live_get(places + i * each, l->remote_bits));
            const char *record = record_of(k, key & ~mask);
            struct class_tally *c;
            if (!record || !is_slab(k, record, &c))
                continue;
            struct heap_tally *owner = heap_of(k, live_get(record, l->record_owner));
            k->sum->remote_bytes += blocks * c->size;
            k->remote_blocks += blocks;
            c->remote += blocks;
            c->live = less(c->live, blocks);
            to->remote_bytes += blocks * c->size;
            if (owner)
                owner->live_bytes = less(owner->live_bytes, blocks * c->size);
        }
    }
    free(places);
}

static void count_heap(struct look *k, struct heap_tally *to)
{
    const struct live *l = k->l;
    size_t size;
    char *h = read_heap(k, to->address, &size);
    if (!h)
        return;
    uint64_t spares = live_get(h, l->heap_nspare), cached = 0, held = 0;
    to->thread = live_get(h, l->heap_thread);
    to->state = live_get(h, l->heap_state);
    to->spare_bytes = (spares <= l->number.spares ? spares : 0) << l->number.slot_shift;
    k->sum->spare_bytes += to->spare_bytes;
    for (size_t c = 0; c < k->t->nclasses; c++) {
        uint64_t bin = live_get(h + c * l->word, l->heap_bin), at = bin - to->address;
        if (!bin || at > size || size - at < l->number.bin)
            continue;
        uint64_t room = live_get(h + at, l->bin_room), cap = live_get(h + at, l->bin_cap), n = room < cap ? cap - room : 0;
        struct class_tally *class = &k->t->classes[c];
        cached += n * class->size;
        held += n;
        class->cached += n;
        class->live = less(class->live, n);
    }
    to->cached_bytes = cached;
    to->live_bytes = less(to->live_bytes, cached);
    k->sum->cached_bytes += cached;
    k->sum->live_bytes = less(k->sum->live_bytes, cached);
    k->sum->live_blocks = less(k->sum->live_blocks, held);
#define X(field, unit, words)
#define COUNTER(field, unit, words) k->sum->field += l->count.field.size ? live_get(h, l->count.field) : 0;
#include "stats.def"
    to->refills = l->count.refills.size ? live_get(h, l->count.refills) : 0;
    to->flushes = l->count.flushes.size ? live_get(h, l->count.flushes) : 0;
    count_remote(k, h, to);
    free(h);
}

/* ---- the rest ------------------------------------------------------------------------------------------------------ */

static void count_big(struct look *k)
{
    const struct live *l = k->l;
    uint64_t table = root_word(k, l->root.big_table);
    if (!table)
        return;
    uint64_t places = root_field(k, table, l->big_places);
    size_t each = l->number.big_entry;
    if (k->wrong || places > MOST_BIG || !has_room(k, places, each))
        return;
    char *entries = must(malloc(places * each + 1));
    if (live_read(l, table + l->big_at.at, entries, places * each)) {
        for (size_t i = 0; i < places; i++) {
            const char *e = entries + i * each;
            uint64_t bytes = live_get(e, l->big_bytes), idle = bytes & l->number.big_is_idle, huge = bytes & l->number.big_is_huge;
            if (!live_get(e, l->big_start))
                continue;
            bytes -= idle + huge;
            note_site(k, live_get(e, l->big_site), bytes, idle != 0);
            k->sum->huge_bytes += huge ? bytes : 0;
        }
    }
    free(entries);
}

static void count_nursery(struct look *k, uint64_t *bytes, uint64_t *blocks)
{
    enum { GRANULE = 16, BYTES = 2 * 4 * 65536 / GRANULE / 8 };
    char map[BYTES]; /* a word of those in use, a word of those that begin a block, and so on */
    uint64_t address = root_word(k, k->l->root.nursery_map);
    size_t word = k->l->word;
    *bytes = *blocks = 0;
    if (!address || !live_read(k->l, address, map, BYTES))
        return;
    for (size_t i = 0; i < BYTES; i += 2 * word) {
        *bytes += GRANULE * ones(live_number(map + i, word));
        *blocks += ones(live_number(map + i + word, word));
    }
}

static void read_options(struct look *k)
{
    const struct live *l = k->l;
    k->t->options = must(calloc(l->noptions + 1, sizeof *k->t->options));
    k->t->noptions = l->noptions;
    for (size_t i = 0; i < l->noptions; i++)
        k->t->options[i] = (long long)root_field(k, l->root.option, l->options[i].field);
}

static long long option(const struct look *k, const char *name)
{
    for (size_t i = 0; i < k->l->noptions; i++)
        if (!strcmp(k->l->options[i].name, name))
            return k->t->options[i];
    return 0;
}

static void read_values(struct look *k)
{
    const struct live *l = k->l;
    k->t->values = must(calloc(l->nvalues + 1, sizeof *k->t->values));
    k->t->nvalues = l->nvalues;
    for (size_t i = 0; i < l->nvalues; i++) {
        const struct live_value *v = &l->values[i];
        uint64_t base = v->root + (v->via ? root_word(k, v->via) : 0), address = base + v->at;
        if (l->word == 4)
            address = (uint32_t)address;
        if (base)
            k->t->values[i] = root_field(k, address, (struct live_field){ 0, (uint16_t)v->size });
    }
}

static void read_os(struct look *k)
{
    const struct live *l = k->l;
    k->page = root_field(k, l->root.os, l->os_page);
    k->huge = root_field(k, l->root.os, l->os_huge);
    if (k->page < 4096 || k->page > 65536 || k->page & (k->page - 1))
        k->page = 4096; /* nothing is mapped before it is known */
    k->page_bits = (unsigned)__builtin_ctzll(k->page);
    k->all_pages = pages_of(k, (uint64_t)1 << l->number.slot_shift);
    k->bits = 8 * l->word;
}

/* As hkm_census does. */
static void sum_up(struct look *k)
{
    const struct live *l = k->l;
    struct hak_stats *sum = k->sum;
    uint64_t granules, starts, memory = l->root.memory, canary = root_word(k, l->root.canary) != 0;
    count_nursery(k, &granules, &starts);
    sum->large_allocs += root_word(k, l->root.large_allocs);
    sum->large_frees += root_word(k, l->root.large_frees);
    sum->foreign_frees += root_word(k, l->root.foreign_frees);
    sum->frees += root_word(k, l->root.frees);
    uint64_t large = less(sum->large_allocs, sum->large_frees), big = root_word(k, l->root.big_mapped);
    sum->big_bytes = less(big, root_word(k, l->root.big_idle));
    sum->big_blocks = less(large, k->runs);
    sum->bigcache_bytes += less(big, sum->big_bytes);
    sum->bigcache_hits = root_word(k, l->root.bigcache_hits);
    sum->mapped_bytes = (root_field(k, memory, l->memory_mapped) << l->number.slot_shift) + big;
    sum->metadata_bytes = root_word(k, l->root.meta_mapped) + l->number.first_meta + (canary ? k->page : 0);
    sum->mappings += root_word(k, l->root.meta_areas) + root_word(k, l->root.big_count) + canary;
    sum->nursery_bytes = less(k->nursery_slots << l->number.slot_shift, granules);
    sum->live_bytes = less(sum->live_bytes, sum->remote_bytes) + granules + sum->big_bytes;
    sum->live_blocks = less(sum->live_blocks, k->remote_blocks) + starts + large;
    sum->committed_bytes += big;
    sum->purged_bytes = root_field(k, memory, l->memory_purged);
    sum->purges = root_field(k, memory, l->memory_purges);
    sum->faults_avoided = root_field(k, memory, l->memory_reused);
    sum->huge_bytes += root_field(k, memory, l->memory_huge) << l->number.slot_shift;
    sum->huge_fallbacks = root_field(k, memory, l->memory_huge_fallbacks);
    sum->prefaulted_bytes = root_field(k, memory, l->memory_prefaulted);
    sum->prefault_fallbacks = root_field(k, memory, l->memory_prefault_fallbacks);
    sum->heaps = root_word(k, l->root.heaps_made);
    sum->heaps_parked = root_word(k, l->root.parked);
    k->t->exact = sum->live_bytes + sum->remote_bytes + sum->cached_bytes + sum->run_cache_bytes + sum->bigcache_bytes +
                      sum->spare_bytes + sum->nursery_bytes + sum->free_bytes + sum->dirty_bytes + sum->fresh_bytes +
                      sum->waste_bytes == sum->mapped_bytes;
}

static void group(struct tally *t)
{
    for (size_t i = 0; i < t->nclasses && t->classes[i].size <= 1024; i++) {
        unsigned g = 0;
        while (g < 7 && (8u << g) < t->classes[i].size)
            g++;
        t->group_live[g] += t->classes[i].live * t->classes[i].size;
    }
}

static const char *look(const struct live *l, struct tally *t)
{
    struct look k = { .l = l, .t = t, .sum = &t->stats, .room = room_for_tables() };
    struct bitmaps b = { 0 };
    read_options(&k);
    read_os(&k);
    if (!k.wrong && (!read_classes(&k) || !list_heaps(&k) || !read_ranges(&k)) && !k.wrong)
        k.wrong = live_trouble(l);
    for (size_t i = 0; !k.wrong && i < k.nranges; i++)
        count_range(&k, &k.ranges[i], &b);
    read_bitmaps(&k, &b);
    for (size_t i = 0; !k.wrong && i < t->nheaps; i++)
        count_heap(&k, &t->heaps[i]);
    if (!k.wrong) {
        count_big(&k);
        read_table_of_sites(&k);
        sum_up(&k);
        read_values(&k);
        join_sites(t);
        group(t);
        t->passed = option(&k, "PASS") != 0;
    }
    forget_ranges(&k);
    return k.wrong;
}

void tally_forget(struct tally *t)
{
    free(t->classes);
    free(t->heaps);
    free(t->sites);
    free(t->options);
    free(t->values);
    memset(t, 0, sizeof *t);
}

const char *tally_take(const struct live *l, struct tally *t)
{
    const char *wrong = NULL;
    for (int i = 0; i < LOOKS; i++) {
        tally_forget(t);
        wrong = look(l, t);
        if (!wrong && t->exact)
            break;
    }
    if (wrong)
        return wrong;
    if (!live_is_same(l))
        return "it has ended, or become another program, while it was read";
    if (!live_faults(l->pid, &t->faults))
        return "it has ended";
    return NULL;
}
