/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_os.c: system calls that leave errno alone, messages of one line, and the helpers of base.h.
 */
#include "unit.h"

#include <sys/prctl.h>
#include <sys/stat.h>

START_TEST(bits_and_rounding)
{
    ck_assert_uint_eq(hkm_round_up(0, 16), 0);
    ck_assert_uint_eq(hkm_round_up(1, 16), 16);
    ck_assert_uint_eq(hkm_round_up(16, 16), 16);
    ck_assert_uint_eq(hkm_round_up(17, 16), 32);
    ck_assert(!hkm_is_pow2(0) && hkm_is_pow2(1) && !hkm_is_pow2(3) && hkm_is_pow2(SIZE_MAX / 2 + 1));
    for (unsigned i = 0; i < 8 * sizeof(size_t); i++) {
        size_t bit = (size_t)1 << i;
        ck_assert_uint_eq(hkm_low_bit(bit), i);
        ck_assert_uint_eq(hkm_high_bit(bit), i);
        ck_assert_uint_eq(hkm_low_bit(~(bit - 1)), i);
        ck_assert_uint_eq(hkm_high_bit(bit | (bit - 1)), i);
        ck_assert_uint_eq(hkm_popcount(bit - 1), i);
    }
}
END_TEST

START_TEST(init_reads_the_page_size)
{
    hkm_os_init();
    ck_assert_uint_eq(hkm_os.page, (size_t)sysconf(_SC_PAGESIZE));
    ck_assert_uint_eq((size_t)1 << hkm_os.page_bits, hkm_os.page);
    struct hkm_os before = hkm_os;
    hkm_os_init();
    ck_assert_uint_eq(hkm_os.page, before.page);
    ck_assert_uint_eq(hkm_os.page_bits, before.page_bits);
}
END_TEST

START_TEST(map_gives_zeroed_memory)
{
    hkm_os_init();
    size_t size = 5 * hkm_os.page;
    errno = 77;
    char *p = hkm_os_map(size);
    ck_assert_ptr_nonnull(p);
    ck_assert(all_zero(p, size));
    memset(p, 1, size);
    hkm_os_unmap(p, size);
    ck_assert_int_eq(errno, 77);
    ck_assert(!unit_readable(p));
    ck_assert_ptr_null(hkm_os_map(NOT_TO_BE_HAD & ~(hkm_os.page - 1)));
    errno = 77;
    ck_assert_ptr_null(hkm_os_map_none(SIZE_MAX & ~(hkm_os.page - 1)));
    ck_assert_int_eq(errno, 77);
}
END_TEST

START_TEST(map_none_and_allow)
{
    hkm_os_init();
    size_t page = hkm_os.page;
    char *p = hkm_os_map_none(3 * page);
    ck_assert_ptr_nonnull(p);
    ck_assert(!unit_readable(p) && !unit_readable(p + 2 * page));
    ck_assert(hkm_os_allow(p + page, page));
    ck_assert(!unit_readable(p + page - 1) && unit_readable(p + page) && !unit_readable(p + 2 * page));
    p[page] = 1;
    ck_assert(hkm_os_forbid(p + page, page) && !unit_readable(p + page));
    hkm_os_unmap(p, 3 * page);
    errno = 77;
    ck_assert(!hkm_os_allow(p, page) || EMULATED); /* for 32 bits, an emulator reserves the whole address space */
    ck_assert_int_eq(errno, 77);
}
END_TEST

START_TEST(map_at_takes_nothing_from_others)
{
    hkm_os_init();
    size_t page = hkm_os.page;
    char *p = hkm_os_map(3 * page);
    memset(p, 7, 3 * page);
    errno = 77;
    ck_assert_int_eq(hkm_os_map_at(p + page, page), HKM_TAKEN);
    hkm_os_unmap(p + 2 * page, page);
    ck_assert_int_eq(hkm_os_map_at(p + page, 2 * page), HKM_TAKEN); /* half of it is taken */
    ck_assert_int_eq(errno, 77);
    ck_assert(!unit_readable(p + 2 * page));
    ck_assert(all_bytes(p, 2 * page, 7));
    errno = 77;
    ck_assert_int_eq(hkm_os_map_at(p + 2 * page, page), HKM_MAPPED);
    ck_assert_int_eq(errno, 77);
    ck_assert(all_zero(p + 2 * page, page));
}
END_TEST

