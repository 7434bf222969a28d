/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * transfers.c: counts which cache lines of the library move between threads.  Part of the library that transfers.py builds,
 * and of no other.
 *
 * That library is compiled with -fsanitize=thread, and instead of the sanitizer it has the functions below: the compiler calls
 * one for every load, store and atomic operation of the library.  Each line has a set of threads that have a copy, as caches
 * keep them: a store leaves the storing thread alone there, a load adds its thread.  Whoever is not in the set takes a
 * transfer.  Threads are taken for processors (CORES of them, in turn), each with a cache that never forgets anything.
 *
 * Counted for each place of the code and each 64 bytes of the library's own data, or kind of structure: loads, stores,
 * read-modify-writes, and of them those that took a transfer.  TRANSFERS names the file that they are written to at exit;
 * with YIELD=n a thread gives up its processor after n read-modify-writes, so that more threads than processors alternate.
 */
#include "heap.h"
#include "os.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LINES = 1 << 20, PLACES = 1 << 14, MOST_CORES = 64 };
enum kind { LOAD, STORE, RMW, KINDS };

static struct line { uint64_t line, copies; } *lines; /* a table without chains: what falls on one place begins afresh */
static struct place { uint64_t pc, what, n[KINDS], moved[KINDS]; } *places;
static unsigned cores = MOST_CORES, yield, threads;
static __thread unsigned me __attribute__((tls_model("initial-exec"))); /* number + 1 */
static __thread unsigned rmws __attribute__((tls_model("initial-exec")));
static __thread bool inside __attribute__((tls_model("initial-exec"))); /* a list of the library is being read here */
static int counting;

extern char __ehdr_start[] HKM_HIDDEN, hkm_meta_first[] HKM_HIDDEN; /* its static data end where those begin */

/* What lies there: an address in the library itself as its distance from the start of the file, else a number of these. */
enum { RECORDS = 1, TAGS, FAR, BINS, HEAP, INBOX, REMOTE_BUFFER, WORDS };
static uint64_t what_is(uintptr_t a)
{
    const struct hkm_range *r = &hkm_range;
    if (a >= (uintptr_t)__ehdr_start && a < (uintptr_t)hkm_meta_first)
        return (a - (uintptr_t)__ehdr_start) & ~(uint64_t)63;
    if (r->limit && a >= (uintptr_t)r->slabs - (r->limit << HKM_SLAB_SHIFT) && a < (uintptr_t)r->slabs)
        return RECORDS;
    if (r->limit && a >= (uintptr_t)r->tags && a < (uintptr_t)(r->tags + r->limit))
        return TAGS;
    if (r->limit && a >= (uintptr_t)r->far && a < r->base)
        return FAR;
    for (const struct hkm_heap *h = hkm_heap_first(); h; h = h->next) {
        size_t at = a - (uintptr_t)h;
        if (at >= HKM_HEAP_SIZE + sizeof(struct hkm_remote))
            continue;
        return at >= HKM_HEAP_SIZE ? REMOTE_BUFFER : at >= sizeof *h ? BINS
             : at / 64 == offsetof(struct hkm_heap, inbox) / 64 ? INBOX : HEAP;
    }
    return WORDS;
}

static void *table(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return p;
}

