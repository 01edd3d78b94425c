"""What of a request's body a scorer gets to see."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.scoring.prompt import MAX_CHARS, prompt_of


def of(*messages, **rest):
    return prompt_of({"messages": list(messages), **rest})


def test_the_last_user_turn_the_system_prompt_and_the_rest_are_told_apart():
    prompt = of(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Oslo?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "w", "arguments": '{"q": "Oslo"}'}}],
        },
        {"role": "tool", "content": "7 degrees"},
        {"role": "assistant", "content": "It is 7 degrees."},
        {"role": "developer", "content": "Answer in French."},
        {"role": "user", "content": "And in Bergen?"},
    )

    assert prompt.system == "Be brief.\nAnswer in French."
    assert prompt.user == "And in Bergen?"
    assert prompt.history == 'Weather in Oslo?\n\n{"q": "Oslo"}\n7 degrees\nIt is 7 degrees.'
    assert prompt.turns == 2


def test_what_follows_the_last_user_turn_is_history():
    prompt = of(
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "A"},
        {"role": "tool", "content": "T"},
    )

    assert (prompt.user, prompt.history) == ("Q", "A\nT")


def test_parts_are_joined_and_an_image_is_noticed():
    image = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}

    prompt = of(
        {
            "role": "user",
            "content": [{"type": "text", "text": "What"}, image, {"type": "text", "text": "is it?"}],
        }
    )

    assert prompt.user == "What\nis it?"
    assert prompt.has_images


@pytest.mark.parametrize(
    ("rest", "has_tools", "wants_json"),
    [
        ({}, False, False),
        ({"tools": [], "response_format": {"type": "text"}}, False, False),
        ({"tools": [{"type": "function"}]}, True, False),
        ({"functions": [{"name": "f"}]}, True, False),
        ({"response_format": {"type": "json_object"}}, False, True),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, False, True),
    ],
)
def test_tools_and_wanted_json_are_noticed(rest, has_tools, wants_json):
    prompt = of({"role": "user", "content": "Q"}, **rest)

    assert (prompt.has_tools, prompt.wants_json) == (has_tools, wants_json)


def test_long_texts_keep_their_beginning_and_their_end():
    prompt = of({"role": "user", "content": "start" + "x" * 1_000_000 + "end"})

    assert len(prompt.user) == MAX_CHARS
    assert prompt.user.startswith("start")
    assert prompt.user.endswith("end")


def test_of_a_long_conversation_the_newest_turns_are_kept():
    turns = [{"role": "user", "content": f"<{number}>" + "y" * 1000} for number in range(1000)]

    prompt = of(*turns)

    assert prompt.turns == 1000
    assert len(prompt.history) <= MAX_CHARS
    assert "<998>" in prompt.history
    assert "<0>" not in prompt.history


_keys = st.sampled_from(
    [
        "role",
        "content",
        "type",
        "text",
        "tool_calls",
        "function",
        "arguments",
        "tools",
        "functions",
        "response_format",
        "x",
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=20,
)
_odd_message = st.dictionaries(
    _keys, _json | st.sampled_from(["user", "system", "assistant", "image_url"]), max_size=5
)


@settings(deadline=None)
@given(
    body=st.fixed_dictionaries({}, optional={"messages": st.lists(_odd_message | _json, max_size=5) | _json})
    | st.dictionaries(_keys, _json)
)
def test_odd_shapes_are_absent_and_never_errors(body):
    prompt = prompt_of(body)

    assert isinstance(prompt.user, str)
    assert prompt.turns >= 0
