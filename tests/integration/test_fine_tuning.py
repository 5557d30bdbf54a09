"""data.format: sft compared with PyTorch: which tokens are predicted, what examples attend to, how they are weighted, and how
long an epoch is."""

import json
import math
import re
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import checkpoints, equal_tensors, make_program, wait_for, without_timing
from launchers import run_ranks
from reference_model import ReferenceModel
from tunings import LAST, Tuning, answer_loss, make_examples, only_once, words

WINDOW = 640


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Tuning(make_program(tmp_path_factory.mktemp("tuning")))


@pytest.fixture
def tuning(program):
    return Tuning(program)


def reference_steps(start, examples, kind, steps):
    """Every example in each step, in float64; all tokens of answers have equal weight."""
    model = ReferenceModel({k: v.double() for k, v in start.items()}, heads=2, layers=2, kind=kind)
    matrices = [w for w in model.weights if w.dim() >= 2]
    vectors = [w for w in model.weights if w.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=0.001, betas=(0.9, 0.95), eps=1e-8)
    num_answer_tokens = sum(len(tokens) - prompt for tokens, prompt in examples)
    losses, norms = [], []
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 0.001 * min(1.0, step / 3)
        loss = sum(answer_loss(model, tokens, prompt) for tokens, prompt in examples) / num_answer_tokens
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.weights, 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    return model, losses, norms


@pytest.mark.parametrize("kind, micro_batch", [("softmax", 2), ("ssmax", 1), ("learned_pn", 4)])
def test_steps_equal_pytorch_with_answers_of_1_and_500_tokens(tuning, kind, micro_batch):
    """As many windows as a batch has rows, so that each step reads all examples: packed here, one by one in the reference."""
    long = " " + words(np.random.default_rng(3), 300)
    while len(tuning.tokenizer.encode(long)) < 500:
        long += " of"
    examples = [("river?", "7"), ("stone and a bridge?", long), *make_examples(4, 12)]
    encoded = [tuning.encode(*example) for example in examples]
    lengths = [len(tokens) - prompt - 1 for tokens, prompt in encoded]  # without EOS
    assert lengths[0] == 1 and 500 <= lengths[1] < 510
    tuning.write(examples)
    start = tuning.start(kind, WINDOW)
    change = {"data": {"sequence_length": WINDOW}, "train": {"max_steps": 6, "global_batch_size": 4, "micro_batch_size": micro_batch}}
    tuning.train("ours", change, arguments=["--init-from", start], kind=kind)
    model, losses, norms = reference_steps(load_file(start / "model.safetensors"), encoded, kind, 6)
    records = tuning.metrics("ours")
    assert [r["tokens"] for r in records] == [sum(n + 1 for n in lengths) * step for step in range(1, 7)]
    # As in test_training.py: float32 against float64 along a few updates.
    np.testing.assert_allclose([r["train/loss"] for r in records], losses, rtol=2e-5)
    np.testing.assert_allclose([r["train/grad_norm"] for r in records], norms, rtol=5e-4)
    assert losses[-1] < losses[0] - 0.05
    final = load_file(tuning.directory / "ours" / LAST.format(6) / "model.safetensors")
    for name, weight in model.named_tensors().items():
        moved = (weight - load_file(start / "model.safetensors")[name]).abs().mean().item()
        apart = (weight - final[name]).abs().mean().item()
        assert moved > 1e-5, name
        # p_n beyond the longest example does not move in either.
        assert apart < 5e-3 * moved, f"{name}: {apart} of {moved}"


