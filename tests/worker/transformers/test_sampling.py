"""The draw over a whole batch: each row as its own settings say, whatever its neighbours want."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from workers.engines.transformers_engine.row import Row, Sampling
from workers.engines.transformers_engine.sampling import RANKED, draw, penalise

GREEDY = Sampling(temperature=0)


def logits_of(*rows: Sequence[float]) -> Any:
    return torch.tensor(rows, dtype=torch.float32).log()


def share(probabilities: Sequence[float], sampling: Sampling, draws: int = 2000) -> dict[int, float]:
    """How often each token comes, over evenly spaced numbers."""
    logits = logits_of(*[probabilities] * draws)
    tokens, _ = draw(logits, [sampling] * draws, [(index + 0.5) / draws for index in range(draws)])
    return {token: count / draws for token, count in sorted(Counter(tokens.tolist()).items())}


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
        (Sampling(top_k=2), {0: 0.625, 1: 0.375}),
        (Sampling(top_p=0.6), {0: 0.625, 1: 0.375}),
        (Sampling(top_p=0.5), {0: 1}),
        (Sampling(min_p=0.25), {0: 0.526, 1: 0.316, 2: 0.158}),
        (Sampling(top_k=3, top_p=0.8), {0: 0.625, 1: 0.375}),
        (Sampling(top_k=3, min_p=0.5), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=0.5), {0: 0.685, 1: 0.247, 2: 0.062, 3: 0.007}),
        (Sampling(top_k=1), {0: 1}),
        (Sampling(top_p=0), {0: 1}),
        (Sampling(temperature=0), {0: 1}),
        (Sampling(top_p=1, top_k=1000), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
    ],
)  # fmt: skip
def test_tokens_come_as_often_as_the_filters_leave_them(
    sampling: Sampling, expected: dict[int, float]
) -> None:
    assert share([0.5, 0.3, 0.15, 0.05], sampling) == pytest.approx(expected, abs=0.002)


def test_a_row_is_drawn_the_same_in_any_company() -> None:
    chance = random.Random(5)
    torch.manual_seed(5)
    logits = torch.randn(40, 3000) * 3
    kinds = [
        Sampling(),
        GREEDY,
        Sampling(top_p=0.9),
        Sampling(top_k=40),
        Sampling(min_p=0.1, temperature=0.7),
    ]
    settings = [chance.choice(kinds) for _ in range(40)]
    uniforms = [chance.random() for _ in range(40)]

    together, _ = draw(logits.clone(), settings, uniforms)
    alone = [
        int(draw(logits[i : i + 1].clone(), settings[i : i + 1], uniforms[i : i + 1])[0]) for i in range(40)
    ]

    assert together.tolist() == alone


@pytest.mark.parametrize(
    "sampling", [Sampling(top_p=0.95), Sampling(top_k=900), Sampling(top_k=900, top_p=0.9)]
)
def test_a_flat_distribution_is_drawn_from_beyond_the_first_tokens_too(sampling: Sampling) -> None:
    size = 4 * RANKED[0]
    probabilities = [1.0 + index / size for index in range(size)]
    whole = sorted(range(size), key=lambda index: -probabilities[index])[: sampling.top_k or size]
    mass = sum(probabilities[index] for index in whole) * sampling.top_p
    kept = set()
    for index in whole:
        if mass <= 0:
            break
        kept.add(index)
        mass -= probabilities[index]

    drawn = set(share(probabilities, sampling, draws=3000))

    assert len(drawn ^ kept) <= 1


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_p=0.999), Sampling(top_k=3)])
def test_a_token_without_probability_never_comes(uniform: float, sampling: Sampling) -> None:
    logits = torch.full((1, 5000), -torch.inf)
    logits[0, [7, 4000]] = 1.0

    token, is_sound = draw(logits, [sampling], [uniform])

    assert int(token) in (7, 4000)
    assert bool(is_sound)


@pytest.mark.parametrize("broken", [float("nan"), -torch.inf, torch.inf])
def test_a_row_that_is_no_distribution_is_told_from_the_sound_ones(broken: float) -> None:
    logits = torch.zeros(3, 50)
    logits[1] = broken

    tokens, is_sound = draw(logits, [Sampling(top_p=0.5), Sampling(), GREEDY], [0.5, 0.5, None])

    assert is_sound.tolist() == [True, False, True]
    assert all(0 <= token < 50 for token in tokens.tolist())


def row(sampling: Sampling, prompt: list[int], answer: list[int]) -> Row:
    made = Row("r", 0, prompt, 10, sampling, random.Random(0), None)  # type: ignore[arg-type]  # nobody listens
    made.counts.update(answer)
    return made


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(presence=0.5), [2.0, 0.5, -1.5, -1.0]),
        (Sampling(frequency=0.5), [2.0, 0.0, -1.5, -1.0]),
        (Sampling(presence=0.5, frequency=0.5), [2.0, -0.5, -2.0, -1.0]),
        (Sampling(repetition=2.0), [1.0, 0.5, -2.0, -1.0]),
        (Sampling(bias={3: 100.0, 0: -1.0}), [1.0, 1.0, -1.0, 99.0]),
        (Sampling(presence=1, bias={1: 1.0}), [2.0, 1.0, -2.0, -1.0]),
    ],
)  # fmt: skip
def test_penalties_lower_what_was_said_and_leave_the_neighbours_alone(
    sampling: Sampling, expected: list[float]
) -> None:
    logits = torch.tensor([[2.0, 1.0, -1.0, -1.0]] * 2)

    penalise(logits, [row(Sampling(), [0], [1]), row(sampling, [0], [1, 1, 2])])

    assert logits.tolist() == [[2.0, 1.0, -1.0, -1.0], expected]
