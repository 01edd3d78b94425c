"""What a worker takes as a chat request, without any model."""

from typing import Any

import msgspec
import pytest

from workers.errors import InvalidRequestError
from workers.request import parse, parse_completion

GOOD = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def encode(**fields: Any) -> bytes:
    return msgspec.json.encode(GOOD | fields)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


def schema_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


TOOL = {"type": "function", "function": {"name": "f"}}

BAD_VALUES = [
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": [{"role": "boss", "content": "Hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages[0].content[0].type"),
    ({"model": 5}, "model"),
    ({"n": 0}, "n"),
    ({"n": 5}, "n"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 10**18}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"top_k": 10**6}, "top_k"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"seed": "a"}, "seed"),
    ({"stop": [""]}, "stop[0]"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": "x" * 257}, "stop"),
    ({"logit_bias": {"the": 1}}, "logit_bias"),
    ({"logit_bias": {"5": 101}}, "logit_bias[...]"),
    ({"top_logprobs": 5}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": schema_format([1])}, "response_format.json_schema.schema"),
    ({"response_format": schema_format(nested(33))}, "response_format"),
    ({"structured_outputs": {}}, "structured_outputs.regex"),
    ({"structured_outputs": {"regex": ""}}, "structured_outputs.regex"),
    ({"structured_outputs": {"regex": "a" * 4097}}, "structured_outputs.regex"),
    ({"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}}, "structured_outputs"),
    ({"structured_outputs": {"regex": "a"}, "tools": [TOOL]}, "structured_outputs"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"tools": [TOOL] * 129}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": nested(40)}}]}, "tools[0].function.parameters"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
]  # fmt: skip


@pytest.mark.fault("C7")
@pytest.mark.parametrize(
    ("fields", "param"), BAD_VALUES, ids=[f"{next(iter(b))}-{i}" for i, (b, _) in enumerate(BAD_VALUES)]
)
def test_a_wrong_value_is_named_with_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse(encode(**fields))

    assert (refusal.value.status, refusal.value.code, refusal.value.param) == (400, "invalid_value", param)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"model": "m"', id="cut off"),
        pytest.param(encode()[:-1] + b', "temperature": NaN}', id="NaN", marks=pytest.mark.fault("C1")),
        pytest.param(encode()[:-1] + b', "user": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="100,000 levels", marks=pytest.mark.fault("C2")),
        pytest.param(encode().replace(b"Hi", b"\\ud800"), id="lone surrogate", marks=pytest.mark.fault("C4")),
        pytest.param(encode().replace(b"Hi", b"\xff"), id="not UTF-8", marks=pytest.mark.fault("C4")),
        pytest.param(b"\xef\xbb\xbf" + encode(), id="byte order mark", marks=pytest.mark.fault("C4")),
    ],
)  # fmt: skip
def test_what_is_not_json_is_called_so(body: bytes) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse(body)

    assert (refusal.value.status, refusal.value.code) == (400, "invalid_json")


@pytest.mark.parametrize("name", ["n_predict", "grammar", "id_slot", "cache_prompt", "api_base", "lora"])
def test_the_engines_own_options_cannot_be_reached(name: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse(encode(**{name: 1}))

    assert (refusal.value.code, refusal.value.param) == ("unknown_parameter", name)


def test_a_reply_of_openais_sdk_can_be_sent_back_as_it_came() -> None:
    reply = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
    }

    request = parse(encode(messages=[{"role": "user", "content": "Hi"}, reply]))

    assert request.messages[1].content == "Hi"


def test_null_means_not_given() -> None:
    request = parse(encode(n=None, max_tokens=None, stop=None, tools=None, response_format=None, stream=None))

    assert request == parse(encode())


def test_the_newer_name_of_the_output_limit_wins() -> None:
    assert parse(encode(max_tokens=5, max_completion_tokens=7)).output_limit == 7


def completion(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "m", "prompt": "Hi"} | fields)


@pytest.mark.fault("C7")
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [1, [2]]}, "prompt"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": {"prompt_string": "a", "multimodal_data": []}}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"n": 2, "best_of": 1}, "best_of"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_a_wrong_value_of_a_completion_is_named_with_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse_completion(completion(**fields))

    assert (refusal.value.code, refusal.value.param) == ("invalid_value", param)


@pytest.mark.parametrize(
    "name", ["n_predict", "grammar", "messages", "tools", "response_format", "input_extra"]
)
def test_a_completion_has_no_fields_of_the_engine_or_of_chats(name: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse_completion(completion(**{name: 1}))

    assert (refusal.value.code, refusal.value.param) == ("unknown_parameter", name)


@pytest.mark.parametrize(
    ("prompt", "choices"),
    [("a", 2), (["a"], 2), (["a", "b"], 4), ([1, 2, 3], 2), ([[1, 2], [3], [4]], 6), ("", 2)],
)
def test_every_prompt_has_as_many_answers(prompt: Any, choices: int) -> None:
    request = parse_completion(completion(prompt=prompt, n=2, best_of=2, echo=False, suffix=""))

    assert request.choices == choices
