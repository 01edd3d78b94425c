"""Reported token counts: what is believed, what is clamped, and what is not counted at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.usage import MAX_TOKENS, read_engine_us, read_usage
from gateway.values import Usage

pytestmark = pytest.mark.fault("M22")


def reported(prompt: Any = 10, completion: Any = 5, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (reported(), Usage(input=10, output=5)),
        (reported(0, 0, total_tokens=0), Usage()),
        (reported(total_tokens=15), Usage(input=10, output=5)),
        (reported(prompt_tokens_details={"cached_tokens": 4}), Usage(input=6, cached_input=4, output=5)),
        (
            reported(prompt_tokens_details={"cached_tokens": 4, "cache_write_tokens": 5}),
            Usage(input=1, cached_input=4, cache_write=5, output=5),
        ),
        (
            reported(prompt_tokens_details={"cached_tokens": None, "audio_tokens": 0}),
            Usage(input=10, output=5),
        ),
        (reported(prompt_tokens_details=None), Usage(input=10, output=5)),
        (reported(prompt_cache_hit_tokens=4), Usage(input=6, cached_input=4, output=5)),
        (
            reported(completion_tokens_details={"reasoning_tokens": 3}, total_tokens=15),
            Usage(input=10, output=2, reasoning=3),
        ),
        (
            reported(completion_tokens_details={"reasoning_tokens": 90}, total_tokens=105),
            Usage(input=10, output=5, reasoning=90),
        ),
        (reported(MAX_TOKENS, MAX_TOKENS), Usage(input=MAX_TOKENS, output=MAX_TOKENS)),
    ],
)
def test_counts_are_sorted_into_classes_that_do_not_overlap(usage: Any, expected: Usage) -> None:
    assert read_usage(usage) == expected


@pytest.mark.parametrize("nonsense", [None, -1, 1.0, 1.5, "5", True, MAX_TOKENS + 1, [], {}, float("inf")])
def test_a_count_that_is_no_count_voids_the_report(nonsense: Any) -> None:
    assert read_usage(reported(prompt=nonsense)) is None
    assert read_usage(reported(completion=nonsense)) is None


@pytest.mark.parametrize("nonsense", [None, 5, "usage", [], {}, {"prompt_tokens": 5}, {"total_tokens": 5}])
def test_a_report_that_is_no_report_is_none(nonsense: Any) -> None:
    assert read_usage(nonsense) is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            reported(prompt_tokens_details={"cached_tokens": 11}),
            Usage(cached_input=10, output=5, is_suspect=True),
        ),
        (
            reported(completion_tokens_details={"reasoning_tokens": 6}),
            Usage(input=10, reasoning=5, is_suspect=True),
        ),
        (
            reported(prompt_tokens_details={"cached_tokens": 4, "cache_write_tokens": 7}),
            Usage(cached_input=4, cache_write=6, output=5, is_suspect=True),
        ),
        (
            reported(prompt_tokens_details={"cache_write_tokens": "1"}),
            Usage(input=10, output=5, is_suspect=True),
        ),
        (reported(prompt_tokens_details={"cached_tokens": -1}), Usage(input=10, output=5, is_suspect=True)),
        (reported(prompt_tokens_details=[1]), Usage(input=10, output=5, is_suspect=True)),
        (
            reported(completion_tokens_details={"reasoning_tokens": "1"}),
            Usage(input=10, output=5, is_suspect=True),
        ),
        (reported(total_tokens=14), Usage(input=10, output=5, is_suspect=True)),
        (reported(total_tokens="15"), Usage(input=10, output=5, is_suspect=True)),
    ],
)
def test_a_contradiction_is_clamped_and_suspect(usage: Any, expected: Usage) -> None:
    assert read_usage(usage) == expected


_COUNTS = st.integers(0, MAX_TOKENS)


@given(_COUNTS, _COUNTS, _COUNTS, _COUNTS, _COUNTS)
def test_no_token_is_lost_or_invented(
    prompt: int, completion: int, cached: int, written: int, reasoning: int
) -> None:
    usage = read_usage(
        reported(
            prompt,
            completion,
            prompt_tokens_details={"cached_tokens": cached, "cache_write_tokens": written},
            completion_tokens_details={"reasoning_tokens": reasoning},
        )
    )

    assert usage is not None
    assert usage.prompt == prompt
    assert usage.output + usage.reasoning == completion
    assert min(usage.input, usage.cached_input, usage.cache_write, usage.output, usage.reasoning) >= 0
    assert usage.is_suspect == (cached + written > prompt or reasoning > completion)


@given(microseconds=st.integers(0, 10**12))
def test_an_engines_seconds_are_read_to_the_microsecond(microseconds: int) -> None:
    assert read_engine_us(f"{microseconds / 1_000_000:.6f}") == microseconds


@pytest.mark.parametrize(
    "told", ["", "1", ".5", "1.", "-1.0", "+1.0", "1e3", "1.5e3", "nan", "inf", " 1.0", "1.0\n", "1.0, 2.0", "1.1234567",
             "1000000000.0", "\u0661.\u0661"],
)  # fmt: skip
def test_what_cannot_be_a_workers_seconds_is_none(told: str) -> None:
    assert read_engine_us(told) is None
