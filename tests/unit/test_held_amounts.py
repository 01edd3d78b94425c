"""What is held for a request: enough for every answer that it may be billed, or less, but never nothing for want of all."""

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue import Offer, Terms
from gateway.stages.admit import amounts
from gateway.values import Price

PRICE = Price(version="1", input=1, cached_input=1, output=1, reasoning=1)


def terms_of(*worsts: int) -> list[Terms]:
    return [_terms(f"m{number}", worst) for number, worst in enumerate(worsts)]


def _terms(model: str, worst: int) -> Terms:
    offer = Offer(
        id=f"local/{model}",
        model=model,
        upstream="local",
        upstream_model=model,
        size="small",
        abilities=frozenset(),
        context_window=1,
        max_output_tokens=1,
        p_good=None,
        kind="chat",
        forms=frozenset({"chat"}),
        refuses=frozenset(),
        dialect="openai",
        max_tokens_field="max_tokens",
        on_disconnect="cancel",
        drain_s=0,
        total_timeout_s=300,
        is_cached=True,
        batch_price_factor=Fraction(1),
    )
    return Terms(offer=offer, price=PRICE, output_tokens=1, expected=worst, worst=worst)


def test_a_single_answer_holds_the_worst_of_one_model() -> None:
    assert amounts(terms_of(3, 1, 40, 3), 1) == (40, 3, 1)


def test_two_answers_hold_the_worst_of_two_and_settle_for_less() -> None:
    assert amounts(terms_of(1, 3, 40), 2) == (43, 41, 40, 4, 3, 2, 1)


def test_a_model_at_two_upstreams_is_asked_by_one_of_them() -> None:
    held = amounts([*terms_of(5, 1), *terms_of(5)], 2)

    assert held == (6, 5, 2, 1)


@given(worsts=st.lists(st.integers(0, 10**12), min_size=1, max_size=8), calls=st.integers(1, 5))
def test_every_chain_of_models_finds_enough_and_none_is_refused_that_one_answer_would_not_be(
    worsts: list[int], calls: int
) -> None:
    held = amounts(terms_of(*worsts), calls)

    chains = itertools.chain.from_iterable(
        itertools.combinations(worsts, n) for n in range(1, min(calls, len(worsts)) + 1)
    )
    assert max(held) >= max(sum(chain) for chain in chains)
    assert min(held) == min(worsts)
    assert set(worsts) <= set(held)
    assert list(held) == sorted(set(held), reverse=True)
