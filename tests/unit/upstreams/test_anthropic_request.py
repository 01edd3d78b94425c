"""What a chat completion request becomes in Anthropic's dialect."""

import base64
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.anthropic.chat import UntranslatableError, read_chat
from gateway.upstreams.anthropic.request import message_request

Json = dict[str, Any]
HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {"name": "weather", "description": "Of a city", "parameters": {"type": "object", "properties": {}}}
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0xLjQ="


def translated(messages: list[Json] | None = None, **fields: Any) -> Json:
    chat = {"model": "claude", "max_tokens": 100, "messages": messages or HELLO, **fields}
    return message_request(read_chat(chat))


def turns(messages: list[Json]) -> list[Json]:
    found = translated(messages)["messages"]
    assert isinstance(found, list)
    return found


def text(said: str) -> Json:
    return {"type": "text", "text": said}


def a_call(call_id: str = "call_1", arguments: Any = '{"city": "Paris"}') -> Json:
    return {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": arguments}}


def a_tool(**more: Any) -> Json:
    return {"type": "function", "function": {**WEATHER, **more}}


def test_a_plain_chat_is_a_model_a_ceiling_and_a_turn() -> None:
    assert translated() == {
        "model": "claude",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": [text("Hello")]}],
    }


def test_either_name_of_the_ceiling_will_do() -> None:
    chat = {"model": "claude", "max_completion_tokens": 7, "messages": HELLO}

    assert message_request(read_chat(chat))["max_tokens"] == 7


def test_system_and_developer_messages_are_one_system_prompt_in_their_order() -> None:
    body = translated(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
            {"role": "developer", "content": [text("Use French."), text("And rhyme.")]},
            {"role": "user", "content": "Go on"},
            {"role": "system", "content": ""},
        ]
    )

    assert body["system"] == [text("Be brief."), text("Use French."), text("And rhyme.")]
    assert body["messages"] == [{"role": "user", "content": [text("Hello"), text("Go on")]}]


def test_instructions_alone_are_a_prompt() -> None:
    body = translated([{"role": "system", "content": "Tell a joke."}])

    assert body["messages"] == [{"role": "user", "content": [text("Tell a joke.")]}]
    assert "system" not in body


def test_messages_of_one_side_in_a_row_are_one_turn() -> None:
    said = [("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d"), ("user", "e")]

    assert turns([{"role": role, "content": content} for role, content in said]) == [
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c"), text("d")]},
        {"role": "user", "content": [text("e")]},
    ]


def test_a_chat_that_ends_with_the_assistant_goes_on_from_there() -> None:
    prefilled = [*HELLO, {"role": "assistant", "content": "The answer is ("}]

    assert turns(prefilled)[-1] == {"role": "assistant", "content": [text("The answer is (")]}


@pytest.mark.parametrize("content", ["", " \n", None, [text("")], []])
def test_nothing_is_said_where_nothing_was(content: Any) -> None:
    said = turns([*HELLO, {"role": "assistant", "content": content}, {"role": "user", "content": "Well?"}])

    assert said == [{"role": "user", "content": [text("Hello"), text("Well?")]}]


def test_calls_and_their_results_are_blocks_and_all_results_are_one_turn() -> None:
    said = turns(
        [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [a_call("call_1"), a_call("call_2", "")]},
            {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"},
            {"role": "tool", "tool_call_id": "call_2", "content": [text("Rain")]},
            {"role": "user", "content": "Thanks"},
        ]
    )

    assert said[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "call_2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": [text("Sunny")]},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [text("Rain")]},
                text("Thanks"),
            ],
        },
    ]


def test_an_id_that_another_provider_made_is_mended_on_both_sides() -> None:
    said = turns(
        [
            {"role": "assistant", "tool_calls": [a_call("functions.weather:0")]},
            {"role": "tool", "tool_call_id": "functions.weather:0", "content": ""},
        ]
    )

    assert said[0]["content"][0]["id"] == "functions_weather_0"
    assert said[1]["content"] == [{"type": "tool_result", "tool_use_id": "functions_weather_0"}]


@pytest.mark.parametrize("written", ["[1]", "not JSON", '{"a": ', "[" * 5000])
def test_arguments_that_are_no_object_are_still_shown_to_the_model(written: str) -> None:
    said = turns([*HELLO, {"role": "assistant", "tool_calls": [a_call(arguments=written)]}])

    assert said[1]["content"][0]["input"] == {"arguments": written}


