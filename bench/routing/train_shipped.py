"""Makes the scorer that ships, from public measurements and judged prompts.

    python bench/routing/train_shipped.py --vectors FOLDER --data FOLDER --out gateway/scoring/shipped

`--vectors` is what distil.py wrote. `--data` holds mmlu.parquet (RouteLLM: MMLU with two models), mmlu_pro.parquet
(TIGER-Lab: MMLU-Pro with 29 models), ulab_llmrouter.parquet (LLMRouter: nine tasks, of nine models those six that
answer in the form that was asked for) and prompts_extra.parquet (Arena-Hard and llm-routing, prompts only), all of
them MIT or Apache-2.0. judged.jsonl beside this file is ours: 770 prompts of all kinds, written for this, and 1,118 of
prompts_extra.parquet, each with an estimate of how likely models of four sizes answer it well. A large language model
judged them; nobody measured. Takes two minutes of one core.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import splintr
from pyarrow import parquet
from tokenizers import Tokenizer

from gateway.scoring.prompt import prompt_of
from gateway.scoring.training.base import make_base
from gateway.scoring.training.build import build
from gateway.scoring.training.design import raw_features
from gateway.scoring.training.fit import Source

JUDGED = Path(__file__).parent / "judged.jsonl"
TOKENIZER = "o200k_base"
VOCABULARY = 199_998
CHINESE = re.compile("[\u4e00-\u9fff]")
MOST_ROWS = 64_000
DIMENSIONS = 128  # in order of variance; with 256 it routes no better

SMALL_MODELS = (
    "Llama-2-13b-hf Llama-2-7b-hf Meta-Llama-3-8B Meta-Llama-3.1-8B-Instruct Meta-Llama-3.1-8B Mistral-7B-Instruct-v0.1 "
    "Mistral-7B-Instruct-v0.2 Mistral-7B-v0.1 Mistral-7B-v0.2-hf Mixtral-8x7B-Instruct-v0.1 Mixtral-8x7B-v0.1 "
    "Phi-3-mini-4k-instruct Qwen1.5-7B-Chat Yi-6B Yi-6b-Chat Yi-34B c4ai-command-r-v01 gemma-7b mathstral-7B"
)
PRO_LEVELS = {
    "medium": SMALL_MODELS,
    "large": "Meta-Llama-3.1-70B-Instruct Meta-Llama-3-70B Meta-Llama-3.1-70B Qwen1.5-72B-Chat Qwen1.5-110B",
    "frontier": "gemini-1.5-pro-002 gemini-1.5-flash-002 Meta-Llama-3.1-70B-Instruct DeepSeek-Coder-V2 Qwen1.5-110B "
    "jamba-1.5-large Meta-Llama-3-70B Meta-Llama-3.1-70B Qwen1.5-72B-Chat",
}
TASK_LEVELS = {
    "medium": "mistral-7b-instruct-v0.3 gemma-2-9b-it llama-3.1-8b-instruct",
    "frontier": "llama-3.1-nemotron-51b-instruct llama-3.3-nemotron-super-49b-v1",
}
TASK_MODELS = f"{TASK_LEVELS['medium']} {TASK_LEVELS['frontier']} qwen2.5-7b-instruct"
KIND_OF_TASK = {"math": "maths", "mbpp": "code", "natural_qa": "knowledge", "trivia_qa": "knowledge"}


def vectors_for(pieces, folder):
    """The tokenizer's entries in the vectors of whatever they are made of; case and blanks make no difference."""
    split = Tokenizer.from_file(str(folder / "tokenizer.json"))
    table, weights = np.load(folder / "table.npy")[:, :DIMENSIONS], np.load(folder / "weights.npy")
    rows, vectors, found = {}, [np.zeros(table.shape[1])], [0.0]
    texts = {}
    for token, piece in enumerate(pieces):
        text = key_of(piece)
        if text:
            texts.setdefault(text, token)
    texts = {
        text: token
        for text, token in texts.items()
        if text.isascii() or CHINESE.search(text) or len(text) == 1
    }
    encoded = split.encode_batch_fast(list(texts), add_special_tokens=False)
    ranked = sorted(zip(texts, encoded, strict=True), key=lambda one: (len(one[1].ids) > 1, texts[one[0]]))
    for text, parts in ranked:
        ids = [i for i in parts.ids if weights[i] > 0]
        if not ids or 0 in parts.ids or len(ids) > 3 or len(vectors) >= MOST_ROWS:
            continue
        rows[text] = len(vectors)
        vectors.append(table[ids].sum(axis=0) / weights[ids].sum())
        found.append(float(weights[ids].max()))
    return np.array(vectors, np.float32), np.array(found, np.float32), rows


