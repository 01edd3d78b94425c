"""Structured log lines that never block a request: they are handed to one writer thread in batches."""

import threading
from collections import deque
from typing import Any, BinaryIO, Literal

import msgspec
import structlog

from gateway.clock import Clock

Level = Literal["debug", "info", "warning", "error"]
_LEVELS: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}

Logger = structlog.typing.FilteringBoundLogger


class LogSink:
    """Collects lines and writes them every `interval_s`; when the stream is stuck or gone, lines drop and are counted."""

    def __init__(self, stream: BinaryIO, *, interval_s: float = 0.1, max_lines: int = 20_000) -> None:
        self._stream = stream
        self._lines: deque[bytes] = deque()
        self._max_lines = max_lines
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="log-writer", daemon=True)
        self.dropped = 0

    def start(self) -> None:
        self._thread.start()

    def write(self, line: bytes) -> None:
        if len(self._lines) >= self._max_lines:
            self.dropped += 1
            return
        self._lines.append(line)

    def close(self) -> None:
        """Write what is left. Waits at most a second for a stream that is stuck."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        else:
            self._flush()

    def drain(self) -> None:
        """Write what has been collected, now, from this thread."""
        self._flush()

    def _write_on(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        count = len(self._lines)
        if not count:
            return
        batch = [self._lines.popleft() for _ in range(count)]
        try:
            self._stream.write(b"".join(batch))
            self._stream.flush()
        except (OSError, ValueError):
            self.dropped += count


class _Lines:
    """What structlog calls with the rendered line."""

    def __init__(self, sink: LogSink) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = self.critical = sink.write


class _Stamp:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(
        self, _logger: Any, level: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {"ts": self._clock.now_ms() / 1000, "level": level, **event}


def _as_json() -> structlog.typing.Processor:
    encoder = msgspec.json.Encoder(enc_hook=str)

    def render(_logger: Any, _level: str, event: structlog.typing.EventDict) -> bytes:
        return encoder.encode(event) + b"\n"

    return render


def _for_people(_logger: Any, level: str, event: structlog.typing.EventDict) -> bytes:
    event.pop("level", None)
    event.pop("ts", None)
    name = event.pop("event", "")
    # repr keeps line breaks and terminal escapes out of the log.
    rest = " ".join(f"{key}={value!r}" for key, value in event.items())
    return f"{level:7} {name} {rest}\n".encode()


def make_logger(
    sink: LogSink, clock: Clock, *, level: Level = "info", form: Literal["json", "console"] = "json"
) -> Logger:
    logger: Logger = structlog.wrap_logger(
        _Lines(sink),
        processors=[
            structlog.processors.format_exc_info,
            _Stamp(clock),
            _as_json() if form == "json" else _for_people,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
    )
    return logger.bind()
