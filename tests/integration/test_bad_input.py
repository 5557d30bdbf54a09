"""User errors: each leads to one clear paragraph and the right exit code, with nothing lost or half written."""

import gzip
import json
import re
import resource
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file

from conftest import BINARY, LENGTH, VOCAB, read_metrics, start_that_becomes_nan, write_shard


def fails(program, code, *words, changes=(), arguments=()):
    """The run must fail with `code`, name each of the words, and leave no run directory."""
    _, err = program.train("--run-dir", "run", *arguments, changes=changes, code=code)
    message = err.strip()
    for word in words:
        assert str(word) in message, message
    assert "internal error" not in message and "std::" not in message and "Traceback" not in message, message
    assert not (program.directory / "run").exists(), "something was left behind"
    return message


def test_unknown_and_mistyped_keys_are_all_listed(program):
    change = {"optimiser": {"lr": 1}, "train": {"max_step": 5, "clip_grad_norm": -1}, "model": {"hidden_size": "wide"}}
    message = fails(program, 2, "optimiser", "optimizer", "train.max_step", "max_steps", "clip_grad_norm", "-1",
                    "hidden_size", "wide", changes=[change])
    assert message.count("config.json:") >= 4


@pytest.mark.parametrize("override, word", [("train.max_steps=1.5", "1.5"), ("optimizer.lrr=1", "optimizer.lr"),
                                            ("optimizer.lr", "="), ("optimizer.lr=nan", "nan"),
                                            ("model.attention.kind=softermax", "softmax")])
def test_overrides_are_checked(program, override, word):
    fails(program, 2, word, arguments=["--set", override])


# An unset shell variable. `finished_run` holds what each command would otherwise have worked with.
@pytest.mark.parametrize("arguments, option", [
    ("train --config config.json --init-from ''", "--init-from"), ("train --config config.json --resume ''", "--resume"),
    ("train --config config.json --run-dir ''", "--run-dir"), ("train --config config.json --resume=", "--resume"),
    ("train --config config.json --run-dir= --dry-run", "--run-dir"), ("train --config ''", "--config"),
    ("train --config config.json --set data.tokenizer=", "data.tokenizer="),
    ("train --config config.json --set optimizer.schedule=", "optimizer.schedule="), ("inspect ''", "PATH"),
    ("compare run '' --json", "RUN"), ("compare run run --out ''", "--out"), ("sweep --config '' --run-dir x", "--config"),
    ("evaluate loss --data '' --checkpoint run/checkpoints/step-00000020", "--data"),
    ("generate --prompt-tokens 1 --top-k '' --checkpoint run/checkpoints/step-00000020", "--top-k"),
    ("convert --attention ssmax --out '' --checkpoint run/checkpoints/step-00000020", "--out"),
    ("tokenizer train --input t.txt --output ''", "--output"), ("bench step --config ''", "--config"),
    ("prepare --input '' --tokenizer t.model --out o", "--input")])  # fmt: skip
def test_an_empty_value_is_wrong_usage(program, finished_run, arguments, option):
    program.config()
    before = sorted(program.directory.rglob("*"))
    out, err = program.run(*shlex.split(arguments), code=2)
    assert out == "" and option in err and "empty" in err and len(err.splitlines()) == 1
    assert sorted(program.directory.rglob("*")) == before


def test_a_gpu_where_none_can_be_used(program):
    program.environment["CUDA_VISIBLE_DEVICES"] = ""
    fails(program, 2, "device is cuda", "no GPU", "train.device=cpu", changes=[{"train": {"device": "cuda"}}])
    program.train("--run-dir", "run", changes=[{"train": {"device": "auto"}}])
    checkpoint = program.directory / "run/checkpoints/step-00000020"
    for command in (["evaluate", "loss", "--data", "validation.bin"], ["generate", "--prompt-tokens", "1"]):
        outputs = {}
        for device in ("auto", "cpu"):
            extra = ["--json", "--device", device, "--checkpoint", checkpoint]
            outputs[device] = json.loads(program.run(*command, *extra)[0])
            outputs[device].pop("tokens_per_second", None)
        assert outputs["auto"] == outputs["cpu"]
        _, err = program.run(*command, "--checkpoint", checkpoint, "--device", "cuda", code=2)
        assert "no GPU" in err and "--device cpu" in err
        _, err = program.run(*command, "--checkpoint", checkpoint, "--device", "gpu", code=2)
        assert "auto" in err and "cuda" in err


