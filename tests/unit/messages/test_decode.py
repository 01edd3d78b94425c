"""What a request in Anthropic's dialect means as a chat, what of it only Anthropic's servers understand, and what is wrong."""

import contextlib
import copy
import functools
import json
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.anthropic.decode import CountDecoder, MessagesDecoder
from gateway.errors import InvalidRequestError
from gateway.ticket import Request

PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0"}
WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}


def body_of(*content: Any, **fields: Any) -> dict[str, Any]:
    """Of one turn of the user with these blocks, or with `Hi`."""
    messages = [{"role": "user", "content": list(content) or "Hi"}]
    return {"model": "m", "max_tokens": 100, "messages": messages, **fields}


def decoded(body: Any, headers: dict[bytes, bytes] | None = None) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return MessagesDecoder()(raw, headers or {})


def chat_of(*content: Any, **fields: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = decoded(body_of(*content, **fields)).body["messages"]
    return messages


def turns(*contents: Any) -> list[dict[str, Any]]:
    """The user begins, and they alternate."""
    return [
        {"role": "user" if number % 2 == 0 else "assistant", "content": content}
        for number, content in enumerate(contents)
    ]


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def image_part(url: str = "data:image/png;base64,iVBORw0K") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_a_plain_question_is_the_same_question_in_a_chat() -> None:
    request = decoded(body_of())

    assert request.endpoint == "messages"
    assert request.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 100,
    }
    assert request.native == body_of()
    assert (request.output_tokens, request.most_output_tokens, request.is_stream) == (None, 100, False)
    assert not request.wishes


@pytest.mark.parametrize(
    ("fields", "becomes", "wishes"),
    [
        ({"stream": True}, {"stream": True}, set()),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, {"temperature", "top_p"}),
        ({"top_k": 5}, {"top_k": 5}, {"top_k"}),
        ({"stop_sequences": ["a", "b"]}, {"stop": ["a", "b"]}, {"stop"}),
        ({"stop_sequences": []}, {}, set()),
        ({"metadata": {"user_id": "u-1"}, "service_tier": "auto"}, {}, set()),
        ({"cache_control": {"type": "ephemeral"}}, {}, set()),
        ({"thinking": {"type": "adaptive"}}, {}, set()),
        ({"thinking": {"type": "disabled"}}, {}, set()),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
            {"reasoning_effort": "low", "max_tokens": 2000},
            {"reasoning", "reasoning_effort"},
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 10_000}, "max_tokens": 20_000},
            {"reasoning_effort": "medium", "max_tokens": 20_000},
            {"reasoning", "reasoning_effort"},
        ),
        (
            {"output_config": {"effort": "max"}},
            {"reasoning_effort": "high"},
            {"reasoning", "reasoning_effort"},
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
                }
            },
            {"json_schema", "response_format"},
        ),
        ({"speed": "standard", "inference_geo": "global", "container": None, "mcp_servers": []}, {}, set()),
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}, {}, set()),
    ],
)
def test_a_field_becomes_the_field_that_says_the_same(
    fields: dict[str, Any], becomes: dict[str, Any], wishes: set[str]
) -> None:
    request = decoded(body_of(**fields))

    messages = [{"role": "user", "content": "Hi"}]
    assert request.body == {"model": "m", "messages": messages, "max_tokens": 100, **becomes}
    assert request.wishes == wishes


@pytest.mark.parametrize(
    ("choice", "becomes"),
    [
        ({"type": "auto"}, {}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "weather"},
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"parallel_tool_calls": False}),
    ],
)
def test_tools_are_functions(choice: dict[str, Any], becomes: dict[str, Any]) -> None:
    request = decoded(body_of(tools=[WEATHER], tool_choice=choice))

    function = {"name": "weather", "parameters": WEATHER["input_schema"]}
    assert request.body["tools"] == [{"type": "function", "function": function}]
    assert {name: request.body[name] for name in request.body.keys() - {"tools", "messages"}} == {
        "model": "m",
        "max_tokens": 100,
        **becomes,
    }
    assert request.needs == {"tools"}


