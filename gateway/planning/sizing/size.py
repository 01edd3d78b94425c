"""`plan size`: whether a model fits, on what, how many sequences at once, and how fast it could be at best."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from gateway.planning.contract import (
    Answer,
    Assumption,
    Column,
    Context,
    Inputs,
    Line,
    PlanError,
    Plot,
    Table,
    Tool,
    asked,
)
from gateway.planning.sizing.architecture import BITS, Precision
from gateway.planning.sizing.calibration import Calibration, read_calibration
from gateway.planning.sizing.gpus import Gpu, gpu, gpus
from gateway.planning.sizing.memory import (
    CARDS,
    CHUNK,
    RUNTIME,
    UTIL,
    Fit,
    Serving,
    fit,
    limit_of,
    plan_memory,
    smallest_fit,
    told_misfit,
)
from gateway.planning.sizing.memory_lines import fit_lines, gib_line, memory_lines, model_lines
from gateway.planning.sizing.memory_tables import (
    cards_table,
    cards_text,
    memory_plot,
    precisions_table,
    sequences,
)
from gateway.planning.sizing.models import Model, from_config, model, rule_of_thumb
from gateway.planning.sizing.performance import MBU_SOURCE, MFU_SOURCE, SERVING_SOURCE
from gateway.planning.sizing.speed import Request, efficiency_of, speed_of
from gateway.planning.units import Bytes

_EDGE = (
    "max_conc is an upper bound: against published measurements of 8 models on 1 to 8 A100-80, expect 0.4 to 1.0 of it"
    " near the edge of memory."
)


class SizeInputs(Inputs, frozen=True):
    model: Annotated[str | None, asked("the model, by its name in the catalogue or Hugging Face id")] = None
    config: Annotated[str | None, asked("a model's config.json from Hugging Face, instead of model")] = None
    params: Annotated[
        float | None,
        asked("parameters, where there is nothing else: a rule of thumb", unit="parameters", ge=1e6),
    ] = None
    precision: Annotated[
        Precision,
        asked("of the weights; embeddings stay at 16 bits", source="what most models are published in"),
    ] = "fp16"
    kv_bits: Annotated[int, asked("of the KV cache: 16 or 8", unit="bits", ge=8, le=16)] = 16
    ctx: Annotated[
        int, asked("a sequence at its longest: prompt and answer", unit="tokens", ge=1, le=10_000_000)
    ] = 8192
    concurrency: Annotated[int, asked("sequences at once", unit="sequences", ge=1, le=1_000_000)] = 1
    tp: Annotated[int, asked("GPUs among which each layer is split", unit="GPUs", ge=1, le=64)] = 1
    gpu: Annotated[
        str | None, asked("the card, by its name in the catalogue; none: the smallest that does")
    ] = None
    util: Annotated[
        float,
        asked(
            "share of the card's memory that may be taken", unit="share", source="vLLM's default", gt=0, le=1
        ),
    ] = UTIL
    perf: Annotated[bool, asked("estimate the speed too, as an upper bound")] = False
    prompt_tokens: Annotated[
        int, asked("of a request, for the speed", unit="tokens", ge=1, le=10_000_000)
    ] = 1024
    output_tokens: Annotated[
        int, asked("of an answer, for the speed", unit="tokens", ge=1, le=10_000_000)
    ] = 128
    mbu: Annotated[
        float | None,
        asked(
            "share of memory bandwidth that decoding reaches; none: 0.73, or as calibrated",
            unit="share",
            source=MBU_SOURCE,
            gt=0,
            le=1,
        ),
    ] = None
    mfu: Annotated[
        float | None,
        asked(
            "share of arithmetic that reading prompts reaches; none: 0.5, or as calibrated",
            unit="share",
            source=MFU_SOURCE,
            gt=0,
            le=1,
        ),
    ] = None
    serving_eff: Annotated[
        float | None,
        asked(
            "share of the bound that online traffic reaches; none: 0.5, or as calibrated",
            unit="share",
            source=SERVING_SOURCE,
            gt=0,
            le=1,
        ),
    ] = None
    calibration: Annotated[str | None, asked("a file that `weighbridge plan calibrate` wrote")] = None


def plan(inputs: SizeInputs, context: Context) -> Answer:
    """Raises PlanError for what is not known, cannot be split or cannot be counted; what does not fit is an answer."""
    given = [name for name in ("model", "config", "params") if getattr(inputs, name) is not None]
    if len(given) != 1:
        told = f"{' and '.join(given)} are too many: give one" if given else "Say which model"
        raise PlanError(
            f"{told}. By name (model), by its config.json (config) or, as a rule of thumb, by its parameters (params).",
            param=given[1] if given else "model",
        )
    if inputs.params is not None:
        return _rule_of_thumb(inputs, inputs.params)
    chosen = model(inputs.model) if inputs.model is not None else from_config(context.files["config"])
    serving = Serving(
        architecture=chosen.architecture,
        precision=inputs.precision,
        kv_bits=inputs.kv_bits,
        ctx=inputs.ctx,
        concurrency=inputs.concurrency,
        tp=inputs.tp,
    )
    card = gpu(inputs.gpu) if inputs.gpu is not None else None
    found = fit(serving, card.vram, util=inputs.util) if card else None
    smallest = smallest_fit(serving, util=inputs.util)
    answer = Answer(
        tool="size",
        headline=_headline(chosen, serving, card, found, smallest, inputs.util),
        lines=[
            *memory_lines(serving),
            *model_lines(chosen, serving),
            *fit_lines(card, found, inputs.util),
        ],
        tables=[cards_table(serving, inputs.util), precisions_table(serving, card, inputs.util)],
        assumptions=_assumptions(chosen, card),
        warnings=[*chosen.notes, *_warnings(chosen, serving)],
        plot=_plot(chosen, serving, card, smallest, inputs.util),
    )
    on = (card, found) if card and found else smallest
    return _with_speed(inputs, context, answer, on) if inputs.perf else answer


def _with_speed(inputs: SizeInputs, context: Context, answer: Answer, on: tuple[Gpu, Fit] | None) -> Answer:
    if on is None or not on[1].is_fit:
        raise PlanError(
            f"There is no speed to estimate where the model does not fit. {answer.headline}", param="perf"
        )
    card, found = on
    calibration = read_calibration(context.files["calibration"]) if inputs.calibration is not None else None
    efficiency, assumptions = efficiency_of(inputs.mbu, inputs.mfu, inputs.serving_eff, calibration)
    request = Request(prompt=inputs.prompt_tokens, output=inputs.output_tokens)
    extra = speed_of(found, card, request, efficiency)
    return msgspec.structs.replace(
        answer,
        headline=f"{answer.headline} {extra.headline}",
        lines=[*answer.lines, *extra.lines],
        tables=[*extra.tables, *answer.tables],
        assumptions=[*answer.assumptions, *assumptions, *extra.assumptions],
        warnings=[*answer.warnings, *extra.warnings, *_of_another(calibration, found.serving, card)],
        plot=extra.plot,
    )


def _of_another(calibration: Calibration | None, serving: Serving, card: Gpu) -> Sequence[str]:
    if calibration is None:
        return []
    measured = (gpu(calibration.gpu).name, calibration.tp, calibration.precision)
    if measured == (card.name, serving.tp, serving.precision):
        return []
    return [
        (
            f"The calibration was measured on {calibration.tp} x {measured[0]} in {calibration.precision}: on {serving.tp} x"
            f" {card.name} in {serving.precision} the shares may be others."
        )
    ]


def _headline(
    chosen: Model,
    serving: Serving,
    card: Gpu | None,
    found: Fit | None,
    smallest: tuple[Gpu, Fit] | None,
    util: float,
) -> str:
    what = (
        f"{chosen.name} in {serving.precision} with {sequences(serving.concurrency)} of {serving.ctx:,} tokens takes"
        f" {plan_memory(serving).total.gib:,.2f} GiB"
    )
    if card and found:
        if not found.is_fit:
            told = told_misfit(found, card.vram, util=util, called=card.name, name=chosen.name)
            other = f" The smallest that does is {cards_text(*smallest)}." if smallest else ""
            return f"{told}{other}"
        return (
            f"{what}: it fits on {serving.tp} x {card.name} ({found.limit.gib:,.2f} GiB), and"
            f" {sequences(found.max_concurrency)} would at most."
        )
    if smallest is None:
        return f"{what}: more than 8 of any card in the catalogue give."
    card, found = smallest
    there = f" ({found.memory.total.gib:,.2f} GiB there)" if found.serving.tp != serving.tp else ""
    most = sequences(found.max_concurrency)
    return f"{what}: {cards_text(card, found)} is the smallest that fits{there}, with at most {most}."


def _plot(
    chosen: Model, serving: Serving, card: Gpu | None, smallest: tuple[Gpu, Fit] | None, util: float
) -> Plot:
    if card is None and smallest is not None:
        return memory_plot(chosen, smallest[1].serving, smallest[0], util)
    return memory_plot(chosen, serving, card, util)


def _assumptions(chosen: Model, card: Gpu | None) -> Sequence[Assumption]:
    """Without days: configurations and data sheets do not drift, as prices do."""
    made = [
        Assumption(
            name="configuration",
            value=chosen.name,
            origin="catalogue" if chosen.as_of else "given",
            source=chosen.source,
        ),
        Assumption(
            name="runtime",
            value=RUNTIME.gib,
            unit="GiB/GPU",
            origin="default",
            source="driver context, kernels and graphs of vLLM and SGLang, roughly",
        ),
        Assumption(
            name="chunk",
            value=CHUNK,
            unit="tokens",
            origin="default",
            source="tokens of prompts per step: vLLM's default for chunked prefill",
        ),
    ]
    if card:
        made.append(
            Assumption(
                name=f"memory of {card.name}",
                value=round(card.vram.gib, 2),
                unit="GiB",
                origin="catalogue",
                source=f"as its driver reports it; {card.source}",
            )
        )
    return made


def _warnings(chosen: Model, serving: Serving) -> Sequence[str]:
    architecture, warnings = chosen.architecture, [_EDGE]
    if architecture.context_limit and serving.ctx > architecture.context_limit:
        warnings.append(
            f"{chosen.name} was made for {architecture.context_limit:,} tokens; {serving.ctx:,} need scaled positions,"
            " and an engine refuses them unless told otherwise."
        )
    if architecture.windowed_layers:
        warnings.append(
            f"{architecture.windowed_layers} of {architecture.layers} layers look back {architecture.window:,} tokens;"
            " the estimate has an engine that frees what is older (vLLM, SGLang, llama.cpp do)."
        )
    if serving.tp > architecture.kv_heads and not architecture.latent:
        warnings.append(
            f"{serving.tp} GPUs share {architecture.kv_heads} KV heads: each holds one, so copies are kept."
        )
    return warnings


def _rule_of_thumb(inputs: SizeInputs, params: float) -> Answer:
    if inputs.perf:
        raise PlanError("Parameters alone tell no speed: give the model or its config.json.", param="perf")
    total = rule_of_thumb(params, inputs.precision)
    found = [(card, _cards_for(total, card, inputs.util)) for card in gpus()]
    fitting = sorted(((card, tp) for card, tp in found if tp), key=lambda pair: pair[1])
    bits = BITS[inputs.precision]
    smallest = f" {fitting[0][1]} x {fitting[0][0].name} would be the smallest." if fitting else ""
    return Answer(
        tool="size",
        headline=f"{params:,.0f} parameters in {inputs.precision} take about {total.gib:,.1f} GiB by a rule of thumb."
        + smallest,
        lines=[
            Line(key="params", label="parameters", value=params),
            gib_line(
                "total_gib",
                "total (rule of thumb, ignores context)",
                total.gib,
                "N bits/8 x 1.2",
                f"{params:,.0f} x {bits:g}/8 x 1.2 = {total.gib:,.3f} GiB",
                "",
            ),
        ],
        tables=[
            Table(
                key="cards",
                title="Fewest cards of each kind that hold so much, by the same rule",
                columns=[
                    Column(key="gpu", label="GPU"),
                    Column(key="vram_gib", label="memory", unit="GiB"),
                    Column(key="tp", label="cards"),
                ],
                rows=[
                    {"gpu": card.name, "vram_gib": round(card.vram.gib, 2), "tp": tp} for card, tp in fitting
                ],
            )
        ],
        warnings=[
            (
                "A rule of thumb: 1.2 stands for cache and overhead, and knows neither context nor sequences. Give the model"
                " or its config.json for numbers."
            )
        ],
    )


def _cards_for(total: Bytes, card: Gpu, util: float) -> int | None:
    return next((tp for tp in CARDS if total <= limit_of(card.vram, tp=tp, util=util)), None)


TOOL = Tool(
    name="size",
    help="Whether a model fits, on which GPUs, how many sequences at once, and how fast at best.",
    inputs=SizeInputs,
    plan=plan,
    examples=(
        "--model llama-3-8b --precision fp16 --ctx 8192 --concurrency 1",
        "--model qwen3-30b-a3b --gpu h100 --concurrency 32 --explain",
        "--model llama-3.1-70b --precision int4 --gpu a100-80 --perf --concurrency 8",
        "--params 9e9",
    ),
    files=("config", "calibration"),
)