def test_a_batch_that_does_not_divide(program):
    fails(program, 2, "global_batch_size", "micro_batch_size", "8", "3", changes=[{"train": {"micro_batch_size": 3}}])


def test_config_files_that_are_missing_empty_foreign_or_cyclic(program):
    program.run("train", "--config", "nowhere.yaml", code=3)
    (program.directory / "empty.yaml").write_text("")
    _, err = program.run("train", "--config", "empty.yaml", code=2)
    assert "model.vocab_size" in err
    (program.directory / "binary.yaml").write_bytes(bytes(range(256)))
    program.run("train", "--config", "binary.yaml", code=3)
    (program.directory / "a.yaml").write_text("include: b.yaml\n")
    (program.directory / "b.yaml").write_text("include: a.yaml\n")
    _, err = program.run("train", "--config", "a.yaml", code=2)
    assert "include" in err


@pytest.mark.parametrize("content, word", [
    (None, "train.bin"),
    (b"", "empty"),
    (gzip.compress(b"hello world" * 99), "train.bin"),
    (b"In the beginning God created the heaven and the earth.\n" * 41, "train.bin"),
], ids=["missing", "empty", "gzip", "text"])  # gzip files hold the time, but workers must agree on names
def test_files_that_are_no_shards(program, content, word):
    path = program.directory / "train.bin"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    fails(program, 3, word)


def test_a_truncated_shard(program):
    path = program.directory / "train.bin"
    path.write_bytes(path.read_bytes()[:-3])
    fails(program, 3, "train.bin")


def test_data_shorter_than_a_window(program):
    write_shard(program.directory / "train.bin", np.zeros(LENGTH))
    fails(program, 3, LENGTH)


def test_ids_beyond_the_vocabulary_name_shard_and_position(program):
    tokens = np.zeros(64 * LENGTH + 1)
    tokens[77] = VOCAB
    write_shard(program.directory / "train.bin", tokens)
    _, err = program.train("--run-dir", "run", code=3)
    assert "train.bin" in err and "77" in err and str(VOCAB) in err


def test_a_tokenizer_that_is_none_or_too_large(program):
    (program.directory / "t.model").write_text("not a model")
    fails(program, 3, "t.model", changes=[{"data": {"tokenizer": "t.model"}}])
    fails(program, 3, "absent.model", changes=[{"data": {"tokenizer": "absent.model"}}])
    (program.directory / "text.txt").write_text("In the beginning God created the heaven and the earth. " * 200)
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "large.model", "--vocab-size", 300)
    fails(program, 3, "large.model", "300", "model.vocab_size", VOCAB, changes=[{"data": {"tokenizer": "large.model"}}])


def test_a_directory_that_holds_a_run(program, finished_run):
    before = (finished_run / "metrics.jsonl").read_bytes()
    _, err = program.train("--run-dir", "run", code=2)
    assert "--resume auto" in err
    assert (finished_run / "metrics.jsonl").read_bytes() == before


