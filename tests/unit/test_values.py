"""What usage costs."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue import scaled
from gateway.values import Price, Usage, cost

COUNTS = st.integers(0, 2**40)
PICO = st.integers(0, 10**9)
CLASSES = ("input", "cached_input", "cache_write", "cache_write_1h", "output", "reasoning")
HOUR_US = 3_600_000_000

usages = st.builds(Usage, **dict.fromkeys(CLASSES, COUNTS), engine_us=st.just(0) | COUNTS)
prices = st.builds(
    Price,
    version=st.just("v"),
    **dict.fromkeys(CLASSES, PICO),
    engine_hour=st.just(0) | st.integers(0, 10**15),
)


@given(usage=usages, price=prices)
def test_every_class_costs_its_own_price_and_the_sum_is_rounded_up_once(usage: Usage, price: Price) -> None:
    exact = sum(Fraction(getattr(usage, name) * getattr(price, name), 1000) for name in CLASSES)
    exact += Fraction(usage.engine_us * price.engine_hour, HOUR_US)

    assert 0 <= cost(usage, price) - exact < 1


def test_an_hour_of_an_engine_costs_what_it_says() -> None:
    price = Price(version="v", input=0, cached_input=0, output=0, reasoning=0, engine_hour=2_500_000_000)

    assert cost(Usage(input=1000, output=1000, engine_us=HOUR_US), price) == 2_500_000_000
    assert cost(Usage(engine_us=1_234_567), price) == 857_339  # 857,338.19 nano-dollars


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

    rates = (*CLASSES, "engine_hour")
    assert all(0 <= 2 * getattr(half, name) - getattr(price, name) < 2 for name in rates)
