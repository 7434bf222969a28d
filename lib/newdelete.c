/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * newdelete.c: C++ operator new and operator delete in all their forms, in C and without any C++ library.
 *
 * Four operators do the work: new, new with an alignment, delete, delete with an alignment.  As the standard says of
 * the default ones, every other form ends in one of these four, and it reaches it by its global name: a program that
 * replaces only `operator new(size_t)` and `operator delete(void *)`, and puts a header of its own before each block,
 * then meets its own operators from the array, the sized and the nothrow forms too.  That way costs one jump.  The
 * nothrow forms compare addresses instead, for they cannot catch what a replaced operator throws.  All names are weak,
 * so that such a program also links with the static library.
 *
 * The failing path needs a C++ runtime: the new handler, something that throws std::bad_alloc, and for the nothrow
 * forms something that catches, which C cannot do and the runtime's own nothrow operators do.  They are looked up when
 * needed:
 *   - weak references, in a static program: the runtime that is linked in;
 *   - the global scope: one that was there when the program started, or was loaded later with RTLD_GLOBAL;
 *   - the libraries known to be runtimes, if loaded: those loaded with RTLD_LOCAL;
 *   - the object that called, and what that was linked with: a plugin with a runtime of its own inside.
 * Where two different runtimes are loaded, the first in this order is taken for all callers.  What is found is kept,
 * but for the last; a runtime found by its name is pinned.  The new handler itself is asked for on every round, since
 * it may change.
 *
 * Limits, where the runtime's code is inside the program.  -static-libstdc++ with -lhakmem works because the linker
 * exports from the program what a shared library asks for, and -static by the weak references, but neither
 * draws anything out of libstdc++.a: a program that uses nothing else of it says -Wl,-u,_ZSt17__throw_bad_allocv or
 * gets the message of a program without a runtime.  Nothing there can catch for us, so the nothrow forms yield NULL
 * without calling the handler.  A program with a static runtime that was not linked with HAKMEM has that runtime's
 * operators too and never comes here, except for malloc.
 *
 * Frames here are unwound by exceptions (handlers throw): compiled with -fexceptions.  No locks: a handler may do
 * anything, also allocate.  State: the addresses found, each written once found, always with the same value.
 */
#include "alloc.h"
#include "atomic.h"
#include "os.h"

#include <dlfcn.h>
#include <errno.h>

/* Absent from a static program unless it asks for them itself. */
#pragma weak dlsym
#pragma weak dlopen
#pragma weak dlclose
#pragma weak dladdr
/* A function that is needed when memory is out, or NULL.  The shared library looks for it then, since each name that it imports is
 * looked up at every start of a process, through all of its libraries where there is none. */
#if defined PIC && HKM_FEW_NAMES
#define LATE(function) ((__typeof__(&(function)))dlsym(RTLD_DEFAULT, #function))
#else
#define LATE(function) (&(function))
#endif

/* How size_t is spelt in C++ names. */
#if __SIZEOF_SIZE_T__ == 8 || defined(__s390__)
#define SZ "m"
_Static_assert(_Generic((size_t)0, unsigned long : 1, default : 0), "size_t is not unsigned long");
#else
#define SZ "j"
_Static_assert(_Generic((size_t)0, unsigned int : 1, default : 0), "size_t is not unsigned int");
#endif
#define ALIGN "St11align_val_t"
#define NOTHROW "RKSt9nothrow_t"

#ifdef __has_attribute
#if __has_attribute(noplt)
#define NOPLT __attribute__((noplt)) /* one jump instead of two */
#endif
#endif
#ifndef NOPLT
#define NOPLT
#endif

/* The compiler is to believe that these operators can be replaced, whatever it is told for the rest of the library. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("semantic-interposition")
#endif

/* Exports the static function `own` as the operator `symbol`, and declares `name`: the operator of that symbol which
 * the whole program uses, ours or its replacement. */
