"""What a cascade saves by not asking models whose answers it could never serve, and what else the first answer could tell.

    python bench/routing/steps.py --data FOLDER --answers FOLDER

The folders are those of deferral.py. The shipped policy, scorer and signals go through the prompts of MMLU-Pro as the gateway
would, with the published answers of the models, P(good) being fitted to the other subjects, as a tenant's outcomes would.
First: whether policies are told how far an answer's signs can reach. Then, with three steps: whether an answer that was passed
over is compared with the next one, as a second sample is. Costs are shares of the large model's call, every call counted.
"""

import argparse
from pathlib import Path

import msgspec
import numpy as np
from deferral import DEFERRAL, MMLU_PRO, promises, published, read_signals
from pyarrow import parquet

from gateway.scoring.evaluate_entry import needs_strong
from policies.cascade import Cascade
from policies.contract import Candidate, Facts

SMALL, LARGE, SECOND = MMLU_PRO.small, MMLU_PRO.large, "mathstral-7B"
MEDIUM = {
    "Meta-Llama-3.1-70B-Instruct": 200,
    "gemini-1.5-flash-002": 100,
    "Qwen1.5-72B-Chat": 200,
    "Mixtral-8x7B-Instruct-v0.1": 100,
}
PRICES = {SMALL: 20, SECOND: 20, **MEDIUM, LARGE: 1000}
"""Thousandths of the large model's call."""
FLEETS = ((SMALL, LARGE), (SMALL, "Meta-Llama-3.1-70B-Instruct", LARGE))
ACCEPTS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MANY_ACCEPTS = np.linspace(0.2, 0.98, 27)


class Outcome(msgspec.Struct):
    cost: int
    is_right: float
    calls: int


def ceiling_of(promise):
    def ceiling(candidate, /, *, second, asks_logprobs):  # noqa: ARG001 - published answers hold none
        return DEFERRAL.ceiling(
            candidate.p_good, has_logprobs=False, second=promise[second.model] if second else None
        )

    return ceiling


def candidate(model, p_good):
    return Candidate(
        id=model,
        model=model,
        upstream="u",
        size="small",
        abilities=frozenset(),
        context_window=10**6,
        max_output_tokens=10**6,
        expected_cost=PRICES[model],
        worst_cost=PRICES[model],
        p_good=p_good,
    )


def answered(order, signals, right, after_first=None):
    """As gateway/cascade.py does, where nobody fails and money and time suffice. `after_first`: each model's signals with the
    small one's answer for a second one."""
    first, acceptance = order.candidates[0], order.acceptance
    if acceptance is None:
        return Outcome(first.expected_cost, right[first.model], 1)
    spent = calls = 0
    passed = best = None
    for asked, accept, second in zip(
        order.candidates, acceptance.thresholds, acceptance.seconds, strict=False
    ):
        spent, calls = spent + asked.expected_cost, calls + 1
        of = signals[asked.model]
        p_good, least, most = (
            DEFERRAL.updated(asked.p_good, msgspec.structs.replace(of, agreement=agreement))
            for agreement in (None, 0.0, 1.0)
        )
        if after_first and passed is not None:
            seen = msgspec.structs.replace(after_first[asked.model], second_p_good=passed)
            p_good = DEFERRAL.updated(asked.p_good, seen)
        elif second and least < accept <= most:
            p_good = DEFERRAL.updated(asked.p_good, of)
            spent, calls = spent + second.expected_cost, calls + 1
        if best is None or p_good >= best[0]:
            best = (p_good, right[asked.model])
        rest = order.candidates[order.candidates.index(asked) + 1 :]
        if p_good >= accept or all(one.p_good <= best[0] for one in rest):
            return Outcome(spent, right[asked.model] if p_good >= accept else best[1], calls)
        passed = p_good if asked.model == SMALL else passed
    last = order.candidates[len(acceptance.thresholds)]
    return Outcome(spent + last.expected_cost, right[last.model], calls + 1)