def key_of(piece):
    try:
        return piece.decode().strip().lower()
    except UnicodeDecodeError:
        return ""


def columns(frame, names):
    return np.nanmean([np.array(frame[f"s:{name}"], float) for name in names.split()], axis=0)


def models(frame, names):
    return {name: np.array(frame[f"s:{name}"], float) for name in names}


def read(path):
    return parquet.read_table(path).to_pydict()


def sources_of(data, base, encode):
    def made(frame, **known):
        prompts = [prompt_of({"messages": [{"role": "user", "content": text}]}) for text in frame["prompt"]]
        meanings, features = raw_features(base, prompts, encode)
        return Source(meanings=meanings, features=features, **known), frame["prompt"], frame["category"]

    mmlu = read(data / "mmlu.parquet")
    yield made(
        mmlu,
        name="mmlu",
        group="exam",
        need="gain",
        levels={"medium": columns(mmlu, "mixtral-8x7b"), "frontier": columns(mmlu, "gpt-4-1106")},
        kinds=["exam"] * len(mmlu["prompt"]),
        models=models(mmlu, ("mixtral-8x7b", "gpt-4-1106")),
        alpha=300.0,
    )
    pro = read(data / "mmlu_pro.parquet")
    yield made(
        pro,
        name="mmlu_pro",
        group="exam",
        need="failure",
        levels={level: columns(pro, names) for level, names in PRO_LEVELS.items()},
        kinds=["exam"] * len(pro["prompt"]),
        models=models(pro, [name[2:] for name in pro if name.startswith("s:")]),
        alpha=2000.0,
    )
    tasks = read(data / "ulab_llmrouter.parquet")
    strong = [np.array(tasks[f"s:{name}"], float) for name in TASK_LEVELS["frontier"].split()]
    yield made(
        tasks,
        name="llmrouter",
        group="tasks",
        need="rescue",
        levels={
            "medium": columns(tasks, TASK_LEVELS["medium"]),
            "large": np.mean(strong, axis=0),
            # Each of the two fails at some task's form; the better of them says more of what can be had.
            "frontier": (np.max(strong, axis=0) + np.mean(strong, axis=0)) / 2,
        },
        kinds=[KIND_OF_TASK.get(category, "") for category in tasks["category"]],
        models=models(tasks, TASK_MODELS.split()),
        alpha=2000.0,
        trust=0.001,  # of 430 trivia questions exact matching calls 19 % well answered
    )
    extra = read(data / "prompts_extra.parquet")
    text_of = dict(zip(extra["id"], extra["prompt"], strict=True))
    judged = [json.loads(line) for line in JUDGED.read_text("utf-8").splitlines()]
    frame = {
        "prompt": [one.get("prompt") or text_of[one["id"]] for one in judged],
        "category": [one["kind"] for one in judged],
    }
    yield made(
        frame,
        name="judged",
        group="open",
        need="gain",
        levels={
            level: np.array([one[level] for one in judged])
            for level in ("small", "medium", "large", "frontier")
        },
        kinds=frame["category"],
        alpha=300.0,
        bonus=0.1,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--created", required=True, help="the date, for the version's name: 2026-11-21")
    args = parser.parse_args()
    tokenizer = splintr.Tokenizer.from_pretrained(TOKENIZER)
    pieces = [bytes(tokenizer.decode_bytes([token])) for token in range(VOCABULARY)]
    vectors, weights, rows = vectors_for(pieces, args.vectors)
    base = make_base(pieces, vectors, weights, lambda piece: rows.get(key_of(piece), 0))
    made = list(sources_of(args.data, base, tokenizer.encode_flat))
    build(
        base,
        [source for source, _, _ in made],
        [texts for _, texts, _ in made],
        args.out,
        tokenizer=TOKENIZER,
        created=args.created,
        reference="judged",
    )
    print(f"{len(vectors):,} vectors, {sum(len(source.kinds) for source, _, _ in made):,} prompts")


if __name__ == "__main__":
    main()
