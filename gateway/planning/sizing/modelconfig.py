"""Reads a Hugging Face `config.json`, with the spellings of each family, into an `Architecture`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.planning.contract import PlanError
from gateway.planning.sizing.architecture import Architecture, Latent

_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
_HEAD_DIM = ("head_dim", "kv_channels")
_FFN = ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim")
_VOCAB = ("padded_vocab_size", "vocab_size")
_CONTEXT = ("max_position_embeddings", "seq_length", "n_positions", "max_sequence_length", "n_ctx")
_MOST, _MOST_LAYERS = 10**9, 10_000
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")

_LEFT_OUT: Mapping[str, Mapping[str, Any]] = {
    "gemma3": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "sliding_window_pattern": 6,
    },
}
"""What configurations of a family leave out, and its code fills in."""

_TIED = {"gemma", "gemma2", "gemma3", "gpt2", "falcon", "cohere", "cohere2", "smollm3", "starcoder2"}
"""Unless the configuration says otherwise."""
_QKV_BIASED = {"qwen2", "qwen2_moe", "gpt2", "gpt_neox", "phi"}
_ALL_BIASED = {"gpt2", "gpt_neox", "phi"}
_BIAS_IS_OF_QKV_ONLY = {"glm", "glm4", "glm4_moe"}
_TWO_MATRICES = {"gpt2", "gpt_neox", "falcon", "phi", "starcoder2", "nemotron"}
_LAYER_NORM = {"gpt2", "gpt_neox", "falcon", "phi", "phimoe", "starcoder2", "nemotron"}
_FOUR_NORMS = {"gemma2", "gemma3", "glm4"}
_ONE_NORM = {"phi", "cohere", "cohere2"}
_NORMS_PER_HEAD = {"qwen3", "qwen3_moe", "gemma3"}
_ALTERNATING = {"gemma2", "gpt_oss"}
_PLAIN = (
    "llama",
    "mistral",
    "mixtral",
    "ministral",
    "ministral3",
    "phi3",
    "chatglm",
    "granite",
    "olmo2",
    "gpt_oss",
)
_LATENT = ("deepseek_v2", "deepseek_v3")
_KNOWN = {*_PLAIN, *_LATENT, *_TIED, *_QKV_BIASED, *_BIAS_IS_OF_QKV_ONLY, *_LAYER_NORM, *_NORMS_PER_HEAD}

_UNCOUNTED = {
    "is_encoder_decoder": "an encoder beside its decoder",
    "mamba_d_state": "state-space layers",
    "mamba_d_ssm": "state-space layers",
    "ssm_state_size": "state-space layers",
    "ssm_cfg": "state-space layers",
    "state_size": "state-space layers",
    "linear_num_value_heads": "layers of linear attention",
    "linear_attn_config": "layers of linear attention",
    "attention_chunk_size": "attention in chunks",
    "hidden_size_per_layer_input": "embeddings per layer",
    "is_hybrid": "layers of more than one kind",
}
"""Keys that, if set, tell of parts that `Architecture` has no numbers for."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    architecture: Architecture
    notes: Sequence[str] = ()
    """What was left out, or taken for granted."""


def read(config: Mapping[str, Any]) -> Reading:
    """Raises PlanError with what is missing, or with what cannot be counted."""
    try:
        return _read(config)
    except PlanError:
        raise
    except (TypeError, ValueError, AttributeError, ArithmeticError) as exc:
        # Anything may stand anywhere in a file from elsewhere: a list for a number, a number for a table.
        raise PlanError(
            "A value in the configuration is of another kind than it must be.", param="config"
        ) from exc


def _read(config: Mapping[str, Any]) -> Reading:
    notes = []
    text = config
    if "text_config" in config:
        text = config["text_config"]
        if "vision_config" in config:
            notes.append("The vision tower is not counted: only the language model is.")
    family = _family(text)
    text = {**_LEFT_OUT.get(family, {}), **text}
    _refuse_what_is_not_counted(text, family)
    if family not in _KNOWN:
        notes.append(
            f"{family[:64]!r} is no family that the planner knows; it is counted as a decoder like Llama."
        )
    architecture = _architecture(text, family)
    _refuse_what_makes_no_sense(architecture)
    name = config.get("_name_or_path") or text.get("_name_or_path") or family
    return Reading(name=str(name)[:64], architecture=architecture, notes=notes)


def _family(config: Mapping[str, Any]) -> str:
    family = str(config.get("model_type", "a model without model_type"))
    return family.removesuffix("_text")


def _architecture(config: Mapping[str, Any], family: str) -> Architecture:
    layers, hidden, heads = (_needed(config, keys) for keys in (_LAYERS, _HIDDEN, _HEADS))
    if not 1 <= layers <= _MOST_LAYERS or not heads:
        raise PlanError(f"The configuration has {layers:,} layers of {heads:,} heads.", param="config")
    kv_heads = _kv_heads(config, family, heads)
    head_dim = _found(config, _HEAD_DIM) or hidden // heads
    bias = family in _ALL_BIASED or any(config.get(key) for key in ("bias", "use_bias", "add_bias_linear"))
    attention_bias = bool(config.get("attention_bias", False))
    window = _number(config, "sliding_window") if config.get("use_sliding_window", True) else 0
    norms, final_norms = _norms(config, family)
    return Architecture(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=_ffn(config, family, hidden),
        vocab=_needed(config, _VOCAB),
        is_gated=family not in _TWO_MATRICES,
        is_tied=bool(config.get("tie_word_embeddings", family in _TIED)),
        has_qkv_bias=bias
        or attention_bias
        or family in _QKV_BIASED
        or bool(config.get("add_qkv_bias", False)),
        has_output_bias=bias or (attention_bias and family not in _BIAS_IS_OF_QKV_ONLY),
        has_ffn_bias=bias or family == "gpt_oss",
        **_experts(config, layers),
        norms=norms,
        final_norms=final_norms,
        head_vectors=_head_vectors(config, family, heads, kv_heads, head_dim),
        positions=_needed(config, _CONTEXT) if family == "gpt2" else 0,
        latent=_latent(config),
        window=window,
        windowed_layers=_windowed_layers(config, family, layers) if window else 0,
        context_limit=_context_limit(config),
    )


