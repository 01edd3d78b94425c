"""The planning tools by name. Each one's module is imported when it is asked for: a command needs only its own."""

import difflib
import importlib
from typing import Any

from gateway.planning.contract import PlanError, Tool

_MODULES = {
    "size": "sizing.size",
    "tco": "cost.tco",
    "breakeven": "payoff.breakeven",
    "roi": "payoff.roi",
    "finetune": "tuning.finetune",
    "forecast": "forecasting.forecast",
}
"""Of this package, each with a `TOOL`, in the order in which people meet them."""
NAMES = tuple(_MODULES)


def tool(name: str) -> Tool[Any]:
    """Raises PlanError for a name that is none of these."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise PlanError(
            f"There is no planning tool {name[:64]!r}; there are {', '.join(NAMES)}.{hint}", param="tool"
        )
    found: Tool[Any] = importlib.import_module(f"{__package__}.{_MODULES[name]}").TOOL
    return found
