"""From a worker of the configuration to its processes: command line, GPUs, socket, key and log of each."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.cli.child import Child
from gateway.cli.knock import Door, NoAnswerError, get
from gateway.cli.replica import Process, Recipe, Stamp
from gateway.cli.welcome import reachable, url
from gateway.clock import Clock
from gateway.config import Config, Worker, read_secret
from gateway.errors import ConfigError
from gateway.fleet.contract import Endpoint, Load, Roster
from gateway.fleet.load import MAX_PAGE_BYTES, parse
from gateway.fleet.roster import roster_path, write
from gateway.limits.embedded import socket_path

STOP_S = 15.0
"""When all ends the gateway is gone by then: nobody waits for a worker's answers."""
_METRICS_S = 1.0
_LAME_DUCK_S = 3.0
"""A machine that goes tells its processes, not us: we hear of it at the next look at their health."""


def with_key(config: Config, name: str) -> Worker:
    """With the place of its key spelled out."""
    env, file = config.worker_key(name)
    return msgspec.structs.replace(config.workers[name], api_key_env=env, api_key_file=file)


class WorkerProcess(Child):
    def __init__(
        self, name: str, settings: Worker, endpoint: Endpoint, gpus: Sequence[str], *, log: Path, clock: Clock
    ) -> None:
        super().__init__(
            name,
            # -P: a folder called `workers` where the user happens to stand is not ours.
            [sys.executable, "-P", "-m", "workers", *worker_options(settings, endpoint.socket)],
            log=log,
            door=Door(reachable(settings.host), settings.port or 0, endpoint.socket),
            stop_s=STOP_S,
            clock=clock,
            settings={"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {},
        )
        self.endpoint = endpoint
        self._worker = settings

    def load(self) -> Load | None:
        worker = self._worker
        try:
            key = read_secret(env=worker.api_key_env, file=worker.api_key_file, where=self.name)
            status, page = get(
                self._door,
                "/metrics",
                clock=self._clock,
                limit_s=_METRICS_S,
                key=key,
                max_bytes=MAX_PAGE_BYTES,
            )
        except (ConfigError, NoAnswerError):
            return None
        return parse("weighbridge", page) if status == 200 else None


class LocalLauncher:
    """Everything on this machine, in one data folder."""

    def __init__(self, data_path: Path, clock: Clock) -> None:
        self._data_path = data_path
        self._clock = clock

    def clear(self) -> None:
        """Takes away what a run before this one left behind."""
        run = self._data_path / "run"
        for path in (*run.glob("*.sock"), *run.glob("*.json")):
            path.unlink(missing_ok=True)

    def launch(self, label: str, settings: Worker, gpus: Sequence[str]) -> Process:
        if settings.port is None:
            socket = str(socket_path(self._data_path / "run" / f"{label}.sock"))
            endpoint = Endpoint(name=label, url="http://worker/v1", socket=socket)
        else:
            endpoint = Endpoint(name=label, url=f"{url(settings.host, settings.port)}/v1")
        return WorkerProcess(
            f"worker `{label}`: {', '.join(settings.serves)}",
            settings,
            endpoint,
            gpus,
            log=self._data_path / "logs" / f"worker-{label}.log",
            clock=self._clock,
        )

    def publish(self, worker: str, endpoints: Sequence[Endpoint]) -> None:
        write(roster_path(self._data_path, worker), Roster(worker=worker, endpoints=tuple(endpoints)))

    def recipe(self, settings: Worker) -> Recipe:
        alike = msgspec.structs.replace(
            settings, replicas=1, autoscale=None, gpus=(), rollout="start_first", drain_s=1.0
        )
        return Recipe(alike, _stamps(Path(settings.model).expanduser()))


def worker_options(worker: Worker, socket: str = "") -> list[str]:
    """Of `python -m workers`."""
    options = ["--model", worker.model]
    options += ["--uds", socket] if socket else ["--host", worker.host, "--port", str(worker.port)]
    options += [word for served in worker.serves for word in ("--serve", served)]
    options += ["--engine", worker.engine, "--precision", worker.precision, "--device", _device(worker)]
    if worker.kv_gib is not None:
        options += ["--kv-gib", str(worker.kv_gib)]
    if worker.gpus_each > 1 and worker.device != "split":
        options += ["--tensor-parallel", str(worker.gpus_each)]
    options += ["--slots", str(worker.slots), "--context", str(worker.context_window)]
    options += ["--threads", str(worker.threads), "--drain", str(worker.drain_s), "--die-with-parent"]
    options += ["--max-queue", str(worker.max_queue), "--queue-wait", str(worker.queue_wait_s)]
    options += ["--queue-age", str(worker.queue_age_s), "--reuse-prompts", worker.reuse_prompts]
    options += ["--attention", worker.attention, *(["--matryoshka"] if worker.matryoshka else [])]
    if worker.batch is not None:
        options += ["--batch", str(worker.batch)]
    if worker.spot:
        options += ["--spot", worker.spot, "--lame-duck", str(_LAME_DUCK_S)]
    if worker.api_key_env:
        options += ["--api-key-env", worker.api_key_env]
    elif worker.api_key_file:
        options += ["--api-key-file", str(Path(worker.api_key_file).expanduser())]
    return options


def _device(worker: Worker) -> str:
    """A GPU that is named must be there: a model that falls back to the CPU in silence is worse than none."""
    is_for_gpus = worker.gpus and worker.engine != "llamacpp" and not worker.model.endswith(".gguf")
    return "cuda" if is_for_gpus and worker.device == "auto" else worker.device


def _stamps(model: Path) -> tuple[Stamp, ...]:
    """Empty for a model that is known by name, and for one that is not there."""
    try:
        files = sorted(model.resolve().iterdir()) if model.is_dir() else [model.resolve()]
        stats = [(file, file.stat()) for file in files]
    except OSError:
        return ()
    return tuple(Stamp(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats)
