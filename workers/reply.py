"""OpenAI's envelopes around an engine's tokens: chunks as they come, or one completion made of them all."""

from typing import Any

import msgspec

from workers.engines.contract import Token, TokenUsage


class Envelope(msgspec.Struct, frozen=True):
    """What every piece of one answer says of itself."""

    id: str
    created: int
    model: str
    """As the caller wrote it."""


def usage_body(usage: TokenUsage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }


class Chunks:
    """One answer as a stream."""

    def __init__(self, envelope: Envelope, *, reports_usage: bool) -> None:
        self._head = {
            "id": envelope.id,
            "object": "chat.completion.chunk",
            "created": envelope.created,
            "model": envelope.model,
        }
        # OpenAI's chunks say `usage: null` up to the one that has it, and nothing if it was not asked for.
        self.reports_usage = reports_usage
        self._tail: dict[str, Any] = {"usage": None} if reports_usage else {}
        self._begun: set[int] = set()

    def of(self, token: Token) -> list[bytes]:
        """The chunks that a token is worth: none, one, or two for a choice's first."""
        chunks = []
        if token.choice not in self._begun:
            self._begun.add(token.choice)
            chunks.append(self._chunk(token.choice, {"role": "assistant", "content": ""}))
        if token.delta or token.finish_reason:
            chunks.append(self._chunk(token.choice, token.delta, token.logprobs, token.finish_reason))
        return chunks

    def usage(self, usage: TokenUsage) -> bytes:
        return msgspec.json.encode({**self._head, "choices": [], "usage": usage_body(usage)})

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        logprobs: dict[str, Any] | None = None,
        finish_reason: str | None = None,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return msgspec.json.encode({**self._head, "choices": [choice], **self._tail})


class Completion:
    """One answer, whole."""

    def __init__(self, envelope: Envelope, choices: int) -> None:
        self._envelope = envelope
        self._choices = [_Choice() for _ in range(choices)]

    def add(self, token: Token) -> None:
        self._choices[token.choice].add(token)

    def body(self, usage: TokenUsage) -> dict[str, Any]:
        return {
            "id": self._envelope.id,
            "object": "chat.completion",
            "created": self._envelope.created,
            "model": self._envelope.model,
            "choices": [{"index": index, **choice.body()} for index, choice in enumerate(self._choices)],
            "usage": usage_body(usage),
        }


class TextChunks:
    """One text completion as a stream."""

    def __init__(self, envelope: Envelope, *, reports_usage: bool, tops: int | None) -> None:
        self._head = {
            "id": envelope.id,
            "object": "text_completion",
            "created": envelope.created,
            "model": envelope.model,
        }
        self.reports_usage = reports_usage
        self._tail: dict[str, Any] = {"usage": None} if reports_usage else {}
        self._tops = tops
        self._offsets: dict[int, int] = {}

    def of(self, token: Token) -> list[bytes]:
        text = token.delta.get("content", "")
        if not text and not token.finish_reason:
            return []
        offset = self._offsets.get(token.choice, 0)
        self._offsets[token.choice] = offset + len(text)
        logprobs = _side_by_side(token.logprobs["content"], self._tops, offset) if token.logprobs else None
        choice = {
            "text": text,
            "index": token.choice,
            "logprobs": logprobs,
            "finish_reason": token.finish_reason,
        }
        return [msgspec.json.encode({**self._head, "choices": [choice], **self._tail})]

    def usage(self, usage: TokenUsage) -> bytes:
        return msgspec.json.encode({**self._head, "choices": [], "usage": usage_body(usage)})


class TextCompletion(Completion):
    """One text completion, whole."""

    def __init__(self, envelope: Envelope, choices: int, *, tops: int | None) -> None:
        super().__init__(envelope, choices)
        self._tops = tops

    def body(self, usage: TokenUsage) -> dict[str, Any]:
        chat = super().body(usage)
        return {**chat, "object": "text_completion", "choices": [self._text(one) for one in chat["choices"]]}

    def _text(self, choice: dict[str, Any]) -> dict[str, Any]:
        logprobs = choice["logprobs"]
        return {
            "text": choice["message"]["content"],
            "index": choice["index"],
            "logprobs": _side_by_side(logprobs["content"], self._tops, 0) if logprobs else None,
            "finish_reason": choice["finish_reason"],
        }


def _side_by_side(tokens: list[dict[str, Any]], tops: int | None, offset: int) -> dict[str, Any]:
    """A chat's logprobs as completions have them. Offsets count from the beginning of the answer."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token["token"])
    named = [{top["token"]: top["logprob"] for top in token["top_logprobs"]} for token in tokens]
    return {
        "tokens": [token["token"] for token in tokens],
        "token_logprobs": [token["logprob"] for token in tokens],
        "top_logprobs": named if tops else None,
        "text_offset": offsets,
    }


class _Choice:
    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tools: dict[int, dict[str, Any]] = {}
        self._logprobs: list[Any] = []
        self._finish_reason: str | None = None

    def add(self, token: Token) -> None:
        self._text.append(token.delta.get("content", ""))
        self._reasoning.append(token.delta.get("reasoning_content", ""))
        for call in token.delta.get("tool_calls", ()):
            self._add_tool(call)
        if token.logprobs:
            self._logprobs += token.logprobs["content"]
        self._finish_reason = token.finish_reason or self._finish_reason

    def _add_tool(self, call: dict[str, Any]) -> None:
        """The first piece of a call has its id and name, the others more of its arguments."""
        whole = self._tools.setdefault(
            call["index"], {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        whole["id"] = call.get("id", whole["id"])
        function = call.get("function", {})
        whole["function"]["name"] = function.get("name", whole["function"]["name"])
        whole["function"]["arguments"] += function.get("arguments", "")

    def body(self) -> dict[str, Any]:
        text, reasoning = "".join(self._text), "".join(self._reasoning)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text or (None if self._tools else ""),
            "refusal": None,
        }
        if reasoning:
            message["reasoning_content"] = reasoning
        if self._tools:
            message["tool_calls"] = [self._tools[index] for index in sorted(self._tools)]
        logprobs = {"content": self._logprobs, "refusal": None} if self._logprobs else None
        return {"message": message, "logprobs": logprobs, "finish_reason": self._finish_reason}
