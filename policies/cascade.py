"""The cheap model first; its answer is weighed, and only where it will not do a dearer model is asked."""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.cheapest_adequate import CheapestAdequate
from policies.contract import Acceptance, Candidate, Facts
from policies.objective import Order, p_good
from policies.section import Section

SAME = "same"


@dataclass(frozen=True, slots=True)
class Cascade:
    accept: float = 0.8
    """An answer whose P(good) reaches this is served."""
    skip_below: float = 0.2
    """A model that promises less is no step, unless it is the last."""
    max_steps: int = 2
    second_sample: str | None = None
    """Who answers once more where an answer leaves it open: `same`, or a model's name."""
    logprobs: bool = True
    stream_wait_s: float = 10.0

    @property
    def max_calls(self) -> int:
        seconds = self.max_steps - 1 if self.second_sample else 0
        return self.max_steps + seconds

    def order(self, facts: Facts, candidates: Sequence[Candidate]) -> Order:
        """The steps, then the others by promise: those only stand in for one that fails."""
        single = CheapestAdequate(self.accept).order(facts, candidates)
        worth, left_out = self._worth(facts, candidates)
        *weighed, last = self._steps(facts, worth)
        if not weighed:
            return single._replace(why=single.why + left_out)
        steps = [*weighed, last]
        first = weighed[0]
        return Order(
            [*steps, *(candidate for candidate in single.candidates if candidate not in steps)],
            f"{first.model} first, with P(good) {p_good(first):.2f}; if its answer does not reach {self.accept:g}, "
            f"{steps[1].model} with {p_good(steps[1]):.2f}{left_out}",
            Acceptance(
                thresholds=tuple(self.accept for _ in weighed),
                seconds=tuple(self._second(candidate, candidates) for candidate in weighed),
                asks_logprobs=self.logprobs,
                stream_wait_s=self.stream_wait_s,
            ),
        )

    def _worth(self, facts: Facts, candidates: Sequence[Candidate]) -> tuple[list[Candidate], str]:
        """Those whose answers might be served, the last one always, and for the reason who is not among them."""
        *cheap, last = _ladder(candidates)
        # Where nobody promises the mark, an answer is kept that is found to be as good as the last one's promise.
        mark = min(self.accept, p_good(last))
        promising = [one for one in cheap if p_good(one) >= self.skip_below]
        ceilings = {one.id: self._ceiling(facts, one, candidates) for one in promising}
        hopeless = [one for one in promising if ceilings[one.id] < mark]
        if not hopeless:
            return [*promising, last], ""
        named = ", ".join(f"{one.model} (at most {ceilings[one.id]:.2f})" for one in hopeless)
        worth = [one for one in promising if one not in hopeless]
        return [*worth, last], f"; could not reach {round(mark, 2):g}: {named}"

    def _steps(self, facts: Facts, worth: Sequence[Candidate]) -> list[Candidate]:
        """Fewer than allowed if they would not save anything, or if what is held could not pay for all of them."""
        for count in range(min(self.max_steps, len(worth)), 1, -1):
            rest = worth[count - 1 :]
            last = next((one for one in rest if p_good(one) >= self.accept), rest[-1])
            # What it costs to try is spent every time, and the last one's cost is saved only where the try will do.
            tried = [
                one for one in worth[: count - 1] if one.expected_cost <= p_good(one) * last.expected_cost
            ]
            if tried and sum(one.worst_cost for one in (*tried, last)) <= facts.budget:
                return [*tried, last]
        return [worth[-1]]

    def _ceiling(self, facts: Facts, first: Candidate, candidates: Sequence[Candidate]) -> float:
        return facts.ceiling(first, second=self._second(first, candidates), asks_logprobs=self.logprobs)

    def _second(self, first: Candidate, candidates: Sequence[Candidate]) -> Candidate | None:
        if self.second_sample == SAME:
            return first
        named = [one for one in candidates if one.model == self.second_sample]
        return min(named, key=_cheapest_and_best, default=None)


def _ladder(candidates: Sequence[Candidate]) -> list[Candidate]:
    """From the cheapest up, each that promises more than all cheaper ones."""
    ladder: list[Candidate] = []
    for candidate in sorted(candidates, key=_cheapest_and_best):
        if not ladder or p_good(candidate) > p_good(ladder[-1]):
            ladder.append(candidate)
    return ladder


def _cheapest_and_best(candidate: Candidate) -> tuple[int, float, int, str]:
    return candidate.expected_cost, -p_good(candidate), candidate.in_flight, candidate.id


def read(section: Section) -> Cascade:
    usual = Cascade()
    return Cascade(
        accept=section.share("accept", usual.accept),
        skip_below=section.share("skip_below", usual.skip_below),
        max_steps=section.whole("max_steps", 2, 5, usual.max_steps),
        second_sample=section.text_unless_false("second_sample"),
        logprobs=section.flag("logprobs", usual.logprobs),
        stream_wait_s=section.whole("stream_wait_s", 1, 600, round(usual.stream_wait_s)),
    )
