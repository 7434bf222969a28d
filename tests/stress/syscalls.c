/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * syscalls.c: HAKMEM lives behind a seccomp filter that kills for every system call but those of hakmem(7), "System calls":
 * from the first block on, in one thread, in several that end and begin, and in the child of a fork; and it can report
 * there.  Runs itself, so that each part is a process whose main begins with the filter.
 */
#define _GNU_SOURCE
#include "../api/tap.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* What hakmem(7) lists; the first of it by who wants more address space. */
static const int mapping[] = {
#ifdef SYS_mmap
    SYS_mmap,
#endif
#ifdef SYS_mmap2
    SYS_mmap2,
#endif
    SYS_munmap, SYS_mprotect, SYS_mremap,
};
static const int always[] = {
    SYS_madvise,
#ifdef SYS_futex
    SYS_futex,
#endif
#ifdef SYS_futex_time64
    SYS_futex_time64,
#endif
#ifdef SYS_clock_gettime
    SYS_clock_gettime,
#endif
#ifdef SYS_clock_gettime64
    SYS_clock_gettime64,
#endif
    /* To end at all, which is not HAKMEM's doing. */
    SYS_exit_group,
};
/* A thread's end, by pthread_exit. */
static const int ending[] = { SYS_exit, SYS_rt_sigprocmask };
/* Not even more address space. */
static const int nothing[1];
/* A message, and abort. */
static const int aborting[] = { SYS_write, SYS_rt_sigprocmask, SYS_getpid, SYS_gettid, SYS_tgkill };
/* Statistics at the end. */
static const int reporting[] = { SYS_write, SYS_getpid, SYS_statx };

/* Under SECCOMP_RET_TRAP: names the call that must not be. */
static void trapped(int number, siginfo_t *info, void *context)
{
    char text[] = "# system call 000\n";
    int n = info->si_syscall;
    (void)number, (void)context;
    for (char *d = text + 16; d > text + 13; d--, n /= 10)
        *d = (char)('0' + n % 10);
    ssize_t written = write(1, text, sizeof text - 1);
    _exit(written == sizeof text - 1 ? 60 : 61);
}

static struct sock_filter filter[64];
static unsigned short filter_length;
static void add(unsigned short code, unsigned char jt, unsigned char jf, unsigned int k)
{
    filter[filter_length++] = (struct sock_filter){ code, jt, jf, k };
}
static void allow(const int *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (unsigned)numbers[i]);
        add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    }
}
/* From here on, in all threads.  No allocation. */
static void confine(const int *more, size_t count, bool trap)
{
    static struct sigaction action = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO };
    static const int to_write[] = { SYS_write };
    add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
    allow(always, COUNT_OF(always));
    if (more != nothing)
        allow(mapping, COUNT_OF(mapping));
    allow(more, count);
    if (trap) {
        allow(to_write, 1);
        sigaction(SIGSYS, &action, NULL);
    }
    add(BPF_RET | BPF_K, 0, 0, trap ? SECCOMP_RET_TRAP : SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = { filter_length, filter };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program))
        _exit(77);
}

/* ---- the work ----------------------------------------------------------------------------------------------------- */

enum { SLOTS = 700 };
struct shared {
    _Atomic(unsigned char *) at[64]; /* blocks on their way to other threads */
};
static struct shared shared;

static bool check(const unsigned char *p, size_t size, size_t slot)
{
    return p[0] == (unsigned char)slot && p[size - 1] == (unsigned char)slot;
}

