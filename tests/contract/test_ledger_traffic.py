"""Traffic by hour, on SQLite and on PostgreSQL."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.clock import ManualClock
from gateway.config import parse
from gateway.ledger.contract import SpendQuery
from gateway.ledger.price_book import PriceBook
from gateway.ledger.store import SqlLedger
from gateway.ledger.traffic import TrafficReader
from gateway.planning.contract import PlanError
from gateway.planning.traffic import Hour
from gateway.values import PASSED_OVER, Price, Usage, cost
from tests.fixtures.ledger import NOV_21, entry

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
CONFIG = """
upstreams:
  local:
    base_url: http://127.0.0.1:1/v1
    models:
      small: {size: small, free: true, context_window: 4096}
      vectors: {size: small, kind: embedding, price: {input: 0.02, output: 0, source: list}, context_window: 4096}
  far:
    base_url: https://api.example.com/v1
    models:
      large: {size: large, price: {input: 2.50, cached_input: 1.25, output: 10, source: list}, context_window: 4096, batch_price_factor: 0.5}
  ours:
    base_url: http://127.0.0.1:2/v1
    is_worker: true
    models:
      big: {size: large, price: {input: 0, output: 0, engine_hour: 3.6, source: rent}, tokens_per_s: 1000, context_window: 4096}
  farther:
    base_url: https://api.example.org/v1
    models:
      large: {size: large, price: {input: 3, output: 12, source: list}, context_window: 4096}
