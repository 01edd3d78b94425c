"""Does the shipped scorer know which prompts need the stronger model? APGR on measured answers, beside prompt length.

    python bench/routing/apgr.py --data FOLDER [--boot 200]

FOLDER holds parquet files with a column `prompt` and, for each model, `s:MODEL`: the score of its answer, 0 to 1.
APGR is the area under the recovered share of the gap between the weak and the strong model, over the share of prompts
sent to the strong one: 0.5 is chance, 1 more than perfect. Needs numpy, pandas and pyarrow, which the gateway does not.
"""

import argparse
from pathlib import Path

from gateway.scoring.lexical import explain
from gateway.scoring.prompt import prompt_of

# name, file, weak models (their mean), strong model, what a score of 1 is worth
TASKS = (
    ("mmlu", "mmlu", ("mixtral-8x7b",), "gpt-4-1106", 1.0),
    ("mmlu_pro, 8B to frontier", "mmlu_pro", ("Meta-Llama-3.1-8B-Instruct",), "gemini-1.5-pro-002", 1.0),
    ("mmlu_pro, 8B to 70B", "mmlu_pro", ("Meta-Llama-3.1-8B-Instruct",), "Meta-Llama-3.1-70B-Instruct", 1.0),
    (
        "llmrouter, 7B to 51B",
        "ulab_llmrouter",
        ("mistral-7b-instruct-v0.3",),
        "llama-3.1-nemotron-51b-instruct",
        1.0,
    ),
    (
        "alpaca_eval",
        "alpaca_eval",
        (
            "Mixtral-8x7B-Instruct-v0.1_concise",
            "gpt-3.5-turbo-1106",
            "OpenHermes-2.5-Mistral-7B",
            "Qwen-14B-Chat",
        ),
        "gpt-4-1106",
        0.5,
    ),
)


def complexity(prompt):
    """Up to a monotone map, which APGR does not see."""
    return sum(explain(prompt_of({"messages": [{"role": "user", "content": prompt}]})).values())


def apgr(np, score, weak, strong):
    """Every threshold, prompts of equal score moved together."""
    order = np.argsort(-score, kind="stable")
    last = np.r_[np.nonzero(np.diff(score[order]))[0], len(score) - 1]
    share = np.r_[0, (last + 1) / len(score)]
    recovered = np.r_[0, np.cumsum((strong - weak)[order])[last]] / (strong - weak).sum()
    return float(np.trapezoid(recovered, share))


def measure(np, pd, folder, boot):
    """Rows of (task, prompts, length, scorer), and the bootstrapped macro difference."""
    rng = np.random.default_rng(0)
    rows, differences = [], np.zeros(boot)
    for name, file, weak_models, strong_model, worth in TASKS:
        frame = pd.read_parquet(folder / f"{file}.parquet")
        weak = frame[[f"s:{model}" for model in weak_models]].mean(axis=1) / worth
        strong = frame[f"s:{strong_model}"] / worth
        is_known = (weak.notna() & strong.notna()).to_numpy()
        weak, strong, prompts = (
            weak[is_known].to_numpy(),
            strong[is_known].to_numpy(),
            frame["prompt"][is_known],
        )
        length = prompts.str.len().to_numpy(dtype=float)
        score = np.array([complexity(prompt) for prompt in prompts])
        rows.append((name, len(prompts), apgr(np, length, weak, strong), apgr(np, score, weak, strong)))
        for n in range(boot):
            i = rng.integers(0, len(score), len(score))
            gain = apgr(np, score[i], weak[i], strong[i]) - apgr(np, length[i], weak[i], strong[i])
            differences[n] += gain / len(TASKS)
    return rows, np.quantile(differences, [0.025, 0.975])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--boot", type=int, default=200)
    options = parser.parse_args()
    missing = [file for _, file, *_ in TASKS if not (options.data / f"{file}.parquet").is_file()]
    if missing:
        print(f"skipped: {options.data} has no {missing[0]}.parquet")
        return
    try:
        import numpy as np
        import pandas as pd
    except ImportError as exc:
        print(f"skipped: {exc.name} is not installed (pip install pandas pyarrow)")
        return
    rows, (low, high) = measure(np, pd, options.data, options.boot)
    print("| task | prompts | length | scorer |\n|---|---|---|---|")
    for name, prompts, length, score in rows:
        print(f"| {name} | {prompts:,} | {length:.3f} | {score:.3f} |")
    macro = [sum(row[column] for row in rows) / len(rows) for column in (2, 3)]
    print(f"| macro | | {macro[0]:.3f} | {macro[1]:.3f} |")
    print(f"\nmacro gain over length {macro[1] - macro[0]:+.3f}, 95 % of resamples {low:+.3f} to {high:+.3f}")


if __name__ == "__main__":
    main()
