"""What a cascade's signals are worth, a 7B or 8B model before a large one, at equal total cost.

    python bench/routing/deferral.py --data FOLDER [--answers FOLDER] [--scorer module:function | kept-aside]

FOLDER is that of apgr.py; mmlu_pro.parquet has a column `len:MODEL`, the answer's characters, beside each `s:MODEL`.
--answers names a folder with the published answers, eval_results/model_outputs_*.zip of github.com/TIGER-AI-Lab/MMLU-Pro:
the shipped code then reads the texts themselves. Without, agreement is simulated: two right answers agree, a right one and
a wrong one do not, two wrong ones do with the probability --shared-error; and nothing is known of an answer but its length.

Quality is the recovered share of the gap between the two models. Cost is all that is paid: the small model's answer, the
second small model's where one is drawn, the frontier model's where it is asked; a router that looks at prompts alone pays
the small or the large. The area is the mean recovered share over all budgets from the small model always to the large one
always: without a cascade that is APGR. P(good) before the answer is the scorer's, fitted to 0..1 on the other subjects;
--scorer kept-aside is the shipped recipe fitted without the source that is measured, which the shipped scorer has seen.
"Spared": prompts whose answer could not be accepted at best, with all its signs good, go to the large model at once.
"""

import argparse
import importlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway.scoring.contract import Answer, AnswerSignals, Asked
from gateway.scoring.deferral import AnswerDeferral
from gateway.scoring.lexical import explain
from gateway.scoring.prompt import prompt_of


class Pair(NamedTuple):
    title: str
    file: str
    source: str
    """By which name the shipped scorer's training knows it."""
    small: str
    large: str
    seconds: tuple[str, ...]
    """All others of 7B to 9B in the data that follow the format, the most accurate first."""
    tiny: str = ""
    """One that costs half."""


MMLU_PRO = Pair(
    "MMLU-Pro",
    "mmlu_pro",
    "mmlu_pro",
    "Meta-Llama-3.1-8B-Instruct",
    "gemini-1.5-pro-002",
    (
        *("mathstral-7B", "Meta-Llama-3.1-8B", "Meta-Llama-3-8B", "gemma-7b", "Mistral-7B-v0.1"),
        *("Mistral-7B-v0.2-hf", "Mistral-7B-Instruct-v0.2", "Qwen1.5-7B-Chat", "Mistral-7B-Instruct-v0.1"),
        "Llama-2-7b-hf",
    ),
    "Phi-3-mini-4k-instruct",
)
LLMROUTER = Pair(
    "LLMRouter's nine tasks",
    "ulab_llmrouter",
    "llmrouter",
    "mistral-7b-instruct-v0.3",
    "llama-3.1-nemotron-51b-instruct",
    ("llama-3.1-8b-instruct", "gemma-2-9b-it", "qwen2.5-7b-instruct"),
)
RATIOS = (0.01, 0.02, 0.05, 0.15)
"""Of a small model's call to a large one's."""
PRICES = {"small": (0.05, 0.08), "large": (1.25, 5.0)}
"""USD per million input and output tokens of four characters: what the two were sold for in 2024."""
CUT_CHARS = 1500
"""Published answers tell no finish reason. One as long that states no result did not end by itself."""

DEFERRAL = AnswerDeferral()


def needs_strong(prompts):
    return [
        sum(explain(prompt_of({"messages": [{"role": "user", "content": prompt}]})).values())
        for prompt in prompts
    ]


def kept_aside(data, name):
    """Needs of the source's prompts, by the shipped recipe fitted to the other sources."""
    import splintr
    from train_shipped import TOKENIZER, sources_of

    from gateway.scoring.artefact import GRAPH, SHIPPED
    from gateway.scoring.training.base import read_base
    from gateway.scoring.training.fit import fit

    encode = splintr.Tokenizer.from_pretrained(TOKENIZER).encode_flat
    made = list(sources_of(data, read_base(SHIPPED / GRAPH), encode))
    source, prompts, _ = next(one for one in made if one[0].name == name)
    need, _, _ = fit([one for one, _, _ in made if one is not source]).predict(
        source.meanings, source.features
    )
    return dict(zip(prompts, need, strict=True))


