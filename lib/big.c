/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * big.c: see big.h.  The table is an open-addressing hash by address with linear probing, under one lock; it doubles when
 * half full and keeps no gaps: a removal moves up what follows.
 *
 * A fork may catch a thread at the table, which the child then lacks.  So every change is a row of steps after each of
 * which each entry stands in the table, with its bytes; it may then stand there twice, or behind a gap where it is not
 * found.  Who takes the lock over mends that.
 */
#define HKM_SMALL
#include "big.h"
#include "lock.h"
#include "memcheck.h"
#include "meta.h"
#include "os.h"
#include "superslab.h"

enum { IDLE = HKM_BIG_IDLE, HUGE = HKM_BIG_HUGE };

enum { FREED = 16 };

static struct HKM_OWN_LINES { struct hkm_lock lock; } big = { HKM_LOCK_INIT(HKM_RANK_BIG) };
static struct hkm_big_table *table;     /* under lock, like all below */
static uintptr_t freed[FREED];  /* the blocks freed last, to tell a double free from a foreign pointer */
static unsigned next_freed;
static hkm_word total, idle; /* bytes, and those of the idle blocks; read without the lock */
static hkm_word entries; /* as counted in the table; read without the lock */
HKM_SHOWN(table, hkm_big_entries);
HKM_SHOWN(total, hkm_big_total);
HKM_SHOWN(idle, hkm_big_idle_bytes);
HKM_SHOWN(entries, hkm_big_number);
static hkm_word some;  /* not 0 while there may be entries: lets a foreign pointer pass without the lock */

size_t hkm_big_mapped(void) { return hkm_load(&total); }
size_t hkm_big_bytes(void) { return hkm_load(&total) - hkm_load(&idle); }
size_t hkm_big_count(void) { return hkm_load(&entries); }

static size_t bytes_of(const struct hkm_big_entry *e) { return hkm_load(&e->bytes) & ~(size_t)(IDLE | HUGE); }
static bool is_idle(const struct hkm_big_entry *e) { return hkm_load(&e->bytes) & IDLE; }
static size_t huge_of(const struct hkm_big_entry *e) { return hkm_load(&e->bytes) & HUGE; }

static size_t home_in(uintptr_t p, size_t places)
{
    return (size_t)((p >> hkm_os.page_bits) * (uintptr_t)0x9e3779b97f4a7c15ull >> 7) & (places - 1);
}

static size_t home(uintptr_t p) { return home_in(p, table->places); }

static size_t next(size_t i) { return (i + 1) & (table->places - 1); }

static uintptr_t start_of(size_t i) { return hkm_load(&table->at[i].start); }

static struct hkm_big_entry *find(uintptr_t p)
{
    if (!table)
        return NULL;
    for (size_t i = home(p); start_of(i); i = next(i))
        if (start_of(i) == p)
            return &table->at[i];
    return NULL;
}

static void fill(struct hkm_big_entry *e, struct hkm_big_entry from)
{
    hkm_store_rel(&e->start, 0); /* never an address with another's bytes */
    hkm_store_rel(&e->bytes, from.bytes);
    hkm_store_rel(&e->site, from.site);
    hkm_store_rel(&e->born, from.born);
    hkm_store_rel(&e->start, from.start);
}

static void put(struct hkm_big_entry from)
{
    size_t i = home(from.start);
    while (start_of(i))
        i = next(i);
    fill(&table->at[i], from);
}

static void take_out(struct hkm_big_entry *e)
{
    size_t hole = (size_t)(e - table->at), mask = table->places - 1;
    for (size_t i = next(hole); start_of(i); i = next(i)) {
        /* An entry may move up unless its home lies behind the hole. */
        if (((i - home(start_of(i))) & mask) >= ((i - hole) & mask)) {
            fill(&table->at[hole], table->at[i]);
            hole = i;
        }
    }
    hkm_store_rel(&table->at[hole].start, 0);
    table->count--;
}

/* Puts every entry where it is found, once, and counts afresh.  What is not found moves towards its home, so this ends. */
static HKM_COLD void mend(void)
{
    bool moved = table != NULL;
    size_t bytes = 0, idle_bytes = 0;
    while (moved) {
        moved = false;
        table->count = bytes = idle_bytes = 0;
        for (size_t i = 0; i < table->places; i++) {
            struct hkm_big_entry *e = &table->at[i], *found = start_of(i) ? find(start_of(i)) : NULL;
            uintptr_t start = start_of(i);
            if (start && found != e) {
                if (!found) /* in front of this one first: it must not get lost if another fork comes */
                    put(*e);
                hkm_store_rel(&e->start, 0);
                moved = true;
            } else if (start) {
                table->count++;
                bytes += bytes_of(e);
                idle_bytes += is_idle(e) ? bytes_of(e) : 0;
            }
        }
    }
    hkm_store(&total, bytes);
    hkm_store(&idle, idle_bytes);
    hkm_store(&entries, table ? table->count : 0);
    hkm_store(&some, 1);
}

static void lock_table(void)
{
    if (unlikely(hkm_lock(&big.lock)))
        mend();
}

