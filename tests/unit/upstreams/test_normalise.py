"""However a look-alike writes its answer, callers get it as OpenAI would have written it, and nothing said is lost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.chunks import Chunks, ReportedError
from gateway.upstreams.contract import Event
from gateway.upstreams.normalise import Head, mend_whole, mended_usage
from gateway.upstreams.transport import NOT_JSON
from tests.fixtures.oracle import chat_rules, text_rules
from tests.fixtures.oracle_specs import SURFACES, problems_event, problems_whole

HEAD = Head("abc", 1_700_000_000, "theirs")
CHAT = SURFACES["POST", "/v1/chat/completions"]
TEXT = SURFACES["POST", "/v1/completions"]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def chunk(delta: Any = None, reason: Any = None, **changes: Any) -> dict[str, Any]:
    """As OpenAI writes it, but for the changes."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "logprobs": None, "finish_reason": reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "theirs",
        "choices": [choice],
        **changes,
    }


START = chunk({"role": "assistant", "content": ""})


def told(*sent: Any, form: Any = "chat") -> list[Event]:
    """What comes of a stream of these chunks; and it is one that OpenAI might have sent."""
    chunks = Chunks(form, HEAD)
    events = [chunks.read(json.dumps(each).encode()) for each in sent]
    made = [event for event in [*events, *chunks.rest()] if event is not None]
    frames = [("", event.data) for event in made]
    about, rules = (CHAT, chat_rules) if form == "chat" else (TEXT, text_rules)
    problems = [problem for event in made for problem in problems_event(about, event.data)]
    problems += rules(frames, has_error=False, has_done=True, is_over=True)
    assert problems == []
    return made


def deltas(events: list[Event]) -> list[Any]:
    return [json.loads(event.data)["choices"][0]["delta"] for event in events if not event.is_usage_only]


def test_a_stream_as_openai_writes_it_passes_byte_for_byte() -> None:
    usage = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"audio_tokens": 0},
    }
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    sent = [
        START,
        chunk({"content": "Pä"}, usage=None),
        chunk({"refusal": "no"}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, system_fingerprint="fp_1"),
        chunk({}, "stop", service_tier="default"),
        {**chunk(), "choices": [], "usage": usage},
    ]

    events = told(*sent)

    assert [event.data for event in events] == [json.dumps(each).encode() for each in sent]
    assert [event.text for event in events] == ["", "Pä", "no", "f", "{}", "", ""]
    assert [event.finish_reason for event in events] == [None] * 5 + ["stop", None]
    assert [event.is_usage_only for event in events] == [False] * 6 + [True]


def test_the_barest_chunk_gets_all_that_must_be_there() -> None:
    first, second, last = told(
        {"choices": [{"delta": {"content": "Pa"}}]}, {"choices": [{"delta": {"content": "ris"}}]}
    )

    assert json.loads(first.data) == {
        "id": "chatcmpl-abc",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "theirs",
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "Pa"},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
    }
    assert json.loads(second.data)["choices"][0]["delta"] == {"content": "ris"}
    assert json.loads(last.data)["choices"][0]["finish_reason"] == last.finish_reason == "stop"


def test_fields_that_nobody_here_knows_survive_the_mending() -> None:
    [event, _] = told(
        {"choices": [{"delta": {"content": "x", "extra": 1}, "more": [2]}], "x_groq": {"id": "r"}}
    )

    body = json.loads(event.data)
    assert body["x_groq"] == {"id": "r"}
    assert body["choices"][0]["more"] == [2]
    assert body["choices"][0]["delta"]["extra"] == 1


@pytest.mark.parametrize(
    "odd",
    [
        {"id": None},
        {"id": 5},
        {"id": ""},
        {"object": "chat.completion"},
        {"object": ""},
        {"created": 1.5},
        {"created": None},
        {"model": None},
        {"service_tier": "on_demand"},
        {"error": None},
        {"usage": {"prompt_tokens": "lots"}},
    ],
    ids=repr,
)
def test_an_odd_head_is_put_right(odd: dict[str, Any]) -> None:
    events = told(START, chunk({"content": "Paris"}, **odd), chunk({}, "stop"))

    assert "".join(event.text for event in events) == "Paris"


@pytest.mark.parametrize(
    "odd",
    [
        {"content": "Paris", "role": None},
        {"content": "Paris", "role": ""},
        {"content": "Paris", "tool_calls": None, "function_call": None, "refusal": None},
        {"content": "Paris", "tool_calls": []},
        {"content": [{"type": "text", "text": "Paris"}]},
    ],
    ids=repr,
)
def test_an_odd_delta_is_put_right(odd: dict[str, Any]) -> None:
    events = told(START, chunk(odd), chunk({}, "stop"))

    assert "".join(event.text for event in events) == "Paris"


