"""What an encoder is to the worker: texts to tokens, and many texts' tokens to vectors in one step.

It blocks, and knows neither requests nor queues: whose text goes into which step, and when, is the batcher's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from workers.embeddings.request import Input
from workers.engines.contract import ModelCard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

Tokens = Sequence[int]


class EncoderCard(ModelCard, frozen=True, kw_only=True):
    dimensions: int
    shorter: tuple[int, ...] | None = ()
    """What `dimensions` may be asked for besides; None: any number below it."""
    pooling: str
    """How a text's vector is made of its tokens': `mean`, `cls`, `lasttoken`, ... joined by `+`."""
    normalised: bool
    """Whether vectors have length one."""
    prompts: tuple[str, ...] = ()
    """What `prompt_name` may be."""


class StepTooLargeError(Exception):
    """There was no memory for so many tokens at once."""


class EncoderLostError(Exception):
    """The device does not compute any more: only a new process gets it back."""


class Encoder(Protocol):
    @property
    def card(self) -> EncoderCard:
        """Known once loaded."""
        ...

    @property
    def step_tokens(self) -> int:
        """How many tokens a step should have; a longer text is a step of its own. Known once loaded."""
        ...

    def load(self) -> None:
        """Raises ConfigError."""
        ...

    def read(self, inputs: Sequence[Input], prompt_name: str | None) -> list[Tokens]:
        """Tokens of each, with what the model puts around them. Raises InvalidRequestError. May be called from
        several threads."""
        ...

    def embed(self, texts: Sequence[Tokens]) -> "list[Vector | None]":
        """A vector for each; None for one that came out as no numbers. Raises StepTooLargeError,
        EncoderLostError, and whatever else the model raises. Called from one thread."""
        ...
