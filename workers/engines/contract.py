"""What an engine is to the worker: a checked request in, one choice's steps out, many requests at once.

The currency is OpenAI's own: a chat or a completion goes in whole and a `Token` carries a `delta`, of a chat's shape. Chat template, sampling,
grammars, stop strings and tool parsers belong to a model, so they live behind this line: llama.cpp brings all of
them, and an engine over transformers brings its own. Names, ids, events and sums are the server's.
"""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

import msgspec

from workers.request import Request


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """What is loaded, as it was loaded."""

    model: str
    engine: str
    quantisation: str
    """`Q4_1`, `int8`, `none`."""
    dtype: str = ""
    """What it computes in, as `bfloat16`; empty where the engine chooses."""
    parameters: int
    context_window: int
    """Tokens of one request, prompt and answer together."""
    tensor_parallel: int = 1
    """GPUs that hold the model together."""
    abilities: tuple[str, ...]
    """Among `tools`, `json_object`, `json_schema`, `regex`, `logprobs`, ..."""


class Job(msgspec.Struct, frozen=True):
    id: str
    request: Request
    rank: float = 0.0
    """Where an engine has to choose, the lower goes first."""
    salt: str | None = None
    """An engine may let it find what it has computed of a prompt with the same salt, and of no other."""


class Token(msgspec.Struct, frozen=True, gc=False):
    """One step of one choice. A step may show nothing: half a character, the start of a stop string."""

    choice: int
    delta: dict[str, Any]
    """`content` (of a completion: its text), `reasoning_content` or `tool_calls` in OpenAI's shape; empty on a choice's last step."""
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None = None


class TokenUsage(msgspec.Struct, frozen=True):
    """True counts over all choices; each prompt counts once. `cached` is the part of it that was not computed."""

    prompt: int
    cached: int
    completion: int


class EngineStats(msgspec.Struct, frozen=True):
    """Counted by the engine itself, since it started; requests that were cut short and canaries included."""

    busy_slots: int
    prompt_tokens: int
    generated_tokens: int
    kv_blocks: int = 0
    """Of the memory for keys and values; 0 if the engine does not tell."""
    kv_blocks_used: int = 0
    """By requests, without what may be thrown away."""
    kv_blocks_kept: int = 0
    """Of earlier prompts, to be found again for as long as nobody needs the room."""
    waiting_slots: int = 0
    """Of those busy: what waits for memory, or for its first step."""
    put_back: int = 0
    """Times that an answer had to give its memory to others."""
    cached_prompt_tokens: int | None = None
    """Those that were found and not computed; None if the engine does not tell."""
    step_tokens: int = 0
    """How many a step may have now; 0 if the engine does not tell. Fewer after a step for which there was no memory."""
    out_of_memory: int = 0
    """Steps for which there was none."""


class Engine(Protocol):
    @property
    def slots(self) -> int:
        """How many choices it works on at once."""
        ...

    @property
    def card(self) -> ModelCard:
        """Known once started."""
        ...

    async def start(self) -> None:
        """Loads the model. Raises ConfigError."""
        ...

    def generate(self, job: Job) -> AsyncGenerator[Token | TokenUsage, None]:
        """Tokens, then one TokenUsage. Raises InvalidRequestError before the first token and EngineError at any time.
        Closing the iterator returns once the engine has let go of the request: it decodes at most one step more."""
        ...

    async def stats(self) -> EngineStats:
        """Answered by the loop that decodes: a silent loop is a dead engine."""
        ...

    async def failed(self) -> None:
        """Returns when the engine is dead for good, and has said so to all who waited for it. An engine that cannot
        know this of itself never returns: the canary finds out."""
        ...

    async def stop(self) -> None: ...
