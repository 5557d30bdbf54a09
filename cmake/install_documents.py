"""Installs the documents for users: README.md, CHANGELOG.md, CITATION.cff, LICENSE, data/README.md and docs/. A link to a file of
the repository that is not installed becomes plain text. Prints the path of each installed file, relative to FOLDER.

Usage: install_documents.py REPOSITORY FOLDER
"""

import pathlib
import re
import shutil
import sys

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def installed_files(root):
    names = ("README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "data/README.md")
    return [*(root / name for name in names), *sorted(path for path in (root / "docs").rglob("*") if path.is_file())]


def with_installed_links(page, files):
    def link_or_text(match):
        target = match[2]
        is_kept = re.match(r"\w+:", target) or (page.parent / target).resolve() in files
        return match[0] if is_kept else match[1]

    return LINK.sub(link_or_text, page.read_text(encoding="utf-8"))


def main():
    root, folder = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    files = installed_files(root)
    for file in files:
        target = folder / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            target.write_text(with_installed_links(file, set(files)), encoding="utf-8")
        else:
            shutil.copyfile(file, target)
        target.chmod(0o644)
        print(file.relative_to(root))


if __name__ == "__main__":
    main()
