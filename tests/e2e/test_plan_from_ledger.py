"""`weighbridge plan ... --from-ledger` on a ledger whose answer can be worked out by hand, on both databases."""

import json
from pathlib import Path

import pytest

from gateway.cli import plan
from gateway.clock import ManualClock
from gateway.config import load
from gateway.errors import ConfigError
from gateway.ledger.database import Database
from gateway.ledger.price_book import PriceBook
from gateway.ledger.store import SqlLedger
from tests.fixtures.ledger import NOV_21, entry

HOUR_MS = 3_600_000
DAYS = 10
USD = 10**9
CONFIG = """
database: {{url: "{url}"}}
planning: {{reference: far/large}}
upstreams:
  local:
    base_url: http://127.0.0.1:1/v1
    models:
      small: {{size: small, free: true, context_window: 4096}}
  far:
    base_url: https://api.example.com/v1
    models:
      large: {{size: large, price: {{input: 2.50, cached_input: 1.25, output: 10, source: list}}, context_window: 4096}}
"""
SERVER = [
    "--server-gpus",
    "1",
    "--server-price",
    "72000",
    "--kw-max",
    "0",
    "--maintenance",
    "0",
    "--own-fte",
    "0",
    "--utilisation",
    "1",
    "--tok-s",
    "1000",
    "--gpu-price",
    "2",
]
"""1,200 a month each, all of it their price, for 3.6 million tokens an hour."""


def requests():
    """For ten days the large model serves what two servers could, and from 9 to 17 what six could: each such server's hour
    is 2.4M tokens in and 1.2M out, billed at 4.10 USD. Every hour a reply comes from the cache, a small model answers
    for nothing, and an attempt fails."""
    for hour in range(24 * DAYS):
        common = {
            "created_ms": NOV_21 - (hour + 1) * HOUR_MS,
            "input_tokens": 2_400_000,
            "output_tokens": 1_200_000,
        }
        large = {"model": "large", "upstream": "far", "size": "large"}
        for number in range(6 if 9 <= 23 - hour % 24 < 17 else 2):
            tenant = "acme" if number == 0 else "globex"
            yield entry(f"paid-{hour}-{number}", cost=round(4.10 * USD), tenant=tenant, **large, **common)
        few = {**common, "input_tokens": 1000, "output_tokens": 100}
        yield entry(f"hit-{hour}", cost=0, is_cache_hit=True, price_version="cache", **large, **few)
        yield entry(f"own-{hour}", cost=0, **few)
        yield entry(f"failed-{hour}", cost=0, outcome="failed", **large, **common)


@pytest.fixture
def config(database: Database, database_url: str, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(url=database_url))
    upstreams = load(path).upstreams
    offers = {
        f"{name}/{model}": each.price for name, up in upstreams.items() for model, each in up.models.items()
    }
    PriceBook(database, ManualClock(NOV_21 - DAYS * 24 * HOUR_MS)).seed(offers)
    SqlLedger(database).post(list(requests()))
    return path


@pytest.fixture
def planned(config: Path, capfdbinary: pytest.CaptureFixture[bytes]):
    def run(*words: str):
        plan.main([*words, "--from-ledger", "--json", "--config", str(config)], ManualClock(NOV_21))
        return json.loads(capfdbinary.readouterr().out)

    return run


def test_two_servers_would_pay_and_a_third_would_not(planned):
    """As in the hybrid worked out by hand: 9,976.67 a month by the API, of which two servers avoid 5,986.00."""
    answer = planned("breakeven", *SERVER, "--own", "large=1000")

    assert answer["spent_month"] == 9976.67
    assert (answer["servers"], answer["saved_month"]) == (2, 5986.0)
    assert answer["servers_payback_months"] == pytest.approx(144_000 / 5_986)
    assert [row["pays"] for row in answer["servers_one_by_one"]] == [True, True, False]
    assert [(row["model"], row["moves_percent"]) for row in answer["models"]] == [
        ("large", pytest.approx(60)),
        ("small", 0),
    ]
    assert answer["idle_percent"] == 0


def test_one_tenants_traffic_would_pay_for_one_server(planned):
    """2,993.00 a month; the server takes all of it."""
    answer = planned("breakeven", *SERVER, "--own", "large=1000", "--tenant", "acme")

    assert (answer["spent_month"], answer["servers"], answer["saved_month"]) == (2993.0, 1, 2993.0)


def test_the_gateway_saves_what_the_reference_would_have_cost_less_what_was_paid(planned):
    """At 2.50 and 10 a server's hour would have cost 18.00, and a reply of the cache or of the small model 0.0035."""
    answer = planned("roi", "--cost", "10000", "--run-cost-month", "500")

    hours = 2_433 + 1 / 3  # in which servers' worth of tokens was asked, in a month
    of_each = 0.0035 * 730
    assert answer["baseline_month"] == pytest.approx(18 * hours + 2 * of_each, abs=0.01)
    assert answer["spent_month"] == pytest.approx(4.10 * hours, abs=0.01)
    assert answer["saved_by_cache_month"] == pytest.approx(of_each, abs=0.01)
    net = 13.90 * hours + 2 * of_each - 500
    assert answer["net_month"] == pytest.approx(net, abs=0.01)
    assert answer["payback_months"] == pytest.approx(10_000 / net)


def test_a_tenant_without_traffic_is_told_so(planned):
    with pytest.raises(
        ConfigError, match="nothing of the tenant 'nobody' from 2026-10-22 00:00 to 2026-11-21 00:00"
    ):
        planned("breakeven", *SERVER, "--tenant", "nobody")
