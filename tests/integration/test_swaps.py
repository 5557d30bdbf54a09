"""Attention swaps: by hand, scheduled, converted, killed and repeated."""

import json
import math
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from attention_kinds import FLOOR, SCALED_KINDS
from conftest import LENGTH, checkpoints, equal_tensors, read_metrics, wait_for, without_timing
from manifests import sign


@pytest.mark.parametrize("kind", SCALED_KINDS)
def test_a_scheduled_swap_equals_a_manual_one(program, kind):
    swap = {"train": {"swap_attention": {"at_step": 12, "kind": kind}}, "checkpoint": {"every": 12, "keep_last": 5}}
    program.train("--run-dir", "scheduled", changes=[swap])
    program.train("--run-dir", "manual", changes=[{"train": {"max_steps": 12}}])
    program.train("--run-dir", "manual", "--resume", "auto", "--swap-attention", kind)
    runs = [program.directory / name for name in ("scheduled", "manual")]
    assert without_timing(read_metrics(runs[0])) == without_timing(read_metrics(runs[1]))
    for file in ("model.safetensors", "trainer/optimizer-00000-of-00001.safetensors"):
        assert equal_tensors(*(load_file(run / "checkpoints/step-00000020" / file) for run in runs))
    # The checkpoint at the swap is from before it, and a resume on either side of it works.
    at_swap = json.loads((runs[0] / "checkpoints/step-00000012/config.json").read_text())
    assert at_swap["model_type"] == "llama"
    program.train("--resume", runs[0] / "checkpoints/step-00000012", "--run-dir", "again", changes=[swap])
    assert without_timing(read_metrics(program.directory / "again")) == without_timing(read_metrics(runs[0]))[12:]
    # Once swapped by hand, a restart needs no flag, and the flag does nothing.
    program.train("--run-dir", "manual", "--resume", "auto", "--set", "train.max_steps=22")
    program.train("--run-dir", "manual", "--resume", "auto", "--set", "train.max_steps=24", "--swap-attention", kind)
    assert [r["step"] for r in read_metrics(runs[1])] == list(range(1, 25))


def test_a_swap_from_softmax_to_a_temperature_changes_no_loss(program):
    """s is 1 at the swap: the next step equals that of the run that was not swapped, bit for bit."""
    swap = {"train": {"swap_attention": {"at_step": 12, "kind": "softmax_temperature"}}}
    program.train("--run-dir", "plain")
    program.train("--run-dir", "swapped", changes=[swap])
    plain, swapped = (read_metrics(program.directory / name) for name in ("plain", "swapped"))
    assert [r["train/loss"] for r in swapped[:13]] == [r["train/loss"] for r in plain[:13]]
    assert "attention/scale/0" not in swapped[11] and swapped[12]["attention/scale/0"] != 1
    assert swapped[13]["train/loss"] != plain[13]["train/loss"]


def test_a_run_from_before_the_constants_of_llama_4_goes_on(program):
    """Its configs and config.json do not name them: it resumes to the same bits as a run whose configs do."""
    program.train("--run-dir", "run", changes=[{"model": {"attention": {"kind": "ssmax"}}, "train": {"max_steps": 12}}])
    older = program.directory / "older"
    shutil.copytree(program.directory / "run", older)
    checkpoint = older / "checkpoints/step-00000012"
    assert not set(FLOOR) & set(json.loads((checkpoint / "config.json").read_text()))
    state = json.loads((checkpoint / "trainer/state.json").read_text())
    texts = [state["config"], (older / "config.yaml").read_text()]
    assert all(text.count("attn_scale: auto") == text.count("floor_scale: auto") == 1 for text in texts)
    texts = [re.sub(r" *(attn|floor)_scale: auto\n", "", text) for text in texts]
    (checkpoint / "trainer/state.json").write_text(json.dumps(state | {"config": texts[0]}))
    (older / "config.yaml").write_text(texts[1])
    sign(checkpoint)
    for name in ("run", "older"):
        program.train("--run-dir", name, "--resume", "auto", changes=[{"model": {"attention": {"kind": "ssmax"}}}])
    curves = [without_timing(read_metrics(program.directory / name)) for name in ("run", "older")]
    assert curves[0] == curves[1] and len(curves[0]) == 20


