"""Tenants, users, keys, tiers and operators, on SQLite and on PostgreSQL."""

import msgspec
import pytest

from gateway.clock import ManualClock
from gateway.config import TierConfig, shipped_tiers
from gateway.errors import ConfigError
from gateway.ledger.account_records import AccountError, LimitChanges
from gateway.ledger.accounts import Accounts
from gateway.ledger.credentials import Credentials
from gateway.ledger.database import Database, DatabaseUnavailableError
from gateway.values import Limits

PEPPER = bytes(range(32))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def accounts(database: Database, clock: ManualClock) -> Accounts:
    accounts = Accounts(database, clock, Credentials(PEPPER))
    accounts.tiers.seed(shipped_tiers())
    accounts.create_tenant("acme", tier="paid", actor="test")
    return accounts


def test_a_key_names_its_caller_with_tier_and_limits(accounts):
    accounts.create_user("acme", "alice", limits=Limits(concurrency=3), actor="test")
    issued = accounts.create_key("acme", user_id="alice", limits=Limits(requests_per_minute=5), actor="test")

    caller = accounts.resolve(issued.text)

    assert (caller.tenant, caller.user, caller.key) == ("acme", "alice", issued.key.id)
    assert caller.tier == accounts.tiers.get("paid")
    assert caller.tenant_limits == caller.tier.limits
    assert (caller.user_limits, caller.key_limits) == (Limits(concurrency=3), Limits(requests_per_minute=5))


def test_a_tenants_own_limits_lie_on_top_of_the_tiers(accounts):
    accounts.update_tenant(
        "acme", limits=LimitChanges(requests_per_month=None, budget_per_month=5_000_000_000), actor="test"
    )

    caller = accounts.resolve(accounts.create_key("acme", actor="test").text)

    assert caller.tenant_limits == Limits(
        requests_per_minute=600,
        tokens_per_minute=500_000,
        concurrency=32,
        requests_per_month=None,
        budget_per_month=5_000_000_000,
    )


def test_a_key_brings_its_user_along(accounts):
    accounts.create_key("acme", user_id="new@example.com", actor="test")
    accounts.create_key("acme", actor="test")

    assert [user.id for user in accounts.all_users("acme")] == ["default", "new@example.com"]


@pytest.mark.fault("A1")
def test_no_wrong_key_is_anybodys(accounts, clock):
    good = accounts.create_key("acme", actor="test").text
    revoked = accounts.create_key("acme", actor="test")
    accounts.revoke_key(revoked.key.id, actor="test")
    expired = accounts.create_key("acme", expires_ms=clock.now_ms() + 1000, actor="test").text
    assert accounts.resolve(expired)
    clock.advance(1)
    stranger = Credentials(PEPPER).issue("sk-wb").text
    other_pepper = Credentials(bytes(32)).issue("sk-wb").text
    operator = accounts.operators.create("admin", actor="test").text

    wrong = [
        "", "sk-wb-", revoked.text, expired, stranger, other_pepper, operator, good[:-1], good + "0", good.swapcase(),
        f" {good}", f"{good}\n", good.replace("sk-wb", "sk-ab"),
    ]  # fmt: skip

    assert [accounts.resolve(text) for text in wrong] == [None] * len(wrong)
    assert accounts.resolve(good)


def test_what_a_key_began_goes_on_in_its_name_as_long_as_it_counts(accounts, clock):
    key = accounts.create_key("acme", expires_ms=clock.now_ms() + 1000, actor="test")
    revoked = accounts.create_key("acme", actor="test")

    assert accounts.caller(key.key.id) == accounts.resolve(key.text)
    assert accounts.caller("00000000") is None
    accounts.revoke_key(revoked.key.id, actor="test")
    assert accounts.caller(revoked.key.id) is None
    accounts.update_tenant("acme", is_active=False, actor="test")
    assert accounts.caller(key.key.id) is None
    accounts.update_tenant("acme", is_active=True, actor="test")
    clock.advance(1)
    assert accounts.caller(key.key.id) is None


