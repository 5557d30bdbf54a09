#!/usr/bin/env python3
"""The training step of the same model as a careful PyTorch user would write it, for comparison.

Llama's mathematics, optionally with SSMax's row scale on the query (arXiv 2501.19399), AdamW with weight decay on
matrices only, clipping at 1.0. In float32 on a CPU; in bfloat16 on a GPU, in one of two ways: autocast over float32
weights, or bfloat16 copies of float32 masters. Needs only PyTorch and numpy.

Run as a program, it reads a number of steps from each line of its standard input, takes that many steps and answers
with a line of JSON: their seconds, the last loss, the peak of memory. It synchronises with the device only around such
a group, so on a GPU each step's seconds are the group's mean. Its first line says that it is ready, or that memory does
not suffice.

    echo 20 | python3 scripts/peer.py --device cuda --dtype bfloat16 --micro-batch 32 --compile max-autotune
"""

import argparse
import contextlib
import json
import math
import os
import resource
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

COMPILE_MODES = ["none", "default", "max-autotune", "max-autotune-no-cudagraphs"]
PRECISIONS = ["copies", "autocast"]
ATTENTION_KERNELS = ["auto", "cudnn", "flash", "efficient"]
ATTENTION_KINDS = ["softmax", "ssmax"]


class Norm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        # One dtype for both: with two, PyTorch does not use its fused kernel.
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), 1e-5)


