"""The stages of configs/reproduce/cpu-short made so short that each takes a second: another corpus, models that learn nothing, short evaluations."""

import shutil
import textwrap

import yaml
from conftest import ROOT

SIZES = ROOT / "configs/reproduce"
POINTS = {"first_tenth": 7, "trained": 64, "middle": 256, "far": 512, "needle_trained": 128, "needle_far": 256}
VALUES = {"packages": "", "vocabulary": 384, "tokenizer_bytes": "24MB", "context_windows": 2, "windows": 2, "attention_windows": 1, "needle_words": 10, "trials": 2, "precision": ""}
# Parts of the committed stages that are the same for all sizes and would take long here.
SHORTER = {
    "--validation-fraction 0.01": "--validation-fraction 0.3",
    "--windows 40000": "--windows 200",
    "--task copy": "--task copy --trials 2",
    "--examples 40000": "--examples 200",
    "--examples 500": "--examples 30",
}
# Replaces data/python_sources.py, which needs the network.
CORPUS = """
    import json, pathlib, random, sys
    draw = random.Random(3)
    words = "the lamp of a city stands near water and seven men read old books under trees while rain falls on green hills".split()
    pathlib.Path(sys.argv[1]).parent.mkdir(parents=True, exist_ok=True)
    with open(sys.argv[1], "w") as file:
        for number in range(60):
            text = " ".join(f"{' '.join(draw.choice(words) for _ in range(6)).capitalize()}." for _ in range(40))
            file.write(json.dumps({"text": f"Document {number}. {text}"}) + "\\n")
"""
TEXT = """
    model: {vocab_size: 384, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 24}
    data:
      tokenizer: data/reproduce-made/tokenizer.model
      train: [data/reproduce-made/tokens/train_*.bin]
      validation: [data/reproduce-made/tokens/validation_*.bin]
      sequence_length: 64
    train: {device: cpu, dtype: float32, max_steps: 40, global_batch_size: 4, micro_batch_size: 4}
    optimizer: {lr: 3.0e-3, schedule: {kind: constant, warmup_steps: 4}}
    evaluate: {every: 4, batches: 1}
    checkpoint: {every: 10, keep_last: 1}
    log: {every: 1, tensorboard: false}
"""
COPYING = """
    include: ../text/base.yaml
    model: {vocab_size: 64}
    data:
      tokenizer: null
      train: [data/reproduce-made/copying/train_*.bin]
      validation: [data/reproduce-made/copying/validation_*.bin]
      sequence_length: 256
"""
NEEDLES = """
    include: ../text/base.yaml
    data:
      format: sft
      train: [data/reproduce-made/needles.jsonl]
      validation: [data/reproduce-made/needles-validation.jsonl]
      sequence_length: 128
      on_long_example: skip
"""


def shorter_sweep(path):
    """A committed sweep with its variants and seeds, whose swaps come within forty steps."""
    sweep = yaml.safe_load(path.read_text())
    for changes in sweep["variants"].values():
        for swap in changes.get("train.swap_attention", []):
            swap["at_step"] = min(swap["at_step"], 30)
    return yaml.safe_dump(sweep, sort_keys=False).replace("runs/reproduce-cpu-short/", "runs/reproduce-made/")


def shorter_stages():
    text = (SIZES / "stages.yaml").read_text()
    for committed, here in SHORTER.items():
        assert committed in text
        text = text.replace(committed, here)
    return text


def write_plan(folder):
    """Writes the plan, its stages and sweeps, and the scripts of its data, below the folder in which the commands will run. Returns the plan's folder, relative
    to it."""
    plan = folder / "plan"
    for name, base in (("text", TEXT), ("copying", COPYING), ("needles", NEEDLES)):
        (plan / name).mkdir(parents=True)
        (plan / name / "base.yaml").write_text(textwrap.dedent(base))
        (plan / name / "sweep.yaml").write_text(shorter_sweep(SIZES / "cpu-short" / name / "sweep.yaml"))
    (plan / "stages.yaml").write_text(shorter_stages())
    data = {"name": "made", "machine": "a test", "claims": str(SIZES / "claims.yaml"), "stages": "stages.yaml", "points": POINTS, "values": VALUES, "minutes": {"text": 5}}
    (plan / "plan.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    (folder / "data").mkdir()
    (folder / "data/python_sources.py").write_text(textwrap.dedent(CORPUS))
    shutil.copy(ROOT / "data/needles.py", folder / "data")
    return plan.relative_to(folder)
