"""What a cascade asks for beside the answer: log-probabilities, and a second sample. Both are asked for by it, not by the
caller, and neither changes what he sees."""

import json
from typing import Any

import pytest

from gateway.values import Entry
from tests.fixtures.cascading import MakeCascade, MarkedDeferral
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_upstream import Attempt, ScriptedUpstream, Wire

HELLO = [{"role": "user", "content": "Hello there"}]
USAGE = {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}

TELLS = """
upstreams:
  local:
    base_url: {url}
    models:
      small: {{size: small, price: {{input: 1, output: 2}}, p_good: 0.5, abilities: [{small}]}}
      medium: {{size: medium, price: {{input: 3, output: 6}}, p_good: 0.8, abilities: [logprobs]}}
"""


def tells(upstream: ScriptedUpstream, small: str = "logprobs") -> str:
    return TELLS.format(url=upstream.url, small=small)


async def ask(gateway: RunningGateway, **changes: Any) -> Any:
    body = {"model": "auto:c", "messages": HELLO, **changes}
    async with gateway.http() as http:
        return await http.post("/v1/chat/completions", json=body)


def outcomes(entries: list[Entry]) -> list[tuple[str, str]]:
    return [(entry.model, entry.outcome) for entry in entries]


def told(*values: float) -> dict[str, Any]:
    return {
        "content": [{"token": "t", "bytes": [116], "logprob": value, "top_logprobs": []} for value in values]
    }


