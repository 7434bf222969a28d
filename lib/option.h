/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * option.h: what the user can set.  The rows stand in option.def.
 */
#ifndef HKM_OPTION_H
#define HKM_OPTION_H

#include "base.h"
#include "atomic.h"

/* Every field is one word: written while the environment is read, before the process has a second thread, and by
 * hak_option_set; read at any time (relaxed). */
struct hkm_option {
#define X(NAME, field, def, least, most, when, words) hkm_word field;
#include "option.def"
#undef X
};
extern struct hkm_option hkm_option HKM_HIDDEN;

/* Reads the environment, once, as soon as there is one.  A wrong value gives one line on stderr and the default.
 * True when this very call read it. */
bool hkm_option_init(void);

/* By name without HAKMEM_.  0 or an errno value: ENOENT, ERANGE, EPERM. */
int hkm_option_get(const char *name, long *value);
int hkm_option_set(const char *name, long value);

/* Calls back for every option, in the order of option.def. */
void hkm_option_each(void (*row)(const char *name, long value, void *arg), void *arg);

#endif
