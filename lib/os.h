/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * os.h: everything that HAKMEM asks of the kernel and of libc, and its messages.
 *
 * The only row of the house that enters the kernel.  No function here changes errno, and none allocates.
 * After start the system calls are mmap, munmap, mprotect, madvise, mremap and futex; clock_gettime where it is one; and
 * those of a report: write, getpid, what abort needs, and statx and fcntl for statistics at the end.  At start (before main)
 * a file may be read: see "Files".
 */
#ifndef HKM_OS_H
#define HKM_OS_H

#include "base.h"
#include "atomic.h"

struct hkm_os {
    hkm_word page;      /* bytes; const after hkm_os_init */
    hkm_word page_bits;
    hkm_word huge;      /* bytes of a huge page; 0 until hkm_os_huge_init.  Const after it, as the next */
    hkm_word thp;       /* the kernel gives transparent ones to who asks by madvise */
};
extern struct hkm_os hkm_os HKM_HIDDEN;

void hkm_os_init(void); /* may run more than once, also at the same time */
void hkm_os_huge_init(void); /* reads what the kernel says of huge pages: three files in /sys, so only at start */
size_t hkm_os_huge_size(void); /* what it said, or else, unasked, what is usual with these pages */

/* Memory.  Sizes and addresses are multiples of the page. */
void *hkm_os_map(size_t size);                     /* zeroed, readable and writable; NULL when the kernel refuses */
void *hkm_os_map_none(size_t size);                /* address space alone */
enum hkm_mapped { HKM_MAPPED, HKM_TAKEN, HKM_NO_MEMORY };
enum hkm_mapped hkm_os_map_at(void *addr, size_t size); /* exactly there, unless something is there already */
void hkm_os_unmap(void *addr, size_t size);        /* or at least gives the memory back */
bool hkm_os_allow(void *addr, size_t size);        /* PROT_NONE -> readable and writable */
bool hkm_os_forbid(void *addr, size_t size);       /* the reverse */
bool hkm_os_purge(void *addr, size_t size);        /* contents to zero, memory back to the kernel */
void hkm_os_no_huge(void *addr, size_t size);      /* no transparent huge pages here */
bool hkm_os_huge(void *addr, size_t size);         /* transparent huge pages here; false: the kernel has none */
enum hkm_mapped hkm_os_map_huge_at(void *addr, size_t size); /* as hkm_os_map_at, in huge pages of the system's pool */
void *hkm_os_resize(void *addr, size_t old, size_t size, bool may_move); /* mremap; NULL when refused */
bool hkm_os_mapped(const void *addr);              /* false: there is certainly nothing at this page */
/* Faults pages in to write, as far as there is memory.  A kernel that cannot do it at all is asked once. */
enum hkm_populated { HKM_POPULATED, HKM_REFUSED, HKM_UNKNOWN } hkm_os_populate(void *addr, size_t size);
/* Whether a word of the program's memory is not zero.  False where it is out of reach, without a signal. */
bool hkm_os_is_set(const void *word32);
bool hkm_os_wipe_on_fork(void *addr, size_t size); /* the child of a fork sees zeros there */

/* Threads. */
void hkm_os_wait(const void *word32, uint32_t value); /* sleeps while *word32 == value */
void hkm_os_wake(const void *word32);                 /* wakes one */
void hkm_os_pause(void);
/* No other thread exists; false when that is not known. */
extern char __libc_single_threaded __attribute__((weak)); /* glibc 2.32 */
HKM_INLINE bool hkm_os_single_threaded(void)
{
    return &__libc_single_threaded && *(volatile char *)&__libc_single_threaded;
}
bool hkm_os_at_fork_child(void (*child)(void));
bool hkm_os_first_thread(void); /* the calling thread is the one that the process began with */

/* The address that tells one live thread from all others.  Never 0. */
HKM_INLINE uintptr_t hkm_os_thread(void)
{
#if defined(__x86_64__) && !defined(__ILP32__)
    return *(const uintptr_t __seg_fs *)0; /* the TLS ABI keeps the thread pointer's own value there */
#elif defined(__i386__)
    return *(const uintptr_t __seg_gs *)0;
#else
    return (uintptr_t)__builtin_thread_pointer();
#endif
}

/* The environment; NULL when the process is privileged beyond its user, or there is no environment yet. */
const char *hkm_os_getenv(const char *name);
bool hkm_os_has_env(const char *prefix); /* any variable that begins so; also false while there is no environment */
bool hkm_os_env_ready(void);
size_t hkm_os_ms(void); /* of a clock that only goes forward, to some milliseconds; wraps around */
size_t hkm_os_ns(void); /* of a clock that only goes forward; wraps around */
unsigned long hkm_os_pid(void);
bool hkm_os_env_names(const char *name, const char *part); /* `part` occurs in the variable's value */

/* Files.  Read at start alone: by option.c, to find out whether the program is one that is left to the C library, and by
 * policy.c, where the user asks for it. */
struct hkm_file {
    char *text; /* size bytes; not ended by 0 */
    size_t size, mapped;
};
/* Reads a whole file if it is a regular one that root alone can write. */
enum hkm_file_state { HKM_FILE_ABSENT, HKM_FILE_UNSAFE, HKM_FILE_READ } hkm_os_file_read(const char *path,
                                                                                        struct hkm_file *f);
/* The same whoever can write it. */
enum hkm_file_state hkm_os_file_read_any(const char *path, struct hkm_file *f);
void hkm_os_file_forget(struct hkm_file *f);
size_t hkm_os_program(char *path, size_t size); /* the running program's file, resolved; its length, 0: not known */
bool hkm_os_same_file(const char *path, const char *other);

/* The C library has an allocator of its own in this process: always, unless it is linked statically. */
bool hkm_os_libc_allocates(void);

/* Messages are gathered here and written by one write(2) to file descriptor 2.  What does not fit is cut off. */
struct hkm_msg {
    size_t len;
    char text[256];
};
void hkm_msg_str(struct hkm_msg *m, const char *s);
void hkm_msg_dec(struct hkm_msg *m, unsigned long long n);
void hkm_msg_hex(struct hkm_msg *m, uintptr_t n);

/* Standard error as it is now, for a report at the end of the process.  By then the program may have closed it, or opened
 * another file under its number: so a second descriptor is made (close-on-exec), and _kept returns one of the two that
 * still is what was kept, -1 when there is none. */
void hkm_os_stderr_keep(void);
int hkm_os_stderr_kept(void);

int hkm_os_write(int fd, const char *text, size_t len); /* all of it; 0 or an errno value */
void hkm_os_warn(struct hkm_msg *m);                    /* "hakmem: " m "\n" */
void hkm_os_panic(const char *text) __attribute__((noreturn, cold)); /* "hakmem: " text "\n", then abort */
/* The program handed a wrong pointer to `function`: "hakmem: function(): what: 0xptr\n", then abort. */
void hkm_os_bad_pointer(const char *function, const char *what, const void *ptr) __attribute__((noreturn, cold));

#endif
