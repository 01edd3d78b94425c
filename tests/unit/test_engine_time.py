"""What an attempt took of an engine's time: whatever its worker says, no more is charged than was held."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.attempt import Attempt
from gateway.catalogue import Catalogue
from gateway.config import parse
from gateway.stages.meter import Meter
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Request
from gateway.values import Limits, Outcome, Price, Tier, Usage, cost
from policies.contract import Candidate

TIMEOUT_S = 20
CONFIG = f"""
upstreams:
  up:
    base_url: http://127.0.0.1:1/v1
    is_worker: true
    total_timeout_s: {TIMEOUT_S}
    models: {{m: {{size: small, price: {{input: 0, output: 0, engine_hour: 1}}, tokens_per_s: 100}}}}
"""
TIER = Tier(
    name="paid",
    priority=0,
    limits=Limits(),
    sizes=("small",),
    default_output_tokens=100,
    max_output_tokens=100,
    max_choices=1,
)
REQUEST = Request(body={"messages": [{"content": "x" * 400}]}, body_bytes=500, model="m", output_tokens=100)

prices = st.builds(
    Price,
    version=st.just("v"),
    **dict.fromkeys(("input", "cached_input", "output", "reasoning"), st.sampled_from([0, 150_000])),
    engine_hour=st.sampled_from([0, 1, 3_600_000_000, 7_777_777_777]),
)
told = st.one_of(
    st.integers(0, 10**8).map(lambda each: f"{each / 1_000_000:.6f}"),
    st.sampled_from(["", "nan", "-1.0", "1e9", "999999999.999999"]),
)
usages = st.builds(Usage, input=st.integers(0, 500), output=st.integers(0, 100)) | st.none()


def attempt_of(price: Price, *, wall_s: float, told: str, usage: Usage | None, outcome: Outcome) -> Attempt:
    known = Catalogue(parse(CONFIG), lambda _: price)
    (offer,) = known.offers("m", TIER)
    candidate: Any = Candidate(
        id="up/m", model="m", upstream="up", size="small", abilities=frozenset(), context_window=1000,
        max_output_tokens=100, expected_cost=0, worst_cost=0, p_good=1.0, is_healthy=True, in_flight=0,
    )  # fmt: skip
    attempt = Attempt("r", 1, candidate, known.terms(offer, REQUEST, TIER), "chat", began=0.0, began_ms=0)
    assert attempt.aside is not None
    attempt.aside.engine_seconds = told
    attempt.ended, attempt.usage, attempt.outcome = wall_s, usage, outcome
    attempt.text.append("word " * 20)
    return attempt


def metered(attempt: Attempt) -> Usage:
    return asyncio.run(Meter(lambda text: len(text) // 4, Metrics())(REQUEST, attempt))


@given(
    price=prices,
    told=told,
    wall_s=st.floats(0, TIMEOUT_S * 2),
    usage=usages,
    outcome=st.sampled_from(["ok", "client_gone", "interrupted", "deferred"]),
)
def test_whatever_a_worker_says_no_more_is_charged_than_is_held(
    price: Price, told: str, wall_s: float, usage: Usage | None, outcome: Outcome
) -> None:
    attempt = attempt_of(price, wall_s=wall_s, told=told, usage=usage, outcome=outcome)

    used = metered(attempt)

    assert cost(used, price) <= attempt.terms.worst
    assert 0 <= used.engine_us <= min(wall_s * 1.01 + 0.011, TIMEOUT_S) * 1_000_000
    assert 0 <= attempt.most_cost <= attempt.terms.worst


@given(told_us=st.integers(0, TIMEOUT_S * 1_000_000), spare_us=st.integers(0, 1_000_000))
def test_what_can_be_true_is_believed_to_the_microsecond(told_us: int, spare_us: int) -> None:
    price = Price(version="v", input=0, cached_input=0, output=0, reasoning=0, engine_hour=3_600_000_000)
    wall_s = (told_us + spare_us) / 1_000_000
    attempt = attempt_of(
        price, wall_s=wall_s, told=f"{told_us / 1_000_000:.6f}", usage=Usage(output=1), outcome="ok"
    )

    assert metered(attempt) == Usage(output=1, engine_us=told_us)
    assert attempt.most_cost >= cost(Usage(engine_us=told_us), price)


def test_a_broken_off_answer_is_estimated_by_its_tokens_within_the_time_that_it_took() -> None:
    price = Price(version="v", input=0, cached_input=0, output=0, reasoning=0, engine_hour=3_600_000_000)

    long, short = (
        metered(attempt_of(price, wall_s=wall_s, told="", usage=None, outcome="client_gone"))
        for wall_s in (10.0, 0.2)
    )

    assert (long.engine_us, long.source) == (
        350_000,
        "estimated",
    )  # 25 written, and 100 read that count as 10
    assert (short.engine_us, short.source) == (200_000, "estimated")


def test_without_a_price_for_it_a_time_that_was_not_told_is_not_invented() -> None:
    price = Price(version="v", input=1, cached_input=1, output=1, reasoning=1)

    used = metered(attempt_of(price, wall_s=10.0, told="", usage=Usage(output=3), outcome="ok"))

    assert used == Usage(output=3)
