"""One choice as its caller sees it: steps of the loop in, deltas with their log-probabilities out."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from workers.engines.contract import Token
from workers.engines.transformers_engine.row import Step
from workers.engines.transformers_engine.text import TextStream, Vocabulary


class Calls(Protocol):
    """Reads tool calls out of the text."""

    @property
    def has_called(self) -> bool: ...

    def read(self, text: str, *, is_last: bool) -> list[dict[str, Any]]:
        """Deltas, of text and of whole calls."""
        ...


class Answer:
    def __init__(
        self,
        choice: int,
        vocabulary: Vocabulary,
        *,
        limit: int,
        end_tokens: Collection[int],
        stops: Sequence[str],
        calls: Calls | None = None,
        begins_text: bool = False,
    ) -> None:
        self._choice = choice
        self._vocabulary = vocabulary
        self._limit = limit
        self._end_tokens = end_tokens
        self._text = TextStream(stops)
        self._calls = calls
        self._drops_space = begins_text and vocabulary.drops_first_space
        self._logprobs: list[tuple[int, dict[str, Any]]] = []
        """Of tokens whose text is held back, with the place where it begins."""
        self.tokens = 0
        self.is_done = False

    def take(self, step: Step) -> list[Token]:
        self.tokens += 1
        is_end = step.token in self._end_tokens
        data = b"" if is_end else self._vocabulary.bytes_of(step.token)
        if self._drops_space and data:
            data, self._drops_space = data.removeprefix(b" "), False
        if step.logprob is not None and not is_end:
            self._logprobs.append((self._text.length, self._report(step)))
        is_last = is_end or self.tokens >= self._limit
        text = self._text.add(data, is_last=is_last)
        self.is_done = is_last or self._text.is_stopped
        deltas = self._deltas(text)
        reason = None
        if self.is_done:
            reason = "stop" if is_end or self._text.is_stopped else "length"
            if self._calls is not None and self._calls.has_called and reason == "stop":
                reason = "tool_calls"
        return self._tokens_of(deltas, reason)

    def _deltas(self, text: str) -> list[dict[str, Any]]:
        if self._calls is not None:
            return self._calls.read(text, is_last=self.is_done)
        return [{"content": text}] if text else []

    def _tokens_of(self, deltas: list[dict[str, Any]], reason: str | None) -> list[Token]:
        """The last delta goes before the step that ends the choice, as in OpenAI's streams."""
        logprobs = self._known_logprobs() if deltas or reason else None
        tokens = [
            Token(self._choice, delta, logprobs if index == 0 else None) for index, delta in enumerate(deltas)
        ]
        if reason is not None:
            tokens.append(
                Token(self._choice, {}, None if deltas else logprobs, finish_reason=reason),
            )
        return tokens

    def _known_logprobs(self) -> dict[str, Any] | None:
        """Of the tokens whose text is shown by now; those that a stop string swallowed are never told."""
        shown = self._text.shown
        known = [entry for place, entry in self._logprobs if place < shown or self._ends_whole()]
        self._logprobs = [] if self.is_done else [pair for pair in self._logprobs if pair[0] >= shown]
        return {"content": known, "refusal": None} if known else None

    def _ends_whole(self) -> bool:
        return self.is_done and not self._text.is_stopped

    def _report(self, step: Step) -> dict[str, Any]:
        entry = self._entry(step.token, step.logprob or 0.0)
        return {**entry, "top_logprobs": [self._entry(token, logprob) for token, logprob in step.tops]}

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        data = self._vocabulary.name_of(token)
        # JSON has no infinity: a token that cannot come has OpenAI's own lowest figure.
        return {
            "token": data.decode("utf-8", "replace"),
            "logprob": max(logprob, -9999.0),
            "bytes": list(data),
        }
