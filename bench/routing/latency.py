"""What the always-on scorer costs: CPU time of a prompt by its length, of loading, and its size on disk.

    python bench/routing/latency.py [--rounds 20]

The prompts are those of tests/data/paraphrases.jsonl, joined until they have as many tokens as are asked for. Thread CPU
time, so that what else runs on the machine counts little; one thread.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import splintr

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from gateway.scoring.artefact import SHIPPED, load  # noqa: E402 - the root has to be on the path first
from gateway.scoring.contract import Scorable  # noqa: E402
from gateway.scoring.lexical import LexicalScorer  # noqa: E402
from gateway.scoring.model import GraphScorer  # noqa: E402
from gateway.scoring.prompt import prompt_of  # noqa: E402

CANDIDATES = [Scorable(id=f"local/{size}", size=size) for size in ("small", "medium", "large", "cloud")]
TOKENS = (16, 64, 256, 1024)


def prompts_of(texts, tokens, encode):
    """Texts of about so many tokens: what follows is joined to what is too short, and cut where it is too long."""
    found = []
    for at in range(len(texts)):
        text = texts[at]
        following = at
        while len(encode(text)) < tokens and following + 1 < len(texts):
            following += 1
            text = f"{text}\n{texts[following]}"
        text = text[: int(len(text) * tokens / max(len(encode(text)), 1))]
        found.append(prompt_of({"messages": [{"role": "user", "content": text}]}))
    return found


def measure(scorer, prompts, rounds):
    """Median, 95th percentile and mean, in microseconds."""
    for prompt in prompts[:50]:
        scorer.score([prompt], CANDIDATES)
    times = []
    for _ in range(rounds):
        for prompt in prompts:
            began = time.thread_time_ns()
            scorer.score([prompt], CANDIDATES)
            times.append((time.thread_time_ns() - began) / 1000)
    return np.median(times), np.quantile(times, 0.95), np.mean(times)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    tokenizer = splintr.Tokenizer.from_pretrained("o200k_base")
    began = time.perf_counter()
    artefact = load(SHIPPED)
    print(f"loaded in {time.perf_counter() - began:.2f} s")
    size = sum(file.stat().st_size for file in SHIPPED.iterdir())
    print(
        f"on disk {size / 2**20:.1f} MiB, of which the graph {(SHIPPED / 'graph.onnx').stat().st_size / 2**20:.1f}\n"
    )
    lines = (ROOT / "tests" / "data" / "paraphrases.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["prompt"] for line in lines]
    model = GraphScorer(artefact, tokenizer.encode_flat)
    print("| tokens | scorer | p50 us | p95 us | CPU s / 1,000 prompts |\n|---|---|---|---|---|")
    for tokens in TOKENS:
        prompts = prompts_of(texts, tokens, tokenizer.encode)
        for name, scorer in (("model", model), ("lexical", LexicalScorer())):
            median, late, mean = measure(scorer, prompts, args.rounds)
            print(f"| {tokens:,} | {name} | {median:.0f} | {late:.0f} | {mean / 1000:.3f} |", flush=True)


if __name__ == "__main__":
    main()
