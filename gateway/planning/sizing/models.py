"""The models the planner knows by name, each with the numbers of its own configuration file."""

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gateway.planning.contract import PlanError
from gateway.planning.sizing import modelconfig
from gateway.planning.sizing.architecture import BITS, Architecture, Counts, Latent, Precision
from gateway.planning.units import Bytes

__all__ = [
    "BITS",
    "Architecture",
    "Counts",
    "Latent",
    "Model",
    "Precision",
    "from_config",
    "model",
    "models",
    "rule_of_thumb",
]

_OVERHEAD = 1.2
_NEAR = 3
_FAR_TOO_LONG = 1 << 20


class Model(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    architecture: Architecture
    source: str
    as_of: str = ""
    notes: Sequence[str] = ()
    published: int | None = None
    """Parameters, as those who made it say."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    aliases: Sequence[str] = ()
    published: int | None = None
    source: str
    as_of: str
    config: Mapping[str, Any]
    """Keys of its `config.json` that size depends on."""


def model(name: str) -> Model:
    """By name or Hugging Face id, in any case; raises PlanError with what is near."""
    entry = _names().get(_plain(name))
    if entry is None:
        near = difflib.get_close_matches(_plain(name), list(_names()), _NEAR, 0.6)
        names = dict.fromkeys(_names()[each].name for each in near) or [each.name for each in _entries()]
        told = f"Did you mean {' or '.join(names)}?" if near else f"There are {', '.join(names)}."
        raise PlanError(
            f"No model {name[:64]!r} is in the catalogue. {told} For another give its config.json (config), or its"
            " parameters (params) for a rule of thumb.",
            param="model",
        )
    return _model(entry)


def models() -> Sequence[Model]:
    return [_model(entry) for entry in _entries()]


def from_config(text: str) -> Model:
    """Of a Hugging Face `config.json`; raises PlanError with what it lacks."""
    if len(text) > _FAR_TOO_LONG:
        raise PlanError("The configuration is longer than any config.json.", param="config")
    try:
        config = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as exc:
        raise PlanError(f"The configuration is not a JSON object: {exc}", param="config") from exc
    reading = modelconfig.read(config)
    return Model(
        name=reading.name,
        architecture=reading.architecture,
        source="the config.json given",
        notes=reading.notes,
    )


def rule_of_thumb(params: float, precision: Precision = "fp16") -> Bytes:
    """N bits/8 x 1.2: knows neither context nor batch. Use it only where there is no configuration."""
    return Bytes(params * BITS[precision] / 8 * _OVERHEAD)


def _model(entry: _Entry) -> Model:
    reading = modelconfig.read(entry.config)
    return Model(
        name=entry.name,
        architecture=reading.architecture,
        source=entry.source,
        as_of=entry.as_of,
        notes=reading.notes,
        published=entry.published,
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.rsplit("/", 1)[-1].lower())


@cache
def _names() -> Mapping[str, _Entry]:
    return {_plain(name): entry for entry in _entries() for name in (entry.name, *entry.aliases)}


@cache
def _entries() -> Sequence[_Entry]:
    text = (Path(__file__).parent.parent / "data" / "models.json").read_bytes()
    return msgspec.json.decode(text, type=tuple[_Entry, ...])
