/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * indirect.c: functions of the malloc family that lead to the program's realloc and free, whosever those are.
 *
 * A program may bring a malloc of its own and not all that goes with it: Chromium has no reallocarray.  The C library's
 * reallocarray calls realloc by its global name, so its blocks come from where the program's free expects them.  Ours must
 * do the same, or the program's own free gets our block, and ours the program's.
 *
 * These stand in a file of their own because compilers that see realloc and free would not believe that they can be
 * others.  They are jumps, so the caller's address is still right where they lead.
 */
#include "base.h"

#include <errno.h>
#include <stdlib.h>

HKM_EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, bytes);
}

/* C23's sized frees: the size is a hint that is not needed, and a wrong one does no harm. */
HKM_EXPORT void free_sized(void *p, size_t size);
HKM_EXPORT void free_sized(void *p, size_t size)
{
    (void)size;
    free(p);
}

HKM_EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size);
HKM_EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    free(p);
}
