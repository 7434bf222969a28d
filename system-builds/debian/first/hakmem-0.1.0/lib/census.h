/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * census.h: where all the memory is.
 */
#ifndef HKM_CENSUS_H
#define HKM_CENSUS_H

#include "stats.h"

/* Fills in what can be found out by looking: all but the large_allocs, large_frees and foreign_frees of threads without a
 * heap, which `sum` has already, and which the numbers of blocks are made of. */
void hkm_census(struct hak_stats *sum);

#endif
