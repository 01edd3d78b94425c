"""From a folder that holds an encoder and the command line's words to the service over it."""

import argparse
from typing import Any

from workers.embeddings.batcher import Batcher
from workers.embeddings.figures import Figures
from workers.embeddings.service import Embeddings
from workers.engines.encoder_engine.engine import EncoderEngine, Options
from workers.engines.encoder_engine.folder import holds_encoder
from workers.errors import ConfigError
from workers.models import ModelFile
from workers.timing import Clocks

PLACES = 64
"""Requests that share a step at most. `--slots` counts answers, which an encoder has none of."""


def is_encoder(model: ModelFile, args: argparse.Namespace) -> bool:
    """By the word, or else by the folder. Raises ConfigError."""
    if args.engine == "encoder" and not model.path.is_dir():
        raise ConfigError(f"--engine encoder takes a folder, and {args.model} is none")
    return args.engine == "encoder" or (
        args.engine == "auto" and model.path.is_dir() and holds_encoder(model.path)
    )


def embeddings_of(
    model: ModelFile, args: argparse.Namespace, line: dict[str, Any], clocks: Clocks
) -> Embeddings:
    """`line` is how long requests may wait, and how many. Raises ConfigError."""
    for name in ("attention", "kv_gib", "reuse_prompts", "tensor_parallel"):
        if getattr(args, name, None) not in (None, False, "auto", "never"):
            raise ConfigError(f"--{name.replace('_', '-')} is not for encoders")
    options = Options(**{name: getattr(args, name) for name in Options.__struct_fields__})
    encoder, figures = EncoderEngine(model, options), Figures()
    return Embeddings(encoder, Batcher(encoder, PLACES, figures, **line), figures, clocks)
