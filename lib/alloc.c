/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * alloc.c: the slow half of the gatekeeper, and realloc, calloc and aligned allocation.  See alloc.h.
 *
 * Pointers that no range and no big block has are foreign: they go to the C library, through weak references.
 *
 * A process that is left to the C library (HAKMEM_PASS) needs no test on the fast paths: no cache is ever filled, so all of
 * its mallocs come to take(), and what they return is foreign to free and realloc.
 */
#include "alloc.h"
#include "big.h"
#include "bigcache.h"
#include "census.h"
#include "memcheck.h"
#include "meta.h"
#include "mid.h"
#include "nursery.h"
#include "option.h"
#include "policy.h"
#include "shared_pool.h"
#include "superslab.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

extern void *__libc_malloc(size_t) __attribute__((weak));
extern void *__libc_calloc(size_t, size_t) __attribute__((weak));
extern void *__libc_memalign(size_t, size_t) __attribute__((weak));
extern void __libc_free(void *) __attribute__((weak));
extern void *__libc_realloc(void *, size_t) __attribute__((weak));
#pragma weak dlsym

static hkm_word large_allocs, large_frees, foreign_frees, frees; /* by threads without a heap: full adds */
HKM_SHOWN(large_allocs, hkm_alloc_large_allocs);
HKM_SHOWN(large_frees, hkm_alloc_large_frees);
HKM_SHOWN(foreign_frees, hkm_alloc_foreign_frees);
HKM_SHOWN(frees, hkm_alloc_frees);

/* ---- where a pointer belongs ------------------------------------------------------------------------------------ */

struct place {
    enum { NOWHERE, SLAB, NURSERY, RUN, BIG } kind;
    struct hkm_slab *slab;
    size_t bytes; /* usable */
};

/* The end of the process; memcheck says what it knows of the pointer. */
static HKM_COLD __attribute__((noreturn)) void refuse(const char *function, const char *what, const void *p)
{
    hkm_memcheck_free((void *)(uintptr_t)p);
    hkm_os_bad_pointer(function, what, p);
}

static HKM_COLD __attribute__((noreturn)) void bad(const char *function, const void *p)
{
    refuse(function, (uintptr_t)p & 15 ? "misaligned pointer" : "interior pointer", p);
}

/* p lies in a slot that holds no block now.  If it would be one by what the slot was last, it probably was. */
static HKM_COLD __attribute__((noreturn)) void never_or_no_more(const struct hkm_slab *s, const char *function,
                                                                const void *p)
{
    bool was = s->run ? p == s->start : s->magic && hkm_class_starts(s->magic, (uintptr_t)p);
    refuse(function, (uintptr_t)p & 15 ? "misaligned pointer" : was ? "double free" : "invalid pointer", p);
}

static void check_nursery(enum hkm_nursery_state state, const char *function, const void *p)
{
    if (unlikely(state == HKM_NURSERY_INTERIOR || (uintptr_t)p & 15))
        bad(function, p);
    if (unlikely(state == HKM_NURSERY_FREE))
        hkm_os_bad_pointer(function, "double free", p);
}

/* Aborts, in the name of `function`, when p lies in our memory but is not the start of a block. */
static struct place locate(const void *p, const char *function)
{
    struct place at = { NOWHERE, NULL, 0 };
    size_t slot;
    struct hkm_range *r = hkm_registry_find(p, &slot);
    if (likely(r != NULL)) {
        struct hkm_slab *s = hkm_slab_at(r, slot);
        switch (hkm_tag_at(r, slot)->kind) {
        case HKM_KIND_SLAB:
            if (unlikely(!hkm_class_starts(s->magic, (uintptr_t)p)))
                bad(function, p);
            if (unlikely((size_t)((const char *)p - s->start) >= (size_t)s->blocks * s->size))
                refuse(function, "invalid pointer", p);
            at.kind = SLAB;
            at.slab = s;
            at.bytes = s->size;
            return at;
        case HKM_KIND_NURSERY:
            at.kind = NURSERY;
            check_nursery(hkm_nursery_look(p, &at.bytes), function, p);
            return at;
        case HKM_KIND_RUN:
            if (unlikely(p != s->start))
                bad(function, p);
            if (unlikely(s->listed))
                refuse(function, "double free", p);
            at.kind = RUN;
            at.slab = s;
            at.bytes = s->bytes;
            return at;
        case HKM_KIND_REST:
            bad(function, p);
        case HKM_KIND_NONE:
            never_or_no_more(s, function, p);
        default:
            break; /* a stranger's */
        }
    }
    at.bytes = hkm_big_size(p);
    if (at.bytes)
        at.kind = BIG;
    else if (unlikely(hkm_big_was(p)))
        refuse(function, "double free", p);
    else if (unlikely(hkm_big_around(p) != NULL))
        bad(function, p);
    return at;
}

