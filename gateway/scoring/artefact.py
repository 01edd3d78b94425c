"""A trained scorer on disk: a folder with the graph, its description, and what explanations need. Checked when loaded."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import ConfigError
from gateway.scoring.session import open_session

SHIPPED = Path(__file__).parent / "shipped"
FORMAT = 1
LEVELS = ("small", "medium", "large", "frontier")
"""Models of 1 to 3, of 7 to 9 and of about 70 billion parameters, and the best there are."""
GRAPH, MANIFEST, HEADS, NEIGHBOURS, CARD = (
    "graph.onnx",
    "manifest.json",
    "heads.npz",
    "neighbours.npz",
    "card.md",
)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where a measured model stands: logit P(good) = the levels' logits at `position`, plus `shift`."""

    position: float
    """0 is small, 3 is frontier; between two levels in proportion."""
    shift: float
    prompts: int
    """On how many it was measured."""
    accuracy: float
    """There."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    created: str
    tokenizer: str
    sources: tuple[str, ...]
    kinds: tuple[str, ...]
    quantiles: tuple[float, ...]
    """Of the need over reference traffic, at even steps from 0 to 1: complexity is the share that needs less."""
    spread: float
    """Standard deviation of the need there."""
    level_means: tuple[float, ...]
    """Mean logit of each level there."""
    models: dict[str, Head]
    files: dict[str, str]
    """Name to SHA-256."""
    format: int = FORMAT


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path
    manifest: Manifest
    session: Any
    """An onnxruntime.InferenceSession."""


def read_manifest(folder: Path) -> Manifest:
    """Raises ConfigError."""
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: not a scorer's manifest: {exc}") from exc
    if manifest.format != FORMAT:
        raise ConfigError(
            f"{path}: is of format {manifest.format}; this version reads {FORMAT}: train it again"
        )
    return manifest


def load(folder: Path, *, threads: int = 1) -> Artefact:
    """Raises ConfigError: nothing is scored by a file that is not what its manifest says."""
    manifest = read_manifest(folder)
    for name in (GRAPH, HEADS):
        if digest(folder / name) != manifest.files.get(name):
            raise ConfigError(f"{folder / name}: missing, or not the file that the manifest names")
    return Artefact(folder=folder, manifest=manifest, session=open_session(folder / GRAPH, threads=threads))


def digest(path: Path) -> str:
    """SHA-256 of a file, empty if there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
