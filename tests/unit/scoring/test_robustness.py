"""The shipped scorer is stable under rewording and layout, and cannot be talked, padded or tricked into much.

Bounds leave room above what bench/routing/robustness.py measures, so that a model that is trained anew may pass.
"""

# ruff: noqa: RUF001 - Chinese has its own punctuation

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.routing.attacks import DOWNWARD, INSTRUCTIONS, PADDING, apply
from bench.routing.perturbations import CHANGES
from gateway.scoring.contract import Prompt, Scorable
from gateway.scoring.evaluate_entry import _scorer as shipped
from gateway.scoring.evaluate_entry import needs_strong

PAIRS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data/paraphrases.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
PROMPTS = [pair["prompt"] for pair in PAIRS]
SHARES = (0.2, 0.5)
"""Of the prompts that are sent to the strong model."""
CANDIDATES = [Scorable(id=size, size=size) for size in ("small", "medium", "large", "cloud")]
FOUND = {
    "after": (
        "",
        " transilluminates 0x100000 unterminated respectively cryptographically minimum horizontally given 20",
    ),
    "before": (
        "0x100000 rectangular unterminated transilluminates given permittivity nonempty each otherwise ",
        "",
    ),
    "around": (
        "0x100000 transilluminates given nonempty each ",
        " unterminated permittivity transilluminates otherwise",
    ),
}
"""As the search of bench/routing/robustness.py finds them."""


class Traffic:
    def __init__(self):
        self.scores = np.array(needs_strong(PROMPTS))
        self.thresholds = [float(np.quantile(self.scores, 1 - share)) for share in SHARES]
        self.easy = [
            prompt for prompt, score in zip(PROMPTS, self.scores, strict=True) if score <= self.thresholds[1]
        ]
        self.hard = [
            prompt for prompt, score in zip(PROMPTS, self.scores, strict=True) if score > self.thresholds[0]
        ]

    def same_route(self, texts):
        """Shares of the prompts that go where these texts go, at both thresholds."""
        scores = np.array(needs_strong(texts))
        return [np.mean((self.scores > threshold) == (scores > threshold)) for threshold in self.thresholds]

    @cache  # noqa: B019 - one object for the whole module
    def moved(self, attack):
        """Shares of the easier half that the attack sends to the strong model."""
        scores = np.array(needs_strong(apply(attack, self.easy)))
        return [np.mean(scores > threshold) for threshold in self.thresholds]


@pytest.fixture(scope="module")
def traffic():
    return Traffic()


def complexity(text):
    return shipped().score([prompt(text)], [])[0].complexity


def prompt(text):
    return Prompt(
        system="", user=text, history="", turns=1, has_tools=False, has_images=False, wants_json=False
    )


def test_at_least_85_of_100_prompts_take_the_same_route_when_they_are_reworded(traffic):
    assert min(traffic.same_route([pair["paraphrase"] for pair in PAIRS])) >= 0.85


@pytest.mark.parametrize(
    "change",
    [
        "capital first",
        "blanks around and doubled",
        "line breaks of Windows",
        "zero-width characters",
        "no-break spaces",
        "curly quotes and dashes",
        "bold words",
        "as a quotation",
        "please",
        "greeting and thanks",
    ],
)
def test_layout_and_courtesies_change_the_route_of_next_to_none(traffic, change):
    assert min(traffic.same_route([CHANGES[change](text) for text in PROMPTS])) >= 0.96


@pytest.mark.parametrize(
    "change", ["typos", "missing letters", "no mark at the end", "lower case", "upper case"]
)
def test_slips_of_the_hand_change_the_route_of_few(traffic, change):
    assert min(traffic.same_route([CHANGES[change](text) for text in PROMPTS])) >= 0.85


@pytest.mark.fault("S17")
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_words_to_the_router_move_nobody_to_the_strong_model(traffic, name):
    over_20, over_50 = traffic.moved(INSTRUCTIONS[name])

    assert over_20 <= 0.02
    assert over_50 <= 0.15


@pytest.mark.fault("S17")
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_words_to_the_router_add_at_most_a_twentieth_to_the_complexity_of_a_usual_prompt(traffic, name):
    changes = [complexity(apply(INSTRUCTIONS[name], [text])[0]) - complexity(text) for text in traffic.easy]

    assert np.median(changes) <= 0.05
    assert np.mean(changes) <= 0.05


@pytest.mark.fault("S17")
@pytest.mark.parametrize("name", PADDING)
def test_padding_that_looks_hard_moves_few_prompts_over_the_upper_threshold(traffic, name):
    assert traffic.moved(PADDING[name])[0] <= 0.25


@pytest.mark.fault("S17")
def test_padding_on_average_moves_less_than_one_in_ten(traffic):
    assert np.mean([traffic.moved(attack)[0] for attack in PADDING.values()]) <= 0.1


@pytest.mark.fault("S17")
@pytest.mark.parametrize(
    "name", ["zero-width characters", "zero-width joiners, 20 kB", "spaces and line breaks"]
)
def test_what_nobody_sees_changes_nothing(traffic, name):
    assert needs_strong(apply(PADDING[name], traffic.easy)) == pytest.approx(
        needs_strong(traffic.easy), abs=1e-6
    )


@pytest.mark.fault("S17")
@pytest.mark.parametrize(
    "name", ["one word, 200 times", "the prompt's beginning, repeated", "one letter, 100 kB"]
)
def test_repetition_and_blobs_move_next_to_nobody_over_the_upper_threshold(traffic, name):
    assert traffic.moved(PADDING[name])[0] <= 0.05


@pytest.mark.fault("S17")
@pytest.mark.parametrize(("place", "most"), [("after", 0.3), ("before", 0.7), ("around", 0.7)])
def test_a_searched_gadget_moves_no_more_than_a_bounded_share_over_the_upper_threshold(traffic, place, most):
    assert traffic.moved(FOUND[place])[0] <= most


@pytest.mark.fault("S18")
@pytest.mark.parametrize("name", DOWNWARD)
def test_what_makes_a_hard_prompt_look_easy_sends_few_below_the_lower_threshold(traffic, name):
    scores = np.array(needs_strong(apply(DOWNWARD[name], traffic.hard)))

    assert np.mean(scores <= traffic.thresholds[1]) <= 0.3


@pytest.mark.fault("S18")
@pytest.mark.parametrize(
    "more", ["Answer in English.", "Keep the answer short.", "What do you think?", "Thank you in advance!"]
)
def test_a_wish_on_the_answer_leaves_a_hard_prompt_above_the_lower_threshold(traffic, more):
    scores = np.array(needs_strong([f"{text}\n\n{more}" for text in traffic.hard]))

    assert np.mean(scores > traffic.thresholds[1]) >= 0.95


@settings(max_examples=60)
@given(
    text=st.text(st.characters(), max_size=300)
    | st.text(st.sampled_from("What is 2+2?\n`$\\.!。？的\u200b\u0301\ud800🦜"), max_size=300)
)
def test_any_text_gets_a_complexity_and_chances(text):
    score = shipped().score([prompt(text)], CANDIDATES)[0]

    assert 0 <= score.complexity <= 1
    assert all(0 < chance < 1 for chance in score.p_good.values())


@pytest.mark.parametrize(
    "text", ["", " \n", "\x00" * 1000, "\ud800", "的" * 100_000, "🦜" * 1000, "\u0e01" * 1000, "? " * 9999]
)
def test_extreme_texts_are_not_sent_to_the_strong_model(traffic, text):
    assert needs_strong([text])[0] <= traffic.thresholds[0]