def facts(**more):
    return Facts(
        requested="auto",
        tenant="t",
        tier="t",
        allowed_sizes=frozenset(),
        complexity=0.5,
        input_tokens=1,
        output_tokens=1,
        needs=frozenset(),
        budget=10**9,
        **more,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--answers", type=Path, required=True)
    options = parser.parse_args()
    table = parquet.read_table(options.data / f"{MMLU_PRO.file}.parquet")
    for model in PRICES:
        table = table.filter(table[f"s:{model}"].is_valid())
    frame = table.to_pydict()
    bench = Bench(frame, published(options.answers, (SMALL, SECOND, *MEDIUM), frame["id"]))
    for fleet in FLEETS:
        for second in (None, SECOND):
            bench.compare_reach(fleet, second)
    bench.compare_hand_over()


class Bench:
    def __init__(self, frame, texts):
        prompts, subjects = frame["prompt"], np.array(frame["category"])
        self.right = {model: np.array(frame[f"s:{model}"], dtype=float) for model in PRICES}
        needs = np.array(needs_strong(prompts))
        self.promised = {model: promises(np, needs, self.right[model], subjects) for model in PRICES}
        print(f"{len(prompts):,} prompts\n\n| model | P(good), least to most | right |\n|---|---|---|")
        for model, p_good in self.promised.items():
            print(f"| {model} | {p_good.min():.2f} to {p_good.max():.2f} | {self.right[model].mean():.3f} |")
        self.signals, self.after_first = (
            {
                model: read_signals(prompts, texts[model], texts[other], self.promised[other])
                for model in (SMALL, *MEDIUM)
            }
            for other in (SECOND, SMALL)
        )

    def run(self, policy, fleet, *, knows_reach=True, hands_over=False):
        """The mean cost, quality and calls, and how often a model was left out."""
        outcomes, left_out = [], 0
        for place in range(len(self.right[LARGE])):
            promise = {model: float(self.promised[model][place]) for model in (*fleet, SECOND)}
            candidates = [candidate(model, promise[model]) for model in fleet]
            if policy.second_sample:
                # No step itself: nobody has published two answers of it.
                candidates.append(candidate(SECOND, min(promise[SECOND], promise[SMALL])))
            about = facts(ceiling=ceiling_of(promise)) if knows_reach else facts()
            order = policy.order(about, candidates)
            left_out += "could not reach" in order.why
            told = [
                {model: each[model][place] for model in each if model in fleet}
                for each in (self.right, self.signals, self.after_first)
            ]
            outcomes.append(answered(order, told[1], told[0], told[2] if hands_over else None))
        means = [np.mean([getattr(one, field) for one in outcomes]) for field in Outcome.__struct_fields__]
        return means[0] / 1000, means[1], means[2], left_out / len(outcomes)

    def compare_reach(self, fleet, second):
        print(f"\n### {', '.join(fleet)}; {f'second sample of {second}' if second else 'own signs'}\n")
        print("| accept | left out | cost before | after | quality before | after | calls before | after |")
        print("|---" * 8 + "|")
        for accept in ACCEPTS:
            policy = Cascade(accept=accept, second_sample=second)
            before, after = (self.run(policy, fleet, knows_reach=knows) for knows in (False, True))
            pairs = [
                f"{one:.{digits}f} | {other:.{digits}f}"
                for one, other, digits in zip(before, after, (3, 3, 2), strict=False)
            ]
            print(f"| {accept:g} | {after[3]:.0%} | {' | '.join(pairs)} |")

    def compare_hand_over(self):
        print("\n### Three steps: area without the first answer at the second step, and with it\n")
        print("| second step | own signs | with | second sample | with |\n|---" + "|---" * 4 + "|")
        for medium in MEDIUM:
            cells = []
            for second in (None, SECOND):
                for hands_over in (False, True):
                    found = [
                        self.run(
                            Cascade(accept=float(accept), second_sample=second, max_steps=3),
                            (SMALL, medium, LARGE),
                            hands_over=hands_over,
                        )
                        for accept in MANY_ACCEPTS
                    ]
                    cells.append(f"{self.area(found):.3f}")
            print(f"| {medium} | {' | '.join(cells)} |")

    def area(self, found):
        """Mean recovered share of the gap over all budgets from the small model always to the large one always."""
        weak, strong, low = self.right[SMALL].mean(), self.right[LARGE].mean(), PRICES[SMALL] / 1000
        costs, qualities = np.array(
            sorted([(low, weak), (1.0, strong), *((one[0], one[1]) for one in found)])
        ).T
        return ((np.interp(np.linspace(low, 1, 400), costs, qualities) - weak) / (strong - weak)).mean()


if __name__ == "__main__":
    main()
