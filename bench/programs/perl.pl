# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# perl.pl [TIMES]: what Perl programs do with memory: lines that are split, matched, changed and joined, hashes of hashes
# and of arrays, sorting, strings that grow. For the bench line of perl. Ends with 1 when what came out is wrong.
use strict;
use warnings;

my $times = @ARGV ? $ARGV[0] : 6;
if (@ARGV > 1 || $times !~ /^[1-9][0-9]*$/) {
    print STDERR "usage: perl perl.pl [TIMES]\n";
    exit 2;
}

my $seed;
sub number { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed >> 8; }

sub work {
    $seed = 1;
    my @lines;
    for (1 .. 12000) {
        my ($host, $page, $ms, $more) = (number() % 300, number() % 2000, number() % 600, number() % 80);
        push @lines, join ' ', "host$host", "GET", "/page$page", $ms, "ms", 'x' x $more;
    }
    my (%hosts, %pages);
    for my $line (@lines) {
        my ($host, undef, $page, $ms) = split / /, $line;
        $hosts{$host}{$page}++;
        push @{$pages{$page}}, $ms;
    }
    my $report = '';
    for my $host (sort keys %hosts) {
        my $h = $hosts{$host};
        my @top = sort { $h->{$b} <=> $h->{$a} || $a cmp $b } keys %$h;
        $report .= "$host: " . join(', ', map { "$_ ($h->{$_})" } @top[0 .. ($#top < 9 ? $#top : 9)]) . "\n";
    }
    for my $page (sort keys %pages) {
        my @ms = sort { $a <=> $b } @{$pages{$page}};
        $report .= sprintf "%s median %d of %d\n", $page, $ms[@ms / 2], scalar @ms;
    }
    (my $upper = $report) =~ s/(host|page)(\d+)/\U$1\E-$2/g;
    my %letters;
    $letters{$_}++ for split //, substr($upper, 0, 60000);
    $report .= join ',', map { ord($_) . "=$letters{$_}" } sort keys %letters;
    return unpack('%32C*', $report . $upper) . '/' . length($report . $upper);
}

my %sums;
$sums{work()}++ for 1 .. $times;
print "checksum @{[sort keys %sums]}\n";
if (join(' ', keys %sums) ne '12591343/201153') {
    print STDERR "perl.pl: the checksum is wrong\n";
    exit 1;
}
