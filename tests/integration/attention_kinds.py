"""The kinds of attention, as listed in the program's table: tests run over all of its rows."""

import re
import subprocess

from conftest import BINARY

# Llama 4's a and f, small enough that windows of a few tokens tell the kind from Softmax.
FLOOR = {"attn_scale": 0.7, "floor_scale": 3}


def read_formulas():
    """{kind: its row scale as a formula}, in the program's order, from `ssgpt train --help`."""
    out = subprocess.run([BINARY, "train", "--help"], capture_output=True, text=True, check=True).stdout
    (table,) = re.findall(r"a query that sees n keys: (.*?)\. s and b are learned", " ".join(out.split()))
    return dict(entry.split(": ", 1) for entry in table.split("; "))


FORMULAS = read_formulas()
KINDS = list(FORMULAS)
SCALED_KINDS = [kind for kind, formula in FORMULAS.items() if formula != "1"]
KINDS_WITH_SCALE = [kind for kind, formula in FORMULAS.items() if formula.split()[0] == "s"]
KINDS_WITH_BIAS = [kind for kind, formula in FORMULAS.items() if formula.endswith(" + b")]
KINDS_WITH_FLOOR = [kind for kind, formula in FORMULAS.items() if "n / f" in formula]


def constants(kind):
    """The constants that the formula names besides n and T."""
    return FLOOR if kind in KINDS_WITH_FLOOR else {}


def attention(kind, **settings):
    """The config's section model.attention."""
    return {"kind": kind, **constants(kind), **settings}


def options(kind):
    """The same settings as command-line options of `ssgpt convert`."""
    pairs = [(f"--{name.replace('_', '-')}", value) for name, value in constants(kind).items()]
    return [part for pair in pairs for part in pair]
