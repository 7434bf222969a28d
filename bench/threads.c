/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * threads MODE NTHREADS ITER: what threads do to an allocator. One op is a malloc and its free.
 *   larson   every line of work replaces random blocks of its slots; after a while its thread starts a successor, which
 *            inherits the blocks, and dies: a server whose threads come and go
 *   xmalloc  half of the threads allocate batches, the other half free them; a bounded ring lies between
 *   mstress  rounds of short threads with blocks of very mixed sizes, many kept, some swapped with other threads
 * Each block begins with its size and ends with its lowest byte; both are checked when it is freed.
 */
#include "bench.h"
#include <pthread.h>
#include <semaphore.h>

#define GENERATIONS 20
#define SLOTS 1000
#define BATCH 64
#define RING 32
#define SHARED 512

static unsigned long nthreads, iter;
static sem_t done;

static void *get(size_t size)
{
    char *p = bench_need(malloc(size));
    memcpy(p, &size, sizeof size);
    p[size - 1] = (char)(size & 127);
    return p;
}

static void put(void *p)
{
    size_t size;
    if (!p)
        return;
    memcpy(&size, p, sizeof size);
    if (((char *)p)[size - 1] != (char)(size & 127))
        bench_die("a block was overwritten");
    free(p);
}

static void start(pthread_t *t, void *(*run)(void *), void *arg)
{
    if (pthread_create(t, NULL, run, arg) != 0)
        bench_die("cannot start a thread");
}

struct line { uint64_t rnd; int generation; void *slot[SLOTS]; };

static void *larson(void *arg)
{
    struct line *l = arg;
    uint64_t rnd = l->rnd;                  /* a local: lines must not share a cache line through it */
    for (unsigned long i = 0; i < iter / GENERATIONS; i++) {
        void **s = &l->slot[bench_between(&rnd, 0, SLOTS - 1)];
        put(*s);
        *s = get(bench_between(&rnd, 16, 512));
    }
    l->rnd = rnd;
    if (++l->generation < GENERATIONS) {
        pthread_t next;
        start(&next, larson, l);
        pthread_detach(next);
    } else
        sem_post(&done);
    return NULL;
}

static void run_larson(void)
{
    struct line *l = bench_map(nthreads * sizeof *l);
    pthread_t t;
    for (unsigned long i = 0; i < nthreads; i++) {
        l[i].rnd = i;
        start(&t, larson, &l[i]);
        pthread_detach(t);
    }
    for (unsigned long i = 0; i < nthreads; i++)
        while (sem_wait(&done) != 0)
            ;
    for (unsigned long i = 0; i < nthreads; i++)
        for (int j = 0; j < SLOTS; j++)
            put(l[i].slot[j]);
}

struct batch { void *p[BATCH]; };
static struct { pthread_mutex_t lock; pthread_cond_t room, work; unsigned head, tail; struct batch *b[RING]; } ring = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, {NULL}};

static void ring_put(struct batch *b)
{
    pthread_mutex_lock(&ring.lock);
    while (ring.head - ring.tail == RING)
        pthread_cond_wait(&ring.room, &ring.lock);
    ring.b[ring.head++ % RING] = b;
    pthread_cond_signal(&ring.work);
    pthread_mutex_unlock(&ring.lock);
}

static struct batch *ring_get(void)
{
    pthread_mutex_lock(&ring.lock);
    while (ring.head == ring.tail)
        pthread_cond_wait(&ring.work, &ring.lock);
    struct batch *b = ring.b[ring.tail++ % RING];
    pthread_cond_signal(&ring.room);
    pthread_mutex_unlock(&ring.lock);
    return b;
}

static void *producer(void *arg)
{
    uint64_t rnd = (uintptr_t)arg;
    for (unsigned long i = 0; i < iter / BATCH; i++) {
        struct batch *b = bench_need(malloc(sizeof *b));
        for (int j = 0; j < BATCH; j++)
            b->p[j] = get(bench_between(&rnd, 16, 256));
        ring_put(b);
    }
    return NULL;
}

