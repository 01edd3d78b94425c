"""What an answer may cost at most: no attempt may cost more than is held for it."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue import Catalogue, Terms, by_token
from gateway.config import parse
from gateway.errors import ConfigError
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


def catalogue(dialect: str, *, unsupported: str = "[]") -> Catalogue:
    text = f"""
upstreams:
  up:
    base_url: http://127.0.0.1:1/v1
    dialect: {dialect}
    unsupported: {unsupported}
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


@pytest.mark.fault("M23")
@pytest.mark.parametrize("form", ["body", "native"])
def test_the_prompt_that_anthropic_adds_for_tools_is_held_for(form: str) -> None:
    held = catalogue("anthropic")
    (offer,) = held.offers("m", TIER)
    asked: dict[str, Any] = {"body": {}, form: {"tools": [{"name": "f", "input_schema": {}}]}}
    request = Request(endpoint="messages", body_bytes=100, model="m", output_tokens=1, **asked)

    worst = held.terms(offer, request, TIER).worst

    assert worst >= cost(Usage(input=100 + 735, output=1), PRICE)  # the most that its documents name


def honoured(**fields: Any) -> frozenset[str]:
    """Of a chat's fields, by a model of Anthropic's dialect."""
    (offer,) = catalogue("anthropic").offers("m", TIER)
    return offer.honours(Request(body=fields, body_bytes=1000, model="m", fields=frozenset(fields)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0),
        ("temperature", 1.0),
        ("top_p", 0.5),
        ("top_k", 5),
        ("stop", "END"),
        ("stop", ["END", "\n\nQ:"]),
        ("tool_choice", "required"),
        ("function_call", "auto"),
        ("parallel_tool_calls", False),
        ("reasoning_effort", "high"),
        ("response_format", {"type": "json_schema"}),
        ("thinking", {"type": "adaptive"}),
        ("n", 1),
        ("presence_penalty", 0.0),
        ("logit_bias", {}),
        ("modalities", ["text"]),
    ],
)
def test_a_field_that_survives_translation_is_honoured(field: str, value: Any) -> None:
    assert honoured(**{field: value}) == {field}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 1.1),
        ("temperature", "hot"),
        ("stop", "\n"),
        ("stop", ["END", " "]),
        ("stop", [5]),
        ("stop", True),
        ("stop", {"END": 1}),
        ("n", 2),
        ("presence_penalty", 0.1),
        ("logit_bias", {"50256": -100}),
        ("modalities", ["text", "audio"]),
        ("seed", 7),
        ("top_logprobs", 2),
        ("prediction", {"type": "content", "content": "a"}),
        ("web_search_options", {}),
        ("something_new", 1),
    ],
)
def test_a_field_that_would_be_dropped_is_not(field: str, value: Any) -> None:
    assert honoured(**{field: value}) == frozenset()


def test_a_value_that_says_nothing_is_honoured_even_where_its_field_is_not() -> None:
    (offer,) = catalogue("anthropic", unsupported="[temperature, top_p]").offers("m", TIER)
    fields = {"temperature": 1, "top_p": 0.9}
    request = Request(body=fields, body_bytes=1000, model="m", fields=frozenset(fields))

    assert offer.honours(request) == {"temperature"}


def test_what_reaches_a_server_as_written_is_honoured_whatever_it_is() -> None:
    (offer,) = catalogue("anthropic").offers("m", TIER)
    native = {"container": "c", "temperature": 1}
    request = Request(
        endpoint="messages",
        body={"seed": 7},
        native=native,
        body_bytes=1000,
        model="m",
        fields=frozenset({"seed"}),
        native_fields=frozenset({"container"}),
    )

    assert offer.honours(request) == {"seed", "container"}


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (
            "{size: cloud, free: true, abilities: [json_object]}",
            "json_object' cannot be asked for in Anthropic's",
        ),
        ("{size: cloud, free: true, kind: embedding}", "knows no embedding models"),
    ],
)
def test_a_model_cannot_be_said_to_do_what_its_dialect_cannot_say(model: str, complaint: str) -> None:
    text = "upstreams: {up: {base_url: 'http://127.0.0.1:1/v1', dialect: anthropic, models: {m: %s}}}"

    with pytest.raises(ConfigError, match=complaint):
        parse(text % model)


ENGINE = """
upstreams:
  up:
    base_url: http://127.0.0.1:1/v1
    is_worker: true
    total_timeout_s: 120
    models: {m: {size: cloud, price: {input: 0, output: 0, engine_hour: 3.6}, tokens_per_s: 500}}
"""
BY_THE_HOUR = Price(version="v", input=0, cached_input=0, output=0, reasoning=0, engine_hour=3_600_000_000)


def by_the_hour(price: Price = BY_THE_HOUR, **request: Any) -> Terms:
    known = Catalogue(parse(ENGINE), lambda _: price)
    (offer,) = known.offers("m", TIER)
    return known.terms(offer, Request(body={}, model="m", **request), TIER)


def test_the_engines_time_is_held_for_as_long_as_an_attempt_may_take() -> None:
    terms = by_the_hour(body_bytes=4000)

    assert terms.most_engine_us == 120_000_000
    assert terms.worst == 120_000_000  # 0.001 USD a second


def test_a_request_is_expected_to_take_the_time_in_which_its_engine_makes_so_many_tokens() -> None:
    terms = by_the_hour(body_bytes=4000, output_tokens=100)

    assert terms.expected == 400_000  # 100 written, and 1,000 read that count as 100, at 500 a second


@pytest.mark.fault("M23")
@given(
    price=st.builds(
        Price,
        version=st.just("v"),
        **dict.fromkeys(("input", "cached_input", "output", "reasoning"), st.integers(0, 10**8)),
        engine_hour=st.integers(0, 10**13),
    ),
    read=st.integers(0, 1000),
    written=st.integers(0, 100),
    engine_us=st.integers(0, 120_000_000),
)
def test_no_share_of_the_engines_time_costs_more_than_is_held(
    price: Price, read: int, written: int, engine_us: int
) -> None:
    terms = by_the_hour(price, body_bytes=1000, output_tokens=100)

    assert cost(Usage(input=read, output=written, engine_us=engine_us), price) <= terms.worst
    assert terms.expected <= terms.worst


@given(price=st.integers(0, 10**13), tokens_per_s=st.integers(1, 10**6))
def test_laid_upon_tokens_an_engines_price_is_what_they_are_expected_to_cost(
    price: int, tokens_per_s: int
) -> None:
    laid = by_token(
        Price(version="v", input=5, cached_input=3, output=7, reasoning=7, engine_hour=price), tokens_per_s
    )

    assert (
        0 <= laid.output - 7 - Fraction(price * 1000, 3_600_000_000) * Fraction(1_000_000, tokens_per_s) < 1
    )
    assert 0 <= laid.input - 5 - Fraction(price * 100, 3_600_000_000) * Fraction(1_000_000, tokens_per_s) < 1
    assert (laid.cached_input, laid.engine_hour) == (3, 0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("is_worker: true", "is_worker: false"), r"price\.engine_hour: only a worker"),
        ((", tokens_per_s: 500", ""), r"tokens_per_s: missing"),
        (("engine_hour: 3.6", "engine_hour: 0"), r"price: is zero"),
        (("engine_hour: 3.6", "engine_hour: -1"), r"price\.engine_hour: -1"),
        (("engine_hour: 3.6", "engine_hour: 0.0000001"), r"price\.engine_hour: .* finer than"),
    ],
)
def test_a_price_for_an_engines_time_must_make_sense(change: tuple[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse(ENGINE.replace(*change))
