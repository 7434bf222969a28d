/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * sizes.c: how much more than asked for a block takes (its usable size): tiny sizes in the mean, mid sizes in the worst
 * case, above that whole pages.  Requests of 0 bytes are small, too.
 */
#define _GNU_SOURCE
#include "tap.h"

static size_t usable(size_t n)
{
    void *p = malloc(n);
    size_t size = p ? malloc_usable_size(p) : 0;
    free(p);
    return size;
}

int main(void)
{
    tap_start();
    size_t page = (size_t)sysconf(_SC_PAGESIZE), asked = 0, taken = 0, small = 0;
    for (size_t n = 1; n <= 1024; n++) {
        asked += n;
        taken += usable(n);
        small += usable(n) < n;
    }
    double waste = 100.0 * (double)(taken - asked) / (double)taken;
    ok(small == 0 && waste <= 5.0, "1..1024 bytes uniformly: %.2f %% waste, at most 5 %%", waste);
    ok(usable(0) <= 32, "0 bytes take at most 32");

    double worst = 0;
    size_t at = 0;
    for (size_t n = 1025; n <= 32768; n++) {
        size_t size = usable(n);
        small += size < n;
        double over = 100.0 * (double)(size - n) / (double)n;
        if (over > worst) {
            worst = over;
            at = n;
        }
    }
    ok(small == 0 && worst <= 12.5, "1025..32768 bytes: %.2f %% waste at the worst (%zu bytes), at most 12.5 %%", worst, at);

    size_t rough = 0, big_unit = page;
    long huge = 0;
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "re");
    if (hak_option_get("HUGEPAGES", &huge) == 0 && huge && f && fscanf(f, "%zu", &big_unit) != 1) /* big blocks have them */
        big_unit = page;
    if (f)
        fclose(f);
    at = 0;
    for (size_t n = 32769; n < 200 * MIB; n += n / 61 + 1) {
        size_t size = usable(n);
        small += size < n;
        size_t unit = n < 32 * MIB ? page : big_unit;
        if (size > (n + unit - 1) / unit * unit) {
            rough++;
            at = n;
        }
    }
    if (!ok(small == 0 && rough == 0, "above: rounded up to whole pages"))
        note("%zu sizes are not, for instance %zu: %zu", rough, at, usable(at));

    /* The same size has the same usable size, whatever the heap looks like. */
    unsigned differ = 0;
    static void *blocks[3000];
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        blocks[i] = malloc(i % 1500 + 1);
    for (size_t i = 0; i < COUNT_OF(blocks); i += 3) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
    for (size_t i = 0; i < COUNT_OF(blocks) / 2; i++)
        differ += blocks[i] && blocks[i + 1500] && malloc_usable_size(blocks[i]) != malloc_usable_size(blocks[i + 1500]);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    ok(differ == 0, "equal requests up to 1500 bytes have equal usable sizes");
    return tap_done();
}
