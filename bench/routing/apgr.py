"""Does the shipped scorer know which prompts need the stronger model? Five public tasks, measured by the gateway's own
`weighbridge scorer evaluate`.

    python bench/routing/apgr.py --data FOLDER [--boot 500] [--scorer MODULE:FUNCTION | --artefact FOLDER]

FOLDER holds the parquet files named below: a column `prompt` and, for each model, `s:MODEL`, the score of its answer
from 0 to 1; `category`, if known. The model that ships was trained on all but alpaca_eval: for what it finds in unseen
prompts see holdout.py. Needs the extra `train`.
"""

import argparse
from pathlib import Path

import msgspec
import numpy as np

from gateway.cli.scorer_evaluate import judge_of, print_report
from gateway.scoring.evaluation import calibrated, results
from gateway.scoring.evaluation_data import Sides, read
from gateway.scoring.evaluation_files import EvaluationFile

# name, file, weak models (their mean), strong model
TASKS = (
    ("mmlu", "mmlu", ("mixtral-8x7b",), "gpt-4-1106"),
    ("mmlu_pro, 8B to frontier", "mmlu_pro", ("Meta-Llama-3.1-8B-Instruct",), "gemini-1.5-pro-002"),
    ("mmlu_pro, 8B to 70B", "mmlu_pro", ("Meta-Llama-3.1-8B-Instruct",), "Meta-Llama-3.1-70B-Instruct"),
    (
        "llmrouter, 7B to 51B",
        "ulab_llmrouter",
        ("mistral-7b-instruct-v0.3",),
        "llama-3.1-nemotron-51b-instruct",
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
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--boot", type=int, default=500)
    parser.add_argument("--scorer", metavar="MODULE:FUNCTION")
    parser.add_argument("--artefact", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    missing = [file for _, file, *_ in TASKS if not (options.data / f"{file}.parquet").is_file()]
    if missing:
        print(f"skipped: {options.data} has no {missing[0]}.parquet")
        return
    judge = judge_of(options.scorer, options.artefact)
    tasks = []
    for name, file, weak, strong in TASKS:
        reading = read(EvaluationFile(options.data / f"{file}.parquet"), Sides(weak, strong), "none", judge)
        tasks += [msgspec.structs.replace(task, name=name) for task in reading.tasks]
    rng = np.random.default_rng(0)
    found = results(tasks, options.boot, rng)
    print_report(tasks, found, [one for task in tasks for one in calibrated(task, rng)])


if __name__ == "__main__":
    main()
