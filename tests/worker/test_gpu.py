"""Figures of GPUs, from a library that makes them up: this has to hold where there is no GPU too."""

import re
import threading
from collections.abc import Sequence

import pynvml
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.fixtures.nvml import FakeGpu, FakeNvml
from workers.gpu import GpuFigures, Gpus, Nvml, Reading, Source


def absent() -> FakeNvml:
    raise ImportError


def read(*gpus: FakeGpu, visible: str | None = None) -> list[str]:
    return [reading.uuid for reading in Nvml(visible, lambda: FakeNvml(*gpus)).read()]


def rendered(readings: Sequence[Reading]) -> str:
    figures = GpuFigures("gpu_")
    figures.readings = readings
    registry = CollectorRegistry()
    registry.register(figures)
    return generate_latest(registry).decode()


def series(readings: Sequence[Reading]) -> dict[str, float]:
    lines = re.findall(r"^gpu_(\w+)\{.*\} (\S+)$", rendered(readings), re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_every_figure_of_a_gpu_is_a_series_with_its_index_uuid_and_name() -> None:
    gpu = FakeGpu("GPU-a")
    nvml = Nvml(None, lambda: FakeNvml(gpu))
    nvml.read()
    gpu.busy_share = 37.5

    readings = nvml.read()

    assert 'gpu_power_watts{gpu="0",name="NVIDIA H200",uuid="GPU-a"} 412.5' in rendered(readings)
    assert series(readings) == {
        "utilisation_ratio": 0.75,
        "sm_activity_ratio": 0.375,
        "memory_used_bytes": 60 * 2**30,
        "memory_total_bytes": 141 * 2**30,
        "power_watts": 412.5,
        "energy_joules_total": 9000.25,
    }


def test_the_multiprocessors_activity_is_that_since_the_reading_before() -> None:
    gpu = FakeGpu("GPU-a")
    nvml = Nvml(None, lambda: FakeNvml(gpu))

    shares = []
    for percent in (90.0, 10.0, float("nan"), 50.0):
        gpu.busy_share = percent
        shares += [reading.sm_activity_ratio for reading in nvml.read()]

    assert shares == [None, 0.1, None, 0.5]


def test_what_a_gpu_does_not_tell_has_no_series_and_hides_nothing_else() -> None:
    gpu = FakeGpu("MIG-a", index=None)
    gpu.utilisation = gpu.milliwatts = gpu.millijoules = gpu.busy_share = None

    [reading] = Nvml("MIG-a", lambda: FakeNvml(gpu)).read()

    assert set(series([reading])) == {"memory_used_bytes", "memory_total_bytes"}
    assert reading.index == ""


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        (None, ["GPU-a", "GPU-b", "GPU-c"]),
        ("2", ["GPU-c"]),
        ("GPU-b, 0", ["GPU-b", "GPU-a"]),
        ("1,7,0", ["GPU-b"]),
        ("-1", []),
        ("", []),
    ],
)
def test_only_the_gpus_that_cuda_shows_to_the_process_are_told_of(
    visible: str | None, seen: list[str]
) -> None:
    gpus = [FakeGpu(uuid, index=index) for index, uuid in enumerate(["GPU-a", "GPU-b", "GPU-c"])]

    assert read(*gpus, visible=visible) == seen


def test_without_the_package_or_the_driver_there_is_nothing_to_tell() -> None:
    no_driver = FakeNvml(broken_by=pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    assert list(Nvml(None, absent).read()) == []
    assert list(Nvml(None, lambda: no_driver).read()) == []
    assert series([]) == {}


def test_the_real_library_says_what_there_is_or_nothing() -> None:
    readings = Nvml(None).read()

    assert all(reading.memory_total_bytes for reading in readings)


class Counted(Source):
    """Answers once `go` is set."""

    def __init__(self) -> None:
        self.reads = 0
        self.go = threading.Event()

    def read(self) -> Sequence[Reading]:
        self.reads += 1
        self.go.wait()
        return [Reading(index="0", uuid=f"GPU-{self.reads}", name="x")]


async def test_a_reading_serves_everybody_for_a_second() -> None:
    now = 100.0
    source = Counted()
    source.go.set()
    gpus = Gpus(source, now_s=lambda: now)

    first, again = await gpus.read(), await gpus.read()
    now += 1.0
    later = await gpus.read()

    assert [reading.uuid for reading in (*first, *again, *later)] == ["GPU-1", "GPU-1", "GPU-2"]


async def test_a_driver_that_hangs_costs_a_deadline_and_is_not_asked_again_meanwhile() -> None:
    now = 100.0
    source = Counted()
    gpus = Gpus(source, now_s=lambda: now, timeout_s=0.01)

    silent = [await gpus.read()]
    now += 60.0
    silent.append(await gpus.read())
    source.go.set()

    assert silent == [(), ()]
    assert source.reads == 1