static void map_beyond_the_limit(void *arg)
{
    (void)arg;
    char *hole = hkm_os_map_none(64 * MIB);
    hkm_os_unmap(hole, 64 * MIB);
    unit_limit(16 * MIB);
    errno = 77;
    CHILD(hkm_os_map_at(hole, 64 * MIB) == HKM_NO_MEMORY);
    CHILD(hkm_os_map(64 * MIB) == NULL);
    CHILD(hkm_os_map_none(64 * MIB) == NULL);
    CHILD(errno == 77);
    CHILD(hkm_os_map_at(hole, MIB) == HKM_MAPPED);
}

START_TEST(map_says_when_memory_is_out)
{
    hkm_os_init();
    if (LIMITS_HOLD)
        unit_passes(map_beyond_the_limit, NULL);
}
END_TEST

START_TEST(purge_leaves_zeros)
{
    hkm_os_init();
    size_t page = hkm_os.page;
    char *p = hkm_os_map(4 * page);
    hkm_os_no_huge(p, 4 * page);
    memset(p, 7, 4 * page);
    ck_assert(hkm_os_purge(p + page, 2 * page));
    ck_assert(all_bytes(p, page, 7) && all_zero(p + page, 2 * page) && all_bytes(p + 3 * page, page, 7));
    hkm_os_unmap(p, 4 * page);
    errno = 77;
    ck_assert(!hkm_os_purge(p, page) || EMULATED);
    hkm_os_no_huge(p, page);
    ck_assert_int_eq(errno, 77);
}
END_TEST

START_TEST(resize_keeps_the_contents)
{
    hkm_os_init();
    size_t page = hkm_os.page;
    char *p = hkm_os_map(4 * page);
    pattern_fill(p, 4 * page, 1);
    char *q = hkm_os_resize(p, 4 * page, 2 * page, true);
    ck_assert(q == p || EMULATED);
    p = q;
    ck_assert(pattern_holds(p, 2 * page, 1) && !unit_readable(p + 2 * page));
    unit_stranger(p + 2 * page, page, PROT_NONE);
    errno = 77;
    ck_assert_ptr_null(hkm_os_resize(p, 2 * page, 3 * page, false));
    ck_assert_int_eq(errno, 77);
    ck_assert(pattern_holds(p, 2 * page, 1));
    q = hkm_os_resize(p, 2 * page, 1000 * page, true);
    ck_assert_ptr_nonnull(q);
    ck_assert_ptr_ne(q, p);
    ck_assert(pattern_holds(q, 2 * page, 1) && all_zero(q + 2 * page, 998 * page) && !unit_readable(p));
}
END_TEST

static void sees_zeros(void *arg)
{
    char *p = arg;
    CHILD(all_zero(p, hkm_os.page));
    CHILD(all_bytes(p + hkm_os.page, hkm_os.page, 7));
}

START_TEST(populate)
{
    hkm_os_init();
    size_t page = hkm_os.page, size = 16 * page;
    static unsigned char there[256]; /* an emulator's page may be several to the kernel */
    char *p = hkm_os_map(size);
    ck_assert_ptr_nonnull(p);
    errno = 77;
    enum hkm_populated done = hkm_os_populate(p, size);
    ck_assert_int_eq(errno, 77);
    ck_assert(mincore(p, size, there) == 0);
    ck_assert(done != HKM_REFUSED); /* kernels before 5.14 do not know it */
    for (size_t i = 0; i < 16; i++)
        expect(EMULATED || (there[i] & 1) == (done == HKM_POPULATED)); /* an emulator takes any advice, and follows none */
    ck_assert(all_zero(p, size));
    hkm_os_unmap(p, size);
    /* Nothing there: no harm, and nothing that would be remembered. */
    ck_assert_int_eq(hkm_os_populate(p, size), done == HKM_POPULATED && !EMULATED ? HKM_REFUSED : done);
    ck_assert_int_eq(errno, 77);
    p = hkm_os_map(size);
    ck_assert_int_eq(hkm_os_populate(p, size), done);
}
END_TEST