def promises(np, score, right, folds):
    """P(good) from the scorer's number: a logistic curve, fitted on the other folds."""
    p_good = np.empty(len(score))
    for fold in np.unique(folds):
        rest = folds != fold
        scale, shift = score[rest].std() or 1.0, score[rest].mean()
        columns = np.c_[np.ones(len(score)), (score - shift) / scale]
        weights = np.zeros(2)
        for _ in range(20):
            p = 1 / (1 + np.exp(-columns[rest] @ weights))
            hessian = (columns[rest] * (p * (1 - p))[:, None]).T @ columns[rest] + 1e-6 * np.eye(2)
            weights += np.linalg.solve(hessian, columns[rest].T @ (right[rest] - p))
        p_good[~rest] = 1 / (1 + np.exp(-columns[~rest] @ weights))
    return p_good


def published(folder, models, ids):
    """Each model's texts, of the prompts in `ids` alone, in their order."""
    files = {
        _plain(re.sub("^model_outputs_|_[0-9]shots?.*$", "", path.name)): path
        for path in folder.glob("*.zip")
    }
    texts = {}
    for model in models:
        with zipfile.ZipFile(files[_plain(model)]) as archive:
            name = next(name for name in archive.namelist() if not name.startswith("__"))
            rows = json.loads(archive.read(name))
        known = {f"mmlupro-{row['question_id']}": row for row in rows if isinstance(row, dict)}
        texts[model] = [
            _own_part(
                known.get(one, {}).get("generated_text") or known.get(one, {}).get("model_outputs") or ""
            )
            for one in ids
        ]
    return texts


def _own_part(text):
    """Models that were not taught to stop go on with a question of their own."""
    return text.split("Question:")[0]


def _plain(name):
    return re.sub("[^a-z0-9]", "", name.lower())


def read_signals(prompts, texts, others, second_p):
    """What the shipped code sees in real answers."""
    asked = [prompt_of({"messages": [{"role": "user", "content": prompt}]}) for prompt in prompts]
    signals = []
    for prompt, text, other, p_good in zip(asked, texts, others, second_p, strict=True):
        where = Asked(prompt=prompt, size="small", complexity=0.5, second_p_good=float(p_good))
        signals.append(DEFERRAL.signals(where, _answer(text), _answer(other)))
    return signals


def _answer(text):
    ended = Answer(text=text, finish_reason="stop")
    is_cut = len(text) >= CUT_CHARS and not DEFERRAL.signals(_NOTHING, ended, None).has_result
    return Answer(text=text, finish_reason="length") if is_cut else ended


_NOTHING = Asked(prompt=prompt_of({}), size="small", complexity=0.5)


def simulated(chars, right, second_right, second_p, alike):
    """The same of answers that nobody has seen."""
    return [
        AnswerSignals(
            finish_reason="stop",
            answer_chars=int(length),
            has_result=True,
            agreement=float(one == other and (one or is_alike)),
            second_p_good=float(p_good),
        )
        for length, one, other, p_good, is_alike in zip(
            chars, right, second_right, second_p, alike, strict=True
        )
    ]


def weighed(np, prior, signals):
    """P(good) by the answer alone, with the second one, and had that agreed not at all or wholly."""

    def of(**change):
        changed = [msgspec.structs.replace(each, **change) if change else each for each in signals]
        return np.array([DEFERRAL.updated(float(p), each) for p, each in zip(prior, changed, strict=True)])

    best = [AnswerSignals(finish_reason="stop", answer_chars=1, has_result=True)] * len(signals)
    best_second = [
        msgspec.structs.replace(best[0], agreement=1.0, second_p_good=each.second_p_good) for each in signals
    ]
    hopes = [
        np.array([DEFERRAL.updated(float(p), each) for p, each in zip(prior, signs, strict=True)])
        for signs in (best, best_second)
    ]
    return Weighed(of(agreement=None), of(), of(agreement=0.0), of(agreement=1.0), *hopes)


class Weighed(NamedTuple):
    own: Any
    after: Any
    least: Any
    most: Any
    hope: Any
    """The best that could come of it, before there is an answer."""
    hope_second: Any


