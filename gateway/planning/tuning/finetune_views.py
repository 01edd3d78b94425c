"""A fine-tuning as lines, tables and a diagram."""

from gateway.planning.contract import Cell, Column, Line, Mark, Plot, Series, Table
from gateway.planning.sizing.gpus import gpus
from gateway.planning.tuning.finetune_case import Case
from gateway.planning.tuning.training import (
    GRADIENT_BYTES,
    RUNTIME,
    Cost,
    Memory,
    Training,
    fewest_gpus,
    memory_of,
    work_of,
)
from gateway.planning.units import Money, in_cents

NAMES = {"full": "Full", "lora": "LoRA", "qlora": "QLoRA"}
_SHARED = "Memory, shared out among the GPUs"
_EACH = "Memory of each GPU"


def memory_lines(training: Training, memory: Memory, count: int) -> list[Line]:
    c = training
    again = "2 s b h L + 34 s b h" if c.is_checkpointed else "34 s b h L"
    parts = [
        (
            "weights_gb",
            "weights",
            memory.weights,
            {"full": "2 n", "lora": "2 N + 2 n", "qlora": "nf4(N) + 2 n"}[c.method],
        ),
        ("gradients_gb", "gradients", memory.gradients, f"{GRADIENT_BYTES[c.state_bytes]} n"),
        ("optimiser_gb", "Adam's states", memory.optimiser, "12 n"),
    ]
    lines = [
        Line(
            key=key,
            label=label,
            value=part.gb,
            unit="GB",
            formula=formula,
            numbers=f"{part.gb:,.3f} GB of N = {c.parameters:,.0f}, n = {c.trained:,.0f}",
            group=_SHARED,
        )
        for key, label, part, formula in parts
    ]
    lines.append(
        Line(
            key="states_gb",
            label="together",
            value=memory.states.gb,
            unit="GB",
            group=_SHARED,
        )
    )
    lines += [
        Line(
            key="share_gib",
            label="its share of that",
            value=(memory.states / count).gib,
            unit="GiB",
            group=_EACH,
        ),
        Line(
            key="activations_gib",
            label="activations" + (", checkpointed" if c.is_checkpointed else ""),
            value=memory.activations.gib if c.architecture else None,
            unit="GiB",
            formula=again,
            numbers=_activation_numbers(c, memory),
            group=_EACH,
        ),
        Line(
            key="logits_gib",
            label="logits",
            value=memory.logits.gib if c.architecture else None,
            unit="GiB",
            formula="8 s b V",
            group=_EACH,
        ),
        Line(
            key="per_gpu_gib",
            label="with 1 GiB of runtime",
            value=memory.per_gpu(count).gib,
            unit="GiB",
            group=_EACH,
        ),
    ]
    return lines


def _activation_numbers(training: Training, memory: Memory) -> str:
    if training.architecture is None:
        return ""
    return (
        f"s = {training.sequence:,}, b = {training.batch:,}, h = {training.architecture.hidden:,}, "
        f"L = {training.architecture.layers}: {memory.activations.gib:,.3f} GiB"
    )


def work_lines(case: Case, training: Training, cost: Cost, count: int, price: Money) -> list[Line]:
    inputs, tokens, card = case.inputs, case.tokens, case.gpu
    work = work_of(training, tokens, epochs=inputs.epochs)
    peak = card.fp16.value / 1e12
    compute, storage = in_cents([cost.compute, cost.storage])
    currency = price.currency
    lines = [
        Line(key="tokens", label="tokens of the data", value=tokens.value, unit="tokens", group="Work"),
        Line(
            key="flops",
            label="work of one run",
            value=f"{work.value:.4g}",
            unit="FLOP",
            formula="c N tokens epochs",
            numbers=f"{training.factor} x {work.value / training.factor / tokens.value / inputs.epochs:,.0f} x "
            f"{tokens.value:,.0f} x {inputs.epochs:g} = {work.value:.4g}",
            group="Work",
        ),
        Line(
            key="gpu_hours",
            label="GPU time of one run",
            value=cost.gpu_hours.value,
            unit="GPU-h",
            formula="FLOPs / (peak MFU) / 3600",
            numbers=f"{work.value:.4g} / ({peak:,.0f}e12 x {inputs.mfu:g}) / 3600 = {cost.gpu_hours.value:,.3f}",
            group="Work",
        ),
        Line(key="gpus", label=f"GPUs ({card.name})", value=count, group="Work"),
        Line(
            key="wall_hours",
            label="time of one run",
            value=cost.wall.value,
            unit="h",
            formula="GPU-h / (n scaling)",
            numbers=f"{cost.gpu_hours.value:,.3f} / ({count} x {inputs.scaling if count > 1 else 1:g}) = {cost.wall.value:,.3f}",
            group="Work",
        ),
        Line(
            key="compute",
            label="GPUs of all runs",
            value=compute,
            unit=currency,
            formula="h n price runs",
            numbers=f"{cost.wall.value:,.3f} x {count} x {price.amount} x {inputs.runs} = {compute}",
            group="Cost",
        ),
        Line(key="storage", label="data and results kept", value=storage, unit=currency, group="Cost"),
        Line(key="total", label="in all", value=compute + storage, unit=currency, group="Cost"),
    ]
    if training.method != "full":
        lines.insert(
            0,
            Line(
                key="adapter_params",
                label="parameters of the adapter",
                value=training.adapter,
                formula="L sum r (d_in + d_out)",
                numbers=f"r = {inputs.rank}, {', '.join(inputs.targets)}: {training.adapter:,}",
                group="Work",
            ),
        )
    return lines


