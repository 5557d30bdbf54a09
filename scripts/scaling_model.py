#!/usr/bin/env python3
"""When does the reduction of the gradient hide behind the backward pass? A model on paper; nothing is run or measured.

It models how the program cuts the gradient into buckets and in which order the backward pass finishes them; the speeds
of the GPU and of the links are inputs. It shows plain data parallelism beside ZeRO-1, for each number of GPUs and each
link.

    .venv/bin/python scripts/scaling_model.py                                  # the paper's model on 8 to 512 GPUs
    .venv/bin/python scripts/scaling_model.py --gpus 64 --link-gbit 200 --bucket-mb 100 --tokens-per-second 300000
"""

import argparse
import dataclasses
import json
import math
import pathlib
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
BYTES = 4  # per gradient and per master weight: fp32
# Latencies of one hop, from the cost model by which NCCL chooses (NVIDIA/nccl, src/graph/tuning.cc, protocol LL128).
NCCL_LATENCIES_US = {"ring_hop": 1.9, "ring_link_hop": 4.0, "tree_hop": 1.2, "tree_link_hop": 8.5}


# --- The model that is trained ----------------------------------------------------------------------------------------


def load_config(path):
    """A config with its `include` merged in, as the program reads it."""
    path = pathlib.Path(path)
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise SystemExit(f"{path}: {error}") from None
    if "include" in config:
        base = load_config(path.parent / config.pop("include"))
        for section, values in config.items():
            base[section] = merge(base.get(section), values)
        return base
    return config


def merge(base, change):
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    return base | {key: merge(base.get(key), value) for key, value in change.items()}


def parameter_groups(config):
    """(parameters, blocks whose backward must finish before their gradient is final), in the order of the flat tensor.

    The output projection comes before the first block: its gradient is made together with the loss. The embedding comes
    last.
    """
    model, length = config["model"], config["data"]["sequence_length"]
    hidden, feed_forward, heads = (model[k] for k in ("hidden_size", "intermediate_size", "num_attention_heads"))
    layers, vocabulary = model["num_hidden_layers"], model["vocab_size"]
    kind = model.get("attention", {}).get("kind", "softmax")
    per_head = {"softmax_temperature": 1, "ssmax": 1, "ssmax_bias": 2, "learned_pn": 2}.get(kind, 0)
    block = 4 * hidden**2 + 3 * hidden * feed_forward + 2 * hidden + per_head * heads
    embedding = [(vocabulary * hidden, layers)]
    positions = [(length, layers)] if kind == "learned_pn" else []
    blocks = [(block, layers - layer) for layer in range(layers)]
    return embedding + positions + blocks + [(hidden, 0), (vocabulary * hidden, 0)]


def count_parameters(config):
    return sum(count for count, _ in parameter_groups(config))


def micro_batch_work(config):
    """Floating-point operations per token: (the blocks' forward and backward, those of the output projection)."""
    model, length = config["model"], config["data"]["sequence_length"]
    hidden = model["hidden_size"]
    matrices = model["num_hidden_layers"] * (4 * hidden**2 + 3 * hidden * model["intermediate_size"])
    attention = model["num_hidden_layers"] * length * hidden
    return 6 * (matrices + attention), 6 * model["vocab_size"] * hidden


