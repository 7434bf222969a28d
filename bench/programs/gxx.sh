#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# gxx.sh FOLDER OPTION...: for the bench line of g++. Writes a C++ program into that folder, of templates and the
# standard library, compiles it with the options, and runs it: fails when its sum is wrong. (CXX: another compiler than
# g++.)
set -eu
if [ $# -lt 1 ] || [ ! -d "$1" ]; then
    echo "usage: gxx.sh FOLDER [OPTION]..." >&2
    exit 2
fi
cxx=${CXX:-g++}
command -v "$cxx" >/dev/null || { echo "gxx.sh: $cxx is not installed (Debian package g++)" >&2; exit 127; }
cd "$1"
shift
awk 'BEGIN {
    print "#include <algorithm>\n#include <cstdint>\n#include <cstdio>\n#include <functional>\n#include <map>\n#include <memory>"
    print "#include <string>\n#include <unordered_map>\n#include <vector>\n"
    print "template <int N> struct value { std::uint32_t v[N]; bool operator<(const value &o) const { return v[0] < o.v[0]; } };"
    print "template <int N> std::uint32_t work(std::uint32_t x)\n{\n    std::map<value<N>, std::vector<std::unique_ptr<value<N>>>> m;"
    print "    std::unordered_map<std::string, std::function<std::uint32_t(const value<N> &)>> f;"
    print "    for (std::uint32_t i = 0; i < 20 + N; i++) {\n        value<N> k{};\n        k.v[0] = x = x * 1664525u + 1013904223u;"
    print "        m[k].push_back(std::make_unique<value<N>>(k));"
    print "        f[std::to_string(i % 7)] = [i](const value<N> &a) { return a.v[0] ^ i * N; };\n    }"
    print "    std::vector<std::uint32_t> out;\n    for (auto &p : m)\n        for (auto &q : p.second)\n            out.push_back(f[std::to_string(out.size() % 7)](*q));"
    print "    std::sort(out.begin(), out.end(), [](auto a, auto b) { return a % N != b % N ? a % N < b % N : a < b; });"
    print "    for (auto o : out)\n        x = x * 31 + o;\n    return x;\n}\n"
    print "int main()\n{\n    std::uint32_t sum = 1;"
    for (n = 1; n <= 3; n++)
        printf "    sum += work<%d>(sum);\n", n
    print "    std::printf(\"%08x\\n\", static_cast<unsigned>(sum));\n}"
}' >program.cc
"$cxx" -w -std=c++17 "$@" -o program program.cc
sum=$(./program)
echo "checksum $sum"
[ "$sum" = 49369f16 ] || { echo "gxx.sh: the program that it made is wrong" >&2; exit 1; }
