"""What a dead process owed, read from its records."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.recovery import closings
from gateway.ledger.segments import ClosingRecord, IntentRecord, ProgressRecord
from gateway.values import Usage, cost
from tests.fixtures.ledger import PRICE, closing, entry, intent, nothing_billed


@pytest.mark.fault("M3")
def test_a_closing_stands_for_its_request():
    records = [IntentRecord(intent()), ProgressRecord("r1", 1, 7), ClosingRecord(closing())]

    assert closings(records) == [closing()]


@pytest.mark.fault("M3")
def test_records_that_were_written_twice_count_once():
    records = [
        IntentRecord(intent()),
        ClosingRecord(closing()),
        IntentRecord(intent()),
        ClosingRecord(closing()),
    ]

    assert closings(records) == [closing()]


@pytest.mark.fault("M4")
def test_an_intent_without_a_closing_is_billed_for_its_input_and_what_was_relayed():
    records = [IntentRecord(intent(worst=100_000)), ProgressRecord("r1", 1, 40), ProgressRecord("r1", 1, 25)]

    (lost,) = closings(records)

    (billed,) = lost.entries
    assert billed.output_tokens == 40
    assert billed.cost == cost(Usage(input=100, output=40), PRICE)
    assert billed.suspense == 100_000 - billed.cost
    assert (billed.outcome, billed.usage_source) == ("lost", "estimated")
    assert (lost.settlement.cost, lost.settlement.tokens, lost.settlement.epoch) == (billed.cost, 140, "e1")


@pytest.mark.fault("M4")
def test_a_lost_attempt_is_billed_for_what_its_engine_may_have_worked_until_then():
    price = msgspec.structs.replace(PRICE, engine_hour=2_500_000_000)
    meant = msgspec.structs.replace(intent(worst=10**9, engine_us=1000), price=price)

    (whole,) = closings([IntentRecord(meant)])
    (streamed,) = closings(
        [IntentRecord(meant), ProgressRecord("r1", 1, 40, 250_000), ProgressRecord("r1", 1, 9, 70_000)]
    )

    assert [one.engine_us for one in (*whole.entries, *streamed.entries)] == [1000, 250_000]
    assert streamed.entries[0].cost == cost(Usage(input=100, output=40, engine_us=250_000), price)
    assert streamed.entries[0].suspense == 10**9 - streamed.entries[0].cost


@pytest.mark.fault("M4")
def test_a_lost_attempt_keeps_what_was_predicted_of_it():
    (lost,) = closings([IntentRecord(intent(p_good=0.7, category="code"))])

    assert [(one.p_good, one.category) for one in lost.entries] == [(0.7, "code")]


@pytest.mark.fault("M4")
def test_each_attempt_of_a_lost_request_is_an_entry():
    records = [IntentRecord(intent(attempt=1)), IntentRecord(intent(attempt=2)), ProgressRecord("r1", 2, 5)]

    (lost,) = closings(records)

    assert [(one.attempt, one.output_tokens) for one in lost.entries] == [(1, 0), (2, 5)]
    assert lost.settlement.cost == sum(one.cost for one in lost.entries)


@pytest.mark.fault("M4")
def test_an_attempt_that_its_closing_leaves_out_is_not_billed():
    records = [
        IntentRecord(intent(attempt=1)),
        IntentRecord(intent(attempt=2)),
        ClosingRecord(closing("r1", entry(attempt=2))),
    ]

    assert closings(records) == [closing("r1", entry(attempt=2))]


def test_a_closing_without_entries_clears_its_intents():
    assert closings([IntentRecord(intent()), ClosingRecord(nothing_billed())]) == [nothing_billed()]


@pytest.mark.fault("M4")
@given(worst=st.integers(0, 10**12), relayed=st.integers(0, 10**7))
def test_charge_and_suspense_together_cover_the_worst_case(worst, relayed):
    (lost,) = closings([IntentRecord(intent(worst=worst)), ProgressRecord("r1", 1, relayed)])

    (billed,) = lost.entries
    assert billed.suspense >= 0
    assert billed.cost + billed.suspense == max(worst, billed.cost)
