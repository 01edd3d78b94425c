"""An answer as people, programs and spreadsheets get it."""

import csv
import io
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gateway.ledger.exports import csv_of
from gateway.planning.answering import answered
from gateway.planning.columns import column, points, shown, table
from gateway.planning.contract import Answer, Assumption, Cell, Context, Line, PlanError
from gateway.planning.rendering import as_json, as_text, csv_rows
from tests.fixtures.planning import BOXES, TODAY, Boxes

CONTEXT = Context(today=TODAY)


def answer(*given: str, context: Context = CONTEXT, **inputs: Any) -> Answer:
    return answered(BOXES, Boxes(**inputs), (*given, *inputs), context)


def as_record(of: Answer, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(as_json(of, version="9.9", today=TODAY, **options))
    return found


def test_people_read_the_answer_first_and_warnings_last() -> None:
    text = as_text(answer())

    assert text.startswith("3 red boxes cost 3.30 USD.\n\nMoney\n  total ")
    order = [
        text.index(part)
        for part in ("\nMoney", "\nSize", "\nBox by box", "\nAssumptions", "\n! Boxes may break.")
    ]
    assert order == sorted(order)
    assert all(line == line.rstrip() for line in text.splitlines())


def test_numbers_stand_on_their_points_with_their_units() -> None:
    lines = as_text(answer()).splitlines()

    [total] = [line for line in lines if line.startswith("  total")]
    [volume] = [line for line in lines if line.startswith("  volume ")]
    [never] = [line for line in lines if line.startswith("  pays after")]
    assert total.index(".") == volume.index(".")
    assert (total.split()[-1], volume.split()[-1]) == ("USD", "l")
    assert never.endswith("never")


def test_the_numbers_of_a_column_have_the_same_decimals() -> None:
    lines = as_text(answer()).splitlines()

    assert [line.split()[-1] for line in lines if line.startswith(("  =cmd()", "  second", "  third"))] == [
        "0.035",
        "142.620",
        "-",
    ]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (8_030_261_248, "8,030,261,248"),
        (17.22412109375, "17.224"),
        (2376.97, "2,376.97"),
        (0.0353, "0.0353"),
        (0.00001234567, "0.00001235"),
        (1.0, "1"),
        (0.0, "0"),
        (6.7e9, "6,700,000,000"),
        (Decimal("12853.59"), "12,853.59"),
        (Decimal("0.30"), "0.30"),
        (Decimal("1E+3"), "1,000"),
        (Decimal(1) / 3, "0.3333"),
        (Decimal(0), "0"),
        (True, "yes"),
        (None, "-"),
        ("never", "never"),
        (float("inf"), "never"),
        (float("nan"), "-"),
        ("a\x1b[2Jb", "a?[2Jb"),
    ],
)
def test_a_number_is_written_as_people_write_it(cell: Cell, text: str) -> None:
    assert shown(cell) == text


def test_columns_are_aligned() -> None:
    assert column([1.5, 100.25, "never"]) == ["  1.50", "100.25", " never"]
    assert column([14.9575, 1.0, 0.0004778]) == ["14.9575", " 1.0000", " 0.0005"]
    assert column([2000.0, 1e-9]) == ["2,000.0000", "    0.0000"]
    assert column([0.0353, 0.00001]) == ["0.03530", "0.00001"]
    assert points([1.5, 100, Decimal("0.123"), "no"]) == ["  1.5  ", "100    ", "  0.123", "     no"]
    assert column(["a", "bb"]) == points(["a", "bb"]) == ["a", "bb"]


def test_a_table_keeps_its_width_where_words_can_wrap() -> None:
    lines = table(["name", "about it"], [["one", "word " * 40]], width=50, is_right=[False, False])

    assert max(len(line) for line in lines) <= 50
    assert sum(line.count("word") for line in lines) == 40


def test_heads_of_numbers_break_within_units_before_words_wrap() -> None:
    lines = table(
        ["who", "spent (USD/month)", "left (USD/month)"],
        [["somebody", "1", "2"]],
        width=25,
        is_right=[False, True, True],
    )

    assert lines == [
        "           spent     left",
        "           (USD/    (USD/",
        "who       month)   month)",
        "somebody       1        2",
    ]


def test_programs_get_lines_and_tables_by_their_keys() -> None:
    told = as_record(answer(boxes=4))

    assert told["total_usd"] == 4.4
    assert told["pays_after_months"] == "never"
    assert told["is_big"] is False
    assert [row["cost"] for row in told["by_box"]] == [1234.5, 1.1, "never"]
    assert told["by_box"][2]["litres"] is None
    assert told["units"]["total_usd"] == "USD"
    assert told["units"]["by_box"] == {"cost": "USD", "litres": "l"}
    assert {one["name"]: one["origin"] for one in told["assumptions"]} == {
        "boxes": "given",
        "tape": "catalogue",
        **dict.fromkeys(
            ("price", "util", "colour", "label", "weights", "max_weight", "is_heavy", "contents", "from"),
            "default",
        ),
    }
    assert (told["tool"], told["weighbridge"], told["date"]) == ("boxes", "9.9", TODAY)
    assert "formulas" not in told