class Task:
    """The two models' answers to each prompt, and what they cost."""

    def __init__(self, np, small, large, cost_small, cost_large):
        self.np, self.small, self.large = np, small, large
        self.cost_small, self.cost_large = cost_small / cost_large.mean(), cost_large / cost_large.mean()

    def by_prompt(self, score):
        """Rows of (cost, quality) of each prompt, one row for each of 200 thresholds."""
        np = self.np
        order = np.argsort(np.argsort(-score, kind="stable"), kind="stable")
        return [
            self._outcome(order < share * len(score), asks_small=False) for share in np.linspace(0, 1, 201)
        ]

    def cascade(self, prior, told, cost_second=None, *, spares=False):
        """The shipped policy's rule at each threshold; a second answer where `cost_second` says what it costs."""
        np, rows = self.np, []
        steps = np.r_[0, np.quantile(told.own, np.linspace(0.002, 0.998, 150)), np.linspace(0.01, 1.01, 51)]
        for accept in steps:
            tries = self.cost_small.mean() <= prior
            if spares:
                tries &= (told.hope if cost_second is None else told.hope_second) >= accept
            final, extra = told.own, 0.0
            if cost_second is not None:
                draws = tries & (told.least < accept) & (accept <= told.most)
                final, extra = np.where(draws, told.after, told.own), cost_second * draws
            cost, quality = self._outcome(~tries | (final < accept), asks_small=True, tries=tries)
            rows.append((cost + extra, quality))
        return rows

    def _outcome(self, goes_up, *, asks_small, tries=None):
        np = self.np
        small = np.where(tries if asks_small else ~goes_up, self.cost_small, 0.0)
        return small + np.where(goes_up, self.cost_large, 0.0), np.where(goes_up, self.large, self.small)

    def area(self, rows, counts=None):
        """Mean recovered share over all budgets between the two models; of resamples, by how often each prompt is in."""
        np = self.np
        counts = np.ones((1, len(self.small))) if counts is None else counts
        share = counts / counts.sum(axis=1, keepdims=True)
        costs, qualities = (share @ np.array([row[i] for row in rows]).T for i in (0, 1))
        low, high = share @ self.cost_small, share @ self.cost_large
        weak, strong = share @ self.small, share @ self.large
        areas = []
        for n in range(len(share)):
            order = np.argsort(costs[n], kind="stable")
            budgets = np.linspace(low[n], high[n], 400)
            recovered = (np.interp(budgets, costs[n][order], qualities[n][order]) - weak[n]) / (
                strong[n] - weak[n]
            )
            areas.append(recovered.mean())
        return np.array(areas)


class Bench:
    def __init__(self, np, pair, frame, texts, options):
        self.np, self.pair, self.frame, self.texts, self.options = np, pair, frame, texts, options
        self.prompts = frame["prompt"]
        self.rng = np.random.default_rng(0)
        if options.scorer == "kept-aside":
            needs = kept_aside(options.data, pair.source)
            score = [needs[prompt] for prompt in self.prompts]
        else:
            module, _, function = (options.scorer or "").partition(":")
            score = (getattr(importlib.import_module(module), function) if module else needs_strong)(
                self.prompts
            )
        self.score = np.array(score, dtype=float)
        self.lengths = np.array([len(prompt) for prompt in self.prompts], dtype=float)
        draws = self.rng.multinomial(len(score), np.full(len(score), 1 / len(score)), size=options.boot)
        self.counts = np.r_[np.ones((1, len(score))), draws]
        """The data as they are, and resamples of them."""

    def right(self, model):
        return self.np.array(self.frame[f"s:{model}"], dtype=float)

    def chars(self, model):
        np = self.np
        return np.nan_to_num(
            np.array(self.frame.get(f"len:{model}", np.zeros(len(self.prompts))), dtype=float)
        )

    def signals(self, second, prior):
        small = self.pair.small
        if self.texts:
            return read_signals(self.prompts, self.texts[small], self.texts[second], prior[second])
        alike = self.rng.random(len(self.prompts)) < self.options.shared_error
        return simulated(self.chars(small), self.right(small), self.right(second), prior[second], alike)

    def costs(self, model, ratio):
        """Of each prompt, small or large."""
        np = self.np
        if ratio is not None:
            share = 1.0 if model == self.pair.large else ratio
            return np.full(len(self.prompts), share / 2 if model == self.pair.tiny else share)
        each_in, each_out = PRICES["large" if model == self.pair.large else "small"]
        return (each_in * self.lengths + each_out * self.chars(model)) / 4

    def compare(self, folds, seconds):
        """P(good) by each kind of knowledge, and a function that gives the areas of a ratio, in rows of resamples."""
        np, small, large = self.np, self.pair.small, self.pair.large
        prior = {model: promises(np, self.score, self.right(model), folds) for model in (small, *seconds)}
        told = {second: weighed(np, prior[small], self.signals(second, prior)) for second in seconds}
        first = told[seconds[0]]

        def areas(ratio, *, spares):
            costs = self.costs(small, ratio), self.costs(large, ratio)
            task = Task(np, self.right(small), self.right(large), *costs)
            own = task.cascade(prior[small], first, spares=spares)
            rows = {"prompt": task.by_prompt(-prior[small]), "own": own}
            for second in seconds:
                cost = self.costs(second, ratio) / costs[1].mean()
                rows[second] = task.cascade(prior[small], told[second], cost, spares=spares)
            return {name: task.area(each, self.counts) for name, each in rows.items()}

        after = {second: told[second].after for second in seconds}
        return {"prompt": prior[small], "own": first.own, **after}, areas

    def apgr(self, p_good):
        """Over the share of prompts that go to the large model: what the signals say, whatever they cost."""
        np = self.np
        small, large = self.right(self.pair.small), self.right(self.pair.large)
        task = Task(np, small, large, np.zeros(len(p_good)), np.ones(len(p_good)))
        return float(task.area(task.by_prompt(-p_good))[0])

    def calibration(self, p_good):
        """Expected calibration error in ten bins of equal size."""
        np, right = self.np, self.right(self.pair.small)
        bins = np.array_split(np.argsort(p_good, kind="stable"), 10)
        return sum(len(part) * abs(p_good[part].mean() - right[part].mean()) for part in bins) / len(p_good)


