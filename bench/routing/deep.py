"""Does an encoder's second look find more of the prompts that need the stronger model, and what does it cost?

    python bench/routing/deep.py --data FOLDER --encoder FOLDER [--boot 300] [--vectors FILE.npy]

--data is as in apgr.py, with columns `category` as well; --encoder holds model.onnx and tokenizer.json. `--vectors`
keeps the prompts' vectors, which take minutes, for the next run. Two first stages stand in for the shipped one, whose
own heads have seen these prompts: ridge regressions per source on its word features, and on those and static vectors
distilled from the encoder. Each is asked about prompts of sources, or subjects, that neither it nor the head has seen.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from apgr import TASKS
from apgr import apgr as measured
from tokenizers import Tokenizer

from gateway.scoring.deep_head import fit_deep_head
from gateway.scoring.encoder import Encoder
from gateway.scoring.lexical import explain
from gateway.scoring.prompt import prompt_of

SMALL = {
    "mmlu": ["mixtral-8x7b"],
    "mmlu_pro": [
        "Llama-2-7b-hf",
        "Llama-2-13b-hf",
        "Meta-Llama-3-8B",
        "Meta-Llama-3.1-8B",
        "Meta-Llama-3.1-8B-Instruct",
        "Mistral-7B-Instruct-v0.1",
        "Mistral-7B-Instruct-v0.2",
        "Mistral-7B-v0.1",
        "Mistral-7B-v0.2-hf",
        "Mixtral-8x7B-Instruct-v0.1",
        "Mixtral-8x7B-v0.1",
        "Phi-3-mini-4k-instruct",
        "Qwen1.5-7B-Chat",
        "Yi-6B",
        "Yi-6b-Chat",
        "c4ai-command-r-v01",
        "gemma-7b",
        "mathstral-7B",
    ],
    "ulab_llmrouter": ["mistral-7b-instruct-v0.3", "gemma-2-9b-it", "llama-3.1-8b-instruct"],
}
STRONG = {
    "mmlu": ["gpt-4-1106"],
    "mmlu_pro": [
        "DeepSeek-Coder-V2",
        "Meta-Llama-3-70B",
        "Meta-Llama-3.1-70B",
        "Meta-Llama-3.1-70B-Instruct",
        "Qwen1.5-110B",
        "gemini-1.5-flash-002",
        "gemini-1.5-pro-002",
    ],
    "ulab_llmrouter": ["llama-3.1-nemotron-51b-instruct", "llama-3.3-nemotron-super-49b-v1"],
}
"""Sources that may train; the others, whose licences forbid it, only measure."""

SHRINK = 1000.0
STATIC = 256
FOLDS = 5
NEAR = 0.25
"""Share of the prompts, about the threshold, that get the second look where only near ones do."""


class Source:
    """Prompts with a target: how often small models fail, times how often strong ones do not."""

    def __init__(self, frame, name, place):
        self.rows = np.array([place[prompt] for prompt in frame["prompt"]])
        weak = frame[[f"s:{model}" for model in SMALL[name]]].mean(axis=1)
        strong = frame[[f"s:{model}" for model in STRONG[name]]].mean(axis=1)
        self.target = ((1 - weak) * strong).to_numpy(float)
        subjects = np.random.default_rng(0).permutation(frame["category"].unique())
        self.folds = [frame["category"].isin(part).to_numpy() for part in np.array_split(subjects, FOLDS)]


def words(prompts):
    """The shipped scorer's features, each on its own."""
    rows = [
        list(explain(prompt_of({"messages": [{"role": "user", "content": one}]})).values()) for one in prompts
    ]
    return scaled(np.array(rows))


