"""The speed that `plan size --perf` tells: lines with formulas, throughput against sequences, and what it rests on."""

from collections.abc import Sequence

import msgspec

from gateway.planning.contract import Answer, Assumption, Column, Line, Mark, PlanError, Plot, Series, Table
from gateway.planning.sizing.calibration import Calibration
from gateway.planning.sizing.gpus import Gpu
from gateway.planning.sizing.memory import Fit, Serving
from gateway.planning.sizing.performance import (
    MBU_SOURCE,
    MFU_SOURCE,
    SERVING_SOURCE,
    Efficiency,
    Speed,
    arithmetic,
    bytes_per_step,
    concurrencies,
    prefill_time,
    speed,
)

_UPPER = (
    "Speeds are upper bounds from data sheets: no kernel, scheduler or network is in them. Nothing here was measured on"
    " your hardware; `weighbridge plan calibrate` does that."
)
_HOST = (
    "With hundreds at once, or on several cards, the host and not the GPU may be the limit: of the bound, published"
    " servers (vLLM 0.5.4 of 2024) reached 0.16 to 0.89 on one card and 0.02 to 0.63 on eight, small models least."
)
_MANY = 64
_MOST_ROWS = 12


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Of the traffic whose speed is asked."""

    prompt: int
    output: int


def efficiency_of(
    mbu: float | None, mfu: float | None, serving_eff: float | None, calibration: Calibration | None
) -> tuple[Efficiency, Sequence[Assumption]]:
    """What was given stands before what was calibrated, and that before the defaults."""
    default = Efficiency()
    named = [
        ("mbu", mbu, calibration and calibration.mbu, default.mbu, MBU_SOURCE),
        ("mfu", mfu, calibration and calibration.mfu, default.mfu, MFU_SOURCE),
        (
            "serving_eff",
            serving_eff,
            calibration and calibration.serving_eff,
            default.serving,
            SERVING_SOURCE,
        ),
    ]
    values, assumptions = [], []
    for name, given, measured, usual, source in named:
        value = given or measured or usual
        values.append(value)
        if given is not None:
            continue
        if calibration is not None:
            source = f"measured: {calibration.model} in {calibration.precision} on {calibration.tp} x {calibration.gpu}"
        assumptions.append(
            Assumption(
                name=f"{name} used",
                value=round(value, 4),
                unit="share",
                origin="given" if calibration else "default",
                source=source,
                as_of=calibration.date if calibration else "",
            )
        )
    return Efficiency(mbu=values[0], mfu=values[1], serving=values[2]), assumptions


def speed_of(found: Fit, card: Gpu, request: Request, efficiency: Efficiency) -> Answer:
    """Raises PlanError if the request is longer than the sequences that were planned for."""
    serving = found.serving
    if request.prompt + request.output > serving.ctx:
        raise PlanError(
            f"A request of {request.prompt:,} + {request.output:,} tokens is longer than ctx, {serving.ctx:,}.",
            param="prompt_tokens",
        )
    of = speed(serving, card, prompt=request.prompt, output=request.output, efficiency=efficiency)
    rows = [
        speed(
            serving.but(concurrency=many),
            card,
            prompt=request.prompt,
            output=request.output,
            efficiency=efficiency,
        )
        for many in concurrencies(found.max_concurrency, serving.concurrency)[-_MOST_ROWS:]
    ]
    return Answer(
        tool="size",
        headline=(
            f"At best {of.decode.value:,.1f} tokens/s on {serving.tp} x {card.name}, about {of.served.value:,.1f} of real"
            " traffic."
        ),
        lines=_lines(serving, card, request, efficiency, of),
        tables=[_table(rows)],
        assumptions=[
            Assumption(
                name=f"bandwidth of {card.name}",
                value=card.bandwidth.value / 1e9,
                unit="GB/s",
                origin="catalogue",
                source=card.source,
            ),
            Assumption(
                name=f"dense arithmetic of {card.name} for {serving.precision}",
                value=arithmetic(card, serving.precision).value / 1e12,
                unit="TFLOP/s",
                origin="catalogue",
                source=card.source,
            ),
        ],
        warnings=_warnings(serving, card),
        plot=_plot(rows, serving, card, request),
    )


def _lines(
    serving: Serving, card: Gpu, request: Request, efficiency: Efficiency, of: Speed
) -> Sequence[Line]:
    group = f"Speed on {serving.tp} x {card.name} (upper bounds)"
    ctx, batch = request.prompt + request.output // 2, serving.concurrency
    prefill = prefill_time(serving, request.prompt, card, efficiency.mfu)
    work = serving.architecture.prefill_work(request.prompt)
    read = bytes_per_step(serving, batch, ctx)
    bound = "memory" if of.is_memory_bound else "arithmetic"
    peak = arithmetic(card, serving.precision).value
    return [
        Line(
            key="prefill_s",
            label=f"first token of a prompt of {request.prompt:,} tokens, alone",
            value=prefill.value,
            unit="s",
            formula="(2 N_mm T + 2 L n_q d T^2) / (FLOP/s tp MFU)",
            numbers=f"{work.value:,.4g} FLOP / ({peak:,.4g} x {serving.tp} x {efficiency.mfu:g})"
            f" = {prefill.value:,.4f} s",
            group=group,
        ),
        Line(
            key="decode_step_s",
            label=f"a token of each sequence, bound by {bound}",
            value=of.step.value,
            unit="s",
            formula="max((W_read + B ctx kv/token) / (bandwidth tp MBU), 2 N_mm B / (FLOP/s tp MFU))",
            numbers=f"max({read.gb:,.3f} GB / ({card.bandwidth.value / 1e9:,.0f} GB/s x {serving.tp} x"
            f" {efficiency.mbu:g}), 2 x {serving.architecture.counts.matmul_active:,} x {batch} /"
            f" ({peak:,.4g} x {serving.tp} x {efficiency.mfu:g})) = {of.step.value:,.5f} s",
            group=group,
        ),
        Line(
            key="decode_tok_s",
            label="decoding, all sequences",
            value=of.decode.value,
            unit="tokens/s",
            formula="B / step",
            numbers=f"{batch} / {of.step.value:,.5f} = {of.decode.value:,.1f} tokens/s",
            group=group,
        ),
        Line(
            key="whole_tok_s",
            label="the same where each answer waits for its prompt",
            value=of.whole.value,
            unit="tokens/s",
            formula="B output / (B prefill + output step)",
            numbers=f"{batch} x {request.output} / ({batch} x {prefill.value:,.4f} + {request.output} x"
            f" {of.step.value:,.5f}) = {of.whole.value:,.1f} tokens/s",
            group=group,
        ),
        Line(
            key="served_tok_s",
            label="of real traffic",
            value=of.served.value,
            unit="tokens/s",
            formula="min(decoding x serving_eff, the line above)",
            numbers=f"min({of.decode.value:,.1f} x {efficiency.serving:g}, {of.whole.value:,.1f})"
            f" = {of.served.value:,.1f} tokens/s",
            group=group,
        ),
    ]


def _table(rows: Sequence[Speed]) -> Table:
    return Table(
        key="throughput",
        title="Throughput against sequences at once, up to what fits (upper bounds)",
        columns=[
            Column(key="concurrency", label="sequences"),
            Column(key="decode_tok_s", label="decoding", unit="tokens/s"),
            Column(key="each_tok_s", label="each sequence", unit="tokens/s"),
            Column(key="whole_tok_s", label="with prompts", unit="tokens/s"),
            Column(key="served_tok_s", label="of real traffic", unit="tokens/s"),
            Column(key="request_s", label="a request", unit="s"),
            Column(key="bound", label="bound by"),
        ],
        rows=[
            {
                "concurrency": row.concurrency,
                "decode_tok_s": round(row.decode.value, 1),
                "each_tok_s": round(row.decode.value / row.concurrency, 1),
                "whole_tok_s": round(row.whole.value, 1),
                "served_tok_s": round(row.served.value, 1),
                "request_s": round(row.request.value, 3),
                "bound": "memory" if row.is_memory_bound else "arithmetic",
            }
            for row in rows
        ],
    )


def _warnings(serving: Serving, card: Gpu) -> Sequence[str]:
    warnings = [_UPPER]
    if serving.tp > 1 or serving.concurrency >= _MANY:
        warnings.append(_HOST)
    if serving.tp > 1 and "PCIe" in card.link:
        warnings.append(
            f"{card.name} talks to its neighbours over {card.link}: every layer waits for that twice, and the estimate"
            " leaves it out."
        )
    if serving.precision in ("int8", "int4", "nf4"):
        warnings.append(
            f"{serving.precision} weights are multiplied in 16 bits here. How near a kernel comes to the bound differs"
            " much: bitsandbytes' nf4 is often slower than fp16."
        )
    return warnings


def _plot(rows: Sequence[Speed], serving: Serving, card: Gpu, request: Request) -> Plot:
    at = [float(row.concurrency) for row in rows]
    return Plot(
        title=f"Tokens/s on {serving.tp} x {card.name}: {request.prompt:,} tokens in, {request.output:,} out",
        x_label="sequences at once",
        y_label="tokens/s",
        is_log_x=True,
        series=[
            Series(label="decoding, at best", x=at, y=[row.decode.value for row in rows], is_dashed=True),
            Series(label="with prompts read in between", x=at, y=[row.whole.value for row in rows]),
            Series(label="of real traffic", x=at, y=[row.served.value for row in rows]),
        ],
        marks=[Mark(text=f"{serving.concurrency:,}", x=serving.concurrency)],
    )
