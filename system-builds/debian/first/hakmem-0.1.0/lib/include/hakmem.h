/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * hakmem.h: the public interface of libhakmem, a malloc replacement.
 *
 * A program that is linked with -lhakmem, or runs with the library preloaded, is served by HAKMEM through malloc,
 * free and operator new; it needs nothing from this header.  The functions here serve programs that want to ask for
 * more: statistics, options, purging, and blocks labelled with the place that allocates them.
 *
 * Unless said otherwise every function is thread-safe, sizes are in bytes, and everything is there since 0.1.0.
 */
#ifndef HAKMEM_H
#define HAKMEM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HAK_VERSION_MAJOR 0
#define HAK_VERSION_MINOR 1
#define HAK_VERSION_PATCH 0
#define HAK_VERSION_STRING "0.1.0"

#if defined(__GNUC__)
#define HAK_ATTR(x) __attribute__(x)
#else
#define HAK_ATTR(x)
#endif
#define HAK_API HAK_ATTR((__visibility__("default")))
#ifdef __cplusplus
#define HAK_NOEXCEPT throw()
#if __cplusplus >= 201103L
#undef HAK_NOEXCEPT
#define HAK_NOEXCEPT noexcept
#endif
#else
#define HAK_NOEXCEPT
#endif

/* The version of the library that is running, as "MAJOR.MINOR.PATCH"; a constant string. */
HAK_API const char *hak_version(void) HAK_NOEXCEPT;

/* The malloc family under names of its own: the same blocks, the same results and errno values as malloc(3) gives,
 * also in a program whose malloc is another allocator's.  Give such a block back by hak_free (or by free, where
 * free is HAKMEM's).  hak_free takes NULL. */
HAK_API void hak_free(void *ptr) HAK_NOEXCEPT;
HAK_API void *hak_malloc(size_t size) HAK_NOEXCEPT HAK_ATTR((__malloc__, __alloc_size__(1), __warn_unused_result__));
HAK_API void *hak_calloc(size_t count, size_t size) HAK_NOEXCEPT
    HAK_ATTR((__malloc__, __alloc_size__(1, 2), __warn_unused_result__));
HAK_API void *hak_realloc(void *ptr, size_t size) HAK_NOEXCEPT HAK_ATTR((__alloc_size__(2), __warn_unused_result__));
HAK_API void *hak_reallocarray(void *ptr, size_t count, size_t size) HAK_NOEXCEPT
    HAK_ATTR((__alloc_size__(2, 3), __warn_unused_result__));
HAK_API void *hak_aligned_alloc(size_t alignment, size_t size) HAK_NOEXCEPT
    HAK_ATTR((__malloc__, __alloc_align__(1), __alloc_size__(2), __warn_unused_result__));
HAK_API int hak_posix_memalign(void **result, size_t alignment, size_t size) HAK_NOEXCEPT
    HAK_ATTR((__warn_unused_result__));
HAK_API size_t hak_malloc_usable_size(void *ptr) HAK_NOEXCEPT;

/* C23's sized frees.  The size and the alignment are hints: a wrong one is never harmful. */
HAK_API void hak_free_sized(void *ptr, size_t size) HAK_NOEXCEPT;
HAK_API void hak_free_aligned_sized(void *ptr, size_t alignment, size_t size) HAK_NOEXCEPT;

/* Blocks labelled by a call site.
 *
 * A site is any address that stands for the purpose of the block: usually the place in the program that asks for it.
 * It is never dereferenced.  NULL means "the place that makes this very call".  hak_free_at takes blocks of any
 * allocation function; size and site are hints, and 0 and NULL mean "unknown".  Errors are malloc's: NULL and ENOMEM.
 * hak_alloc_cs and hak_free_cs take the site by themselves. */
HAK_API void *hak_alloc_at(size_t size, const void *site) HAK_NOEXCEPT
    HAK_ATTR((__malloc__, __alloc_size__(1), __warn_unused_result__));
HAK_API void hak_free_at(void *ptr, size_t size, const void *site) HAK_NOEXCEPT;
#define hak_alloc_cs(size) hak_alloc_at((size), NULL)
#define hak_free_cs(ptr, size) hak_free_at((ptr), (size), NULL)

/* Statistics of this process.  All *_bytes are bytes; counts marked * are totals since the process began.  The figures are
 * gathered while other threads go on, so they belong to slightly different moments; in a process at rest
 *
 *     mapped_bytes = live_bytes + remote_bytes + cached_bytes + run_cache_bytes + bigcache_bytes + spare_bytes + nursery_bytes
 *                    + free_bytes + dirty_bytes + fresh_bytes + waste_bytes
 *
 * holds to the byte.  hakmem(3) has more of the kind. */
