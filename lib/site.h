/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * site.h: the table of call sites: for each place that asks for blocks of HKM_SITE_LEAST bytes and more, or that a program has
 * labelled (hak_alloc_at), how often, how much, of how many sizes, and for how long.
 *
 * It is told by slow calls alone.  What a thread's run cache hands out again is counted in the run's own record (`again`) and
 * told when the run leaves the cache.  Sites are known by their address; the row of one that has not asked for a while goes to
 * one that asks (second chance).
 *
 * No lock: a row belongs to the site that its first word says, all others are counts.  Who counts while the row passes to
 * another site may count for that one, so numbers are those of a report and nothing depends on them.  The table is made for
 * the first block that is told of; few processes have any.
 */
#ifndef HKM_SITE_H
#define HKM_SITE_H

#include "base.h"
#include "atomic.h"

#define HKM_SITE_LEAST ((size_t)1 << 20)

/* Instead of the call site, of a block that realloc has made another size of: who asked for it will not ask for one like it. */
#define HKM_SITE_RESIZED ((const void *)1)

/* Lifetimes below 8 ms, 64 ms, 512 ms, 4 s, 33 s, 262 s, and longer. */
enum { HKM_SITE_LIVES = 7, HKM_SITE_ROWS = 128 };

/* All atomic, without any order but that of `site`. */
struct hkm_site {
    hkm_word site;   /* 0: the row is empty */
    hkm_word used;   /* not 0: it has asked again since it was last considered to make room */
    hkm_word allocs, frees;
    hkm_word bytes, freed; /* in all */
    hkm_word recent; /* size classes of its last four requests, a byte each, the last one lowest */
    hkm_word left;   /* ms, when one of its blocks was last freed; 0: it has asked since */
    hkm_word reuse;  /* eighths of ms: mean of the time from a free to the next request, the last eight of them most */
    hkm_word lives[HKM_SITE_LIVES]; /* blocks by their lifetime */
};

/* The site has got a block.  The result is to be kept for hkm_site_free: the time, in ms, or 0 when nothing is to be told. */
uint32_t hkm_site_alloc(const void *site, size_t bytes);
/* The block was freed, after it had been handed out again so many times. */
void hkm_site_free(const void *site, size_t bytes, uint32_t born, size_t again);
/* A block of fewer bytes, labelled; freed: with the label again.  Where it is told, live is `allocs` - `frees`. */
void hkm_site_label(const void *site, size_t bytes, bool freed);

const struct hkm_site *hkm_site_find(const void *site); /* NULL: there is none */

#endif
