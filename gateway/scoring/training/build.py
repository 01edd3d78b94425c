"""From sources to a folder that the gateway loads: heads, graph, manifest, and what explanations and later trainings need."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

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
from gateway.scoring.model import normal
from gateway.scoring.training.base import Base
from gateway.scoring.training.fit import Fitted, Source, fit, fit_head
from gateway.scoring.training.graph import write_graph
from gateway.scoring.training.store import (
    Memory,
    Neighbours,
    neighbours_of,
    remember,
    write_heads,
    write_neighbours,
)

_STEPS = 101


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """All of an artefact, not yet written."""

    base: Base
    fitted: Fitted
    memory: Memory
    neighbours: tuple[Neighbours, ...]
    manifest: Manifest
    """Without a version and without files."""


def build(
    base: Base,
    sources: Sequence[Source],
    texts: Sequence[Sequence[str]],
    out: Path,
    *,
    tokenizer: str,
    created: str,
    reference: str,
) -> Manifest:
    """`reference` names the source whose prompts stand for ordinary traffic."""
    fitted = fit(sources)
    traffic = next(source for source in sources if source.name == reference)
    need, levels, _ = fitted.predict(traffic.meanings, traffic.features)
    manifest = Manifest(
        format=FORMAT,
        version="",
        created=created,
        tokenizer=tokenizer,
        sources=fitted.sources,
        kinds=fitted.kinds,
        quantiles=tuple(round(float(q), 6) for q in np.quantile(need, np.linspace(0, 1, _STEPS))),
        spread=round(float(need.std()), 6),
        level_means=tuple(round(float(mean), 4) for mean in np.log(levels / (1 - levels)).mean(axis=0)),
        models=_models(sources),
        files={},
    )
    made = Made(
        base=base,
        fitted=fitted,
        memory=remember(fitted, sources),
        neighbours=(neighbours_of(sources, texts),),
        manifest=manifest,
    )
    return write(made, out)


def write(made: Made, out: Path, name: str = "") -> Manifest:
    """The same content gets the same version, which begins with the name or else with the day."""
    out.mkdir(parents=True, exist_ok=True)
    write_graph(made.base, made.fitted, out / GRAPH)
    write_heads(made.fitted, made.memory, out / HEADS)
    write_neighbours(made.neighbours, out / NEIGHBOURS)
    content = hashlib.sha256((out / GRAPH).read_bytes() + msgspec.json.encode(made.manifest.models))
    manifest = msgspec.structs.replace(
        made.manifest,
        version=f"{name or made.manifest.created[:10]}-{content.hexdigest()[:8]}",
        files={file: digest(out / file) for file in (GRAPH, HEADS, NEIGHBOURS)},
    )
    (out / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return manifest


def heads_of(
    models: Mapping[str, npt.NDArray[np.float64]], levels: npt.NDArray[np.float32]
) -> dict[str, Head]:
    """`levels`: P(good) of the same prompts by experts that had not seen them."""
    return {name: fit_head(levels, scores) for name, scores in models.items()}


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


def _models(sources: Sequence[Source]) -> dict[str, Head]:
    """A model that several sources measured has the head of the one that is trusted most."""
    heads: dict[str, Head] = {}
    for at, source in sorted(enumerate(sources), key=lambda one: one[1].trust):
        if source.models:
            levels = _unseen(sources, at)
            found = heads_of(source.models, levels)
            if source.trust < 1:
                found = _milder(found, source, levels)
            heads = {name: head for name, head in heads.items() if normal(name) not in map(normal, found)}
            heads |= found
    return heads


def _milder(heads: Mapping[str, Head], source: Source, levels: npt.NDArray[np.float32]) -> dict[str, Head]:
    """Without what all of the source's scores are off by: that is its measure's severity, and no model's weakness."""
    places = {level: LEVELS.index(level) for level in source.levels}
    off = np.mean(
        [
            fit_head(levels[:, [place] * len(LEVELS)], source.levels[level]).shift
            for level, place in places.items()
        ]
    )
    return {
        name: msgspec.structs.replace(head, shift=round(head.shift - float(off), 4))
        for name, head in heads.items()
    }


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
