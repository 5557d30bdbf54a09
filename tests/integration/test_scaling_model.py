"""scripts/scaling_model.py compared with closed formulas, and its count of parameters with the program's."""

import importlib.util
import json
import math
import subprocess
import sys

import pytest

from attention_kinds import KINDS
from conftest import ROOT

SCRIPT = ROOT / "scripts" / "scaling_model.py"
PAPER = ROOT / "configs" / "paper" / "b-ssmax.yaml"
PARAMETERS = 12 * (4 * 768**2 + 3 * 768 * 2048 + 2 * 768 + 12) + 2 * 50257 * 768 + 768
MIB = 2**20


def load_script():
    spec = importlib.util.spec_from_file_location("scaling_model", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


scaling = load_script()
CONFIG = scaling.load_config(PAPER)


def cluster(gpus, bytes_per_second, **options):
    return scaling.Cluster(gpus, max(1, gpus // 8), bytes_per_second, **options)


def predict(cluster, tokens_per_second=450_000, bucket_mb=25, micro_batch=8):
    return scaling.predict(CONFIG, cluster, tokens_per_second, bucket_mb, micro_batch)


def run(*arguments, code=0):
    process = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)
    assert process.returncode == code, process.stderr
    return process.stdout if code == 0 else process.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_it_counts_the_parameters_that_the_program_counts(program, kind):
    path = program.config({"model": {"attention": {"kind": kind}}})
    out, _ = program.run("bench", "step", "--config", path, "--steps", 2, "--json")
    assert scaling.count_parameters(scaling.load_config(path)) == json.loads(out)["parameters"]


def test_the_papers_model_is_read_through_its_include():
    assert scaling.count_parameters(CONFIG) == PARAMETERS
    assert CONFIG["train"]["global_batch_size"] == 2048 and CONFIG["model"]["attention"]["kind"] == "ssmax"


# Sums of a few dozen float64 values: equal to rounding, 1e-12.
@pytest.mark.parametrize("gpus", [2, 8, 64, 512])
@pytest.mark.parametrize("bucket_mb", [0.5, 25, 1e6])
def test_the_buckets_together_carry_every_gradient_once(gpus, bucket_mb):
    row = predict(cluster(gpus, 1e11), bucket_mb=bucket_mb, micro_batch=4)
    assert row["buckets"] == max(8, math.ceil(4 * PARAMETERS / (bucket_mb * MIB)))
    assert row["bytes_sent"] == pytest.approx(2 * (gpus - 1) / gpus * 4 * PARAMETERS, rel=1e-12)


def test_the_largest_buckets_are_eight_and_take_the_time_of_a_ring_each():
    ring = cluster(64, 5e10, ring_hop=2e-6, ring_link_hop=5e-6, trees=False)
    row = predict(ring, bucket_mb=1e6)
    hops = 2 * 56 * 2e-6 + 2 * 7 * 5e-6  # 2 (R - 1) = 126, of which 2 (8 - 1) are between nodes
    expected = 8 * hops + 2 * 63 / 64 * 4 * PARAMETERS / 5e10
    for outcome in (row["plain"], row["zero"]):
        assert outcome["communication_seconds"] == pytest.approx(expected, rel=1e-12)


def test_a_tree_of_eight_nodes_has_three_levels():
    tree = cluster(64, 5e10, ring_hop=1.0, tree_hop=1e-6, tree_link_hop=8e-6)
    assert tree.all_reduce_seconds(1e9) == pytest.approx(2 * (7 * 1e-6 + 3 * 8e-6) + 2 * 1e9 / 5e10, rel=1e-12)


def test_infinitely_fast_links_expose_nothing():
    row = predict(cluster(64, math.inf))
    for outcome in (row["plain"], row["zero"]):
        assert outcome["exposed_seconds"] == 0 and outcome["efficiency"] == 1


def test_an_infinitely_fast_backward_hides_nothing():
    row = predict(cluster(64, 1e11, ring_hop=1e-6, tree_hop=1e-6), tokens_per_second=1e30)
    for outcome in (row["plain"], row["zero"]):
        assert outcome["exposed_seconds"] == pytest.approx(outcome["communication_seconds"], rel=1e-12)


def test_a_bucket_waits_for_its_gradients_and_for_the_bucket_before():
    # The transfers: 0 to 2; final at 1, until 4; final at 8, until 10. Backward ends at 8.
    buckets = [(2, 0.0), (2, 1.0), (2, 8.0)]
    assert scaling.exposed_seconds(buckets, 8.0, lambda size: size) == 2
    assert scaling.exposed_seconds(buckets, 8.0, lambda size: 4 * size) == 16  # 0, 8, 16, 24
    assert scaling.exposed_seconds(buckets, 11.0, lambda size: size) == 0


def test_buckets_are_cut_from_the_end_and_final_with_their_earliest_block():
    groups = [(10, 2), (10, 2), (10, 1), (5, 0)]  # embedding, two blocks, output projection; 4 bytes each
    assert scaling.cut_buckets(groups, 40, 0.5) == [(40, 0.5), (40, 1.0), (40, 1.0), (20, 1.0)]


def test_a_faster_link_is_never_worse():
    rows = json.loads(run("--gpus", 16, 128, "--link-gbit", 10, 25, 50, 100, 200, 400, 800, "--json"))["rows"]
    for gpus in (16, 128):
        for kind in ("plain", "zero"):
            exposed = [row[kind]["exposed_seconds"] for row in rows if row["gpus"] == gpus]
            assert len(exposed) == 7 and exposed == sorted(exposed, reverse=True) and exposed[0] > exposed[4]


def test_zero_exposes_the_gather_of_the_weights_and_half_of_what_else_is_late():
    # Backward takes longer than the buckets: only the eight that wait for the first block and the embedding are late.
    row = predict(cluster(16, 4e11))
    one_way = 15 / 16 / 4e11
    late = one_way * (4 * PARAMETERS - 17 * 25 * MIB)
    assert row["plain"]["exposed_seconds"] == pytest.approx(2 * late, rel=1e-9)  # differences of times: a few digits are lost
    assert row["zero"]["exposed_seconds"] == pytest.approx(late + one_way * 4 * PARAMETERS, rel=1e-9)


def test_the_table_has_a_row_for_each_number_of_gpus_and_link():
    lines = run().splitlines()
    assert f"{PARAMETERS:,} parameters" in lines[0] and any("Assumed: 450,000 tokens/s" in line for line in lines)
    assert sum("Gbit/s" in line for line in lines) == 6 * 4 and sum(" NVLink  " in line for line in lines) == 1


def test_a_micro_batch_shrinks_to_what_a_gpu_gets():
    (row,) = json.loads(run("--gpus", 512, "--link-gbit", 400, "--json"))["rows"]
    assert (row["micro_batches"], row["micro_batch_size"]) == (1, 4)


def test_what_cannot_be_is_refused():
    assert "multiple of 8 GPUs per node" in run("--gpus", 12, code=1)
    assert "2048 sequences is not a multiple of 24 GPUs x 8" in run("--gpus", 24, code=1)
    assert "number above 0" in run("--link-gbit", 0, code=2)
    assert "no.yaml" in run("--config", "no.yaml", code=1)
