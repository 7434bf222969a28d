/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * tiny.c: see tiny.h.  The lists are doubly linked; the head of `partial` is the slab that is being used up.
 */
#include "tiny.h"

static struct hkm_slab **list_of(struct hkm_tiny *t, unsigned which)
{
    return which == HKM_PARTIAL ? &t->partial : &t->full;
}

/* Whether a parked heap has partial slabs is looked at without its lock (thread.c); only a list that is locked is believed. */
static void set_head(struct hkm_slab **head, struct hkm_slab *s) { hkm_store((hkm_word *)(void *)head, (size_t)s); }

void hkm_tiny_remove(struct hkm_tiny *t, struct hkm_slab *s)
{
    if (s->listed == HKM_UNLISTED)
        return;
    if (s->prev)
        s->prev->next = s->next;
    else
        set_head(list_of(t, s->listed), s->next);
    if (s->next)
        s->next->prev = s->prev;
    s->next = s->prev = NULL;
    s->listed = HKM_UNLISTED;
}

static void push(struct hkm_slab **head, struct hkm_slab *s)
{
    s->prev = NULL;
    s->next = *head;
    if (s->next)
        s->next->prev = s;
    set_head(head, s);
}

static void insert(struct hkm_tiny *t, struct hkm_slab *s, enum hkm_listed which)
{
    struct hkm_slab *head = t->partial;
    if (which == HKM_PARTIAL && head) {
        /* Behind the head, which goes on being used up: its lines are warm. */
        s->prev = head;
        s->next = head->next;
        if (s->next)
            s->next->prev = s;
        head->next = s;
    } else {
        push(list_of(t, which), s);
    }
    s->listed = (uint8_t)which;
}

struct hkm_slab *hkm_tiny_settle(struct hkm_tiny *t, struct hkm_slab *s, bool keep)
{
    enum hkm_listed which = s->nfree ? HKM_PARTIAL : HKM_FULL;
    if (s->nfree == s->blocks && !(keep && (!t->partial || (t->partial == s && !s->next)))) {
        hkm_tiny_remove(t, s);
        return s;
    }
    if (s->listed != which) {
        hkm_tiny_remove(t, s);
        insert(t, s, which);
    }
    return NULL;
}

unsigned hkm_tiny_fill(struct hkm_tiny *t, void **out, unsigned want)
{
    unsigned got = 0;
    struct hkm_slab *s;
    while (got < want && (s = t->partial) != NULL) {
        got += hkm_slab_take(s, out + got, want - got);
        if (!s->nfree) {
            hkm_tiny_remove(t, s);
            insert(t, s, HKM_FULL);
        }
    }
    return got;
}

struct hkm_slab *hkm_tiny_drain(struct hkm_tiny *t, unsigned cls, void *const *blocks, unsigned n)
{
    struct hkm_slab *empties = NULL;
    size_t size = hkm_class[cls].size, near = 16 * size;
    bool paged = size >= hkm_os.page;
    for (unsigned i = 0; i < n;) {
        struct hkm_slab *s = hkm_registry_slab((void *)((uintptr_t)blocks[i] & ~HKM_ZERO));
        /* A block that is in the cache twice may have cost its slab the last block already. */
        if (unlikely(!s->free || s->cls != cls))
            hkm_os_bad_pointer("free", "double free", (void *)((uintptr_t)blocks[i] & ~HKM_ZERO));
        /* Alone, as in a heap whose blocks lie in a random order, or with its neighbours. */
        if (!paged && (i + 1 == n || (uintptr_t)blocks[i + 1] - (uintptr_t)blocks[i] + near >= 2 * near))
            hkm_slab_give_one(s, blocks[i++]);
        else
            i += hkm_slab_give(s, blocks + i, n - i);
        if (s->listed == HKM_PARTIAL && s->nfree != s->blocks)
            continue;
        s = hkm_tiny_settle(t, s, true);
        if (s) {
            s->next = empties;
            empties = s;
        }
    }
    return empties;
}

bool hkm_tiny_valid(const struct hkm_tiny *t, unsigned cls, const void *heap)
{
    for (const struct hkm_slab *s = t->partial; s; s = s->next)
        if (s->listed != HKM_PARTIAL || !s->nfree || s->cls != cls || hkm_load(&s->owner) != (size_t)heap ||
            (s->next && s->next->prev != s) || !hkm_slab_valid(s))
            return false;
    for (const struct hkm_slab *s = t->full; s; s = s->next)
        if (s->listed != HKM_FULL || s->nfree || s->cls != cls || hkm_load(&s->owner) != (size_t)heap ||
            (s->next && s->next->prev != s))
            return false;
    return true;
}
