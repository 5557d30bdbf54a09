"""Stopping, resuming, forking and swapping the attention, as a user does it."""

import json
import platform
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import checkpoints, equal_tensors, read_metrics, wait_for, without_timing
from launchers import free_port, rank_variables, run_ranks
from manifests import CHOSEN_PRODUCTS, store_products

LONG = {
    "train": {"max_steps": 400},
    "checkpoint": {"every": 20, "keep_last": 3},
    "log": {"every": 3},
}


def long_changes(program):
    validation = {"data": {"validation": [str(program.directory / "validation.bin")]}, "evaluate": {"every": 50, "batches": 2}}
    return [LONG, validation]


@pytest.mark.parametrize("kill_at, threads, kind, dtype, documents", [
    (25, 1, "softmax", "float32", False),
    (130, 2, "ssmax", "float32", False),
    (190, 1, "learned_pn", "bfloat16", True),
])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(program, kill_at, threads, kind, dtype, documents):
    """Checkpoints every 20 steps, lines every 3: the kill falls between both. Bit for bit, except timing."""
    program.environment["OMP_NUM_THREADS"] = str(threads)
    changes = [*long_changes(program), {"model": {"attention": {"kind": kind}}, "train": {"dtype": dtype}}]
    if documents:
        changes.append({"data": {"reset_at_document": True, "document_token_id": 3}})
    program.train("--run-dir", "whole", changes=changes)
    config = program.config(*changes)
    killed = program.directory / "killed"
    process = program.start("train", "--config", config, "--run-dir", "killed")
    metrics = killed / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and f'"step":{kill_at // 3 * 3 + 3},' in metrics.read_text().replace(" ", "")
             and checkpoints(killed), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, err = program.run("train", "--config", config, "--run-dir", "killed", "--resume", "auto")
    assert "resumes from step" in err
    whole = read_metrics(program.directory / "whole")
    assert without_timing(read_metrics(killed)) == without_timing(whole)
    steps = [r["step"] for r in whole]
    assert steps == sorted(set(steps)) and steps[-1] == 400
    final = [load_file(program.directory / run / "checkpoints/step-00000400" / "model.safetensors") for run in ("whole", "killed")]
    assert equal_tensors(*final)
    moments = [load_file(program.directory / run / "checkpoints/step-00000400/trainer/optimizer-00000-of-00001.safetensors")
               for run in ("whole", "killed")]
    assert equal_tensors(*moments)


@pytest.mark.parametrize("kind", ["softmax", "learned_pn"])
def test_the_number_of_threads_changes_no_bit(program, kind):
    """fp32: a run may be resumed on a machine with another number of cores. The model is wide enough to be divided."""
    wide = {"model": {"hidden_size": 192, "intermediate_size": 400, "vocab_size": 500, "attention": {"kind": kind}},
            "train": {"max_steps": 4}}
    for threads in (1, 2, 3):
        program.environment["OMP_NUM_THREADS"] = str(threads)
        program.train("--run-dir", f"run{threads}", changes=[wide])
    runs = [program.directory / f"run{threads}" for threads in (1, 2, 3)]
    assert all(without_timing(read_metrics(run)) == without_timing(read_metrics(runs[0])) for run in runs[1:])
    weights = [load_file(run / "checkpoints/step-00000004/model.safetensors") for run in runs]
    assert all(equal_tensors(weights[0], other) for other in weights[1:])


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_saves_and_stops_with_its_code(program, sent):
    changes = [LONG, {"train": {"max_steps": 1000000}, "checkpoint": {"every": 0}}]
    process = program.start("train", "--config", program.config(*changes), "--run-dir", "run")
    metrics = program.directory / "run/metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0, process)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + sent, err
    saved = checkpoints(program.directory / "run")
    assert len(saved) == 1
    step = int(saved[0].name.split("-")[1])
    assert read_metrics(program.directory / "run")[-1]["step"] <= step
    program.run("inspect", saved[0])


def test_under_torchrun_a_stop_is_no_failure(program):
    """In one process with torchrun's variables, but without its agent."""
    changes = [LONG, {"train": {"max_steps": 1000000}}]
    place = {"TORCHELASTIC_RUN_ID": "x", **rank_variables("by_hand", 0, 1, free_port())}
    process = program.start("train", "--config", program.config(*changes), "--run-dir", "run", **place)
    metrics = program.directory / "run/metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0, process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Stopped by signal 15" in err
    assert len(checkpoints(program.directory / "run")) >= 1


