"""Diagrams: files that open, say what they show, and are the same each time."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from gateway.scoring.diagram import Head, reliability_diagram, save, trade_off_diagram
from gateway.scoring.metrics import Pair

PNG = b"\x89PNG\r\n\x1a\n"


def head(name="small", count=300):
    rng = np.random.default_rng(0)
    p = rng.uniform(0.2, 0.9, count)
    return Head(name, p, (rng.random(count) < p).astype(float))


def texts(path):
    return [element.text for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    costs = (np.full(200, 1.0), np.full(200, 9.0))
    return Pair(weak=rng.random(200) / 2, strong=rng.random(200), cost=costs)


def test_a_reliability_diagram_names_its_heads_and_their_error(tmp_path):
    svg, png = save(reliability_diagram([head("small"), head("large")], "exam"), tmp_path, "reliability")

    said = texts(svg)
    assert {"small", "large", "exam", "predicted P(good)", "share that was good"} <= set(said)
    assert any(text.startswith("ECE 0.0") for text in said)
    assert png.read_bytes().startswith(PNG)


def test_many_heads_take_several_rows(tmp_path):
    one, five = (reliability_diagram([head()] * count) for count in (1, 5))

    assert five.get_size_inches()[1] > 1.5 * one.get_size_inches()[1]
    assert len(five.axes) == 10


def test_a_trade_off_names_its_curves_and_where_half_of_the_gap_is_recovered(tmp_path, pair):
    scores = [("scorer", pair.gain), ("length", np.arange(200.0))]

    svg, _ = save(trade_off_diagram(pair, scores, "exam"), tmp_path, "trade-off")

    said = texts(svg)
    assert {"scorer", "length", "chance", "exam"} <= set(said)
    assert any(text.startswith("50% of the gap at ") for text in said)
    assert "cost, of the strong model's" in said


def test_without_costs_there_is_no_panel_of_costs(pair):
    figure = trade_off_diagram(Pair(weak=pair.weak, strong=pair.strong), [("scorer", pair.gain)])

    assert len(figure.axes) == 1


def test_the_same_figures_make_the_same_file(tmp_path):
    first, second = (
        save(reliability_diagram([head()]), tmp_path, name)[0].read_bytes() for name in ("a", "b")
    )

    assert first == second


def test_names_with_signs_are_written_as_they_are_and_make_no_paths(tmp_path):
    svg, png = save(reliability_diagram([head("a/$x$ <b> & c")]), tmp_path / "new", "../a b/$x$")

    assert {svg.parent, png.parent} == {tmp_path / "new"}
    assert "a/$x$ <b> & c" in texts(svg)


def test_few_and_certain_predictions_can_be_drawn(tmp_path):
    certain = Head("sure", np.array([1.0, 0.0]), np.array([1.0, 0.0]))

    save(reliability_diagram([certain]), tmp_path, "sure")
