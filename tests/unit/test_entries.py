"""What an entry keeps of the prediction that was made before its answer."""

from gateway.entries import predicted
from gateway.ticket import Request
from gateway.values import Score

CHAT = Request(body={}, body_bytes=1, model="auto")


def test_an_entry_keeps_what_the_scorer_said_and_not_what_the_tenants_outcomes_made_of_it():
    adjusted = Score(complexity=0.2, p_good={"local/small": 0.5}, raw={"local/small": 0.7})

    assert predicted(CHAT, adjusted, "local/small") == 0.7
    assert predicted(CHAT, Score(complexity=0.2, p_good={"local/small": 0.6}), "local/small") == 0.6


def test_a_default_that_stands_for_a_score_is_no_prediction():
    score = Score(complexity=0.5, p_good={"local/small": 0.7})

    assert (
        predicted(CHAT, Score(complexity=0.5, p_good=score.p_good, is_degraded=True), "local/small") is None
    )
    assert (
        predicted(Request(kind="embedding", body={}, body_bytes=1, model="v"), score, "local/small") is None
    )
    assert predicted(CHAT, score, "local/other") is None
