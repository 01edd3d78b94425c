"""Evaluation files: a row for each prompt, with the scores that models' answers to it got. Read in pieces.

Columns: `prompt`; `s:MODEL`, the score of its answer from 0 to 1, empty where there is none; and, if known, `source`,
`category` and `c:MODEL`, what the answer cost. Parquet, CSV with a header, or one JSON object a line. Needs pyarrow for
the first two.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

SCORE, COST = "s:", "c:"
PROMPT = "prompt"
ROWS_AT_ONCE = 1024

_CSV_BLOCK = 4 * 1024 * 1024
"""Bytes read at once; no row may be longer."""

Piece = dict[str, list[Any]]


class EvaluationError(Exception):
    """The file cannot be used; the message says why, and where."""


class EvaluationFile:
    """Its calls raise EvaluationError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kind = _KINDS.get(path.suffix.lower())
        if kind is None:
            raise EvaluationError(f"{path}: expected a file that ends in {', '.join(_KINDS)}")
        self._pieces: Callable[[Path, Sequence[str]], Iterator[Piece]]
        columns, self._pieces = kind
        try:
            self.columns = columns(path)
        except (OSError, ValueError, msgspec.MsgspecError) as exc:
            raise self._error(exc) from exc
        if not self.models:
            raise EvaluationError(f"{path}: no column holds scores: expected some named s:MODEL")
        if PROMPT not in self.columns:
            raise EvaluationError(f"{path}: there is no column `{PROMPT}`; it has {_listed(self.columns)}")

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(name.removeprefix(SCORE) for name in self.columns if name.startswith(SCORE))

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """Lists of up to `ROWS_AT_ONCE` values for each column: numbers for scores and costs, or None; else text."""
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise EvaluationError(
                f"{self.path}: there is no column `{missing[0]}`; it has {_listed(self.columns)}"
            )
        first = 1
        try:
            for piece in self._pieces(self.path, columns):
                for name, values in piece.items():
                    self._check(name, values, first)
                yield piece
                first += len(piece[columns[0]])
        except (OSError, ValueError, msgspec.MsgspecError) as exc:
            raise self._error(exc) from exc

    def _check(self, name: str, values: Sequence[Any], first: int) -> None:
        wrong = _WRONG.get(name[:2], _is_no_text)
        for n, value in enumerate(values):
            if wrong(value):
                expected = _EXPECTED.get(name[:2], "text")
                raise EvaluationError(
                    f"{self.path}: row {first + n}: `{name}` is {value!r:.40}; expected {expected}"
                )

    def _error(self, exc: Exception) -> EvaluationError:
        reason = str(exc).strip().splitlines()
        return EvaluationError(f"{self.path}: {reason[0] if reason else type(exc).__name__}")


def _is_no_score(value: Any) -> bool:
    """NaN stands for none, as in data frames."""
    return value is not None and not (_is_number(value) and (value != value or 0 <= value <= 1))


def _is_no_cost(value: Any) -> bool:
    return value is not None and not (_is_number(value) and (value != value or 0 <= value < float("inf")))


def _is_no_text(value: Any) -> bool:
    return value is not None and not isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_WRONG = {SCORE: _is_no_score, COST: _is_no_cost}
_EXPECTED = {SCORE: "a score from 0 to 1, or nothing", COST: "a cost, or nothing"}


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in columns[:12])
    return shown if len(columns) <= 12 else f"{shown} and {len(columns) - 12} more"


def _parquet_columns(path: Path) -> tuple[str, ...]:
    import pyarrow.parquet as pq

    return tuple(pq.read_schema(path).names)


def _parquet_pieces(path: Path, columns: Sequence[str]) -> Iterator[Piece]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(columns)):
            yield {name: batch.column(name).to_pylist() for name in columns}


def _csv_columns(path: Path) -> tuple[str, ...]:
    with _csv(path, None) as reader:
        return tuple(reader.schema.names)


def _csv_pieces(path: Path, columns: Sequence[str]) -> Iterator[Piece]:
    with _csv(path, columns) as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                part = batch.slice(start, ROWS_AT_ONCE)
                yield {name: part.column(name).to_pylist() for name in columns}


def _csv(path: Path, columns: Sequence[str] | None) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    types = {name: pa.float64() if name[:2] in _WRONG else pa.string() for name in columns or ()}
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=_CSV_BLOCK),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=types, include_columns=list(types) or None),
    )


def _json_columns(path: Path) -> tuple[str, ...]:
    """Of all lines: a model may have answered only the last."""
    names: dict[str, None] = {}
    for line in _json_lines(path):
        names.update(dict.fromkeys(line))
    return tuple(names)


def _json_pieces(path: Path, columns: Sequence[str]) -> Iterator[Piece]:
    piece: Piece = {name: [] for name in columns}
    for line in _json_lines(path):
        for name in columns:
            piece[name].append(line.get(name))
        if len(piece[columns[0]]) == ROWS_AT_ONCE:
            yield piece
            piece = {name: [] for name in columns}
    if piece[columns[0]]:
        yield piece


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield msgspec.json.decode(line, type=dict[str, Any])
                except msgspec.MsgspecError as exc:
                    raise ValueError(f"line {number}: {exc}") from exc


_KINDS: dict[
    str, tuple[Callable[[Path], tuple[str, ...]], Callable[[Path, Sequence[str]], Iterator[Piece]]]
] = {
    ".parquet": (_parquet_columns, _parquet_pieces),
    ".csv": (_csv_columns, _csv_pieces),
    ".jsonl": (_json_columns, _json_pieces),
}