def test_a_swap_to_llama_4s_temperature_takes_its_constants_along(program):
    """At a step, at a resume that names them, and by convert, whose result can be resumed as it is."""
    swap = {"train": {"swap_attention": {"at_step": 12, "kind": "llama4_temperature"}}}
    of_model = {"model": {"attention": FLOOR}}
    program.train("--run-dir", "scheduled", changes=[swap, of_model])
    program.train("--run-dir", "manual", changes=[{"train": {"max_steps": 12}}])
    twelve = program.directory / "manual/checkpoints/step-00000012"
    program.train("--run-dir", "manual", "--resume", "auto", changes=[swap, of_model])
    program.run("convert", "--checkpoint", twelve, "--attention", "llama4_temperature", "--out", "converted",
                "--attn-scale", FLOOR["attn_scale"], "--floor-scale", FLOOR["floor_scale"])
    program.run("train", "--resume", "converted", "--run-dir", "forked", "--set", "train.max_steps=20")
    curves = [without_timing(read_metrics(program.directory / name))[-8:] for name in ("scheduled", "manual", "forked")]
    assert curves[0] == curves[1] == curves[2]
    for name in ("scheduled", "manual", "forked"):
        config = json.loads((program.directory / name / "checkpoints/step-00000020/config.json").read_text())
        assert {key: config[key] for key in FLOOR} == FLOOR
    _, err = program.run("convert", "--checkpoint", "scheduled/checkpoints/step-00000020", "--attention", "llama4_temperature",
                         "--out", "other", "--floor-scale", 4, code=2)
    assert "--floor-scale 4: the checkpoint has been trained as llama4_temperature already" in err
    _, err = program.run("train", "--config", program.config(swap, {"model": {"attention": {"floor_scale": 4}}}),
                         "--run-dir", "scheduled", "--resume", "auto", "--set", "train.max_steps=22", code=2)
    assert "model.attention.floor_scale: 3 in the checkpoint, 4 now" in err


@pytest.mark.parametrize("option, message", [
    (["ssmax", "--attn-scale", 0.2], "--attn-scale 0.2 has no effect with --attention ssmax; it is for llama4_temperature"),
    (["logn_clamped", "--floor-scale", 64], "--floor-scale 64 has no effect with --attention logn_clamped"),
    (["llama4_temperature", "--attn-scale", 0], "--attn-scale 0: it must be above 0 and at most 1000"),
    (["llama4_temperature", "--floor-scale", 0], "--floor-scale"),
])
def test_convert_refuses_constants_that_it_cannot_use(program, finished_run, option, message):
    source = finished_run / "checkpoints/step-00000020"
    _, err = program.run("convert", "--checkpoint", source, "--out", "out", "--attention", *option, code=2)
    assert message in err and not (program.directory / "out").exists()


def test_a_swap_between_ssmax_and_a_temperature_keeps_the_mean_row_scale(program):
    """s log n becomes s' = s mean(log n), and on the way back s again, within rounding."""
    program.train("--run-dir", "run", changes=[{"model": {"attention": {"kind": "ssmax"}}, "optimizer": {"lr": 0.02}}])
    source = program.directory / "run/checkpoints/step-00000020"
    program.run("convert", "--checkpoint", source, "--attention", "softmax_temperature", "--out", "temperature")
    program.run("convert", "--checkpoint", "temperature", "--attention", "ssmax", "--out", "back")
    mean_log = math.lgamma(LENGTH + 1) / LENGTH
    before, there, back = (load_file(path / "model.safetensors") for path in
                           (source, program.directory / "temperature", program.directory / "back"))
    name = "model.layers.1.self_attn.ssmax_scale"
    assert before[name].std() > 0
    torch.testing.assert_close(there[name], before[name] * mean_log, rtol=1e-6, atol=0)
    torch.testing.assert_close(back[name], before[name], rtol=1e-6, atol=0)


def test_a_swap_keeps_every_other_tensor_and_its_moments(program, finished_run):
    source = finished_run / "checkpoints/step-00000020"
    program.run("convert", "--checkpoint", source, "--attention", "ssmax", "--out", "converted")
    for file in ("model.safetensors", "trainer/optimizer-00000-of-00001.safetensors"):
        before, after = load_file(source / file), load_file(program.directory / "converted" / file)
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
        new = set(after) - set(before)
        assert new and all("ssmax_scale" in name for name in new)
    out, _ = program.run("evaluate", "loss", "--checkpoint", "converted", "--data", "validation.bin", "--json")
    assert json.loads(out)["attention"] == "ssmax"


def test_a_swap_by_hand_and_a_scheduled_one_in_one_run(program):
    """By hand at 8, scheduled at 12: the later one is in effect, also for a resume from the checkpoint between them."""
    schedule = {"train": {"swap_attention": {"at_step": 12, "kind": "ssmax"}}, "checkpoint": {"every": 4, "keep_last": 9}}
    program.train("--run-dir", "run", changes=[schedule, {"train": {"max_steps": 13}}])
    eight = program.directory / "run/checkpoints/step-00000008"
    program.train("--resume", eight, "--run-dir", "fork", "--swap-attention", "ssmax_bias", changes=[schedule])
    kinds = {}
    for path in checkpoints(program.directory / "fork"):
        kinds[int(path.name[-2:])] = json.loads((path / "config.json").read_text()).get("attention_kind", "softmax")
    assert kinds == {8: "ssmax_bias", 12: "ssmax_bias", 16: "ssmax", 20: "ssmax"}
    twelve = program.directory / "fork/checkpoints/step-00000012"
    program.train("--resume", twelve, "--run-dir", "again", changes=[schedule])
    assert without_timing(read_metrics(program.directory / "again")) == without_timing(read_metrics(program.directory / "fork"))[4:]