static void note(const void *p, enum kind kind, const void *pc)
{
    if (!__atomic_load_n(&counting, __ATOMIC_ACQUIRE) || inside)
        return;
    if (!me)
        me = __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED) % cores + 1;
    uint64_t mine = (uint64_t)1 << (me - 1), a = (uintptr_t)p >> 6;
    struct line *l = &lines[a * 0x9e3779b97f4a7c15u >> 44];
    uint64_t copies = __atomic_load_n(&l->copies, __ATOMIC_RELAXED);
    if (l->line != a) {
        l->line = a;
        copies = 0;
    }
    bool moved = copies && (kind == LOAD ? !(copies & mine) : copies != mine);
    if (kind != LOAD || !(copies & mine))
        __atomic_store_n(&l->copies, kind == LOAD ? copies | mine : mine, __ATOMIC_RELAXED);
    inside = true;
    uint64_t what = what_is((uintptr_t)p), at = (uintptr_t)pc - (uintptr_t)__ehdr_start;
    inside = false;
    for (size_t i = (at * 31 ^ what) * 0x9e3779b97f4a7c15u >> 50;; i = (i + 1) % PLACES) {
        struct place *e = &places[i];
        uint64_t key = __atomic_load_n(&e->pc, __ATOMIC_ACQUIRE);
        if (!key && __atomic_compare_exchange_n(&e->pc, &key, at << 20 | what, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            key = at << 20 | what;
        if (key != (at << 20 | what))
            continue;
        __atomic_fetch_add(&e->n[kind], 1, __ATOMIC_RELAXED);
        if (moved)
            __atomic_fetch_add(&e->moved[kind], 1, __ATOMIC_RELAXED);
        break;
    }
    if (kind == RMW && yield && ++rmws % yield == 0)
        sched_yield();
}

static __attribute__((destructor)) void report(void)
{
    const char *name = getenv("TRANSFERS");
    if (!__atomic_exchange_n(&counting, 0, __ATOMIC_ACQ_REL) || !name)
        return;
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    for (size_t i = 0; fd >= 0 && i < PLACES; i++) {
        struct place *e = &places[i];
        if (e->pc)
            dprintf(fd, "%llx %llx %llu %llu %llu %llu %llu %llu\n", (unsigned long long)(e->pc >> 20),
                    (unsigned long long)(e->pc & 0xfffff), (unsigned long long)e->n[LOAD], (unsigned long long)e->n[STORE],
                    (unsigned long long)e->n[RMW], (unsigned long long)e->moved[LOAD],
                    (unsigned long long)e->moved[STORE], (unsigned long long)e->moved[RMW]);
    }
    if (fd < 0 || close(fd) != 0)
        abort();
}

static __attribute__((constructor)) void begin(void)
{
    const char *text = getenv("CORES");
    if (text && atoi(text) > 0 && atoi(text) <= MOST_CORES)
        cores = (unsigned)atoi(text);
    if ((text = getenv("YIELD")) != NULL)
        yield = (unsigned)atoi(text);
    if (!getenv("TRANSFERS"))
        return;
    lines = table(LINES * sizeof *lines);
    places = table(PLACES * sizeof *places);
    __atomic_store_n(&counting, 1, __ATOMIC_RELEASE);
}

#define PLAIN(bytes) \
    void __tsan_read##bytes(void *p) { note(p, LOAD, __builtin_return_address(0)); } \
    void __tsan_write##bytes(void *p) { note(p, STORE, __builtin_return_address(0)); } \
    void __tsan_unaligned_read##bytes(void *p) { note(p, LOAD, __builtin_return_address(0)); } \
    void __tsan_unaligned_write##bytes(void *p) { note(p, STORE, __builtin_return_address(0)); }
PLAIN(1) PLAIN(2) PLAIN(4) PLAIN(8) PLAIN(16)
void __tsan_read_range(void *p, unsigned long n);
void __tsan_read_range(void *p, unsigned long n) { (void)n; note(p, LOAD, __builtin_return_address(0)); }
void __tsan_write_range(void *p, unsigned long n);
void __tsan_write_range(void *p, unsigned long n) { (void)n; note(p, STORE, __builtin_return_address(0)); }
void __tsan_func_entry(void *pc) { (void)pc; }
void __tsan_func_exit(void) {}
void __tsan_init(void) {}
void __tsan_atomic_thread_fence(int order) { (void)order; }
void __tsan_atomic_signal_fence(int order) { (void)order; }

#define ATOMIC(bits) \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p, int order) \
    { (void)order; note((const void *)p, LOAD, __builtin_return_address(0)); return __atomic_load_n(p, __ATOMIC_SEQ_CST); } \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v, int order) \
    { (void)order; note((const void *)p, STORE, __builtin_return_address(0)); __atomic_store_n(p, v, __ATOMIC_RELEASE); } \
    uint##bits##_t __tsan_atomic##bits##_exchange(volatile uint##bits##_t *p, uint##bits##_t v, int order) \
    { (void)order; note((const void *)p, RMW, __builtin_return_address(0)); return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); } \
    uint##bits##_t __tsan_atomic##bits##_fetch_add(volatile uint##bits##_t *p, uint##bits##_t v, int order) \
    { (void)order; note((const void *)p, RMW, __builtin_return_address(0)); return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); } \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile uint##bits##_t *p, uint##bits##_t *old, uint##bits##_t v, \
                                                      int order, int fail) \
    { (void)order; (void)fail; note((const void *)p, RMW, __builtin_return_address(0)); \
      return __atomic_compare_exchange_n(p, old, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); } \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(volatile uint##bits##_t *p, uint##bits##_t old, uint##bits##_t v, \
                                                              int order, int fail) \
    { (void)order; (void)fail; note((const void *)p, RMW, __builtin_return_address(0)); \
      __atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); return old; }
ATOMIC(8) ATOMIC(16) ATOMIC(32) ATOMIC(64)