/* ---- malloc ----------------------------------------------------------------------------------------------------- */

static void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* A cached block of one of the next classes, as far as they may serve a request of that size. */
static HKM_COLD void *borrow(struct hkm_heap *h, unsigned cls, size_t size)
{
    size_t most = size * hkm_load(&hkm_policy()->w_max) / 100;
    while (++cls < HKM_CLASSES && hkm_class[cls].size <= most) {
        struct hkm_bin *b = h->bin[cls];
        void *p = b ? hkm_bin_take(b) : NULL;
        if (p)
            return p;
    }
    return NULL;
}

/* A cached block, or NULL.  A small class of which it was the only one is filled up, or a program that frees one and takes one,
 * over and over, would come here each time: what is pushed does not become the first. */
static void *take_cached(struct hkm_heap *h, struct hkm_bin *b, unsigned cls)
{
    void *p = hkm_bin_take(b), *more;
    if (p && cls < HKM_TINY_CLASSES && b->room == b->cap && b->cap >= 4 && (more = hkm_thread_refill(h, cls)) != NULL)
        hkm_bin_push(h->bin[cls], more);
    return p;
}

/* A block of a class; it may carry HKM_ZERO.  size: what was asked for, or 0 when the block must be of that class. */
static void *take_class(unsigned cls, size_t size)
{
    struct hkm_heap *h = hkm_thread_begin();
    if (unlikely(!h))
        return NULL;
    struct hkm_bin *b = h->bin[cls];
    bool in_nursery = false;
    void *p = b ? take_cached(h, b, cls) : NULL;
    if (likely(p != NULL))
        ;
    else if (unlikely(cls >= HKM_TINY_CLASSES && hkm_load(&hkm_policy()->w_max) > 100) && (p = borrow(h, cls, size)) != NULL)
        ;
    else if (unlikely(!b && !h->next && size <= HKM_NURSERY_MAX && size) && (p = hkm_nursery_alloc(size, cls, false)) != NULL)
        in_nursery = true;
    else if ((p = hkm_thread_refill(h, cls)) == NULL && size <= HKM_NURSERY_MAX && size) /* out of memory; but there, perhaps */
        in_nursery = (p = hkm_nursery_alloc(size, cls, true)) != NULL;
    if (HKM_STATS && p)
        hkm_count(&h->count.mallocs, 1);
    hkm_thread_end(h);
    if (in_nursery)
        hkm_thread_tick();
    if (HKM_HARDENED && p && !in_nursery)
        hkm_slab_mark_live(hkm_registry_slab(hkm_unflag(p)), hkm_unflag(p));
    return p;
}

static void count_large(bool alloc)
{
    struct hkm_heap *h = hkm_thread_own();
    if (h)
        hkm_count(alloc ? &h->count.large_allocs : &h->count.large_frees, 1);
    else
        hkm_add(alloc ? &large_allocs : &large_frees, 1);
}

