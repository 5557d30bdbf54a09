"""Files made to harm whoever reads them: each leads to one short message and the right exit code, within moments."""

import json
import shutil
import struct

import pytest
from conftest import CONFIG, checkpoints, merged
from made_runs import write_pair
from manifests import sign

DEEP = 100_000


def refused(program, *arguments, words=(), code=3):
    """Returns the message, which must be short, printable and not a library's."""
    out, err = program.run(*arguments, code=code)
    for word in words:
        assert str(word) in err, err
    assert len(err) + len(out) < 4000, f"{len(err) + len(out)} bytes: {err[:500]}"
    assert all(c.isprintable() or c in "\n\t" for c in err + out), err
    assert not any(word in err for word in ("json.exception", "internal error", "filesystem error", "std::")), err
    return err


def deep(key, bracket="["):
    """A JSON object with a value that nests DEEP levels under the key."""
    return f'{{"{key}": ' + bracket * DEEP + "0" + {"[": "]", "{": "}"}[bracket[0]] * DEEP + "}"


@pytest.mark.parametrize("bracket", ["[", '{"x": '], ids=["lists", "objects"])
def test_deep_json_in_the_files_of_a_run(program, bracket):
    write_pair(program.directory)
    lines = (program.directory / "ssmax/metrics.jsonl").read_text()
    (program.directory / "ssmax/metrics.jsonl").write_text(lines + deep("step", bracket) + "\n")
    refused(program, "compare", "softmax", "ssmax", words=["metrics.jsonl:301", "more than 64 deep"])
    (program.directory / "ssmax/metrics.jsonl").write_text(lines)
    (program.directory / "ssmax/run.json").write_text(deep("run_id", bracket))
    refused(program, "compare", "softmax", "ssmax", words=["ssmax/run.json", "more than 64 deep"])
    refused(program, "inspect", "ssmax", words=["ssmax/run.json"])


def rewrite_header(path, change):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = change(data[8 : 8 + size].decode()).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + size :])


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "trainer/state.json", "model.safetensors",
                                  "trainer/optimizer-00000-of-00001.safetensors"])  # fmt: skip
def test_deep_json_in_a_checkpoint(program, finished_run, name):
    checkpoint = checkpoints(finished_run)[-1]
    ranges = json.dumps({"ranges": "[" * DEEP, "format": "pt"})
    if name.endswith(".safetensors"):
        rewrite_header(checkpoint / name, lambda _: deep("x"))
    else:
        (checkpoint / name).write_text(deep("version"))
    # As it is, it is damaged, which is reported before its contents are read.
    changed = "manifest is damaged" if name == "manifest.json" else "the manifest says"
    refused(program, "inspect", checkpoint, words=[name, changed])
    fork = ["train", "--resume", checkpoint, "--run-dir", "fork"]
    refused(program, *fork, words=[name, changed])
    if name == "manifest.json":
        return
    sign(checkpoint)  # a manifest that fits: the contents of the file are read
    refused(program, "inspect", checkpoint, words=[name, "more than 64 deep"])
    refused(program, *fork, words=[name, "more than 64 deep"])
    if "optimizer" in name:
        rewrite_header(checkpoint / name, lambda _: '{"__metadata__": %s}' % ranges)
        sign(checkpoint)
        refused(program, *fork, words=[name])


def test_deep_json_in_sweeps_and_prepared_data(program):
    folder = program.directory / "sweep"
    folder.mkdir()
    (folder / "sweep.json").write_text(deep("format"))
    for command in ("inspect", "compare"):
        refused(program, command, "sweep", words=["sweep.json", "more than 64 deep"])
    (program.directory / "prepare.json").write_text(deep("settings"))
    refused(program, "inspect", ".", words=["prepare.json", "more than 64 deep"])
    refused(program, "train", "--config", program.config(), words=["prepare.json", "more than 64 deep"])


@pytest.mark.parametrize("text", ["[" * DEEP, '{"model": ' * DEEP, "model: " + "{a: " * DEEP, "- " * DEEP],
                         ids=["lists", "objects", "flow", "block"])  # fmt: skip
def test_a_deep_config_is_wrong_usage(program, text):
    (program.directory / "deep.json").write_text(text)
    for command in ("train", "sweep"):
        refused(program, command, "--config", "deep.json", "--run-dir", "x", words=["deep.json:1"], code=2)


