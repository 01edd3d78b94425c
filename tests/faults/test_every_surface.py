"""What holds for chat completions holds on every surface, streamed or not, over upstreams of both dialects."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import product
from typing import Any

import httpx
import pytest

from gateway.limits.contract import Ask, Scope
from gateway.upstreams.contract import Event, Reply, UpstreamCall
from gateway.values import Entry, Limits, NanoUSD, cost
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

UPSTREAMS = """
upstreams:
  openai:
    base_url: {url}
    is_breaker_enabled: false
    on_disconnect: {on_disconnect}
    drain_s: 5
    models: {{openai: {{size: small, price: &price {{input: 1, cached_input: 0.5, output: 2, cache_write: 1.25}}}}}}
  anthropic:
    base_url: {url}
    dialect: anthropic
    is_breaker_enabled: false
    on_disconnect: {on_disconnect}
    drain_s: 5
    models: {{anthropic: {{size: small, price: *price}}}}
  others:
    base_url: {url}
    models:
      e: {{kind: embedding, size: small, price: {{input: 1, output: 0}}}}
      j: {{kind: moderation, size: small, price: {{input: 1, output: 0}}}}
"""
BUDGET = 1_000_000_000
HELLO = [{"role": "user", "content": "Hello there"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/completions": {"prompt": "Hello there"},
    "/v1/responses": {"input": "Hello there"},
    "/v1/messages": {"max_tokens": 50, "messages": HELLO},
}
ENDS = {
    "/v1/chat/completions": "data: [DONE]",
    "/v1/completions": "data: [DONE]",
    "/v1/responses": "event: response.completed",
    "/v1/messages": "event: message_stop",
}
ERRORS = {
    "/v1/chat/completions": '"code":"upstream_stream_interrupted"',
    "/v1/completions": '"code":"upstream_stream_interrupted"',
    "/v1/responses": "event: response.failed",
    "/v1/messages": "event: error",
}
DIALECTS = ("openai", "anthropic")
WAYS = list(product(DIALECTS, (False, True)))
"""Of an upstream's dialect, and of being answered: whole, or as a stream."""

each_surface = pytest.mark.parametrize("path", BODIES)


class Served:
    """A tenant with a budget, in front of an upstream that speaks both dialects."""

    def __init__(self, gateway: RunningGateway, upstream: ScriptedUpstream, http: httpx.AsyncClient) -> None:
        self._gateway = gateway
        self._upstream = upstream
        self._http = http
        self._seen = 0

    async def ask(self, path: str, model: str, *, is_stream: bool = False, **changes: Any) -> httpx.Response:
        return await self._http.post(path, json={**self._body(path, model, is_stream), **changes})

    async def leave(self, path: str, model: str, *, after: int) -> None:
        """Hang up when so many words have been read."""
        words = 0
        async with self._http.stream("POST", path, json=self._body(path, model, True)) as reply:
            async for line in reply.aiter_lines():
                words += "word" in line and ("delta" in line or '"text"' in line)
                if words >= after:
                    return

    async def entry(self) -> Entry:
        """That of the latest request, which has one."""
        async with asyncio.timeout(10):
            while len(entries := await self._gateway.entries()) <= self._seen:
                await asyncio.sleep(0.005)
        self._seen += 1
        [entry] = entries[self._seen - 1 :]
        return entry

    def bill(self) -> NanoUSD:
        """The provider's own, for its latest attempt."""
        attempt = self._upstream.attempts[-1]
        price = self._gateway.app.prices.current("openai/openai")
        return cost(attempt.usage, price) if attempt.is_billed else 0

    async def held(self) -> NanoUSD:
        """What is neither free nor in the ledger."""
        free = BUDGET - sum(entry.cost for entry in await self._gateway.entries())
        scope = Scope(kind="tenant", id="saver", limits=Limits(budget_per_month=BUDGET))
        ask = Ask(request_id="probe", tenant="saver", scopes=(scope,), amounts=(free, 0), tokens=0, ttl_s=60)
        grant = await self._gateway.app.limiter.reserve(ask)
        return free - grant.amount  # type: ignore[union-attr]  # 0 always fits, so it is a grant

    @staticmethod
    def _body(path: str, model: str, is_stream: bool) -> dict[str, Any]:
        return {"model": model, **BODIES[path], "stream": is_stream}


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def make(on_disconnect: str = "cancel") -> Served:
            gateway = await make_gateway(UPSTREAMS.format(url=upstream.url, on_disconnect=on_disconnect))
            key = await gateway.new_key("saver", "vip", budget_per_month=BUDGET)
            return Served(gateway, upstream, await stack.enter_async_context(gateway.http(key)))

        yield make