/* A block above HKM_MID_MAX that was freed and kept. */
static void *take_kept(size_t size, bool zero, const void *site)
{
    void *p = NULL;
    struct hkm_heap *h = hkm_thread_own();
    if (h && size <= HKM_RUN_MAX)
        p = hkm_mid_pop(&h->runs, size, site);
    if (!p)
        p = hkm_bigcache_take(size, site);
    if (p && zero)
        memset(p, 0, size); /* warm pages: sooner cleared than new ones are faulted in */
    return p;
}

/* Blocks above HKM_MID_MAX. */
static void *take_large(size_t size, size_t alignment, bool zero, const void *site)
{
    hkm_os_init();
    if (unlikely(hkm_load(&hkm_option.disable_sites)))
        site = NULL;
    void *p = alignment <= hkm_os.page ? take_kept(size, zero, site) : NULL;
    if (!p && size >= HKM_BIGCACHE_LEAST)
        hkm_bigcache_make_way(size);
    if (!p && (size >= hkm_policy_big(hkm_policy()) || alignment > HKM_SUPERSLAB_SIZE))
        p = hkm_big_alloc(size, alignment, site);
    /* Where the kernel gives no more, there may be room among the free slots, whose address space stays mapped. */
    if (!p && alignment <= HKM_SUPERSLAB_SIZE) {
        struct hkm_heap *h = hkm_thread_own();
        if (h && size <= HKM_RUN_MAX && h->run_misses < h->run_frees)
            h->run_misses++;
        /* Cached runs that are too short are joined, rather than memory touched that nobody has used: who asks for ever longer
         * ones does not come back to them.  Of lengths that do come back the longest is not given up again, nor then the next. */
        if (h && hkm_mid_held(&h->runs))
            hkm_mid_drain(&h->runs, ((size - 1) >> HKM_SLOT_SHIFT) + 1);
        do
            p = hkm_mid_alloc(size, alignment, zero, site);
        while (!p && ((h && hkm_thread_release_runs(h)) || hkm_bigcache_release()));
    }
    hkm_thread_tick();
    if (p)
        count_large(true);
    return p;
}

static hkm_word serves_small; /* 1: the options have been read, and do not leave small blocks to the C library */

/* The options have been read. */
static HKM_COLD void greet(void)
{
    hkm_store(&serves_small, !hkm_load(&hkm_option.pass) && hkm_load(&hkm_option.wrap_tiny));
    if (hkm_option_given()) {
        hkm_policy_load();
        hkm_policy_renew();
    }
    if (hkm_load(&hkm_option.verbose)) {
        struct hkm_msg m = { 0 };
        bool pass = hkm_load(&hkm_option.pass);
        hkm_msg_str(&m, pass ? "libhakmem " HAK_VERSION_STRING " leaves process "
                             : "libhakmem " HAK_VERSION_STRING " serves process ");
        hkm_msg_dec(&m, hkm_os_pid());
        hkm_msg_str(&m, pass ? " to the C library" : "");
        hkm_os_warn(&m);
    }
}

static void *serve(size_t size, bool zero, const void *site)
{
    if (unlikely(hkm_option_init()))
        greet();
    if (unlikely(hkm_load(&hkm_option.pass)))
        return zero ? __libc_calloc(1, size) : __libc_malloc(size);
    if (likely(size <= HKM_MID_MAX)) {
        if (unlikely(size <= HKM_TINY_MAX && !hkm_load(&hkm_option.wrap_tiny)) && &__libc_malloc) {
            void *p = __libc_malloc(size);
            return p && zero ? memset(p, 0, size) : p;
        }
        void *p = take_class(hkm_class_of(size), size + !size);
        if (unlikely(!p))
            return out_of_memory();
        if (zero && !((uintptr_t)p & HKM_ZERO))
            memset(p, 0, size);
        return hkm_unflag(p);
    }
    if (unlikely(size > PTRDIFF_MAX))
        return out_of_memory();
    void *p = take_large(size, 16, zero, site);
    return p ? p : out_of_memory();
}

