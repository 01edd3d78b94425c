"""What became of answers, on SQLite and on PostgreSQL: the same promises."""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from gateway.clock import ManualClock
from gateway.config import Outcomes as Settings
from gateway.ids import Ids
from gateway.ledger import outcomes as store
from gateway.ledger.database import RowRefusedError
from gateway.ledger.judged import DEFERRAL_WEIGHT
from gateway.ledger.outcome_import import Imported, OutcomeImport, Refused, read_lines
from gateway.ledger.outcome_reader import OutcomesReader
from gateway.ledger.outcomes import OutcomeQuery, Outcomes, OutcomeSummary
from gateway.ledger.store import SqlLedger
from gateway.values import OutcomeRow
from tests.fixtures.ledger import NOV_21, entry
from tests.fixtures.outcomes import outcome

DAY_MS = 86_400_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOV_21)


@pytest.fixture
def outcomes(database, clock) -> Outcomes:
    return Outcomes(database, clock, Settings(votes_per_day=2))


@pytest.fixture
def ledger(database) -> SqlLedger:
    return SqlLedger(database)


@pytest.fixture
def imported(database, clock):
    take = OutcomeImport(database, clock, Ids("out_", clock))
    return lambda *lines: take(read_lines(b"\n".join(map(msgspec.json.encode, lines))), actor="test")


def kept(outcomes: Outcomes, **query):
    return outcomes.page(OutcomeQuery(**query))


def put(database, *rows):
    with database.writing() as connection:
        store.put(connection, rows)


def test_a_vote_comes_back_as_it_was_given(outcomes):
    vote = outcome(value=0.1 + 0.2, reason="wrong")

    given = outcomes.vote(vote)

    assert msgspec.structs.replace(given, id=0) == vote
    assert kept(outcomes) == [given]


def test_a_users_latest_vote_on_an_answer_stands(outcomes):
    first = outcomes.vote(outcome(value=1.0))
    second = outcomes.vote(outcome(value=0.0, reason="wrong", created_ms=NOV_21 + 5))

    assert (second.value, second.reason, second.created_ms) == (0.0, "wrong", NOV_21 + 5)
    assert second.id == first.id
    assert kept(outcomes) == [second]


def test_of_votes_at_the_same_moment_one_is_kept(outcomes):
    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(outcomes.vote, [outcome(value=number / 40) for number in range(40)]))

    [one] = kept(outcomes)
    assert one in given


def test_imports_of_the_same_lines_at_the_same_moment_do_not_stop_each_other(outcomes, database, clock):
    def lines(order):
        rows = [{"model": "m", "item": str(number), "value": 1} for number in range(200)][::order]
        return read_lines(msgspec.json.encode(rows))

    take = OutcomeImport(database, clock, Ids("out_", clock))
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda order: take(lines(order), actor="test"), [1, -1, 1, -1]))

    assert [one.recorded for one in done] == [200] * 4
    assert len(outcomes.page(OutcomeQuery(), limit=1000)) == 200


def test_each_user_has_a_vote_of_his_own_and_so_has_each_kind_of_judge(outcomes, database):
    outcomes.vote(outcome())
    outcomes.vote(outcome(user="bob"))
    put(database, outcome(user="", source="judge"), outcome(user="", source="judge", model="medium"))

    assert len(kept(outcomes)) == 4


def test_beyond_what_counts_in_a_day_votes_are_kept_without_weight(outcomes):
    votes = [outcomes.vote(outcome(f"req_{number}", created_ms=NOV_21 + number)) for number in range(4)]
    others = outcomes.vote(outcome("req_9", user="bob"))
    next_day = outcomes.vote(outcome("req_5", created_ms=NOV_21 + DAY_MS + 1))

    assert [vote.weight for vote in votes] == [1, 1, 0, 0]
    assert (others.weight, next_day.weight) == (1, 1)


def test_changing_ones_mind_is_no_other_vote(outcomes):
    for number in range(2):
        outcomes.vote(outcome(f"req_{number}"))

    changed = outcomes.vote(outcome("req_0", value=0.0))
    late = outcomes.vote(outcome("req_2"))
    late_again = outcomes.vote(outcome("req_2", value=0.0))

    assert (changed.weight, late.weight, late_again.weight) == (1, 0, 0)


