"""Cascades that are asked for again, or that nobody waits for: the cache, the Idempotency-Key, batches."""

from typing import Any

import pytest

from tests.fixtures.batch_lines import content, create, ended, line
from tests.fixtures.cascading import MakeCascade
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

BODY: dict[str, Any] = {
    "model": "auto:c",
    "messages": [{"role": "user", "content": "Hello there"}],
    "temperature": 0,
}


async def twice(gateway: RunningGateway, headers: dict[str, str], **changes: Any) -> tuple[Any, Any]:
    async with gateway.http() as http:
        replies = [
            await http.post("/v1/chat/completions", json={**BODY, **changes}, headers=headers)
            for _ in range(2)
        ]
    return replies[0], replies[1]


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("mark", "model"), [("[0.9]", "small"), ("[0.3]", "medium")])
async def test_an_answer_is_kept_under_the_model_that_gave_it(
    make_cascade: MakeCascade, upstream: ScriptedUpstream, mark: str, model: str, is_stream: bool
) -> None:
    gateway = await make_cascade()
    upstream.answers(f"{mark} Paris")

    first, second = await twice(gateway, {}, stream=is_stream)

    assert [reply.headers["x-weighbridge-cache"] for reply in (first, second)] == ["miss", "hit"]
    assert second.headers["x-weighbridge-model"] == model
    assert first.json() == second.json() if not is_stream else "Paris" in second.text
    hit = (await gateway.entries())[-1]
    assert (hit.model, hit.cost, hit.is_cache_hit) == (model, 0, True)


async def test_an_answer_that_had_to_do_is_not_kept(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers("[0.3] Rome")
    upstream.model("medium").refuses(503, times=1)
    upstream.model("medium").answers("Paris")
    upstream.model("cloud").refuses(503)

    first, second = await twice(gateway, {})

    assert first.headers["x-weighbridge-model"] == "small"
    assert (second.headers["x-weighbridge-cache"], second.headers["x-weighbridge-model"]) == (
        "miss",
        "medium",
    )


@pytest.mark.fault("M10")
async def test_a_cascade_that_is_repeated_under_its_key_is_paid_for_once(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.answers("[0.3] Rome")

    first, second = await twice(gateway, {"idempotency-key": "order-66"}, temperature=1)

    assert first.content == second.content
    assert len(upstream.attempts) == len(await gateway.entries()) == 2


async def test_a_line_of_a_batch_is_weighed_too_and_its_usage_is_what_is_billed(
    make_cascade: MakeCascade, upstream: ScriptedUpstream
) -> None:
    gateway = await make_cascade()
    upstream.model("small").answers("[0.3] Rome", output_tokens=3)
    upstream.model("medium").answers("Paris", output_tokens=1)
    client = gateway.client()

    batch = await ended(client, await create(client, line("a", model="auto:c")))

    row = (await content(client, batch.output_file_id))["a"]
    assert row["response"]["body"]["choices"][0]["message"]["content"] == "Paris"
    entries = await gateway.entries()
    assert [(entry.model, entry.outcome) for entry in entries] == [("small", "deferred"), ("medium", "ok")]
    assert batch.usage is not None
    assert batch.usage.output_tokens == 4
