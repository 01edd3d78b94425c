"""Times what a running model server does: first tokens of short and long prompts, decoding alone and together."""

import asyncio
import random
from statistics import median
from typing import Any

import httpx
import msgspec

from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.planning.sizing.performance import Measured
from gateway.planning.units import Seconds, TokensPerSecond

_SHORT, _LONG, _DECODE = 64, 1024, 128
"""Numbers in the prompts; how many tokens they are, the server says."""
_OUTPUT = 128
_TOGETHER = 8
_ROUNDS = 3
_REQUEST_S = 300.0


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Of one streamed answer, in seconds since it was asked for."""

    prompt_tokens: int
    output_tokens: int
    first: float
    last: float

    @property
    def decoded(self) -> float:
        """Tokens per second after the first."""
        return (self.output_tokens - 1) / (self.last - self.first)


class Endpoint:
    """An OpenAI-compatible server. Every method raises ConfigError with what it did wrong."""

    def __init__(self, client: httpx.AsyncClient, model: str, clock: Clock, rng: random.Random) -> None:
        self._client = client
        self._model = model
        self._clock = clock
        self._rng = rng

    async def measured(self) -> Measured:
        # The first request may load and compile things.
        await self._answer(_SHORT, 8)
        short = [await self._answer(_SHORT, 1) for _ in range(_ROUNDS)]
        long = [await self._answer(_LONG, 1) for _ in range(_ROUNDS)]
        alone = [await self._answer(_DECODE, _OUTPUT) for _ in range(_ROUNDS)]
        _refuse_untimed(alone)
        return Measured(
            short_prompt=_median_int([each.prompt_tokens for each in short]),
            short_first_token=Seconds(median(each.first for each in short)),
            long_prompt=_median_int([each.prompt_tokens for each in long]),
            long_first_token=Seconds(median(each.first for each in long)),
            decode_prompt=_median_int([each.prompt_tokens for each in alone]),
            decode_output=_median_int([each.output_tokens for each in alone]),
            decode_alone=TokensPerSecond(median(each.decoded for each in alone)),
            decode_together=TokensPerSecond(median([await self._together() for _ in range(_ROUNDS)])),
            together=_TOGETHER,
        )

    async def _together(self) -> float:
        started = self._clock.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                answers = [group.create_task(self._answer(_DECODE, _OUTPUT)) for _ in range(_TOGETHER)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return sum(each.result().output_tokens for each in answers) / (self._clock.monotonic() - started)

    async def _answer(self, numbers: int, output: int) -> Timing:
        try:
            async with asyncio.timeout(_REQUEST_S):
                return await self._timed(self._body(numbers, output))
        except TimeoutError as exc:
            raise ConfigError(f"plan calibrate: no answer within {_REQUEST_S:.0f} s") from exc
        except httpx.HTTPError as exc:
            raise ConfigError(f"plan calibrate: {type(exc).__name__} while asking the server: {exc}") from exc
        except (msgspec.DecodeError, KeyError, TypeError, IndexError, AttributeError) as exc:
            raise ConfigError(
                "plan calibrate: the server's stream is not that of OpenAI's chat completions"
            ) from exc

    def _body(self, numbers: int, output: int) -> dict[str, Any]:
        """No two prompts begin alike, so that no prefix is found in a cache."""
        text = " ".join(str(self._rng.randrange(100, 1000)) for _ in range(numbers))
        return {
            "model": self._model,
            "messages": [{"role": "user", "content": f"{text}\nCount from 1 to 1000, separated by commas."}],
            "max_tokens": output,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            # vLLM, SGLang and llama.cpp go on to max_tokens with it.
            "ignore_eos": True,
        }

    async def _timed(self, body: dict[str, Any]) -> Timing:
        started = self._clock.monotonic()
        first = last = 0.0
        usage: dict[str, Any] | None = None
        async with self._client.stream("POST", "chat/completions", json=body) as reply:
            if reply.status_code != httpx.codes.OK:
                text = (await reply.aread()).decode(errors="replace")[:200]
                raise ConfigError(f"plan calibrate: the server answered {reply.status_code}: {text}")
            async for line in reply.aiter_lines():
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or data == "[DONE]":
                    continue
                event = msgspec.json.decode(data)
                if _has_text(event):
                    last = self._clock.monotonic() - started
                    first = first or last
                usage = event.get("usage") or usage
        if usage is None or not first:
            raise ConfigError("plan calibrate: the server reports no usage, or no text: it cannot be timed")
        return Timing(
            prompt_tokens=usage["prompt_tokens"],
            output_tokens=usage["completion_tokens"],
            first=first,
            last=last,
        )


def _refuse_untimed(answers: list[Timing]) -> None:
    shortest = min(each.output_tokens for each in answers)
    if shortest < _OUTPUT // 2:
        raise ConfigError(
            f"plan calibrate: the model stopped after {shortest} tokens of {_OUTPUT}: too few to time. Use a server"
            " that takes ignore_eos, or another model."
        )
    if any(each.last <= each.first for each in answers):
        raise ConfigError("plan calibrate: the server sends its answers in one piece: they cannot be timed")


def _has_text(event: dict[str, Any]) -> bool:
    """Of an answer, or of the thoughts before it."""
    return any(
        choice["delta"].get(field)
        for choice in event.get("choices") or ()
        for field in ("content", "reasoning_content", "reasoning")
    )


def _median_int(values: list[int]) -> int:
    return round(median(values))
