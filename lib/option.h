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

/* Of HAKMEM_HUGEPAGES.  GROWN: for big blocks that realloc makes larger, and has resized before. */
enum hkm_huge { HKM_HUGE_NO, HKM_HUGE_THP, HKM_HUGE_TLB, HKM_HUGE_GROWN };

/* The programs that are left to the C library: a line each, an absolute path, or a pattern with * and ? for the last part of
 * it; # begins a comment.  Believed only when root alone can write it.  Not asked when LD_PRELOAD names the library (then
 * it was wanted for this program), so that it costs nothing there.  One list for all copies of the library. */
#define HKM_OPTION_PASS_LIST "/etc/hakmem/pass.list"

/* Asks the list, once, and the kernel for its huge pages, if they may be wanted.  Called before main, so that no file is
 * opened later, when the program may have forbidden that. */
void hkm_option_settle(void);
/* Does a list of this text name the program? */
bool hkm_option_names(const char *list, size_t size, const char *program) HKM_HIDDEN;

/* Reads the environment, once, as soon as there is one, and settles whether hkm_option.pass is set.  A wrong value gives
 * one line on stderr and the default.  False: there is none yet. */
bool hkm_option_read(void);
/* The same, for who is about to hand out a block.  True once, for the first of them. */
bool hkm_option_init(void);

/* Bits of the options that were set, by the environment or since, be it to what they were. */
extern hkm_word hkm_option_named HKM_HIDDEN;
#define HKM_NAMED(field) (hkm_load(&hkm_option_named) >> offsetof(struct hkm_option, field) / sizeof(hkm_word) & 1)
bool hkm_option_given(void); /* the environment has a variable of ours */

/* By name without HAKMEM_.  0 or an errno value: ENOENT, ERANGE, EPERM. */
int hkm_option_get(const char *name, long *value);
int hkm_option_set(const char *name, long value);

/* Calls back for every option, in the order of option.def. */
void hkm_option_each(void (*row)(const char *name, long value, void *arg), void *arg);

#endif
