"""What every suite shares. Nothing here reaches beyond the loopback."""

import os

import pytest
from hypothesis import settings

pytest_plugins = [
    "tests.fixtures.stores",
    "tests.fixtures.postgres",
    "tests.fixtures.scripted_upstream",
    "tests.fixtures.obliging_upstream",
    "tests.fixtures.worker",
    "tests.fixtures.tiny_model",
    "tests.fixtures.tiny_encoder",
    "tests.fixtures.smollm2",
    "tests.fixtures.metadata_service",
    "tests.fixtures.gateway",
    "tests.fixtures.cascading",
    "tests.fixtures.processes",
    "tests.fixtures.golden",
]

# A busy machine is slow now and then, and that says nothing about the code.
settings.register_profile("here", deadline=None)
settings.load_profile("here")

_LEAKS = (
    "PYTHONDONTWRITEBYTECODE",
    "_PROXY",
    "_API_KEY",
    "_BASE_URL",
    "OPENAI_",
    "ANTHROPIC_",
    "WEIGHBRIDGE_",
)


@pytest.fixture(scope="session", autouse=True)
def _bare_environment() -> None:
    """No proxy and no provider key of the machine may change what a test sees."""
    for name in list(os.environ):  # noqa: TID251 - tests prepare the environment that others may not read
        if any(leak in name.upper() for leak in _LEAKS):
            del os.environ[name]  # noqa: TID251 - likewise
