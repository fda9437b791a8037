# SPDX-License-Identifier: Apache-2.0
"""Unpacks the pages and texts of a benchmark of articles: NAME.html with NAME.txt.

usage: articles.py CHECKOUT OUT

CHECKOUT is https://github.com/scrapinghub/article-extraction-benchmark at commit 4a3bc97.
"""

import gzip
import json
import pathlib
import sys


def main(checkout, out):
    out.mkdir(parents=True, exist_ok=True)
    truth = json.loads((checkout / "ground-truth.json").read_text())
    for name, article in truth.items():
        page = gzip.decompress((checkout / "html" / f"{name}.html.gz").read_bytes())
        (out / f"{name}.html").write_bytes(page)
        (out / f"{name}.txt").write_text(article["articleBody"])
    print(f"{len(truth)} articles", file=sys.stderr)


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:3]))
