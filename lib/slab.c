/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * slab.c: bitmaps of one slab.  See slab.h.
 *
 * The word array of a slab: `words` words of free bits (owner's lock), as many of remote bits (atomic), and in the
 * hardened mode as many of live bits (atomic).
 */
#include "slab.h"
#include "meta.h"
#include "os.h"
#include "superslab.h"

#include <string.h>

enum { BITS = 8 * sizeof(size_t), ARRAYS = HKM_HARDENED ? 3 : 2 };

hkm_word hkm_slab_clock;

static hkm_word *remote_bits(const struct hkm_slab *s) { return s->free + s->words; }
static hkm_word *live_bits(const struct hkm_slab *s) { return s->free + 2 * s->words; }

static void *block_at(const struct hkm_slab *s, unsigned index) { return s->start + (size_t)index * s->size; }
static unsigned index_of(const struct hkm_slab *s, const void *block)
{
    return hkm_class_index(s->magic, (size_t)((const char *)block - s->start));
}

static void double_free(const struct hkm_slab *s, unsigned word, size_t bits) HKM_COLD __attribute__((noreturn));
static void double_free(const struct hkm_slab *s, unsigned word, size_t bits)
{
    hkm_os_bad_pointer("free", "double free", block_at(s, word * BITS + hkm_low_bit(bits)));
}

bool hkm_slab_open(struct hkm_slab *s, unsigned cls)
{
    const struct hkm_class *k = &hkm_class[cls];
    hkm_word *bits = hkm_meta_words_get((unsigned)ARRAYS * k->words);
    if (unlikely(!bits) && hkm_superslab_cede())
        bits = hkm_meta_words_get((unsigned)ARRAYS * k->words);
    if (unlikely(!bits))
        return false;
    memset(bits, 0, (size_t)ARRAYS * k->words * sizeof *bits);
    memset(bits, 0xff, k->blocks / BITS * sizeof *bits);
    if (k->blocks % BITS)
        bits[k->blocks / BITS] = ((size_t)1 << k->blocks % BITS) - 1;
    s->free = bits;
    s->run = 0;
    s->size = k->size;
    s->magic = k->magic;
    s->blocks = k->blocks;
    s->words = k->words;
    s->cls = (uint8_t)cls;
    s->nfree = k->blocks;
    s->hint = 0;
    s->listed = 0;
    s->idle = 0;
    s->step = 0;
    s->given = (uint32_t)hkm_load(&hkm_slab_clock);
    s->next = s->prev = NULL;
    return true;
}

void hkm_slab_close(struct hkm_slab *s)
{
    hkm_assert(s->nfree == s->blocks);
    hkm_word *bits = s->free;
    s->size = 0;
    /* Before the array can be anybody else's: a fork may come in between, and its child believes what it finds here. */
    hkm_store_rel((hkm_word *)(void *)&s->free, 0);
    hkm_meta_words_put(bits, (unsigned)ARRAYS * s->words);
}

/* Pages that a block lies on. */
static uint16_t pages_of_block(const struct hkm_slab *s, unsigned index)
{
    size_t from = (size_t)index * s->size;
    return hkm_pages_of(from, from + s->size);
}

/* Marks those of the blocks that lie on zero pages only. */
static void flag_zero(const struct hkm_slab *s, void **out, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint16_t pages = pages_of_block(s, index_of(s, out[i]));
        if ((s->zero & pages) == pages)
            out[i] = (void *)((uintptr_t)out[i] | HKM_ZERO);
    }
}

/* Blocks on these pages are handed out, and some of the pages are zero or idle. */
static void wake_pages(struct hkm_slab *s, uint16_t pages)
{
    if (s->step && pages & s->zero & ~s->backed)
        hkm_superslab_prefault(s, pages);
    s->idle &= (uint16_t)~pages;
    if (s->size < hkm_os.page) /* of larger blocks, those that come back without HKM_ZERO have been written */
        s->zero &= (uint16_t)~pages;
}

/* Blocks on the pages that bytes [from, to) lie on are handed out. */
static void use_pages(struct hkm_slab *s, size_t from, size_t to)
{
    uint16_t pages = hkm_pages_of(from, to);
    if (unlikely((s->zero | s->idle) & pages))
        wake_pages(s, pages);
}

/* A row: addresses of neighbouring blocks, one after the other.  Two or four of them are made, or looked at, at once. */
typedef uintptr_t lanes __attribute__((vector_size(16)));
enum { LANES = sizeof(lanes) / sizeof(uintptr_t), STEP = 4 * LANES /* written out below */, ROW_LEAST = 8 };

