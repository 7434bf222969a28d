/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * words.cc: counts the words of its standard input, and tells what that took.  Nothing in it but the last lines knows of
 * HAKMEM, which serves operator new and delete of every program that is linked with it.
 */
#include <hakmem.h>

#include <iostream>
#include <map>
#include <string>

int main()
{
    std::map<std::string, unsigned long> words;
    for (std::string word; std::cin >> word;)
        words[word]++;
    std::cout << words.size() << " different words\n";

    hak_stats stats;
    if (hak_stats_get(&stats, sizeof stats) != 0)
        return 1;
    std::cout << stats.live_blocks << " blocks with " << stats.live_bytes / 1024 << " KiB, by HAKMEM " << hak_version()
              << "\n";
    return 0;
}
