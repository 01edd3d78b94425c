"""What travels through the stages: the request as decoded, and the ticket of all that is known of it."""

from typing import Any, Literal

import msgspec

from gateway.config import Kind
from gateway.values import PASSED_OVER, Caller, Entry, Reservation, Score, Standing
from policies.contract import Candidate, Decision

Endpoint = Literal["chat", "completions", "responses", "messages", "embeddings", "moderations"]
"""The surface that a caller uses, and the form of what an upstream is sent and answers."""

FORM_OF: dict[Kind, Endpoint] = {"chat": "chat", "embedding": "embeddings", "moderation": "moderations"}
"""The form into which every dialect can be translated; scorer, meter and policies know no other."""


Verdict = Literal[
    "accepted", "deferred", "sampled", "last", "kept_budget", "kept_deadline", "kept_promise", "kept_failure"
]
"""accepted: good enough, served. deferred: not good enough, so the next was asked. sampled: only compared. last: served
unweighed, there is none after it. kept: not good enough, but served, because the money or the time had no room for
another answer, because nobody else promised a better one, or because everybody else failed."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A billable request, decoded and checked, before anything was decided about it."""

    id: str = ""
    """By which the log and the ledger know it: dialects whose answers have ids of ours make them from it."""
    endpoint: Endpoint = "chat"
    kind: Kind = "chat"
    """What sort of model can answer."""
    body: dict[str, Any]
    """In the form of its kind (a chat's, for all that chat models answer): what is sent on is encoded from this."""
    native: dict[str, Any] | None = None
    """As the caller wrote it, where that is another form; sent instead to upstreams that speak it."""
    body_bytes: int
    """Length of the raw body, media weighed as what they count: no tokenizer makes more tokens of a text than it has
    bytes."""
    context_bytes: int | None = None
    """Of the longest single input, where a request holds several; else all of it counts."""
    model: str
    is_stream: bool = False
    wants_usage: bool = False
    """The caller asked for the usage chunk of a stream."""
    output_tokens: int | None = None
    """A ceiling that the caller asked for: who cannot write that much may not answer."""
    most_output_tokens: int | None = None
    """A ceiling that his dialect makes him name: the plan and the model may lower it."""
    choices: int = 1
    needs: frozenset[str] = frozenset()
    """Abilities and forms without which it cannot be honoured."""
    fields: frozenset[str] = frozenset()
    """Fields of `body` that it sets and that not every upstream honours."""
    native_fields: frozenset[str] = frozenset()
    """Fields of `native` that no translation carries: only an upstream that speaks the caller's dialect honours them."""
    writes_prompt_cache: bool = False
    """It may make the upstream store its prompt, which some bill dearer than reading it."""
    is_deterministic: bool = False
    skips_cache: bool = False
    stores_cache: bool = True

    @property
    def output_field(self) -> str:
        """The field in which the caller asked for a ceiling on the answer."""
        if self.endpoint == "responses":
            return "max_output_tokens"
        return "max_completion_tokens" if "max_completion_tokens" in self.body else "max_tokens"

    @property
    def choices_field(self) -> str:
        """The field in which the caller asked for several answers."""
        asked = self.body if self.native is None else self.native
        return next((field for field in ("best_of", "n") if (asked.get(field) or 1) > 1), self.input_field)

    @property
    def input_field(self) -> str:
        """The field that holds what the model is to read."""
        return {"chat": "messages", "messages": "messages", "completions": "prompt"}.get(
            self.endpoint, "input"
        )

    @property
    def input_tokens(self) -> int:
        """An estimate: four bytes a token."""
        return max(1, self.body_bytes // 4)

    @property
    def wishes(self) -> frozenset[str]:
        """All that a candidate must be able to do or honour."""
        wishes = self.needs | self.fields if self.needs else self.fields
        return wishes | self.native_fields if self.native_fields else wishes

    @property
    def context_tokens(self) -> int:
        """What must fit into a context window: an estimate likewise."""
        return self.input_tokens if self.context_bytes is None else max(1, self.context_bytes // 4)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that did not answer, as the caller and the log may see it."""

    model: str
    upstream: str
    reason: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What a cascade made of one answer."""

    model: str
    p_good: float
    """Before the answer."""
    p_good_after: float | None
    """None: it was not weighed."""
    verdict: Verdict


class Ticket:
    """All that is known of one request so far. Stages fill it in; the log line and the entries are written from it."""

    __slots__ = (
        "answering",
        "cache",
        "caller",
        "decision",
        "entries",
        "failures",
        "first_token_ms",
        "hops",
        "is_background",
        "is_settled",
        "is_whole",
        "request",
        "request_id",
        "reservation",
        "score",
        "standing",
        "started",
        "started_ms",
        "status",
        "steps",
        "upstream_s",
        "was_intended",
    )

    def __init__(
        self, request_id: str, started: float, started_ms: int, *, is_background: bool = False
    ) -> None:
        self.request_id = request_id
        self.is_background = is_background
        """A line of a batch: nobody waits for it, and rates per minute do not count it."""
        self.hops = 0
        """Gateways that it has passed before."""
        self.started = started
        self.started_ms = started_ms
        self.caller: Caller | None = None
        self.request: Request | None = None
        self.reservation: Reservation | None = None
        self.standing: Standing | None = None
        """What was left of the rates when it was admitted, or refused."""
        self.score: Score | None = None
        self.decision: Decision | None = None
        self.answering: Candidate | None = None
        """Whose stream it is that has begun."""
        self.steps: tuple[Step, ...] = ()
        """Of a cascade."""
        self.failures: list[Failure] = []
        self.entries: list[Entry] = []
        self.cache = "off"
        """off: not asked; miss; hit."""
        self.upstream_s = 0.0
        """Seconds spent waiting for upstreams."""
        self.is_settled = False
        self.is_whole = False
        """The answer reached its end, whether or not the client was still there."""
        self.was_intended = False
        """The journal holds an intent that must be closed, billed or not."""
        self.first_token_ms: int | None = None
        self.status = 0

    @property
    def served(self) -> Entry | None:
        """The entry of the answer that the caller got; if he got none, the latest."""
        entries = self.entries
        if len(entries) < 2:
            return entries[0] if entries else None
        seen = [entry for entry in entries if entry.outcome not in ("failed", *PASSED_OVER)]
        return seen[-1] if seen else entries[-1]

    @property
    def is_makeshift(self) -> bool:
        """A cascade serves an answer that it did not find good enough."""
        return any(step.verdict.startswith("kept") for step in self.steps)
