"""Everything that README.md, docs/ and the help texts name exists, and CITATION.cff has this version."""

import re

from conftest import ROOT

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
