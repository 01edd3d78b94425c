"""Into what a text parts, and how far one part may raise its score."""

# ruff: noqa: RUF001 - Chinese has its own punctuation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scoring.robust import ELSEWHERE, FROM_START, parts, runs, settled

ANY_TEXT = st.text(st.characters(), max_size=400) | st.text(
    st.sampled_from("a B.?!\n\t`。？\u200b\u0301\ud800What is"), max_size=400
)


@given(text=ANY_TEXT)
def test_any_text_has_at_most_four_parts_which_make_it_up(text):
    found = parts(text)

    assert 1 <= len(found) <= 4
    assert "".join(found) == text
    assert all(found) or not text


@given(text=ANY_TEXT)
def test_runs_are_neighbouring_parts_without_the_whole_and_have_room_for_what_they_leave_out(text):
    found = runs(parts(text))

    assert all(0 <= run.start < run.stop <= len(parts(text)) for run in found)
    assert all(run.stop - run.start < len(parts(text)) for run in found)
    assert all(0 < run.room < ELSEWHERE for run in found)
    assert len({(run.start, run.stop) for run in found}) == len(found) <= 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Where is the station?", ["Where is the station?"]),
        ("It rains. Where is the station?", ["It rains.", "Where is the station?"]),
        ("One. Two! Three? Four. Five", ["One.", "Two! Three?", "Four.", "Five"]),
        ("上午下雨。车站在哪里？", ["上午下雨。", "车站在哪里？"]),
        ("Which one?\nA. this\nB. that", ["Which one?", "A. this", "B. that"]),
        ("Why?\n```\nif a:\n\n    b()\n```", ["Why?", "```\nif a:\n\n    b()\n```"]),
        ("Use `x` and\n`y`", ["Use `x` and", "`y`"]),
        ("foo bar quux What is the time", ["foo bar quux", "What is the time"]),
        ("Version 3.5 of e.g.this costs 1.50", ["Version 3.5 of e.g.this costs 1.50"]),
        ("", [""]),
    ],
)
def test_parts_are_lines_and_code_blocks_or_else_sentences(text, expected):
    assert [part.strip() for part in parts(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Where is the station? xqzv wjfk plurb", ["Where is the station?"]),
        ("xqzv wjfk plurb. Where is the station?", ["Where is the station?"]),
        ("Prove that it converges. Answer in English.", ["Prove that it converges."]),
        ("I am a student. Prove that it converges.", ["Prove that it converges."]),
        ("Prove that it converges. What do you think?", ["Prove that it converges."]),
        ("It rains. It pours.", []),
        ("车站在哪里，怎么走？证明。", ["车站在哪里，怎么走？"]),
    ],
)
def test_only_what_asks_for_something_by_itself_bounds_the_whole(text, expected):
    of_text = parts(text)

    assert ["".join(of_text[run.start : run.stop]).strip() for run in runs(of_text)] == expected


def test_the_less_a_run_leaves_out_the_less_room_there_is_above_it():
    long = runs(parts("Where is the station of this rather long and winding road? xqzv"))[0]
    short = runs(parts("Where is the station? xqzv wjfk plurb snorvig thackle quenb drofft"))[0]

    assert 0 < long.room < short.room < FROM_START


@given(
    whole=st.floats(-10, 10),
    of_runs=st.lists(st.tuples(st.floats(-10, 10), st.floats(0, 5)), max_size=9),
)
def test_a_score_never_rises_and_is_at_most_the_room_above_any_run(whole, of_runs):
    scores, rooms = [score for score, _ in of_runs], [room for _, room in of_runs]

    found = settled(whole, scores, rooms)

    assert found <= whole
    assert all(found <= score + room for score, room in of_runs)
    assert found == whole or of_runs


@pytest.mark.fault("S17")
@pytest.mark.parametrize("text", ["? ", "a. ", "`", "```", "a\n", "The ", "Prove. ", "。"])
def test_a_long_text_of_one_thing_has_few_parts_too(text):
    assert len(parts(text * (6000 // len(text)))) <= 4
