// SPDX-License-Identifier: MIT
// SPDX-FileCopyrightText: 2026 The libhakmem authors
//
// cxx_replace.cc: a program that replaces only the plain operator new and operator delete, and puts a header before
// each block.  By the standard all other plain forms go through these two; a form that went straight to HAKMEM would
// hand a header's address to free, or a block without a header to the program.

#include "cxx_tap.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wsized-deallocation" // the point of this test
#endif

void operator delete(void *, std::size_t) noexcept;
void operator delete[](void *, std::size_t) noexcept;

namespace {

struct alignas(16) Header {
    unsigned long long magic;
};
const unsigned long long alive = 0x68616b6d656d2121, dead = 0xdeaddeaddeaddead;
long made, dropped, wrong;
bool refuse;

} // namespace

void *operator new(std::size_t size)
{
    if (refuse)
        throw std::bad_alloc();
    auto *header = static_cast<Header *>(std::malloc(sizeof(Header) + size));
    if (!header)
        throw std::bad_alloc();
    header->magic = alive;
    made++;
    return header + 1;
}

void operator delete(void *p) noexcept
{
    if (!p)
        return;
    Header *header = static_cast<Header *>(p) - 1;
    if (header->magic != alive) {
        wrong++;
        return;
    }
    header->magic = dead;
    dropped++;
    std::free(header);
}

static void check(const char *name, void *made_block, void (*drop)(void *))
{
    void *volatile p = made_block; // a compiler that sees both calls may leave out a pair of new and delete
    bool taken = p && made == 1;
    drop(p);
    ok(taken && dropped == 1 && !wrong, "%s", name);
    made = dropped = wrong = 0;
}

int main()
{
    tap_start();
    ok(linked_statically() || !in_hakmem(OPERATOR_NEW), "operator new is the program's");
    made = dropped = wrong = 0;
    check("new, delete", ::operator new(40), [](void *p) { ::operator delete(p); });
    check("new, sized delete", ::operator new(40), [](void *p) { ::operator delete(p, std::size_t(40)); });
    check("new[], delete[]", ::operator new[](40), [](void *p) { ::operator delete[](p); });
    check("new[], sized delete[]", ::operator new[](40), [](void *p) { ::operator delete[](p, std::size_t(40)); });
    check("new, nothrow delete", ::operator new(40), [](void *p) { ::operator delete(p, std::nothrow); });
    check("new[], nothrow delete[]", ::operator new[](40), [](void *p) { ::operator delete[](p, std::nothrow); });
    check("nothrow new, delete", ::operator new(40, std::nothrow), [](void *p) { ::operator delete(p); });
    check("nothrow new[], delete[]", ::operator new[](40, std::nothrow), [](void *p) { ::operator delete[](p); });

    {
        std::vector<std::string> words;
        for (int i = 0; i < 2000; i++)
            words.push_back(std::string(std::size_t(i * 37 % 101), 'x'));
        std::stable_sort(words.begin(), words.end()); // nothrow new
        auto shared = std::make_shared<std::string>(words[1999]);
        ok(shared->size() == 100, "standard containers");
    }
    ok(made == dropped && made > 100 && !wrong, "every object went through both operators");

    refuse = true;
#ifndef TEST_STATIC // there, nobody can catch for HAKMEM: newdelete.c
    ok(!::operator new(40, std::nothrow) && !::operator new[](40, std::nothrow),
       "nothrow new catches what the program's operator new throws");
#endif
    bool caught = false;
    try {
        ::operator delete[](::operator new[](40));
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    refuse = false;
    ok(caught, "new[] lets it through");
    return tap_done();
}
