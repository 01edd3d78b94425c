"""One model over several GPUs: a process for each, who they are, how they meet, and that none outlives the others.

The first rank is the worker. It starts the others, unless torchrun has.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog

from workers.errors import ConfigError

log = structlog.get_logger()

TIMEOUT = timedelta(minutes=5)
"""Of a rank that waits for another, from the first meeting on. One that is well is never behind by that much."""
LOAD_TIMEOUT = timedelta(hours=2)
LOOK_EVERY = timedelta(seconds=0.05)
STOP_S = 5.0
_FOLLOWER = "workers.engines.transformers_engine.follower"
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Of one process among those that hold the model together."""

    rank: int
    local: int
    """Which of this machine's GPUs."""
    size: int
    meeting: str = ""
    """A file of this machine in which the ranks find each other. Empty: where torchrun's environment says."""


def torchrun_place(environ: Mapping[str, str]) -> Place | None:
    """None if nobody has started several of us."""
    if any(name not in environ for name in _TORCHRUN) or environ["WORLD_SIZE"] == "1":
        return None
    rank, local, size = (int(environ[name]) for name in _TORCHRUN[:3])
    if environ.get("LOCAL_WORLD_SIZE", environ["WORLD_SIZE"]) != environ["WORLD_SIZE"]:
        log.warning("ranks.on_several_machines", hint="every layer waits for the network twice")
    return Place(rank=rank, local=local, size=size)


def tensor_parallel(asked: int | None, place: Place | None) -> int:
    """Raises ConfigError if torchrun has started another number."""
    if place is None:
        return asked or 1
    if asked not in (None, place.size):
        raise ConfigError(
            f"--tensor-parallel {asked}: torchrun has started {place.size} processes; give as many"
        )
    return place.size


class Meeting:
    """This process among the others."""

    def __init__(self, place: Place, *, device: str, check: Callable[[], None] = lambda: None) -> None:
        """Waits for the others. `check` raises when it is in vain. Raises ConfigError."""
        import torch
        from torch import distributed

        self._place = place
        self._check = check
        if place.meeting:
            _stay_on_loopback()
            self._store: Any = distributed.FileStore(place.meeting, place.size)
        else:
            self._store = next(distributed.rendezvous("env://"))[0]
        self._wait("here", TIMEOUT)
        is_cpu = device == "cpu"
        distributed.init_process_group(
            "gloo" if is_cpu else "nccl",
            store=self._store,
            rank=place.rank,
            world_size=place.size,
            timeout=TIMEOUT,
            device_id=None if is_cpu else torch.device("cuda", place.local),
        )

    @property
    def is_first(self) -> bool:
        return self._place.rank == 0

    def wait_until_loaded(self) -> None:
        """On all. Reading the weights takes one rank minutes longer than another. Raises ConfigError."""
        self._wait("loaded", LOAD_TIMEOUT)

    def new_group(self) -> Any:
        """For messages over the CPU. All ranks call it at the same time."""
        from torch import distributed

        return distributed.new_group(backend="gloo", timeout=TIMEOUT)

    def leave(self) -> None:
        from torch import distributed

        distributed.destroy_process_group()

    def _wait(self, what: str, limit: timedelta) -> None:
        ranks = [f"weighbridge/{what}/{rank}" for rank in range(self._place.size)]
        self._store.set(ranks[self._place.rank], "yes")
        for _ in range(limit // LOOK_EVERY):
            if self._store.check(ranks):
                return
            self._check()
            time.sleep(LOOK_EVERY.total_seconds())
        raise ConfigError(f"not all of {self._place.size} ranks were {what} within {limit}")


class Followers:
    """The other ranks, as the first one has started them."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pipes: list[int] = []
        self._is_stopping = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self, size: int, task: Mapping[str, Any]) -> Place:
        """The first rank's. From the main thread: the kernel ends what a thread has started when the thread ends."""
        self._folder = tempfile.TemporaryDirectory(prefix="weighbridge-ranks-")
        meeting = str(Path(self._folder.name) / "meeting")
        places = [Place(rank=rank, local=rank, size=size, meeting=meeting) for rank in range(size)]
        for place in places[1:]:
            read_end, write_end = os.pipe()
            self._pipes.append(write_end)
            process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                # -P as we were: a folder called `workers` where the user happens to stand is not ours.
                [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", _FOLLOWER],
                stdin=read_end,
                stdout=sys.stderr.fileno(),
                env={**os.environ, "LOCAL_RANK": str(place.local)},  # noqa: TID251 - the library looks for its GPU there
                start_new_session=True,  # Ctrl-C is for the first rank: it lets the others go when it is done.
            )
            self._processes.append(process)
            # Ours stays open: its end tells the follower that we are gone.
            os.write(write_end, msgspec.json.encode({**task, "place": place}) + b"\n")
            os.close(read_end)
        return places[0]

    def check(self) -> None:
        """Raises ConfigError if one has ended before it was ready; it has told why."""
        for rank, process in enumerate(self._processes, start=1):
            if process.poll() is not None:
                raise ConfigError(
                    f"rank {rank} ended with exit code {process.returncode}; the lines above say why"
                )

    def watch(self, on_loss: Callable[[], None]) -> None:
        """`on_loss` is called in a thread of its own when one ends by itself."""
        for rank, process in enumerate(self._processes, start=1):
            threading.Thread(target=self._watch, args=(rank, process, on_loss), daemon=True).start()

    def let_go(self) -> None:
        """From now on they may end."""
        self._is_stopping = True

    def stop(self) -> None:
        """They end by themselves once the loop has stopped. Whoever does not is killed."""
        for process in self._processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        while self._pipes:
            os.close(self._pipes.pop())
        self._clean_up()

    def kill(self) -> None:
        """When there is no loop that could tell them to end."""
        self.let_go()
        for process in self._processes:
            process.kill()
        self.stop()

    def _clean_up(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def _watch(self, rank: int, process: "subprocess.Popen[bytes]", on_loss: Callable[[], None]) -> None:
        code = process.wait()
        if not self._is_stopping:
            log.error("ranks.lost", rank=rank, exit_code=code)
            self._clean_up()  # our process is about to end without
            on_loss()


def _stay_on_loopback() -> None:
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo")  # noqa: TID251 - these libraries have no other switch
