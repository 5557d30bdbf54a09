"""The kinds of attention: the program's table, the modelling file and README say the same of each."""

import importlib.util
import re

import pytest
from safetensors.torch import load_file

from conftest import ROOT


def load_modelling_file():
    spec = importlib.util.spec_from_file_location("modeling_ssgpt", ROOT / "python" / "modeling_ssgpt.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


modelling = load_modelling_file()


def row_scales(program):
    """{kind: formula}, as `ssgpt train --help` has them."""
    out, _ = program.run("train", "--help")
    (text,) = re.findall(r"a query that sees n keys: (.*?); s and b", " ".join(out.split()))
    return dict(entry.split(" ", 1) for entry in text.split(", "))


def test_the_modelling_file_has_the_kinds_of_the_program(program):
    formulas = row_scales(program)
    assert tuple(formulas) == modelling.ATTENTION_KINDS
    scaled = [kind for kind, formula in formulas.items() if formula.startswith("s")]
    assert sorted(scaled) == sorted(modelling.KINDS_WITH_SCALE)
    biased = [kind for kind, formula in formulas.items() if formula.endswith("+ b")]
    assert sorted(biased) == sorted(modelling.KINDS_WITH_BIAS)


@pytest.mark.parametrize("kind", modelling.KINDS_WITH_SCALE)
def test_s_starts_where_the_modelling_file_says(program, finished_run, kind):
    source = finished_run / "checkpoints/step-00000020"
    for name, options in (("auto", []), ("given", ["--scale-init", "0.43"])):
        program.run("convert", "--checkpoint", source, "--attention", kind, "--out", name, *options)
        config = modelling.SsgptConfig.from_pretrained(program.directory / name)
        scale = load_file(program.directory / name / "model.safetensors")["model.layers.1.self_attn.ssmax_scale"]
        assert scale.tolist() == pytest.approx([config.initial_scale()] * 2, rel=1e-7)  # one rounding to float32


def test_the_table_of_readme_is_that_of_the_program(program):
    lines = re.findall(r"^\| `(\w+)` \| (.*?) \|", (ROOT / "README.md").read_text(), re.M)
    table = {kind: formula.replace("*", "") for kind, formula in lines if kind in modelling.ATTENTION_KINDS}
    assert table == row_scales(program)
