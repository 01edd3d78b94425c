"""What a repeated request is answered, with the keys in SQLite and in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from gateway.clock import ManualClock
from gateway.errors import GatewayError, IdempotencyError, InvalidRequestError, UnavailableError
from gateway.ledger.database import Database
from gateway.ledger.idempotency import Idempotency, StoredReply
from gateway.stages.repeat import Claim, Repeat, replay
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Request
from gateway.values import Caller, Limits, Tier
from tests.fixtures.ledger import Log

TIER = Tier(
    name="paid",
    priority=0,
    limits=Limits(),
    sizes=("small",),
    default_output_tokens=1,
    max_output_tokens=1,
    max_choices=1,
)
ACME, RIVAL = (
    Caller(tenant=t, user="u", key="k", tier=TIER, tenant_limits=Limits()) for t in ("acme", "rival")
)
BODY = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}


class Sent:
    """An exchange whose client takes what it is sent, until it leaves."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_gone = False
        self.done = b""
        self.body = b""
        self.marks: Mapping[str, str] = {}
        self.is_stream = False

    async def reply(self, body: bytes, headers: Mapping[str, str]) -> None:
        self.body, self.marks = body, headers

    async def begin(self, headers: Mapping[str, str]) -> None:
        self.is_stream, self.marks = True, headers

    async def send(self, data: bytes, *, is_last: bool = False) -> None:
        self.body += b"" if self.is_gone else data


@pytest.fixture
async def tasks() -> AsyncIterator[asyncio.TaskGroup]:
    async with asyncio.TaskGroup() as group:
        yield group


@pytest.fixture
def repeat(database: Database, tasks: asyncio.TaskGroup) -> Repeat:
    return _repeat(database, tasks)


def _repeat(database: Database, tasks: asyncio.TaskGroup, **options: Any) -> Repeat:
    store = Idempotency(database, ManualClock(), lease_s=420, ttl_s=86_400)
    return Repeat(store, Metrics(), Log().logger, tasks=lambda: tasks, **{"max_reply_bytes": 100, **options})


async def ask(
    repeat: Repeat,
    key: str | None = "k1",
    *,
    caller: Caller = ACME,
    endpoint: str = "chat",
    body: Mapping[str, Any] = BODY,
    request_id: str = "r1",
) -> Claim | StoredReply | None:
    headers = [] if key is None else [(b"idempotency-key", key.encode("latin-1"))]
    request = Request(endpoint=endpoint, body=body, body_bytes=1, model="m")
    return await repeat(request_id, caller, headers, request)


async def claimed(repeat: Repeat, **asked: Any) -> Claim:
    claim = await ask(repeat, **asked)
    assert isinstance(claim, Claim)
    return claim


async def refused(repeat: Repeat, **asked: Any) -> GatewayError:
    with pytest.raises(GatewayError) as refusal:
        await ask(repeat, **asked)
    return refusal.value


async def answer_whole(claim: Claim, body: bytes = b'{"id": 1}') -> None:
    await claim.listen(Sent()).reply(body, {})  # type: ignore[arg-type]  # it is only answered
    claim.close(is_whole=True, was_billed=True)


async def test_without_the_header_nothing_is_promised_and_nothing_asked(repeat: Repeat) -> None:
    assert await ask(repeat, key=None) is None


async def test_a_repetition_gets_the_same_answer_marked_as_such(repeat: Repeat) -> None:
    await answer_whole(await claimed(repeat))
    client = Sent()

    stored = await ask(repeat, request_id="r2")

    assert isinstance(stored, StoredReply)
    await replay(stored, client, {"x-request-id": "r2"})  # type: ignore[arg-type]  # likewise
    assert (client.body, client.is_stream) == (b'{"id": 1}', False)
    assert client.marks == {"x-request-id": "r2", "x-weighbridge-idempotent-replay": "true"}


async def test_a_stream_is_replayed_as_a_stream_though_its_client_had_left(repeat: Repeat) -> None:
    claim = await claimed(repeat)
    leaving = Sent()
    exchange = claim.listen(leaving)  # type: ignore[arg-type]  # it is only answered
    await exchange.begin({})
    await exchange.send(b"data: 1\n\n")
    leaving.is_gone = True
    await exchange.send(b"data: [DONE]\n\n", is_last=True)
    claim.close(is_whole=True, was_billed=True)
    client = Sent()

    stored = await ask(repeat, request_id="r2")

    assert isinstance(stored, StoredReply)
    await replay(stored, client, {})  # type: ignore[arg-type]  # likewise
    assert (client.body, client.is_stream) == (b"data: 1\n\ndata: [DONE]\n\n", True)
    assert leaving.body == b"data: 1\n\n"


@pytest.mark.fault("M11")
async def test_while_it_runs_a_repetition_is_told_so(repeat: Repeat) -> None:
    await claimed(repeat)

    error = await refused(repeat, request_id="r2")

    assert (error.status, error.type, error.code) == (
        409,
        "idempotency_error",
        "idempotency_request_in_progress",
    )
    assert (error.retry_after_s, error.should_retry) == (1, None)


