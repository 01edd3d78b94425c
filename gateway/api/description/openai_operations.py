"""OpenAI's operations beside chat: legacy completions, embeddings and moderations."""

from gateway.api.description.openai_replies import Completion
from gateway.api.description.operation import BILLABLE, Example, Operation
from gateway.api.openai.completions import CompletionBody

COMPLETIONS = Operation(
    method="post",
    path="/v1/completions",
    summary="Go on from a text",
    tag="Chat",
    description="The endpoint from before there were chats. A model with the ability `completions` goes on from the text "
    "itself; any other answers it as a chat of one message, and then `suffix`, `echo`, `best_of` above `n`, several "
    "prompts and prompts of tokens get 400. As at OpenAI an answer has 16 tokens if `max_tokens` does not say otherwise. "
    "Several prompts with several answers each count together as `n` does.",
    request=CompletionBody,
    examples=(
        Example(
            "A text",
            {"model": "auto", "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0},
            "completions.create",
        ),
        Example(
            "As a stream",
            {"model": "auto", "prompt": "The capital of France is", "max_tokens": 8, "stream": True},
            "completions.create",
        ),
    ),
    response=Completion,
    response_example={
        "id": "cmpl-0193f2b0c1",
        "object": "text_completion",
        "created": 1795247421,
        "model": "small",
        "choices": [{"text": " Paris.", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    },
    event=Completion,
    event_example="""\
data: {"id":"cmpl-0193f2b0c1","object":"text_completion","created":1795247421,"model":"small",\
"choices":[{"text":" Paris.","index":0,"logprobs":null,"finish_reason":null}]}

data: {"id":"cmpl-0193f2b0c1","object":"text_completion","created":1795247421,"model":"small",\
"choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}]}

: x-weighbridge-cost-usd 0.000009000

data: [DONE]

""",
    refusals=BILLABLE,
    is_billable=True,
)