@pytest.mark.parametrize("variables, named", [
    ({"RANK": "0", "WORLD_SIZE": "2"}, "LOCAL_RANK"),
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0", "SLURM_STEP_ID": "0"}, "MASTER_ADDR"),
])
def test_a_rank_whose_place_is_told_in_part_is_refused(program, variables, named):
    """It does not train alone: two such processes would each write the whole run."""
    _, err = program.train("--run-dir", "run", code=2, **variables)
    assert named in err and not (program.directory / "run").exists()


def test_resume_auto_begins_where_there_is_nothing(program):
    program.train("--run-dir", "run", "--resume", "auto")
    before = (program.directory / "run/metrics.jsonl").read_bytes()
    _, err = program.train("--run-dir", "run", "--resume", "auto")
    assert "is complete" in err
    assert (program.directory / "run/metrics.jsonl").read_bytes() == before


def test_max_steps_is_absolute_and_extends_a_run(program, finished_run):
    program.train("--run-dir", "short", changes=[{"train": {"max_steps": 12}}])
    program.train("--run-dir", "short", "--resume", "auto")
    assert without_timing(read_metrics(program.directory / "short")) == without_timing(read_metrics(finished_run))


def test_a_damaged_newest_checkpoint_is_passed_over_and_remade(program):
    program.train("--run-dir", "run", changes=long_changes(program))
    before = without_timing(read_metrics(program.directory / "run"))
    newest = checkpoints(program.directory / "run")[-1] / "model.safetensors"
    data = bytearray(newest.read_bytes())
    data[-5] ^= 1
    newest.write_bytes(data)
    _, err = program.train("--run-dir", "run", "--resume", "auto", changes=long_changes(program))
    assert "resumes from step 380" in err
    assert without_timing(read_metrics(program.directory / "run")) == before
    program.run("inspect", program.directory / "run/checkpoints/step-00000400")


def test_resume_auto_never_starts_over_when_no_checkpoint_loads(program):
    program.train("--run-dir", "run", changes=long_changes(program))
    for path in checkpoints(program.directory / "run"):
        (path / "model.safetensors").write_bytes(b"damaged")
    before = (program.directory / "run/metrics.jsonl").read_bytes()
    program.train("--run-dir", "run", "--resume", "auto", changes=long_changes(program), code=3)
    assert (program.directory / "run/metrics.jsonl").read_bytes() == before


def test_a_run_that_never_saved_begins_again(program):
    changes = [LONG, {"train": {"max_steps": 1000000}, "checkpoint": {"every": 0}}]
    process = program.start("train", "--config", program.config(*changes), "--run-dir", "run")
    metrics = program.directory / "run/metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0, process)
    process.kill()
    process.wait()
    program.train("--run-dir", "run", code=2)
    program.train("--run-dir", "run", "--resume", "auto")
    assert [r["step"] for r in read_metrics(program.directory / "run")] == list(range(1, 21))


def test_fixed_settings_are_refused_with_the_list(program):
    program.train("--run-dir", "run", changes=[{"train": {"max_steps": 5}}])
    _, err = program.train("--run-dir", "run", "--resume", "auto", "--set", "optimizer.lr=0.5", "--set", "run.seed=9", code=2)
    assert "optimizer.lr" in err and "run.seed" in err and "--init-from" in err
    program.train("--run-dir", "run", "--resume", "auto", "--set", "train.micro_batch_size=2", "--set", "log.every=2")


def test_other_training_data_are_refused(program):
    program.train("--run-dir", "run", changes=[{"train": {"max_steps": 5}}])
    shard = program.directory / "train.bin"
    data = bytearray(shard.read_bytes())
    data[1030] ^= 1
    shard.write_bytes(data)
    _, err = program.train("--run-dir", "run", "--resume", "auto", code=3)
    assert "fingerprint" in err


def test_an_older_checkpoint_forks_and_the_finished_curve_stays(program):
    program.train("--run-dir", "run", changes=long_changes(program))
    before = (program.directory / "run/metrics.jsonl").read_bytes()
    older = checkpoints(program.directory / "run")[0]
    config = program.config(*long_changes(program))
    _, err = program.run("train", "--config", config, "--resume", older, code=2)
    assert "--run-dir" in err
    program.run("train", "--config", config, "--resume", older, "--run-dir", "fork")
    assert (program.directory / "run/metrics.jsonl").read_bytes() == before
    step = int(older.name.split("-")[1])
    fork = without_timing(read_metrics(program.directory / "fork"))
    assert fork == [r for r in without_timing(read_metrics(program.directory / "run")) if r["step"] > step]
    record = json.loads((program.directory / "fork/run.json").read_text())
    assert record["parent"].endswith(older.name)


