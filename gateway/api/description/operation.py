"""What one operation of the public surface says of itself: the values from which the description is generated."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Schema = Any
"""A type, from which msgspec makes the schema, or a schema written out; of several in a tuple, any."""

Shape = Literal["openai", "anthropic"]
"""Whose clients call it: decides the form of its errors, and the header that carries the key."""

NOTHING_SENT = (401, 404, 405, 431, 500, 503)
READING = (400, 401, 404, 405, 431, 500, 503)
WRITING = (400, 401, 403, 404, 405, 408, 409, 413, 415, 429, 431, 500, 503)
BILLABLE = (*WRITING, 502, 504)
"""What may be answered instead of a reply, by what an operation does; each is explained in `refusals`."""


class Parameter(msgspec.Struct, frozen=True):
    name: str
    description: str
    place: Literal["path", "query", "header"] = "path"
    schema: Schema = str
    is_required: bool = True


class Example(msgspec.Struct, frozen=True):
    """A request that works as it stands, and what may come back for it."""

    summary: str
    body: dict[str, Any]
    call: str = ""
    """The method of the official SDK for Python that sends it: `chat.completions.create`."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    method: Literal["get", "post", "delete"]
    path: str
    """With its parameters in braces: `/v1/models/{model}`."""
    summary: str
    tag: str
    description: str = ""
    shape: Shape = "openai"
    is_open: bool = False
    """Needs no key."""
    parameters: tuple[Parameter, ...] = ()
    request: Schema = None
    """The struct with which the body is decoded, so that the two cannot differ."""
    request_media: str = "application/json"
    examples: tuple[Example, ...] = ()
    response: Schema = None
    response_media: str = "application/json"
    response_example: Any = None
    event: Schema = None
    """The `data` of each event of a stream, if it can stream."""
    event_example: str = ""
    """A short stream as it is on the wire."""
    refusals: tuple[int, ...] = ()
    also: Mapping[int, str] = msgspec.field(default_factory=dict)
    """Statuses that are no refusals, with what they mean."""
    is_billable: bool = False
    """Its replies say what was decided and what it cost, in headers."""
