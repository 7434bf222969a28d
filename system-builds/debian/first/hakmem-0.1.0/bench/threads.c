/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * threads MODE NTHREADS ITER [PROFILE]: what threads do to an allocator. One op is a malloc and its free.
 *   larson   every line of work replaces random blocks of its slots; after a while its thread starts a successor, which
 *            inherits the blocks, and dies: a server whose threads come and go. PROFILE: sizes, as in profiles[]
 *   xmalloc  half of the threads allocate batches, the other half free them; a bounded ring lies between
 *   mstress  rounds of short threads with blocks of very mixed sizes, many kept, some swapped with other threads
 * Each block begins with its size and ends with its lowest byte; both are checked when it is freed.
 */
#include "work.h"
#include <semaphore.h>

#define GENERATIONS 20
#define SLOTS 1000
#define BATCH 64
#define RING 32
#define SHARED 512

/* Of larson: sizes from..to, but one in 16 up to `rarely` where that is given. */
static const struct profile { const char *name; size_t from, to, rarely; } profiles[] = {
    {"small", 16, 512, 0}, {"tiny", 16, 128, 0}, {"mixed", 16, 1024, 16384}};

static unsigned long nthreads, iter;
static const struct profile *profile = profiles;
static sem_t done;

struct line { uint64_t rnd; int generation; void *slot[SLOTS]; };

static void *larson(void *arg)
{
    struct line *l = arg;
    uint64_t rnd = l->rnd;                  /* a local: lines must not share a cache line through it */
    struct profile f = *profile;
    for (unsigned long i = 0; i < iter / GENERATIONS; i++) {
        void **s = &l->slot[bench_between(&rnd, 0, SLOTS - 1)];
        work_put(*s);
        *s = work_get(bench_between(&rnd, f.from, f.rarely && bench_random(&rnd) % 16 == 0 ? f.rarely : f.to));
    }
    l->rnd = rnd;
    if (++l->generation < GENERATIONS) {
        pthread_t next;
        work_start(&next, larson, l);
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
        work_start(&t, larson, &l[i]);
        pthread_detach(t);
    }
    for (unsigned long i = 0; i < nthreads; i++)
        while (sem_wait(&done) != 0)
            ;
    for (unsigned long i = 0; i < nthreads; i++)
        for (int j = 0; j < SLOTS; j++)
            work_put(l[i].slot[j]);
}

struct batch { void *p[BATCH]; };
static struct { pthread_mutex_t lock; pthread_cond_t room, work; unsigned head, tail; struct batch *b[RING]; } ring = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, {NULL}};

/* Who had to wait goes on only when the ring is half empty, or half full: else two threads of unequal speed would put each
 * other to sleep and wake each other at every batch, and the kernel would be measured. */
static void ring_put(struct batch *b)
{
    pthread_mutex_lock(&ring.lock);
    while (ring.head - ring.tail == RING)
        pthread_cond_wait(&ring.room, &ring.lock);
    ring.b[ring.head++ % RING] = b;
    if (!b || ring.head - ring.tail == RING / 2)
        pthread_cond_broadcast(&ring.work);
    pthread_mutex_unlock(&ring.lock);
}

static struct batch *ring_get(void)
{
    pthread_mutex_lock(&ring.lock);
    while (ring.head == ring.tail)
        pthread_cond_wait(&ring.work, &ring.lock);
    struct batch *b = ring.b[ring.tail++ % RING];
    if (ring.head - ring.tail == RING / 2)
        pthread_cond_broadcast(&ring.room);
    pthread_mutex_unlock(&ring.lock);
    return b;
}

static void *producer(void *arg)
{
    uint64_t rnd = (uintptr_t)arg;
    for (unsigned long i = 0; i < iter / BATCH; i++) {
        struct batch *b = bench_need(malloc(sizeof *b));
        for (int j = 0; j < BATCH; j++)
            b->p[j] = work_get(bench_between(&rnd, 16, 256));
        ring_put(b);
    }
    return NULL;
}

static void *consumer(void *unused)
{
    (void)unused;
    for (struct batch *b; (b = ring_get()) != NULL; free(b))       /* NULL is the end of the day */
        for (int j = 0; j < BATCH; j++)
            work_put(b->p[j]);
    return NULL;
}

static void run_xmalloc(void)
{
    unsigned long pairs = (nthreads + 1) / 2;
    pthread_t *t = bench_map(2 * pairs * sizeof *t);
    for (unsigned long i = 0; i < pairs; i++) {
        work_start(&t[i], producer, (void *)(uintptr_t)(i + 1));
        work_start(&t[pairs + i], consumer, NULL);
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
        void *p = work_get(stress_size(&rnd));
        uint32_t r = bench_random(&rnd) % 10;
        if (r < 4) {                        /* dies at once */
        } else if (r < 8) {                 /* kept for a while */
            void **s = &keep[bench_between(&rnd, 0, SLOTS / 4 - 1)], *old = *s;
            *s = p;
            p = old;
        } else                              /* goes to another thread */
            p = __atomic_exchange_n(&shared[bench_between(&rnd, 0, SHARED - 1)], p, __ATOMIC_ACQ_REL);
        work_put(p);
    }
    for (int i = 0; i < SLOTS / 4; i++)
        work_put(keep[i]);
    return NULL;
}

static void run_mstress(void)
{
    pthread_t *t = bench_map(nthreads * sizeof *t);
    for (int round = 0; round < GENERATIONS; round++) {
        for (unsigned long i = 0; i < nthreads; i++)
            work_start(&t[i], mstress, (void *)(uintptr_t)((unsigned long)round * nthreads + i));
        for (unsigned long i = 0; i < nthreads; i++)
            pthread_join(t[i], NULL);
    }
    for (int i = 0; i < SHARED; i++)
        work_put(shared[i]);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(void); } modes[] = {
        {"larson", run_larson}, {"xmalloc", run_xmalloc}, {"mstress", run_mstress}};
    bench_prove();
    nthreads = bench_arg(argc, argv, 2, 2);
    iter = bench_arg(argc, argv, 3, 2000000);
    sem_init(&done, 0, 0);
    if (argc > 4) {
        profile = NULL;
        for (size_t i = 0; i < sizeof profiles / sizeof *profiles; i++)
            if (strcmp(argv[4], profiles[i].name) == 0)
                profile = &profiles[i];
        if (!profile)
            bench_die("PROFILE is one of small, tiny, mixed");
    }
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
    bench_die("usage: threads larson|xmalloc|mstress [NTHREADS [ITER [small|tiny|mixed]]]");
}
