"""Numbers that no computer holds (1e999, or ten thousand digits): they are valid JSON, and those who skip the field in
which one stands never notice it."""

import json
import math
from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")


def decoded(decode: Callable[[bytes], T], data: bytes) -> T:
    """Of JSON that is valid, with null for such numbers: they must not spoil what stands beside them."""
    try:
        return decode(data)
    except msgspec.ValidationError:
        held = json.loads(data, parse_int=_whole, parse_float=_fraction)
        return decode(msgspec.json.encode(held))


def _whole(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:
        return None


def _fraction(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None