async def sure_and_unsure(attempt: Attempt, wire: Wire) -> None:
    """Says `[0.9] Paris` in two tokens, with their log-probabilities where they are asked for."""
    attempt.bill(prompt=2, completion=2)
    wants = attempt.body.get("logprobs") is True
    if not attempt.is_stream:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "[0.9] Paris"},
            "finish_reason": "stop",
        }
        choice["logprobs"] = told(-0.5, -0.25) if wants else None
        await wire.reply(200, json.dumps({"choices": [choice], "usage": USAGE}).encode())
        return
    await wire.begin_stream()
    for text, value in (("[0.9] Pa", -0.5), ("ris", -0.25)):
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
        choice["logprobs"] = told(value) if wants else None
        await wire.event(
            {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        )
    end = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    await wire.event(
        {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [end]}
    )
    await wire.chunk(b"data: [DONE]\n\n")
    await wire.end_stream()


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
async def test_log_probabilities_are_asked_for_weighed_and_taken_out_again(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    judge = MarkedDeferral()
    gateway = await make_cascade(upstreams=tells(upstream), deferral=judge)
    upstream.does(sure_and_unsure)

    reply = await ask(gateway, stream=is_stream)

    assert upstream.attempts[0].body["logprobs"] is True
    [(_, answer, _)] = judge.weighed
    assert answer.logprobs == (-0.5, -0.25)
    assert "Pa" in reply.text
    assert "0.25" not in reply.text
    assert '"logprobs":null' in reply.text


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
async def test_a_caller_who_asks_for_them_himself_keeps_them(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    judge = MarkedDeferral()
    gateway = await make_cascade(upstreams=tells(upstream), deferral=judge)
    upstream.does(sure_and_unsure)

    reply = await ask(gateway, stream=is_stream, logprobs=True)

    assert judge.weighed[0][1].logprobs == (-0.5, -0.25)
    assert "-0.25" in reply.text


@pytest.mark.parametrize(("small", "objective"), [("", "accept: 0.8"), ("logprobs", "logprobs: false")])
async def test_an_upstream_that_tells_none_or_a_policy_that_wants_none_goes_without(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, small: str, objective: str
) -> None:
    judge = MarkedDeferral()
    gateway = await make_cascade(objective, upstreams=tells(upstream, small), deferral=judge)
    upstream.does(sure_and_unsure)

    await ask(gateway)

    assert "logprobs" not in upstream.attempts[0].body
    assert judge.weighed[0][1].logprobs == ()


async def test_the_last_step_is_not_asked_for_what_nobody_weighs(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade(upstreams=tells(upstream))
    upstream.model("small").answers("[0.1] Rome")
    upstream.model("medium").answers("Paris")

    await ask(gateway)

    assert [attempt.body.get("logprobs") for attempt in upstream.attempts] == [True, None]


async def test_an_upstream_that_refuses_to_tell_them_is_asked_without_them_and_not_again(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade(upstreams=tells(upstream))
    upstream.refuses(400, message="You are not allowed to request logprobs from this model.", times=1)
    upstream.answers("[0.9] Paris")

    first, second = await ask(gateway), await ask(gateway)

    assert (first.status_code, second.status_code) == (200, 200)
    assert [attempt.body.get("logprobs") for attempt in upstream.attempts] == [True, None, None]
    assert outcomes(await gateway.entries()) == [("small", "ok"), ("small", "ok")]


async def test_an_upstream_that_refuses_the_request_itself_is_believed(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade(upstreams=tells(upstream))
    upstream.refuses(400, message="messages: too many", param="messages")

    reply = await ask(gateway)

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "messages")
    assert len(upstream.attempts) == 1


SAME = "second_sample: same"


@pytest.mark.parametrize(
    ("second", "served", "verdict"),
    [("[0.5 0.2 0.9] Rome", "small", "accepted"), ("Oslo", "medium", "deferred")],
)
async def test_a_second_sample_that_agrees_saves_the_dear_model_and_one_that_does_not_calls_it(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, second: str, served: str, verdict: str
) -> None:
    gateway = await make_cascade(SAME)
    upstream.model("small").answers("[0.5 0.2 0.9] Rome", output_tokens=2, times=1)
    upstream.model("small").answers(second, output_tokens=2)
    upstream.model("medium").answers("Paris", output_tokens=1)

    reply = await ask(gateway)

    assert reply.headers["x-weighbridge-model"] == served
    entries = await gateway.entries()
    assert [(entry.attempt, entry.outcome) for entry in entries[:2]] == [
        (1, "ok" if verdict == "accepted" else "deferred"),
        (2, "sampled"),
    ]
    assert [entry.cost for entry in entries[:2]] == [2 * 1_000 + 2 * 2_000] * 2
    assert entries[0].p_good_after == (0.9 if verdict == "accepted" else 0.2)
    assert entries[1].p_good_after is None
    total = sum(entry.cost for entry in entries)
    assert reply.headers["x-weighbridge-cost-usd"] == f"0.{total:09d}"
    assert "small" in reply.headers["x-weighbridge-cascade"]
    assert "sampled" in reply.headers["x-weighbridge-cascade"]


@pytest.mark.parametrize("mark", ["[0.9 0.85 0.95]", "[0.3 0.1 0.7]"])
async def test_no_second_sample_is_bought_that_could_not_turn_the_verdict(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, mark: str
) -> None:
    gateway = await make_cascade(SAME)
    upstream.answers(f"{mark} Rome")

    await ask(gateway)

    assert "sampled" not in {entry.outcome for entry in await gateway.entries()}


async def test_a_second_sample_is_one_whole_answer_drawn_anew(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade(SAME)
    upstream.answers("[0.5 0.2 0.9] Rome")
    changes = {"stream": True, "temperature": 0, "seed": 7, "max_tokens": 50, "stop": ["END"]}

    await ask(gateway, **changes)

    first, second = (attempt.body for attempt in upstream.attempts)
    assert (first["temperature"], first["seed"], first["stream"]) == (0, 7, True)
    assert second == {"model": "small", "messages": HELLO, "max_tokens": 50, "stop": ["END"]}


async def test_another_small_model_may_give_the_second_sample(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    judge = MarkedDeferral()
    gateway = await make_cascade("accept: 0.9\n  second_sample: medium", deferral=judge)
    upstream.answers("[0.5 0.2 0.95] Rome")

    reply = await ask(gateway)

    assert [attempt.model for attempt in upstream.attempts] == ["small", "medium"]
    assert outcomes(await gateway.entries()) == [("small", "ok"), ("medium", "sampled")]
    assert reply.headers["x-weighbridge-model"] == "small"
    asked, _, second = judge.weighed[-1]
    assert second is not None
    assert asked.second_p_good is not None


async def test_a_second_sample_that_fails_is_as_if_it_had_not_been_asked_for(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade(SAME)
    upstream.model("small").answers("[0.5 0.2 0.9] Rome", times=1)
    upstream.model("small").refuses(429)
    upstream.model("medium").answers("Paris")

    reply = await ask(gateway)

    assert reply.headers["x-weighbridge-model"] == "medium"
    assert outcomes(await gateway.entries()) == [("small", "deferred"), ("medium", "ok")]


@pytest.mark.fault("M1")
async def test_a_budget_without_room_for_it_goes_to_the_next_model_without_it(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade(SAME)
    upstream.model("small").answers("[0.5 0.2 0.9] Rome", output_tokens=100)
    upstream.model("medium").answers("Paris", output_tokens=1)
    body = json.dumps({"model": "auto:c", "messages": HELLO, "max_tokens": 100}, separators=(",", ":"))
    both = len(body) * 4_000 + 100 * 8_000
    key = await gateway.new_key("poor", "vip", budget_per_month=both)

    async with gateway.http(key) as http:
        reply = await http.post(
            "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
        )

    assert reply.headers["x-weighbridge-model"] == "medium"
    assert outcomes(await gateway.entries()) == [("small", "deferred"), ("medium", "ok")]