def test_an_examples_neighbours_do_not_matter(tuning):
    """The loss over all examples is the mean of the losses of each in a run of its own, weighted by its tokens."""
    examples = make_examples(5, 6)
    once = {"train": {"max_steps": 1, "global_batch_size": 3, "micro_batch_size": 3},
            "optimizer": {"schedule": {"warmup_steps": 0}}}
    start = tuning.start("ssmax", 128)
    tuning.write(examples)
    tuning.train("together", once, arguments=["--init-from", start], kind="ssmax")
    total = count = 0
    for i, example in enumerate(examples):
        tuning.write([example])
        tuning.train(f"alone-{i}", once, arguments=["--init-from", start], kind="ssmax")
        tokens, prompt = tuning.encode(*example)
        record, = tuning.metrics(f"alone-{i}")
        assert record["tokens"] == len(tokens) - prompt
        total += record["train/loss"] * record["tokens"]
        count += record["tokens"]
    together, = tuning.metrics("together")
    assert together["tokens"] == count
    # Means of a few dozen float32 terms with different rotary angles; attending to a neighbour changes 1e-2.
    assert together["train/loss"] == pytest.approx(total / count, rel=2e-6)


VALIDATION = {"data": {"validation": ["held_out.jsonl"]}, "evaluate": {"every": 4, "batches": 100}}


def test_ranks_and_micro_batches_do_not_change_the_curve(made):
    """To 1e-6, with the same steps, tokens and learning rates. 6 rows divide among 1, 2 and 3 ranks; the last step of an epoch
    has rows that are empty, and whole ranks without an answer."""
    # Small updates: rounding decides the sign of gradients near zero, and with it AdamW's first updates.
    calm = {"optimizer": {"lr": 1e-4, "eps": 1e-4}, "train": {"max_steps": 12, "micro_batch_size": 6}}
    made.train("one", calm, VALIDATION, kind="ssmax")
    whole = made.metrics("one")
    assert len(whole) == 12 and "validation/loss" in whole[3]
    assert len({b["tokens"] - a["tokens"] for a, b in zip(whole, whole[1:])}) > 2  # steps with different numbers of tokens
    for ranks, micro_batch in ((1, 1), (1, 3), (2, 3), (2, 1), (3, 2), (3, 1)):
        name = f"ranks-{ranks}-{micro_batch}"
        change = {"train": {"micro_batch_size": micro_batch}}
        if ranks == 1:
            made.train(name, calm, VALIDATION, change, kind="ssmax")
        else:
            config = made.program.config(*made.config(calm, VALIDATION, change, kind="ssmax"), name=f"{name}.json")
            run_ranks(made.program, "by_hand", ranks, ["train", "--config", config, "--run-dir", name])
        curve = made.metrics(name)
        for key in ("step", "tokens", "train/lr"):
            assert [r[key] for r in curve] == [r[key] for r in whole], name
        for key in ("train/loss", "validation/loss"):
            np.testing.assert_allclose([r[key] for r in curve if key in r], [r[key] for r in whole if key in r], rtol=1e-6,
                                       err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(tuning, dtype):
    """Bit for bit, with --resume auto and the same config, which counts in epochs."""
    start = tuning.start("ssmax", 128)
    # 60 examples make a few windows; checkpoints fall inside epochs.
    changes = [VALIDATION, {"train": {"dtype": dtype, "epochs": 40, "max_steps": None}, "checkpoint": {"every": 7, "keep_last": 3},
                            "optimizer": {"schedule": {"kind": "cosine", "warmup_epochs": 1, "warmup_steps": 0}}, "log": {"every": 2}}]
    config = tuning.program.config(*tuning.config(*changes, kind="ssmax"))
    data = json.loads(config.read_text())
    del data["train"]["max_steps"], data["optimizer"]["schedule"]["warmup_steps"]
    config.write_text(json.dumps(data))
    tuning.program.run("train", "--config", config, "--run-dir", "whole", "--init-from", start)
    killed = tuning.directory / "killed"
    process = tuning.program.start("train", "--config", config, "--run-dir", "killed", "--init-from", start)
    metrics = killed / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and '"step":20,' in metrics.read_text().replace(" ", "") and len(checkpoints(killed)) > 1,
             process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, err = tuning.program.run("train", "--config", config, "--run-dir", "killed", "--resume", "auto")
    assert "resumes from step" in err
    whole = tuning.metrics("whole")
    assert without_timing(tuning.metrics("killed")) == without_timing(whole)
    last = LAST.format(whole[-1]["step"])
    for file in ("model.safetensors", "trainer/optimizer-00000-of-00001.safetensors"):
        assert equal_tensors(load_file(tuning.directory / "whole" / last / file), load_file(killed / last / file))
    # Another number of epochs, with the stored config, continues in steps.
    steps = whole[-1]["step"]
    tuning.program.run("train", "--resume", "whole", "--set", f"train.max_steps={steps + 2}")
    assert tuning.metrics("whole")[-1]["step"] == steps + 2


def test_epochs_are_counted_in_steps(tuning):
    """A cosine with one epoch of warm-up, as in the paper's Table 3."""
    epochs = {"train": {"epochs": 4}, "optimizer": {"schedule": {"kind": "cosine", "warmup_epochs": 1, "min_lr": 1e-5}}}
    path = tuning.program.config(*tuning.config(epochs))
    data = json.loads(path.read_text())
    del data["train"]["max_steps"], data["optimizer"]["schedule"]["warmup_steps"]
    path.write_text(json.dumps(data))
    out, _ = tuning.program.run("train", "--config", path, "--run-dir", "run", "--dry-run")
    examples, windows, answers, prompts, padding = map(int, only_once(
        out, r"data +(\d+) examples in (\d+) windows of 128: (\d+) tokens of answers, (\d+) of prompts, (\d+) of padding"))
    encoded = [tuning.encode(*example) for example in tuning.train_examples]
    assert examples == 60
    assert answers == sum(len(tokens) - prompt for tokens, prompt in encoded)
    assert prompts == sum(prompt - 1 for _, prompt in encoded)
    assert answers + prompts + padding == windows * 128
    per_epoch = math.ceil(windows / 6)
    assert f"{4 * per_epoch} steps" in out and "4.00 epochs" in out
    assert not (tuning.directory / "run").exists()
    tuning.program.run("train", "--config", path, "--run-dir", "run")
    records = tuning.metrics("run")
    assert len(records) == 4 * per_epoch
    # Every epoch predicts every answer once, in another order.
    tokens = [b - a for a, b in zip([0] + [r["tokens"] for r in records], [r["tokens"] for r in records])]
    by_epoch = [tokens[i : i + per_epoch] for i in range(0, len(tokens), per_epoch)]
    assert [sum(t) for t in by_epoch] == [answers] * 4
    assert len(set(map(tuple, by_epoch))) > 1
    for r in records:
        step = r["step"]
        falling = (step - per_epoch) / (3 * per_epoch)
        rate = 1e-3 * step / per_epoch if step <= per_epoch else 1e-5 + (1e-3 - 1e-5) * 0.5 * (1 + math.cos(math.pi * falling))
        assert r["train/lr"] == pytest.approx(rate, rel=1e-9)
    stored = (tuning.directory / "run/config.yaml").read_text()
    assert f"max_steps: {4 * per_epoch}\n" in stored and "epochs: null" in stored


SQUAD = {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": "the river of seven lamps", "qas": [
    {"question": "how many lamps?", "id": "1", "answers": [{"text": "seven", "answer_start": 13}], "is_impossible": False},
    {"question": "who built the bridge?", "id": "2", "answers": [], "is_impossible": True}]}]}]}


