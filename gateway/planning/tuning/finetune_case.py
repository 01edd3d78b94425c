"""A fine-tuning as it was asked for: the model, the data, the GPU and the prices that its inputs mean."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated

import msgspec

from gateway.planning.contract import Assumption, Context, Inputs, PlanError, asked
from gateway.planning.cost.prices import gpu_prices, offers
from gateway.planning.sizing import models
from gateway.planning.sizing.architecture import Architecture
from gateway.planning.sizing.gpus import Gpu, gpu
from gateway.planning.tuning.training import (
    METHODS,
    Cost,
    Memory,
    Method,
    StateBytes,
    Target,
    Training,
    adapter_parameters,
    cost_of,
    fewest_gpus,
    work_of,
)
from gateway.planning.units import Bytes, Money, Tokens

BYTES_PER_TOKEN = 4.2
_STORAGE_PRICE = Money("0.023")
_SAMPLE_CHUNKS, _CHUNK = 16, 1 << 16
_TOKENIZER = "o200k_base"


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


class Case(msgspec.Struct, frozen=True, kw_only=True):
    inputs: FinetuneInputs
    name: str
    parameters: float
    architecture: Architecture | None
    """None: only the number of parameters is known."""
    tokens: Tokens
    data: Bytes
    gpu: Gpu
    known: Sequence[Assumption] = ()
    """How all that is known."""

    @property
    def training(self) -> Training:
        """As it was asked for."""
        return self.trained_by(self.inputs.method, is_checkpointed=self.inputs.checkpointing)

    @property
    def ways(self) -> Sequence[Training]:
        """All that this model can be trained by."""
        return [
            self.trained_by(method, is_checkpointed=again)
            for method in (METHODS if self._takes_adapters else METHODS[:1])
            for again in (False, True)
        ]

    def trained_by(self, method: Method, *, is_checkpointed: bool) -> Training:
        adapter = 0
        if method != "full" and self.architecture:
            adapter = adapter_parameters(self.architecture, self.inputs.rank, self.inputs.targets)
        return Training(
            parameters=self.parameters,
            architecture=self.architecture,
            method=method,
            adapter=adapter,
            state_bytes=self.inputs.state_bytes,
            sequence=self.inputs.sequence,
            batch=self.inputs.batch,
            is_checkpointed=is_checkpointed,
        )

    def fewest(self, memory: Memory) -> int | None:
        return fewest_gpus(memory, self.gpu.vram, self.inputs.util)

    def price(self, gpus: int) -> tuple[Money, list[Assumption]]:
        """Of one GPU for an hour where there are so many, and where that is from. Raises PlanError."""
        if self.inputs.price is not None:
            return Money(self.inputs.price, self.inputs.currency), []
        listed = gpu_prices()
        found = offers(listed, self.gpu.name, at_least=min(gpus, 8)) or offers(listed, self.gpu.name)
        if not found or found[0].of_each.currency != self.inputs.currency:
            raise PlanError(
                f"No price in {self.inputs.currency} is known for {self.gpu.name}: give what one costs for an hour.",
                param="price",
            )
        offer = found[0]
        told = Assumption(
            name=f"price of one {self.gpu.name}",
            value=offer.of_each.amount,
            unit=f"{offer.of_each.currency}/h",
            origin="catalogue",
            source=f"{offer.cloud} {offer.instance}, on demand; {offer.source}",
            as_of=offer.as_of,
        )
        return offer.of_each, [told]

    def cost(self, training: Training, gpus: int, price: Money) -> Cost:
        return cost_of(
            work_of(training, self.tokens, epochs=self.inputs.epochs),
            peak=self.gpu.fp16,
            mfu=self.inputs.mfu,
            price=price,
            gpus=gpus,
            scaling=self.inputs.scaling,
            runs=self.inputs.runs,
            storage=self._storage(training),
        )

    @property
    def is_storage_priced(self) -> bool:
        return self.inputs.storage_price is not None or self.inputs.currency == _STORAGE_PRICE.currency

    def _storage(self, training: Training) -> Money:
        """The data, and the trained weights of each run in 16 bits."""
        price = Money(self.inputs.storage_price or 0, self.inputs.currency)
        if self.inputs.storage_price is None and self.is_storage_priced:
            price = _STORAGE_PRICE
        kept = self.data + Bytes(2 * training.trained) * self.inputs.runs
        return price * kept.gb * self.inputs.storage_months

    @property
    def _takes_adapters(self) -> bool:
        if self.architecture is None:
            return False
        try:
            adapter_parameters(self.architecture, self.inputs.rank, self.inputs.targets)
        except PlanError:
            return False
        return True


def case_of(inputs: FinetuneInputs, context: Context) -> Case:
    """Raises PlanError for what is missing, too much or unknown."""
    model = _model(inputs, context)
    tokens, size, counted = _tokens(inputs, context)
    card = gpu(inputs.gpu)
    peak = Assumption(
        name=f"dense 16-bit peak of one {card.name}",
        value=card.fp16.value / 1e12,
        unit="TFLOPS",
        origin="catalogue",
        source=card.source,
    )
    if isinstance(model, float):
        name, parameters, architecture, told = f"{model / 1e9:,.4g}B parameters", model, None, []
    else:
        name, parameters, architecture = model.name, model.architecture.counts.total, model.architecture
        told = [
            Assumption(
                name=f"parameters of {name}",
                value=parameters,
                origin="catalogue" if inputs.model else "given",
                source=model.source,
            )
        ]
    return Case(
        inputs=inputs,
        name=name,
        parameters=parameters,
        architecture=architecture,
        tokens=tokens,
        data=size,
        gpu=card,
        known=[*told, *counted, peak],
    )


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


def _model(inputs: FinetuneInputs, context: Context) -> models.Model | float:
    """Or the number of its parameters alone."""
    _one_of(inputs, ("model", "config", "params"), "Name the model to train")
    if inputs.config:
        return models.from_config(context.files.get("config", inputs.config))
    if inputs.params is None:
        return models.model(inputs.model)
    if inputs.method != "full":
        raise PlanError(
            "An adapter's size comes from the model's matrices: give model or config instead of params.",
            param="params",
        )
    return inputs.params


def _one_of(inputs: FinetuneInputs, names: Sequence[str], task: str) -> None:
    given = [name for name in names if getattr(inputs, name)]
    if len(given) != 1:
        known = f"{', '.join(names[:-1])} or {names[-1]}"
        surplus = f", not {' and '.join(given)} at once." if given else "."
        raise PlanError(f"{task}: one of {known}{surplus}", param=names[0])


def _tokens(inputs: FinetuneInputs, context: Context) -> tuple[Tokens, Bytes, list[Assumption]]:
    """How many, the bytes they take on disk, and how that is known."""
    _one_of(inputs, ("tokens", "data_gb", "data"), "Say what to train on")
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
