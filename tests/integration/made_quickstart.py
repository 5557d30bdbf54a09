"""A folder that looks like the repository once scripts/quickstart.sh has run there, made by that script within seconds: for the
pages whose commands go on from there. Its configs are the repository's with small numbers, and nothing is installed or built."""

import json
import os
import random
import subprocess

import yaml
from conftest import BINARY, ROOT, default_environment

# What a config says is read with these in place of its own values: every key is still one of the program's.
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "dtype": "float32", "max_steps": 2,
         "global_batch_size": 2, "micro_batch_size": 1, "epochs": 2, "warmup_steps": 1, "decay_steps": 1, "every": 1, "batches": 1,
         "seeds": 1, "at_step": 1}  # fmt: skip
VOCABULARY = 4096  # what scripts/quickstart.sh trains


def small(config):
    """A config, a sweep, or a part of one, with values of SMALL."""
    if isinstance(config, list):
        return [small(value) for value in config]
    if not isinstance(config, dict):
        return config
    changed = {key: SMALL.get(key, small(value)) for key, value in config.items()}
    if changed.get("vocab_size", 0) > VOCABULARY:
        changed["vocab_size"] = VOCABULARY
    if "sequence_length" in changed:
        changed["sequence_length"] = min(changed["sequence_length"], 256)
    return changed


def write_small_configs(folder):
    for path in (ROOT / "configs").rglob("*.yaml"):
        made = folder / path.relative_to(ROOT)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(json.dumps(small(yaml.safe_load(path.read_text()))))


def write_texts(folder):
    """Enough different words for 4,096 pieces."""
    draw = random.Random(1)
    syllables = [first + vowel for first in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
    words = ["".join(draw.choice(syllables) for _ in range(draw.randint(1, 4))) for _ in range(6000)]
    folder.mkdir(parents=True)
    for name in ("first", "second"):
        lines = [" ".join(draw.choice(words) for _ in range(12)) + "." for _ in range(3000)]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (folder / "third.jsonl").write_text(json.dumps({"text": " ".join(draw.choice(words) for _ in range(400))}) + "\n")


def make_quickstart(folder):
    (folder / "build/release").mkdir(parents=True)
    (folder / "build/release/ssgpt").symlink_to(BINARY)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for name in ("scripts", "data"):
        (folder / name).mkdir()
        for path in (ROOT / name).iterdir():
            if path.suffix in (".sh", ".py") or path.name in ("report_page", "slurm"):
                (folder / name / path.name).symlink_to(path)
    for name in ("setup.sh", "build.sh"):
        (folder / "scripts" / name).unlink()
        (folder / "scripts" / name).symlink_to("/bin/true")
    write_small_configs(folder)
    write_texts(folder / "my/texts")
    (folder / "data/bible").mkdir()
    lines = [line for name in ("first", "second") for line in (folder / f"my/texts/{name}.txt").read_text().splitlines()]
    documents = [" ".join(lines[i : i + 20]) for i in range(0, len(lines), 20)]
    (folder / "data/bible/kjv.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    done = subprocess.run([folder / "scripts/quickstart.sh"], capture_output=True, text=True, env=default_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "quickstart.txt").write_text(done.stdout)
