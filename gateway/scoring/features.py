"""What the scorer's model is fed: the tokens of a conversation, and its structure in numbers. All of it is bounded."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.scoring.contract import Prompt

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Encode = Callable[[str], bytes]
"""Text to token ids, four bytes each in the machine's order: a fifth of the time that a list takes."""

STRUCTURE = (
    "chars",
    "lines",
    "options",
    "option_chars",
    "is_fenced",
    "turns",
    "history_chars",
    "system_chars",
    "has_tools",
    "has_images",
    "wants_json",
)

_ENDS = (4500, 1500)
"""How much of the last user turn is read, from its beginning and its end. Longer ones differ in length, which counts."""
_HISTORY = 2000
_SYSTEM = 1000
# What stands around the turn that is to be answered says something of it, but it was answered before or holds for all.
_HISTORY_SHARE = 0.2
_SYSTEM_SHARE = 0.1
_OPENING = 5

_FIRST_OPTION = ("\nA.", "\nA)", "\n(A)")
_OPTION = re.compile(r"\n\(?[A-J][.)]")


class Inputs:
    """Some conversations as the graph takes them: over the `n` different tokens of all, a row for each of the `k`."""

    __slots__ = ("counts", "ids", "opening", "structure")

    def __init__(self, ids: Ints, counts: Floats, opening: Floats, structure: Floats) -> None:
        self.ids = ids
        """[n]"""
        self.counts = counts
        """[k, n] How often it occurs; shares of an occurrence for what is not in the last user turn."""
        self.opening = opening
        """[k, n] How often among the first tokens of the last user turn."""
        self.structure = structure
        """[k, len(STRUCTURE)]"""

    def feeds(self) -> dict[str, Ints | Floats]:
        return {
            "ids": self.ids,
            "counts": self.counts,
            "opening": self.opening,
            "structure": self.structure,
        }


class Row(NamedTuple):
    """A conversation as a choice among texts that are tokenised once, for all rows."""

    shares: Sequence[float]
    """For each text, what an occurrence in it counts for."""
    opens: int
    """The text with which the last user turn begins."""
    structure: Sequence[float]


def inputs_of(prompts: Sequence[Prompt], encode: Encode) -> Inputs:
    """`prompts` is not empty."""
    texts: list[str] = []
    rows: list[tuple[int, list[float], Prompt]] = []
    for prompt in prompts:
        around = context_of(prompt)
        rows.append((len(texts), [1.0, *(share for _, share in around)], prompt))
        texts += [ends(prompt.user), *(text for text, _ in around)]
    return assembled(
        texts,
        [
            Row(
                shares=[*[0.0] * at, *shares, *[0.0] * (len(texts) - at - len(shares))],
                opens=at,
                structure=structure_of(prompt),
            )
            for at, shares, prompt in rows
        ],
        encode,
    )


def assembled(texts: Sequence[str], rows: Sequence[Row], encode: Encode) -> Inputs:
    tokens = [_tokens(text, encode) for text in texts]
    every = np.frombuffer(b"".join(tokens), np.int32)
    lengths = [len(those) // every.itemsize for those in tokens]
    ids, place = _numbered(every)
    n = len(ids)
    starts = [0, *accumulate(lengths)]
    cells = place.copy()
    for text, start in enumerate(starts[1:-1], 1):
        cells[start : starts[text + 1]] += text * n
    of_texts = np.bincount(cells, minlength=len(texts) * n).reshape(len(texts), n)
    openings: dict[int, list[int]] = {}
    first: list[int] = []
    for at, row in enumerate(rows):
        found = openings.get(row.opens)
        if found is None:
            start = starts[row.opens]
            found = openings[row.opens] = place[start : min(start + _OPENING, starts[row.opens + 1])].tolist()
        first += [at * n + number for number in found]
    opening = np.bincount(np.array(first, np.intp), minlength=len(rows) * n).reshape(len(rows), n)
    shares = np.array([row.shares for row in rows], np.float32)
    return Inputs(
        ids=ids,
        counts=shares @ of_texts.astype(np.float32),
        opening=opening.astype(np.float32),
        structure=np.array([row.structure for row in rows], np.float32),
    )


def _numbered(tokens: Ints) -> tuple[Ints, npt.NDArray[np.intp]]:
    """The different tokens, and for each token the place of its like among them: what `np.unique` does, in two thirds of its time."""
    if not tokens.size:
        return np.zeros(1, np.int32), np.zeros(0, np.intp)
    order = tokens.argsort()
    ordered = tokens[order]
    is_new = np.empty(len(tokens), np.bool_)
    is_new[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    place = np.empty(len(tokens), np.intp)
    place[order] = is_new.cumsum() - 1
    return ordered[is_new], place


def context_of(prompt: Prompt) -> list[tuple[str, float]]:
    """What stands around the turn that is to be answered, and what an occurrence in it counts for."""
    parts = []
    if prompt.history:
        parts.append((prompt.history[-_HISTORY:], _HISTORY_SHARE))
    if prompt.system:
        parts.append((prompt.system[:_SYSTEM], _SYSTEM_SHARE))
    return parts


def structure_of(prompt: Prompt, user: str | None = None) -> list[float]:
    """In the order of `STRUCTURE`; lengths as log(1 + n), so that no length can outweigh the rest.

    `user` stands for what is left of the last user turn.
    """
    text = prompt.user if user is None else user
    options, option_chars = _options(text)
    return [
        math.log1p(len(text) - option_chars),
        math.log1p(text.count("\n") - options),
        float(options),
        math.log1p(option_chars),
        float("```" in text),
        math.log1p(max(prompt.turns - 1, 0)),
        math.log1p(len(prompt.history)),
        math.log1p(len(prompt.system)),
        float(prompt.has_tools),
        float(prompt.has_images),
        float(prompt.wants_json),
    ]


def resized(structure: Sequence[float], chars: int) -> list[float]:
    """The structure of a part of the text: as long as the part, or as the whole without its choices if that is less."""
    return [min(structure[0], math.log1p(chars)), *structure[1:]]


def _options(text: str) -> tuple[int, int]:
    """How many choices a multiple-choice question offers, and in how many characters."""
    start = min((at for mark in _FIRST_OPTION if (at := text.find(mark)) >= 0), default=-1)
    if start < 0:
        return 0, 0
    options = len(_OPTION.findall(text, start, start + 4000))
    return (min(options, 10), len(text) - start) if options > 1 else (0, 0)


def _tokens(text: str, encode: Encode) -> bytes:
    try:
        return encode(text)
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON may hold
        return encode(text.encode("utf-8", "replace").decode())


def ends(text: str) -> str:
    head, tail = _ENDS
    return text if len(text) <= head + tail else f"{text[:head]} {text[-tail:]}"
