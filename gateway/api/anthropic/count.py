"""How many tokens a prompt has, near enough, before any model has read it.

The texts by our tokenizer, and an allowance for what is no text: the frame around each message and tool, and media, whose
size only the model's own server knows.
"""

from collections.abc import Callable
from typing import Any

import anyio.to_thread
import msgspec

from gateway.catalogue import Catalogue
from gateway.exchange import Exchange
from gateway.stages.authenticate import Authenticate
from gateway.stages.meter import CountTokens, prompt_text
from gateway.ticket import Request, Ticket

PROMPT_TOKENS = 3
MESSAGE_TOKENS = 4
TOOL_TOKENS = 12
IMAGE_TOKENS = 1_600
"""The most that Anthropic takes for one image."""
FILE_TOKENS = 3_000
"""One page of a PDF; how many there are is not looked up."""
_LONG_CHARS = 50_000
"""From here on counting takes more than half a millisecond and moves to a thread."""
_MEDIA = {"image_url": IMAGE_TOKENS, "file": FILE_TOKENS}


def estimate(request: Request) -> int:
    """Without a tokenizer: four characters a token."""
    return _allowance(request.body) + len(_texts(request.body)) // 4


class TokenCounting:
    """Answers `count_tokens`: for any caller with a key, at no cost."""

    def __init__(
        self,
        new_ticket: Callable[[], Ticket],
        authenticate: Authenticate,
        catalogue: Catalogue,
        count: CountTokens,
    ) -> None:
        self.ticket = new_ticket
        self._authenticate = authenticate
        self._catalogue = catalogue
        self._count = count

    async def __call__(self, ticket: Ticket, exchange: Exchange) -> None:
        caller = await self._authenticate(exchange.headers)
        request = await exchange.read()
        self._catalogue.offers(request.model, caller.tier)
        text = _texts(request.body)
        if len(text) > _LONG_CHARS:
            tokens = await anyio.to_thread.run_sync(self._count, text)
        else:
            tokens = self._count(text)
        body = msgspec.json.encode({"input_tokens": tokens + _allowance(request.body)})
        await exchange.reply(body, {"x-request-id": ticket.request_id})


def _texts(chat: dict[str, Any]) -> str:
    """Of tools and schemas a model reads the names as well as the values, so they count as they are written."""
    shapes = [chat[field] for field in ("tools", "response_format") if field in chat]
    return "\n".join([prompt_text({"messages": chat["messages"]}), *(_json(shape) for shape in shapes)])


def _allowance(chat: dict[str, Any]) -> int:
    tokens = PROMPT_TOKENS + TOOL_TOKENS * len(chat.get("tools", ()))
    for message in chat["messages"]:
        tokens += MESSAGE_TOKENS
        if isinstance(message["content"], list):
            tokens += sum(_MEDIA.get(part["type"], 0) for part in message["content"])
    return tokens


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
