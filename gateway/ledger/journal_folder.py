"""The folder that several processes keep their journals in: who owns which files, and what the dead left behind.

`NAME.lock` is held by its process as long as it lives. `NAME-00000001.wal` are its segments, `.quarantine` is what
could not be read of one, `NAME.refused` are entries that the database would not take.
"""

import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from gateway.errors import ConfigError
from gateway.ledger.contract import Closing
from gateway.ledger.recovery import closings
from gateway.ledger.segments import Damage, delete, read
from gateway.telemetry.logs import Logger
from gateway.values import Entry


class Recovery(msgspec.Struct, frozen=True):
    """What processes that died left behind."""

    closings: tuple[Closing, ...]
    damage: tuple[Damage, ...]


class _Estate(msgspec.Struct, frozen=True):
    """A process's files and the lock on them, which is ours now."""

    lock: Path
    lock_fd: int
    segments: list[Path]

    def delete(self) -> None:
        # The lock goes last: without it nobody would look for the segments.
        delete([*self.segments, self.lock])
        os.close(self.lock_fd)


class JournalFolder:
    """Synchronous: called in threads."""

    def __init__(self, path: Path, *, new_id: Callable[[], str], log: Logger) -> None:
        self._path = path
        self._new_id = new_id
        self._log = log
        self._name = ""
        self._lock_fd = -1
        self._adopted: list[_Estate] = []

    @property
    def has_adopted(self) -> bool:
        return bool(self._adopted)

    def claim(self) -> None:
        """Take a name of our own. Raises ConfigError if the folder cannot be used."""
        try:
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
            while self._lock_fd < 0:
                self._name = self._new_id()
                self._lock_fd = _create_locked(self._lock(self._name))
        except OSError as exc:
            raise ConfigError(f"journal.dir: cannot write in {self._path}: {exc.strerror}") from exc

    def segment(self, number: int) -> Path:
        return self._path / f"{self._name}-{number:08d}.wal"

    def adopt(self) -> Recovery:
        """Read what dead processes wrote. It stays until `discard_adopted`, or for the next process to adopt.

        A process's files are adopted together: the closing of a request may stand in another file than its intents.
        """
        found: list[Closing] = []
        damage: list[Damage] = []
        for lock in sorted(self._path.glob("*.lock")):
            fd = _open_locked(lock)
            if fd < 0:
                continue
            estate = _Estate(lock, fd, sorted(self._path.glob(f"{lock.stem}-*.wal")))
            try:
                read_back = [read(path) for path in estate.segments]
            except OSError as exc:
                self._log.error("journal.unreadable", process=lock.stem, error=exc.strerror)
                os.close(fd)
                continue
            self._adopted.append(estate)
            found += closings(record for records, _ in read_back for record in records)
            damage += [problem for _, problem in read_back if problem is not None]
        for problem in damage:
            self._log.error(
                "journal.damaged", **msgspec.structs.asdict(problem) | {"path": str(problem.path)}
            )
        return Recovery(tuple(found), tuple(damage))

    def discard_adopted(self) -> None:
        adopted, self._adopted = self._adopted, []
        for estate in adopted:
            estate.delete()

    def leave(self, segments: list[Path] | None) -> None:
        """Give up the name. None leaves our segments to the next process that starts."""
        for estate in self._adopted:
            os.close(estate.lock_fd)
        if segments is None:
            os.close(self._lock_fd)
        else:
            _Estate(self._lock(self._name), self._lock_fd, segments).delete()

    def set_aside(self, entries: Iterable[Entry]) -> Path:
        path = self._path / f"{self._name}.refused"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DSYNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
        return path

    def _lock(self, name: str) -> Path:
        return self._path / f"{name}.lock"


def _create_locked(path: Path) -> int:
    """-1 if the name is taken."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return -1
    return _locked(fd)


def _open_locked(path: Path) -> int:
    """-1 if its process lives, or another one was quicker."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    return _locked(fd)


def _locked(fd: int) -> int:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Before we had the lock, somebody may have taken the file for a dead process's and deleted it.
        if os.fstat(fd).st_nlink:
            return fd
    except BlockingIOError:
        pass
    os.close(fd)
    return -1