def test_a_link_to_a_checkpoint_is_that_checkpoint(program):
    """What a fork records is where its trunk is, not the link, which may lead elsewhere tomorrow."""
    program.train("--run-dir", "run", changes=long_changes(program))
    checkpoint = checkpoints(program.directory / "run")[0]
    (program.directory / "latest").symlink_to(checkpoint)
    for i, (start, folder) in enumerate((["latest", "."], ["latest/", "."], [checkpoint.name, checkpoint.parent], [".", checkpoint])):
        fork = program.directory / f"fork{i}"
        at = type(program)(program.directory / folder)
        at.run("train", "--resume", start, "--run-dir", fork, "--swap-attention", "ssmax")
        record = json.loads((fork / "run.json").read_text())
        assert record["parent"] == str(checkpoint)
        assert [one["checkpoint"] for one in record["ancestors"]] == [str(checkpoint)]
    # A copy under a name of its own, which the retention leaves alone.
    kept = shutil.copytree(checkpoint, checkpoint.with_name("kept"))
    program.run("train", "--resume", kept, "--run-dir", "of-kept", "--swap-attention", "ssmax")
    assert json.loads((program.directory / "of-kept/run.json").read_text())["parent"] == str(kept)


def test_a_run_with_linked_checkpoints_goes_on_by_their_name(program, finished_run):
    (program.directory / "disk").mkdir()
    (finished_run / "checkpoints").rename(program.directory / "disk/ck")
    (finished_run / "checkpoints").symlink_to("../disk/ck")
    newest = checkpoints(finished_run)[-1]
    program.run("train", "--resume", newest, "--set", "train.max_steps=22")
    assert read_metrics(finished_run)[-1]["step"] == 22


def test_resume_without_config_uses_the_runs_own(program):
    program.train("--run-dir", "run", changes=[{"train": {"max_steps": 5}}])
    program.run("train", "--resume", "run", "--set", "train.max_steps=9")
    assert read_metrics(program.directory / "run")[-1]["step"] == 9


def test_init_from_takes_weights_alone(program, finished_run):
    source = finished_run / "checkpoints/step-00000020"
    _, err = program.train("--run-dir", "new", "--init-from", source, changes=[{"model": {"attention": {"kind": "ssmax"}}}], code=2)
    assert "--swap-attention ssmax" in err
    program.train("--run-dir", "new", "--init-from", source, "--swap-attention", "ssmax",
                  changes=[{"optimizer": {"lr": 1e-30, "schedule": {"warmup_steps": 0}}}])
    assert read_metrics(program.directory / "new")[0]["step"] == 1
    before, after = (load_file(p / "model.safetensors") for p in (source, program.directory / "new/checkpoints/step-00000020"))
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    # The new run has a checkpoint from its start, with fresh moments.
    program.train("--run-dir", "again", "--init-from", source, changes=[{"checkpoint": {"every": 1, "keep_last": 30}}])
    moments = load_file(program.directory / "again/checkpoints/step-00000000/trainer/optimizer-00000-of-00001.safetensors")
    assert moments and all(not tensor.any() for tensor in moments.values())


def test_two_processes_do_not_train_into_one_directory(program):
    changes = [LONG, {"train": {"max_steps": 1000000}}]
    config = program.config(*changes)
    process = program.start("train", "--config", config, "--run-dir", "run")
    metrics = program.directory / "run/metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0 and checkpoints(program.directory / "run"), process)
    _, err = program.run("train", "--config", config, "--run-dir", "run", "--resume", "auto", code=2)
    assert "Another process" in err
    process.kill()
    process.wait()


def test_a_fork_has_a_checkpoint_from_its_start(program):
    """Forked at the last step, there is nothing to train; the swapped model exists all the same, and can be resumed."""
    program.train("--run-dir", "run")
    _, err = program.run("train", "--resume", "run", "--run-dir", "fork", "--swap-attention", "ssmax")
    assert "trains no step with ssmax" in err and "--set train.max_steps=120" in err
    config = json.loads((program.directory / "fork/checkpoints/step-00000020/config.json").read_text())
    assert config["attention_kind"] == "ssmax"
    program.train("--run-dir", "fork", "--resume", "auto", "--set", "train.max_steps=22")
    assert [r["step"] for r in read_metrics(program.directory / "fork")] == [21, 22]
    # In the run's own directory there is no step left for the swap.
    _, err = program.train("--run-dir", "run", "--resume", "auto", "--swap-attention", "ssmax", code=2)
    assert "ssgpt convert" in err


