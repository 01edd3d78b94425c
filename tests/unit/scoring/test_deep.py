"""The second look: whom it is for, what it changes, and what stands when there is none."""

import math

import pytest

from gateway.scoring.contract import Prompt, Scorable
from gateway.scoring.deep import MOST, Deep, moved
from gateway.scoring.quality import p_good
from gateway.telemetry.metrics import Metrics
from gateway.values import Score

BAND = (0.2, 0.8)
CANDIDATES = [
    Scorable(id="a/small", size="small"),
    Scorable(id="b/large", size="large"),
    Scorable(id="c/known", size="medium", p_good=0.9),
]


def prompt(user):
    return Prompt(
        system="", user=user, history="", turns=1, has_tools=False, has_images=False, wants_json=False
    )


def score(complexity, **changes):
    chances = {one.id: p_good(complexity, one) for one in CANDIDATES}
    return Score(complexity=complexity, p_good=chances, category="maths", **changes)


class Encoder:
    """Stands for the batcher: gives the vector that it was told to give."""

    def __init__(self, vector):
        self.vector = vector
        self.texts = []

    async def __call__(self, text):
        self.texts.append(text)
        return self.vector


def adding(difficulty, vector):
    return difficulty + vector[0]


def deep(vector, head=adding):
    return Deep(Encoder(vector), head, Metrics(), band=BAND)


@pytest.mark.parametrize(
    ("complexity", "is_near"), [(0.19, False), (0.2, True), (0.5, True), (0.8, True), (0.81, False)]
)
def test_only_prompts_within_the_band_get_a_second_look(complexity, is_near):
    assert deep([0.0]).is_near(score(complexity)) is is_near


def test_a_score_that_is_a_mere_default_gets_none():
    assert not deep([0.0]).is_near(score(0.5, is_degraded=True))


def test_a_request_that_only_one_model_can_answer_gets_none():
    assert not deep([0.0]).is_near(Score(complexity=0.5, p_good={"a/small": 0.7}))


async def test_the_encoder_moves_the_difficulty_and_every_models_chances_with_it():
    refined = await deep([1.0]).refine(prompt("Prove it."), score(0.5))

    assert refined.complexity == pytest.approx(1 / (1 + math.exp(-1)))
    assert refined.p_good == pytest.approx(score(refined.complexity).p_good)
    assert refined.category == "maths"


async def test_the_encoder_reads_the_last_user_turn():
    stage = deep([0.0])

    await stage.refine(prompt("Prove it."), score(0.5))

    assert stage._batcher.texts == ["Prove it."]


async def test_without_a_vector_the_first_score_stands():
    first = score(0.5)

    assert await deep(None).refine(prompt("Prove it."), first) is first


async def test_without_a_text_the_first_score_stands_and_the_encoder_is_left_alone():
    stage, first = deep([1.0]), score(0.5)

    assert await stage.refine(prompt(""), first) is first
    assert stage._batcher.texts == []


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
async def test_a_vector_that_makes_no_sense_is_counted_and_changes_nothing(nonsense):
    stage, first = deep([nonsense]), score(0.5)

    assert await stage.refine(prompt("Prove it."), first) is first
    assert b'weighbridge_degraded_total{part="deep_failed"} 1.0' in stage._metrics.render()


@pytest.mark.fault("S17")
@pytest.mark.parametrize(("huge", "most"), [(1e9, MOST), (-1e9, -MOST)])
async def test_no_text_can_move_its_difficulty_by_more_than_a_bound(huge, most):
    refined = await deep([huge]).refine(prompt("Prove it."), score(0.5))

    assert refined.complexity == pytest.approx(1 / (1 + math.exp(-most)))


@pytest.mark.parametrize("complexity", [0.0, 1.0])
@pytest.mark.parametrize("huge", [1e9, -1e9])
async def test_at_the_ends_of_the_scale_everything_stays_a_share(complexity, huge):
    refined = await deep([huge]).refine(prompt("Prove it."), score(complexity))

    assert 0 <= refined.complexity <= 1
    assert all(0 < chance < 1 for chance in refined.p_good.values())


def test_a_score_moved_nowhere_is_as_it_was():
    first = score(0.4)

    assert moved(first, 0.4).p_good == pytest.approx(first.p_good)