/* Tells memcheck of a block with a red zone behind `size`. */
static void *told(void *p, size_t size, bool zero)
{
    if (HKM_VALGRIND && p) {
        struct place at = locate(p, "malloc");
        if (at.kind != NOWHERE) /* else it is the C library's */
            hkm_memcheck_alloc(p, size, at.bytes);
        if (zero)
            memset(p, 0, size);
    }
    return p;
}

static __attribute__((noinline)) void *take(size_t size, bool zero, const void *site)
{
    hkm_thread_heed();
    if (!HKM_VALGRIND)
        return serve(size, zero, site);
    if (size > PTRDIFF_MAX)
        return out_of_memory();
    return told(serve(size + HKM_RED_ZONE, false, site), size, zero);
}

/* A small size, of which the cache had no first block. */
void *hkm_alloc_slow(size_t size, const void *site)
{
    if (HKM_HARDENED || unlikely(!hkm_load(&serves_small)))
        return take(size, false, site);
    struct hkm_heap *h = hkm_tls.heap;
    unsigned cls = hkm_class_of(size);
    struct hkm_bin *b = h->bin[cls];
    void *p = NULL;
    if (b)
        /* It is not empty where blocks were freed since, or a signal handler has used it since the caller looked. */
        p = b->first || b->slots[b->room] ? take_cached(h, b, cls) : hkm_thread_refill(h, cls);
    else if (!h->next)
        p = hkm_nursery_alloc(size, cls, false);
    if (unlikely(!p))
        return take(size, false, site);
    if (HKM_STATS)
        hkm_count(&h->count.mallocs, 1);
    return p;
}

/* What is cached, in as few steps as may be; all else, and whatever has to be asked first, the long way. */
void *hkm_alloc_above(size_t size, const void *site)
{
    void *p;
    if (unlikely(hkm_tls.below <= HKM_CALLED))
        return take(size, false, site);
    struct hkm_heap *h = hkm_tls.heap;
    if (size <= HKM_MID_MAX) {
        /* Small, and there is a heap by now: a signal handler has made it since the caller looked. */
        if (likely(size > HKM_TINY_MAX))
            return likely((p = hkm_bin_pop_any(h, size)) != NULL) ? hkm_unflag(p) : take(size, false, site);
    } else if (likely(size <= HKM_RUN_MAX) && likely((p = hkm_mid_pop(&h->runs, size, site)) != NULL)) {
        hkm_count(&h->count.large_allocs, 1);
        return p;
    }
    return take(size, false, site);
}
void *hkm_alloc_hardened(size_t size, const void *site) { return take(size, false, site); }

void *hkm_alloc(size_t size, const void *site)
{
    if (HKM_HARDENED)
        return take(size, false, site);
    if (likely(size < hkm_tls.below)) {
        void *p = hkm_bin_pop_tiny(hkm_tls.heap, size);
        return likely(p != NULL) ? p : hkm_alloc_slow(size, site);
    }
    return hkm_alloc_above(size, site);
}

void *hkm_alloc_zeroed(size_t size, const void *site)
{
    if (!HKM_HARDENED && likely(hkm_tls.below > HKM_CALLED) && likely(size <= HKM_MID_MAX)) {
        struct hkm_heap *h = hkm_tls.heap;
        unsigned cls = hkm_class_of(size);
        void *p = h->bin[cls] ? take_cached(h, h->bin[cls], cls) : NULL;
        if (HKM_STATS && p)
            hkm_count(&h->count.mallocs, 1);
        if (p)
            return (uintptr_t)p & HKM_ZERO ? hkm_unflag(p) : memset(p, 0, size);
    }
    return take(size, true, site);
}

void *hkm_alloc_aligned(size_t alignment, size_t size)
{
    if (unlikely(hkm_option_init()))
        greet();
    if (alignment <= 16)
        return hkm_alloc(size, NULL);
    if (unlikely(size > PTRDIFF_MAX || alignment > PTRDIFF_MAX))
        return out_of_memory();
    if (unlikely(hkm_load(&hkm_option.pass) || (size <= HKM_TINY_MAX && !hkm_load(&hkm_option.wrap_tiny))) &&
        &__libc_memalign)
        return __libc_memalign(alignment, size);
    size_t all = size + HKM_RED_ZONE;
    unsigned cls = hkm_class_aligned(alignment, all);
    void *p = cls < HKM_CLASSES ? hkm_unflag(take_class(cls, 0)) : take_large(all ? all : 1, alignment, false, NULL);
    return p ? told(p, size, false) : out_of_memory();
}

