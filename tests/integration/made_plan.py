"""The stages of configs/reproduce/cpu-short, of which each takes a second: another corpus, models that learn nothing, short evaluations."""

import json
import random
import textwrap

import yaml
from conftest import ROOT

SIZE = ROOT / "configs/reproduce/cpu-short"
WORDS = "the lamp of a city stands near water and seven men read old books under trees while rain falls on green hills".split()
# In the committed commands, and what takes their place.
SHORTER = {
    "--vocab-size 1024": "--vocab-size 384",
    "--validation-fraction 0.01": "--validation-fraction 0.3",
    "--windows 40000": "--windows 200",
    "--max-length 2048": "--max-length 512",
    "--max-length 256 --bin 26 --windows 100": "--max-length 64 --bin 7 --windows 2",
    "--bin 1024": "--bin 256",
    "--windows 24": "--windows 2",
    "--windows 4": "--windows 1",
    "--task copy": "--task copy --trials 2",
    "--lengths 256,512 ": "--lengths 128,256 ",
    "--trials 12": "--trials 2",
    "--examples 40000": "--examples 200",
    "--examples 500": "--examples 30",
    "--words 60": "--words 10",
    "data/needles.py": f"{ROOT}/data/needles.py",
}
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


def write_corpus(path, documents=60, sentences=40):
    draw = random.Random(3)
    with open(path, "w") as file:
        for number in range(documents):
            text = " ".join(f"{' '.join(draw.choice(WORDS) for _ in range(6)).capitalize()}." for _ in range(sentences))
            file.write(json.dumps({"text": f"Document {number}. {text}"}) + "\n")


def shorter_sweep(path):
    """A committed sweep, its variants and seeds as they are, whose swaps come within forty steps."""
    sweep = yaml.safe_load(path.read_text())
    for changes in sweep["variants"].values():
        for swap in changes.get("train.swap_attention", []):
            swap["at_step"] = min(swap["at_step"], 30)
    return yaml.safe_dump(sweep, sort_keys=False).replace("runs/reproduce-cpu-short/", "runs/reproduce-made/")


def shorter_stage(stage):
    if "run" in stage:
        for committed, here in SHORTER.items():
            stage["run"] = stage["run"].replace(committed, here)
    if stage["name"] == "corpus":
        stage["run"] = "install -D corpus.jsonl {data}/sources.jsonl"
    stage.pop("reads", None)
    return stage


def write_plan(folder):
    """Writes the plan, its sweeps and its corpus below the folder, in which the commands are to run. Returns the plan's folder, relative to it."""
    plan = folder / "plan"
    write_corpus(folder / "corpus.jsonl")
    for name, base in (("text", TEXT), ("copying", COPYING), ("needles", NEEDLES)):
        (plan / name).mkdir(parents=True)
        (plan / name / "base.yaml").write_text(textwrap.dedent(base))
        (plan / name / "sweep.yaml").write_text(shorter_sweep(SIZE / name / "sweep.yaml"))
    data = yaml.safe_load((SIZE / "plan.yaml").read_text())
    data |= {"name": "made", "machine": "a test", "claims": str(ROOT / "configs/reproduce/claims.yaml"),
             "points": {"first_tenth": 7, "trained": 64, "middle": 256, "far": 512, "needle_trained": 128, "needle_far": 256}}
    data["stages"] = [shorter_stage(stage) for stage in data["stages"]]
    (plan / "plan.yaml").write_text(yaml.safe_dump(data, sort_keys=False, width=1000))
    return plan.relative_to(folder)
