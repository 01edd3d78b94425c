"""The numbers that `plan size` tells of memory, each with its formula."""

from collections.abc import Mapping, Sequence

from gateway.planning.contract import Line
from gateway.planning.sizing.architecture import BITS
from gateway.planning.sizing.gpus import Gpu
from gateway.planning.sizing.memory import CHUNK, RUNTIME, Fit, Serving, plan_memory
from gateway.planning.sizing.models import Model

PARTS = {
    "weights": "weights",
    "kv": "KV cache",
    "runtime": "runtime",
    "activations": "activations",
    "logits": "logits",
}


def memory_lines(serving: Serving) -> Sequence[Line]:
    architecture, counts, bits = serving.architecture, serving.architecture.counts, BITS[serving.precision]
    memory = plan_memory(serving)
    tp, many = serving.tp, serving.concurrency
    blocks = -(-serving.ctx // 16) * 16
    per_token = architecture.kv_per_token(serving.kv_bits, tp).value
    kv_numbers = f"{per_token:,.0f} B x {blocks:,} x {many:,}"
    if architecture.windowed_layers:
        kv_numbers = f"{serving.kv_per_sequence.value:,.0f} B x {many:,}"
    weights = ("N_total bits/8", f"{counts.total:,} x {bits:g}/8")
    if bits < 16:
        weights = (
            "(N_total - N_emb) bits/8 + 2 N_emb",
            f"({counts.total:,} - {counts.embedding:,}) x {bits:g}/8 + 2 x {counts.embedding:,}",
        )
    formulas: Mapping[str, tuple[str, str]] = {
        "weights": weights,
        "kv": (_kv_formula(serving), kv_numbers),
        "runtime": ("tp x 1 GiB", f"{tp} x {RUNTIME.gib:g} GiB"),
        "activations": ("tp x 34 h chunk", f"{tp} x 34 x {architecture.hidden:,} x {CHUNK:,} B"),
        "logits": ("tp x 4 V concurrency", f"{tp} x 4 x {architecture.vocab:,} x {many:,} B"),
    }
    parts = {name: getattr(memory, name).gib for name in PARTS}
    lines = [
        gib_line(
            f"{name}_gib",
            label,
            parts[name],
            formulas[name][0],
            f"{formulas[name][1]} = {parts[name]:,.3f} GiB",
        )
        for name, label in PARTS.items()
    ]
    told = " + ".join(f"{part:,.3f}" for part in parts.values())
    lines.append(
        gib_line(
            "total_gib",
            "total",
            memory.total.gib,
            " + ".join(PARTS.values()),
            f"{told} = {memory.total.gib:,.3f} GiB",
        )
    )
    return lines


def _kv_formula(serving: Serving) -> str:
    if serving.architecture.windowed_layers:
        return "sum over layers of kv/token and layer x min(ceil16(ctx), window) x concurrency"
    return "kv/token x ceil16(ctx) x concurrency"


def gib_line(key: str, label: str, value: float, formula: str, numbers: str, group: str = "Memory") -> Line:
    return Line(key=key, label=label, value=value, unit="GiB", formula=formula, numbers=numbers, group=group)


def model_lines(chosen: Model, serving: Serving) -> Sequence[Line]:
    architecture, counts = chosen.architecture, chosen.architecture.counts
    layers, bits = architecture.layers, serving.kv_bits
    per_token = architecture.kv_per_token(bits, serving.tp).value
    heads = max(architecture.kv_heads, serving.tp)
    formula = "2 L max(n_kv, tp) d kv_bits/8"
    numbers = f"2 x {layers} x {heads} x {architecture.head_dim} x {bits}/8 = {per_token:,.0f} B"
    if architecture.latent:
        width = architecture.latent.kv_rank + architecture.latent.rope_dim
        formula = "L tp (latent rank + rope) kv_bits/8"
        numbers = f"{layers} x {serving.tp} x {width} x {bits}/8 = {per_token:,.0f} B"
    of_model = [
        ("params", "parameters", counts.total, ""),
        ("active_params", "parameters a token goes through", counts.active, ""),
    ]
    return [
        *(
            Line(key=key, label=label, value=value, unit=unit, group=chosen.name)
            for key, label, value, unit in of_model
        ),
        Line(
            key="kv_per_token_bytes",
            label="KV cache of a token",
            value=per_token,
            unit="B",
            formula=formula,
            numbers=numbers,
            group=chosen.name,
        ),
    ]


def fit_lines(card: Gpu | None, found: Fit | None, util: float) -> Sequence[Line]:
    if card is None or found is None:
        return []
    tp, limit, total = found.serving.tp, found.limit.gib, found.memory.total.gib
    group = f"On {tp} x {card.name}"
    return [
        gib_line(
            "limit_gib",
            "may be taken",
            limit,
            "tp VRAM util",
            f"{tp} x {card.vram.gib:g} x {util:g} = {limit:,.3f} GiB",
            group,
        ),
        gib_line(
            "headroom_gib",
            "left over",
            found.headroom.gib,
            "limit - total",
            f"{limit:,.3f} - {total:,.3f} = {found.headroom.gib:,.3f} GiB",
            group,
        ),
        Line(key="fits", label="fits", value=found.is_fit, group=group),
        Line(
            key="max_conc",
            label="most sequences at once (upper bound)",
            value=found.max_concurrency,
            unit="sequences",
            formula="floor((tp VRAM util - weights - tp (1 GiB + 34 h chunk)) / (kv/token ceil16(ctx) + 4 V tp))",
            numbers=_max_conc_numbers(found),
            group=group,
        ),
    ]


def _max_conc_numbers(found: Fit) -> str:
    memory, serving = found.memory, found.serving
    fixed = (memory.weights + memory.runtime + memory.activations).gib
    each = ((memory.kv + memory.logits) / serving.concurrency).gib
    return f"floor(({found.limit.gib:,.3f} - {fixed:,.3f}) / {each:,.4f}) = {found.max_concurrency:,}"