/* glibc rounds an alignment that is not a power of two up to one, and refuses what would overflow doing so. */
void *hkm_alloc_rounded(size_t alignment, size_t size)
{
    if (!hkm_is_pow2(alignment)) {
        if (alignment > SIZE_MAX / 2 + 1) {
            errno = EINVAL;
            return NULL;
        }
        size_t up = 16;
        while (up < alignment)
            up <<= 1;
        alignment = up;
    }
    return hkm_alloc_aligned(alignment, size);
}

int hkm_alloc_checked(void **result, size_t alignment, size_t size)
{
    if (alignment % sizeof(void *) || !hkm_is_pow2(alignment))
        return EINVAL;
    void *p = hkm_alloc_aligned(alignment, size);
    if (!p) /* errno says so as well, as with the C library */
        return ENOMEM;
    *result = p;
    return 0;
}

/* ---- free ------------------------------------------------------------------------------------------------------- */

static void give_foreign(void *p)
{
    if (likely(!hkm_load(&hkm_option.pass)))
        hkm_add(&foreign_frees, 1);
    if (!&__libc_free)
        hkm_os_bad_pointer("free", "not a block of this allocator", p);
    __libc_free(p);
}

/* A block up to HKM_MID_MAX comes back. */
static void count_free(struct hkm_heap *h)
{
    if (HKM_STATS && h)
        hkm_count(&h->count.frees, 1);
    else if (HKM_STATS)
        hkm_add(&frees, 1);
}

static void give_block(void *p, struct hkm_slab *s)
{
    struct hkm_heap *h = hkm_thread_own();
    count_free(h);
    if (!h || hkm_load(&s->owner) != (size_t)h) {
        hkm_thread_free_remote(p, s);
        return;
    }
    /* Ours, but not by the fast path: freed twice, or in a range that is not the first. */
    struct hkm_bin *b = h->bin[s->cls];
    if (b->slots[b->room] == p)
        hkm_os_bad_pointer("free", "double free", p);
    hkm_bin_push(b, p);
}

static void give_nursery(void *p)
{
    struct hkm_heap *h = hkm_thread_own();
    count_free(h);
    if (h && h->next) /* the nursery's blocks are the first heap's */
        hkm_count(&h->count.remote_frees, 1);
    hkm_memcheck_free(p); /* before anybody else can have the block */
    check_nursery(hkm_nursery_free(p), "free", p);
    hkm_thread_tick();
}

/* Runs of the static range are kept while there are no others: each free of one comes the slow way. */
HKM_INLINE bool keeps(const struct hkm_range *r) { return r != &hkm_range_static || !hkm_load(&hkm_range.used); }

static void give_run(struct hkm_slab *s)
{
    struct hkm_heap *h = hkm_thread_keep();
    bool keep = keeps(s->range);
    count_large(false);
    if (!(keep && h && (hkm_mid_push(&h->runs, s) || hkm_heap_keep_run(h, s))) && !hkm_bigcache_put_run(s)) {
        hkm_mid_free(s);
        hkm_thread_tick();
    }
}

/* The usual end of a run.  False: it goes the long way. */
HKM_INLINE bool cache_run(struct hkm_heap *h, const void *p, struct hkm_slab *s)
{
    if (unlikely(p != s->start) || unlikely(s->listed) || unlikely(!hkm_mid_push(&h->runs, s)))
        return false;
    hkm_count(&h->count.large_frees, 1);
    return true;
}

