"""Models with a tokenizer that were trained on a little text, for the tests of needles in haystacks."""

import json
import random
import shutil

from conftest import Program, make_program

PIECES, TRAINED, HEADS, LAYERS = 320, 128, 2, 2
WORDS = "the hand of Thomas went 3.14 into water and night was".split()


def sentences(count, seed):
    rng = random.Random(seed)
    return " ".join(
        " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 12))) + rng.choice([".", "!", "?", '."', ".)"])
        for _ in range(count)
    )


def step(run):
    return f"{run}/checkpoints/step-00000004"


def make_text(folder):
    """The program with a little text, its tokenizer and its shards, and the config changes for a model trained on them."""
    program = make_program(folder)
    (folder / "text.txt").write_text("\n".join(sentences(60, seed) for seed in range(12)))
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "t.model", "--vocab-size", PIECES)
    program.run("prepare", "--input", "text.txt", "--tokenizer", "t.model", "--out", "tokens", "--validation-fraction", 0)
    model = {"vocab_size": PIECES, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "initializer_range": 0.2}
    data = {"tokenizer": str(folder / "t.model"), "train": [str(folder / "tokens/train_*.bin")], "sequence_length": TRAINED}
    return program, {"model": model, "data": data, "train": {"max_steps": 4}}


def make_models(folder):
    """Softmax and SSMax with three seeds each, and a learned p_n, trained on a little of such text, and its shards."""
    program, change = make_text(folder)
    base = program.config(change, name="base.json")
    kinds = {kind: {"model.attention.kind": kind} for kind in ("softmax", "ssmax")}
    (folder / "sweep.json").write_text(json.dumps({"base": base.name, "variants": kinds, "seeds": [1, 2, 3], "jobs": 1}))
    program.run("sweep", "--config", "sweep.json", "--run-dir", "sweep")
    program.train("--run-dir", "learned_pn", changes=[change, {"model": {"attention": {"kind": "learned_pn"}}}])
    return program


def models(made_once):
    """What make_models makes, once for all tests; read-only."""
    return Program(made_once("needle", make_models))


def copied_models(made_once, folder):
    """The same in a folder that tests may write into. Configs name the tokenizer and the shards of the original."""
    return Program(shutil.copytree(models(made_once).directory, folder, dirs_exist_ok=True))


def without_training(program, checkpoint, name):
    """A copy of a checkpoint under this name, as if it came from elsewhere: its files may be changed."""
    folder = program.directory / name
    shutil.copytree(program.directory / checkpoint, folder)
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder / "trainer")
    return folder


def needle(program, *arguments, **options):
    out, err = program.run("evaluate", "needle", "--data", "tokens/train_*.bin", *arguments, **options)
    return (json.loads(out) if "--json" in arguments else out), err
