"""Token counts as Anthropic reports them: what is believed, what is clamped, and what is not counted at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.anthropic.usage import Tally, chat_usage
from gateway.upstreams.usage import MAX_TOKENS, read_usage
from gateway.values import Usage

pytestmark = pytest.mark.fault("M22")
NONSENSE = [-1, 1.0, "5", True, MAX_TOKENS + 1, [], {}, float("inf")]


def counted(*reports: Any) -> Usage | None:
    tally = Tally()
    for report in reports:
        tally.add(report)
    return tally.usage()


def reported(read: Any = 10, written: Any = 5, **more: Any) -> dict[str, Any]:
    return {"input_tokens": read, "output_tokens": written, **more}


def creation(five_minutes: Any, hour: Any) -> dict[str, Any]:
    return {"ephemeral_5m_input_tokens": five_minutes, "ephemeral_1h_input_tokens": hour}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (reported(), Usage(input=10, output=5)),
        (reported(0, 0), Usage()),
        (reported(cache_read_input_tokens=7), Usage(input=10, cached_input=7, output=5)),
        (reported(cache_creation_input_tokens=7), Usage(input=10, cache_write=7, output=5)),
        (
            reported(cache_creation_input_tokens=7, cache_creation=creation(3, 4)),
            Usage(input=10, cache_write=3, cache_write_1h=4, output=5),
        ),
        (
            reported(cache_creation_input_tokens=9, cache_creation=creation(3, 4)),
            Usage(input=10, cache_write=5, cache_write_1h=4, output=5),
        ),
        (reported(output_tokens_details={"thinking_tokens": 3}), Usage(input=10, output=2, reasoning=3)),
        (
            reported(cache_read_input_tokens=None, cache_creation=None, output_tokens_details=None),
            Usage(input=10, output=5),
        ),
    ],
)
def test_counts_are_sorted_into_classes_that_do_not_overlap(usage: Any, expected: Usage) -> None:
    assert counted(usage) == expected


def test_a_stream_reports_sums_so_far_and_the_largest_counts() -> None:
    first = {**reported(10, 1), "cache_creation_input_tokens": 7, "cache_creation": creation(0, 7)}

    assert counted(first, {"output_tokens": 9}) == Usage(input=10, cache_write_1h=7, output=9)
    assert counted(reported(0, 0), None, reported(12, 9)) == Usage(input=12, output=9)
    assert counted(first, reported(0, 9)) == Usage(input=10, cache_write_1h=7, output=9)


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_count_that_is_no_count_voids_the_report(nonsense: Any) -> None:
    assert counted(reported(read=nonsense)) is None
    assert counted(reported(), {"output_tokens": nonsense}) is None


@pytest.mark.parametrize("nonsense", [None, 5, "usage", [], {}, {"input_tokens": 5}, {"output_tokens": 5}])
def test_a_report_that_is_no_report_is_none(nonsense: Any) -> None:
    assert counted(nonsense) is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            reported(output_tokens_details={"thinking_tokens": 6}),
            Usage(input=10, reasoning=5, is_suspect=True),
        ),
        (
            reported(cache_creation_input_tokens=5, cache_creation=creation(3, 4)),
            Usage(input=10, cache_write=3, cache_write_1h=4, output=5, is_suspect=True),
        ),
        (
            reported(cache_creation=creation(3, 4)),
            Usage(input=10, cache_write=3, cache_write_1h=4, output=5, is_suspect=True),
        ),
        (reported(cache_creation=[1]), Usage(input=10, output=5, is_suspect=True)),
        (reported(cache_read_input_tokens=-1), Usage(input=10, output=5, is_suspect=True)),
    ],
)
def test_a_contradiction_is_clamped_and_suspect(usage: Any, expected: Usage) -> None:
    assert counted(usage) == expected


_COUNTS = st.integers(0, MAX_TOKENS)


@given(_COUNTS, _COUNTS, _COUNTS, _COUNTS, _COUNTS, _COUNTS)
def test_no_token_is_lost_or_invented_on_the_way_to_a_chat(
    read: int, cached: int, five_minutes: int, hour: int, output: int, thinking: int
) -> None:
    usage = counted(
        reported(
            read,
            output,
            cache_read_input_tokens=cached,
            cache_creation_input_tokens=five_minutes + hour,
            cache_creation=creation(five_minutes, hour),
            output_tokens_details={"thinking_tokens": min(thinking, output)},
        )
    )

    assert usage is not None
    assert not usage.is_suspect or five_minutes + hour > MAX_TOKENS
    assert usage.prompt == read + cached + five_minutes + hour
    assert usage.output + usage.reasoning == output
    told = chat_usage(usage)
    assert told["total_tokens"] == usage.total
    if told["prompt_tokens"] <= MAX_TOKENS:
        again = read_usage(told)
        assert again is not None
        assert (again.total, again.cached_input, again.reasoning) == (usage.total, cached, usage.reasoning)
        assert again.cache_write == usage.cache_write + usage.cache_write_1h
