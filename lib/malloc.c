/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * malloc.c: the C library's allocation functions, as glibc 2.36 defines them; those that must call others of them by
 * their global names stand in indirect.c.
 *
 * These names must stay unversioned: inside a version node, LD_PRELOAD would silently not interpose them.
 */
#include "alloc.h"
#include "option.h"
#include "policy.h"
#include "superslab.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

/* musl's <malloc.h> has the functions alone; here are glibc's structures and numbers. */
#ifndef M_TRIM_THRESHOLD
#define M_TRIM_THRESHOLD -1
#define M_MXFAST 1
struct mallinfo { int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost; };
struct mallinfo2 { size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost; };
struct mallinfo mallinfo(void);
struct mallinfo2 mallinfo2(void);
int mallopt(int param, int value);
int malloc_trim(size_t pad);
void malloc_stats(void);
int malloc_info(int options, FILE *file);
void *pvalloc(size_t size);
#endif

#define SITE __builtin_return_address(0)

HKM_EXPORT HKM_ALIGNED(64) void *malloc(size_t size) { return hkm_alloc_fast(size); }

HKM_EXPORT HKM_ALIGNED(64) void free(void *p) { hkm_free_fast(p); }

HKM_EXPORT void *calloc(size_t count, size_t size) { return hkm_alloc_zeroed_fast(count, size); }

HKM_EXPORT void *realloc(void *p, size_t size) { return hkm_alloc_resize_fast(p, size); }

HKM_EXPORT void cfree(void *p);
static __typeof__(cfree) own_free __attribute__((alias("free"), nothrow));
HKM_EXPORT void cfree(void *p) { own_free(p); }

HKM_EXPORT void *memalign(size_t alignment, size_t size) { return hkm_alloc_rounded(alignment, size); }

HKM_EXPORT void *aligned_alloc(size_t alignment, size_t size) { return hkm_alloc_rounded(alignment, size); }

HKM_EXPORT int posix_memalign(void **result, size_t alignment, size_t size)
{
    return hkm_alloc_checked(result, alignment, size);
}

HKM_EXPORT void *valloc(size_t size)
{
    hkm_os_init();
    return hkm_alloc_aligned(hkm_os.page, size);
}

HKM_EXPORT HKM_COLD void *pvalloc(size_t size)
{
    hkm_os_init();
    size_t up = hkm_round_up(size, hkm_os.page);
    if (up < size) {
        errno = ENOMEM;
        return NULL;
    }
    return hkm_alloc_aligned(hkm_os.page, up);
}

HKM_EXPORT size_t malloc_usable_size(void *p) { return hkm_alloc_usable(p); }

/* ---- information ------------------------------------------------------------------------------------------------ */

/* In a process that is left to the C library, all of these are the C library's (mallinfo is by mallinfo2). */
#define PASSED(function) __extension__((__typeof__(function) *)hkm_alloc_passed(#function))

/* What the fields mean here: arena is address space mapped for slots, hblks and hblkhd count blocks with mappings of their
 * own, fsmblks is in Unified Caches, uordblks is in blocks that the program holds, fordblks is all the rest of
 * arena, keepcost is what malloc_trim could give back. */
HKM_EXPORT HKM_COLD struct mallinfo2 mallinfo2(void)
{
    struct hak_stats s;
    struct mallinfo2 m, (*theirs)(void) = PASSED(mallinfo2);
    if (theirs)
        return theirs();
    hkm_alloc_stats(&s);
    memset(&m, 0, sizeof m);
    m.arena = (size_t)(s.mapped_bytes - s.big_bytes);
    m.ordblks = (size_t)s.slabs;
    m.hblks = (size_t)s.big_blocks;
    m.hblkhd = (size_t)s.big_bytes;
    m.fsmblks = (size_t)s.cached_bytes;
    m.uordblks = (size_t)(s.live_bytes - s.big_bytes);
    m.fordblks = m.arena > m.uordblks ? m.arena - m.uordblks : 0;
    m.keepcost = (size_t)s.dirty_bytes;
    return m;
}

static int clip(size_t n) { return n > __INT_MAX__ ? __INT_MAX__ : (int)n; }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
HKM_EXPORT HKM_COLD struct mallinfo mallinfo(void)
{
    struct mallinfo2 m = mallinfo2();
    struct mallinfo old;
    memset(&old, 0, sizeof old);
    old.arena = clip(m.arena);
    old.ordblks = clip(m.ordblks);
    old.hblks = clip(m.hblks);
    old.hblkhd = clip(m.hblkhd);
    old.fsmblks = clip(m.fsmblks);
    old.uordblks = clip(m.uordblks);
    old.fordblks = clip(m.fordblks);
    old.keepcost = clip(m.keepcost);
    return old;
}
#pragma GCC diagnostic pop

/* M_TRIM_THRESHOLD sets how much free memory is kept.  The other parameters describe an allocator that this is not: they
 * are accepted and change nothing. */
