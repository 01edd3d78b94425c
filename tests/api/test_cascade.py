"""A cascade as an app, an operator and finance meet it: what is served, what is billed, what is told."""

import asyncio
import json
import re
from typing import Any

import openai
import pytest

from gateway.clock import SystemClock
from gateway.scoring.contract import AnswerSignals
from gateway.values import Entry
from tests.fixtures.cascading import MakeCascade, MarkedDeferral
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_upstream import Attempt, ScriptedUpstream, Wire

HELLO = [{"role": "user", "content": "Hello there"}]
SMALL, MEDIUM = (1_000, 2_000), (3_000, 6_000)
"""Nano-dollars of a token read and of a token written."""


async def ask(gateway: RunningGateway, **changes: Any) -> Any:
    body = {"model": "auto:c", "messages": HELLO, **changes}
    return await gateway.client().chat.completions.with_raw_response.create(**body)


async def streamed(gateway: RunningGateway, path: str = "/v1/chat/completions", **changes: Any) -> Any:
    body = {"model": "auto:c", "messages": HELLO, "stream": True, **changes}
    async with gateway.http() as http:
        return await http.post(path, json=body)


def outcomes(entries: list[Entry]) -> list[tuple[str, str]]:
    return [(entry.model, entry.outcome) for entry in entries]


def pieces(reply: Any) -> str:
    """What a stream of chunks says."""
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


