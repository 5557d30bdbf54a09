#!/usr/bin/env python3
"""Times `ssgpt evaluate needle` against the same protocol with transformers' generate.

A Softmax checkpoint is a Llama model that both can read. ssgpt makes the trials and answers them, one at a time and in
batches, as whole processes that also load the model, choose the haystacks and score the margin over one wrong number.
The peer continues the same prompts one after another, greedily with its KV cache, in float32 with scaled-dot-product
attention on as many threads; its time leaves out loading the model and importing PyTorch, to its advantage. They take
turns. Prints the times, the median of the paired ratios with its range (above 1, ssgpt is faster), and how many answers
agree token by token: the two add in different orders, so nearly equal logits may be ranked differently.

    .venv/bin/python scripts/bench_needle.py --checkpoint runs/a --data 'data/bible/tokens/validation_*.bin'
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
ANSWER_TOKENS = 10


def arguments_of():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="a checkpoint with Softmax attention, or a run that has one")
    parser.add_argument("--data", required=True, help="token shards made with its tokenizer")
    parser.add_argument("--lengths", default="512", help="tokens per trial, as for ssgpt evaluate needle")
    parser.add_argument("--depths", default="0,50,100", help="as for ssgpt evaluate needle")
    parser.add_argument("--trials", type=int, default=16, help="trials per length and depth")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ssgpt", default=os.environ.get("SSGPT_BIN", ROOT / "build" / "release" / "ssgpt"))
    return parser.parse_args()


def run_ours(arguments, trials_out, *options):
    """The seconds that one process took, and its trials."""
    command = [arguments.ssgpt, "evaluate", "needle", "--checkpoint", arguments.checkpoint, "--data", arguments.data,
               "--lengths", arguments.lengths, "--depths", arguments.depths, "--trials", str(arguments.trials),
               "--distractors", "1", "--answer-tokens", str(ANSWER_TOKENS), "--device", "cpu",
               "--trials-out", trials_out, *options]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    seconds = time.perf_counter() - start
    return seconds, [json.loads(line) for line in trials_out.read_text().splitlines()]


class Peer:
    def __init__(self, checkpoint, threads):
        import torch
        import transformers

        torch.set_num_threads(threads)
        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        if self.model.config.model_type != "llama":
            raise SystemExit(f"{checkpoint} is not a Llama model: the peer only runs checkpoints with Softmax attention")
        self.version = f"transformers {transformers.__version__}, PyTorch {torch.__version__}"

    def run(self, trials):
        """The seconds that all trials took, and the tokens of each answer."""
        answers = []
        start = time.perf_counter()
        for trial in trials:
            prompt = self.torch.tensor([trial["prompt_tokens"]])
            with self.torch.inference_mode():
                ids = self.model.generate(
                    prompt,
                    attention_mask=self.torch.ones_like(prompt),
                    do_sample=False,
                    max_new_tokens=ANSWER_TOKENS,
                    pad_token_id=0,
                )
            answers.append(ids[0, prompt.shape[1] :].tolist())
        return time.perf_counter() - start, answers


def agreement(trials, answers):
    """How many answers equal the peer's, as far as ssgpt's go: it stops once the number can no longer be right."""
    pairs = [(trial["generated_tokens"], answer) for trial, answer in zip(trials, answers, strict=True)]
    return sum(answer[: len(ours)] == ours for ours, answer in pairs)


def main():
    arguments = arguments_of()
    with tempfile.TemporaryDirectory() as folder:
        trials_out = pathlib.Path(folder) / "trials.jsonl"
        _, trials = run_ours(arguments, trials_out)
        peer = Peer(trials[0]["checkpoint"], arguments.threads)
        print(f"{len(trials)} trials of {arguments.lengths} tokens, {arguments.threads} threads; {peer.version}")
        peer.run(trials[:1])
        seconds = {"peer": [], "one by one": [], "batched": []}
        for number in range(arguments.rounds):
            names = list(seconds)
            for name in names if number % 2 == 0 else names[::-1]:
                if name == "peer":
                    taken, answers = peer.run(trials)
                else:
                    options = ["--batch-size", "1"] if name == "one by one" else []
                    taken, trials = run_ours(arguments, trials_out, *options)
                seconds[name].append(taken)
            print(f"round {number + 1}: " + ", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in seconds.items()))
    for name in ("one by one", "batched"):
        ratios = sorted(theirs / ours for theirs, ours in zip(seconds["peer"], seconds[name]))
        print(f"peer / {name}: median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}")
    print(f"answers that agree: {agreement(trials, answers)} of {len(trials)}")


if __name__ == "__main__":
    main()
