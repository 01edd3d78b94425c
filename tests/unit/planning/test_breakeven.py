"""From when own machines are cheaper than rented ones or an API."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.contract import NEVER, Context, PlanError
from gateway.planning.payoff.breakeven import TOOL, plan
from gateway.planning.payoff.breakeven_inputs import BreakevenInputs
from gateway.planning.reading import from_text

TODAY = Context(today="2026-11-21")
HALF_P4D = {
    "gpu_price": Decimal("16.3863") / 4, "storage_gb": 1000.0, "egress_gb": 1667.0, "tax": 0.06,
    "server_price": Decimal(80_000), "kw_max": 3.0, "utilisation": 1.0, "tok_s": 1591.4,
}  # fmt: skip
H100 = {"gpu": "H100", "gpu_price": Decimal("3.99"), "tok_s": 3281.19, "utilisation": 1.0, "own_fte": 0.0}
GPT_4O = {"api_input": Decimal("2.5"), "api_output": Decimal(10)}
MINI = {"api_input": Decimal("0.15"), "api_output": Decimal("0.60")}

money = st.decimals("0.01", 100, places=2)


def answered(**inputs):
    return plan(BreakevenInputs(**inputs), TODAY)


def lines(answer):
    return {line.key: line.value for line in answer.lines}


def rows(answer, key):
    (found,) = [table.rows for table in answer.tables if table.key == key]
    return found


def payback(**inputs):
    always, part, committed = rows(answered(**HALF_P4D, **inputs), "renting")
    return [always["payback_months"], part["payback_months"], committed["payback_months"]]


@pytest.mark.parametrize(("fte", "months"), [(0.0, [7.06, 27.76, 12.77]), (0.25, [9.06, 209.75, 21.26])])
def test_a_server_is_paid_for_after_the_known_months(fte, months):
    """Of renting the same on demand, for eight hours a day, and at 40 % off."""
    assert [round(found, 2) for found in payback(own_fte=fte)] == months


@pytest.mark.parametrize(("fte", "months"), [(0.0, 11.19), (0.25, 17.20)])
def test_a_price_cut_of_a_third_puts_it_off(fte, months):
    answer = answered(**(HALF_P4D | {"gpu_price": Decimal("10.9788") / 4, "own_fte": fte}))

    assert round(lines(answer)["payback_months"], 2) == months


def test_a_rented_month_is_as_known(golden):
    answer = answered(**HALF_P4D)

    found = [float(row["month_usd"]) for row in rows(answer, "renting")]
    assert found == [
        golden["cloud/od_24x7"]["total"],
        golden["cloud/od_8h"]["total"],
        golden["cloud/res40"]["total"],
    ]
    assert found == [12_853.59, 4_400.44, 7_781.70]


@pytest.mark.parametrize(
    ("api", "mtok", "day", "qps"), [(MINI, 2_376.97, 78.147, 0.5889), (GPT_4O, 142.62, 4.689, 0.0353)]
)
def test_a_copy_on_an_own_gpu_pays_from_the_known_load(api, mtok, day, qps):
    found = lines(answered(**HALF_P4D, **api, own_fte=0.0))

    assert found["breakeven_mtok_month"] == pytest.approx(mtok, abs=0.005)
    assert found["breakeven_mtok_day"] == pytest.approx(day, abs=0.0005)
    assert found["breakeven_qps"] == pytest.approx(qps, abs=0.00005)


def test_loads_that_pay_are_as_the_reference_arithmetic_says(golden):
    own = lines(answered(**HALF_P4D, **GPT_4O, own_fte=0.0))
    rented = rows(answered(**H100, **GPT_4O), "tokens")[1]

    known = golden["be_tokens/own 1 GPU share vs 4o"]
    assert own["breakeven_mtok_month"] == pytest.approx(known["mtok_month"], abs=0.005)
    known = golden["be_tokens/H100 rented vs 4o"]
    assert rented["mtok_month"] == pytest.approx(known["mtok_month"], abs=0.005)
    assert rented["mtok_day"] == pytest.approx(known["mtok_day"], abs=0.0005)
    assert rented["qps"] == pytest.approx(known["qps"], abs=0.00005)


def test_a_rented_gpu_pays_against_a_dear_api_from_the_known_load():
    rented = rows(answered(**H100, **GPT_4O), "tokens")[1]

    assert rented["mtok_month"] == pytest.approx(582.54, abs=0.005)
    assert (round(rented["mtok_day"], 3), round(rented["qps"], 4)) == (19.152, 0.1443)


def test_what_a_gpu_cannot_serve_never_pays():
    """9,709 million tokens would have to be served, and the card serves 8,623."""
    answer = answered(**H100, **MINI)

    rented = rows(answer, "tokens")[1]
    assert rented["mtok_month"] == rented["mtok_day"] == rented["qps"] == NEVER
    assert rented["why"] == "a copy serves at most 8,623M tokens a month"


def test_an_api_that_costs_less_than_own_tokens_is_never_left():
    answer = answered(**H100, **MINI, variable=Decimal("0.30"))

    assert lines(answer)["breakeven_mtok_month"] == NEVER
    assert "own variable cost" in rows(answer, "tokens")[0]["why"]


@pytest.mark.parametrize(("api", "price"), [(MINI, "0.30"), (GPT_4O, "5.00")])
def test_prices_are_blended_by_the_mix_of_tokens(api, price):
    assert lines(answered(**api))["api_blended"] == Decimal(price)


def test_cached_tokens_lower_the_blended_price():
    found = answered(**GPT_4O, api_cached=Decimal("1.25"), cached_share=0.5)

    assert lines(found)["api_blended"] == Decimal("4.583333")


def test_a_commitment_pays_from_the_known_share_of_hours():
    found = lines(answered(discount=0.4))

    assert (found["commit_utilisation"], found["commit_hours"]) == (60.0, 438.0)


def test_capital_that_costs_something_puts_the_payback_off():
    found = lines(answered(**HALF_P4D, wacc=0.08))

    assert found["discounted_payback_months"] > found["payback_months"]


def test_a_server_that_outlives_no_payback_is_said_to_wear_out_first():
    answer = answered(**HALF_P4D)

    part = rows(answer, "renting")[1]
    assert part["payback_months"] > 60
    assert part["why"] == "it lasts 60 months"


def test_running_that_costs_more_than_renting_never_pays():
    answer = answered(**(HALF_P4D | {"own_fte": 2.0}))

    assert lines(answer)["payback_months"] == NEVER
    assert "never pays against rented, always on" in answer.headline
    assert rows(answer, "renting")[0]["why"] == "running an own one costs 21,519.03"


def test_a_load_says_what_to_buy():
    """Two servers' worth for 16 hours and six for 8: 292.68 busy hours pay."""
    shape = ",".join(["2"] * 16 + ["6"] * 8)
    # A server takes 3.6M tokens an hour, which cost 4.10 by the API.
    answer = answered(
        api_input=Decimal("4.10") / Decimal("3.6"), api_output=Decimal("4.10") / Decimal("3.6"), tok_s=1000.0,
        input_tokens=500, output_tokens=500, requests_per_day=80 * 3600.0, shape=shape, server_gpus=1, utilisation=1.0,
        server_price=Decimal(72_000), kw_max=0.0, maintenance=0.0, own_fte=0.0,
    )  # fmt: skip

    found = lines(answer)
    assert found["servers"] == 2
    assert found["api_month"] == Decimal("9976.67")
    assert found["load_saving_month"] == Decimal("3586.00")
    assert found["load_payback_months"] == pytest.approx(144_000 / 5_986)
    assert [row["pays"] for row in rows(answer, "servers_one_by_one")] == [True, True, False]