"""
LARGE = Price(version="", input=2_500_000, cached_input=1_250_000, output=10_000_000, reasoning=10_000_000)


class Site:
    def __init__(self, database):
        self.clock = ManualClock(NOV_21 - 60 * DAY_MS)
        config = parse(CONFIG)
        offers = {
            f"{name}/{model_name}": model.price
            for name, upstream in config.upstreams.items()
            for model_name, model in upstream.models.items()
        }
        PriceBook(database, self.clock).seed(offers)
        self.clock.advance(60 * 86_400)
        self.ledger = SqlLedger(database)
        self._reader = TrafficReader(database, config, self.clock)

    def traffic(self, **asked):
        return self._reader.read(**asked)


@pytest.fixture
def site(database):
    return Site(database)


def at(hour, minute=0):
    """Before 21 November, which is now."""
    return NOV_21 + round((hour + minute / 60) * HOUR_MS)


def test_entries_of_one_hour_and_model_are_one_row(site):
    site.ledger.post(
        [
            entry(
                "a", created_ms=at(-2), input_tokens=100, cached_input_tokens=20, cache_write_tokens=3, cost=5
            ),
            entry("b", created_ms=at(-2, 59.9), reasoning_tokens=7, cost=6),
            entry("c", created_ms=at(-1), model="large", upstream="far", size="large", cost=7),
        ]
    )

    traffic = site.traffic()

    assert traffic.hours == (
        Hour(
            start_ms=at(-2), model="small", upstream="local", size="small", requests=2,
            input_tokens=223, cached_input_tokens=20, output_tokens=27, cost=11,
        ),
        Hour(
            start_ms=at(-1), model="large", upstream="far", size="large", requests=1,
            input_tokens=100, cached_input_tokens=0, output_tokens=10, cost=7,
        ),
    )  # fmt: skip


def test_a_period_without_dates_is_the_last_thirty_days(site):
    site.ledger.post([entry("old", created_ms=at(-31 * 24)), entry("new", created_ms=at(-30 * 24))])

    traffic = site.traffic()

    assert (traffic.from_ms, traffic.to_ms) == (NOV_21 - 30 * DAY_MS, NOV_21)
    assert [hour.start_ms for hour in traffic.hours] == [at(-30 * 24)]


def test_a_period_begins_with_the_first_entry_that_there_ever_was(site):
    site.ledger.post([entry("a", created_ms=at(-5, 20)), entry("b", tenant="late", created_ms=at(-3, 40))])

    assert site.traffic(from_="1970-01-01").from_ms == at(-5)
    assert site.traffic(tenant="late").from_ms == at(-3)


def test_a_period_ends_now_at_the_latest(site):
    site.ledger.post([entry("a", created_ms=at(-1)), entry("b", created_ms=at(1))])

    traffic = site.traffic(to="2027-01-01")

    assert traffic.to_ms == NOV_21
    assert len(traffic.hours) == 1


def test_dates_bound_the_period_and_the_end_is_exclusive(site):
    site.ledger.post([entry(f"d{day}", created_ms=at(-24 * day)) for day in range(1, 6)])

    traffic = site.traffic(from_="2026-11-17", to="2026-11-19")

    assert [hour.start_ms for hour in traffic.hours] == [at(-96), at(-72)]


def test_one_tenants_traffic_is_told_from_the_others(site):
    site.ledger.post([entry("a", created_ms=at(-1)), entry("b", tenant="other", created_ms=at(-1), cost=3)])

    assert [hour.cost for hour in site.traffic(tenant="other").hours] == [3]
    assert sum(hour.cost for hour in site.traffic().hours) == 21_003


def test_a_ledger_without_entries_has_no_traffic(site):
    traffic = site.traffic(reference="large")

    assert traffic.hours == traffic.cached == ()
    assert traffic.to_ms - traffic.from_ms == 30 * DAY_MS


def test_replies_from_the_cache_stand_aside(site):
    site.ledger.post(
        [
            entry("a", created_ms=at(-1)),
            entry("b", created_ms=at(-1), is_cache_hit=True, cost=0, price_version="cache"),
        ]
    )

    traffic = site.traffic(reference="large")

    assert [hour.requests for hour in traffic.hours] == [1]
    assert [(hour.requests, hour.cost, hour.reference_cost) for hour in traffic.cached] == [(1, 0, 350_000)]


def test_failed_attempts_are_no_traffic(site):
    site.ledger.post([entry("a", created_ms=at(-1), outcome="failed", cost=0)])

    assert site.traffic().hours == ()


def test_nothing_that_was_billed_is_left_out(site):
    outcomes = ("ok", "deferred", "sampled", "client_gone", "interrupted", "lost")
    site.ledger.post([entry(one, created_ms=at(-1), outcome=one) for one in outcomes])

    (hour,) = site.traffic().hours

    assert hour.requests == 6
    assert hour.cost == sum(row.cost for row in site.ledger.spend(SpendQuery()))


def test_each_request_is_priced_once_at_the_cheapest_offer_of_the_reference(site):
    site.ledger.post(
        [
            entry("a", created_ms=at(-1), outcome="deferred"),
            entry("a", created_ms=at(-1), attempt=2, cached_input_tokens=1, cost=1),
        ]
    )

    traffic = site.traffic(reference="large")

    assert traffic.reference_model == "far/large"
    assert [hour.reference_cost for hour in traffic.hours] == [100 * 2_500 + 1_250 + 10 * 10_000]


def test_the_reference_may_name_its_upstream(site):
    site.ledger.post([entry("a", created_ms=at(-1))])

    traffic = site.traffic(reference="farther/large")

    assert [hour.reference_cost for hour in traffic.hours] == [100 * 3_000 + 10 * 12_000]


def test_what_ran_in_a_batch_is_priced_as_a_batch(site):
    site.ledger.post([entry("a", created_ms=at(-1), price_version="local/small@2026-11-21T10:00:00Z#1*0.5")])

    assert [hour.reference_cost for hour in site.traffic(reference="large").hours] == [175_000]


def test_what_is_no_chat_would_have_cost_the_same(site):
    site.ledger.post([entry("a", created_ms=at(-1), model="vectors", cost=2_000)])

    assert [hour.reference_cost for hour in site.traffic(reference="large").hours] == [2_000]


def test_the_reference_may_be_one_of_the_price_list(site):
    site.ledger.post([entry("a", created_ms=at(-1)), entry("b", created_ms=at(-1), price_version="x#1*0.5")])

    traffic = site.traffic(reference="gpt-4o")

    assert traffic.reference_model == "gpt-4o"
    assert [hour.reference_cost for hour in traffic.hours] == [round(1.5 * (100 * 2_500 + 10 * 10_000))]


@pytest.mark.parametrize("reference", ["larger", "far/small", "vectors", "local/vectors"])
def test_a_reference_that_is_no_chat_model_is_refused_with_those_that_are(site, reference):
    with pytest.raises(PlanError, match="far/large, farther/large, local/small") as refused:
        site.traffic(reference=reference)

    assert refused.value.param == "reference"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"from_": "yesterday"}, "from_"),
        ({"to": "2026-11-20T00:00:00"}, "to"),
        ({"from_": "2026-11-19", "to": "2026-11-19"}, "from_"),
        ({"from_": "2026-11-22"}, "from_"),
    ],
)
def test_a_period_that_is_none_is_refused(site, asked, param):
    with pytest.raises(PlanError) as refused:
        site.traffic(**asked)

    assert refused.value.param == param


tokens = st.integers(0, 2_000_000)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.tuples(tokens, tokens, tokens, tokens), st.sampled_from(("ok", "deferred", "lost", "sampled"))
        ),
        max_size=20,
    )
)
def test_the_reference_cost_is_that_of_each_answer_to_the_nano_dollar(site, drawn):
    """The ledger is append-only: each example looks at entries of its own."""
    tenant = f"t{len(drawn)}-{abs(hash(str(drawn)))}"
    usages = [Usage(input=a, cached_input=b, output=c, reasoning=d) for (a, b, c, d), _ in drawn]
    site.ledger.post(
        [
            entry(
                f"{tenant}-{number}", tenant=tenant, created_ms=at(-number - 1), outcome=outcome,
                input_tokens=usage.input, cached_input_tokens=usage.cached_input,
                output_tokens=usage.output, reasoning_tokens=usage.reasoning,
            )
            for number, (usage, (_, outcome)) in enumerate(zip(usages, drawn, strict=True))
        ]
    )  # fmt: skip

    hours = site.traffic(tenant=tenant, reference="large").hours

    expected = sum(
        cost(usage, LARGE)
        for usage, (_, outcome) in zip(usages, drawn, strict=True)
        if outcome not in PASSED_OVER
    )
    assert sum(hour.reference_cost or 0 for hour in hours) == expected


def test_a_reference_that_is_paid_by_the_hour_costs_the_time_in_which_it_makes_the_tokens(site):
    site.ledger.post([entry("a", created_ms=at(-2), input_tokens=100, output_tokens=10, engine_us=7)])

    traffic = site.traffic(reference="big")

    assert [hour.reference_cost for hour in traffic.hours] == [
        20_000
    ]  # 20 tokens' worth, 0.001 USD for each 1,000
