"""A policy document: YAML that an admin can read aloud, turned into a policy or refused with one line.

Data only: no tags, no anchors, no includes, no expressions, nothing that could run or grow.
"""

from collections.abc import Callable
from pathlib import Path
from stat import S_IWOTH
from typing import Any, Literal

import yaml

from policies import cascade, cheapest, cheapest_adequate, constraints, threshold
from policies.composed import ComposedPolicy, Guards
from policies.objective import Objective
from policies.section import PolicyError, Section

__all__ = ["MAX_BYTES", "PolicyError", "load", "parse"]

MAX_BYTES = 65_536

OBJECTIVES: dict[str, Callable[[Section], Objective]] = {
    "threshold": threshold.read,
    "cheapest_adequate": cheapest_adequate.read,
    "cheapest": cheapest.read,
    "cascade": cascade.read,
}

_ON_DEGRADED: tuple[Literal["cheapest", "objective"], ...] = ("cheapest", "objective")


def load(path: Path) -> ComposedPolicy:
    try:
        with path.open("rb") as file:
            if path.stat().st_mode & S_IWOTH:
                raise PolicyError(
                    f"{path.name}: every user of this machine may change it; run `chmod o-w {path}`"
                )
            raw = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise PolicyError(f"{path.name}: cannot be read: {exc.strerror}") from exc
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise PolicyError(f"{path.name}: is not UTF-8 text") from exc
    return parse(text, source=path.name)


def parse(text: str, *, source: str) -> ComposedPolicy:
    """`source` names the document in messages."""
    top = Section(_yaml(text, source), source, is_top=True)
    policy = ComposedPolicy(
        name=top.name("name"),
        description=top.text("description"),
        version=top.whole("version", 1, 1_000_000_000),
        constraints=constraints.read(top.section("constraints", optional=True)),
        objective=_objective(top.section("objective")),
        guards=_guards(top.section("guards", optional=True)),
    )
    top.done()
    if (
        isinstance(policy.objective, cascade.Cascade)
        and policy.objective.max_steps > policy.guards.max_attempts
    ):
        raise top.refuse("expected no more than `guards.max_attempts`", "objective.max_steps")
    return policy


def _objective(section: Section) -> Objective:
    objective = OBJECTIVES[section.choice("kind", tuple(OBJECTIVES))](section)
    section.done()
    return objective


def _guards(section: Section) -> Guards:
    usual = Guards()
    on_degraded = section.choice("on_degraded_score", _ON_DEGRADED, usual.on_degraded_score)
    guards = Guards(
        max_attempts=section.whole("max_attempts", 1, 10, usual.max_attempts),
        on_degraded_score=next(choice for choice in _ON_DEGRADED if choice == on_degraded),
        max_queued=section.whole("max_queued", 0, 1_000_000) if section.has("max_queued") else None,
        max_kv_use=section.share("max_kv_use") if section.has("max_kv_use") else None,
    )
    section.done()
    return guards


def _yaml(text: str, source: str) -> Any:
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise PolicyError(f"{source}: is larger than {MAX_BYTES:,} bytes")
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader that refuses more than its parent
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(exc, "problem", None) or str(exc).splitlines()[0]
        raise PolicyError(f"{source}{line}: not valid YAML: {problem}") from exc
    except RecursionError:
        raise PolicyError(f"{source}: is nested too deeply") from None
    except ValueError as exc:
        # PyYAML lets the errors of int(), float() and date() through.
        raise PolicyError(f"{source}: holds a number or a date that cannot be read") from exc


class _PlainLoader(yaml.SafeLoader):
    """YAML without what a policy has no use for: anchors and aliases (bombs), tags, keys given twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML has no types here
        if event.anchor is not None:
            self._refuse("anchors and aliases are not allowed", event)
        if getattr(event, "tag", None) is not None:
            self._refuse("tags are not allowed", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            is_text = isinstance(key, yaml.ScalarNode) and key.tag == "tag:yaml.org,2002:str"
            if not is_text or not key.value.isprintable():
                self._refuse("a key must be plain text", key)
            if key.value in seen:
                self._refuse(f"the key {key.value[:60]!r} is there twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def _refuse(self, problem: str, at: Any) -> None:
        raise yaml.constructor.ConstructorError(None, None, problem, at.start_mark)