HKM_INLINE lanes first_lanes(uintptr_t first, size_t step)
{
    lanes at;
    for (unsigned i = 0; i < LANES; i++)
        at[i] = first + i * step;
    return at;
}
HKM_INLINE lanes all_lanes(size_t step)
{
    lanes by;
    for (unsigned i = 0; i < LANES; i++)
        by[i] = step;
    return by;
}

HKM_INLINE lanes put_lanes(void **out, lanes at, lanes by)
{
    memmove(out, &at, sizeof at);
    return at + by;
}
HKM_INLINE lanes other_than(void *const *blocks, lanes want)
{
    lanes seen;
    memmove(&seen, blocks, sizeof seen);
    return seen ^ want;
}

static void list_row(void **out, char *first, size_t size, unsigned n)
{
    lanes at = first_lanes((uintptr_t)first, size), by = all_lanes(LANES * size);
    void **end = out + n;
    for (; end - out >= STEP; out += STEP) {
        at = put_lanes(out, at, by);
        at = put_lanes(out + LANES, at, by);
        at = put_lanes(out + 2 * LANES, at, by);
        at = put_lanes(out + 3 * LANES, at, by);
    }
    for (uintptr_t next = at[0]; out < end; next += size)
        *out++ = (void *)next;
}

/* How many of the `n` blocks are a row, each `step` bytes behind the one before. */
static unsigned row_length(void *const *blocks, unsigned n, size_t step)
{
    lanes want = first_lanes((uintptr_t)blocks[0], step), by = all_lanes(LANES * step);
    void *const *at = blocks, *const *end = blocks + n;
    for (; end - at >= STEP; at += STEP) {
        lanes a = want, b = a + by, c = b + by, d = c + by;
        lanes differ = other_than(at, a) | other_than(at + LANES, b) | other_than(at + 2 * LANES, c) |
                       other_than(at + 3 * LANES, d);
        uintptr_t any = differ[0] | differ[1];
        if (LANES > 2)
            any |= differ[LANES - 2] | differ[LANES - 1];
        if (any)
            break;
        want = d + by;
    }
    uintptr_t next = want[0];
    for (; at < end && (uintptr_t)*at == next; at++)
        next += step;
    return (unsigned)(at - blocks);
}

unsigned hkm_slab_take(struct hkm_slab *s, void **out, unsigned want)
{
    unsigned got = 0, w = s->hint;
    uint32_t size = s->size;
    bool paged = size >= hkm_os.page;
    if (want > s->nfree)
        want = s->nfree;
    while (got < want) {
        hkm_check(w < s->words); /* nfree says that there are more */
        size_t bits = s->free[w];
        if (!bits) {
            w++;
            continue;
        }
        size_t base = (size_t)w * BITS * size;
        unsigned first = hkm_low_bit(bits), last, before = got;
        size_t behind = ~(bits >> first); /* where the row of free blocks ends, from `first` on */
        unsigned row = behind ? hkm_low_bit(behind) : BITS;
        if (row > want - got)
            row = want - got;
        if (row >= ROW_LEAST && !paged) { /* no need to look at each bit */
            size_t from = base + (size_t)first * size;
            list_row(out + got, s->start + from, size, row);
            got += row;
            s->free[w] = bits & ~(~(size_t)0 >> (BITS - row) << first);
            use_pages(s, from, from + (size_t)row * size);
            continue;
        }
        do {
            last = hkm_low_bit(bits);
            bits &= bits - 1;
            out[got++] = s->start + base + (size_t)last * size;
        } while (bits && got < want);
        s->free[w] = bits;
        if (paged)
            flag_zero(s, out + before, got - before);
        use_pages(s, base + (size_t)first * size, base + ((size_t)last + 1) * size);
    }
    s->hint = (uint16_t)w;
    s->nfree = (uint16_t)(s->nfree - got);
    return got;
}

/* Blocks of one word become free: one store for all of them. */
HKM_INLINE void set_bits(struct hkm_slab *s, unsigned word, size_t bits)
{
    /* The offset of what is no block may lie behind the last one. */
    if (unlikely(word * BITS + hkm_high_bit(bits) >= s->blocks))
        hkm_os_bad_pointer("free", "invalid pointer", s->start + (word * BITS + hkm_high_bit(bits)) * s->size);
    if (unlikely(s->free[word] & bits))
        double_free(s, word, s->free[word] & bits);
    s->free[word] |= bits;
    if (word < s->hint)
        s->hint = (uint16_t)word;
}

/* From blocks[i] on, those of one word; in most batches neighbours come together.  Returns where the next word begins.
 * paged: they may be flagged, and the pages of those that are not have been written. */