@pytest.mark.fault("M24")
@each_surface
async def test_what_a_tenant_pays_is_what_the_upstream_bills(
    serve: Serve, upstream: ScriptedUpstream, path: str
) -> None:
    served = await serve()
    upstream.answers("Pa", "ris", output_tokens=7, cached_tokens=3, written_tokens=5)

    for model, is_stream in WAYS:
        reply = await served.ask(path, model, is_stream=is_stream)

        assert reply.status_code == 200, reply.text
        assert not is_stream or reply.text.count(ENDS[path]) == 1
        entry = await served.entry()
        assert (entry.outcome, entry.usage_source, entry.suspense) == ("ok", "reported", 0)
        assert entry.cost == served.bill() > 0
        assert isinstance(upstream.attempts[-1].body["max_tokens"], int)  # what was held bounds what is spent
    assert await served.held() == 0


@pytest.mark.fault("M5")
@each_surface
@pytest.mark.parametrize("after", [0, 1, 5, 8])
async def test_a_client_that_hangs_up_pays_what_a_drained_upstream_bills(
    serve: Serve, upstream: ScriptedUpstream, path: str, after: int
) -> None:
    served = await serve(on_disconnect="drain")

    for model in DIALECTS:
        gate = asyncio.Event()
        upstream.answers(*["word "] * 8, hold={after: gate} if after else None, bills_whole=True)
        await served.leave(path, model, after=after)
        gate.set()

        entry = await served.entry()
        assert (entry.usage_source, entry.cost) == ("reported", served.bill()), model
    assert await served.held() == 0


@pytest.mark.fault("M5")
@each_surface
async def test_a_client_that_hangs_up_stops_a_local_upstream_and_pays_for_what_it_wrote(
    serve: Serve, upstream: ScriptedUpstream, path: str
) -> None:
    served = await serve(on_disconnect="cancel")
    upstream.answers(*["word "] * 8, hold={5: asyncio.Event()})

    for model in DIALECTS:
        await served.leave(path, model, after=3)

        await asyncio.wait_for(upstream.attempts[-1].client_closed.wait(), timeout=5)
        entry = await served.entry()
        assert (entry.outcome, entry.usage_source) == ("client_gone", "estimated"), model
        assert entry.cost + entry.suspense >= served.bill() > 0
        assert entry.cost > 0
    assert await served.held() == 0


@pytest.mark.fault("M7")
@pytest.mark.fault("M8")
@each_surface
async def test_an_upstream_that_breaks_off_is_told_once_and_asked_once(
    serve: Serve, upstream: ScriptedUpstream, path: str
) -> None:
    served = await serve()
    hows: list[Any] = ["reset", "close", "mid_chunk", "mid_character", "no_done"]

    for number, (model, how) in enumerate(product(DIALECTS, hows), start=1):
        upstream.breaks_off(how, after=3)
        reply = await served.ask(path, model, is_stream=True)

        assert reply.status_code == 200, (model, how, reply.text)
        assert ENDS[path] not in reply.text
        assert reply.text.count(ERRORS[path]) == 1
        entry = await served.entry()
        assert entry.outcome == "interrupted"
        assert 0 < served.bill() <= entry.cost + entry.suspense
        assert len(upstream.attempts) == number
    assert await served.held() == 0


@pytest.mark.fault("M10")
@each_surface
async def test_after_a_failure_that_was_charged_no_client_is_to_try_again(
    serve: Serve, upstream: ScriptedUpstream, path: str
) -> None:
    served = await serve()
    upstream.refuses(500, prompt_tokens=2, output_tokens=3)

    for model, is_stream in WAYS:
        reply = await served.ask(path, model, is_stream=is_stream)

        assert (reply.status_code, reply.headers["x-should-retry"]) == (502, "false")
        entry = await served.entry()
        assert (entry.outcome, entry.cost) == ("failed", 0)
        assert entry.suspense >= served.bill() > 0
    assert await served.held() == 0


LIES: list[Any] = [
    None,
    {},
    {"prompt_tokens": -5, "completion_tokens": 1, "input_tokens": -5, "output_tokens": 1},
    {"prompt_tokens": 1.5, "completion_tokens": "9", "input_tokens": 1.5, "output_tokens": "9"},
    {"prompt_tokens": 2**41, "completion_tokens": 1, "input_tokens": 2**41, "output_tokens": 1},
    '"many"',
    "[[[[]]]]",
]
NUMBERS = ['{"prompt_tokens": 1e400, "input_tokens": 1e400}', f'{{"completion_tokens": {"9" * 5000}}}']
"""A whole reply with one of these is no JSON to us; in a stream it spoils only itself."""