def test_legacy_functions_are_tools_with_an_id_of_their_place() -> None:
    body = translated(
        [
            *HELLO,
            {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
            {"role": "function", "name": "weather", "content": "Sunny"},
        ],
        functions=[WEATHER],
        function_call={"name": "weather"},
    )

    assert [block["type"] for turn in body["messages"] for block in turn["content"]] == [
        "text",
        "tool_use",
        "tool_result",
    ]
    assert body["messages"][1]["content"][0]["id"] == body["messages"][2]["content"][0]["tool_use_id"]
    assert body["tools"][0]["name"] == "weather"
    assert body["tool_choice"] == {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}


def test_a_refusal_and_a_users_name_are_part_of_what_was_said() -> None:
    said = turns(
        [
            {"role": "user", "name": "ann", "content": "Hello"},
            {"role": "assistant", "name": "bot", "content": [{"type": "refusal", "refusal": "I will not."}]},
            {"role": "user", "name": "bob", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
            {"role": "assistant", "content": None, "refusal": "Nor that."},
        ]
    )

    assert [turn["content"][0].get("text") for turn in said] == [
        "ann: Hello",
        "I will not.",
        "bob:",
        "Nor that.",
    ]


@pytest.mark.parametrize(
    ("url", "source"),
    [
        (PNG, {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}),
        (
            "data:image/jpg;name=a;base64,QUI=",
            {"type": "base64", "media_type": "image/jpeg", "data": "QUI="},
        ),
        ("https://example.com/a.png", {"type": "url", "url": "https://example.com/a.png"}),
    ],
)
@pytest.mark.fault("A10")
def test_an_image_goes_as_data_or_as_its_address(url: str, source: Json) -> None:
    for image in (url, {"url": url, "detail": "high"}):
        [turn] = turns([{"role": "user", "content": [{"type": "image_url", "image_url": image}]}])

        assert turn["content"] == [{"type": "image", "source": source}]


def a_file(data: str | None, **more: Any) -> list[Json]:
    return [{"role": "user", "content": [{"type": "file", "file": {"file_data": data, **more}}]}]


def test_files_are_documents_or_images() -> None:
    note = "data:text/markdown;base64," + base64.b64encode("# Größe".encode()).decode()

    pdf, page, image = [turns(a_file(data, filename="f"))[0]["content"][0] for data in (PDF, note, PNG)]

    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="}
    assert pdf == {"type": "document", "source": source, "title": "f"}
    assert page["source"] == {"type": "text", "media_type": "text/plain", "data": "# Größe"}
    assert image["type"] == "image"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (a_file(None, file_id="file-1"), "messages[0].content[0].file.file_id"),
        (a_file("JVBERi0xLjQ="), "messages[0].content[0].file.file_data"),
        (a_file("data:application/zip;base64,UEs="), "messages[0].content[0].file.file_data"),
        (a_file("data:text/plain;base64,/w=="), "messages[0].content[0].file.file_data"),
        (a_file("data:text/plain;base64,?"), "messages[0].content[0].file.file_data"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png,%00"}]}],
            "messages[0].content[0].image_url",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "gs://a/b"}}]}],
            "messages[0].content[0].image_url",
        ),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [text("a"), {"type": "text"}]}], "messages[0].content[1]"),
        ([{"role": "tool", "content": "Sunny"}], "messages[0].tool_call_id"),
        ([{"role": "function", "name": "f", "content": "Sunny"}], "messages[0].tool_call_id"),
        ([{"role": "assistant", "tool_calls": 5}], "messages[0].tool_calls"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {}}]}],
            "messages[0].tool_calls[0]",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_place(messages: list[Json], param: str) -> None:
    with pytest.raises(UntranslatableError) as refused:
        translated(messages)

    assert refused.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        (
            {"tools": [a_tool()], "tool_choice": {"type": "custom", "custom": {"name": "f"}}},
            "tool_choice.type",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"stop": [1]}, "stop[0]"),
    ],
)
def test_a_wish_that_cannot_be_said_is_refused_by_name(fields: Json, param: str) -> None:
    with pytest.raises(UntranslatableError) as refused:
        translated(**fields)

    assert refused.value.param == param
    assert "cannot be asked this" in str(refused.value) or "send" in str(refused.value)