HKM_EXPORT HKM_COLD int mallopt(int param, int value)
{
    int (*theirs)(int, int) = PASSED(mallopt);
    if (theirs)
        return theirs(param, value);
    switch (param) {
    case M_TRIM_THRESHOLD:
        return hkm_policy_option("DIRTY_KB", value < 0 ? 1 << 30 : value >> 10) == 0;
    case M_MXFAST:
        return value >= 0 && value <= (int)(80 * sizeof(size_t) / 4);
    default: /* as glibc does */
        return 1;
    }
}

HKM_EXPORT HKM_COLD int malloc_trim(size_t pad)
{
    int (*theirs)(size_t) = PASSED(malloc_trim);
    return theirs ? theirs(pad) : hkm_alloc_purge() != 0;
}

HKM_EXPORT HKM_COLD void malloc_stats(void)
{
    struct hak_stats s;
    void (*theirs)(void) = PASSED(malloc_stats);
    if (theirs) {
        theirs();
        return;
    }
    hkm_alloc_stats(&s);
    (void)hkm_stats_print(2, &s, false);
}

/* XML to a stream, as the interface wants it: the one place where the library meets stdio, on the caller's order and
 * without holding anything. */
static void attribute(FILE *out, const char *kind, uint64_t count, uint64_t size)
{
    struct hkm_msg m = { 0 };
    hkm_msg_str(&m, "<total type=\"");
    hkm_msg_str(&m, kind);
    hkm_msg_str(&m, "\" count=\"");
    hkm_msg_dec(&m, count);
    hkm_msg_str(&m, "\" size=\"");
    hkm_msg_dec(&m, size);
    hkm_msg_str(&m, "\"/>\n");
    fwrite(m.text, 1, m.len, out);
}

/* Its rows: which fields of the statistics are their count and size. */
#define AT(field) (offsetof(struct hak_stats, field) / sizeof(uint64_t))
enum { SLOTS = UINT8_MAX - 1, NONE };
static const char kinds[] = "live\0remote\0cached\0runs\0bigcache\0spare\0nursery\0free\0dirty\0fresh\0waste\0mmap\0mapped\0"
                            "committed\0metadata\0heaps";
static const struct { uint8_t count, size; } totals[] = {
    { AT(live_blocks), AT(live_bytes) }, { NONE, AT(remote_bytes) }, { NONE, AT(cached_bytes) }, { NONE, AT(run_cache_bytes) },
    { NONE, AT(bigcache_bytes) }, { SLOTS, AT(spare_bytes) }, { NONE, AT(nursery_bytes) }, { NONE, AT(free_bytes) },
    { SLOTS, AT(dirty_bytes) }, { SLOTS, AT(fresh_bytes) }, { NONE, AT(waste_bytes) }, { AT(big_blocks), AT(big_bytes) },
    { AT(mappings), AT(mapped_bytes) }, { NONE, AT(committed_bytes) }, { NONE, AT(metadata_bytes) }, { AT(heaps), NONE },
};

static uint64_t value(const struct hak_stats *s, unsigned at) { return at == NONE ? 0 : ((const uint64_t *)s)[at]; }

HKM_EXPORT HKM_COLD int malloc_info(int options, FILE *out)
{
    struct hak_stats s;
    int (*theirs)(int, FILE *) = PASSED(malloc_info);
    if (theirs)
        return theirs(options, out);
    if (options != 0)
        return EINVAL;
    hkm_alloc_stats(&s);
    fputs("<malloc version=\"hakmem-1\">\n", out);
    const char *kind = kinds;
    for (unsigned i = 0; i < sizeof totals / sizeof *totals; i++, kind += strlen(kind) + 1) {
        uint64_t size = value(&s, totals[i].size);
        attribute(out, kind, totals[i].count == SLOTS ? size / HKM_SLOT_SIZE : value(&s, totals[i].count), size);
    }
    fputs("</malloc>\n", out);
    return 0;
}

/* ---- the beginning and the end ---------------------------------------------------------------------------------- */

__attribute__((destructor)) static void finish(void)
{
    (void)hkm_option_read(); /* a process that never allocated has not read it yet */
    long wanted = (long)hkm_load(&hkm_option.stats);
    int fd = wanted ? hkm_os_stderr_kept() : -1;
    if (fd >= 0) {
        struct hak_stats s;
        hkm_alloc_stats(&s);
        (void)hkm_stats_print(fd, &s, wanted == 2);
    }
}

#if defined PIC && HKM_FEW_NAMES
/* Tells pthread_atfork whose handler it is.  The compiler's start files define it, which the shared library does without. */
extern void *__dso_handle;
HKM_HIDDEN __attribute__((weak)) void *__dso_handle = &__dso_handle;
#endif

/* Nothing waits for this.  It makes sure that a file which the first malloc would open is not opened after main has begun,
 * when the program may have forbidden it to itself; and that standard error is kept before the program can have closed it, or
 * opened a file under that number. */
__attribute__((constructor)) static void start(void)
{
    hkm_option_settle();
    if (unlikely(hkm_os_getenv("HAKMEM_STATS") != NULL))
        hkm_os_stderr_keep();
}
