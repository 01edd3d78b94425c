"""The journal on disk: records, the files that hold them, and reading them back after a crash.

A record is `length u32 | crc32 u32 | JSON`, little-endian. A file is only ever appended to, and read up to its
first bad record.
"""

import os
import struct
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from gateway.ledger.contract import Closing, Intent

_HEADER = struct.Struct("<II")
_MAX_RECORD_BYTES = 1 << 24


class IntentRecord(msgspec.Struct, frozen=True, tag_field="kind", tag="intent"):
    intent: Intent


class ProgressRecord(msgspec.Struct, frozen=True, tag_field="kind", tag="progress"):
    request_id: str
    attempt: int
    output_tokens: int
    engine_us: int = 0


class ClosingRecord(msgspec.Struct, frozen=True, tag_field="kind", tag="closing"):
    closing: Closing


Record: TypeAlias = IntentRecord | ProgressRecord | ClosingRecord

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Where reading a file had to stop. A kill in the middle of a write leaves a torn tail that nobody waited for."""

    kind: Literal["torn", "corrupt"]
    path: Path
    """The file that keeps the bytes that could not be read."""
    offset: int
    """Where they began in the segment."""
    size: int


def encode(record: Record) -> bytes:
    body = _encoder.encode(record)
    return _HEADER.pack(len(body), zlib.crc32(body)) + body


def decode(data: bytes) -> tuple[list[Record], int, Literal["torn", "corrupt"] | None]:
    """The records up to the first bad one, the offset at which it begins, and what is wrong with it."""
    records: list[Record] = []
    offset = 0
    while offset < len(data):
        start = offset + _HEADER.size
        if start > len(data):
            return records, offset, "torn"
        length, crc = _HEADER.unpack_from(data, offset)
        # A tail of zeros, as a power cut may leave, would otherwise pass as an empty record with the right sum.
        if not 0 < length <= _MAX_RECORD_BYTES:
            return records, offset, "corrupt"
        body = data[start : start + length]
        if len(body) < length:
            return records, offset, "torn"
        if zlib.crc32(body) != crc:
            return records, offset, "corrupt"
        try:
            records.append(_decoder.decode(body))
        except msgspec.DecodeError:
            return records, offset, "corrupt"
        offset = start + length
    return records, offset, None


def read(path: Path) -> tuple[list[Record], Damage | None]:
    """What a dead process wrote. Unreadable bytes are kept beside it in a `.quarantine` file."""
    data = path.read_bytes()
    records, offset, problem = decode(data)
    if problem is None:
        return records, None
    kept = path.with_suffix(".quarantine")
    with kept.open("wb") as file:
        file.write(data[offset:])
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return records, Damage(kind=problem, path=kept, offset=offset, size=len(data) - offset)


def sync_folder(folder: Path) -> None:
    """A file's name is durable only when its folder is."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def delete(paths: Iterable[Path]) -> None:
    for path in paths:
        # A file that stays is replayed at the next start, which changes nothing.
        with suppress(OSError):
            path.unlink()


class Segment:
    """One file of this process. Every byte below `size` is durable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.pins = 0
        """How many requests still need it after a crash. Belongs to the journal's event loop."""
        # O_DSYNC makes write and fdatasync one system call: the thread gives up the GIL once, not twice.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_DSYNC | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        try:
            sync_folder(path.parent)
        except OSError:
            self.seal()
            raise

    def write(self, data: bytes) -> None:
        """Durable when it returns. After an OSError the segment must be sealed."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self.size += len(data)

    def seal(self) -> None:
        """Write no more. What a failed write may have left is cut off: those who waited for it were refused."""
        if self._fd < 0:
            return
        try:
            if os.fstat(self._fd).st_size > self.size:
                os.ftruncate(self._fd, self.size)
        except OSError:
            # Replaying a record twice changes nothing, and one that was refused is charged as lost at most.
            pass
        finally:
            os.close(self._fd)
            self._fd = -1
        if self.size == 0:
            self.path.unlink(missing_ok=True)
