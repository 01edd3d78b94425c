"""Diagrams of every kind, as files."""

import re
from collections.abc import Sequence

import pytest

from gateway.planning.contract import Mark, PlanError, Plot, Series
from gateway.planning.diagram import drawn

LINES = Plot(
    title="Cost against load, in $",
    x_label="Mtok per month",
    y_label="USD per month",
    series=[
        Series(label="API", x=[0, 1000, 4000], y=[0, 300, 1200]),
        Series(
            label="own",
            x=[0, 1000, 4000],
            y=[700, 710, 720],
            low=[600, 600, 600],
            high=[800, 800, 800],
            is_dashed=True,
        ),
    ],
    marks=[
        Mark(text="own pays from here", x=2376.97, y=713),
        Mark(text="now", x=2400),
        Mark(text="full", x=2450),
        Mark(text="budget", y=1000),
        Mark(text="half of it", y=990),
    ],
)
BARS = Plot(
    title="Memory by part",
    x_label="",
    y_label="GiB",
    kind="bars",
    series=[
        Series(label="weights", x=["fp16", "a name that is so long that it wraps"], y=[15, 5.3]),
        Series(label="cache", x=["fp16", "a name that is so long that it wraps"], y=[1, -1]),
    ],
    marks=[Mark(text="A10", y=40)],
)
STEPS = Plot(
    title="Replicas",
    x_label="load",
    y_label="USD",
    kind="steps",
    series=[Series(label="own", x=[1, 10, 100], y=[1, 2, 3], low=[1, 1, 1], high=[3, 3, 3])],
    is_log_x=True,
    is_log_y=True,
)
DAYS = Plot(
    title="Days",
    x_label="",
    y_label="USD",
    series=[Series(label="spent", x=[f"2026-10-{day:02}" for day in range(1, 32)], y=[-5.0, *range(30)])],
)
EMPTY = Plot(title="Nothing", x_label="x", y_label="y", series=[])


@pytest.mark.parametrize("plot", [LINES, BARS, STEPS, DAYS, EMPTY], ids=lambda plot: str(plot.title))
def test_every_kind_is_drawn_with_its_words(plot: Plot) -> None:
    svg = drawn(plot, "svg").decode()

    words = [
        plot.title,
        *(mark.text for mark in plot.marks),
        *(one.label for one in plot.series if len(plot.series) > 1),
    ]
    assert all(f">{word}<" in svg for word in words)


def test_a_plot_gives_the_same_file_twice_and_pixels_too() -> None:
    assert drawn(BARS, "svg") == drawn(BARS, "svg")
    assert drawn(BARS, "png").startswith(b"\x89PNG\r\n")


def test_labels_of_marks_do_not_stand_on_each_other() -> None:
    svg = drawn(LINES, "svg").decode()

    places = boxes(svg, [mark.text for mark in LINES.marks])
    assert len(places) == len(LINES.marks)
    for at, (x, y, width) in enumerate(places):
        for other_x, other_y, other_width in places[at + 1 :]:
            assert abs(y - other_y) > 8 or x + width <= other_x or other_x + other_width <= x


def boxes(svg: str, texts: Sequence[str]) -> list[tuple[float, float, float]]:
    """Left, baseline and a width of each text that is a little less than it has."""
    found = []
    for text in texts:
        match = re.search(rf'text-anchor: (\w+)[^"]*" x="([\d.]+)" y="([\d.]+)"[^>]*>{text}<', svg)
        assert match, text
        x, y, width = float(match[2]), float(match[3]), 3.5 * len(text)
        found.append((x - width * {"start": 0, "middle": 0.5, "end": 1}[match[1]], y, width))
    return found


def test_a_diagram_that_there_is_not_is_refused() -> None:
    with pytest.raises(PlanError, match="no diagram"):
        drawn(None, "svg")
    with pytest.raises(PlanError, match="svg or png"):
        drawn(LINES, "pdf")