def test_checkpoints_that_do_not_load(program, finished_run):
    checkpoint = finished_run / "checkpoints/step-00000020"
    evaluate = ["evaluate", "loss", "--data", "validation.bin", "--checkpoint"]
    for name in ("model.safetensors", "config.json", "trainer/state.json"):
        path = checkpoint / name
        good = path.read_bytes()
        for bad in (good[:-1], good[:-1] + bytes([good[-1] ^ 64]), b""):
            path.write_bytes(bad)
            _, err = program.run(*evaluate, checkpoint, code=3)
            assert name in err and "internal error" not in err
            program.run("inspect", checkpoint, code=3)
        path.write_bytes(good)
    program.run(*evaluate, checkpoint)
    program.run(*evaluate, "nowhere", code=3)
    program.run(*evaluate, ".", code=3)
    program.run("train", "--resume", "nowhere", code=3)


def test_a_model_without_its_training_state_is_not_resumed(program, finished_run):
    checkpoint = finished_run / "checkpoints/step-00000020"
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    assert "trainer/state.json" in json.dumps(manifest)
    bare = program.directory / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(checkpoint / name, bare)
    _, err = program.run("train", "--config", program.config(), "--resume", "bare", "--run-dir", "new", code=3)
    assert "--init-from" in err


def test_a_full_disk_keeps_the_last_good_checkpoint(program):
    """RLIMIT_FSIZE stands in for the disk: files may grow to 64 KiB, the optimizer's file is larger."""
    program.train("--run-dir", "run", changes=[{"train": {"max_steps": 10}}])
    before = sorted(p.name for p in (program.directory / "run/checkpoints").iterdir())
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    result = subprocess.run([str(BINARY), "train", "--config", str(program.config()), "--run-dir", "run", "--resume", "auto"],
                            cwd=program.directory, preexec_fn=limit, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    assert "internal error" not in result.stderr
    assert sorted(p.name for p in (program.directory / "run/checkpoints").iterdir()) == before
    program.train("--run-dir", "run", "--resume", "auto")
    assert read_metrics(program.directory / "run")[-1]["step"] == 20


def test_an_unwritable_directory(program):
    (program.directory / "file").write_text("")
    _, err = program.train("--run-dir", "file/run", code=1)
    assert "file/run" in err
    _, err = program.train("--run-dir", "/proc/run", code=1)
    assert "/proc/run" in err


def test_a_loss_that_is_not_finite_stops_and_saves_nothing(program):
    """One window of 64 has no finite loss; it is read in a later step than the first."""
    bad = start_that_becomes_nan(program)

    changes = [{"checkpoint": {"every": 1, "keep_last": 50}}]
    _, err = program.train("--run-dir", "run", "--init-from", bad, changes=changes, code=1)
    named = int(re.search(r"Step (\d+): the loss or the gradient norm is not finite", err)[1])
    saved = sorted(int(p.name.split("-")[1]) for p in (program.directory / "run/checkpoints").iterdir())
    assert 1 < named <= 8 and saved == list(range(named))
    assert [r["step"] for r in read_metrics(program.directory / "run")] == saved[1:]

    # Skipping leaves out the update, says so, and trains to the end; a skipped step has no loss to show.
    _, err = program.train("--run-dir", "skip", "--init-from", bad, "--set", "train.on_nonfinite=skip", changes=changes)
    assert f"Step {named}: the loss or the gradient norm is not finite; its update was skipped" in err
    records = {r["step"]: r for r in read_metrics(program.directory / "skip")}
    assert list(records) == list(range(1, 21)) and "train/loss" not in records[named]
    before, after = (load_file(program.directory / f"skip/checkpoints/step-{n:08d}/model.safetensors") for n in (named - 1, named))
    assert all(np.array_equal(tensor, after[name]) for name, tensor in before.items())
    assert np.isfinite(records[20]["train/loss"])


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train", "--nonsense"], ["compare"], ["train"], ["evaluate"],
                                       ["train", "--config", "x.yaml", "--swap-attention", "maximum"]])
def test_wrong_usage(program, arguments):
    program.run(*arguments, code=2)


@pytest.mark.parametrize("command", [[], ["train"], ["compare"], ["evaluate"], ["evaluate", "loss"], ["tokenizer"],
                                     ["tokenizer", "train"], ["prepare"], ["convert"], ["inspect"]])
