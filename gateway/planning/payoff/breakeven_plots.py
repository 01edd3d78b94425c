"""What a break-even looks like: cost against load, and cost over months."""

import math

from gateway.planning.contract import Mark, Plot, Series
from gateway.planning.payoff.measured import Month
from gateway.planning.units import Money, Tokens

_POINTS = 120
_DECADES = 2.5
_LONGEST_MONTHS = 120
_LEAST_MONTHS = 24
_STAIRS = 16


def over_load(
    *,
    price: Money,
    variable: Money,
    own: Money,
    rented: Money,
    server: Tokens,
    copy: Tokens,
    breakeven: Tokens | None,
    load: Tokens | None = None,
) -> Plot:
    """`own` is a month of a server, `rented` of a copy; `server` and `copy` say how much of a month each serves. Prices
    are per million tokens, `variable` that of serving them oneself."""
    points = [each.millions for each in (breakeven, load) if each is not None and each.value > 0]
    most = max(3 * server.millions, *(2 * point for point in points), 0.0)
    least = min(most / 10**_DECADES, *(point / 2 for point in points), most)
    even = [least * (most / least) ** (at / _POINTS) for at in range(_POINTS + 1)]
    x = sorted({*even, *_edges(server, most), *_edges(copy, most)})

    def stairs(month: Money, one: Tokens) -> list[float]:
        return [
            math.ceil(at / one.millions - 1e-9) * float(month.amount) + float(variable.amount) * at
            for at in x
        ]

    marks = [Mark(text="own pays from here", x=breakeven.millions)] if breakeven else []
    return Plot(
        title="What a month costs, by the load",
        x_label="million tokens a month",
        y_label="USD a month",
        series=[
            Series(label="API", x=x, y=[float(price.amount) * at for at in x]),
            Series(label="own servers", x=x, y=stairs(own, server)),
            Series(label="rented, always on", x=x, y=stairs(rented, copy), is_dashed=True),
        ],
        marks=[*marks, *([Mark(text="measured", x=load.millions)] if load else [])],
        is_log_x=True,
        is_log_y=True,
    )


def over_months(*, price: Money, running: Money, instead: Month, label: str, months: float) -> Plot:
    """Of what is bought, beside what is paid `instead` of it each month."""
    last = (
        _LEAST_MONTHS
        if math.isinf(months)
        else min(_LONGEST_MONTHS, max(_LEAST_MONTHS, math.ceil(1.5 * months)))
    )
    x = [float(month) for month in range(last + 1)]

    def so_far(month: Money, start: float = 0.0) -> list[float]:
        return [start + float(month.amount) * at for at in x]

    paid = so_far(running, float(price.amount))
    marks = (
        [] if months > last else [Mark(text="paid for", x=months, y=float((instead.amount * months).amount))]
    )
    return Plot(
        title="Paid so far",
        x_label="months",
        y_label="USD",
        series=[
            Series(
                label=label,
                x=x,
                y=so_far(instead.amount),
                low=None if instead.low is None else so_far(instead.low),
                high=None if instead.high is None else so_far(instead.high),
            ),
            Series(label="own servers", x=x, y=paid),
        ],
        marks=marks,
    )


def _edges(one: Tokens, most: float) -> list[float]:
    """Where stairs rise, on both sides; of the first ones, for the rest looks like a slope."""
    found = [number * one.millions * side for number in range(1, _STAIRS + 1) for side in (1, 1 + 1e-6)]
    return [edge for edge in found if edge < most]
