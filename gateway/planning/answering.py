"""Has a tool answer, and completes what every answer says: what was given, what was a default, and which prices are old."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

import msgspec

from gateway.planning.comparing import changes
from gateway.planning.contract import Answer, Assumption, Cell, Context, Inputs, PlanError, Tool
from gateway.planning.reading import Input, inputs_of

OLD_DAYS = 90
_MOST_NAMED = 4


def answered(tool: Tool[Any], inputs: Inputs, given: Collection[str], context: Context) -> Answer:
    """`given` names the inputs that are not defaults. Raises PlanError."""
    preset = tool.preset(inputs) if tool.preset else {}
    inputs = msgspec.structs.replace(inputs, **{name: preset[name] for name in preset if name not in given})
    try:
        answer = tool.plan(inputs, context)
    except ArithmeticError as exc:
        # Each input is of a possible size, but what comes of them together is not.
        raise PlanError("These inputs make numbers too large or too small to count with.") from exc
    own = [
        _assumption(each, inputs, is_given=each.name in given or each.name in preset)
        for each in inputs_of(type(inputs))
    ]
    assumptions = [
        *(each for each in own if each.origin == "given"),
        *answer.assumptions,
        *(each for each in own if each.origin == "default"),
    ]
    warnings = [*answer.warnings, *_old(assumptions, date.fromisoformat(context.today))]
    full = msgspec.structs.replace(answer, assumptions=assumptions, warnings=warnings)
    if context.previous is None:
        return full
    changed = changes(full, context.previous)
    return msgspec.structs.replace(full, tables=[*full.tables, changed])


def asks_ledger(inputs: Inputs) -> bool:
    return bool(getattr(inputs, "from_ledger", False))


def ledger_question(inputs: Inputs) -> dict[str, Any]:
    """Which traffic is meant: arguments for `gateway.ledger.traffic.TrafficReader.read`."""
    asked = {name: getattr(inputs, name, None) for name in ("tenant", "from_", "to", "reference", "days")}
    return {name: value for name, value in asked.items() if value}


def _assumption(each: Input, inputs: Inputs, *, is_given: bool) -> Assumption:
    value: Any = each.value_of(inputs)
    cell: Cell = ", ".join(str(item) for item in value) if each.is_many else value
    unit = each.unit
    if each.kind == "money" and unit.startswith(("per ", "each")):
        unit = f"{getattr(inputs, 'currency', '')} {unit}".strip()
    if is_given:
        return Assumption(name=each.name, value=cell, unit=unit, origin="given")
    return Assumption(
        name=each.name, value=cell, unit=unit, origin="default", source=each.source, as_of=each.as_of
    )


def _old(assumptions: Sequence[Assumption], today: date) -> list[str]:
    """One warning for all that stand there with a day that is long past."""
    old = [
        f"{each.name} ({each.as_of})"
        for each in assumptions
        if each.origin in ("default", "catalogue") and _age(each.as_of, today) > OLD_DAYS
    ]
    if not old:
        return []
    named = ", ".join(old[:_MOST_NAMED])
    more = f" and {len(old) - _MOST_NAMED} more" if len(old) > _MOST_NAMED else ""
    return [f"Older than {OLD_DAYS} days: {named}{more}. Look them up, and give what holds today."]


def _age(as_of: str, today: date) -> int:
    """In days, from the last day that is meant: `2024` and `2024-06` are long ago only when they are over."""
    if not as_of:
        return 0
    year, month, day = (*as_of.split("-"), "", "")[:3]
    if day:
        return (today - date.fromisoformat(as_of)).days
    if month:
        months = int(year) * 12 + int(month)
        return (today - date(months // 12, months % 12 + 1, 1)).days + 1
    return (today - date(int(year), 12, 31)).days
