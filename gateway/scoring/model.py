"""The always-on scorer: one graph on onnxruntime, fed by a Rust tokenizer, in a fraction of a millisecond."""

import math
import re
from bisect import bisect
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.scoring.artefact import LEVELS, Artefact, Head
from gateway.scoring.contract import Prompt, Scorable
from gateway.scoring.essence import essence
from gateway.scoring.features import (
    Encode,
    Floats,
    Inputs,
    Row,
    assembled,
    context_of,
    ends,
    resized,
    structure_of,
)
from gateway.scoring.robust import parts, runs, settled
from gateway.values import Score
from policies.contract import Size

POSITIONS: dict[Size, float] = {"small": 0.0, "medium": 1.0, "large": 2.0, "cloud": 3.0}
"""Where a model of a size stands among the levels until somebody has measured it."""

READ = 0.5
"""Below this share of known tokens the text counts as unread: only its length and structure speak."""

_LEAST, _MOST = 0.005, 0.995

OUTPUTS = ("need", "levels", "kinds", "read")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_DRESSING = frozenset({"meta", "hf", "preview", "latest", "awq", "gptq", "gguf", "fp8"})
_TUNED = ("-instruct", "-chat", "-it")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What the graph says of a prompt, before any model is looked at."""

    need: float
    """Expected gain of a strong model over a weak one; only its order means anything."""
    complexity: float
    levels: tuple[float, ...]
    """Logits of P(good) for `LEVELS`."""
    category: str
    is_partial: bool


class GraphScorer:
    """Implements `Scorer`."""

    def __init__(self, artefact: Artefact, encode: Encode) -> None:
        self._session = artefact.session
        self._encode = encode
        self._manifest = artefact.manifest
        self._quantiles = list(artefact.manifest.quantiles)
        self._heads = {normal(name): head for name, head in artefact.manifest.models.items()}
        self._found: dict[Scorable, Head] = {}

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Scorable]) -> Sequence[Score]:
        heads = [(candidate.id, self.head(candidate)) for candidate in candidates]
        return [_score(self.view(prompt), heads) for prompt in prompts]

    def view(self, prompt: Prompt) -> View:
        """A part of the prompt alone, such as a gadget at its end, raises the need by no more than a bound."""
        inputs, rooms = whole_and_runs(prompt, self._encode)
        need, levels, kinds, known = self.run(inputs)
        spread = self._manifest.spread
        kept = settled(float(need[0]), need[1:].tolist(), [room * spread for room in rooms])
        # What was taken off the need is taken off the difficulty too: logits of all levels move alike.
        relief = (float(need[0]) - kept) / spread
        logits = [math.log(level / (1 - level)) + relief for level in levels[0].tolist()]
        return View(
            need=kept,
            complexity=self._share_below(kept),
            levels=tuple(logits),
            category=self._manifest.kinds[int(kinds[0].argmax())],
            is_partial=bool(known[0, 0] < READ),
        )

    def run(self, inputs: Inputs, outputs: Sequence[str] = OUTPUTS) -> list[Floats]:
        """The graph's outputs, a row for each row of the inputs."""
        found: list[Any] = self._session.run(outputs, inputs.feeds())
        return found

    def head(self, candidate: Scorable) -> Head:
        """Measured under its name, else its size's level; shifted to its known accuracy if somebody says one."""
        head = self._found.get(candidate)
        if head is None:
            head = self._found[candidate] = self._make_head(candidate)
        return head

    def _share_below(self, need: float) -> float:
        """Of ordinary traffic. Neither 0 nor 1: something may always be easier or harder than all that was seen."""
        quantiles = self._quantiles
        above = bisect(quantiles, need)
        step = (_MOST - _LEAST) / (len(quantiles) - 1)
        if above == 0:
            return _LEAST
        if above == len(quantiles):
            return _MOST
        low, high = quantiles[above - 1], quantiles[above]
        return _LEAST + step * (above - 1 + (need - low) / (high - low))

    def _make_head(self, candidate: Scorable) -> Head:
        for name in (candidate.upstream_model, candidate.model):
            for form in known_as(name) if candidate.p_good is None and name else ():
                if known := self._heads.get(form):
                    return known
        position = POSITIONS[candidate.size]
        shift = 0.0
        if candidate.p_good is not None:
            # Somebody's 0 or 1 is a small sample, not certainty.
            held = min(max(candidate.p_good, 0.01), 0.99)
            shift = math.log(held / (1 - held)) - at(self._manifest.level_means, position)
        return Head(position=position, shift=shift, prompts=0, accuracy=candidate.p_good or 0.0)


def whole_and_runs(prompt: Prompt, encode: Encode) -> tuple[Inputs, list[float]]:
    """The prompt without what is no part of the question, then each of its runs; and the room above each run."""
    of_user = parts(ends(essence(prompt.user)))
    around = context_of(prompt)
    beside = [share for _, share in around]
    found = runs(of_user)
    structure = structure_of(prompt, "".join(of_user))
    rows = [
        Row(
            shares=[*[0.0] * start, *[1.0] * (stop - start), *[0.0] * (len(of_user) - stop), *beside],
            opens=start,
            structure=resized(structure, sum(map(len, of_user[start:stop]))),
        )
        for start, stop in ((0, len(of_user)), *((run.start, run.stop) for run in found))
    ]
    texts = [*of_user, *(text for text, _ in around)]
    return assembled(texts, rows, encode), [run.room for run in found]


def at(levels: Sequence[float], position: float) -> float:
    """Between two neighbouring levels in proportion."""
    low = min(int(position), len(LEVELS) - 2)
    share = position - low
    return levels[low] * (1 - share) + levels[low + 1] * share


def known_as(name: str) -> tuple[str, ...]:
    """Under which names to look for a model. Who serves `llama-3.1-8b` serves the tuned one rather than the base."""
    plain = normal(name)
    return (plain,) if plain.endswith(_TUNED) else (*(f"{plain}{suffix}" for suffix in _TUNED), plain)


def normal(name: str) -> str:
    """`meta-llama/Meta-Llama-3.1-8B-Instruct` and `llama-3.1-8b-instruct` are the same model."""
    parts = _NOT_IN_NAMES.split(name.rsplit("/", 1)[-1].lower())
    return "-".join(part for part in parts if part and part not in _DRESSING)


def _score(view: View, heads: Sequence[tuple[str, Head]]) -> Score:
    p_good = {
        candidate: 1 / (1 + math.exp(-(at(view.levels, head.position) + head.shift)))
        for candidate, head in heads
    }
    return Score(
        complexity=view.complexity, p_good=p_good, category=view.category, is_partial=view.is_partial
    )
