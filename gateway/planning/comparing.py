"""What changed between an earlier answer, as it was saved, and this one: inputs first, then numbers."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from gateway.planning.contract import Answer, Cell, Column, PlanError, Table

KEY = "changes"
_COLUMNS = (
    Column(key="what", label="what"),
    Column(key="unit", label="unit"),
    Column(key="before", label="before"),
    Column(key="now", label="now"),
    Column(key="change", label="change"),
    Column(key="change_percent", label="change", unit="%"),
)


def checked(previous: Any, tool: str) -> Mapping[str, Any]:
    """Raises PlanError for what is no answer of this tool."""
    if not isinstance(previous, dict) or not isinstance(previous.get("assumptions"), list):
        raise PlanError("That is no answer of a planning tool.", param="compare")
    if previous.get("tool") != tool:
        raise PlanError(
            f"That is an answer of {str(previous.get('tool'))[:64]!r}, not of {tool!r}.", param="compare"
        )
    return previous


def changes(answer: Answer, previous: Mapping[str, Any]) -> Table:
    """Empty if nothing did. What stands in tables is left to the tool."""
    rows = [*_inputs(answer, previous["assumptions"]), *_lines(answer, previous)]
    date = previous.get("date")
    return Table(
        key=KEY,
        title=f"Changes since {date[:10]}" if isinstance(date, str) else "Changes",
        columns=_COLUMNS,
        rows=rows,
    )


def _inputs(answer: Answer, before: Sequence[Any]) -> Iterator[dict[str, Cell]]:
    then = {each["name"]: each.get("value") for each in before if isinstance(each, dict) and "name" in each}
    for each in answer.assumptions:
        if each.origin != "derived" and each.name in then:
            yield from _row(each.name, each.unit, then[each.name], each.value)


def _lines(answer: Answer, previous: Mapping[str, Any]) -> Iterator[dict[str, Cell]]:
    for line in answer.lines:
        yield from _row(line.label, line.unit, previous.get(line.key), line.value)


def _row(what: str, unit: str, before: Any, now: Cell) -> Iterator[dict[str, Cell]]:
    then = _cell(before, now)
    if then == now:
        return
    yield {"what": what, "unit": unit, "before": then, "now": now, **_change(then, now)}


def _change(then: Any, now: Any) -> dict[str, Cell]:
    if not (_is_number(then) and _is_number(now)):
        return {}
    return {"change": now - then, "change_percent": float((now - then) / abs(then)) * 100 if then else None}


def _cell(before: Any, now: Cell) -> Cell:
    """As JSON tells it, in the type that it had."""
    if isinstance(now, Decimal) and _is_number(before):
        return Decimal(repr(before))
    return before if isinstance(before, str | int | float | bool) else None


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float | Decimal) and not isinstance(cell, bool)
