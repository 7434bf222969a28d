/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * os.c: system calls and messages.  See os.h.
 *
 * By number where the numbers mean the same everywhere: one imported name instead of seven, each of which would be looked
 * up at every start of a process.  (mmap's numbers and arguments differ from target to target.)
 */
#define HKM_SMALL
#define HKM_SMALL
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef STATX_BASIC_STATS /* musl before 1.2.5 leaves struct statx to the kernel's header */
#include <linux/stat.h>
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

#ifdef SYS_fcntl64 /* 32-bit targets */
#define FCNTL SYS_fcntl64
#else
#define FCNTL SYS_fcntl
#endif

HKM_USED struct hkm_os hkm_os;

void hkm_os_init(void)
{
    if (likely(hkm_load_acq(&hkm_os.page)))
        return;
    size_t page = getauxval(AT_PAGESZ);
    if (!page)
        page = 4096;
    hkm_check(page <= 65536); /* a slot is a number of pages */
    /* Once only, whoever is first: others may read them already, without more ado.  Pairs with the acquire above. */
    (void)hkm_cas(&hkm_os.page_bits, 0, hkm_low_bit(page));
    (void)hkm_cas(&hkm_os.page, 0, page);
}

static void *map(void *addr, size_t size, int prot, int flags)
{
    int saved = errno;
    void *p = mmap(addr, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    errno = saved;
    return p == MAP_FAILED ? NULL : p;
}

void *hkm_os_map(size_t size) { return map(NULL, size, PROT_READ | PROT_WRITE, 0); }
void *hkm_os_map_none(size_t size) { return map(NULL, size, PROT_NONE, MAP_NORESERVE); }

static enum hkm_mapped map_at(void *addr, size_t size, int flags)
{
    int saved = errno;
    void *p = mmap(addr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | flags, -1, 0);
    enum hkm_mapped result = p != MAP_FAILED ? HKM_MAPPED : errno == EEXIST ? HKM_TAKEN : HKM_NO_MEMORY;
    errno = saved;
    if (result == HKM_MAPPED && p != addr) { /* a kernel that does not know the flag takes the address as a wish */
        hkm_os_unmap(p, size);
        return HKM_TAKEN;
    }
    return result;
}

enum hkm_mapped hkm_os_map_at(void *addr, size_t size) { return map_at(addr, size, 0); }

enum hkm_mapped hkm_os_map_huge_at(void *addr, size_t size)
{
    return map_at(addr, size, MAP_HUGETLB | (int)(hkm_low_bit(hkm_load(&hkm_os.huge)) << MAP_HUGE_SHIFT));
}

static bool protect(void *addr, size_t size, int prot)
{
    int saved = errno;
    long r = syscall(SYS_mprotect, addr, size, prot);
    errno = saved;
    return r == 0;
}

bool hkm_os_allow(void *addr, size_t size) { return protect(addr, size, PROT_READ | PROT_WRITE); }
bool hkm_os_forbid(void *addr, size_t size) { return protect(addr, size, PROT_NONE); }

static bool advise(void *addr, size_t size, int advice)
{
    int saved = errno;
    long r = syscall(SYS_madvise, addr, size, advice);
    errno = saved;
    return r == 0;
}

void hkm_os_unmap(void *addr, size_t size)
{
    int saved = errno;
    long r = syscall(SYS_munmap, addr, size);
    errno = saved;
    /* Where neighbours have become one mapping, this may need one more than the kernel allows (vm.max_map_count).  The
     * addresses stay behind then, but not their memory, for which no mapping needs to be split. */
    if (unlikely(r != 0))
        (void)advise(addr, size, MADV_DONTNEED);
}

bool hkm_os_purge(void *addr, size_t size) { return advise(addr, size, MADV_DONTNEED); }
void hkm_os_no_huge(void *addr, size_t size) { (void)advise(addr, size, MADV_NOHUGEPAGE); }
bool hkm_os_huge(void *addr, size_t size) { return advise(addr, size, MADV_HUGEPAGE); }

enum hkm_populated hkm_os_populate(void *addr, size_t size)
{
    enum { POPULATE_WRITE = 23 }; /* since Linux 5.14 */
    static hkm_word unknown;
    if (hkm_load(&unknown))
        return HKM_UNKNOWN;
    int saved = errno;
    enum hkm_populated result = HKM_POPULATED;
    if (syscall(SYS_madvise, addr, size, POPULATE_WRITE) != 0)
        result = errno == EINVAL ? HKM_UNKNOWN : HKM_REFUSED;
    errno = saved;
    if (result == HKM_UNKNOWN)
        hkm_store(&unknown, 1);
    return result;
}

/* The kernel compares the word with 0 before it wakes none and moves none of those who may wait there. */
bool hkm_os_is_set(const void *word32)
{
    int saved = errno;
    bool set = syscall(SYS_futex, word32, FUTEX_CMP_REQUEUE_PRIVATE, 0, NULL /* 0 threads */, word32, 0) != 0 && errno == EAGAIN;
    errno = saved;
    return set;
}

bool hkm_os_wipe_on_fork(void *addr, size_t size) { return advise(addr, size, MADV_WIPEONFORK); }

/* An advice that leaves memory as it is, but is refused in a way of its own where there is none. */
bool hkm_os_mapped(const void *addr)
{
    int saved = errno;
    long r = syscall(SYS_madvise, (uintptr_t)addr & ~(hkm_os.page - 1), hkm_os.page, MADV_WILLNEED);
    bool mapped = r == 0 || errno != ENOMEM;
    errno = saved;
    return mapped;
}

void *hkm_os_resize(void *addr, size_t old, size_t size, bool may_move)
{
    int saved = errno;
    long p = syscall(SYS_mremap, addr, old, size, may_move ? MREMAP_MAYMOVE : 0);
    errno = saved;
    return p == -1 ? NULL : (void *)p;
}

void hkm_os_wait(const void *word32, uint32_t value)
{
    int saved = errno;
    syscall(SYS_futex, word32, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
    errno = saved;
}

void hkm_os_wake(const void *word32)
{
    int saved = errno;
    syscall(SYS_futex, word32, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
}

void hkm_os_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

bool hkm_os_at_fork_child(void (*child)(void)) { return pthread_atfork(NULL, NULL, child) == 0; }
bool hkm_os_first_thread(void) { return syscall(SYS_gettid) == syscall(SYS_getpid); }

extern char **environ;

bool hkm_os_env_ready(void) { return environ != NULL; }

bool hkm_os_has_env(const char *prefix)
{
    size_t len = hkm_length(prefix);
    for (char **e = environ; e && *e; e++)
        if (unlikely(**e == *prefix) && hkm_begins(*e, prefix, len))
            return true;
    return false;
}

/* What secure_getenv does.  Its name would be one more to look up at every start. */
const char *hkm_os_getenv(const char *name)
{
    int saved = errno;
    size_t length = hkm_length(name);
    bool privileged = getauxval(AT_SECURE) != 0;
    errno = saved;
    for (char **e = environ; !privileged && e && *e; e++)
        if (unlikely(**e == *name) && hkm_begins(*e, name, length) && (*e)[length] == '=')
            return *e + length + 1;
    return NULL;
}
size_t hkm_os_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* read from memory that the kernel shares, mostly without entering it */
    return (size_t)t.tv_sec * 1000 + (size_t)t.tv_nsec / 1000000;
}

size_t hkm_os_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (size_t)t.tv_sec * 1000000000 + (size_t)t.tv_nsec;
}

unsigned long hkm_os_pid(void) { return (unsigned long)syscall(SYS_getpid); }

bool hkm_os_env_names(const char *name, const char *part)
{
    const char *value = hkm_os_getenv(name);
    size_t length = hkm_length(part);
    for (; value && *value; value++)
        if (unlikely(*value == *part) && hkm_begins(value, part, length))
            return true;
    return false;
}

/* By statx, whose structure is the same on every target. */
static bool look(int at, const char *path, int flags, struct statx *s)
{
    return syscall(SYS_statx, at, path, flags, STATX_BASIC_STATS, s) == 0;
}

static bool only_roots(const struct statx *s)
{
    return (s->stx_mode & S_IFMT) == S_IFREG && s->stx_uid == 0 && !(s->stx_mode & (S_IWGRP | S_IWOTH));
}

static bool regular(const struct statx *s) { return (s->stx_mode & S_IFMT) == S_IFREG; }

static enum hkm_file_state read_from(int fd, struct hkm_file *f, bool (*right)(const struct statx *s))
{
    struct statx s;
    if (!look(fd, "", AT_EMPTY_PATH, &s) || !right(&s))
        return HKM_FILE_UNSAFE;
    hkm_os_init();
    f->mapped = hkm_round_up((size_t)s.stx_size + 1, hkm_os.page);
    f->text = hkm_os_map(f->mapped);
    if (!f->text)
        return HKM_FILE_UNSAFE;
    for (f->size = 0; f->size < s.stx_size;) {
        long n = syscall(SYS_read, fd, f->text + f->size, (size_t)s.stx_size - f->size);
        if (n <= 0)
            break; /* it has become shorter */
        f->size += (size_t)n;
    }
    return HKM_FILE_READ;
}

static enum hkm_file_state file_read(const char *path, struct hkm_file *f, bool (*right)(const struct statx *s))
{
    int saved = errno;
    enum hkm_file_state state = HKM_FILE_ABSENT;
    *f = (struct hkm_file){ 0 };
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0) {
        state = read_from((int)fd, f, right);
        syscall(SYS_close, fd);
    }
    errno = saved;
    return state;
}

enum hkm_file_state hkm_os_file_read(const char *path, struct hkm_file *f) { return file_read(path, f, only_roots); }
enum hkm_file_state hkm_os_file_read_any(const char *path, struct hkm_file *f) { return file_read(path, f, regular); }

void hkm_os_file_forget(struct hkm_file *f)
{
    if (f->text)
        hkm_os_unmap(f->text, f->mapped);
    *f = (struct hkm_file){ 0 };
}

#define THP "/sys/kernel/mm/transparent_hugepage/"

/* A setting of the kernel, as text; "" when it is not to be had. */
static void read_setting(const char *path, char *text, size_t size)
{
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY), n = -1;
    if (fd >= 0) {
        n = syscall(SYS_read, fd, text, size - 1);
        syscall(SYS_close, fd);
    }
    text[n > 0 ? n : 0] = '\0';
}

