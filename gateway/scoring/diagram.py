"""Diagrams for people: how true P(good) is, and what quality costs. As SVG and PNG; needs matplotlib."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gateway.scoring.metrics import Floats, Pair, call_performance, trade_off
from gateway.scoring.reliability import calibration_error, error_by_chance, reliability

_INK, _FAINT = "#222222", "#9a9a9a"
_COLOURS = ("#0b5fa5", "#d9822b", "#3f8f4f", "#b2559b")
"""The one in question first; told apart by people who see few colours too."""
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "xtick.color": _INK,
    "ytick.color": _INK,
    # The same figure gives the same file, and its words stay words.
    "svg.hashsalt": "weighbridge",
    "svg.fonttype": "none",
    # A dollar in a model's name is no formula.
    "text.parse_math": False,
}
_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
_ACROSS = 3
_DPI = 160


class Head(msgspec.Struct, frozen=True):
    """What was predicted for one model, and what came of it; arrays of one length."""

    name: str
    p: Floats
    value: Floats


def reliability_diagram(heads: Sequence[Head], title: str = "") -> Figure:
    """A panel for each head: what was observed beside what was predicted, and under it where predictions lie."""
    with mpl.rc_context(_STYLE):
        across = min(len(heads), _ACROSS)
        down = -(-len(heads) // across)
        figure = Figure(figsize=(0.4 + 2.9 * across, 0.5 + 3.5 * down), layout="constrained")
        grid = figure.add_gridspec(2 * down, across, height_ratios=[4, 1] * down)
        for n, head in enumerate(heads):
            row, column = divmod(n, across)
            above = figure.add_subplot(grid[2 * row, column])
            below = figure.add_subplot(grid[2 * row + 1, column], sharex=above)
            _draw_reliability(above, head)
            _draw_histogram(below, head.p)
            if column == 0:
                above.set_ylabel("share that was good")
                below.set_ylabel("prompts")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        return figure


def trade_off_diagram(pair: Pair, scores: Sequence[tuple[str, Floats]], title: str = "") -> Figure:
    """Quality over the share of strong calls, and over cost where it is known. The first score is the one in question;
    chance is a straight line."""
    with mpl.rc_context(_STYLE):
        panels = 1 if pair.cost is None else 2
        figure = Figure(figsize=(0.8 + 4.4 * panels, 4.0), layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
        _draw_shares(axes[0], pair, scores)
        if pair.cost is not None:
            _draw_costs(axes[1], pair, pair.cost, scores)
        axes[0].legend(frameon=False, loc="lower right")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        return figure


def save(figure: Figure, folder: Path, name: str, kinds: Sequence[str] = ("svg", "png")) -> list[Path]:
    """The name loses what a file's may not hold."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "diagram"
    paths = [folder / f"{stem}.{kind}" for kind in kinds]
    with mpl.rc_context(_STYLE):
        for path in paths:
            figure.savefig(path, dpi=_DPI, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def _draw_reliability(axes: Axes, head: Head) -> None:
    bins = reliability(head.p, head.value)
    predicted = [one.predicted for one in bins]
    observed = np.array([one.observed for one in bins])
    reach = [observed - [one.low for one in bins], [one.high for one in bins] - observed]
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle="--", zorder=1)
    axes.errorbar(
        predicted, observed, yerr=np.maximum(reach, 0), color=_COLOURS[0], marker="o", markersize=4,
        linewidth=1.2, elinewidth=1, capsize=2, zorder=2,
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), title=head.name)
    axes.tick_params(labelbottom=False)
    error, chance = calibration_error(head.p, head.value), error_by_chance(head.p)
    note = f"{len(head.p):,} answers\nECE {error:.3f}\nby chance {chance:.3f}"
    axes.text(0.04, 0.96, note, transform=axes.transAxes, va="top", color=_INK, fontsize=8, bbox=_PAPER)


def _draw_histogram(axes: Axes, p: Floats) -> None:
    axes.hist(p, bins=20, range=(0, 1), color=_COLOURS[0], alpha=0.55)
    axes.set_xlabel("predicted P(good)")
    axes.locator_params(axis="y", nbins=2)


def _draw_shares(axes: Axes, pair: Pair, scores: Sequence[tuple[str, Floats]]) -> None:
    weak, strong = float(pair.weak.mean()), float(pair.strong.mean())
    axes.plot([0, 1], [weak, strong], color=_FAINT, linewidth=1, linestyle="--", label="chance")
    for (name, score), colour in zip(scores, _COLOURS, strict=False):
        curve = trade_off(score, pair)
        axes.plot(curve.share, curve.quality, color=colour, label=name, linewidth=_width(colour))
    curve = trade_off(scores[0][1], pair)
    for part in (0.5, 0.8):
        share, quality = call_performance(curve, part), weak + part * (strong - weak)
        axes.plot([share], [quality], color=_COLOURS[0], marker="o", markersize=4)
        axes.annotate(
            f"{part:.0%} of the gap at {share:.0%}",
            (share, quality),
            xytext=(7, -3),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=_INK,
            bbox=_PAPER,
        )
    axes.set(xlim=(0, 1), xlabel="share of prompts to the strong model", ylabel="mean score")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))


def _draw_costs(
    axes: Axes, pair: Pair, costs: tuple[Floats, Floats], scores: Sequence[tuple[str, Floats]]
) -> None:
    weak, strong = (float(cost.mean()) for cost in costs)
    ends = [float(pair.weak.mean()), float(pair.strong.mean())]
    axes.plot([weak / strong, 1], ends, color=_FAINT, linewidth=1, linestyle="--")
    for (_, score), colour in zip(scores, _COLOURS, strict=False):
        curve = trade_off(score, pair)
        if curve.cost is not None:
            axes.plot(curve.cost / strong, curve.quality, color=colour, linewidth=_width(colour))
    axes.set(xlabel="cost, of the strong model's")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))


def _width(colour: str) -> float:
    return 2.0 if colour == _COLOURS[0] else 1.2