def test_squad_is_read_directly_and_the_validation_loss_is_of_answers_alone(tuning):
    """Both questions of a paragraph; the second gets the answer of questions that have none."""
    (tuning.directory / "dev.json").write_text(json.dumps(SQUAD))
    start = tuning.start("ssmax", 128)
    change = {"data": {"validation": ["dev.json"]}, "evaluate": {"every": 1, "batches": 1},
              "train": {"max_steps": 1}, "optimizer": {"lr": 1e-30, "schedule": {"warmup_steps": 0}}}
    _, err = tuning.train("run", change, arguments=["--init-from", start], kind="ssmax")
    assert "validation 2 examples in 1 windows" in re.sub(" +", " ", err)
    model = ReferenceModel({k: v.double() for k, v in load_file(start / "model.safetensors").items()}, heads=2, layers=2, kind="ssmax")
    prompt = "the river of seven lamps\n\nQuestion: {}\nAnswer:"
    encoded = [tuning.encode(prompt.format("how many lamps?"), " seven"),
               tuning.encode(prompt.format("who built the bridge?"), " unanswerable")]
    with torch.no_grad():
        total = sum(answer_loss(model, *example).item() for example in encoded)
    record = tuning.metrics("run")[0]
    # Means of float32 losses.
    assert record["validation/loss"] == pytest.approx(total / sum(len(t) - p for t, p in encoded), rel=2e-6)
    found = json.loads(tuning.program.run("inspect", "dev.json", "--json")[0])
    assert (found["examples"], found["unanswerable"]) == (2, 1)
    assert found["answer_bytes"] == len(" seven unanswerable")
    # The same file as training data.
    shutil.copy(tuning.directory / "dev.json", tuning.directory / "train.json")
    out, _ = tuning.train("squad", {"data": {"train": ["train.json"]}}, arguments=["--dry-run"])
    assert "2 examples in 1 windows of 128" in out


