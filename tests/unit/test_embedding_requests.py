"""What a request for vectors, and one for verdicts, asks for, as the decoders read it."""

from typing import Any

import msgspec
import pytest

from gateway.api.openai.embeddings import EmbeddingsDialect
from gateway.api.openai.moderations import ModerationsDialect
from gateway.errors import InvalidRequestError
from gateway.ticket import Request


def embedding(**fields: Any) -> Request:
    return EmbeddingsDialect().decode(msgspec.json.encode({"model": "m", **fields}), {})


def moderation(**fields: Any) -> Request:
    return ModerationsDialect().decode(msgspec.json.encode(fields), {})


WRONG_EMBEDDINGS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "input", "missing_required_parameter"),
    ({"input": None}, "input", "invalid_value"),
    ({"input": ""}, "input", "invalid_value"),
    ({"input": []}, "input", "invalid_value"),
    ({"input": ["a", ""]}, "input[1]", "invalid_value"),
    ({"input": [[]]}, "input[0]", "invalid_value"),
    ({"input": [[1], []]}, "input[1]", "invalid_value"),
    ({"input": ["a", 1]}, "input", "invalid_value"),
    ({"input": [1, [2]]}, "input", "invalid_value"),
    ({"input": [-1]}, "input[0]", "invalid_value"),
    ({"input": [True]}, "input[0]", "invalid_value"),
    ({"input": {"text": "a"}}, "input", "invalid_value"),
    ({"input": ["a"] * 2049}, "input", "invalid_value"),
    ({"input": "a", "encoding_format": "int8"}, "encoding_format", "invalid_value"),
    ({"input": "a", "dimensions": 0}, "dimensions", "invalid_value"),
    ({"input": "a", "dimensions": 1.5}, "dimensions", "invalid_value"),
    ({"input": "a", "dimensions": 10**9}, "dimensions", "invalid_value"),
    ({"input": "a", "user": 5}, "user", "invalid_value"),
    ({"input": "a", "api_base": "http://127.0.0.1:1"}, "api_base", "unknown_parameter"),
]


@pytest.mark.parametrize(("fields", "param", "code"), WRONG_EMBEDDINGS)
def test_a_wrong_request_for_vectors_is_refused_with_the_field_at_fault(
    fields: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        embedding(**fields)

    assert (refused.value.param, refused.value.code) == (param, code)


def test_2048_inputs_are_taken() -> None:
    assert len(embedding(input=["a"] * 2048).body["input"]) == 2048


def test_the_tokens_of_one_long_text_are_one_input() -> None:
    assert embedding(input=list(range(5000))).context_bytes == 20_000


def test_the_encoding_is_honoured_here_and_the_dimensions_by_the_model() -> None:
    request = embedding(input="a", encoding_format="base64", dimensions=5, user=None, task="x")

    assert request.fields == {"dimensions", "task"}
    assert "user" not in request.body
    assert request.is_deterministic


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}

WRONG_MODERATIONS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "input", "missing_required_parameter"),
    ({"input": 5}, "input", "invalid_value"),
    ({"input": []}, "input", "invalid_value"),
    ({"input": ["a", {"type": "text", "text": "b"}]}, "input", "invalid_value"),
    ({"input": [{"type": "video"}]}, "input[0].type", "invalid_value"),
    ({"input": [{"type": "text"}]}, "input[0].text", "missing_required_parameter"),
    ({"input": [{"type": "image_url", "image_url": "x"}]}, "input[0].image_url", "invalid_value"),
    ({"input": [1, 2]}, "input[0]", "invalid_value"),
    ({"input": "a", "model": ""}, "model", "invalid_value"),
    ({"input": "a", "base_url": "x"}, "base_url", "unknown_parameter"),
]


@pytest.mark.parametrize(("fields", "param", "code"), WRONG_MODERATIONS)
def test_a_wrong_request_for_verdicts_is_refused_with_the_field_at_fault(
    fields: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        moderation(**fields)

    assert (refused.value.param, refused.value.code) == (param, code)


def test_a_picture_needs_a_model_that_sees_and_weighs_no_more_than_one_counts() -> None:
    request = moderation(input=[{"type": "text", "text": "a"}, PICTURE])

    assert request.needs == {"vision"}
    assert request.body_bytes < 10_000


def test_without_a_model_the_gateway_chooses() -> None:
    assert moderation(input="a").model == "auto"