def test_tools_keep_their_schema_and_their_strictness() -> None:
    plain = {"type": "function", "function": {"name": "now"}}

    body = translated(tools=[a_tool(strict=True), plain])

    assert body["tools"] == [
        {
            "name": "weather",
            "description": "Of a city",
            "input_schema": {"type": "object", "properties": {}},
            "strict": True,
        },
        {"name": "now", "input_schema": {"type": "object"}},
    ]
    assert "tool_choice" not in body


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
            {"type": "tool", "name": "weather"},
        ),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": True}, None),
    ],
)
def test_which_tool_to_use_is_said_in_anthropics_words(fields: Json, choice: Json | None) -> None:
    assert translated(tools=[a_tool()], **fields).get("tool_choice") == choice


def test_tools_that_are_not_allowed_are_not_shown() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]}

    body = translated(
        tools=[a_tool(), other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed}
    )

    assert [tool["name"] for tool in body["tools"]] == ["weather"]
    assert body["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 1, "top_p": 1}, {}),
        ({"top_p": 0.9, "top_k": 5}, {"top_p": 0.9, "top_k": 5}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["END", "\n\nQ:"]}, {"stop_sequences": ["END", "\n\nQ:"]}),
        ({"stop": []}, {}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (
            {"reasoning_effort": "minimal"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        (
            {"reasoning_effort": "xhigh"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        ),
        ({"response_format": {"type": "text"}}, {}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {"type": "string"}},
                }
            },
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "string"}}}},
        ),
        ({"n": 1, "seed": None, "tool_choice": None, "stop": None, "temperature": None}, {}),
    ],
)
def test_each_wish_has_its_own_name(fields: Json, said: Json) -> None:
    body = translated(**fields)

    assert {
        name: value for name, value in body.items() if name not in ("model", "max_tokens", "messages")
    } == said


def test_a_model_that_must_use_a_tool_is_not_told_to_think_first() -> None:
    body = translated(tools=[a_tool()], tool_choice="required", reasoning_effort="high")

    assert "thinking" not in body
    assert body["output_config"] == {"effort": "high"}


def test_marks_for_the_prompt_cache_are_carried_over_whoevers_they_are() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    body = translated(
        [
            {"role": "system", "content": [{**text("Be brief."), "cache_control": mark}]},
            {"role": "user", "content": [{**text("A"), "prompt_cache_breakpoint": {"mode": "explicit"}}]},
            {"role": "assistant", "content": "B", "cache_control": {"type": "ephemeral"}},
            {
                "role": "user",
                "content": [{**text("C"), "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}],
            },
        ],
        tools=[{**a_tool(), "cache_control": mark}],
    )

    assert body["system"][0]["cache_control"] == body["tools"][0]["cache_control"] == mark
    assert [turn["content"][0]["cache_control"] for turn in body["messages"]] == [
        {"type": "ephemeral"},
        {"type": "ephemeral"},
        mark,
    ]


_WORDS = st.text(min_size=1).filter(lambda said: not said.isspace())
_SAID = st.lists(st.tuples(st.sampled_from(["system", "developer", "user", "assistant"]), _WORDS), min_size=1)


@given(said=_SAID)
def test_no_word_is_lost_and_sides_alternate(said: list[tuple[str, str]]) -> None:
    body = translated([{"role": role, "content": content} for role, content in said])

    instructions = [words for role, words in said if role in ("system", "developer")]
    talk = [words for role, words in said if role in ("user", "assistant")]
    heard = [block["text"] for turn in body["messages"] for block in turn["content"]]
    assert heard == (talk or instructions)
    assert [block["text"] for block in body.get("system", [])] == (instructions if talk else [])
    roles = [turn["role"] for turn in body["messages"]]
    assert all(one != other for one, other in pairwise(roles))


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_FIELDS = (
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "stop",
    "response_format",
    "thinking",
    "user",
)


@given(
    message=st.dictionaries(
        st.sampled_from(["content", "name", "tool_calls", "function_call", "tool_call_id", "refusal"]), _JUNK
    ),
    fields=st.dictionaries(st.sampled_from(_FIELDS), _JUNK),
)
def test_whatever_a_chat_holds_it_is_translated_or_refused(message: Json, fields: Json) -> None:
    try:
        body = translated([{"role": "user", **message}], **fields)
    except UntranslatableError:
        return

    assert body["model"] == "claude"
