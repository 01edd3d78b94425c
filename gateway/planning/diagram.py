"""Draws a plot as SVG or PNG. Needs matplotlib, which is imported when something is drawn.

Not for two threads at once: matplotlib keeps some of its settings for the whole process.
"""

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gateway.planning.contract import Mark, PlanError, Plot, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMS = ("svg", "png")
_INK, _FAINT, _GRID = "#222222", "#9a9a9a", "#e6e6e6"
_COLOURS = ("#0b5fa5", "#d9822b", "#3f8f4f", "#b2559b", "#7a6a52", "#53b3c4", "#c5453f", "#8a8a8a")
"""Told apart by people who see few colours too; bars have edges besides."""
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.axisbelow": True,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "xtick.color": _INK,
    "ytick.color": _INK,
    # The same plot gives the same file, and its words stay words.
    "svg.hashsalt": "weighbridge",
    "svg.fonttype": "none",
    # A dollar is no formula.
    "text.parse_math": False,
}
_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.2}
_SIZE_INCHES = (8.0, 4.8)
_DPI = 160
_LONGEST_NAME = 14
_FEW_TICKS = 300
"""A log axis that spans less has ticks between powers of ten."""
_NAMES_WIDTH = 96
"""Letters that fit below the x axis."""


class PlotsUnavailableError(Exception):
    """matplotlib is not installed."""


