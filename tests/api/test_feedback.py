"""What a caller says of an answer, through OpenAI's own SDK and by hand."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from gateway.ledger.judged import DEFERRAL_WEIGHT
from gateway.ledger.outcomes import Outcome, OutcomeQuery
from tests.fixtures.cascading import MakeCascade
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.outcomes import outcome
from tests.fixtures.scripted_upstream import ScriptedUpstream

PATH = "/v1/weighbridge/feedback"
HELLO = [{"role": "user", "content": "Hello there"}]
ASKED: dict[str, Any] = {"model": "small", "messages": HELLO}
LONG_AGO = "req_019a9c0de1f05b3d9e6f4c2a1b7d"
NEVER = "journal: {ship_every_s: 1000}"


async def ask(gateway: RunningGateway, key: str | None = None, **changes: Any) -> str:
    """The id of a request that was answered."""
    async with gateway.http(key) as http:
        reply = await http.post("/v1/chat/completions", json={**ASKED, **changes})
    assert reply.status_code == 200, reply.text
    return str(reply.headers["x-request-id"])


async def tell(gateway: RunningGateway, key: str | None = None, **body: Any) -> httpx.Response:
    async with gateway.http(key) as http:
        return await http.post(PATH, json=body)


async def kept(gateway: RunningGateway) -> list[Outcome]:
    return await asyncio.to_thread(gateway.app.outcomes.page, OutcomeQuery())


async def test_a_thumb_is_kept_beside_what_was_predicted(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)
    client = gateway.client()
    raw = await client.chat.completions.with_raw_response.create(model="auto", messages=HELLO)

    told: Any = await client.post(
        "/weighbridge/feedback",
        body={"request_id": raw.headers["x-request-id"], "rating": "down", "reason": "wrong"},
        cast_to=object,
    )

    [entry] = await gateway.entries()
    [one] = await kept(gateway)
    assert (told["object"], told["request_id"], told["model"]) == ("feedback", entry.request_id, entry.model)
    assert (told["score"], told["reason"], told["counts"]) == (0.0, "wrong", True)
    assert (one.tenant, one.user, one.subject, one.source) == ("acme", "ann", entry.request_id, "feedback")
    assert (one.candidate, one.value, one.weight) == (f"{entry.upstream}/{entry.model}", 0.0, 1.0)
    assert entry.p_good is not None
    assert (one.p_good, one.complexity, one.category) == (entry.p_good, entry.complexity, entry.category)


async def test_who_changes_his_mind_has_still_one_vote(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")
    request_id = await ask(gateway)
    colleague = await gateway.new_key("acme", "paid", user="bob")

    await tell(gateway, request_id=request_id, rating="up")
    await tell(gateway, request_id=request_id, score=0.25)
    await tell(gateway, colleague, request_id=request_id, rating="up")

    assert [(one.user, one.value) for one in await kept(gateway)] == [("bob", 1.0), ("ann", 0.25)]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
async def test_an_answers_own_id_will_do_where_the_gateway_made_it(
    gateway: RunningGateway, upstream: ScriptedUpstream, path: str
) -> None:
    upstream.answers("Paris")
    asked = {"model": "small", "max_tokens": 5, "messages": HELLO}
    async with gateway.http() as http:
        answer = await http.post(
            path, json=asked if path == "/v1/messages" else {"model": "small", "input": "Hi"}
        )

        told = await http.post(PATH, json={"request_id": answer.json()["id"], "rating": "up"})

    assert told.json()["request_id"] == answer.headers["x-request-id"]


async def test_a_reply_from_the_cache_is_a_vote_on_the_model_that_wrote_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")
    await ask(gateway, temperature=0)
    again = await ask(gateway, temperature=0)

    told = await tell(gateway, request_id=again, rating="up")

    first, hit = await gateway.entries()
    [one] = await kept(gateway)
    assert hit.is_cache_hit
    assert (told.json()["model"], one.p_good, one.category) == ("small", first.p_good, first.category)


async def test_a_vote_is_on_the_answer_that_was_given(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.model("small").breaks_off("close", after=0)
    upstream.model("medium").answers("Paris")
    request_id = await ask(gateway, model="auto")

    sure = await tell(gateway, request_id=request_id, rating="up", model="medium")
    mistaken = await tell(gateway, request_id=request_id, rating="up", model="small")

    assert sure.json()["model"] == "medium"
    assert (mistaken.status_code, mistaken.json()["error"]["param"]) == (400, "model")


async def test_a_request_without_an_answer_has_none_to_vote_on(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.breaks_off("close", after=0)
    async with gateway.http() as http:
        failed = await http.post("/v1/chat/completions", json=ASKED)

    told = await tell(gateway, request_id=failed.headers["x-request-id"], rating="down")

    assert failed.status_code == 502
    assert [entry.outcome for entry in await gateway.entries()] == ["failed"]
    assert (told.status_code, told.json()["error"]["param"]) == (400, "request_id")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"rating": "up"}, "request_id"),
        ({"request_id": LONG_AGO}, "rating"),
        ({"request_id": LONG_AGO, "rating": "up", "score": 1}, "rating"),
        ({"request_id": LONG_AGO, "rating": "great"}, "rating"),
        ({"request_id": LONG_AGO, "score": 1.5}, "score"),
        ({"request_id": LONG_AGO, "score": True}, "score"),
        ({"request_id": LONG_AGO, "rating": "up", "reason": "It was wrong!"}, "reason"),
        ({"request_id": LONG_AGO, "rating": "up", "reason": "wrong\n"}, "reason"),
        ({"request_id": LONG_AGO, "rating": "up", "comment": "x"}, None),
        ({"request_id": "", "rating": "up"}, "request_id"),
        ({"request_id": 7, "rating": "up"}, "request_id"),
    ],
)
async def test_a_wrong_vote_is_refused_by_its_field(
    gateway: RunningGateway, body: dict[str, Any], param: str | None
) -> None:
    told = await tell(gateway, **body)

    assert told.status_code == 400, told.text
    assert param in (None, told.json()["error"]["param"])


async def test_a_vote_is_small_and_json(gateway: RunningGateway) -> None:
    async with gateway.http() as http:
        large = await http.post(PATH, json={"request_id": "x" * 20_000, "rating": "up"})
        text = await http.post(PATH, content="up", headers={"content-type": "text/plain"})
        broken = await http.post(PATH, content="{", headers={"content-type": "application/json"})
        stranger = await http.post(PATH, json={}, headers={"authorization": "Bearer sk-wb-x-y"})

    assert [one.status_code for one in (large, text, broken, stranger)] == [413, 415, 400, 401]


@pytest.mark.fault("A8")
async def test_another_tenants_request_is_as_one_that_never_was(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")
    theirs = await ask(gateway)
    await gateway.app.catch_up()
    made_up = theirs[:-16] + "0" * 16
    stranger = await gateway.new_key("globex", "paid")

    real = await tell(gateway, stranger, request_id=theirs, rating="down")
    fake = await tell(gateway, stranger, request_id=made_up, rating="down")

    assert (real.status_code, real.json()) == (fake.status_code, fake.json())
    assert real.status_code == 409
    assert await kept(gateway) == []


@pytest.mark.parametrize("unknown", [LONG_AGO, "req_" + "f" * 28, "chatcmpl-BXlrQ2Zs", "nonsense"])
async def test_a_request_that_is_not_known_is_not_found(gateway: RunningGateway, unknown: str) -> None:
    told = await tell(gateway, request_id=unknown, rating="up")

    assert (told.status_code, told.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.fault("M15")
async def test_a_thumb_that_is_quicker_than_the_ledger_is_not_lost(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")
    gateway = await make_gateway(NEVER)

    told = await tell(gateway, request_id=await ask(gateway), rating="up")

    assert told.status_code == 200
    assert len(await kept(gateway)) == 1


@pytest.mark.fault("M15")
async def test_of_another_gateways_answer_that_is_not_yet_in_the_ledger_one_is_told_to_try_again(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")
    first, second = await make_gateway(NEVER), await make_gateway(NEVER)
    request_id = await ask(first)

    early = await tell(second, first.key, request_id=request_id, rating="up")
    await first.app.catch_up()
    late = await tell(second, first.key, request_id=request_id, rating="up")

    assert (early.status_code, early.json()["error"]["code"]) == (409, "request_not_settled")
    assert (early.headers["retry-after"], early.headers["x-should-retry"]) == ("1", "true")
    assert late.status_code == 200


@contextmanager
def away(gateway: RunningGateway) -> Iterator[None]:
    """The database's file cannot be opened."""
    path = Path(str(gateway.app.database.engine.url.database))
    aside = path.with_suffix(".aside")
    gateway.app.database.engine.dispose()
    path.rename(aside)
    path.mkdir()
    yield
    path.rmdir()
    aside.rename(path)