def _kv_heads(config: Mapping[str, Any], family: str, heads: int) -> int:
    if config.get("multi_query_attention"):
        return _number(config, "multi_query_group_num") or 1
    if family == "falcon" and not config.get("new_decoder_architecture"):
        return 1 if config.get("multi_query", True) else heads
    return _found(config, _KV_HEADS) or heads


def _ffn(config: Mapping[str, Any], family: str, hidden: int) -> int:
    if family in ("gpt2", "falcon"):
        return _found(config, _FFN) or 4 * hidden
    return _needed(config, _FFN)


def _norms(config: Mapping[str, Any], family: str) -> tuple[int, int]:
    vectors = 2 if family in _LAYER_NORM else 1
    is_single = family in _ONE_NORM
    if family == "falcon":
        is_single = bool(config.get("parallel_attn", True)) and not config.get("new_decoder_architecture")
    norms = 1 if is_single else 4 if family in _FOUR_NORMS else 2
    return norms * vectors, vectors


def _head_vectors(config: Mapping[str, Any], family: str, heads: int, kv_heads: int, head_dim: int) -> int:
    if family in _NORMS_PER_HEAD or config.get("use_qk_norm"):
        return 2 * head_dim
    if family == "olmo2":
        return (heads + kv_heads) * head_dim
    return heads if family == "gpt_oss" else 0


def _experts(config: Mapping[str, Any], layers: int) -> dict[str, int]:
    experts = _found(config, _EXPERTS) or 1
    if experts == 1:
        return {}
    width = _number(config, "moe_intermediate_size")
    shared = _number(config, "shared_expert_intermediate_size") or _number(config, "n_shared_experts") * width
    step, dense = _number(config, "decoder_sparse_step") or 1, set(config.get("mlp_only_layers") or ())
    first_dense = _number(config, "first_k_dense_replace")
    return {
        "experts": experts,
        "experts_per_token": _needed(config, ("num_experts_per_tok", "experts_per_token")),
        "expert_ffn": width,
        "shared_ffn": shared,
        "dense_layers": sum(at < first_dense or at in dense or (at + 1) % step != 0 for at in range(layers)),
    }


def _latent(config: Mapping[str, Any]) -> Latent | None:
    kv_rank = _number(config, "kv_lora_rank")
    if not kv_rank:
        return None
    return Latent(
        kv_rank=kv_rank,
        rope_dim=_needed(config, ("qk_rope_head_dim",)),
        nope_dim=_needed(config, ("qk_nope_head_dim",)),
        value_dim=_needed(config, ("v_head_dim",)),
        query_rank=_number(config, "q_lora_rank"),
    )


def _windowed_layers(config: Mapping[str, Any], family: str, layers: int) -> int:
    if kinds := config.get("layer_types"):
        return sum(kind == "sliding_attention" for kind in kinds)
    if every := config.get("sliding_window_pattern") or config.get("_sliding_window_pattern"):
        return layers - layers // int(every)
    if family in _ALTERNATING:
        return (layers + 1) // 2
    if family.startswith("qwen"):
        return max(0, layers - _number(config, "max_window_layers"))
    return layers


def _context_limit(config: Mapping[str, Any]) -> int | None:
    limit = _found(config, _CONTEXT)
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind, factor = scaling.get("rope_type") or scaling.get("type"), scaling.get("factor")
    if limit is None or not factor:
        return limit
    if kind in ("linear", "dynamic"):
        return int(limit * float(factor))
    if kind == "yarn":
        return max(limit, int(int(scaling.get("original_max_position_embeddings") or limit) * float(factor)))
    return limit


def _refuse_what_is_not_counted(config: Mapping[str, Any], family: str) -> None:
    parts = [part for key, part in _UNCOUNTED.items() if config.get(key)]
    kinds = config.get("layer_types") or ()
    parts += [f"layers of {kind}" for kind in kinds if kind not in ("full_attention", "sliding_attention")]
    if parts:
        named = ", ".join(dict.fromkeys(parts))
        raise PlanError(
            f"The planner cannot count {family}: it has {named}. Give its parameters (params) for a rule of thumb.",
            param="config",
        )


def _refuse_what_makes_no_sense(architecture: Architecture) -> None:
    wrong = [
        name
        for name in ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab", "experts_per_token")
        if getattr(architecture, name) < 1
    ]
    if wrong:
        raise PlanError(f"The configuration has no sensible {', '.join(wrong)}.", param="config")
    if architecture.experts_per_token > architecture.experts:
        raise PlanError("The configuration sends a token to more experts than it has.", param="config")


def _found(config: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    for key in keys:
        if (value := config.get(key)) is not None:
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
                raise PlanError(
                    f"{key} of the configuration is no number from 0 to {_MOST:,}.", param="config"
                )
            return int(value)
    return None


def _number(config: Mapping[str, Any], key: str) -> int:
    return _found(config, (key,)) or 0


def _needed(config: Mapping[str, Any], keys: Sequence[str]) -> int:
    value = _found(config, keys)
    if value is None:
        raise PlanError(
            f"The configuration has no {' or '.join(keys)}; without it nothing can be counted.",
            param="config",
        )
    return value
