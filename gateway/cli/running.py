"""What `weighbridge up` writes down of itself, for `weighbridge worker` to read."""

import fcntl
from pathlib import Path

import msgspec

from gateway.cli.fleet import WorkerState
from gateway.errors import ConfigError


class Reload(msgspec.Struct, frozen=True, kw_only=True):
    number: int = 0
    """Counts them since the start."""
    is_done: bool = True
    is_good: bool = True
    lines: tuple[str, ...] = ()
    """What was said of it."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    config: str
    workers: tuple[WorkerState, ...]
    reload: Reload


_decode = msgspec.json.Decoder(Running).decode


def state_path(data_path: Path) -> Path:
    return data_path / "up.json"


def write(path: Path, running: Running) -> None:
    """Whole or not at all. Raises OSError."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(msgspec.json.encode(running))
    beside.replace(path)


def read(data_path: Path) -> Running | None:
    """None while it starts."""
    try:
        return _decode(state_path(data_path).read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def pid_of_up(data_path: Path) -> int:
    """Of the `up` that holds the folder at this moment. Raises ConfigError if there is none."""
    lock = data_path / "up.lock"
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(lock.read_text())
    except OSError:
        pass
    raise ConfigError(f"`weighbridge up` does not run in {data_path}; say which with --config or --data-dir")
