"""ssgpt bench as scripts and people use it. Checks what is printed and how it adds up, not the speeds."""

import importlib.util
import json
import math
import re
import subprocess

import pytest

from conftest import BINARY, ROOT

TINY = ["--set", "model.hidden_size=32", "--set", "model.num_hidden_layers=2", "--set", "model.num_attention_heads=2",
        "--set", "model.intermediate_size=48", "--set", "model.vocab_size=96", "--set", "data.sequence_length=32"]


def bench_script():
    spec = importlib.util.spec_from_file_location("bench_step", ROOT / "scripts" / "bench_step.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_step_is_reported_as_a_table_and_as_json(program):
    out, _ = program.run("bench", "step", *TINY, "--steps", 3)
    for word in ("tokens/s", "GEMM share", "GFLOP/s", "GB/s", "peak", "forward", "backward", "update", "qkv weight gradient"):
        assert word in out
    out, _ = program.run("bench", "step", *TINY, "--steps", 3, "--json")
    report = json.loads(out)
    assert len(report["seconds"]) == 3 and report["tokens_per_step"] == 8 * 32
    assert 0 < report["gemm_share"] <= 1 and "mfu" not in report  # a CPU has no spec sheet
    assert report["peak_bytes"] == pytest.approx(report["estimated_bytes"], rel=0.1)
    phases = sum(e["seconds_per_step"] for e in report["profile"] if e["inside"] is None)
    assert phases <= sum(report["seconds"]) / 3


def test_the_config_of_a_run_is_measured_without_its_data(program):
    config = program.config({"data": {"train": ["no such file"], "tokenizer": "nor this"}, "train": {"dtype": "bfloat16"}})
    out, _ = program.run("bench", "step", "--config", config, "--steps", 2, "--json")
    report = json.loads(out)
    assert report["dtype"] == "bfloat16" and report["hidden_size"] == 32 and report["micro_batch_size"] == 4
    program.run("bench", "step", "--config", "missing.yaml", code=3)
    program.run("bench", "step", "--config", config, "--shape", "paper", code=2)


def test_kinds_of_attention_are_measured_in_turn(program):
    out, _ = program.run("bench", "step", *TINY, "--attention", "softmax,ssmax", "--steps", 4, "--json")
    softmax, ssmax = json.loads(out)["attention"]
    assert softmax["time_ratio"] == 1.0
    logs = [math.log(b / a) for a, b in zip(softmax["seconds"], ssmax["seconds"])]
    assert len(logs) == 4 and ssmax["time_ratio"] == pytest.approx(math.exp(sum(logs) / 4))
    assert ssmax["time_ratio_low"] < ssmax["time_ratio"] < ssmax["time_ratio_high"]
    _, err = program.run("bench", "step", *TINY, "--attention", "softmax,sofmax", code=2)
    assert "sofmax" in err and "learned_pn" in err


def test_operations_are_named_by_a_filter(program):
    out, _ = program.run("bench", "kernels", "--filter", "^swiglu_forward/quickstart", "--min-time", 0.001, "--json")
    (result,) = json.loads(out)["operations"]
    # gate and up are read, their product is written: 3 F fp32 values for each of B T rows.
    assert result["name"] == "swiglu_forward/quickstart" and result["bytes"] == 4 * 8 * 512 * 3 * 688
    assert result["fused_seconds"] > 0 and result["plain_seconds"] > 0
    program.run("bench", "kernels", "--filter", "nothing of the kind", code=2)


def test_products_are_measured_beside_the_library_in_turn(program):
    arguments = ("bench", "products", "--filter", "^qkv (GEMM|weight gradient)/quickstart$", "--min-time", 0.002)
    out, _ = program.run(*arguments, "--json", OMP_NUM_THREADS="2")
    report = json.loads(out)
    assert report["dtype"] == "float32" and report["threads"] == 2
    names = [side["name"] for side in report["products"][0]["sides"]]
    assert names[:2] == ["ours", report["library"]] and names[2:] in ([], ["oneDNN"])
    forward, weight = report["products"][::2]
    # 4,096 rows of 256 times the 768 columns of q, k and v; 2 operations each.
    assert (forward["m"], forward["n"], forward["k"]) == (4096, 768, 256) and forward["flops"] == 2 * 4096 * 768 * 256
    assert (weight["m"], weight["n"], weight["k"]) == (768, 256, 4096) and weight["accumulates"] and weight["calls"] == 6
    for product, threads in zip(report["products"], [1, 2, 1, 2]):
        ours, *others = product["sides"]
        assert product["threads"] == threads and [side["name"] for side in product["sides"]] == names
        for theirs in others:
            assert len(ours["seconds"]) == len(theirs["seconds"]) == 8
            logs = [math.log(b / a) for a, b in zip(ours["seconds"], theirs["seconds"])]
            ratio = theirs["time_over_ours"]
            assert math.log(ratio["ratio"]) == pytest.approx(sum(logs) / 8) and ratio["low"] <= ratio["ratio"] <= ratio["high"]
    for standing, threads in zip(report["fastest_other_over_ours"], [1, 2], strict=True):
        least = {product["name"]: min(side["time_over_ours"]["ratio"] for side in product["sides"][1:])
                 for product in report["products"] if product["threads"] == threads}
        assert standing["shape"] == "quickstart" and standing["threads"] == threads and standing["products"] == 2
        assert standing["geometric_mean"] == pytest.approx(math.sqrt(math.prod(least.values())))
        assert standing["least"] == pytest.approx(min(least.values())) == pytest.approx(least[standing["least_product"]])
    out, _ = program.run(*arguments, OMP_NUM_THREADS="2")
    heading, unit, titles, rule, *rows, total, on_one, on_two = out.splitlines()
    assert "L2 " in heading and "GFLOP/s" in unit and all(f"{name} / ours, 95 %" in titles for name in names[1:])
    assert set(rule) == {" ", "-"} and len(titles) <= 140 and len(rule) <= 140
    assert [row.split("/quickstart")[0].strip() for row in rows] == ["qkv GEMM"] * 2 + ["qkv weight gradient"] * 2
    assert total.startswith("a micro-batch of quickstart, 2 GEMMs: ours ")
    assert on_one.startswith("quickstart on 1 thread, 2 GEMMs: ") and on_two.startswith("quickstart on 2 threads, 2 GEMMs: ")
    _, err = program.run("bench", "products", "--filter", "nothing of the kind", code=2)
    assert "qkv GEMM/quickstart" in err


def test_onednn_is_what_computes_its_side_without_reordering(program):
    """Checked by oneDNN's own log, which it writes to the output: GEMMs alone, in the three layouts, the last with its
    addition."""
    arguments = ("bench", "products", "--filter", "^qkv.*/quickstart$", "--min-time", 0.002)
    out, _ = program.run(*arguments, OMP_NUM_THREADS="1", ONEDNN_VERBOSE="1")
    if "oneDNN / ours" not in out:
        pytest.skip("no oneDNN on this processor")
    done = [line.split(",") for line in out.splitlines() if line.startswith("onednn_verbose") and ",exec," in line]
    assert {line[5] for line in done} == {"matmul"}
    found = {(*re.findall(r"(?:src|wei|dst):f32::blocked:(\w+)", line[8]), "sum" in line[9], line[11]) for line in done}
    assert found >= {("ab", "ba", "ab", False, "4096x256:256x768"), ("ab", "ab", "ab", False, "4096x768:768x256"),
                     ("ba", "ab", "ab", True, "768x4096:4096x256")}


def test_steps_are_taken_on_request(program):
    process = subprocess.Popen([str(BINARY), "bench", "step", *TINY, "--on-request"], cwd=program.directory, text=True,
                               env=program.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert json.loads(process.stdout.readline()) == {"ready": True}
    for steps in (1, 3):
        process.stdin.write(f"{steps}\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert len(answer["seconds"]) == steps and answer["peak_bytes"] > 0
    out, err = process.communicate()
    assert process.returncode == 0 and out == "" and err == ""


def test_the_shapes_of_the_script_are_those_of_the_program(program):
    """Each shape once with a small vocabulary and once with everything else small: a step at full size takes seconds."""
    keys = {"vocab_size": "vocab", "hidden_size": "hidden", "num_attention_heads": "heads", "intermediate_size": "feed_forward",
            "sequence_length": "time", "global_batch_size": "batch"}
    small_vocabulary = {"model.num_hidden_layers": 1, "model.vocab_size": 96}
    full_vocabulary = {"model.num_hidden_layers": 1, "model.hidden_size": 32, "model.num_attention_heads": 2,
                       "model.intermediate_size": 48, "data.sequence_length": 8}
    for name, shape in bench_script().SHAPES.items():
        for settings in (small_vocabulary, full_vocabulary):
            sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
            out, _ = program.run("bench", "step", "--shape", name, *sets, "--steps", 1, "--warmup", 0, "--json")
            report = json.loads(out)
            kept = [key for key in keys if not any(changed.endswith(f".{key}") for changed in settings)]
            assert len(kept) in (2, 5)
            assert [report[key] for key in kept] == [shape[keys[key]] for key in kept]


def test_the_script_pairs_rounds():
    ratio = bench_script().paired_ratio([1.0, 1.0], [math.exp(0.1), math.exp(0.3)])
    # Logarithms 0.1 and 0.3: mean 0.2, standard error 0.1, t(0.975, 1) = 12.706.
    assert math.log(ratio["ratio"]) == pytest.approx(0.2)
    assert math.log(ratio["low"]) == pytest.approx(0.2 - 1.2706, abs=1e-4)
