"""CITATION.cff speaks of this version."""

import re

from conftest import ROOT


def test_the_citation_is_of_this_version():
    (version,) = re.findall(r"^project\(ssgpt VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), flags=re.M)
    assert re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), flags=re.M) == [version]
