"""The planning tools by name. Each one's module is imported when it is asked for: a command needs only its own."""

import difflib
import importlib
from typing import Any

from gateway.planning.contract import PlanError, Tool

NAMES = ("size", "tco", "breakeven", "roi", "finetune", "forecast")
"""Each is a module of this package with a `TOOL`, in the order in which people meet them."""


def tool(name: str) -> Tool[Any]:
    """Raises PlanError for a name that is none of these."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise PlanError(
            f"There is no planning tool {name[:64]!r}; there are {', '.join(NAMES)}.{hint}", param="tool"
        )
    found: Tool[Any] = importlib.import_module(f"{__package__}.{name}").TOOL
    return found
