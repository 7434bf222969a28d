/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * stats.h: counters, and the words in which statistics are printed.  The rows stand in stats.def.
 */
#ifndef HKM_STATS_H
#define HKM_STATS_H

#include "base.h"
#include "atomic.h"
#include "include/hakmem.h"

/* Written by the heap's own thread (hkm_count), read by anybody. */
struct hkm_counters {
#define COUNTER(field, unit, words) hkm_word field;
#include "stats.def"
};

/* Adds the counters of one heap to the sums. */
void hkm_stats_add(struct hak_stats *sum, const struct hkm_counters *c);

/* Prints to a file descriptor.  0 or an errno value. */
int hkm_stats_print(int fd, const struct hak_stats *s, bool json);

#endif