/* The words of a setting are listed; the one that holds stands in brackets. */
static bool holds(const char *text, const char *word)
{
    for (; *text; text++)
        if (hkm_begins(text, word, hkm_length(word)))
            return true;
    return false;
}

/* What is set for this size alone, since Linux 6.8, and else for all. */
static bool thp_is_off(size_t huge)
{
    char text[256];
    struct hkm_msg path = { 0 };
    hkm_msg_str(&path, THP "hugepages-");
    hkm_msg_dec(&path, huge >> 10);
    hkm_msg_str(&path, "kB/enabled");
    path.text[path.len] = '\0';
    read_setting(path.text, text, sizeof text);
    if (!*text || holds(text, "[inherit]"))
        read_setting(THP "enabled", text, sizeof text);
    return !*text || holds(text, "[never]");
}

/* What one page of a page table maps, if its entries have eight bytes. */
static size_t usual_huge(void) { return hkm_os.page * (hkm_os.page / 8); }

size_t hkm_os_huge_size(void)
{
    size_t huge = hkm_load_acq(&hkm_os.huge);
    return huge ? huge : usual_huge();
}

void hkm_os_huge_init(void)
{
    char text[32];
    int saved = errno;
    hkm_os_init();
    if (hkm_load_acq(&hkm_os.huge))
        return;
    size_t page = hkm_os.page, huge = 0;
    read_setting(THP "hpage_pmd_size", text, sizeof text);
    for (const char *s = text; *s >= '0' && *s <= '9'; s++)
        huge = huge * 10 + (size_t)(*s - '0');
    if (!hkm_is_pow2(huge) || huge <= page)
        huge = usual_huge();
    hkm_store(&hkm_os.thp, !thp_is_off(huge) && syscall(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0) != 1);
    hkm_store_rel(&hkm_os.huge, huge); /* pairs with the acquire above */
    errno = saved;
}

