#!/bin/sh
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# ghostscript.sh FOLDER: for the bench line of gs. Writes a document of twelve pages into that folder, text, lines,
# curves, dictionaries, strings and a sort, and has its pages drawn. Fails when a page is missing or empty, or a sum is
# wrong.
set -eu
if [ $# != 1 ] || [ ! -d "$1" ]; then
    echo "usage: ghostscript.sh FOLDER" >&2
    exit 2
fi
command -v gs >/dev/null || { echo "ghostscript.sh: gs is not installed (Debian package ghostscript)" >&2; exit 127; }
cd "$1"
cat >document.ps <<'PS'
%!PS
/seed 1 def
/number { seed 1103 mul 12345 add 65536 mod dup /seed exch def } def    % -- 0..65535
/sum 0 def
/page {                                                                 % page's number --
    /n exch def
    /Times-Roman findfont 9 scalefont setfont
    0 1 60 {
        72 exch 11 mul 60 add moveto
        6 { number 20 string cvs show ( words ) show } repeat
    } for
    400 {
        number 110 div number 85 div moveto
        number 110 div number 85 div number 110 div number 85 div number 110 div number 85 div curveto
        number 65536 div setgray 0.3 setlinewidth stroke
    } repeat
    /d 600 dict def
    600 { d number dup 10 string cvs put } repeat
    d { exch sum add exch length add 65536 mod /sum exch def } forall
    /a 250 array def
    0 1 249 { a exch number put } for
    0 1 248 {                                                           % sorted by selection
        /i exch def
        /least i def
        i 1 add 1 249 { /j exch def a j get a least get lt { /least j def } if } for
        a i get a i a least get put a least 3 -1 roll put
    } for
    1 1 249 { /i exch def a i get a i 1 sub get lt { (not sorted) = quit } if } for
    showpage
} def
1 1 12 { page } for
(sum ) print sum 20 string cvs print (\n) print
PS
found=$(gs -q -dSAFER -dBATCH -dNOPAUSE -sDEVICE=pgmraw -r60 -sOutputFile=page%d.pgm document.ps)
pages=0
for page in page*.pgm; do
    [ "$(tr -d '\377' <"$page" | wc -c)" -gt 5000 ] && pages=$((pages + 1))
done
echo "checksum $found, $pages pages"
[ "$found, $pages pages" = 'sum 22874, 12 pages' ] || { echo "ghostscript.sh: what gs made is wrong" >&2; exit 1; }
