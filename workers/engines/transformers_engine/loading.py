"""From a folder with a config.json to a model on its device, after a check that it fits."""

import importlib.util
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from workers.errors import ConfigError

GIB = 2**30
BY_SEQUENCE = "paged|sdpa_by_sequence"
SPLIT = "split"
"""The device that is all GPUs, one after another."""


class Precision(NamedTuple):
    dtype: str
    """Torch's name for what it computes in."""
    bytes_per_weight: float
    quantisation: str = "none"


PRECISIONS = {
    "fp32": Precision("float32", 4),
    "bf16": Precision("bfloat16", 2),
    "fp16": Precision("float16", 2),
    "int8": Precision("bfloat16", 1.1, "int8"),
    "nf4": Precision("bfloat16", 0.65, "nf4"),
}
"""Quantised weights are a little more than their bits: scales, and the embeddings stay as they are."""


class Loaded(NamedTuple):
    model: Any
    tokenizer: Any
    precision: str
    dtype: str
    parameters: int
    end_tokens: list[int]


class Shape(msgspec.Struct, frozen=True):
    """Of a config.json, what its memory depends on."""

    layers: int
    kv_heads: int
    head_size: int
    window: int
    vocabulary: int = 0
    width: int = 0
    slides: bool = False
    """Whether a layer sees the last keys only, or is of another kind still."""

    def kv_bytes(self, tokens: int, bytes_per_value: int) -> int:
        """Keys and values of all layers."""
        return 2 * self.layers * self.kv_heads * self.head_size * bytes_per_value * tokens


def go_offline() -> None:
    """Nothing is ever fetched, whatever a config file names."""
    # The library has no other switch, and reads it once, when it is first imported.
    os.environ["HF_HUB_OFFLINE"] = "1"  # noqa: TID251 - as said above
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # noqa: TID251 - the same


def read_shape(folder: Path) -> Shape:
    """Raises ConfigError."""
    from transformers import AutoConfig
    from transformers.generation.continuous_batching.cache import group_layers_by_attn_type

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
        heads = config.num_attention_heads
        return Shape(
            layers=config.num_hidden_layers,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
            window=config.max_position_embeddings,
            vocabulary=config.vocab_size,
            width=config.hidden_size,
            slides=set(group_layers_by_attn_type(config)) != {"full_attention"},
        )
    except (OSError, ValueError, AttributeError, KeyError) as exc:
        raise ConfigError(f"--model {folder}: not a language model that can be read: {_line(exc)}") from exc


def pick_device(asked: str) -> str:
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"--device {asked}: there is no GPU that torch can use")
    return "cuda" if asked == SPLIT else asked


def pick_precision(asked: str, device: str) -> str:
    """Raises ConfigError for what cannot run here."""
    if asked == "auto":
        asked = "fp32" if device == "cpu" else "bf16"
    needs_package = asked == "nf4" or (asked == "int8" and device != "cpu")
    if needs_package and importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"--precision {asked} on {device} needs bitsandbytes; run `pip install bitsandbytes`"
        )
    return asked


def computes_in(precision: str, device: str) -> str:
    """Torch's name of the type, which is also that of the keys and values."""
    return "float32" if precision == "int8" and device == "cpu" else PRECISIONS[precision].dtype


def pick_attention(asked: str, device: str, *, slides: bool = False) -> str:
    """Always said in full: left to itself the library looks for kernels to download. Raises ConfigError."""
    has_flash = device != "cpu" and importlib.util.find_spec("flash_attn") is not None
    if asked == "flash" and not has_flash:
        raise ConfigError("--attention flash needs a GPU and the package flash-attn")
    if asked == "sequence" and slides:
        raise ConfigError("--attention sequence is for models without a sliding window; take sdpa or flash")
    if has_flash and asked in ("auto", "flash"):
        return "paged|flash_attention_2"
    return "paged|sdpa" if asked == "sdpa" or slides else BY_SEQUENCE


def count_parameters(folder: Path) -> int:
    """By the headers of the weight files, before any of them is loaded. 0 if there are none of that format."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = msgspec.json.decode(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                size = 1
                for side in tensor["shape"]:
                    size *= side
                total += size
    return total


def free_bytes(device: str) -> int:
    import psutil
    import torch

    if device == "cpu":
        return int(psutil.virtual_memory().available)
    return int(torch.cuda.mem_get_info(torch.device(device))[0])


def load(
    folder: Path, *, precision: str, device: str, attention: str, placement: Mapping[str, Any] | None = None
) -> Loaded:
    """`placement`: what transformers is told of several GPUs. Raises ConfigError."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = _model(
            transformers, folder, precision, device, attention, placement or {"device_map": device}
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as exc:
        raise ConfigError(f"--model {folder}: transformers cannot load it: {_line(exc)}") from exc
    if not tokenizer.is_fast:
        raise ConfigError(f"--model {folder}: it has no tokenizer.json")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    parameters = count_parameters(folder) or int(model.num_parameters())
    dtype = computes_in(precision, device)
    return Loaded(model, tokenizer, precision, dtype, parameters, _end_tokens(model, tokenizer))


def _model(
    transformers: Any,
    folder: Path,
    precision: str,
    device: str,
    attention: str,
    placement: Mapping[str, Any],
) -> Any:
    import torch

    from workers.engines.transformers_engine import attention as by_sequence

    by_sequence.register()
    options: dict[str, Any] = {"dtype": getattr(torch, computes_in(precision, device)), **placement}
    # torch itself has int8 for a CPU, four times as fast there as bitsandbytes.
    is_dynamic = precision == "int8" and device == "cpu"
    if precision == "int8" and not is_dynamic:
        options["quantization_config"] = transformers.BitsAndBytesConfig(load_in_8bit=True)
    elif precision == "nf4":
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=options["dtype"]
        )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, attn_implementation=attention, **options
    ).eval()
    if is_dynamic:
        with warnings.catch_warnings():
            # It is to leave torch one day, for a package that is six times slower on a CPU so far.
            warnings.simplefilter("ignore")
            model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    if attention == BY_SEQUENCE:
        by_sequence.install(model)
    return model


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """All that any of the files calls an end: they disagree at times, and more than one is common."""
    ends: set[int] = set()
    for told in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        ends |= {told} if isinstance(told, int) else set(told or ())
    return sorted(ends)


def _line(exc: Exception) -> str:
    return " ".join(str(exc).split())[:300]
