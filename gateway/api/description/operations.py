"""Every operation of the apps' listener. A new surface adds its own here; a test compares them with the routes."""

from typing import Any

from gateway.api.description.anthropic_operations import MESSAGES
from gateway.api.description.anthropic_replies import AnthropicModel, AnthropicModelList
from gateway.api.description.batch_operations import BATCHES, FILES
from gateway.api.description.chat_replies import ChatCompletion, ChatCompletionChunk
from gateway.api.description.feedback_operations import FEEDBACK
from gateway.api.description.openai_operations import COMPLETIONS, EMBEDDINGS, MODERATIONS
from gateway.api.description.openai_replies import Model, ModelList
from gateway.api.description.operation import BILLABLE, READING, Example, Operation, Parameter
from gateway.api.description.responses_operations import RESPONSES
from gateway.api.openai.decode import ChatBody

_QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
_USAGE = {"prompt_tokens": 14, "completion_tokens": 8, "total_tokens": 22}
_ANSWER = {
    "id": "chatcmpl-0193f2b0c1",
    "object": "chat.completion",
    "created": 1795247421,
    "model": "small",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The capital of France is Paris.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
}
_STREAM = """\
data: {"id":"chatcmpl-0193f2b0c1","object":"chat.completion.chunk","created":1795247421,"model":"small",\
"choices":[{"index":0,"delta":{"role":"assistant","content":"Paris"},"logprobs":null,"finish_reason":null}]}

data: {"id":"chatcmpl-0193f2b0c1","object":"chat.completion.chunk","created":1795247421,"model":"small",\
"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}

: x-weighbridge-cost-usd 0.000022000

data: [DONE]

"""
_WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}

CHAT = (
    Operation(
        method="post",
        path="/v1/chat/completions",
        summary="Answer a conversation",
        tag="Chat",
        description="Whole, or as a stream of events with `stream: true`. The gateway weighs the prompt, sends it to the "
        "cheapest model that will do, and says in headers which one that was, why, and what it cost.",
        request=ChatBody,
        examples=(
            Example(
                "A question",
                {"model": "auto", "messages": _QUESTION, "max_tokens": 64},
                "chat.completions.create",
            ),
            Example(
                "As a stream",
                {
                    "model": "auto",
                    "messages": _QUESTION,
                    "max_tokens": 64,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                },
                "chat.completions.create",
            ),
            Example(
                "With a tool",
                {
                    "model": "auto",
                    "messages": [{"role": "user", "content": "How is the weather in Paris?"}],
                    "tools": [_WEATHER],
                },
                "chat.completions.create",
            ),
        ),
        response=ChatCompletion,
        response_example=_ANSWER,
        event=ChatCompletionChunk,
        event_example=_STREAM,
        refusals=BILLABLE,
        is_billable=True,
    ),
)

_FOR_ANTHROPIC = Parameter(
    "anthropic-version",
    "Asks for the shape of Anthropic's API: `2023-06-01`.",
    place="header",
    is_required=False,
)
MODELS = (
    Operation(
        method="get",
        path="/v1/models",
        summary="List the models that you may use",
        tag="Models",
        description="`auto` and `auto:<policy>` stand for the gateway's own choice. With the header `anthropic-version` the "
        "answer has the shape, and the pages, that Anthropic's clients expect.",
        examples=(Example("", {}, "models.list"),),
        parameters=(_FOR_ANTHROPIC,),
        response=(ModelList, AnthropicModelList),
        refusals=READING,
    ),
    Operation(
        method="get",
        path="/v1/models/{model}",
        summary="Show one model",
        tag="Models",
        parameters=(Parameter("model", "Its name, as in the list."), _FOR_ANTHROPIC),
        response=(Model, AnthropicModel),
        refusals=READING,
    ),
)

_STATUS = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}

SERVICE = (
    Operation(
        method="get",
        path="/healthz",
        summary="Whether the process lives",
        tag="Service",
        is_open=True,
        response=_STATUS,
    ),
    Operation(
        method="get",
        path="/readyz",
        summary="Whether it can answer, and which of its parts are degraded",
        tag="Service",
        is_open=True,
        response=_STATUS,
        also={503: "It is shutting down."},
    ),
    Operation(
        method="get",
        path="/openapi.json",
        summary="This description, for programs",
        tag="Service",
        is_open=True,
        response={"type": "object"},
    ),
    Operation(
        method="get",
        path="/docs",
        summary="This description, for people",
        tag="Service",
        is_open=True,
        response={"type": "string"},
        response_media="text/html",
    ),
)
METRICS = Operation(
    method="get",
    path="/metrics",
    summary="Figures for Prometheus",
    tag="Service",
    is_open=True,
    response={"type": "string"},
    response_media="text/plain",
)

OPERATIONS = (
    *CHAT,
    *RESPONSES,
    COMPLETIONS,
    EMBEDDINGS,
    MODERATIONS,
    *MESSAGES,
    *FILES,
    *BATCHES,
    FEEDBACK,
    *MODELS,
    *SERVICE,
)
