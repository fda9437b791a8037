#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the book in docs/ and fails on broken links between its pages.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
    '' | --open) ;;
    -h | --help)
        echo "usage: scripts/book.sh [--open]"
        echo
        echo "Renders docs/ to HTML and prints the folder. --open shows it in a browser."
        echo "mdbook is installed on first use, which compiles it: some minutes."
        exit 0 ;;
    *) echo "book: unknown option '$1'" >&2; exit 2 ;;
esac

. scripts/env.sh
if ! command -v mdbook >/dev/null 2>&1; then
    echo "==> installing mdbook, once" >&2
    env -u RUSTC_WORKSPACE_WRAPPER cargo install --locked mdbook
fi
out="$POL_CACHE/book"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
cp -r docs ARCHITECTURE.md "$scratch/"
# Pages link to the code by relative paths, which work on GitHub and in editors. In the book these
# become addresses.
python3 - "$scratch/docs" <<'PY'
import pathlib, posixpath, re, sys

docs = pathlib.Path(sys.argv[1])
for page in docs.rglob("*.md"):
    folder = "docs" if page.parent == docs else f"docs/{page.parent.relative_to(docs)}"

    def address(link):
        path = posixpath.normpath(posixpath.join(folder, link[1]))
        outside = not path.startswith("docs/") and "://" not in link[1]
        return f"](https://github.com/pol-network/pol/blob/main/{path})" if outside else link[0]

    page.write_text(re.sub(r"\]\((\.\.[^)#\s]*)\)", address, page.read_text()))
PY
rm -rf "$out"
mdbook build "$scratch/docs" --dest-dir "$out"
# mdbook renders links to pages that do not exist, so they are looked for here.
python3 - "$out" <<'PY'
import html.parser, pathlib, sys
from urllib.parse import unquote, urlsplit

class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.anchors = [], set()
    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "id" in attributes:
            self.anchors.add(attributes["id"])
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag == "img" and attributes.get("src"):
            self.links.append(attributes["src"])

book = pathlib.Path(sys.argv[1])
pages = {}
for page in book.rglob("*.html"):
    parser = Links()
    parser.feed(page.read_text())
    pages[page.resolve()] = parser
broken = []
for page, parser in pages.items():
    if page.name in ("print.html", "404.html", "toc.html"):
        continue
    for link in parser.links:
        url = urlsplit(link)
        if url.scheme or url.netloc:
            continue
        target = (page.parent / unquote(url.path)).resolve() if url.path else page
        if not target.exists():
            broken.append(f"{page.relative_to(book.resolve())}: no such page: {link}")
        elif url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors:
            broken.append(f"{page.relative_to(book.resolve())}: no such section: {link}")
for line in sorted(set(broken)):
    print(f"book: {line}", file=sys.stderr)
sys.exit(1 if broken else 0)
PY
echo "book: $out/index.html"
[ "${1:-}" != --open ] || xdg-open "$out/index.html"
