/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * api.c: the hak_* functions of hakmem.h.
 */
#define HKM_SMALL
#include "alloc.h"
#include "option.h"
#include "policy.h"

#include <errno.h>
#include <string.h>

#define SITE __builtin_return_address(0)

const char *hak_version(void) { return HAK_VERSION_STRING; }

void *hak_malloc(size_t size) { return hkm_alloc_fast(size); }
void hak_free(void *p) { hkm_free_fast(p); }
void *hak_calloc(size_t count, size_t size) { return hkm_alloc_zeroed_fast(count, size); }
void *hak_realloc(void *p, size_t size) { return hkm_alloc_resize_fast(p, size); }

void *hak_reallocarray(void *p, size_t count, size_t size)
{
    return hkm_alloc_array(p, count, size, SITE);
}

void *hak_aligned_alloc(size_t alignment, size_t size)
{
    return hkm_alloc_rounded(alignment, size);
}

int hak_posix_memalign(void **result, size_t alignment, size_t size)
{
    return hkm_alloc_checked(result, alignment, size);
}

size_t hak_malloc_usable_size(void *p) { return hkm_alloc_usable(p); }

static __typeof__(hak_free) own_free __attribute__((alias("hak_free")));

void hak_free_sized(void *p, size_t size)
{
    (void)size;
    own_free(p);
}

void hak_free_aligned_sized(void *p, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    own_free(p);
}

void *hak_alloc_at(size_t size, const void *site)
{
    if (!site)
        site = SITE;
    void *p = hkm_alloc(size, site);
    if (p)
        hkm_site_label(site, size, false);
    return p;
}

/* What the caller says is believed for the sake of the report on sites alone; large blocks' own records know it. */
void hak_free_at(void *p, size_t size, const void *site)
{
    if (p && size && site)
        hkm_site_label(site, size, true);
    own_free(p);
}

int hak_stats_get(struct hak_stats *stats, size_t size)
{
    struct hak_stats s;
    if (!stats || !size) {
        errno = EINVAL;
        return -1;
    }
    hkm_alloc_stats(&s);
    if (size > sizeof s) { /* the caller knows more than this library */
        memset((char *)stats + sizeof s, 0, size - sizeof s);
        size = sizeof s;
    }
    memmove(stats, &s, size);
    return 0;
}

int hak_stats_print(int fd, const char *format)
{
    struct hak_stats s;
    bool json = format && hkm_same(format, "json");
    if (format && !json && !hkm_same(format, "text")) {
        errno = EINVAL;
        return -1;
    }
    hkm_alloc_stats(&s);
    int error = hkm_stats_print(fd, &s, json);
    if (error) {
        errno = error;
        return -1;
    }
    return 0;
}

size_t hak_purge(void) { return hkm_alloc_purge(); }

static int result(int error)
{
    if (!error)
        return 0;
    errno = error;
    return -1;
}

int hak_option_get(const char *name, long *value)
{
    return result(name && value ? hkm_option_get(name, value) : EINVAL);
}

int hak_option_set(const char *name, long value) { return result(name ? hkm_policy_option(name, value) : EINVAL); }
