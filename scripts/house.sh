#!/usr/bin/env bash
# Prints figures of how the code base reads, and fails where one is above its limit.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
    '' | --json | --list) ;;
    -h | --help)
        cat <<'USAGE'
usage: scripts/house.sh [--list | --json]

Measures the tracked files of this checkout and compares each figure with its limit. Nothing is
built, so it takes a few seconds. The exit code is 0 only if every figure is within its limit.

  --list   also print where each figure comes from, one place a line
  --json   print the figures as one JSON object
USAGE
        exit 0 ;;
    *) echo "house: unknown option '$1'" >&2; exit 2 ;;
esac
exec python3 - "${1:-}" <<'PY'
import collections, json, pathlib, re, subprocess, sys

mode = sys.argv[1]
tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"],
                         check=True, capture_output=True, text=True).stdout.split("\n")
tracked = [path for path in tracked if path and pathlib.Path(path).is_file()]
sources = {path: pathlib.Path(path).read_text().split("\n") for path in tracked if path.endswith(".rs")}
pages = {path: pathlib.Path(path).read_text().split("\n") for path in tracked if path.endswith(".md")}
# Crates that others depend on. The rest are binaries, pallets, and test harnesses.
LIBRARIES = [str(pathlib.Path(path).parent) for path in tracked if re.fullmatch(
    r"(pallets/(primitives|runtime-api)|trainer/crates/(?!simulation)[\w-]+)/Cargo\.toml", path)]
figures = []


def figure(name, places, limit):
    figures.append((name, sorted(places), limit))


def is_test(path):
    return bool(re.search(r"(^|/)(tests|benches|examples)(/|\.rs$)|(^|/)(mock|test\w*)\.rs$|_tests?\.rs$", path))


def library_sources():
    for path, lines in sources.items():
        if any(path.startswith(crate + "/src/") for crate in LIBRARIES) and not is_test(path):
            # Unit tests stand at the end of a file.
            end = next((i for i, line in enumerate(lines) if line.startswith("#[cfg(test)]")), len(lines))
            yield path, lines[:end]


# --- voice and width
QUESTION = re.compile(r"^\s*//[/!] (What|Whether|How|Where|Which|Who|Whose)\b")
figure("doc lines that open with a question word", [
    f"{path}:{n}" for path, lines in sources.items() for n, line in enumerate(lines, 1)
    if QUESTION.match(line)], 59)
for width in (100, 120):
    figure(f"source lines over {width} columns", [
        f"{path}:{n}" for path, lines in sources.items() for n, line in enumerate(lines, 1) if len(line) > width], 0)


def dense_lines(lines):
    """Lines of prose over 100 columns that hold more than one sentence."""
    fenced = False
    for n, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if fenced or len(line) <= 100 or line.lstrip().startswith(("|", "#", "<", "[")):
            continue
        if re.search(r"[.!?:;] +[A-Z`*\[(]\w*", re.sub(r"`[^`]*`|\([^)]*\)|^\s*([-*]|\d+\.)\s", "x", line)):
            yield n


figure("lines of documentation over 100 columns with several sentences",
       [f"{path}:{n}" for path, lines in pages.items() for n in dense_lines(lines)], 0)
figure("source files without an SPDX header", [
    path for path, lines in sources.items() if lines[0] != "// SPDX-License-Identifier: Apache-2.0"], 0)

# --- size
FUNCTION = re.compile(r"^(\s*)(?:pub(?:\([^)]*\))? )?(?:default )?(?:const )?(?:async )?(?:unsafe )?(?:extern \"\w+\" )?fn (\w+)")


def functions(lines):
    for start, line in enumerate(lines):
        found = FUNCTION.match(line)
        if not found:
            continue
        for end in range(start, len(lines)):
            if end > start and lines[end] == found[1] + "}":
                yield found[2], start + 1, end - start + 1
                break
            if lines[end].endswith(";") and len(lines[end]) - len(lines[end].lstrip()) == len(found[1]):
                break


figure("functions over 80 lines", [
    f"{path}:{n} {name} has {size} lines" for path, lines in sources.items()
    for name, n, size in functions(lines) if size > 80], 0)
figure("pallet files over 700 lines", [
    f"{path} has {len(lines)} lines" for path, lines in sources.items()
    if path.startswith("pallets/") and len(lines) > 700], 0)


# --- import circles: modules of one folder that use each other, directly or through others
def module_of(path, crate):
    parts = list(pathlib.Path(path).relative_to(f"{crate}/src").with_suffix("").parts)
    return tuple(parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts)