# --- The machine ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Cluster:
    """GPUs on nodes, each GPU with its own link to the other nodes; latencies are those of one hop, in seconds.

    The collectives are NCCL's. Rings go through all GPUs, node after node, with as many rings side by side as a node
    has links, so that all links carry an equal part of the data. Trees over the nodes, with a chain inside each node,
    take fewer hops; an all-reduce uses the faster of the two, while a reduce-scatter and an all-gather only have the
    ring.
    """

    gpus: int
    nodes: int
    bytes_per_second: float  # at which data leaves a node, or a GPU for its neighbour in the node: the lower of the two
    ring_hop: float = 0.0  # inside a node
    ring_link_hop: float = 0.0  # between nodes
    tree_hop: float = 0.0
    tree_link_hop: float = 0.0
    trees: bool = True

    def pass_seconds(self, size):
        """One pass around the ring: a reduce-scatter or an all-gather of `size` bytes."""
        latency = (self.gpus - self.nodes) * self.ring_hop + (self.nodes - 1) * self.ring_link_hop
        return latency + pass_bytes(size, self.gpus) / self.bytes_per_second

    def tree_seconds(self, size):
        """Up the tree and down again: an all-reduce. Each GPU passes all of it on twice."""
        latency = (self.gpus // self.nodes - 1) * self.tree_hop + math.ceil(math.log2(self.nodes)) * self.tree_link_hop
        return 2 * (latency + size / self.bytes_per_second)

    def all_reduce_seconds(self, size):
        ring = 2 * self.pass_seconds(size)
        return min(ring, self.tree_seconds(size)) if self.trees and self.nodes > 1 else ring


def pass_bytes(size, gpus):
    """Bytes that each GPU sends in one pass around the ring."""
    return (gpus - 1) / gpus * size


FEWEST_BUCKETS = 8  # so that communication starts well before the backward pass ends


def cut_buckets(groups, bucket_bytes, block_seconds):
    """(bytes, seconds into the backward pass at which they are final), cut from the end of the flat tensor."""
    total = BYTES * sum(count for count, _ in groups)
    spans, begin = [], 0
    for count, blocks in groups:
        spans.append((begin, begin + BYTES * count, blocks))
        begin += BYTES * count
    buckets, end = [], total
    while end > 0:
        begin = max(0, end - bucket_bytes)
        final = max(blocks for first, last, blocks in spans if first < end and last > begin)
        buckets.append((end - begin, final * block_seconds))
        end = begin
    return buckets


def exposed_seconds(buckets, backward_seconds, seconds_of):
    """Seconds after the backward pass at which the last bucket arrives. Buckets travel one at a time, in the order in
    which they become final."""
    clock = 0.0
    for size, final in sorted(buckets, key=lambda bucket: bucket[1]):
        clock = max(clock, final) + seconds_of(size)
    return max(0.0, clock - backward_seconds)


def predict(config, cluster, tokens_per_second, bucket_mb, micro_batch):
    """One row: seconds per step on every GPU of `cluster`, and how much of it is communication."""
    work, head_work = micro_batch_work(config)
    seconds = micro_batch * config["data"]["sequence_length"] / tokens_per_second
    # Two thirds of a block's work are backward. The output projection's is done before the first block's backward.
    backward = seconds * 2 / 3 * work / (work + head_work)
    groups = parameter_groups(config)
    largest = math.ceil(BYTES * count_parameters(config) / FEWEST_BUCKETS)
    buckets = cut_buckets(groups, min(math.floor(bucket_mb * 2**20), largest), backward / config["model"]["num_hidden_layers"])
    num_micro_batches = config["train"]["global_batch_size"] // (micro_batch * cluster.gpus)
    compute = num_micro_batches * seconds

    def outcome(total, exposed):
        return {
            "communication_seconds": total,
            "hidden": 1 - exposed / total if total else 1.0,
            "exposed_seconds": exposed,
            "efficiency": compute / (compute + exposed),
        }

    all_reduces = sum(cluster.all_reduce_seconds(size) for size, _ in buckets)
    one_way = sum(cluster.pass_seconds(size) for size, _ in buckets)
    return {
        "gpus": cluster.gpus,
        "nodes": cluster.nodes,
        "micro_batch_size": micro_batch,
        "micro_batches": num_micro_batches,
        "bytes_sent": sum(2 * pass_bytes(size, cluster.gpus) for size, _ in buckets),
        "buckets": len(buckets),
        "bucket_seconds": cluster.all_reduce_seconds(buckets[0][0]),
        "compute_seconds": compute,
        "backward_seconds": backward,
        "plain": outcome(all_reduces, exposed_seconds(buckets, backward, cluster.all_reduce_seconds)),
        # The all-gather of the updated weights starts after backward, clipping and update.
        "zero": outcome(2 * one_way, exposed_seconds(buckets, backward, cluster.pass_seconds) + one_way),
    }


# --- The command ------------------------------------------------------------------------------------------------------


def make_clusters(options):
    """(a description of what joins the GPUs, the cluster) for each."""
    latency = {name: options.latency * microseconds / 1e6 for name, microseconds in NCCL_LATENCIES_US.items()}
    per_node = options.gpus_per_node
    for gpus in options.gpus:
        nodes = max(1, gpus // per_node)
        if gpus > per_node and gpus % per_node:
            raise SystemExit(f"--gpus {gpus}: more than one node, and not a multiple of {per_node} GPUs per node")
        # Inside one node no network link is used.
        for gbit in options.link_gbit if nodes > 1 else [math.inf]:
            slowest = min(options.nvlink_gb, per_node * gbit / 8) * 1e9
            name = f"{gbit:g} Gbit/s" if nodes > 1 else "NVLink"
            yield name, Cluster(gpus, nodes, slowest, **latency, trees=not options.ring)


def fitting_micro_batch(config, gpus, wanted):
    """`wanted`, or as much of it as a GPU's share of the global batch allows."""
    total = config["train"]["global_batch_size"]
    fitting = min(wanted, total // gpus)
    if fitting == 0 or total % (fitting * gpus):
        raise SystemExit(
            f"--gpus {gpus}: a global batch of {total} sequences is not a multiple of {gpus} GPUs x {max(fitting, 1)} "
            "sequences; choose another --micro-batch or number of GPUs"
        )
    return fitting


def print_report(config, options, rows):
    work, head_work = micro_batch_work(config)
    length, flops = config["data"]["sequence_length"], (work + head_work) * options.tokens_per_second
    print(f"""Given: {count_parameters(config):,} parameters; {config["train"]["global_batch_size"]:,} sequences of {length:,} tokens per step; buckets of {options.bucket_mb:g} MiB.
Assumed: {options.tokens_per_second:,.0f} tokens/s per GPU in forward and backward, at every micro-batch ({flops / 1e12:.0f} TFLOP/s of the model's own
  arithmetic), two thirds of a block's time in backward; {options.gpus_per_node} GPUs per node, {options.nvlink_gb:g} GB/s per GPU and direction inside it and a link of
  its own for each GPU between nodes, at full speed; latencies {options.latency:g} x those of NCCL's table; {"rings" if options.ring else "rings, or trees where they are faster"};
  one bucket at a time; communication does not slow kernels down; clipping and update take no time.
Columns: n x b: micro-batches per step and GPU, of b sequences. MB: sent by each GPU per step, around a ring. bucket: all-reduce of a
  full bucket. behind: the last micro-batch's backward from the loss on, which can hide communication. total: all buckets. hidden,
  exposed: the part that overlaps with backward, and the rest. kept: compute / (compute + exposed).
""")
    print("                                            milliseconds            |  plain, ms                      |  ZeRO-1, ms")
    print(" GPUs  link          n x b      MB  buckets  bucket compute behind |  total hidden exposed    kept  |  total hidden exposed    kept")
    for name, row in rows:
        outcomes = "  | ".join(
            f"{o['communication_seconds'] * 1e3:6.1f} {o['hidden']:6.0%} {o['exposed_seconds'] * 1e3:7.1f}  {o['efficiency']:6.1%}"
            for o in (row["plain"], row["zero"])
        )
        print(
            f"{row['gpus']:5d}  {name:10s} {row['micro_batches']:4d} x {row['micro_batch_size']:<3d} {row['bytes_sent'] / 1e6:5.0f}  "
            f"{row['buckets']:7d}  {row['bucket_seconds'] * 1e3:6.2f} {row['compute_seconds'] * 1e3:7.1f} {row['backward_seconds'] * 1e3:6.1f} | {outcomes}"
        )


def number(kind, zero=False):
    def parse(text):
        value = kind(text)
        if not (value > 0 or (zero and value == 0)):
            raise ValueError
        return value

    parse.__name__ = "number of at least 0" if zero else "number above 0"  # shown by argparse
    return parse


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    real, count = number(float), number(int)
    add = parser.add_argument
    add("--config", default=ROOT / "configs" / "paper" / "b-ssmax.yaml", help="a training config; default: the paper's SSMax model")
    add("--gpus", type=count, nargs="+", default=[8, 16, 32, 64, 128, 256, 512])
    add("--gpus-per-node", type=count, default=8)
    add("--tokens-per-second", type=real, default=450_000, help="speed of one GPU in forward and backward; default 450,000, an assumption")
    add("--link-gbit", type=real, nargs="+", default=[400, 200, 100, 25],
        help="Gbit/s of the link that each GPU has to other nodes; where a node has one link for all, its speed divided by the number of GPUs")
    add("--nvlink-gb", type=real, default=450, help="GB/s per GPU and direction inside a node; default 450: NVLink 4")
    add("--latency", type=number(float, zero=True), default=1.0, help="factor on the latencies of NCCL's table; 0: no latency")
    add("--ring", action="store_true", help="use only rings for all-reduce")
    add("--bucket-mb", type=real, help="bucket size in MiB; default: the config's parallel.bucket_mb, else 25")
    add("--micro-batch", type=count, help="sequences per micro-batch; default: the config's train.micro_batch_size")
    add("--json", action="store_true", help="print one JSON object instead of the table; seconds and bytes")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_arguments(arguments)
    config = load_config(options.config)
    try:
        options.bucket_mb = options.bucket_mb or config.get("parallel", {}).get("bucket_mb", 25)
        options.micro_batch = options.micro_batch or config["train"]["micro_batch_size"]
        rows = []
        for name, cluster in make_clusters(options):
            micro_batch = fitting_micro_batch(config, cluster.gpus, options.micro_batch)
            rows.append((name, predict(config, cluster, options.tokens_per_second, options.bucket_mb, micro_batch)))
        parameters = count_parameters(config)
    except KeyError as error:
        raise SystemExit(f"{options.config}: the key {error.args[0]} is missing") from None
    if options.json:
        given = {key: value for key, value in vars(options).items() if key != "json"} | {"config": str(options.config)}
        print(json.dumps({"parameters": parameters, **given, "rows": [{"link": name, **row} for name, row in rows]}))
    else:
        print_report(config, options, rows)


if __name__ == "__main__":
    sys.exit(main())
