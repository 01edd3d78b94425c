"""Anthropic's Messages API, as Anthropic and those who imitate it answer. Takes messages as they are, and chats, which it
translates both ways."""

import re
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from gateway.clock import Clock
from gateway.config import Upstream as UpstreamConfig
from gateway.fleet.contract import Endpoint
from gateway.upstreams.anthropic.chat import UntranslatableError, read_chat
from gateway.upstreams.anthropic.events import ChatReader, MessageReader, reported
from gateway.upstreams.anthropic.mend import mended_message
from gateway.upstreams.anthropic.reply import completion, read_reply
from gateway.upstreams.anthropic.request import message_request
from gateway.upstreams.contract import Event, Reply, UpstreamCall
from gateway.upstreams.normalise import Head
from gateway.upstreams.stream import read_stream
from gateway.upstreams.transport import Transport

_VERSION = "2023-06-01"
_PATH = "/messages"
BETAS = "anthropic_beta"
"""Where a native body holds what the caller's header of that name said."""
_TOO_LONG = re.compile(r"prompt is too long|exceed context limit")


class AnthropicUpstream:
    """One server that speaks the dialect."""

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        name: str,
        api_key: str,
        clock: Clock,
        endpoint: Endpoint | None = None,
    ) -> None:
        headers = {"anthropic-version": _VERSION}
        if api_key:
            headers["x-api-key"] = api_key
        self._transport = _Transport(
            config, name=name, api_key=api_key, headers=headers, clock=clock, endpoint=endpoint
        )
        self._clock = clock

    @property
    def name(self) -> str:
        return self._transport.name

    async def complete(self, call: UpstreamCall) -> Reply:
        is_chat, is_legacy = call.form == "chat", False
        if is_chat:
            call, is_legacy = self._translated(call)
        else:
            call = _with_betas(call)
        body = await self._transport.ask(call, _PATH)
        if isinstance(body, dict) and (error := body.get("error")):
            raise reported(self._transport, error)
        try:
            message, reply = read_reply(body)
        except (msgspec.ValidationError, RecursionError) as exc:
            what = "its reply is not what was asked for"
            raise self._transport.failure("invalid", what, may_have_charged=True) from exc
        head = self._head(call)
        if is_chat:
            told = completion(message, reply, head, is_legacy=is_legacy)
        else:
            told = mended_message(body, head)
        return msgspec.structs.replace(reply, body=told)

    def stream(self, call: UpstreamCall) -> AsyncGenerator[list[Event], None]:
        head = self._head(call)
        reader = MessageReader(self._transport, head)
        if call.form == "chat":
            call, is_legacy = self._translated(call)
            reader = ChatReader(self._transport, head, is_legacy=is_legacy)
        else:
            call = _with_betas(call)
        return read_stream(self._transport, call, _PATH, reader)

    async def probe(self, timeout_s: float) -> bool:
        return await self._transport.answers("/models", timeout_s)

    async def page(self, url: str, *, timeout_s: float, max_bytes: int) -> bytes | None:
        return await self._transport.page(url, timeout_s=timeout_s, max_bytes=max_bytes)

    async def close(self) -> None:
        await self._transport.close()

    def _translated(self, call: UpstreamCall) -> tuple[UpstreamCall, bool]:
        """And whether its caller knows functions only."""
        try:
            chat = read_chat(call.body)
            return msgspec.structs.replace(call, body=message_request(chat)), chat.is_legacy
        except UntranslatableError as exc:
            blame = {"message": str(exc), "code": "unsupported_value"}
            if exc.param is not None:
                blame["param"] = exc.param
            what = "it cannot be asked this"
            raise self._transport.failure("untranslatable", what, status=400, caller_error=blame) from exc

    def _head(self, call: UpstreamCall) -> Head:
        return Head(
            id=call.reservation.request_id.removeprefix("req_"),
            created=self._clock.now_ms() // 1000,
            model=str(call.body["model"]),
        )


def _with_betas(call: UpstreamCall) -> UpstreamCall:
    """The features not yet for everybody that the caller asked for go into the header that they came in."""
    betas = call.body.get(BETAS)
    if betas is None:
        return call
    body = {name: value for name, value in call.body.items() if name != BETAS}
    return msgspec.structs.replace(
        call, body=body, headers={**call.headers, "anthropic-beta": ",".join(betas)}
    )


class _Transport(Transport):
    def caller_error(self, body: Any) -> dict[str, Any] | None:
        """With the code by which clients know that a prompt is too long, which here only the message tells."""
        error = super().caller_error(body)
        if error is not None and _TOO_LONG.search(error["message"]):
            error["code"] = "context_length_exceeded"
        return error
