"""Vectors in either encoding, from servers that answer in either, and what is made of those that answer neither."""

import base64
import math
import struct
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.vectors import VectorsError, read_vectors

Encoding = Literal["float", "base64"]
SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)
VECTORS = st.lists(SINGLES, min_size=1, max_size=20)


def packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def reply(*vectors: Any, **more: Any) -> bytes:
    rows = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
    return msgspec.json.encode({"object": "list", "data": rows, "model": "m", **more})


def read(raw: bytes, encoding: Encoding, inputs: int = 1) -> list[Any]:
    return [msgspec.json.decode(row) for row in read_vectors(raw, inputs=inputs, encoding=encoding).rows]


def bits(vector: list[float]) -> bytes:
    return struct.pack(f"<{len(vector)}f", *vector)


@given(VECTORS)
def test_base64_is_told_as_floats_of_the_same_bits(vector: list[float]) -> None:
    [told] = read(reply(packed(vector)), "float")

    assert bits(told) == bits(vector)


@given(VECTORS)
def test_floats_are_told_as_base64_of_the_same_bits(vector: list[float]) -> None:
    [told] = read(reply(vector), "base64")

    assert base64.b64decode(told) == bits(vector)


@given(st.lists(st.floats(-1e38, 1e38), min_size=1, max_size=20))
def test_finer_floats_are_rounded_to_the_nearest(vector: list[float]) -> None:
    [told] = read(reply(vector), "base64")

    found = struct.unpack(f"<{len(vector)}f", base64.b64decode(told))
    assert all(
        math.isclose(a, b, rel_tol=2**-23, abs_tol=2**-149) for a, b in zip(found, vector, strict=True)
    )


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_that_were_asked_for_are_passed_on_as_the_server_wrote_them(vector: list[float]) -> None:
    raw = reply(vector)

    [row] = read_vectors(raw, inputs=1, encoding="float").rows

    assert bytes(row) == msgspec.json.encode(vector)


@given(VECTORS)
def test_base64_that_was_asked_for_is_passed_on(vector: list[float]) -> None:
    assert read(reply(packed(vector)), "base64") == [packed(vector)]


def test_vectors_come_in_the_order_of_the_inputs() -> None:
    rows = [{"index": at, "embedding": [float(at)]} for at in (2, 0, 1)]

    assert read(msgspec.json.encode({"data": rows}), "float", inputs=3) == [[0.0], [1.0], [2.0]]


def test_a_server_that_numbers_none_means_their_order() -> None:
    rows = [{"embedding": [1]}, {"embedding": [2]}]

    assert read(msgspec.json.encode({"data": rows}), "float", inputs=2) == [[1], [2]]


def numbered(*indexes: Any) -> bytes:
    return msgspec.json.encode({"data": [{"index": index, "embedding": [1.0]} for index in indexes]})


@pytest.mark.parametrize(
    "raw",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"data": null}',
        b'{"data": 5}',
        b'{"data": [5]}',
        b"[" * 5000,
        reply(),
        reply([1.0], [2.0], [3.0]),
        numbered(0),
        numbered(0, 0),
        numbered(1, 2),
        numbered(-1, 0),
        numbered(0, 2**70),
        numbered(0, "1"),
    ],
)
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_a_reply_without_one_vector_for_each_input_is_none(raw: bytes, encoding: Encoding) -> None:
    with pytest.raises(VectorsError):
        read_vectors(raw, inputs=2, encoding=encoding)


@pytest.mark.parametrize(
    "vector",
    [
        None, 5, True, {}, {"a": 1}, [], [[]], [[1.0]], [1.0, None], [1.0, "2"], [True], [{}], "", "5",
        "AAA", "AAAA", "AAAA====", "!!!!!!!!", "\u00e9\u00e9\u00e9\u00e9", "AAAAAA==\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_what_is_no_vector_is_not_passed_on(vector: Any, encoding: Encoding) -> None:
    with pytest.raises(VectorsError):
        read_vectors(reply(vector), inputs=1, encoding=encoding)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_cannot_be_told_as_one(number: float) -> None:
    with pytest.raises(VectorsError, match="not a number"):
        read_vectors(reply(packed([1.0, number])), inputs=1, encoding="float")


def test_a_number_beyond_32_bits_is_not_made_infinite() -> None:
    with pytest.raises(VectorsError, match="32-bit"):
        read_vectors(reply([1e39]), inputs=1, encoding="base64")


@pytest.mark.parametrize("text", [b"[ \n ]", b'"\xff\xff\xff\xff"'])
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_a_list_of_nothing_and_text_that_is_none_are_no_vectors(text: bytes, encoding: Encoding) -> None:
    with pytest.raises(VectorsError):
        read_vectors(b'{"data":[{"index":0,"embedding": ' + text + b" }]}", inputs=1, encoding=encoding)


def test_numbers_may_be_written_in_every_way_of_json() -> None:
    raw = b'{"data":[{"index":0,"embedding": [1 , 2.5e-1 ,\t-3E0\n] }]}'

    assert read(raw, "float") == [[1.0, 0.25, -3.0]]
    assert read(raw, "base64") == [packed([1.0, 0.25, -3.0])]


def test_an_error_is_told_as_such() -> None:
    assert read_vectors(b'{"error": {"message": "x"}}', inputs=1, encoding="float").error == {"message": "x"}
