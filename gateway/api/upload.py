"""Multipart forms with one file, which goes on as it comes: a large one is never held in memory."""

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from gateway.errors import InvalidRequestError

_FIELD_BYTES = 1024
_PARTS = 16
_FRAME_BYTES = 65_536
"""What boundaries, headers and other fields may add to the file."""
_LONGEST_NAME = 255

Write = Callable[[bytes], Awaitable[None]]


class Form(msgspec.Struct, frozen=True, kw_only=True):
    fields: dict[str, str]
    filename: str
    bytes: int


async def read_form(
    content_type: str, stream: AsyncIterator[bytes], write: Write, *, max_file_bytes: int
) -> Form:
    """The part `file` goes to `write`, a piece at a time. Raises InvalidRequestError."""
    reading = _Reading(write, max_file_bytes)
    received = 0
    try:
        with PushMultipartParser(_boundary(content_type), max_segment_count=_PARTS, strict=True) as parser:
            async for piece in stream:
                received += len(piece)
                if received > max_file_bytes + _FRAME_BYTES:
                    raise too_large(max_file_bytes)
                for event in parser.parse(piece) if piece else ():
                    await reading.take(event)
    except (MultipartError, UnicodeDecodeError) as exc:
        raise InvalidRequestError("The body is not a whole and valid `multipart/form-data`.") from exc
    return reading.form()


def too_large(limit: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"The file is larger than {limit} bytes.", status=413, code="request_too_large", param="file"
    )


class _Reading:
    """The parts so far."""

    def __init__(self, write: Write, max_file_bytes: int) -> None:
        self._write = write
        self._max_file_bytes = max_file_bytes
        self._fields: dict[str, bytearray] = {}
        self._part: str | None = None
        self._filename: str | None = None
        self._bytes = 0

    async def take(self, event: MultipartSegment | bytes | None) -> None:
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is None:
            self._part = None
        elif self._part == "file":
            self._bytes += len(event)
            if self._bytes > self._max_file_bytes:
                raise too_large(self._max_file_bytes)
            await self._write(event)
        elif self._part is not None:
            self._fields[self._part] += event
            if len(self._fields[self._part]) > _FIELD_BYTES:
                raise InvalidRequestError(
                    f"The field is longer than {_FIELD_BYTES} bytes.", param=self._part[:128]
                )

    def _begin(self, segment: MultipartSegment) -> None:
        name = segment.name or ""
        if name in self._fields or (name == "file" and self._filename is not None):
            raise InvalidRequestError("The form has this field twice.", param=name[:128])
        self._part = name
        if name == "file":
            self._filename = _plain(segment.filename or "")
        else:
            self._fields[name] = bytearray()

    def form(self) -> Form:
        if self._filename is None:
            raise InvalidRequestError(
                "Missing required parameter: 'file'.", code="missing_required_parameter", param="file"
            )
        if self._bytes == 0:
            raise InvalidRequestError("The file is empty.", param="file")
        fields = {name: value.decode() for name, value in self._fields.items()}
        return Form(fields=fields, filename=self._filename, bytes=self._bytes)


def _boundary(content_type: str) -> str:
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise InvalidRequestError(
            "Send the file as `content-type: multipart/form-data` with a boundary.",
            status=415,
            code="unsupported_media_type",
        )
    return str(options["boundary"])


def _plain(name: str) -> str:
    """A name to show, never a path."""
    last = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(c for c in last if c.isprintable()).encode("utf-8", "replace").decode()
    return printable[:_LONGEST_NAME] or "file"
