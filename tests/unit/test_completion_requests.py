"""What a legacy completion asks for, as the decoder reads it."""

from typing import Any

import msgspec
import pytest

from gateway.api.openai.completions import CompletionsDialect
from gateway.errors import InvalidRequestError
from gateway.ticket import Request


def decode(**fields: Any) -> Request:
    return CompletionsDialect().decode(msgspec.json.encode({"model": "m", **fields}), {})


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": []}, "prompt", "invalid_value"),
    ({"prompt": [[]]}, "prompt[0]", "invalid_value"),
    ({"prompt": ["a", 1]}, "prompt", "invalid_value"),
    ({"prompt": [1, [1]]}, "prompt", "invalid_value"),
    ({"prompt": [-1]}, "prompt[0]", "invalid_value"),
    ({"prompt": [1.5]}, "prompt[0]", "invalid_value"),
    ({"prompt": {"text": "a"}}, "prompt", "invalid_value"),
    ({"prompt": 5}, "prompt", "invalid_value"),
    ({"max_tokens": -1}, "max_tokens", "invalid_value"),
    ({"max_completion_tokens": 5}, "max_completion_tokens", "unknown_parameter"),
    ({"best_of": 0}, "best_of", "invalid_value"),
    ({"n": 3, "best_of": 2}, "best_of", "invalid_value"),
    ({"best_of": 2, "stream": True}, "best_of", "invalid_value"),
    ({"logprobs": True}, "logprobs", "invalid_value"),
    ({"logprobs": 21}, "logprobs", "invalid_value"),
    ({"echo": "yes"}, "echo", "invalid_value"),
    ({"suffix": 5}, "suffix", "invalid_value"),
    ({"temperature": 3}, "temperature", "invalid_value"),
    ({"api_base": "http://127.0.0.1:1"}, "api_base", "unknown_parameter"),
]


@pytest.mark.parametrize(("fields", "param", "code"), WRONG)
def test_a_wrong_request_is_refused_with_the_field_at_fault(
    fields: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decode(**{"prompt": "Hello", **fields})

    assert (refused.value.param, refused.value.code) == (param, code)


def test_a_body_without_a_prompt_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decode()

    assert (refused.value.param, refused.value.code) == ("prompt", "missing_required_parameter")


@pytest.mark.parametrize(
    ("fields", "choices"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": "a", "n": 2, "best_of": 2}, 2),
        ({"prompt": "a", "n": 2, "best_of": 3}, 3),
        ({"prompt": ["a", "b"], "n": 3}, 6),
        ({"prompt": [1, 2, 3], "n": 2}, 2),
        ({"prompt": [[1, 2], [3]], "best_of": 2}, 4),
        ({"prompt": None}, 1),
    ],
)
def test_every_answer_that_is_written_counts(fields: dict[str, Any], choices: int) -> None:
    assert decode(**fields).choices == choices


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"prompt": "four"}, 4),
        ({"prompt": "\u00e9\u00e9"}, 4),
        ({"prompt": ["a", "abcd", "ab"]}, 4),
        ({"prompt": ["a", "abcd"], "suffix": "ab"}, 6),
        ({"prompt": [[1, 2, 3], [4]]}, 12),
        ({"prompt": None}, 0),
    ],
)
def test_the_longest_prompt_is_what_must_fit(fields: dict[str, Any], size: int) -> None:
    assert decode(**fields).context_bytes == size


def test_what_is_null_or_at_its_default_asks_for_nothing() -> None:
    request = decode(prompt="a", suffix=None, echo=False, best_of=1, logprobs=None, seed=None, messages=None)

    assert request.wishes == frozenset()


def test_fields_that_every_chat_has_are_wished_of_either_sort_and_those_of_chats_only_of_none_that_is_one() -> (
    None
):
    request = decode(prompt="a", seed=1, min_p=0.1, echo=True, tools=[], messages=[])

    assert request.fields == {"seed", "min_p"}
    assert request.native_fields == {"echo", "tools", "messages"}
