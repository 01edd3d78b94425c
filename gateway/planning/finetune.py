"""The tool `finetune`: what training a model on one's own data takes, how long, and what it costs."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from gateway.planning import models
from gateway.planning.contract import (
    Answer,
    Assumption,
    Cell,
    Column,
    Context,
    Inputs,
    Line,
    Mark,
    PlanError,
    Plot,
    Series,
    Table,
    Tool,
    asked,
)
from gateway.planning.gpus import Gpu, gpu, gpus
from gateway.planning.prices import GpuPrice, gpu_prices, offers
from gateway.planning.training import (
    GRADIENT_BYTES,
    METHODS,
    Memory,
    Method,
    StateBytes,
    Target,
    Training,
    adapter_parameters,
    memory_of,
    work_of,
)
from gateway.planning.units import Bytes, Flops, FlopsPerSecond, Hours, Money, Tokens, in_cents, total

BYTES_PER_TOKEN = 4.2
_COUNTS = (*range(1, 9), *range(16, 65, 8))
"""GPUs in one server, then whole servers of 8."""
_SAMPLE_CHUNKS, _CHUNK = 16, 1 << 16
_TOKENIZER = "o200k_base"
_NAMES = {"full": "Full", "lora": "LoRA", "qlora": "QLoRA"}


class FinetuneInputs(Inputs, frozen=True, kw_only=True):
    model: Annotated[str, asked("a model of the catalogue")] = ""
    config: Annotated[str, asked("instead of a model: its config.json")] = ""
    params: Annotated[
        float | None, asked("instead of a model: its parameters; activations are left out", gt=0)
    ] = None
    method: Annotated[Method, asked("train all weights, an adapter, or an adapter beside 4-bit weights")] = (
        "full"
    )
    tokens: Annotated[float | None, asked("what to train on", unit="tokens", gt=0)] = None
    data_gb: Annotated[float | None, asked("what to train on, as text", unit="GB", gt=0)] = None
    data: Annotated[str, asked("what to train on: a file of text, whose tokens are counted")] = ""
    bytes_per_token: Annotated[
        float, asked("of the text, where its tokens are not counted", source="English prose, typical", gt=0)
    ] = BYTES_PER_TOKEN
    epochs: Annotated[float, asked("times that the data is seen", gt=0)] = 1
    runs: Annotated[int, asked("trainings paid for, with those that fail or only try settings", ge=1)] = 1
    state_bytes: Annotated[
        StateBytes,
        asked(
            "per trained parameter: 16 with gradients in 16 bits, 18 in 32, 20 with a copy of each",
            unit="bytes",
            source="mixed precision with Adam",
        ),
    ] = "16"
    checkpointing: Annotated[
        bool, asked("compute activations again rather than keep them: less memory, more work")
    ] = False
    sequence: Annotated[int, asked("longest example", unit="tokens", ge=1)] = 2048
    batch: Annotated[int, asked("examples at once on each GPU", ge=1)] = 1
    rank: Annotated[int, asked("of the adapter", source="PEFT's default", ge=1)] = 8
    targets: Annotated[
        tuple[Target, ...],
        asked(
            "matrices the adapter stands beside; qkv and gate_up where the model fuses them (GLM-4, Phi-3)"
        ),
    ] = ("q", "v")
    gpu: Annotated[str, asked("the GPU to train on")] = "A100-80"
    gpus: Annotated[int | None, asked("how many (default: the fewest that it fits on)", ge=1)] = None
    mfu: Annotated[
        float,
        asked(
            "share of the GPU's dense 16-bit peak that training reaches",
            source="0.3 to 0.55 is usual",
            gt=0,
            le=1,
        ),
    ] = 0.4
    scaling: Annotated[
        float, asked("share of it that is left on several GPUs", source="assumption", gt=0, le=1)
    ] = 0.9
    util: Annotated[
        float, asked("share of the GPU's memory that training may take", source="assumption", gt=0, le=1)
    ] = 0.95
    price: Annotated[
        Decimal | None, asked("of one GPU for an hour (default: the cheapest on demand in the list)", ge=0)
    ] = None
    storage_price: Annotated[
        Decimal | None,
        asked("of a GB for a month (default: 0.023 USD, S3 standard, from memory)", ge=0),
    ] = None
    storage_months: Annotated[
        float, asked("that the data and each run's result are kept", unit="months", ge=0)
    ] = 1
    currency: Annotated[str, asked("of the prices that are given")] = "USD"


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    gpu_hours: Hours
    """Of work, as one GPU would do it."""
    wall: Hours
    """Of one run."""
    paid: Hours
    """GPU-hours of all runs: each GPU is paid for until the last one is done."""
    compute: Money
    storage: Money

    @property
    def total(self) -> Money:
        return total([self.compute, self.storage])


def cost_of(
    work: Flops,
    *,
    peak: FlopsPerSecond,
    mfu: float,
    price: Money,
    gpus: int = 1,
    scaling: float = 1.0,
    runs: int = 1,
    storage: Money | None = None,
) -> Cost:
    """GPU-hours = FLOPs / (peak MFU), wall time = GPU-hours / (n scaling), and n GPUs are paid for that long, each run.

    `price` is of one GPU for an hour, `scaling` the share of its speed that each of several GPUs keeps.
    """
    hours = (peak * mfu).time_of(work).hours
    wall = hours / (gpus * (scaling if gpus > 1 else 1.0))
    paid = wall * gpus * runs
    return Cost(
        gpu_hours=hours,
        wall=wall,
        paid=paid,
        compute=price * paid.value,
        storage=storage or Money(0, price.currency),
    )


def fewest_gpus(memory: Memory, vram: Bytes, util: float) -> int | None:
    """None if it does not fit on 64 either: what each GPU has whole is then too big, or the rest is."""
    return next((count for count in _COUNTS if memory.per_gpu(count) <= vram * util), None)


def tokens_per_byte(text: str) -> float | None:
    """Measured on up to a megabyte of it, taken from all over; None where the tokenizer is not installed."""
    try:
        import splintr
    except ModuleNotFoundError:
        return None
    encode = splintr.Tokenizer.from_pretrained(_TOKENIZER).encode
    step = max(_CHUNK, len(text) // _SAMPLE_CHUNKS)
    parts = [text[at : at + _CHUNK] for at in range(0, len(text), step)]
    counted: float = sum(len(encode(part)) for part in parts)
    return counted / sum(len(part.encode()) for part in parts)


def plan(inputs: FinetuneInputs, context: Context) -> Answer:
    subject, found = _subject(inputs, context)
    training = _training(inputs, subject, inputs.method, is_checkpointed=inputs.checkpointing)
    tokens, size, told = _tokens(inputs, context)
    card = gpu(inputs.gpu)
    memory = memory_of(training)
    count = inputs.gpus or fewest_gpus(memory, card.vram, inputs.util)
    if count is None or memory.per_gpu(count) > card.vram * inputs.util:
        raise _misfit(inputs, subject, memory, card, count)
    price, offer = _price(inputs, card, count)
    cost = _cost(inputs, training, tokens, size, card, count, price)
    return Answer(
        tool="finetune",
        headline=_headline(inputs, subject.name, card, count, cost),
        lines=[
            *_memory_lines(training, memory, count),
            *_work_lines(inputs, training, tokens, card, count, cost, price),
        ],
        tables=[_methods(inputs, subject, tokens, size, card, price), _fits(memory, inputs.util)],
        assumptions=[*found, *told, *offer, _peak(card)],
        warnings=_warnings(inputs, subject),
        plot=_plot(inputs, subject, card),
    )


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    parameters: float
    architecture: models.Architecture | None = None


def _subject(inputs: FinetuneInputs, context: Context) -> tuple[_Subject, list[Assumption]]:
    given = [name for name in ("model", "config", "params") if getattr(inputs, name)]
    if len(given) != 1:
        raise PlanError(
            "Name the model to train: one of model, config or params"
            + (f", not {' and '.join(given)} at once." if given else "."),
            param="model",
        )
    if inputs.params:
        if inputs.method != "full":
            raise PlanError(
                "An adapter's size comes from the model's matrices: give model or config instead of params.",
                param="params",
            )
        return _Subject(name=f"{inputs.params / 1e9:,.4g}B parameters", parameters=inputs.params), []
    model = (
        models.from_config(context.files.get("config", inputs.config))
        if inputs.config
        else models.model(inputs.model)
    )
    total_ = model.architecture.counts.total
    known = Assumption(
        name=f"parameters of {model.name}",
        value=total_,
        origin="catalogue" if inputs.model else "given",
        source=model.source,
    )
    return _Subject(name=model.name, parameters=total_, architecture=model.architecture), [known]


def _training(
    inputs: FinetuneInputs, subject: _Subject, method: Method, *, is_checkpointed: bool
) -> Training:
    adapter = 0
    if method != "full" and subject.architecture:
        adapter = adapter_parameters(subject.architecture, inputs.rank, inputs.targets)
    return Training(
        parameters=subject.parameters,
        architecture=subject.architecture,
        method=method,
        adapter=adapter,
        state_bytes=inputs.state_bytes,
        sequence=inputs.sequence,
        batch=inputs.batch,
        is_checkpointed=is_checkpointed,
    )


def _tokens(inputs: FinetuneInputs, context: Context) -> tuple[Tokens, Bytes, list[Assumption]]:
    """How many, the bytes they take on disk, and how that is known."""
    given = [name for name in ("tokens", "data_gb", "data") if getattr(inputs, name)]
    if len(given) != 1:
        raise PlanError(
            "Say what to train on: one of tokens, data_gb or data"
            + (f", not {' and '.join(given)} at once." if given else "."),
            param="tokens",
        )
    if inputs.tokens:
        return Tokens(inputs.tokens), Bytes(inputs.tokens * inputs.bytes_per_token), []
    if inputs.data_gb:
        size = Bytes.of_gb(inputs.data_gb)
        return Tokens(size.value / inputs.bytes_per_token), size, []
    text = context.files.get("data", inputs.data)
    size = Bytes(len(text.encode()))
    if not text.strip():
        raise PlanError("The file has no text.", param="data")
    rate = tokens_per_byte(text)
    if rate is None:
        return Tokens(size.value / inputs.bytes_per_token), size, []
    measured = Assumption(
        name="bytes per token of the data",
        value=1 / rate,
        origin="derived",
        source=f"counted with {_TOKENIZER}; another model's tokenizer differs by some per cent, for other languages by more",
    )
    return Tokens(size.value * rate), size, [measured]


def _misfit(
    inputs: FinetuneInputs, subject: _Subject, memory: Memory, card: Gpu, count: int | None
) -> PlanError:
    limit = card.vram * inputs.util
    ways = [
        f"{_NAMES[method]}{' with checkpointing' if again else ''} ({needed} x {card.name})"
        for method in METHODS
        for again in (False, True)
        if (method, again) != (inputs.method, inputs.checkpointing)
        if method == "full" or subject.architecture
        if (needed := _needed(inputs, subject, method, again, card)) and (count is None or needed <= count)
    ]
    own = fewest_gpus(memory, card.vram, inputs.util)
    if own:
        ways.insert(0, f"{own} x {card.name}")
    asked_for = count or _COUNTS[-1]
    return PlanError(
        f"It does not fit on {asked_for} x {card.name}: each would hold {memory.per_gpu(asked_for).gib:,.2f} GiB"
        f" and gives {limit.gib:,.2f} GiB ({inputs.util:.0%} of {card.vram.gib:,.2f})."
        + (
            f" What would fit: {'; '.join(ways[:3])}." if ways else " Take a bigger GPU, or shorter examples."
        ),
        param="gpus" if inputs.gpus else "gpu",
    )


def _needed(
    inputs: FinetuneInputs, subject: _Subject, method: Method, is_checkpointed: bool, card: Gpu
) -> int | None:
    training = _training(inputs, subject, method, is_checkpointed=is_checkpointed)
    return fewest_gpus(memory_of(training), card.vram, inputs.util)


def _price(inputs: FinetuneInputs, card: Gpu, count: int) -> tuple[Money, list[Assumption]]:
    if inputs.price is not None:
        return Money(inputs.price, inputs.currency), []
    offer = _offer(card, count)
    if offer is None or offer.of_each.currency != inputs.currency:
        raise PlanError(
            f"No price in {inputs.currency} is known for {card.name}: give what one costs for an hour.",
            param="price",
        )
    told = Assumption(
        name=f"price of one {card.name}",
        value=offer.of_each.amount,
        unit=f"{offer.of_each.currency}/h",
        origin="catalogue",
        source=f"{offer.cloud} {offer.instance}, on demand; {offer.source}",
        as_of=offer.as_of,
    )
    return offer.of_each, [told]


def _offer(card: Gpu, count: int) -> GpuPrice | None:
    known = gpu_prices()
    found = offers(known, card.name, at_least=min(count, 8)) or offers(known, card.name)
    return found[0] if found else None


def _storage(inputs: FinetuneInputs, training: Training, size: Bytes) -> Money:
    """The data, and the trained weights of each run in 16 bits."""
    price = inputs.storage_price
    if price is None:
        price = Decimal("0.023") if inputs.currency == "USD" else Decimal(0)
    kept = size + Bytes(2 * training.trained) * inputs.runs
    return Money(price, inputs.currency) * kept.gb * inputs.storage_months


def _cost(
    inputs: FinetuneInputs,
    training: Training,
    tokens: Tokens,
    size: Bytes,
    card: Gpu,
    count: int,
    price: Money,
) -> Cost:
    return cost_of(
        work_of(training, tokens, epochs=inputs.epochs),
        peak=card.fp16,
        mfu=inputs.mfu,
        price=price,
        gpus=count,
        scaling=inputs.scaling,
        runs=inputs.runs,
        storage=_storage(inputs, training, size),
    )


def _headline(inputs: FinetuneInputs, name: str, card: Gpu, count: int, cost: Cost) -> str:
    runs = f"{inputs.runs} runs" if inputs.runs > 1 else "one run"
    return (
        f"{_NAMES[inputs.method]} fine-tuning of {name} fits on {count} x {card.name}, takes {_time(cost.wall)} and costs"
        f" {cost.total.amount:,.2f} {cost.total.currency} for {runs}."
    )


def _time(time: Hours) -> str:
    return f"{time.value:,.1f} hours" if time.value >= 2 else f"{time.value * 60:,.0f} minutes"


def _memory_lines(training: Training, memory: Memory, count: int) -> list[Line]:
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
            group="Memory, shared out among the GPUs",
        )
        for key, label, part, formula in parts
    ]
    lines.append(
        Line(
            key="states_gb",
            label="together",
            value=memory.states.gb,
            unit="GB",
            group="Memory, shared out among the GPUs",
        )
    )
    group = "Memory of each GPU"
    lines += [
        Line(
            key="share_gib",
            label="its share of that",
            value=(memory.states / count).gib,
            unit="GiB",
            group=group,
        ),
        Line(
            key="activations_gib",
            label="activations" + (", checkpointed" if c.is_checkpointed else ""),
            value=memory.activations.gib if c.architecture else None,
            unit="GiB",
            formula=again,
            numbers=_activation_numbers(c, memory),
            group=group,
        ),
        Line(
            key="logits_gib",
            label="logits",
            value=memory.logits.gib if c.architecture else None,
            unit="GiB",
            formula="8 s b V",
            group=group,
        ),
        Line(
            key="per_gpu_gib",
            label="with 1 GiB of runtime",
            value=memory.per_gpu(count).gib,
            unit="GiB",
            group=group,
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


def _work_lines(
    inputs: FinetuneInputs,
    training: Training,
    tokens: Tokens,
    card: Gpu,
    count: int,
    cost: Cost,
    price: Money,
) -> list[Line]:
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


def _methods(
    inputs: FinetuneInputs, subject: _Subject, tokens: Tokens, size: Bytes, card: Gpu, price: Money
) -> Table:
    rows: list[dict[str, Cell]] = []
    for method in METHODS if subject.architecture else METHODS[:1]:
        for again in (False, True):
            training = _training(inputs, subject, method, is_checkpointed=again)
            memory = memory_of(training)
            count = fewest_gpus(memory, card.vram, inputs.util)
            cost = _cost(inputs, training, tokens, size, card, count or 1, price)
            rows.append(
                {
                    "method": _NAMES[method],
                    "checkpointing": again,
                    "states_gb": memory.states.gb,
                    "activations_gib": memory.activations.gib,
                    "factor": training.factor,
                    "gpu_hours": cost.gpu_hours.value,
                    "gpus": count,
                    "wall_hours": cost.wall.value if count else None,
                    "total": sum(in_cents([cost.compute, cost.storage])) if count else None,
                }
            )
    return Table(
        key="methods",
        title=f"Ways to train it, each on the fewest {card.name} that it fits on",
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


def _fits(memory: Memory, util: float) -> Table:
    rows: list[dict[str, Cell]] = []
    for card in gpus():
        count = fewest_gpus(memory, card.vram, util)
        rows.append(
            {
                "gpu": card.name,
                "vram_gib": card.vram.gib,
                "gpus": count or "none",
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


def _peak(card: Gpu) -> Assumption:
    return Assumption(
        name=f"dense 16-bit peak of one {card.name}",
        value=card.fp16.value / 1e12,
        unit="TFLOPS",
        origin="catalogue",
        source=card.source,
    )


def _warnings(inputs: FinetuneInputs, subject: _Subject) -> list[str]:
    told = [
        f"Time and cost rest on an MFU of {inputs.mfu:g}: 0.3 to 0.55 is usual, less for short examples or slow links."
    ]
    if inputs.method == "lora":
        told.append(
            "LoRA saves memory and storage, not as much work: two thirds of full training, since frozen weights"
            " are multiplied with all the same."
        )
    if inputs.method == "qlora":
        told.append("QLoRA unpacks its 4-bit weights at every use: expect a lower MFU than LoRA's.")
    if subject.architecture is None:
        told.append("Without a configuration activations and logits are unknown, and the memory lacks them.")
    if inputs.currency != "USD" and inputs.storage_price is None and inputs.storage_months:
        told.append(f"Storage is not counted: no price in {inputs.currency} is known for it.")
    return told


def _plot(inputs: FinetuneInputs, subject: _Subject, card: Gpu) -> Plot:
    ways: Sequence[tuple[Method, bool]] = [
        (method, again)
        for method in (METHODS if subject.architecture else METHODS[:1])
        for again in (False, True)
    ]
    memories = [
        memory_of(_training(inputs, subject, method, is_checkpointed=again)) for method, again in ways
    ]
    names = [f"{_NAMES[method]}{', check-pointed' if again else ''}" for method, again in ways]
    parts: Sequence[tuple[Literal["weights", "gradients", "optimiser", "activations", "logits"], str]] = (
        ("weights", "weights"),
        ("gradients", "gradients"),
        ("optimiser", "Adam's states"),
        ("activations", "activations"),
        ("logits", "logits"),
    )
    return Plot(
        title=f"Memory to train {subject.name} on one GPU, {inputs.batch} x {inputs.sequence:,} tokens at once",
        x_label="",
        y_label="memory (GiB)",
        kind="bars",
        series=[
            Series(label=label, x=names, y=[getattr(memory, part).gib for memory in memories])
            for part, label in parts
        ],
        marks=[Mark(text=f"one {card.name}", y=(card.vram * inputs.util).gib)],
    )


TOOL = Tool(
    name="finetune",
    help="What it takes to train a model on one's own data: memory by part, GPUs, hours and money.",
    inputs=FinetuneInputs,
    plan=plan,
    files=("config", "data"),
    examples=(
        "--model llama-3-8b --method lora --data-gb 1 --gpu h100",
        "--model glm-4-9b --tokens 238e6 --gpus 4 --checkpointing --price 1.79",
        "--model qwen2.5-7b --method qlora --rank 16 --targets q --targets k --targets v --targets o --tokens 5e6 --gpu rtx4090",
    ),
)
