/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * thread_leak.c [SECONDS]: a hundred threads alive at a time, the oldest of which ends whenever a new one is born.
 * Each allocates and frees at its birth, sleeps with a warm cache while the others are at it, does the same once more, and
 * ends; half of its blocks are freed by others, many of them after its end.  Memory of the dead that is not found again
 * adds up: with small blocks, the resident size must stay what it is after the first fifth of the time (5 seconds);
 * with blocks of all sizes, the slabs in use.  What was live is gone in the end, what was resident goes with a purge.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

enum { ALIVE = 100, PLACES = 8192, OPERATIONS = 400, OWN = 40 };

static void *places[PLACES]; /* atomic: blocks on their way from one thread to another */
static bool all_sizes; /* of this run */
static size_t spoilt, missing; /* atomic */

static struct life {
    pthread_t thread;
    sem_t born, die;
    uint64_t seed;
} lives[ALIVE];

static void *make(uint64_t *state)
{
    size_t kind = random_below(state, 1000);
    size_t most = kind < 900 ? 500 : !all_sizes ? 1000 : kind < 990 ? 5000 : kind < 998 ? 40000 : 300000;
    size_t n = sizeof n + random_below(state, most);
    char *p = malloc(n);
    if (p) {
        memcpy(p, &n, sizeof n);
        memset(p + sizeof n, (int)(n & 0xff), n - sizeof n);
    } else {
        __atomic_fetch_add(&missing, 1, __ATOMIC_RELAXED);
    }
    return p;
}

static void *take(void **from) { return __atomic_exchange_n(from, NULL, __ATOMIC_ACQ_REL); }

static void unmake(char *p)
{
    size_t n;
    if (!p)
        return;
    memcpy(&n, p, sizeof n);
    if (n > 400000 || !all_bytes(p + sizeof n, n - sizeof n, (unsigned char)(n & 0xff)))
        __atomic_fetch_add(&spoilt, 1, __ATOMIC_RELAXED);
    free(p);
}

static void work(uint64_t *state)
{
    void *own[OWN] = { NULL };
    for (size_t i = 0; i < OPERATIONS; i++) {
        void **at = &own[random_below(state, OWN)];
        unmake(*at);
        *at = make(state);
        if (i % 2)
            *at = __atomic_exchange_n(&places[random_below(state, PLACES)], *at, __ATOMIC_ACQ_REL);
    }
    for (size_t i = 0; i < OWN; i++)
        unmake(own[i]);
}

static void wait_for(sem_t *s)
{
    while (sem_wait(s))
        ;
}

static void *live(void *arg)
{
    struct life *l = arg;
    work(&l->seed);
    sem_post(&l->born);
    wait_for(&l->die);
    work(&l->seed);
    return NULL;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct hak_stats stats(void)
{
    struct hak_stats s;
    memset(&s, 0, sizeof s);
    hak_stats_get(&s, sizeof s);
    s.live_bytes += s.remote_bytes; /* what nobody has handed over to its owner is not free */
    return s;
}

/* The most of something, in the first fifth of the time and after it. */
struct most { size_t early, late; };
static void look(struct most *m, bool early, size_t now)
{
    size_t *most = early ? &m->early : &m->late;
    *most = now > *most ? now : *most;
}

static size_t churn(double duration, struct most *kib, struct most *slabs)
{
    double start = seconds(), now = 0, told = 30;
    size_t count = 0;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 * KIB);
    /* Also on a machine that does other things, enough threads for what is resident to have settled. */
    size_t settled = SANITIZED || EMULATED || all_sizes ? 3 * ALIVE : 20 * ALIVE;
    for (; now < duration || count < 2 * settled; now = seconds() - start, count++) {
        struct life *l = &lives[count % ALIVE];
        bool early = now < duration / 5 || count < settled;
        if (count >= ALIVE) {
            sem_post(&l->die);
            pthread_join(l->thread, NULL);
        }
        l->seed = count + 1;
        sem_init(&l->born, 0, 0);
        sem_init(&l->die, 0, 0);
        if (pthread_create(&l->thread, &small, live, l)) {
            ok(0, "thread %zu starts", count);
            exit(tap_done());
        }
        wait_for(&l->born);
        if (count % 64 == 0) {
            look(kib, early, resident() / KIB);
            look(slabs, early, (size_t)stats().slabs);
        }
        if (now >= told) {
            note("%3.0f s: %zu KiB resident, %zu threads so far", now, resident() / KIB, count);
            told += 30;
        }
    }
    for (size_t i = 0; i < ALIVE; i++) {
        sem_post(&lives[i].die);
        pthread_join(lives[i].thread, NULL);
    }
    for (size_t i = 0; i < PLACES; i++)
        unmake(take(&places[i]));
    pthread_attr_destroy(&small);
    return count;
}

static void run(const char *what, double duration)
{
    struct most kib = { 0, 0 }, slabs = { 0, 0 };
    hak_purge();
    size_t before = resident(), live = (size_t)stats().live_bytes;
    size_t count = churn(duration, &kib, &slabs);
    hak_purge();
    struct hak_stats s = stats();
    ok(!spoilt && !missing, "%s: %zu threads, %d at a time, find all blocks whole", what, count, ALIVE);
    if (!ok(s.live_bytes <= live + 64 * KIB, "%s: none is left over", what))
        note("%zu bytes live at first, %llu in the end", live, (unsigned long long)s.live_bytes);
    if (!ok(s.heaps <= ALIVE + 4, "%s: no more heaps than threads at one time", what))
        note("%llu heaps", (unsigned long long)s.heaps);
    if (!ok(slabs.late <= slabs.early + slabs.early / 8 + 64, "%s: the slabs are no more than at first", what))
        note("at most %zu in the first fifth of the time, then %zu", slabs.early, slabs.late);
    note("at most %zu KiB resident in the first fifth of the time, then %zu KiB; from %zu to %zu KiB in the end",
         kib.early, kib.late, before / KIB, resident() / KIB);
    if (SANITIZED || EMULATED) {
        skip("the resident size", "sanitizer or emulator");
        return;
    }
    if (!all_sizes)
        ok(kib.late <= kib.early + kib.early / 8 + 4 * KIB, "%s: the resident size is flat", what);
    ok(resident() <= before + 16 * MIB, "%s: what was resident is given back", what);
}

int main(int argc, char **argv)
{
    double duration = argc > 1 ? strtod(argv[1], NULL) : 5;
    tap_start();
    run("small blocks", duration);
    all_sizes = true;
    run("blocks of all sizes", duration / 5);
    return tap_done();
}
