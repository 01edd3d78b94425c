"""langchain-openai: every test of langchain-tests' standard suite is a case."""

import contextlib
import sys
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from tests.clients.cases import Cases

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6364f8cf500f000e1801805a347d6b0000000049454e44ae426082"
)


class Told:
    """Tells each test's outcome as a case. One that does not apply is none."""

    def __init__(self, cases: Cases) -> None:
        self._cases = cases

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = "::".join(report.nodeid.split("::")[1:])
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._cases.tell(name, crash.message if crash else str(report.longrepr))
        elif report.when == "call" and report.passed:
            self._cases.tell(name, None)

    @pytest.fixture(autouse=True)
    def no_downloads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The suite fetches the files that it shows to a model from the Internet: any file will do."""

        def fetch(url: str, **_: object) -> httpx.Response:
            return httpx.Response(200, content=PIXEL, request=httpx.Request("GET", url))

        monkeypatch.setattr(httpx, "get", fetch)


if __name__ == "__main__":
    versions = f"{version('langchain-openai')} (langchain-tests {version('langchain-tests')})"
    told = Told(Cases("langchain-openai", versions))
    file = Path(__file__).with_name("standard.py")
    alone = ["-c", "/dev/null", "--rootdir", str(file.parent), "--noconftest", "-p", "no:cacheprovider"]
    quiet = [
        "-q",
        "--no-header",
        "--no-summary",
        "--tb=line",
        "--asyncio-mode=auto",
        "--import-mode=importlib",
    ]
    # ChatOpenAI keeps its connections for the next instance, and they die with the event loop that made them.
    quiet += ["-o", "asyncio_default_test_loop_scope=session"]
    with contextlib.redirect_stdout(sys.stderr):
        came_of_it = pytest.main([str(file), *alone, *quiet], plugins=[told])
    sys.exit(came_of_it not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED))
