/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * small cfrac|espresso|none [STEPS]: programs that are small and stay so, for the footprint. cfrac: the continued fraction
 * of a root, all numbers of 8 to 40 bytes in blocks of their own, nearly all of which live for an instant; each twentieth
 * relation is kept. espresso: families of cubes, bit sets of 8 to 200 bytes, that are copied, joined, grown by
 * realloc, sorted and dropped; a few hundred KiB live at most. none: just starts and ends.
 */
#include "bench.h"

struct number {
    uint32_t n, digit[];
};

static struct number *number(uint64_t v)
{
    uint32_t n = 1 + (v >> 32 != 0) + (uint32_t)(v % 7); /* as many as a product would need, not all in use */
    struct number *x = bench_need(malloc(sizeof *x + n * sizeof x->digit[0]));
    x->n = n;
    memset(x->digit, 0, n * sizeof x->digit[0]);
    x->digit[0] = (uint32_t)v;
    if (n > 1)
        x->digit[1] = (uint32_t)(v >> 32);
    return x;
}
static uint64_t value(const struct number *x) { return x->digit[0] | (x->n > 1 ? (uint64_t)x->digit[1] << 32 : 0); }
/* Makes one of two, and frees them. */
static struct number *join(struct number *a, struct number *b, uint64_t v)
{
    free(a);
    free(b);
    return number(v);
}

static uint64_t cfrac(unsigned long steps)
{
    enum { KEPT = 400 };
    static struct number *kept[KEPT];
    const uint64_t root = 4000000007, n = root * root + 2 * root - 1;
    uint64_t sum = 0;
    struct number *p = number(0), *q = number(1);
    for (unsigned long i = 0; i < steps; i++) {
        struct number *a = number((root + value(p)) / value(q)), *aq = number(value(a) * value(q));
        struct number *p2 = number(value(aq) - value(p)), *pp = number(value(p2) * value(p2));
        struct number *q2 = number((n - value(pp)) / value(q));
        sum += value(a);
        free(pp);
        free(aq);
        if (i % 20 == 0) { /* a relation */
            free(kept[i / 20 % KEPT]);
            kept[i / 20 % KEPT] = number(value(q2) * i);
        }
        p = join(p, a, value(p2));
        free(p2);
        q = join(q, q2, value(q2) ? value(q2) : 1);
        if (value(p) > root)
            p = join(p, number(0), value(p) % root);
    }
    for (int i = 0; i < KEPT; i++) {
        free(kept[i]);
        kept[i] = NULL;
    }
    free(p);
    free(q);
    return sum;
}

struct family {
    unsigned count, room, width;
    uint64_t **cube;
};

static void add(struct family *f, const uint64_t *bits)
{
    if (f->count == f->room) {
        f->room = f->room ? f->room + f->room / 2 + 1 : 4;
        f->cube = bench_need(realloc(f->cube, f->room * sizeof *f->cube));
    }
    uint64_t *c = bench_need(malloc(f->width * sizeof *c));
    memcpy(c, bits, f->width * sizeof *c);
    f->cube[f->count++] = c;
}
static void drop(struct family *f)
{
    for (unsigned i = 0; i < f->count; i++)
        free(f->cube[i]);
    free(f->cube);
    memset(f, 0, sizeof *f);
}
static int by_first(const void *a, const void *b)
{
    uint64_t x = **(uint64_t *const *)a, y = **(uint64_t *const *)b;
    return (x > y) - (x < y);
}

static uint64_t espresso(unsigned long steps)
{
    enum { FAMILIES = 24, MOST = 25 };
    static struct family all[FAMILIES];
    uint64_t rnd = 1, sum = 0;
    for (unsigned long i = 0; i < steps; i++) {
        struct family *f = &all[bench_between(&rnd, 0, FAMILIES - 1)], g = {0};
        uint64_t bits[MOST];
        if (!f->width)
            f->width = 1 + (unsigned)bench_between(&rnd, 0, MOST - 1);
        for (unsigned k = 0; k < MOST; k++)
            bits[k] = (uint64_t)bench_random(&rnd) << 32 | bench_random(&rnd);
        add(f, bits);
        if (f->count < 100)
            continue;
        g.width = f->width; /* the cubes that are not covered by their neighbour */
        qsort(f->cube, f->count, sizeof *f->cube, by_first);
        for (unsigned k = 0; k + 1 < f->count; k++)
            if ((f->cube[k][0] & f->cube[k + 1][0]) % 3)
                add(&g, f->cube[k]);
        sum += g.count;
        drop(f);
        if (g.count < 40)
            drop(&g);
        *f = g;
    }
    for (int i = 0; i < FAMILIES; i++)
        drop(&all[i]);
    return sum;
}

int main(int argc, char **argv)
{
    bench_prove();
    const char *what = argc > 1 ? argv[1] : "";
    unsigned long steps = bench_arg(argc, argv, 2, 200000);
    struct bench_time t = bench_start();
    uint64_t sum = 0;
    if (strcmp(what, "cfrac") == 0)
        sum = cfrac(steps);
    else if (strcmp(what, "espresso") == 0)
        sum = espresso(steps);
    else if (strcmp(what, "none") != 0)
        bench_die("usage: small cfrac|espresso|none [STEPS]");
    char name[64];
    snprintf(name, sizeof name, "small %s %llu", what, (unsigned long long)sum % 1000);
    bench_report(name, steps ? steps : 1, t);
    return 0;
}
