"""What is answered, held against Anthropic's own OpenAPI document."""

import json
from importlib.resources import files
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from gateway.api.anthropic.dialect import MessagesDialect
from gateway.api.anthropic.errors import render_error
from gateway.api.anthropic.models import model_page
from gateway.api.anthropic.voice import ChatVoice
from gateway.clock import ManualClock
from gateway.errors import (
    AuthenticationError,
    GatewayError,
    InternalError,
    InvalidRequestError,
    QuotaExhaustedError,
    RateLimitedError,
    UnavailableError,
    UpstreamFailedError,
)
from gateway.upstreams.contract import Event
from gateway.values import Usage

CALLS = [{"index": 0, "id": "f.x:1", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]
MESSAGE = {"reasoning_content": "Hmm.", "content": "Let me look.", "tool_calls": CALLS}


@pytest.fixture(scope="module")
def spec() -> Any:
    document = json.loads((files("llm_comply") / "specs" / "anthropic.json").read_bytes())
    # It demands `citations`, and allows null. The AI SDK refuses null there, and the real service leaves them out.
    document["components"]["schemas"]["ResponseTextBlock"]["required"].remove("citations")
    return document


def check(spec: Any, name: str, value: Any) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": spec["components"]}
    jsonschema_rs.validator_for(schema).validate(value)


def voice() -> ChatVoice:
    return ChatVoice("m", message_id="msg_1", input_tokens=7, stops=["x"], shows_thinking=True)


@pytest.mark.parametrize("finish_reason", ["stop", "length", "tool_calls", "content_filter"])
def test_a_message_is_one_to_anthropic(spec: Any, finish_reason: str) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    said = {"choices": [{"message": MESSAGE, "finish_reason": finish_reason}], "usage": usage}

    check(spec, "Message", json.loads(voice().whole(said)))
    check(spec, "Message", json.loads(voice().whole({"choices": []})))


def test_every_event_is_one_to_anthropic(spec: Any) -> None:
    teller = voice()
    chunks = [{"choices": [{"delta": {field: value}}]} for field, value in MESSAGE.items()]
    events = [Event(data=msgspec.json.encode(chunk)) for chunk in chunks]
    usage = Event(data=b'{"choices":[]}', usage=Usage(input=1, output=2, reasoning=3))

    frames = b"".join(teller.events([*events, usage])) + teller.end()
    frames += MessagesDialect.of_messages(ManualClock()).done

    told = [json.loads(frame.partition(b"data: ")[2]) for frame in frames.split(b"\n\n") if frame]
    assert len(told) == 12
    for event in told:
        check(spec, "MessageStreamEvent", event)


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("x", param="messages"),
        AuthenticationError(),
        RateLimitedError("x"),
        QuotaExhaustedError("x"),
        InternalError("x"),
        UpstreamFailedError("x", status=504),
        UnavailableError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_is_one_to_anthropic(spec: Any, error: GatewayError) -> None:
    _, _, body = render_error(error, "req_1", 0)

    check(spec, "ErrorResponse", json.loads(body))


def test_a_page_of_models_is_one_to_anthropic(spec: Any) -> None:
    rows = [{"id": "auto"}, {"id": "small", "context_window": 4096, "max_output_tokens": 100}]

    check(spec, "ListResponse_ModelInfo_", model_page(rows, {}))
    check(spec, "ListResponse_ModelInfo_", model_page([], {}))
