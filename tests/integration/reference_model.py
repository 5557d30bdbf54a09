"""The model in plain PyTorch, float32 or float64, for comparison: Llama's mathematics with a row scale on the query
(arXiv 2501.19399). Written for reading, independent of the program and of transformers."""

import math

import torch
from torch import nn


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


class ReferenceModel(nn.Module):
    """Parameters are named as in our checkpoints, so that their tensors load by name."""

    def __init__(self, tensors, heads, layers, kind, theta=10000.0, eps=1e-5, trained_length=None, attn_scale=0.1,
                 floor_scale=8192, qk_norm="none", rope_fraction=1.0, nope_layers=()):
        super().__init__()
        self.names = list(tensors)
        self.weights = nn.ParameterList([nn.Parameter(tensors[n].clone()) for n in self.names])
        self.heads, self.layers, self.kind, self.theta, self.eps = heads, layers, kind, theta, eps
        self.trained_length, self.attn_scale, self.floor_scale = trained_length, attn_scale, floor_scale
        self.qk_norm, self.rope_fraction, self.nope_layers = qk_norm, rope_fraction, nope_layers

    def weight(self, name):
        return self.weights[self.names.index(name)]

    def named_tensors(self):
        return dict(zip(self.names, self.weights))

    def rotate(self, x):
        """Rotates the first dimensions of each head; the others stay."""
        b, n, t, h = x.shape
        r = round(self.rope_fraction * h)
        frequency = self.theta ** (-torch.arange(0, r, 2, dtype=torch.float64) / r)
        angle = torch.arange(t, dtype=torch.float64)[:, None] * frequency
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        a, c = x[..., : r // 2], x[..., r // 2 : r]
        return torch.cat([a * cos - c * sin, c * cos + a * sin, x[..., r:]], -1)

    def prepare(self, x, prefix, name):
        """q or k, (B, N, T, H), as used for the scores, without the row scale."""
        if self.qk_norm == "rms":
            x = rms_norm(x, self.weight(f"{prefix}{name}_norm.weight"), self.eps)
        return x if int(prefix.split(".")[2]) in self.nope_layers else self.rotate(x)

    def row_scale(self, prefix, t, dtype):
        log_n = torch.arange(1, t + 1, dtype=torch.float64).log().to(dtype)
        one = torch.ones(self.heads, 1, dtype=dtype)
        if self.kind == "softmax":
            return one * torch.ones_like(log_n)
        if self.kind == "ssmax_fixed":
            return one * log_n
        if self.kind == "logn_clamped":
            return one * (log_n / math.log(self.trained_length)).clamp(min=1)
        if self.kind == "llama4_temperature":
            periods = torch.arange(1, t + 1) // self.floor_scale
            return one * (1 + self.attn_scale * (periods + 1).to(torch.float64).log()).to(dtype)
        s = self.weight(prefix + "ssmax_scale")[:, None]
        if self.kind == "softmax_temperature":
            return s * torch.ones_like(log_n)
        if self.kind == "ssmax":
            return s * log_n
        p = self.weight("model.ssmax_position")[:t] if self.kind == "learned_pn" else log_n
        return s * p + self.weight(prefix + "ssmax_bias")[:, None]

    def attention(self, x, prefix):
        b, t, d = x.shape
        q, k, v = (
            (x @ self.weight(f"{prefix}{name}_proj.weight").T).view(b, t, self.heads, -1).transpose(1, 2) for name in "qkv"
        )
        q = self.prepare(q, prefix, "q") * self.row_scale(prefix, t, x.dtype)[None, :, :, None]
        scores = q @ self.prepare(k, prefix, "k").transpose(-1, -2) / math.sqrt(q.shape[-1])
        mask = torch.ones(t, t, dtype=torch.bool).tril()
        out = scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v
        return out.transpose(1, 2).reshape(b, t, d) @ self.weight(prefix + "o_proj.weight").T

    def forward(self, tokens):
        x = self.weight("model.embed_tokens.weight")[tokens]
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            x = x + self.attention(rms_norm(x, self.weight(prefix + "input_layernorm.weight"), self.eps), prefix + "self_attn.")
            h = rms_norm(x, self.weight(prefix + "post_attention_layernorm.weight"), self.eps)
            gate, up, down = (self.weight(f"{prefix}mlp.{name}_proj.weight") for name in ("gate", "up", "down"))
            x = x + (nn.functional.silu(h @ gate.T) * (h @ up.T)) @ down.T
        return rms_norm(x, self.weight("model.norm.weight"), self.eps) @ self.weight("lm_head.weight").T

    def loss(self, windows):
        logits = self(windows[:, :-1])
        return nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