static void *consumer(void *unused)
{
    (void)unused;
    for (struct batch *b; (b = ring_get()) != NULL; free(b))       /* NULL is the end of the day */
        for (int j = 0; j < BATCH; j++)
            put(b->p[j]);
    return NULL;
}

static void run_xmalloc(void)
{
    unsigned long pairs = (nthreads + 1) / 2;
    pthread_t *t = bench_map(2 * pairs * sizeof *t);
    for (unsigned long i = 0; i < pairs; i++) {
        start(&t[i], producer, (void *)(uintptr_t)(i + 1));
        start(&t[pairs + i], consumer, NULL);
    }
    for (unsigned long i = 0; i < pairs; i++)
        pthread_join(t[i], NULL);
    for (unsigned long i = 0; i < pairs; i++)
        ring_put(NULL);
    for (unsigned long i = 0; i < pairs; i++)
        pthread_join(t[pairs + i], NULL);
}

static void *shared[SHARED];

static size_t stress_size(uint64_t *rnd)
{
    uint32_t r = bench_random(rnd) % 1000;
    return r < 900 ? bench_between(rnd, 16, 512) : r < 990 ? bench_between(rnd, 512, 16384)
         : r < 999 ? bench_between(rnd, 16384, 262144) : bench_between(rnd, 262144, 4194304);
}

static void *mstress(void *arg)
{
    uint64_t rnd = (uintptr_t)arg;
    void *keep[SLOTS / 4] = {NULL};
    for (unsigned long i = 0; i < iter / GENERATIONS; i++) {
        void *p = get(stress_size(&rnd));
        uint32_t r = bench_random(&rnd) % 10;
        if (r < 4) {                        /* dies at once */
        } else if (r < 8) {                 /* kept for a while */
            void **s = &keep[bench_between(&rnd, 0, SLOTS / 4 - 1)], *old = *s;
            *s = p;
            p = old;
        } else                              /* goes to another thread */
            p = __atomic_exchange_n(&shared[bench_between(&rnd, 0, SHARED - 1)], p, __ATOMIC_ACQ_REL);
        put(p);
    }
    for (int i = 0; i < SLOTS / 4; i++)
        put(keep[i]);
    return NULL;
}

static void run_mstress(void)
{
    pthread_t *t = bench_map(nthreads * sizeof *t);
    for (int round = 0; round < GENERATIONS; round++) {
        for (unsigned long i = 0; i < nthreads; i++)
            start(&t[i], mstress, (void *)(uintptr_t)((unsigned long)round * nthreads + i));
        for (unsigned long i = 0; i < nthreads; i++)
            pthread_join(t[i], NULL);
    }
    for (int i = 0; i < SHARED; i++)
        put(shared[i]);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(void); } modes[] = {
        {"larson", run_larson}, {"xmalloc", run_xmalloc}, {"mstress", run_mstress}};
    bench_prove();
    nthreads = bench_arg(argc, argv, 2, 2);
    iter = bench_arg(argc, argv, 3, 2000000);
    sem_init(&done, 0, 0);
    for (size_t i = 0; argc > 1 && nthreads && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(argv[1], modes[i].name) == 0) {
            unsigned long workers = i == 1 ? (nthreads + 1) / 2 : nthreads, unit = i == 1 ? BATCH : GENERATIONS;
            if (iter < unit)
                bench_die("ITER is too small");
            char name[64];
            snprintf(name, sizeof name, "threads %s %lu", modes[i].name, nthreads);
            struct bench_time t = bench_start();
            modes[i].run();
            bench_report(name, (uint64_t)workers * (iter / unit * unit), t);
            return 0;
        }
    bench_die("usage: threads larson|xmalloc|mstress [NTHREADS [ITER]]");
}