struct hak_stats {
    uint64_t mapped_bytes;    /* address space mapped for blocks */
    uint64_t metadata_bytes;  /* address space mapped for the allocator's own structures */
    uint64_t live_bytes;      /* in blocks that the program holds (usable sizes; cached blocks not counted) */
    uint64_t cached_bytes;    /* in free blocks kept in threads' Unified Caches */
    uint64_t free_bytes;      /* in free blocks of slabs that are partly used */
    uint64_t dirty_bytes;     /* in free slots that may have memory behind them */
    uint64_t big_bytes;       /* in blocks with mappings of their own (part of live_bytes) */
    uint64_t purged_bytes;    /* * given back to the kernel */
    uint64_t heaps;           /* * heaps made: at most the largest number of threads at one time, plus one */
    uint64_t heaps_parked;    /* of these, waiting for a thread */
    uint64_t slabs;           /* slabs in use */
    uint64_t refills;         /* * times that a Unified Cache was refilled */
    uint64_t refilled_blocks; /* * blocks that these refills brought */
    uint64_t flushes;         /* * times that a Unified Cache was flushed */
    uint64_t flushed_blocks;  /* * blocks that these flushes gave back */
    uint64_t remote_frees;    /* * blocks freed by another thread than their owner */
    uint64_t large_allocs;    /* * blocks above 32 KiB handed out */
    uint64_t large_frees;     /* * and given back */
    uint64_t foreign_frees;   /* * pointers passed on to the C library because they were not ours */
    uint64_t purges;          /* * calls that gave memory back to the kernel */
    uint64_t mallocs;         /* * blocks handed out; 0 unless built with --enable-stats */
    uint64_t frees;           /* * blocks given back; 0 unless built with --enable-stats */
    uint64_t live_blocks;     /* blocks that the program holds */
    uint64_t big_blocks;      /* of these, with mappings of their own */
    uint64_t remote_bytes;    /* in blocks freed for other threads that these do not have back yet */
    uint64_t run_cache_bytes; /* in runs kept by threads */
    uint64_t spare_bytes;     /* in slots without blocks that heaps keep */
    uint64_t nursery_bytes;   /* in the nursery, and not in blocks */
    uint64_t fresh_bytes;     /* in free slots without memory behind them */
    uint64_t waste_bytes;     /* left over in slots, behind the last block or the end of a run */
    uint64_t committed_bytes; /* of mapped_bytes, in pages that may have memory behind them */
    uint64_t mappings;        /* areas of address space; the kernel has at most as many mappings (VMAs) for them */
    uint64_t faults_avoided;  /* * pages that still had memory behind them when the free slots, or kept blocks, that they
                                 lie in were taken again */
    uint64_t bigcache_bytes;  /* in blocks of 1 MiB and more that were freed and are kept as they are */
    uint64_t bigcache_hits;   /* * blocks that were handed out from there */
    uint64_t huge_bytes;      /* mapped where the kernel was asked for huge pages, or gave them from its pool */
    uint64_t huge_fallbacks;  /* * times that they were wanted and not to be had */
    uint64_t prefaulted_bytes; /* * faulted in before they were used */
    uint64_t prefault_fallbacks; /* * times that the kernel would not */
};

/* Fills *stats, of which the caller knows the first `size` bytes (pass sizeof *stats; fields that a newer library
 * adds at the end are left out).  0, or -1 and EINVAL when stats is NULL or size is 0. */
HAK_API int hak_stats_get(struct hak_stats *stats, size_t size) HAK_NOEXCEPT;

/* Writes the statistics to file descriptor fd, as readable text (format NULL or "text") or as one JSON object
 * ("json").  0; -1 and EINVAL for another format, or write(2)'s errno. */
HAK_API int hak_stats_print(int fd, const char *format) HAK_NOEXCEPT;

/* Gives all memory back to the kernel that holds no block: free slots, and whole free pages inside partly used slabs,
 * of every thread (blocks in other threads' caches stay there).  Returns the number of bytes given back. */
HAK_API size_t hak_purge(void) HAK_NOEXCEPT;

/* Options, by the names of hakmem(7) without the leading HAKMEM_, for instance "VERBOSE".  Values are numbers; see
 * hakmem(7) for ranges.  0; -1 and ENOENT for an unknown name, ERANGE for a value out of range, EPERM for an option
 * that can only be set in the environment, EINVAL for a NULL pointer. */
HAK_API int hak_option_get(const char *name, long *value) HAK_NOEXCEPT;
HAK_API int hak_option_set(const char *name, long value) HAK_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif /* HAKMEM_H */
