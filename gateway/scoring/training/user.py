"""A training on top of an artefact: from what was read to a folder with a card."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import splintr

from gateway.scoring.artefact import CARD, GRAPH, LEVELS, Manifest, load
from gateway.scoring.contract import Prompt, Scorable
from gateway.scoring.evaluation_files import EvaluationError, EvaluationFile
from gateway.scoring.model import GraphScorer
from gateway.scoring.training.base import read_base
from gateway.scoring.training.build import Made, heads_of, write
from gateway.scoring.training.card import Data, Facts, card
from gateway.scoring.training.design import Matrix, raw_features
from gateway.scoring.training.extend import extend
from gateway.scoring.training.held_out import (
    Calibrated,
    Predicted,
    Row,
    calibrated,
    measured,
    p_good,
    with_base,
)
from gateway.scoring.training.outcomes import Moved, moved_heads
from gateway.scoring.training.store import neighbours_of, read_heads, read_neighbours, remember
from gateway.scoring.training.traffic import Asked, Level, Traffic, read_traffic
from gateway.values import OutcomeRow

_HELD = (
    "Five times an expert was fitted to four fifths of a source and asked about the rest: `trained` is on prompts that "
    "it had not seen, `base` is the scorer before this training, `length` needs no scorer at all."
)
_HEADS = "Before: with the head as it was fitted here, on prompts that the source's expert had not seen."
_LIMITS = (
    "Of prompts unlike those above the base's experts speak, within the limits of its own card.",
    "It predicts the scores that it was given: whatever they reward or overlook, it does too.",
    (
        "Without `--keep-texts` no prompt is in this folder, but vectors and counts of words of each are, from which parts "
        "of a prompt may be guessed. Keep it as you keep the prompts."
    ),
)


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    manifest: Manifest
    rows: Sequence[Row]
    heads: Sequence[Calibrated]
    notes: Sequence[str]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the user says of the result."""

    name: str = ""
    licence: str = ""
    rounds: int = 500
    """Resamples for intervals."""
    keep_texts: bool = False


