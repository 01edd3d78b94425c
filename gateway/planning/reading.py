"""Makes a tool's inputs from what a person typed or an app sent, and says of each that is wrong what would do.

The same bounds hold for both. How an input is called in a message (`--util`, `util`) is the caller's to say.
"""

import difflib
import operator
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeVar

import msgspec

from gateway.planning.contract import Inputs, PlanError

Called = Callable[[str], str]
Kind = Literal["text", "integer", "number", "money", "yes or no"]

_KINDS: Mapping[type, Kind] = {
    str: "text",
    int: "integer",
    float: "number",
    Decimal: "money",
    bool: "yes or no",
}
_SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_IS_HELD = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
_LEAST, _MOST = Decimal("1e-15"), Decimal("1e18")
"""Of the size of any number but 0: what is beyond makes formulas overflow, and plans nothing."""
_SHOWN = 60

I = TypeVar("I", bound=Inputs)  # noqa: E741 - inputs


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a tool, as all its surfaces show it."""

    name: str
    """Without the underscore that a word of Python's needs: `from`."""
    attribute: str
    kind: Kind
    choices: tuple[str, ...] = ()
    is_many: bool = False
    can_be_none: bool = False
    is_required: bool = False
    default: Any = None
    meaning: str
    unit: str = ""
    source: str = ""
    as_of: str = ""
    bounds: Mapping[str, float] = {}

    @property
    def bounds_text(self) -> str:
        return " and ".join(f"{_SIGNS[sign]} {bound:,.12g}" for sign, bound in self.bounds.items())

    @property
    def json_default(self) -> Any:
        """Money as a number: of those that people write as defaults none is rounded."""
        return float(self.default) if isinstance(self.default, Decimal) else self.default

    def value_of(self, inputs: Inputs) -> Any:
        return getattr(inputs, self.attribute)


def inputs_of(kind: type[Inputs]) -> tuple[Input, ...]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return tuple(_input(field, hints[field.name]) for field in msgspec.structs.fields(kind))


def from_text(kind: type[I], given: Mapping[str, str | bool | Sequence[str]], called: Called) -> I:
    """From what was typed, by the inputs' names; raises PlanError."""
    return _read(kind, given, called, _typed)


def from_json(kind: type[I], given: Mapping[str, Any], called: Called) -> I:
    """From what was sent; money may be a number or a text. Raises PlanError."""
    return _read(kind, given, called, _sent)


def did_you_mean(name: str, known: Sequence[str], called: Called) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f" Did you mean {called(near[0])}?" if near else ""


def _input(field: "msgspec.structs.FieldInfo", hint: Any) -> Input:
    if typing.get_origin(hint) is not typing.Annotated:
        raise TypeError(f"{field.name} is not Annotated[..., asked(...)]")
    inner, meta = typing.get_args(hint)
    inner, can_be_none = _without_none(inner)
    is_many = typing.get_origin(inner) is tuple
    if is_many:
        inner = typing.get_args(inner)[0]
    choices = typing.get_args(inner) if typing.get_origin(inner) is Literal else ()
    is_required = field.default is msgspec.NODEFAULT
    return Input(
        name=field.encode_name.rstrip("_"),
        attribute=field.name,
        kind=_KINDS[str if choices else inner],
        choices=choices,
        is_many=is_many,
        can_be_none=can_be_none,
        is_required=is_required,
        default=None if is_required else field.default,
        meaning=meta.description,
        **meta.extra,
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    [inner] = [one for one in typing.get_args(hint) if one is not type(None)]
    return inner, True


def _read(
    kind: type[I], given: Mapping[str, Any], called: Called, one: Callable[[Input, Any, Called], Any]
) -> I:
    known = {each.name: each for each in inputs_of(kind)}
    for name in given:
        if name not in known:
            near = did_you_mean(name, list(known), called)
            raise PlanError(f"There is no input {called(_shown(name))}.{near}", param=_shown(name))
    values = {
        known[name].attribute: _many(known[name], value, called, one)
        if known[name].is_many
        else one(known[name], value, called)
        for name, value in given.items()
    }
    for each in known.values():
        if each.is_required and each.attribute not in values:
            raise PlanError(f"{called(each.name)} is missing: {each.meaning}.", param=each.name)
    return kind(**values)


def _many(
    each: Input, value: Any, called: Called, one: Callable[[Input, Any, Called], Any]
) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong(each, value, "a list", called)
    return tuple(one(each, item, called) for item in value)


def _typed(each: Input, value: Any, called: Called) -> Any:
    if each.kind in ("text", "yes or no"):
        return _sent(each, value, called)
    try:
        number = Decimal(value.strip())
    except InvalidOperation:
        raise _wrong(each, value, _expected(each), called) from None
    return _number(each, number, value, called)


def _sent(each: Input, value: Any, called: Called) -> Any:
    if value is None and each.can_be_none:
        return None
    if each.kind == "text":
        return _text(each, value, called)
    if each.kind == "yes or no":
        if not isinstance(value, bool):
            raise _wrong(each, value, "true or false", called)
        return value
    if each.kind == "money" and isinstance(value, str):
        return _typed(each, value, called)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(each, value, _expected(each), called)
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return _number(each, number, value, called)


def _text(each: Input, value: Any, called: Called) -> str:
    if not isinstance(value, str):
        raise _wrong(each, value, "a text", called)
    if each.choices and value not in each.choices:
        near = difflib.get_close_matches(value, each.choices, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        message = (
            f"{called(each.name)} must be one of {', '.join(each.choices)}, and is {_shown(value)}.{hint}"
        )
        raise PlanError(message, param=each.name)
    if not value.strip() and value != each.default:
        raise PlanError(f"{called(each.name)} must not be empty.", param=each.name)
    return value


def _number(each: Input, number: Decimal, value: Any, called: Called) -> int | float | Decimal:
    """Held to its bounds. `1e9` is whole too."""
    if not number.is_finite():
        raise _wrong(each, value, "a finite number", called)
    if not all(_IS_HELD[sign](number, Decimal(repr(bound))) for sign, bound in each.bounds.items()):
        raise _wrong(each, value, f"{each.bounds_text}{_of_unit(each)}", called)
    if number and not _LEAST <= abs(number) <= _MOST:
        raise _wrong(each, value, f"0, or of a size between {_LEAST:g} and {_MOST:g}", called)
    if each.kind == "money":
        return number
    if each.kind == "number":
        return float(number)
    if number != int(number):
        raise _wrong(each, value, "a whole number", called)
    return int(number)


def _of_unit(each: Input) -> str:
    return f" ({each.unit})" if each.unit else ""


def _expected(each: Input) -> str:
    return f"{'a whole number' if each.kind == 'integer' else 'a number'}{_of_unit(each)}"


def _wrong(each: Input, value: Any, expected: str, called: Called) -> PlanError:
    return PlanError(f"{called(each.name)} must be {expected}, and is {_shown(value)}.", param=each.name)


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) > _MOST:
        return f"{Decimal(value):.3g}"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = "".join(c if c.isprintable() else "?" for c in text)
    if not text.strip():
        return "empty"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
