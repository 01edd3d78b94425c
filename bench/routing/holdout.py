"""How the scorer's recipe does on subjects and sources that it has not seen: the shipped one has seen them all.

    python bench/routing/holdout.py --vectors FOLDER --data FOLDER [--card gateway/scoring/shipped]

Arguments as for train_shipped.py. First every source with one of its categories left out at a time (of MMLU and of the
judged prompts with a sixth of them), then with the whole source left out; and a source that nothing was trained on.
Then how true P(good) of each model is where its whole source was left out, so that only its size is known of it.
`--card` writes all of it into the card of the artefact in that folder. Takes five minutes of one core.
"""

import argparse
from pathlib import Path

import numpy as np
import splintr
from train_shipped import TOKENIZER, VOCABULARY, columns, key_of, read, sources_of, vectors_for

from gateway.scoring import diagram
from gateway.scoring.artefact import CARD, LEVELS, Head, read_manifest
from gateway.scoring.prompt import prompt_of
from gateway.scoring.training.base import make_base
from gateway.scoring.training.card import Data, Facts, card, heads_table, rows_table
from gateway.scoring.training.design import raw_features
from gateway.scoring.training.fit import fit
from gateway.scoring.training.held_out import (
    bent,
    calibrated,
    measured,
    p_good,
    without_source,
    without_subjects,
)

PAIRS = {
    "mmlu": [("mixtral-8x7b", "gpt-4-1106")],
    "mmlu_pro": [
        ("Meta-Llama-3.1-8B-Instruct", "gemini-1.5-pro-002"),
        ("Meta-Llama-3.1-8B-Instruct", "Meta-Llama-3.1-70B-Instruct"),
    ],
    "llmrouter": [("mistral-7b-instruct-v0.3", "llama-3.1-nemotron-51b-instruct")],
}
ALPACA = (
    "Mixtral-8x7B-Instruct-v0.1_concise gpt-3.5-turbo-1106 OpenHermes-2.5-Mistral-7B Qwen-14B-Chat",
    "gpt-4-1106",
)
SUBJECTS, SOURCE = "subjects kept aside", "source kept aside"
DRAWN = ("mixtral-8x7b", "Meta-Llama-3.1-8B-Instruct", "mistral-7b-instruct-v0.3")
"""One of each source, for a diagram before and after a tenant's outcomes."""
DIAGRAM = "reliability"

DATA = {
    "mmlu": ("MMLU's questions with the answers of two models, each asked to answer at once (RouteLLM)", "Apache-2.0, data MIT"),
    "mmlu_pro": ("MMLU-Pro with the answers of 29 models (TIGER-Lab)", "Apache-2.0, data MIT"),
    "llmrouter": ("nine tasks of LLMRouter with the answers of six models, matched by rule", "MIT"),
    "judged": (
        (
            "prompts of all kinds, in part from Arena-Hard and llm-routing, with estimates by a large language model of "
            "how likely models of four sizes answer them well; nobody measured"
        ),
        "Arena-Hard Apache-2.0, llm-routing MIT, the rest Apache-2.0 as this project",
    ),
}  # fmt: skip
LIMITS = (
    "The recipe's settings were chosen with these very splits in view: expect a little less of subjects that nobody looked at.",
    "Most measured prompts are exam questions and short tasks in English. Real traffic is not.",
    "The judged prompts, which stand for everything else, are judgements of a language model and not measurements.",
    ("Chinese prompts are read, but no Chinese answers were measured: there only the judged prompts speak. Other scripts are "
    "scored by length and structure alone, and marked."),
    "MMLU's answers were given without reasoning. Models that think first fail elsewhere.",
    "Exact matching in llmrouter calls good answers bad that are in other words, so it counts little in P(good).",
    "On open-ended preference data (alpaca_eval above) no prompt-only scorer is far from chance, this one included.",
    "Turns, tools, images and system prompts are in no source; their weights are set by hand.",
    ("No threshold carries over from one source to another: P(good) is true for your traffic only once your own outcomes "
    "have bent it."),
    "Models are of 2023 to 2024. A head of a name that you serve may be of another version or quantisation.",
)  # fmt: skip
ROBUST = (
    "How often a route flips under paraphrase, filling, suffixes and instructions to the router is measured by "
    "`bench/routing/robustness.py`; results with dates are in `bench/results`."
)


