"""scripts/bench_gpu.py and scripts/peer.py on a CPU: the arithmetic of the table, how programs that fail are handled, and that
the peer is the same model as ours. Speeds are not checked."""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import BINARY, LENGTH, ROOT, VOCAB

SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))
import bench_gpu
import peer

SHAPE = dict(vocab=VOCAB, hidden=32, layers=2, heads=2, feed_forward=48, time=LENGTH)


def run_script(directory, *arguments, code=0, **environment):
    process = subprocess.run([sys.executable, SCRIPTS / "bench_gpu.py", "--binary", BINARY, *map(str, arguments)], cwd=directory,
                             capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1", **environment})
    assert process.returncode == code, process.stderr + process.stdout
    return process.stdout, process.stderr


# --- The benchmark --------------------------------------------------------------------------------------------------------


def paired(numerator, denominator):
    """Mean of the logarithms of the rounds' ratios and its 95 % interval, for three rounds: t(0.975, 2) = 4.303."""
    logs = np.log(np.array(numerator) / np.array(denominator))
    half_width = 4.303 * logs.std(ddof=1) / math.sqrt(3)
    return [math.exp(x) for x in (logs.mean(), logs.mean() - half_width, logs.mean() + half_width)]


def test_the_table_follows_from_the_rounds(tmp_path):
    out, err = run_script(tmp_path, "--device", "cpu", "--shape", "tiny", "--micro-batches", 4, "--programs", "eager", "--rounds", 3,
                          "--turn-seconds", 0.02, "--json", "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    (group,) = report["groups"]
    results = {(r["program"], r["attention"]): r for r in report["results"]}
    assert list(results) == [(p, a) for a in ("softmax", "ssmax") for p in ("ssgpt", "eager")]
    seconds = {key: result["rounds"][group["alive"]] for key, result in results.items()}
    rows = {tuple(line.split()[2:0:-1]): line for line in out.splitlines() if re.match(r" +4 ", line)}
    assert rows.keys() == results.keys()
    for (program, attention), result in results.items():
        own = seconds[program, attention]
        assert len(own) == 3 and result["failure"] is None and result["peak_bytes"] > 1 << 20
        assert result["tokens_per_second"] == pytest.approx(4 * report["time"] / statistics.median(own))
        expected = [f"{4 * report['time'] / statistics.median(own):.0f}"]
        for key, other in (("time_over_ssgpt", ("ssgpt", attention)), ("time_over_softmax", (program, "softmax"))):
            applies = other != (program, attention)
            assert (key in result) == applies
            if applies:
                ratio = paired(own, seconds[other])
                # The interval's t has four digits.
                assert [result[key][name] for name in ("ratio", "low", "high")] == pytest.approx(ratio, rel=1e-3)
                expected.append(f"{result[key]['ratio']:.3f}")
        for text in expected:
            assert text in rows[program, attention].split()
    assert f"alive together: {group['alive']}" in err


def test_programs_that_fail_are_named_and_the_others_measured(tmp_path):
    """Replaces our program by one whose Softmax lacks memory, and whose SSMax becomes ready and then takes no step."""
    binary = tmp_path / "ssgpt"
    binary.write_text("#!/bin/sh\ncase \"$*\" in *kind=ssmax*) echo $$ > pid; echo '{\"ready\": true}'; sleep 1000;; esac\n"
                      "echo 'choosing kernels'; echo 'CUDA out of memory. Tried to allocate 99 GiB' >&2; exit 1\n")
    binary.chmod(0o755)
    process = subprocess.run([sys.executable, SCRIPTS / "bench_gpu.py", "--binary", binary, "--device", "cpu", "--shape", "tiny",
                              "--micro-batches", "2", "--programs", "eager", "--rounds", "2", "--turn-seconds", "0.02",
                              "--turn-limit", "3"], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                             env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.returncode == 0, process.stderr
    rows = [line.split(maxsplit=3)[1:] for line in process.stdout.splitlines() if re.match(r" +2 ", line)]
    assert [row[:2] for row in rows] == [["softmax", "ssgpt"], ["softmax", "eager"], ["ssmax", "ssgpt"], ["ssmax", "eager"]]
    assert rows[0][2] == "out of memory"
    assert rows[2][2] == "no answer in time"
    for row in (rows[1], rows[3]):
        assert float(row[2].split()[0]) > 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_no_gpu_is_one_sentence(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    out, err = run_script(tmp_path, "--quick", code=3)
    assert out == "" and err.count("\n") == 1 and "no GPU" in err


def test_what_the_time_does_not_allow_is_told(tmp_path):
    out, _ = run_script(tmp_path, "--device", "cpu", "--shape", "tiny", "--micro-batches", "4,2", "--programs", "eager",
                        "--other-programs", "eager", "--budget", 0, code=1)
    rows = [line for line in out.splitlines() if re.match(r" +[24] ", line)]
    assert len(rows) == 8 and all(row.endswith("not measured: the time was over") for row in rows)


def entries_of(programs):
    arguments = argparse.Namespace(shape="paper", device="cuda")
    return [bench_gpu.Entry(program, kind, 32, arguments) for kind in ("softmax", "ssmax") for program in ("ssgpt", *programs)]


def test_those_alive_together_fit_and_every_one_meets_ours():
    entries = entries_of(["eager", "default", "max-autotune"])
    whole = bench_gpu.need(entries)
    largest_pair = max(bench_gpu.need([our, entry]) for our in entries if our.program == "ssgpt"
                       for entry in entries if entry.attention == our.attention and entry is not our)
    assert bench_gpu.plan_groups(entries, whole) == [entries]
    # The compiled programs and ours still fit without the eager one.
    compiled = [entry for entry in entries if entry.attention == "softmax" and entry.program != "eager"]
    for capacity in (whole - 1, bench_gpu.need(compiled), largest_pair):
        groups = bench_gpu.plan_groups(entries, capacity)
        assert len(groups) > 1 and all(bench_gpu.need(group) <= capacity for group in groups)
        for entry in entries:
            if entry.program != "ssgpt":
                assert any(entry in group and [e for e in group if (e.program, e.attention) == ("ssgpt", entry.attention)] for group in groups)
        assert any({entry.attention for entry in group if entry.program == "ssgpt"} == {"softmax", "ssmax"} for group in groups)
    assert compiled in bench_gpu.plan_groups(entries, bench_gpu.need(compiled))


def test_programs_that_measure_start_alone():
    """Ours times the attention backends to find the fastest."""
    entries = entries_of(["eager", "default", "max-autotune", "max-autotune-no-cudagraphs"])
    waves = bench_gpu.plan_waves(entries, math.inf)
    assert sorted(map(len, waves)) == [1, 1, 1, 1, 1, 1, 4]
    assert {entry.program for wave in waves if len(wave) > 1 for entry in wave} == {"eager", "default"}
    total = sum(entry.memory()[1] for entry in waves[0])
    assert len(bench_gpu.plan_waves(entries, total - 1)) > len(waves)


def test_two_gibibytes_of_logits_are_in_the_estimate():
    """32 windows of 1,024 tokens and 50,257 logits: 3.1 GiB in bfloat16, and also in float32 if nothing is fused."""
    ours, eager = entries_of(["eager"])[:2]
    assert ours.memory()[1] > 3.1 * 2**30
    assert eager.memory()[1] - ours.memory()[1] >= 2 * 3.1 * 2**30


# --- The peer -------------------------------------------------------------------------------------------------------------


def peer_loss(tensors, kind, windows, pad):
    assert (tensors["model.norm.weight"] > 0).all()
    model = peer.Model(SHAPE, kind, pad)
    peer.load_llama(model, tensors, padding=50.0)  # logits that would win by far
    with torch.no_grad():
        return model(windows[:, :-1].contiguous(), windows[:, 1:].contiguous()).item()


@pytest.mark.parametrize("kind", ["softmax", "ssmax"])
def test_the_peer_is_the_same_model(program, kind):
    program.train("--run-dir", "run", changes=[{"model": {"initializer_range": 0.4, "attention": {"kind": kind}}}])
    checkpoint = program.directory / "run/checkpoints/step-00000020"
    out, _ = program.run("evaluate", "loss", "--checkpoint", checkpoint, "--data", "validation.bin", "--json")
    ours = json.loads(out)["loss"]
    tokens = np.fromfile(program.directory / "validation.bin", dtype="<u2", offset=1024).astype(np.int64)
    windows = torch.from_numpy(np.stack([tokens[i * LENGTH : (i + 1) * LENGTH + 1] for i in range(len(tokens) // LENGTH)]))
    tensors = load_file(checkpoint / "model.safetensors")
    # A mean of 256 losses of about 5: float32 sums in another order differ by a few units of 2^-24 of that.
    for pad in (1, 128):
        assert peer_loss(tensors, kind, windows, pad) == pytest.approx(ours, abs=1e-5)
    other = {**tensors, **{f"model.layers.{i}.self_attn.ssmax_scale": torch.full((2,), 0.43) for i in range(SHAPE["layers"])}}
    assert abs(peer_loss(other, "ssmax" if kind == "softmax" else "softmax", windows, 1) - ours) > 1e-3


def gradients(**options):
    """The clipped gradients of the first step for each parameter, those of SSMax's scale last."""
    defaults = dict(device="cpu", dtype="float32", precision="copies", accumulation=1, micro_batch=8, compile="none", attention="ssmax",
                    pad_vocabulary=128)
    trainer = peer.Trainer(SHAPE, argparse.Namespace(**{**defaults, **options}))
    trainer.step()
    assert all(p.dtype == torch.float32 for p in trainer.parameters)
    return [p.grad.double() for p in sorted(trainer.parameters, key=lambda p: p.shape == (SHAPE["heads"],))]


@pytest.mark.parametrize("options, tolerance", [
    (dict(micro_batch=4, accumulation=2), 1e-5),  # float32 sums in another order
    # bfloat16 rounds each activation by up to 2^-9, in about ten operations one after the other.
    (dict(dtype="bfloat16"), 0.03),
    (dict(dtype="bfloat16", micro_batch=4, accumulation=2), 0.03),
    (dict(dtype="bfloat16", precision="autocast"), 0.03),
    (dict(dtype="bfloat16", precision="autocast", micro_batch=4, accumulation=2), 0.03),
])
def test_all_ways_of_the_peer_have_one_gradient(options, tolerance):
    expected, found = gradients(), gradients(**options)
    assert len(expected) == len(found) == 3 + 7 * SHAPE["layers"]
    for reference, gradient in zip(expected, found):
        assert (gradient - reference).norm() < tolerance * reference.norm(), reference.shape


def test_a_group_of_steps_is_answered_by_one_line(tmp_path):
    sizes = [word for key, value in SHAPE.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    process = subprocess.run([sys.executable, SCRIPTS / "peer.py", *sizes, "--attention", "ssmax", "--threads", "1"], cwd=tmp_path,
                             input="1\n3\n", capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    ready, first, second = map(json.loads, process.stdout.splitlines())
    assert ready["ready"] and len(first["seconds"]) == 1 and len(second["seconds"]) == 3
    # Untrained, on random tokens: the loss is the entropy of a uniform choice, within the noise of its own logits.
    assert second["loss"] == pytest.approx(math.log(VOCAB), abs=0.2)