def report(np, bench, folds, title):
    pair = bench.pair
    seconds = (*pair.seconds, *([pair.tiny] if pair.tiny else []))
    p_good, areas = bench.compare(folds, seconds)
    print(f"\n### {title}\n\n| P(good) from | APGR by share | calibration error |\n|---|---|---|")
    print(f"| the prompt's length | {bench.apgr(-bench.lengths):.3f} | |")
    for name in p_good:
        label = {"prompt": "the prompt", "own": "and the answer's own signs"}.get(name, f"and {name}")
        print(f"| {label} | {bench.apgr(p_good[name]):.3f} | {bench.calibration(p_good[name]):.3f} |")
    for spares in (False, True):
        _table(np, pair, areas, spares)


def _table(np, pair, areas, spares):
    columns = [
        "own signs",
        "seconds: mean",
        "least",
        pair.seconds[0],
        *([f"{pair.tiny}"] if pair.tiny else []),
    ]
    print(
        f"\n{'Spared' if spares else 'As the policy tries'}:\n\n| small / large | by prompt | {' | '.join(columns)} |"
    )
    print("|---" * (len(columns) + 2) + "|")
    gains = []
    for ratio in (*RATIOS, *([None] if pair.tiny else [])):
        found = areas(ratio, spares=spares)
        each = np.array([found[second] for second in pair.seconds])
        label = "by tokens" if ratio is None else f"{ratio:g}"
        cells = [found["own"], each.mean(axis=0), each[each[:, 0].argmin()], each[0]]
        cells += [found[pair.tiny]] if pair.tiny else []
        print(f"| {label} | {found['prompt'][0]:.3f} | {' | '.join(f'{cell[0]:.3f}' for cell in cells)} |")
        gains.append(
            f"| {label} | gain | {' | '.join(_gain(np, cell - found['prompt']) for cell in cells)} |"
        )
    print("\n".join(gains))


def _gain(np, values):
    if len(values) == 1:
        return f"{values[0]:+.3f}"
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{values[0]:+.3f} ({low:+.3f} to {high:+.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--answers", type=Path)
    parser.add_argument(
        "--scorer", help="module:function, prompts to numbers that rise with the need of a strong model"
    )
    parser.add_argument("--shared-error", type=float, default=0.33)
    parser.add_argument("--boot", type=int, default=200)
    options = parser.parse_args()
    try:
        import numpy as np
        from pyarrow import parquet
    except ImportError as exc:
        print(f"skipped: {exc.name} is not installed (pip install numpy pyarrow)")
        return
    for pair in (MMLU_PRO, LLMROUTER):
        path = options.data / f"{pair.file}.parquet"
        if not path.is_file():
            print(f"skipped: there is no {path.name} in {options.data}")
            continue
        table = parquet.read_table(path)
        frame = table.filter(table[f"s:{pair.large}"].is_valid()).to_pydict()
        models = (pair.small, *pair.seconds, pair.tiny)
        has_texts = options.answers is not None and pair is MMLU_PRO
        texts = published(options.answers, models, frame["id"]) if has_texts else None
        kind = "published answers" if texts else f"simulated agreement, shared error {options.shared_error:g}"
        print(
            f"\n## {pair.title}\n\n{len(frame['id']):,} prompts, {kind}, scorer {options.scorer or 'lexical'}"
        )
        bench = Bench(np, pair, frame, texts, options)
        report(np, bench, np.array(frame["category"]), "Each subject by the others")
        report(np, bench, np.random.default_rng(1).integers(0, 10, len(bench.prompts)), "Ten random parts")


if __name__ == "__main__":
    main()
