"""From the logits of a batch to one token a row: penalties, filters, and a draw that only the row's own seed decides.

Everything is done for all rows at once, on the device where the logits are. A draw inverts the cumulative
distribution at one uniform number, so the same number and the same logits give the same token in any company.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.engines.transformers_engine.row import Row, Sampling

RANKED = (256, 8192)
"""How many of the likeliest tokens are sorted at first, and where these have too little mass; then it is all of them.
On one core a row of 128,256 takes 1.3 ms with the first, 18 ms with all."""


def penalise(logits: Tensor, rows: Sequence[Row]) -> None:
    """In place: repetition over prompt and answer, presence and frequency over the answer, then the bias."""
    _divide_repeated(logits, rows)
    places: list[int] = []
    tokens: list[int] = []
    amounts: list[float] = []
    for place, row in enumerate(rows):
        sampling = row.sampling
        if sampling.presence or sampling.frequency:
            places += [place] * len(row.counts)
            tokens += row.counts
            amounts += [-sampling.presence - sampling.frequency * count for count in row.counts.values()]
        if sampling.bias:
            places += [place] * len(sampling.bias)
            tokens += sampling.bias
            amounts += sampling.bias.values()
    if places:
        device = logits.device
        index = (torch.tensor(places, device=device), torch.tensor(tokens, device=device))
        logits.index_put_(index, torch.tensor(amounts, device=device, dtype=logits.dtype), accumulate=True)


def _divide_repeated(logits: Tensor, rows: Sequence[Row]) -> None:
    places: list[int] = []
    tokens: list[int] = []
    factors: list[float] = []
    for place, row in enumerate(rows):
        if row.sampling.repetition != 1:
            seen = row.counts.keys() | set(row.prompt)
            places += [place] * len(seen)
            tokens += seen
            factors += [row.sampling.repetition] * len(seen)
    if places:
        device = logits.device
        index = (torch.tensor(places, device=device), torch.tensor(tokens, device=device))
        by = torch.tensor(factors, device=device, dtype=logits.dtype)
        before = logits[index]
        logits[index] = torch.where(before > 0, before / by, before * by)


def draw(
    logits: Tensor, settings: Sequence[Sampling], uniforms: Sequence[float | None]
) -> tuple[Tensor, Tensor]:
    """Tokens, and which rows are sound: a row of NaN, or one that has no token left, is not.

    `logits` is [rows, vocabulary] in float32; `uniforms` has a number in [0, 1) for each row that is not greedy.
    """
    best = logits.max(dim=-1)
    tokens = best.indices
    for is_ranked in (False, True):
        chosen = [
            place
            for place, sampling in enumerate(settings)
            if not sampling.is_greedy and sampling.is_ranked is is_ranked
        ]
        if not chosen:
            continue
        rows = [settings[place] for place in chosen]
        part = logits if len(chosen) == len(settings) else logits[chosen]
        probabilities = torch.softmax(part / _column([row.temperature for row in rows], logits), dim=-1)
        aims = _column([uniforms[place] or 0.0 for place in chosen], logits)
        pick = _pick_ranked if is_ranked else _pick_unranked
        tokens[chosen] = pick(probabilities, rows, aims)
    return tokens, best.values.isfinite()


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(-1)


def _pick_unranked(probabilities: Tensor, rows: Sequence[Sampling], aims: Tensor) -> Tensor:
    if any(row.min_p for row in rows):
        floors = _column([row.min_p for row in rows], probabilities)
        probabilities = probabilities * (probabilities >= floors * probabilities.amax(-1, keepdim=True))
    return _invert(probabilities, aims).squeeze(-1)


def _pick_ranked(probabilities: Tensor, rows: Sequence[Sampling], aims: Tensor) -> Tensor:
    size = probabilities.shape[-1]
    tokens = torch.zeros(len(rows), dtype=torch.long, device=probabilities.device)
    left = list(range(len(rows)))
    for width in (*(width for width in RANKED if width < size), size):
        part = probabilities if len(left) == len(rows) else probabilities[left]
        values, ids = part.topk(width) if width < size else part.sort(dim=-1, descending=True)
        weights, is_open = _filtered(values, [rows[place] for place in left], size=size)
        tokens[left] = ids.gather(-1, _invert(weights, aims[left])).squeeze(-1)
        left = [place for place, is_so in zip(left, is_open.tolist(), strict=True) if is_so]
        if not left:
            break
    return tokens


def _filtered(values: Tensor, rows: Sequence[Sampling], *, size: int) -> tuple[Tensor, Tensor]:
    """Of sorted probabilities, those that top_k, top_p and min_p leave; and which rows would need more of them.

    As usual top_p is a share of what top_k left.
    """
    width = values.shape[-1]
    top_k = _column([min(row.top_k or size, size) for row in rows], values)
    kept = torch.arange(width, device=values.device) < top_k
    inside = values * kept
    # As long as top_k leaves all, the whole is 1 and need not be summed up.
    mass = torch.where(top_k < size, inside.sum(-1, keepdim=True), 1.0)
    before = inside.cumsum(-1) - inside
    kept &= before < _column([row.top_p for row in rows], values) * mass
    kept &= values >= _column([row.min_p for row in rows], values) * values[:, :1]
    kept[:, 0] = True
    is_cut = (top_k > width).squeeze(-1)
    is_within = (top_k < size).squeeze(-1)
    is_open = is_cut & (kept[:, -1] | is_within) if width < size else torch.zeros_like(is_cut)
    return values * kept, is_open


def _invert(weights: Tensor, aims: Tensor) -> Tensor:
    """Of each row the first place where the running sum passes its share `aims` of the whole."""
    sums = weights.cumsum(-1)
    total = sums[:, -1:]
    aims = torch.minimum(aims * total, torch.nextafter(total, torch.zeros_like(total)))
    places = torch.searchsorted(sums, aims, right=True).clamp_(max=weights.shape[-1] - 1)
    # A parallel sum rounds, and can point at a neighbour that has no weight.
    return torch.where(weights.gather(-1, places) > 0, places, weights.argmax(-1, keepdim=True))