class Block(nn.Module):
    def __init__(self, shape, attention):
        super().__init__()
        hidden, feed_forward, self.heads = shape["hidden"], shape["feed_forward"], shape["heads"]
        self.attention_norm = Norm(hidden)
        self.qkv = nn.Linear(hidden, 3 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden, bias=False)
        self.mlp_norm = Norm(hidden)
        self.gate_up = nn.Linear(hidden, 2 * feed_forward, bias=False)
        self.down = nn.Linear(feed_forward, hidden, bias=False)
        self.scale = None  # SSMax's s, one per head
        if attention == "ssmax":
            mean = sum(math.log(n) for n in range(1, shape["time"] + 1)) / shape["time"]
            self.scale = nn.Parameter(torch.full((self.heads,), 1.0 / mean))

    def forward(self, x, cos, sin, log_n):
        def rotate(z):
            first, second = z.chunk(2, -1)
            return z * cos + torch.cat([-second, first], -1) * sin

        batch, length, hidden = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, hidden // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = rotate(q), rotate(k)
        if self.scale is not None:
            q = q * torch.outer(self.scale, log_n).unsqueeze(-1).to(cos.dtype)
        attended = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, hidden))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    """model(tokens, targets), both int64 (B, T), is the mean cross-entropy in nats.

    The head has `shape["vocab"]` outputs, rounded up to a multiple of `pad_vocabulary`; the padding is left out of the
    loss. dtype is that of the activations; rotary_dtype that of the tables of angles, and of RoPE's arithmetic if it is
    the wider one.
    """

    def __init__(self, shape, attention="softmax", pad_vocabulary=1, dtype=torch.float32, rotary_dtype=torch.float32):
        super().__init__()
        hidden, self.vocab, self.dtype = shape["hidden"], shape["vocab"], dtype
        self.padded_vocab = -(-self.vocab // pad_vocabulary) * pad_vocabulary
        self.embedding = nn.Embedding(self.vocab, hidden)
        self.blocks = nn.ModuleList(Block(shape, attention) for _ in range(shape["layers"]))
        self.norm = Norm(hidden)
        self.head = nn.Linear(hidden, self.padded_vocab, bias=False)
        head_dim = hidden // shape["heads"]
        frequencies = 10000.0 ** (-torch.arange(0, head_dim, 2) / head_dim)
        angles = torch.outer(torch.arange(shape["time"], dtype=torch.float32), frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos().to(rotary_dtype), persistent=False)
        self.register_buffer("sin", angles.sin().to(rotary_dtype), persistent=False)
        self.register_buffer("log_n", torch.arange(1, shape["time"] + 1).float().log(), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.embedding(tokens).to(self.dtype)
        for block in self.blocks:
            x = block(x, self.cos, self.sin, self.log_n)
        logits = self.head(self.norm(x)).view(-1, self.padded_vocab)
        if self.padded_vocab != self.vocab:
            logits = logits[:, : self.vocab]
        return F.cross_entropy(logits.float(), targets.view(-1))


def load_llama(model, tensors, padding=0.0):
    """Fills the model with tensors under Llama's names, as in our checkpoints; rows of the head beyond the vocabulary
    get `padding`."""
    def joined(layer, names):
        return torch.cat([tensors[f"model.layers.{layer}.{name}.weight"] for name in names])

    head = tensors["lm_head.weight"]
    beyond = torch.full((model.padded_vocab - model.vocab, head.shape[1]), padding)
    state = {"embedding.weight": tensors["model.embed_tokens.weight"], "norm.weight": tensors["model.norm.weight"],
             "head.weight": torch.cat([head, beyond])}
    parts = {"attention_norm": ["input_layernorm"], "qkv": [f"self_attn.{x}_proj" for x in "qkv"], "out": ["self_attn.o_proj"],
             "mlp_norm": ["post_attention_layernorm"], "gate_up": ["mlp.gate_proj", "mlp.up_proj"], "down": ["mlp.down_proj"]}
    for layer, block in enumerate(model.blocks):
        for name, sources in parts.items():
            state[f"blocks.{layer}.{name}.weight"] = joined(layer, sources)
        if block.scale is not None:
            state[f"blocks.{layer}.scale"] = tensors[f"model.layers.{layer}.self_attn.ssmax_scale"]
    model.load_state_dict(state)


class Tokens:
    """Random micro-batches, the same in every process, pinned once so that each upload is asynchronous."""

    def __init__(self, shape, micro_batch, micro_batches, device):
        self.micro_batch, self.device, self.next = micro_batch, device, 0
        generator = np.random.Generator(np.random.PCG64(1))
        windows = generator.integers(shape["vocab"], size=(micro_batches * micro_batch, shape["time"] + 1))
        self.windows = torch.from_numpy(windows)
        if device.type == "cuda":
            self.windows = self.windows.pin_memory()

    def take(self):
        batch = self.windows[self.next : self.next + self.micro_batch].to(self.device, non_blocking=True)
        self.next = (self.next + self.micro_batch) % len(self.windows)
        return batch[:, :-1].contiguous(), batch[:, 1:].contiguous()


class Trainer:
    """step() is one training step; it does not wait for the device and returns the last micro-batch's loss there.

    It starts from `tensors` under Llama's names if given, else from normally distributed numbers."""

    def __init__(self, shape, options, tensors=None):
        self.device = torch.device(options.device)
        self.accumulation = options.accumulation
        self.half = options.dtype == "bfloat16"
        self.copies = self.half and options.precision == "copies"
        self.autocast = self.half and not self.copies
        self.graphs = self.device.type == "cuda" and options.compile == "max-autotune"
        compiled = options.compile != "none"
        dtype = torch.bfloat16 if self.half else torch.float32
        torch.manual_seed(1)
        # Compiled, RoPE in float32 costs nothing; as separate operations it would double the memory traffic.
        rotary_dtype = torch.float32 if compiled else dtype
        model = Model(shape, options.attention, options.pad_vocabulary, dtype, rotary_dtype)
        if tensors is not None:
            load_llama(model, tensors)
        model = model.to(self.device)
        self.parameters = list(model.parameters())
        if self.copies:
            self.split_masters(model)
        groups = [{"params": [p for p in self.parameters if p.dim() == 2], "weight_decay": 0.1},
                  {"params": [p for p in self.parameters if p.dim() == 1], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
        mode = None if options.compile == "default" else options.compile
        self.forward = torch.compile(model, mode=mode) if compiled else model
        micro_batches = self.accumulation * max(4, -(-64 // (options.micro_batch * self.accumulation)))
        self.tokens = Tokens(shape, options.micro_batch, micro_batches, self.device)

    def split_masters(self, model):
        """The weights become bfloat16, except SSMax's scale; self.parameters holds float32 masters of all of them."""
        self.pairs = []  # lists of parameters of one dtype, as foreach operations need them, and of their masters
        for of_scale in (False, True):
            working = [p for name, p in model.named_parameters() if name.endswith(".scale") == of_scale]
            masters = [nn.Parameter(p.detach().clone()) for p in working]
            for parameter, master in zip(working, masters):
                parameter.data = parameter.data if of_scale else parameter.data.to(torch.bfloat16)
                master.grad = torch.zeros_like(master)
            if working:
                self.pairs.append((working, masters))
        self.parameters = [master for _, masters in self.pairs for master in masters]

    def clear_gradients(self):
        if not self.copies:  # the masters' gradients are overwritten
            # A CUDA graph overwrites its gradients when the next micro-batch replays it: the sum must be kept elsewhere.
            self.optimizer.zero_grad(set_to_none=not (self.graphs and self.accumulation > 1))

    def collect_gradients(self, first):
        for working, masters in self.pairs:
            if first:
                torch._foreach_copy_([m.grad for m in masters], [p.grad for p in working])
            else:
                for parameter, master in zip(working, masters):
                    master.grad.add_(parameter.grad)
            for parameter in working:
                parameter.grad = None

    def forward_backward(self):
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            loss = self.forward(*self.tokens.take())
        (loss / self.accumulation if self.accumulation > 1 else loss).backward()
        return loss.detach()

    def step(self):
        self.clear_gradients()
        for micro_batch in range(self.accumulation):
            loss = self.forward_backward()
            if self.copies:
                self.collect_gradients(first=micro_batch == 0)
        nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimizer.step()
        if self.copies:
            with torch.no_grad():
                for working, masters in self.pairs:
                    torch._foreach_copy_(working, masters)
        return loss


def attention_kernels(name):
    """A scope in which attention prefers the named kernel; auto keeps PyTorch's own order."""
    if name == "auto":
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    order = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION,
             "efficient": SDPBackend.EFFICIENT_ATTENTION}
    others = [backend for key, backend in order.items() if key != name]
    return sdpa_kernel([order[name], *others, SDPBackend.MATH], set_priority=True)


def wait_for(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(trainer, steps, release):
    """Takes the steps; on a GPU only the whole group is timed. `release`: give the cached memory back afterwards."""
    cuda = trainer.device.type == "cuda"
    if cuda and release:
        trainer.step()  # allocates the memory again
    wait_for(trainer.device)
    seconds, begin = [], time.perf_counter()
    for _ in range(steps):
        begin_step = time.perf_counter()
        loss = trainer.step()
        seconds.append(time.perf_counter() - begin_step)
    wait_for(trainer.device)
    if cuda:
        seconds = [(time.perf_counter() - begin) / steps] * steps
    answer = {"seconds": seconds, "loss": loss.item(), "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if cuda:
        answer["device_peak_bytes"] = torch.cuda.max_memory_allocated()
        answer["device_reserved_bytes"] = torch.cuda.max_memory_reserved()
        del loss
        if release:
            torch.cuda.empty_cache()
    return answer


def prepare(shape, options):
    """A trainer that has compiled and taken its first steps; memory that compiling held is given back and not in the
    peaks."""
    trainer = Trainer(shape, options)
    for _ in range(options.warmup):
        trainer.step()
    wait_for(trainer.device)
    if trainer.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return trainer


def serve(options):
    begin = time.perf_counter()
    torch.set_num_threads(options.threads)
    if options.device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, wherever float32 is used at all
    shape = {key: getattr(options, key) for key in ("vocab", "hidden", "layers", "heads", "feed_forward", "time")}
    try:
        with attention_kernels(options.attention_kernel):
            trainer = prepare(shape, options)
            print(json.dumps({"ready": True, "seconds_to_ready": time.perf_counter() - begin}), flush=True)
            for line in sys.stdin:
                print(json.dumps(measure(trainer, int(line), options.release)), flush=True)
    except torch.OutOfMemoryError:
        print(json.dumps({"out_of_memory": True}), flush=True)
        sys.exit(1)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("vocab", 50257), ("hidden", 768), ("layers", 12), ("heads", 12), ("feed-forward", 2048), ("time", 1024)):
        parser.add_argument(f"--{name}", type=int, default=value, help="shape of the model (default: %(default)s)")
    parser.add_argument("--attention", choices=ATTENTION_KINDS, default="softmax")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--precision", choices=PRECISIONS, default="copies",
                        help="bfloat16: copies of float32 masters, or autocast (default: %(default)s)")
    parser.add_argument("--micro-batch", type=int, default=2, help="sequences per micro-batch (default: %(default)s)")
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches per step (default: %(default)s)")
    parser.add_argument("--compile", choices=COMPILE_MODES, default="none", help="torch.compile's mode (default: %(default)s)")
    parser.add_argument("--attention-kernel", choices=ATTENTION_KERNELS, default="auto",
                        help="preferred attention kernel (default: %(default)s)")
    parser.add_argument("--pad-vocabulary", type=int, default=1, help="round the head's outputs up to a multiple of this")
    parser.add_argument("--release", action="store_true", help="give cached device memory back after each group of steps")
    parser.add_argument("--warmup", type=int, default=3, help="steps before reporting ready (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads on the CPU (default: all cores)")
    return parser.parse_args()


if __name__ == "__main__":
    serve(parse())
