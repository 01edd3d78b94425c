"""Turns texts into vectors with any ONNX encoder: a folder with `model.onnx` and the `tokenizer.json` it came with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.errors import ConfigError
from gateway.scoring.session import open_session

Vectors = NDArray[np.float32]
"""Texts x dimensions, rows of length 1."""

CHARS_PER_TOKEN = 8
"""Text beyond this many for each token is cut off before it is tokenised, which takes as long as all the text is long."""

_KINDS: dict[str, np.dtype[Any]] = {"tensor(int64)": np.dtype(np.int64), "tensor(int32)": np.dtype(np.int32)}
_POOLED = "sentence_embedding"


class Encoder:
    """Calling it blocks for as long as the model takes. One thread at a time."""

    def __init__(self, folder: Path, *, threads: int = 1, max_tokens: int = 256) -> None:
        """Raises ConfigError for a folder that holds no encoder."""
        self._max_chars = max_tokens * CHARS_PER_TOKEN
        self._tokenizer = _tokenizer(folder / "tokenizer.json", max_tokens)
        path = folder / "model.onnx"
        self._session = open_session(path, threads=threads)
        self._inputs = {one.name: _kind(one, path) for one in self._session.get_inputs()}
        outputs = [one.name for one in self._session.get_outputs()]
        self._output = _POOLED if _POOLED in outputs else outputs[0]
        self.provider: str = self._session.get_providers()[0]
        """Where the model runs, as onnxruntime names it."""

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """A model that gives a vector for each token gives their mean here."""
        encoded = self._tokenizer.encode_batch([_clean(text[: self._max_chars]) for text in texts])
        longest = max(len(one.ids) for one in encoded)
        ids = np.zeros((len(texts), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(encoded):
            ids[row, : len(one.ids)] = one.ids
            mask[row, : len(one.ids)] = 1
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        given = {name: known[name].astype(kind, copy=False) for name, kind in self._inputs.items()}
        (vectors,) = self._session.run([self._output], given)
        vectors = vectors.astype(np.float32, copy=False)
        if vectors.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            vectors = (vectors * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, 1e-9), np.float32)

    def many(self, texts: Sequence[str]) -> Vectors:
        """For training: one by one. A model quantised as it runs gives a text another vector beside other texts."""
        return np.concatenate([self([text]) for text in texts])


def _tokenizer(path: Path, max_tokens: int) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as exc:
        raise ConfigError("the scorer's encoder needs tokenizers: install weighbridge[onnx-cpu]") from exc
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises nothing narrower
        raise ConfigError(f"{path}: not a tokenizer: {exc}") from exc
    # The file may ask for padding and for another length: texts are padded here, to the longest of their batch.
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _kind(one: Any, path: Path) -> np.dtype[Any]:
    if one.name not in ("input_ids", "attention_mask", "token_type_ids") or one.type not in _KINDS:
        raise ConfigError(
            f"{path}: its input {one.name} of {one.type} is none that a text encoder usually has"
        )
    return _KINDS[one.type]


def _clean(text: str) -> str:
    """Half of a surrogate pair, which JSON can carry, is no text to the tokenizer."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
