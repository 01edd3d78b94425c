"""Prompts to rows of numbers: the very arithmetic that the graph does, in numpy, for fitting."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gateway.scoring.classes import CLASSES
from gateway.scoring.contract import Prompt
from gateway.scoring.features import STRUCTURE, Encode, inputs_of
from gateway.scoring.training.base import Base

Matrix = npt.NDArray[np.float32]

_TOTAL = "number maths_sign code_sign latex line question sentence comma blank unit negation premise chinese unread"
_DISTINCT = "task reasoning maths code constraints lookup number"
FEATURES: tuple[tuple[str, str], ...] = (
    *(("total", name) for name in _TOTAL.split()),
    *(("distinct", name) for name in _DISTINCT.split()),
    ("share", "capital"),
    ("share", "number"),
    *(("opening", name) for name in ("who", "what", "how", "task", "lookup")),
    ("tokens", "all"),
    ("tokens", "distinct"),
    *(("structure", name) for name in ("chars", "lines", "options", "option_chars", "is_fenced")),
)
"""What is fitted beside the meaning. Shares of more classes, or both counts of each, made it worse on tasks that were
kept aside: there are few sources to learn from."""

BY_HAND: tuple[tuple[str, float], ...] = (
    ("turns", 0.10),
    ("history_chars", 0.04),
    ("system_chars", 0.03),
    ("has_tools", 0.30),
    ("has_images", 0.30),
    ("wants_json", 0.15),
)
"""What no source has is set by hand: standard deviations of need for each unit of the structure. A long conversation
with tools, an image and JSON moves a prompt by about as much as its text can."""


def raw_features(base: Base, prompts: Sequence[Prompt], encode: Encode) -> tuple[Matrix, Matrix]:
    """Meanings [prompts, D] of length one (zero where nothing is known), and features [prompts, len(FEATURES)]."""
    meanings = np.zeros((len(prompts), base.table.shape[1]), np.float32)
    features = np.zeros((len(prompts), len(FEATURES)), np.float32)
    for at, prompt in enumerate(prompts):
        inputs = inputs_of([prompt], encode)
        counts = inputs.counts[0]
        rows = base.rows[inputs.ids]
        meaning = (base.pull[rows, 0] * np.log1p(counts)) @ base.table[rows].astype(np.float32)
        meanings[at] = meaning / max(float(np.linalg.norm(meaning)), 1e-6)
        classes = base.classes[base.combination[inputs.ids]]
        total = counts @ classes
        blocks = {
            "total": np.log1p(total),
            "distinct": np.log1p(np.minimum(counts, 1) @ classes),
            "share": total / max(float(counts.sum()), 1.0),
            "opening": np.minimum(inputs.opening[0] @ classes, 2),
            "tokens": np.log1p(np.array([counts.sum(), np.minimum(counts, 1).sum()])),
            "structure": inputs.structure[0],
        }
        joined = np.concatenate([blocks[name] for name, _ in BLOCKS])
        features[at] = joined[PICKED]
    return meanings, features


BLOCKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("total", CLASSES),
    ("distinct", CLASSES),
    ("share", CLASSES),
    ("opening", CLASSES),
    ("tokens", ("all", "distinct")),
    ("structure", STRUCTURE),
)
"""Everything that is counted, in the order in which the graph joins it; `FEATURES` picks from it."""
_JOINED = [(block, name) for block, names in BLOCKS for name in names]
PICKED = [_JOINED.index(feature) for feature in FEATURES]
