#!/usr/bin/env python3
"""Fails when the tree drifts from its own rules.

Checked, for the C files of the source folders:
  layering   what a file includes lies in a folder that its own folder may use
  map        README.md's map (a block fenced as "map", a line "folder/stem   what it is" for each module)
             names every module, and none that is gone
  names      a module's name is there once in the whole tree, so that it can be the prefix of its functions
  prefixes   a function that other files can call begins with the name of its file
  headers    a header has 120 lines at most
  limits     docs/security.md has a row for each constant of base/limits.h, and for no other

Usage: check_tree.py [ROOT]
"""
import pathlib
import re
import sys

# A folder, and the folders whose headers it may include (its own always).
MAY_USE = {
    "base": [],
    "format": ["base"],
    "cache": ["base", "format"],
    "fetch": ["base", "format", "cache"],
    "fs": ["base", "format", "cache", "fetch"],
    "runtime": ["base"],
    "cli": ["base", "format", "cache", "fetch", "fs", "runtime"],
}

# Functions that carry another name than their file's, and why.
EXCEPTIONS = {
    "main": "the linker asks for it",
    "fail": "said on every other line; base/report.c",
}

# Modules whose functions begin with another text: what they are about has a shorter name.
OTHER_PREFIXES = {
    "cli/cmd_mount": ["cmd_umount"],
    "cli/command_table": ["command_"],
    "cli/options": ["option_"],
    "format/erofs_read": ["erofs_inode_"],
}

HEADER_LINES = 120
LONGER_HEADERS = {"format/erofs_format.h": "structs as they lie on disk, each field with its meaning"}


def without_comments_and_texts(code):
    """Comments, string and character constants, and preprocessor lines become spaces; line ends stay."""
    pattern = re.compile(
        r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|^[ \t]*#(?:\\\n|[^\n])*',
        re.S | re.M)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), code)


def balanced(text, start):
    """The position behind the parenthesis that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i + 1
    return len(text)


def without_attributes(text):
    while (m := re.search(r"__attribute__\s*\(", text)):
        text = text[:m.start()] + text[balanced(text, m.end() - 1):]
    return text


def functions(code):
    """(line, name) of each function that is defined here and not static."""
    code = without_comments_and_texts(code)
    depth = 0
    begin = 0
    for i, c in enumerate(code):
        if c == "{":
            head = without_attributes(code[begin:i])
            m = re.match(r"\s*[\w\s*]*?\b(\w+)\s*\(", head)
            if depth == 0 and m and "=" not in head and "static" not in head[:m.start(1)].split():
                yield code[:begin + len(code[begin:i]) - len(code[begin:i].lstrip())].count("\n") + 1, m.group(1)
            depth += 1
        elif c == "}":
            depth -= 1
        if depth == 0 and c in ";}":
            begin = i + 1


def check_includes(path, code):
    folder = path.parts[0]
    for number, line in enumerate(code.split("\n"), 1):
        m = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if not m:
            continue
        target = m.group(1).split("/")[0]
        if "/" not in m.group(1):
            yield f'{path}:{number}: "{m.group(1)}" is not included by its path from the root'
        elif target in MAY_USE and target != folder and target not in MAY_USE[folder]:
            yield f"{path}:{number}: {folder} must not use {target} ({m.group(1)})"


def prefixes(path, modules):
    """How functions of this file may begin. A file split off another one (erofs_read_xattr off erofs_read)
    may define functions of that one."""
    module = str(path.with_suffix(""))
    yield path.stem + "_"
    yield from OTHER_PREFIXES.get(module, [])
    for other in modules:
        if module.startswith(other + "_"):
            yield other.rsplit("/", 1)[1] + "_"


def check_prefixes(path, code, modules):
    allowed = tuple(prefixes(path, modules))
    for number, name in functions(code):
        if name not in EXCEPTIONS and name != path.stem and not name.startswith(allowed):
            yield f"{path}:{number}: {name}() is not static, so its name must begin with {path.stem}_"


def check_names(modules):
    folders = {}
    for module in modules:
        folder, stem = module.rsplit("/", 1)
        folders.setdefault(stem, []).append(folder)
    for stem, where in sorted(folders.items()):
        if len(where) > 1:
            yield f"the name {stem} is taken more than once: in {', '.join(sorted(where))}"


def describe(root, module):
    """What the opening comment of a module says, as its line of the map."""
    for suffix in (".h", ".c"):
        path = root / (module + suffix)
        m = path.exists() and re.match(r"/\*\s*(.*?)(?:\n|\*/)", path.read_text())
        if m:
            text = re.sub(r"^" + re.escape(module.rsplit("/", 1)[1]) + r":\s*", "", m.group(1)).strip()
            return f"{module:<28} {text.rstrip('.')}"
    return module


def check_map(root, modules):
    readme = root / "README.md"
    if not readme.exists():
        yield "README.md is missing"
        return
    m = re.search(r"^```map\n(.*?)^```", readme.read_text(), re.S | re.M)
    if not m:
        yield "README.md has no map: a block that begins with ```map, a line a module"
        return
    first = readme.read_text()[:m.start(1)].count("\n") + 1
    named = set()
    for number, line in enumerate(m.group(1).splitlines(), first):
        if not line.strip():
            continue
        entry = re.match(r"(\S+)\s+\S", line)
        if not entry:
            yield f"README.md:{number}: the map says nothing about {line.strip()}"
            continue
        if entry.group(1) in named:
            yield f"README.md:{number}: the map names {entry.group(1)} twice"
        elif entry.group(1) not in modules:
            yield f"README.md:{number}: the map names {entry.group(1)}, which is not there"
        named.add(entry.group(1))
    for module in sorted(modules - named):
        yield f"README.md: the map misses a module; add: {describe(root, module)}"


def check_limits(root):
    limits = set(re.findall(r"^#define LIMIT_(\w+)", (root / "base/limits.h").read_text(), re.M))
    rows = set(re.findall(r"^\| ([A-Z_]+) \|", (root / "docs/security.md").read_text(), re.M))
    for name in sorted(limits ^ rows):
        yield f"docs/security.md: LIMIT_{name} " + ("has no row" if name in limits else "is not in base/limits.h")


def check(root):
    files = sorted(p.relative_to(root) for folder in MAY_USE for p in (root / folder).rglob("*.[ch]"))
    modules = {str(path.with_suffix("")) for path in files}
    for path in files:
        code = (root / path).read_text()
        yield from check_includes(path, code)
        if path.suffix == ".c":
            yield from check_prefixes(path, code, modules)
        elif str(path) not in LONGER_HEADERS and code.count("\n") > HEADER_LINES:
            yield f"{path}: a header of {code.count(chr(10))} lines; at most {HEADER_LINES} are allowed"
    yield from check_names(modules)
    yield from check_map(root, modules)
    yield from check_limits(root)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    faults = list(check(root))
    for fault in faults:
        print(fault)
    print(f"check_tree: {len(faults)} faults" if faults else "check_tree: the tree is as it should be")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
