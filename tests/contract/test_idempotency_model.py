"""The store of Idempotency-Keys against a plain model of its promise, while time passes and processes die."""

from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from gateway.clock import ManualClock
from gateway.ledger.database import Database
from gateway.ledger.idempotency import Idempotency, Slot, StoredReply

LEASE_S, TTL_S = 60, 600
_run = count()


class Held:
    def __init__(self, owner: str, fingerprint: str, now: float) -> None:
        self.owner = owner
        self.fingerprint = fingerprint
        self.since = now
        self.is_done = False
        self.reply: StoredReply | None = None

    def is_over(self, now: float) -> bool:
        return now >= self.since + (TTL_S if self.is_done else LEASE_S)


class IdempotencyMachine(RuleBasedStateMachine):
    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.store = Idempotency(self.database, self.clock, lease_s=LEASE_S, ttl_s=TTL_S)
        self.tenants = [f"run-{next(_run)}-{name}" for name in ("acme", "rival")]
        self.held: dict[Slot, Held] = {}
        self.claims: list[tuple[Slot, str]] = []
        """All that were ever granted: their owners may come back late."""

    def slot(self, tenant: int, key: str) -> Slot:
        return Slot(self.tenants[tenant], key)

    @rule(seconds=st.sampled_from([1, LEASE_S - 1, LEASE_S, TTL_S - LEASE_S, TTL_S]))
    def move_the_clock(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(tenant=st.integers(0, 1), key=st.sampled_from("ab"), fingerprint=st.sampled_from("fg"))
    def claim(self, tenant: int, key: str, fingerprint: str) -> None:
        slot, owner = self.slot(tenant, key), f"r{len(self.claims)}"

        record = self.store.claim(slot, fingerprint=fingerprint, owner=owner)

        now, held = self.clock.monotonic(), self.held.get(slot)
        if held is None or held.is_over(now):
            assert record is None
            self.held[slot] = Held(owner, fingerprint, now)
            self.claims.append((slot, owner))
        else:
            assert record is not None
            assert (record.fingerprint, record.is_running, record.reply) == (
                held.fingerprint,
                not held.is_done,
                held.reply,
            )

    @rule(which=st.integers(0, 100), body=st.none() | st.binary(max_size=20))
    def keep(self, which: int, body: bytes | None) -> None:
        if not self.claims:
            return
        slot, owner = self.claims[which % len(self.claims)]
        reply = None if body is None else StoredReply(status=200, content_type="text/plain", body=body)

        self.store.keep(slot, owner=owner, reply=reply)

        held = self.held.get(slot)
        if held is not None and held.owner == owner and not held.is_done:
            held.is_done, held.reply = True, reply

    @rule(which=st.integers(0, 100))
    def release(self, which: int) -> None:
        if not self.claims:
            return
        slot, owner = self.claims[which % len(self.claims)]

        self.store.release(slot, owner=owner)

        held = self.held.get(slot)
        if held is not None and held.owner == owner and not held.is_done:
            del self.held[slot]

    @rule()
    def purge(self) -> None:
        now = self.clock.monotonic()

        self.store.purge()

        self.held = {slot: held for slot, held in self.held.items() if not self.is_forgotten(held, now)}

    @staticmethod
    def is_forgotten(held: Held, now: float) -> bool:
        return held.is_over(now) and now >= held.since + TTL_S


@pytest.mark.fault("M11")
def test_whatever_happens_a_key_has_one_owner_and_one_reply(database: Database) -> None:
    class Machine(IdempotencyMachine):
        pass

    Machine.database = database

    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis leaves it bare
        Machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
