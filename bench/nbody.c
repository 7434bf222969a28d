/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * nbody [BODIES [STEPS]]: bodies that attract each other, by the method of Barnes and Hut, as `barnes' is described:
 * each step builds an octree of cells, of 104 bytes, and of bodies, 88 bytes, which live from beginning to end;
 * computes the forces by walking it, moves the bodies, and frees the cells. Few allocations, and time that depends on
 * where the blocks lie. One op is a body's force. The tree's mass and the bodies' momentum are checked.
 */
#include "bench.h"
#include <math.h>

struct node {
    double mass, at[3];
    bool is_cell;
};
struct body { struct node n; double speed[3], pull[3]; };
struct cell { struct node n; struct node *sub[8]; };

static struct node **all_cells;
static size_t ncells, room;

static struct cell *new_cell(void)
{
    struct cell *c = bench_need(malloc(sizeof *c));
    memset(c, 0, sizeof *c);
    c->n.is_cell = true;
    if (ncells == room)
        bench_die("bodies lie too close together");
    all_cells[ncells++] = &c->n;
    return c;
}

static int octant(const double *at, const double *middle)
{
    return (at[0] > middle[0]) + 2 * (at[1] > middle[1]) + 4 * (at[2] > middle[2]);
}

static void insert(struct cell *c, struct body *b, double *middle, double half)
{
    for (;;) {
        int o = octant(b->n.at, middle);
        half /= 2;
        double next[3];
        for (int k = 0; k < 3; k++)
            next[k] = middle[k] + (o >> k & 1 ? half : -half);
        struct node **s = &c->sub[o], *old = *s;
        if (!old) {
            *s = &b->n;
            return;
        }
        if (!old->is_cell) {            /* two bodies in one place: it is divided */
            struct cell *d = new_cell();
            *s = &d->n;
            d->sub[octant(old->at, next)] = old;
        }
        c = (struct cell *)(void *)*s;
        memcpy(middle, next, sizeof next);
    }
}

/* Mass and its middle, of a cell and all below. */
static void sum_up(struct cell *c)
{
    for (int i = 0; i < 8; i++) {
        struct node *s = c->sub[i];
        if (!s)
            continue;
        if (s->is_cell)
            sum_up((struct cell *)(void *)s);
        c->n.mass += s->mass;
        for (int k = 0; k < 3; k++)
            c->n.at[k] += s->mass * s->at[k];
    }
    for (int k = 0; k < 3; k++)
        c->n.at[k] /= c->n.mass;
}

static void attract(struct body *b, const struct node *n, double width)
{
    double d[3], r2 = 1e-3;             /* softened */
    for (int k = 0; k < 3; k++) {
        d[k] = n->at[k] - b->n.at[k];
        r2 += d[k] * d[k];
    }
    if (n->is_cell && width * width > r2) {
        const struct cell *c = (const struct cell *)(const void *)n;
        for (int i = 0; i < 8; i++)
            if (c->sub[i])
                attract(b, c->sub[i], width / 2);
    } else if (n != &b->n) {
        double f = n->mass / (r2 * sqrt(r2));
        for (int k = 0; k < 3; k++)
            b->pull[k] += f * d[k];
    }
}

static void step(struct body **body, size_t n)
{
    double half = 1e-9, mass = 0;
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 3; k++)
            half = fmax(half, fabs(body[i]->n.at[k]) * 1.001);
    struct cell *root = new_cell();
    for (size_t i = 0; i < n; i++) {
        double middle[3] = {0, 0, 0};
        insert(root, body[i], middle, half);
        mass += body[i]->n.mass;
    }
    sum_up(root);
    if (fabs(root->n.mass - mass) > 1e-9 * mass)
        bench_die("nbody: mass was lost");
    for (size_t i = 0; i < n; i++) {
        memset(body[i]->pull, 0, sizeof body[i]->pull);
        attract(body[i], &root->n, 2 * half);
    }
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 3; k++) {
            body[i]->speed[k] += 1e-3 * body[i]->pull[k];
            body[i]->n.at[k] += 1e-3 * body[i]->speed[k];
        }
    while (ncells)
        free(all_cells[--ncells]);
}

int main(int argc, char **argv)
{
    bench_prove();
    size_t n = bench_arg(argc, argv, 1, 20000);
    unsigned long steps = bench_arg(argc, argv, 2, 4);
    if (n < 2 || n > SIZE_MAX / 1000 || !steps || argc > 3)
        bench_usage("usage: nbody [BODIES [STEPS]], BODIES at least 2");
    struct body **body = bench_map(n * sizeof *body);
    room = 8 * n + 64;
    all_cells = bench_map(room * sizeof *all_cells);
    uint64_t rnd = 1;
    struct bench_time t = bench_start();
    for (size_t i = 0; i < n; i++) {
        body[i] = bench_need(malloc(sizeof **body));
        memset(body[i], 0, sizeof **body);
        body[i]->n.mass = 1.0 / (double)n;
        double r = 1e-4 + bench_random(&rnd) / 4294967296.0; /* denser in the middle */
        for (int k = 0; k < 3; k++)
            body[i]->n.at[k] = r * (bench_random(&rnd) / 2147483648.0 - 1);
    }
    for (unsigned long s = 0; s < steps; s++)
        step(body, n);
    double momentum = 0, size = 0;
    for (int k = 0; k < 3; k++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            sum += body[i]->n.mass * body[i]->speed[k];
            size += body[i]->n.mass * fabs(body[i]->speed[k]);
        }
        momentum += fabs(sum);
    }
    if (!(momentum < 0.1 * size))       /* the method does not keep it exactly */
        bench_die("nbody: momentum came from nowhere");
    for (size_t i = 0; i < n; i++)
        free(body[i]);
    char name[64];
    snprintf(name, sizeof name, "nbody %zu %.9f", n, size);
    bench_report(name, (uint64_t)n * steps, t);
    return 0;
}
