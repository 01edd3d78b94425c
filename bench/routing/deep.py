"""Does an encoder's second look find more of the prompts that need the stronger model, and what does it cost?

    python bench/routing/deep.py --data FOLDER --encoder FOLDER [--cache FILE.npz] [--penalty 0.1] [--save]

--data is as for train_shipped.py, and with alpaca_eval.parquet, which only measures; --encoder holds model.onnx and
tokenizer.json, as in README.md. The first stage is the shipped scorer's recipe, fitted again without what it is asked
about: other sources, other subjects, or just other prompts, as where a model learns from the traffic that it serves.
So is the head, which believes of the encoder what held on sources left out; --penalty makes it believe more or less.
--cache keeps the vectors, which take minutes. --save writes the head.json with which the gateway uses the encoder.
"""

import argparse
import asyncio
import time
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import splintr
import structlog
from holdout import ALPACA, PAIRS, folds
from train_shipped import TOKENIZER, columns, read, sources_of

from gateway.config import DeepScoring
from gateway.scoring.artefact import GRAPH, SHIPPED
from gateway.scoring.batcher import MicroBatcher
from gateway.scoring.deep_head import PROBE, fit_deep_head, save
from gateway.scoring.encoder import Encoder
from gateway.scoring.metrics import Pair, apgr, resample
from gateway.scoring.prompt import prompt_of
from gateway.scoring.training.base import read_base
from gateway.scoring.training.build import part
from gateway.scoring.training.design import raw_features
from gateway.scoring.training.fit import fit
from gateway.telemetry.metrics import Metrics

REFERENCE = "judged"
"""The source whose prompts stand for ordinary traffic: complexity is a share of them."""
NEAR = 0.25
"""Share of the prompts, those nearest to the threshold, that get the second look where only near ones do."""
TASKS = 5
TIMED = 320
"""Prompts of ordinary traffic, on which time is taken."""
DEFAULTS = DeepScoring()


class Asked(msgspec.Struct):
    """Prompts of one source, and the difficulty of each to a first stage that has not seen it."""

    source: object
    vectors: np.ndarray
    held: dict[str, list[np.ndarray]]
    unseen: dict[str, np.ndarray] = {}


def prepare(made, vectors):
    return [
        Asked(
            source=source,
            vectors=vectors[source.name],
            held={
                "subjects": folds(source, categories),
                "prompts": [
                    np.random.default_rng(0).integers(0, 5, len(texts)) == number for number in range(5)
                ],
            },
        )
        for source, texts, categories in made
    ]


def ask_first_stage(asked):
    """Fills in `unseen`, by what was held out."""
    sources = [one.source for one in asked]
    for at, one in enumerate(asked):
        mine = one.source
        for how, held in one.held.items():
            need = np.zeros(len(mine.kinds))
            for out in held:
                seen = fit([part(other, ~out) if other is mine else other for other in sources])
                need[out] = seen.predict(mine.meanings[out], mine.features[out])[0]
            one.unseen[how] = need
        foreign = fit(sources[:at] + sources[at + 1 :])
        one.unseen["sources"] = foreign.predict(mine.meanings, mine.features)[0]


def difficulties(need, reference):
    """On the scale that the gateway's policies see: the logit of the share of ordinary traffic that needs less."""
    share = np.interp(need, np.quantile(reference, np.linspace(0, 1, 101)), np.linspace(0, 1, 101))
    share = np.clip(share, 0.005, 0.995)
    return np.log(share / (1 - share))


def head_of(asked, how, reference, fit_head, *, without=None, out=None):
    """Fitted to all prompts but those of the source `without`, or only but its rows `out`."""
    parts = []
    for one in asked:
        kept = np.ones(len(one.source.kinds), bool)
        if one.source.name == without:
            kept = np.zeros_like(kept) if out is None else ~out
        if kept.any():
            level = difficulties(one.unseen[how][kept], reference)
            names = np.full(kept.sum(), one.source.name)
            parts.append((level, one.vectors[kept], one.source.target()[kept], names))
    levels, vectors, needs, names = map(np.concatenate, zip(*parts, strict=True))
    return fit_head(levels, vectors, needs, names.tolist())


def refined(head, level, vectors):
    return head.slope * level + vectors @ np.array(head.weights) + head.bias


