/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * big.c: see big.h.  The table is an open-addressing hash by address with linear probing, under one lock; it doubles when
 * half full and keeps no gaps: a removal moves up what follows.
 */
#include "big.h"
#include "lock.h"
#include "meta.h"
#include "os.h"

struct entry {
    uintptr_t start; /* 0: none */
    size_t bytes;
};

static struct hkm_lock lock = HKM_LOCK_INIT(HKM_RANK_BIG);
static struct entry *table; /* under lock, like all below */
static size_t places, count;
static hkm_word total; /* bytes; read without the lock */
static hkm_word some;  /* not 0 while there may be entries: lets a foreign pointer pass without the lock */

size_t hkm_big_bytes(void) { return hkm_load(&total); }

static size_t home(uintptr_t p) { return (size_t)((p >> hkm_os.page_bits) * (uintptr_t)0x9e3779b97f4a7c15ull >> 7) & (places - 1); }

static struct entry *find(uintptr_t p)
{
    if (!table)
        return NULL;
    for (size_t i = home(p); table[i].start; i = (i + 1) & (places - 1))
        if (table[i].start == p)
            return &table[i];
    return NULL;
}

static void put(uintptr_t start, size_t bytes)
{
    size_t i = home(start);
    while (table[i].start)
        i = (i + 1) & (places - 1);
    table[i].bytes = bytes;
    table[i].start = start;
    count++;
}

static void take_out(struct entry *e)
{
    size_t hole = (size_t)(e - table), i = hole;
    for (;;) {
        i = (i + 1) & (places - 1);
        if (!table[i].start)
            break;
        /* An entry may move up unless its home lies behind the hole. */
        if (((i - home(table[i].start)) & (places - 1)) >= ((i - hole) & (places - 1))) {
            table[hole] = table[i];
            hole = i;
        }
    }
    table[hole].start = 0;
    count--;
}

static bool make_room(void)
{
    if (table && count * 2 < places)
        return true;
    size_t old = places, more = old ? old * 2 : hkm_os.page / sizeof *table;
    struct entry *was = table, *t = hkm_os_map(hkm_round_up(more * sizeof *t, hkm_os.page));
    if (!t)
        return table && count + 1 < places;
    hkm_meta_note(hkm_round_up(more * sizeof *t, hkm_os.page));
    places = more;
    table = t;
    count = 0;
    for (size_t i = 0; i < old; i++)
        if (was[i].start)
            put(was[i].start, was[i].bytes);
    if (was) {
        hkm_os_unmap(was, hkm_round_up(old * sizeof *t, hkm_os.page));
        hkm_meta_note(-hkm_round_up(old * sizeof *t, hkm_os.page));
    }
    return true;
}

static bool enter(void *p, size_t bytes)
{
    hkm_lock(&lock);
    bool ok = make_room();
    if (ok) {
        put((uintptr_t)p, bytes);
        hkm_store(&some, 1);
        hkm_store(&total, hkm_load(&total) + bytes);
    }
    hkm_unlock(&lock);
    return ok;
}

/* Removes an entry and returns its bytes; 0: there is none. */
static size_t leave(const void *p)
{
    if (!hkm_load(&some))
        return 0;
    hkm_lock(&lock);
    struct entry *e = find((uintptr_t)p);
    size_t bytes = e ? e->bytes : 0;
    if (e) {
        take_out(e);
        hkm_store(&total, hkm_load(&total) - bytes);
    }
    hkm_unlock(&lock);
    return bytes;
}

size_t hkm_big_size(const void *p)
{
    if (!hkm_load(&some))
        return 0;
    hkm_lock(&lock);
    const struct entry *e = find((uintptr_t)p);
    size_t bytes = e ? e->bytes : 0;
    hkm_unlock(&lock);
    return bytes;
}

void *hkm_big_around(const void *p)
{
    void *found = NULL;
    if (!hkm_load(&some))
        return NULL;
    hkm_lock(&lock);
    for (size_t i = 0; i < places && !found; i++)
        if (table[i].start && (uintptr_t)p - table[i].start < table[i].bytes)
            found = (void *)table[i].start;
    hkm_unlock(&lock);
    return found;
}

void *hkm_big_alloc(size_t size, size_t alignment)
{
    size_t bytes = hkm_round_up(size ? size : 1, hkm_os.page), extra = alignment > hkm_os.page ? alignment : 0, all;
    if (bytes < size || __builtin_add_overflow(bytes, extra, &all) || all > PTRDIFF_MAX)
        return NULL;
    char *p = hkm_os_map(all);
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
    if (!enter(p, bytes)) {
        hkm_os_unmap(p, bytes);
        return NULL;
    }
    return p;
}

bool hkm_big_free(void *p)
{
    /* Out of the table first: once unmapped, the address may be handed out again at once. */
    size_t bytes = leave(p);
    if (bytes)
        hkm_os_unmap(p, bytes);
    return bytes != 0;
}

void *hkm_big_resize(void *p, size_t size)
{
    size_t bytes = hkm_round_up(size, hkm_os.page), old;
    if (bytes < size)
        return NULL;
    old = hkm_big_size(p);
    if (bytes == old)
        return p;
    if (!leave(p))
        return NULL;
    void *q = hkm_os_resize(p, old, bytes, true);
    /* There is room in the table: an entry has just left it, and if others took its place they made more. */
    if (!enter(q ? q : p, q ? bytes : old))
        hkm_os_panic("realloc(): out of memory for the table of big blocks");
    return q;
}
