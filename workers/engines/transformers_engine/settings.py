"""How a request wants its tokens picked, in the engine's terms."""

from typing import Any

from workers.engines.transformers_engine.row import Sampling
from workers.request import CompletionRequest, Request


def defaults_of(generation_config: Any) -> Sampling:
    """What the model's makers recommend, where their file says so, and OpenAI's own defaults otherwise."""
    found = {
        "temperature": generation_config.temperature,
        "top_p": generation_config.top_p,
        "top_k": generation_config.top_k,
        "min_p": generation_config.min_p,
        "repetition": generation_config.repetition_penalty,
    }
    return Sampling(**{name: value for name, value in found.items() if value is not None})


def sampling_of(request: Request, defaults: Sampling, *, vocabulary: int) -> Sampling:
    def told(value: float | None, default: float) -> float:
        return default if value is None else value

    bias = {int(token): amount for token, amount in (request.logit_bias or {}).items()}
    return Sampling(
        temperature=told(request.temperature, defaults.temperature),
        top_p=told(request.top_p, defaults.top_p),
        top_k=int(told(request.top_k, defaults.top_k)),
        min_p=told(request.min_p, defaults.min_p),
        presence=request.presence_penalty or 0.0,
        frequency=request.frequency_penalty or 0.0,
        repetition=told(request.repetition_penalty, defaults.repetition),
        bias={token: amount for token, amount in bias.items() if token < vocabulary},
        tops=_tops(request),
    )


def _tops(request: Request) -> int | None:
    if isinstance(request, CompletionRequest):
        return request.logprobs
    return (request.top_logprobs or 0) if request.logprobs else None


def stops_of(request: Request) -> tuple[str, ...]:
    if request.stop is None:
        return ()
    return (request.stop,) if isinstance(request.stop, str) else request.stop