@pytest.mark.parametrize(
    "wrong", [{"value": 1.1}, {"source": "rumour"}, {"weight": -1.0}, {"p_good": 2.0}, {"complexity": -0.1}]
)
def test_what_is_no_outcome_is_refused(outcomes, wrong):
    with pytest.raises(RowRefusedError):
        outcomes.vote(outcome(**wrong))

    assert kept(outcomes) == []


def test_a_list_goes_from_new_to_old_page_by_page(outcomes, database):
    put(database, *(outcome(str(number), model=f"m{number % 2}") for number in range(5)))

    first = outcomes.page(OutcomeQuery(), limit=2)
    second = outcomes.page(OutcomeQuery(model="m0"), limit=2, before_id=first[-1].id)

    assert [one.subject for one in first] == ["4", "3"]
    assert [one.subject for one in second] == ["2", "0"]


def test_a_list_can_be_of_one_tenant_model_source_or_time(outcomes, database):
    put(
        database,
        outcome("a"),
        outcome("b", tenant="globex"),
        outcome("c", model="large"),
        outcome("d", source="judge"),
        outcome("e", created_ms=NOV_21 - 1),
    )

    assert {one.subject for one in kept(outcomes, tenant="acme")} == {"a", "c", "d", "e"}
    assert [one.subject for one in kept(outcomes, model="large")] == ["c"]
    assert [one.subject for one in kept(outcomes, source="judge")] == ["d"]
    assert [one.subject for one in kept(outcomes, since_ms=NOV_21)] == ["d", "c", "b", "a"]


def test_a_summary_sets_what_came_beside_what_was_predicted(outcomes, database):
    put(
        database,
        outcome("a", value=1.0, weight=3.0, p_good=0.5),
        outcome("b", value=0.0, weight=1.0, p_good=0.9),
        outcome("c", value=0.5, weight=0.0, p_good=0.9),
        outcome("d", value=0.25, category="maths", p_good=None),
        outcome("e", value=0.25, category="none", weight=0.0),
        outcome("f", tenant="globex", value=0.0),
    )

    assert outcomes.summary(OutcomeQuery(tenant="acme")) == [
        OutcomeSummary(
            model="small", category="code", count=3, weight=4.0, value=0.75, p_good=pytest.approx(0.6)
        ),
        OutcomeSummary(model="small", category="maths", count=1, weight=1.0, value=0.25, p_good=None),
        OutcomeSummary(model="small", category="none", count=1, weight=0.0, value=None, p_good=None),
    ]


def test_what_is_older_than_it_is_kept_is_removed_a_bite_at_a_time(outcomes, database, clock):
    put(database, *(outcome(str(number)) for number in range(501)), outcome("new", created_ms=NOV_21 + 1))
    clock.advance(400 * 86_400)

    assert [outcomes.purge() for _ in range(3)] == [500, 1, 0]
    assert [one.subject for one in kept(outcomes)] == ["new"]


def test_what_a_cascade_thought_of_an_answer_is_an_outcome_once_it_is_in_the_ledger(outcomes, ledger):
    judged = entry("req_1", p_good=0.6, p_good_after=0.3, category="code", outcome="deferred", duration_ms=7)
    entries = [judged, entry("req_1", attempt=2, model="large", upstream="cloud"), entry("req_2")]

    ledger.post(entries)
    ledger.post(entries)

    [one] = kept(outcomes)
    assert msgspec.structs.replace(one, id=0) == outcome(
        user="",
        source="deferral",
        value=0.3,
        weight=DEFERRAL_WEIGHT,
        reason="deferred",
        p_good=0.6,
        complexity=judged.complexity,
        created_ms=NOV_21 + 7,
    )


def test_a_cascades_answer_that_was_served_is_said_to_be(outcomes, ledger):
    ledger.post([entry("req_1", p_good_after=0.9), entry("req_1", attempt=2, outcome="sampled")])

    assert [(one.subject, one.value, one.reason) for one in kept(outcomes)] == [("req_1", 0.9, "served")]


@pytest.mark.fault("M15")
@pytest.mark.parametrize("nonsense", [float("nan"), 1.5, -0.1])
def test_nonsense_of_a_cascade_keeps_no_entry_out_of_the_ledger(outcomes, ledger, nonsense):
    assert ledger.post([entry("req_1", p_good_after=nonsense)]) == 1

    assert kept(outcomes) == []


