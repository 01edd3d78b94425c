"""All policies by name: the shipped ones, folders of documents, and those of installed packages."""

from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from policies import document, plugin
from policies.composed import ComposedPolicy, Guards
from policies.constraints import is_requested
from policies.contract import Policy
from policies.named import Named
from policies.section import PolicyError

LIBRARY = Path(__file__).parent / "library"
ENTRY_POINTS = "weighbridge.policies"
"""A package's entry point in this group names a class or function: called without arguments, it gives a Policy."""

NAMED = ComposedPolicy(
    name="named",
    description="The model that the caller named, wherever it is served.",
    constraints=(is_requested,),
    objective=Named(),
    # The order owes nothing to a score, so a failed one changes nothing.
    guards=Guards(on_degraded_score="objective"),
)


class Registry:
    """Never changes: a reload makes a new one, and whoever holds this one keeps it."""

    def __init__(self, policies: Iterable[tuple[str, Policy]]) -> None:
        """Each policy with where it came from, which is told when two claim one name."""
        self._policies: dict[str, Policy] = {}
        origins = {NAMED.name: "requests that name a model"}
        for origin, policy in policies:
            if policy.name in origins:
                raise PolicyError(f"{origin}: name: {policy.name!r} is taken by {origins[policy.name]}")
            origins[policy.name] = origin
            self._policies[policy.name] = policy

    @classmethod
    def load(cls, dirs: Sequence[Path] = (), entry_points: bool = True) -> "Registry":
        """The shipped library, the documents in `dirs`, and installed packages. Raises PolicyError."""
        found: list[tuple[str, Policy]] = []
        for folder in (LIBRARY, *dirs):
            found += [(path.name, document.load(path)) for path in _documents(folder)]
        return cls([*found, *(_plugins() if entry_points else [])])

    @property
    def names(self) -> tuple[str, ...]:
        """What may follow `auto:`."""
        return tuple(self._policies)

    @property
    def named(self) -> Policy:
        """Serves requests that name a model."""
        return NAMED

    @property
    def fallback(self) -> Policy:
        """For when a policy fails: the cheapest allowed."""
        return self.get("cheapest")

    def get(self, name: str) -> Policy:
        if name not in self._policies:
            raise PolicyError(f"there is no policy {name[:64]!r}; there are {', '.join(self.names)}")
        return self._policies[name]


def _documents(folder: Path) -> list[Path]:
    try:
        return sorted(
            path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"} and path.is_file()
        )
    except OSError as exc:
        raise PolicyError(f"{folder}: cannot be read: {exc.strerror}") from exc


def _plugins() -> list[tuple[str, Policy]]:
    found: list[tuple[str, Policy]] = []
    for entry in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        origin = f"entry point {entry.name} ({entry.value})"
        try:
            found.append((origin, plugin.wrap(entry.load()())))
        except Exception as exc:
            raise PolicyError(f"{origin}: cannot be loaded: {exc!s:.200}") from exc
    return found
