"""The file by which `weighbridge up` tells every gateway on the machine which servers of a worker there are."""

import os
from pathlib import Path

import msgspec

from gateway.fleet.contract import Roster

_decode = msgspec.json.Decoder(Roster).decode


def roster_path(data_path: Path, worker: str) -> Path:
    return data_path / "run" / f"{worker}.json"


def write(path: Path, roster: Roster) -> None:
    """Replace the whole file at once: whoever reads meanwhile sees the old one or the new one. One writer at a time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(roster))
    beside.replace(path)


def read(path: Path) -> Roster | None:
    """None if there is none, or none that can be read."""
    try:
        return _decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
