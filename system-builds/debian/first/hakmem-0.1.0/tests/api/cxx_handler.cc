// SPDX-License-Identifier: MIT
// SPDX-FileCopyrightText: 2026 The libhakmem authors
//
// cxx_handler.cc: what operator new does when there is no memory: std::bad_alloc, NULL from the nothrow forms, and the
// new handler, which may find memory, give way to another, throw, allocate, or be changed at any time.

#include "cxx_tap.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <thread>
#include <vector>

// Nothing in a statically linked program can catch for the nothrow forms, which so don't call a handler at all.
#ifdef TEST_STATIC
#define NOTHROW_CALLS(n) 0
#else
#define NOTHROW_CALLS(n) (n)
#endif

namespace {

using S = std::size_t;
using A = std::align_val_t;

const S beyond[] = {S(PTRDIFF_MAX) + 1, S(PTRDIFF_MAX), SIZE_MAX / 2 - (sizeof(S) < 8 ? 0 : 4096), SIZE_MAX - 4096, SIZE_MAX - 15, SIZE_MAX};

struct Form {
    const char *name;
    std::function<void *(S)> make;
};
const Form throwing[] = {
    {"new", [](S n) { return ::operator new(n); }},
    {"new[]", [](S n) { return ::operator new[](n); }},
    {"aligned new", [](S n) { return ::operator new(n, A(64)); }},
    {"aligned new[]", [](S n) { return ::operator new[](n, A(8192)); }},
};
const Form nothrow[] = {
    {"nothrow new", [](S n) { return ::operator new(n, std::nothrow); }},
    {"nothrow new[]", [](S n) { return ::operator new[](n, std::nothrow); }},
    {"aligned nothrow new", [](S n) { return ::operator new(n, A(64), std::nothrow); }},
    {"aligned nothrow new[]", [](S n) { return ::operator new[](n, A(8192), std::nothrow); }},
};

enum Result { block, null, bad_alloc, mine, other };
struct Mine {
    std::string text;
};
std::atomic<int> calls;

Result attempt(const Form &form, S size)
{
    // Something for the unwinding to destroy.
    std::string witness(100, 'w');
    try {
        void *p = form.make(size);
        if (!p)
            return null;
        std::free(p);
        return block;
    } catch (const std::bad_alloc &) {
        return bad_alloc;
    } catch (const Mine &m) {
        return m.text == "mine, and longer than a short string" ? mine : other;
    } catch (...) {
        return other;
    }
}

void throw_mine()
{
    calls++;
    throw Mine{"mine, and longer than a short string"};
}

void give_up()
{
    calls++;
    std::set_new_handler(nullptr);
}

void second_of_two()
{
    calls += 100;
    std::set_new_handler(nullptr);
}

void first_of_two()
{
    calls += 10;
    std::set_new_handler(second_of_two);
}

void allocate_inside()
{
    calls++;
    std::vector<std::string> strings(1000, std::string(100, 'a'));
    if (strings[999].size() == 100)
        std::set_new_handler(nullptr);
}

void check_without_handler()
{
    for (const Form &form : throwing) {
        bool good = true;
        for (S size : beyond)
            good = good && attempt(form, size) == bad_alloc;
        ok(good, "%s: std::bad_alloc for sizes that cannot be", form.name);
    }
    for (const Form &form : nothrow) {
        bool good = true;
        for (S size : beyond) {
            errno = 0;
            good = good && attempt(form, size) == null && errno == ENOMEM;
        }
        ok(good, "%s: NULL for sizes that cannot be", form.name);
    }
    bool good = false;
    try {
        volatile S count = SIZE_MAX / 8;
        auto *volatile array = new long long[count]; // volatile: a compiler may leave out an unused new and delete
        delete[] array;
    } catch (const std::bad_alloc &) { // std::bad_array_new_length is one
        good = true;
    }
    ok(good, "new expression of too many elements");
    good = true;
    for (int i = 0; i < 20000; i++)
        good = good && attempt(throwing[i % 4], SIZE_MAX) == bad_alloc && attempt(throwing[i % 4], 100) == block;
    ok(good, "20000 failures, and service in between");
}

void check_handlers()
{
    for (const Form &form : throwing) {
        calls = 0;
        std::set_new_handler(throw_mine);
        Result result = attempt(form, SIZE_MAX / 2);
        ok(result == mine && calls == 1, "%s: a handler's own exception comes through", form.name);
        calls = 0;
        std::set_new_handler(give_up);
        result = attempt(form, SIZE_MAX / 2);
        ok(result == bad_alloc && calls == 1, "%s: a handler that takes itself away", form.name);
        calls = 0;
        std::set_new_handler(first_of_two);
        result = attempt(form, SIZE_MAX / 2);
        ok(result == bad_alloc && calls == 110, "%s: a handler that installs another", form.name);
        calls = 0;
        std::set_new_handler(allocate_inside);
        result = attempt(form, SIZE_MAX / 2);
        ok(result == bad_alloc && calls == 1, "%s: a handler that allocates", form.name);
    }
    for (const Form &form : nothrow) {
        calls = 0;
        std::set_new_handler(throw_mine);
        errno = 0;
        Result result = attempt(form, SIZE_MAX / 2);
        ok(result == null && errno == ENOMEM && calls == NOTHROW_CALLS(1), "%s: NULL when the handler throws",
           form.name);
        calls = 0;
        std::set_new_handler(first_of_two);
        result = attempt(form, SIZE_MAX / 2);
        ok(result == null && calls == NOTHROW_CALLS(110), "%s: NULL when the handlers give up", form.name);
    }
    std::set_new_handler(nullptr);
}

void check_bad_alignments()
{
    std::set_new_handler(throw_mine);
    calls = 0;
    bool good = true;
    for (S alignment : {S(0), S(3), S(24), S(48), SIZE_MAX}) {
        Form form = {"", [&](S n) { return ::operator new(n, A(alignment)); }};
        good = good && attempt(form, 100) == bad_alloc;
        form.make = [&](S n) { return ::operator new[](n, A(alignment)); };
        good = good && attempt(form, 100) == bad_alloc;
        form.make = [&](S n) { return ::operator new(n, A(alignment), std::nothrow); };
        good = good && attempt(form, 100) == null;
        form.make = [&](S n) { return ::operator new[](n, A(alignment), std::nothrow); };
        good = good && attempt(form, 100) == null;
    }
    ok(good && calls == 0, "alignments that are no power of two: failure, without the handler");
    std::set_new_handler(nullptr);
}

// The address space is made too small for `wanted`, as long as the ballast is there.
const S wanted = S(256) << 20, ballast_size = S(1) << 30;
void *ballast;

void drop_ballast()
{
    if (++calls > 1 || munmap(ballast, ballast_size))
        throw Mine{"no more"};
}

void check_retry(const Form &form, int handler_calls)
{
    ballast = mmap(nullptr, ballast_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    unsigned long long pages = 0;
    if (FILE *statm = fopen("/proc/self/statm", "r")) {
        if (fscanf(statm, "%llu", &pages) != 1)
            pages = 0;
        fclose(statm);
    }
    rlimit saved, small;
    getrlimit(RLIMIT_AS, &saved);
    small = saved;
    small.rlim_cur = rlim_t(pages * 4096 + (S(64) << 20));
    if (ballast == MAP_FAILED || !pages || sizeof(void *) < 8 || getenv("TEST_EMULATOR") ||
        setrlimit(RLIMIT_AS, &small)) {
        ok(1, "%s: a handler that frees memory # SKIP no limit on the address space", form.name);
        return;
    }
    calls = 0;
    std::set_new_handler(drop_ballast);
    Result result = attempt(form, wanted);
    std::set_new_handler(nullptr);
    setrlimit(RLIMIT_AS, &saved);
    ok(result == (handler_calls ? block : null) && calls == handler_calls, "%s: a handler that frees memory, and on",
       form.name);
    if (!handler_calls)
        munmap(ballast, ballast_size);
}

void check_changing_handlers()
{
    std::atomic<bool> stop(false), good(true);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++)
        threads.emplace_back([&, i] {
            for (int n = 0; n < 3000; n++) {
                Result result = attempt(throwing[(i + n) % 4], SIZE_MAX / 2 + 1 + S(n));
                if (result != bad_alloc && result != mine)
                    good = false;
                if (attempt(nothrow[(i + n) % 4], SIZE_MAX / 2 + 1 + S(n)) != null)
                    good = false;
            }
        });
    std::thread changer([&] {
        while (!stop) {
            std::set_new_handler(throw_mine);
            std::set_new_handler(nullptr);
        }
    });
    for (auto &thread : threads)
        thread.join();
    stop = true;
    changer.join();
    std::set_new_handler(nullptr);
    ok(good, "handlers that change while three threads fail");
}

} // namespace

int main()
{
    tap_start();
    ok(in_hakmem(OPERATOR_NEW), "operator new is libhakmem's");
    check_without_handler();
    check_handlers();
    check_bad_alignments();
    for (const Form &form : throwing)
        check_retry(form, 1);
    for (const Form &form : nothrow)
        check_retry(form, NOTHROW_CALLS(1));
    check_changing_handlers();
    return tap_done();
}