def test_a_tool_keeps_its_description_its_strictness_and_its_examples() -> None:
    tool = {
        **WEATHER,
        "type": "custom",
        "description": "Tells it.",
        "strict": True,
        "input_examples": [{"city": "Rome"}],
        "cache_control": {"type": "ephemeral"},
        "allowed_callers": ["direct"],
    }

    request = decoded(body_of(tools=[tool]))

    function = request.body["tools"][0]["function"]
    assert function["description"] == 'Tells it.\n\nExamples of its input:\n{"city":"Rome"}'
    assert function["strict"] is True
    assert not request.native_fields


def test_system_prompts_are_messages_before_the_conversation() -> None:
    split = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}, text("Be kind.")]

    assert chat_of(system="Be brief.")[0] == {"role": "system", "content": "Be brief."}
    assert chat_of(system=split)[0] == {"role": "system", "content": "Be brief.\n\nBe kind."}
    assert chat_of(system="") == [{"role": "user", "content": "Hi"}]


def test_a_system_turn_stays_where_it_stands() -> None:
    messages = [*turns("Hi", "Hello"), {"role": "system", "content": "Be brief."}, *turns("Bye")]

    request = decoded(body_of(messages=messages))

    assert [message["role"] for message in request.body["messages"]] == [
        "user", "assistant", "system", "user",
    ]  # fmt: skip


def test_turns_of_one_side_that_follow_each_other_are_one() -> None:
    messages = [{"role": "user", "content": "One."}, {"role": "user", "content": [text("Two.")]}]

    assert chat_of(messages=messages) == [{"role": "user", "content": "One.\n\nTwo."}]


def test_images_are_parts_in_their_order() -> None:
    request = decoded(
        body_of(
            text("Look:"),
            {"type": "image", "source": PNG},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        )
    )

    parts = [text("Look:"), image_part(), image_part("https://example.com/a.png")]
    assert request.body["messages"] == [{"role": "user", "content": parts}]
    assert request.needs == {"vision"}


def test_documents_are_files_or_the_text_that_they_hold() -> None:
    pdf = {"type": "document", "source": PDF, "title": "Terms"}
    plain = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "Be nice."},
        "title": "Rules",
        "context": "Of the house",
    }
    mixed = {
        "type": "document",
        "source": {"type": "content", "content": [text("See:"), {"type": "image", "source": PNG}]},
    }

    file = {"filename": "Terms", "file_data": "data:application/pdf;base64,JVBERi0"}
    assert chat_of(pdf) == [{"role": "user", "content": [text("Terms"), {"type": "file", "file": file}]}]
    assert decoded(body_of(pdf)).needs == {"files"}
    assert chat_of(plain) == [{"role": "user", "content": "Rules\nOf the house\n\nBe nice."}]
    assert chat_of(mixed) == [{"role": "user", "content": [text("See:"), image_part()]}]


def test_a_search_result_is_told_with_its_source() -> None:
    found = {
        "type": "search_result",
        "source": "https://a.example",
        "title": "A",
        "content": [text("It is.")],
    }

    assert chat_of(found) == [{"role": "user", "content": "A\nhttps://a.example\n\nIt is."}]


