#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# perl.sh: perl under HAKMEM: hashes, regular expressions, sorting, closures, fork, pipes.
# shellcheck disable=SC2317  # ok calls the functions
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/common.sh"
need_so
need perl

cat >"$scratch/work.pl" <<'EOF'
use strict;
use warnings;

sub work {
    my ($seed) = @_;
    my %seen;
    my $x = $seed;
    for my $i (1 .. 50000) {
        $x = ($x * 1103515245 + 12345) % 2147483648;
        push @{ $seen{ "k" . ($x % 5000) } }, "v$x";
    }
    my $text = join ";", map { "$_=" . join(",", sort @{ $seen{$_} }) } sort keys %seen;
    my $n = () = $text =~ /v(\d+)/g;
    die "lost: $n" unless $n == 50000;
    (my $other = $text) =~ s/v(\d+)/<$1>/g;
    my @subs = map { my $k = $_; sub { $k * 2 } } 1 .. 10000;
    my $sum = 0;
    $sum += $_->() for @subs;
    my $big = "x" x 30_000_000;
    $big .= "y" x 3_000_000;
    my $check = unpack "%32C*", $text . $other;
    return "$seed $sum " . length($big) . " $check " . length $text;
}

print work($_), "\n" for 1 .. 3;
for my $seed (4 .. 7) {
    my $pid = open(my $child, "-|") // die "fork: $!";
    if (!$pid) {
        print work($seed), "\n";
        exit 0;
    }
    print while <$child>;
    close $child or die "child: $?";
}
my $out = qx{$^X -e 'print join(",", map { \$_ * \$_ } 1 .. 1000)'};
die "qx" unless $? == 0;
print length($out), "\n";
EOF

plain() { perl "$scratch/work.pl" >"$scratch/expected"; }
run() { preloaded perl "$scratch/work.pl" >"$scratch/got"; }
if ok "the script works without HAKMEM" plain; then
    ok "the script works" run
    ok "its result is the same" same "$scratch/expected" "$scratch/got"
    ok "HAKMEM served it" engaged
    ok "and its children" engaged_processes 5
fi
done_testing
