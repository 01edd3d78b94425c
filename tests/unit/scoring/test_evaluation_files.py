"""Evaluation files: three formats that say the same, read in pieces, and what is wrong with one told with its place."""

import pytest

from gateway.scoring.evaluation_files import ROWS_AT_ONCE, EvaluationError, EvaluationFile
from tests.fixtures.evaluations import answers, write

FORMATS = [".parquet", ".csv", ".jsonl"]
COLUMNS = ("prompt", "s:small", "s:large", "c:small", "source")


def everything(file, columns=COLUMNS):
    pieces = list(file.pieces(columns))
    return {name: [value for piece in pieces for value in piece[name]] for name in columns}


@pytest.fixture(params=FORMATS)
def put(request, tmp_path):
    return lambda rows: write(tmp_path / f"answers{request.param}", rows)


def test_each_format_says_the_same(put):
    rows = answers(30)

    file = EvaluationFile(put(rows))

    assert file.models == ("small", "large")
    assert everything(file) == {name: [row[name] for row in rows] for name in COLUMNS}


def test_a_long_file_is_read_in_pieces(put):
    file = EvaluationFile(put(answers(2 * ROWS_AT_ONCE + 1)))

    sizes = [len(piece["prompt"]) for piece in file.pieces(("prompt",))]

    assert sum(sizes) == 2 * ROWS_AT_ONCE + 1
    assert max(sizes) <= ROWS_AT_ONCE


def test_a_model_need_not_have_answered_everything(put):
    rows = answers(4)
    for row in rows[:2]:
        row["s:small"] = None

    assert everything(EvaluationFile(put(rows)), ("s:small",))["s:small"][:2] == [None, None]


def test_lines_of_json_may_leave_out_what_they_do_not_know(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": "a", "s:x": 1}, {"prompt": "b", "s:x": 0, "s:y": 0.5}])

    file = EvaluationFile(path)

    assert file.models == ("x", "y")
    assert everything(file, ("s:y",)) == {"s:y": [None, 0.5]}


@pytest.mark.parametrize("wrong", [7, -0.1])
def test_what_is_no_score_is_refused_with_its_row(put, wrong):
    rows = answers(5)
    rows[3]["s:small"] = wrong

    with pytest.raises(EvaluationError, match=r"answers\.\w+: row 4: `s:small` is .*from 0 to 1"):
        everything(EvaluationFile(put(rows)))


@pytest.mark.parametrize("wrong", ["good", True, [1]])
def test_a_line_of_json_may_hold_anything_and_is_refused_likewise(tmp_path, wrong):
    path = write(tmp_path / "a.jsonl", [{"prompt": "a", "s:x": wrong}])

    with pytest.raises(EvaluationError, match="row 1: `s:x` is"):
        everything(EvaluationFile(path), ("s:x",))


def test_words_where_csv_has_a_score_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("prompt,s:x\nhello,good\n")

    with pytest.raises(EvaluationError, match=r"a\.csv: .*good"):
        everything(EvaluationFile(path), ("s:x",))


def test_a_prompt_that_is_no_text_is_refused(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": 5, "s:x": 1}])

    with pytest.raises(EvaluationError, match="row 1: `prompt` is 5; expected text"):
        everything(EvaluationFile(path), ("prompt",))


def test_a_cost_is_not_negative(put):
    rows = answers(2)
    rows[1]["c:small"] = -1.0

    with pytest.raises(EvaluationError, match=r"row 2: `c:small` is -1\.0; expected a cost"):
        everything(EvaluationFile(put(rows)))


def test_nan_is_no_score_and_no_mistake(tmp_path):
    rows = answers(2)
    rows[0]["s:small"] = float("nan")

    values = everything(EvaluationFile(write(tmp_path / "a.parquet", rows)))

    assert values["s:small"][0] != values["s:small"][0]


def test_missing_columns_are_told_beside_those_that_are_there(put):
    with pytest.raises(EvaluationError, match="no column `prompt`; it has `text`, `s:x`"):
        EvaluationFile(put([{"text": "a", "s:x": 1.0}]))
    with pytest.raises(EvaluationError, match="no column holds scores: expected some named s:MODEL"):
        EvaluationFile(put([{"prompt": "a", "x": 1.0}]))
    with pytest.raises(EvaluationError, match="no column `s:huge`"):
        everything(EvaluationFile(put(answers(2))), ("s:huge",))


@pytest.mark.parametrize("name", ["absent.parquet", "absent.csv", "absent.jsonl"])
def test_a_file_that_is_not_there_is_told(tmp_path, name):
    with pytest.raises(EvaluationError, match=r"absent.*(No such file|not found)"):
        EvaluationFile(tmp_path / name)


def test_another_kind_of_file_is_told(tmp_path):
    with pytest.raises(EvaluationError, match=r"ends in \.parquet, \.csv, \.jsonl"):
        EvaluationFile(tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"no parquet"),
        ("a.csv", b""),
        ("a.jsonl", b'{"prompt": "a", "s:x": 1}\n[]\n'),
        ("a.csv", b"\xff"),
    ],
)
def test_a_broken_file_is_told_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(EvaluationError) as caught:
        EvaluationFile(tmp_path / name)

    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)