def test_a_tool_that_was_used_and_its_result_are_told_as_a_chat_tells_them() -> None:
    messages = turns(
        "How is the weather?",
        [text("Let me look."), CALL],
        [RESULT, text("And tomorrow?")],
    )

    assert chat_of(messages=messages) == [
        {"role": "user", "content": "How is the weather?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {
                    "id": "toolu_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "sunny"},
        {"role": "user", "content": "And tomorrow?"},
    ]


@pytest.mark.parametrize(
    ("result", "content"),
    [
        ({"content": [text("a"), text("b")]}, "a\n\nb"),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": "no such city", "is_error": True}, "Error: no such city"),
    ],
)
def test_the_result_of_a_tool_is_text(result: dict[str, Any], content: str) -> None:
    block = {"type": "tool_result", "tool_use_id": "toolu_1", **result}

    [_, _, told] = chat_of(messages=turns("Hi", [CALL], [block]))

    assert told == {"role": "tool", "tool_call_id": "toolu_1", "content": content}


def test_an_image_that_a_tool_returned_is_shown_by_the_user() -> None:
    block = {**RESULT, "content": [text("Here."), {"type": "image", "source": PNG}]}

    request = decoded(body_of(messages=turns("Hi", [CALL], [block])))

    [_, _, result, shown] = request.body["messages"]
    assert result == {"role": "tool", "tool_call_id": "toolu_1", "content": "Here."}
    assert shown == {
        "role": "user",
        "content": [text("Returned by the tool call toolu_1:"), image_part()],
    }
    assert request.needs == {"vision"}


def test_the_thinking_of_earlier_turns_is_for_the_model_that_thought_it() -> None:
    thought = {"type": "thinking", "thinking": "Hmm.", "signature": "c2ln"}

    request = decoded(body_of(messages=turns("Hi", [thought, text("Hello.")], "Bye")))

    assert request.body["messages"][1] == {"role": "assistant", "content": "Hello."}
    assert request.native is not None
    assert request.native["messages"][1]["content"][0] == thought
    assert not request.native_fields


def test_what_other_models_left_in_the_conversation_is_mended_for_anthropics_servers() -> None:
    unsigned = {"type": "thinking", "thinking": "Hmm.", "signature": ""}
    call = {**CALL, "id": "functions.weather:0"}
    result = {**RESULT, "tool_use_id": "functions.weather:0"}

    request = decoded(body_of(messages=turns("Hi", [unsigned], "Go on", [unsigned, call], [result])))

    assert request.native is not None
    assert request.native["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": "Go on"},
        {"role": "assistant", "content": [{**call, "id": "functions_weather_0"}]},
        {"role": "user", "content": [{**result, "tool_use_id": "functions_weather_0"}]},
    ]
    assert request.body["messages"][-1]["tool_call_id"] == "functions.weather:0"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (
            body_of(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
            "tools.web_search_20250305",
        ),
        (body_of(tools=[{"type": "bash_20250124", "name": "bash"}]), "tools.bash_20250124"),
        (body_of(tools=[{**WEATHER, "defer_loading": True}]), "tools.defer_loading"),
        (
            body_of(tools=[{**WEATHER, "allowed_callers": ["code_execution_20260120"]}]),
            "tools.allowed_callers",
        ),
        (body_of(container="c_1"), "container"),
        (body_of(mcp_servers=[{"type": "url", "url": "https://x.example", "name": "x"}]), "mcp_servers"),
        (body_of(context_management={"edits": [{"type": "clear_tool_uses_20250919"}]}), "context_management"),
        (body_of(context_management={"edits": 1}), "context_management"),
        (body_of(output_config={"task_budget": {"total": 1}}), "output_config.task_budget"),
        (body_of(thinking={"type": "between_tools"}), "thinking"),
        (body_of(stop_sequences=[str(number) for number in range(17)]), "stop_sequences"),
        (body_of(something_new=1), "something_new"),
        (body_of({"type": "image", "source": {"type": "file", "file_id": "f"}}), "messages.file_id"),
        (
            body_of({"type": "image", "source": PNG, "transformations": {"oversized_image": "error"}}),
            "messages.transformations",
        ),
        (body_of({"type": "document", "source": {"type": "file", "file_id": "f"}}), "messages.file_id"),
        (
            body_of({"type": "document", "source": {"type": "url", "url": "https://x"}}),
            "messages.document_url",
        ),
        (body_of({"type": "document", "source": PDF, "citations": {"enabled": True}}), "messages.citations"),
        (body_of({"type": "container_upload", "file_id": "f"}, text("Hi")), "messages.container_upload"),
        (body_of(messages=turns("Hi", "The answer is (")), "messages.prefill"),
        (
            body_of(messages=turns("Hi", [{"type": "redacted_thinking", "data": "x"}], "Hi")),
            "messages.redacted_thinking",
        ),
        (
            body_of(messages=turns("Hi", [{"type": "server_tool_use", "id": "x"}], "Hi")),
            "messages.server_tool_use",
        ),
    ],
)
def test_what_no_chat_can_say_is_named_and_kept(body: dict[str, Any], name: str) -> None:
    request = decoded(body)

    assert name in request.native_fields
    assert request.native == body


