"""OpenAI's operations beside chat: legacy completions, embeddings and moderations."""

from gateway.api.description.openai_replies import Completion, EmbeddingList, Moderation
from gateway.api.description.operation import BILLABLE, Example, Operation
from gateway.api.openai.completions import CompletionBody
from gateway.api.openai.embeddings import EmbeddingBody
from gateway.api.openai.moderations import ModerationBody

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

EMBEDDINGS = Operation(
    method="post",
    path="/v1/embeddings",
    summary="Turn texts into vectors",
    tag="Embeddings",
    description="Vectors of different models cannot be compared, so the model must be named: `auto` gets 400. Whatever the "
    "model's server answers, you get the encoding that you ask for; 32-bit floats keep every bit on the way. The same "
    "input has the same vector, so repeated ones come from the cache.",
    request=EmbeddingBody,
    examples=(
        Example(
            "Two texts",
            {"model": "text-embedding-3-small", "input": ["A dog barks.", "A hound howls."]},
            "embeddings.create",
        ),
    ),
    response=EmbeddingList,
    response_example={
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456, 0.0789]},
            {"object": "embedding", "index": 1, "embedding": [0.0119, -0.0471, 0.0802]},
        ],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    },
    refusals=BILLABLE,
    is_billable=True,
)

MODERATIONS = Operation(
    method="post",
    path="/v1/moderations",
    summary="Judge whether texts or pictures may do harm",
    tag="Moderations",
    description="Passed on to a moderation model that you may use; without `model` the gateway chooses one. One verdict for "
    "each text, or one for all parts of a message.",
    request=ModerationBody,
    examples=(Example("A text", {"input": "I want to hurt him."}, "moderations.create"),),
    response=Moderation,
    response_example={
        "id": "modr-0193f2b0c1",
        "model": "omni-moderation-latest",
        "results": [
            {
                "flagged": True,
                "categories": {"violence": True, "hate": False},
                "category_scores": {"violence": 0.91, "hate": 0.002},
            }
        ],
    },
    refusals=BILLABLE,
    is_billable=True,
)
