"""How the planner's numbers stand beside published calculators, and beside what was measured.

    ./dev bench planner

limits.csv holds Lambda's published measurements (LambdaLabsML/vllm-benchmark, benchmark_v0.md at 0e8fc5d, vLLM 0.5.4):
the longest context of 2, 4, 8, ... 128 thousand tokens with which a server started, 0 for none, and the output tokens/s
of 320 requests at once. Other calculators' formulas are restated here, with the repository and commit they stand in.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from gateway.planning.sizing.architecture import Architecture
from gateway.planning.sizing.gpus import gpu
from gateway.planning.sizing.memory import Serving, fit
from gateway.planning.sizing.models import model
from gateway.planning.sizing.performance import Efficiency, decode_step, prefill_time, speed

LIMITS = Path(__file__).parent / "limits.csv"
GRID = (2000, 4000, 8000, 16000, 32000, 64000, 128000)
MODELS = ("Llama-7B", "Llama-3-8B", "Llama-2-70B", "GLM-4-9B", "Qwen2.5-7B", "Mixtral-8x7B")

CACHES: Mapping[str, Callable[[Architecture, int], float]] = {
    "this planner": lambda of, tokens: of.kv(tokens).value,
    # Any model's cache as if it had as many heads for keys as for queries, and one of keys and values.
    "EleutherAI/cookbook 069ae2e": lambda of, tokens: 2 * of.hidden * of.layers * (tokens + 1),
    # Both, but in 32 bits and again with all heads.
    "RahulSChand/gpu_poor ad2fc0e": lambda of, tokens: 8 * tokens * of.hidden * of.layers,
    "sterlenjohnson/ViVi-Buddy": lambda of, tokens: 2 * tokens * of.hidden * of.layers * 2,
    "microsoft/vidur 7d47513": lambda of, tokens: 2 * 2 * of.head_dim * of.kv_heads * tokens * of.layers,
}


def main() -> None:
    caches()
    limits()
    speeds()


def caches() -> None:
    """A table for docs/reference/planner.md."""
    print("KV cache of 8,192 tokens in 16 bits, GiB (times the true one)\n")
    print("| | " + " | ".join(MODELS) + " |")
    print("|---|" + "---|" * len(MODELS))
    true = [model(name).architecture.kv(8192).value for name in MODELS]
    for name, formula in CACHES.items():
        found = [formula(model(each).architecture, 8192) for each in MODELS]
        cells = [f"{got / 2**30:.3f} ({got / right:.2g})" for got, right in zip(found, true, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")


def limits() -> None:
    rows = measured()
    cells = [(row, predicted(row)) for row in rows]
    fits = sum((bool(most) == bool(int(row["max_context"]))) for row, most in cells)
    equal = sum(most == int(row["max_context"]) for row, most in cells)
    print(
        f"\nlongest context that starts: fit or not agrees in {fits} of {len(cells)} cells, its length in {equal}\n"
    )
    for row, most in cells:
        if most != int(row["max_context"]):
            print(
                f"  {row['gpus']} x {row['gpu']} {row['model']}: {most:,} here, {int(row['max_context']):,} measured"
            )


def measured() -> Sequence[Mapping[str, str]]:
    with LIMITS.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def predicted(row: Mapping[str, str]) -> int:
    """The longest of the grid that the model was made for, and of which one sequence fits."""
    architecture, tp = model(row["model"]).architecture, int(row["gpus"])
    serving = Serving(architecture=architecture, precision=row["precision"], tp=tp)  # type: ignore[arg-type]  # from a file
    fitting = [
        ctx
        for ctx in GRID
        if ctx <= (architecture.context_limit or ctx)
        and fit(serving.but(ctx=ctx), gpu(row["gpu"]).vram).is_fit
    ]
    return max(fitting, default=0)


def speeds() -> None:
    print("\nspeeds: published, here, here over published\n")
    llama, card = Serving(architecture=model("llama-7b").architecture), gpu("a100-80")
    told("Llama-7B A100-80, 512 in, MFU 0.7, ms", 31.89, prefill_time(llama, 512, card, 0.7).value * 1e3)
    step = decode_step(llama, 1, 528, card, Efficiency(mbu=0.9, mfu=0.7))
    told("  a token at MBU 0.9, ms", 7.48, step.value * 1e3)
    eight = Serving(architecture=model("llama-3.1-8b").architecture)
    for many, tokens_s in ((1, 75.0), (8, 495.0)):
        of = speed(
            eight.but(concurrency=many), gpu("a100-40"), prompt=1024, output=128, efficiency=Efficiency()
        )
        told(f"Llama-3.1-8B bf16 A100-40, {many} at once, tokens/s", tokens_s, of.decode.value)
    print("\n320 requests at once, of 215 tokens in and 200 out: measured over the bound\n")
    shares: dict[int, list[float]] = {}
    for row in measured():
        if row["tokens_s"]:
            shares.setdefault(int(row["gpus"]), []).append(float(row["tokens_s"]) / bound(row))
    for cards, found in shares.items():
        print(
            f"  {cards} cards: {min(found):.2f} to {max(found):.2f}, median {median(found):.2f}, of {len(found)}"
        )


def bound(row: Mapping[str, str]) -> float:
    """With as many at once as vLLM takes, or as fit; the lengths are those of ShareGPT, from which it asks."""
    serving = Serving(
        architecture=model(row["model"]).architecture,
        precision=row["precision"],  # type: ignore[arg-type]  # from a file
        tp=int(row["gpus"]),
        ctx=512,
    )
    card = gpu(row["gpu"])
    most = fit(serving, card.vram).max_concurrency
    at_once = serving.but(concurrency=min(256, most))
    return speed(at_once, card, prompt=215, output=200, efficiency=Efficiency()).whole.value


def told(what: str, published: float, here: float) -> None:
    print(f"  {what:60} {published:10,.2f} {here:10,.2f}  {here / published:5.2f}")


if __name__ == "__main__":
    main()