def test_money_is_a_number_with_all_its_decimals() -> None:
    written = as_json(answer(price=Decimal("123456789012345.67"), boxes=1), version="9.9", today=TODAY)

    assert b'"total_usd":123456789012345.67,' in written


def test_nothing_endless_or_undefined_is_written() -> None:
    odd = Answer(
        tool="t",
        headline="h",
        lines=[
            Line(key="a", label="a", value=float("inf")),
            Line(key="b", label="b", value=float("nan")),
            Line(key="c", label="c", value=Decimal("1E+3")),
        ],
    )

    told = as_json(odd, version="9.9", today=TODAY)

    assert b'"a":"never","b":null,"c":1000,' in told


def test_formulas_are_told_on_request() -> None:
    text = as_text(answer(boxes=4), explain=True)
    told = as_record(answer(boxes=4), explain=True)

    assert "\n  Money\n    total: 4.40 USD\n      = boxes x price\n      = 4 x 1.10 = 4.40\n" in text
    assert told["formulas"] == [
        {"key": "total_usd", "formula": "boxes x price", "numbers": "4 x 1.10 = 4.40"}
    ]
    assert "max_weight" in text
    assert "max_weight" not in as_text(answer(boxes=4))


def test_an_assumption_of_nought_is_one() -> None:
    text = as_text(answer("label", price=Decimal(0)))

    assert "0 USD/box" in text


def test_spreadsheets_get_the_first_table_and_run_nothing_in_it() -> None:
    rows = list(csv.reader(io.StringIO(csv_of(*csv_rows(answer())))))

    assert rows == [
        ["box", "cost (USD)", "volume (l)"],
        ["'=cmd()", "1234.50", "0.0353"],
        ["second", "1.10", "142.62"],
        ["third", "never", ""],
    ]


def test_without_a_table_spreadsheets_get_the_lines() -> None:
    rows = list(csv.reader(io.StringIO(csv_of(*csv_rows(msgspec.structs.replace(answer(), tables=()))))))

    assert rows[:2] == [["key", "label", "value", "unit"], ["total_usd", "total", "3.30", "USD"]]
    assert len(rows) == 6


def test_defaults_and_catalogue_rows_older_than_90_days_are_warned_of() -> None:
    fresh = answer("price", context=Context(today="2026-11-21"))
    stale = answer(context=Context(today="2027-06-01"))

    assert fresh.warnings == ["Boxes may break."]
    assert stale.warnings[1].startswith("Older than 90 days: tape (2026-11-01), price (2024-06-30).")


@pytest.mark.parametrize(
    ("as_of", "is_old"),
    [
        ("2026-08-24", False),
        ("2026-08-22", True),
        ("2026-08", False),
        ("2026-07", True),
        ("2026", False),
        ("2025", True),
        ("", False),
    ],
)
def test_a_month_is_old_once_its_last_day_is(as_of: str, is_old: bool) -> None:
    def plan(_inputs: Boxes, _context: Context) -> Answer:
        row = Assumption(name="row", value=1, origin="catalogue", as_of=as_of)
        return Answer(tool="boxes", headline="h", assumptions=[row])

    found = answered(msgspec.structs.replace(BOXES, plan=plan), Boxes(), ("price",), CONTEXT)

    assert bool(found.warnings) is is_old


def test_numbers_that_nothing_can_count_with_are_refused() -> None:
    with pytest.raises(PlanError, match="too large or too small"):
        answered(msgspec.structs.replace(BOXES, plan=lambda _i, _c: 1 // 0), Boxes(), (), CONTEXT)


def test_an_earlier_answer_is_compared_with_inputs_and_lines() -> None:
    before = as_record(answer())

    changes = answer(boxes=6, price=Decimal("1.10"), context=Context(today=TODAY, previous=before)).tables[-1]

    assert [(row["what"], row["before"], row["now"], row.get("change_percent")) for row in changes.rows] == [
        ("boxes", 3, 6, 100.0),
        ("total", Decimal("3.3"), Decimal("6.60"), 100.0),
    ]
    assert changes.title == "Changes since 2026-11-21"


def test_an_answer_is_no_different_from_itself() -> None:
    before = as_record(answer())

    found = answer(context=Context(today=TODAY, previous=before))

    assert list(found.tables[-1].rows) == []
    assert "Changes since 2026-11-21: none" in as_text(found)