size_t hkm_os_program(char *path, size_t size)
{
    int saved = errno;
    long n = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, size - 1);
    errno = saved;
    path[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

bool hkm_os_same_file(const char *path, const char *other)
{
    int saved = errno;
    struct statx a, b;
    bool same = look(AT_FDCWD, path, 0, &a) && look(AT_FDCWD, other, 0, &b) && a.stx_ino == b.stx_ino &&
                a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor;
    errno = saved;
    return same;
}

extern void *__libc_malloc(size_t) __attribute__((weak));
extern void *__libc_calloc(size_t, size_t) __attribute__((weak));
extern void *__libc_realloc(void *, size_t) __attribute__((weak));
extern void *__libc_memalign(size_t, size_t) __attribute__((weak));
extern void __libc_free(void *) __attribute__((weak));

bool hkm_os_libc_allocates(void)
{
    return &__libc_malloc && &__libc_calloc && &__libc_realloc && &__libc_memalign && &__libc_free;
}

void hkm_msg_str(struct hkm_msg *m, const char *s)
{
    size_t room = sizeof m->text - m->len, len = hkm_length(s);
    if (len > room)
        len = room;
    memmove(m->text + m->len, s, len);
    m->len += len;
}

static void number(struct hkm_msg *m, unsigned long long n, unsigned base)
{
    char digits[24], *d = digits + sizeof digits - 1;
    *d = '\0';
    do
        *--d = "0123456789abcdef"[n % base];
    while (n /= base);
    hkm_msg_str(m, d);
}

void hkm_msg_dec(struct hkm_msg *m, unsigned long long n) { number(m, n, 10); }

void hkm_msg_hex(struct hkm_msg *m, uintptr_t n)
{
    hkm_msg_str(m, "0x");
    number(m, n, 16);
}

int hkm_os_write(int fd, const char *text, size_t len)
{
    int saved = errno, result = 0;
    while (len) {
        long n = syscall(SYS_write, fd, text, len);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            result = errno;
            break;
        }
        text += n;
        len -= (size_t)n;
    }
    errno = saved;
    return result;
}

