"""What an artefact keeps for whoever explains it or trains on top of it: its weights, how sure they are, a sample of rows,
and what its prompts meant. None of it is needed to serve.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.errors import ConfigError
from gateway.scoring.artefact import HEADS, NEIGHBOURS, Manifest
from gateway.scoring.training.design import Matrix
from gateway.scoring.training.fit import Fitted, Source

MOST_ROWS = 400
"""Of a source are kept, for the mix of experts to be fitted again when another source joins them."""
_STEP = 4 / 127
"""Standard deviations: features end at 3, and of the meaning's dimensions one in millions lies beyond 4."""
_SHOWN = 160
"""Characters of a prompt that a neighbour shows."""
_ARRAYS = tuple(name for name in Fitted.__struct_fields__ if name not in ("sources", "kinds"))


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of sources whose prompts are gone; by source."""

    rows: Mapping[str, npt.NDArray[np.int8]]
    """[up to `MOST_ROWS`, d] A sample, standardised, without the constant."""
    sure: Mapping[str, npt.NDArray[np.float16]]
    """[d, d] A factor of the posterior covariance of its expert's weights at the medium level."""

    def joined(self, other: "Memory") -> "Memory":
        return Memory(rows={**self.rows, **other.rows}, sure={**self.sure, **other.sure})

    def sample(self, source: str) -> Matrix:
        """As `Fitted.standardised` made it, but for rounding."""
        rows = self.rows[source].astype(np.float32) * _STEP
        return np.concatenate([rows, np.ones((len(rows), 1), np.float32)], axis=1)


class Neighbours(msgspec.Struct, frozen=True, kw_only=True):
    """Arrays over all prompts."""

    meanings: npt.NDArray[np.int8]
    source: npt.NDArray[np.uint8]
    """A place in the manifest's sources."""
    medium: npt.NDArray[np.float16]
    frontier: npt.NDArray[np.float16]
    texts: npt.NDArray[np.str_]
    """How each prompt begins; empty where that is nobody's business."""


def remember(fitted: Fitted, sources: Sequence[Source]) -> Memory:
    rows, sure = {}, {}
    for source in sources:
        x = fitted.standardised(source.meanings, source.features)[:, :-1]
        kept = np.random.default_rng(0).permutation(len(x))[:MOST_ROWS]
        rows[source.name] = np.clip(np.round(x[kept] / _STEP), -127, 127).astype(np.int8)
        wide = x.astype(np.float64)
        precision = wide.T @ wide + source.alpha * np.eye(wide.shape[1])
        residual = float(np.var(source.levels["medium"]))
        sure[source.name] = np.linalg.cholesky(np.linalg.inv(precision) * residual).astype(np.float16)
    return Memory(rows=rows, sure=sure)


def neighbours_of(sources: Sequence[Source], texts: Sequence[Sequence[str]], first: int = 0) -> Neighbours:
    """`first`: the place of the first of them among the manifest's sources."""
    return Neighbours(
        meanings=np.round(np.concatenate([one.meanings for one in sources]) * 127).astype(np.int8),
        source=np.concatenate(
            [np.full(len(one.kinds), first + at, np.uint8) for at, one in enumerate(sources)]
        ),
        medium=np.concatenate([one.levels["medium"] for one in sources]).astype(np.float16),
        frontier=np.concatenate([one.levels["frontier"] for one in sources]).astype(np.float16),
        texts=np.array([" ".join(text[: 2 * _SHOWN].split())[:_SHOWN] for those in texts for text in those]),
    )


def write_heads(fitted: Fitted, memory: Memory, path: Path) -> None:
    arrays: dict[str, Any] = {name: getattr(fitted, name) for name in _ARRAYS}
    arrays |= {f"sure_{name}": factor for name, factor in memory.sure.items()}
    arrays |= {f"rows_{name}": rows for name, rows in memory.rows.items()}
    np.savez_compressed(path, **arrays)


def write_neighbours(neighbours: Sequence[Neighbours], path: Path) -> None:
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in neighbours])
        for name in Neighbours.__struct_fields__
    }
    np.savez_compressed(path, **arrays)


def read_heads(folder: Path, manifest: Manifest) -> tuple[Fitted, Memory]:
    """Raises ConfigError."""
    arrays = _arrays(folder / HEADS)
    try:
        weights = {name: arrays[name] for name in _ARRAYS}
        weights["meaning_scale"] = float(weights["meaning_scale"])
        fitted = Fitted(**weights, sources=manifest.sources, kinds=manifest.kinds)
        memory = Memory(
            rows={name: arrays[f"rows_{name}"] for name in manifest.sources},
            sure={name: arrays[f"sure_{name}"] for name in manifest.sources},
        )
    except KeyError as exc:
        raise ConfigError(f"{folder / HEADS}: nothing can be trained on top of it: no {exc.args[0]}") from exc
    return fitted, memory


def read_neighbours(folder: Path) -> Neighbours:
    """Raises ConfigError."""
    arrays = _arrays(folder / NEIGHBOURS)
    try:
        return Neighbours(**{name: arrays[name] for name in Neighbours.__struct_fields__})
    except KeyError as exc:
        raise ConfigError(f"{folder / NEIGHBOURS}: no {exc.args[0]}") from exc


def _arrays(path: Path) -> dict[str, Any]:
    try:
        with np.load(path) as file:
            return dict(file)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path}: missing or damaged") from exc
