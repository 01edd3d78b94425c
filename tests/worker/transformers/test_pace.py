"""How much of a prompt is read beside answers: no sleeps, the seconds are made up."""

from workers.engines.transformers_engine.pace import LEAST, SLOWER, UNTRIED, Pace


def test_a_prompt_alone_is_read_in_the_largest_pieces() -> None:
    pace = Pace(most=64)
    pace.took(1.0, answers=0, prompt_tokens=64)
    assert pace.piece(answers=0) == 64


def test_the_first_piece_beside_answers_is_a_small_one() -> None:
    pace = Pace(most=512)
    pace.took(0.010, answers=1, prompt_tokens=0)
    assert pace.piece(answers=1) == UNTRIED


def test_beside_answers_a_piece_takes_no_longer_than_they_can_bear() -> None:
    pace = Pace(most=512)
    for _ in range(8):
        pace.took(0.010, answers=4, prompt_tokens=0)
        pace.took(0.010 + 0.0005 * pace.piece(answers=4), answers=4, prompt_tokens=pace.piece(answers=4))
    piece = pace.piece(answers=4)
    assert 0.9 * SLOWER * 0.010 <= 0.010 + 0.0005 * piece <= SLOWER * 0.010


def test_as_a_prompt_gets_dearer_its_pieces_get_smaller() -> None:
    pace = Pace(most=512)
    pace.took(0.010, answers=1, prompt_tokens=0)
    pieces = []
    for read in range(12):
        pieces.append(pace.piece(answers=1))
        pace.took(0.010 + 0.0001 * (1 + read) * pieces[-1], answers=1, prompt_tokens=pieces[-1])
    assert pieces[1:] == sorted(pieces[1:], reverse=True)
    assert pieces[-1] < pieces[1]


def test_however_slow_it_is_something_is_read_in_every_step() -> None:
    pace = Pace(most=64)
    pace.took(0.001, answers=1, prompt_tokens=0)
    pace.took(90.0, answers=1, prompt_tokens=64)
    assert pace.piece(answers=1) == LEAST


def test_no_piece_is_larger_than_the_largest() -> None:
    pace = Pace(most=4)
    pace.took(1.0, answers=1, prompt_tokens=0)
    pace.took(0.5, answers=1, prompt_tokens=4)  # faster than without a prompt: noise
    assert pace.piece(answers=1) == 4


def test_many_who_wait_outweigh_few_who_go_on() -> None:
    pace = Pace(most=512)
    pace.took(0.010, answers=4, prompt_tokens=0)
    pace.took(0.042, answers=4, prompt_tokens=32)
    assert pace.piece(answers=4, waiting=12) == 3 * pace.piece(answers=4, waiting=4)
    assert pace.piece(answers=4, waiting=1) == pace.piece(answers=4, waiting=4)
