#!/usr/bin/env python3
"""Times `ssgpt prepare` against a Python peer that does the same with the sentencepiece package.

Both read one .jsonl file, encode each document, append EOS, and write uint16 tokens. The peer reads lines, parses them
with the json module, encodes batches of documents with encode(list, num_threads=N), and writes through numpy. The two
take turns, each as a process of its own, timed from start to end. Prints the times, their medians, and the median of
the paired ratios with its range: above 1, ssgpt is faster.

    .venv/bin/python scripts/bench_prepare.py --input data/bible/kjv.jsonl --tokenizer data/bible/tokenizer.model
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BATCH_DOCUMENTS = 1024  # enough to keep the peer's threads busy, with little memory
EOS = 2


def run_peer(source, tokenizer, output, threads):
    import numpy as np
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=tokenizer)

    def write(batch, file):
        for ids in processor.encode(batch, num_threads=threads):
            file.write(np.asarray(ids + [EOS], dtype=np.uint16).tobytes())

    with open(source, encoding="utf-8", newline="\n") as lines, open(output, "wb") as file:
        batch = []
        for line in lines:
            batch.append(json.loads(line)["text"])
            if len(batch) == BATCH_DOCUMENTS:
                write(batch, file)
                batch = []
        write(batch, file)


def repeated(source, megabytes, output):
    """The file's lines, repeated until there are that many megabytes."""
    data = source.read_bytes()
    with open(output, "wb") as file:
        while file.tell() < megabytes * 1_000_000:
            file.write(data if data.endswith(b"\n") else data + b"\n")
    return output


def timed(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=pathlib.Path, required=True, help="a .jsonl file with a `text` field")
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="a sentencepiece model with at most 65,536 pieces")
    parser.add_argument("--megabytes", type=float, default=20, help="repeat the input up to this size; 0: use it as it is")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ssgpt", default=os.environ.get("SSGPT_BIN", ROOT / "build" / "release" / "ssgpt"))
    parser.add_argument("--peer-output", help=argparse.SUPPRESS)  # starts the peer
    arguments = parser.parse_args()
    if arguments.peer_output:
        run_peer(str(arguments.input), str(arguments.tokenizer), arguments.peer_output, arguments.threads)
        return

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        source = arguments.input
        if arguments.megabytes > 0:
            source = repeated(source, arguments.megabytes, folder / "input.jsonl")
        size = source.stat().st_size
        shared = ["--input", source, "--tokenizer", arguments.tokenizer, "--threads", str(arguments.threads)]
        peer = [sys.executable, __file__, *shared, "--peer-output", folder / "peer.bin"]
        ours = [arguments.ssgpt, "prepare", *shared, "--out", folder / "ours", "--validation-fraction", "0", "--overwrite"]
        times = {"ssgpt": [], "peer": []}
        print(f"{size / 1e6:.1f} MB, {arguments.threads} threads")
        for number in range(arguments.rounds):
            for name in ("ssgpt", "peer") if number % 2 == 0 else ("peer", "ssgpt"):
                times[name].append(timed(ours if name == "ssgpt" else peer))
            print(f"round {number + 1}: ssgpt {times['ssgpt'][-1]:.2f} s, peer {times['peer'][-1]:.2f} s")
        ours_tokens = sum((p.stat().st_size - 1024) // 2 for p in (folder / "ours").glob("*.bin"))
        peer_tokens = (folder / "peer.bin").stat().st_size // 2

    ratios = sorted(peer / ssgpt for ssgpt, peer in zip(times["ssgpt"], times["peer"]))
    for name, tokens in (("ssgpt", ours_tokens), ("peer", peer_tokens)):
        median = statistics.median(times[name])
        print(f"{name:6} median {median:.2f} s, {size / 1e6 / median:.2f} MB/s, {tokens} tokens")
    print(f"peer / ssgpt: median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} rounds")


if __name__ == "__main__":
    main()
