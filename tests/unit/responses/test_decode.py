"""A Responses request means the same as a chat, or it is refused by the name of what no chat can say."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ToolParam
from openai.types.responses.response_create_params import ResponseCreateParamsBase
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from typing_extensions import get_type_hints

from gateway.api.openai.responses.body import ResponsesBody
from gateway.api.openai.responses.decode import ResponsesDecoder
from gateway.api.openai.responses.refusals import NOT_HERE
from gateway.api.openai.responses.voice import ResponsesVoice
from gateway.errors import InvalidRequestError
from gateway.ticket import Request

DECODE = ResponsesDecoder()
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
PATCH = {"type": "custom", "name": "patch"}
CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}


def decoded(**fields: Any) -> Request:
    return DECODE(msgspec.json.encode({"model": "m", "input": "hi", **fields}), {})


def messages(*items: dict[str, Any], **fields: Any) -> Any:
    return decoded(input=list(items), **fields).body["messages"]


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def assistant(*parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "message",
        "role": "assistant",
        "id": "msg_1",
        "status": "completed",
        "content": list(parts),
    }


def function_call(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def test_a_text_is_a_users_message_and_nothing_else_is_asked_for() -> None:
    request = decoded()

    assert request.body == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert (request.endpoint, request.native) == ("responses", {"model": "m", "input": "hi"})
    assert (request.needs, request.fields, request.native_fields) == (frozenset(), frozenset(), frozenset())
    assert not request.is_stream
    assert not request.is_deterministic


def test_instructions_come_first_and_developers_are_the_system() -> None:
    said = messages(
        {"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}, instructions="A"
    )

    assert said == [
        {"role": "system", "content": "A"},
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]


@pytest.mark.parametrize(
    ("part", "said", "need"),
    [
        ({"type": "input_text", "text": "a"}, {"type": "text", "text": "a"}, None),
        (
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            None,
        ),
        (
            {"type": "input_image", "image_url": "https://a/b.png", "detail": "low"},
            {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
            "vision",
        ),
        (
            {"type": "input_image", "image_url": "data:,", "file_id": None},
            {"type": "image_url", "image_url": {"url": "data:,"}},
            "vision",
        ),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:,"},
            {"type": "file", "file": {"file_data": "data:,", "filename": "a.pdf"}},
            "files",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            "audio",
        ),
    ],
)
def test_a_part_of_a_users_message_is_the_chats(
    part: dict[str, Any], said: dict[str, Any], need: str | None
) -> None:
    request = decoded(input=[user({"type": "input_text", "text": "see"}, part)])

    [message] = request.body["messages"]
    assert message == {"role": "user", "content": [{"type": "text", "text": "see"}, said]}
    assert request.needs == ({need} if need else set())


def test_a_single_text_is_told_as_one_because_every_server_reads_that() -> None:
    assert messages(user({"type": "input_text", "text": "a"})) == [{"role": "user", "content": "a"}]
    assert messages(assistant({"type": "output_text", "text": "a", "annotations": []})) == [
        {"role": "assistant", "content": "a"}
    ]


def test_a_refusal_is_told_back_as_one() -> None:
    assert messages(assistant({"type": "refusal", "refusal": "No."})) == [
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    ]


def test_calls_that_follow_each_other_are_one_message_and_their_outputs_follow_it() -> None:
    said = messages(
        {"role": "user", "content": "hi"},
        assistant({"type": "output_text", "text": "Let me see."}),
        CALL,
        {**CALL, "call_id": "c2"},
        {**OUTPUT, "call_id": "c2"},
        {"role": "user", "content": "Hurry!"},
        OUTPUT,
    )

    assert said[1:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [function_call("c1"), function_call("c2")],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "user", "content": "Hurry!"},
    ]


def test_calls_that_were_answered_in_between_are_two_messages() -> None:
    said = messages(CALL, OUTPUT, {**CALL, "call_id": "c2"}, {**OUTPUT, "call_id": "c2"})

    assert [message["role"] for message in said] == ["assistant", "tool", "assistant", "tool"]


def test_what_was_said_after_a_call_is_in_the_message_that_calls() -> None:
    said = messages(
        assistant({"type": "output_text", "text": "One."}),
        CALL,
        assistant({"type": "output_text", "text": "Two."}),
        OUTPUT,
        assistant({"type": "output_text", "text": "Three."}),
    )

    parts = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert said[0] == {"role": "assistant", "content": parts, "tool_calls": [function_call("c1")]}
    assert said[2] == {"role": "assistant", "content": "Three."}


def test_two_messages_of_the_assistant_stay_two() -> None:
    said = messages(
        {"role": "assistant", "content": "One.", "phase": "commentary"},
        {"role": "assistant", "content": "Two.", "phase": "final_answer"},
        {"role": "user", "content": "hi"},
    )

    assert [message["content"] for message in said] == ["One.", "Two.", "hi"]


def test_an_output_may_be_a_list_of_texts() -> None:
    output = {**OUTPUT, "output": [{"type": "input_text", "text": "sunny"}]}

    assert messages(CALL, output)[1]["content"] == [{"type": "text", "text": "sunny"}]


def test_an_output_that_is_no_text_is_shown_by_the_user_after_all_outputs() -> None:
    image = {"type": "input_image", "image_url": "data:,"}
    request = decoded(
        input=[
            CALL,
            {**CALL, "call_id": "c2"},
            {**OUTPUT, "output": [image]},
            {**OUTPUT, "call_id": "c2", "output": [{"type": "input_text", "text": "a chart"}, image]},
            {"role": "user", "content": "Well?"},
        ]
    )

    shown = {"type": "image_url", "image_url": {"url": "data:,"}}
    assert request.body["messages"][1:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "The output follows as a message of the user."},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "a chart"}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "The output of c1:"},
                shown,
                {"type": "text", "text": "The output of c2:"},
                shown,
            ],
        },
        {"role": "user", "content": "Well?"},
    ]
    assert request.needs == {"vision"}


def test_a_tools_namespace_is_a_part_of_its_name() -> None:
    group = {"type": "namespace", "name": "mail", "description": "Letters.", "tools": [WEATHER, PATCH]}
    request = decoded(
        input=[{**CALL, "namespace": "mail"}, OUTPUT],
        tools=[group, WEATHER],
        tool_choice={"type": "function", "name": "weather", "namespace": "mail"},
    )

    body = request.body
    assert body["messages"][0]["tool_calls"][0]["function"]["name"] == "mail__weather"
    assert [tool[tool["type"]] for tool in body["tools"]] == [
        {"name": "mail__weather", "description": "Letters.", "parameters": {"type": "object"}},
        {"name": "mail__patch"},
        {"name": "weather", "parameters": {"type": "object"}},
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "mail__weather"}}


def test_what_a_model_thought_is_accepted_and_read_by_no_other() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"}
    reference = {"type": "item_reference", "id": "rs_2"}

    assert messages(thought, reference, {"role": "user", "content": "hi"}) == [
        {"role": "user", "content": "hi"}
    ]


def test_custom_tools_and_their_calls_are_the_chats() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
    request = decoded(
        input=[
            {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "+ a"},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        ],
        tools=[{**PATCH, "description": "Patches", "format": grammar}],
        tool_choice={"type": "custom", "name": "patch"},
    )

    body = request.body
    assert body["messages"][0]["tool_calls"] == [
        {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "+ a"}}
    ]
    said = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    assert body["tools"] == [
        {"type": "custom", "custom": {"name": "patch", "description": "Patches", "format": said}}
    ]
    assert body["tool_choice"] == {"type": "custom", "custom": {"name": "patch"}}
    assert "tools.custom" in request.fields


@pytest.mark.parametrize(
    ("fields", "chat", "needs"),
    [
        (
            {"tools": [{**WEATHER, "strict": True, "description": "d"}]},
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "weather",
                            "description": "d",
                            "parameters": {"type": "object"},
                            "strict": True,
                        },
                    }
                ]
            },
            {"tools"},
        ),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": False}, {}, set()),
        ({"max_output_tokens": 20}, {"max_completion_tokens": 20}, set()),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, set()),
        ({"presence_penalty": 1}, {"presence_penalty": 1}, set()),
        ({"min_p": 0.05}, {"min_p": 0.05}, set()),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, {"logprobs"}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}, {"logprobs"}),
        ({"include": ["reasoning.encrypted_content"]}, {}, set()),
        ({"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {}, set()),
        ({"text": {"verbosity": "low"}}, {"verbosity": "low"}, set()),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
            {"json_object"},
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {}, "strict": True},
                }
            },
            {"json_schema"},
        ),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}, {"reasoning"}),
        ({"reasoning": {"effort": "none"}}, {"reasoning_effort": "none"}, set()),
        ({"reasoning": {"summary": "detailed", "context": "auto", "mode": "standard"}}, {}, set()),
        ({"user": "u", "service_tier": "flex"}, {"user": "u", "service_tier": "flex"}, set()),
        (
            {"safety_identifier": "s", "prompt_cache_key": "p"},
            {"safety_identifier": "s", "prompt_cache_key": "p"},
            set(),
        ),
        ({"client_metadata": {"a": {"b": 1}}}, {}, set()),
        ({"metadata": {"a": "b"}, "max_tool_calls": 3, "store": False, "background": False}, {}, set()),
        ({"truncation": "disabled", "stream_options": {"include_obfuscation": True}}, {}, set()),
        ({"previous_response_id": None, "conversation": None, "prompt": None, "n": None}, {}, set()),
        ({"context_management": []}, {}, set()),
        ({"stream": True}, {"stream": True}, set()),
    ],
)
def test_a_field_means_the_same_in_the_chat(
    fields: dict[str, Any], chat: dict[str, Any], needs: set[str]
) -> None:
    request = decoded(**fields)

    assert {name: value for name, value in request.body.items() if name not in ("model", "messages")} == chat
    assert request.needs == needs


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("auto", None),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "weather"}, {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_the_choice_among_tools_is_the_chats(choice: Any, said: Any) -> None:
    body = decoded(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False).body

    assert body.get("tool_choice") == said
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize(("mode", "said"), [("auto", None), ("required", "required")])
def test_only_the_allowed_tools_are_offered(mode: str, said: str | None) -> None:
    allowed = {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": "b"}]}
    request = decoded(tools=[WEATHER, {**WEATHER, "name": "b"}, PATCH], tool_choice=allowed)

    assert [tool["function"]["name"] for tool in request.body["tools"]] == ["b"]
    assert request.body.get("tool_choice") == said
    assert "tools.custom" not in request.fields


def test_a_ceiling_and_a_temperature_are_known_to_the_stages() -> None:
    request = decoded(max_output_tokens=20, temperature=0)

    assert (request.output_tokens, request.output_field) == (20, "max_output_tokens")
    assert request.is_deterministic
    assert request.fields == {"temperature"}


def test_an_images_bytes_do_not_count_as_text() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 100_000}

    assert decoded(input=[user(image)]).body_bytes < 20_000


IMAGE = {"type": "input_image", "image_url": "data:,"}
REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id", "previous_response_not_found"),
    ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
    ({"conversation": {"id": "conv_1"}}, "conversation", "unsupported_parameter"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
    ({"context_management": [{"type": "compaction"}]}, "context_management", "unsupported_parameter"),
    ({"moderation": {"model": "m"}}, "moderation", "unsupported_parameter"),
    ({"access_programs": {"cyber": "standard"}}, "access_programs", "unsupported_parameter"),
    ({"image": {"context_compression": "enabled"}}, "image", "unsupported_parameter"),
    ({"store": True}, "store", "unsupported_value"),
    ({"background": True}, "background", "unsupported_value"),
    ({"truncation": "auto"}, "truncation", "unsupported_value"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "unsupported_value"),
    ({"reasoning": {"context": "all_turns"}}, "reasoning.context", "unsupported_value"),
    ({"messages": []}, "messages", "unsupported_parameter"),
    ({"max_tokens": 5}, "max_tokens", "unsupported_parameter"),
    ({"response_format": {"type": "text"}}, "response_format", "unsupported_parameter"),
    ({"n": 2}, "n", "unknown_parameter"),
    ({"api_base": "http://a"}, "api_base", "unknown_parameter"),
    ({"input": []}, "input", "invalid_value"),
    ({"input": None}, "input", "invalid_value"),
    ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "input", "invalid_value"),
    ({"model": ""}, "model", "invalid_value"),
    ({"temperature": 3}, "temperature", "invalid_value"),
    ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
    ({"top_logprobs": 21}, "top_logprobs", "invalid_value"),
    ({"include": ["everything"]}, "include[0]", "invalid_value"),
    ({"metadata": {"a": 1}}, "metadata[...]", "invalid_value"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema", "missing_required_parameter"),
    ({"text": {"verbosity": "loud"}}, "text.verbosity", "invalid_value"),
    ({"tools": [WEATHER, {"type": "web_search"}]}, "tools[1].type", "unsupported_value"),
    ({"tools": [{"type": "mcp", "server_label": "a"}]}, "tools[0].type", "unsupported_value"),
    ({"tools": [{"type": "namespace", "name": "a", "description": "d", "tools": [{"type": "shell"}]}]}, "tools[0].tools[0].type", "unsupported_value"),
    ({"tools": [{"type": "namespace", "name": "a", "description": "d"}]}, "tools[0].tools", "missing_required_parameter"),
    ({"tools": [{"type": "namespace", "name": "a", "description": "d", "tools": [WEATHER]}, {**WEATHER, "name": "a__weather"}]}, "tools", "invalid_value"),
    ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
    ({"tools": [{"name": "a"}]}, "tools[0].type", "missing_required_parameter"),
    ({"input": [user({"text": "a"})]}, "input[0].content[0].type", "missing_required_parameter"),
    ({"input": [user({"type": {}})]}, "input[0].content[0].type", "invalid_value"),
    ({"tools": [{**WEATHER, "parameters": 1}]}, "tools[0].parameters", "invalid_value"),
    ({"tools": [WEATHER, WEATHER]}, "tools", "invalid_value"),
    ({"tools": [{**WEATHER, "defer_loading": True}]}, "tools[0].defer_loading", "unsupported_value"),
    ({"tools": [{**PATCH, "async": True}]}, "tools[0].async", "unsupported_value"),
    (
        {"tools": [{**WEATHER, "allowed_callers": ["programmatic"]}]},
        "tools[0].allowed_callers",
        "unsupported_value",
    ),
    ({"tools": [{**PATCH, "format": {"type": "grammar"}}]}, "tools[0].format", "missing_required_parameter"),
    ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
    ({"tools": [WEATHER], "tool_choice": "any"}, "tool_choice", "invalid_value"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "b"}}, "tool_choice", "invalid_value"),
    ({"tools": [WEATHER], "tool_choice": {"type": "file_search"}}, "tool_choice.type", "unsupported_value"),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "function"}},
        "tool_choice.name",
        "missing_required_parameter",
    ),
    (
        {
            "tools": [WEATHER],
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "image_generation"}]},
        },
        "tool_choice.tools[0].type",
        "unsupported_value",
    ),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id", "unsupported_value"),
    ({"input": [{"id": "msg_1"}]}, "input[0].id", "unsupported_value"),
    ({"input": [{}]}, "input[0].type", "missing_required_parameter"),
    ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type", "unsupported_value"),
    ({"input": [{"type": "compaction", "encrypted_content": "a"}]}, "input[0].type", "unsupported_value"),
    ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role", "invalid_value"),
    ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
    ({"input": [user({"type": "text", "text": "a"})]}, "input[0].content[0].type", "unsupported_value"),
    ({"input": [user({"type": "input_text"})]}, "input[0].content[0].text", "missing_required_parameter"),
    ({"input": [assistant(IMAGE)]}, "input[0].content[0].type", "unsupported_value"),
    ({"input": [user({"type": "refusal", "refusal": "a"})]}, "input[0].content[0].type", "unsupported_value"),
    (
        {"input": [user({"type": "input_image", "file_id": "file-1"})]},
        "input[0].content[0].file_id",
        "unsupported_value",
    ),
    (
        {"input": [user({"type": "input_image"})]},
        "input[0].content[0].image_url",
        "missing_required_parameter",
    ),
    (
        {"input": [user({"type": "input_file", "file_url": "https://a"})]},
        "input[0].content[0].file_url",
        "unsupported_value",
    ),
    (
        {"input": [user({"type": "input_file", "file_id": "file-1"})]},
        "input[0].content[0].file_id",
        "unsupported_value",
    ),
    (
        {"input": [user({"type": "input_file", "file_data": "data:,", "detail": "high"})]},
        "input[0].content[0].detail",
        "unsupported_value",
    ),
    ({"input": [CALL]}, "input", "invalid_value"),
    ({"input": [OUTPUT]}, "input[0].call_id", "invalid_value"),
    ({"input": [{**CALL, "arguments": {}}]}, "input[0].arguments", "invalid_value"),
    ({"input": [CALL, {**OUTPUT, "output": [{"type": "video"}]}]}, "input[1].output[0].type", "unsupported_value"),
    (
        {"input": [CALL, {**OUTPUT, "output": [{"type": "input_image", "file_id": "file-1"}]}]},
        "input[1].output[0].file_id",
        "unsupported_value",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param", "code"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_cannot_be_honoured_is_refused_by_name(
    fields: dict[str, Any], param: str | None, code: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decoded(**fields)

    assert (refused.value.param, refused.value.code, refused.value.status) == (param, code, 400)


def kinds(union: Any) -> set[str]:
    """What the members of one of the SDK's unions call themselves."""
    named = [get_type_hints(member).get("type") for member in get_args(union)]
    return {kind for hint in named for kind in _literals(hint)}


