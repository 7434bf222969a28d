#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# gxx.sh: the C++ compiler under HAKMEM, with templates enough to work its memory: the same object code as without, and
# the program, with containers, exceptions and threads, runs under HAKMEM too.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
need g++

cat >"$scratch/program.cc" <<'EOF'
#include <algorithm>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <vector>

template <int N> struct Tower {
    using type = std::tuple<std::string, std::map<int, std::vector<typename Tower<N - 1>::type>>>;
};
template <> struct Tower<0> { using type = std::shared_ptr<std::string>; };

static unsigned long work(unsigned seed)
{
    std::map<std::string, std::vector<std::string>> table;
    std::unordered_map<unsigned, std::unique_ptr<std::string>> owned;
    for (unsigned i = 0; i < 20000; i++) {
        seed = seed * 1664525u + 1013904223u;
        std::ostringstream out;
        out << "key" << seed % 997;
        table[out.str()].push_back(std::string(seed % 200, 'a' + seed % 26));
        owned[seed % 5000] = std::make_unique<std::string>(out.str());
    }
    unsigned long sum = 0;
    for (auto &[key, values] : table) {
        std::sort(values.begin(), values.end());
        sum = sum * 31 + key.size() + values.size() + values.front().size();
    }
    std::regex digits("([a-z]+)([0-9]+)");
    for (auto &entry : table) {
        std::smatch match;
        if (std::regex_match(entry.first, match, digits))
            sum += match[2].length();
    }
    for (int i = 0; i < 1000; i++) {
        try {
            throw std::runtime_error(std::string(100 + i, 'e'));
        } catch (const std::exception &e) {
            sum += std::string(e.what()).size();
        }
    }
    return sum;
}

int main()
{
    Tower<5>::type tower;
    std::get<0>(tower) = "tower";
    std::get<1>(tower)[3].resize(10);
    std::vector<std::future<unsigned long>> futures;
    for (unsigned i = 1; i <= 6; i++)
        futures.push_back(std::async(std::launch::async, work, i));
    for (auto &f : futures)
        std::cout << f.get() << "\n";
    std::cout << std::get<0>(tower) << std::get<1>(tower)[3].size() << "\n";
}
EOF
cd "$scratch" || exit 99
compile() { preloaded g++ -std=c++17 -O1 -c program.cc -o hakmem.o; }
link_it() { preloaded g++ hakmem.o -pthread -o hakmem; }
run_it() { preloaded ./hakmem >got; }
plain() { g++ -std=c++17 -O1 -c program.cc -o plain.o && g++ plain.o -pthread -o plain && ./plain >expected; }
if ok "g++ works without HAKMEM" plain; then
    ok "g++ compiles" compile
    ok "HAKMEM served it" engaged
    ok "and cc1plus and as" engaged_processes 3
    ok "the object file is the same" cmp plain.o hakmem.o
    ok "g++ links" link_it
    ok "HAKMEM served it" engaged
    ok "the program runs" run_it
    ok "HAKMEM served it" engaged
    ok "its result is the same" same expected got
fi
done_testing
