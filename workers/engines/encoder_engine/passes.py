"""Which texts of a step go through the model together."""

from collections.abc import Sequence

FULL_SHARE = 0.75
"""A text that is shorter than this share of the longest of a pass begins another: padding costs as much as text."""


def passes_of(lengths: Sequence[int]) -> list[list[int]]:
    """Indexes, longest first."""
    passes: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if lengths[index] < FULL_SHARE * longest or not passes:
            passes.append([])
            longest = lengths[index]
        passes[-1].append(index)
    return passes
