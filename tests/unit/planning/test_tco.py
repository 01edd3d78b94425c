"""`tco`: ways to serve a load, side by side; the numbers they must give, and what holds for all."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.planning.answering import answered
from gateway.planning.contract import Context, PlanError
from gateway.planning.cost.load import SHAPES, load
from gateway.planning.cost.tco import TOOL, preset, scenarios
from gateway.planning.cost.tco_inputs import TcoInputs
from gateway.planning.reading import from_text
from gateway.planning.rendering import as_json, as_text
from gateway.planning.units import TokensPerSecond

TODAY = Context(today="2026-11-21")
CENT = Decimal("0.01")
PLAIN = {"tok_s": 2000.0, "gpu_price": Decimal("1.50"), "server_price": Decimal(80_000), "kw_max": 3.0}
"""Nothing estimated, and no list looked up."""


def answer(given=None, context=TODAY, **inputs):
    made = TcoInputs(**inputs)
    return answered(TOOL, made, list(inputs) if given is None else given, context)


def lines(found):
    return {line.key: line.value for line in found.lines}


def table(found, key):
    [one] = [each for each in found.tables if each.key == key]
    return one


def month(found, option):
    return {row["part"]: row.get(option) for row in table(found, "months").rows}


def total(found, option):
    return month(found, option)["total"]


def option_row(found, label):
    [row] = [row for row in table(found, "options").rows if row["option"] == label]
    return row


def test_ten_thousand_requests_a_day_cost_140_16_by_the_api():
    found = answer(requests_per_day=10_000, input_tokens=1024, output_tokens=512, api="gpt-4o-mini")

    assert lines(found)["api_month"] == Decimal("140.16")
    assert lines(found)["api_mtok"] == Decimal("0.3000")


def test_a_thousand_short_requests_a_day_cost_2_46_by_the_api():
    found = answer(requests_per_day=1_000, input_tokens=300, output_tokens=60, api="gpt-4o-mini")

    assert lines(found)["api_month"] == Decimal("2.46")


def test_half_a_p4d_costs_what_is_known():
    found = answer(scenario="p4d")

    parts = {part: float(cost) for part, cost in month(found, "on_demand").items() if cost}
    assert parts == {
        "compute": 11962.00,
        "storage": 23.00,
        "egress": 141.03,
        "tax": 727.56,
        "total": 12853.59,
    }
    assert float(total(found, "reserved")) == 7781.70


def test_eight_hours_a_day_cost_what_is_known():
    found = answer(scenario="p4d", shape="office", given=["scenario", "shape"])

    assert float(total(found, "on_demand_hours")) == 4400.44
    assert float(total(found, "on_demand")) == 12853.59


def test_a_busy_own_server_costs_what_is_known():
    """One request of 1,536 tokens a second keeps a server busy that serves 1,536 tokens a second."""
    busy = {
        "qps": 1.0,
        "tok_s": 1536.0,
        "utilisation": 1.0,
        "gpu_price": Decimal(1),
        "server_gpus": 1,
        "kw_max": 3.0,
    }
    found = answer(**busy, server_price=Decimal(80_000), own_fte=0.0)
    with_people = answer(**busy, server_price=Decimal(80_000))
    three_years = answer(**busy, server_price=Decimal(80_000), own_fte=0.0, life=3, years=3, maintenance=0.10)
    small = answer(
        **(busy | {"kw_max": 1.2}),
        server_price=Decimal(25_000),
        own_fte=0.0,
        life=3,
        years=3,
        maintenance=0.10,
    )

    parts = {part: float(cost) for part, cost in month(found, "own").items() if cost}
    assert parts == {"depreciation": 1333.33, "power": 519.03, "maintenance": 1000.00, "total": 2852.36}
    assert float(total(with_people, "own")) == 5352.36
    assert float(option_row(three_years, "own")["total"]) == 122_685.08
    assert float(option_row(small, "own")["total"]) == 39_974.03


@pytest.mark.parametrize(("utilisation", "price"), [(0.40, "0.8445"), (0.50, "0.6756"), (0.75, "0.4504")])
def test_a_million_tokens_on_a_rented_gpu_cost_what_is_known(utilisation, price):
    found = answer(gpu_price=Decimal("3.99"), tok_s=3281.19, utilisation=utilisation)

    assert lines(found)["rented_mtok"] == Decimal(price)


@pytest.mark.parametrize(("utilisation", "cost"), [(1.0, "126.74"), (0.5, "253.47")])
def test_inferences_can_be_counted_by_their_time(utilisation, cost):
    found = answer(
        gpu_price=Decimal("0.75"), tok_s=700.0, busy_s=2.0, requests_per_day=10_000, utilisation=utilisation
    )

    assert lines(found)["by_time_month"] == Decimal(cost)


def test_fifty_requests_a_second_send_more_framing_than_text():
    found = lines(answer(**PLAIN, qps=50.0, output_tokens=512))

    assert (found["egress_text_gb"], found["egress_sse_gb"]) == (336.384, 16_819.2)


def test_each_hybrid_costs_what_is_known():
    """Two copies for 16 hours and six for 8; an own one is 1,200 a month, a rented one 4.10 an hour."""
    found = answer(
        requests_per_day=(16 * 2 + 8 * 6) * 3600,
        shape=",".join(["2"] * 16 + ["6"] * 8),
        tok_s=1536.0,
        utilisation=1.0,
        gpu_price=Decimal("4.10"),
        storage_gb=0.0,
        egress_gb=0.0,
        server_gpus=1,
        server_price=Decimal(72_000),
        maintenance=0.0,
        kw_max=0.0,
        own_fte=0.0,
    )

    rows = table(found, "mixes").rows
    assert [float(row["month"]) for row in rows] == [
        9976.67,
        8183.67,
        6390.67,
        6593.00,
        6795.33,
        6997.67,
        7200.00,
    ]
    assert [row["hours"] for row in rows] == [None, 730.0, 730.0, 243.3, 243.3, 243.3, 243.3]
    assert lines(found)["server_pays_h"] == 292.7
    assert float(total(found, "hybrid")) == 6390.67


def test_a_shops_month_costs_20_000_by_its_large_model(golden_ecom):
    found = answer(scenario="ecommerce")

    assert float(total(found, "api")) == golden_ecom["uniform/large/{'cache': False}"]["base_month"]


@pytest.mark.parametrize("capacity", ["0.25", "0.5"])
def test_hours_needed_by_a_wave_agree_with_a_simulated_fleet(golden_ecom, capacity):
    """By the hour here, by the minute there."""
    fleet = golden_ecom[f"fleet/{capacity}"]
    day = load(20_000_000 * 12 / 365, "day", 300, 60)

    needed = day.replicas(TokensPerSecond(float(capacity) * 360 * 0.75))

    assert sum(needed) == pytest.approx(fleet["auto_gpu_h"], rel=0.02)


@pytest.mark.parametrize("name", sorted(scenarios()))
def test_every_scenario_answers(name):
    found = answer(scenario=name)

    assert found.headline.startswith(scenarios()[name]["title"])
    assert as_text(found, explain=True)
    assert msgspec.json.decode(as_json(found, version="0", today=TODAY.today))["options"]
    by_name = {each.name: each.origin for each in found.assumptions}
    assert all(by_name[each] == "given" for each in scenarios()[name]["inputs"])


def test_help_names_every_scenario():
    hint = next(each for each in msgspec.structs.fields(TcoInputs) if each.name == "scenario")

    told = str(hint.type)
    assert all(name in told for name in scenarios())


@pytest.mark.parametrize("example", TOOL.examples)
def test_every_example_answers(example):
    words = example.split()
    given_ = {word[2:].replace("-", "_"): value for word, value in zip(words[::2], words[1::2], strict=True)}
    given_ = {name: [value] if name == "exchange" else value for name, value in given_.items()}
    made = from_text(TcoInputs, given_, str)

    assert answered(TOOL, made, list(given_), TODAY).headline


def test_what_is_given_counts_instead_of_the_scenarios():
    found = answer(scenario="startup", requests_per_day=20_000, given=["scenario", "requests_per_day"])

    assert lines(found)["api_month"] == Decimal("280.32")


def test_a_default_that_is_given_counts_instead_of_the_scenarios():
    found = answer(scenario="50qps", gpu="A100-80", given=["scenario", "gpu"])

    assert "A100-80" in option_row(found, "own")["needs"]


def test_an_unknown_scenario_is_refused_with_those_there_are():
    with pytest.raises(PlanError, match="50qps, bank, ecommerce, p4d, startup"):
        preset(TcoInputs(scenario="moon"))


def test_a_scenarios_amounts_are_not_relabelled():
    with pytest.raises(PlanError, match="in USD"):
        preset(TcoInputs(scenario="startup", currency="EUR"))


def test_a_bank_serves_from_its_own_machines_only():
    found = answer(scenario="bank")

    rows = table(found, "options").rows
    assert [row["option"] for row in rows if "month" in row] == ["own"]
    assert all("data may not" in row["needs"] for row in rows if "month" not in row)


@pytest.mark.parametrize(
    ("inputs", "option", "reason"),
    [
        ({"data": "rented"}, "API", "data may not go to an API"),
        ({"data": "own"}, "own and rented", "data may not leave own machines"),
        ({"gpu": "T4"}, "own", "does not fit"),
        ({"gpu": "MI300X"}, "rented, all hours", "no price is known of 1 x MI300X"),
        ({"gpu": "L4", "precision": "int4"}, "own", "no price is known of buying a L4"),
        ({"cloud": "moonbase"}, "spot, hours needed", "there are some at aws us-west-2, lambda us-east-1"),
        ({"replica_gpus": 8}, "own", "a copy takes 8 GPUs, and a server has 4"),
        ({"model": "llama-2-70b", "gpu": "RTX4090", "replica_gpus": 2}, "own", "does not fit 2 x RTX4090"),
    ],
)
def test_what_is_impossible_is_shown_with_its_reason(inputs, option, reason):
    if inputs.get("gpu") == "T4":
        inputs = inputs | {"replica_gpus": 1}

    found = answer(**inputs)

    row = option_row(found, option)
    assert reason in row["needs"]
    assert row.get("month") is None


def test_nothing_possible_is_an_answer_too():
    found = answer(data="own", replica_gpus=8)

    assert found.headline.startswith("There is no way to serve 10,000 requests a day")
    assert as_text(found)
    assert found.plot is None


def test_a_budget_is_held_against_each_way():
    found = answer(**PLAIN, budget=Decimal(200))

    assert option_row(found, "own")["note"] == "over the budget"
    assert option_row(found, "API")["note"] == "cheapest"
    assert "over the budget" in answer(**PLAIN, budget=Decimal(1)).headline


def test_an_answer_in_another_currency_needs_a_rate():
    with pytest.raises(PlanError, match="USD:EUR=RATE"):
        answer(currency="EUR")


def test_an_answer_in_another_currency_converts_every_listed_price():
    dollars, euros = answer(), answer(currency="EUR", exchange=("USD:EUR=0.5",))

    for option in ("api", "on_demand", "spot", "own", "hybrid"):
        assert float(total(euros, option)) == pytest.approx(float(total(dollars, option)) / 2, abs=0.011)
    assert {column.unit for column in table(euros, "months").columns[1:]} == {"EUR"}
    assert "exchange" in {each.name for each in euros.assumptions}


def test_amounts_that_are_given_are_in_the_answers_currency():
    found = answer(
        currency="EUR", exchange=("USD:EUR=0.5",), gpu_price=Decimal(1), tok_s=2000.0, storage_gb=0
    )

    assert month(found, "on_demand")["compute"] == Decimal("730.00")


def test_a_readers_own_price_list_is_used():
    text = "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,AsOf\nours,A100-80GB,1,1.00,0.10,2026-11-01\n"
    found = answer(prices="ours.csv", context=msgspec.structs.replace(TODAY, files={"prices": text}))

    assert option_row(found, "rented, all hours")["needs"] == "1 x ours"
    assert month(found, "on_demand")["compute"] == Decimal("730.00")
    assert month(found, "spot")["compute"] == Decimal("73.12")


def test_whole_instances_are_rented():
    """Eight GPUs come together, though one would do."""
    text = "InstanceType,AcceleratorName,AcceleratorCount,Price\nbox,A100-80GB,8,8.00\n"
    found = answer(prices="x", context=msgspec.structs.replace(TODAY, files={"prices": text}))

    assert month(found, "on_demand")["compute"] == Decimal("5840.00")


def test_old_prices_are_warned_of():
    [warning] = [each for each in answer().warnings if each.startswith("Older than 90 days")]

    assert "gpt-4o-mini input (2026-07-24)" in warning


def test_prices_of_no_day_are_warned_of():
    text = "InstanceType,AcceleratorName,AcceleratorCount,Price\nbox,A100-80GB,1,1.00\n"
    found = answer(prices="x", context=msgspec.structs.replace(TODAY, files={"prices": text}))

    assert "The price list does not say of which day it is: box." in found.warnings


def test_prices_from_memory_are_named():
    found = answer(gpu="L4", precision="int4")

    assert any("nobody looked up" in warning and "L4" in warning for warning in found.warnings)


def test_people_who_are_most_of_a_small_fleet_are_told_of():
    found = answer(**PLAIN)

    assert any("People are 5" in warning for warning in found.warnings)


def test_speeds_that_nobody_measured_are_told_of():
    assert any("estimates" in warning for warning in answer().warnings)
    assert not any("estimates" in warning for warning in answer(**PLAIN).warnings)


def test_servers_are_bought_again_at_the_end_of_their_life():
    found = answer(**PLAIN, years=7, life=3, residual=0.1, hardware_price_growth=-0.5, own_fte=0.0)

    paid = [row["own"] for row in table(found, "years").rows]
    extra = [float(year - paid[1]) for year in paid[:-2]]
    assert paid[0] == Decimal(80_000)
    assert extra[3] == pytest.approx(10_000 - 8_000, abs=0.02)
    assert extra[6] == pytest.approx(1_250 - 1_000, abs=0.02)
    assert paid[-1] == Decimal("875.00"), "of 1,250, one year of three is gone, down to a tenth"


def test_demand_that_grows_takes_more_servers():
    found = answer(**PLAIN, qps=3.0, demand_growth=1.0, years=3, server_gpus=1)

    paid = [row["own"] for row in table(found, "years").rows]
    assert paid[0] == Decimal(4 * 80_000)
    assert paid[1] > Decimal(3 * 80_000)


def test_prices_that_fall_make_later_years_cheaper():
    found = answer(**PLAIN, api_price_growth=-0.5, rent_price_growth=0.1, years=3)

    rows = table(found, "years").rows
    assert [rows[year]["api"] for year in (1, 2, 3)] == [
        Decimal("1681.92"),
        Decimal("840.96"),
        Decimal("420.48"),
    ]
    assert rows[2]["on_demand"] == (rows[1]["on_demand"] * Decimal("1.1")).quantize(CENT)


def test_later_years_weigh_less_where_capital_costs():
    found = answer(**PLAIN, wacc=0.1)

    for row in table(found, "options").rows:
        assert row["worth"] < row["total"], row["option"]


def test_the_plot_marks_where_own_servers_have_paid():
    dear = {"data": "rented", "discount": 0.0, "spot_discount": 0.0}
    found = answer(scenario="p4d", **dear, given=["scenario", *dear])

    assert found.plot is not None
    [mark] = found.plot.marks
    assert 0 < mark.x < 5
    assert {len(series.y) for series in found.plot.series} == {6}


def test_what_changed_since_an_earlier_answer_is_told_part_by_part():
    before = msgspec.json.decode(as_json(answer(**PLAIN), version="0", today=TODAY.today))
    now = answer(**PLAIN, tax=0.06, context=msgspec.structs.replace(TODAY, previous=before))

    rows = {(row["option"], row["part"]): row for row in table(now, "month_changes").rows}
    assert rows["API", "tax"]["change"] == Decimal("8.41")
    assert ("own", "power") not in rows
    changed = {row["what"]: row for row in table(now, "changes").rows}
    assert changed["API"]["change_percent"] == pytest.approx(6.0, abs=0.01)


def test_an_overflow_to_the_api_is_paid_by_the_token():
    found = answer(**PLAIN, qps=3.0, shape="day", overflow="api", api="gpt-4o", own_fte=0.0)

    assert option_row(found, "own and api")["month"] <= min(total(found, "api"), total(found, "own"))


def test_what_is_no_shape_is_refused():
    for shape in ("night", "1,2,3", ",".join(["0"] * 24), ",".join(["nan"] * 24)):
        with pytest.raises(PlanError, match="24 numbers"):
            load(1, shape, 1, 1)


@pytest.mark.parametrize("shape", [*SHAPES, ",".join(str(hour) for hour in range(24))])
def test_a_shape_moves_requests_and_adds_none(shape):
    assert sum(load(1000, shape, 1, 1).by_hour) == pytest.approx(1000)


def test_a_load_that_fits_exactly_takes_no_further_copy():
    day = load(86_400, "flat", 3, 7)

    assert day.replicas(TokensPerSecond(10)) == (1,) * 24
    assert day.replicas(TokensPerSecond(9.99)) == (2,) * 24


cases = st.fixed_dictionaries(
    {
        "qps": st.floats(0.01, 40),
        "shape": st.sampled_from(sorted(SHAPES)),
        "tax": st.floats(0, 0.3),
        "overflow": st.sampled_from(("rented", "api")),
        "gpu_price": st.decimals("0.1", 20, places=2),
        "wacc": st.floats(0, 0.3),
        "server_gpus": st.integers(1, 8),
    }
)


def priced(changes, **more):
    return answer(**(PLAIN | changes | more))


@settings(max_examples=25)
@given(cases)
def test_parts_are_the_total_to_the_cent_for_all_ways(changes):
    found = priced(changes)

    for row in ("api", "on_demand", "on_demand_hours", "reserved", "spot", "own", "hybrid"):
        parts = month(found, row)
        assert (
            sum(cost for part, cost in parts.items() if part != "total" and cost is not None)
            == parts["total"]
        )
        assert lines(found)[f"{row}_month"] == parts["total"]
        flows = [each[row] for each in table(found, "years").rows]
        assert sum(flows[:-2]) == flows[-2]


@settings(max_examples=25)
@given(cases)
def test_a_hybrid_is_never_dearer_than_renting_or_owning_all(changes):
    found = priced(changes)

    rest = "api" if changes["overflow"] == "api" else "on_demand_hours"
    assert total(found, "hybrid") <= min(total(found, rest), total(found, "own"))


@settings(max_examples=25)
@given(cases, st.floats(1.001, 3), st.sampled_from(("qps", "gpu_price", "tax", "server_price")))
def test_more_load_and_higher_prices_never_make_a_month_cheaper(changes, factor, name):
    full = PLAIN | changes
    dearer = (
        Decimal(repr(factor)) * full[name]
        if isinstance(full[name], Decimal)
        else min(full[name] * factor, 1000)
    )
    before, after = answer(**full), answer(**(full | {name: min(dearer, 1.0) if name == "tax" else dearer}))

    for row in ("api", "on_demand", "on_demand_hours", "reserved", "spot", "own", "hybrid"):
        assert total(after, row) >= total(before, row), row


@settings(max_examples=25)
@given(cases, st.integers(1, 12), st.integers(1, 6))
def test_without_interest_the_worth_today_is_what_is_paid(changes, years, life):
    found = priced(changes, wacc=0.0, years=years, life=life)

    for row in table(found, "options").rows:
        assert row["worth"] == row["total"]
