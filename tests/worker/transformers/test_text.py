"""Text as it may be shown: whole characters, and never the start of a stop string that then comes."""

import pytest

from workers.engines.transformers_engine.text import TextStream


def shown(pieces: list[bytes], stops: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    stream = TextStream(stops)
    texts = []
    for index, piece in enumerate(pieces):
        texts.append(stream.add(piece, is_last=index == len(pieces) - 1))
        if stream.is_stopped:
            break
    return texts, stream.is_stopped


def test_a_character_of_several_tokens_is_shown_once_it_is_whole() -> None:
    assert shown([b"a\xf0", b"\x9f", b"\x8c\xb1b"]) == (["a", "", "🌱b"], False)


def test_what_never_becomes_a_character_is_shown_as_one_that_says_so() -> None:
    assert shown([b"a\xf0\x9f", b"b\xff"]) == (["a", "\ufffdb\ufffd"], False)


@pytest.mark.parametrize(
    ("pieces", "stops", "expected", "is_stopped"),
    [
        (["one", " two", " three"], ["two"], ["one", " "], True),
        (["one t", "w", "o!"], ["two"], ["one ", "", ""], True),
        (["one t", "w", "in"], ["two"], ["one ", "", "twin"], False),
        (["aab", "aac"], ["aac"], ["aab", ""], True),
        (["aaa", "ab"], ["aab"], ["a", "a"], True),
        (["x\n", "\nUser:", "y"], ["\n\nUser", "never"], ["x", ""], True),
        (["ab", "c"], ["c", "b"], ["a"], True),
        (["on", "e"], ["twelve", "eight"], ["on", "e"], False),
        (["🌱", "🌱stop"], ["🌱stop"], ["", "🌱"], True),
    ],
)  # fmt: skip
def test_stop_strings_are_found_across_tokens_and_not_shown(
    pieces: list[str], stops: list[str], expected: list[str], is_stopped: bool
) -> None:
    assert shown([piece.encode() for piece in pieces], tuple(stops)) == (expected, is_stopped)
