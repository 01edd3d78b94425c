"""A cascade does not pay for an answer that it could never serve: it says whom it left out, and why."""

import json
from typing import Any

import pytest

from gateway.values import Entry
from tests.fixtures.cascading import MakeCascade, MarkedDeferral
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

HELLO = [{"role": "user", "content": "Hello there"}]
TELLS = """
upstreams:
  local:
    base_url: {url}
    models:
      small: {{size: small, price: {{input: 1, output: 2}}, p_good: 0.5, abilities: [logprobs]}}
      medium: {{size: medium, price: {{input: 3, output: 6}}, p_good: 0.8, abilities: [logprobs]}}
"""

whole_and_streaming = pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])


async def ask(gateway: RunningGateway, key: str | None = None, **changes: Any) -> Any:
    body = {"model": "auto:c", "messages": HELLO, **changes}
    async with gateway.http(key) as http:
        return await http.post("/v1/chat/completions", json=body)


def outcomes(entries: list[Entry]) -> list[tuple[str, str]]:
    return [(entry.model, entry.outcome) for entry in entries]


def cost_told(reply: Any) -> str:
    told = reply.headers.get("x-weighbridge-cost-usd")
    return told or reply.text.partition(": x-weighbridge-cost-usd ")[2].partition("\n")[0]


