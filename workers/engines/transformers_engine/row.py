"""One choice on its way through the batch: what the loop's thread knows of it, and how it tells the caller's."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import msgspec


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How one choice picks its tokens. Every default does nothing."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence: float = 0.0
    frequency: float = 0.0
    repetition: float = 1.0
    bias: Mapping[int, float] = {}
    tops: int | None = None
    """How many alternatives to report with each token; None reports no log-probability at all."""

    @property
    def is_greedy(self) -> bool:
        return self.temperature < 1e-5 or self.top_k == 1 or self.top_p == 0

    @property
    def is_ranked(self) -> bool:
        """Whether the filters ask for the tokens in the order of their probability."""
        return self.top_k > 0 or self.top_p < 1


class Step(NamedTuple):
    """A token that was picked, or a choice that failed."""

    choice: int
    token: int
    logprob: float | None = None
    tops: tuple[tuple[int, float], ...] = ()
    has_failed: bool = False


class Grammar(Protocol):
    """What may come next. Its methods raise GrammarError."""

    def fill(self, mask: Any, index: int) -> None: ...

    def consume(self, token: int) -> None: ...


class Inbox:
    """Where the steps of one request arrive, in the thread of the one who asked."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.steps: asyncio.Queue[Step] = asyncio.Queue()


def call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    """From another thread. Where the asker's loop has closed nobody is left to hear it."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)


def root_of(salt: str) -> int:
    """What the hashes of blocks begin with for all who have this salt: no block of theirs has another's hash."""
    return int.from_bytes(blake2b(salt.encode(), digest_size=8, person=b"salt").digest(), "little")


@dataclass(eq=False)
class Row:
    id: str
    choice: int
    prompt: list[int]
    limit: int
    """Tokens, at most."""
    sampling: Sampling
    randomness: random.Random
    inbox: Inbox
    grammar: Grammar | None = None
    rank: float = 0.0
    """Lower goes first."""
    root: int | None = None
    """What the hashes of its blocks begin with: who has the same finds them. None: nobody, and it finds none."""
    counts: Counter[int] = field(default_factory=Counter)
    """Of each token, how often it was picked."""
    cached: int = 0
    """Prompt tokens that were found computed."""
    served_at: int = 0
    """The last step that it was part of."""
    has_arrived: bool = False
    has_failed: bool = False
    _uniform: float | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Set in the asker's thread, when the loop has let go of the row and of its memory."""

    def uniform(self) -> float | None:
        """What its next token is drawn with; the same until it has one, as a step may have to be computed again."""
        if self._uniform is None and not self.sampling.is_greedy:
            self._uniform = self.randomness.random()
        return self._uniform

    def take(self, token: int) -> None:
        self.counts[token] += 1
        self._uniform = None

    def __getstate__(self) -> dict[str, Any]:
        """What another rank has of it: which row it is. Only the first one picks tokens, and knows who asked."""
        told = {"id": self.id, "rank": self.rank, "root": self.root}
        return told | {"counts": Counter(), "cached": 0, "served_at": 0, "has_arrived": False}

    def __deepcopy__(self, memo: object) -> "Row":
        # A request that had to give its memory away is made again from a copy of its arguments; it is the same row.
        return self
