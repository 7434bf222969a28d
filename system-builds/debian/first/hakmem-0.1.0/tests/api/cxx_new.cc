// SPDX-License-Identifier: MIT
// SPDX-FileCopyrightText: 2026 The libhakmem authors
//
// cxx_new.cc: every form of operator new and operator delete gives and takes blocks that are aligned, apart from each
// other, and whole; and the standard library lives on them.

#include "cxx_tap.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

// Not every compiler declares these unless told.
void operator delete(void *, std::size_t) noexcept;
void operator delete[](void *, std::size_t) noexcept;
void operator delete(void *, std::size_t, std::align_val_t) noexcept;
void operator delete[](void *, std::size_t, std::align_val_t) noexcept;

namespace {

const std::size_t sizes[] = {
    0, 1, 7, 8, 15, 16, 17, 24, 31, 32, 33, 64, 100, 128, 255, 256, 257, 511, 512, 1000, 1023, 1024, 1025, 1500,
    2048, 4095, 4096, 4097, 8192, 9000, 20000, 32767, 32768, 32769, 65536, 100000, 262144, 999999, 1048575,
    1048576, 1048577, 3000000, 33554432,
};

struct Form {
    const char *name;
    std::function<void *(std::size_t, std::align_val_t)> make;
    std::function<void(void *, std::size_t, std::align_val_t)> drop;
    bool aligned;
};

using A = std::align_val_t;
using S = std::size_t;
const Form forms[] = {
    {"new / delete", [](S n, A) { return ::operator new(n); }, [](void *p, S, A) { ::operator delete(p); }, false},
    {"new[] / delete[]", [](S n, A) { return ::operator new[](n); }, [](void *p, S, A) { ::operator delete[](p); },
     false},
    {"new / sized delete", [](S n, A) { return ::operator new(n); }, [](void *p, S n, A) { ::operator delete(p, n); },
     false},
    {"new[] / sized delete[]", [](S n, A) { return ::operator new[](n); },
     [](void *p, S n, A) { ::operator delete[](p, n); }, false},
    {"nothrow new / nothrow delete", [](S n, A) { return ::operator new(n, std::nothrow); },
     [](void *p, S, A) { ::operator delete(p, std::nothrow); }, false},
    {"nothrow new[] / nothrow delete[]", [](S n, A) { return ::operator new[](n, std::nothrow); },
     [](void *p, S, A) { ::operator delete[](p, std::nothrow); }, false},
    {"aligned new / aligned delete", [](S n, A a) { return ::operator new(n, a); },
     [](void *p, S, A a) { ::operator delete(p, a); }, true},
    {"aligned new[] / aligned delete[]", [](S n, A a) { return ::operator new[](n, a); },
     [](void *p, S, A a) { ::operator delete[](p, a); }, true},
    {"aligned new / aligned sized delete", [](S n, A a) { return ::operator new(n, a); },
     [](void *p, S n, A a) { ::operator delete(p, n, a); }, true},
    {"aligned new[] / aligned sized delete[]", [](S n, A a) { return ::operator new[](n, a); },
     [](void *p, S n, A a) { ::operator delete[](p, n, a); }, true},
    {"aligned nothrow new / aligned nothrow delete", [](S n, A a) { return ::operator new(n, a, std::nothrow); },
     [](void *p, S, A a) { ::operator delete(p, a, std::nothrow); }, true},
    {"aligned nothrow new[] / aligned nothrow delete[]", [](S n, A a) { return ::operator new[](n, a, std::nothrow); },
     [](void *p, S, A a) { ::operator delete[](p, a, std::nothrow); }, true},
    {"new / free", [](S n, A) { return ::operator new(n); }, [](void *p, S, A) { std::free(p); }, false},
    {"malloc / delete", [](S n, A) { return std::malloc(n); }, [](void *p, S, A) { ::operator delete(p); }, false},
    // A size that is a lie changes nothing.
    {"new / delete with sizes too big", [](S n, A) { return ::operator new(n); },
     [](void *p, S n, A) { ::operator delete(p, n * 2 + 4096); }, false},
    {"new[] / delete[] with size 0", [](S n, A) { return ::operator new[](n); },
     [](void *p, S, A) { ::operator delete[](p, S(0)); }, false},
    {"aligned new / aligned delete with sizes too small", [](S n, A a) { return ::operator new(n, a); },
     [](void *p, S n, A a) { ::operator delete(p, n / 2, a); }, true},
    {"aligned new[] / aligned delete[] with sizes too big", [](S n, A a) { return ::operator new[](n, a); },
     [](void *p, S n, A a) { ::operator delete[](p, n * 3 + 100000, a); }, true},
    {"aligned new / delete with alignments that are wrong", [](S n, A a) { return ::operator new(n, a); },
     [](void *p, S n, A a) { ::operator delete(p, n, A(S(a) * 4)); }, true},
    {"new / aligned sized delete", [](S n, A) { return ::operator new(n); },
     [](void *p, S n, A) { ::operator delete(p, n + 1, A(4096)); }, false},
    {"aligned new / delete without the alignment", [](S n, A a) { return ::operator new(n, a); },
     [](void *p, S n, A) { ::operator delete(p, n); }, true},
};

struct Block {
    unsigned char *p;
    std::size_t size, alignment;
    unsigned char fill;
};

bool whole(const Block &b)
{
    return std::all_of(b.p, b.p + b.size, [&](unsigned char c) { return c == b.fill; });
}

void check_form(const Form &form)
{
    std::vector<Block> blocks;
    bool given = true, aligned = true, intact = true, apart = true;
    for (int round = 0; round < 2; round++) {
        for (std::size_t size : sizes)
            for (std::size_t alignment = 16; alignment <= (form.aligned ? 65536 : 16); alignment *= 4) {
                void *p = form.make(size, A(alignment));
                given = given && p;
                aligned = aligned && reinterpret_cast<std::uintptr_t>(p) % alignment == 0;
                if (!p)
                    continue;
                Block b = {static_cast<unsigned char *>(p), size, alignment,
                           static_cast<unsigned char>(blocks.size() * 7 + 1)};
                std::memset(b.p, b.fill, b.size);
                blocks.push_back(b);
            }
        std::sort(blocks.begin(), blocks.end(), [](const Block &x, const Block &y) { return x.p < y.p; });
        for (std::size_t i = 1; i < blocks.size(); i++)
            apart = apart && blocks[i - 1].p + std::max<std::size_t>(blocks[i - 1].size, 1) <= blocks[i].p;
        std::shuffle(blocks.begin(), blocks.end(), std::mt19937(round + 1));
        // The first round leaves half of the blocks for the second to live among.
        while (blocks.size() > (round ? 0 : std::size(sizes) / 2)) {
            Block b = blocks.back();
            blocks.pop_back();
            intact = intact && whole(b);
            form.drop(b.p, b.size, A(b.alignment));
        }
    }
    ok(given && aligned && apart && intact, "%s%s%s%s%s", form.name, given ? "" : ": no block",
       aligned ? "" : ": misaligned", apart ? "" : ": overlapping", intact ? "" : ": overwritten");
}

void check_small_alignments()
{
    bool good = true;
    for (std::size_t alignment = 1; alignment <= 16; alignment *= 2) {
        void *p = ::operator new(40, A(alignment)), *q = ::operator new[](40, A(alignment), std::nothrow);
        good = good && p && q && p != q && reinterpret_cast<std::uintptr_t>(p) % alignment == 0;
        ::operator delete(p, A(alignment));
        ::operator delete[](q, A(alignment));
    }
    ok(good, "alignments of 1 to 16");
    const std::size_t huge = std::size_t(1) << 26;
    void *p = ::operator new(100, A(huge));
    ok(p && reinterpret_cast<std::uintptr_t>(p) % huge == 0, "alignment of 64 MiB");
    ::operator delete(p, A(huge));
}

void check_null()
{
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    ::operator delete(nullptr, std::size_t(8));
    ::operator delete[](nullptr, std::size_t(8));
    ::operator delete(nullptr, std::nothrow);
    ::operator delete[](nullptr, std::nothrow);
    ::operator delete(nullptr, A(64));
    ::operator delete[](nullptr, A(64));
    ::operator delete(nullptr, std::size_t(8), A(64));
    ::operator delete[](nullptr, std::size_t(8), A(64));
    ::operator delete(nullptr, A(64), std::nothrow);
    ::operator delete[](nullptr, A(64), std::nothrow);
    ok(true, "every delete takes NULL");
}

struct alignas(128) Overaligned {
    std::string text = "overaligned, and longer than a short string";
    virtual ~Overaligned() = default;
};
struct Derived : Overaligned {
    std::vector<int> more = std::vector<int>(1000, 3);
};

// Some compilers put 8 bytes in front of an array, whatever its alignment.
#ifdef __ARM_EABI__
constexpr std::uintptr_t array_offset = 8;
#else
constexpr std::uintptr_t array_offset = 0;
#endif

void check_expressions()
{
    auto *array = new std::string[300];
    for (int i = 0; i < 300; i++)
        array[i] = std::string(i, 'x');
    bool good = array[299].size() == 299;
    delete[] array;
    Overaligned *object = new Derived;
    good = good && reinterpret_cast<std::uintptr_t>(object) % 128 == 0;
    delete object;
    auto *objects = new Overaligned[10];
    good = good && reinterpret_cast<std::uintptr_t>(objects) % 128 == array_offset;
    delete[] objects;
    ok(good, "new and delete expressions: arrays, overaligned objects, through a base class");

    // A constructor that throws gives the block back by the matching delete.
    struct Thrower {
        std::string text = std::string(100, 't');
        Thrower() { throw 7; }
    };
    int caught = 0;
    for (int i = 0; i < 1000; i++)
        try {
            if (i % 2)
                delete new Thrower;
            else
                delete new (std::nothrow) Thrower;
        } catch (int seven) {
            caught += seven;
        }
    ok(caught == 7000, "constructors that throw");
}

std::size_t workload(unsigned seed)
{
    std::mt19937 random(seed);
    std::map<int, std::string> map;
    std::unordered_map<std::string, std::vector<int>> hash;
    std::list<std::deque<int>> list;
    std::vector<std::shared_ptr<std::string>> shared;
    std::size_t sum = 0;
    for (int i = 0; i < 20000; i++) {
        unsigned r = random();
        map[r % 2000] += std::string(r % 50, char('a' + r % 26));
        hash[std::to_string(r % 500)].push_back(i);
        if (r % 5 == 0)
            list.emplace_back(r % 600, i);
        if (r % 7 == 0 && !list.empty())
            list.pop_front();
        if (r % 11 == 0)
            map.erase(int(r / 11 % 2000));
        shared.push_back(std::make_shared<std::string>(r % 200, 's'));
        if (shared.size() > 300) {
            std::swap(shared[r % 300], shared.back());
            shared.pop_back();
        }
    }
    std::vector<std::string> words;
    for (auto &entry : map)
        words.push_back(entry.second);
    std::stable_sort(words.begin(), words.end()); // its buffer comes from nothrow new
    std::ostringstream out;
    for (auto &word : words)
        out << word.size() << ' ';
    sum = out.str().size() + words.size();
    for (auto &entry : hash)
        sum += entry.second.size();
    for (auto &d : list)
        sum += d.size();
    for (auto &s : shared)
        sum += std::size_t(std::count(s->begin(), s->end(), 's'));
    return sum;
}

void check_containers()
{
    std::size_t first = workload(1), again = workload(1);
    ok(first == again && first > 20000, "standard containers");
    std::vector<std::size_t> sums(4);
    std::vector<std::thread> threads;
    for (auto &sum : sums)
        threads.emplace_back([&sum] { sum = workload(1); });
    for (auto &thread : threads)
        thread.join();
    ok(std::all_of(sums.begin(), sums.end(), [&](std::size_t sum) { return sum == first; }),
       "standard containers in four threads");

    // Born in one thread, dead in another.
    auto *strings = new std::vector<std::string>;
    std::thread([&] {
        for (int i = 0; i < 10000; i++)
            strings->push_back(std::string(std::size_t(i % 300), char('a' + i % 26)));
    }).join();
    bool good = (*strings)[9999] == std::string(99, char('a' + 9999 % 26));
    delete strings;
    ok(good, "objects that outlive the thread that made them");
}

} // namespace

int main()
{
    tap_start();
    ok(in_hakmem(OPERATOR_NEW), "operator new is libhakmem's");
    for (const Form &form : forms)
        check_form(form);
    check_small_alignments();
    check_null();
    check_expressions();
    check_containers();
    return tap_done();
}
