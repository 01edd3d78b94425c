"""A scorer that raises, talks nonsense or is slow costs its score, never the request; each is counted."""

import io
from fractions import Fraction

import pytest

from gateway.catalogue import Offer
from gateway.clock import ManualClock
from gateway.scoring.contract import Scorable
from gateway.scoring.quality import p_good
from gateway.stages.score import ScoreStage
from gateway.telemetry.logs import LogSink, make_logger
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Request
from gateway.values import Score

TIMEOUT_S = 0.02
FALLBACK = 0.4


def offer(upstream, size):
    return Offer(
        id=f"{upstream}/m",
        model="m",
        upstream=upstream,
        upstream_model="m",
        size=size,
        abilities=frozenset(),
        context_window=1,
        max_output_tokens=1,
        p_good=None,
        kind="chat",
        forms=frozenset({"chat"}),
        refuses=frozenset(),
        dialect="openai",
        max_tokens_field="max_tokens",
        on_disconnect="cancel",
        drain_s=0,
        total_timeout_s=300,
        is_cached=True,
        batch_price_factor=Fraction(1),
    )


OFFERS = (offer("local", "small"), offer("cloud", "large"))
GOOD = {"local/m": 0.6, "cloud/m": 0.9}
BODY = {"messages": [{"role": "user", "content": "Prove that the secret number 4711 is prime."}]}


class TheirScorer:
    """Does what it was told to; a number tells how many seconds it takes."""

    def __init__(self, clock, answer, takes_s=0.0):
        self.clock = clock
        self.answer = answer
        self.takes_s = takes_s

    def score(self, prompts, candidates):
        self.clock.advance(self.takes_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Tried:
    def __init__(self, answer, takes_s=0.0):
        clock = ManualClock()
        self.metrics = Metrics()
        self.stream = io.BytesIO()
        sink = LogSink(self.stream)
        log = make_logger(sink, clock, level="debug", form="json")
        stage = ScoreStage(
            TheirScorer(clock, answer, takes_s),
            clock,
            self.metrics,
            log,
            fallback=FALLBACK,
            timeout_s=TIMEOUT_S,
        )
        self.score = stage(Request(body=BODY, body_bytes=100, model="auto"), OFFERS)
        sink.drain()

    def counted(self, part):
        return f'part="{part}"' in self.metrics.render().decode()


NONSENSE = {
    "raises": RuntimeError("out of memory at prompt 4711"),
    "raises what it should not": RecursionError(),
    "not a number": [Score(complexity=float("nan"), p_good=GOOD)],
    "infinite": [Score(complexity=float("inf"), p_good=GOOD)],
    "below nothing": [Score(complexity=-0.1, p_good=GOOD)],
    "a chance that is not a number": [Score(complexity=0.9, p_good=GOOD | {"cloud/m": float("nan")})],
    "a chance above one": [Score(complexity=0.9, p_good=GOOD | {"local/m": 1.5})],
    "a model is missing": [Score(complexity=0.9, p_good={"local/m": 0.6})],
    "no score": [],
    "nothing": None,
    "evil": "evil",
    "text for numbers": [Score(complexity="high", p_good=GOOD)],
}


@pytest.mark.fault("S16")
@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_a_scorer_that_fails_or_talks_nonsense_gives_the_configured_default_and_is_counted(answer):
    tried = Tried(answer)

    assert tried.score.is_degraded
    assert tried.score.complexity == FALLBACK
    assert tried.score.p_good == {
        "local/m": p_good(FALLBACK, Scorable(id="", size="small")),
        "cloud/m": p_good(FALLBACK, Scorable(id="", size="large")),
    }
    assert tried.counted("scorer")


@pytest.mark.fault("S16")
def test_a_failing_scorer_is_logged_without_the_prompt():
    tried = Tried(RuntimeError("Prove that the secret number 4711 is prime."))

    assert b"score.failed" in tried.stream.getvalue()
    assert b"4711" not in tried.stream.getvalue()


@pytest.mark.fault("S16")
def test_a_slow_scorer_is_counted():
    assert Tried([Score(complexity=0.9, p_good=GOOD)], takes_s=TIMEOUT_S * 2).counted("scorer_slow")


def test_a_scorer_that_works_is_believed_and_not_counted():
    tried = Tried([Score(complexity=0.9, p_good=GOOD)], takes_s=TIMEOUT_S / 2)

    assert tried.score == Score(complexity=0.9, p_good=GOOD)
    assert not tried.counted("scorer")
    assert not tried.counted("scorer_slow")