def test_what_was_thought_is_kept_apart_from_what_was_said() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]},
        {"type": "text", "text": "Paris"},
    ]

    [event, _] = told(chunk({"content": parts}))

    assert deltas([event]) == [{"role": "assistant", "content": "Paris", "reasoning_content": "hmm"}]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("STOP", "stop"),
        ("eos_token", "stop"),
        (3, "stop"),
        ("MAX_TOKENS", "length"),
        ("abort", "length"),
        ("tool_use", "tool_calls"),
        ("SAFETY", "content_filter"),
    ],
)
def test_a_reason_of_its_own_becomes_one_that_clients_know(theirs: Any, ours: str) -> None:
    *_, last = told(START, chunk({}, theirs))

    assert last.finish_reason == ours


@pytest.mark.parametrize("nothing", ["", None, False])
def test_an_empty_reason_is_none(nothing: Any) -> None:
    events = told(START, chunk({"content": "a"}, nothing), chunk({}, "stop"))

    assert [event.finish_reason for event in events] == [None, None, "stop"]


def test_chunks_that_tell_nothing_are_left_out() -> None:
    azure = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [{}]}

    events = told(
        azure, START, {"type": "ping"}, chunk({"content": "x"}), chunk({}, "stop"), chunk({}, "stop")
    )

    assert [event.text for event in events] == ["", "x", ""]


def test_what_comes_after_the_end_is_passed_on_all_the_same() -> None:
    chunks = Chunks("chat", HEAD)

    sent = [chunk({"role": "assistant", "content": "Pa"}, "stop"), chunk({"content": "ris"}, "stop")]
    events = [chunks.read(json.dumps(each).encode()) for each in sent]

    assert [(event.text, event.finish_reason) for event in events if event] == [("Pa", "stop"), ("ris", None)]


def test_usage_beside_choices_is_counted_at_once_and_told_at_the_end() -> None:
    events = told(
        START, chunk({"content": "x"}, usage=USAGE), chunk({}, "stop", usage={**USAGE, "total_tokens": None})
    )

    assert [event.usage is not None for event in events] == [False, True, True, True]
    assert [event.is_usage_only for event in events] == [False, False, False, True]
    assert json.loads(events[-1].data)["usage"] == USAGE
    assert all("usage" not in json.loads(event.data) for event in events[:-1])


def test_usage_that_cannot_be_believed_is_not_repeated() -> None:
    events = told(START, chunk({}, "stop"), {**chunk(), "choices": [], "usage": {"prompt_tokens": -5}})

    assert [event.is_usage_only for event in events] == [False, False]


def test_an_id_that_changes_is_the_first_one_throughout() -> None:
    events = told(START, chunk({"content": "x"}, id="chatcmpl-2"), chunk({}, "stop", id="chatcmpl-3"))

    assert {json.loads(event.data)["id"] for event in events} == {"chatcmpl-1"}


def test_tool_calls_get_their_places_and_ids() -> None:
    gemini = [{"function": {"name": "f", "arguments": {"a": 1}}}, {"id": "", "function": {"name": "g"}}]

    first, second, last = told(
        chunk({"tool_calls": gemini}), chunk({"tool_calls": [{"function": {"arguments": "{}"}}]})
    )

    assert deltas([first])[0]["tool_calls"] == [
        {
            "index": 0,
            "id": "call_abc_0_0",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a":1}'},
        },
        {"index": 1, "id": "call_abc_0_1", "type": "function", "function": {"name": "g"}},
    ]
    assert deltas([second])[0]["tool_calls"] == [{"index": 1, "function": {"arguments": "{}"}}]
    assert last.finish_reason == "tool_calls"


def test_each_of_several_choices_begins_and_ends() -> None:
    choices = [{"index": number, "delta": {"content": "x"}, "finish_reason": None} for number in (0, 1)]
    over = {"index": 1, "delta": {}, "finish_reason": "length"}

    first, second, last = told({**chunk(), "choices": choices}, {**chunk(), "choices": [over]})

    assert [choice["delta"]["role"] for choice in json.loads(first.data)["choices"]] == ["assistant"] * 2
    assert second.finish_reason == "length"
    assert [choice["index"] for choice in json.loads(last.data)["choices"]] == [0]


def test_a_legacy_completion_is_mended_likewise() -> None:
    events = told(
        {"choices": [{"text": "Pa"}]}, {"choices": [{"text": "ris"}], "usage": USAGE}, form="completions"
    )

    assert [event.text for event in events] == ["Pa", "ris", "", ""]
    assert events[-1].is_usage_only