@whole_and_streaming
async def test_the_first_that_could_do_is_asked_first_and_only_its_answer_is_paid_for(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    gateway = await make_cascade(deferral=MarkedDeferral(reach=0))
    upstream.answers("[0.9] Paris", output_tokens=1)

    reply = await ask(gateway, stream=is_stream)

    assert "Paris" in reply.text
    assert [attempt.model for attempt in upstream.attempts] == ["medium"]
    assert reply.headers["x-weighbridge-steps"] == "1"
    assert cost_told(reply) == "0.000012000"
    [entry] = await gateway.entries()
    assert (entry.model, entry.outcome, entry.cost, entry.p_good_after) == ("medium", "ok", 12_000, 0.9)


@whole_and_streaming
async def test_the_first_that_could_do_is_weighed_and_may_be_passed_over_like_any(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    gateway = await make_cascade(deferral=MarkedDeferral(reach=0))
    upstream.model("medium").answers("[0.3] Rome", output_tokens=3)
    upstream.model("cloud").answers("Paris", output_tokens=1)

    reply = await ask(gateway, stream=is_stream)

    assert "Rome" not in reply.text
    assert cost_told(reply) == f"0.{2 * 3_000 + 3 * 6_000 + 2 * 10_000 + 30_000:09d}"
    assert outcomes(await gateway.entries()) == [("medium", "deferred"), ("cloud", "ok")]


@whole_and_streaming
async def test_if_none_could_do_the_last_is_asked_at_once_and_served_unweighed(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    judge = MarkedDeferral(reach=0.01)
    gateway = await make_cascade("accept: 0.97\n  max_steps: 3", deferral=judge)
    upstream.answers("[0.1] Paris", output_tokens=1)

    reply = await ask(gateway, stream=is_stream)

    assert "Paris" in reply.text
    assert [attempt.model for attempt in upstream.attempts] == ["cloud"]
    assert judge.weighed == []
    assert cost_told(reply) == "0.000050000"
    assert "x-weighbridge-cascade" not in reply.headers
    assert outcomes(await gateway.entries()) == [("cloud", "ok")]


@whole_and_streaming
async def test_the_header_the_log_and_the_ledger_say_who_was_left_out(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    gateway = await make_cascade(deferral=MarkedDeferral(reach=0))
    upstream.answers("[0.9] Paris")

    reply = await ask(gateway, stream=is_stream)

    decision = reply.headers["x-weighbridge-decision"]
    assert decision.startswith("c: medium first, with P(good) 0.9")
    assert decision.endswith("; could not reach 0.8: small (at most 0.77)")
    [line] = [line for line in await gateway.log_lines() if line["event"] == "request.done"]
    [entry] = await gateway.entries()
    assert line["decision"] == entry.reason == decision


async def test_signs_that_could_bring_it_there_are_reason_enough_to_try(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade(deferral=MarkedDeferral(reach=0.05))
    upstream.answers("[0.81] Paris")

    assert (await ask(gateway)).headers["x-weighbridge-model"] == "small"


async def test_it_is_the_tenants_own_promise_that_counts(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    judge = MarkedDeferral(reach=0.3)
    gateway = await make_cascade(deferral=judge)
    upstream.answers("[0.9] no", output_tokens=1)
    other = await gateway.new_key("other", "paid")
    asked = [await ask(gateway) for _ in range(30)]
    await gateway.app.catch_up()
    lines = [{"request_id": reply.headers["x-request-id"], "value": 0.0} for reply in asked]
    async with gateway.admin() as admin:
        await admin.post("/admin/outcomes", json=lines)
    assert gateway.app.learning is not None
    await gateway.app.learning.refresh()
    judge.hoped.clear()

    theirs, others = await ask(gateway), await ask(gateway, other)

    assert {reply.headers["x-weighbridge-model"] for reply in asked} == {"small"}
    assert "small (at most 0." in theirs.headers["x-weighbridge-decision"]
    assert theirs.headers["x-weighbridge-model"] != "small"
    assert others.headers["x-weighbridge-model"] == "small"
    (bent, *_), _, (plain, *_), _ = judge.hoped
    assert bent < 0.5 < plain


@pytest.mark.parametrize(
    ("small", "objective", "changes", "is_told"),
    [
        ("logprobs", "accept: 0.8", {}, True),
        ("logprobs", "logprobs: false", {}, False),
        ("logprobs", "logprobs: false", {"logprobs": True}, True),
        ("tools", "accept: 0.8", {}, False),
    ],
)
async def test_log_probabilities_count_where_the_answer_will_hold_them(
    make_cascade: MakeCascade,
    upstream: ScriptedUpstream,
    small: str,
    objective: str,
    changes: dict[str, Any],
    is_told: bool,
) -> None:
    judge = MarkedDeferral()
    upstreams = TELLS.replace("[logprobs]", f"[{small}]", 1).format(url=upstream.url)
    gateway = await make_cascade(objective, upstreams=upstreams, deferral=judge)
    upstream.answers("[0.9] Paris")

    await ask(gateway, **changes)

    assert [has_logprobs for _, has_logprobs, _ in judge.hoped] == [is_told]


async def test_log_probabilities_that_an_upstream_has_refused_to_tell_do_not_count_any_more(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    judge = MarkedDeferral()
    gateway = await make_cascade(upstreams=TELLS.format(url=upstream.url), deferral=judge)
    upstream.refuses(400, message="You are not allowed to request logprobs from this model.", times=1)
    upstream.answers("[0.9] Paris")

    for _ in range(2):
        await ask(gateway)

    assert [has_logprobs for _, has_logprobs, _ in judge.hoped] == [True, False]


@pytest.mark.parametrize(("second", "of"), [("false", None), ("same", "small"), ("medium", "medium")])
async def test_a_second_answer_counts_with_what_whoever_gives_it_promises(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, second: str, of: str | None
) -> None:
    judge = MarkedDeferral()
    gateway = await make_cascade(f"second_sample: {second}\n  max_steps: 3", deferral=judge)
    upstream.answers("[0.9] Paris")

    await ask(gateway)

    (small, _, of_small), (medium, _, _) = judge.hoped
    assert of_small == {None: None, "small": small, "medium": medium}[of]


class _Broken(MarkedDeferral):
    def __init__(self, ceiling: float | None) -> None:
        super().__init__()
        self._ceiling = ceiling

    def ceiling(self, *_: object, **__: object) -> float:
        if self._ceiling is None:
            raise RuntimeError("boom")
        return self._ceiling


@pytest.mark.parametrize("ceiling", [None, float("nan"), 1.5])
async def test_a_judge_that_cannot_tell_leaves_nobody_out_and_is_counted(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, ceiling: float | None
) -> None:
    gateway = await make_cascade(deferral=_Broken(ceiling))
    upstream.answers("[0.9] Paris")

    reply = await ask(gateway)

    assert reply.headers["x-weighbridge-model"] == "small"
    assert 'weighbridge_degraded_total{part="deferral"}' in gateway.app.metrics.render().decode()


@whole_and_streaming
async def test_who_was_left_out_stands_in_when_the_others_fail(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    gateway = await make_cascade(deferral=MarkedDeferral(reach=0))
    upstream.model("small").answers("Paris", output_tokens=1)
    upstream.model("medium").refuses(503)
    upstream.model("cloud").refuses(503)

    reply = await ask(gateway, stream=is_stream)

    assert "Paris" in reply.text
    assert [attempt.model for attempt in upstream.attempts] == ["medium", "cloud", "small"]
    assert [entry.cost for entry in await gateway.entries()] == [2 * 1_000 + 2_000]


@pytest.mark.fault("M1")
@pytest.mark.parametrize(
    ("room", "asked"), [("both", "medium cloud"), ("dear", "medium"), ("cheap", "small")]
)
async def test_a_short_budget_shortens_what_is_left_and_refuses_nothing(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, room: str, asked: str
) -> None:
    gateway = await make_cascade("accept: 0.8", deferral=MarkedDeferral(reach=0))
    upstream.answers("[0.3] Rome", output_tokens=1)
    body = json.dumps({"model": "auto:c", "messages": HELLO, "max_tokens": 100}, separators=(",", ":"))
    medium, cloud = (len(body) * price[0] + 100 * price[1] for price in ((3_000, 6_000), (10_000, 30_000)))
    budget = {"both": medium + cloud, "dear": cloud - 1, "cheap": medium - 1}[room]
    key = await gateway.new_key("poor", "vip", budget_per_month=budget)

    async with gateway.http(key) as http:
        reply = await http.post(
            "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
        )

    assert reply.status_code == 200
    assert [attempt.model for attempt in upstream.attempts] == asked.split()
    assert sum(entry.cost for entry in await gateway.entries()) <= budget
