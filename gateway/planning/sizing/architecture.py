"""What a decoder's configuration says of its size: parameters, bytes of weights, bytes of KV cache, work per token."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.planning.units import Bytes, Flops

Precision = Literal["fp32", "fp16", "bf16", "fp8", "int8", "int4", "nf4"]
BITS: Mapping[Precision, float] = {
    "fp32": 32,
    "fp16": 16,
    "bf16": 16,
    "fp8": 8,
    "int8": 8,
    "int4": 4 + 16 / 128 + 4 / 128,
    "nf4": 4.127,
}
"""Per weight, from most to least. int4 has a scale of 16 bits and a zero of 4 per group of 128 (GPTQ, AWQ); nf4 its
constants quantised once more (bitsandbytes)."""

_BLOCK = 16


class Latent(msgspec.Struct, frozen=True, kw_only=True):
    """Multi-head latent attention (DeepSeek): the cache holds one compressed vector per token, for all heads."""

    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    query_rank: int = 0
    """0: queries are not compressed."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters."""

    total: int
    active: int
    """Those that one token goes through."""
    embedding: int
    """The embedding and, unless it is tied, the head."""
    lookup: int
    """Read by index and never multiplied: the input embedding, unless the head is the same matrix."""
    experts: int
    """All experts of all layers that tokens are routed to."""

    @property
    def matmul_active(self) -> int:
        """Those that one token is multiplied with."""
        return self.active - self.lookup


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """A decoder-only transformer. Widths are in numbers, not bytes."""

    layers: int
    hidden: int
    heads: int
    """Of queries."""
    kv_heads: int
    head_dim: int
    ffn: int
    """Width of a dense layer's feed-forward network."""
    vocab: int
    is_gated: bool = True
    """Three matrices in the feed-forward network (SwiGLU, GeGLU) rather than two."""
    is_tied: bool = False
    """The head is the embedding."""
    has_qkv_bias: bool = False
    has_output_bias: bool = False
    """Of attention."""
    has_ffn_bias: bool = False
    experts: int = 1
    experts_per_token: int = 1
    expert_ffn: int = 0
    shared_ffn: int = 0
    """Width of the shared experts together, which every token goes through."""
    dense_layers: int = 0
    """Layers without experts, in a model with experts."""
    norms: int = 2
    """Vectors of the hidden width in a layer; LayerNorm has two each, RMSNorm one."""
    final_norms: int = 1
    head_vectors: int = 0
    """Other parameters of a layer's attention that are no matrices: norms of queries and keys, sinks."""
    positions: int = 0
    """Learned position embeddings."""
    latent: Latent | None = None
    window: int = 0
    """Tokens that windowed layers look back."""
    windowed_layers: int = 0
    context_limit: int | None = None

    @property
    def counts(self) -> Counts:
        """L(attention + E mlp + router + norms) + V h (2 - tied) + h, with k for E for what is active."""
        moe_layers = self.layers - self.dense_layers if self.experts > 1 else 0
        expert = self._ffn(self.expert_ffn or self.ffn)
        embedding = self.vocab * self.hidden * (1 if self.is_tied else 2)
        each = self._attention + self.norms * self.hidden + self.head_vectors
        shared = self._ffn(self.shared_ffn) if self.shared_ffn else 0
        rest = (
            self.layers * each
            + (self.layers - moe_layers) * self._ffn(self.ffn)
            + moe_layers * (self.hidden * self.experts + shared)
            + embedding
            + self.positions * self.hidden
            + self.final_norms * self.hidden
        )
        return Counts(
            total=rest + moe_layers * self.experts * expert,
            active=rest + moe_layers * self.experts_per_token * expert,
            embedding=embedding,
            lookup=(0 if self.is_tied else self.vocab * self.hidden) + self.positions * self.hidden,
            experts=moe_layers * self.experts * expert,
        )

    def weights(self, precision: Precision) -> Bytes:
        """Below 16 bits the embedding and the head stay at 16, as GPTQ, AWQ and bitsandbytes leave them."""
        bits, counts = BITS[precision], self.counts
        if bits >= 16:
            return Bytes(counts.total * bits / 8)
        return Bytes((counts.total - counts.embedding) * bits / 8 + counts.embedding * 2)

    def expert_weights(self, precision: Precision) -> Bytes:
        return Bytes(self.counts.experts * BITS[precision] / 8)

    def lookup_weights(self, precision: Precision) -> Bytes:
        return Bytes(self.counts.lookup * max(BITS[precision], 16) / 8)

    def kv_per_token(self, kv_bits: int = 16, tp: int = 1) -> Bytes:
        """In all layers, on `tp` GPUs together: each holds at least one head, and the whole of a latent vector.

        2 L max(n_kv, tp) d bits/8, or L tp (rank + rope) bits/8.
        """
        return self._kv_of_layer(kv_bits, tp) * self.layers

    def kv(self, tokens: int, kv_bits: int = 16, tp: int = 1) -> Bytes:
        """Of one sequence. Windowed layers keep no more than their window, as vLLM, SGLang and llama.cpp free the rest."""
        full = self.layers - self.windowed_layers
        kept = full * tokens + self.windowed_layers * min(tokens, self.window)
        return self._kv_of_layer(kv_bits, tp) * kept

    def kv_blocks(self, tokens: int, kv_bits: int = 16, tp: int = 1) -> Bytes:
        """The same, held in whole blocks of 16 tokens."""
        return self.kv(-(-tokens // _BLOCK) * _BLOCK, kv_bits, tp)

    def prefill_work(self, tokens: int) -> Flops:
        """2 N T for the matrices, and L n_q (d_qk + d_v) T^2 for causal attention, less what a window leaves out."""
        keys, values = self.head_dim, self.head_dim
        if self.latent:
            keys, values = self.latent.nope_dim + self.latent.rope_dim, self.latent.value_dim
        windowed = tokens**2 - max(0, tokens - self.window) ** 2
        area = (self.layers - self.windowed_layers) * tokens**2 + self.windowed_layers * windowed
        return Flops(2 * self.counts.matmul_active * tokens + self.heads * (keys + values) * area)

    @property
    def _attention(self) -> int:
        if self.latent:
            return self._latent_attention(self.latent)
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        biases = queries + 2 * keys if self.has_qkv_bias else 0
        return 2 * self.hidden * (queries + keys) + biases + (self.hidden if self.has_output_bias else 0)

    def _latent_attention(self, latent: Latent) -> int:
        queries = self.heads * (latent.nope_dim + latent.rope_dim)
        from_hidden = (
            latent.query_rank * (self.hidden + 1 + queries) if latent.query_rank else self.hidden * queries
        )
        compressed = self.hidden * (latent.kv_rank + latent.rope_dim) + latent.kv_rank
        expanded = latent.kv_rank * self.heads * (latent.nope_dim + latent.value_dim)
        return from_hidden + compressed + expanded + self.heads * latent.value_dim * self.hidden

    def _ffn(self, width: int) -> int:
        inner = 2 if self.is_gated else 1
        return (inner + 1) * self.hidden * width + (inner * width + self.hidden if self.has_ffn_bias else 0)

    def _kv_of_layer(self, kv_bits: int, tp: int) -> Bytes:
        if self.latent:
            return Bytes(tp * (self.latent.kv_rank + self.latent.rope_dim) * kv_bits / 8)
        return Bytes(2 * max(self.kv_heads, tp) * self.head_dim * kv_bits / 8)
