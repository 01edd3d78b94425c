"""`weighbridge scorer explain`: why a prompt gets its score, for people or as JSON. Needs no running gateway.

What it explains with needs numpy and onnxruntime, which a gateway that only serves may lack: loaded in functions.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from gateway.cli.table import print_table
from gateway.config import load
from gateway.errors import ConfigError
from gateway.scoring.candidates import chat_candidates
from gateway.scoring.contract import Prompt, Scorable
from gateway.scoring.prompt import prompt_of
from policies.contract import Size

if TYPE_CHECKING:
    from gateway.scoring.explain import Explanation, Part

_MOVED = 8
"""Features that are shown, of those that raise the need and of those that lower it."""
_LEAST_SHARE = 0.01
_PACKAGES = ("numpy", "onnxruntime")
_KNOWN_BY = {"measured": "its measured answers", "configured": "your configuration", "size": "its size alone"}


def run(args: argparse.Namespace) -> int:
    folder, candidates = _asked(args)
    prompt = _prompt(args.prompt, args.system)
    try:
        from gateway.scoring.artefact import SHIPPED
        from gateway.scoring.explain import open_explainer

        found = open_explainer(folder or SHIPPED).explain(prompt, candidates)
    except ModuleNotFoundError as exc:
        if exc.name not in _PACKAGES:
            raise
        raise ConfigError(f"scorer explain: needs {exc.name}: pip install 'weighbridge[onnx-cpu]'") from exc
    if args.json:
        print(msgspec.json.encode(found).decode())
    else:
        print_explanation(found)
    return 0


def _asked(args: argparse.Namespace) -> tuple[Path | None, Sequence[Scorable]]:
    """Whose artefact, and which models."""
    folder: Path | None = args.artefact
    if args.config is None:
        return folder, named(args.model, args.size)
    if args.model or args.size:
        raise ConfigError("scorer explain: name models by --model and --size, or take those of --config")
    config = load(args.config)
    if folder is None and config.scoring.artefact:
        folder = Path(config.scoring.artefact).expanduser()
    return folder, chat_candidates(config)


def named(models: Sequence[str], size: Size | None) -> list[Scorable]:
    """Without any name, a model of each size of which nothing else is known."""
    if models:
        return [
            Scorable(id=name, size=size or "small", model=name, upstream_model=name)
            for name in dict.fromkeys(models)
        ]
    return [Scorable(id=one, size=one) for one in ([size] if size else get_args(Size))]


def _prompt(text: str, system: str) -> Prompt:
    if text == "-":
        try:
            text = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as exc:
            raise ConfigError("scorer explain: standard input is not UTF-8") from exc
    if not text.strip():
        raise ConfigError("scorer explain: the prompt is empty")
    messages = [{"role": "system", "content": system}] if system else []
    return prompt_of({"messages": [*messages, {"role": "user", "content": text}]})


def print_explanation(found: "Explanation") -> None:
    _head(found)
    print("\nP(good), with the 90 % interval of how often such prompts are answered well")
    rows = [
        {
            "model": one.id,
            "P(good)": f"{one.p_good:.2f}",
            "90 %": f"{one.low:.2f} to {one.high:.2f}",
            "known by": _KNOWN_BY[one.known_by],
        }
        for one in found.candidates
    ]
    print_table(rows, ["model", "P(good)", "90 %", "known by"])
    print("\nWhat moved the need, in standard deviations of ordinary traffic")
    print_table(_moves(found), ["part", "moved by", "value"])
    if found.words:
        print("\nThe words that carry most of the meaning")
        print_table(
            [{"word": part.name, "moved by": f"{part.contribution:+.2f}"} for part in found.words],
            ["word", "moved by"],
        )
    if found.neighbours:
        print("\nNearest training prompts, and the share of good answers there")
        _neighbours(found)


def _head(found: "Explanation") -> None:
    above = (found.need - found.ordinary) / found.spread
    rows = [
        ("complexity", f"{found.complexity:.2f}: {found.complexity:.0%} of ordinary traffic needs less"),
        (
            "need",
            f"{found.need:.3f}, {abs(above):.1f} deviations {'above' if above > 0 else 'below'} the middle",
        ),
        ("kind", _listed(found.kinds)),
        ("judged as", _listed(found.sources)),
        ("scorer", found.version),
    ]
    if found.is_partial:
        rows.append(("partial", "the script is unknown: only length and structure were read"))
    if found.ignored_chars:
        rows.append(("left out", f"{found.ignored_chars} characters of filling, or of words to the router"))
    for name, text in rows:
        print(f"{name:<12}{text}")


def _moves(found: "Explanation") -> list[dict[str, Any]]:
    """From the start to the sum; features that moved little are one line."""
    up, down = _sides(found.features)
    by_hand = [part for part in found.by_hand if part.contribution]
    shown = [*up[:_MOVED], *down[:_MOVED]]
    rest = sum(part.contribution for part in found.features) - sum(part.contribution for part in shown)
    rows = [_move("start: such prompts' sources", found.base), _move("meaning of the words", found.meaning)]
    rows += [_move(part.name, part.contribution, part.value) for part in (*shown, *by_hand)]
    rows.append(_move("all other features", rest))
    if found.taken_off:
        rows.append(_move("cap on one part of a prompt", -found.taken_off))
    rows.append(_move("need", found.need / found.spread))
    return rows


def _sides(parts: Iterable["Part"]) -> tuple[list["Part"], list["Part"]]:
    """What raised and what lowered, the most first."""
    parts = list(parts)
    return [part for part in parts if part.contribution > 0], [
        part for part in parts if part.contribution < 0
    ]


def _move(name: str, moved: float, value: float | None = None) -> dict[str, Any]:
    return {
        "part": name,
        "moved by": f"{moved:+.2f}",
        "value": "" if value is None else f"{value:+.1f}",
    }


def _neighbours(found: "Explanation") -> None:
    rows = [
        {
            "like": f"{one.likeness:.2f}",
            "medium": f"{one.medium:.2f}",
            "frontier": f"{one.frontier:.2f}",
            "source": one.source,
            "prompt": one.text[:100],
        }
        for one in found.neighbours
    ]
    print_table(rows, ["like", "medium", "frontier", "source", "prompt"])


def _listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= _LEAST_SHARE)
