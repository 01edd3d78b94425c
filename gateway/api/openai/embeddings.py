"""Embeddings: texts or tokens in, vectors out, in the encoding that the caller asks for."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from gateway.api.bodies import cache_wishes, invalid, read_object, refuse_forbidden
from gateway.api.openai.chat import ChatVoice
from gateway.api.openai.dialect import OpenAIDialect
from gateway.api.openai.inputs import TokenId, TokenIds, inputs_of, weight
from gateway.catalogue import Terms
from gateway.errors import InvalidRequestError
from gateway.exchange import Voice
from gateway.ticket import Endpoint, Request

MAX_INPUTS = 2048

_EVERYWHERE = frozenset({"model", "input", "encoding_format", "user"})
"""Fields that say nothing of the vectors, or, as the encoding, are honoured here."""

Text = Annotated[str, msgspec.Meta(min_length=1)]


class EmbeddingBody(msgspec.Struct):
    """Fields that are not listed are passed on as they are to the model's server."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    input: Text | Annotated[list[Text | TokenId | TokenIds], msgspec.Meta(min_length=1)]
    """A text, up to 2048 texts, the tokens of one, or the tokens of up to 2048."""
    encoding_format: Literal["float", "base64"] | None = None
    """`float` if it is not named."""
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=65_536)] | None = None
    user: str | None = None


class EmbeddingsDialect(OpenAIDialect):
    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(EmbeddingBody)

    def decode(self, raw: bytes, headers: Mapping[bytes, bytes]) -> Request:
        body = read_object(raw)
        refuse_forbidden(raw, body, open_content=frozenset())
        try:
            asked = self._decoder.decode(raw)
        except msgspec.ValidationError as exc:
            raise invalid(str(exc)) from exc
        inputs = inputs_of(asked.input, field="input")
        if len(inputs) > MAX_INPUTS:
            raise InvalidRequestError(
                f"Invalid value for 'input': {len(inputs)} inputs; send at most {MAX_INPUTS} at once.",
                param="input",
            )
        body = {name: value for name, value in body.items() if value is not None}
        skips_cache, stores_cache = cache_wishes(headers)
        return Request(
            endpoint="embeddings",
            kind="embedding",
            body=body,
            body_bytes=len(raw),
            context_bytes=max(map(weight, inputs)),
            model=asked.model,
            fields=frozenset(body) - _EVERYWHERE,
            is_deterministic=True,
            skips_cache=skips_cache,
            stores_cache=stores_cache,
        )

    def voice(self, _request: Request, terms: Terms, _form: Endpoint, /) -> Voice:
        return ChatVoice(terms.offer.model, wants_usage=False)