async def test_a_good_cheap_answer_is_served_and_nobody_else_is_asked(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.answers("[0.8] Paris", output_tokens=1)

    raw = await ask(gateway)

    assert raw.parse().choices[0].message.content == "[0.8] Paris"
    assert raw.headers["x-weighbridge-model"] == raw.parse().model == "small"
    assert raw.headers["x-weighbridge-steps"] == "1"
    assert raw.headers["x-weighbridge-cascade"].endswith(" -> 0.80 accepted")
    assert raw.headers["x-weighbridge-cost-usd"] == "0.000004000"
    [entry] = await gateway.entries()
    assert (entry.model, entry.outcome, entry.p_good_after) == ("small", "ok", 0.8)
    assert len(upstream.attempts) == 1


async def test_a_cheap_answer_that_will_not_do_is_paid_for_and_the_next_one_is_served(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers("[0.79] Rome", output_tokens=3)
    upstream.model("medium").answers("Paris", output_tokens=1)

    raw = await ask(gateway)

    reply = raw.parse()
    assert reply.choices[0].message.content == "Paris"
    assert (reply.model, reply.usage.completion_tokens) == ("medium", 1)
    deferred, served = await gateway.entries()
    assert (deferred.attempt, deferred.model, deferred.outcome) == (1, "small", "deferred")
    assert (served.attempt, served.model, served.outcome) == (2, "medium", "ok")
    assert (deferred.cost, served.cost) == (2 * 1_000 + 3 * 2_000, 2 * 3_000 + 1 * 6_000)
    assert (deferred.p_good_after, served.p_good_after) == (0.79, None)
    assert deferred.usage_source == "reported"
    assert raw.headers["x-weighbridge-cost-usd"] == "0.000020000"
    assert raw.headers["x-weighbridge-model"] == "medium"


async def test_the_headers_the_log_and_the_metrics_tell_the_same_steps(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers("[0.3] Rome")
    upstream.model("medium").answers("Paris")

    raw = await ask(gateway)

    first, last = raw.headers["x-weighbridge-cascade"].split("; ")
    assert first.startswith("small 0.")
    assert first.endswith(" -> 0.30 deferred")
    assert last.startswith("medium 0.")
    assert last.endswith(" last")
    assert raw.headers["x-weighbridge-steps"] == "2"
    assert raw.headers["x-weighbridge-decision"].startswith("c: small first, with P(good) 0.")
    [line] = [line for line in await gateway.log_lines() if line["event"] == "request.done"]
    assert line["cascade"] == [first, last]
    assert (line["model"], line["attempts"], line["outcome"]) == ("medium", 2, "ok")
    assert line["cost_usd"] == raw.headers["x-weighbridge-cost-usd"]
    told = gateway.app.metrics.render().decode()
    assert 'weighbridge_cascade_steps_total{model="small",verdict="deferred"} 1.0' in told
    assert 'weighbridge_cascade_steps_total{model="medium",verdict="last"} 1.0' in told


async def test_finance_sees_one_request_and_what_each_model_of_it_cost(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers("[0.3] Rome", output_tokens=3)
    upstream.model("medium").answers("Paris", output_tokens=1)
    await ask(gateway)
    await gateway.entries()

    async with gateway.admin() as admin:
        by_model = (await admin.get("/finance/spend", params={"by": "model"})).json()
        by_tenant = (await admin.get("/finance/spend", params={"by": "tenant"})).json()
        by_outcome = (await admin.get("/finance/spend", params={"by": "outcome"})).json()

    rows = {row["model"]: (row["requests"], row["cost_usd"]) for row in by_model["rows"]}
    assert rows == {"small": (1, "0.000008000"), "medium": (1, "0.000012000")}
    [row] = by_tenant["rows"]
    assert (row["requests"], row["cost_usd"]) == (1, "0.000020000")
    costs = {row["outcome"]: row["cost_usd"] for row in by_outcome["rows"]}
    assert costs == {"deferred": "0.000008000", "ok": "0.000012000"}  # what the answers cost that nobody saw


async def test_at_most_so_many_models_are_asked_and_the_last_is_served_as_it_is(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade("accept: 0.97\n  max_steps: 3")
    upstream.answers("[0.1] Rome")

    raw = await ask(gateway)

    assert raw.headers["x-weighbridge-model"] == "cloud"
    assert outcomes(await gateway.entries()) == [
        ("small", "deferred"),
        ("medium", "deferred"),
        ("cloud", "ok"),
    ]


async def test_a_model_that_promises_no_more_than_the_answer_in_hand_is_not_asked(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade("accept: 1.0")
    upstream.answers("[0.999] Paris")

    raw = await ask(gateway)

    assert raw.headers["x-weighbridge-model"] == "small"
    assert raw.headers["x-weighbridge-cascade"].endswith(" -> 1.00 kept_promise")
    assert len(upstream.attempts) == 1


async def test_a_caller_who_names_a_model_gets_that_model(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.answers("[0.1] Rome")

    raw = await ask(gateway, model="small")

    assert raw.parse().choices[0].message.content == "[0.1] Rome"
    assert "x-weighbridge-cascade" not in raw.headers


async def test_of_several_choices_the_worst_counts(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    choice = {"message": {"role": "assistant", "content": "[0.9] Paris"}, "finish_reason": "stop"}
    worse = {"message": {"role": "assistant", "content": "[0.2] Rome"}, "finish_reason": "stop"}
    body = {"choices": [{"index": 0, **choice}, {"index": 1, **worse}], "usage": USAGE}
    upstream.model("small").replies(200, json.dumps(body).encode())
    upstream.model("medium").answers("Paris")

    raw = await ask(gateway, n=2)

    assert raw.headers["x-weighbridge-model"] == "medium"


USAGE = {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}


async def test_an_answer_that_calls_tools_is_weighed_by_its_calls(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    judge = MarkedDeferral()
    gateway = await make_cascade(deferral=judge)
    upstream.answers(message={"tool_calls": [CALL]}, finish_reason="tool_calls")

    raw = await ask(gateway, tools=[TOOL])

    [(asked, answer, _)] = judge.weighed
    assert (answer.text, answer.calls, answer.finish_reason) == ("", ('{"city": "Paris"}',), "tool_calls")
    assert asked.prompt.has_tools
    assert raw.parse().choices[0].message.tool_calls[0].function.name == "weather"


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(("changes", "has_ceiling"), [({}, False), ({"max_tokens": 7}, True)])
async def test_whoever_weighs_knows_whether_the_caller_set_the_ceiling(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, changes: dict[str, Any], has_ceiling: bool
) -> None:
    judge = MarkedDeferral()
    gateway = await make_cascade(deferral=judge)
    upstream.answers("Once upon a", finish_reason="length")

    await ask(gateway, **changes)

    [(asked, answer, _)] = judge.weighed
    assert (asked.has_ceiling, asked.size, answer.finish_reason) == (has_ceiling, "small", "length")


async def test_whoever_weighs_knows_the_schema_that_was_asked_for(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    judge = MarkedDeferral()
    gateway = await make_cascade(deferral=judge)
    upstream.answers('{"city": "Paris"}')
    schema = {"type": "object", "required": ["city"]}

    await ask(
        gateway,
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": schema}},
    )

    [(asked, _, _)] = judge.weighed
    assert asked.schema == schema
    assert asked.prompt.wants_json


class _Broken:
    def signals(self, *_: object) -> AnswerSignals:
        raise RuntimeError("boom")

    def updated(self, _prior: float, _signals: AnswerSignals) -> float:
        return 1.0

    def ceiling(self, _prior: float, **_: object) -> float:
        return 1.0


async def test_a_judge_that_fails_leaves_what_was_predicted_and_is_counted(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade("accept: 0.999", deferral=_Broken())
    upstream.answers("Paris")

    raw = await ask(gateway)

    assert raw.headers["x-weighbridge-steps"] == "2"
    assert 'weighbridge_degraded_total{part="deferral"} 1.0' in gateway.app.metrics.render().decode()


# Streams


async def test_a_good_cheap_stream_is_told_whole_with_its_cost_in_the_headers(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.answers("[0.9] Pa", "ris")

    reply = await streamed(gateway, stream_options={"include_usage": True})

    assert pieces(reply) == "[0.9] Paris"
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-weighbridge-model"] == "small"
    assert reply.headers["x-weighbridge-cost-usd"] == "0.000006000"
    assert '"usage":' in reply.text
    assert reply.text.endswith(": x-weighbridge-cost-usd 0.000006000\n\ndata: [DONE]\n\n")
    [entry] = await gateway.entries()
    assert (entry.outcome, entry.is_stream, entry.first_token_ms is None) == ("ok", True, False)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_long_cheap_stream_is_told_to_its_last_piece(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, path: str
) -> None:
    gateway = await make_cascade()
    upstream.answers("[0.9]", *[f"<{number}>" for number in range(700)])

    reply = await streamed(gateway, path, max_tokens=1_000)

    said = "".join(part.partition('"')[0] for part in re.split(r'"(?:content|text)": ?"', reply.text)[1:])
    assert said == "[0.9]" + "".join(f"<{number}>" for number in range(700))
    assert len(upstream.attempts) == 1


async def test_the_stream_after_a_poor_one_arrives_as_it_is_written_and_nothing_of_the_poor_one_does(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    gate = asyncio.Event()
    upstream.model("small").answers("[0.3] Rome", output_tokens=1)
    upstream.model("medium").answers("Pa", "ris", hold={1: gate})

    stream = await gateway.client().chat.completions.create(model="auto:c", messages=HELLO, stream=True)  # type: ignore[call-overload]
    events = aiter(stream)
    texts = [(await anext(events)).choices[0].delta.content or ""]
    while not "".join(texts):
        texts.append((await anext(events)).choices[0].delta.content or "")
    gate.set()
    texts += [event.choices[0].delta.content or "" async for event in events]

    assert "".join(texts) == "Paris"
    assert outcomes(await gateway.entries()) == [("small", "deferred"), ("medium", "ok")]


async def test_a_stream_tells_its_model_and_steps_in_the_headers_and_all_it_cost_at_its_end(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers("[0.3] Rome", output_tokens=3)
    upstream.model("medium").answers("Paris", output_tokens=1)

    reply = await streamed(gateway)

    assert pieces(reply) == "Paris"
    assert reply.headers["x-weighbridge-model"] == "medium"
    assert reply.headers["x-weighbridge-steps"] == "2"
    assert ": x-weighbridge-cost-usd 0.000020000\n\n" in reply.text


class JumpingClock(SystemClock):
    """Jumps when it is told to."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead_s

    def jump(self, seconds: float) -> None:
        self._ahead_s += seconds


def slowly(clock: JumpingClock, gate: asyncio.Event, *texts: str) -> Any:
    """A stream that takes a minute from its first text on; its last waits for the gate."""

    async def script(attempt: Attempt, wire: Wire) -> None:
        await wire.begin_stream()
        attempt.bill(prompt=2)
        for number, text in enumerate(texts):
            if number == len(texts) - 1:
                await gate.wait()
            attempt.bill(completion=1)
            delta = {"role": "assistant", "content": text} if number == 0 else {"content": text}
            await wire.event(chunk(delta))
            clock.jump(60)
        await wire.event(chunk({}, "stop"))
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end_stream()

    return script


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, **more}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }


async def test_a_cheap_stream_that_is_long_in_coming_is_weighed_by_its_beginning_and_passed_on(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    clock, gate, judge = JumpingClock(), asyncio.Event(), MarkedDeferral()
    gateway = await make_cascade(clock=clock, deferral=judge)
    upstream.model("small").does(slowly(clock, gate, "[0.9] Pa", "r", "is"))

    stream = await gateway.client().chat.completions.create(model="auto:c", messages=HELLO, stream=True)  # type: ignore[call-overload]
    gate.set()  # only now: it began before its end was there
    text = "".join([event.choices[0].delta.content or "" async for event in stream])

    assert text == "[0.9] Paris"
    [(_, answer, _)] = judge.weighed
    assert answer.finish_reason == ""
    [entry] = await gateway.entries()
    assert (entry.outcome, entry.output_tokens > 0) == ("ok", True)


async def test_a_cheap_stream_whose_beginning_will_not_do_is_stopped_and_billed_as_far_as_it_came(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    clock = JumpingClock()
    gateway = await make_cascade(clock=clock)
    upstream.model("small").does(slowly(clock, asyncio.Event(), "[0.1] Ro", "me", "never"))
    upstream.model("medium").answers("Paris")

    reply = await streamed(gateway)

    assert pieces(reply) == "Paris"
    await (await upstream.attempt(0)).client_closed.wait()
    deferred, _ = await gateway.entries()
    assert (deferred.outcome, deferred.usage_source, deferred.cost > 0) == ("deferred", "estimated", True)
    assert deferred.suspense > 0


# The other surfaces


async def test_a_response_is_weighed_like_any_answer(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers("[0.3] Rome")
    upstream.model("medium").answers("Paris")

    raw = await gateway.client().responses.with_raw_response.create(model="auto:c", input="Hello there")
    reply = await streamed(gateway, "/v1/responses", messages=None, input="Hello there")

    assert raw.parse().output_text == "Paris"
    assert raw.headers["x-weighbridge-steps"] == reply.headers["x-weighbridge-steps"] == "2"
    assert '"text":"Paris"' in reply.text
    assert "Rome" not in reply.text


@pytest.mark.parametrize("mark", ["[0.3]", "[0.9]"])
async def test_a_message_is_weighed_like_any_answer(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, mark: str
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers(f"{mark} Rome")
    upstream.model("medium").answers("[] Paris")
    served = {"[0.3]": "[] Paris", "[0.9]": "[0.9] Rome"}[mark]

    async with gateway.http() as http:
        whole = await http.post("/v1/messages", json={"model": "auto:c", "messages": HELLO, "max_tokens": 9})
    reply = await streamed(gateway, "/v1/messages", max_tokens=9)

    assert whole.json()["content"][0]["text"] == served
    assert json.dumps(served)[1:-1] in reply.text
    assert reply.text.rstrip().endswith('{"type":"message_stop"}')
    assert len(await gateway.entries()) == {"[0.3]": 4, "[0.9]": 2}[mark]


@pytest.mark.parametrize("mark", ["[0.3]", "[0.9]"])
async def test_a_message_from_an_upstream_that_speaks_the_dialect_is_weighed_too(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, mark: str
) -> None:
    judge = MarkedDeferral()
    gateway = await make_cascade(upstreams=ANTHROPIC.format(url=upstream.url), deferral=judge)
    upstream.model("small").answers(
        f"{mark} Rome", message={"tool_calls": [CALL]}, finish_reason="tool_calls"
    )
    upstream.model("medium").answers("Paris")

    async with gateway.http() as http:
        whole = await http.post("/v1/messages", json={"model": "auto:c", "messages": HELLO, "max_tokens": 9})
    reply = await streamed(gateway, "/v1/messages", max_tokens=9)

    model = {"[0.3]": "medium", "[0.9]": "small"}[mark]
    assert whole.json()["model"] == model
    assert f'"model":"{model}"' in reply.text
    assert reply.text.count("event: message_start") == reply.text.count("event: message_stop") == 1
    for _, answer, _ in judge.weighed:
        assert (answer.text, answer.finish_reason) == (f"{mark} Rome", "tool_calls")
        assert [json.loads(call) for call in answer.calls] == [{"city": "Paris"}]


ANTHROPIC = """
upstreams:
  local:
    base_url: {url}
    dialect: anthropic
    models:
      small: {{size: small, price: {{input: 1, output: 2}}, p_good: 0.5, abilities: [tools]}}
      medium: {{size: medium, price: {{input: 3, output: 6}}, p_good: 0.8, abilities: [tools]}}
"""


async def test_a_legacy_completion_is_weighed_too(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers("[0.3] Rome")
    upstream.model("medium").answers("Paris")

    raw = await gateway.client().completions.with_raw_response.create(model="auto:c", prompt="Hello there")

    assert raw.parse().choices[0].text == "Paris"
    assert raw.headers["x-weighbridge-steps"] == "2"


# What fails, and what is short


async def test_a_cheap_model_that_fails_is_replaced_by_the_next_as_ever(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.model("small").refuses(503)
    upstream.model("medium").answers("[0.1] Paris")

    raw = await ask(gateway)

    assert raw.parse().choices[0].message.content == "[0.1] Paris"
    assert raw.headers["x-weighbridge-cascade"].endswith(" last")
    assert outcomes(await gateway.entries()) == [("medium", "ok")]


@pytest.mark.parametrize("how", ["reset", "no_done"])
async def test_a_cheap_stream_that_breaks_off_is_never_seen_and_is_on_the_house(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, how: Any
) -> None:
    gateway = await make_cascade()
    upstream.model("small").breaks_off(how, after=2)
    upstream.model("medium").answers("Paris")

    reply = await streamed(gateway)

    assert pieces(reply) == "Paris"
    failed, _ = await gateway.entries()
    assert (failed.outcome, failed.cost, failed.suspense > 0) == ("failed", 0, True)


async def test_a_second_stream_that_breaks_off_after_its_beginning_ends_in_an_error(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers("[0.3] Rome")
    upstream.model("medium").breaks_off("reset", after=2)

    reply = await streamed(gateway)

    assert "upstream_stream_interrupted" in reply.text
    assert "[DONE]" not in reply.text
    assert outcomes(await gateway.entries()) == [("small", "deferred"), ("medium", "interrupted")]


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [500, 503, 400, 429])
async def test_if_the_next_fails_the_cheap_answer_that_is_paid_for_is_served(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, status: int, is_stream: bool
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers("[0.3] Rome")
    upstream.model("medium").refuses(status)
    upstream.model("cloud").refuses(status)

    reply = await streamed(gateway, stream=is_stream)

    assert reply.status_code == 200
    assert (pieces(reply) if is_stream else reply.json()["choices"][0]["message"]["content"]) == "[0.3] Rome"
    assert reply.headers["x-weighbridge-model"] == "small"
    assert reply.headers["x-weighbridge-cascade"].endswith(" -> 0.30 kept_failure")
    served = [entry for entry in await gateway.entries() if entry.outcome != "failed"]
    assert outcomes(served) == [("small", "ok")]


async def test_of_several_answers_that_would_not_do_the_best_is_served_when_the_last_fails(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade("accept: 0.97\n  max_steps: 3")
    upstream.model("small").answers("[0.3] Rome")
    upstream.model("medium").answers("[0.2] Oslo")
    upstream.model("cloud").refuses(503)

    raw = await ask(gateway)

    assert raw.parse().choices[0].message.content == "[0.3] Rome"
    assert outcomes(await gateway.entries()) == [("small", "ok"), ("medium", "deferred")]


async def test_an_empty_cheap_answer_is_no_substitute_for_an_error(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    judge = gateway.app._deferral
    assert isinstance(judge, MarkedDeferral)
    judge.updated = lambda *_: 0.1  # type: ignore[method-assign]  # it cannot say so itself
    upstream.model("small").answers(" ", output_tokens=1)
    upstream.model("medium").refuses(500)
    upstream.model("cloud").refuses(500)

    with pytest.raises(openai.InternalServerError) as refused:
        await ask(gateway)

    assert refused.value.status_code == 502
    assert refused.value.response.headers["x-should-retry"] == "false"  # it would be paid for once more
    entries = await gateway.entries()
    assert outcomes(entries)[0] == ("small", "deferred")
    assert entries[0].cost == 2 * 1_000 + 2_000


async def test_without_time_for_another_answer_the_one_in_hand_is_served(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    clock = JumpingClock()
    gateway = await make_cascade(clock=clock)

    async def script(attempt: Attempt, wire: Wire) -> None:
        clock.jump(200)  # of the 300 seconds that a request may take
        attempt.bill(prompt=2, completion=2)
        message = {"role": "assistant", "content": "[0.3] Rome"}
        body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE}
        await wire.reply(200, json.dumps(body).encode())

    upstream.does(script)

    raw = await ask(gateway)

    assert raw.headers["x-weighbridge-cascade"].endswith(" -> 0.30 kept_deadline")
    assert len(upstream.attempts) == 1
    assert outcomes(await gateway.entries()) == [("small", "ok")]


# Money


def worst(price: tuple[int, int], body: dict[str, Any]) -> int:
    """Every byte may be a token."""
    return len(json.dumps(body, separators=(",", ":"))) * price[0] + body["max_tokens"] * price[1]


@pytest.mark.parametrize(
    ("room", "asked"),
    [("both", ["small", "medium"]), ("dear", ["medium"]), ("cheap", ["small"])],
)
@pytest.mark.fault("M1")
async def test_a_short_budget_shortens_the_cascade_and_refuses_nothing(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, room: str, asked: list[str]
) -> None:
    gateway = await make_cascade()
    upstream.answers("[0.3] Rome", output_tokens=1)
    body = {"model": "auto:c", "messages": HELLO, "max_tokens": 100}
    small, medium = worst(SMALL, body), worst(MEDIUM, body)
    budget = {"both": small + medium, "dear": small + medium - 1, "cheap": medium - 1}[room]
    key = await gateway.new_key("poor", "vip", budget_per_month=budget)

    async with gateway.http(key) as http:
        reply = await http.post(
            "/v1/chat/completions",
            content=json.dumps(body, separators=(",", ":")),
            headers={"content-type": "application/json"},
        )

    assert reply.status_code == 200
    assert [attempt.model for attempt in upstream.attempts] == asked
    assert sum(entry.cost for entry in await gateway.entries()) <= budget


@pytest.mark.fault("M1")
async def test_cascades_at_the_same_time_never_spend_more_than_there_is(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade("accept: 0.97\n  max_steps: 3\n  second_sample: same")
    upstream.answers("[0.3 0.2 0.99] Rome", output_tokens=100)
    budget = 4_000_000
    key = await gateway.new_key("poor", "vip", budget_per_month=budget)
    body = {"model": "auto:c", "messages": HELLO, "max_tokens": 100}

    async with gateway.http(key) as http:
        replies = await asyncio.gather(*[http.post("/v1/chat/completions", json=body) for _ in range(30)])

    assert {reply.status_code for reply in replies} == {200, 429}
    spent = sum(entry.cost for entry in await gateway.entries())
    assert 0 < spent <= budget
    by_price = {"small": SMALL, "medium": MEDIUM, "cloud": (10_000, 30_000)}
    assert spent == sum(
        a.prompt_tokens * by_price[a.model][0] + a.completion_tokens * by_price[a.model][1]
        for a in upstream.invoice
    )
    assert not any(entry.is_overrun for entry in await gateway.entries())


# Clients that leave


@pytest.mark.fault("M5")
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
async def test_a_client_that_leaves_during_the_cheap_answer_pays_for_it_and_for_nothing_else(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    gateway = await make_cascade()
    upstream.answers("[0.1] Ro", "me", hold={1: asyncio.Event()})
    asking = asyncio.ensure_future(streamed(gateway, stream=is_stream))  # noqa: TID251 - cancelled below
    attempt = await upstream.attempt(0)
    while is_stream and not attempt.events_sent:
        await asyncio.sleep(0.01)

    asking.cancel()
    await asyncio.wait_for(attempt.client_closed.wait(), timeout=5)

    entries = await some_entries(gateway)
    assert outcomes(entries) == [("small", "client_gone")]
    assert entries[0].cost > 0
    assert len(upstream.attempts) == 1


@pytest.mark.fault("M5")
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
async def test_a_client_that_leaves_during_the_second_answer_pays_for_both(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers("[0.1] Rome", output_tokens=2)
    upstream.model("medium").answers("Pa", "ris", hold={0: asyncio.Event()})
    asking = asyncio.ensure_future(streamed(gateway, stream=is_stream))  # noqa: TID251 - cancelled below
    attempt = await upstream.attempt(1)

    asking.cancel()
    await asyncio.wait_for(attempt.client_closed.wait(), timeout=5)

    entries = await some_entries(gateway)
    assert outcomes(entries) == [("small", "deferred"), ("medium", "client_gone")]
    assert entries[0].cost == 2 * 1_000 + 2 * 2_000


async def some_entries(gateway: RunningGateway) -> list[Entry]:
    while not (entries := await gateway.entries()):
        await asyncio.sleep(0.01)
    return entries