def method_table(case: Case, price: Money) -> Table:
    rows: list[dict[str, Cell]] = []
    for training in case.ways:
        memory = memory_of(training)
        count = case.fewest(memory)
        cost = case.cost(training, count or 1, price)
        rows.append(
            {
                "method": NAMES[training.method],
                "checkpointing": training.is_checkpointed,
                "states_gb": memory.states.gb,
                "activations_gib": memory.activations.gib if case.architecture else None,
                "factor": training.factor,
                "gpu_hours": cost.gpu_hours.value,
                "gpus": count,
                "wall_hours": cost.wall.value if count else None,
                "total": sum(in_cents([cost.compute, cost.storage])) if count else None,
            }
        )
    return Table(
        key="methods",
        title=f"Ways to train it, each on the fewest {case.gpu.name} that it fits on",
        columns=[
            Column(key="method", label="method"),
            Column(key="checkpointing", label="check-pointing"),
            Column(key="states_gb", label="weights and states", unit="GB"),
            Column(key="activations_gib", label="activations of a GPU", unit="GiB"),
            Column(key="factor", label="FLOPs per parameter and token"),
            Column(key="gpu_hours", label="work", unit="GPU-h"),
            Column(key="gpus", label="GPUs"),
            Column(key="wall_hours", label="time", unit="h"),
            Column(key="total", label="cost", unit=price.currency),
        ],
        rows=rows,
    )


def fit_table(memory: Memory, util: float) -> Table:
    rows: list[dict[str, Cell]] = []
    for card in gpus():
        count = fewest_gpus(memory, card.vram, util)
        rows.append(
            {
                "gpu": card.name,
                "vram_gib": card.vram.gib,
                "gpus": count,
                "per_gpu_gib": memory.per_gpu(count).gib if count else None,
            }
        )
    return Table(
        key="fits",
        title="What it fits on: the fewest of each, up to 64",
        columns=[
            Column(key="gpu", label="GPU"),
            Column(key="vram_gib", label="memory", unit="GiB"),
            Column(key="gpus", label="GPUs"),
            Column(key="per_gpu_gib", label="taken of each", unit="GiB"),
        ],
        rows=rows,
    )


def memory_plot(case: Case) -> Plot:
    ways = case.ways
    memories = [memory_of(training) for training in ways]
    names = [
        f"{NAMES[training.method]}{', check-pointed' if training.is_checkpointed else ''}"
        for training in ways
    ]
    parts = (
        ("weights", "weights"),
        ("gradients", "gradients"),
        ("optimiser", "Adam's states"),
        ("activations", "activations"),
        ("logits", "logits"),
    )
    return Plot(
        title=f"Memory to train {case.name} on one GPU, {case.inputs.batch} x {case.inputs.sequence:,} tokens at once",
        x_label="",
        y_label="memory (GiB)",
        kind="bars",
        series=[
            Series(label=label, x=names, y=[getattr(memory, part).gib for memory in memories])
            for part, label in parts
        ]
        + [Series(label="runtime", x=names, y=[RUNTIME.gib] * len(names))],
        marks=[Mark(text=f"one {case.gpu.name}", y=(case.gpu.vram * case.inputs.util).gib)],
    )
