"""The body of a request for embeddings, checked before the encoder sees anything of it."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from workers.errors import InvalidRequestError
from workers.request import ShortText, TokenId, TokenIds, decode

MAX_INPUTS = 2048

Input = str | tuple[int, ...]


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: ShortText
    input: str | Annotated[tuple[str | TokenId | TokenIds, ...], Meta(min_length=1, max_length=1_000_000)]
    """A text, several, the tokens of one, or the tokens of several."""
    encoding_format: Literal["float", "base64"] | None = None
    """`float` if it is not named; base64 is of 32-bit floats, little-endian."""
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    prompt_name: ShortText | None = None
    """Which of the model's prompts goes before the texts, as `query`. Not OpenAI's."""
    user: Any = None

    @property
    def inputs(self) -> tuple[Input, ...]:
        if isinstance(self.input, str):
            return (self.input,)
        return (self.input,) if isinstance(self.input[0], int) else self.input  # type: ignore[return-value]  # all of one sort


def parse_embedding(body: bytes) -> EmbeddingRequest:
    """Raises InvalidRequestError with the field at fault."""
    request = decode(body, EmbeddingRequest)
    if not isinstance(request.input, str) and len({type(part) for part in request.input}) > 1:
        raise InvalidRequestError("`input` mixes texts and tokens.", param="input")
    inputs = request.inputs
    if len(inputs) > MAX_INPUTS:
        text = f"`input` has {len(inputs)} texts; send at most {MAX_INPUTS} at once."
        raise InvalidRequestError(text, param="input")
    if not all(inputs):
        raise InvalidRequestError("`input` has an empty text. Leave it out.", param="input")
    if request.prompt_name is not None and not isinstance(inputs[0], str):
        raise InvalidRequestError("`prompt_name` is for texts, and `input` is tokens.", param="prompt_name")
    return request
