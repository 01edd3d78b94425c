"""What the model of a worker takes of GPU memory, by the planner: told before anything starts. The worker itself refuses."""

from pathlib import Path
from typing import Any

import msgspec

from gateway.config import Worker
from gateway.planning.contract import PlanError
from gateway.planning.sizing.architecture import Precision
from gateway.planning.sizing.memory import Serving, plan_memory
from gateway.planning.sizing.modelconfig import read
from gateway.planning.units import Bytes

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """Of one replica, on all its GPUs together."""

    precision: Precision
    gpus: int
    weights_gib: float
    kv_gib: float
    total_gib: float

    def __str__(self) -> str:
        place = "a GPU" if self.gpus == 1 else f"{self.gpus} GPUs"
        return (
            f"{self.total_gib:,.1f} GiB of {place} for each replica: {self.weights_gib:,.1f} of weights ({self.precision}), "
            f"{self.kv_gib:,.1f} of keys and values, the rest to work with"
        )


def footprint(worker: Worker) -> Footprint | None:
    """None on a CPU, and for a model that cannot be counted."""
    path = Path(worker.model).expanduser() / "config.json"
    if worker.device == "cpu" or worker.engine == "llamacpp" or not path.is_file():
        return None
    precision: Precision = "bf16" if worker.precision == "auto" else worker.precision
    try:
        config = _decode(path.read_bytes())
        if not _is_decoder(config):
            return None
        memory = plan_memory(
            Serving(
                architecture=read(config).architecture,
                precision=precision,
                ctx=worker.context_window,
                concurrency=worker.slots,
                tp=worker.gpus_each,
            )
        )
    except (PlanError, OSError, msgspec.DecodeError):
        return None
    kv = memory.kv if worker.kv_gib is None else Bytes.of_gib(worker.kv_gib)
    return Footprint(
        precision=precision,
        gpus=worker.gpus_each,
        weights_gib=round(memory.weights.gib, 2),
        kv_gib=round(kv.gib, 2),
        total_gib=round((memory.total - memory.kv + kv).gib, 2),
    )


def is_missing(worker: Worker) -> bool:
    """Its model is named by a path that does not exist here: `weighbridge up` could not start it."""
    return "/" in worker.model and not Path(worker.model).expanduser().exists()


def _is_decoder(config: dict[str, Any]) -> bool:
    names = config.get("architectures") or ["ForCausalLM"]
    return any(str(name).endswith(("ForCausalLM", "ForConditionalGeneration")) for name in names)
