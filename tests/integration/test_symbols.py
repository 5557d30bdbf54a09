"""sentencepiece and the other libraries of the process stay separate, by the dynamic loader's own log of bindings."""

import re
import subprocess

import pytest

from conftest import BINARY

INTERFACE = "sentencepiece"  # part of each of its names that the program uses
LIBRARY = re.compile(r"/libsentencepiece(_train)?\.so")


@pytest.fixture
def bindings(program):
    """(user, provider, name) of everything bound while a text is encoded, including functions that are never called."""
    (program.directory / "text.txt").write_text("In the beginning was the word, and the word was short.\n" * 50)
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "t.model", "--vocab-size", 300)
    out, _ = program.run("tokenizer", "encode", "--tokenizer", "t.model", "the word", LD_BIND_NOW="1", LD_DEBUG="bindings",
                         LD_DEBUG_OUTPUT=str(program.directory / "loader"))
    assert re.fullmatch(r"\d+( \d+)*\n", out)
    (log,) = program.directory.glob("loader.*")
    return set(re.findall(r"binding file (\S+) \[0\] to (\S+) \[0\]: \w+ symbol `([^']+)'", log.read_text()))


def defined_names(library):
    out = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].partition("@")[0] for line in out.splitlines()}


def test_nothing_that_sentencepiece_defines_is_shared_but_its_interface(bindings):
    libraries = {end for user, provider, _ in bindings for end in (user, provider) if LIBRARY.search(end)}
    assert len(libraries) == 2
    names = set().union(*map(defined_names, libraries))
    across = {binding for binding in bindings if (binding[0] in libraries) != (binding[1] in libraries) and binding[2] in names}
    # The log must show the program's calls, and that LibTorch has a variable of the same name.
    assert any(user == str(BINARY) and INTERFACE in name for user, _, name in across)
    assert "FLAGS_minloglevel" in names
    assert any("libc10.so" in user and name == "FLAGS_minloglevel" for user, _, name in bindings)
    assert not {binding for binding in across if INTERFACE not in binding[2] or str(BINARY) not in binding[:2]}


def test_every_program_of_the_build_takes_a_library_that_hides_its_own():
    checked = 0
    for program in [BINARY, *BINARY.parent.glob("tests/**/ssgpt_*_tests")]:
        found = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        for library in re.findall(r"libsentencepiece\.so\S* => (\S+)", found):
            symbols = subprocess.run(["readelf", "-W", "--dyn-syms", library], check=True, capture_output=True, text=True).stdout
            (visibility,) = re.findall(r" GLOBAL (\w+) +\d+ FLAGS_minloglevel$", symbols, flags=re.M)
            assert visibility == "HIDDEN", (program, library)
            checked += 1
    assert checked > 0
