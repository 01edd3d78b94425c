"""Every rank of a model but the first: computes its share of each step, picks nothing and serves nobody."""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec

from workers.engines.transformers_engine import loading, preparation
from workers.engines.transformers_engine.preparation import Options
from workers.engines.transformers_engine.ranks import Meeting, Place
from workers.errors import ConfigError
from workers.logs import to_stderr

_SET_PARENT_DEATH_SIGNAL = 1


class Task(msgspec.Struct, frozen=True):
    model: str
    options: Options
    place: Place


def main() -> int:
    to_stderr()
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    threading.Thread(target=_end_with_input, daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    return follow(Path(task.model), task.options, task.place)


def follow_torchrun(model: Path, options: Options, place: Place) -> int:
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    return follow(model, options, place)


def follow(model: Path, options: Options, place: Place) -> int:
    """Returns the exit code when the first rank has stopped, or this one has failed."""
    loading.go_offline()
    try:
        from workers.engines.transformers_engine.loop import Loop

        # The first rank comes once it has found nothing wrong, so that it alone says what is.
        meeting = Meeting(place, device=loading.pick_device(options.device))
        plan = preparation.plan(model, options, local=place.local)
        parts = preparation.load(model, plan, meeting)
        loop = Loop(parts.loaded.model, parts.config, parts.lockstep)
        loop.start()
    except (ConfigError, MemoryError, RuntimeError, ValueError) as exc:
        print(f"worker: rank {place.rank}: {exc}", file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the first rank drains, and tells when it is done
    if loop.wait():
        meeting.leave()
        return 0
    return 1


def _end_with_input() -> None:
    """Its other end is the first rank's, and closes however that one ends."""
    while sys.stdin.buffer.read(1):
        pass
    os._exit(1)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # whatever a broken collective has left running