@pytest.mark.parametrize("line, words", [
    ({"prompt": "river?", "answer": ""}, ["the answer is empty"]),
    ({"prompt": "river?"}, ['no field "answer"']),
    ({"prompt": 3, "answer": "a"}, ['the field "prompt" is 3, not a text']),
    ({"prompt": "river?", "answer": " of" * 200}, ["the example has", "data.sequence_length = 128", "data.on_long_example"]),
    (["river?", "a"], ["not a JSON object"]),
], ids=["empty", "missing", "type", "long", "list"])
def test_bad_examples_are_refused_by_their_line(tuning, line, words):
    with open(tuning.directory / "train.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    _, err = tuning.train("run", code=3)
    assert "train.jsonl:61" in err and all(word in err for word in words)
    assert not (tuning.directory / "run").exists()


def test_long_examples_are_left_out_and_counted_where_asked(tuning):
    tuning.write([*tuning.train_examples, ("river?", " of" * 200)])
    out, err = tuning.train("run", {"data": {"on_long_example": "skip"}}, arguments=["--dry-run"])
    assert "1 of 61 examples" in err and "60 examples in" in out and "1 longer ones left out" in out


def test_what_does_not_fit_together_is_refused(tuning):
    for change, code, words in [
        ({"data": {"tokenizer": None}}, 2, "needs data.tokenizer"),
        ({"data": {"train": ["train.bin"]}}, 2, ".jsonl.zst"),
        ({"data": {"validation": ["train.jsonl"]}}, 2, "share examples"),
        ({"train": {"epochs": 3}}, 2, "train.max_steps = 8 says how long"),
        ({"data": {"format": "pretrain"}, "train": {"epochs": 3}}, 2, "needs data.format = sft"),
        ({"model": {"vocab_size": 200}}, 3, "the model must hold them all"),
        ({"data": {"train": ["gone.jsonl"]}}, 3, "gone.jsonl"),
    ]:
        _, err = tuning.train("run", change, code=code)
        assert words in err
    assert not (tuning.directory / "run").exists()


def test_a_resume_refuses_other_examples(tuning):
    tuning.train("run", {"checkpoint": {"every": 4}})
    tuning.write(make_examples(9, 60))
    _, err = tuning.train("run", {"train": {"max_steps": 10}}, arguments=["--resume", "auto"], code=3)
    assert "The training examples are not those" in err


def test_a_sweep_goes_on_with_the_same_examples_alone(tuning):
    change = {"train": {"max_steps": 3}}
    tuning.program.config(*tuning.config(change), name="base.json")
    kinds = {kind: {"model.attention.kind": kind} for kind in ("softmax", "ssmax")}
    (tuning.directory / "sweep.json").write_text(json.dumps({"base": "base.json", "variants": kinds, "seeds": 1, "jobs": 1}))
    sweep = ["sweep", "--config", "sweep.json", "--run-dir", "sweep"]
    tuning.program.run(*sweep)
    assert len(tuning.metrics("sweep/ssmax-seed1")) == 3
    _, err = tuning.program.run(*sweep)
    assert "is not known" not in err
    tuning.write(make_examples(9, 60))
    _, err = tuning.program.run(*sweep, code=2)
    assert "The training data (data.train) or the tokenizer are not those" in err
