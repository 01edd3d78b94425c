"""Stage 7: what an attempt used. The upstream's own count where it has one, else ours, marked so."""

from collections.abc import Callable
from typing import Any

import anyio.to_thread
import msgspec

from gateway.attempt import Attempt
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Endpoint, Request
from gateway.upstreams.contract import Aside, Event, Reply
from gateway.values import PASSED_OVER, Entry, Usage, UsageSource

CountTokens = Callable[[str], int]
_LONG_CHARS = 50_000
"""From here on counting takes more than half a millisecond and moves to a thread."""


_NOT_TEXT = frozenset({"image_url", "input_audio", "file", "video_url", "type", "role", "id"})
_READ = ("tools", "messages", "input")
_COUNTED = frozenset({"chat", "completions", "embeddings"})
"""Forms in which a reply tells its usage."""
_STREAMED = frozenset({"chat", "completions"})
"""Those of them in which it may come as a stream."""


class Meter:
    def __init__(self, count: CountTokens, metrics: Metrics) -> None:
        self._count = count
        self._metrics = metrics

    async def __call__(self, request: Request, attempt: Attempt) -> Usage:
        usage = await self._tokens(request, attempt)
        return usage if attempt.aside is None else _with_engine_time(usage, attempt, attempt.aside)

    async def _tokens(self, request: Request, attempt: Attempt) -> Usage:
        reported = attempt.usage
        if reported is not None and not reported.is_suspect:
            return reported
        if request.kind != "moderation":  # of those no upstream reports any
            self._metrics.degraded("usage")
        prompt, answer = prompt_text(request.body), "".join(attempt.text)
        if len(prompt) + len(answer) > _LONG_CHARS:
            counted = await anyio.to_thread.run_sync(self._both, prompt, answer)
        else:
            counted = self._both(prompt, answer)
        counted = (counted[0] + _sent_as_tokens(request), counted[1])
        if reported is not None:
            # It contradicts itself. Nobody gets it for less than what can be counted.
            return msgspec.structs.replace(
                reported,
                input=max(reported.input, counted[0] - (reported.prompt - reported.input)),
                output=max(reported.output, counted[1] - reported.reasoning),
            )
        source: UsageSource = "counted" if _is_whole(attempt) else "estimated"
        return Usage(input=counted[0], output=counted[1], source=source)

    def _both(self, prompt: str, answer: str) -> tuple[int, int]:
        return self._count(prompt), self._count(answer)


def _with_engine_time(usage: Usage, attempt: Attempt, aside: Aside) -> Usage:
    """As the worker told it. If it did not, and its time has a price, by the tokens, and no more than the time that went
    by."""
    told = attempt.engine_us
    if told is not None:
        return msgspec.structs.replace(usage, engine_us=told)
    guess = attempt.estimated_engine_us(read=usage.prompt, written=usage.output + usage.reasoning)
    return msgspec.structs.replace(
        usage,
        engine_us=min(guess, attempt.wall_us),
        source="estimated" if attempt.terms.price.engine_hour else usage.source,
        is_suspect=usage.is_suspect or bool(aside.engine_seconds),
    )


def _is_whole(attempt: Attempt) -> bool:
    """One that was passed over may have been broken off for it."""
    return attempt.outcome == "ok" or (attempt.outcome in PASSED_OVER and bool(attempt.finish_reasons))


def with_usage(reply: Reply, form: Endpoint, served: Entry) -> dict[str, Any]:
    """The reply's body. Where the upstream counted nothing it tells what was counted here, as it is billed."""
    if reply.usage is not None or form not in _COUNTED:
        return reply.body
    usage = _as_counted(served)
    if form == "embeddings":
        del usage["completion_tokens"]
    return {**reply.body, "usage": usage}


def usage_event(attempt: Attempt, served: Entry) -> Event | None:
    """The event that tells what a stream used, where the upstream told nothing: as it was counted here, and is billed."""
    if attempt.usage is not None or attempt.form not in _STREAMED:
        return None
    last = msgspec.json.decode(attempt.last, type=_Head) if attempt.last else _Head()
    chunk = {
        **{name: value for name, value in msgspec.structs.asdict(last).items() if value is not None},
        "choices": [],
        "usage": _as_counted(served),
    }
    return Event(data=msgspec.json.encode(chunk), usage=served.usage, is_usage_only=True)


def _as_counted(served: Entry) -> dict[str, int]:
    read, written = served.input_tokens, served.output_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


class _Head(msgspec.Struct):
    """What all chunks of a stream have in common."""

    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None


def _sent_as_tokens(request: Request) -> int:
    if request.endpoint == "completions":
        return token_ids((request.native or {}).get("prompt"))
    return token_ids(request.body.get("input"))


def token_ids(value: Any) -> int:
    """How many tokens an input holds that was sent as numbers."""
    if isinstance(value, list):
        return sum(1 if type(item) is int else token_ids(item) for item in value)
    return 0


def prompt_text(value: Any) -> str:
    """All text that a model would read in a request's messages and tools, or in the input of another kind."""
    pieces: list[str] = []
    todo = [value.get(field) for field in _READ] if isinstance(value, dict) else [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            pieces.append(item)
        elif isinstance(item, dict):
            # Images and audio are not text; what they cost only the upstream knows.
            todo.extend(v for k, v in item.items() if k not in _NOT_TEXT)
        elif isinstance(item, list):
            todo.extend(item)
    return "\n".join(pieces)
