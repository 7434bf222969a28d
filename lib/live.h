/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * live.h: the live structure: what a running process tells to who reads its memory from outside, and the mailbox into which
 * he may write.  hakmem-live(5) is its manual.
 *
 * An ELF note says where the structure is and where our variables are, as distances from the note's own words; so it is found
 * through the program headers in the process's memory, in a shared library as in a static program, and it needs no
 * relocation.  The structure itself is a read-only table of names, offsets and sizes.  No page of either is ever touched by
 * the process, and no instruction is executed for it; only the mailbox costs the slow tick a load (hkm_live_asked).
 */
#ifndef HKM_LIVE_H
#define HKM_LIVE_H

#include "superslab.h"

/* The version counts up when something that is told comes to mean another thing; what is new does not change it. */
enum { HKM_LIVE_VERSION = 1, HKM_LIVE_ORDER = 0x01020304, HKM_LIVE_NOTE = 1 };
#define HKM_LIVE_MAGIC "HAKMEM live\n"

enum hkm_live_kind {
    HKM_LIVE_ROOT = 1, /* at: where in the note's description its word is, which is added to that word's address */
    HKM_LIVE_FIELD,    /* at: offset in the structure */
    HKM_LIVE_NUMBER,   /* at: the value */
    HKM_LIVE_VALUE,    /* at: offset from the root's address plus the word at `via`; 0 counts where there is none */
    HKM_LIVE_LIST,     /* at: where in the structure the names of words are, each ended by 0, and all of them by an empty one;
                        * the first word is at the root's address plus the word at `via`, `size` bytes each */
};
struct hkm_live_row {
    uint32_t at;
    uint8_t size; /* bytes; of a root 0 */
    uint8_t kind;
    uint8_t root, via; /* of a value: numbers of roots, counted from 1; 0: none */
};
struct hkm_live_option {
    uint32_t at;   /* offset from the root "option" */
    uint16_t size;
    uint16_t when; /* 1: it may be set by mail */
    int64_t def, least, most;
};
struct hkm_live_table {
    uint32_t at; /* offset from the start of struct hkm_live */
    uint32_t each, count;
    uint32_t names; /* offset of their names, in their order, one behind the other, each ended by 0: at most 31 characters */
};
struct hkm_live {
    char magic[16];
    uint32_t order;   /* HKM_LIVE_ORDER, as this machine stores it */
    uint32_t version;
    uint32_t size;    /* of all of it, tables included */
    uint32_t word;    /* bytes of a pointer */
    char release[16];
    struct hkm_live_table rows, options;
};

/* States of a heap; those of thread.c. */
enum { HKM_LIVE_HEAP_LIVE, HKM_LIVE_HEAP_PARKED, HKM_LIVE_HEAP_ORPHANED, HKM_LIVE_HEAP_BURIED, HKM_LIVE_HEAP_LATE };

/* Mail.  Who sends writes the request, and then its number, which is not 0, into hkm_superslab_stats.mail.  The next slow tick
 * takes the number, believes the request only if its check is right, does it, and writes the answer, its number last. */
enum hkm_live_verb { HKM_LIVE_SET = 1, HKM_LIVE_PURGE = 2 };
enum hkm_live_result {
    HKM_LIVE_DONE,
    HKM_LIVE_GARBLED, /* the check is wrong: two have written at once, or one who does not know how */
    HKM_LIVE_UNKNOWN, /* no such verb, or option */
    HKM_LIVE_RANGE,   /* the value is out of the option's range */
    HKM_LIVE_NOT_NOW, /* an option that cannot be set in a process that runs, or not from outside */
};
struct hkm_live_request {
    uint64_t number;
    uint64_t verb;
    uint64_t option; /* its row in the table of options, from 0 */
    uint64_t value;
    uint64_t check;  /* hkm_live_check of the others */
};
enum { HKM_LIVE_ANSWERS = 8 };
struct hkm_live_answer {
    hkm_word number; /* of the request; 0 while the others are written, by release */
    hkm_word result; /* enum hkm_live_result */
    hkm_word value;  /* the option's value before; bytes purged */
};
struct hkm_live_mailbox {
    struct hkm_live_request request; /* written from outside alone */
    struct hkm_live_answer answer[HKM_LIVE_ANSWERS]; /* used in turn */
    hkm_word served, refused; /* so far */
    hkm_word busy;   /* generation + 1 of the process that a thread is at it in; 0 */
};
uint64_t hkm_live_check(const struct hkm_live_request *r);

HKM_INLINE bool hkm_live_asked(void) { return hkm_load(&hkm_superslab_stats.mail) != 0; }
/* Does what is asked.  No lock is held but perhaps that of the late heap. */
void hkm_live_serve(size_t (*purge)(void));

const struct hkm_live *hkm_live_find(void); /* the structure itself */

#endif
