"""The scorer's seam: synchronous and batched; the stage owns time and failure."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from gateway.values import Score
from policies.contract import Size


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What of a request a scorer may look at."""

    system: str
    user: str
    """The last user turn."""
    history: str
    """All earlier turns."""
    turns: int
    has_tools: bool
    has_images: bool
    wants_json: bool


class Scorable(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate as the scorer knows it."""

    id: str
    """`upstream/model`, unique."""
    size: Size
    model: str = ""
    """The name that callers use."""
    upstream_model: str = ""
    """The upstream's own name of it, by which measured models are known."""
    p_good: float | None = None
    """Its known accuracy on prompts of middling difficulty, if somebody measured it."""


class Scorer(Protocol):
    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Scorable]) -> Sequence[Score]:
        """One Score per prompt: complexity in 0..1 and P(good) for each candidate. Never raises on any text."""
        ...


class Calibration(Protocol):
    """What the tenant's own outcomes say of the scorer's predictions. In memory; takes microseconds; never raises."""

    def adjust(self, tenant: str, score: Score) -> Score:
        """The same score with each P(good) as that tenant has seen it come true."""
        ...


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a model answered, as far as it says something of itself. It holds texts, so it is never logged."""

    text: str
    """What the caller would read: not its reasoning."""
    finish_reason: str
    """In OpenAI's words; empty while it is still being written."""
    is_refusal: bool = False
    """The upstream itself says that the model declined."""
    calls: tuple[str, ...] = ()
    """The arguments of each tool call, as the model wrote them."""
    logprobs: tuple[float, ...] = ()
    """Of each token in its order; empty where the upstream tells none."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer was an answer to, and by whom."""

    prompt: Prompt
    size: Size
    """Of the model that answered."""
    complexity: float
    category: str = ""
    has_ceiling: bool = False
    """The caller himself named the most tokens that an answer may have: that it ends there is no fault of it."""
    schema: dict[str, Any] | None = None
    """The JSON schema that the answer was to follow, if the caller gave one."""
    second_p_good: float | None = None
    """P(good) of the model that gives the second answer, by the prompt alone; None: as of the first's."""


class AnswerSignals(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an answer beside its words: no text, so it may be logged and stored."""

    finish_reason: str
    """In OpenAI's words; empty while it is still being written."""
    answer_chars: int
    is_empty: bool = False
    """Nothing to read and no tool call."""
    is_refusal: bool = False
    is_valid_json: bool | None = None
    """Of the answer if JSON was asked for, and of each tool call; None: no JSON was due."""
    has_tool_calls: bool = False
    mean_logprob: float | None = None
    """Of all tokens; None, as for the next: the upstream told none."""
    min_logprob: float | None = None
    agreement: float | None = None
    """With a second answer to the same prompt, 0 to 1; None: there is no second."""
    input_chars: int = 0
    size: Size = "small"
    complexity: float = 0.5
    category: str = ""
    has_ceiling: bool = False
    second_p_good: float | None = None
    """Both as of `Asked`."""
    has_result: bool = False
    """It commits itself to one thing: the letter of a choice, a number, a few words."""
    is_looping: bool = False
    """It was cut short while it said the same over and over."""


class Deferral(Protocol):
    """What an answer tells of its own worth. Pure and fast: it runs on the event loop, once for each weighed answer."""

    def signals(self, asked: Asked, answer: Answer, second: Answer | None) -> AnswerSignals:
        """`second` is another answer to the same prompt, of the same model or of another small one. Never raises."""
        ...

    def updated(self, prior: float, signals: AnswerSignals) -> float:
        """P(good) after the answer, 0 to 1, from P(good) before it. A signal that is absent changes nothing."""
        ...

    def ceiling(self, prior: float, *, has_logprobs: bool, second: float | None) -> float:
        """The highest P(good) after any answer, from P(good) before it, and from that of whoever answers a second time;
        None: nobody does."""
        ...