def test_the_keys_of_a_tenant_that_is_switched_off_do_not_count(accounts):
    key = accounts.create_key("acme", actor="test").text

    accounts.update_tenant("acme", is_active=False, actor="test")
    assert accounts.resolve(key) is None

    accounts.update_tenant("acme", is_active=True, actor="test")
    assert accounts.resolve(key)


@pytest.mark.fault("A4")
@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", "sk-wb-' OR 1=1--aaaa", "sk-wb-aaaaaaaa-\x00", "пароль", "%s" * 40]
)
def test_a_malformed_key_costs_no_query(text):
    nowhere = Accounts(Database("postgresql://127.0.0.1:1/nowhere"), ManualClock(), Credentials(PEPPER))

    assert nowhere.resolve(text) is None
    assert nowhere.operators.resolve(text) is None


@pytest.mark.fault("A20")
def test_a_well_formed_key_without_a_database_is_not_called_wrong():
    credentials = Credentials(PEPPER)
    nowhere = Accounts(Database("postgresql://127.0.0.1:1/nowhere"), ManualClock(), credentials)

    with pytest.raises(DatabaseUnavailableError):
        nowhere.resolve(credentials.issue("sk-wb").text)


@pytest.mark.fault("A17")
def test_no_table_holds_a_key(accounts, database):
    issued = [
        accounts.create_key("acme", actor="test").text,
        accounts.operators.create("admin", actor="test").text,
    ]

    with database.reading() as connection:
        kept = str(
            [
                list(connection.exec_driver_sql(f"SELECT * FROM {name}"))
                for name in ("keys", "operators", "audit")
            ]
        )

    for text in issued:
        assert text not in kept
        assert text.rpartition("-")[2] not in kept


def test_revoking_twice_keeps_the_first_moment(accounts, clock):
    key = accounts.create_key("acme", actor="test").key
    first = accounts.revoke_key(key.id, actor="test")
    clock.advance(60)

    assert accounts.revoke_key(key.id, actor="test") == first
    assert accounts.all_keys("acme") == [first]


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        (lambda a: a.create_tenant("acme", tier="paid", actor="x"), "exists", "tenant"),
        (lambda a: a.create_tenant("other", tier="gold", actor="x"), "unknown", "tier"),
        (lambda a: a.create_tenant("a b", tier="paid", actor="x"), "invalid", "tenant"),
        (lambda a: a.create_tenant("{acme}", tier="paid", actor="x"), "invalid", "tenant"),
        (lambda a: a.create_tenant("x' OR '1'='1", tier="paid", actor="x"), "invalid", "tenant"),
        (lambda a: a.create_tenant("new", tier="paid", name="a\nb", actor="x"), "invalid", "name"),
        (lambda a: a.update_tenant("nobody", tier="free", actor="x"), "unknown", "tenant"),
        (lambda a: a.update_tenant("acme", tier="gold", actor="x"), "unknown", "tier"),
        (lambda a: a.update_tenant("acme", limits=LimitChanges(budget_per_month=-1), actor="x"), "invalid", "limits.budget_per_month"),
        (lambda a: a.update_tenant("acme", limits=LimitChanges(budget_per_month=2**53 + 1), actor="x"), "invalid", "limits.budget_per_month"),
        (lambda a: a.create_user("nobody", "u", actor="x"), "unknown", "tenant"),
        (lambda a: a.create_user("acme", "", actor="x"), "invalid", "user"),
        (lambda a: a.update_user("acme", "nobody", limits=Limits(), actor="x"), "unknown", "user"),
        (lambda a: a.create_key("nobody", actor="x"), "unknown", "tenant"),
        (lambda a: a.create_key("acme", user_id="\x1b[31m", actor="x"), "invalid", "user"),
        (lambda a: a.create_key("acme", expires_ms=1, actor="x"), "invalid", "expires_ms"),
        (lambda a: a.create_key("acme", limits=Limits(concurrency=-1), actor="x"), "invalid", "limits.concurrency"),
        (lambda a: a.all_keys("nobody"), "unknown", "tenant"),
        (lambda a: a.revoke_key("nothing", actor="x"), "unknown", "key"),
        (lambda a: a.operators.revoke("nothing", actor="x"), "unknown", "operator"),
        (lambda a: a.operators.create("root", actor="x"), "invalid", "role"),
        (lambda a: a.tiers.get("gold"), "unknown", "tier"),
        (lambda a: a.tiers.put(msgspec.structs.replace(a.tiers.get("paid"), sizes=()), actor="x"), "invalid", "sizes"),
        (lambda a: a.tiers.put(msgspec.structs.replace(a.tiers.get("paid"), max_output_tokens=1), actor="x"), "invalid", "default_output_tokens"),
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_made_says_why_and_changes_nothing(accounts, change, kind, field):
    before = (accounts.all_tenants(), accounts.all_users("acme"), accounts.all_keys(), accounts.tiers.all())

    with pytest.raises(AccountError) as refused:
        change(accounts)

    assert (refused.value.kind, refused.value.field) == (kind, field)
    assert str(refused.value).startswith(f"{field}: ")
    assert (
        accounts.all_tenants(),
        accounts.all_users("acme"),
        accounts.all_keys(),
        accounts.tiers.all(),
    ) == before