def drawn(plot: Plot | None, form: str) -> bytes:
    """Raises PlanError for what has no diagram, PlotsUnavailableError."""
    if form not in FORMS:
        raise PlanError(f"A diagram is {' or '.join(FORMS)}, not {form!r}.", param="plot")
    if plot is None:
        raise PlanError("This answer has no diagram.", param="plot")
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as exc:
        raise PlotsUnavailableError("Diagrams need matplotlib: pip install 'weighbridge[plots]'.") from exc
    with mpl.rc_context(_STYLE):
        figure = _figure(plot)
        file = io.BytesIO()
        figure.savefig(file, format=form, dpi=_DPI, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()


def _figure(plot: Plot) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    axes.set_title(textwrap.fill(plot.title, 90))
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    if plot.is_log_x:
        axes.set_xscale("log")
    if plot.is_log_y:
        axes.set_yscale("log")
    if plot.kind == "bars":
        _bars(axes, plot.series)
    else:
        _lines(axes, plot)
    for mark in plot.marks:
        _draw_mark(axes, mark)
    _readable(axes, plot)
    _legend(figure, axes, plot)
    # Labels are placed among what is drawn, so the layout must be known.
    figure.draw_without_rendering()
    _marks(figure, axes, plot)
    return figure


def _lines(axes: "Axes", plot: Plot) -> None:
    for at, series in enumerate(plot.series):
        colour = _COLOURS[at % len(_COLOURS)]
        style = "--" if series.is_dashed else "-"
        if plot.kind == "steps":
            axes.step(
                series.x,
                series.y,
                where="post",
                color=colour,
                linestyle=style,
                linewidth=1.8,
                label=series.label,
            )
        else:
            axes.plot(series.x, series.y, color=colour, linestyle=style, linewidth=1.8, label=series.label)
        if series.low is not None and series.high is not None:
            step: Any = "post" if plot.kind == "steps" else None
            axes.fill_between(
                series.x, series.low, series.high, color=colour, alpha=0.18, linewidth=0, step=step
            )
    axes.margins(x=0.01)


def _bars(axes: "Axes", series: Sequence[Series]) -> None:
    """Stacked; what is below zero hangs from it."""
    names = [str(name) for name in series[0].x] if series else []
    above, below = [0.0] * len(names), [0.0] * len(names)
    for at, one in enumerate(series):
        bottom = [up if y >= 0 else down for y, up, down in zip(one.y, above, below, strict=True)]
        axes.bar(
            range(len(names)), one.y, bottom=bottom, width=0.66, color=_COLOURS[at % len(_COLOURS)],
            edgecolor="white", linewidth=0.6, label=one.label,
        )  # fmt: skip
        above = [up + max(y, 0) for y, up in zip(one.y, above, strict=True)]
        below = [down + min(y, 0) for y, down in zip(one.y, below, strict=True)]
    axes.set_xticks(range(len(names)), [textwrap.fill(name, _LONGEST_NAME) for name in names])
    axes.axhline(0, color=_FAINT, linewidth=0.8)


def _readable(axes: "Axes", plot: Plot) -> None:
    """Numbers as people write them, not as powers; of many names so few that they do not touch."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis, is_log, (low, high) in (
        (axes.xaxis, plot.is_log_x, axes.get_xlim()),
        (axes.yaxis, plot.is_log_y, axes.get_ylim()),
    ):
        if is_log and high < low * _FEW_TICKS:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    words = FuncFormatter(lambda value, _: f"{value:,.10g}")
    if not plot.is_log_y and all(y >= 0 for series in plot.series for y in series.low or series.y):
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(words)
    axes.yaxis.set_minor_formatter(NullFormatter())
    names = list(dict.fromkeys(x for series in plot.series for x in series.x if isinstance(x, str)))
    if not names:
        axes.xaxis.set_major_formatter(words)
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif plot.kind != "bars":
        room = max(1, _NAMES_WIDTH // max(len(name) + 2 for name in names))
        axes.set_xticks(range(0, len(names), -(-len(names) // room)))


def _legend(figure: "Figure", axes: "Axes", plot: Plot) -> None:
    if len(plot.series) > 1 or (plot.series and plot.series[0].low is not None):
        handles, labels = axes.get_legend_handles_labels()
        if plot.kind == "bars":  # in the order in which they are stacked
            handles, labels = handles[::-1], labels[::-1]
            figure.legend(handles, labels, frameon=False, loc="outside right upper")
        else:
            figure.legend(handles, labels, frameon=False, loc="outside lower left", ncols=min(4, len(labels)))


def _marks(figure: "Figure", axes: "Axes", plot: Plot) -> None:
    """Each label is put at the first of its places that is free, or at least free of other labels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    curves = [line.get_transform().transform_path(line.get_path()) for line in axes.lines[: len(plot.series)]]
    taken: list[Any] = []
    for mark in plot.marks:
        free_of_labels: list[dict[str, Any]] = []
        for place in _places(mark):
            label = _label(axes, mark, place)
            box = label.get_window_extent(renderer).padded(2)
            label.remove()
            is_inside = (
                frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 + 8
            )
            if not is_inside or any(box.overlaps(other) for other in taken):
                continue
            free_of_labels.append(place)
            if not any(curve.intersects_bbox(box, filled=False) for curve in curves):
                free_of_labels.insert(0, place)
                break
        best = (free_of_labels or _places(mark))[0]
        taken.append(_label(axes, mark, best).get_window_extent(renderer).padded(2))


def _draw_mark(axes: "Axes", mark: Mark) -> None:
    if mark.x is not None and mark.y is not None:
        axes.plot([mark.x], [mark.y], marker="o", markersize=5, color=_INK, zorder=5)
    elif mark.x is not None:
        axes.axvline(mark.x, color=_INK, linewidth=1, linestyle=":", zorder=1.5)
    elif mark.y is not None:
        axes.axhline(mark.y, color=_INK, linewidth=1, linestyle=":", zorder=1.5)


def _places(mark: Mark) -> list[dict[str, Any]]:
    """Where the label may stand, the best first: offsets in points from the point, its side of the line, or its level."""
    sides = (("left", 1), ("right", -1))
    if mark.x is not None and mark.y is not None:
        return [
            {"xytext": (7 * way, up), "ha": side, "va": "bottom" if up > 0 else "top"}
            for up in (6, -6, 20, -20, 34, -34, 48, -48)
            for side, way in sides
        ]
    if mark.x is not None:
        return [
            {"xytext": (4 * way, -down), "ha": side, "va": "top"}
            for down in range(2, 240, 14)
            for side, way in sides
        ]
    return [
        {"xytext": (0, 3 * way), "ha": side, "va": va}
        for side in ("right", "left")
        for va, way in (("bottom", 1), ("top", -1))
    ]


def _label(axes: "Axes", mark: Mark, place: dict[str, Any]) -> Any:
    text = textwrap.fill(mark.text, 34)
    if mark.x is not None and mark.y is not None:
        at: Any = ((mark.x, mark.y), "data")
    elif mark.x is not None:
        at = ((mark.x, 1.0), ("data", "axes fraction"))
    else:
        at = ((0.995 if place["ha"] == "right" else 0.005, mark.y), ("axes fraction", "data"))
    return axes.annotate(
        text, at[0], xycoords=at[1], textcoords="offset points", fontsize=8, color=_INK, bbox=_PAPER,
        annotation_clip=False, zorder=6, **place,
    )  # fmt: skip
