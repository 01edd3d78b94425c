"""The event-stream parser: the grammar, any chunking of it, and its limits."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.sse import EventStreamParser, EventTooLargeError

pytestmark = pytest.mark.fault("S5")

_LINES = st.sampled_from(
    [
        b"",
        b"",
        b"data: {}",
        b"data:[DONE]",
        b"data: \xc3\xbc \xf0\x9f\x98\x80",
        b"data",
        b"data:",
        b"data:  x",
        b": comment",
        b"id: 7",
        b"event: ping",
        b"datas: no",
        b"\xef\xbb\xbfdata: x",
        b"\xff",
    ]
)
_ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
_STREAMS = st.lists(st.tuples(_LINES, _ENDS), max_size=30).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


def parse(*chunks: bytes) -> list[bytes]:
    parser = EventStreamParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def by_the_grammar(stream: bytes) -> list[bytes]:
    """The specification, all at once and without bounds; an event without data is none in the dialects that we speak."""
    lines = re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))
    events: list[bytes] = []
    data = b""
    for line in lines[:-1]:  # the last one has no end
        name, colon, value = line.partition(b":")
        if not line:
            if data.removesuffix(b"\n"):
                events.append(data.removesuffix(b"\n"))
            data = b""
        elif name == b"data":
            data += (value.removeprefix(b" ") if colon else b"") + b"\n"
    return events


def drip(parser: EventStreamParser, stream: bytes) -> None:
    for byte in stream:
        parser.feed(bytes([byte]))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
def test_lines_may_end_in_any_of_three_ways(end: bytes, prefix: bytes) -> None:
    stream = prefix + end.join([b"data: 1", b"", b"data: 2", b"", b""])

    assert parse(stream) == [b"1", b"2"]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: 1\n\ndata: 2\n\n", [b"1", b"2"]),
        (b"data:1\n\n", [b"1"]),
        (b"data:  1\n\n", [b" 1"]),
        (b": hi\n\nid: 4\nevent: e\nretry: 9\ndata: 1\n\n", [b"1"]),
        (b"data: 1\ndata: 2\n\n", [b"1\n2"]),
        (b"data: 1\n\n\n\ndata: 2\n\n", [b"1", b"2"]),
        (b"data: 1", []),
        (b"data: 1\n", []),
        (b"data:\n\ndata\n\ndata: \n\n", []),
        (b"DATA: 1\n\n data: 1\n\n", []),
        (b"data: 1\n\ndata: \n\n", [b"1"]),
        (b"data: data: 1\n\n", [b"data: 1"]),
        (b"data: 1\n\ndata: 2\nid: 3\n\n", [b"1", b"2"]),
        (b"data: 1\r\rdata: 2\n\n", [b"1", b"2"]),
    ],
)
def test_only_the_data_of_whole_events_comes_out(stream: bytes, events: list[bytes]) -> None:
    assert parse(stream) == events


@given(stream=_STREAMS, cuts=st.lists(st.integers(min_value=0, max_value=400)))
def test_however_a_stream_is_cut_the_same_events_come_out(stream: bytes, cuts: list[int]) -> None:
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    chunks = [stream[start:end] for start, end in pairwise(places)]

    assert parse(*chunks) == parse(*(bytes([byte]) for byte in stream)) == parse(stream)


@given(stream=_STREAMS | st.binary(max_size=40), cuts=st.lists(st.integers(min_value=0, max_value=400)))
def test_the_events_are_those_of_the_grammar(stream: bytes, cuts: list[int]) -> None:
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})

    assert parse(*(stream[start:end] for start, end in pairwise(places))) == by_the_grammar(stream)


@given(
    events=st.lists(st.text(alphabet="aü€😀: {}", min_size=1), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 200)),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    noise=st.sampled_from([b"", b": ping", b"event: x", b"id: 1"]),
)
def test_a_cut_inside_a_character_or_a_line_end_loses_nothing(
    events: list[str], cuts: list[int], end: bytes, noise: bytes
) -> None:
    stream = b"".join(
        (noise + end if noise else b"") + b"data: " + event.encode() + end + end for event in events
    )
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})

    found = parse(*(stream[start:stop] for start, stop in pairwise(places)))

    assert [event.decode() for event in found] == events


@given(events=st.lists(st.binary(min_size=1).filter(lambda data: not {10, 13} & set(data))))
def test_what_was_written_is_what_is_read(events: list[bytes]) -> None:
    assert parse(b"".join(b"data: %b\n\n" % event for event in events)) == events


@pytest.mark.fault("S6")
@pytest.mark.parametrize("chunk", [b"x", b"data: x", b": x", b"data: x\n", b"data:\n"])
def test_a_line_or_event_may_not_be_endless(chunk: bytes) -> None:
    with pytest.raises(EventTooLargeError):
        EventStreamParser(limit=1000).feed(chunk * 2000)
    with pytest.raises(EventTooLargeError):
        drip(EventStreamParser(limit=1000), chunk * 2000)


@pytest.mark.fault("S6")
def test_a_line_that_comes_whole_may_not_be_too_long_either() -> None:
    with pytest.raises(EventTooLargeError):
        EventStreamParser(limit=1000).feed(b"data: " + b"x" * 1000 + b"\n\n")


def test_many_events_may_be_longer_together_than_one_may_be() -> None:
    parser = EventStreamParser(limit=1000)

    assert len(parser.feed(b"data: 123\n\n" * 500)) == 500


@given(cuts=st.lists(st.integers(0, 80)), end=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_a_comment_that_was_asked_for_is_kept_however_the_stream_is_cut(cuts: list[int], end: bytes) -> None:
    lines = [
        b"data: 1",
        b"",
        b": ping",
        b": seconds 1.5",
        b"",
        b":seconds 9",
        b": seconds 2.5",
        b"data: 2",
        b"",
        b"",
    ]
    stream = end.join(lines)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    parser = EventStreamParser(comment_prefix=b" seconds ")

    events = [event for start, stop in pairwise(places) for event in parser.feed(stream[start:stop])]

    assert (events, parser.comment) == ([b"1", b"2"], b"2.5")
