"""Llama with Scalable-Softmax attention (SSMax, arXiv 2501.19399) or another row scale, document masking, query/key norm,
or RoPE on part of each head or of the layers, for transformers 5.

A checkpoint whose mathematics is not exactly Llama's carries this file, so that
`AutoModelForCausalLM.from_pretrained(directory, trust_remote_code=True)` computes what was trained. Everything is as in
Llama except the row scale of attention, s L(n) + b, a function of n, the number of keys that a query attends to: KINDS.
It is constant along a row of scores, so it multiplies the query after RoPE. s and b are one value per head; p_n is
shared by all layers. All three stay in fp32 whatever dtype the model is loaded in.

Three settings change the queries and keys before that, in this order: config.qk_norm "rms" is Qwen 3's RMSNorm over each
head, with learned gains; partial_rotary_factor restricts rotation to the first dimensions of each head; and a 0 in
config.no_rope_layers, which has one flag per layer, as in SmolLM3, disables RoPE in that layer. (A row scale before the
norm would be divided out by it.)

If config.ssgpt["document_token_id"] is set, attention does not cross the end of a document (document masking): a
document ends after that token, and n restarts at 1 with the next token.

Shapes: B batch, Q queries of this call, K keys (including cached ones), N heads, H head dim.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, LlamaModel
from transformers import initialization as init
from transformers.cache_utils import DynamicLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaPreTrainedModel,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
    eager_attention_forward,
)



class Kind(NamedTuple):
    """A kind of attention: L as a function of n (floats) and the config, None without a row scale; and what is learned."""

    position: Callable | None
    scale: bool = False  # s; otherwise it is 1
    bias: bool = False  # b; otherwise it is 0
    learned: bool = False  # p_n, which replaces L and starts at its values


KINDS = {
    "softmax": Kind(None),
    "softmax_temperature": Kind(lambda n, config: torch.ones_like(n), scale=True),
    "ssmax": Kind(lambda n, config: n.log(), scale=True),
    "ssmax_fixed": Kind(lambda n, config: n.log()),
    "ssmax_bias": Kind(lambda n, config: n.log(), scale=True, bias=True),
    "learned_pn": Kind(lambda n, config: n.log(), scale=True, bias=True, learned=True),
    "logn_clamped": Kind(lambda n, config: (n.log() / math.log(max(2, config.max_position_embeddings))).clamp(min=1)),
    "llama4_temperature": Kind(lambda n, config: 1 + config.attn_scale * (n / config.floor_scale).floor().log1p()),
}


class SsgptConfig(LlamaConfig):
    """LlamaConfig with the kind of attention; `ssgpt` holds what only the training program reads."""

    model_type = "ssgpt"

    attention_kind: str = "ssmax"
    attn_scale: float = 0.1  # for llama4_temperature, as in Llama 4
    floor_scale: int = 8192
    qk_norm: str = "none"
    no_rope_layers: list[int] | None = None  # per layer 1 with RoPE, 0 without; None: all with
    ssgpt: dict | None = None
    ignore_keys_at_rope_validation = {"partial_rotary_factor"}

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.attention_kind not in KINDS:
            raise ValueError(f"attention_kind is {self.attention_kind!r}; it must be one of {tuple(KINDS)}")
        if self.qk_norm not in ("none", "rms"):
            raise ValueError(f"qk_norm is {self.qk_norm!r}; it must be 'none' or 'rms'")
        flags = self.no_rope_layers
        if flags is not None and (len(flags) != self.num_hidden_layers or not set(flags) <= {0, 1}):
            raise ValueError(f"no_rope_layers is {flags}; it must be a list of num_hidden_layers = {self.num_hidden_layers} flags, "
                             "1 for a layer with RoPE and 0 for one without")
        self.rotated_dims()

    def rotated_dims(self) -> int:
        """Number of rotated dimensions per head, the first ones: the same count as in transformers' other RoPE types."""
        factor = (self.rope_parameters or {}).get("partial_rotary_factor")
        product = self.head_dim * (1.0 if factor is None else factor)
        dims = int(product)
        if dims % 2 or not 0 < dims <= self.head_dim or product - dims > 1e-4:
            raise ValueError(f"partial_rotary_factor is {factor}, which makes {product} of the {self.head_dim} dimensions of a "
                             "head; it must make an even number of them, 2 or more, to its last digit")
        return dims

    def is_rotated(self, layer: int) -> bool:
        return self.no_rope_layers is None or bool(self.no_rope_layers[layer])

    def kind(self) -> Kind:
        return KINDS[self.attention_kind]

    def initial_positions(self, device=None) -> torch.Tensor:
        """L(n) for n = 1 to the training length, float64."""
        n = torch.arange(1, self.max_position_embeddings + 1, dtype=torch.float64, device=device)
        return self.kind().position(n, self)

    def initial_scale(self) -> float:
        """s of a new model: as configured, or such that the mean row scale over the training length is 1.

        The configured value is s for log n; if s multiplies another L, it starts at the same mean row scale.
        """
        length = self.max_position_embeddings
        configured = (self.ssgpt or {}).get("scale_init")
        mean_log = math.lgamma(length + 1) / length  # sum of log n = log(length!)
        mean_row_scale = 1.0 if configured is None else configured * mean_log
        return mean_row_scale / max(self.initial_positions(device="cpu").mean().item(), 1e-6)

    def initial_bias(self) -> float:
        return (self.ssgpt or {}).get("bias_init") or 0.0

    def document_token(self) -> int | None:
        """The token after which a document ends; None if attention crosses documents."""
        return (self.ssgpt or {}).get("document_token_id")


