"""Writes the reference pages that come from the code. `python docs/reference.py` from the checkout's root.

A test compares what it would write with what is there.
"""

import ast
import io
import re
import shlex
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

from gateway.cli import plan
from gateway.clock import ManualClock
from gateway.planning.reading import Input, inputs_of
from gateway.planning.tools import tool

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / "docs" / "reference" / "configuration.md"
PLANNER = ROOT / "docs" / "reference" / "planner.md"

_PLANNED_ON = datetime(2026, 11, 21, tzinfo=UTC)
"""The day of the examples: prices are as old on it as they were when the page was written."""

_HEAD = """\
# Configuration

One YAML file. Unknown keys, doubled keys and wrong types are refused with their place; `weighbridge check-config` does
all that starting does, short of listening. Secrets are named (`..._env`, `..._file`), never written. What admins edit
while the gateway runs (tenants, keys, tiers) lives in the database; the file's `tiers` are what a new database begins
with. Prices are dated when they change: editing one here adds a row to the price book and leaves the old one.

This page is generated from `gateway/config.py`.
"""


def configuration() -> str:
    tree = ast.parse((ROOT / "gateway" / "config.py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    pages = [_HEAD]
    for name, where in _sections(classes).items():
        node = classes[name]
        pages.append(f"\n## {where}\n")
        text = ast.get_docstring(node)
        if text:
            pages.append(f"\n{' '.join(text.split())}\n")
        pages.append("\n| key | type | default | meaning |\n|---|---|---|---|\n")
        pages += [_row(field, meaning) for field, meaning in _fields(node)]
    return "".join(pages)


def _sections(classes: dict[str, ast.ClassDef]) -> dict[str, str]:
    """Every struct with the place in the file where it stands, outermost first."""
    places = {"Config": "Top level"}
    todo = [("Config", "")]
    while todo:
        name, path = todo.pop(0)
        for field, _ in _fields(classes[name]):
            for inner in ast.walk(field.annotation):
                if isinstance(inner, ast.Name) and inner.id in classes and inner.id not in places:
                    many = "dict" in ast.unparse(field.annotation)
                    place = f"{path}{ast.unparse(field.target)}" + (".NAME" if many else "")
                    places[inner.id] = f"`{place}`"
                    todo.append((inner.id, f"{place}."))
    return places


def _fields(node: ast.ClassDef) -> list[tuple[ast.AnnAssign, str]]:
    found: list[tuple[ast.AnnAssign, str]] = []
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign):
            found.append((statement, ""))
        elif found and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            found[-1] = (found[-1][0], " ".join(str(statement.value.value).split()))
    return found


def _row(field: ast.AnnAssign, meaning: str) -> str:
    name = ast.unparse(field.target)
    kind = ast.unparse(field.annotation).replace("|", "\\|")
    if field.value is None:
        default = "required"
    else:
        default = f"`{ast.unparse(field.value)}`" if isinstance(field.value, ast.Constant | ast.Tuple) else ""
        default = default.replace("`''`", "empty").replace("`None`", "none")
    return f"| `{name}` | `{kind}` | {default} | {meaning} |\n"


def planner(page: str) -> str:
    """The page with what stands between its markers made anew: `<!-- inputs: TOOL -->` or `<!-- example: ARGUMENTS -->`
    and `<!-- end -->`. An example may end in `| head -N`."""
    return re.sub(
        r"(<!-- (inputs|example): (.*?) -->\n).*?(<!-- end -->)",
        lambda found: found[1] + {"inputs": _inputs, "example": _example}[found[2]](found[3]) + found[4],
        page,
        flags=re.DOTALL,
    )


def _inputs(name: str) -> str:
    chosen = tool(name)
    rows = [_input(each, is_file=each.name in chosen.files) for each in inputs_of(chosen.inputs)]
    return (
        "\n| input | unit | default | meaning | source of the default |\n|---|---|---|---|---|\n"
        + "".join(rows)
        + "\n"
    )


def _input(each: Input, *, is_file: bool) -> str:
    kind = "file" if is_file else ", ".join(f"`{choice}`" for choice in each.choices) or each.kind
    default = plan.default_text(each)
    shown = "required" if each.is_required else f"`{default}`" if default else ""
    meaning = f"{each.meaning}; {'; '.join(filter(None, (each.bounds_text, kind)))}{'; may be given again' * each.is_many}"
    source = ", ".join(filter(None, (each.source, each.as_of)))
    cells = (
        f"`--{each.name.replace('_', '-')}`",
        each.unit,
        shown,
        meaning,
        source,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _example(typed: str) -> str:
    command, _, most = typed.partition(" | head -")
    name, *argv = shlex.split(command)
    printed = io.StringIO()
    with redirect_stdout(printed):
        plan.run(tool(name), argv, ManualClock(round(_PLANNED_ON.timestamp() * 1000)), width=100)
    lines = printed.getvalue().splitlines()[: int(most) if most else None]
    return "\n".join(["```console", f"$ weighbridge plan {typed}", *lines, "```", ""])


if __name__ == "__main__":
    CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
    CONFIGURATION.write_text(configuration(), encoding="utf-8")
    PLANNER.write_text(planner(PLANNER.read_text(encoding="utf-8")), encoding="utf-8")
