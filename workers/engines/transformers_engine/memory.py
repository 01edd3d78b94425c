"""How much memory the model and its answers will take, said and checked before any of it is taken."""

from math import ceil

import msgspec

from workers.engines.transformers_engine.loading import GIB, PRECISIONS, Shape
from workers.errors import ConfigError

FLASH_PAGE = 256
PAGE = 32
"""Tokens of a block. Flash attention's kernels take no smaller ones."""


class Budget(msgspec.Struct, frozen=True):
    page: int
    blocks: int
    window: int
    """Tokens of one request."""
    kv_bytes: int


def plan(
    shape: Shape, *, slots: int, context: int, kv_gib: float | None, is_flash: bool, bytes_per_value: int
) -> Budget:
    """Raises ConfigError if not even one request would fit into what `--kv-gib` allows."""
    page = FLASH_PAGE if is_flash else PAGE
    window = min(context, shape.window)
    each = ceil(window / page)
    per_block = shape.kv_bytes(page, bytes_per_value)
    blocks = slots * each if kv_gib is None else int(kv_gib * GIB / per_block)
    if blocks < each:
        raise ConfigError(
            f"--kv-gib {kv_gib:g} holds {blocks * page:,} tokens, and one request may have {window:,} (--context): "
            f"give at least {each * per_block / GIB:.3f}"
        )
    return Budget(page, blocks, window, blocks * per_block)


def check_fits(parameters: int, precision: str, budget: Budget, free: int, device: str) -> None:
    """Raises ConfigError with the numbers."""
    weights = parameters * PRECISIONS[precision].bytes_per_weight
    if weights + budget.kv_bytes > free:
        raise ConfigError(
            f"it does not fit: {weights / GIB:.1f} GiB of weights ({precision}) and {budget.kv_bytes / GIB:.1f} GiB "
            f"of keys and values for {budget.blocks * budget.page:,} tokens; {free / GIB:.1f} GiB are free on "
            f"{device}. Take a smaller --precision, --slots, --context or --kv-gib"
        )
