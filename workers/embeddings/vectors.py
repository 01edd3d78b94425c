"""Vectors on their way out: shortened where that was asked for, and in the encoding that was asked for."""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from workers.embeddings.request import EmbeddingRequest

if TYPE_CHECKING:
    from workers.embeddings.contract import Vector


def shortened(vector: "Vector", dimensions: int | None, *, is_unit: bool) -> "Vector":
    """The first of its numbers, scaled to length one again if the whole vector has it."""
    if dimensions is None or dimensions >= len(vector):
        return vector
    short = vector[:dimensions]
    length = float(np.linalg.norm(short))
    return short / np.float32(length) if is_unit and length else short


def body(request: EmbeddingRequest, vectors: Sequence["Vector"], *, tokens: int, is_unit: bool) -> bytes:
    """OpenAI's reply. Takes milliseconds for each megabyte."""
    data = [
        {"object": "embedding", "index": index, "embedding": _written(vector, request.encoding_format)}
        for index, vector in enumerate(
            shortened(vector, request.dimensions, is_unit=is_unit) for vector in vectors
        )
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": request.model, "usage": usage})


def _written(vector: "Vector", encoding: str | None) -> Any:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    # One by one: a large reply then leaves the other threads their turns in between.
    return msgspec.Raw(msgspec.json.encode(vector.tolist()))
