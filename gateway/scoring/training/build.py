"""From sources to a folder that the gateway loads: heads, graph, manifest, and what explanations need."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.scoring.artefact import (
    FORMAT,
    GRAPH,
    HEADS,
    LEVELS,
    MANIFEST,
    NEIGHBOURS,
    Head,
    Manifest,
    digest,
)
from gateway.scoring.training.base import Base
from gateway.scoring.training.fit import Fitted, Source, fit, fit_head
from gateway.scoring.training.graph import write_graph

_STEPS = 101
_SHOWN = 160
"""Characters of a prompt that a neighbour shows."""


def build(
    base: Base,
    sources: Sequence[Source],
    texts: Sequence[Sequence[str]],
    out: Path,
    *,
    tokenizer: str,
    created: str,
    reference: str,
) -> Fitted:
    """`reference` names the source whose prompts stand for ordinary traffic."""
    fitted = fit(sources)
    out.mkdir(parents=True, exist_ok=True)
    write_graph(base, fitted, out / GRAPH)
    _write_heads(fitted, sources, out / HEADS)
    _write_neighbours(sources, texts, out / NEIGHBOURS)
    traffic = next(source for source in sources if source.name == reference)
    need, levels, _ = fitted.predict(traffic.meanings, traffic.features)
    manifest = Manifest(
        format=FORMAT,
        version=f"{created}-{digest(out / GRAPH)[:8]}",
        created=created,
        tokenizer=tokenizer,
        sources=fitted.sources,
        kinds=fitted.kinds,
        quantiles=tuple(round(float(q), 6) for q in np.quantile(need, np.linspace(0, 1, _STEPS))),
        spread=round(float(need.std()), 6),
        level_means=tuple(round(float(mean), 4) for mean in np.log(levels / (1 - levels)).mean(axis=0)),
        models=_models(sources),
        files={name: digest(out / name) for name in (GRAPH, HEADS, NEIGHBOURS)},
    )
    (out / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return fitted


def _models(sources: Sequence[Source]) -> dict[str, Head]:
    """Each model's head from predictions of its prompts by experts that had not seen them."""
    heads: dict[str, Head] = {}
    for at, source in enumerate(sources):
        if not source.models:
            continue
        levels = _unseen(sources, at)
        for name, scores in source.models.items():
            heads[name] = fit_head(levels, scores)
    return heads


def _unseen(sources: Sequence[Source], at: int, folds: int = 3) -> npt.NDArray[np.float32]:
    source = sources[at]
    fold = np.random.default_rng(0).integers(0, folds, len(source.kinds))
    levels = np.zeros((len(source.kinds), len(LEVELS)), np.float32)
    for number in range(folds):
        others = [part(one, fold != number) if one is source else one for one in sources]
        seen = fit(others)
        held = fold == number
        levels[held] = seen.predict(source.meanings[held], source.features[held])[1]
    return levels


def part(source: Source, rows: npt.NDArray[np.bool_]) -> Source:
    """The source with only some of its prompts."""
    return msgspec.structs.replace(
        source,
        meanings=source.meanings[rows],
        features=source.features[rows],
        levels={level: p[rows] for level, p in source.levels.items()},
        kinds=[kind for kind, is_kept in zip(source.kinds, rows, strict=True) if is_kept],
        models={name: scores[rows] for name, scores in source.models.items()},
    )


def _write_heads(fitted: Fitted, sources: Sequence[Source], path: Path) -> None:
    """The weights once more, for explanations, and how sure each expert is: its posterior covariance, as a factor."""
    arrays: dict[str, Any] = {
        name: value
        for name in fitted.__struct_fields__
        if isinstance(value := getattr(fitted, name), np.ndarray | float)
    }
    for source in sources:
        x = fitted.standardised(source.meanings, source.features)[:, :-1].astype(np.float64)
        precision = x.T @ x + source.alpha * np.eye(x.shape[1])
        residual = float(np.var(source.levels["medium"]))
        arrays[f"sure_{source.name}"] = np.linalg.cholesky(np.linalg.inv(precision) * residual).astype(
            np.float16
        )
    np.savez_compressed(path, **arrays)


def _write_neighbours(sources: Sequence[Source], texts: Sequence[Sequence[str]], path: Path) -> None:
    meanings = np.concatenate([source.meanings for source in sources])
    np.savez_compressed(
        path,
        meanings=np.round(meanings * 127).astype(np.int8),
        source=np.concatenate([np.full(len(one.kinds), at, np.uint8) for at, one in enumerate(sources)]),
        medium=np.concatenate([one.levels["medium"] for one in sources]).astype(np.float16),
        frontier=np.concatenate([one.levels["frontier"] for one in sources]).astype(np.float16),
        texts=np.array([" ".join(text[: 2 * _SHOWN].split())[:_SHOWN] for those in texts for text in those]),
    )