class Trainer:
    """Its calls raise ConfigError where the base will not do, and EvaluationError where the data will not."""

    def __init__(self, base: Path, *, now_ms: int) -> None:
        self._folder = base
        self._artefact = load(base)
        self._manifest = self._artefact.manifest
        self._encode = splintr.Tokenizer.from_pretrained(self._manifest.tokenizer).encode_flat
        self._now_ms = now_ms
        self._base = read_base(base / GRAPH)
        self._fitted, self._memory = read_heads(base, self._manifest)

    def read(
        self, file: EvaluationFile, levels: Mapping[str, Level], by: str
    ) -> tuple[list[Traffic], list[str]]:
        found, notes = read_traffic(
            file, Asked(raw=self._raw, known=self._manifest.models, levels=levels, by=by)
        )
        for one in found:
            if one.source.name in self._manifest.sources:
                raise EvaluationError(
                    f"{file.path}: the base has a source {one.source.name!r} already: train on top of the one without, or "
                    f"give this another name"
                )
        return found, notes

    def moved(self, rows: Sequence[OutcomeRow], candidates: Iterable[Scorable]) -> dict[str, Moved]:
        # Whoever configured an accuracy would hear it back: the head is what stands behind it.
        known = [msgspec.structs.replace(one, p_good=None) for one in candidates]
        made = datetime.fromisoformat(self._manifest.created).replace(tzinfo=UTC)
        scorer = GraphScorer(self._artefact, self._encode)
        since_ms = round(made.timestamp() * 1000)
        return moved_heads(rows, known, scorer.head, now_ms=self._now_ms, since_ms=since_ms)

    def train(self, traffic: Sequence[Traffic], moved: Mapping[str, Moved], out: Path, wish: Wish) -> Trained:
        """Writes the folder."""
        names = [one.source.name for one in traffic]
        if len(set(names)) < len(names):
            raise EvaluationError(
                "two files have a source of the same name: give one of them another, or join them"
            )
        sources = [one.source for one in traffic]
        unseen = [with_base(self._fitted, self._memory, one.source, one.prompts) for one in traffic]
        heads = {
            name: head
            for source, (_, levels) in zip(sources, unseen, strict=True)
            for name, head in heads_of(source.models, levels).items()
        }
        heads |= {name: one.head for name, one in moved.items() if one.head}
        fitted = extend(self._fitted, self._memory, sources) if sources else self._fitted
        memory = self._memory.joined(remember(fitted, sources))
        neighbours = [read_neighbours(self._folder)]
        if traffic:
            texts = [one.prompts if wish.keep_texts else [""] * len(one.prompts) for one in traffic]
            neighbours.append(neighbours_of(sources, texts, len(self._manifest.sources)))
        manifest = msgspec.structs.replace(
            self._manifest,
            created=datetime.fromtimestamp(self._now_ms // 1000, UTC).replace(tzinfo=None).isoformat(),
            sources=fitted.sources,
            models=self._manifest.models | heads,
        )
        made = Made(
            base=self._base, fitted=fitted, memory=memory, neighbours=tuple(neighbours), manifest=manifest
        )
        trained = self._told(traffic, unseen, write(made, out, wish.name), wish.rounds)
        _write_card(self._manifest, trained, traffic, moved, unseen, out, wish)
        return trained

    def _raw(self, prompts: Sequence[Prompt]) -> tuple[Matrix, Matrix]:
        return raw_features(self._base, prompts, self._encode)

    def _told(
        self, traffic: Sequence[Traffic], unseen: Sequence[Predicted], manifest: Manifest, rounds: int
    ) -> Trained:
        rows, heads, notes = [], [], []
        for one, (need, levels) in zip(traffic, unseen, strict=True):
            source = one.source
            before = self._fitted.predict(source.meanings, source.features)[0]
            scores = {
                "length": np.array([float(len(text)) for text in one.prompts]),
                "base": before.astype(np.float64),
                "trained": need,
            }
            low, high = _ends(one)
            row = measured(
                source.name, f"{low} to {high}", (source.levels[low], source.levels[high]), scores, rounds
            )
            rows.append(row)
            heads += [
                calibrated(source.name, model, p_good(levels, manifest.models[model]), values)
                for model, values in source.models.items()
            ]
            notes += _notes(one, row)
        return Trained(manifest=manifest, rows=rows, heads=heads, notes=notes)


def _ends(traffic: Traffic) -> tuple[str, str]:
    """The lowest and the highest level that somebody stands for."""
    found = sorted({LEVELS.index(placed.level) for placed in traffic.placed.values()})
    return LEVELS[found[0]], LEVELS[found[-1]]


def _notes(traffic: Traffic, row: Row) -> list[str]:
    name, notes = traffic.source.name, []
    if traffic.left_out:
        notes.append(f"{name}: {traffic.left_out:,} prompts without a score of every level were left out.")
    if len({placed.level for placed in traffic.placed.values()}) == 1:
        notes.append(
            f"{name}: all its models stand at one level, so only their failures could be learnt from."
        )
    elif traffic.source.need == "failure":
        notes.append(f"{name}: the stronger models are not better there, so there is no gain to learn.")
    elif row.apgr["trained"].value < row.apgr["base"].value:
        notes.append(
            f"{name}: on prompts kept aside this training finds less than the base did: more prompts are needed, or these "
            f"do not tell hard from easy. Do not serve it for its routing."
        )
    return notes


def _write_card(
    base: Manifest,
    trained: Trained,
    traffic: Sequence[Traffic],
    moved: Mapping[str, Moved],
    unseen: Sequence[Predicted],
    out: Path,
    wish: Wish,
) -> None:
    data = [
        Data(
            name=f"scorer {base.version}",
            prompts=0,
            what="the base, by what it keeps",
            licence="see its card",
        )
    ]
    data += [
        Data(
            name=one.source.name,
            prompts=len(one.prompts),
            what="; ".join(f"{model}: {placed.level} by {placed.by}" for model, placed in one.placed.items()),
            licence=wish.licence or "not stated",
        )
        for one in traffic
    ]
    told = [
        f"{model}: {one.outcomes:,} outcomes of the ledger, {one.predicted:.3f} predicted and {one.observed:.3f} observed, "
        f"moved its head by {one.by:+.2f} logits."
        for model, one in moved.items()
        if one.head
    ]
    text = card(
        Facts(
            manifest=trained.manifest,
            data=data,
            rows=trained.rows,
            how_held=_HELD,
            heads=trained.heads,
            how_heads=_HEADS,
            limits=_LIMITS,
            diagrams=_diagrams(trained.manifest, traffic, unseen, out),
            more=told,
        )
    )
    (out / CARD).write_text(text, encoding="utf-8")


def _diagrams(
    manifest: Manifest, traffic: Sequence[Traffic], unseen: Sequence[Predicted], out: Path
) -> dict[str, str]:
    from gateway.scoring import diagram

    shown = {}
    for one, (_, levels) in zip(traffic, unseen, strict=True):
        name = one.source.name
        heads = []
        for model, values in one.source.models.items():
            known = ~np.isnan(values)
            heads.append(diagram.Head(model, p_good(levels, manifest.models[model])[known], values[known]))
        paths = diagram.save(diagram.reliability_diagram(heads, name), out, f"{name} reliability")
        shown[paths[0].name] = f"{name}: what was predicted of each model, and what came of it"
    return shown