def test_a_load_that_people_cost_more_than_buys_nothing():
    found = lines(answered(**H100 | {"own_fte": 5.0}, **GPT_4O, requests_per_day=20_000.0))

    assert (found["servers"], found["load_payback_months"]) == (0, NEVER)


def test_the_speed_is_estimated_and_said_to_be():
    answer = answered()

    assert any(each.name == "speed of Llama-3-8B" and each.origin == "derived" for each in answer.assumptions)
    assert any("estimate" in warning for warning in answer.warnings)
    assert not any("estimate" in warning for warning in answered(tok_s=1000.0).warnings)


def test_a_model_takes_as_many_gpus_as_hold_it():
    answer = answered(model="llama-3-70b")

    (held,) = [each.value for each in answer.assumptions if each.name.startswith("GPUs of a copy")]
    assert held == 2


@pytest.mark.parametrize(
    ("inputs", "param"),
    [
        ({"api": "gpt-none"}, "api"),
        ({"gpu": "H900"}, "gpu"),
        ({"model": "nobody-1b"}, "model"),
        ({"model": "llama-3-70b", "server_gpus": 1}, "server_gpus"),
        ({"model": "llama-3-70b", "gpu": "T4", "replica_gpus": 1, "server_price": Decimal(9000)}, "gpu"),
        ({"requests_per_day": 5.0, "shape": "1,2"}, "shape"),
        ({"server_price": Decimal(0), "kw_max": 0.0}, "server_price"),
    ],
)
def test_what_cannot_be_is_refused(inputs, param):
    with pytest.raises(PlanError) as refused:
        answered(**inputs)

    assert refused.value.param == param


