/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * idle_caches.c: a hundred threads that have used every size class as much as they could, and sleep: what lies in their
 * caches, where no other thread can reach it, is no more in all than HAKMEM_CACHE_KB says, and one block of each class
 * and thread; the resident size after a purge is no more than that and the metadata.  With the default, with 4 MiB, and
 * with nothing; each time new threads take the heaps of those before, with their large caches.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>

enum { THREADS = 100, MOST_CLASSES = 100 };

static size_t sizes[MOST_CLASSES], classes, one_of_each, turns;
static size_t missing, awake; /* atomic */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool over; /* mutex */

/* The size classes, as lib/class.def has them: steps of 16 to 256, then eight for each power of two. */
static void find_classes(void)
{
    for (size_t n = 16; n <= 32768; n += n < 256 ? 16 : ((size_t)1 << (63 - __builtin_clzll(n))) / 8) {
        sizes[classes++] = n;
        one_of_each += n;
    }
}

/* Takes more blocks of one class after the other than its cache may hold and frees them, a few times, so that it grows.  In
 * any order, as a cache that its thread does not use any more is emptied. */
static void *work(void *arg)
{
    static __thread char *p[1600];
    uint64_t seed = (uintptr_t)arg + 1;
    for (size_t i = 0; i < turns * classes; i++) {
        size_t size = sizes[i < classes ? i : random_below(&seed, classes)];
        size_t n = 200 * KIB / size < COUNT_OF(p) ? 200 * KIB / size : COUNT_OF(p);
        for (size_t k = 0; k < n; k++) {
            p[k] = malloc(size);
            if (p[k])
                p[k][0] = p[k][size - 1] = 1;
            else
                __atomic_fetch_add(&missing, 1, __ATOMIC_RELAXED);
        }
        for (size_t k = 0; k < n; k++)
            free(p[k]);
    }
    pthread_mutex_lock(&mutex);
    awake--;
    pthread_cond_broadcast(&changed);
    while (!over)
        pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static struct hak_stats stats(void)
{
    struct hak_stats s;
    memset(&s, 0, sizeof s);
    hak_stats_get(&s, sizeof s);
    return s;
}

static void run(const char *what)
{
    pthread_t threads[THREADS];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 * KIB);
    hak_purge();
    long kib = -1;
    hak_option_get("CACHE_KB", &kib);
    size_t before = resident(), metadata = (size_t)stats().metadata_bytes;
    over = false;
    awake = THREADS;
    for (size_t i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], &small, work, (void *)i)) {
            ok(0, "%s: thread %zu starts", what, i);
            exit(tap_done());
        }
    }
    pthread_attr_destroy(&small);
    pthread_mutex_lock(&mutex);
    while (awake)
        pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    size_t full = resident();
    hak_purge();
    struct hak_stats s = stats();
    size_t now = resident(), held = (size_t)(s.cached_bytes + s.run_cache_bytes);
    size_t option = (size_t)kib * KIB, part = (size_t)s.mapped_bytes / 8, bound = option > part ? option : part;
    note("%s: %zu KiB cached by %d threads that sleep, %zu KiB mapped; resident %zu KiB, %zu when all sleep, %zu after a purge",
         what, held / KIB, THREADS, (size_t)s.mapped_bytes / KIB, before / KIB, full / KIB, now / KIB);
    ok(!missing && held <= bound + THREADS * one_of_each, "%s: what sleeping threads cache is bounded", what);
    ok(held > 8 * MIB, "%s: caches were used", what);
    if (SANITIZED || EMULATED)
        skip("resident size", "sanitizer or emulator");
    else
        ok(now <= before + held + held / 2 + (s.metadata_bytes - metadata) + THREADS * 160 * KIB,
           "%s: they hold little more than that", what);
    pthread_mutex_lock(&mutex);
    over = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    hak_purge();
    s = stats();
    note("%s: %zu KiB cached when they have ended, %zu KiB resident", what, (size_t)s.cached_bytes / KIB, resident() / KIB);
    ok(s.cached_bytes <= MIB, "%s: and nothing when they have ended", what);
}

int main(void)
{
    tap_start();
    turns = SANITIZED || EMULATED ? 2 : 4;
    find_classes();
    note("%zu classes, one block of each has %zu KiB", classes, one_of_each / KIB);
    run("default");
    hak_option_set("CACHE_KB", 4096);
    run("4 MiB");
    hak_option_set("CACHE_KB", 0);
    run("none");
    return tap_done();
}
