"""The card of an artefact: what it is for, what it was made of, what was measured, and where it ends. As Markdown."""

import math
from collections.abc import Mapping, Sequence

import msgspec

from gateway.scoring.artefact import Manifest
from gateway.scoring.training.held_out import SAMPLE, Calibrated, Row


class Data(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    prompts: int | None
    """None: they are not at hand."""
    what: str
    licence: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the card says beside what every card says."""

    manifest: Manifest
    data: Sequence[Data]
    rows: Sequence[Row]
    how_held: str
    """How prompts were kept aside for `rows`."""
    heads: Sequence[Calibrated]
    how_heads: str
    limits: Sequence[str]
    diagrams: Mapping[str, str] = {}
    """File to what it shows."""
    more: Sequence[str] = ()
    """Further paragraphs on what was measured."""


_FOR = """\
It predicts, for every model that could answer a prompt, how likely its answer is good, and how much a strong model would
gain over a weak one: enough to put prompts in order of need. It is for routing, on every request, in about a
millisecond.

It is not for judging answers, people or their prompts, for telling whether one particular answer is right, or for any
use of `complexity` as a measure of a person's skill. P(good) of a model that nobody measured is a guess by its size."""

_METHOD = """\
- A prompt is split by a byte-pair tokenizer. Tokens have static vectors; their weighted mean is the prompt's meaning.
- Beside it stand counts of kinds of tokens and of structure: numbers, code, maths, questions, options, lengths. All are
  capped at three standard deviations.
- Each source of measured answers has its own expert: ridge regressions of the need for a strong model, and of P(good)
  at four levels of models, from dense labels (the mean over all models of a level).
- Experts are standardised and mixed by how near a prompt is to their source: a multinomial logistic regression.
- A source that is added later begins as what the experts before it say of its prompts, and departs from that as far as
  its measurements carry it.
- A model's head is a place between levels and a shift in logits, fitted to predictions of prompts that were kept aside.
- Turns, tools, images, JSON and system prompts, which no source has, are weighed by hand, lightly.
- Where a prompt can be parted, no first or last part of it may raise its need by more than a bound.
- Complexity is the share of reference traffic that needs less.
- While it serves, outcomes bend P(good) by tenant, model and category; the artefact itself does not change."""


def card(facts: Facts) -> str:
    manifest = facts.manifest
    parts = [
        f"# Scorer {manifest.version}",
        (
            f"Made {manifest.created[:10]}; tokenizer `{manifest.tokenizer}`; {len(manifest.models)} measured models; "
            f"{len(manifest.sources)} sources."
        ),
        "## What it is for, and not for",
        _FOR,
        "## Data",
        _table(
            ["source", "prompts", "what", "licence"],
            [
                [one.name, "" if one.prompts is None else f"{one.prompts:,}", one.what, one.licence]
                for one in facts.data
            ],
        ),
        "## Method",
        _METHOD,
        "## Does it find the prompts that need the strong model?",
        (
            f"APGR, the area under the recovered part of the gap in quality over the share of prompts that go to the strong "
            f"model: 0.5 is chance. In brackets 95 % of resamples of prompts. {facts.how_held}"
        ),
        rows_table(facts.rows),
        *facts.more,
        "## Is P(good) true?",
        (
            f"Expected calibration error in ten bins of equal mass. {facts.how_heads} After: once {SAMPLE} outcomes of that "
            f"model have bent its head, on the other prompts, the mean of 20 draws. By chance: what would be seen if every "
            f"prediction were true; some 0.03 to 0.04 of `after` is what {SAMPLE} outcomes leave unknown."
        ),
        heads_table(facts.heads),
        *(f"![{what}]({file})" for file, what in facts.diagrams.items()),
        "## Limits",
        "\n".join(f"- {limit}" for limit in facts.limits),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def rows_table(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row.apgr))
    return _table(
        ["source", "weak to strong", "prompts", *columns],
        [
            [row.source, row.pair, f"{row.prompts:,}", *(_estimate(row, name) for name in columns)]
            for row in rows
        ],
    )


def heads_table(heads: Sequence[Calibrated]) -> str:
    return _table(
        ["source", "model", "prompts", "before", "after", "by chance"],
        [
            [
                one.source,
                one.model,
                f"{one.prompts:,}",
                number(one.before),
                number(one.after),
                number(one.by_chance),
            ]
            for one in heads
        ],
    )


def number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _estimate(row: Row, name: str) -> str:
    found = row.apgr.get(name)
    if found is None or math.isnan(found.value):
        return ""
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "Nothing was measured."
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