def test_the_first_name_of_a_long_list_is_not_longer_than_a_name() -> None:
    request = decoded(body_of(**{"x" * 500: 1}))

    assert request.native_fields == {"x" * 64}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b"{", None),
        (b"[" * 65 + b"]" * 65, None),
        ({}, "model"),
        (body_of(max_tokens=None), "max_tokens"),
        (body_of(max_tokens=0), "max_tokens"),
        (body_of(model=""), "model"),
        (body_of(messages=[]), "messages"),
        (body_of(messages={"role": "user"}), "messages"),
        (body_of(messages=[{"role": "tool", "content": "x"}]), "messages[0].role"),
        (body_of(messages=[{"role": "user"}]), "messages[0].content"),
        (body_of(messages=[{"role": "user", "content": ""}]), "messages[0].content"),
        (body_of(messages=[{"role": "user", "content": []}]), "messages[0].content"),
        (body_of({"text": "x"}), "messages[0].content[0]"),
        (body_of({"type": 1}), "messages[0].content[0]"),
        (body_of({"type": "text"}), "messages[0].content[0].text"),
        (body_of(text("x"), {"type": "text", "text": 1}), "messages[0].content[1].text"),
        (body_of(CALL), "messages[0].content[0]"),
        (body_of({"type": "image"}), "messages[0].content[0].source"),
        (body_of({"type": "image", "source": {"type": "ftp"}}), "messages[0].content[0].source.type"),
        (
            body_of({**RESULT, "content": [{"type": "text"}]}),
            "messages[0].content[0].content[0].text",
        ),
        (body_of({**RESULT, "content": [RESULT]}), "messages[0].content[0].content[0]"),
        (
            body_of({"type": "document", "source": {"type": "content", "content": [CALL]}}),
            "messages[0].content[0].source.content[0]",
        ),
        (body_of(messages=turns("Hi", [RESULT])), "messages[1].content[0]"),
        (body_of(messages=turns("Hi", [{**CALL, "input": "x"}])), "messages[1].content[0].input"),
        (body_of(system=[{"type": "image", "source": PNG}]), "system[0]"),
        (body_of(system=1), "system"),
        (body_of(temperature=1.1), "temperature"),
        (body_of(top_p=-0.1), "top_p"),
        (body_of(top_k=-1), "top_k"),
        (body_of(top_k=1.5), "top_k"),
        (body_of(stop_sequences="x"), "stop_sequences"),
        (body_of(stream="yes"), "stream"),
        (body_of(service_tier="gold"), "service_tier"),
        (body_of(metadata={"user_id": 1}), "metadata.user_id"),
        (body_of(tools=[{"input_schema": {}}]), "tools[0].name"),
        (body_of(tools=[WEATHER, {"name": "x"}]), "tools[1].input_schema"),
        (body_of(tool_choice={"type": "any"}), "tool_choice"),
        (body_of(tools=[WEATHER], tool_choice={"type": "maybe"}), "tool_choice.type"),
        (body_of(tools=[WEATHER], tool_choice={"type": "tool", "name": "x"}), "tool_choice.name"),
        (body_of(tools=[WEATHER], tool_choice={"type": "tool"}), "tool_choice.name"),
        (body_of(thinking={"type": "enabled"}), "thinking.budget_tokens"),
        (body_of(thinking={"type": "enabled", "budget_tokens": 1000}), "thinking.budget_tokens"),
        (body_of(thinking={"type": "enabled", "budget_tokens": 2000}), "max_tokens"),
        (body_of(output_config={"effort": "huge"}), "output_config.effort"),
        (body_of(output_config={"format": {"type": "json_schema"}}), "output_config.format.schema"),
        (body_of(api_base="https://x.example"), "api_base"),
        (body_of(fallbacks=["m2"]), "fallbacks"),
        (body_of(logprobs=True), "logprobs"),
        (body_of(thread={"type": "create"}), "thread"),
        (body_of(speed="fast"), "speed"),
        (body_of(inference_geo="us"), "inference_geo"),
        (body_of(anthropic_beta=["x"]), "anthropic_beta"),
    ],
)
def test_what_is_wrong_is_named(body: Any, param: str | None) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decoded(body)

    assert refused.value.param == param
    assert refused.value.status == 400


def test_betas_are_asked_for_in_a_header_and_of_anthropics_servers_only() -> None:
    request = decoded(body_of(), {b"anthropic-beta": b"files-api-2025-04-14, mcp-client-2025-11-20\r\n"})

    assert request.native == {
        **body_of(),
        "anthropic_beta": ["files-api-2025-04-14", "mcp-client-2025-11-20"],
    }
    assert not request.wishes


