"""Errors, retries, timeouts and headers, as the SDK meets them."""

import asyncio
from typing import Any

import openai

from tests.clients.cases import BASE_URL, setting
from tests.clients.openai_python.start import MODEL, ask, async_client, cases, client, raised, said, user


@cases.case("errors: 400 names the field")
def _() -> None:
    error = raised(openai.BadRequestError, lambda: ask("Hello", temperature=7))

    assert error.type == "invalid_request_error"
    assert error.param == "temperature"
    assert error.response.headers["x-request-id"]


@cases.case("errors: 400 for a role that does not exist")
def _() -> None:
    messages: Any = [{"role": "wizard", "content": "Hello"}]

    raised(openai.BadRequestError, lambda: client.chat.completions.create(model=MODEL, messages=messages))


@cases.case("errors: 400 for JSON that is none")
def _() -> None:
    reply = client._client.post(
        f"{BASE_URL}/chat/completions",
        content=b'{"model": ',
        headers={"authorization": f"Bearer {client.api_key}", "content-type": "application/json"},
    )

    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


@cases.case("errors: 401 for a wrong key")
def _() -> None:
    error = raised(
        openai.AuthenticationError,
        lambda: client.with_options(api_key="sk-wrong").chat.completions.create(
            model=MODEL, messages=user("Hello")
        ),
    )

    assert error.code == "invalid_api_key"


@cases.case("errors: 404 for a model that does not exist")
def _() -> None:
    error = raised(openai.NotFoundError, lambda: ask("Hello", "no-such-model"))

    assert error.code == "model_not_found"


@cases.case("errors: 404 in a stream is an error before the stream")
def _() -> None:
    raised(openai.NotFoundError, lambda: list(ask("Hello", "no-such-model", stream=True)))


@cases.case("errors: 404 for a route that does not exist")
def _() -> None:
    raised(openai.NotFoundError, lambda: client.get("/no/such/route", cast_to=object))


@cases.case("errors: 404 for what nothing was stored of")
def _() -> None:
    raised(openai.NotFoundError, lambda: client.chat.completions.retrieve("chatcmpl-1"))
    raised(openai.NotFoundError, lambda: client.responses.retrieve("resp_1"))
    raised(openai.NotFoundError, lambda: client.responses.delete("resp_1"))
    raised(openai.NotFoundError, lambda: client.files.retrieve("file-1"))
    raised(openai.NotFoundError, lambda: client.batches.retrieve("batch_1"))


@cases.case("errors: 429 when a limit is reached, with the time to wait")
def _() -> None:
    limited = client.with_options(api_key=setting("LIMITED_API_KEY") or client.api_key)
    mark = "" if setting("LIMITED_API_KEY") else "[refuse 429] "

    def twice() -> None:
        for _ in range(2):
            limited.chat.completions.create(model=MODEL, messages=user(f"{mark}Hello"))

    error = raised(openai.RateLimitError, twice)

    assert error.code == "rate_limit_exceeded"
    assert float(error.response.headers["retry-after"]) > 0


@cases.case("errors: a provider that fails is not the caller's fault")
def _() -> None:
    for status in (500, 503):
        error = raised(openai.InternalServerError, lambda status=status: ask(f"[refuse {status}] Hello"))

        assert error.status_code >= 500


@cases.case("errors: the provider's 401 is not the caller's")
def _() -> None:
    raised(openai.InternalServerError, lambda: ask("[refuse 401] Hello"))


@cases.case("retries: the SDK tries again after a 503, and is served")
def _() -> None:
    reply = client.with_options(max_retries=2).chat.completions.create(
        model=MODEL, messages=user("[refuse 503 x1 openai-python] Hello")
    )

    assert said(reply).endswith("Hello")


@cases.case("retries: the SDK tries again after a 503 in a stream, async")
async def _() -> None:
    async with async_client() as client:
        stream = await client.with_options(max_retries=2).chat.completions.create(
            model=MODEL, messages=user("[refuse 503 x1 openai-python-stream] Hello"), stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert text.endswith("Hello")


@cases.case("timeouts: the SDK gives up, and the next request is served")
def _() -> None:
    hasty = client.with_options(timeout=0.2)

    raised(
        openai.APITimeoutError,
        lambda: hasty.chat.completions.create(model=MODEL, messages=user("[wait 0.6] Hello")),
    )
    assert said(ask("Still there?")) == "You said: Still there?"


@cases.case("headers: those of an organisation, a beta or the app itself do no harm")
def _() -> None:
    headers = {"OpenAI-Organization": "org-1", "OpenAI-Project": "p", "OpenAI-Beta": "x=v1", "X-App": "a"}

    assert said(ask("Hello", extra_headers=headers, extra_query={"app": "1"})) == "You said: Hello"


@cases.case("headers: request id, and the time it took")
def _() -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=user("Hello"))

    assert raw.headers["x-request-id"]
    assert raw.request_id == raw.headers["x-request-id"]
    assert float(raw.headers["openai-processing-ms"]) >= 0
    assert said(raw.parse()) == "You said: Hello"


@cases.case("headers: what is left of the limits")
def _() -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=user("Hello"))

    for what in ("requests", "tokens"):
        limit = int(raw.headers[f"x-ratelimit-limit-{what}"])
        assert 0 <= int(raw.headers[f"x-ratelimit-remaining-{what}"]) <= limit
        assert raw.headers[f"x-ratelimit-reset-{what}"]


@cases.case("headers: of a stream")
def _() -> None:
    with client.chat.completions.with_streaming_response.create(
        model=MODEL, messages=user("Hello"), stream=True
    ) as raw:
        assert raw.headers["x-request-id"]
        assert raw.headers["content-type"].startswith("text/event-stream")
        lines = list(raw.iter_lines())

    assert lines[-1] == "data: [DONE]" or lines[-2] == "data: [DONE]"


@cases.case("idempotency: the same key gives the same reply, and another body is refused")
def _() -> None:
    headers = {"Idempotency-Key": "openai-python-1"}
    first = ask("Hello", extra_headers=headers)

    again = ask("Hello", extra_headers=headers)
    error = raised(openai.BadRequestError, lambda: ask("Bye", extra_headers=headers))

    assert again == first
    assert error.code == "idempotency_key_mismatch"


@cases.case("context: a prompt that is too long is refused as such")
def _() -> None:
    model = setting("COMPLETION_MODEL") or MODEL

    error = raised(
        openai.BadRequestError, lambda: client.completions.create(model=model, prompt="word " * 20_000)
    )

    assert error.code == "context_length_exceeded"


@cases.case("connections: one client serves many requests at once")
async def _() -> None:
    async with async_client() as client, asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(client.chat.completions.create(model=MODEL, messages=user(f"Number {number}")))
            for number in range(20)
        ]

    assert [said(task.result()) for task in asked] == [f"You said: Number {n}" for n in range(20)]