HKM_INLINE unsigned give_word(struct hkm_slab *s, void *const *blocks, unsigned i, unsigned n, unsigned word, bool paged)
{
    size_t skip = (size_t)word * BITS * s->size, span = (size_t)BITS * s->size, bits = 0;
    uintptr_t from = (uintptr_t)s->start + skip;
    uint32_t magic = s->magic;
    if (span > HKM_SLOT_SIZE - skip)
        span = HKM_SLOT_SIZE - skip;
    void *const *at = blocks + i, *const *end = blocks + n;
    for (; at != end; at++) {
        uintptr_t a = (uintptr_t)*at, offset = (paged ? a & ~HKM_ZERO : a) - from;
        if (offset >= span)
            break;
        uint64_t x = (uint64_t)offset * magic >> 32; /* hkm_class_index, of what is known to be small enough */
        if (unlikely(hkm_set_bit(&bits, (size_t)x)))
            double_free(s, word, (size_t)1 << x);
        if (paged && !(a & HKM_ZERO))
            s->zero &= (uint16_t)~pages_of_block(s, word * BITS + (unsigned)x);
    }
    set_bits(s, word, bits);
    return (unsigned)(at - blocks);
}

/* `n` neighbours, from x on. */
static void set_row(struct hkm_slab *s, unsigned x, unsigned n)
{
    while (n) {
        unsigned first = x % BITS, here = n < BITS - first ? n : BITS - first;
        set_bits(s, x / BITS, ~(size_t)0 >> (BITS - here) << first);
        x += here;
        n -= here;
    }
}

/* Of neighbours that come back in the order of their addresses, or against it, as much as is a row, from block x on; 0: they are
 * none. */
HKM_INLINE unsigned give_row(struct hkm_slab *s, void *const *blocks, unsigned n, unsigned x)
{
    size_t step = (uintptr_t)blocks[1] - (uintptr_t)blocks[0], size = s->size;
    bool up = step == size;
    if ((!up && step != -size) || unlikely(x >= s->blocks))
        return 0;
    unsigned most = up ? s->blocks - x : x + 1;
    unsigned row = row_length(blocks, n < most ? n : most, step);
    set_row(s, up ? x : x - (row - 1), row);
    return row;
}

unsigned hkm_slab_give(struct hkm_slab *s, void *const *blocks, unsigned n)
{
    bool paged = s->size >= hkm_os.page;
    unsigned i = 0, row;
    while (i < n) {
        size_t offset = ((uintptr_t)blocks[i] & ~HKM_ZERO) - (uintptr_t)s->start;
        if (offset >= HKM_SLOT_SIZE)
            break;
        unsigned x = hkm_class_index(s->magic, offset);
        if (!paged && i + 1 < n && (row = give_row(s, blocks + i, n - i, x)) != 0) {
            i += row;
            continue;
        }
        i = paged ? give_word(s, blocks, i, n, x / BITS, true) : give_word(s, blocks, i, n, x / BITS, false);
    }
    s->nfree = (uint16_t)(s->nfree + i);
    s->given = (uint32_t)hkm_load(&hkm_slab_clock);
    return i;
}

void hkm_slab_remote_word(struct hkm_slab *s, unsigned word, size_t bits)
{
    /* The slab may have lost all its blocks, these too, since the program freed one the second time. */
    if (unlikely(!s->free || word * BITS + hkm_high_bit(bits) >= s->blocks))
        hkm_os_bad_pointer("free", "double free", s->start + ((size_t)word * BITS + hkm_low_bit(bits)) * s->size);
    /* A full barrier: what the program did to the blocks comes before their being free. */
    size_t before = hkm_fetch_or(&remote_bits(s)[word], bits);
    if (unlikely(before & bits))
        double_free(s, word, before & bits);
}

void hkm_slab_remote(struct hkm_slab *s, void *block)
{
    /* As above. */
    if (unlikely(!s->free || !hkm_class_starts(s->magic, (uintptr_t)block)))
        hkm_os_bad_pointer("free", "double free", block);
    unsigned x = index_of(s, block);
    if (unlikely(x >= s->blocks))
        hkm_os_bad_pointer("free", "invalid pointer", block);
    hkm_slab_remote_word(s, x / BITS, (size_t)1 << x % BITS);
}

