"""Opens ONNX models: on the GPU if one is there and the installed runtime can use it, else on the CPU."""

from pathlib import Path
from typing import Any

from gateway.errors import ConfigError

GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3


def open_session(path: Path, *, threads: int) -> Any:
    """An onnxruntime.InferenceSession; `session.get_providers()[0]` says where it runs. Raises ConfigError."""
    try:
        import onnxruntime as ort
    except ImportError as exc:
        raise ConfigError("the scorer's models need onnxruntime: install weighbridge[onnx-cpu]") from exc
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Every prompt has another length: plans of memory by shape, and a pool, cost more than they save, a tenth of the time.
    options.enable_mem_pattern = options.enable_cpu_mem_arena = False
    # Threads that spin while they wait would take the event loop's core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # onnxruntime-gpu lists CUDA on machines without a GPU too, and falls back with a page of errors on stderr.
    can_cuda = _CUDA in ort.get_available_providers() and any(device.exists() for device in GPU_DEVICES)
    try:
        return ort.InferenceSession(str(path), options, providers=[_CUDA, _CPU] if can_cuda else [_CPU])
    except Exception as exc:  # the runtime's errors share no class but this one
        raise ConfigError(f"{path}: not a model that onnxruntime can open: {_first_line(exc)}") from exc


def _first_line(exc: Exception) -> str:
    return next(iter(str(exc).splitlines()), type(exc).__name__)
