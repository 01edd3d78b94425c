"""Is the scorer stable, and can it be bought? Paraphrases, slips of the hand, and texts that try to change the route.

    python bench/routing/robustness.py [--scorer module:function] [--length 14]

A scorer takes a list of prompts and gives a float for each, higher where the strong model is needed more. The prompts
are those of tests/data/paraphrases.jsonl; the thresholds are those that send 20 % and 50 % of them to the strong model.
Attacks are made against the half that scores lower: the search sees a few of those prompts, the figures are of others.
In brackets 95 %: Wilson's intervals over prompts, of shares; of resamples of them, of rank correlations.
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
ROUNDS = 1000
"""Of resampling."""
_Z = 1.96


class Scored:
    """A scorer with the thresholds and the unit that ordinary traffic gives it."""

    def __init__(self, score: Callable[[list[str]], Sequence[float]], traffic: Sequence[str]) -> None:
        self._score = score
        self.asked = 0
        self.traffic = list(traffic)
        self.scores = self(self.traffic)
        self.thresholds = [float(np.quantile(self.scores, 1 - share)) for share in SHARES]
        self.unit = float(self.scores.std()) or 1.0

    def __call__(self, prompts: Sequence[str]) -> "np.ndarray":
        self.asked += len(prompts)
        return np.asarray(self._score(list(prompts)), dtype=float)

    def same_route(self, a: "np.ndarray", b: "np.ndarray") -> list[str]:
        return [_share((a > threshold) == (b > threshold)) for threshold in self.thresholds]


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
        print(f"| {name} | {chosen.sum()} | {_correlation(a, b)} | {at_20} | {at_50} |")


def perturbed(scored: Scored) -> None:
    print(
        "\n| change | same route at 20 % | at 50 % | mean shift, SD | mean distance, SD |\n|---|---|---|---|---|"
    )
    for name, change in CHANGES.items():
        after = scored([change(prompt) for prompt in scored.traffic])
        at_20, at_50 = scored.same_route(scored.scores, after)
        shift = (after - scored.scores) / scored.unit
        print(f"| {name} | {at_20} | {at_50} | {shift.mean():+.2f} | {np.abs(shift).mean():.2f} |")


def upward(scored: Scored, prompts: Sequence[str]) -> None:
    print(f"\n{len(prompts)} prompts of the lower half; share that moves to the strong model.\n")
    print(
        "| added text | over the 20 % threshold | over the 50 % threshold | mean shift, SD |\n|---|---|---|---|"
    )
    for kind, group in (("instructions: ", attacks.INSTRUCTIONS), ("padding: ", attacks.PADDING)):
        moved = np.array([_moved(scored, prompts, attack) for attack in group.values()])
        named = {kind + name: rows for name, rows in zip(group, moved, strict=True)}
        named |= {
            f"**{kind}mean**": moved.mean(axis=0),
            f"**{kind}the worst for each prompt**": moved.max(axis=0),
        }
        for name, rows in named.items():
            print(f"| {name} | {_row(rows)} |")


def searched(
    scored: Scored, seen: Sequence[str], unseen: Sequence[str], words: Sequence[str], length: int
) -> None:
    top = scored.thresholds[0]
    print(
        f"\nSearched on {len(seen)} prompts among {len(words):,} words, {length} of them added; figures on the others.\n"
    )
    print(
        "| place | over the 20 % threshold | over the 50 % threshold | mean shift, SD | prompts scored | s | found |\n"
        "|---|---|---|---|---|---|---|"
    )
    for place in ("after", "before", "around"):
        began, asked = time.perf_counter(), scored.asked
        found = attacks.search(
            scored,
            seen,
            words,
            where=place,
            length=length,
            goal=lambda scores: 1 / (1 + np.exp((top - scores) / scored.unit)),
        )
        took, asked = time.perf_counter() - began, scored.asked - asked
        row = _row(_moved(scored, unseen, found))
        print(f"| {place} | {row} | {asked:,} | {took:.0f} | `{_shown(found)}` |", flush=True)


def downward(scored: Scored, hard: Sequence[str], words: Sequence[str], length: int) -> None:
    seen = hard[::5][:SEEN]
    unseen = [prompt for prompt in hard if prompt not in seen]
    print(f"\nThe other way: {len(unseen)} prompts that are sent to the strong model at 20 %.\n")
    print(
        "| added text | below the 20 % threshold | below the 50 % threshold | mean shift, SD |\n|---|---|---|---|"
    )
    found = attacks.search(
        scored,
        seen,
        words,
        where="after",
        length=length,
        goal=lambda scores: 1 / (1 + np.exp((scores - scored.thresholds[0]) / scored.unit)),
    )
    for name, attack in {**attacks.DOWNWARD, f"searched: {_shown(found)}": found}.items():
        over_20, over_50, shift = _moved(scored, unseen, attack)
        print(f"| {name} | {_row((1 - over_20, 1 - over_50, shift))} |")


def _moved(scored: Scored, prompts: Sequence[str], attack: attacks.Attack) -> "np.ndarray":
    """Three rows, of each prompt once attacked: 1 where it is over either threshold, and its shift in standard
    deviations of the traffic."""
    after = scored(attacks.apply(attack, prompts))
    over = [(after > threshold).astype(float) for threshold in scored.thresholds]
    return np.array([*over, (after - scored(prompts)) / scored.unit])


def _row(moved: Sequence["np.ndarray"]) -> str:
    over_20, over_50, shift = moved
    return f"{_share(over_20)} | {_share(over_50)} | {shift.mean():+.2f}"


def _share(values: "np.ndarray") -> str:
    """Of values from 0 to 1, one for each prompt; between 0 and 1 the interval is wider than it need be."""
    mean, n = float(np.mean(values)), len(values)
    centre, spread = mean + _Z**2 / (2 * n), _Z * (mean * (1 - mean) / n + (_Z / (2 * n)) ** 2) ** 0.5
    low, high = (
        abs(centre + side * spread) / (1 + _Z**2 / n) for side in (-1, 1)
    )  # never below 0, but for rounding
    return f"{mean:.1%} ({low:.0%} to {high:.0%})"


def _correlation(a: "np.ndarray", b: "np.ndarray") -> str:
    rng = np.random.default_rng(0)
    drawn = (rng.integers(0, len(a), len(a)) for _ in range(ROUNDS))
    low, high = np.nanquantile([_spearman(a[rows], b[rows]) for rows in drawn], [0.025, 0.975])
    return f"{_spearman(a, b):.3f} ({low:.2f} to {high:.2f})"


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