unsigned hkm_slab_collect(struct hkm_slab *s)
{
    unsigned got = 0;
    hkm_word *remote = remote_bits(s);
    for (unsigned w = 0; w < s->words; w++) {
        if (!hkm_load(&remote[w]))
            continue;
        size_t bits = hkm_swap(&remote[w], 0);
        if (unlikely(s->free[w] & bits))
            double_free(s, w, s->free[w] & bits);
        if (s->size >= hkm_os.page)
            for (size_t left = bits; left; left &= left - 1)
                s->zero &= (uint16_t)~pages_of_block(s, w * BITS + hkm_low_bit(left));
        hkm_in_order(); /* before they are free: a fork's child believes the bitmap, and takes a zero page for one */
        s->free[w] |= bits;
        got += hkm_popcount(bits);
        if (w < s->hint)
            s->hint = (uint16_t)w;
    }
    if (!got)
        return 0;
    s->nfree = (uint16_t)(s->nfree + got);
    s->given = (uint32_t)hkm_load(&hkm_slab_clock);
    return got;
}

HKM_COLD void hkm_slab_recount(struct hkm_slab *s)
{
    unsigned n = 0;
    for (unsigned w = 0; w < s->words; w++)
        n += hkm_popcount(s->free[w]);
    s->nfree = (uint16_t)n;
    s->hint = 0;
}

/* Blocks first..last are all free. */
static bool all_free(const struct hkm_slab *s, unsigned first, unsigned last)
{
    for (unsigned w = first / BITS; w <= last / BITS; w++) {
        size_t want = ~(size_t)0;
        if (w == first / BITS)
            want &= ~(size_t)0 << first % BITS;
        if (w == last / BITS)
            want &= ~(size_t)0 >> (BITS - 1 - last % BITS);
        if (~s->free[w] & want)
            return false;
    }
    return true;
}

/* Those of the pages, a bit each, that no block that somebody holds reaches into. */
static uint16_t free_among(const struct hkm_slab *s, uint16_t pages)
{
    size_t page = hkm_os.page;
    uint16_t found = 0;
    for (; pages; pages &= (uint16_t)(pages - 1)) {
        size_t at = (size_t)hkm_low_bit(pages) << hkm_os.page_bits;
        unsigned first = index_of(s, s->start + at), last = index_of(s, s->start + at + page - 1), end = s->blocks - 1u;
        if (first > end || all_free(s, first, last < end ? last : end))
            found |= pages & (uint16_t)-pages;
    }
    return found;
}

size_t hkm_slab_committed(const struct hkm_slab *s)
{
    uint16_t zero = s->backing == HKM_PLAIN ? s->zero & (uint16_t)~s->backed : 0;
    uint16_t clean = s->size < hkm_os.page ? zero : free_among(s, zero);
    return (size_t)hkm_popcount(hkm_pages_all() & (uint16_t)~clean) << hkm_os.page_bits;
}

uint16_t hkm_slab_free_pages(const struct hkm_slab *s)
{
    /* A page that is known to be zero holds no memory worth asking for, unless it was faulted in for it; a huge one stays. */
    return s->nfree && s->backing == HKM_PLAIN ? free_among(s, hkm_pages_all() & (uint16_t)(~s->zero | s->backed)) : 0;
}

uint16_t hkm_slab_look(struct hkm_slab *s, size_t age, uint16_t *young)
{
    uint16_t found = hkm_superslab_refused(s) ? 0 : hkm_slab_free_pages(s), ripe = found;
    if ((uint32_t)hkm_load(&hkm_slab_clock) - s->given < age)
        ripe &= s->idle;
    *young = found & (uint16_t)~ripe;
    s->idle = *young;
    return ripe;
}

HKM_COLD size_t hkm_slab_purge(struct hkm_slab *s)
{
    size_t done = 0;
    for (uint16_t left = hkm_slab_free_pages(s); left;) {
        unsigned first = hkm_low_bit(left), n = hkm_low_bit(~((size_t)left >> first));
        done += hkm_superslab_purge_pages(s, first, n);
        left &= (uint16_t)~hkm_pages(first, n);
    }
    return done;
}

void hkm_slab_mark_live(struct hkm_slab *s, void *block)
{
    unsigned x = index_of(s, block);
    hkm_fetch_or(&live_bits(s)[x / BITS], (size_t)1 << x % BITS);
}

bool hkm_slab_is_live(const struct hkm_slab *s, const void *block)
{
    unsigned x = index_of(s, block);
    return hkm_load(&live_bits(s)[x / BITS]) >> x % BITS & 1;
}

bool hkm_slab_mark_dead(struct hkm_slab *s, void *block)
{
    unsigned x = index_of(s, block);
    size_t bit = (size_t)1 << x % BITS;
    return hkm_fetch_clear(&live_bits(s)[x / BITS], bit) & bit;
}

HKM_COLD bool hkm_slab_valid(const struct hkm_slab *s)
{
    unsigned n = 0;
    for (unsigned w = 0; w < s->words; w++) {
        if (s->free[w] && w < s->hint)
            return false;
        n += hkm_popcount(s->free[w]);
    }
    return n == s->nfree && n <= s->blocks;
}
