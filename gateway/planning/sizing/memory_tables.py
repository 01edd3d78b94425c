"""The tables and the diagram that `plan size` shows of memory: card by card, and precision by precision."""

from collections.abc import Mapping, Sequence
from typing import get_args

from gateway.planning.contract import Cell, Column, Mark, Plot, Series, Table
from gateway.planning.sizing.architecture import BITS, Precision
from gateway.planning.sizing.gpus import Gpu, gpus
from gateway.planning.sizing.memory import (
    CARDS,
    Fit,
    Memory,
    Serving,
    fewest_cards,
    limit_of,
    max_concurrency,
    plan_memory,
    smallest_fit,
)
from gateway.planning.sizing.memory_lines import PARTS
from gateway.planning.sizing.models import Model


def cards_table(serving: Serving, util: float) -> Table:
    """Fewest cards of each kind, in the order in which one would look at them."""
    found = [(card, fewest_cards(serving, card.vram, util=util)) for card in gpus()]
    ordered = sorted(found, key=lambda pair: (pair[1] is None, pair[1].serving.tp if pair[1] else 0))
    return Table(
        key="cards",
        title=f"Fewest cards of each kind, up to {CARDS[-1]}, split by layer widths",
        columns=[
            Column(key="gpu", label="GPU"),
            Column(key="vram_gib", label="memory", unit="GiB"),
            Column(key="tp", label="cards"),
            Column(key="total_gib", label="taken", unit="GiB"),
            Column(key="limit_gib", label="may be taken", unit="GiB"),
            Column(key="headroom_gib", label="left over", unit="GiB"),
            Column(key="max_conc", label="most sequences"),
        ],
        rows=[_card_row(card, best) for card, best in ordered],
    )


def _card_row(card: Gpu, best: Fit | None) -> Mapping[str, Cell]:
    row: dict[str, Cell] = {"gpu": card.name, "vram_gib": round(card.vram.gib, 2)}
    if best is None:
        return row
    return row | {
        "tp": best.serving.tp,
        "total_gib": round(best.memory.total.gib, 2),
        "limit_gib": round(best.limit.gib, 2),
        "headroom_gib": round(best.headroom.gib, 2),
        "max_conc": best.max_concurrency,
    }


def precisions_table(serving: Serving, card: Gpu | None, util: float) -> Table:
    on_card = [Column(key="max_conc", label=f"most sequences on {serving.tp} x {card.name}")] if card else []
    rows = []
    for precision in _distinct():
        other = serving.but(precision=precision)
        smallest = smallest_fit(other, util=util)
        row: dict[str, Cell] = {
            "precision": precision,
            "bits": round(BITS[precision], 3),
            "weights_gib": round(plan_memory(other).weights.gib, 2),
            "total_gib": round(plan_memory(other).total.gib, 2),
            "smallest": cards_text(*smallest) if smallest else None,
        }
        if card:
            row["max_conc"] = max_concurrency(other, limit_of(card.vram, tp=serving.tp, util=util))
        rows.append(row)
    return Table(
        key="precisions",
        title="What another precision of the weights changes (bf16 as fp16, fp8 as int8)",
        columns=[
            Column(key="precision", label="precision"),
            Column(key="bits", label="bits"),
            Column(key="weights_gib", label="weights", unit="GiB"),
            Column(key="total_gib", label="total", unit="GiB"),
            Column(key="smallest", label="smallest that fits"),
            *on_card,
        ],
        rows=rows,
    )


def memory_plot(chosen: Model, serving: Serving, card: Gpu | None, util: float) -> Plot:
    """Memory by part, in each precision, with what the card gives."""
    names = _distinct()
    memories = [plan_memory(serving.but(precision=name)) for name in names]
    marks = []
    if card:
        limit = limit_of(card.vram, tp=serving.tp, util=util).gib
        marks.append(Mark(text=f"{serving.tp} x {card.name}: {limit:,.1f} GiB", y=limit))
    return Plot(
        title=f"Memory of {chosen.name}: {sequences(serving.concurrency)} of {serving.ctx:,} tokens",
        x_label="precision of the weights",
        y_label="GiB",
        kind="bars",
        series=[Series(label=label, x=names, y=_part(memories, name)) for name, label in PARTS.items()],
        marks=marks,
    )


def _part(memories: Sequence[Memory], name: str) -> Sequence[float]:
    return [getattr(memory, name).gib for memory in memories]


def cards_text(card: Gpu, found: Fit) -> str:
    return f"{found.serving.tp} x {card.name}"


def sequences(many: int) -> str:
    return f"{many:,} sequence{'' if many == 1 else 's'}"


def _distinct() -> Sequence[Precision]:
    """One name for each number of bits."""
    names: Sequence[Precision] = get_args(Precision)
    return [name for name in names if name not in ("bf16", "fp8")]