/* Not inline, so that the usual ways in hkm_free_other save no registers. */
static __attribute__((noinline)) void give(void *p)
{
    size_t slot;
    const struct hkm_range *r = hkm_registry_find(p, &slot);
    if (r && hkm_tag_at(r, slot) == &hkm_tag_nursery) {
        give_nursery(p);
        return;
    }
    struct place at = locate(p, "free");
    if (at.kind != NOWHERE)
        hkm_memcheck_free(p);
    switch (at.kind) {
    case SLAB:
        if (HKM_HARDENED && !hkm_slab_mark_dead(at.slab, p))
            hkm_os_bad_pointer("free", "double free", p);
        give_block(p, at.slab);
        break;
    case NURSERY: /* seen above */
        break;
    case RUN:
        give_run(at.slab);
        break;
    case BIG:
        if (!hkm_bigcache_free_big(p))
            hkm_os_bad_pointer("free", "double free", p);
        count_large(false);
        break;
    case NOWHERE:
        give_foreign(p);
        break;
    }
}

/* The usual blocks of a small process.  False: it goes the long way. */
HKM_INLINE bool give_static(void *p)
{
    const struct hkm_range *r = &hkm_range_static;
    size_t used = hkm_load_acq(&r->used), slot = ((uintptr_t)p - hkm_peek(r->base)) >> HKM_SLOT_SHIFT;
    if (slot >= used)
        return false;
    const struct hkm_tag *t = hkm_tag_at(r, slot);
    if (t == &hkm_tag_nursery) {
        give_nursery(p);
        return true;
    }
    return !HKM_VALGRIND && t == &hkm_tag_run && hkm_tls.below && keeps(r) && /* memcheck is to see every free */
           cache_run(hkm_tls.heap, p, hkm_slab_at(r, slot));
}

void hkm_free_slow(void *p)
{
    if (!p)
        return;
    if (unlikely(!hkm_registry_is_open()))
        hkm_thread_open();
    else if (give_static(p))
        return;
    /* Left to the C library from the first block on: there is nothing of ours, and no need to look for it. */
    if (unlikely(hkm_load(&hkm_option.pass)) && !hkm_thread_heaps() && !hkm_load(&large_allocs))
        __libc_free(p);
    else
        give(p);
}

/* Another thread's block.  Of the slab's record only what does not change while the slab has blocks is read. */
static __attribute__((noinline)) void free_remote(struct hkm_heap *h, void *p, struct hkm_slab *s)
{
    uint64_t product = (uint64_t)(uint16_t)(uintptr_t)p * s->magic; /* its halves: see class.h */
    if (likely(hkm_load(&s->owner) != (size_t)h) && likely((uint32_t)product <= 0xffff) &&
        likely(product >> 32 < s->blocks)) {
        if (HKM_STATS)
            hkm_count(&h->count.frees, 1);
        hkm_heap_free_remote(h, s, (unsigned)(product >> 32));
    } else {
        give(p);
    }
}

/* A run, or another thread's block.  Everything that may be wrong or different goes the long way. */
void hkm_free_other(void *p, struct hkm_tag *t, size_t slot)
{
    struct hkm_slab *s = hkm_slab_at(&hkm_range, slot);
    if (likely(hkm_tls.below)) {
        struct hkm_heap *h = hkm_tls.heap;
        if (t->kind == HKM_KIND_RUN) {
            if (likely(cache_run(h, p, s)))
                return;
        } else if (t->kind == HKM_KIND_SLAB) {
            free_remote(h, p, s);
            return;
        }
    }
    give(p);
}

void hkm_free_hardened(void *p) { hkm_free_slow(p); }

/* ---- realloc ---------------------------------------------------------------------------------------------------- */

/* Content to another place.  What has outgrown its place before will grow on: a mapping of its own does so without copying. */
static void *move(void *p, size_t old, size_t size, const void *site)
{
    void *q = NULL;
    if (size >= HKM_POLICY_GROWING && size > old && hkm_policy_growing(hkm_policy(), hkm_big_count()) &&
        (q = hkm_big_alloc(size, 16, HKM_SITE_RESIZED)) != NULL)
        count_large(true);
    else
        q = hkm_alloc(size, site);
    if (q) {
        memmove(q, p, old < size ? old : size);
        hkm_free_fast(p);
    }
    return q;
}