def count_keys(attention_mask, packed_position_ids, past_length, queries, device) -> torch.Tensor:
    """n of each query, int64 (B, Q) or (1, Q), at least 1: the number of keys that the query attends to.

    attention_mask: 2D, (B, K) with 0 at padding; or 4D, (B, 1, Q, K) of bool or of additive floats; or None.
    packed_position_ids: (B, Q), in which a position that does not continue the previous one starts a document; or None.
    Padding has no n of its own: it gets 1, which keeps its values finite.
    """
    if attention_mask is None:
        index = torch.arange(queries, device=device)[None] + past_length
        if packed_position_ids is None:
            return index + 1
        starts = torch.where(find_starts(packed_position_ids), index, 0).cummax(dim=-1).values
        return index - starts + 1
    if not torch.is_tensor(attention_mask) or attention_mask.dim() not in (2, 4):
        raise ValueError("Scalable-Softmax needs an attention mask of shape (B, K) or (B, 1, Q, K)")
    if attention_mask.dim() == 2:
        counts = (attention_mask != 0).cumsum(dim=-1)[:, -queries:]
    elif attention_mask.dtype == torch.bool:
        counts = attention_mask.sum(dim=-1)[:, 0]
    else:
        counts = (attention_mask > torch.finfo(attention_mask.dtype).min / 2).sum(dim=-1)[:, 0]
    return counts.clamp(min=1)


def find_starts(packed_position_ids) -> torch.Tensor:
    """bool (B, Q): positions that do not continue the previous one; never the first."""
    return torch.diff(packed_position_ids, prepend=packed_position_ids[:, :1] - 1, dim=-1) != 1


def remember_ends(ends, cache, num_layers) -> torch.Tensor:
    """Appends the document ends of this call's tokens, bool (B, Q), to those of the cached tokens; returns all, (B, K).

    They are stored as an extra layer of the KV cache, so that reordering, repeating or cropping its rows includes them.
    """
    if not isinstance(cache, DynamicCache):
        raise ValueError(f"attention that stops at documents needs a DynamicCache or none, not {type(cache).__name__}")
    past_length = cache.get_seq_length()
    if past_length and len(cache.layers) <= num_layers:
        raise ValueError("the cache does not say where its documents end: another model filled it")
    while past_length == 0 and len(cache.layers) <= num_layers:
        cache.layers.append(DynamicLayer())
    ends = ends.to(torch.uint8)[:, None, :, None]
    known, _ = cache.update(ends, ends, num_layers)
    if known.shape[2] != past_length + ends.shape[2]:
        raise ValueError("the cache's tokens and the ends of its documents are of different numbers")
    return known[:, 0, :, 0].bool()