#define OPERATOR(name, symbol, own) \
    extern __typeof__(own) name __asm__(symbol) __attribute__((weak, alias(#own))) HKM_EXPORT NOPLT

/* Where the operator was called from. */
#define CALLER __builtin_extract_return_addr(__builtin_return_address(0))

typedef void handler_fn(void);
typedef handler_fn *get_handler_fn(void);
typedef void *new_fn(size_t);
typedef void *nothrow_fn(size_t, const void *);
typedef void *nothrow_aligned_fn(size_t, size_t, const void *);

#if defined PIC && HKM_FEW_NAMES
#define weak_get_handler ((get_handler_fn *)NULL)
#define weak_throw ((handler_fn *)NULL)
/* The name stands among those that the library asks for, so a program with a static runtime exports it; but nothing is looked up. */
#define ASK_FOR(name) __asm__ volatile(".reloc ., BFD_RELOC_NONE, " #name "\n\t.weak " #name)
#else
extern get_handler_fn weak_get_handler __asm__("_ZSt15get_new_handlerv") __attribute__((weak));
extern handler_fn weak_throw __asm__("_ZSt17__throw_bad_allocv") __attribute__((weak));
#define ASK_FOR(name) ((void)0)
#endif

/* A function of the runtime. */
struct function {
    hkm_word address;   /* atomic; 0: not found yet */
    const char name[56];
};
static struct function get_handler = { 0, "_ZSt15get_new_handlerv" };
static struct function throw_bad_alloc = { 0, "_ZSt17__throw_bad_allocv" };
static struct function plain_new = { 0, "_Znw" SZ };
static struct function nothrow = { 0, "_Znw" SZ NOTHROW };
static struct function nothrow_array = { 0, "_Zna" SZ NOTHROW };
static struct function nothrow_aligned = { 0, "_Znw" SZ ALIGN NOTHROW };
static struct function nothrow_aligned_array = { 0, "_Zna" SZ ALIGN NOTHROW };

/* Looks into the known runtimes, in a way that finds them under RTLD_LOCAL too.  libc++.so.1 stands before the library
 * that it is built on: a handle finds what is in a library's dependencies as well.  `not_this` is our own function of
 * that name, which a runtime that depends on us would bring up. */
static HKM_COLD void *find_in_runtimes(const char *name, const void *not_this)
{
    static const char runtimes[][16] = { "libstdc++.so.6", "libc++.so.1", "libc++abi.so.1" };
    for (size_t i = 0; i < sizeof runtimes / sizeof *runtimes; i++) {
        void *handle = LATE(dlopen)(runtimes[i], RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
        if (!handle)
            continue;
        void *address = dlsym(handle, name);
        if (LATE(dlclose))
            LATE(dlclose)(handle); /* the count alone: RTLD_NODELETE has pinned the library */
        if (address && address != not_this)
            return address;
    }
    return NULL;
}

/* Looks into the object that `caller` is in.  The result holds as long as the caller is on the stack. */
static HKM_COLD void *find_in_caller(const char *name, const void *not_this, const void *caller)
{
    Dl_info object;
    if (!LATE(dladdr) || !LATE(dladdr)(caller, &object) || !object.dli_fname)
        return NULL;
    void *handle = LATE(dlopen)(object.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (!handle)
        return NULL;
    void *address = dlsym(handle, name);
    if (LATE(dlclose))
        LATE(dlclose)(handle);
    return address == not_this ? NULL : address;
}

/* `own` is NULL where we have no function of that name; else the global scope would only bring up ours. */
static HKM_COLD void *find(struct function *f, const void *own, const void *caller)
{
    void *address = (void *)hkm_load_acq(&f->address); /* pairs with the store below: the library is ready, too */
    if (address || !dlsym || !LATE(dlopen))
        return address;
    if (!own)
        address = dlsym(RTLD_DEFAULT, f->name); /* makes the library found a dependency of ours: it stays loaded */
    if (!address)
        address = find_in_runtimes(f->name, own);
    if (!address)
        return find_in_caller(f->name, own, caller);
    hkm_store_rel(&f->address, (size_t)address);
    return address;
}

static HKM_COLD handler_fn *current_handler(const void *caller)
{
    get_handler_fn *get = weak_get_handler;
    if (!get)
        get = (get_handler_fn *)find(&get_handler, NULL, caller);
    return get ? get() : NULL;
}

static new_fn own_new;

static HKM_COLD __attribute__((noreturn)) void fail(const void *caller)
{
    ASK_FOR(_ZSt15get_new_handlerv);
    ASK_FOR(_ZSt17__throw_bad_allocv);
    handler_fn *thrower = weak_throw;
    if (!thrower)
        thrower = (handler_fn *)find(&throw_bad_alloc, NULL, caller);
    if (thrower)
        thrower();
    /* The runtime's own operator throws it too, when it is asked for more than there can be. */
    new_fn *of_runtime = (new_fn *)find(&plain_new, (const void *)own_new, caller);
    if (of_runtime)
        of_runtime(SIZE_MAX);
    hkm_os_panic("operator new: out of memory");
}

/* There was no memory.  Asks the handler for some and tries again until there is, or it throws, or there is no handler.
 * alignment 0: any. */
static HKM_COLD void *new_slow(size_t size, size_t alignment, const void *caller)
{
    for (;;) {
        handler_fn *handler = current_handler(caller);
        if (!handler)
            fail(caller);
        handler();
        void *p = alignment ? hkm_alloc_aligned(alignment, size) : hkm_alloc_fast(size);
        if (p)
            return p;
    }
}

/* The four operators that do the work. */

static void *own_new(size_t size)
{
    void *p = hkm_alloc_fast(size);
    if (likely(p))
        return p;
    return new_slow(size, 0, CALLER);
}

static void *own_new_aligned(size_t size, size_t alignment)
{
    if (unlikely(!hkm_is_pow2(alignment)))
        fail(CALLER); /* no handler can mend that */
    void *p = hkm_alloc_aligned(alignment, size);
    if (likely(p))
        return p;
    return new_slow(size, alignment, CALLER);
}

static void own_delete(void *p) { hkm_free_fast(p); }
static void own_delete_aligned(void *p, size_t alignment) { (void)alignment, hkm_free_fast(p); }

OPERATOR(cxx_new, "_Znw" SZ, own_new);
OPERATOR(cxx_new_aligned, "_Znw" SZ ALIGN, own_new_aligned);
OPERATOR(cxx_delete, "_ZdlPv", own_delete);
OPERATOR(cxx_delete_aligned, "_ZdlPv" ALIGN, own_delete_aligned);

/* Those that end in them.  The sizes that delete is told are not believed. */

static void *own_new_array(size_t size) { return cxx_new(size); }
static void *own_new_aligned_array(size_t size, size_t alignment) { return cxx_new_aligned(size, alignment); }
OPERATOR(cxx_new_array, "_Zna" SZ, own_new_array);
OPERATOR(cxx_new_aligned_array, "_Zna" SZ ALIGN, own_new_aligned_array);

static void own_delete_array(void *p) { cxx_delete(p); }
static void own_delete_aligned_array(void *p, size_t alignment) { cxx_delete_aligned(p, alignment); }
OPERATOR(cxx_delete_array, "_ZdaPv", own_delete_array);
OPERATOR(cxx_delete_aligned_array, "_ZdaPv" ALIGN, own_delete_aligned_array);

static void own_delete_sized(void *p, size_t size) { (void)size, cxx_delete(p); }
static void own_delete_sized_array(void *p, size_t size) { (void)size, cxx_delete_array(p); }
OPERATOR(cxx_delete_sized, "_ZdlPv" SZ, own_delete_sized);
OPERATOR(cxx_delete_sized_array, "_ZdaPv" SZ, own_delete_sized_array);

static void own_delete_sized_aligned(void *p, size_t size, size_t alignment)
{
    (void)size, cxx_delete_aligned(p, alignment);
}
static void own_delete_sized_aligned_array(void *p, size_t size, size_t alignment)
{
    (void)size, cxx_delete_aligned_array(p, alignment);
}
OPERATOR(cxx_delete_sized_aligned, "_ZdlPv" SZ ALIGN, own_delete_sized_aligned);
OPERATOR(cxx_delete_sized_aligned_array, "_ZdaPv" SZ ALIGN, own_delete_sized_aligned_array);

static void own_delete_nothrow(void *p, const void *tag) { (void)tag, cxx_delete(p); }
static void own_delete_nothrow_array(void *p, const void *tag) { (void)tag, cxx_delete_array(p); }
OPERATOR(cxx_delete_nothrow, "_ZdlPv" NOTHROW, own_delete_nothrow);
OPERATOR(cxx_delete_nothrow_array, "_ZdaPv" NOTHROW, own_delete_nothrow_array);

static void own_delete_aligned_nothrow(void *p, size_t alignment, const void *tag)
{
    (void)tag, cxx_delete_aligned(p, alignment);
}
static void own_delete_aligned_nothrow_array(void *p, size_t alignment, const void *tag)
{
    (void)tag, cxx_delete_aligned_array(p, alignment);
}
OPERATOR(cxx_delete_aligned_nothrow, "_ZdlPv" ALIGN NOTHROW, own_delete_aligned_nothrow);
OPERATOR(cxx_delete_aligned_nothrow_array, "_ZdaPv" ALIGN NOTHROW, own_delete_aligned_nothrow_array);

/* The nothrow forms of new.  When the throwing form is ours, they go the same fast way.  When that fails, or when the
 * throwing form is not ours, the runtime's nothrow operator calls the throwing form and catches what it throws.  It
 * never calls a nothrow form, so that this cannot go round. */

static nothrow_fn own_nothrow, own_nothrow_array;
static nothrow_aligned_fn own_nothrow_aligned, own_nothrow_aligned_array;

/* Is the operator that the program uses, `global`, another than ours?  The compiler must not answer this. */
#define REPLACED(global, own)                                   \
    __extension__({                                             \
        __typeof__(own) *used = (global);                       \
        __asm__("" : "+r"(used));                               \
        unlikely(used != (own));                                \
    })

static HKM_COLD void *nothrow_slow(size_t size, const void *tag, const void *caller)
{
    void *p = NULL;
    if (current_handler(caller)) { /* without one there is nothing to wait for, and a throw would be for nothing */
        nothrow_fn *of_runtime = (nothrow_fn *)find(&nothrow, (const void *)own_nothrow, caller);
        if (of_runtime)
            p = of_runtime(size, tag);
    }
    if (!p)
        errno = ENOMEM; /* as malloc leaves it; looking up may have changed it */
    return p;
}

static HKM_COLD void *nothrow_aligned_slow(size_t size, size_t alignment, const void *tag, const void *caller)
{
    void *p = NULL;
    if (current_handler(caller)) {
        nothrow_aligned_fn *of_runtime =
            (nothrow_aligned_fn *)find(&nothrow_aligned, (const void *)own_nothrow_aligned, caller);
        if (of_runtime)
            p = of_runtime(size, alignment, tag);
    }
    if (!p)
        errno = ENOMEM;
    return p;
}

/* The throwing form `used` is the program's.  With no runtime's help, it is called all the same: it may have memory,
 * and what it throws then meets a caller that expects nothing to be thrown. */
static HKM_COLD void *nothrow_replaced(struct function *f, nothrow_fn *own, void *(*used)(size_t), size_t size,
                                       const void *tag, const void *caller)
{
    nothrow_fn *of_runtime = (nothrow_fn *)find(f, (const void *)own, caller);
    return of_runtime ? of_runtime(size, tag) : used(size);
}

static HKM_COLD void *nothrow_aligned_replaced(struct function *f, nothrow_aligned_fn *own,
                                               void *(*used)(size_t, size_t), size_t size, size_t alignment,
                                               const void *tag, const void *caller)
{
    nothrow_aligned_fn *of_runtime = (nothrow_aligned_fn *)find(f, (const void *)own, caller);
    return of_runtime ? of_runtime(size, alignment, tag) : used(size, alignment);
}

static void *own_nothrow(size_t size, const void *tag)
{
    if (REPLACED(cxx_new, own_new))
        return nothrow_replaced(&nothrow, own_nothrow, cxx_new, size, tag, CALLER);
    void *p = hkm_alloc_fast(size);
    if (likely(p))
        return p;
    return nothrow_slow(size, tag, CALLER);
}

static void *own_nothrow_array(size_t size, const void *tag)
{
    if (REPLACED(cxx_new_array, own_new_array))
        return nothrow_replaced(&nothrow_array, own_nothrow_array, cxx_new_array, size, tag, CALLER);
    return own_nothrow(size, tag);
}

static void *own_nothrow_aligned(size_t size, size_t alignment, const void *tag)
{
    if (REPLACED(cxx_new_aligned, own_new_aligned))
        return nothrow_aligned_replaced(&nothrow_aligned, own_nothrow_aligned, cxx_new_aligned, size, alignment, tag,
                                        CALLER);
    if (unlikely(!hkm_is_pow2(alignment)))
        return NULL;
    void *p = hkm_alloc_aligned(alignment, size);
    if (likely(p))
        return p;
    return nothrow_aligned_slow(size, alignment, tag, CALLER);
}

static void *own_nothrow_aligned_array(size_t size, size_t alignment, const void *tag)
{
    if (REPLACED(cxx_new_aligned_array, own_new_aligned_array))
        return nothrow_aligned_replaced(&nothrow_aligned_array, own_nothrow_aligned_array, cxx_new_aligned_array, size,
                                        alignment, tag, CALLER);
    return own_nothrow_aligned(size, alignment, tag);
}

OPERATOR(cxx_new_nothrow, "_Znw" SZ NOTHROW, own_nothrow);
OPERATOR(cxx_new_nothrow_array, "_Zna" SZ NOTHROW, own_nothrow_array);
OPERATOR(cxx_new_aligned_nothrow, "_Znw" SZ ALIGN NOTHROW, own_nothrow_aligned);
OPERATOR(cxx_new_aligned_nothrow_array, "_Zna" SZ ALIGN NOTHROW, own_nothrow_aligned_array);
