"""The operations of Anthropic's API."""

from typing import Any

from gateway.api.anthropic.bodies import MessagesBody, PromptBody
from gateway.api.description.anthropic_replies import AnthropicMessage, MessageEvent, TokenCount
from gateway.api.description.operation import BILLABLE, WRITING, Example, Operation

_QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
_WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
_STREAM = """\
event: message_start
data: {"type":"message_start","message":{"id":"msg_0193f2b0c1","type":"message","role":"assistant","model":"small",\
"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":12,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Paris."}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},\
"usage":{"input_tokens":14,"output_tokens":3}}

: x-weighbridge-cost-usd 0.000020000

event: message_stop
data: {"type":"message_stop"}

"""

MESSAGES = (
    Operation(
        method="post",
        path="/v1/messages",
        summary="Answer a conversation, in Anthropic's dialect",
        tag="Messages",
        shape="anthropic",
        description="Any chat model answers, whatever dialect its server speaks. Where that is another one, the request "
        "is translated, and what has no translation gets 400 with its name: see the reference on messages.",
        request=MessagesBody,
        examples=(
            Example(
                "A question", {"model": "auto", "max_tokens": 64, "messages": _QUESTION}, "messages.create"
            ),
            Example(
                "As a stream",
                {"model": "auto", "max_tokens": 64, "messages": _QUESTION, "stream": True},
                "messages.create",
            ),
            Example(
                "With a tool",
                {
                    "model": "auto",
                    "max_tokens": 256,
                    "messages": [{"role": "user", "content": "How is the weather in Paris?"}],
                    "tools": [_WEATHER],
                },
                "messages.create",
            ),
        ),
        response=AnthropicMessage,
        response_example={
            "id": "msg_0193f2b0c1",
            "type": "message",
            "role": "assistant",
            "model": "small",
            "content": [{"type": "text", "text": "Paris."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 14, "output_tokens": 3},
        },
        event=MessageEvent,
        event_example=_STREAM,
        refusals=BILLABLE,
        is_billable=True,
    ),
    Operation(
        method="post",
        path="/v1/messages/count_tokens",
        summary="Estimate how many tokens a prompt has",
        tag="Messages",
        shape="anthropic",
        description="Costs nothing and asks no model: the texts are counted with one tokenizer for all models, images and "
        "files at a flat rate. What a model's own server counts may differ by some percent.",
        request=PromptBody,
        examples=(Example("", {"model": "auto", "messages": _QUESTION}, "messages.count_tokens"),),
        response=TokenCount,
        response_example={"input_tokens": 14},
        refusals=WRITING,
    ),
)