/* ---- standard error, kept -------------------------------------------------------------------------------------- */

enum { KEPT_NOT, KEPT_BUSY, KEPT };
static hkm_word kept; /* the state; KEPT by release, with all below */
static int kept_fd;   /* a second descriptor of it, -1: none was to be had */
static uint32_t kept_major, kept_minor;
static uint64_t kept_inode;

void hkm_os_stderr_keep(void)
{
    /* High up, so that the numbers that the program gets are those that it would get without us; below the limit of
     * descriptors where that is small. */
    enum { HIGH = 200, LOW = 3 };
    struct statx x;
    int saved = errno;
    if (hkm_cas(&kept, KEPT_NOT, KEPT_BUSY)) {
        bool good = look(2, "", AT_EMPTY_PATH, &x);
        if (good) {
            kept_major = x.stx_dev_major;
            kept_minor = x.stx_dev_minor;
            kept_inode = x.stx_ino;
            kept_fd = (int)syscall(FCNTL, 2, F_DUPFD_CLOEXEC, HIGH);
            if (kept_fd < 0)
                kept_fd = (int)syscall(FCNTL, 2, F_DUPFD_CLOEXEC, LOW);
        }
        hkm_store_rel(&kept, good ? KEPT : KEPT_NOT); /* pairs with the acquire in hkm_os_stderr_kept */
    }
    errno = saved;
}

int hkm_os_stderr_kept(void)
{
    if (hkm_load_acq(&kept) != KEPT)
        return -1;
    int saved = errno, found = -1;
    const int numbers[] = { 2, kept_fd };
    for (unsigned i = 0; i < 2 && found < 0; i++) {
        struct statx x;
        if (look(numbers[i], "", AT_EMPTY_PATH, &x) && x.stx_dev_major == kept_major && x.stx_dev_minor == kept_minor &&
            x.stx_ino == kept_inode)
            found = numbers[i];
    }
    errno = saved;
    return found;
}

void hkm_os_warn(struct hkm_msg *m)
{
    struct hkm_msg line = { 0 };
    hkm_msg_str(&line, "hakmem: ");
    if (m->len > sizeof m->text - line.len - 1)
        m->len = sizeof m->text - line.len - 1;
    memmove(line.text + line.len, m->text, m->len);
    line.len += m->len;
    line.text[line.len++] = '\n';
    (void)hkm_os_write(2, line.text, line.len);
}

void hkm_os_panic(const char *text)
{
    struct hkm_msg m = { 0 };
    hkm_msg_str(&m, text);
    hkm_os_warn(&m);
    abort();
}

void hkm_os_check_failed(const char *what) { hkm_os_panic(what); }

void hkm_os_bad_pointer(const char *function, const char *what, const void *ptr)
{
    struct hkm_msg m = { 0 };
    hkm_msg_str(&m, function);
    hkm_msg_str(&m, "(): ");
    hkm_msg_str(&m, what);
    hkm_msg_str(&m, ": ");
    hkm_msg_hex(&m, (uintptr_t)ptr);
    hkm_os_warn(&m);
    abort();
}