def looked_at(asked, one, how, reference, fit_head):
    """Difficulties before and after the second look."""
    before = difficulties(one.unseen[how], reference)
    if how == "sources":
        head = head_of(asked, "subjects", reference, fit_head, without=one.source.name)
        return before, refined(head, before, one.vectors)
    after = np.zeros(len(before))
    for out in one.held[how]:
        head = head_of(asked, how, reference, fit_head, without=one.source.name, out=out)
        after[out] = refined(head, before[out], one.vectors[out])
    return before, after


def near(before, after, pair, weight):
    """APGR when, for each share of strong calls, only the prompts nearest to that threshold are looked at again."""
    picked = np.repeat(np.arange(len(before)), weight.astype(int))
    n = len(picked)
    order = picked[np.argsort(-before[picked], kind="stable")]
    half, shares, recovered = int(NEAR / 2 * n), np.linspace(0, 1, 41), []
    for share in shares:
        sent = round(share * n)
        low, high = max(0, sent - half), min(n, sent + half)
        again = order[low:high]
        again = again[np.argsort(-after[again], kind="stable")]
        recovered.append(pair.gain[order[:low]].sum() + pair.gain[again[: sent - low]].sum())
    return float(np.trapezoid(np.array(recovered) / pair.gain[picked].sum(), shares))


def three(before, after, pair, weight):
    return np.array(
        [apgr(before, pair, weight), apgr(after, pair, weight), near(before, after, pair, weight)]
    )