def test_a_prompt_that_is_only_counted_needs_no_ceiling() -> None:
    body = body_of(system="Be brief.")
    del body["max_tokens"]

    request = CountDecoder()(json.dumps(body).encode(), {})

    assert [message["content"] for message in request.body["messages"]] == ["Be brief.", "Hi"]
    assert request.output_tokens is None


def test_whether_the_answer_may_come_from_the_cache_is_read_from_the_header() -> None:
    fresh = decoded(body_of(temperature=0), {b"cache-control": b"no-cache"})
    private = decoded(body_of(temperature=0), {b"cache-control": b"no-store"})

    assert fresh.is_deterministic
    assert (fresh.skips_cache, fresh.stores_cache) == (True, True)
    assert (private.skips_cache, private.stores_cache) == (True, False)


def test_a_marked_prompt_may_be_stored_by_the_upstream() -> None:
    marked = decoded(body_of({**text("Hi"), "cache_control": {"type": "ephemeral"}}))
    quoted = decoded(body_of(text('"cache_control"')))

    assert marked.writes_prompt_cache
    assert not quoted.writes_prompt_cache
    assert marked.body["messages"] == [{"role": "user", "content": "Hi"}]


def test_an_image_does_not_weigh_as_much_as_its_bytes() -> None:
    heavy = decoded(body_of({"type": "image", "source": {**PNG, "data": "A" * 1_000_000}}))

    assert heavy.body_bytes < 20_000


def test_what_a_coding_agent_sends_any_model_with_tools_can_answer() -> None:
    marked = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = body_of(
        {**text("Fix it."), **marked},
        system=[text("You are an agent."), {**text("Be careful."), **marked}],
        tools=[{**WEATHER, "description": "x", "eager_input_streaming": True, **marked}],
        thinking={"type": "adaptive"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        metadata={"user_id": "{}"},
        stream=True,
    )

    request = decoded(body, {b"anthropic-beta": b"interleaved-thinking-2025-05-14"})

    assert request.wishes == {"tools"}
    assert request.writes_prompt_cache


EVERYTHING = body_of(
    messages=turns(
        [text("Hi"), {"type": "image", "source": PNG}, {"type": "document", "source": PDF, "title": "T"}],
        [{"type": "thinking", "thinking": "Hmm.", "signature": "s"}, text("So"), CALL],
        [
            {**RESULT, "content": [text("a"), {"type": "image", "source": PNG}], "is_error": True},
            text("And?"),
        ],
        [{"type": "redacted_thinking", "data": "x"}, text("Well")],
        [
            {"type": "document", "source": {"type": "content", "content": [text("x")]}, "context": "c"},
            {"type": "search_result", "source": "s", "title": "t", "content": [text("x")]},
        ],
    ),
    system=[text("Be brief.")],
    tools=[WEATHER, {"type": "web_search_20250305", "name": "web_search"}],
    tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    thinking={"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    output_config={"effort": "low", "format": {"type": "json_schema", "schema": {}}, "task_budget": {}},
    context_management={"edits": [{"type": "clear_thinking_20251015"}]},
    metadata={"user_id": "u"},
    stop_sequences=["x"],
    max_tokens=2000,
    stream=True,
    temperature=0.5,
    top_k=1,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "x"]), inner)
    ),
    max_leaves=4,
)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(inner for key, item in items for inner in places(item, (*place, key)))]


def test_a_request_may_have_everything_at_once() -> None:
    needs = {"tools", "vision", "files", "json_schema", "reasoning", "unpriced_tools"}
    assert decoded(EVERYTHING).needs == needs


@given(st.sampled_from(places(EVERYTHING)[1:]), JSON | st.just(...))
def test_whatever_stands_at_whatever_place_is_understood_or_refused(
    place: tuple[Any, ...], value: Any
) -> None:
    """The ellipsis: nothing stands there."""
    body = copy.deepcopy(EVERYTHING)
    around = functools.reduce(operator.getitem, place[:-1], body)
    if value is ...:
        del around[place[-1]]
    else:
        around[place[-1]] = value

    with contextlib.suppress(InvalidRequestError):
        request = decoded(body)
        assert all(message["role"] in _ROLES for message in request.body["messages"])
        json.dumps(request.native)


_ROLES = {"system", "user", "assistant", "tool"}
