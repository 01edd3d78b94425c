"""What training takes: memory by part, GPUs, work, money, and the parameters of an adapter. Formulas over numbers."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from gateway.planning.contract import PlanError
from gateway.planning.sizing.architecture import BITS, Architecture
from gateway.planning.units import Bytes, Flops, FlopsPerSecond, Hours, Money, Tokens, total

Method = Literal["full", "lora", "qlora"]
METHODS: Sequence[Method] = ("full", "lora", "qlora")
StateBytes = Literal["16", "18", "20"]
Target = Literal["q", "k", "v", "o", "qkv", "gate", "up", "down", "gate_up"]

RUNTIME = Bytes.of_gib(1.0)
"""Per GPU: driver context, kernels, communication."""
GRADIENT_BYTES: Mapping[StateBytes, int] = {"16": 2, "18": 4, "20": 6}
"""Of a trained parameter: in 16 bits, in 32, or in both."""
GPU_COUNTS = (*range(1, 9), *range(16, 65, 8))
"""GPUs in one server, then whole servers of 8."""
_WEIGHT_BYTES = 2
_OPTIMISER_BYTES = 12
_LAYER_BYTES = 34
_LOGIT_BYTES = 8


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """A way to train a model of `parameters`; without its architecture activations are unknown and count as nothing."""

    parameters: float
    architecture: Architecture | None = None
    method: Method = "full"
    adapter: int = 0
    """Parameters of the adapter, for LoRA and QLoRA."""
    state_bytes: StateBytes = "16"
    sequence: int = 2048
    """Tokens of one example."""
    batch: int = 1
    """Examples that one GPU works on at once."""
    is_checkpointed: bool = False
    """Activations are computed again for the backward pass, but for each layer's input."""

    @property
    def trained(self) -> float:
        return self.parameters if self.method == "full" else self.adapter

    @property
    def factor(self) -> int:
        """FLOPs per parameter and token: 2 forward, 2 for the gradient of what came in, 2 for that of the weights,
        which frozen ones do without, and 2 to compute activations again."""
        return (6 if self.method == "full" else 4) + (2 if self.is_checkpointed else 0)


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The first three are shared out among the GPUs (ZeRO-3, FSDP); the others each GPU has whole."""

    weights: Bytes
    gradients: Bytes
    optimiser: Bytes
    activations: Bytes
    logits: Bytes

    @property
    def states(self) -> Bytes:
        return self.weights + self.gradients + self.optimiser

    def per_gpu(self, gpus: int) -> Bytes:
        return self.states / gpus + self.activations + self.logits + RUNTIME


def memory_of(training: Training) -> Memory:
    """Weights 2 N (in nf4: 4.127 bits, embeddings and head 16), gradients 2, 4 or 6 and Adam 12 bytes for each trained
    parameter, which for an adapter has 2 of its own besides: 16, 18 or 20 N in all for full training.

    Adam keeps a 32-bit copy and two moments (Rajbhandari et al., ZeRO, 2020). A layer leaves 34 s b h bytes of
    activations for the backward pass, attention scores aside, which fused attention never writes; with checkpointing
    2 s b h (Korthikanti et al., 2022). Logits and their gradient stand in 32 bits.
    """
    trained = training.trained
    frozen = Bytes(0) if training.method == "full" else _frozen(training)
    return Memory(
        weights=frozen + Bytes(_WEIGHT_BYTES * trained),
        gradients=Bytes(GRADIENT_BYTES[training.state_bytes] * trained),
        optimiser=Bytes(_OPTIMISER_BYTES * trained),
        activations=_activations(training),
        logits=_logits(training),
    )


def work_of(training: Training, tokens: Tokens, *, epochs: float = 1) -> Flops:
    """c N tokens epochs, with N what one token goes through. Attention is left out: some per cent, more for long examples."""
    active = training.architecture.counts.active if training.architecture else training.parameters
    return Flops(training.factor * active * tokens.value * epochs)


def adapter_parameters(architecture: Architecture, rank: int, targets: Sequence[Target]) -> int:
    """Of LoRA: r (d_in + d_out) for each matrix it stands beside, in each layer and each expert.

    Raises PlanError for matrices that the model does not have.
    """
    if architecture.latent and any(target in ("q", "k", "v", "qkv") for target in targets):
        raise PlanError(
            "This model's attention is compressed (MLA) and has no q, k or v matrix; o, gate, up and down can be counted.",
            param="targets",
        )
    if not architecture.is_gated and any(target in ("gate", "gate_up") for target in targets):
        raise PlanError("This model's feed-forward network has no gate; up and down it has.", param="targets")
    return rank * sum(_widths(architecture, target) for target in dict.fromkeys(targets))


def _widths(architecture: Architecture, target: Target) -> int:
    """d_in + d_out, summed over the layers."""
    hidden, layers = architecture.hidden, architecture.layers
    queries, keys = architecture.heads * architecture.head_dim, architecture.kv_heads * architecture.head_dim
    if architecture.latent:
        queries = architecture.heads * architecture.latent.value_dim
    attention = {"q": hidden + queries, "k": hidden + keys, "v": hidden + keys, "o": queries + hidden}
    attention["qkv"] = hidden + queries + 2 * keys
    if target in attention:
        return layers * attention[target]
    fused = 2 if target == "gate_up" else 1
    experts = layers - architecture.dense_layers if architecture.experts > 1 else 0
    dense = (layers - experts) * (hidden + fused * architecture.ffn)
    each = hidden + fused * (architecture.expert_ffn or architecture.ffn)
    shared = hidden + fused * architecture.shared_ffn if architecture.shared_ffn else 0
    return dense + experts * (architecture.experts * each + shared)


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
    return next((count for count in GPU_COUNTS if memory.per_gpu(count) <= vram * util), None)


def _frozen(training: Training) -> Bytes:
    if training.method == "lora":
        return Bytes(_WEIGHT_BYTES * training.parameters)
    if training.architecture:
        return training.architecture.weights("nf4")
    return Bytes(training.parameters * BITS["nf4"] / 8)


def _activations(training: Training) -> Bytes:
    if training.architecture is None:
        return Bytes(0)
    one = training.sequence * training.batch * training.architecture.hidden
    layers = training.architecture.layers
    return Bytes(one * (2 * layers + _LAYER_BYTES if training.is_checkpointed else _LAYER_BYTES * layers))


def _logits(training: Training) -> Bytes:
    vocab = training.architecture.vocab if training.architecture else 0
    return Bytes(_LOGIT_BYTES * training.sequence * training.batch * vocab)
