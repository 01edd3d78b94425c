"""The forecast of a bill: where its days come from, what it says of a month and a budget, and what it owns up to."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import ManualClock
from gateway.config import parse
from gateway.ledger.contract import SpendRow
from gateway.ledger.database import Database
from gateway.ledger.exports import as_csv, as_records
from gateway.ledger.store import SqlLedger
from gateway.ledger.traffic import TrafficReader
from gateway.planning.answering import answered, ledger_question
from gateway.planning.contract import Context, PlanError
from gateway.planning.forecasting.daily import days_of, from_file, from_traffic, zone
from gateway.planning.forecasting.forecast import TOOL, ForecastInputs
from gateway.planning.reading import from_text
from gateway.planning.traffic import Hour, Traffic
from tests.fixtures.ledger import NOV_21, entry

TODAY = date(2026, 11, 21)
HOUR_MS = 3_600_000

amounts = st.lists(st.floats(0.01, 1e5), min_size=7, max_size=80)


def ms(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def hour(start, usd, **changes):
    usual = {
        "start_ms": ms(start),
        "model": "m",
        "upstream": "u",
        "size": "small",
        "requests": 1,
        "input_tokens": 1,
        "cached_input_tokens": 0,
        "output_tokens": 1,
        "cost": round(usd * 1e9),
    }
    return Hour(**(usual | changes))


def traffic(hours, from_="2026-11-01T00:00", to="2026-11-21T00:00"):
    return Traffic(from_ms=ms(from_), to_ms=ms(to), tenant=None, hours=tuple(hours))


def asked(amounts_=(), *, today=TODAY, **inputs):
    given_ = {"daily": ",".join(str(amount) for amount in amounts_)} if amounts_ else {}
    files = {"file": inputs["file"]} if "file" in inputs else {}
    inputs = given_ | inputs
    return answered(TOOL, ForecastInputs(**inputs), inputs, Context(today=today.isoformat(), files=files))


def value(answer, key):
    return next(line.value for line in answer.lines if line.key == key)


def rows(answer, key="forecast_days"):
    return next(table.rows for table in answer.tables if table.key == key)


def told(answer, text):
    return any(text in warning for warning in answer.warnings)


def weekly(days, *, noise=0.0, base=100.0, weekend=50.0, slope=0.0, seed=0):
    """Up to yesterday; the first is a Monday if `days` says so."""
    rng = random.Random(seed)
    first = TODAY - timedelta(days=days)
    return [
        round(
            (weekend if (first + timedelta(days=at)).weekday() > 4 else base)
            + slope * at
            + (rng.gauss(0, noise) if noise else 0.0),
            2,
        )
        for at in range(days)
    ]


def test_a_month_is_what_was_spent_and_what_its_days_will():
    answer = asked(weekly(42))

    # 1 to 20 November have 15 working days, 21 to 30 have 6.
    assert value(answer, "month_to_date") == 15 * 100 + 5 * 50
    assert value(answer, "rest_of_month") == 6 * 100 + 4 * 50
    assert value(answer, "month_end") == value(answer, "month_to_date") + value(answer, "rest_of_month")


def test_the_golden_line_and_its_sum():
    answer = asked([100 + 2 * day for day in range(28)])

    assert [row["mean"] for row in rows(answer)][:7] == [156, 158, 160, 162, 164, 166, 168]
    assert value(answer, "month_end_low") == value(answer, "month_end") == value(answer, "month_end_high")


def test_the_days_of_the_table_sum_to_the_rest_of_the_month():
    answer = asked(weekly(42, noise=9))

    summed = sum(row["mean"] for row in rows(answer))
    assert summed == pytest.approx(value(answer, "rest_of_month"), abs=Decimal("0.06"))
    assert rows(answer)[-1]["month_so_far"] == value(answer, "month_end")
    assert rows(answer)[-1]["day"] == "2026-11-30"


def test_a_sums_band_is_narrower_than_its_days_bounds():
    answer = asked(weekly(42, noise=9))

    wide = sum(row["high"] - row["low"] for row in rows(answer))
    assert value(answer, "month_end_high") - value(answer, "month_end_low") < wide / 2


def test_few_days_have_a_rate_and_no_band():
    answer = asked([10, 12, 14])

    assert "too few" in answer.headline
    assert "no interval" in answer.headline
    assert value(answer, "run_rate_month") == 36 + 12 * 10
    assert not answer.tables
    assert answer.plot is None


def test_a_rate_comes_from_this_month_alone():
    answer = asked([90, 90, 10, 10], today=date(2026, 11, 3))

    assert value(answer, "run_rate_month") == 20 + 10 * 28


def test_a_budget_is_reached_on_a_day_between_others():
    answer = asked(weekly(42, noise=9), budget=Decimal(2100))

    days = [value(answer, key) for key in ("budget_earliest", "budget_day", "budget_latest")]
    assert days == sorted(days)
    assert "is reached on 2026-11-2" in answer.headline
    likely = [row["breach_percent"] for row in rows(answer)]
    assert likely == sorted(likely)
    assert likely[0] < 1
    assert likely[-1] > 99


def test_a_budget_out_of_reach_is_said_to_be():
    answer = asked(weekly(42, noise=9), budget=Decimal(9000))

    assert "probably not reached: 0.0% likely" in answer.headline
    assert value(answer, "budget_day") is None


def test_a_budget_that_is_spent_is_said_to_be():
    answer = asked(weekly(42, noise=9), budget=Decimal(1000))

    assert "reached already" in answer.headline
    assert value(answer, "budget_probability") == 100


def test_half_of_what_may_come_is_above_the_mean():
    days = weekly(42, noise=9)
    month = value(asked(days), "month_end")

    answer = asked(days, budget=month)

    assert value(answer, "budget_probability") == pytest.approx(50, abs=0.1)


def test_months_ahead_have_their_own_bands():
    answer = asked(weekly(49, noise=9), months=2)

    november, december, january = rows(answer, "forecast_months")
    assert [row["month"] for row in (november, december, january)] == ["2026-11", "2026-12", "2027-01"]
    assert december["high"] - december["low"] < january["high"] - january["low"]
    assert december["mean"] == pytest.approx(23 * 100 + 8 * 50, rel=0.1)
    assert answer.tables[0].key == "forecast_months"


def test_todays_part_is_spent_and_is_no_day():
    days = [hour(f"2026-11-{day:02}T10:00", 100) for day in range(1, 21)]
    quiet = traffic([*days, hour("2026-11-21T01:00", 3)], to="2026-11-21T02:30")
    loud = traffic([*days, hour("2026-11-21T01:00", 400)], to="2026-11-21T02:30")

    def answer(of):
        context = Context(today="2026-11-21", traffic=of)
        return answered(TOOL, ForecastInputs(from_ledger=True), ["from_ledger"], context)

    assert value(answer(quiet), "days") == 20
    assert value(answer(quiet), "month_end") == 3000
    # What is spent already is the least that the day will come to.
    assert value(answer(loud), "month_end") == 3300
    assert rows(answer(loud))[0]["low"] == 400


def test_a_first_day_that_was_not_read_whole_is_no_day():
    found = from_traffic(
        traffic([hour("2026-11-05T16:00", 5), hour("2026-11-06T16:00", 50)], from_="2026-11-05T15:00"),
        UTC,
        frozenset(),
    )

    assert found.first == date(2026, 11, 6)
    assert found.in_month == 55


def test_days_begin_where_people_live():
    late = [hour("2026-11-10T23:00", 7), hour("2026-11-11T10:00", 1)]

    utc = from_traffic(traffic(late), UTC, frozenset())
    berlin = from_traffic(traffic(late), zone("Europe/Berlin"), frozenset())

    assert utc.spent == {date(2026, 11, 10): 7, date(2026, 11, 11): 1}
    assert berlin.spent == {date(2026, 11, 11): 8}


def test_the_day_on_which_clocks_change_is_one_day():
    hours = [hour(f"2026-10-25T{at:02}:00", 1) for at in range(23)] + [hour("2026-10-24T22:00", 1)]

    found = from_traffic(
        traffic(hours, from_="2026-10-23T22:00", to="2026-10-26T23:00"), zone("Europe/Berlin"), frozenset()
    )

    assert found.spent == {date(2026, 10, 25): 24}
    assert found.end == date(2026, 10, 27)


def test_a_new_tenant_did_not_spend_nothing_before():
    found = from_traffic(
        traffic([hour("2026-11-12T10:00", 5), hour("2026-11-14T10:00", 5)], from_="2026-10-01T00:00"),
        UTC,
        frozenset(),
    )

    assert found.days[0] == date(2026, 11, 12)
    assert found.history == [5, 0, 5, 0, 0, 0, 0, 0, 0]
    assert found.silent[0] == date(2026, 11, 13)


def test_a_dead_day_counts_as_none_spent_and_is_named():
    days = weekly(42, noise=3)
    days[20] = 0

    answer = asked(days)

    assert told(answer, "1 day without any spend (2026-10-30) count") or told(
        answer, "1 day without any spend"
    )


def test_a_tenant_that_stopped_is_noticed():
    assert told(asked([*weekly(35, noise=3), 0, 0, 0]), "if it has stopped for good")


def test_a_day_left_out_moves_no_forecast_but_is_spent():
    plain = weekly(42, noise=3)
    launch = [*plain]
    launch[-10] = 5000.0
    day = str(TODAY - timedelta(days=10))

    kept, left_out = asked(launch), asked(launch, leave_out=(day,))

    assert told(kept, f"Unlike the others: {day}")
    assert value(kept, "rest_of_month") > 1.2 * float(value(left_out, "rest_of_month"))
    assert float(value(left_out, "rest_of_month")) == pytest.approx(
        float(value(asked(plain), "rest_of_month")), rel=0.02
    )
    assert value(left_out, "month_to_date") == value(kept, "month_to_date")


@pytest.mark.parametrize("days", [30, 70])
def test_days_left_out_at_the_end_move_no_weekday(days):
    yesterday, before = (str(TODAY - timedelta(days=back)) for back in (1, 2))

    answer = asked(weekly(days), leave_out=(f"{before}/{yesterday}",))

    assert [row["mean"] for row in rows(answer)] == [
        50 if row["weekday"] in ("Sat", "Sun") else 100 for row in rows(answer)
    ]


def test_a_spread_that_grows_is_warned_of():
    rng = random.Random(3)
    days = [round(200 + rng.gauss(0, 2 if at < 25 else 30), 2) for at in range(45)]

    assert told(asked(days), "Spend varies")


def test_a_level_that_moves_is_warned_of():
    assert told(asked([100.0] * 15 + [200.0] * 15), "followed by another")


def test_a_fall_below_nothing_stops_there():
    answer = asked([max(1.0, 300 - 14 * day) for day in range(21)])

    assert min(row["mean"] for row in rows(answer)) == 0
    assert told(answer, "falls below 0")


def test_what_was_spent_before_the_first_day_is_missed():
    assert told(asked([10.0] * 12), "2026-11-01 to 2026-11-08 is not known")


def test_a_year_of_days_is_told_by_what_did_best():
    answer = asked(weekly(400, noise=9, slope=0.2))

    assert {row["model"] for row in rows(answer, "models")} == {
        "trend and weekdays",
        "same day last week",
        "damped Holt-Winters",
    }
    assert [row["is_chosen"] for row in rows(answer, "models")].count(True) == 1


def test_a_file_may_be_what_the_gateway_writes_itself():
    spent = [
        SpendRow(
            group={"day": f"2026-11-{day:02}", "tenant": tenant},
            requests=1,
            cache_hits=0,
            input_tokens=0,
            cached_input_tokens=0,
            cache_write_tokens=0,
            cache_write_1h_tokens=0,
            output_tokens=0,
            reasoning_tokens=0,
            engine_us=0,
            cost=5_000_000_000,
            suspense=0,
            estimated_cost=0,
        )
        for day in range(1, 21)
        for tenant in ("a", "b")
    ]
    sheet = as_csv(spent, ["tenant", "day"])
    records = msgspec.json.encode({"rows": as_records(spent), "total": {}}).decode()

    for text in (sheet, records):
        answer = asked(file=text)

        assert value(answer, "month_to_date") == 200
        assert value(answer, "month_end") == 300


@pytest.mark.parametrize(
    "text",
    [
        "day,amount\n2026-11-19,1.5\n2026-11-20,2\n",
        "\ufeffDate;x\n".replace(";", ",").replace("x", "Cost")
        + "2026-11-19T00:00:00Z,$1.5\n2026-11-20,2\n\n",
        "2026-11-20,2\n2026-11-19,1\n2026-11-19,0.5",
        '{"2026-11-19": 1.5, "2026-11-20": 2}',
        '[{"date": "2026-11-19", "cost": 1.5}, {"date": "2026-11-20", "cost": "2"}]',
    ],
)
def test_files_come_in_several_forms(text):
    found = from_file(text, TODAY, frozenset())

    assert found.history == [1.5, 2]
    assert found.end == TODAY


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no days"),
        ("day,amount\n", "no days"),
        ("day,price\n2026-11-19,1\n", "no column amount"),
        ("2026-11-19,1\n2026-11-20,many\n", "line 2: 'many' is no amount"),
        ("2026-11-19,-1\n", "no amount of at least 0"),
        ("2026-11-19,nan\n", "no amount"),
        ("2026-11-19,1e99\n", "no amount"),
        ("2026-13-19,1\n", "line 1: '2026-13-19' is no day"),
        ("2026-11-19\n", "Line 1 has no day and amount"),
        ("2026-11-22,1\n", "not here yet"),
        ("2026-11-20,0\n", "Nothing was spent"),
        ("1926-11-20,1\n2026-11-20,1\n", "more than 3,660 days"),
        ("[1, 2]", "entry 1 is no record"),
        ("{", "not JSON"),
        ('[{"day": "2026-11-20"}]', "no column amount"),
    ],
)
def test_a_wrong_file_is_told_where(text, message):
    with pytest.raises(PlanError, match=message) as refused:
        from_file(text, TODAY, frozenset())

    assert refused.value.param in ("file", None)


def test_a_file_that_ends_today_has_a_day_that_is_not_over():
    found = from_file("2026-11-19,1\n2026-11-21,2\n", TODAY, frozenset())

    assert (found.history, found.so_far) == ([1, 0], 2)


def test_a_file_that_ended_earlier_is_said_to():
    days = "\n".join(f"2026-11-{day:02},10" for day in range(1, 16))

    answer = asked(file=days)

    assert told(answer, "Nothing is known from 2026-11-16 on")
    assert value(answer, "month_end") == 300


def test_gaps_of_a_file_may_be_unknown_days():
    text = "2026-11-10,10\n2026-11-13,10\n"

    assert from_file(text, TODAY, frozenset()).history == [10, 0, 0, 10]
    assert from_file(text, TODAY, frozenset(), gaps="leave-out").history == [10, None, None, 10]


def test_days_are_left_out_by_themselves_or_in_a_row():
    assert days_of(["2026-11-03", "2026-11-05/2026-11-06"]) == {
        date(2026, 11, 3),
        date(2026, 11, 5),
        date(2026, 11, 6),
    }


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "one of from_ledger, file or daily"),
        ({"daily": "1", "file": "x"}, "not file and daily at once"),
        ({"from_ledger": True}, "no ledger to read"),
        ({"daily": "1,x"}, "'x' is no amount"),
        ({"daily": ","}, "no amounts"),
        ({"daily": "1", "leave_out": ("soon",)}, "no day"),
        ({"daily": "1", "leave_out": ("2026-11-05/2026-11-04",)}, "ends before it begins"),
    ],
)
def test_what_is_missing_or_wrong_is_named(inputs, message):
    with pytest.raises(PlanError, match=message):
        asked(**inputs)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "", "\x00"])
def test_an_unknown_time_zone_is_refused(name):
    with pytest.raises(PlanError, match="time zone"):
        zone(name)


def test_a_ledgers_money_is_in_dollars():
    context = Context(today="2026-11-21", traffic=traffic([hour("2026-11-12T10:00", 5)]))

    with pytest.raises(PlanError, match="in USD"):
        answered(TOOL, ForecastInputs(from_ledger=True, currency="EUR"), [], context)


@given(amounts, st.integers(0, 2), st.floats(0.5, 0.95))
def test_no_band_lies_below_what_is_spent_or_misses_its_mean(days, months, coverage):
    answer = asked(days, months=months, coverage=coverage)

    for row in rows(answer):
        assert 0 <= row["low"] <= row["mean"] <= row["high"]
        assert 0 <= row["month_low"] <= row["month_so_far"] <= row["month_high"]
    sums = [(row["month_low"], row["month_high"]) for row in rows(answer) if row["day"] < "2026-12"]
    assert sums == sorted(sums)
    assert value(answer, "month_to_date") <= value(answer, "month_end_low")


@given(amounts, st.floats(0.2, 0.9))
def test_a_surer_band_is_wider(days, coverage):
    narrow, wide = asked(days, coverage=coverage), asked(days, coverage=coverage + 0.05)

    assert value(wide, "month_end_low") <= value(narrow, "month_end_low")
    assert value(narrow, "month_end_high") <= value(wide, "month_end_high")


@given(amounts, st.decimals(1, 10**6, places=2), st.decimals(1, 10**6, places=2))
def test_a_bigger_budget_is_no_likelier_reached(days, one, other):
    low, high = sorted((one, other))

    assert value(asked(days, budget=high), "budget_probability") <= value(
        asked(days, budget=low), "budget_probability"
    )


@pytest.mark.parametrize("example", TOOL.examples)
def test_examples_work(example):
    words = example.split()
    inputs = {flag.strip("-"): word for flag, word in zip(words[::2], words[1::2], strict=True)}

    answer = answered(TOOL, from_text(ForecastInputs, inputs, str), inputs, Context(today="2026-11-21"))

    assert "will come to" in answer.headline


def test_the_diagram_shows_the_past_the_band_and_the_budget():
    daily, monthly = asked(weekly(200, noise=5)).plot, asked(weekly(42, noise=5), budget=Decimal(2000)).plot

    assert len(daily.series[0].x) == 120
    assert daily.series[1].low is not None
    assert monthly.marks[0].y == 2000
    assert monthly.series[0].x[0] == "2026-11-01"


def test_a_new_level_is_told_from_a_day_unlike_the_others():
    days = weekly(40, noise=3)
    days[-4:] = [3 * amount for amount in days[-4:]]

    answer = asked(days)

    assert told(
        answer, "The last 4 days lie far above what came before: if that stays, this forecast is too low"
    )
    assert not told(answer, "Unlike the others")


def test_growth_is_not_taken_for_unlike_days():
    assert not told(asked([20 * 1.03**day for day in range(55)]), "Unlike the others")


def test_spend_that_comes_now_and_then_is_said_to():
    assert told(asked([200, 0, 0, 0, 0, 0, 0, 0, 0] * 5), "40 days of 45 are without any spend")


def test_a_ledger_is_read_further_back_than_a_month(tmp_path):
    config = parse(
        "upstreams: {far: {base_url: https://api.example.com/v1, models: {m: {size: large, free: true}}}}"
    )
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    database.migrate()
    SqlLedger(database).post(
        [entry(f"r{day}", cost=10**9, created_ms=NOV_21 - day * 24 * HOUR_MS) for day in range(1, 61)]
    )
    inputs = ForecastInputs(from_ledger=True)

    found = TrafficReader(database, config, ManualClock(NOV_21)).read(**ledger_question(inputs))
    answer = answered(TOOL, inputs, ["from_ledger"], Context(today="2026-11-21", traffic=found))

    assert value(answer, "days") == 60
    assert value(answer, "month_end") == 30
    database.close()
