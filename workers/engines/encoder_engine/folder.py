"""What a folder says of itself, read without any model library."""

from pathlib import Path
from typing import Any

import msgspec

from workers.errors import ConfigError

_ENCODERS = ("Model", "ForMaskedLM", "ForPreTraining")
_WRITERS = ("LMHeadModel", "DoubleHeadsModel")
MODULES = "modules.json"
"""How sentence-transformers says of what parts an encoder is made."""


def holds_encoder(folder: Path) -> bool:
    """Whether it is made for vectors, by its parts or its architecture, and not for writing. Raises ConfigError."""
    if (folder / MODULES).is_file():
        return True
    names = read_json(folder / "config.json").get("architectures") or [""]
    return isinstance(name := names[0], str) and name.endswith(_ENCODERS) and not name.endswith(_WRITERS)


def read_json(path: Path) -> dict[str, Any]:
    """Raises ConfigError. Empty if there is no such file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}") from exc
