"""The input of a batch: one request a line, as OpenAI has it. Pure; says what is wrong with which line."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from gateway.ledger.batch_work import NewLine
from gateway.ledger.batches import LineError

MAX_ERRORS = 100
"""So many are told; whoever has more will find the others when these are mended."""
_LONGEST_ID = 512
_LONGEST_MODEL = 256
_BOM = b"\xef\xbb\xbf"
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Body(msgspec.Struct):
    model: Any = None
    stream: Any = None


def _is_name(model: Any) -> bool:
    """Of a model that there might be. Some databases refuse a text with a NUL."""
    return isinstance(model, str) and len(model) <= _LONGEST_MODEL and "\x00" not in model


_LINE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BODY = msgspec.json.Decoder(_Body)


class InputCheck:
    """Takes a file's lines in their order and keeps what must differ between them."""

    def __init__(self, endpoint: str, *, max_lines: int, max_line_bytes: int) -> None:
        self._endpoint = endpoint
        self._max_lines = max_lines
        self._max_line_bytes = max_line_bytes
        self._seen: set[bytes] = set()
        self._models: set[Any] = set()
        self._number = 0
        self.total = 0
        self.errors: list[LineError] = []

    @property
    def model(self) -> str | None:
        """That of all lines, if it is one."""
        [model] = self._models if len(self._models) == 1 else [None]
        return model if isinstance(model, str) else None

    @property
    def is_hopeless(self) -> bool:
        """There is no use in reading on."""
        return len(self.errors) >= MAX_ERRORS or self.total > self._max_lines

    def take(self, lines: Iterable[bytes]) -> list[NewLine]:
        """Those that are good."""
        good: list[NewLine] = []
        for raw in lines:
            self._number += 1
            raw = raw.removeprefix(_BOM) if self._number == 1 else raw
            if not raw.strip():
                continue
            self.total += 1
            line = self._line(raw)
            if line is not None:
                good.append(line)
            if self.is_hopeless:
                break
        return good

    def end(self) -> None:
        if self.total == 0:
            self._wrong("empty_file", "The input file has no lines.", line=None)

    def _line(self, raw: bytes) -> NewLine | None:
        if self.total > self._max_lines:
            self._wrong("too_many_lines", f"A batch has at most {self._max_lines} lines.", line=None)
            return None
        if len(raw) > self._max_line_bytes:
            self._wrong("line_too_long", f"A line has at most {self._max_line_bytes} bytes.")
            return None
        try:
            fields = _LINE.decode(raw)
        except _BROKEN:
            self._wrong("invalid_json_line", "This line is not a JSON object.")
            return None
        before = len(self.errors)
        custom_id = self._custom_id(fields)
        self._check_text(fields, "method", "POST", "invalid_method")
        self._check_text(fields, "url", self._endpoint, "invalid_url")
        body = self._body(fields)
        if len(self.errors) > before:
            return None
        return NewLine(self._number, custom_id, body)

    def _custom_id(self, fields: dict[str, msgspec.Raw]) -> str:
        found = self._text(fields, "custom_id")
        if found is None:
            return ""
        if not 1 <= len(found) <= _LONGEST_ID or "\x00" in found:
            self._wrong("invalid_value", f"`custom_id` has 1 to {_LONGEST_ID} characters.", "custom_id")
            return ""
        digest = blake2b(found.encode(), digest_size=16).digest()
        if digest in self._seen:
            self._wrong("duplicate_custom_id", f"The `custom_id` {found[:64]!r} is there twice.", "custom_id")
        self._seen.add(digest)
        return found

    def _check_text(self, fields: dict[str, msgspec.Raw], name: str, wanted: str, code: str) -> None:
        found = self._text(fields, name)
        if found is not None and found != wanted:
            self._wrong(code, f"`{name}` is {wanted!r} in this batch, not {found[:64]!r}.", name)

    def _body(self, fields: dict[str, msgspec.Raw]) -> bytes:
        if "body" not in fields:
            self._wrong("missing_required_parameter", "`body` is missing.", "body")
            return b""
        try:
            body = _BODY.decode(fields["body"])
        except _BROKEN:
            self._wrong("invalid_value", "`body` is not a JSON object.", "body")
            return b""
        if body.stream not in (None, False):
            self._wrong(
                "unsupported_value", "`stream` has no meaning in a batch; leave it out.", "body.stream"
            )
        self._models.add(body.model if _is_name(body.model) else None)
        return bytes(fields["body"])

    def _text(self, fields: dict[str, msgspec.Raw], name: str) -> str | None:
        if name not in fields:
            self._wrong("missing_required_parameter", f"`{name}` is missing.", name)
            return None
        try:
            return msgspec.json.decode(fields[name], type=str)
        except _BROKEN:
            self._wrong("invalid_value", f"`{name}` is not a string.", name)
            return None

    def _wrong(self, code: str, message: str, param: str | None = None, *, line: int | None = -1) -> None:
        self.errors.append(LineError(code, message, self._number if line == -1 else line, param))