START_TEST(words_that_are_set)
{
    hkm_os_init();
    size_t page = hkm_os.page;
    uint32_t *p = hkm_os_map(2 * page);
    ck_assert_ptr_nonnull(p);
    errno = 77;
    ck_assert(!hkm_os_is_set(p));
    p[1] = 1;
    p[3] = UINT32_MAX;
    ck_assert(!hkm_os_is_set(p) && hkm_os_is_set(p + 1) && !hkm_os_is_set(p + 2) && hkm_os_is_set(p + 3));
    ck_assert(hkm_os_forbid(p, page)); /* as a program does that wants a fault there */
    ck_assert(!hkm_os_is_set(p + 1));
    ck_assert(hkm_os_allow(p, page) && hkm_os_is_set(p + 1));
    hkm_os_unmap(p, 2 * page);
    ck_assert(!hkm_os_is_set(p + 1));
    ck_assert_int_eq(errno, 77);
}
END_TEST

/* What /proc says of the mapping that begins there: whether huge pages are wished for. */
static bool has_flag(const void *at, const char *flag)
{
    char line[512], begin[32];
    bool inside = false, found = false;
    FILE *f = fopen("/proc/self/smaps", "re");
    snprintf(begin, sizeof begin, "%lx-", (unsigned long)(uintptr_t)at);
    while (f && fgets(line, sizeof line, f)) {
        if (!strncmp(line, begin, strlen(begin)))
            inside = true;
        else if (inside && !strncmp(line, "VmFlags:", 8))
            return fclose(f), strstr(line, flag) != NULL;
    }
    if (f)
        fclose(f);
    return found;
}

START_TEST(huge_pages)
{
    errno = 77;
    hkm_os_huge_init();
    ck_assert_int_eq(errno, 77);
    size_t huge = hkm_load(&hkm_os.huge);
    ck_assert(hkm_is_pow2(huge) && huge > hkm_os.page);
    ck_assert_uint_eq(hkm_os_huge_size(), huge);
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "re");
    unsigned long said = 0;
    if (f) {
        ck_assert(fscanf(f, "%lu", &said) == 1 && said == huge);
        fclose(f);
    }
    char *p = hkm_os_map(huge);
    bool can = hkm_os_huge(p, huge);
    ck_assert(can || !hkm_load(&hkm_os.thp));
    ck_assert_int_eq(errno, 77);
    if (can && !EMULATED)
        ck_assert(has_flag(p, " hg"));
    hkm_os_no_huge(p, huge);
    ck_assert(EMULATED || !has_flag(p, " hg"));
    hkm_os_unmap(p, huge);
    ck_assert(EMULATED || !hkm_os_huge(p, huge)); /* nothing there */
    ck_assert_int_eq(errno, 77);
}
END_TEST

static void without_thp(void *arg)
{
    (void)arg;
    if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
        return;
    hkm_os_huge_init();
    CHILD(hkm_load(&hkm_os.huge) && !hkm_load(&hkm_os.thp));
}

START_TEST(huge_pages_that_are_forbidden)
{
    if (!EMULATED)
        unit_passes(without_thp, NULL);
}
END_TEST

/* None in the pool, or some: never anything but memory at that place, or an answer. */
START_TEST(huge_pages_of_the_pool)
{
    hkm_os_huge_init();
    size_t huge = hkm_load(&hkm_os.huge);
    if (huge > 64 * MIB)
        return;
    char *hole = hkm_os_map_none(2 * huge), *p = (char *)hkm_round_up((uintptr_t)hole, huge);
    ck_assert_ptr_nonnull(hole);
    errno = 77;
    enum hkm_mapped result = hkm_os_map_huge_at(p, huge);
    ck_assert(result == HKM_TAKEN || result == HKM_NO_MEMORY);
    hkm_os_unmap(hole, 2 * huge);
    result = hkm_os_map_huge_at(p, huge);
    ck_assert_int_eq(errno, 77);
    if (result == HKM_MAPPED) {
        ck_assert(all_zero(p, huge));
        hkm_os_unmap(p, huge);
    } else {
        ck_assert_int_eq(result, HKM_NO_MEMORY);
        ck_assert(!unit_readable(p));
    }
}
END_TEST

