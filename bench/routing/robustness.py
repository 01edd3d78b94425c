"""Is the scorer stable, and can it be bought? Paraphrases, slips of the hand, and texts that try to change the route.

    python bench/routing/robustness.py [--scorer module:function] [--length 14]

A scorer takes a list of prompts and gives a float for each, higher where the strong model is needed more. The prompts
are those of tests/data/paraphrases.jsonl; the thresholds are those that send 20 % and 50 % of them to the strong model.
Attacks are made against the half that scores lower: the search sees a few of those prompts, the figures are of others.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import splintr

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.routing import attacks  # noqa: E402 - the root has to be on the path first
from bench.routing.perturbations import CHANGES  # noqa: E402

SHARES = (0.2, 0.5)
SEEN = 10
"""Prompts that the search looks at."""


class Scored:
    """A scorer with the thresholds and the unit that ordinary traffic gives it."""

    def __init__(self, score: Callable[[list[str]], Sequence[float]], traffic: Sequence[str]) -> None:
        self._score = score
        self.traffic = list(traffic)
        self.scores = self(self.traffic)
        self.thresholds = [float(np.quantile(self.scores, 1 - share)) for share in SHARES]
        self.unit = float(self.scores.std()) or 1.0

    def __call__(self, prompts: Sequence[str]) -> "np.ndarray":
        return np.asarray(self._score(list(prompts)), dtype=float)

    def same_route(self, a: "np.ndarray", b: "np.ndarray") -> list[float]:
        return [float(np.mean((a > threshold) == (b > threshold))) for threshold in self.thresholds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scorer", default="gateway.scoring.evaluate_entry:needs_strong")
    parser.add_argument("--pairs", type=Path, default=ROOT / "tests/data/paraphrases.jsonl")
    parser.add_argument("--length", type=int, default=14, help="words that the search may add")
    options = parser.parse_args()
    pairs = [json.loads(line) for line in options.pairs.read_text(encoding="utf-8").splitlines()]
    module, _, function = options.scorer.partition(":")
    scored = Scored(getattr(importlib.import_module(module), function), [pair["prompt"] for pair in pairs])
    print(f"Scorer `{options.scorer}`, {len(pairs)} prompts.\n")
    paraphrases(scored, pairs)
    perturbed(scored)
    easy = [
        prompt
        for prompt, score in zip(scored.traffic, scored.scores, strict=True)
        if score <= scored.thresholds[1]
    ]
    hard = [
        prompt
        for prompt, score in zip(scored.traffic, scored.scores, strict=True)
        if score > scored.thresholds[0]
    ]
    unseen = [prompt for i, prompt in enumerate(easy) if i % 4]
    upward(scored, unseen)
    words = attacks.vocabulary([*scored.traffic, *(pair["paraphrase"] for pair in pairs)], _tokens())
    searched(scored, easy[::4][:SEEN], unseen, words, options.length)
    downward(scored, hard, words, options.length)


def paraphrases(scored: Scored, pairs: Sequence[dict[str, str]]) -> None:
    again = scored([pair["paraphrase"] for pair in pairs])
    rows = {"all": np.ones(len(pairs), dtype=bool)}
    for key in ("lang", "kind"):
        values = np.array([pair[key] for pair in pairs])
        rows |= {str(value): values == value for value in np.unique(values)}
    print("| paraphrase | pairs | Spearman | same route at 20 % | at 50 % |\n|---|---|---|---|---|")
    for name, chosen in rows.items():
        a, b = scored.scores[chosen], again[chosen]
        at_20, at_50 = scored.same_route(a, b)
        print(f"| {name} | {chosen.sum()} | {_spearman(a, b):.3f} | {at_20:.1%} | {at_50:.1%} |")


def perturbed(scored: Scored) -> None:
    print(
        "\n| change | same route at 20 % | at 50 % | mean shift, SD | mean distance, SD |\n|---|---|---|---|---|"
    )
    for name, change in CHANGES.items():
        after = scored([change(prompt) for prompt in scored.traffic])
        at_20, at_50 = scored.same_route(scored.scores, after)
        shift = (after - scored.scores) / scored.unit
        print(f"| {name} | {at_20:.1%} | {at_50:.1%} | {shift.mean():+.2f} | {np.abs(shift).mean():.2f} |")


def upward(scored: Scored, prompts: Sequence[str]) -> None:
    print(f"\n{len(prompts)} prompts of the lower half; share that moves to the strong model.\n")
    print(
        "| added text | over the 20 % threshold | over the 50 % threshold | mean shift, SD |\n|---|---|---|---|"
    )
    for kind, group in (("", attacks.INSTRUCTIONS), ("padding: ", attacks.PADDING)):
        rows = [_moved(scored, prompts, attack) for attack in group.values()]
        for name, row in zip(group, rows, strict=True):
            print(f"| {kind}{name} | {row[0]:.1%} | {row[1]:.1%} | {row[2]:+.2f} |")
        mean = np.mean(rows, axis=0)
        print(f"| **{kind or 'instructions: '}mean** | {mean[0]:.1%} | {mean[1]:.1%} | {mean[2]:+.2f} |")


def searched(
    scored: Scored, seen: Sequence[str], unseen: Sequence[str], words: Sequence[str], length: int
) -> None:
    top = scored.thresholds[0]
    print(
        f"\nSearched on {len(seen)} prompts among {len(words):,} words, {length} of them added; figures on the others.\n"
    )
    print(
        "| place | over the 20 % threshold | over the 50 % threshold | mean shift, SD | s | found |\n|---|---|---|---|---|---|"
    )
    for place in ("after", "before", "around"):
        began = time.perf_counter()
        found = attacks.search(
            scored,
            seen,
            words,
            where=place,
            length=length,
            goal=lambda scores: 1 / (1 + np.exp((top - scores) / scored.unit)),
        )
        row = _moved(scored, unseen, found)
        took = time.perf_counter() - began
        print(f"| {place} | {row[0]:.1%} | {row[1]:.1%} | {row[2]:+.2f} | {took:.0f} | `{_shown(found)}` |")


def downward(scored: Scored, hard: Sequence[str], words: Sequence[str], length: int) -> None:
    print(f"\nThe other way: {len(hard)} prompts that are sent to the strong model at 20 %.\n")
    print(
        "| added text | below the 20 % threshold | below the 50 % threshold | mean shift, SD |\n|---|---|---|---|"
    )
    found = attacks.search(
        scored,
        hard[::5][:SEEN],
        words,
        where="after",
        length=length,
        goal=lambda scores: 1 / (1 + np.exp((scores - scored.thresholds[0]) / scored.unit)),
    )
    for name, attack in {**attacks.DOWNWARD, f"searched: {_shown(found)}": found}.items():
        over_20, over_50, shift = _moved(scored, hard, attack)
        print(f"| {name} | {1 - over_20:.1%} | {1 - over_50:.1%} | {shift:+.2f} |")


def _moved(scored: Scored, prompts: Sequence[str], attack: attacks.Attack) -> tuple[float, float, float]:
    """Shares over the two thresholds once attacked, and the mean shift in standard deviations of the traffic."""
    after = scored(attacks.apply(attack, prompts))
    over = [float(np.mean(after > threshold)) for threshold in scored.thresholds]
    return over[0], over[1], float((after - scored(prompts)).mean() / scored.unit)


def _spearman(a: "np.ndarray", b: "np.ndarray") -> float:
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1]) if len(a) > 2 else float("nan")


def _ranks(values: "np.ndarray") -> "np.ndarray":
    """Ties share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[place]


def _tokens() -> list[str]:
    """The vocabulary of the tokenizer that the gateway counts with, so that the search is not bound to the traffic's."""
    tokenizer = splintr.Tokenizer.from_pretrained("o200k_base")
    pieces = (tokenizer.decode_bytes([at]) for at in range(199_000))
    return [piece.decode(errors="replace").strip() for piece in pieces]


def _shown(attack: attacks.Attack) -> str:
    before, after = (part.strip().replace("|", "\\|").replace("`", "'") for part in attack)
    return f"{before} ... {after}".strip()


if __name__ == "__main__":
    main()
