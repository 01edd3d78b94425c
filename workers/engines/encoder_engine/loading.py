"""From a folder to an encoder on its device, by sentence-transformers, whose layout such folders have."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from workers.engines.encoder_engine.folder import MODULES, read_json
from workers.engines.transformers_engine.loading import GIB, PRECISIONS, count_parameters, free_bytes
from workers.errors import ConfigError

log = structlog.get_logger()

DEFAULT_WINDOW = 512
"""Where neither the folder nor the architecture has an end."""


class Loaded(NamedTuple):
    model: Any
    """The whole chain, a `SentenceTransformer`."""
    tokenizer: Any
    """Rust's: threads may share it."""
    pad: int
    vocabulary: int
    window: int
    dimensions: int
    pooling: str
    is_normalised: bool
    prompts: dict[str, str]
    default_prompt: str
    shorter: tuple[int, ...] | None
    """As a card has it."""
    parameters: int


def pick_precision(asked: str, device: str) -> str:
    """Raises ConfigError for what an encoder has no use for."""
    if asked == "auto":
        return "fp32" if device == "cpu" else "bf16"
    if asked == "nf4" or (asked == "int8" and device != "cpu"):
        raise ConfigError(f"--precision {asked} is not for encoders on {device}: take bf16, fp16 or fp32")
    return asked


def check_fits(folder: Path, precision: str, device: str) -> None:
    """Raises ConfigError with the numbers."""
    # Int8 is made here, of weights that are all there before.
    size = 4 if precision == "int8" else PRECISIONS[precision].bytes_per_weight
    needed, free = count_parameters(folder) * size, free_bytes(device)
    if needed > free:
        raise ConfigError(
            f"it does not fit: {needed / GIB:.1f} GiB of weights ({precision}), and {free / GIB:.1f} GiB are free on "
            f"{device}. Take a smaller --precision"
        )


def load(folder: Path, *, precision: str, device: str, context: int | None, is_matryoshka: bool) -> Loaded:
    """Raises ConfigError."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize

    transformers.utils.logging.disable_progress_bar()
    _check_sort(folder)
    dtype = torch.float32 if precision == "int8" else getattr(torch, PRECISIONS[precision].dtype)
    try:
        model = SentenceTransformer(
            str(folder), device=device, local_files_only=True, model_kwargs={"dtype": dtype}
        ).eval()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, TypeError) as exc:
        line = " ".join(str(exc).split())[:300]
        raise ConfigError(f"--model {folder}: sentence-transformers cannot load it: {line}") from exc
    if not (folder / MODULES).is_file():
        model.append(Normalize())
        log.warning(
            "encoder.layout_assumed", pooling=_pooling(model), normalised=True, because=f"no {MODULES}"
        )
    _check_parts(folder, model)
    if precision == "int8":
        _quantise(model)
    tokenizer = model[0].tokenizer.backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        pad=model[0].tokenizer.pad_token_id or 0,
        vocabulary=int(model[0].auto_model.get_input_embeddings().num_embeddings),
        window=_window(model[0], context),
        dimensions=int(model.get_embedding_dimension()),
        pooling=_pooling(model),
        is_normalised=isinstance(model[-1], Normalize),
        prompts=dict(model.prompts) if any(model.prompts.values()) else {},
        default_prompt=model.prompts.get(model.default_prompt_name) or "",
        shorter=_shorter(model[0].config, is_matryoshka=is_matryoshka),
        parameters=count_parameters(folder) or sum(part.numel() for part in model.parameters()),
    )


def _check_sort(folder: Path) -> None:
    sort = read_json(folder / "config_sentence_transformers.json").get("model_type", "SentenceTransformer")
    if sort != "SentenceTransformer":
        raise ConfigError(f"--model {folder}: it is a {sort}, and makes no dense vectors")


def _check_parts(folder: Path, model: Any) -> None:
    """Raises ConfigError for what the library itself would do before tokens become a batch, and we do not."""
    from sentence_transformers.base.modules import Transformer

    first = model[0]
    if not isinstance(first, Transformer):
        raise ConfigError(
            f"--model {folder}: it begins with a {type(first).__name__}, not with a transformer"
        )
    if "text" not in first.modalities or "message" in first.modalities:
        raise ConfigError(f"--model {folder}: it does not take plain texts, but {first.modalities}")
    if first.tokenizer is None or not first.tokenizer.is_fast:
        raise ConfigError(f"--model {folder}: it has no tokenizer.json")
    if any(getattr(part, "include_prompt", True) is False for part in model) and any(model.prompts.values()):
        raise ConfigError(f"--model {folder}: it pools without its prompts, which is not possible here")
    if model.truncate_dim is not None:
        raise ConfigError(f"--model {folder}: its truncate_dim is not honoured here: ask for `dimensions`")


def _pooling(model: Any) -> str:
    for part in model:
        mode = getattr(part, "pooling_mode", None)
        if mode is not None:
            return mode if isinstance(mode, str) else "+".join(mode)
    return "own"


def _window(first: Any, context: int | None) -> int:
    config = first.config.get_text_config()
    ends = [context, first.max_seq_length]
    if (positions := getattr(config, "max_position_embeddings", None)) is not None:
        ends.append(positions - _unused_positions(first.auto_model))
    # The library's word for "no end" is a number of 31 digits, some architectures' -1.
    found = [end for end in ends if end is not None and 0 < end < 10**9]
    return int(min(found, default=DEFAULT_WINDOW))


def _unused_positions(model: Any) -> int:
    """RoBERTa and its kin count positions from behind that of padding: 514 of them are room for 512 tokens."""
    for part in model.modules():
        padding = getattr(part, "padding_idx", None)
        if isinstance(padding, int) and hasattr(part, "position_embeddings"):
            return padding + 1
    return 0


def _shorter(config: Any, *, is_matryoshka: bool) -> tuple[int, ...] | None:
    """By the names that vLLM reads, where the folder has them."""
    told = getattr(config, "matryoshka_dimensions", None)
    if told:
        return tuple(sorted(map(int, told)))
    return None if is_matryoshka or getattr(config, "is_matryoshka", False) else ()


def _quantise(model: Any) -> None:
    import torch

    with warnings.catch_warnings():
        # It is to leave torch one day, for a package that is slower on a CPU so far.
        warnings.simplefilter("ignore")
        # A scale for each channel: with one for each matrix MiniLM's vectors have a cosine of 0.94 to the true ones,
        # and so of 0.98.
        how = {torch.nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig}
        torch.ao.quantization.quantize_dynamic(model[0].auto_model, how, inplace=True)