START_TEST(wipe_on_fork)
{
    hkm_os_init();
    char *p = hkm_os_map(2 * hkm_os.page);
    memset(p, 7, 2 * hkm_os.page);
    if (!hkm_os_wipe_on_fork(p, hkm_os.page) || EMULATED)
        return; /* before Linux 4.14 */
    unit_passes(sees_zeros, p);
    ck_assert(all_bytes(p, 2 * hkm_os.page, 7));
}
END_TEST

static uint32_t word;

static void *wait_for_change(void *arg)
{
    while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) == 1)
        hkm_os_wait(&word, 1);
    return arg;
}

START_TEST(wait_and_wake)
{
    word = 1;
    hkm_os_wait(&word, 2); /* returns at once */
    pthread_t thread = unit_start(wait_for_change, &word);
    usleep(10000);
    errno = 77;
    __atomic_store_n(&word, 2, __ATOMIC_SEQ_CST);
    hkm_os_wake(&word);
    ck_assert_int_eq(errno, 77);
    ck_assert_ptr_eq(unit_join(thread), &word);
    hkm_os_pause();
}
END_TEST

static int forked;
static void count_fork(void) { forked++; }
static void was_told(void *arg)
{
    (void)arg;
    CHILD(forked == 1);
}

START_TEST(at_fork_child)
{
    ck_assert(hkm_os_at_fork_child(count_fork));
    unit_passes(was_told, NULL);
    ck_assert_int_eq(forked, 0);
}
END_TEST

/* So it is on x86, in the C libraries that this library is for.  (Elsewhere the thread pointer is the end of that.) */
#if defined(__x86_64__) || defined(__i386__)
#define THREAD_IS_SELF true
#else
#define THREAD_IS_SELF false
#endif

static void *tell_thread(void *arg)
{
    *(uintptr_t *)arg = hkm_os_thread();
    return (void *)hkm_os_thread();
}

START_TEST(threads_are_told_apart)
{
    uintptr_t mine = hkm_os_thread(), other = 0;
    ck_assert(mine != 0);
    ck_assert(mine == hkm_os_thread());
    void *again = unit_join(unit_start(tell_thread, &other));
    ck_assert(other != 0 && other != mine && other == (uintptr_t)again);
    if (THREAD_IS_SELF)
        ck_assert(mine == (uintptr_t)pthread_self());
}
END_TEST

extern char **environ;

START_TEST(environment)
{
    char *few[] = { (char *)"UNIT_ONE=1", (char *)"UNITY=", NULL }, *none[] = { NULL };
    environ = few;
    ck_assert(hkm_os_env_ready());
    ck_assert_str_eq(hkm_os_getenv("UNIT_ONE"), "1");
    ck_assert_str_eq(hkm_os_getenv("UNITY"), "");
    ck_assert_ptr_null(hkm_os_getenv("UNIT"));
    ck_assert(hkm_os_has_env("UNIT_") && hkm_os_has_env("UNITY="));
    ck_assert(!hkm_os_has_env("UNIT_T") && !hkm_os_has_env("NIT"));
    environ = none;
    ck_assert(hkm_os_env_ready() && !hkm_os_has_env("UNIT"));
    environ = NULL;
    ck_assert(!hkm_os_env_ready() && !hkm_os_has_env("UNIT"));
    ck_assert_ptr_null(hkm_os_getenv("UNIT_ONE"));
    ck_assert_uint_eq(hkm_os_pid(), (unsigned long)getpid());
}
END_TEST

