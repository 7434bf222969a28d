/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * producer_consumer.c [SECONDS]: threads that only allocate and threads that only free: memory comes back to those who
 * allocate, so the resident size stays flat.  First in step through a bounded queue, then with many small and some large
 * blocks; for 6 seconds each.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <pthread.h>
#include <time.h>

/* At most so many blocks and bytes are on their way in a queue; what the program itself holds is bounded by that. */
enum { QUEUE = 1 << 12, IN_FLIGHT = 8 << 20, WARM = 2 };

static struct queue {
    void *blocks[QUEUE];
    size_t in, out, bytes; /* lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed; /* lock */
} queues[2];

static size_t most_size; /* of this run */
static time_t duration = 6, end;
static size_t produced, consumed, spoilt, missing; /* atomic */

static size_t size_of(const void *block)
{
    size_t size;
    memcpy(&size, block, sizeof size);
    return size;
}

static void *produce(void *arg)
{
    struct queue *q = arg;
    uint64_t state = 99 + (uint64_t)(q - queues);
    void *batch[64];
    while (time(NULL) < end) {
        for (size_t i = 0; i < COUNT_OF(batch); i++) {
            size_t n = 16 + random_below(&state, i % 16 ? 1000 : most_size);
            batch[i] = malloc(n);
            if (!batch[i]) {
                __atomic_fetch_add(&missing, 1, __ATOMIC_RELAXED);
                continue;
            }
            memcpy(batch[i], &n, sizeof n);
            memset((char *)batch[i] + sizeof n, (int)n & 0xff, n - sizeof n);
        }
        pthread_mutex_lock(&q->lock);
        for (size_t i = 0; i < COUNT_OF(batch); i++) {
            while (q->in - q->out == QUEUE || q->bytes > IN_FLIGHT)
                pthread_cond_wait(&q->changed, &q->lock);
            if (batch[i]) {
                q->blocks[q->in++ % QUEUE] = batch[i];
                q->bytes += size_of(batch[i]);
            }
            if (q->bytes > IN_FLIGHT)
                pthread_cond_broadcast(&q->changed);
        }
        pthread_cond_broadcast(&q->changed);
        pthread_mutex_unlock(&q->lock);
        __atomic_fetch_add(&produced, COUNT_OF(batch), __ATOMIC_RELAXED);
    }
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

static void *consume(void *arg)
{
    struct queue *q = arg;
    void *batch[256];
    for (;;) {
        size_t n = 0;
        pthread_mutex_lock(&q->lock);
        while (q->in == q->out && !q->closed)
            pthread_cond_wait(&q->changed, &q->lock);
        while (n < COUNT_OF(batch) && q->in != q->out) {
            batch[n] = q->blocks[q->out++ % QUEUE];
            q->bytes -= size_of(batch[n++]);
        }
        bool done = n == 0;
        pthread_cond_broadcast(&q->changed);
        pthread_mutex_unlock(&q->lock);
        if (done)
            return NULL;
        for (size_t i = 0; i < n; i++) {
            size_t size = size_of(batch[i]);
            if (size < 16 || size > 2 * MIB || !all_bytes((char *)batch[i] + sizeof size, size - sizeof size, size & 0xff))
                __atomic_fetch_add(&spoilt, 1, __ATOMIC_RELAXED);
            free(batch[i]);
        }
        __atomic_fetch_add(&consumed, n, __ATOMIC_RELAXED);
    }
}

static void run(const char *what, size_t size, bool own_thread)
{
    pthread_t threads[4];
    size_t most = 0, warm = 0;
    most_size = size;
    produced = consumed = spoilt = missing = 0;
    end = time(NULL) + duration;
    for (size_t i = 0; i < 2; i++) {
        queues[i].in = queues[i].out = queues[i].bytes = 0;
        queues[i].closed = false;
        pthread_mutex_init(&queues[i].lock, NULL);
        pthread_cond_init(&queues[i].changed, NULL);
        if (pthread_create(&threads[i * 2], NULL, produce, &queues[i]) ||
            pthread_create(&threads[i * 2 + 1], NULL, consume, &queues[i])) {
            ok(0, "threads start");
            exit(1);
        }
        if (own_thread) /* the consumer has blocks of its own */
            free(malloc(100));
    }
    for (int tick = 0; time(NULL) < end; tick++) {
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
        size_t now = resident();
        if (time(NULL) < end - (duration - WARM))
            warm = now > warm ? now : warm;
        else
            most = now > most ? now : most;
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ok(!spoilt && !missing && produced == consumed + missing, "%s: all %zu blocks arrive whole", what, produced);
    ok(produced > (SANITIZED || EMULATED ? 1000 : 10000), "%s: work was done", what);
    if (SANITIZED || EMULATED)
        skip("resident size is flat", "sanitizer or emulator");
    else
        ok(most <= warm + warm / 4 + 8 * MIB || most <= 8 * (size_t)IN_FLIGHT, "%s: the resident size is flat", what);
    note("%s: %zu KiB when warm, then up to %zu KiB", what, warm / KIB, most / KIB);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        duration = strtol(argv[1], NULL, 10);
    tap_start();
    run("small blocks", 1000, false);
    run("small and large blocks", 1 * MIB, true);
    return tap_done();
}