def test_of_run_json_a_comparison_takes_over_what_it_knows(program):
    write_pair(program.directory)
    path = program.directory / "ssmax/run.json"
    record = json.loads(path.read_text())
    unknown = json.loads("[" * 50 + "]" * 50)
    path.write_text(json.dumps({**record, "unknown": [unknown] * 1000, "versions": {"ssgpt": "1", "x": unknown}}))
    out, _ = program.run("compare", "softmax", "ssmax", "--json", "--out", "report")
    assert len(out) < 200_000 and "unknown" not in out
    runs = json.loads(out)["runs"]
    assert runs[1]["run"] == {**record, "versions": {"ssgpt": "1"}}
    assert runs[0]["run"] == record
    path.write_text(json.dumps({**record, "hardware": {"cpu": ["x" * 1_000_000]}}))
    refused(program, "compare", "softmax", "ssmax", words=["run.json", "hardware.cpu", "more)"])


def test_what_a_file_says_is_shown_escaped_and_in_parts(program, finished_run):
    hostile = "\x1b[2J\x9b31m\nerror: none\x07" + "x" * 1_000_000
    shown = "\\u001b[2J"
    write_pair(program.directory)
    record = program.directory / "ssmax/run.json"
    record.write_text(json.dumps({"first_step": hostile}))
    err = refused(program, "compare", "softmax", "ssmax", words=[shown])
    assert len(err.splitlines()) == 1
    line = json.dumps({"step": hostile})
    (program.directory / "softmax/metrics.jsonl").write_text(line + "\n" + line + "\n")
    assert len(refused(program, "compare", "softmax", "ssmax", words=[shown]).splitlines()) == 1
    checkpoint = checkpoints(finished_run)[-1]
    rewrite_header(checkpoint / "model.safetensors", lambda text: text.replace("model.norm.weight", json.dumps(hostile)[1:-1]))
    sign(checkpoint)
    err = refused(program, "inspect", checkpoint, words=["model.norm.weight"])
    assert len(err.splitlines()) == 1
    (program.directory / "c.yaml").write_text(json.dumps(merged(CONFIG, {hostile[:500]: 1})))
    err = refused(program, "train", "--config", "c.yaml", words=["unknown key \\x1b[2J\\xc2\\x9b31m\\nerror"], code=2)
    assert "\nerror" not in err


def test_names_of_files_stay_inside(program, finished_run):
    checkpoint = checkpoints(finished_run)[-1]
    outside = program.directory / "outside"
    outside.write_text("x")
    for name in ("../../../outside", str(outside)):
        sign(checkpoint, {name: outside})
        refused(program, "inspect", checkpoint, words=["manifest.json", "no file inside"])
    shards = [{"file": "../train.bin", "split": "train", "tokens": 1, "checksum": "0"}]
    (program.directory / "prepare.json").write_text(json.dumps({"complete": True, "settings": {}, "shards": shards}))
    refused(program, "inspect", ".", words=["prepare.json", "'../train.bin'"])


def test_links_that_lead_in_a_circle_are_bad_input(program, finished_run):
    (program.directory / "loop").symlink_to("loop")
    for arguments in (["inspect", "loop"], ["compare", "loop", "run"], ["train", "--config", "loop"],
                      ["train", "--resume", "loop"], ["generate", "--checkpoint", "loop", "--prompt-tokens", "1"]):  # fmt: skip
        refused(program, *arguments, words=["loop"])
    (finished_run / "run.json").unlink()
    (finished_run / "run.json").symlink_to("run.json")
    refused(program, "inspect", "run", words=["run.json"])


def test_a_stored_config_includes_nothing(program, finished_run):
    (program.directory / "more.yaml").write_text("log: {every: 1}\n")
    config = finished_run / "config.yaml"
    text = config.read_text()
    config.write_text("include: ../more.yaml\n" + text)
    refused(program, "inspect", "run", words=["run/config.yaml:1", "include = ../more.yaml"])
    refused(program, "compare", "run", "run", words=["run/config.yaml:1"])
    config.write_text(text)
    checkpoint = checkpoints(finished_run)[-1]
    state = json.loads((checkpoint / "trainer/state.json").read_text())
    state["config"] = "include: more.yaml\n" + state["config"]
    (checkpoint / "trainer/state.json").write_text(json.dumps(state))
    sign(checkpoint)
    refused(program, "train", "--resume", checkpoint, "--run-dir", "fork", words=["state.json:1", "include = more.yaml"])


def test_includes_that_fan_out(program):
    for i in range(25):
        (program.directory / f"{i}.yaml").write_text(f"include: [{i + 1}.yaml, {i + 1}.yaml]\n")
    shutil.copy(program.config(), program.directory / "25.yaml")
    refused(program, "train", "--config", "0.yaml", words=["more than 100 files"], code=2)
