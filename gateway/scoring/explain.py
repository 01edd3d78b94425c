"""Why the scorer says what it says of a prompt: the graph's own arithmetic, taken apart. Nothing of a prompt is kept."""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import splintr

from gateway.errors import ConfigError
from gateway.scoring.artefact import HEADS, LEVELS, NEIGHBOURS, Artefact, digest, load
from gateway.scoring.contract import Prompt, Scorable
from gateway.scoring.essence import essence
from gateway.scoring.features import STRUCTURE, Inputs
from gateway.scoring.model import GraphScorer, View, at, whole_and_runs
from gateway.scoring.training.design import FEATURES
from gateway.scoring.training.fit import CAP

Vector = npt.NDArray[np.float64]
KnownBy = Literal["measured", "configured", "size"]

SHOWN = 8
"""Words that are named, at most, of those that raise the need and of those that lower it."""
NEAREST = 5
_SAID = {
    "total": "{} in all",
    "distinct": "different {}",
    "share": "share of {}",
    "opening": "opens with {}",
    "tokens": "tokens: {}",
    "structure": "{}",
}
"""What is counted, for people."""
_MEDIUM = LEVELS.index("medium")
_NORMAL_90 = 1.645
_OUTPUTS = ("need", "kinds", "mix", "meaning", "features")
_LEAST, _MOST = 0.02, 0.98
_PARALLEL = 1e-9
_AT_A_TIME = 64
"""Tokens that are looked at together: a row has a place for each of some thousand."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What moved the need, and by how many of its standard deviations over reference traffic."""

    name: str
    contribution: float
    value: float | None = None
    """Of a feature: standard deviations above its mean over all training prompts, cut at 3. Of structure that is
    weighed by hand: as it was counted."""


class Chance(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    size: str
    p_good: float
    low: float
    high: float
    """Ends of the 90 % interval: see `Explanation`."""
    known_by: KnownBy
    """Whether the model was measured under its name, its accuracy is configured, or only its size is known."""


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    """The beginning of a training prompt."""
    source: str
    likeness: float
    """Cosine of the meanings."""
    medium: float
    """Share of good answers there, of models of 7 to 9 billion parameters, and of the best."""
    frontier: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`need` is `spread` times the sum of `base` and of all contributions in `features`, `by_hand` and `meaning`, less
    `taken_off`; all of those are in standard deviations of need over reference traffic.

    The intervals of P(good) are about the rate at which such prompts are answered well, as far as the training prompts
    tell it: how sure each source's ridge regression is of it (its posterior, for the medium level), how far the sources
    disagree, weighed by the mix, and how sure the model's own head is (nobody's accuracy but its size: one logit). They
    do not cover whether one particular answer will be good, whether your prompts are like the training prompts, the
    error of the judges there, or anything that a tenant's own outcomes say.
    """

    version: str
    need: float
    complexity: float
    """Share of reference traffic that needs less."""
    category: str
    kinds: dict[str, float]
    """Probability of each kind, the likeliest first."""
    is_partial: bool
    sources: dict[str, float]
    """How much each source's expert counted, the most first."""
    candidates: tuple[Chance, ...]
    spread: float
    ordinary: float
    """The need in the middle of reference traffic."""
    base: float
    """The experts' constants in this mix, before anything is known of the prompt."""
    meaning: float
    """What the words mean, all together, against the mean of all training prompts."""
    features: tuple[Part, ...]
    """The one that moved most is first."""
    by_hand: tuple[Part, ...]
    words: tuple[Part, ...]
    """Those that carry most of the meaning, at most 8 up and 8 down: their own parts, before that mean is taken off."""
    taken_off: float
    """By the rule that no first or last part of a prompt may raise its need by more than a bound."""
    ignored_chars: int
    """Of the last user turn: filling, and words to the router."""
    neighbours: tuple[Neighbour, ...]


class Tokenizer(Protocol):
    def encode_flat(self, text: str, /) -> bytes: ...

    def decode_bytes(self, ids: list[int], /) -> bytes: ...


