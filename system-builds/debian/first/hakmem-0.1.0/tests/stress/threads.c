/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * threads.c: eight threads allocate, reallocate and free at random, and pass blocks to each other through shared places,
 * so that half of all blocks are freed by another thread than the one that made them.  Every content is checked.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <time.h>

enum { THREADS = 8, SHARED = 4096, PRIVATE = 300, SECONDS = 8, MOST_OPERATIONS = 20000000 };

/* Stands at the start of each block; the rest of it is a pattern. */
struct head {
    size_t size;
    uint64_t seed;
};

static void *shared[SHARED];
static time_t end;

struct outcome {
    uint64_t seed;
    size_t operations, missing, spoilt, misaligned;
};

static size_t some_size(uint64_t *state)
{
    size_t kind = random_below(state, 1000);
    return sizeof(struct head) +
           random_below(state, kind < 850 ? 500 : kind < 970 ? 5000 : kind < 998 ? 40000 : 300000);
}

static void fill(void *p, size_t size, uint64_t seed)
{
    struct head *h = p;
    h->size = size;
    h->seed = seed;
    pattern_fill(h + 1, size - sizeof *h, seed);
}
static bool whole(const void *p, size_t most)
{
    const struct head *h = p;
    return h->size >= sizeof *h && h->size < 400000 &&
           pattern_holds(h + 1, (h->size < most ? h->size : most) - sizeof *h, h->seed);
}

static void *work(void *arg)
{
    struct outcome *o = arg;
    uint64_t state = o->seed * 0x9e3779b97f4a7c15ULL + 3;
    void *own[PRIVATE] = { NULL };
    for (; o->operations < MOST_OPERATIONS; o->operations++) {
        if (o->operations % 1024 == 0 && time(NULL) >= end)
            break;
        size_t what = random_below(&state, 16), slot = random_below(&state, PRIVATE);
        void *p = own[slot];
        if (p && what < 2) {
            size_t size = some_size(&state);
            void *q = realloc(p, size);
            if (!q) {
                o->missing++;
                continue;
            }
            o->spoilt += !whole(q, size);
            fill(q, size, random_next(&state));
            own[slot] = q;
            continue;
        }
        if (!p) {
            size_t size = some_size(&state);
            p = what < 12 ? malloc(size) : what < 14 ? calloc(1, size) : memalign(64, size);
            if (!p) {
                o->missing++;
                continue;
            }
            o->spoilt += what >= 12 && what < 14 && !all_bytes(p, size, 0);
            o->misaligned += !aligned(p, what >= 14 ? 64 : 16);
            fill(p, size, random_next(&state));
        }
        /* Half of them change hands: what was there becomes ours. */
        if (what & 1)
            p = __atomic_exchange_n(&shared[random_below(&state, SHARED)], p, __ATOMIC_ACQ_REL);
        if (p && what & 2) {
            o->spoilt += !whole(p, SIZE_MAX);
            free(p);
            p = NULL;
        }
        own[slot] = p;
    }
    for (size_t i = 0; i < PRIVATE; i++) {
        o->spoilt += own[i] && !whole(own[i], SIZE_MAX);
        free(own[i]);
    }
    return NULL;
}

int main(void)
{
    tap_start();
    pthread_t threads[THREADS];
    struct outcome outcomes[THREADS];
    size_t started = 0, spoilt = 0, operations = 0;
    memset(outcomes, 0, sizeof outcomes);
    end = time(NULL) + SECONDS;
    for (; started < THREADS; started++) {
        outcomes[started].seed = started + 1;
        if (pthread_create(&threads[started], NULL, work, &outcomes[started]))
            break;
    }
    ok(started == THREADS, "%d threads start", THREADS);
    for (size_t i = 0; i < started; i++) {
        struct outcome *o = &outcomes[i];
        pthread_join(threads[i], NULL);
        operations += o->operations;
        if (!ok(!(o->missing + o->spoilt + o->misaligned), "thread %zu", i))
            note("missing %zu, spoilt %zu, misaligned %zu", o->missing, o->spoilt, o->misaligned);
    }
    for (size_t i = 0; i < SHARED; i++) {
        spoilt += shared[i] && !whole(shared[i], SIZE_MAX);
        free(shared[i]);
    }
    ok(!spoilt, "what was left over is whole");
    ok(operations >= THREADS * 1000, "they did something");
    note("%zu operations", operations);
    return tap_done();
}
