"""Structured output: what may come next, by llguidance, and the mask of it over a batch's logits."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np
import torch
from torch import Tensor

from workers.engines.transformers_engine import tools
from workers.engines.transformers_engine.row import Grammar, Row
from workers.engines.transformers_engine.tools import Family
from workers.errors import InvalidRequestError
from workers.request import CompletionRequest, JsonObjectFormat, JsonSchemaFormat, Request

MAX_REPEATS = 1000
"""Of a part of a regular expression: the matcher counts them out, in a step that all answers wait for."""

Fail = Callable[[Row, str], None]

_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write the spaces: small models otherwise fill the answer with them."""
_COUNTS = re.compile(r"(?<!\\)\{\s*(\d*)\s*,?\s*(\d*)\s*\}")


class GrammarError(Exception):
    """The matcher gave up on its row."""


class Grammars:
    """Thread-safe: it only reads."""

    def __init__(self, matching: Any, tokenizer: Any, family: Family | None) -> None:
        self._matching = matching
        self._family = family
        added = tokenizer.added_tokens_decoder
        self._tokens = {entry.content: token for token, entry in added.items()}
        marks = family.marks if family else ()
        self._plain = [t for t, entry in added.items() if not entry.special and entry.content not in marks]

    def of(self, request: Request) -> "Matcher | None":
        """What the answer must keep to, if anything. Raises InvalidRequestError for what cannot be enforced."""
        if request.structured_outputs is not None:
            pattern = request.structured_outputs.regex
            return self._compiled(_from_pattern, pattern, "structured_outputs.regex")
        if isinstance(request, CompletionRequest):
            return None
        schema = _schema(request.response_format)
        if request.wants_tools and self._family is not None:
            source = tools.grammar(
                self._family,
                request,
                token_of=self._tokens.get,
                plain=self._plain,
                layout=_LAYOUT,
                answer=schema,
            )
            return self._compiled(llguidance.LLMatcher.grammar_from_lark, source, "tools")
        if schema is None:
            return None
        return self._compiled(_from_schema, schema, "response_format")

    def _compiled(self, compiler: Callable[[Any], str], source: Any, param: str) -> "Matcher":
        try:
            matcher = llguidance.LLMatcher(self._matching, compiler(source), log_level=0)
            # Some schemas turn out impossible only at the first token.
            trial = matcher.deep_copy()
            trial.compute_bitmask()
            reason = trial.get_error()
        except ValueError as exc:
            reason = str(exc)
        if reason:
            text = f"The model cannot keep to this: {_first_line(reason)}"
            raise InvalidRequestError(text, param=param)
        return Matcher(matcher)


def _schema(wanted: Any) -> dict[str, Any] | None:
    if isinstance(wanted, JsonSchemaFormat):
        return wanted.json_schema.definition
    return {"type": "object"} if isinstance(wanted, JsonObjectFormat) else None


def _from_schema(schema: dict[str, Any]) -> str:
    return str(llguidance.LLMatcher.grammar_from_json_schema(schema, overrides=_LAYOUT))


def _from_pattern(pattern: str) -> str:
    """Raises ValueError. The whole answer is matched in any case, and the matcher knows no anchors: those at the ends
    go. `\\d` and `\\w` are JavaScript's, which every other reader of the pattern agrees with."""
    if any(int(count) > MAX_REPEATS for counts in _COUNTS.findall(pattern) for count in counts if count):
        raise ValueError(f"a part of it may be repeated {MAX_REPEATS} times at most.")
    inner = pattern.removeprefix("^")
    bare = inner.removesuffix("$")
    is_escaped = (len(bare) - len(bare.rstrip("\\"))) % 2 == 1
    plain = llguidance.regex_to_lark(inner if is_escaped else bare, "dw")
    return str(llguidance.LLMatcher.grammar_from_regex(plain))


class Matcher:
    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def copy(self) -> "Matcher":
        return Matcher(self._matcher.deep_copy())

    def fill(self, mask: Any, index: int) -> None:
        llguidance.numpy.fill_next_token_bitmask(self._matcher, mask, index)
        self._check()

    def consume(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(_first_line(self._matcher.get_error()))


def masked(logits: Tensor, rows: Sequence[Row], fail: Fail) -> None:
    """In place: minus infinity for every token that a row's grammar does not allow now.

    `fail(row, reason)` is called for a row whose grammar breaks; it goes on without one.
    """
    bound = [
        (place, row, row.grammar) for place, row in enumerate(rows) if row.grammar and not row.has_failed
    ]
    if not bound:
        return
    words = (logits.shape[-1] + 31) // 32
    mask = np.full((len(bound), words), -1, dtype=np.int32)
    for index, (_, row, grammar) in enumerate(bound):
        _fill(mask, index, row, grammar, fail)
    packed = torch.from_numpy(mask).to(logits.device)
    bits = (packed.unsqueeze(-1) >> torch.arange(32, device=logits.device, dtype=torch.int32)) & 1
    allowed = bits.view(len(bound), -1)[:, : logits.shape[-1]].bool()
    places = [place for place, _, _ in bound]
    logits[places] = logits[places].masked_fill(~allowed, -torch.inf)


def _fill(mask: Any, index: int, row: Row, grammar: Grammar, fail: Fail) -> None:
    try:
        grammar.fill(mask, index)
    except Exception as exc:  # noqa: BLE001 - one row's grammar must not fail the others
        mask[index] = -1
        fail(row, str(exc))


def _first_line(reason: str) -> str:
    """The matcher goes on with a dump of its state."""
    return reason.strip().partition("\n")[0][:300]
