"""What a policy is given and what it gives back. Plain frozen values; a plugin needs nothing else of ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Size = Literal["small", "medium", "large", "cloud"]
SIZES: tuple[Size, ...] = ("small", "medium", "large", "cloud")


class Ceiling(Protocol):
    """Pure: the highest P(good) that the candidate's answer could be found to have once it is there, by its own signs, and
    by a second answer if somebody would give one."""

    def __call__(
        self, candidate: "Candidate", /, *, second: "Candidate | None", asks_logprobs: bool
    ) -> float: ...


def unknown_ceiling(_candidate: "Candidate", *, second: "Candidate | None", asks_logprobs: bool) -> float:  # noqa: ARG001 - a Ceiling
    return 1.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What a policy may know of a request."""

    requested: str
    """`auto`, or the name of a model as the caller wrote it."""
    tenant: str
    tier: str
    allowed_sizes: frozenset[str]
    complexity: float
    """0 (trivial) to 1 (hard)."""
    input_tokens: int
    """Our estimate, before any upstream has counted."""
    output_tokens: int | None
    """The longest answer that the caller asked for; None leaves it to the model."""
    needs: frozenset[str]
    """Abilities without which the request cannot be honoured: `tools`, `vision`, `json_schema`, ..."""
    budget: int
    """Nano-dollars held for this request: no candidate may be able to cost more."""
    is_degraded: bool = False
    """The score is the configured default, because the scorer failed."""
    is_background: bool = False
    """It is a line of a batch: nobody waits for it."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    ceiling: Ceiling = unknown_ceiling
    """What weighing an answer could come to; where nobody can tell, anything."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model at an upstream, as it stands at this moment for this request."""

    id: str
    """`upstream/model`, unique."""
    model: str
    """The name that callers use."""
    upstream: str
    size: Size
    abilities: frozenset[str]
    context_window: int
    max_output_tokens: int
    expected_cost: int
    """Nano-dollars for this request at a typical answer length."""
    worst_cost: int
    """Nano-dollars if the answer is as long as it may be."""
    p_good: float
    """The scorer's P(good answer | prompt, model), 0 to 1."""
    is_healthy: bool = True
    in_flight: int = 0
    queued: float | None = None
    """Requests that wait for a place at its server: of several servers, at the one with the fewest. None: its server
    does not tell, as no cloud's does."""
    kv_use: float | None = None
    """Share of that server's memory for keys and values that is in use, 0 to 1. None: it does not tell."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Of a decision by which answers are weighed before they are served: one that does not reach is passed over, and
    the next candidate is asked, as long as the money and the time that were set aside allow."""

    thresholds: tuple[float, ...]
    """For each of the first candidates, what P(good) must be after its answer. Those after them are served unweighed."""
    seconds: tuple[Candidate | None, ...] = ()
    """For each of the same, who answers once more where the first answer leaves it open: their agreement counts."""
    asks_logprobs: bool = True
    """Have the tokens' log-probabilities told where they can be, and take them out before the caller sees the answer."""
    stream_wait_s: float = 10.0
    """How long a stream's beginning may wait for the whole of an answer; after that, what there is of it is weighed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The candidates in the order in which they are to be tried, and why."""

    candidates: tuple[Candidate, ...]
    policy: str
    reason: str
    """One line for a person: which rule chose the first candidate."""
    dropped: tuple[tuple[str, str], ...] = ()
    """(candidate id, constraint) for each candidate that may not be used."""
    acceptance: Acceptance | None = None
    """None: whatever the first that answers has to say is served."""


class NoCandidateError(Exception):
    """No candidate may serve the request; `dropped` tells which constraint removed which."""

    def __init__(self, dropped: Sequence[tuple[str, str]]) -> None:
        self.dropped = tuple(dropped)
        super().__init__(
            ", ".join(f"{candidate}: {why}" for candidate, why in self.dropped) or "no candidates"
        )


class Policy(Protocol):
    """The same facts and candidates always give the same decision, so that last month can be replayed.

    One whose decisions hold an Acceptance may have a `max_calls` too: the most answers, second ones included, that it has
    asked for one request. Money is held for so many; without it for one, and then none is passed over.
    """

    @property
    def name(self) -> str: ...

    def decide(self, facts: Facts, candidates: Sequence[Candidate]) -> Decision:
        """Raise `NoCandidateError` when the constraints leave nothing."""
        ...