/* Uses up the mappings that the kernel allows a process; false: it allows more than we try. */
static bool use_up_mappings(void)
{
    size_t page = hkm_os.page, most = (size_t)1 << 18;
    char *p = mmap(NULL, 2 * most * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (size_t i = 0; p != MAP_FAILED && i < most; i++)
        if (mprotect(p + (2 * i + 1) * page, page, PROT_READ))
            return true;
    return false;
}

/* Unmapping the middle of a mapping needs one more. */
START_TEST(unmapped_without_a_mapping_to_spare)
{
    hkm_os_init();
    size_t page = hkm_os.page;
    char *p = hkm_os_map(3 * page);
    ck_assert_ptr_nonnull(p);
    memset(p, 1, 3 * page);
    if (SANITIZED || getenv("TEST_EMULATOR") || !use_up_mappings()) /* an emulator needs mappings itself */
        return;
    errno = 77;
    hkm_os_unmap(p + page, page);
    ck_assert_int_eq(errno, 77);
    unsigned char there = 1;
    if (mincore(p + page, page, &there) == 0) /* still mapped, but there is no memory */
        ck_assert_uint_eq(there & 1, 0);
    ck_assert(all_bytes(p, page, 1) && all_bytes(p + 2 * page, page, 1));
}
END_TEST

static bool same_file(int fd, int other)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* A child whose standard error is a file of its own, `mine`; each case is what it may do to it. */
static void stderr_kept(void *arg)
{
    (void)arg;
    int mine = memfd_create("mine", MFD_CLOEXEC), other = memfd_create("other", MFD_CLOEXEC), fd;
    CHILD(mine >= 0 && other >= 0);
    int real = fcntl(2, F_DUPFD, 50);
    CHILD(hkm_os_stderr_kept() == -1); /* nobody asked */
    close(2);
    hkm_os_stderr_keep();
    bool nothing = hkm_os_stderr_kept() == -1; /* there was none */
    dup2(other, 2);
    nothing = nothing && hkm_os_stderr_kept() == -1; /* and what comes later is none */
    dup2(mine, 2);
    errno = 77;
    hkm_os_stderr_keep();
    bool quiet = errno == 77, stays = hkm_os_stderr_kept() == 2;
    dup2(other, 2);
    fd = hkm_os_stderr_kept();
    bool found = fd > 2 && same_file(fd, mine) && fcntl(fd, F_GETFD) == FD_CLOEXEC;
    hkm_os_stderr_keep(); /* the first one counts */
    found = found && hkm_os_stderr_kept() == fd;
    close(2);
    bool closed = hkm_os_stderr_kept() == fd;
    dup2(other, fd); /* the program has taken the number */
    bool gone = hkm_os_stderr_kept() == -1;
    close(fd);
    gone = gone && hkm_os_stderr_kept() == -1;
    dup2(mine, 2);
    bool back = hkm_os_stderr_kept() == 2;
    dup2(real, 2);
    CHILD(nothing && quiet && stays && found && closed && gone && back && hkm_os_stderr_kept() == -1);
    quiet = errno == 77;
    CHILD(quiet);
}

static void stderr_kept_low(void *arg)
{
    struct rlimit few = { 20, 20 };
    CHILD(setrlimit(RLIMIT_NOFILE, &few) == 0);
    hkm_os_stderr_keep();
    int real = dup(2);
    close(2);
    int fd = hkm_os_stderr_kept();
    dup2(real, 2);
    CHILD(fd > 2 && fd < 20);
    (void)arg;
}

START_TEST(standard_error_is_kept)
{
    unit_passes(stderr_kept, NULL);
    unit_passes(stderr_kept_low, NULL);
}
END_TEST

START_TEST(messages)
{
    struct hkm_msg m = { 0 };
    hkm_msg_str(&m, "a ");
    hkm_msg_dec(&m, 0);
    hkm_msg_str(&m, "");
    hkm_msg_str(&m, " ");
    hkm_msg_dec(&m, ~0ull);
    hkm_msg_str(&m, " ");
    hkm_msg_hex(&m, 0);
    hkm_msg_str(&m, " ");
    hkm_msg_hex(&m, 0x90abcdef);
    static const char want[] = "a 0 18446744073709551615 0x0 0x90abcdef";
    ck_assert_uint_eq(m.len, sizeof want - 1);
    ck_assert_mem_eq(m.text, want, sizeof want - 1);
    for (int i = 0; i < 300; i++)
        hkm_msg_str(&m, "xy");
    ck_assert_uint_eq(m.len, sizeof m.text);
    hkm_msg_dec(&m, 1);
    hkm_msg_hex(&m, 1);
    ck_assert_uint_eq(m.len, sizeof m.text);
}
END_TEST

START_TEST(write_writes_all)
{
    int ends[2];
    char got[8];
    ck_assert_int_eq(pipe(ends), 0);
    errno = 77;
    ck_assert_int_eq(hkm_os_write(ends[1], "hello", 5), 0);
    ck_assert_int_eq(hkm_os_write(ends[1], "", 0), 0);
    ck_assert_int_eq(errno, 77);
    ck_assert_int_eq((int)read(ends[0], got, sizeof got), 5);
    ck_assert_mem_eq(got, "hello", 5);
    errno = 77;
    ck_assert_int_eq(hkm_os_write(-1, "x", 1), EBADF);
    ck_assert_int_eq(errno, 77);
}
END_TEST

static void warn(void *arg)
{
    struct hkm_msg m = { 0 };
    hkm_msg_str(&m, arg);
    errno = 77;
    hkm_os_warn(&m);
    CHILD(errno == 77);
}

START_TEST(warnings_are_one_line)
{
    char two_words[] = "two words", many[400];
    struct unit_child c = unit_child(warn, two_words);
    ck_assert_int_eq(c.code, 0);
    ck_assert_str_eq(c.text, "hakmem: two words\n");
    memset(many, 'x', sizeof many - 1);
    many[sizeof many - 1] = 0;
    c = unit_child(warn, many);
    ck_assert_int_eq(c.code, 0);
    ck_assert_uint_eq(c.len, sizeof((struct hkm_msg *)0)->text);
    ck_assert_mem_eq(c.text, "hakmem: xxxx", 12);
    ck_assert_str_eq(c.text + c.len - 3, "xx\n");
}
END_TEST

static void panic(void *arg) { hkm_os_panic(arg); }
static void bad_pointer(void *arg) { hkm_os_bad_pointer("free", "misaligned pointer", arg); }
static void check(void *arg) { hkm_check(arg != NULL); }
static void assertion(void *arg) { hkm_assert(arg != NULL); }

START_TEST(the_end_is_announced)
{
    char what[] = "it broke";
    unit_aborts(panic, what, "hakmem: it broke\n");
    unit_aborts(bad_pointer, (void *)0x7f345671, "hakmem: free(): misaligned pointer: 0x7f345671\n");
    unit_aborts(check, NULL, "hakmem: internal check: arg != NULL\n");
    unit_passes(check, what);
    if (HKM_DEBUG)
        unit_aborts(assertion, NULL, "hakmem: assertion: arg != NULL\n");
    else
        unit_passes(assertion, NULL);
}
END_TEST

START_TEST(mapped_or_not)
{
    if (EMULATED) /* it takes MADV_WILLNEED for good advice on any address */
        return;
    hkm_os_init();
    size_t page = hkm_os.page;
    char *p = hkm_os_map(3 * page), *none = hkm_os_map_none(page);
    errno = 77;
    hkm_os_unmap(p + page, page);
    ck_assert(hkm_os_mapped(p) && hkm_os_mapped(p + page - 1) && hkm_os_mapped(p + 2 * page));
    ck_assert(hkm_os_mapped(none) && hkm_os_mapped(&page) && hkm_os_mapped("text"));
    ck_assert(!hkm_os_mapped(p + page) && !hkm_os_mapped(p + 2 * page - 1));
    ck_assert_int_eq(errno, 77);
}
END_TEST

static void *not_first(void *arg) { return hkm_os_first_thread() ? NULL : arg; }

START_TEST(first_thread)
{
    int token;
    ck_assert(hkm_os_first_thread());
    ck_assert_ptr_nonnull(unit_join(unit_start(not_first, &token)));
}
END_TEST

START_TEST(files_of_root)
{
    struct hkm_file f;
    struct stat s;
    char name[] = "/tmp/hakmem-test.XXXXXX", text[256];
    errno = 77;
    ck_assert_int_eq(hkm_os_file_read("/nowhere/at/all", &f), HKM_FILE_ABSENT);
    ck_assert_ptr_null(f.text);
    ck_assert_int_eq(hkm_os_file_read("/etc", &f), HKM_FILE_UNSAFE);
    ck_assert_ptr_null(f.text);
    ck_assert_int_eq(errno, 77);
    int fd = mkstemp(name);
    ck_assert(fd >= 0 && write(fd, "words", 5) == 5 && fchmod(fd, 0644) == 0);
    bool roots = geteuid() == 0;
    ck_assert_int_eq(hkm_os_file_read(name, &f), roots ? HKM_FILE_READ : HKM_FILE_UNSAFE);
    if (roots) {
        ck_assert(f.size == 5 && !memcmp(f.text, "words", 5));
        hkm_os_file_forget(&f);
        ck_assert_ptr_null(f.text);
        ck_assert(fchown(fd, 1, 0) == 0);
        ck_assert_int_eq(hkm_os_file_read(name, &f), HKM_FILE_UNSAFE);
        ck_assert(fchown(fd, 0, 0) == 0);
    }
    for (mode_t mode = 1; mode < 0777; mode <<= 1) {
        ck_assert(fchmod(fd, mode | 0400) == 0);
        enum hkm_file_state want = roots && !(mode & 022) ? HKM_FILE_READ : HKM_FILE_UNSAFE;
        ck_assert_int_eq(hkm_os_file_read(name, &f), want);
        hkm_os_file_forget(&f);
    }
    ck_assert(unlink(name) == 0 && mkfifo(name, 0644) == 0);
    ck_assert_int_eq(hkm_os_file_read(name, &f), HKM_FILE_UNSAFE); /* and it does not wait for a writer */
    ck_assert(unlink(name) == 0 && close(fd) == 0);
    /* Whoever runs this: a file that is root's everywhere. */
    ck_assert(stat("/etc/passwd", &s) == 0);
    if (s.st_uid == 0 && !(s.st_mode & 022)) {
        ck_assert_int_eq(hkm_os_file_read("/etc/passwd", &f), HKM_FILE_READ);
        ck_assert_uint_eq(f.size, (size_t)s.st_size);
        fd = open("/etc/passwd", O_RDONLY);
        ssize_t n = read(fd, text, sizeof text);
        ck_assert(n > 0 && !memcmp(f.text, text, (size_t)n) && close(fd) == 0);
        hkm_os_file_forget(&f);
    }
}
END_TEST

START_TEST(the_program)
{
    char path[4096];
    ck_assert_uint_eq(hkm_os_program(path, sizeof path), strlen(path));
    ck_assert(strstr(path, "/test_os") != NULL);
    ck_assert(EMULATED || hkm_os_same_file(path, "/proc/self/exe")); /* there it may be the emulator */
    ck_assert(!hkm_os_same_file(path, "/etc/passwd"));
    ck_assert(!hkm_os_same_file("/nowhere/at/all", "/nowhere/at/all"));
    ck_assert_uint_eq(hkm_os_program(path, 3), 2); /* never more than there is room for */
    ck_assert_uint_eq(strlen(path), 2);
    setenv("LD_PRELOAD", "/usr/lib/libother.so:/usr/$LIB/libhakmem.so.0", 1);
    ck_assert(hkm_os_env_names("LD_PRELOAD", "libhakmem.so"));
    ck_assert(!hkm_os_env_names("LD_PRELOAD", "libhakmem.so.1"));
    ck_assert(!hkm_os_env_names("LD_PRELOA", "libhakmem.so"));
    ck_assert_int_eq(hkm_os_libc_allocates(), LIBC_ALLOCATES);
}
END_TEST

UNIT_MAIN("os", CK_FORK, bits_and_rounding, init_reads_the_page_size, map_gives_zeroed_memory, map_none_and_allow,
          map_at_takes_nothing_from_others, map_says_when_memory_is_out, purge_leaves_zeros, resize_keeps_the_contents,
          populate, words_that_are_set, huge_pages, huge_pages_that_are_forbidden, huge_pages_of_the_pool, wipe_on_fork, wait_and_wake, at_fork_child, threads_are_told_apart, environment, files_of_root, the_program,
          unmapped_without_a_mapping_to_spare, standard_error_is_kept, messages, write_writes_all,
          warnings_are_one_line, the_end_is_announced, mapped_or_not, first_thread)