static bool work(uint64_t seed, unsigned rounds)
{
    unsigned char *blocks[SLOTS] = { 0 };
    size_t sizes[SLOTS] = { 0 };
    for (unsigned i = 0; i < rounds; i++) {
        size_t slot = random_below(&seed, SLOTS), scale = random_below(&seed, 1000), n;
        n = scale < 900 ? random_below(&seed, 1100) : scale < 990 ? random_below(&seed, 40000)
            : scale < 999 ? random_below(&seed, 2 * MIB) : random_below(&seed, 50 * MIB);
        n += 1;
        if (blocks[slot] && !check(blocks[slot], sizes[slot], slot))
            return false;
        switch (random_below(&seed, 8)) {
        case 0:
            free(blocks[slot]);
            blocks[slot] = calloc(1, n);
            break;
        case 1:
            free(blocks[slot]);
            blocks[slot] = aligned_alloc((size_t)16 << random_below(&seed, 10), n);
            break;
        case 2: /* somebody else frees it */
            free(atomic_exchange(&shared.at[slot % COUNT_OF(shared.at)], blocks[slot]));
            blocks[slot] = malloc(n);
            break;
        case 3:
            free(blocks[slot]);
            blocks[slot] = malloc(n);
            break;
        default: {
            unsigned char *p = realloc(blocks[slot], n);
            if (blocks[slot] && p && p[0] != (unsigned char)slot)
                return false;
            blocks[slot] = p;
        }
        }
        if (!blocks[slot] || malloc_usable_size(blocks[slot]) < n)
            return false;
        sizes[slot] = n;
        blocks[slot][0] = blocks[slot][n - 1] = (unsigned char)slot;
        if (i % 5000 == 4999)
            malloc_trim(0);
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(blocks[i]);
    /* What cannot be met; and big blocks that grow and shrink. */
    const bool wide = sizeof(size_t) == 8;
    if (malloc(hide_size(wide ? PTRDIFF_MAX - 100000 : SIZE_MAX)))
        return false;
    unsigned char *p = malloc(40 * MIB);
    for (size_t n = 40 * MIB; p && n < (wide ? 600 * MIB : 80 * MIB); n += n / 2) {
        p[n - 1] = 1;
        p = realloc(p, n + n / 2);
    }
    p = p ? realloc(p, 35 * MIB) : p;
    free(p);
    struct mallinfo2 m = mallinfo2();
    return p && m.arena;
}

static _Atomic(unsigned) turn;  /* threads of a generation start when it comes */
static _Atomic(unsigned) ready; /* threads that have made the system calls of a thread's start */
static void wait_for(_Atomic(unsigned) *word, unsigned wanted)
{
    unsigned now;
    while ((now = atomic_load(word)) < wanted)
        syscall(SYS_futex, word, 0 /* FUTEX_WAIT */, now, NULL, NULL, 0);
}
static void advance(_Atomic(unsigned) *word, unsigned by)
{
    atomic_fetch_add(word, by);
    syscall(SYS_futex, word, 1 /* FUTEX_WAKE */, __INT_MAX__, NULL, NULL, 0);
}
static void *thread(void *arg)
{
    uintptr_t number = (uintptr_t)arg;
    advance(&ready, 1);
    wait_for(&turn, (unsigned)(number / 4));
    return work(number + 1, 20000) ? arg : NULL;
}

/* ---- the parts: each is all of a process, whose main does nothing else ------------------------------------------------ */

static void part_one(bool trap)
{
    confine(NULL, 0, trap);
    _exit(work(1, 100000) ? 0 : 1);
}
/* It has had what it needs.  For as long as it takes until something is learned, and some epochs. */
static void swing(unsigned char **blocks, size_t count, unsigned ms)
{
    struct timespec begun, now;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    do {
        for (size_t i = 0; i < count; i++)
            *(blocks[i] = malloc(1000)) = 1;
        for (size_t i = 0; i < count; i++)
            free(blocks[i]);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 < ms);
}
static void part_enough(bool trap)
{
    static unsigned char *blocks[30000];
    swing(blocks, COUNT_OF(blocks), 100);
    confine(nothing, 0, trap);
    swing(blocks, COUNT_OF(blocks) / 3, 1800);
    _exit(0);
}
/* The filter comes when the threads are there, which has taken blocks of this one; theirs come after it.  Four end before
 * the next four ask for their first block, and adopt their heaps. */
static void part_threads(bool trap)
{
    pthread_t threads[12];
    for (uintptr_t i = 0; i < COUNT_OF(threads); i++)
        if (pthread_create(&threads[i], NULL, thread, (void *)(i + 4)))
            _exit(2);
    wait_for(&ready, COUNT_OF(threads));
    confine(ending, COUNT_OF(ending), trap);
    for (unsigned i = 0; i < COUNT_OF(threads); i++) {
        void *result = NULL;
        if (i % 4 == 0)
            advance(&turn, 1);
        if (pthread_join(threads[i], &result) || result != (void *)(uintptr_t)(i + 4))
            _exit(3);
    }
    struct hak_stats s;
    if (hak_stats_get(&s, sizeof s) || s.heaps > 8) /* twelve, had none been adopted */
        _exit(5);
    _exit(work(1, 20000) ? 0 : 1);
}
/* A child takes over what other threads of its parent left behind. */
static void *allocate_forever(void *arg)
{
    for (uint64_t seed = (uintptr_t)arg; work(seed, 500); seed++)
        ;
    abort();
}
static void part_child(bool trap)
{
    pthread_t threads[4];
    for (uintptr_t i = 0; i < COUNT_OF(threads); i++)
        if (pthread_create(&threads[i], NULL, allocate_forever, (void *)(i + 1)))
            _exit(2);
    for (int i = 0; i < 20; i++) {
        int status = -1;
        if (!work(100 + (unsigned)i, 500))
            _exit(1);
        pid_t pid = fork();
        if (pid == 0) {
            memset(&shared, 0, sizeof shared); /* who was about to free what, nobody knows */
            confine(NULL, 0, trap);
            _exit(work(200 + (unsigned)i, 5000) ? 0 : 1);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            _exit(3);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) { /* to be seen as this process's */
            signal(SIGSYS, SIG_DFL);
            raise(SIGSYS);
        }
        if (status)
            _exit(4);
    }
    _exit(0);
}
static void part_report(bool trap)
{
    confine(aborting, COUNT_OF(aborting), trap);
    char *p = malloc(100);
    free(hide(p + 16)); /* ends it */
    _exit(4);
}
static void part_statistics(bool trap)
{
    confine(reporting, COUNT_OF(reporting), trap);
    if (!work(1, 1000))
        _exit(1);
    exit(0);
}

static const struct part {
    const char *name, *what;
    void (*run)(bool trap);
    int signal;
    const char *words; /* on standard error */
    bool huge; /* with huge pages, for which the kernel is asked at the start */
} parts[] = {
    { "one", "all of HAKMEM in one thread", part_one, 0, NULL, false },
    { "one", "the same in huge pages", part_one, 0, NULL, true },
    { "enough", "after it has had its memory, without mmap", part_enough, 0, NULL, false },
    { "threads", "threads that begin and end", part_threads, 0, NULL, false },
    { "threads", "the same in huge pages", part_threads, 0, NULL, true },
    { "child", "the child of a fork beside other threads", part_child, 0, NULL, false },
    { "report", "a report and abort", part_report, SIGABRT, "hakmem: free(): interior pointer: 0x", false },
    { "statistics", "HAKMEM_STATS at the end", part_statistics, 0, "hakmem: statistics of process ", false },
};

static char own[4096];
static char said[16384]; /* standard error of the part */

static int run(const struct part *part, bool trap)
{
    int ends[2], status = -1;
    if (pipe(ends))
        return -1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        static const struct rlimit no_core = { 0, 0 };
        setrlimit(RLIMIT_CORE, &no_core);
        alarm(120);
        dup2(ends[1], 2);
        close(ends[0]), close(ends[1]);
        if (part->run == part_statistics)
            setenv("HAKMEM_STATS", "1", 1);
        if (part->huge)
            setenv("HAKMEM_HUGEPAGES", "hugetlb", 1); /* the pool, and then transparent ones */
        execl(own, own, part->name, trap ? "trap" : (char *)NULL, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    hear(ends[0], said, sizeof said);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return status;
}

int main(int argc, char **argv)
{
    if (SANITIZED || getenv("TEST_EMULATOR")) {
        puts("1..0 # SKIP sanitizers and emulators make system calls of their own");
        return 0;
    }
    for (size_t i = 0; argc > 1 && i < COUNT_OF(parts); i++)
        if (!strcmp(argv[1], parts[i].name))
            parts[i].run(argc > 2);
    tap_start();
    if (readlink("/proc/self/exe", own, sizeof own - 1) < 0) {
        puts("1..0 # SKIP no /proc");
        return 0;
    }
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        const struct part *part = &parts[i];
        int status = run(part, false);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
            skip(part->what, "the kernel has no seccomp filters, or does not let us");
            continue;
        }
        bool good = part->signal ? WIFSIGNALED(status) && WTERMSIG(status) == part->signal : status == 0;
        good = good && (part->words ? strncmp(said, part->words, strlen(part->words)) == 0 : !*said);
        if (!ok(good, "%s: no other system call", part->what)) {
            note("%s %d, standard error: %s", WIFSIGNALED(status) ? "signal" : "exit status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), said);
            if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
                run(part, true); /* says which it was */
        }
    }
    return tap_done();
}