def test_a_swap_killed_before_its_first_checkpoint_is_remembered(program):
    program.train("--run-dir", "run", changes=[{"train": {"max_steps": 12}}])
    config = program.config({"train": {"max_steps": 1000000}, "checkpoint": {"every": 0}})
    process = program.start("train", "--config", config, "--run-dir", "run", "--resume", "auto", "--swap-attention", "ssmax")
    wait_for(lambda: '"step":15,' in (program.directory / "run/metrics.jsonl").read_text().replace(" ", ""), process)
    process.kill()
    process.wait()
    program.train("--run-dir", "run", "--resume", "auto")
    final = json.loads((program.directory / "run/checkpoints/step-00000020/config.json").read_text())
    assert final["attention_kind"] == "ssmax"


def test_a_swap_by_hand_stays_where_the_config_schedules_another_at_its_step(program):
    """The fork's first checkpoint is already swapped; the same command again, as after a requeue, must not swap it back."""
    schedule = {"train": {"swap_attention": {"at_step": 8, "kind": "ssmax"}}, "checkpoint": {"every": 4, "keep_last": 9}}
    program.train("--run-dir", "run", changes=[schedule, {"train": {"max_steps": 9}}])
    eight = program.directory / "run/checkpoints/step-00000008"
    program.train("--resume", eight, "--run-dir", "fork", "--swap-attention", "learned_pn", changes=[schedule, {"train": {"max_steps": 9}}])
    shutil.rmtree(program.directory / "fork/checkpoints/step-00000009")
    program.train("--run-dir", "fork", "--resume", "auto", changes=[schedule])
    final = json.loads((program.directory / "fork/checkpoints/step-00000020/config.json").read_text())
    assert final["attention_kind"] == "learned_pn"
    program.run("convert", "--checkpoint", eight, "--attention", "ssmax_bias", "--out", "converted")
    program.train("--resume", "converted", "--run-dir", "from", changes=[schedule])
    final = json.loads((program.directory / "from/checkpoints/step-00000020/config.json").read_text())
    assert final["attention_kind"] == "ssmax_bias"


def test_a_resume_from_before_a_swap_makes_it_again(program):
    changes = [{"checkpoint": {"every": 4, "keep_last": 9}}]
    program.train("--run-dir", "run", changes=[*changes, {"train": {"max_steps": 8}}])
    program.train("--run-dir", "run", "--resume", "auto", "--swap-attention", "ssmax", changes=[*changes, {"train": {"max_steps": 14}}])
    before = without_timing(read_metrics(program.directory / "run"))
    for step in (8, 12, 14):
        (program.directory / f"run/checkpoints/step-{step:08}/model.safetensors").write_bytes(b"")
    program.train("--run-dir", "run", "--resume", "auto", changes=[*changes, {"train": {"max_steps": 14}}])
    assert without_timing(read_metrics(program.directory / "run")) == before


def test_a_swap_that_the_config_does_not_allow_is_refused_before_it_is_made(program):
    """With s = 0 at its start and no bias, every score would be 0."""
    program.train("--run-dir", "run", changes=[{"model": {"attention": {"scale_init": 0}}, "train": {"max_steps": 5}}])
    before = (program.directory / "run/config.yaml").read_text()
    for arguments in (["train", "--resume", "run", "--swap-attention", "ssmax", "--set", "train.max_steps=9"],
                      ["convert", "--checkpoint", "run/checkpoints/step-00000005", "--attention", "ssmax", "--out", "converted"]):
        _, err = program.run(*arguments, code=2)
        assert "model.attention.scale_init = 0: must not be 0" in err
    assert (program.directory / "run/config.yaml").read_text() == before
    assert not (program.directory / "converted").exists()


def test_how_new_parameters_start_may_change_only_where_there_are_some(program):
    program.train("--run-dir", "run", changes=[{"train": {"max_steps": 5}}])
    scale = ["--set", "model.attention.scale_init=0.5"]
    _, err = program.train("--run-dir", "run", "--resume", "auto", *scale, code=2)
    assert "model.attention.scale_init" in err
    program.train("--run-dir", "run", "--resume", "auto", "--swap-attention", "ssmax", "--set", "optimizer.lr=0.003", *scale)
    assert read_metrics(program.directory / "run")[5]["attention/scale/0"] == pytest.approx(0.5, abs=0.01)  # a few small updates