static size_t table_bytes(size_t places)
{
    return hkm_round_up(sizeof *table + places * sizeof table->at[0], hkm_os.page);
}

static bool make_room(void)
{
    if (table && table->count * 2 < table->places)
        return true;
    struct hkm_big_table *was = table, *now;
    size_t places = was ? was->places * 2 : 128;
    now = hkm_os_map(table_bytes(places));
    if (!now)
        return was && was->count + 1 < was->places;
    hkm_meta_note(table_bytes(places));
    hkm_meta_note_area(!was);
    hkm_memcheck_hide(now, table_bytes(places));
    now->places = places;
    for (size_t i = 0; was && i < was->places; i++) {
        if (!hkm_load(&was->at[i].start))
            continue;
        size_t k = home_in(hkm_load(&was->at[i].start), places);
        while (hkm_load(&now->at[k].start))
            k = (k + 1) & (places - 1);
        now->at[k] = was->at[i];
        now->count++;
    }
    hkm_in_order(); /* a fork finds the old table or the new one, whole */
    table = now;
    hkm_in_order();
    if (was) {
        hkm_meta_note(-table_bytes(was->places));
        hkm_os_unmap(was, table_bytes(was->places));
    }
    return true;
}

static bool enter(void *p, size_t bytes, bool huge, const void *site)
{
    size_t born = hkm_site_alloc(site, bytes);
    lock_table();
    bool ok = make_room();
    if (ok) {
        put((struct hkm_big_entry){ (uintptr_t)p, bytes | (huge ? HUGE : 0), (size_t)site, born });
        table->count++;
        for (unsigned i = 0; i < FREED; i++)
            if (freed[i] == (uintptr_t)p)
                freed[i] = 0;
        hkm_store(&some, 1);
        hkm_store(&total, hkm_load(&total) + bytes);
        hkm_store(&entries, table->count);
    }
    hkm_unlock(&big.lock);
    return ok;
}

static void told_free(const struct hkm_big_entry *e)
{
    hkm_site_free((const void *)hkm_load(&e->site), bytes_of(e), (uint32_t)hkm_load(&e->born), 0);
}

/* Removes a block that is idle, or one that is not, and returns its bytes; 0: there is none of that kind. */
static size_t leave(const void *p, bool was_idle, bool remember)
{
    size_t bytes = 0;
    if (!hkm_load(&some))
        return 0;
    lock_table();
    struct hkm_big_entry *e = find((uintptr_t)p);
    if (e && is_idle(e) == was_idle) {
        bytes = bytes_of(e);
        if (!was_idle)
            told_free(e);
        take_out(e);
        if (remember)
            freed[next_freed++ % FREED] = (uintptr_t)p;
        if (was_idle)
            hkm_store(&idle, hkm_load(&idle) - bytes);
        hkm_store(&total, hkm_load(&total) - bytes);
        hkm_store(&entries, table->count);
    }
    hkm_unlock(&big.lock);
    return bytes;
}

/* The block, if it is idle, or is not, as asked for; else an entry of no bytes. */
static struct hkm_big_entry look(const void *p, bool want_idle)
{
    struct hkm_big_entry found = { 0 };
    if (!hkm_load(&some))
        return found;
    lock_table();
    const struct hkm_big_entry *e = find((uintptr_t)p);
    if (e && is_idle(e) == want_idle)
        found = *e;
    hkm_unlock(&big.lock);
    return found;
}

static size_t look_for_bytes(const void *p, bool want_idle)
{
    const struct hkm_big_entry e = look(p, want_idle);
    return bytes_of(&e);
}

size_t hkm_big_size(const void *p) { return look_for_bytes(p, false); }
size_t hkm_big_capacity(const void *p) { return look_for_bytes(p, true); }

/* Marks the block as idle, or as not; its bytes, 0: it is no block, or is that already. */
static size_t mark(const void *p, bool to_idle, const void **site)
{
    size_t bytes = 0;
    if (!hkm_load(&some))
        return 0;
    lock_table();
    struct hkm_big_entry *e = find((uintptr_t)p);
    if (e && is_idle(e) != to_idle) {
        bytes = bytes_of(e);
        if (to_idle) {
            *site = (const void *)hkm_load(&e->site);
            told_free(e);
        } else {
            hkm_store(&e->site, (size_t)*site);
            hkm_store(&e->born, hkm_site_alloc(*site, bytes));
        }
        hkm_store(&e->bytes, bytes | huge_of(e) | (to_idle ? IDLE : 0));
        hkm_store(&idle, hkm_load(&idle) + (to_idle ? bytes : -bytes));
    }
    hkm_unlock(&big.lock);
    return bytes;
}

size_t hkm_big_huge(void)
{
    size_t sum = 0;
    if (!hkm_load(&some))
        return 0;
    lock_table();
    for (size_t i = 0; table && i < table->places; i++)
        if (start_of(i) && huge_of(&table->at[i]))
            sum += bytes_of(&table->at[i]);
    hkm_unlock(&big.lock);
    return sum;
}

