"""OpenAI's Responses API, of which nothing is kept."""

from typing import Literal

from gateway.api.description.openai_replies import Response, ResponseEvent
from gateway.api.description.operation import BILLABLE, READING, Example, Operation, Parameter
from gateway.api.openai.responses.body import ResponsesBody

_WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
_ITEM = {
    "id": "msg_0193f2b0c100",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Paris."}],
}
_ANSWER = {
    "id": "resp_0193f2b0c1",
    "object": "response",
    "created_at": 1795247421,
    "completed_at": 1795247421,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": 64,
    "metadata": {},
    "model": "small",
    "output": [_ITEM],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "store": False,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "usage": {
        "input_tokens": 14,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 16,
    },
}
_STREAM = """\
event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_0193f2b0c100","output_index":0,\
"content_index":0,"delta":"Paris.","logprobs":[]}

event: response.output_text.done
data: {"type":"response.output_text.done","sequence_number":5,"item_id":"msg_0193f2b0c100","output_index":0,\
"content_index":0,"text":"Paris.","logprobs":[]}

: x-weighbridge-cost-usd 0.000018000

"""


def _absent(method: Literal["get", "delete", "post"], summary: str) -> Operation:
    return Operation(
        method=method,
        path="/v1/responses/{response_id}",
        summary=summary,
        tag="Responses",
        description="No response is kept, so this always answers 404.",
        parameters=(Parameter("response_id", "Of the response."),),
        refusals=READING,
    )


RESPONSES = (
    Operation(
        method="post",
        path="/v1/responses",
        summary="Answer a conversation, item by item",
        tag="Responses",
        description="What a chat completion does, in the words of OpenAI's newer API, for every chat model. Nothing is kept: "
        "each request brings the whole conversation as `input`, every reply says `store: false`, and "
        "`previous_response_id`, `conversation`, `prompt`, `background` and `store: true` get 400, as do references to "
        "items of an earlier answer and tools that OpenAI's servers run. Clients that refer to earlier items by themselves "
        "must be told `store: false`. Reasoning items are accepted and not sent on, because no chat model reads them. "
        "An output of a tool that is no text is shown to the model as a message of the user, and a tool's namespace as "
        "part of its name. A model's reasoning comes as a `summary` if `reasoning.summary` asks for one, "
        "else as `content`. A stream ends with `response.completed` or `response.incomplete`; one that broke, with "
        "`response.failed` and `error`.",
        request=ResponsesBody,
        examples=(
            Example(
                "A question",
                {"model": "auto", "input": "What is the capital of France?", "max_output_tokens": 64},
                "responses.create",
            ),
            Example(
                "As a stream",
                {
                    "model": "auto",
                    "input": "What is the capital of France?",
                    "max_output_tokens": 64,
                    "stream": True,
                },
                "responses.create",
            ),
            Example(
                "A tool's result",
                {
                    "model": "auto",
                    "input": [
                        {"role": "user", "content": "How is the weather in Paris?"},
                        {
                            "type": "function_call",
                            "call_id": "call_1",
                            "name": "get_weather",
                            "arguments": '{"city":"Paris"}',
                        },
                        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
                    ],
                    "tools": [_WEATHER],
                },
                "responses.create",
            ),
        ),
        response=Response,
        response_example=_ANSWER,
        event=ResponseEvent,
        event_example=_STREAM,
        refusals=BILLABLE,
        is_billable=True,
    ),
    _absent("get", "Show a response"),
    _absent("delete", "Delete a response"),
    _absent("post", "Compact a conversation, or count its tokens"),
)
