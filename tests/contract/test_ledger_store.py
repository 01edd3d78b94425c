"""The ledger on SQLite and on PostgreSQL: the same promises."""

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ledger.contract import DIMENSIONS, SpendQuery
from gateway.ledger.database import Database, RowRefusedError
from gateway.ledger.schema import entries
from gateway.ledger.store import SqlLedger
from gateway.values import Entry, Spent
from tests.fixtures.ledger import NOV_21, entry

DAY_MS = 86_400_000


@pytest.fixture
def ledger(database: Database) -> SqlLedger:
    return SqlLedger(database)


def test_the_columns_stand_in_the_order_of_an_entrys_fields():
    names = {"tenant": "tenant_id", "user": "user_id", "key": "key_id"}

    assert [column.name for column in entries.columns] == [
        names.get(field, field) for field in Entry.__struct_fields__
    ]


def test_an_entry_comes_back_as_it_was_posted(ledger):
    full = entry(
        first_token_ms=12,
        is_stream=True,
        is_cache_hit=True,
        is_suspect=True,
        is_overrun=True,
        reason="naïve — 価格",
        p_good=0.1 + 0.2,
        category="code",
        p_good_after=0.0,
        engine_us=1_234_567,
    )

    ledger.post([full, entry(attempt=2)])

    assert ledger.entries("r1") == [full, entry(attempt=2)]


@pytest.mark.fault("M15")
def test_posting_again_changes_nothing(ledger):
    batch = [entry(f"r{number}") for number in range(500)]

    assert ledger.post(batch) == 500
    assert ledger.post(batch) == 0
    assert ledger.post([entry("r1", cost=99), entry("new")]) == 1
    assert ledger.entries("r1") == [entry("r1")]


def test_posting_nothing_is_no_query(ledger):
    assert ledger.post([]) == 0


@pytest.mark.parametrize(
    "broken",
    [
        entry("bad", cost=-1),
        entry("bad", output_tokens=2**63),
        entry("bad", requested="\ud800"),
        entry("bad", window="soon"),
        entry(""),
    ],
    ids=["negative", "beyond 64 bits", "not text", "no month", "no request"],
)
def test_a_value_that_cannot_be_kept_is_refused_with_its_whole_batch(ledger, broken):
    with pytest.raises(RowRefusedError):
        ledger.post([entry("good"), broken])

    assert ledger.entries("good") == []


def test_posted_tells_which_requests_the_ledger_holds(ledger):
    ledger.post([entry("a"), entry("b"), entry("b", attempt=2)])

    assert ledger.posted(["a", "b", "c", *(f"x{number}" for number in range(1200))]) == {"a", "b"}


@pytest.mark.fault("M35")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET cost = 0",
        "DELETE FROM entries",
        "UPDATE prices SET input = 0",
        "DELETE FROM audit",
    ],
)
def test_history_cannot_be_changed(database, ledger, statement):
    ledger.post([entry()])
    _insert_one_of_each(database)

    with pytest.raises(RowRefusedError, match="append-only"), database.writing() as connection:
        connection.exec_driver_sql(statement)

    assert ledger.entries("r1") == [entry()]


@pytest.mark.fault("M35")
def test_an_entry_cannot_be_replaced_or_truncated_away(database, ledger):
    ledger.post([entry()])
    statement = (
        "TRUNCATE entries"
        if database.is_postgres
        else "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE attempt = 1"
    )

    with pytest.raises(RowRefusedError, match="append-only"), database.writing() as connection:
        connection.exec_driver_sql(statement)

    assert ledger.entries("r1") == [entry()]


def test_spend_sums_each_group(ledger):
    ledger.post(
        [
            entry("r1", cost=5, suspense=1, usage_source="estimated"),
            entry("r1", attempt=2, cost=7),
            entry("r2", cost=11, user="bob", is_cache_hit=True),
            entry("r3", cost=13, tenant="globex"),
        ]
    )

    acme, globex = ledger.spend(SpendQuery(by=("tenant",)))

    assert acme.group == {"tenant": "acme"}
    assert (acme.requests, acme.cache_hits, acme.input_tokens, acme.output_tokens) == (2, 1, 300, 30)
    assert (acme.cost, acme.suspense, acme.estimated_cost) == (23, 1, 5)
    assert (globex.group, globex.cost) == ({"tenant": "globex"}, 13)


def test_spend_sums_what_was_read_from_and_written_into_caches(ledger):
    ledger.post(
        [
            entry("r1", cached_input_tokens=5, cache_write_tokens=7, cache_write_1h_tokens=11),
            entry("r2", cache_write_tokens=13),
        ]
    )

    (acme,) = ledger.spend(SpendQuery(by=("tenant",)))

    assert (acme.cached_input_tokens, acme.cache_write_tokens, acme.cache_write_1h_tokens) == (5, 20, 11)


def test_spend_groups_by_every_dimension(ledger):
    ledger.post([entry()])

    (row,) = ledger.spend(SpendQuery(by=DIMENSIONS))

    assert row.group == {
        "tenant": "acme",
        "user": "alice",
        "key": "AbCd1234",
        "model": "small",
        "upstream": "local",
        "size": "small",
        "tier": "paid",
        "policy": "cheapest_adequate",
        "outcome": "ok",
        "day": "2026-11-21",
        "month": "2026-11",
    }