class Explainer:
    """Loads what it needs when it is first asked. Takes milliseconds, for long prompts some tens: not for the loop."""

    def __init__(self, artefact: Artefact, scorer: GraphScorer, tokenizer: Tokenizer) -> None:
        self.artefact = artefact
        self.scorer = scorer
        self._tokenizer = tokenizer

    def explain(self, prompt: Prompt, candidates: Sequence[Scorable]) -> Explanation:
        """Raises ConfigError if a file of the artefact is missing or damaged."""
        heads, manifest = self._heads, self.artefact.manifest
        inputs, _ = whole_and_runs(prompt, self._tokenizer.encode_flat)
        need, kinds, mix, meaning, features = (out[0] for out in self.scorer.run(inputs, _OUTPUTS))
        view = self.scorer.view(prompt)
        centred = (meaning - heads.meaning_mean) / heads.meaning_scale
        level = np.clip((features - heads.feature_mean) / heads.feature_scale, -CAP, CAP)
        x = np.concatenate([centred, level]).astype(np.float64)
        weights = (mix @ heads.need).astype(np.float64) / manifest.spread
        width = len(meaning)
        direction = weights[:width] / heads.meaning_scale
        reach = heads.reach(mix, x)
        return Explanation(
            version=manifest.version,
            need=view.need,
            complexity=view.complexity,
            category=view.category,
            kinds=_shares(manifest.kinds, kinds),
            is_partial=view.is_partial,
            sources=_shares(manifest.sources, mix),
            candidates=tuple(self._chance(one, view, reach) for one in candidates),
            spread=manifest.spread,
            ordinary=manifest.quantiles[len(manifest.quantiles) // 2],
            base=float(weights[-1]),
            meaning=float(weights[:width] @ centred),
            features=_parts(
                [_SAID[block].format(name) for block, name in FEATURES], weights[width:-1] * level, level
            ),
            by_hand=_by_hand(inputs.structure[0], heads.by_hand / manifest.spread),
            words=self._words(inputs, meaning, direction),
            taken_off=(float(need) - view.need) / manifest.spread,
            ignored_chars=len(prompt.user) - len(essence(prompt.user)),
            neighbours=self._nearest(meaning),
        )

    def known_by(self, candidate: Scorable) -> KnownBy:
        if candidate.p_good is not None:
            return "configured"
        return "measured" if self.scorer.head(candidate).prompts else "size"

    def _chance(self, candidate: Scorable, view: View, reach: tuple[float, float]) -> Chance:
        head = self.scorer.head(candidate)
        known_by = self.known_by(candidate)
        # A head is fitted with a normal prior of one logit: what the measured prompts leave of it. Whoever configures an
        # accuracy is taken at his word.
        seen = head.prompts * head.accuracy * (1 - head.accuracy)
        own = 0.0 if known_by == "configured" else _NORMAL_90 / math.sqrt(1 + seen)
        middle = at(view.levels, head.position) + head.shift
        down, up = (math.hypot(side, own) for side in reach)
        return Chance(
            id=candidate.id,
            size=candidate.size,
            p_good=_sigmoid(middle),
            low=_sigmoid(middle - down),
            high=_sigmoid(middle + up),
            known_by=known_by,
        )

    def _words(self, inputs: Inputs, meaning: npt.NDArray[np.float32], direction: Vector) -> tuple[Part, ...]:
        """The meaning is the sum of all tokens' vectors, made one long; each has its part of its projection.

        The graph tells only directions, so it is asked for each token alone (u) and for all the others (r). With the
        whole (m) they lie in one plane, and m = a u + b r says how much of m the token is.
        """
        counts = inputs.counts[0]
        present = np.flatnonzero(counts)
        ids, counts, whole = inputs.ids[present], counts[present], meaning.astype(np.float64)
        if not ids.size:
            return ()
        parts = np.concatenate(
            [
                self._projections(ids, counts, np.arange(start, min(start + _AT_A_TIME, len(ids))), whole)
                @ direction
                for start in range(0, len(ids), _AT_A_TIME)
            ]
        )
        order = np.argsort(-parts)
        up, down = order[parts[order] > 0][:SHOWN], order[parts[order] < 0][-SHOWN:]
        return tuple(
            Part(name=self._text(int(ids[row])), contribution=float(parts[row])) for row in (*up, *down)
        )

    def _projections(
        self,
        ids: npt.NDArray[np.int32],
        counts: npt.NDArray[np.float32],
        which: npt.NDArray[np.int64],
        whole: Vector,
    ) -> Vector:
        """[which, D] What some of the tokens are of the whole."""
        alone = np.zeros((len(which), len(ids)), np.float32)
        alone[np.arange(len(which)), which] = counts[which]
        rows = np.concatenate([alone, counts - alone])
        asked = Inputs(ids, rows, np.zeros_like(rows), np.zeros((len(rows), len(STRUCTURE)), np.float32))
        token, rest = np.split(self.scorer.run(asked, ("meaning",))[0].astype(np.float64), 2)
        parts: Vector = _first_of_two(token, rest, whole)[:, None] * token
        return parts

    def _text(self, token: int) -> str:
        return self._tokenizer.decode_bytes([token]).decode("utf-8", "replace").strip(" ")

    def _nearest(self, meaning: npt.NDArray[np.float32]) -> tuple[Neighbour, ...]:
        known = self._neighbours
        if not meaning.any():
            return ()
        likeness = known.meanings @ meaning / known.lengths
        return tuple(
            Neighbour(
                text=str(known.texts[row]),
                source=self.artefact.manifest.sources[known.source[row]],
                likeness=float(likeness[row]),
                medium=float(known.medium[row]),
                frontier=float(known.frontier[row]),
            )
            for row in np.argsort(-likeness)[:NEAREST]
        )

    @cached_property
    def _heads(self) -> "_Heads":
        return _Heads(_arrays(self.artefact, HEADS), self.artefact.manifest.sources)

    @cached_property
    def _neighbours(self) -> "_Neighbours":
        return _Neighbours(_arrays(self.artefact, NEIGHBOURS))


def open_explainer(folder: Path, *, threads: int = 1) -> Explainer:
    """Raises ConfigError."""
    artefact = load(folder, threads=threads)
    tokenizer = splintr.Tokenizer.from_pretrained(artefact.manifest.tokenizer)
    return Explainer(artefact, GraphScorer(artefact, tokenizer.encode_flat), tokenizer)


class _Heads:
    """The weights of the graph once more; S sources, d columns, of which the last is the constant."""

    def __init__(self, arrays: dict[str, Any], sources: Sequence[str]) -> None:
        self.meaning_mean: npt.NDArray[np.float32] = arrays["meaning_mean"]
        self.meaning_scale = float(arrays["meaning_scale"])
        self.feature_mean: npt.NDArray[np.float32] = arrays["feature_mean"]
        self.feature_scale: npt.NDArray[np.float32] = arrays["feature_scale"]
        self.need: npt.NDArray[np.float32] = arrays["need"]
        self.by_hand: npt.NDArray[np.float32] = arrays["by_hand"]
        self._medium = arrays["levels"][:, _MEDIUM]
        self._trust = arrays["trust"]
        self._sure = [arrays[f"sure_{name}"] for name in sources]

    def reach(self, mix: npt.NDArray[np.float32], x: Vector) -> tuple[float, float]:
        """How far the 90 % interval of P(good) at the medium level reaches down and up, in logits.

        With Sigma = L L^T the posterior covariance of a source's weights, the variance of what it predicts is
        x^T Sigma x = |L^T x|^2; that of a mixture adds how far its parts lie from their mean. The ends are found as
        probabilities, within what the graph may say, because that is what the regressions are fitted to.
        """
        shares = mix * self._trust / (mix @ self._trust)
        each = np.clip(self._medium @ np.append(x, 1.0), _LEAST, _MOST)
        within = np.array([np.square(x @ factor.astype(np.float64)).sum() for factor in self._sure])
        p = float(shares @ each)
        reach = _NORMAL_90 * math.sqrt(float(shares @ (within + np.square(each - p))))
        low, high = max(p - reach, _LEAST), min(p + reach, _MOST)
        return _logit(p) - _logit(low), _logit(high) - _logit(p)


class _Neighbours:
    def __init__(self, arrays: dict[str, Any]) -> None:
        self.meanings = arrays["meanings"].astype(np.float32)
        self.lengths = np.maximum(np.linalg.norm(self.meanings, axis=1), 1.0)
        self.texts = arrays["texts"]
        self.source = arrays["source"]
        self.medium = arrays["medium"]
        self.frontier = arrays["frontier"]


def _arrays(artefact: Artefact, name: str) -> dict[str, Any]:
    path = artefact.folder / name
    if digest(path) != artefact.manifest.files.get(name):
        raise ConfigError(f"{path}: missing, or not the file that the manifest names")
    with np.load(path) as file:
        return dict(file)


def _first_of_two(u: Vector, r: Vector, whole: Vector) -> Vector:
    """For each row, a in the least squares of whole = a u + b r. One of no direction has no part."""
    uu, rr, ur = (u * u).sum(axis=1), (r * r).sum(axis=1), (u * r).sum(axis=1)
    uw, rw = u @ whole, r @ whole
    area = uu * rr - ur * ur
    is_plane = area > _PARALLEL
    a: Vector = np.where(is_plane, uw * rr - rw * ur, uw) / np.where(is_plane, area, np.maximum(uu, 1.0))
    return a


def _shares(names: Sequence[str], shares: npt.NDArray[np.float32]) -> dict[str, float]:
    return {names[row]: float(shares[row]) for row in np.argsort(-shares)}


def _parts(
    names: Sequence[str], contributions: npt.NDArray[Any], values: npt.NDArray[Any]
) -> tuple[Part, ...]:
    return tuple(
        Part(name=names[row], contribution=float(contributions[row]), value=float(values[row]))
        for row in np.argsort(-np.abs(contributions))
    )


def _by_hand(structure: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]) -> tuple[Part, ...]:
    weighed = np.flatnonzero(weights)
    return _parts([STRUCTURE[row] for row in weighed], (structure * weights)[weighed], structure[weighed])


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
