/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * trim_first.c: malloc_trim is the first function of the family that the process calls.
 */
#define _GNU_SOURCE
#include "tap.h"

#include <malloc.h>

int main(void)
{
    int first = malloc_trim(0);
    tap_start();
    ok(first == 0 || first == 1, "malloc_trim before any other call");
    char *p = malloc(100);
    memset(p, 1, 100);
    free(p);
    ok(malloc_trim(0) >= 0, "and after one");
    return tap_done();
}
