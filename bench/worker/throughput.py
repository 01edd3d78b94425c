"""Tokens per second of the transformers engine, one after another and all at once.

    python bench/worker/throughput.py                          a tiny model of random weights on the CPU
    python bench/worker/throughput.py --model FOLDER           a real one
    python bench/worker/throughput.py --shape llama-3-8b --shape llama-3-1b --device cuda --concurrent 1 8 32 128

A shape has random weights: its speed is that of the real model, its words are none. Prints a table and, with --json,
one JSON object a line; needs no network and asks nothing.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.engines.contract import Job, Token
from workers.engines.transformers_engine import loading
from workers.engines.transformers_engine.engine import TransformersEngine
from workers.engines.transformers_engine.preparation import Options
from workers.models import ModelFile
from workers.request import CompletionRequest

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 2048},
    "llama-3-1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256},
    "llama-3-8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256},
}  # fmt: skip


def write_shape(folder: Path, shape: str, device: str) -> None:
    """A folder as a model's makers would publish it; the tokenizer knows bytes only."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: i for i, sign in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=alphabet[0]).save_pretrained(folder)
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=8192, eos_token_id=0, bos_token_id=1)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with torch.device(device):
        model = LlamaForCausalLM(config).to(dtype)
    model.save_pretrained(folder, max_shard_size="4GB")
    del model
    if device != "cpu":
        torch.cuda.empty_cache()


async def one(engine: TransformersEngine, index: int, prompt: int, tokens: int, sampling: dict[str, Any]) -> dict[str, float]:  # fmt: skip
    body = CompletionRequest(
        model="bench",
        prompt=tuple(random.Random(index).choices(range(5, 200), k=prompt)),
        max_tokens=tokens,
        logit_bias={"0": -100, "2": -100},  # the ends of the shapes and of SmolLM2: no answer is cut short
        **sampling,
    )
    began = time.perf_counter()
    answer = engine.generate(Job(f"bench-{index}", body))
    seen = [time.perf_counter() async for token in answer if isinstance(token, Token)]
    return {"first": seen[0] - began, "tokens": tokens, "gap": (seen[-1] - seen[0]) / max(1, tokens - 1)}


async def measure(
    engine: TransformersEngine, concurrent: int, args: argparse.Namespace, sampling: dict[str, Any]
) -> dict[str, Any]:
    """As many requests as `--rounds` times what runs at once."""
    places = asyncio.Semaphore(concurrent)

    async def in_turn(index: int) -> dict[str, float]:
        async with places:
            return await one(engine, index, args.prompt, args.tokens, sampling)

    count = concurrent * args.rounds if concurrent > 1 else max(2, args.rounds)
    began = time.perf_counter()
    results = await asyncio.gather(*(in_turn(index) for index in range(count)))
    wall = time.perf_counter() - began
    firsts = sorted(result["first"] for result in results)
    return {
        "concurrent": concurrent,
        "tokens_per_s": round(sum(result["tokens"] for result in results) / wall, 1),
        "ttft_p50_ms": round(1000 * statistics.median(firsts), 1),
        "ttft_p99_ms": round(1000 * firsts[min(len(firsts) - 1, int(0.99 * len(firsts)))], 1),
        "between_tokens_ms": round(1000 * statistics.mean(result["gap"] for result in results), 2),
    }


async def bench(name: str, folder: Path, args: argparse.Namespace) -> None:
    most = max(args.concurrent)
    engine = TransformersEngine(
        ModelFile(name, folder),
        Options(
            slots=most,
            context=args.prompt + args.tokens + 32,
            threads=args.threads,
            device=args.device,
            precision=args.precision,
            attention=args.attention,
            tensor_parallel=args.tensor_parallel,
        ),
        seeds=random.Random(1),
    )
    began = time.perf_counter()
    await engine.start()
    card = engine.card
    print(f"\n{name}: {card.parameters / 1e6:,.0f}M parameters, {card.dtype}, {card.quantisation}, loaded in {time.perf_counter() - began:.1f} s")  # fmt: skip
    kinds: dict[str, dict[str, Any]] = {
        "greedy": {"temperature": 0.0},
        "top_p": {"temperature": 0.8, "top_p": 0.9},
    }
    try:
        await one(engine, 0, args.prompt, 4, kinds["top_p"])
        for kind, sampling in kinds.items():
            alone = 0.0
            for concurrent in args.concurrent:
                figures = {
                    "model": name,
                    "sampling": kind,
                    **await measure(engine, concurrent, args, sampling),
                }
                alone = alone or figures["tokens_per_s"] / concurrent
                line = "  ".join(f"{key} {value}" for key, value in figures.items() if key != "model")
                print(
                    json.dumps(figures) if args.json else f"{line}  x{figures['tokens_per_s'] / alone:.1f}",
                    flush=True,
                )
    finally:
        await engine.stop()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a folder with a config.json")
    parser.add_argument(
        "--shape", action="append", choices=sorted(SHAPES), help="random weights of that shape"
    )
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--prompt", type=int, default=64, metavar="TOKENS")
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--tensor-parallel", type=int, default=1, metavar="GPUS")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    loading.go_offline()
    if args.model:
        asyncio.run(bench(args.model.name, args.model, args))
    for shape in args.shape or ([] if args.model else ["tiny"]):
        with tempfile.TemporaryDirectory(prefix="shape-") as folder:
            write_shape(Path(folder), shape, loading.pick_device(args.device))
            asyncio.run(bench(shape, Path(folder), args))


if __name__ == "__main__":
    main()
