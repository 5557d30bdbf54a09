"""Everything that README.md, docs/ and the help texts name or link to exists, and CITATION.cff has this version."""

import re

import pytest
from conftest import ROOT
from documented import PAGES

FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
CONFIG_PATH = re.compile(r"\bconfigs/[\w./-]*\w")


def help_texts(program, *command):
    """The help of the program, of each command, and of each command's own commands."""
    out, _ = program.run(*command, "--help")
    yield " ".join(["ssgpt", *command, "--help"]), out
    _, _, commands = out.partition("\nSubcommands:\n")
    for name in re.findall(r"^  ([\w-]+)", commands.split("\n\n")[0], flags=re.M):
        yield from help_texts(program, *command, name)


def test_every_config_that_is_named_exists(program):
    helps = dict(help_texts(program))
    assert {"ssgpt train --help", "ssgpt tokenizer encode --help"} <= helps.keys()
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "data/README.md", ROOT / "scripts/bundle.sh"]
    texts = {**helps, **{str(page): page.read_text() for page in pages}}
    named = {(place, path) for place, text in texts.items() for path in CONFIG_PATH.findall(text)}
    assert ("ssgpt train --help", "configs/quickstart/ssmax.yaml") in named  # the pattern must find these
    assert (str(ROOT / "README.md"), "configs/paper") in named
    assert not {(place, path) for place, path in named if not (ROOT / path).exists()}


def test_the_citation_is_of_this_version():
    (version,) = re.findall(r"^project\(ssgpt VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), flags=re.M)
    assert re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), flags=re.M) == [version]


def slugs_of(page):
    """The anchors that GitHub gives the headings of a page: in lower case, without punctuation, with hyphens for blanks, and
    with numbers from 1 where a heading repeats an earlier one."""
    found = []
    for heading in re.findall(r"^#+ +(.*?) *$", FENCE.sub("", page.read_text()), flags=re.M):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        repeated = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found)
        found.append(f"{slug}-{repeated}" if repeated else slug)
    return found


def test_anchors_are_those_of_github(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# `cmake --install`, *and* more: p_n (2 %)\n## [Config keys](x.md)\n```sh\n# no heading\n```\n## Config keys\n")
    assert slugs_of(page) == ["cmake---install-and-more-p_n-2-", "config-keys", "config-keys-1"]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))
    for link in re.findall(r"\]\(([^()\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in slugs_of(target), link
