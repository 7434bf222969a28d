// SPDX-License-Identifier: MIT
// SPDX-FileCopyrightText: 2026 The libhakmem authors
//
// cxx_plugin.cc: the C++ library that the C program cxx_local.c loads with RTLD_LOCAL.  Each function returns 1 when
// all was well.

#include <map>
#include <new>
#include <string>
#include <vector>

namespace {

int calls;
struct Mine {};

void throw_mine()
{
    calls++;
    throw Mine();
}

void give_up()
{
    calls++;
    std::set_new_handler(nullptr);
}

volatile std::size_t too_much = std::size_t(-1) / 2;

} // namespace

extern "C" {

int plugin_containers()
{
    std::map<std::string, std::vector<int>> map;
    for (int i = 0; i < 20000; i++)
        map[std::to_string(i % 777)].push_back(i);
    return map.size() == 777 && map["5"].size() == 26;
}

int plugin_bad_alloc()
{
    int caught = 0;
    try {
        ::operator delete(::operator new(too_much));
    } catch (const std::bad_alloc &) {
        caught++;
    }
    try {
        ::operator delete[](::operator new[](too_much, std::align_val_t(64)), std::align_val_t(64));
    } catch (const std::bad_alloc &) {
        caught++;
    }
    return caught == 2;
}

int plugin_handler()
{
    int caught = 0;
    calls = 0;
    std::set_new_handler(throw_mine);
    try {
        ::operator delete(::operator new(too_much));
    } catch (const Mine &) {
        caught++;
    }
    std::set_new_handler(give_up);
    try {
        ::operator delete(::operator new(too_much, std::align_val_t(4096)), std::align_val_t(4096));
    } catch (const std::bad_alloc &) {
        caught++;
    }
    return caught == 2 && calls == 2;
}

int plugin_nothrow()
{
    int nulls = 0;
    calls = 0;
    for (auto handler : {throw_mine, give_up}) {
        std::set_new_handler(handler);
        nulls += !::operator new(too_much, std::nothrow);
        std::set_new_handler(handler);
        nulls += !::operator new[](too_much, std::nothrow);
        std::set_new_handler(handler);
        nulls += !::operator new(too_much, std::align_val_t(64), std::nothrow);
        std::set_new_handler(handler);
        nulls += !::operator new[](too_much, std::align_val_t(64), std::nothrow);
    }
    std::set_new_handler(nullptr);
    nulls += !::operator new(too_much, std::nothrow);
    return nulls == 9 && calls == 8;
}
}