def folds(source, categories):
    names = np.array(sorted(set(categories)))
    categories = np.array(categories)
    if source.name == "judged":
        fold = np.random.default_rng(0).integers(0, 6, len(categories))
        return [fold == number for number in range(6)]
    if source.name == "mmlu":
        parts = np.array_split(np.random.default_rng(0).permutation(names), 6)
        return [np.isin(categories, those) for those in parts]
    return [categories == name for name in names]


def measure(made, rounds):
    """Rows and heads of all sources, and what to draw."""
    sources = [source for source, _, _ in made]
    rows, heads, drawn = [], [], []
    rng = np.random.default_rng(0)
    for at, (source, texts, categories) in enumerate(made):
        subjects, _ = without_subjects(sources, at, folds(source, categories))
        foreign, levels = without_source(sources, at)
        scores = {
            "length": np.array([float(len(text)) for text in texts]),
            SUBJECTS: subjects,
            SOURCE: foreign,
        }
        for name, sides in pairs(source):
            rows.append(measured(source.name, name, sides, scores, rounds))
        for model, values in source.models.items():
            p = p_good(levels, by_size(source, model))
            heads.append(calibrated(source.name, model, p, values))
            if model in DRAWN:
                known = ~np.isnan(values)
                after, others = bent(p[known], values[known], rng)
                drawn += [
                    diagram.Head(f"{model}, size known", p[known], values[known]),
                    diagram.Head(f"{model}, 200 outcomes", after, values[known][others]),
                ]
    return rows, heads, drawn


def pairs(source):
    named = [
        (f"{weak} to {strong}", (source.models[weak], source.models[strong]))
        for weak, strong in PAIRS.get(source.name, ())
    ]
    return named or [("medium to frontier, as judged", (source.levels["medium"], source.levels["frontier"]))]


def by_size(source, model):
    """The head of a model of which only the size is known: the level that its source's own mean is nearest to."""
    mean = np.nanmean(source.models[model])
    nearest = min(source.levels, key=lambda level: abs(float(source.levels[level].mean()) - mean))
    return Head(position=float(LEVELS.index(nearest)), shift=0.0, prompts=0, accuracy=0.0)


def foreign_row(sources, base, encode, data, rounds):
    alpaca = read(data / "alpaca_eval.parquet")
    prompts = [prompt_of({"messages": [{"role": "user", "content": text}]}) for text in alpaca["prompt"]]
    need = fit(sources).predict(*raw_features(base, prompts, encode))[0]
    scores = {"length": np.array([float(len(text)) for text in alpaca["prompt"]]), SOURCE: need}
    # Half a point stands for as good as the reference, so twice that is as good as it gets.
    sides = tuple(columns(alpaca, names) * 2 for names in ALPACA)
    return measured("alpaca_eval", "four small to gpt-4-1106", sides, scores, rounds)


def write_card(folder, made, rows, heads, drawn):
    saved = diagram.save(diagram.reliability_diagram(drawn), folder, DIAGRAM, kinds=("svg",))
    facts = Facts(
        manifest=read_manifest(folder),
        data=[
            Data(
                name=source.name,
                prompts=len(texts),
                what=DATA[source.name][0],
                licence=DATA[source.name][1],
            )
            for source, texts, _ in made
        ],
        rows=rows,
        how_held=(
            "The artefact has seen all of these prompts; the same recipe was fitted without one subject at a time, and "
            "without the whole source. alpaca_eval is not part of it."
        ),
        heads=heads,
        how_heads=(
            "Before: with the whole source left out, and nothing known of the model but its level. That is what to expect "
            "of a model of yours that nobody measured."
        ),
        limits=LIMITS,
        diagrams={path.name: "Predicted and observed, before and after 200 outcomes" for path in saved},
        more=(ROBUST,),
    )
    (folder / CARD).write_text(card(facts), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--boot", type=int, default=500)
    parser.add_argument("--card", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    tokenizer = splintr.Tokenizer.from_pretrained(TOKENIZER)
    pieces = [bytes(tokenizer.decode_bytes([token])) for token in range(VOCABULARY)]
    vectors, weights, rows_of = vectors_for(pieces, args.vectors)
    base = make_base(pieces, vectors, weights, lambda piece: rows_of.get(key_of(piece), 0))
    made = list(sources_of(args.data, base, tokenizer.encode_flat))
    rows, heads, drawn = measure(made, args.boot)
    sources = [source for source, _, _ in made]
    rows.append(foreign_row(sources, base, tokenizer.encode_flat, args.data, args.boot))
    print(rows_table(rows), heads_table(heads), sep="\n\n")
    if args.card:
        write_card(args.card, made, rows, heads, drawn)


if __name__ == "__main__":
    main()