def test_a_judges_value_is_set_beside_what_the_ledger_knows_of_the_answer(outcomes, ledger, imported):
    ledger.post(
        [
            entry("req_1", p_good=0.6, category="code", outcome="deferred"),
            entry("req_1", attempt=2, model="large", upstream="cloud", p_good=0.9),
            entry("req_1", attempt=3, model="medium", outcome="sampled"),
        ]
    )

    done = imported(
        {"request_id": "req_1", "value": 0.5, "reason": "vague"},
        {"request_id": "req_1", "value": 0.25, "model": "small", "source": "evaluation", "weight": 2},
    )

    assert done == Imported(recorded=2, refused=())
    by_small, by_large = kept(outcomes, tenant="acme")[:2]
    assert (by_large.model, by_large.candidate, by_large.source) == ("large", "cloud/large", "judge")
    assert (by_large.value, by_large.p_good, by_large.reason, by_large.weight) == (0.5, 0.9, "vague", 1)
    assert (by_small.model, by_small.source, by_small.value, by_small.p_good) == (
        "small",
        "evaluation",
        0.25,
        0.6,
    )
    assert (by_small.category, by_small.complexity, by_small.weight) == ("code", 0.25, 2)


def test_a_measured_answer_needs_no_request(outcomes, imported):
    line = {"model": "large", "value": 1, "p_good": 0.8, "complexity": 0.3, "category": "maths"}

    named = {**line, "item": "gsm8k/7", "upstream": "cloud"}

    imported(named, {**named, "value": 0}, line, line)

    found = kept(outcomes)
    assert [one.value for one in found] == [1, 1, 0]
    assert (found[2].subject, found[2].tenant, found[2].source) == ("gsm8k/7", "", "evaluation")
    assert [one.candidate for one in found] == ["", "", "cloud/large"]
    assert (found[2].p_good, found[2].complexity, found[2].category) == (0.8, 0.3, "maths")
    assert {one.subject[:4] for one in found[:2]} == {"out_"}


def test_lines_about_what_is_not_known_are_told_and_the_others_kept(outcomes, database, ledger, imported):
    ledger.post([entry("req_1"), entry("req_2", outcome="failed")])

    done = imported(
        {"request_id": "req_1", "value": 1},
        {"request_id": "req_none", "value": 1},
        {"request_id": "req_2", "value": 1},
        {"request_id": "req_1", "value": 1, "model": "large"},
        {"request_id": "req_1", "value": 1, "tenant": "globex"},
        {"model": "small", "value": 1, "tenant": "nobody"},
    )

    assert done.recorded == 1
    assert done.refused == (
        Refused(2, "the ledger has no request 'req_none'"),
        Refused(3, "request 'req_2' was not answered"),
        Refused(4, "request 'req_1' was not answered by 'large'"),
        Refused(5, "the ledger has no request 'req_1'"),
        Refused(6, "there is no tenant 'nobody'"),
    )
    assert len(kept(outcomes)) == 1


def test_a_reader_gets_what_has_a_weight_with_what_was_predicted(outcomes, database):
    put(
        database,
        outcome("a"),
        outcome("b", weight=0.0),
        outcome("c", created_ms=NOV_21 - 1),
        outcome("d", tenant="globex", p_good=None, complexity=None),
    )
    reader = OutcomesReader(database)

    assert reader.rows(NOV_21, "acme") == [
        OutcomeRow(
            tenant="acme",
            user="alice",
            model="small",
            candidate="local/small",
            source="feedback",
            value=1.0,
            weight=1.0,
            p_good=0.7,
            complexity=0.25,
            category="code",
            created_ms=NOV_21,
        )
    ]
    assert [row.tenant for row in reader.rows(NOV_21)] == ["acme", "globex"]
    assert reader.rows(NOV_21 + 1) == []
    assert reader.rows(NOV_21, "nobody") == []


def test_neither_a_busy_tenant_nor_a_busy_source_pushes_out_what_others_said(outcomes, database):
    put(
        database,
        *(outcome(str(number), source="deferral", created_ms=NOV_21 + number) for number in range(50)),
        outcome("thumb", value=0.0),
        outcome("other", tenant="globex"),
    )

    rows = OutcomesReader(database, max_rows=16).rows(0)

    assert [(row.tenant, row.source, row.created_ms - NOV_21) for row in rows] == [
        ("acme", "feedback", 0),
        ("acme", "deferral", 49),
        ("acme", "deferral", 48),
        ("globex", "feedback", 0),
    ]
