"""From a model and the command line's words to the service over it."""

import argparse
import random
from typing import Any

from workers.chats import Chats
from workers.engines.contract import Engine
from workers.engines.llamacpp_engine import LlamaCppEngine
from workers.errors import ConfigError
from workers.models import ModelFile
from workers.service import Service
from workers.slots import Slots
from workers.timing import Clocks


def service_of(model: ModelFile, args: argparse.Namespace, clocks: Clocks) -> Service:
    """By what the model is: a file is llama.cpp's, a folder is for transformers. Raises ConfigError."""
    line = {
        "max_waiting": args.max_queue,
        "max_wait_s": args.queue_wait,
        "age_s": args.queue_age,
        "now_s": clocks.monotonic_s,
    }
    engine = _engine(model, args)
    return Chats(engine, Slots(engine.slots, **line), clocks)


def _engine(model: ModelFile, args: argparse.Namespace) -> Engine:
    is_folder = model.path.is_dir()
    wanted = {"auto": is_folder, "transformers": True, "llamacpp": False}[args.engine]
    if wanted is not is_folder:
        kind = "a folder with a config.json" if wanted else "a .gguf file"
        raise ConfigError(f"--engine {args.engine} takes {kind}, and {args.model} is none")
    common = _given(args, "slots", "context", "threads", "batch", "reuse_prompts")
    own = _given(args, "precision", "device", "attention", "kv_gib")
    if is_folder:
        from workers.engines.transformers_engine.engine import TransformersEngine
        from workers.engines.transformers_engine.preparation import Options

        return TransformersEngine(model, Options(**common, **own), seeds=random.SystemRandom())
    given = [name for name, value in own.items() if value not in (None, "auto")]
    if given:
        raise ConfigError(f"--{given[0].replace('_', '-')} is for the transformers engine")
    return LlamaCppEngine(model, **common)


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names}