def static(encoder, tokenizer, prompts):
    """The mean of what the encoder says of each token alone, rare ones weighing more, in fewer dimensions."""
    vocabulary = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    table = encoder.many([token.removeprefix("##") for token in vocabulary])
    ids = [one.ids for one in tokenizer.encode_batch(prompts, add_special_tokens=False)]
    counts = np.bincount(np.concatenate(ids).astype(int), minlength=len(table))
    weights = 1e-3 / (1e-3 + counts / counts.sum())
    table = table - table[counts > 0].mean(axis=0)
    *_, axes = np.linalg.svd(table[counts > 0], full_matrices=False)
    table = table @ axes[:STATIC].T
    means = [table[one].T @ weights[one] / weights[one].sum() if one else np.zeros(STATIC) for one in ids]
    return scaled(np.array(means))


def scaled(features):
    return np.clip((features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6), -3, 3)


def head(features, rows, target):
    """A ridge regression's standardised opinion on every prompt."""
    centre = features[rows].mean(axis=0)
    inputs = features[rows] - centre
    goal = (target - target.mean()) / target.std()
    fitted = np.linalg.solve(inputs.T @ inputs + SHRINK * np.eye(inputs.shape[1]), inputs.T @ goal)
    opinion = (features - centre) @ fitted
    return (opinion - opinion[rows].mean()) / opinion[rows].std()


class FirstStage:
    def __init__(self, features, sources):
        self.sources = sources
        self.whole = {name: head(features, one.rows, one.target) for name, one in sources.items()}
        self.unseen = {}
        for name, one in sources.items():
            own = self.whole[name].copy()
            for out in one.folds:
                own[one.rows[out]] = head(features, one.rows[~out], one.target[~out])[one.rows[out]]
            self.unseen[name] = own

    def difficulty(self, names):
        """Each prompt by heads that have seen neither it nor its subject."""
        return sum(self.unseen[name] for name in names) / len(names)


def refined(first, names, vectors, out):
    """Difficulties after the second look, of all prompts, by a head fitted to `names` less the rows in `out`."""
    difficulty = first.difficulty(names)
    rows = np.concatenate([first.sources[name].rows for name in names])
    target = np.concatenate([first.sources[name].target for name in names])
    labels = np.concatenate([np.full(len(first.sources[name].rows), name) for name in names])
    kept = ~np.isin(rows, out)
    fitted = fit_deep_head(
        difficulty[rows][kept],
        vectors[rows][kept],
        target[kept],
        list(labels[kept]),
        np.zeros(vectors.shape[1]),
    )
    return fitted.slope * difficulty + vectors @ np.array(fitted.weights) + fitted.bias


def looked_at(first, vectors, source, *, whole_source_out):
    """First and refined difficulties. Of a source that may train: as if it, or each subject, had not been there."""
    names = [name for name in first.sources if not (whole_source_out and name == source)]
    if whole_source_out or source not in first.sources:
        return first.difficulty(names), refined(first, names, vectors, [])
    after = np.full(len(vectors), np.nan)
    for out in first.sources[source].folds:
        rows = first.sources[source].rows[out]
        after[rows] = refined(first, names, vectors, rows)[rows]
    return first.difficulty(names), after


def apgr(score, weak, strong):
    return measured(np, score, weak, strong)


def near(before, after, weak, strong):
    """APGR when, for each share of strong calls, only the prompts nearest to that threshold are looked at again."""
    n = len(before)
    order, gain = np.argsort(-before, kind="stable"), strong - weak
    shares, recovered = np.linspace(0, 1, 41), []
    for share in shares:
        sent = round(share * n)
        low, high = max(0, sent - int(NEAR / 2 * n)), min(n, sent + int(NEAR / 2 * n))
        again = order[low:high]
        again = again[np.argsort(-after[again], kind="stable")]
        recovered.append(gain[order[:low]].sum() + gain[again[: sent - low]].sum())
    return float(np.trapezoid(np.array(recovered) / gain.sum(), shares))