@pytest.mark.fault("M11")
@pytest.mark.parametrize(
    "other", [{"body": {**BODY, "model": "small"}}, {"endpoint": "messages"}], ids=["body", "endpoint"]
)
@pytest.mark.parametrize("is_over", [False, True])
async def test_a_key_is_for_one_request(repeat: Repeat, other: dict[str, Any], is_over: bool) -> None:
    claim = await claimed(repeat)
    if is_over:
        await answer_whole(claim)

    error = await refused(repeat, request_id="r2", **other)

    assert (error.status, error.code, error.param) == (400, "idempotency_key_mismatch", "Idempotency-Key")
    assert error.should_retry is False


async def test_the_same_request_may_be_written_in_another_order(repeat: Repeat) -> None:
    await answer_whole(await claimed(repeat))

    assert isinstance(await ask(repeat, body=dict(reversed(BODY.items()))), StoredReply)


@pytest.mark.fault("A8")
async def test_another_tenant_with_the_same_key_knows_nothing_of_it(repeat: Repeat) -> None:
    await answer_whole(await claimed(repeat))

    await claimed(repeat, caller=RIVAL)


async def test_a_request_that_was_refused_leaves_its_key_free(repeat: Repeat) -> None:
    claim = await claimed(repeat)
    claim.close(is_whole=False, was_billed=False)

    await claimed(repeat, request_id="r2", body={**BODY, "model": "small"})


async def test_what_broke_off_after_it_was_billed_is_not_done_again(repeat: Repeat) -> None:
    claim = await claimed(repeat)
    exchange = claim.listen(Sent())  # type: ignore[arg-type]  # it is only answered
    await exchange.begin({})
    await exchange.send(b"data: 1\n\n")
    claim.close(is_whole=False, was_billed=True)

    error = await refused(repeat, request_id="r2")

    assert isinstance(error, InvalidRequestError)
    assert error.code == "idempotency_replay_unavailable"
    assert "new key" in error.message


@pytest.mark.parametrize("length", [100, 101])
async def test_an_answer_up_to_the_bound_is_kept(repeat: Repeat, length: int) -> None:
    claim = await claimed(repeat)
    exchange = claim.listen(Sent())  # type: ignore[arg-type]  # it is only answered
    await exchange.begin({})
    for _ in range(length):
        await exchange.send(b"x")
    claim.close(is_whole=True, was_billed=True)

    if length == 100:
        assert isinstance(await ask(repeat, request_id="r2"), StoredReply)
    else:
        assert (await refused(repeat, request_id="r2")).code == "idempotency_replay_unavailable"


async def test_a_claim_is_closed_once(repeat: Repeat) -> None:
    claim = await claimed(repeat)
    await answer_whole(claim)
    claim.release()
    await repeat.finished()

    assert isinstance(await ask(repeat, request_id="r2"), StoredReply)


@pytest.mark.parametrize(
    "values",
    [[b""], [b"k" * 256], [b"k\x7f"], ["schlüssel".encode()], [b"a", b"b"]],
    ids=["empty", "long", "control", "not ascii", "two"],
)
async def test_a_key_that_is_none_is_refused(repeat: Repeat, values: list[bytes]) -> None:
    headers = [(b"idempotency-key", value) for value in values]

    with pytest.raises(InvalidRequestError) as refusal:
        await repeat("r1", ACME, headers, Request(body=BODY, body_bytes=1, model="m"))

    assert (refusal.value.code, refusal.value.param) == ("invalid_header", "Idempotency-Key")


@pytest.mark.fault("M11")
async def test_of_twenty_at_once_one_runs_over_two_gateways(
    database: Database, tasks: asyncio.TaskGroup
) -> None:
    gateways = [_repeat(database, tasks), _repeat(database, tasks)]

    found = await asyncio.gather(
        *(ask(gateways[n % 2], request_id=f"r{n}") for n in range(20)), return_exceptions=True
    )

    assert sum(isinstance(one, Claim) for one in found) == 1
    assert sum(isinstance(one, IdempotencyError) for one in found) == 19


async def test_without_the_database_only_requests_with_a_key_are_refused(tasks: asyncio.TaskGroup) -> None:
    gone = Database("postgresql://gateway@127.0.0.1:1/ledger")
    repeat = _repeat(gone, tasks)

    error = await refused(repeat)

    assert isinstance(error, UnavailableError)
    assert (error.status, error.code) == (503, "database_unavailable")
    assert await ask(repeat, key=None) is None
    gone.close()


async def test_a_claim_that_came_too_late_is_given_back(database: Database, tasks: asyncio.TaskGroup) -> None:
    hurried, patient = _repeat(database, tasks, timeout_s=0.0), _repeat(database, tasks)

    assert (await refused(hurried)).code == "database_unavailable"
    while isinstance(found := await _or_refusal(patient), GatewayError):
        assert found.code == "idempotency_request_in_progress"

    assert isinstance(found, Claim)


async def _or_refusal(repeat: Repeat) -> Claim | StoredReply | GatewayError | None:
    try:
        return await ask(repeat, request_id="r2")
    except GatewayError as error:
        return error
