"""The client suites, and how one is run: a program that is told where the server is, and prints a line of JSON a case.

Its first line is `{"client": "openai-python", "version": "3.52.0"}`, each of the others `{"case": "...", "ok": true}` or
`{"case": "...", "ok": false, "error": "..."}`. It ends with 0 whenever it ran through.
"""

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.clients.environments import ROOT, interpreter, node_program
from tests.fixtures import obliging_upstream as provider

TIMEOUT_S = 240
_MODELS = {
    "MODEL": provider.CHAT_MODEL,
    "CROSS_MODEL": provider.CLAUDE_MODEL,
    "REASONING_MODEL": provider.REASONING_MODEL,
    "COMPLETION_MODEL": provider.COMPLETION_MODEL,
    "EMBEDDING_MODEL": provider.EMBEDDING_MODEL,
    "MODERATION_MODEL": provider.MODERATION_MODEL,
}


@dataclass(frozen=True)
class Suite:
    name: str
    """The folder."""
    command: Callable[[], list[str]]
    """Installs what it needs, once; raises UnavailableError. Run in the root of the checkout."""


def _python(name: str) -> Suite:
    return Suite(name, partial(_python_command, name))


def _node(name: str) -> Suite:
    return Suite(name, partial(node_program, name))


def _python_command(name: str) -> list[str]:
    return [str(interpreter(name)), "-m", f"tests.clients.{name}.suite"]


SUITES = (
    _python("openai_python"),
    _python("anthropic_python"),
    _python("langchain"),
    _python("pydantic_ai"),
    _python("llm"),
    _python("instructor"),
    _python("litellm_sdk"),
    _node("openai_node"),
    _node("vercel_ai"),
)


@dataclass(frozen=True)
class Target:
    """A server to be tried. What is empty it does not have."""

    base_url: str
    api_key: str
    limited_api_key: str = ""
    """A key that gets 429 from its second request within a minute on."""
    models: dict[str, str] = field(default_factory=lambda: dict(_MODELS))
    """By the name of the variable that tells a suite of it."""

    @property
    def variables(self) -> dict[str, str]:
        told = {"BASE_URL": self.base_url, "API_KEY": self.api_key, "LIMITED_API_KEY": self.limited_api_key}
        return {**told, **self.models}


@dataclass(frozen=True)
class Result:
    case: str
    ok: bool
    error: str = ""


@dataclass(frozen=True)
class Report:
    client: str
    version: str
    results: tuple[Result, ...]

    @property
    def failures(self) -> dict[str, str]:
        return {result.case: result.error for result in self.results if not result.ok}

    @property
    def passed(self) -> int:
        return len(self.results) - len(self.failures)


async def run(suite: Suite, target: Target) -> Report:
    command = await asyncio.to_thread(suite.command)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=_environment(target), stdout=PIPE, stderr=PIPE, limit=2**20
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except BaseException:
        process.kill()
        await process.communicate()
        raise
    if process.returncode:
        raise RuntimeError(f"{suite.name} ended with {process.returncode}: {err.decode()[-2000:]}")
    about, *lines = [json.loads(line) for line in out.splitlines()]
    results = tuple(Result(line["case"], line["ok"], line.get("error", "")) for line in lines)
    return Report(about["client"], about["version"], results)


def _environment(target: Target) -> dict[str, str]:
    """Little of the machine's own: a proxy or a provider's key must not change what a client does."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    own = {name: os.environ[name] for name in kept if name in os.environ}  # noqa: TID251 - for a process of our own
    return {**own, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", **target.variables}