def find_visible(ends, starts, attention_mask, queries) -> torch.Tensor:
    """The keys that each query attends to, bool (B, 1, Q, K): in its document, not later, not masked.

    ends: bool (B, K), whether a document ends after the token. starts: bool (B, K), whether one starts at it, or None.
    attention_mask: as in count_keys.
    """
    document = ends.long().cumsum(dim=-1) - ends.long()
    if starts is not None:
        document = document + starts.long().cumsum(dim=-1)
    keys = ends.shape[1]
    index = torch.arange(keys, device=ends.device)
    visible = document[:, -queries:, None] == document[:, None, :]
    visible = (visible & (index[None, :] <= index[-queries:, None]))[:, None]
    if attention_mask is None:
        return visible
    if not torch.is_tensor(attention_mask) or attention_mask.dim() not in (2, 4) or attention_mask.shape[-1] != keys:
        raise ValueError(f"attention that stops at documents needs a mask of shape (B, {keys}) or (B, 1, Q, {keys})")
    if attention_mask.dim() == 2:
        return visible & (attention_mask != 0)[:, None, None, :]
    if attention_mask.dtype == torch.bool:
        return visible & attention_mask
    return visible & (attention_mask > torch.finfo(attention_mask.dtype).min / 2)


class SsgptRotaryEmbedding(LlamaRotaryEmbedding):
    """Llama's, over the rotated dimensions only."""

    @staticmethod
    def compute_default_rope_parameters(config: SsgptConfig, device=None, seq_len=None, **kwargs) -> tuple[torch.Tensor, float]:
        dims = config.rotated_dims()
        exponents = torch.arange(0, dims, 2, dtype=torch.float, device=device) / dims
        return 1.0 / (config.rope_parameters["rope_theta"] ** exponents), 1.0


class SsgptAttention(LlamaAttention):
    """Llama's attention with the query of each head multiplied by its row scale."""

    def __init__(self, config: SsgptConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        heads = config.num_attention_heads
        if config.qk_norm == "rms":
            self.q_norm = LlamaRMSNorm(self.head_dim, eps=config.rms_norm_eps)
            self.k_norm = LlamaRMSNorm(self.head_dim, eps=config.rms_norm_eps)
        if config.kind().scale:
            self.ssmax_scale = nn.Parameter(torch.full((heads,), config.initial_scale(), dtype=torch.float32))
        if config.kind().bias:
            self.ssmax_bias = nn.Parameter(torch.full((heads,), config.initial_bias(), dtype=torch.float32))

    def scale_query(self, query: torch.Tensor, row_position: torch.Tensor) -> torch.Tensor:
        """query: (B, N, Q, H). row_position: factor on s, fp32 (B, 1, Q, 1)."""
        scale = row_position
        if hasattr(self, "ssmax_scale"):
            scale = scale * self.ssmax_scale.float()[:, None, None]
        if hasattr(self, "ssmax_bias"):
            scale = scale + self.ssmax_bias.float()[:, None, None]
        return (query.float() * scale).to(query.dtype)

    def rotate(self, query, key, position_embeddings) -> tuple[torch.Tensor, torch.Tensor]:
        """query, key: (B, N, Q, H). position_embeddings: cos and sin, (B, Q, R); dimensions from R on are unchanged."""
        if not self.config.is_rotated(self.layer_idx):
            return query, key
        cos, sin = position_embeddings
        dims = cos.shape[-1]
        rotated = apply_rotary_pos_emb(query[..., :dims], key[..., :dims], cos, sin)
        return tuple(torch.cat([turned, whole[..., dims:]], dim=-1) for turned, whole in zip(rotated, (query, key)))

    def forward(self, hidden_states, position_embeddings=None, attention_mask=None, past_key_values=None,
                row_position=None, **kwargs):
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)
        query = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        key = self.k_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        if self.config.qk_norm == "rms":
            query, key = self.q_norm(query), self.k_norm(key)
        value = self.v_proj(hidden_states).view(hidden_shape).transpose(1, 2)

        query, key = self.rotate(query, key, position_embeddings)
        if row_position is not None:
            query = self.scale_query(query, row_position)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)

        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, weights = attention(
            self, query, key, value, attention_mask,
            dropout=self.attention_dropout if self.training else 0.0, scaling=self.scaling, **kwargs,
        )
        return self.o_proj(output.reshape(*input_shape, -1).contiguous()), weights