/* The block is the one that this thread freed last of its class. */
static bool just_freed(const struct hkm_slab *s, const void *p)
{
    struct hkm_heap *h = hkm_thread_own();
    const struct hkm_bin *b = h && hkm_load(&s->owner) == (size_t)h ? h->bin[s->cls] : NULL;
    return b && b->slots[b->room] == p;
}

void *hkm_alloc_resize(void *p, size_t size, const void *site)
{
    if (!p)
        return hkm_alloc(size, site);
    if (!size) {
        hkm_free_fast(p);
        return NULL;
    }
    struct place at = locate(p, "realloc");
    if (at.kind == SLAB && (HKM_HARDENED ? !hkm_slab_is_live(at.slab, p) : just_freed(at.slab, p)))
        hkm_os_bad_pointer("realloc", "double free", p);
    if (at.kind == NOWHERE) {
        if (!&__libc_realloc)
            hkm_os_bad_pointer("realloc", "not a block of this allocator", p);
        return __libc_realloc(p, size);
    }
    if (unlikely(size > PTRDIFF_MAX))
        return out_of_memory();
    void *q;
    switch (HKM_VALGRIND ? NOWHERE : at.kind) { /* memcheck is to see every block move */
    case SLAB:
        if (hkm_alloc_stays(size, at.bytes))
            return p;
        break;
    case NURSERY:
        if ((size >= at.bytes / 2 || at.bytes <= 64) && hkm_nursery_resize(p, size))
            return p;
        break;
    case RUN:
        if (size > HKM_MID_MAX && size < hkm_policy_big(hkm_policy()) && hkm_mid_resize(at.slab, size))
            return p;
        break;
    case BIG:
        if (size >= HKM_BIGCACHE_LEAST && (q = hkm_big_resize(p, size)) != NULL)
            return q; /* else the program has split the mapping by mlock or the like, and it must be copied */
        break;
    default:
        break;
    }
    return move(p, hkm_memcheck_size(p, at.bytes), size, site);
}

void *hkm_alloc_array(void *p, size_t count, size_t size, const void *site)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return out_of_memory();
    return hkm_alloc_resize(p, bytes, site);
}

size_t hkm_alloc_usable(const void *p)
{
    if (!p)
        return 0;
    struct place at = locate(p, "malloc_usable_size");
    if (at.kind != NOWHERE)
        return hkm_memcheck_size(p, at.bytes);
    /* Only the C library knows the size of its own. */
    static hkm_word found;
    if (!hkm_load(&found) && &dlsym)
        hkm_store(&found, (size_t)dlsym(RTLD_NEXT, "malloc_usable_size"));
    size_t (*usable)(const void *) = (size_t(*)(const void *))hkm_load(&found);
    return usable ? usable(p) : 0;
}

void *hkm_alloc_passed(const char *function)
{
    if (unlikely(hkm_option_init()))
        greet();
    return hkm_load(&hkm_option.pass) && &dlsym ? dlsym(RTLD_NEXT, function) : NULL;
}

/* ---- statistics and purge --------------------------------------------------------------------------------------- */

void hkm_alloc_stats(struct hak_stats *s)
{
    memset(s, 0, sizeof *s);
    s->large_allocs = hkm_load(&large_allocs);
    s->large_frees = hkm_load(&large_frees);
    s->foreign_frees = hkm_load(&foreign_frees);
    s->frees = hkm_load(&frees);
    hkm_census(s);
}

size_t hkm_alloc_purge(void)
{
    size_t before = hkm_load(&hkm_superslab_stats.purged);
    hkm_nursery_purge();
    hkm_thread_purge();
    return hkm_load(&hkm_superslab_stats.purged) - before; /* slots may also be purged as they become free on the way */
}
