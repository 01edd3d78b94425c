"""The OpenAI dialect, as OpenAI and the many servers that imitate it answer: chat and legacy completions, embeddings,
moderations."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import anyio.to_thread
import msgspec

from gateway.clock import Clock
from gateway.config import Upstream as UpstreamConfig
from gateway.fleet.contract import Endpoint
from gateway.ticket import Endpoint as Form
from gateway.upstreams.chunks import Chunks, ReportedError
from gateway.upstreams.contract import Event, Reply, UpstreamCall, UpstreamError
from gateway.upstreams.generated import message_text
from gateway.upstreams.normalise import Head, mend_whole
from gateway.upstreams.stream import Heard, read_stream
from gateway.upstreams.transport import BLAMES_REQUEST, NOT_JSON, Transport
from gateway.upstreams.usage import read_usage
from gateway.upstreams.vectors import VectorsError, read_vectors
from gateway.values import Usage

_PATHS: dict[Form, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "moderations": "/moderations",
}
_ANSWERS_AT: dict[Form, str] = {
    "chat": "choices",
    "completions": "choices",
    "embeddings": "data",
    "moderations": "results",
}
_GENERATED = frozenset({"chat", "completions"})
_VECTORS_FACTOR = 4
"""Vectors are long: 2,048 of 1,536 dimensions are 17 MB in base64 and 67 MB as numbers."""
_LONG_BYTES = 262_144
"""From here on reading vectors takes some milliseconds, up to 14 for each megabyte, and moves to a thread."""


class OpenAIUpstream:
    """One server that speaks the OpenAI dialect."""

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        name: str,
        api_key: str,
        clock: Clock,
        endpoint: Endpoint | None = None,
    ) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._transport = Transport(
            config, name=name, api_key=api_key, headers=headers, clock=clock, endpoint=endpoint
        )
        self._clock = clock

    @property
    def name(self) -> str:
        return self._transport.name

    async def complete(self, call: UpstreamCall) -> Reply:
        if call.form == "embeddings":
            return await self._embed(call)
        body = await self._transport.ask(call, _PATHS[call.form])
        if isinstance(body, dict) and body.get("error"):
            raise _reported(self._transport, body["error"])
        try:
            answers, text = _answers(body, call.form)
        except RecursionError as exc:
            raise self._invalid("its reply is not what was asked for") from exc
        if not answers:
            raise self._invalid("its reply holds no answer")
        if call.form == "moderations":
            return self._judged(call, body, verdicts=len(answers))
        reasons = [answer.get("finish_reason") for answer in answers]
        usage = read_usage(body.get("usage"))
        mend_whole(call.form, body, self._head(call))
        return Reply(
            body=body,
            usage=usage,
            finish_reasons=tuple([reason for reason in reasons if isinstance(reason, str)]),
            text=text,
        )

    async def _embed(self, call: UpstreamCall) -> Reply:
        """In the encoding that the body asks for, whatever the server answers."""
        body, config = call.body, self._transport.config
        if "encoding_format" in config.unsupported:
            sent = {name: value for name, value in body.items() if name != "encoding_format"}
            call = msgspec.structs.replace(call, body=sent)
        most = _VECTORS_FACTOR * config.max_reply_bytes
        raw = await self._transport.fetch(call, _PATHS[call.form], max_bytes=most)
        read = partial(
            read_vectors,
            raw,
            inputs=inputs_in(body["input"]),
            encoding=body.get("encoding_format", "float"),
        )
        try:
            vectors = await anyio.to_thread.run_sync(read) if len(raw) > _LONG_BYTES else read()
        except VectorsError as exc:
            raise self._invalid(str(exc)) from exc
        if vectors.error:
            raise _reported(self._transport, vectors.error)
        rows = [
            {"object": "embedding", "index": index, "embedding": row}
            for index, row in enumerate(vectors.rows)
        ]
        usage = _read_only(vectors.usage)
        told = {} if usage is None else {"usage": {"prompt_tokens": usage.total, "total_tokens": usage.total}}
        return Reply(
            body={"object": "list", "data": rows, **told}, usage=usage, finish_reasons=("stop",), text=""
        )

    def _judged(self, call: UpstreamCall, body: dict[str, Any], *, verdicts: int) -> Reply:
        """A verdict that is missing would be taken for that of another text."""
        asked = call.body["input"]
        inputs = inputs_in(asked) if not isinstance(asked, list) or isinstance(asked[0], str) else 1
        if verdicts != inputs:
            raise self._invalid(f"it answered {verdicts} verdicts for {inputs} inputs")
        mend_whole(call.form, body, self._head(call))
        return Reply(body=body, usage=_read_only(body.get("usage")), finish_reasons=("stop",), text="")

    def stream(self, call: UpstreamCall) -> AsyncGenerator[list[Event], None]:
        reader = _ChunkReader(self._transport, Chunks(call.form, self._head(call)))
        return read_stream(self._transport, call, _PATHS[call.form], reader)

    async def probe(self, timeout_s: float) -> bool:
        return await self._transport.answers("/models", timeout_s)

    async def page(self, url: str, *, timeout_s: float, max_bytes: int) -> bytes | None:
        return await self._transport.page(url, timeout_s=timeout_s, max_bytes=max_bytes)

    async def close(self) -> None:
        await self._transport.close()

    def _head(self, call: UpstreamCall) -> Head:
        return Head(
            id=call.reservation.request_id.removeprefix("req_"),
            created=self._clock.now_ms() // 1000,
            model=str(call.body["model"]),
        )

    def _invalid(self, what: str) -> UpstreamError:
        return self._transport.failure("invalid", what, may_have_charged=True)


class _ChunkReader:
    """Reads one stream."""

    def __init__(self, transport: Transport, chunks: Chunks) -> None:
        self._transport = transport
        self._chunks = chunks

    def read(self, data: bytes, events: list[Event]) -> Heard:
        if data == b"[DONE]":
            events += self._chunks.rest()
            return "end"
        try:
            event = self._chunks.read(data.replace(b"\n", b" ") if b"\n" in data else data)
        except ReportedError as exc:
            raise self.reported(exc.error) from exc
        except NOT_JSON:
            return "bad"
        if event is not None:
            events.append(event)
        return "good"

    def reported(self, error: Any) -> UpstreamError:
        return _reported(self._transport, error)


def _reported(transport: Transport, error: Any) -> UpstreamError:
    """Some servers put the status that they meant into its `code`."""
    code = error.get("code") if isinstance(error, dict) else None
    if type(code) is not int or not 400 <= code <= 599:
        return transport.failure("refused", "it reported an error", may_have_charged=True)
    blame = transport.caller_error({"error": error}) if code in BLAMES_REQUEST else None
    return transport.refusal(code, caller_error=blame)


def inputs_in(value: Any) -> int:
    """How many texts, or lists of tokens, are asked about."""
    return len(value) if isinstance(value, list) and not isinstance(value[0], int) else 1


def _read_only(usage: Any) -> Usage | None:
    """Of what reads and writes nothing: some servers leave the second count out."""
    return read_usage({"completion_tokens": 0, **usage}) if isinstance(usage, dict) else None


def _answers(body: Any, form: Form) -> tuple[list[dict[str, Any]], str]:
    """Those of a whole reply, none if it has another shape, and all that was generated."""
    answers = body.get(_ANSWERS_AT[form]) if isinstance(body, dict) else None
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        return [], ""
    return answers, "".join([message_text(answer.get("message"), answer.get("text")) for answer in answers])
