"""Pages that name a file or a line with the version of the program name this version."""

import re

from conftest import ROOT

(VERSION,) = re.findall(r"^project\(ssgpt VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), flags=re.M)
NAMED = re.compile(r"\bssgpt[- ](\d+\.\d+\.\d+)")


def test_documents_name_this_version():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), ROOT / "data/README.md"]
    named = [(page.name, version) for page in pages for version in NAMED.findall(page.read_text())]
    assert {"README.md", "installing.md"} <= {page for page, _ in named}
    assert not [(page, version) for page, version in named if version != VERSION]
