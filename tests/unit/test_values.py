"""What usage costs."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue import scaled
from gateway.values import Price, Usage, cost

COUNTS = st.integers(0, 2**40)
PICO = st.integers(0, 10**9)
CLASSES = ("input", "cached_input", "cache_write", "cache_write_1h", "output", "reasoning")

usages = st.builds(Usage, **dict.fromkeys(CLASSES, COUNTS))
prices = st.builds(Price, version=st.just("v"), **dict.fromkeys(CLASSES, PICO))


@given(usage=usages, price=prices)
def test_every_class_costs_its_own_price_and_the_sum_is_rounded_up_once(usage: Usage, price: Price) -> None:
    exact = sum(Fraction(getattr(usage, name) * getattr(price, name), 1000) for name in CLASSES)

    assert 0 <= cost(usage, price) - exact < 1


@given(usage=usages)
def test_the_classes_are_disjoint_and_add_up(usage: Usage) -> None:
    assert usage.total == sum(getattr(usage, name) for name in CLASSES)
    assert usage.prompt == usage.total - usage.output - usage.reasoning


def test_cache_writes_cost_what_input_costs_if_nothing_else_is_said() -> None:
    price = Price(version="v", input=3, cached_input=1, output=9, reasoning=9)

    assert (price.cache_write, price.cache_write_1h) == (3, 3)


@given(price=prices)
def test_a_share_of_a_price_is_a_share_of_every_class(price: Price) -> None:
    half = scaled(price, Fraction(1, 2))

    assert all(0 <= 2 * getattr(half, name) - getattr(price, name) < 2 for name in CLASSES)
