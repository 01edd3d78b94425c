"""An incremental parser of server-sent events (the WHATWG grammar): bytes in, the `data` of each event out.

Bounded, because the other side decides how long a line is. Whatever is not data (comments, ids, event names, retry
hints) is dropped: in the dialects that we speak, the data says it all. Only a comment that was asked for is kept.
"""

MAX_EVENT_BYTES = 1_000_000
_BOM = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """A line or an event is longer than any that an honest server sends."""


class EventStreamParser:
    """Feed it chunks in order. However the stream is cut into chunks, the same events come out."""

    __slots__ = (
        "_comment_prefix", "_data", "_data_size", "_is_first_line", "_limit", "_line", "_line_size", "_skips_lf", "comment"
    )  # fmt: skip

    def __init__(self, limit: int = MAX_EVENT_BYTES, *, comment_prefix: bytes | None = None) -> None:
        self._limit = limit
        self._comment_prefix = comment_prefix
        self.comment = b""
        """The latest that began with the prefix, without it."""
        self._line: list[bytes] = []
        """Pieces of a line whose end has not come: joined once, so that a drip of single bytes costs no more."""
        self._line_size = 0
        self._data: list[bytes] = []
        """The `data` lines of an event whose blank line has not come."""
        self._data_size = 0
        self._is_first_line = True
        self._skips_lf = False
        """The last chunk ended in \\r: a \\n right after it belongs to the same line end."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that this (not empty) chunk completes. Raises EventTooLargeError."""
        if not self._line and not self._data and chunk.startswith(b"data: ") and chunk.endswith(b"\n\n"):
            # What nearly every chunk is: whole events of one line each. The lines need not be looked at one by one.
            events = chunk[6:-2].split(b"\n\ndata: ")
            rest = b"".join(events)
            if b"\n" not in rest and b"\r" not in rest and b"" not in events and len(chunk) <= self._limit:
                self._is_first_line = self._skips_lf = False
                return events
        return self._feed_lines(chunk)

    def _feed_lines(self, chunk: bytes) -> list[bytes]:
        events: list[bytes] = []
        if self._skips_lf:
            chunk = chunk.removeprefix(b"\n")
        for line in chunk.splitlines(keepends=True):
            self._line_size += len(line)
            if self._line_size > self._limit:
                raise EventTooLargeError(f"a line of more than {self._limit} bytes")
            self._line.append(line)
            if line.endswith((b"\n", b"\r")):
                whole = b"".join(self._line).rstrip(b"\r\n")
                self._line.clear()
                self._line_size = 0
                self._end_line(whole, events)
        self._skips_lf = chunk.endswith(b"\r")
        return events

    def _end_line(self, line: bytes, events: list[bytes]) -> None:
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(_BOM)
        if not line:
            if data := b"\n".join(self._data):
                events.append(data)
            self._data.clear()
            self._data_size = 0
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._data_size += len(value) + 1
            if self._data_size > self._limit:
                raise EventTooLargeError(f"an event of more than {self._limit} bytes")
            self._data.append(value)
        elif not field and self._comment_prefix is not None and value.startswith(self._comment_prefix):
            self.comment = value.removeprefix(self._comment_prefix)