def imports(lines, module, modules):
    text = "\n".join(re.sub(r"//.*", "", line) for line in lines)
    for base, rest in re.findall(r"\b(crate|(?:super::)*super)::([\w:]*\{[^;]*\}|[\w:]+)", text):
        root = () if base == "crate" else module[: len(module) - base.count("super")]
        for name in expand(rest):
            target = root + tuple(name.split("::"))
            while target and target not in modules:
                target = target[:-1]
            yield target


def expand(tree):
    """The paths that a use tree names: `a::{b, c::{d}}` gives `a::b` and `a::c::d`."""
    head, brace, tail = tree.partition("{")
    if not brace:
        return [head.strip()]
    depth, part, parts = 0, "", []
    for character in tail:
        if character == "{":
            depth += 1
        if character == "}":
            depth -= 1
            if depth < 0:
                break
        if character == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += character
    return [head.strip() + name for part in parts + [part] if part.strip() for name in expand(part.strip())]


def circles(edges):
    """Sets of modules that reach each other."""
    uses = collections.defaultdict(set)
    for a, b in edges:
        uses[a].add(b)

    def reach(start):
        seen, todo = set(), [start]
        while todo:
            for b in uses[todo.pop()] - seen:
                seen.add(b)
                todo.append(b)
        return seen

    reached = {node: reach(node) for node in list(uses)}
    return {frozenset(b for b in reached[a] if a in reached.get(b, ())) for a in reached if a in reached[a]}


found = []
for manifest in (path for path in tracked if path.endswith("Cargo.toml")):
    crate = str(pathlib.Path(manifest).parent)
    files = {path: lines for path, lines in sources.items() if path.startswith(f"{crate}/src/") and not is_test(path)}
    modules = {module_of(path, crate): path for path in files}
    siblings = collections.defaultdict(set)
    for path, lines in files.items():
        end = next((i for i, line in enumerate(lines) if line.startswith("#[cfg(test)]")), len(lines))
        module = module_of(path, crate)
        for target in imports(lines[:end], module, modules):
            common = 0
            while common < min(len(module), len(target)) and module[common] == target[common]:
                common += 1
            # Neither an ancestor nor a descendant: both are parts of their common ancestor.
            if common < len(module) and common < len(target):
                siblings[module[:common]].add((module[common], target[common]))
    for parent, edges in siblings.items():
        for circle in circles(edges):
            found.append(f"{crate}/src/{'/'.join(parent)}: " + " ↔ ".join(sorted(circle)))
figure("import circles", found, 0)

# --- documentation of library crates
ITEM = re.compile(r"^\s*pub (?:const |async |unsafe )*(fn|struct|enum|trait|const|static|type|union) (\w+)")


def documentation(lines, n):
    """The doc comment above line `n`, joined. Attributes may stand between, on several lines each."""
    docs, attribute = [], False
    for line in reversed(lines[:n]):
        text = line.strip()
        if attribute or text.startswith("#["):
            attribute = not text.startswith("#[")
        elif text.startswith("///"):
            docs.append(text)
        elif text.endswith(")]"):
            attribute = True
        elif not text.startswith("//"):
            break
    return "\n".join(reversed(docs))


undocumented, fallible, silent = [], 0, []
for path, lines in library_sources():
    for n, line in enumerate(lines):
        item = ITEM.match(line)
        if not item:
            continue
        docs = documentation(lines, n)
        if not docs:
            undocumented.append(f"{path}:{n + 1} {item[2]}")
        if item[1] == "fn":
            signature = " ".join(lines[n: n + 14]).split("{")[0].split(" where ")[0]
            if re.search(r"-> (?:impl Future<Output = )?(?:\w+::)*Result\b", signature):
                fallible += 1
                if "# Errors" not in docs:
                    silent.append(f"{path}:{n + 1} {item[2]}")
figure("undocumented public items of library crates", undocumented, 0)
figure(f"fallible public functions without `# Errors`, of {fallible}", silent, 0)
figure("library crates without a README", [
    crate for crate in LIBRARIES if not pathlib.Path(crate, "README.md").is_file()], 0)

# --- report
failed = [name for name, places, limit in figures if len(places) > limit]
if mode == "--json":
    print(json.dumps({name: {"found": len(places), "limit": limit} for name, places, limit in figures}, indent=2))
else:
    for name, places, limit in figures:
        mark = "  " if len(places) <= limit else "✗ "
        print(f"{mark}{len(places):5}  {name} (limit {limit})")
        if mode == "--list" or len(places) > limit:
            for place in places if mode == "--list" else places[:8]:
                print(f"           {place}")
            if mode != "--list" and len(places) > 8:
                print(f"           … {len(places) - 8} more; --list names all")
if failed:
    print(f"house: {len(failed)} of {len(figures)} figures are above their limits", file=sys.stderr)
sys.exit(1 if failed else 0)
PY
