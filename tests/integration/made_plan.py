"""A reproduction of a minute's parts: every stage that the claims ask for, with models that learn nothing."""

import json
import random
import textwrap

import yaml
from conftest import ROOT

WORDS = "the lamp of a city stands near water and seven men read old books under trees while rain falls on green hills".split()


def write_corpus(path, documents=60, sentences=40):
    draw = random.Random(3)
    with open(path, "w") as file:
        for number in range(documents):
            text = " ".join(f"{' '.join(draw.choice(WORDS) for _ in range(6)).capitalize()}." for _ in range(sentences))
            file.write(json.dumps({"text": f"Document {number}. {text}"}) + "\n")


BASE = """
    model: {vocab_size: 384, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 24}
    data:
      tokenizer: data/tokenizer.model
      train: [data/tokens/train_*.bin]
      validation: [data/tokens/validation_*.bin]
      sequence_length: 64
    train: {device: cpu, dtype: float32, max_steps: 40, global_batch_size: 4, micro_batch_size: 4}
    optimizer: {lr: 3.0e-3, schedule: {kind: constant, warmup_steps: 4}}
    evaluate: {every: 4, batches: 1}
    checkpoint: {every: 10, keep_last: 1}
    log: {every: 1, tensorboard: false}
"""
COPYING = """
    include: base.yaml
    model: {vocab_size: 64}
    data: {tokenizer: null, train: [data/copying/train_*.bin], validation: [data/copying/validation_*.bin], sequence_length: 256}
"""
NEEDLES = """
    include: base.yaml
    data: {format: sft, train: [data/needles.jsonl], validation: [data/needles-validation.jsonl], sequence_length: 128, on_long_example: skip}
"""


def variants_of(size_folder, sweep):
    """The variants of a size that is committed, so that what the claims name is there; of seeds but those of three kinds one."""
    data = yaml.safe_load((ROOT / "configs/reproduce" / size_folder / sweep / "sweep.yaml").read_text())
    for name, changes in data["variants"].items():
        changes = {} if changes is None else changes
        if name not in ("softmax", "ssmax", "softmax_temperature"):
            changes["seeds"] = 1
        swaps = changes.get("train.swap_attention", [])
        for swap in swaps:
            swap["at_step"] = min(swap["at_step"], 30)
        if "init_from" in changes:
            changes["init_from"] = "runs/reproduce-made/text/softmax-seed{seed}"
    return data["variants"]


def of_three(sweep):
    return " ".join(f"{{out}}/{sweep}/{kind}-seed*" for kind in ("softmax", "ssmax", "softmax_temperature"))


def write_plan(folder):
    """Writes the plan, its sweeps and its corpus below the folder, in which the commands are to run. Returns the plan's folder, relative to it."""
    plan = folder / "plan"
    plan.mkdir(parents=True)
    (folder / "data").mkdir()
    write_corpus(folder / "data/corpus.jsonl")
    for name, text in (("base", BASE), ("copying", COPYING), ("needles", NEEDLES)):
        (plan / f"{name}.yaml").write_text(textwrap.dedent(text))
    for sweep, base in (("text", "base"), ("copying", "copying"), ("needles", "needles")):
        content = {"base": f"{base}.yaml", "variants": variants_of("cpu", sweep), "seeds": 3}
        if sweep == "needles":
            content["init_from"] = "runs/reproduce-made/text/{variant}-seed{seed}"
        (plan / f"{sweep}-sweep.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    shards = "data/tokens/validation_*.bin"
    stages = [
        dict(name="tokenizer", run="{ssgpt} tokenizer train --input data/corpus.jsonl --output data/tokenizer.model --vocab-size 384 --overwrite",
             makes=["data/tokenizer.model"]),
        dict(name="shards", needs=["tokenizer"], makes=["data/tokens/train_*.bin"],
             run="{ssgpt} prepare --input data/corpus.jsonl --tokenizer data/tokenizer.model --out data/tokens --validation-fraction 0.3 --overwrite"),
        dict(name="copying-data", makes=["data/copying/train_*.bin"],
             run="{ssgpt} prepare --synthetic copy --vocab-size 64 --length 256 --windows 200 --seed 1 --out data/copying --overwrite"),
        dict(name="needle-examples", makes=["data/needles.jsonl"],
             run=f"{{python}} {ROOT}/data/needles.py data/corpus.jsonl data/needles.jsonl --examples 200 --words 10"),
        dict(name="needle-validation", makes=["data/needles-validation.jsonl"],
             run=f"{{python}} {ROOT}/data/needles.py data/corpus.jsonl data/needles-validation.jsonl --examples 30 --words 10 --seed 2"),
        dict(name="text", title="Text", needs=["shards"], sweep="text-sweep.yaml", minutes=0.3),
        dict(name="copying", title="Copying", needs=["copying-data"], sweep="copying-sweep.yaml", minutes=0.3),
        dict(name="needles", title="Needles", needs=["text", "needle-examples", "needle-validation"], sweep="needles-sweep.yaml", minutes=0.3),
        dict(name="position", needs=["text"],
             run=f"{{ssgpt}} evaluate position --checkpoint {of_three('text')} --data {shards} --max-length 512 --windows 2 "
             "--rope-theta 10000,500000 --out {out}/position"),
        dict(name="position-others", needs=["text"],
             run=f"{{ssgpt}} evaluate position --checkpoint {{out}}/text --data {shards} --max-length 512 --windows 2 --rope-theta 10000,500000 "
             "--swap-attention ssmax --row-scale 1,1.5 --apply-to softmax --extend-pn fit --out {out}/position-others"),
        dict(name="attention", needs=["text"],
             run=f"{{ssgpt}} evaluate attention --checkpoint {of_three('text')} --data {shards} --max-length 512 "
             "--windows 1 --rope-theta 500000 --out {out}/attention"),
        dict(name="copies", needs=["copying"],
             run=f"{{ssgpt}} evaluate retrieval --checkpoint {of_three('copying')} --task copy --lengths 256,512,1024,2048 --trials 2 "
             "--rope-theta 10000,500000 --out {out}/copies"),
        dict(name="copies-others", needs=["copying"],
             run="{ssgpt} evaluate retrieval --checkpoint {out}/copying --task copy --lengths 256,512,1024,2048 --trials 2 --rope-theta 10000,500000 "
             "--swap-attention ssmax --row-scale 1,1.5 --apply-to softmax --out {out}/copies-others"),
        dict(name="needles-found", needs=["needles"],
             run=f"{{ssgpt}} evaluate needle --checkpoint {{out}}/needles --data {shards} --lengths 128,256 --depths 50 --trials 2 --attention --out {{out}}/needles-found"),
    ]
    data = {"name": "made", "machine": "a test", "claims": str(ROOT / "configs/reproduce/claims.yaml"), "stages": stages,
            "points": {"trained": 64, "far": 512, "needle_trained": 128, "needle_far": 256}}
    (plan / "plan.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return plan.relative_to(folder)
