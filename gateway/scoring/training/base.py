"""What stays when heads are trained again: the vectors and classes of tokens. They are read back from any graph of ours."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.errors import ConfigError
from gateway.scoring.classes import CLASSES, classes_of

NAMES = ("rows", "table", "pull", "combination", "classes")


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """V entries of the tokenizer's vocabulary share R vectors of D dimensions; row 0 stands for none."""

    rows: npt.NDArray[np.int32]
    """[V] the vector of a token."""
    table: npt.NDArray[np.int8]
    """[R, D]"""
    pull: npt.NDArray[np.float32]
    """[R, 1] by which a row of the table is multiplied: what makes its integers a vector, times what the token counts for in
    the mean. Frequent ones say little (Arora et al. 2017, smooth inverse frequency); 0 is for those that are not known."""
    combination: npt.NDArray[np.int32]
    """[V] which combination of classes a token has."""
    classes: npt.NDArray[np.float32]
    """[combinations, len(CLASSES)] of 0 and 1."""


def read_base(graph: Path) -> Base:
    """Raises ConfigError."""
    import onnx
    from onnx import numpy_helper

    try:
        model = onnx.load(graph)
    except Exception as exc:  # whatever the parser meets in a file that is none
        raise ConfigError(f"{graph}: not a model") from exc
    found = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer if one.name in NAMES}
    if missing := [name for name in NAMES if name not in found]:
        raise ConfigError(f"{graph}: not a scorer's graph: no {missing[0]}")
    return Base(**found)


def make_base(
    pieces: Sequence[bytes],
    vectors: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    row_of: Callable[[bytes], int],
) -> Base:
    """`pieces` in the order of their ids; `vectors` [R, D], of which row 0 stands for none."""
    scale = np.abs(vectors).max(axis=1) / 127 + 1e-12
    combinations: dict[tuple[str, ...], int] = {}
    which = np.zeros(len(pieces), np.int32)
    rows = np.zeros(len(pieces), np.int32)
    for token, piece in enumerate(pieces):
        row = rows[token] = row_of(piece)
        names = tuple(name for name in classes_of(piece) if name != "unread" or not weights[row])
        which[token] = combinations.setdefault(names, len(combinations))
    classes = np.zeros((len(combinations), len(CLASSES)), np.float32)
    for names, number in combinations.items():
        classes[number, [CLASSES.index(name) for name in names]] = 1
    return Base(
        rows=rows,
        table=np.round(vectors / scale[:, None]).astype(np.int8),
        pull=(scale * weights).astype(np.float32)[:, None],
        combination=which,
        classes=classes,
    )