def test_spend_without_dimensions_is_the_total_even_of_nothing(ledger):
    (nothing,) = ledger.spend(SpendQuery(by=()))
    ledger.post([entry("a", cost=1), entry("b", cost=2)])
    (total,) = ledger.spend(SpendQuery(by=()))

    assert (nothing.requests, nothing.cost) == (0, 0)
    assert (total.requests, total.cost) == (2, 3)


def test_a_day_begins_at_midnight_utc(ledger):
    ledger.post([entry("before", created_ms=NOV_21 - 1), entry("at", created_ms=NOV_21)])

    rows = ledger.spend(SpendQuery(by=("day",)))

    assert [row.group["day"] for row in rows] == ["2026-11-20", "2026-11-21"]


def test_a_period_includes_its_first_moment_and_not_its_last(ledger):
    ledger.post(
        [
            entry(str(moment), created_ms=moment)
            for moment in (NOV_21 - 1, NOV_21, NOV_21 + DAY_MS - 1, NOV_21 + DAY_MS)
        ]
    )

    (row,) = ledger.spend(SpendQuery(from_ms=NOV_21, to_ms=NOV_21 + DAY_MS))

    assert row.requests == 2


def test_spend_of_one_tenant_shows_no_other(ledger):
    ledger.post([entry("a"), entry("b", tenant="globex")])

    rows = ledger.spend(SpendQuery(by=("tenant", "user"), tenant="globex"))

    assert [row.group for row in rows] == [{"tenant": "globex", "user": "alice"}]


@pytest.mark.fault("M27")
@pytest.mark.parametrize("tokens", [2**31 - 1, 2**31, 2**53 - 1, 2**53, 2**53 + 1])
def test_sums_beyond_what_a_float_holds_are_exact(ledger, tokens):
    ledger.post([entry("a", input_tokens=tokens, cost=tokens), entry("b", input_tokens=tokens, cost=1)])

    (row,) = ledger.spend(SpendQuery())

    assert (row.input_tokens, row.cost) == (2 * tokens, tokens + 1)
    assert ledger.spent("acme", "2026-11")["tenant", "acme"].cost == tokens + 1


def test_spent_is_the_sum_of_the_window_for_tenant_users_and_keys(ledger):
    ledger.post(
        [
            entry("r1", cost=5),
            entry("r1", attempt=2, cost=7),
            entry("r2", cost=11, key="Other678"),
            entry("r3", cost=13, user="bob", key="Bobs1234"),
            entry("other month", cost=17, window="2026-10"),
            entry("other tenant", cost=19, tenant="globex"),
        ]
    )

    spent = ledger.spent("acme", "2026-11")

    assert spent == {
        ("tenant", "acme"): Spent(requests=3, cost=36),
        ("user", "alice"): Spent(requests=2, cost=23),
        ("user", "bob"): Spent(requests=1, cost=13),
        ("key", "AbCd1234"): Spent(requests=1, cost=12),
        ("key", "Other678"): Spent(requests=1, cost=11),
        ("key", "Bobs1234"): Spent(requests=1, cost=13),
    }


def test_nothing_spent_is_an_empty_answer(ledger):
    assert ledger.spent("acme", "2026-11") == {}


@pytest.mark.fault("A4")
@pytest.mark.parametrize(
    "hostile", ["' OR 1=1 --", '"; DROP TABLE entries; --', "%s ? :x %(y)s", "a\r\nb\x1b[31m"]
)
def test_hostile_text_is_only_text(ledger, hostile):
    posted = entry(hostile, tenant=hostile, requested=hostile)

    ledger.post([posted])

    assert ledger.entries(hostile) == [posted]
    assert ledger.posted([hostile]) == {hostile}
    assert [row.group["tenant"] for row in ledger.spend(SpendQuery(tenant=hostile))] == [hostile]
    assert ledger.spent(hostile, hostile) == {}


_SMALL = st.sampled_from(["a", "b", "c"])
_ENTRIES = st.lists(
    st.builds(
        lambda number, attempt, tenant, model, cost, day: entry(
            f"{tenant}-{number}", attempt=attempt, tenant=tenant, model=model, cost=cost, created_ms=NOV_21 + day * DAY_MS
        ),
        st.integers(1, 5), st.integers(1, 3), _SMALL, _SMALL, st.integers(0, 2**40), st.integers(-40, 40),
    ),
    max_size=25,
    unique_by=lambda one: (one.request_id, one.attempt),
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(posted=_ENTRIES, by=st.sets(st.sampled_from(DIMENSIONS)).map(tuple))
def test_however_it_is_grouped_spend_adds_up_to_the_ledger(database, posted, by):
    ledger = SqlLedger(database)
    run = next(_RUNS)
    ledger.post(
        [msgspec.structs.replace(one, request_id=f"{run}-{one.request_id}", policy=run) for one in posted]
    )

    rows = [
        row
        for row in ledger.spend(SpendQuery(by=(*by, "policy") if "policy" not in by else by))
        if row.group["policy"] == run
    ]

    assert sum(row.cost for row in rows) == sum(one.cost for one in posted)


_RUNS = (f"run{number}" for number in range(10_000))


def _insert_one_of_each(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO prices (version, candidate_id, number, effective_ms, input, cached_input, output, "
                "reasoning, source, created_ms) VALUES ('v', 'c', 1, 1, 1, 1, 1, 1, 's', 1)"
            )
        )
        connection.execute(
            sa.text("INSERT INTO audit (at_ms, actor, action, subject) VALUES (1, 'me', 'test', 'nothing')")
        )
