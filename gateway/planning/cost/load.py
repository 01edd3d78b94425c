"""What is asked of models in a day, hour by hour, and how many replicas that takes."""

import math
from collections.abc import Sequence

import msgspec

from gateway.planning.contract import PlanError
from gateway.planning.units import DAYS_PER_MONTH, Tokens, TokensPerSecond

HOURS = 24
SHAPES = {
    "flat": (1.0,) * HOURS,
    "office": tuple(float(9 <= hour < 17) for hour in range(HOURS)),
    "day": tuple(1 + 0.8 * math.sin(2 * math.pi * (hour + 0.5 - 8) / HOURS) for hour in range(HOURS)),
}
"""Weights of the hours: always the same; eight hours and nothing besides; a wave with its peak at two in the afternoon,
1.8 times the mean."""

_ROUNDING = 1e-12
"""A load that fits exactly takes no further replica because of how floats are rounded."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    by_hour: tuple[float, ...]
    """Requests in each of the 24 hours of a day."""
    input_tokens: float
    """Of a request."""
    output_tokens: float

    @property
    def month_requests(self) -> float:
        return sum(self.by_hour) * DAYS_PER_MONTH

    @property
    def month_input(self) -> Tokens:
        return Tokens(self.month_requests * self.input_tokens)

    @property
    def month_output(self) -> Tokens:
        return Tokens(self.month_requests * self.output_tokens)

    @property
    def month_tokens(self) -> Tokens:
        return self.month_input + self.month_output

    @property
    def speeds(self) -> tuple[TokensPerSecond, ...]:
        """Prompt and answer together, in each hour."""
        tokens = self.input_tokens + self.output_tokens
        return tuple(TokensPerSecond(requests * tokens / 3600) for requests in self.by_hour)

    @property
    def peak(self) -> TokensPerSecond:
        return max(self.speeds)

    def replicas(self, one: TokensPerSecond) -> tuple[int, ...]:
        """In each hour, where each serves so many tokens a second."""
        return tuple(math.ceil(speed / one * (1 - _ROUNDING)) for speed in self.speeds)

    def steady(self, speed: TokensPerSecond) -> "Load":
        """The same requests, so many of them that they come to that speed in every hour."""
        requests = speed.value * 3600 / (self.input_tokens + self.output_tokens)
        return msgspec.structs.replace(self, by_hour=(requests,) * HOURS)

    def times(self, factor: float) -> "Load":
        return msgspec.structs.replace(self, by_hour=tuple(requests * factor for requests in self.by_hour))


def load(requests_per_day: float, shape: str, input_tokens: float, output_tokens: float) -> Load:
    """`shape` is one of SHAPES or 24 weights between commas. Raises PlanError."""
    weights = _weights(shape)
    return Load(
        by_hour=tuple(requests_per_day * weight / sum(weights) for weight in weights),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )


def _weights(shape: str) -> Sequence[float]:
    if shape in SHAPES:
        return SHAPES[shape]
    try:
        weights = [float(text) for text in shape.split(",")]
    except ValueError:
        weights = []
    if len(weights) != HOURS or not all(0 <= weight < 1e12 for weight in weights) or not any(weights):
        raise PlanError(
            f"A day's shape is {', '.join(SHAPES)}, or 24 numbers between commas, one an hour from midnight.",
            param="shape",
        )
    return weights
