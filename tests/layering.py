#!/usr/bin/env python3
"""Checks the rules that hold between the folders of src/, and prints each breach as file:line.

- A file includes its own folder and folders above it in the table of src/README.md, never one below.
- src/CMakeLists.txt lists the folders in the same order.
- A library that is confined to one place is included there alone.
- Only cli prints to stdout or ends the process, with two exceptions; only core writes to stderr itself (the log and the progress bar).
- A file has fewer than 400 lines.

Usage: layering.py [ROOT]    ROOT is the repository; by default the one that holds this script.
"""

import re
import sys
from pathlib import Path

MAX_LINES = 400
SOURCES = {".h", ".cpp", ".cu", ".cuh"}

# Header -> the only folder or file that may include it.
CONFINED = {
    r"spdlog/.*": "core/log.cpp",
    r"sentencepiece.*": "tokenizer/",
    r"CLI/.*": "cli/",
    r"yaml-cpp/.*": "config/",
}
# Headers that nothing includes: they cost many seconds in each file that does.
FORBIDDEN = re.compile(r"(torch/torch\.h|torch/extension\.h|ATen/ATen\.h)")

# What only these folders do. The patterns see code without comments and literals.
RESERVED = [
    (re.compile(r"\bstd::cout\b|(?<![\w:.>])(?:std::)?(?:printf|puts|putchar)\s*\(|(?<!\w)(?:std::)?v?fprintf\s*\(\s*stdout\b"
                r"|\bfmt::print(?:ln)?\s*\(\s*(?!std(?:out|err)\b)|\bstdout\b"), {"cli"}, "prints to stdout"),
    (re.compile(r"(?<![\w.>])(?:std::|::)?(?:exit|_[eE]xit|quick_exit|abort)\s*\("), {"cli"}, "ends the process"),
    (re.compile(r"\bstd::(?:cerr|clog)\b|\bstderr\b|\bperror\s*\("), {"cli", "core"}, "writes to stderr; use core/log.h"),
]
# A second signal ends the process inside the handler, where nothing else is allowed; a heartbeat ends it if the main thread
# hangs in a collective that cannot complete.
EXCEPTIONS = {("core/stop_signal.cpp", "ends the process"), ("parallel/heartbeat.cpp", "ends the process")}


def folders_of_readme(path):
    rows = re.findall(r"^\|\s*`(\w+)/?`\s*\|", path.read_text(), re.MULTILINE)
    return list(dict.fromkeys(rows))


def folders_of_cmake(path):
    match = re.search(r"foreach\(folder IN ITEMS ([^)]*)\)", path.read_text())
    return match.group(1).split() if match else []


def code_alone(text):
    """The text with comments and literals blanked; line breaks stay."""
    pattern = re.compile(
        r'R"(?P<tag>[^(\s]{0,16})\(.*?\)(?P=tag)"|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def check_includes(name, text, order):
    folder = name.split("/")[0]
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', text, re.MULTILINE):
        place = f"src/{name}:{line_of(text, match.start())}"
        header = match.group(2)
        included = header.split("/")[0]
        if FORBIDDEN.fullmatch(header):
            yield f"{place}: includes {header}, which is slow to compile; include the operators one by one"
        for pattern, allowed in CONFINED.items():
            if re.fullmatch(pattern, header) and not name.startswith(allowed):
                yield f"{place}: includes {header}, which belongs to {allowed} alone"
        if match.group(1) == '"' and header.startswith("."):
            yield f'{place}: includes "{header}"; name it from its folder on'
        if included in order and "/" in header and order.index(included) > order.index(folder):
            yield f"{place}: {folder} includes {header}, but {included} is below it in src/README.md"


def check_file(path, root, order):
    name = path.relative_to(root / "src").as_posix()
    folder = name.split("/")[0]
    text = path.read_text()
    if "/" not in name or folder not in order:
        yield f"src/{name}: stands in no folder of the table in src/README.md"
        return
    yield from check_includes(name, text, order)
    code = code_alone(text)
    for pattern, folders, what in RESERVED:
        if folder not in folders and (name, what) not in EXCEPTIONS:
            for match in pattern.finditer(code):
                yield f"src/{name}:{line_of(code, match.start())}: {what}"
    lines = text.count("\n")
    if lines >= MAX_LINES:
        yield f"src/{name}: {lines} lines; a file has fewer than {MAX_LINES}"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    order = folders_of_readme(root / "src" / "README.md")
    built = folders_of_cmake(root / "src" / "CMakeLists.txt")
    breaches = []
    if order != built:
        breaches.append(f"src/README.md lists {', '.join(order)};\nsrc/CMakeLists.txt lists {', '.join(built)}")
    files = sorted(path for path in (root / "src").rglob("*") if path.suffix in SOURCES)
    if not files or not order:
        breaches.append(f"{root}: no sources, or no table of folders")
    for path in files:
        breaches.extend(check_file(path, root, order))
    print("\n".join(breaches) or f"{len(files)} files in {len(order)} folders keep the rules")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
