"""What the planning tools have in common: inputs that say where they come from, and answers that show how they were found.

A tool is a pure function from its inputs, and from the traffic of the ledger if it asks for that, to an `Answer`. The
command line, the admin API and the reference page are all made from the declarations here.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar

import msgspec

from gateway.planning.traffic import Traffic
from gateway.planning.units import Money

NEVER = "never"
"""Stands where a number of months, tokens or requests would, had it ever paid."""

Cell = str | int | float | Decimal | bool | None
"""Money stands as a Decimal with its currency in the unit; None is unknown, and shown as a dash."""


class PlanError(ValueError):
    """An input that is wrong or impossible. The message says what, why, and what would do."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        """The input's name in the struct; the command line shows it as its flag."""


def asked(
    meaning: str,
    *,
    unit: str = "",
    source: str = "",
    as_of: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> msgspec.Meta:
    """What an input means, where its default comes from, and between what it must lie. For use in `Annotated`.

    `source` and `as_of` (2026-11-21) are of the default; both are shown with every answer that used it. Bounds stand in
    `extra` because msgspec knows none for Decimal; `gateway.planning.reading` holds inputs to them.
    """
    bounds = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    return msgspec.Meta(
        description=meaning,
        extra={
            "unit": unit,
            "source": source,
            "as_of": as_of,
            "bounds": {sign: bound for sign, bound in bounds.items() if bound is not None},
        },
    )


class Inputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one tool. Each field is `Annotated[type, asked(...)]` with a default; flags are its name with dashes.

    Types: str, int, float, bool, Decimal (money), Literal, an optional or a tuple of those. Nothing else.
    """


Origin = Literal["given", "default", "catalogue", "ledger", "derived"]


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """A number that the answer rests on."""

    name: str
    value: Cell
    unit: str = ""
    origin: Origin
    source: str = ""
    as_of: str = ""
    """Day of the source, for what drifts: prices. Older than 90 days is warned of."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A number of the answer."""

    key: str
    """Its name in JSON and CSV, with the unit: `total_gib`."""
    label: str
    value: Cell
    unit: str = ""
    formula: str = ""
    """In symbols; `--explain` prints it with `numbers` below."""
    numbers: str = ""
    """The same with numbers put in, up to the result."""
    group: str = ""
    """Lines of one group stand together under its name."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    label: str
    unit: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    """Its name in JSON."""
    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Cell]]
    """By the columns' keys."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a plot, or one segment of its stacked bars; all sequences of one length."""

    label: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    """A band around the line."""
    is_dashed: bool = False


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A point worth naming. Without `y` it is a vertical line through the plot; without `x` a level across it."""

    text: str
    x: float | None = None
    y: float | None = None


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """What a diagram shows; `gateway.planning.diagram` draws it."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    kind: Literal["lines", "steps", "bars"] = "lines"
    is_log_x: bool = False
    is_log_y: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    tool: str
    headline: str
    """The answer in one sentence."""
    lines: Sequence[Line] = ()
    tables: Sequence[Table] = ()
    """The first is what CSV holds; without any, CSV holds the lines."""
    assumptions: Sequence[Assumption] = ()
    """All that was not derived: what was given, defaulted, looked up. The surface adds given and defaulted inputs itself."""
    warnings: Sequence[str] = ()
    plot: Plot | None = None


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool may know besides its inputs."""

    today: str
    """2026-11-21: to tell how old a price is, and to count days from."""
    traffic: Traffic | None = None
    """Read when the tool's inputs ask for it (`from_ledger`)."""
    previous: Mapping[str, Any] | None = None
    """An earlier answer of the same tool as JSON, to compare with (`compare`)."""
    files: Mapping[str, str] = {}
    """Text of the files that inputs named (fields of `Tool.files`), by field: tools read nothing themselves."""


I = TypeVar("I", bound=Inputs)  # noqa: E741 - inputs


class Tool(msgspec.Struct, Generic[I], frozen=True, kw_only=True):
    name: str
    help: str
    inputs: type[I]
    plan: Callable[[I, Context], Answer]
    """Raises PlanError."""
    examples: Sequence[str] = ()
    """Arguments after `weighbridge plan NAME`, each of which works as it stands, offline."""
    files: Sequence[str] = ()
    """Inputs that name a file on the command line, and hold its text in the API."""
    preset: Callable[[I], Mapping[str, Any]] | None = None
    """Other inputs that one input (`scenario`) stands for, by name; what is given beside it counts instead. Raises
    PlanError."""


def money_cell(money: Money) -> Decimal:
    """To the cent, for what is read; parts that must add up go through `units.in_cents` together."""
    return money.amount.quantize(Decimal("0.01"))