class SsgptPreTrainedModel(LlamaPreTrainedModel):
    config_class = SsgptConfig
    _supports_flex_attn = False  # its block masks do not give n
    _keep_in_fp32_modules_strict = ["ssmax_scale", "ssmax_bias", "ssmax_position"]

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(getattr(module, "ssmax_scale", None), nn.Parameter):
            init.constant_(module.ssmax_scale, self.config.initial_scale())
        if isinstance(getattr(module, "ssmax_bias", None), nn.Parameter):
            init.constant_(module.ssmax_bias, self.config.initial_bias())
        if isinstance(getattr(module, "ssmax_position", None), nn.Parameter):
            init.copy_(module.ssmax_position, self.config.initial_positions().float())


class SsgptModel(SsgptPreTrainedModel, LlamaModel):
    def __init__(self, config: SsgptConfig):
        super().__init__(config)
        for index, layer in enumerate(self.layers):
            layer.self_attn = SsgptAttention(config, index)
        self.rotary_emb = SsgptRotaryEmbedding(config)
        if config.kind().learned:
            self.ssmax_position = nn.Parameter(config.initial_positions().float())
        self.post_init()

    def row_position(self, counts: torch.Tensor) -> torch.Tensor | None:
        """The factor on s, L(n) or p_n, for n of counts (B, Q), as fp32 (B, 1, Q, 1); None for Softmax."""
        kind = self.config.kind()
        if kind.position is None:
            return None
        if not kind.learned:
            return kind.position(counts.float(), self.config)[:, None, :, None]
        length = self.ssmax_position.shape[0]
        if counts.shape[-1] and int(counts.max()) > length:
            raise ValueError(f"a query attends to {int(counts.max())} keys, but p_n was learned up to n = {length}")
        return self.ssmax_position.float()[counts - 1][:, None, :, None]

    def document_mask(self, input_ids, attention_mask, packed_position_ids, past_key_values) -> torch.Tensor:
        """The additive document mask, (B, 1, Q, K) in the model's dtype."""
        if input_ids is None:
            raise ValueError("attention that stops at documents needs input_ids: inputs_embeds do not say where they end")
        if self.config._attn_implementation not in ("eager", "sdpa"):
            raise ValueError("attention that stops at documents needs attn_implementation 'eager' or 'sdpa'")
        ends = input_ids == self.config.document_token()
        if past_key_values is not None:
            ends = remember_ends(ends, past_key_values, self.config.num_hidden_layers)
        starts = None if packed_position_ids is None else find_starts(packed_position_ids)
        visible = find_visible(ends, starts, attention_mask, input_ids.shape[1])
        mask = torch.zeros(visible.shape, dtype=self.dtype, device=visible.device)
        return mask.masked_fill(~visible, torch.finfo(self.dtype).min)

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                inputs_embeds=None, use_cache=None, **kwargs):
        tokens = input_ids if input_ids is not None else inputs_embeds
        if tokens is None:
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        past_length = past_key_values.get_seq_length() if past_key_values is not None else 0
        # transformers masks packed documents only without an attention mask and without a cache.
        uses_cache = past_key_values is not None or (self.config.use_cache if use_cache is None else use_cache)
        packed = None if uses_cache else position_ids
        if self.config.document_token() is not None:
            if uses_cache and past_key_values is None:
                past_key_values = DynamicCache(config=self.config)
            attention_mask = self.document_mask(input_ids, attention_mask, packed, past_key_values)
        counts = count_keys(attention_mask, packed, past_length, tokens.shape[1], tokens.device)
        return super().forward(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
            past_key_values=past_key_values, inputs_embeds=inputs_embeds, use_cache=use_cache,
            row_position=self.row_position(counts), **kwargs,
        )


class SsgptForCausalLM(SsgptPreTrainedModel, LlamaForCausalLM):
    def __init__(self, config: SsgptConfig):
        super().__init__(config)
        self.model = SsgptModel(config)
        self.post_init()


__all__ = ["SsgptConfig", "SsgptForCausalLM", "SsgptModel", "SsgptPreTrainedModel"]