def tasks(frames, place):
    for name, file, weak_models, strong_model, worth in TASKS:
        frame = frames[file]
        weak = (frame[[f"s:{model}" for model in weak_models]].mean(axis=1) / worth).to_numpy(float)
        strong = (frame[f"s:{strong_model}"] / worth).to_numpy(float)
        known = np.isfinite(weak) & np.isfinite(strong)
        rows = np.array([place[prompt] for prompt in frame["prompt"]])
        yield name, file, rows[known], weak[known], strong[known]


def quality(frames, place, features, vectors, boot):
    sources = {name: Source(frames[name], name, place) for name in SMALL}
    for stage, inputs in features.items():
        first = FirstStage(inputs, sources)
        for held_out in ("sources", "subjects"):
            rows, resampled = [], np.zeros((boot, 2))
            for name, file, asked, weak, strong in tasks(frames, place):
                before, after = looked_at(first, vectors, file, whole_source_out=held_out == "sources")
                before, after = before[asked], after[asked]

                def three(i, before=before, after=after, weak=weak, strong=strong):
                    return (
                        apgr(before[i], weak[i], strong[i]),
                        apgr(after[i], weak[i], strong[i]),
                        near(before[i], after[i], weak[i], strong[i]),
                    )

                rows.append((name, *three(np.arange(len(asked)))))
                for n in range(boot):
                    # Two tasks on one file draw the same prompts.
                    rng = np.random.default_rng([n, sorted(frames).index(file)])
                    one, every, some = three(rng.integers(0, len(asked), len(asked)))
                    resampled[n] += np.array([every - one, some - one]) / len(TASKS)
            report(stage, held_out, rows, resampled)


def report(stage, held_out, rows, resampled):
    print(f"\nFirst stage: {stage}; unseen {held_out}\n")
    print(f"| task | first stage | second look at all | at the nearest {NEAR:.0%} |\n|---|---|---|---|")
    for name, *values in rows:
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    macro = np.mean([row[1:] for row in rows], axis=0)
    print("| macro | " + " | ".join(f"{value:.3f}" for value in macro) + " |")
    for what, column in (("all", 0), (f"the nearest {NEAR:.0%}", 1)):
        low, high = np.quantile(resampled[:, column], [0.025, 0.975])
        gain = macro[1 + column] - macro[0]
        print(f"\ngain by a second look at {what}: {gain:+.3f}, 95 % of resamples {low:+.3f} to {high:+.3f}")


def cost(encoder, runs=60):
    """CPU time of the one thread that the model runs on."""
    print("\n| tokens | texts | p50 ms | p95 ms | ms per text |\n|---|---|---|---|---|")
    for tokens in (16, 64, 256):
        for texts in (1, 8, 32):
            batch = ["word " * (tokens - 2)] * texts
            encoder(batch)
            took = []
            for _ in range(max(runs // texts, 5)):
                began = time.thread_time()
                encoder(batch)
                took.append((time.thread_time() - began) * 1000)
            p50, p95 = np.quantile(took, [0.5, 0.95])
            print(f"| {tokens} | {texts} | {p50:.1f} | {p95:.1f} | {p50 / texts:.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--boot", type=int, default=300)
    options = parser.parse_args()
    cost(Encoder(options.encoder, max_tokens=256))
    encoder = Encoder(options.encoder, max_tokens=128)
    frames = {file: pd.read_parquet(options.data / f"{file}.parquet") for _, file, *_ in TASKS}
    prompts = list(dict.fromkeys(prompt for frame in frames.values() for prompt in frame["prompt"]))
    place = {prompt: i for i, prompt in enumerate(prompts)}
    if options.vectors and options.vectors.is_file():
        vectors = np.load(options.vectors)
    else:
        vectors = encoder.many(prompts)
        if options.vectors:
            np.save(options.vectors, vectors)
    tokenizer = Tokenizer.from_file(str(options.encoder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    plain = words(prompts)
    both = np.column_stack([plain, static(encoder, tokenizer, [prompt[:2000] for prompt in prompts])])
    quality(frames, place, {"words": plain, "words and static vectors": both}, vectors, options.boot)


if __name__ == "__main__":
    main()