def _literals(hint: Any) -> set[str]:
    return set().union(*(_literals(arg) if not isinstance(arg, str) else {arg} for arg in get_args(hint)))


READ = {
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
}


@pytest.mark.parametrize("kind", sorted(kinds(ResponseInputItemParam) - READ))
def test_every_other_item_that_the_sdk_knows_is_refused_by_its_place(kind: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decoded(input=[{"role": "user", "content": "hi"}, {"type": kind, "id": "i_1"}])

    assert refused.value.param in ("input[1].type", "input[1].id")
    assert refused.value.code == "unsupported_value"


@pytest.mark.parametrize("kind", sorted(kinds(ToolParam) - {"function", "custom", "namespace"}))
def test_every_other_tool_that_the_sdk_knows_is_refused_by_its_place(kind: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decoded(tools=[WEATHER, {"type": kind}])

    assert (refused.value.param, refused.value.code) == ("tools[1].type", "unsupported_value")


def test_every_field_that_the_sdk_sends_is_read_or_refused_by_name() -> None:
    sent = set(ResponseCreateParamsBase.__annotations__) | {"stream"}

    in_chats_too = {"prompt_cache_options", "prompt_cache_retention"}
    assert sent - set(ResponsesBody.__struct_fields__) - NOT_HERE.keys() - in_chats_too == {
        "previous_response_id"
    }


def test_fields_that_redirect_a_call_are_the_callers_own_words_within_his_content() -> None:
    schema = {"type": "object", "properties": {"api_base": {"type": "string"}}}

    assert decoded(tools=[{**WEATHER, "parameters": schema}]).needs == {"tools"}


WORDS = sorted(
    {
        "type",
        "role",
        "user",
        "assistant",
        "content",
        "text",
        "name",
        "id",
        "tools",
        "function",
        "custom",
        "namespace",
    }
    | {
        "input_text",
        "input_image",
        "image_url",
        "message",
        "function_call",
        "function_call_output",
        "call_id",
    }
    | {
        "output",
        "arguments",
        "format",
        "json_schema",
        "schema",
        "effort",
        "summary",
        "allowed_tools",
        "mode",
        "auto",
    }
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 30) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(ResponsesBody.__struct_fields__), JSON, max_size=6))
def test_whatever_comes_is_understood_or_refused(fields: dict[str, Any]) -> None:
    try:
        request = decoded(**fields)
    except InvalidRequestError:
        return

    told = ResponsesVoice(request, "m", lambda: 0)

    assert told.whole({"choices": [{"message": {"content": "a"}}]})