def test_help_is_there_and_gives_an_example(program, command):
    out, _ = program.run(*command, "--help")
    assert "ssgpt" in out and len(out) > 100
    if command and command not in (["evaluate"], ["tokenizer"]):
        assert "Example" in out


def test_version_names_the_libraries(program):
    out, _ = program.run("--version")
    assert "LibTorch  2.11.0" in out and "revision" in out


def test_dry_run_says_what_would_happen_and_writes_nothing(program):
    out, _ = program.train("--dry-run", "--run-dir", "run")
    for word in ("parameters", "memory", "budget", "intermediate_size", "20 steps"):
        assert word in out
    assert not (program.directory / "run").exists()
    (program.directory / "train.bin").unlink()
    program.train("--dry-run", "--run-dir", "run", code=3)


def test_paths_that_are_too_long_and_models_that_are_too_large_are_said_so(program):
    _, err = program.train("--run-dir", "x" * 300, code=3)
    assert "File name too long" in err and "internal error" not in err
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (40 << 30, 40 << 30))
    config = program.config({"model": {"hidden_size": 65536, "intermediate_size": 65536}})
    result = subprocess.run([str(BINARY), "train", "--config", str(config), "--run-dir", "run"], cwd=program.directory,
                            preexec_fn=limit, capture_output=True, text=True)
    assert result.returncode == 1 and "Out of memory" in result.stderr and "frame #" not in result.stderr, result.stderr
    assert not (program.directory / "run").exists()


def test_learned_positions_of_another_length_are_refused_before_anything_is_written(program):
    change = {"model": {"attention": {"kind": "learned_pn"}}}
    program.train("--run-dir", "start", changes=[change])
    fails(program, 2, "sequence_length", changes=[change, {"data": {"sequence_length": 8}}],
          arguments=["--init-from", "start/checkpoints/step-00000020"])


def test_shards_of_an_interrupted_prepare_are_refused(program):
    (program.directory / "prepare.json").write_text(json.dumps({"complete": False}))
    fails(program, 3, "prepare.json", "not complete")
    (program.directory / "prepare.json").write_text(json.dumps({"complete": True}))
    program.train("--run-dir", "run")


def test_results_that_cannot_be_written_are_a_failure(program, finished_run):
    with open("/dev/full", "w") as full:
        arguments = ["evaluate", "loss", "--checkpoint", "run/checkpoints/step-00000020", "--data", "validation.bin"]
        result = subprocess.run([str(BINARY), *arguments], cwd=program.directory, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1 and "standard output" in result.stderr


def test_metrics_and_run_files_hold_what_they_promise(program):
    run = program.directory / "it's (a) run"
    program.train("--run-dir", run.name, changes=[{"model": {"attention": {"kind": "ssmax"}}, "log": {"tensorboard": True},
                                                   "evaluate": {"every": 10, "batches": 2},
                                                   "data": {"validation": [str(program.directory / "validation.bin")]}}])
    records = read_metrics(run)
    assert {"step", "tokens", "train/loss", "train/lr", "train/grad_norm", "train/tokens_per_second", "time",
            "attention/scale/0", "attention/scale/1"} <= set(records[0])
    assert [r["step"] for r in records if "validation/loss" in r] == [10, 20]
    assert records[-1]["tokens"] == 20 * 8 * LENGTH
    assert list(run.glob("events.out.tfevents.*"))
    record = json.loads((run / "run.json").read_text())
    words = shlex.split(record["command"])
    assert record["run_id"] and words[1] == "train" and words[words.index("--run-dir") + 1] == run.name
    assert "Done: 20 steps" in (run / "log.txt").read_text()
    # The resolved config loads back and is complete.
    out, _ = program.run("train", "--config", run / "config.yaml", "--dry-run", "--run-dir", "other")
    assert (run / "config.yaml").read_text().strip() in out
