"""From a model and the command line's words to the service over it."""

import argparse
import random
from typing import Any

from workers.chats import Chats
from workers.embeddings.assembly import embeddings_of, is_encoder
from workers.engines.contract import Engine
from workers.engines.llamacpp_engine import LlamaCppEngine
from workers.engines.transformers_engine.loading import SPLIT
from workers.engines.transformers_engine.preparation import Options
from workers.engines.transformers_engine.ranks import Place, tensor_parallel
from workers.errors import ConfigError
from workers.models import ModelFile
from workers.service import Service
from workers.slots import Slots
from workers.timing import Clocks


def service_of(
    model: ModelFile, args: argparse.Namespace, clocks: Clocks, *, place: Place | None = None
) -> Service:
    """By what the model is: a file is llama.cpp's; a folder is transformers', or the encoder's if it makes vectors.
    `place` if torchrun has started us. Raises ConfigError."""
    line = {
        "max_waiting": args.max_queue,
        "max_wait_s": args.queue_wait,
        "age_s": args.queue_age,
        "now_s": clocks.monotonic_s,
    }
    if is_encoder(model, args):
        if place is not None or args.device == SPLIT:
            raise ConfigError(
                "torchrun and --device split are not for encoders; for more GPUs, start more workers"
            )
        return embeddings_of(model, args, line, clocks)
    engine = _engine(model, args, place)
    return Chats(engine, Slots(engine.slots, **line), clocks)


def options_of(model: ModelFile, args: argparse.Namespace, place: Place | None) -> Options:
    """Of the transformers engine. Raises ConfigError."""
    if not model.path.is_dir():
        raise ConfigError(f"several GPUs are for folders with a config.json, and {args.model} is none")
    names = [name for name in Options.__struct_fields__ if name != "tensor_parallel"]
    return Options(**_given(args, *names), tensor_parallel=tensor_parallel(args.tensor_parallel, place))


def _engine(model: ModelFile, args: argparse.Namespace, place: Place | None) -> Engine:
    is_folder = model.path.is_dir()
    wanted = {"auto": is_folder, "transformers": True, "llamacpp": False}[args.engine]
    if wanted is not is_folder:
        kind = "a folder with a config.json" if wanted else "a .gguf file"
        raise ConfigError(f"--engine {args.engine} takes {kind}, and {args.model} is none")
    if is_folder or place is not None:
        from workers.engines.transformers_engine.engine import TransformersEngine

        options = options_of(model, args, place)
        return TransformersEngine(model, options, seeds=random.SystemRandom(), place=place)
    common = _given(args, "slots", "context", "threads", "batch")
    own = _given(args, "precision", "device", "attention", "kv_gib", "tensor_parallel")
    given = [name for name, value in own.items() if value not in (None, "auto")]
    if given:
        raise ConfigError(f"--{given[0].replace('_', '-')} is for the transformers engine")
    return LlamaCppEngine(model, **common, reuse_prompts=args.reuse_prompts == "always")


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names}
