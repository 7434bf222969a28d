/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * site.c: see site.h.  Sets of four rows; a site's set is a hash of its address.
 */
#define HKM_SMALL
#include "site.h"
#include "meta.h"
#include "option.h"
#include "os.h"

enum { WAYS = 4, SETS = HKM_SITE_ROWS / WAYS, SET_BITS = 5 };
_Static_assert(SETS == 1 << SET_BITS, "a hash is a number below SETS");

static hkm_word table; /* struct hkm_site[SETS][WAYS] */
HKM_SHOWN(table, hkm_site_table);

static struct hkm_site *set_of(const struct hkm_site *rows, const void *site)
{
    return (struct hkm_site *)(uintptr_t)rows + WAYS * ((uint32_t)((uintptr_t)site >> 2) * 0x9e3779b1u >> (32 - SET_BITS));
}

static struct hkm_site *find(struct hkm_site *set, const void *site)
{
    for (struct hkm_site *r = set; r < set + WAYS; r++)
        if (hkm_load_acq(&r->site) == (size_t)site) /* its counts are those of this site: enter() */
            return r;
    return NULL;
}

/* Threads that come here together make two, of which one is never used. */
static HKM_COLD struct hkm_site *make_table(void)
{
    void *t = hkm_load(&hkm_option.pass) ? NULL : hkm_meta_alloc(HKM_SITE_ROWS * sizeof(struct hkm_site), 64);
    if (t)
        hkm_cas(&table, 0, (size_t)t);
    return (struct hkm_site *)hkm_load_acq(&table);
}

/* A new site takes an empty row, or that of one that has not asked since others were last passed by for its sake.  Two threads
 * may enter one site twice: who reads adds its rows up. */
static HKM_COLD struct hkm_site *enter(struct hkm_site *set, const void *site)
{
    struct hkm_site *old = find(set, NULL);
    for (size_t i = 0; !old; i++) {
        struct hkm_site *r = set + (i + ((uintptr_t)site >> 4)) % WAYS; /* not always from the same one on */
        if (!hkm_load(&r->used) || i == 2 * WAYS)
            old = r;
        hkm_store(&r->used, 0);
    }
    size_t was = hkm_load(&old->site);
    for (hkm_word *w = &old->used; w < &old->lives[HKM_SITE_LIVES]; w++)
        hkm_store(w, 0);
    return hkm_cas(&old->site, was, (size_t)site) ? old : NULL; /* after the zeros, by release */
}

static struct hkm_site *row_of(const void *site)
{
    struct hkm_site *rows = (struct hkm_site *)hkm_load_acq(&table), *set, *r;
    if (unlikely(hkm_load(&hkm_option.disable_sites)) || site <= HKM_SITE_RESIZED || (unlikely(!rows) && !(rows = make_table())))
        return NULL;
    set = set_of(rows, site);
    r = find(set, site);
    return likely(r != NULL) ? r : enter(set, site);
}

const struct hkm_site *hkm_site_find(const void *site)
{
    struct hkm_site *rows = (struct hkm_site *)hkm_load_acq(&table);
    return rows ? find(set_of(rows, site), site) : NULL;
}

/* No locked instruction while there is one thread. */
static void add(hkm_word *w, size_t n)
{
    if (likely(hkm_os_single_threaded()))
        hkm_store(w, hkm_load(w) + n);
    else
        hkm_add(w, n);
}

/* Four classes to a doubling, as in bigcache.c; from 16 bytes on. */
static size_t class_of(size_t bytes)
{
    unsigned high = hkm_high_bit(bytes | 16);
    return 4 * (high - 3) + (bytes >> (high - 2) & 3);
}

static void ask(struct hkm_site *r, size_t bytes)
{
    size_t recent = hkm_load(&r->recent), now = (uint32_t)(recent << 8 | class_of(bytes));
    if (!hkm_load(&r->used) && recent) /* with the second request: who asks once makes no other's row look idle */
        hkm_store(&r->used, 1);
    add(&r->allocs, 1);
    add(&r->bytes, bytes);
    if (recent != now) /* what does not change is not written */
        hkm_store(&r->recent, now);
}

uint32_t hkm_site_alloc(const void *site, size_t bytes)
{
    struct hkm_site *r = bytes < HKM_SITE_LEAST ? NULL : row_of(site);
    if (!r)
        return 0;
    uint32_t now = (uint32_t)hkm_os_ms() | 1;
    size_t left = hkm_load(&r->left), reuse = hkm_load(&r->reuse);
    ask(r, bytes);
    if (left) {
        size_t waited = (uint32_t)(now - (uint32_t)left);
        hkm_store(&r->left, 0);
        hkm_store(&r->reuse, reuse ? reuse - reuse / 8 + waited : 8 * waited);
    }
    return now;
}

void hkm_site_free(const void *site, size_t bytes, uint32_t born, size_t again)
{
    struct hkm_site *r = born ? row_of(site) : NULL;
    if (!r)
        return;
    uint32_t now = (uint32_t)hkm_os_ms() | 1;
    size_t each = (uint32_t)(now - born), n = again + 1;
    if (again) { /* what the run cache handed out again lived for so long on the average, at most */
        each /= n;
        add(&r->allocs, again);
        add(&r->bytes, again * bytes);
    }
    unsigned life = hkm_high_bit(each | 1) / 3;
    add(&r->frees, n);
    add(&r->freed, n * bytes);
    add(&r->lives[life < HKM_SITE_LIVES ? life : HKM_SITE_LIVES - 1], n);
    hkm_store(&r->left, now);
}

void hkm_site_label(const void *site, size_t bytes, bool freed)
{
    struct hkm_site *r = bytes < HKM_SITE_LEAST ? row_of(site) : NULL;
    if (!r)
        return;
    if (!freed) {
        ask(r, bytes);
    } else {
        add(&r->frees, 1);
        add(&r->freed, bytes);
    }
}
