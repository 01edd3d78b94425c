"""Reads the load off an engine's Prometheus page.

Only a handful of its thousands of lines is looked at: a page of 260 kB takes 0.6 ms so, where prometheus_client's parser
takes 100. The page is not trusted: what is broken on it is None.
"""

import math
import re
from collections.abc import Iterator

import msgspec

from gateway.fleet.contract import EngineKind, Load

MAX_PAGE_BYTES = 2_000_000
"""vLLM writes some 60 kB for each engine of a data-parallel group, TGI 120 kB. A longer page tells nothing."""
_MAX_LINE_BYTES = 1024
_MAX_SAMPLES = 512
"""Of one name. More ranks than that are not one server."""
_MOST = 1e15


class _Names(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine calls its figures; empty: it has none."""

    running: bytes
    queued: bytes
    slots: bytes = b""
    kv_share: tuple[bytes, ...] = ()
    """In this order, the first that is there."""
    kv_used: bytes = b""
    kv_total: bytes = b""
    generated: bytes
    prompt: bytes


_NAMES: dict[EngineKind, _Names] = {
    "weighbridge": _Names(
        running=b"weighbridge_worker_running",
        queued=b"weighbridge_worker_queued",
        slots=b"weighbridge_worker_slots",
        kv_used=b"weighbridge_worker_engine_kv_blocks_used",
        kv_total=b"weighbridge_worker_engine_kv_blocks",
        generated=b"weighbridge_worker_engine_generated_tokens_total",
        prompt=b"weighbridge_worker_engine_prompt_tokens_total",
    ),
    "vllm": _Names(
        running=b"vllm:num_requests_running",
        queued=b"vllm:num_requests_waiting",
        kv_share=(b"vllm:kv_cache_usage_perc", b"vllm:gpu_cache_usage_perc"),  # since 0.9, and before
        generated=b"vllm:generation_tokens_total",
        prompt=b"vllm:prompt_tokens_total",
    ),
    "sglang": _Names(
        running=b"sglang:num_running_reqs",
        queued=b"sglang:num_queue_reqs",
        kv_share=(b"sglang:token_usage",),
        generated=b"sglang:generation_tokens_total",
        prompt=b"sglang:prompt_tokens_total",
    ),
    "tgi": _Names(
        running=b"tgi_batch_current_size",
        queued=b"tgi_queue_size",
        kv_used=b"tgi_batch_current_max_tokens",
        kv_total=b"tgi_batch_max_total_tokens",
        # It counts tokens in histograms only, when a request has ended.
        generated=b"tgi_request_generated_tokens_sum",
        prompt=b"tgi_request_input_length_sum",
    ),
    "llamacpp": _Names(
        running=b"llamacpp:requests_processing",
        queued=b"llamacpp:requests_deferred",
        kv_share=(b"llamacpp:kv_cache_usage_ratio",),  # until 2025
        generated=b"llamacpp:tokens_predicted_total",
        prompt=b"llamacpp:prompt_tokens_total",
    ),
}

_SAMPLE = re.compile(rb'(?:\{((?:\w+="(?:[^"\\]|\\.)*",? ?)*)\})?[ \t]+([^\s]+)(?:[ \t][^\n]*)?')
_LABEL = re.compile(rb'(\w+)="((?:[^"\\]|\\.)*)"')
_SAME_WORK = frozenset({b"pid", b"tp_rank", b"pp_rank", b"moe_ep_rank"})
"""Labels of processes that tell of one and the same queue: SGLang's of one tensor-parallel group, vLLM's API servers."""


class _BrokenError(Exception):
    """What stands there is no figure."""


def parse(kind: EngineKind, page: str | bytes) -> Load:
    """What an engine's page tells; several engines on one page (data-parallel ranks, models) are added up, and of the
    shares of their memory it is the mean. Never raises."""
    raw = page.encode(errors="replace") if isinstance(page, str) else page
    if len(raw) > MAX_PAGE_BYTES:
        return Load()
    names, raw = _NAMES[kind], b"\n" + raw
    return Load(
        running=_total(raw, names.running),
        queued=_total(raw, names.queued, by_priority=kind != "sglang"),
        slots=_total(raw, names.slots),
        kv_use=_kv_use(raw, names),
        generated_tokens=_total(raw, names.generated),
        prompt_tokens=_total(raw, names.prompt),
    )


def _kv_use(raw: bytes, names: _Names) -> float | None:
    if names.kv_used:
        used, total = _total(raw, names.kv_used), _total(raw, names.kv_total)
        return None if used is None or not total or used > total else used / total
    for name in names.kv_share:
        shares = _values(raw, name)
        if shares:
            return sum(shares) / len(shares) if max(shares) <= 1 else None
    return None


def _total(raw: bytes, name: bytes, *, by_priority: bool = True) -> float | None:
    values = _values(raw, name, by_priority=by_priority) if name else []
    return sum(values) if values else None


def _values(raw: bytes, name: bytes, *, by_priority: bool = True) -> list[float]:
    """One for each engine; empty if there is none, or if one of them is no figure: the rest would be half the truth.

    Not `by_priority`: beside the total there is a line for each class, which would count twice.
    """
    found: dict[frozenset[tuple[bytes, bytes]], float] = {}
    try:
        for labels, value in _samples(raw, name):
            if by_priority or not labels.get(b"priority"):
                engine = frozenset(item for item in labels.items() if item[0] not in _SAME_WORK)
                found[engine] = max(value, found.get(engine, 0.0))
    except _BrokenError:
        return []
    return list(found.values())


def _samples(raw: bytes, name: bytes) -> Iterator[tuple[dict[bytes, bytes], float]]:
    """Raises _BrokenError for a line that cannot be read, and for too many of them."""
    sought, at = b"\n" + name, 0
    for _ in range(_MAX_SAMPLES):
        at = raw.find(sought, at)
        if at < 0:
            return
        at += len(sought)
        if raw[at : at + 1] not in (b"{", b" ", b"\t"):
            continue  # a longer name
        end = raw.find(b"\n", at)
        line = raw[at : len(raw) if end < 0 else end].rstrip(b"\r")
        yield _sample(line)
    raise _BrokenError


def _sample(line: bytes) -> tuple[dict[bytes, bytes], float]:
    match = _SAMPLE.fullmatch(line) if len(line) <= _MAX_LINE_BYTES else None
    if match is None:
        raise _BrokenError
    try:
        value = float(match[2])
    except ValueError as exc:
        raise _BrokenError from exc
    if not (math.isfinite(value) and 0 <= value <= _MOST):
        raise _BrokenError
    return dict(_LABEL.findall(match[1] or b"")), value