@pytest.mark.fault("M22")
@pytest.mark.fault("M33")
@each_surface
async def test_usage_that_is_missing_or_nonsense_is_counted_here(
    serve: Serve, upstream: ScriptedUpstream, path: str
) -> None:
    served = await serve()

    for model, is_stream in WAYS:
        for usage in [*LIES, *NUMBERS] if is_stream else LIES:
            upstream.sends_usage(usage, "Paris is ", "the capital")
            reply = await served.ask(path, model, is_stream=is_stream)

            assert reply.status_code == 200, (model, usage, reply.text)
            assert not is_stream or reply.text.count(ENDS[path]) == 1
            entry = await served.entry()
            assert entry.usage_source == "counted", (model, is_stream, usage)
            assert entry.cost >= 2 * 1_000 + 4 * 2_000
    assert await served.held() == 0


BAD_REPLIES: dict[str, tuple[int, bytes, dict[str, Any]]] = {
    "a wrong key": (401, b'{"error": {"message": "Incorrect API key provided: sk-secret"}}', {}),
    "forbidden": (403, b'{"error": {"message": "sk-secret"}}', {}),
    "a page": (200, b"<html>secret</html>", {"content_type": "text/html"}),
    "a page of an error": (502, b"<html>secret</html>", {"content_type": "text/html"}),
    "a redirect": (307, b"", {"location": "http://127.0.0.1:1/secret"}),
    "a cookie": (200, b"{}", {"set_cookie": "secret=1", "x_secret": "secret"}),
    "gzip": (200, b"\x1f\x8b secret", {"content_encoding": "gzip"}),
    "not a number": (200, b'{"choices": NaN, "content": NaN}', {}),
    "deep": (200, b'{"choices":' * 5000 + b"1" + b"}" * 5000, {}),
    "half a character": (200, b'{"choices": "\\ud800"}', {}),
    "nothing": (200, b"", {}),
    "no answer": (204, b"", {}),
}


@pytest.mark.fault("A10")
@pytest.mark.fault("A12")
@pytest.mark.fault("C12")
@pytest.mark.fault("S6")
@each_surface
async def test_an_upstreams_trouble_is_neither_the_callers_nor_a_fault_of_ours(
    serve: Serve, upstream: ScriptedUpstream, path: str
) -> None:
    served = await serve()

    for (model, is_stream), what in product(WAYS, BAD_REPLIES):
        status, raw, headers = BAD_REPLIES[what]
        upstream.replies(status, raw, **headers)
        reply = await served.ask(path, model, is_stream=is_stream)

        assert reply.status_code == 502, (model, is_stream, what, reply.text)
        assert "secret" not in f"{reply.text}{reply.headers}"
        assert "set-cookie" not in reply.headers
        assert "127.0.0.1" not in reply.text
        error = reply.json()["error"]
        attempts = error.get("attempts") or error["details"]["attempts"]
        assert [attempt["model"] for attempt in attempts] == [model]
    assert await served.held() == 0


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"x": NaN}', marks=pytest.mark.fault("C1")),
        pytest.param(b'{"x": 1e999}', marks=pytest.mark.fault("C1")),
        pytest.param(b'{"x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", marks=pytest.mark.fault("C2")),
        pytest.param(b'{"x": "\\ud800"}', marks=pytest.mark.fault("C4")),
        pytest.param(b"\xef\xbb\xbf{}", marks=pytest.mark.fault("C4")),
        pytest.param(b'{"x": "\xff"}', marks=pytest.mark.fault("C4")),
        pytest.param(b'{"x": ' + b"9" * 5000 + b"}", marks=pytest.mark.fault("C7")),
    ],
    ids=["nan", "1e999", "deep", "surrogate", "bom", "utf8", "digits"],
)
async def test_every_surface_refuses_what_is_no_json(gateway: RunningGateway, raw: bytes) -> None:
    paths = [*BODIES, "/v1/embeddings", "/v1/moderations", "/v1/messages/count_tokens", "/v1/batches"]

    async with gateway.http() as http:
        for path in paths:
            reply = await http.post(path, content=raw, headers={"content-type": "application/json"})

            error = reply.json()["error"]
            code = error["details"]["error_code"] if "details" in error else error["code"]
            assert (path, reply.status_code, code) == (path, 400, "invalid_json")