def test_users_of_two_tenants_may_bear_one_name(accounts):
    accounts.create_tenant("globex", tier="free", actor="test")
    accounts.create_user("acme", "alice", limits=Limits(concurrency=1), actor="test")
    accounts.create_user("globex", "alice", actor="test")

    accounts.update_user("globex", "alice", limits=Limits(concurrency=9), actor="test")

    assert accounts.all_users("acme")[0].limits == Limits(concurrency=1)


def test_the_files_tiers_come_in_and_follow_the_file(accounts):
    accounts.tiers.seed({"paid": TierConfig(concurrency=7), "gold": TierConfig()})

    assert accounts.tiers.get("paid").limits.concurrency == 7
    assert {tier.name for tier in accounts.tiers.all()} == {"free", "paid", "vip", "gold"}


def test_an_edited_tier_does_not_follow_the_file_any_more(accounts):
    edited = msgspec.structs.replace(accounts.tiers.get("paid"), limits=Limits(concurrency=99))
    accounts.tiers.put(edited, actor="root")

    accounts.tiers.seed({"paid": TierConfig(concurrency=7)})

    assert accounts.tiers.get("paid") == edited


def test_a_budget_in_dollars_becomes_nano_dollars(accounts):
    assert accounts.tiers.get("vip").limits.budget_per_month == 10_000 * 10**9


def test_operators_have_a_role_until_they_are_revoked(accounts):
    admin = accounts.operators.create("admin", label="ops", actor="test")
    finance = accounts.operators.create("finance", actor="test")

    assert accounts.operators.resolve(admin.text) == admin.operator
    assert accounts.operators.resolve(finance.text).role == "finance"
    assert accounts.operators.resolve(accounts.create_key("acme", actor="test").text) is None
    revoked = accounts.operators.revoke(admin.operator.id, actor="test")
    assert accounts.operators.resolve(admin.text) is None
    assert accounts.operators.revoke(admin.operator.id, actor="test") == revoked
    assert len(accounts.operators.all()) == 2


def test_every_change_is_noted_with_what_was_before_and_after(accounts, clock):
    accounts.update_tenant("acme", tier="vip", actor="root")

    newest = accounts.audit()[0]

    assert (newest.actor, newest.action, newest.subject, newest.at_ms) == (
        "root",
        "tenant.update",
        "acme",
        clock.now_ms(),
    )
    assert (newest.before["tier"], newest.after["tier"]) == ("paid", "vip")
    assert accounts.audit(before_id=newest.id)[0].action == "tenant.create"


def test_a_refused_change_is_not_noted(accounts):
    noted = accounts.audit()

    with pytest.raises(AccountError):
        accounts.update_tenant("acme", tier="gold", actor="root")

    assert accounts.audit() == noted


def test_another_pepper_than_the_keys_were_made_with_is_refused_at_start(accounts, database, clock):
    accounts.check_pepper()
    accounts.check_pepper()

    with pytest.raises(ConfigError, match="not the pepper"):
        Accounts(database, clock, Credentials(bytes(32))).check_pepper()
