"""How fast a GPU could serve a model at best: the roofline of its memory and of its arithmetic.

Every number is an upper bound for a share of the data sheet's speeds that engines reach (MBU of bandwidth, MFU of
arithmetic). Measure them on your own hardware with `calibrated`.
"""

from collections.abc import Sequence

import msgspec

from gateway.planning.contract import PlanError
from gateway.planning.sizing.architecture import Precision
from gateway.planning.sizing.gpus import Gpu
from gateway.planning.sizing.memory import Serving
from gateway.planning.units import Bytes, BytesPerSecond, Flops, FlopsPerSecond, Seconds, TokensPerSecond

MBU = 0.73
MFU = 0.5
SERVING_EFFICIENCY = 0.5
MBU_SOURCE = "fitted to a published vLLM 0.23 sweep: Llama-3.1-8B bf16, A100-40, 1,024 in and 128 out, 75 tokens/s at 1"
MFU_SOURCE = "usual for prompts of 1,000 tokens and more"
SERVING_SOURCE = (
    "published online benchmarks reach 0.3 to 0.7 of the bound for 32 at once (vLLM 0.5.4, A100-80, H100)"
)


class Efficiency(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of what is printed on the box, above 0 and up to 1."""

    mbu: float = MBU
    """Of memory bandwidth, while tokens are decoded."""
    mfu: float = MFU
    """Of dense arithmetic, while prompts are read."""
    serving: float = SERVING_EFFICIENCY
    """Of decoding's bound, that real requests see: they come unevenly, and differ in length."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Of so many sequences at once, that are all decoding."""

    concurrency: int
    step: Seconds
    """For one token of each sequence."""
    decode: TokensPerSecond
    """Of all sequences together, once prompts have been read."""
    whole: TokensPerSecond
    """The same where each answer waits for its prompt: what counts where prompts are long and answers short."""
    served: TokensPerSecond
    """Of real traffic: the serving share of decoding's bound, and no more than `whole`."""
    request: Seconds
    """From its prompt to its last token, if prompts of all sequences are read first."""
    is_memory_bound: bool


def prefill_time(serving: Serving, tokens: int, card: Gpu, mfu: float = MFU) -> Seconds:
    """(2 N_mm T + 2 L n_q d T^2) / (FLOP/s x tp x MFU): for one prompt, alone."""
    return (arithmetic(card, serving.precision) * serving.tp * mfu).time_of(
        serving.architecture.prefill_work(tokens)
    )


def bytes_per_step(serving: Serving, batch: int, ctx: int) -> Bytes:
    """What a step reads: the weights but for the lookup, experts that `batch` tokens touch, and the cache of each.

    Experts are taken to be hit evenly, so that 1 - (1 - k/E)^B of them are touched.
    """
    architecture = serving.architecture
    experts = architecture.expert_weights(serving.precision)
    untouched = (1 - architecture.experts_per_token / architecture.experts) ** batch
    weights = (
        architecture.weights(serving.precision)
        - architecture.lookup_weights(serving.precision)
        - experts * untouched
    )
    return weights + architecture.kv(ctx, serving.kv_bits, serving.tp) * batch


def decode_step(serving: Serving, batch: int, ctx: int, card: Gpu, efficiency: Efficiency) -> Seconds:
    """max(bytes / (bandwidth tp MBU), 2 N_mm B / (FLOP/s tp MFU)), for one token of each of `batch` sequences."""
    return max(_memory_and_arithmetic(serving, batch, ctx, card, efficiency))


def speed(serving: Serving, card: Gpu, *, prompt: int, output: int, efficiency: Efficiency) -> Speed:
    """Of `serving.concurrency` sequences that are, on average, halfway through their answers."""
    batch, ctx = serving.concurrency, prompt + output // 2
    by_memory, by_compute = _memory_and_arithmetic(serving, batch, ctx, card, efficiency)
    step = max(by_memory, by_compute)
    request = prefill_time(serving, prompt, card, efficiency.mfu) * batch + step * output
    decode, whole = TokensPerSecond(batch / step.value), TokensPerSecond(batch * output / request.value)
    return Speed(
        concurrency=batch,
        step=step,
        decode=decode,
        whole=whole,
        served=min(decode * efficiency.serving, whole),
        request=request,
        is_memory_bound=by_memory >= by_compute,
    )


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a running worker did, asked by one client."""

    short_prompt: int
    """Tokens; prompts must differ, or its prefix cache is measured."""
    short_first_token: Seconds
    long_prompt: int
    long_first_token: Seconds
    decode_prompt: int
    decode_output: int
    decode_alone: TokensPerSecond
    """One request at a time, from its first token on."""
    decode_together: TokensPerSecond
    """`together` requests at once: all their tokens, from the first request to the last token."""
    together: int


def calibrated(serving: Serving, card: Gpu, measured: Measured) -> Efficiency:
    """The efficiency that gives these measurements; raises PlanError where the hardware could not have given them.

    MBU from one sequence's decoding, MFU from how much longer a long prompt takes than a short one (so that what both
    wait for falls out), and the serving share from several that decode at once.
    """
    ctx = measured.decode_prompt + measured.decode_output // 2
    mbu = (
        bytes_per_step(serving, 1, ctx).value
        * measured.decode_alone.value
        / (card.bandwidth * serving.tp).value
    )
    mfu = _mfu(serving, card, measured)
    _refuse_impossible("decodes one sequence", "MBU", mbu)
    _refuse_impossible("reads prompts", "MFU", mfu)
    bound = speed(
        serving.but(concurrency=measured.together),
        card,
        prompt=measured.decode_prompt,
        output=measured.decode_output,
        efficiency=Efficiency(mbu=mbu, mfu=mfu),
    )
    return Efficiency(mbu=mbu, mfu=mfu, serving=min(1.0, measured.decode_together / bound.decode))


def concurrencies(most: int, asked: int) -> Sequence[int]:
    """1, 2, 4, ... up to what fits, with that and what was asked for among them."""
    doubled = [1 << power for power in range(most.bit_length())]
    return sorted({*(many for many in doubled if many <= most), most, asked} - {0})


def _mfu(serving: Serving, card: Gpu, measured: Measured) -> float:
    longer = measured.long_first_token - measured.short_first_token
    if longer <= Seconds(0):
        raise PlanError(
            f"A prompt of {measured.long_prompt:,} tokens took no longer than one of {measured.short_prompt:,}: its"
            " prefix was cached, or it is too short to tell. Use longer prompts."
        )
    architecture = serving.architecture
    work = architecture.prefill_work(measured.long_prompt) - architecture.prefill_work(measured.short_prompt)
    return (arithmetic(card, serving.precision) * serving.tp).time_of(work) / longer


def _refuse_impossible(does: str, name: str, share: float) -> None:
    if not 0 < share <= 1:
        raise PlanError(
            f"The worker {does} at {share:.0%} of what the hardware can ({name}): the model, its precision, the GPU or"
            " tp must be another than was said, or something was cached or speculated."
        )


def _memory_and_arithmetic(
    serving: Serving, batch: int, ctx: int, card: Gpu, efficiency: Efficiency
) -> tuple[Seconds, Seconds]:
    bandwidth: BytesPerSecond = card.bandwidth * serving.tp * efficiency.mbu
    compute = arithmetic(card, serving.precision) * serving.tp * efficiency.mfu
    work = Flops(2 * serving.architecture.counts.matmul_active * batch)
    return bandwidth.time_of(bytes_per_step(serving, batch, ctx)), compute.time_of(work)


def arithmetic(card: Gpu, precision: Precision) -> FlopsPerSecond:
    """Weights of 8 bits and fewer are multiplied in 16, but for fp8 where there are units for it."""
    if precision == "fp8" and card.fp8 is not None:
        return card.fp8
    return card.fp16 / 2 if precision == "fp32" else card.fp16
