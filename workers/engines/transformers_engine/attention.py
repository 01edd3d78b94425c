"""Paged attention in which each sequence meets its own keys only, through torch's `scaled_dot_product_attention`.

The library's own `paged|sdpa` computes the queries of a step against the keys of all requests and masks out the rest.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from workers.engines.transformers_engine.loading import BY_SEQUENCE

PIECE = 256
"""Queries of one call. Of a longer prompt each piece is spared the keys after it, and the mask stays small."""
SLACK = 64
"""Keys that cost about as much as a call of its own."""


class _Sequence(NamedTuple):
    query: int
    queries: int
    key: int
    """Where its keys begin in what the library would read."""
    keys: int


class _Group(NamedTuple):
    """Sequences that are computed in one call: as many queries each, and as many keys, some of them masked out."""

    size: int
    queries: slice | torch.Tensor
    keys: slice
    mask: torch.Tensor | None


class _Step:
    """What a step's layers need. Accelerate looks into lists, not in here, so it is not moved from GPU to GPU."""

    def __init__(
        self, groups: list[_Group], read_index: list[torch.Tensor], write_index: list[torch.Tensor]
    ) -> None:
        self.groups = groups
        self.read_index = read_index
        self.write_index = write_index


def register() -> None:
    """Before a model is loaded that is to use it."""
    AttentionInterface.register(BY_SEQUENCE, attend)


def install(model: Any) -> None:
    """Has the plan of a step made once, before its first layer. The keys are read in the order of the plan."""
    config = model.config.get_text_config()
    share = config.num_attention_heads // (
        getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    )
    is_split = len(set((getattr(model, "hf_device_map", None) or {}).values())) > 1

    def prepare(
        _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        kwargs = dict(kwargs)
        (read,) = kwargs.pop("read_index")
        groups, read = _plan(
            kwargs["cu_seq_lens_q"].tolist(),
            kwargs["cu_seq_lens_k"].tolist(),
            read,
            share=share,
            dtype=kwargs["cache"].dtype,
        )
        kwargs["step"] = _Step(groups, [read], kwargs.pop("write_index"))
        if is_split and "logits_to_keep" in kwargs:
            # It picks among what the last GPU has, and may come from there or from the CPU.
            kwargs["logits_to_keep"] = kwargs["logits_to_keep"].cpu()
        return args, kwargs

    model.register_forward_pre_hook(prepare, with_kwargs=True)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,  # noqa: ARG001 - the library's signature
    scaling: float | None = None,
    *,
    cache: Any,
    step: _Step,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Query, key and value are (1, heads, tokens of the step, size); the result is (1, tokens, heads, size).

    All is computed where the cache is: what a layer elsewhere sends there is that of the step's tokens only."""
    home, here = query.device, step.read_index[0].device
    query, key, value = query.to(here), key.to(here), value.to(here)
    keys, values = cache.update(
        key_states=key,
        value_states=value,
        layer_idx=module.layer_idx,
        read_index=step.read_index,
        write_index=step.write_index,
    )
    heads, tokens, size = query.shape[1:]
    shared = keys.shape[1]
    result = query.new_empty(tokens, heads, size)
    for group in step.groups:
        # The heads that share keys become more queries of one head: no key is ever repeated for them.
        ours = query[0, :, group.queries].view(shared, heads // shared, group.size, -1, size)
        found = scaled_dot_product_attention(
            ours.permute(2, 0, 1, 3, 4).reshape(group.size, shared, -1, size),
            keys[group.keys].view(group.size, -1, shared, size).transpose(1, 2),
            values[group.keys].view(group.size, -1, shared, size).transpose(1, 2),
            attn_mask=group.mask,
            scale=scaling,
        )
        found = found.view(group.size, shared, heads // shared, -1, size)
        result[group.queries] = found.permute(0, 3, 1, 2, 4).reshape(-1, heads, size)
    return result.unsqueeze(0).to(home), None


def _plan(
    queries: list[int], keys: list[int], read: torch.Tensor, *, share: int, dtype: torch.dtype
) -> tuple[list[_Group], torch.Tensor]:
    """From the borders of the sequences and the places of their keys. An empty `read` means that nothing was cached:
    the keys are those of the step, as they come."""
    sequences = [
        _Sequence(query, query_end - query, key, key_end - key)
        for query, query_end, key, key_end in zip(queries, queries[1:], keys, keys[1:], strict=False)
    ]
    if not read.numel():
        return [g for s in sequences for g in _pieces(s, s.key, share=share, like=read, dtype=dtype)], read
    groups: list[_Group] = []
    places: list[torch.Tensor] = []
    begin = 0
    for together in _alike([s for s in sequences if s.queries == 1]):
        group, place = _answers(together, begin, like=read, dtype=dtype)
        groups.append(group)
        places.append(read[place])
        begin = group.keys.stop
    for sequence in sequences:
        if sequence.queries > 1:
            groups += _pieces(sequence, begin, share=share, like=read, dtype=dtype)
            places.append(read[sequence.key : sequence.key + sequence.keys])
            begin += sequence.keys
    return groups, torch.cat(places)


def _alike(sequences: list[_Sequence]) -> Iterator[list[_Sequence]]:
    """The longest first. What is padded is at most a quarter of a sequence and the slack."""
    together: list[_Sequence] = []
    for sequence in sorted(sequences, key=lambda s: s.keys, reverse=True):
        if together and together[0].keys > 1.25 * sequence.keys + SLACK:
            yield together
            together = []
        together.append(sequence)
    if together:
        yield together


def _answers(
    sequences: list[_Sequence], begin: int, *, like: torch.Tensor, dtype: torch.dtype
) -> tuple[_Group, torch.Tensor]:
    """Sequences of one query each, and where in `read` their keys are: a short one's last key fills it up."""
    at, starts, lengths = torch.tensor(
        [[s.query, s.key, s.keys] for s in sequences], device=like.device
    ).unbind(1)
    longest = sequences[0].keys
    steps = torch.arange(longest, device=like.device)
    mask = None
    if sequences[-1].keys < longest:
        is_over = steps >= lengths[:, None]
        mask = torch.zeros(is_over.shape, dtype=dtype, device=like.device).masked_fill_(is_over, -torch.inf)
        mask = mask[:, None, None]
    places = starts[:, None] + torch.minimum(steps, lengths[:, None] - 1)
    end = begin + longest * len(sequences)
    return _Group(len(sequences), at, slice(begin, end), mask), places.flatten()


def _pieces(
    sequence: _Sequence, begin: int, *, share: int, like: torch.Tensor, dtype: torch.dtype
) -> Iterator[_Group]:
    """A prompt, or a part of it after what is cached."""
    before = sequence.keys - sequence.queries
    for start in range(0, sequence.queries, PIECE):
        count = min(PIECE, sequence.queries - start)
        length = before + start + count
        mask = torch.zeros(count, length, dtype=dtype, device=like.device)
        mask[:, length - count :].masked_fill_(
            torch.ones(count, count, dtype=torch.bool, device=like.device).triu(1), -torch.inf
        )
        first = sequence.query + start
        yield _Group(1, slice(first, first + count), slice(begin, begin + length), mask.repeat(share, 1))