def at_api_price(price, **changes):
    found = lines(answered(**(H100 | changes), api_input=price, api_output=price))["breakeven_mtok_month"]
    return math.inf if found == NEVER else found


@given(price=money, more=money)
def test_a_dearer_api_is_left_sooner(price, more):
    assert at_api_price(price + more) <= at_api_price(price)


@given(price=money, server=st.decimals(1000, 200_000, places=0), more=st.decimals(0, 200_000, places=0))
def test_a_dearer_server_pays_later(price, server, more):
    assert at_api_price(price, server_price=server + more) >= at_api_price(price, server_price=server)


@given(price=money, variable=st.decimals(0, 50, places=2))
def test_at_the_break_even_both_sides_cost_the_same(price, variable):
    answer = answered(**H100, api_input=price, api_output=price, variable=variable)

    own = rows(answer, "tokens")[0]
    if own["mtok_month"] != NEVER:
        by_api = own["mtok_month"] * float(price)
        by_own = float(own["fixed_usd"]) + own["mtok_month"] * float(variable)
        assert by_api == pytest.approx(by_own, rel=1e-4)


@given(rent=money, fte=st.floats(0, 3))
def test_buying_never_pays_just_where_running_costs_as_much_as_renting(rent, fte):
    answer = answered(**(HALF_P4D | {"gpu_price": rent, "own_fte": fte}))

    for row in rows(answer, "renting"):
        never = lines(answer)["own_running_month"] >= row["month_usd"]
        assert (row["payback_months"] == NEVER) == never or abs(
            lines(answer)["own_running_month"] - row["month_usd"]
        ) < 1


def test_the_diagram_of_loads_marks_where_own_servers_begin_to_pay():
    answer = answered(**HALF_P4D, **GPT_4O, own_fte=0.0)

    plot = answer.plot
    assert plot is not None
    api, own, _ = plot.series
    (mark,) = plot.marks
    assert mark.x == pytest.approx(4 * 142.62, abs=0.02)
    before = [at for at, x in enumerate(api.x) if x < mark.x]
    assert all(api.y[at] < own.y[at] for at in before)


def test_the_diagram_of_months_marks_when_the_server_is_paid_for():
    answer = answered(**HALF_P4D, own_fte=0.0, diagram="months")

    plot = answer.plot
    assert plot is not None
    (mark,) = plot.marks
    assert mark.x == pytest.approx(7.06, abs=0.005)
    rented, own = plot.series
    assert own.y[7] > rented.y[7]
    assert own.y[8] < rented.y[8]


@pytest.mark.parametrize("example", TOOL.examples)
def test_examples_work(example):
    words = example.split()
    given_words = {words[at][2:].replace("-", "_"): words[at + 1] for at in range(0, len(words), 2)}

    assert plan(from_text(BreakevenInputs, given_words, str), TODAY).headline
