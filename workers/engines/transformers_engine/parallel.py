"""What a model must be like so that several GPUs can hold it together, and what each of them holds then."""

from pathlib import Path
from typing import Any

import msgspec

from workers.engines.transformers_engine import loading
from workers.engines.transformers_engine.loading import Shape
from workers.errors import ConfigError

_SPREAD = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_LAST = "lm_head"


def check(count: int, shape: Shape, *, precision: str, device: str) -> None:
    """Before any of it is loaded. Raises ConfigError."""
    import torch

    option = f"--tensor-parallel {count}"
    if shape.kv_heads % count:
        raise ConfigError(
            f"{option}: the model's {shape.kv_heads} heads of keys and values cannot be shared out evenly; take a "
            f"number that divides {shape.kv_heads}"
        )
    if precision in ("int8", "nf4"):
        raise ConfigError(f"{option}: quantised weights stay on one GPU; take --precision bf16")
    if device == "cpu":
        if torch.cuda.is_available():
            raise ConfigError(
                f"{option} takes GPUs where there are any: set CUDA_VISIBLE_DEVICES= to run it on cpu"
            )
    elif ":" in device:
        raise ConfigError(
            f"{option} takes the GPUs in their order: choose with CUDA_VISIBLE_DEVICES, not --device"
        )
    elif torch.cuda.device_count() < count:
        raise ConfigError(f"{option}: there are {torch.cuda.device_count()} GPUs that torch can use")


def distributed_config(folder: Path, count: int) -> Any:
    """How transformers is to spread the weights. Raises ConfigError if the model has no plan for it."""
    import torch
    import transformers
    from transformers.distributed import DistributedConfig

    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        plan = dict(transformers.AutoModelForCausalLM.from_config(config).tp_plan)
    if not all(any(name.endswith(part) for name in plan) for part in _SPREAD):
        raise ConfigError(
            f"--tensor-parallel {count}: transformers has no plan of how to spread this kind of model"
        )
    if config.get_text_config().vocab_size % count == 0:
        return DistributedConfig(tp_size=count)
    # An uneven vocabulary cannot be spread: each rank has all of it.
    return DistributedConfig(
        tp_size=count, tp_plan={name: way for name, way in plan.items() if name != _LAST}
    )


def share_of(shape: Shape, count: int) -> Shape:
    """The keys and values that each of them keeps."""
    return msgspec.structs.replace(shape, kv_heads=shape.kv_heads // count)


def parameters_each(parameters: int, count: int, shape: Shape) -> int:
    """Every rank has the table of all tokens whole, an uneven one at the end as well, and its share of the rest."""
    table = shape.vocabulary * shape.width
    whole = min(parameters, table if shape.vocabulary % count == 0 else 2 * table)
    return whole + (parameters - whole) // count


def free_bytes(local: int, count: int, device: str) -> tuple[int, str]:
    """For this one of them, and where that is. On a CPU all take theirs out of one memory."""
    if count == 1:
        return loading.free_bytes(device), device
    if device == "cpu":
        return loading.free_bytes(device) // count, f"cpu for each of {count}"
    return loading.free_bytes(f"{device}:{local}"), f"{device}:{local}, one of {count}"
