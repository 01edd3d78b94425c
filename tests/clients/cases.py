"""How a client suite written in Python names its cases and tells what came of them. The standard library only: it also
runs in environments that hold nothing but the client.

    cases = Cases("openai-python", openai.__version__)

    @cases.case("chat: a plain reply")
    def _() -> None: ...

    cases.main()

Arguments of the command line, if any, are texts of which one must be in a case's name for it to run; after `--trace` the
failures' tracebacks follow on standard error.
"""

import asyncio
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

Body = TypeVar("Body", bound=Callable[[], Any])

API_KEY = os.environ["API_KEY"]  # noqa: TID251 - a program of its own, which is told everything this way
BASE_URL = os.environ["BASE_URL"]  # noqa: TID251 - likewise
"""With `/v1` at its end."""
ROOT_URL = BASE_URL.removesuffix("/v1")


def setting(name: str) -> str:
    """`MODEL`, `CROSS_MODEL` and so on; empty for what the server under test does not have."""
    return os.environ.get(name, "")  # noqa: TID251 - likewise


class NotApplicableError(Exception):
    """Raised in a case that says nothing of the server: it is not told."""


class Cases:
    def __init__(self, client: str, version: str) -> None:
        self._out = sys.stdout
        self._tell(client=client, version=version)
        self._cases: dict[str, Callable[[], Any]] = {}

    def case(self, name: str) -> Callable[[Body], Body]:
        def add(body: Body) -> Body:
            assert name not in self._cases, name
            self._cases[name] = body
            return body

        return add

    def main(self) -> None:
        wanted = [text for text in sys.argv[1:] if text != "--trace"]
        with (
            asyncio.Runner() as runner
        ):  # one event loop for all, so that a client's connections live as in an app
            for name, body in self._cases.items():
                if not wanted or any(text in name for text in wanted):
                    self._try(name, body, runner)

    def tell(self, name: str, failure: BaseException | str | None) -> None:
        if failure is None:
            self._tell(case=name, ok=True)
        else:
            self._tell(case=name, ok=False, error=_in_one_line(failure))

    def _try(self, name: str, body: Callable[[], Any], runner: asyncio.Runner) -> None:
        try:
            result = body()
            if inspect.iscoroutine(result):
                runner.run(result)
        except NotApplicableError:
            return
        except Exception as exc:  # noqa: BLE001 - whatever a client raises is what came of the case
            if "--trace" in sys.argv:
                traceback.print_exception(exc)
            self.tell(name, exc)
        else:
            self.tell(name, None)

    def _tell(self, **line: object) -> None:
        print(json.dumps(line), flush=True, file=self._out)


def _in_one_line(failure: BaseException | str) -> str:
    if isinstance(failure, str):
        text = failure
    else:
        text = f"{type(failure).__name__}: {failure}"
        if isinstance(failure, AssertionError) and failure.__traceback__:
            place = traceback.extract_tb(failure.__traceback__)[-1]
            text = f"{text or 'AssertionError'} ({place.line})"
    return " ".join(text.split())[:400]
