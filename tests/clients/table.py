"""The page that tells which client works how well: written by a run, and read back by the tests."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.clients.environments import ROOT
from tests.clients.suites import Report

PAGE = ROOT / "docs" / "reference" / "compatibility.md"
_LONGEST_REASON = 160
_INTRODUCTION = """\
# Compatibility

Clients that apps use, unchanged but for their base URL. Each runs its cases against a server behind which the same
provider stands: on loopback, in OpenAI's dialect and in Anthropic's, refusing what the real ones refuse. A case passes
when the client, in its strictest mode, gets what it asked for, or the error that it expects.

`python -m tests.clients.compare` runs them all and writes this page; `tests/clients/` holds the cases.
"""
_PEER = """
## How LiteLLM's proxy is set up

As its documentation says, in a process of its own; `tests/clients/litellm_proxy/` holds the settings. They are its
defaults, except where these would not be fair to it: no cool-down after failures, which cases provoke, and its bridges
from responses and messages to chat completions, since the provider has no responses of its own. There is no database,
so keys come from its `custom_auth` hook, one of them with a limit.

What it hands on, this provider does not have: files and batches (it can run batches itself where it has a database),
and for OpenAI's models behind Anthropic's API, thinking and the counting of tokens. With a provider that has all of
OpenAI's API it would pass more of these.
"""


def page(columns: Mapping[str, Sequence[Report]], versions: Mapping[str, str], date: str) -> str:
    """`columns` are the servers, ours first, with a report a suite, in the same order."""
    names = list(columns)
    head = ["Client", "Version", "Cases", *(f"{name} {versions[name]}" for name in names)]
    lines = [_row(head), _row(["---", "---", *["---:"] * (len(names) + 1)])]
    for reports in zip(*columns.values(), strict=True):
        cases = max(len(report.results) for report in reports)
        lines.append(
            _row([reports[0].client, reports[0].version, str(cases), *(str(r.passed) for r in reports)])
        )
    total = [str(sum(len(report.results) for report in columns[names[0]]))]
    total += [str(sum(report.passed for report in columns[name])) for name in names]
    lines.append(_row(["All", "", *total]))
    peer = [_PEER.rstrip()] if len(names) > 1 else []
    failures = [section for name in names for section in _failures(name, columns[name])]
    return "\n".join([_INTRODUCTION, f"Cases passed, {date}:\n", *lines, *peer, *failures]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _failures(name: str, reports: Sequence[Report]) -> list[str]:
    if not any(report.failures for report in reports):
        return []
    lines = [f"\n## What fails: {name}"]
    for report in reports:
        if report.failures:
            lines.append(f"\n{report.client}:\n")
            lines += [f"- {case}: `{_reason(why)}`" for case, why in report.failures.items()]
    return lines


def _reason(error: str) -> str:
    """One line, without what differs from run to run."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", error.replace("`", "'"))
    text = re.sub(r"\b(req|call|chatcmpl|resp|msg)[_-][\w-]{8,}", r"\1_...", text)
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def committed(client: str, *, page: Path = PAGE) -> tuple[str, int, int]:
    """Version, cases and how many of them pass with us, as the committed page says."""
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == client:
            return cells[1], int(cells[2]), int(cells[3])
    raise LookupError(f"{client} is not in {page}: run `python -m tests.clients.compare`")