@pytest.mark.fault("M33")
async def test_vectors_and_verdicts_are_counted_where_nobody_else_does(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(UPSTREAMS.format(url=upstream.url, on_disconnect="cancel"))
    upstream.model("e").embeds(reports_usage=False)
    upstream.model("j").moderates()

    async with gateway.http() as http:
        await http.post("/v1/embeddings", json={"model": "e", "input": "Hello there"})
        await http.post("/v1/moderations", json={"input": "Hello there"})

    bills = [cost(attempt.usage, gateway.app.prices.current("others/e")) for attempt in upstream.invoice]
    entries = await gateway.entries()
    assert [(entry.usage_source, entry.cost) for entry in entries] == [("counted", bill) for bill in bills]


def code_of(reply: httpx.Response) -> str:
    error = reply.json()["error"]
    return str(error["details"]["error_code"] if "details" in error else error["code"])


@each_surface
@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        pytest.param("nope", 404, "model_not_found", marks=pytest.mark.fault("C8")),
        pytest.param("../../admin", 404, "model_not_found", marks=pytest.mark.fault("A11")),
        pytest.param("openai", 400, "context_length_exceeded", marks=pytest.mark.fault("C9")),
    ],
    ids=["unknown", "a path", "too long"],
)
async def test_what_nobody_can_answer_is_refused_before_anything_is_sent(
    serve: Serve, upstream: ScriptedUpstream, path: str, model: str, status: int, code: str
) -> None:
    served = await serve()
    prompt = "x " * 20_000
    long: dict[str, Any] = {
        "input": prompt,
        "prompt": prompt,
        "messages": [{"role": "user", "content": prompt}],
    }

    reply = await served.ask(path, model, **{name: long[name] for name in long if name in BODIES[path]})

    assert (reply.status_code, code_of(reply)) == (status, code)
    assert upstream.attempts == []
    assert await served.held() == 0


@pytest.mark.fault("C14")
@each_surface
async def test_a_429_tells_for_how_long_and_money_from_haste(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, path: str
) -> None:
    gateway = await make_gateway(UPSTREAMS.format(url=upstream.url, on_disconnect="cancel"))
    hasty = await gateway.new_key("hasty", "paid", requests_per_minute=1)
    poor = await gateway.new_key("poor", "paid", budget_per_month=0)
    body = {"model": "openai", **BODIES[path]}

    async with gateway.http(hasty) as http:
        await http.post(path, json=body)
        rate = await http.post(path, json=body)
    async with gateway.http(poor) as http:
        budget = await http.post(path, json=body)

    assert (rate.status_code, code_of(rate)) == (429, "rate_limit_exceeded")
    assert rate.headers["x-should-retry"] == "true"
    assert rate.headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < int(rate.headers["retry-after-ms"]) <= 61_000  # whole seconds are counted
    assert int(rate.headers["retry-after"]) == -(-int(rate.headers["retry-after-ms"]) // 1000)
    assert (budget.status_code, code_of(budget)) == (429, "insufficient_quota")
    assert budget.headers["x-should-retry"] == "false"


class _Faulty:
    """An upstream's adapter with a bug, which shows at once or after an event."""

    name = "openai"

    async def complete(self, call: UpstreamCall) -> Reply:
        raise KeyError("secret")

    async def stream(self, call: UpstreamCall) -> AsyncIterator[list[Event]]:
        chunk = (
            b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
            b'{"role":"assistant","content":"Pa"},"logprobs":null,"finish_reason":null}]}'
        )
        yield [Event(data=chunk, text="Pa")]
        raise KeyError("secret")

    async def close(self) -> None:
        pass


@pytest.mark.fault("C11")
@each_surface
async def test_a_fault_of_ours_ends_in_an_error_without_a_trace_of_why(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, path: str
) -> None:
    gateway = await make_gateway(UPSTREAMS.format(url=upstream.url, on_disconnect="cancel"))
    gateway.app.pool.member("openai").endpoints[0].client = _Faulty()  # type: ignore[assignment]
    body = {"model": "openai", **BODIES[path]}

    async with gateway.http() as http:
        whole = await http.post(path, json=body)
        stream = await http.post(path, json={**body, "stream": True})

    assert (whole.status_code, code_of(whole)) == (500, "internal_error")
    assert whole.headers["x-request-id"] in str(await gateway.log_lines())
    assert stream.status_code == 200
    assert "Pa" in stream.text
    assert ENDS[path] not in stream.text
    assert "internal_error" in stream.text
    assert "secret" not in whole.text + stream.text
