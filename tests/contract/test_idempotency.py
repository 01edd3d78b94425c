"""The store of Idempotency-Keys, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from gateway.clock import ManualClock
from gateway.ledger.idempotency import Idempotency, Slot, StoredReply

SLOT = Slot("acme", "a" * 64)
LEASE_S, TTL_S = 420, 86_400
REPLY = StoredReply(status=200, content_type="application/json", body=b'{"a": "\xc3\xa9\x00"}')


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(database, clock) -> Idempotency:
    return Idempotency(database, clock, lease_s=LEASE_S, ttl_s=TTL_S)


def test_the_first_has_the_key_and_the_next_is_told_that_it_runs(store):
    assert store.claim(SLOT, fingerprint="f", owner="r1") is None

    record = store.claim(SLOT, fingerprint="f", owner="r2")

    assert (record.fingerprint, record.is_running, record.reply) == ("f", True, None)


def test_what_was_kept_is_found_byte_for_byte(store):
    store.claim(SLOT, fingerprint="f", owner="r1")
    store.keep(SLOT, owner="r1", reply=REPLY)

    record = store.claim(SLOT, fingerprint="f", owner="r2")

    assert (record.is_running, record.reply) == (False, REPLY)


def test_an_empty_reply_is_a_reply(store):
    store.claim(SLOT, fingerprint="f", owner="r1")
    empty = StoredReply(status=200, content_type="text/plain", body=b"")
    store.keep(SLOT, owner="r1", reply=empty)

    assert store.claim(SLOT, fingerprint="f", owner="r2").reply == empty


def test_an_answer_that_was_not_kept_holds_the_key_all_the_same(store):
    store.claim(SLOT, fingerprint="f", owner="r1")
    store.keep(SLOT, owner="r1", reply=None)

    record = store.claim(SLOT, fingerprint="f", owner="r2")

    assert (record.is_running, record.reply) == (False, None)


def test_a_released_key_is_free(store):
    store.claim(SLOT, fingerprint="f", owner="r1")
    store.release(SLOT, owner="r1")

    assert store.claim(SLOT, fingerprint="another", owner="r2") is None


@pytest.mark.fault("A8")
def test_the_same_key_of_another_tenant_is_another_key(store):
    store.claim(SLOT, fingerprint="f", owner="r1")
    store.keep(SLOT, owner="r1", reply=REPLY)

    assert store.claim(Slot("rival", SLOT.digest), fingerprint="f", owner="r2") is None


def test_a_key_of_a_dead_process_may_be_taken_when_its_lease_is_over(store, clock):
    store.claim(SLOT, fingerprint="f", owner="dead")
    clock.advance(LEASE_S - 1)
    assert store.claim(SLOT, fingerprint="f", owner="r2").is_running
    clock.advance(1)

    assert store.claim(SLOT, fingerprint="f", owner="r2") is None


def test_who_lost_his_claim_changes_nothing_any_more(store, clock):
    store.claim(SLOT, fingerprint="f", owner="slow")
    clock.advance(LEASE_S)
    store.claim(SLOT, fingerprint="f", owner="r2")

    store.keep(SLOT, owner="slow", reply=REPLY)
    store.release(SLOT, owner="slow")

    assert store.claim(SLOT, fingerprint="f", owner="r3").is_running


def test_a_reply_is_not_released_by_whoever_kept_it(store):
    store.claim(SLOT, fingerprint="f", owner="r1")
    store.keep(SLOT, owner="r1", reply=REPLY)

    store.release(SLOT, owner="r1")

    assert store.claim(SLOT, fingerprint="f", owner="r2").reply == REPLY


def test_a_day_later_the_key_is_free_and_the_reply_forgotten(store, clock):
    store.claim(SLOT, fingerprint="f", owner="r1")
    store.keep(SLOT, owner="r1", reply=REPLY)
    clock.advance(TTL_S - 1)
    assert store.claim(SLOT, fingerprint="f", owner="r2").reply == REPLY
    clock.advance(1)

    assert store.claim(SLOT, fingerprint="g", owner="r2") is None

    assert store.claim(SLOT, fingerprint="g", owner="r3").reply is None


def test_a_purge_takes_what_is_a_day_old_and_over_and_nothing_else(store, clock):
    done, dead, running = (Slot("acme", digest) for digest in "abc")
    store.claim(done, fingerprint="f", owner="r1")
    store.keep(done, owner="r1", reply=REPLY)
    store.claim(dead, fingerprint="f", owner="r2")
    clock.advance(TTL_S - 1)
    store.claim(running, fingerprint="f", owner="r3")
    assert store.purge() == 0
    clock.advance(1)

    assert store.purge() == 2

    assert store.claim(running, fingerprint="f", owner="r4").is_running
    assert store.purge() == 0


@pytest.mark.fault("M11")
def test_of_twenty_at_once_one_has_the_key(store):
    together = Barrier(20)

    def claim(number: int) -> bool:
        together.wait()
        return store.claim(SLOT, fingerprint="f", owner=f"r{number}") is None

    with ThreadPoolExecutor(20) as threads:
        claimed = list(threads.map(claim, range(20)))

    assert sum(claimed) == 1


@pytest.mark.fault("M11")
def test_of_twenty_at_once_one_takes_the_key_of_a_dead_process(store, clock):
    store.claim(SLOT, fingerprint="f", owner="dead")
    clock.advance(LEASE_S)
    together = Barrier(20)

    def claim(number: int) -> bool:
        together.wait()
        return store.claim(SLOT, fingerprint="f", owner=f"r{number}") is None

    with ThreadPoolExecutor(20) as threads:
        claimed = list(threads.map(claim, range(20)))

    assert sum(claimed) == 1
