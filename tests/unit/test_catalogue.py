"""What an answer may cost at most: no attempt may cost more than is held for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue import Catalogue
from gateway.config import parse
from gateway.ticket import Request
from gateway.values import Limits, Price, Tier, Usage, cost

PRICE = Price(
    version="v",
    input=3000,
    cached_input=300,
    output=15_000,
    reasoning=15_000,
    cache_write=3750,
    cache_write_1h=6000,
)
TIER = Tier(
    name="paid",
    priority=0,
    limits=Limits(),
    sizes=("cloud",),
    default_output_tokens=100,
    max_output_tokens=100,
    max_choices=1,
)


def catalogue(dialect: str) -> Catalogue:
    text = f"""
upstreams:
  up:
    base_url: http://127.0.0.1:1/v1
    dialect: {dialect}
    models: {{m: {{size: cloud, free: true}}}}
"""
    return Catalogue(parse(text), lambda _: PRICE)


def worst(dialect: str, **request: bool) -> int:
    asked = Request(body={"messages": []}, body_bytes=1000, model="m", **request)
    known = catalogue(dialect)
    (offer,) = known.offers("m", TIER)
    return known.terms(offer, asked, TIER).worst


def test_an_answer_costs_at_most_its_input_and_its_ceiling() -> None:
    assert worst("anthropic") == cost(Usage(input=1000, output=100), PRICE)


def test_a_request_that_writes_the_upstreams_cache_may_cost_the_dearest_of_input() -> None:
    assert worst("anthropic", writes_prompt_cache=True) == cost(Usage(cache_write_1h=1000, output=100), PRICE)


def test_an_upstream_that_caches_unasked_may_always_bill_for_it() -> None:
    assert worst("openai") == cost(Usage(cache_write_1h=1000, output=100), PRICE)


@pytest.mark.fault("M23")
@given(split=st.lists(st.integers(0, 1000), min_size=3, max_size=3).map(sorted))
def test_however_the_input_is_billed_it_costs_no_more_than_the_worst(split: list[int]) -> None:
    first, second, third = split
    usage = Usage(
        input=first,
        cached_input=second - first,
        cache_write=third - second,
        cache_write_1h=1000 - third,
        output=100,
    )

    assert cost(usage, PRICE) <= worst("anthropic", writes_prompt_cache=True)