@pytest.mark.fault("M14")
async def test_without_the_database_a_vote_is_refused_and_counts_when_it_comes_again(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")
    request_id = await ask(gateway)
    await gateway.app.catch_up()

    with away(gateway):
        refused = await tell(gateway, request_id=request_id, rating="up")
    again = await tell(gateway, request_id=request_id, rating="up")

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_unavailable")
    assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("2", "true")
    assert again.status_code == 200
    assert len(await kept(gateway)) == 1


@pytest.mark.fault("C14")
async def test_votes_have_a_rate_of_their_own_for_each_user(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")
    gateway = await make_gateway("outcomes: {votes_per_minute: 2}")
    request_id = await ask(gateway)
    colleague = await gateway.new_key("acme", "paid", user="bob")

    mine = [await tell(gateway, request_id=request_id, rating="up") for _ in range(3)]
    his = await tell(gateway, colleague, request_id=request_id, rating="up")

    assert [told.status_code for told in mine] == [200, 200, 429]
    assert mine[-1].json()["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(mine[-1].headers["retry-after"]) <= 61
    assert his.status_code == 200
    await ask(gateway)


async def test_of_a_users_votes_only_so_many_count_in_a_day(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")
    gateway = await make_gateway("outcomes: {votes_per_day: 1}")

    told = [await tell(gateway, request_id=await ask(gateway), rating="down") for _ in range(2)]

    assert [one.json()["counts"] for one in told] == [True, False]
    assert [one.weight for one in await kept(gateway)] == [0.0, 1.0]


async def test_the_sdk_sees_a_refusal_as_it_sees_any(gateway: RunningGateway) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        await gateway.client().post(
            "/weighbridge/feedback", body={"request_id": LONG_AGO, "rating": "up"}, cast_to=object
        )

    assert refused.value.code == "not_found"


async def test_what_is_too_old_is_swept_away(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers("Paris")
    await tell(gateway, request_id=await ask(gateway), rating="up")
    await asyncio.to_thread(gateway.app.outcomes.vote, outcome("req_old", created_ms=1))

    await gateway.app.sweeper.sweep()

    assert [one.user for one in await kept(gateway)] == ["ann"]


async def test_what_a_cascade_thought_of_an_answer_is_kept_and_the_vote_is_on_the_one_that_was_served(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    upstream.model("small").answers("[0.3] Rome")
    upstream.model("medium").answers("Paris")
    gateway = await make_cascade()

    told = await tell(gateway, request_id=await ask(gateway, model="auto:c"), rating="up")

    small, _ = await gateway.entries()
    thought, voted = sorted(await kept(gateway), key=lambda one: one.source)
    assert (thought.source, thought.model, thought.reason) == ("deferral", "small", "deferred")
    assert (thought.value, thought.p_good, thought.weight) == (0.3, small.p_good, DEFERRAL_WEIGHT)
    assert (told.json()["model"], voted.model, voted.value) == ("medium", "medium", 1.0)


async def test_an_answer_that_was_only_compared_gets_no_vote(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    upstream.model("small").answers("[0.7 0.2 0.9] Paris")
    gateway = await make_cascade("second_sample: medium")
    upstream.model("medium").answers("[0.7 0.2 0.9] Paris")

    told = await tell(gateway, request_id=await ask(gateway, model="auto:c"), rating="up")

    assert [entry.outcome for entry in await gateway.entries()] == ["ok", "sampled"]
    assert told.json()["model"] == "small"