def test_a_fork_stopped_before_its_first_checkpoint_is_not_begun_from_nothing(program):
    program.train("--run-dir", "run")
    program.run("train", "--resume", "run", "--run-dir", "fork", "--swap-attention", "ssmax")
    for path in checkpoints(program.directory / "fork"):
        shutil.rmtree(path)
    _, err = program.train("--run-dir", "fork", "--resume", "auto", code=2)
    assert "step-00000020" in err and "Remove it" in err and "--swap-attention ssmax" in err
    record = program.directory / "fork/run.json"  # as an earlier version may have left it
    record.write_text(json.dumps({"parent": json.loads(record.read_text())["parent"]}))
    _, err = program.train("--run-dir", "fork", "--resume", "auto", code=2)
    assert "step-00000020" in err and "Remove it" in err


def test_a_dry_run_of_a_complete_run_opens_its_inputs(program):
    program.train("--run-dir", "run", changes=[{"train": {"max_steps": 5}}])
    out, _ = program.train("--run-dir", "run", "--resume", "auto", "--dry-run", changes=[{"train": {"max_steps": 5}}])
    assert "64 windows of 16" in out and "inf" not in out
    (program.directory / "train.bin").unlink()
    _, err = program.train("--run-dir", "run", "--resume", "auto", "--dry-run", changes=[{"train": {"max_steps": 5}}], code=3)
    assert "train.bin" in err


def test_dtype_auto_is_measured_once_and_kept(program):
    _, err = program.train("--run-dir", "run", changes=[{"train": {"dtype": "auto", "max_steps": 5}}])
    chosen = re.search(r"train.dtype auto: (float32|bfloat16) \(", err)[1]
    if platform.machine() == "x86_64":  # by the kernel's own list, whether or not there was anything to measure
        flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[1].split())
        has_instructions = bool(flags & {"amx_bf16", "avx512_bf16"})
        assert ("tokens/s, bfloat16 " in err) == has_instructions and ("no bf16 instructions" in err) != has_instructions
        assert has_instructions or chosen == "float32"
    state = json.loads((program.directory / "run/checkpoints/step-00000005/trainer/state.json").read_text())
    assert state["dtype"] == chosen and f"dtype: {chosen}" in (program.directory / "run/config.yaml").read_text()
    _, err = program.train("--run-dir", "run", "--resume", "auto", changes=[{"train": {"dtype": "auto", "max_steps": 9}}])
    assert "train.dtype auto" not in err
    assert read_metrics(program.directory / "run")[-1]["step"] == 9


def test_choices_of_a_gpus_products_are_left_on_a_cpu_and_that_is_told(program):
    changes = [{"train": {"max_steps": 4}}]
    program.train("--run-dir", "run", changes=changes)
    checkpoint = program.directory / "run/checkpoints/step-00000004"
    assert "products" not in json.loads((checkpoint / "trainer/state.json").read_text())
    store_products(checkpoint)
    resume = ["train", "--config", program.config(*changes), "--set", "train.max_steps=6", "--resume", checkpoint]
    for rank_count in (1, 2):
        fork = [*resume, "--run-dir", f"fork{rank_count}"]
        _, errors = run_ranks(program, "by_hand", rank_count, fork)
        assert "GEMM algorithms" in errors[0] and "train.device = cpu" in errors[0] and "not bit for bit" in errors[0]
        state = json.loads((program.directory / f"fork{rank_count}/checkpoints/step-00000006/trainer/state.json").read_text())
        assert "products" not in state
    store_products(checkpoint, CHOSEN_PRODUCTS | {"workspace_bytes": 0})
    _, err = program.run(*resume, code=3)
    assert "trainer/state.json: 'products.workspace_bytes' is 0" in err


def test_bad_data_in_the_midst_of_training_lose_nothing(program):
    """The id is in one window only; what was learned before that is saved."""
    shard = program.directory / "train.bin"
    data = bytearray(shard.read_bytes())
    data[1024 + 2 * 700 : 1024 + 2 * 701] = (999).to_bytes(2, "little")
    shard.write_bytes(data)
    _, err = program.train("--run-dir", "run", changes=[{"data": {"sequence_length": 16}}], code=3)
    assert "999" in err and "train.bin" in err
    steps = [r["step"] for r in read_metrics(program.directory / "run")]
    saved = checkpoints(program.directory / "run")
    assert steps and int(saved[-1].name.split("-")[1]) == steps[-1]
