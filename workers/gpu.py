"""What NVIDIA's management library tells of this process's GPUs, read off the event loop when somebody asks.

Without the library, a driver or a GPU there is nothing to tell; a figure that a GPU does not have is left out.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from typing import Any, Protocol

import msgspec
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = structlog.get_logger()

READ_TIMEOUT_S = 1.0
"""A driver in trouble answers after minutes, or never."""
FRESH_S = 1.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Of one GPU. None is what it does not tell."""

    index: str
    """As NVML counts, by the place on the bus; empty for a part of a GPU."""
    uuid: str
    name: str
    utilisation_ratio: float | None = None
    """Share of the last moments in which any kernel ran, however small: 1 says nothing of how full the GPU was."""
    sm_activity_ratio: float | None = None
    """Share of its multiprocessors that were busy, since the reading before; Hopper and newer."""
    memory_used_bytes: float | None = None
    """By all processes."""
    memory_total_bytes: float | None = None
    power_watts: float | None = None
    energy_joules: float | None = None
    """Since the driver was loaded."""


class Source(Protocol):
    def read(self) -> Sequence[Reading]:
        """May block. Called by one thread at a time."""
        ...


class Gpus:
    """Its readings are at most a second old, however many ask."""

    def __init__(
        self, source: Source, *, now_s: Callable[[], float], timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        self._source = source
        self._now_s = now_s
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gpu")
        self._reading: asyncio.Future[Sequence[Reading]] | None = None
        self._began_s = 0.0

    async def read(self) -> Sequence[Reading]:
        """Nothing if the driver does not answer in time; it is not asked again before it has."""
        now = self._now_s()
        if self._reading is None or (self._reading.done() and now - self._began_s >= FRESH_S):
            self._began_s = now
            self._reading = asyncio.get_running_loop().run_in_executor(self._pool, self._source.read)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(self._reading)
        except TimeoutError:
            log.warning("gpu.silent")
            return ()


def library() -> Any:
    """Raises ImportError."""
    import pynvml

    return pynvml


class Nvml:
    def __init__(self, visible: str | None, library: Callable[[], Any] = library) -> None:
        """`visible` is what CUDA_VISIBLE_DEVICES says, None if it says nothing: then every GPU is this process's."""
        self._visible = visible
        self._library = library
        self._devices: list[_Device] | None = None

    def read(self) -> Sequence[Reading]:
        if self._devices is None:
            self._devices = self._find()
        return [device.read() for device in self._devices]

    def _find(self) -> "list[_Device]":
        try:
            nvml = self._library()
        except ImportError:
            return []
        try:
            nvml.nvmlInit()
            return [_Device(nvml, handle) for handle in _handles(nvml, self._visible)]
        except nvml.NVMLError as exc:
            log.info("gpu.none", reason=str(exc))
            return []


def _handles(nvml: Any, visible: str | None) -> list[Any]:
    if visible is None:
        return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    handles = []
    for name in filter(None, map(str.strip, visible.split(","))):
        by = nvml.nvmlDeviceGetHandleByIndex if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID
        try:
            handles.append(by(int(name) if name.isdigit() else name))
        except nvml.NVMLError:
            break  # CUDA, too, sees none that comes after one it does not know
    return handles


class _Device:
    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        index = self._told(nvml.nvmlDeviceGetIndex)
        self._index = "" if index is None else str(index)
        self._uuid = str(nvml.nvmlDeviceGetUUID(handle))
        self._name = str(nvml.nvmlDeviceGetName(handle))
        self._activity = _activity_of(nvml, handle)

    def read(self) -> Reading:
        nvml = self._nvml
        rates = self._told(nvml.nvmlDeviceGetUtilizationRates)
        memory = self._told(nvml.nvmlDeviceGetMemoryInfo)
        milliwatts = self._told(nvml.nvmlDeviceGetPowerUsage)
        millijoules = self._told(nvml.nvmlDeviceGetTotalEnergyConsumption)
        return Reading(
            index=self._index,
            uuid=self._uuid,
            name=self._name,
            utilisation_ratio=None if rates is None else rates.gpu / 100,
            sm_activity_ratio=None if self._activity is None else self._activity.read(),
            memory_used_bytes=None if memory is None else memory.used,
            memory_total_bytes=None if memory is None else memory.total,
            power_watts=None if milliwatts is None else milliwatts / 1000,
            energy_joules=None if millijoules is None else millijoules / 1000,
        )

    def _told(self, ask: Callable[[Any], Any]) -> Any:
        try:
            return ask(self._handle)
        except self._nvml.NVMLError:
            return None


class _Activity:
    """Of the multiprocessors between two readings, from the GPU's own counters."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        """Raises NVMLError."""
        self._nvml = nvml
        self._handle = handle
        self._last, self._spare = nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()
        self._has_last = False

    def read(self) -> float | None:
        """None the first time."""
        nvml = self._nvml
        try:
            sample = nvml.nvmlGpmSampleGet(self._handle, self._spare)
            before, self._last, self._spare = self._last, sample, self._last
            if not self._has_last:
                self._has_last = True
                return None
            asked = nvml.c_nvmlGpmMetricsGet_t()
            asked.version, asked.numMetrics = nvml.NVML_GPM_METRICS_GET_VERSION, 1
            asked.sample1, asked.sample2 = before, sample
            asked.metrics[0].metricId = nvml.NVML_GPM_METRIC_SM_UTIL
            metric = nvml.nvmlGpmMetricsGet(asked).metrics[0]
        except nvml.NVMLError:
            return None
        is_told = metric.nvmlReturn == nvml.NVML_SUCCESS and isfinite(metric.value)
        return metric.value / 100 if is_told else None


def _activity_of(nvml: Any, handle: Any) -> _Activity | None:
    try:
        is_counted = nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice
        return _Activity(nvml, handle) if is_counted else None
    except nvml.NVMLError:
        return None


_OF_A_GPU = {
    "utilisation_ratio": "Share of the last moments in which it ran anything.",
    "sm_activity_ratio": "Share of its multiprocessors that were busy, since the reading before.",
    "memory_used_bytes": "Memory in use, by any process.",
    "memory_total_bytes": "Memory.",
    "power_watts": "What it draws.",
    "energy_joules": "What it has drawn since its driver was loaded.",
}
"""The figures of a Reading, as they are called there."""


class GpuFigures(Collector):
    """For Prometheus: what no GPU tells has no series."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.readings: Sequence[Reading] = ()

    def collect(self) -> Iterator[Metric]:
        for name, meaning in _OF_A_GPU.items():
            family = CounterMetricFamily if name == "energy_joules" else GaugeMetricFamily
            metric = family(self._prefix + name, meaning, labels=["gpu", "uuid", "name"])
            for gpu in self.readings:
                value = getattr(gpu, name)
                if value is not None:
                    metric.add_metric([gpu.index, gpu.uuid, gpu.name], value)
            if metric.samples:
                yield metric
