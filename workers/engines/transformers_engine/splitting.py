"""Layers of one model on several GPUs, computed one GPU after another: for what fits in no other way.

Keys and values are all on the first, where attention is computed; the others hold weights.
"""

from collections.abc import Sequence
from typing import Any

from workers.engines.transformers_engine.loading import BY_SEQUENCE, GIB, Shape
from workers.engines.transformers_engine.memory import Budget
from workers.errors import ConfigError

SPARE = 0.05
"""Of a GPU's free memory, for what a step takes beside weights, keys and values."""


def check(attention: str, *, tensor_parallel: int, gpus: int) -> None:
    """Raises ConfigError."""
    if tensor_parallel > 1:
        raise ConfigError("--device split and --tensor-parallel are two ways to spread a model: take one")
    if gpus < 2:
        raise ConfigError(f"--device split: there are {gpus} GPUs that torch can use")
    if attention != BY_SEQUENCE:
        raise ConfigError(
            "--device split needs --attention sequence, which takes no model with a sliding window"
        )


def free_bytes() -> list[int]:
    """Of each GPU."""
    import torch

    return [int(torch.cuda.mem_get_info(index)[0]) for index in range(torch.cuda.device_count())]


def room(free: Sequence[int], budget: Budget, shape: Shape, *, bytes_per_value: int) -> dict[int, int]:
    """Bytes of weights that each GPU may hold. Raises ConfigError if the first has too few for what must be there."""
    places = {index: int((1 - SPARE) * size) for index, size in enumerate(free)}
    places[0] -= budget.kv_bytes
    table = shape.vocabulary * shape.width * bytes_per_value
    if places[0] < table:
        raise ConfigError(
            f"--device split keeps all keys and values on the first GPU: {budget.kv_bytes / GIB:.1f} GiB, beside "
            f"{table / GIB:.1f} GiB of the table of tokens; {free[0] / GIB:.1f} GiB are free there. Take a smaller "
            "--slots, --context or --kv-gib"
        )
    return places


def check_placed(model: Any) -> None:
    """Raises ConfigError if not all of it found a place, and all the keys' the right one."""
    places = set(model.hf_device_map.values())
    if places & {"cpu", "disk"} or model.device.index != 0:
        raise ConfigError("--device split: not every layer fits into what is free on the GPUs")