def measure(tasks, boot):
    """`tasks`: name, before, after, weak, strong. Rows of three APGRs, and resampled gains of the mean."""
    rows, gains = [], np.zeros((boot, 2))
    for name, before, after, weak, strong in tasks:
        known = np.isfinite(weak) & np.isfinite(strong)
        pair = Pair(weak=weak[known], strong=strong[known])
        before, after = before[known], after[known]
        rows.append((name, three(before, after, pair, np.ones(len(before)))))
        for at in range(boot):
            # Two tasks on one file draw nearly the same prompts.
            weight = resample(len(before), 1, np.random.default_rng([at, len(before) // 10]))[0]
            one = three(before, after, pair, weight)
            gains[at] += (one[1:] - one[0]) / TASKS
    return rows, gains


def report(how, rows, gains):
    print(
        f"\nUnseen {how}\n\n| task | first stage | second look at all | at the nearest {NEAR:.0%} |\n|---|---|---|---|"
    )
    mean = np.mean([values for _, values in rows], axis=0)
    for name, values in [*rows, ("mean", mean)]:
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    for at, what in enumerate(("all", f"the nearest {NEAR:.0%}")):
        low, high = np.quantile(gains[:, at], [0.025, 0.975])
        print(
            f"\ngain by a second look at {what}: {mean[1 + at] - mean[0]:+.3f}, 95 % of resamples {low:+.3f} to {high:+.3f}",
            flush=True,
        )


def quality(asked, alpaca, boot, fit_head):
    """`alpaca`: vectors, needs by the whole first stage, weak, strong."""
    reference = next(one for one in asked if one.source.name == REFERENCE).unseen["prompts"]
    vectors, need, weak, strong = alpaca
    for how in ("sources", "subjects", "prompts"):
        tasks = []
        for one in asked:
            if one.source.name not in PAIRS:
                continue
            before, after = looked_at(asked, one, how, reference, fit_head)
            for pair in PAIRS[one.source.name]:
                found = [one.source.models[model] for model in pair]
                tasks.append((f"{one.source.name}, {' to '.join(pair)}", before, after, *found))
        level = difficulties(need, reference)
        head = head_of(asked, how if how != "sources" else "subjects", reference, fit_head)
        tasks.append(("alpaca_eval", level, refined(head, level, vectors), weak, strong))
        report(how, *measure(tasks, boot))
    return head_of(asked, "subjects", reference, fit_head)


def cost(folder, prompts, runs=60):
    """CPU time of the one thread that the model runs on: of texts of one length, then of prompts as they are."""
    encoder = Encoder(folder, max_tokens=256)
    print("| tokens | texts | p50 ms | p95 ms | CPU s / 1,000 prompts |\n|---|---|---|---|---|")
    for tokens in (16, 64, 256):
        for texts in (1, 8, 32):
            batches = [["word " * (tokens - 2)] * texts] * max(runs // texts, 5)
            print(f"| {tokens} | {texts} | {timed(encoder, batches)} |", flush=True)
    encoder = Encoder(folder, max_tokens=DEFAULTS.max_tokens)
    for texts in (1, 8, 32):
        batches = [prompts[at : at + texts] for at in range(0, len(prompts), texts)]
        print(
            f"| as they are, up to {DEFAULTS.max_tokens} | {texts} | {timed(encoder, batches)} |", flush=True
        )


def timed(encoder, batches):
    encoder(batches[0])
    took = []
    for batch in batches:
        began = time.thread_time()
        encoder(batch)
        took.append((time.thread_time() - began) * 1000)
    p50, p95 = np.quantile(took, [0.5, 0.95])
    return f"{p50:.1f} | {p95:.1f} | {sum(took) / sum(map(len, batches)):.1f}"


async def served(encoder, prompts):
    """Callers who each ask one prompt after the other, through what the gateway puts before the encoder."""
    print(
        "\n| callers | batches of up to | p50 ms | p95 ms | without a vector in time | vectors / s |\n|---|---|---|---|---|---|"
    )
    for callers, most in ((1, 1), (2, 1), (4, 1), (8, 1), (8, 8), (16, 1), (16, 16)):
        began = time.perf_counter()
        took = await answered(encoder, prompts, callers, most)
        rate = np.isfinite(took).sum() / (time.perf_counter() - began)
        waits = np.where(np.isfinite(took), took, DEFAULTS.timeout_ms)
        p50, p95 = np.quantile(waits, [0.5, 0.95])
        print(
            f"| {callers} | {most} | {p50:.0f} | {p95:.0f} | {np.isnan(took).mean():.0%} | {rate:.0f} |",
            flush=True,
        )


async def answered(encoder, prompts, callers, most):
    """Milliseconds to each vector; NaN where none came."""
    batcher = MicroBatcher(
        encoder,
        Metrics(),
        structlog.get_logger(),
        timeout_s=DEFAULTS.timeout_ms / 1000,
        max_batch=most,
        max_waiting=DEFAULTS.max_waiting,
    )
    waiting, took = iter(prompts), []

    async def ask():
        for prompt in waiting:
            began = time.perf_counter()
            vector = await batcher(prompt)
            took.append(np.nan if vector is None else (time.perf_counter() - began) * 1000)

    async with asyncio.TaskGroup() as group:
        running = group.create_task(batcher.run())
        async with asyncio.TaskGroup() as asking:
            for _ in range(callers):
                asking.create_task(ask())
        running.cancel()
    return np.array(took)


def encoded(encoder, texts_of, cache):
    kept = dict(np.load(cache)) if cache and cache.is_file() else {}
    vectors = {
        name: kept[name] if len(kept.get(name, ())) == len(texts) else encoder.many(texts)
        for name, texts in texts_of.items()
    }
    if cache:
        np.savez(cache, **vectors)
    return vectors


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--boot", type=int, default=300)
    parser.add_argument("--penalty", type=float)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    encoder = Encoder(options.encoder, max_tokens=DEFAULTS.max_tokens)
    penalties = {"penalties": (options.penalty,)} if options.penalty else {}
    fit_head = partial(fit_deep_head, probe=encoder([PROBE])[0], **penalties)
    base, encode = read_base(SHIPPED / GRAPH), splintr.Tokenizer.from_pretrained(TOKENIZER).encode_flat
    made = list(sources_of(options.data, base, encode))
    alpaca = read(options.data / "alpaca_eval.parquet")
    texts_of = {source.name: texts for source, texts, _ in made} | {"alpaca_eval": alpaca["prompt"]}
    prompts = np.random.default_rng(0).choice(texts_of[REFERENCE], TIMED, replace=False).tolist()
    cost(options.encoder, prompts)
    asyncio.run(served(encoder, prompts))
    vectors = encoded(encoder, texts_of, options.cache)
    asked = prepare(made, vectors)
    ask_first_stage(asked)
    prompts = [prompt_of({"messages": [{"role": "user", "content": text}]}) for text in alpaca["prompt"]]
    need = fit([one.source for one in asked]).predict(*raw_features(base, prompts, encode))[0]
    weak, strong = (columns(alpaca, names) * 2 for names in ALPACA)
    head = quality(asked, (vectors["alpaca_eval"], need, weak, strong), options.boot, fit_head)
    if not any(head.weights):
        print("\nNothing that the encoder says held on a source left out: there is no head to write.")
    elif options.save:
        save(head, options.encoder / "head.json")


if __name__ == "__main__":
    main()