def test_a_number_that_no_computer_holds_spoils_only_itself() -> None:
    odd = (
        b'{"choices": [{"delta": {"content": "Paris", "weight": 1e999}}], "usage": {"prompt_tokens": 1e999}}'
    )

    event = Chunks("chat", HEAD).read(odd)

    assert event is not None
    assert (event.text, event.usage) == ("Paris", None)


def test_an_error_is_no_chunk() -> None:
    with pytest.raises(ReportedError) as caught:
        Chunks("chat", HEAD).read(b'{"error": {"message": "no"}}')

    assert caught.value.error == {"message": "no"}


def whole(**changes: Any) -> dict[str, Any]:
    body = {"choices": [{"message": {"content": "Paris"}}], **changes}
    mend_whole("chat", body, HEAD)
    assert list(problems_whole(CHAT, json.dumps(body).encode())) == []
    return body


def test_the_barest_reply_gets_all_that_must_be_there() -> None:
    assert whole() == {
        "id": "chatcmpl-abc",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "theirs",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Paris", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
    }


def test_tool_calls_of_a_whole_reply_get_ids_and_text_for_arguments() -> None:
    calls = [{"function": {"name": "f", "arguments": {"a": 1}}}]

    body = whole(choices=[{"message": {"content": None, "tool_calls": calls}}])

    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert body["choices"][0]["message"]["tool_calls"] == [
        {"id": "call_abc_0_0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]


def test_a_verdict_gets_its_head_too() -> None:
    body: dict[str, Any] = {"results": [{"flagged": False}]}

    mend_whole("moderations", body, HEAD)

    assert body == {"id": "modr-abc", "model": "theirs", "results": [{"flagged": False}]}


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "stop", "STOP", "length", "assistant", "text", "function", "x"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["type", "text", "name", "arguments", "id", "index", "function"]), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip


def _some(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: strategy | _ANY for name, strategy in fields.items()})


_CALL = _some(index=st.integers(0, 2), id=st.just("call_1"), type=st.just("function"),
              function=_some(name=st.just("f"), arguments=st.just("{}")))  # fmt: skip
_MESSAGE = _some(role=st.just("assistant"), content=st.text(max_size=3), refusal=st.none(), reasoning=st.just("hm"),
                 tool_calls=st.lists(_CALL, max_size=2), function_call=_some(name=st.just("f")))  # fmt: skip
_CHOICE = _some(index=st.integers(0, 1), delta=_MESSAGE, message=_MESSAGE, text=st.just("t"), logprobs=st.none(),
                finish_reason=st.sampled_from(["stop", "length", None]))  # fmt: skip
_COUNTS = _some(prompt_tokens=st.integers(0, 9), completion_tokens=st.integers(0, 9), total_tokens=st.integers(0, 18),
                prompt_tokens_details=st.dictionaries(st.just("cached_tokens"), st.integers(0, 9)))  # fmt: skip
_BODY = _some(id=st.just("chatcmpl-1"), object=st.just("chat.completion.chunk"), created=st.integers(0, 2**33),
              model=st.just("m"), choices=st.lists(_CHOICE, max_size=2), usage=_COUNTS, error=st.none(),
              service_tier=st.just("default"))  # fmt: skip


@given(bodies=st.lists(_BODY, max_size=4), form=st.sampled_from(["chat", "completions"]))
def test_whatever_an_upstream_streams_callers_get_what_its_types_allow(bodies: list[Any], form: Any) -> None:
    chunks = Chunks(form, HEAD)
    events: list[Event | None] = []
    for body in bodies:
        try:
            events.append(chunks.read(json.dumps(body).encode()))
        except (ReportedError, *NOT_JSON):
            continue
    events += chunks.rest()

    about = CHAT if form == "chat" else TEXT
    assert [problem for event in events if event for problem in problems_event(about, event.data)] == []


@given(
    choices=st.lists(_CHOICE, min_size=1, max_size=2),
    body=_BODY,
    form=st.sampled_from(["chat", "completions"]),
)
def test_whatever_an_upstream_answers_callers_get_what_its_types_allow(
    choices: list[Any], body: dict[str, Any], form: Any
) -> None:
    body["choices"] = choices

    mend_whole(form, body, HEAD)

    assert list(problems_whole(CHAT if form == "chat" else TEXT, json.dumps(body).encode())) == []


@given(usage=_COUNTS)
def test_usage_is_mended_once(usage: dict[str, Any]) -> None:
    mended = mended_usage(usage)

    assert mended is None or mended_usage(mended) == mended
