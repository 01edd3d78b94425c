"""Moderations, passed on to a model that makes them: texts or one message of text and pictures in, verdicts out."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from gateway.api.bodies import invalid, read_object, refuse_forbidden
from gateway.api.media import text_bytes
from gateway.api.openai.chat import ChatVoice
from gateway.api.openai.dialect import OpenAIDialect
from gateway.catalogue import AUTO, Terms
from gateway.errors import InvalidRequestError
from gateway.exchange import Voice
from gateway.ticket import Endpoint, Request

_EVERYWHERE = frozenset({"model", "input", "user"})


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class ImageUrl(msgspec.Struct):
    url: str


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    image_url: ImageUrl


class ModerationBody(msgspec.Struct):
    """Fields that are not listed are passed on as they are to the model's server."""

    input: str | Annotated[list[str | TextPart | ImagePart], msgspec.Meta(min_length=1)]
    """A text, several texts, or the parts of one message."""
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    """If it is not named, the gateway chooses among those that you may use."""


class ModerationsDialect(OpenAIDialect):
    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(ModerationBody)

    def decode(self, raw: bytes, _headers: Mapping[bytes, bytes]) -> Request:
        body = read_object(raw)
        refuse_forbidden(raw, body, open_content=frozenset())
        try:
            asked = self._decoder.decode(raw)
        except msgspec.ValidationError as exc:
            raise invalid(str(exc)) from exc
        items = [asked.input] if isinstance(asked.input, str) else asked.input
        texts = [item for item in items if isinstance(item, str)]
        if texts and len(texts) < len(items):
            raise InvalidRequestError(
                "Invalid value for 'input': send texts, or the parts of one message; not a mixture.",
                param="input",
            )
        body = {name: value for name, value in body.items() if value is not None}
        size = len(raw) if texts else text_bytes(len(raw), [{"content": body["input"]}])
        return Request(
            endpoint="moderations",
            kind="moderation",
            body=body,
            body_bytes=size,
            context_bytes=max(len(text.encode()) for text in texts) if texts else size,
            model=asked.model or AUTO,
            needs=frozenset({"vision"} if any(isinstance(item, ImagePart) for item in items) else ()),
            fields=frozenset(body) - _EVERYWHERE,
        )

    def voice(self, _request: Request, terms: Terms, _form: Endpoint, /) -> Voice:
        return ChatVoice(terms.offer.model, wants_usage=False)
