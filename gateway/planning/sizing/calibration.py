"""What a worker was measured to reach, kept as a file for the planning tools."""

import math

import msgspec

from gateway.planning.contract import PlanError
from gateway.planning.sizing.architecture import Precision


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    mbu: float
    mfu: float
    serving_eff: float
    model: str
    gpu: str
    tp: int
    precision: Precision
    date: str
    """2026-11-21"""


def read_calibration(text: str) -> Calibration:
    """Raises PlanError."""
    try:
        found = msgspec.json.decode(text, type=Calibration)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise PlanError(
            f"This is no file of `weighbridge plan calibrate`: {exc}", param="calibration"
        ) from exc
    for name in ("mbu", "mfu", "serving_eff"):
        share = getattr(found, name)
        if not (math.isfinite(share) and 0 < share <= 1):
            raise PlanError(
                f"The calibration's {name} is {share}, and must be above 0 and at most 1.",
                param="calibration",
            )
    return found
