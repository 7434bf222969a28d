#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# html.sh: make html renders every page of the manual, its elements are closed, every link inside leads somewhere, every
# function is found from the index, and charts are shown, those of docs/ and others.
# shellcheck source=tests/lint/common.sh
. "$(dirname "$0")/common.sh"

command -v mandoc >/dev/null || skip_all "no mandoc"
python=$(PATH=/usr/bin:/bin:$PATH command -v python3) || skip_all "no python3"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>' >"$work/speed.svg"
tools/html "$work/html" "$work/speed.svg" 2>&1 | no_complaints "the pages are made"

for page in $(man_pages '.*'); do
    file=$work/html/$(basename "$page").html
    if [ ! -s "$file" ]; then
        echo "$file is missing"
        continue
    fi
    # A section of the page is a section there.
    sed -n 's/^\.Sh //p' "$page" | while read -r name; do
        grep -qF "id=\"${name// /_}\"" "$file" || echo "$page: no section $name"
    done
    [ "$(wc -w <"$file")" -ge "$(($(grep -vc '^\.' "$page") * 2))" ] || echo "$page: it is too short"
done | no_complaints "every page and every section is there"

"$python" - "$work/html" <<'END' | no_complaints "elements are closed, and links lead somewhere"
import os, sys, html.parser
folder = sys.argv[1]
EMPTY = {"meta", "link", "br", "img", "hr", "col"}
class Page(html.parser.HTMLParser):
    def __init__(self, name):
        super().__init__()
        self.name, self.open, self.ids, self.links = name, [], set(), []
        self.feed(open(os.path.join(folder, name), encoding="utf-8").read())
        self.close()
        if self.open:
            print(f"{name}: not closed: {self.open}")
    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in EMPTY:
            self.open.append(tag)
        if "id" in attributes:
            if attributes["id"] in self.ids:
                print(f"{self.name}: two elements are called {attributes['id']}")
            self.ids.add(attributes["id"])
        self.links += [attributes[a] for a in ("href", "src") if a in attributes]
    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)
    def handle_endtag(self, tag):
        if tag in EMPTY:
            return
        if not self.open or self.open.pop() != tag:
            print(f"{self.name}: </{tag}> at {self.getpos()}")
pages = {name: Page(name) for name in os.listdir(folder) if name.endswith(".html")}
links = 0
for page in pages.values():
    for link in page.links:
        if link.startswith("https://"):
            continue
        links += 1
        name, _, fragment = link.partition("#")
        name = name or page.name
        if not os.path.exists(os.path.join(folder, name)):
            print(f"{page.name}: {link} leads nowhere")
        elif fragment and fragment not in pages[name].ids:
            print(f"{page.name}: {link}: there is no such place")
if links < 100:
    print(f"only {links} links were found")
END

sed -n 's/^\(hak_[a-z_]*\) .*/\1/p' tests/abi/exports.txt | while read -r name; do
    grep -Eq "<a href=\"hak_[a-z_]*\.3\.html(#$name)?\">$name(\(3\))?</a>" "$work/html/index.html" || echo "$name"
done | no_complaints "the index has every function"
for page in $(man_pages '.*'); do
    name=${page#man/}
    grep -q "<dt><a href=\"$name.html\">" "$work/html/index.html" || echo "$name"
done | no_complaints "the index has every page"
{ grep -q '<img src="speed.svg"' "$work/html/index.html" && [ -s "$work/html/speed.svg" ] || echo "not there"; } |
    no_complaints "a chart is shown"
shown=0
for chart in docs/*.svg; do
    name=${chart#docs/}
    grep -q "<img src=\"$name\" alt=\"..*\">" "$work/html/index.html" && cmp "$chart" "$work/html/$name" || echo "$name is not shown"
    shown=$((shown + 1))
done >"$work/complaints" 2>&1
{ cat "$work/complaints"; [ $shown -ge 3 ] || echo "docs/ has only $shown"; } | no_complaints "so are the charts of docs/"
cp "$work/speed.svg" "$work/scaling.svg"
tools/html "$work/again" "$work/scaling.svg" 2>&1 | no_complaints "a chart by the name of one of those is given"
{ cmp "$work/scaling.svg" "$work/again/scaling.svg" && [ "$(grep -c '<img src="scaling.svg"' "$work/again/index.html")" = 1 ] || echo "it is not"; } |
    no_complaints "it is shown in its place"
done_testing
