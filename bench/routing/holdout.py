"""How the scorer's recipe does on subjects and sources that it has not seen: the shipped one has seen them all.

    python bench/routing/holdout.py --vectors FOLDER --data FOLDER

Arguments as for train_shipped.py. First every source with one of its categories left out at a time (of MMLU with a
sixth of them), then with the whole source left out; and sources that nothing was trained on. APGR: 0.5 is chance.
"""

import argparse
from pathlib import Path

import numpy as np
import splintr
from train_shipped import TOKENIZER, VOCABULARY, columns, key_of, read, sources_of, vectors_for

from gateway.scoring.metrics import Pair, apgr
from gateway.scoring.prompt import prompt_of
from gateway.scoring.training.base import make_base
from gateway.scoring.training.build import part
from gateway.scoring.training.design import raw_features
from gateway.scoring.training.fit import fit

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


def measure(need, weak, strong, rng, boot):
    known = ~(np.isnan(weak) | np.isnan(strong))
    need, weak, strong = need[known], weak[known], strong[known]
    draws = [rng.integers(0, len(need), len(need)) for _ in range(boot)]
    resampled = [apgr(need[i], Pair(weak=weak[i], strong=strong[i])) for i in draws]
    low, high = np.quantile(resampled, [0.025, 0.975]) if boot else (np.nan, np.nan)
    return apgr(need, Pair(weak=weak, strong=strong)), low, high


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--boot", type=int, default=200)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    tokenizer = splintr.Tokenizer.from_pretrained(TOKENIZER)
    pieces = [bytes(tokenizer.decode_bytes([token])) for token in range(VOCABULARY)]
    vectors, weights, rows = vectors_for(pieces, args.vectors)
    base = make_base(pieces, vectors, weights, lambda piece: rows.get(key_of(piece), 0))
    made = list(sources_of(args.data, base, tokenizer.encode_flat))
    sources = [source for source, _, _ in made]
    print(
        "| source | weak to strong | prompts | length | subjects kept aside | source kept aside |\n|---|---|---|---|---|---|"
    )
    for at, (source, texts, categories) in enumerate(made):
        unseen = np.zeros(len(texts))
        for held in folds(source, categories):
            seen = fit([part(one, ~held) if one is source else one for one in sources])
            unseen[held] = seen.predict(source.meanings[held], source.features[held])[0]
        foreign = fit(sources[:at] + sources[at + 1 :]).predict(source.meanings, source.features)[0]
        length = np.array([float(len(text)) for text in texts])
        pairs = [
            (f"{weak} to {strong}", source.models[weak], source.models[strong])
            for weak, strong in PAIRS.get(source.name, ())
        ] or [("medium to frontier, as judged", source.levels["medium"], source.levels["frontier"])]
        for name, weak, strong in pairs:
            show(source.name, name, weak, strong, (length, unseen, foreign), rng, args.boot)
    everything = fit(sources)
    alpaca = read(args.data / "alpaca_eval.parquet")
    prompts = [prompt_of({"messages": [{"role": "user", "content": text}]}) for text in alpaca["prompt"]]
    need = everything.predict(*raw_features(base, prompts, tokenizer.encode_flat))[0]
    length = np.array([float(len(text)) for text in alpaca["prompt"]])
    weak, strong = columns(alpaca, ALPACA[0]) * 2, columns(alpaca, ALPACA[1]) * 2
    show("alpaca_eval", "four small to gpt-4-1106", weak, strong, (length, None, need), rng, args.boot)


def show(source, pair, weak, strong, scores, rng, boot):
    cells = []
    for score in scores:
        if score is None:
            cells.append("")
            continue
        value, low, high = measure(np.asarray(score, float), weak, strong, rng, boot)
        cells.append(f"{value:.3f} ({low:.3f} to {high:.3f})")
    print(f"| {source} | {pair} | {len(weak):,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
