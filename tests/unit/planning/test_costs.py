"""Formulas of money: the numbers they must give, and what must hold for all numbers."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.cost import costs
from gateway.planning.units import (
    Bytes,
    Hours,
    Kilowatts,
    Money,
    Seconds,
    Tokens,
    TokensPerSecond,
    in_cents,
    total,
)

HALF_P4D = Money("16.3863")
SERVER = Money(80_000)
KWH = Money("0.15")
STAFF = Money(120_000) * 0.25 / 12

shares = st.floats(0, 0.95)
amounts = st.decimals(0, 10**6, places=4).map(Money)


def usd(money):
    return float(money.amount)


def rented(price=HALF_P4D, **changes):
    usual = {
        "instances": 1,
        "price_h": price,
        "storage": Bytes.of_gb(1000),
        "storage_price": Money("0.023"),
        "egress": Bytes.of_gb(1667),
        "free_egress": Bytes.of_gb(100),
        "egress_price": Money("0.09"),
        "tax": 0.06,
    }
    return costs.cloud_month(**(usual | changes))


def owned(**changes):
    usual = {"servers": 1, "server": SERVER, "most": Kilowatts(3), "price_kwh": KWH}
    return costs.own_month(**(usual | changes))


def test_a_rented_month_has_the_known_parts():
    month = rented()

    assert {
        name: float(part)
        for name, part in zip(month.parts, in_cents(list(month.parts.values())), strict=True)
    } == {
        "compute": 11962.00,
        "storage": 23.00,
        "egress": 141.03,
        "extra": 0.0,
        "tax": 727.56,
        "staff": 0.0,
    }
    assert usd(month.total) == pytest.approx(12_853.59, abs=0.005)


@pytest.mark.parametrize(
    ("changes", "month"),
    [
        ({"hours": Hours(8 * 365 / 12)}, 4_400.44),
        ({"is_committed": True, "discount": 0.4, "hours": Hours(1)}, 7_781.70),
        ({"price": Money("10.9788")}, 8_669.27),
        ({"staff": STAFF}, 15_353.59),
    ],
)
def test_rented_months_cost_what_is_known(changes, month):
    assert usd(rented(**changes).total) == pytest.approx(month, abs=0.006)


def test_rented_months_agree_with_the_reference(golden):
    for name, changes in (
        ("cloud/od_24x7", {}),
        ("cloud/od_8h", {"hours": Hours(8 * 365 / 12)}),
        ("cloud/res40", {"is_committed": True, "discount": 0.4}),
    ):
        month = rented(**changes)
        for part, expected in golden[name].items():
            found = month.total if part == "total" else month.parts[part]
            assert usd(found) == pytest.approx(expected, abs=0.0051), (name, part)


def test_an_own_month_has_the_known_parts():
    month = owned()

    assert usd(month.depreciation) == pytest.approx(1_333.33, abs=0.005)
    assert usd(month.power) == pytest.approx(519.03, abs=0.005)
    assert usd(month.maintenance) == pytest.approx(1_000.00, abs=0.005)
    assert usd(month.total) == pytest.approx(2_852.36, abs=0.005)
    assert usd(month.total * 12) == pytest.approx(34_228.36, abs=0.005)
    assert usd(month.running) == pytest.approx(1_519.03, abs=0.005)


@pytest.mark.parametrize(
    ("changes", "months", "cost"),
    [
        ({"pue": 1.0}, 12, 31_942.00),
        ({"pue": 1.0}, 60, 159_710.00),
        ({"staff": STAFF}, 1, 5_352.36),
        ({"life_years": 3, "maintenance": 0.10}, 36, 122_685.08),
        (
            {"server": Money(25_000), "most": Kilowatts(1.2), "life_years": 3, "maintenance": 0.10},
            36,
            39_974.03,
        ),
    ],
)
def test_own_months_cost_what_is_known(changes, months, cost):
    assert usd(owned(**changes).total * months) == pytest.approx(cost, abs=0.006)


def test_own_months_agree_with_the_reference(golden):
    month = owned()

    for part, expected in golden["own_1srv"].items():
        found = {"capex": SERVER, "opex": month.running, "total": month.total}.get(part) or month.parts[part]
        assert usd(found) == pytest.approx(expected, abs=0.0051), part
    assert usd(owned(staff=STAFF).total) == pytest.approx(golden["own_1srv_staff"], abs=0.0051)


def test_an_idle_server_still_draws_power():
    assert usd(owned(utilisation=0.4).power) == pytest.approx(301.04, abs=0.005)
    assert usd(owned(utilisation=0).power) == pytest.approx(0.3 * 519.03, abs=0.005)


def test_a_server_has_several_cards():
    price = costs.server_price(
        gpus=4,
        gpu=Money(10_000),
        cpu=Money(5_000),
        memory=Money(15_000),
        disk=Money(8_000),
        network=Money(2_000),
    )

    assert price == Money(70_000)


def test_the_annuity_repays_the_purchase_and_its_interest():
    monthly = costs.depreciation(SERVER, life_years=5, residual=0.1, wacc=0.08)

    repaid = costs.npv([Money(0)] + [monthly] * 60, 0.08, per_year=12)
    resold = SERVER * 0.1 / (1 + Decimal("0.08") / 12) ** 60
    assert usd(repaid + resold) == pytest.approx(80_000, rel=1e-12)


def test_spot_loses_what_interruptions_cost():
    assert usd(costs.spot_price(Money("3.06"), discount=0.7)) == pytest.approx(0.91953255, rel=1e-8)
    with pytest.raises(ValueError, match="more time than there is"):
        costs.spot_price(Money("3.06"), discount=0.7, interrupts_per_h=6, lost_min=10)


@pytest.mark.parametrize(
    ("month", "speed", "utilisation", "price"),
    [
        (Money("3.99") * 730, 3_281.19, 0.40, 0.8445),
        (Money("3.99") * 730, 3_281.19, 0.50, 0.6756),
        (Money("3.99") * 730, 3_281.19, 0.75, 0.4504),
        (Money("1.79") * 730, 1_591.4, 0.5, 0.6249),
        (owned().total / 4, 1_591.4, 0.5, 0.3410),
        (owned(utilisation=0.1).total / 4, 1_591.4, 0.1, 1.5096),
        (Money("0.75") * 730, 80, 1, 2.6042),
        (Money("2.00") * 730, 180, 1, 3.0864),
        (Money("0.50") * 730, 40, 1, 3.4722),
    ],
)
def test_a_million_tokens_cost_what_is_known(month, speed, utilisation, price):
    assert usd(costs.per_million(month, TokensPerSecond(speed), utilisation)) == pytest.approx(
        price, abs=6e-5
    )


def test_a_higher_utilisation_makes_tokens_cheaper():
    cheap, dear = (costs.per_million(Money(2912), TokensPerSecond(3281.19), u) for u in (0.75, 0.40))

    assert cheap / dear - 1 == pytest.approx(-0.4667, abs=1e-4)


def test_a_mix_of_tokens_has_one_price():
    assert usd(costs.blended(Money("0.15"), Money("0.60"), 1024, 512)) == pytest.approx(0.30)
    assert usd(costs.blended(Money("2.5"), Money(10), 1024, 512)) == pytest.approx(5.00)


def test_an_api_bills_by_tokens():
    requests = 10_000 * 365 / 12

    cost = costs.tokens_cost(Money("0.15"), Money("0.60"), Tokens(1024 * requests), Tokens(512 * requests))

    assert usd(cost) == pytest.approx(140.16, rel=1e-9)


def test_cached_input_is_billed_at_its_own_price():
    cost = costs.tokens_cost(
        Money(2), Money(8), Tokens(3e6), Tokens(1e6), cached_price=Money("0.5"), cached_tokens=Tokens(1e6)
    )

    assert cost == Money("12.5")


def test_framing_is_most_of_what_a_stream_sends():
    requests = 50 * 730 * 3600

    assert costs.egress(requests, 512).gb == pytest.approx(336.384)
    assert costs.egress(requests, 512, bytes_per_token=250).gb == pytest.approx(16_819.2)
    assert costs.egress(2, 10, framing=Bytes(100)) == Bytes(300)


def test_inferences_cost_what_is_known():
    price, busy = Money("0.75"), Seconds(2)

    assert usd(costs.inference_cost(price, busy)) == pytest.approx(0.000416667, abs=1e-9)
    assert usd(costs.inference_cost(price, busy, batch=6.6)) == pytest.approx(0.00006313, abs=1e-8)
    assert usd(costs.inferences_month(price, busy, 10_000)) == pytest.approx(126.74, abs=0.005)
    assert usd(costs.inferences_month(price, busy, 10_000, utilisation=0.5)) == pytest.approx(
        253.47, abs=0.005
    )


def test_the_worth_of_savings_is_what_is_known():
    def worth(saving, cost, months):
        return usd(costs.npv([Money(-cost)] + [Money(saving)] * months, 0.10, per_year=12))

    assert worth(14_000, 28_000, 12) == pytest.approx(131_243.12, abs=0.005)
    assert worth(1_000, 2_000, 24) == pytest.approx(19_670.85, abs=0.005)


def test_what_costs_as_much_by_the_token_never_pays():
    assert costs.breakeven_tokens(Money(100), Money("0.3"), Money("0.3")) == Tokens(math.inf)


@pytest.mark.parametrize(
    ("fixed", "api", "mtok", "per_second"),
    [
        (owned().total / 4, "0.30", 2_376.97, 0.5889),
        (owned().total / 4, "5.00", 142.62, 0.0353),
        (owned().total, "5.00", 570.47, 0.1413),
        (Money("3.99") * 730, "5.00", 582.54, 0.1443),
        (Money("3.99") * 730, "0.30", 9_709.0, 2.4052),
    ],
)
def test_a_fixed_cost_pays_from_the_known_load(fixed, api, mtok, per_second):
    tokens = costs.breakeven_tokens(fixed, Money(api))

    assert tokens.millions == pytest.approx(mtok, abs=0.006)
    assert costs.requests_per_second(tokens, 1536) == pytest.approx(per_second, abs=6e-5)


def test_currencies_are_not_mixed():
    with pytest.raises(TypeError, match="currency"):
        rented(egress_price=Money("0.09", "EUR"))
    with pytest.raises(TypeError, match="currency"):
        owned(colo=Money(100, "CNY"))


def test_another_currency_gives_the_same_figures():
    month = costs.cloud_month(instances=2, price_h=Money(3, "EUR"), tax=0.1)

    assert month.total == Money("4818", "EUR")


@pytest.mark.parametrize(
    "act",
    [
        lambda: costs.blended(Money(1), Money(1), 0, 0),
        lambda: costs.per_million(Money(1), TokensPerSecond(100), 0),
        lambda: costs.depreciation(Money(1), life_years=0),
    ],
)
def test_what_has_no_answer_is_refused(act):
    with pytest.raises(ValueError, match=r"no (monthly )?price"):
        act()


@given(amounts, st.floats(0, 1e6), shares, st.floats(0, 1), st.floats(0, 1e5), amounts)
def test_parts_of_a_rented_month_are_its_total_to_the_cent(price, instances, discount, tax, gb, staff):
    month = rented(
        price, instances=instances, discount=discount, tax=tax, egress=Bytes.of_gb(gb), staff=staff
    )

    parts = list(month.parts.values())

    assert sum(in_cents(parts)) == month.total.amount.quantize(Decimal("0.01"))
    assert month.total == total(parts)


@given(amounts, st.floats(0, 100), shares, st.floats(0, 0.5), st.floats(0, 1))
def test_parts_of_an_own_month_are_its_total_to_the_cent(price, servers, residual, wacc, utilisation):
    month = owned(server=price, servers=servers, residual=residual, wacc=wacc, utilisation=utilisation)

    assert sum(in_cents(list(month.parts.values()))) == month.total.amount.quantize(Decimal("0.01"))


@given(amounts, amounts, shares, shares)
def test_a_rented_month_is_monotone_in_price_tax_and_load(price, more, tax, discount):
    month = rented(price, tax=tax, discount=discount).total

    assert rented(price + more, tax=tax, discount=discount).total >= month
    assert rented(price, tax=tax + 0.01, discount=discount).total >= month
    assert rented(price, tax=tax, discount=discount, instances=1.5).total >= month
    assert rented(price, tax=tax, discount=discount, egress=Bytes.of_gb(1668)).total >= month


@given(shares, st.floats(0.01, 0.5), st.floats(1, 10))
def test_capital_that_costs_makes_a_month_dearer(residual, wacc, life):
    plain = costs.depreciation(SERVER, life_years=life, residual=residual)

    assert costs.depreciation(SERVER, life_years=life, residual=residual, wacc=wacc) > plain


@given(
    st.lists(st.decimals(-(10**6), 10**6, places=2).map(Money), min_size=1, max_size=30),
    st.sampled_from((1, 12)),
)
def test_the_worth_at_no_interest_is_the_sum(flows, per_year):
    assert costs.npv(flows, 0.0, per_year=per_year) == total(flows)
