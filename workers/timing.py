"""The two clocks, handed over as values so that a test can move them."""

from collections.abc import Callable

import msgspec


class Clocks(msgspec.Struct, frozen=True):
    unix_s: Callable[[], int]
    monotonic_s: Callable[[], float]