size_t hkm_big_idle(const void *p, const void **site) { return mark(p, true, site); }
void hkm_big_wake(const void *p, const void *site) { (void)mark(p, false, &site); }

void *hkm_big_around(const void *p)
{
    void *found = NULL;
    if (!hkm_load(&some))
        return NULL;
    lock_table();
    for (size_t i = 0; table && table->count && i < table->places && !found; i++)
        if (start_of(i) && (uintptr_t)p - start_of(i) < bytes_of(&table->at[i]))
            found = (void *)start_of(i);
    hkm_unlock(&big.lock);
    return found;
}

bool hkm_big_was(const void *p)
{
    bool was = false;
    if (!hkm_load(&some))
        return false;
    lock_table();
    const struct hkm_big_entry *e = find((uintptr_t)p);
    bool kept = e && is_idle(e);
    for (unsigned i = 0; i < FREED; i++)
        was = was || (p && freed[i] == (uintptr_t)p);
    hkm_unlock(&big.lock);
    /* The kernel may have given the address to somebody else since, whose block it is now. */
    return kept || (was && !hkm_os_mapped(p));
}

/* Bytes of the mapping for a block, of huge pages of `huge` bytes or, 0, of usual ones; 0: there can be none. */
static size_t bytes_for(size_t size, size_t huge)
{
    size_t bytes = hkm_round_up(size ? size : 1, huge ? huge : hkm_os.page);
    return bytes < size || bytes > PTRDIFF_MAX ? 0 : bytes;
}

void *hkm_big_alloc(size_t size, size_t alignment, const void *site)
{
    size_t huge = hkm_superslab_huge_unit(size, false), bytes = bytes_for(size, huge), extra = 0, all;
    char *p = NULL;
    hkm_superslab_expect();
    if (huge && alignment <= huge && bytes) { /* most kernels align a mapping of whole huge pages by themselves */
        alignment = huge;
        p = hkm_os_map(bytes);
        if (p && (uintptr_t)p & (huge - 1)) {
            hkm_os_unmap(p, bytes);
            p = NULL;
        }
    }
    if (!p && alignment > hkm_os.page)
        extra = alignment;
    if (!bytes || __builtin_add_overflow(bytes, extra, &all) || all > PTRDIFF_MAX)
        return NULL;
    if (!p)
        p = hkm_os_map(all);
    if (!p)
        return NULL;
    if (extra) { /* cut off what lies before and behind the aligned part */
        char *start = (char *)hkm_round_up((uintptr_t)p, alignment);
        if (start > p)
            hkm_os_unmap(p, (size_t)(start - p));
        if (start + bytes < p + all)
            hkm_os_unmap(start + bytes, (size_t)(p + all - (start + bytes)));
        p = start;
    }
    if (huge)
        hkm_superslab_huge(p, bytes);
    hkm_superslab_note_mapping(bytes);
    if (!enter(p, bytes, huge, site)) {
        hkm_os_unmap(p, bytes);
        return NULL;
    }
    return p;
}

static bool unmap(void *p, bool was_idle)
{
    /* Out of the table first: once unmapped, the address may be handed out again at once. */
    size_t bytes = leave(p, was_idle, true);
    if (bytes) {
        hkm_os_unmap(p, bytes);
        hkm_superslab_note_unmapping(bytes);
    }
    return bytes != 0;
}

bool hkm_big_free(void *p) { return unmap(p, false); }
void hkm_big_drop(void *p) { (void)unmap(p, true); }

/* A block that grows again has been filled before, as a rule from one end: it will be dense.  Linux aligns what is moved to whole
 * huge pages since 6.7; before, it moves them in pieces, which saves as many faults. */
void *hkm_big_resize(void *p, size_t size)
{
    const struct hkm_big_entry was = look(p, false);
    size_t old = bytes_of(&was), plain = bytes_for(size, 0);
    bool grows = size > old, dense = huge_of(&was) || (grows && was.site == (size_t)HKM_SITE_RESIZED);
    size_t huge = hkm_superslab_huge_unit(size, dense), bytes = bytes_for(size, huge);
    if (!old || !bytes)
        return NULL;
    if (!grows && bytes > old) /* it has huge pages, but there was no room for whole ones when it grew */
        bytes = plain;
    if (bytes == old)
        return p;
    if (grows)
        hkm_superslab_expect();
    if (!leave(p, false, false))
        return NULL;
    void *q = hkm_os_resize(p, old, bytes, true);
    if (!q && bytes != plain)
        q = hkm_os_resize(p, old, bytes = plain, true);
    if (q && huge && !huge_of(&was))
        hkm_superslab_huge(q, bytes);
    if (!q)
        bytes = old;
    bool is_huge = (huge || huge_of(&was)) && bytes >= hkm_os_huge_size();
    /* There is room in the table: an entry has just left it, and if others took its place they made more. */
    if (!enter(q ? q : p, bytes, is_huge, HKM_SITE_RESIZED))
        hkm_os_panic("realloc(): out of memory for the table of big blocks");
    return q;
}
