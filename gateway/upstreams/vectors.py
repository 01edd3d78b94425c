"""Embeddings as OpenAI-like servers answer them: checked against what was asked, and in the encoding that was asked for.

Servers differ: some answer floats whatever they are asked. Numbers are only looked at if they must be converted:
a large reply holds millions of them. Base64 is of little-endian 32-bit floats. A 32-bit float keeps its value as text,
and text of one comes back to the same bits; text that is finer than that is rounded to the nearest.
"""

import base64
import math
import struct
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from gateway.upstreams.transport import NOT_JSON

Encoding = Literal["float", "base64"]

_IN_NUMBERS = b"0123456789+-.eE, \t\r\n"


class VectorsError(ValueError):
    """The reply is not what was asked for. The message is safe to show."""


class Vectors(msgspec.Struct, frozen=True):
    rows: tuple[msgspec.Raw, ...]
    """JSON, in the order of the inputs."""
    usage: Any
    error: Any


def read_vectors(raw: bytes, *, inputs: int, encoding: Encoding) -> Vectors:
    """Takes milliseconds for each megabyte. Raises VectorsError; none if the reply says that there was an error."""
    try:
        reply = _decode(raw)
    except NOT_JSON as exc:
        raise VectorsError("its reply is not JSON of vectors") from exc
    if reply.error:
        return Vectors((), None, reply.error)
    items = reply.data
    if len(items) != inputs:
        raise VectorsError(f"it answered {len(items)} vectors for {inputs} inputs")
    # A server that numbers none of them means their order.
    order = [at if item.index is None else item.index for at, item in enumerate(items)]
    placed = dict(zip(order, items, strict=True))
    if placed.keys() != set(range(inputs)):
        raise VectorsError("its vectors are not numbered from 0 without a gap")
    return Vectors(
        tuple([encoded(placed[at].embedding, encoding) for at in range(inputs)]), reply.usage, None
    )


def encoded(vector: msgspec.Raw, encoding: Encoding) -> msgspec.Raw:
    """JSON of the same vector in that encoding. Raises VectorsError for what is no vector."""
    text = bytes(vector)
    if text[:1] == b"[" and text[1:-1].strip():
        if encoding == "base64":
            return msgspec.Raw(msgspec.json.encode(_packed(text)))
        _check_list(text)
    elif text[:1] == b'"':
        packed = _unwrapped(text)
        if encoding == "float":
            return msgspec.Raw(msgspec.json.encode(_unpacked(packed)))
    else:
        raise VectorsError("one of its vectors is neither a list of numbers nor base64")
    return vector


class _Item(msgspec.Struct, gc=False):
    embedding: msgspec.Raw
    index: int | None = None


class _Reply(msgspec.Struct):
    data: list[_Item] = []
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Reply).decode
_floats = msgspec.json.Decoder(list[float]).decode


def _check_list(text: bytes) -> None:
    """That it is JSON has been seen to; what is left to see is that it holds numbers and nothing else."""
    if text.translate(None, _IN_NUMBERS) != b"[]":
        raise VectorsError("one of its vectors is not a list of numbers")


def _packed(text: bytes) -> str:
    try:
        numbers = _floats(text)
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    except (msgspec.DecodeError, OverflowError) as exc:
        raise VectorsError("one of its vectors is not a list of 32-bit floats") from exc


def _unwrapped(text: bytes) -> bytes:
    try:
        packed = base64.b64decode(msgspec.json.decode(text, type=str), validate=True)
    except (msgspec.DecodeError, ValueError) as exc:  # not JSON, not ASCII, or not base64
        raise VectorsError("one of its vectors is not base64") from exc
    if not packed or len(packed) % 4:
        raise VectorsError("one of its vectors is not base64 of 32-bit floats")
    return packed


def _unpacked(packed: bytes) -> Sequence[float]:
    numbers = struct.unpack(f"<{len(packed) // 4}f", packed)
    if not math.isfinite(sum(numbers)):  # 32-bit floats cannot sum up to infinity in a 64-bit one
        raise VectorsError("one of its vectors holds what is not a number")
    return numbers
