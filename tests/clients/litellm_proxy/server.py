"""LiteLLM's proxy as a process of its own, before the obliging provider. `config.yaml` and `keys.py` are its settings."""

import asyncio
import os
import re
import secrets
import socket
from asyncio.subprocess import STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.clients.environments import interpreter
from tests.clients.suites import Target
from tests.fixtures.obliging_upstream import ObligingUpstream

_FOLDER = Path(__file__).resolve().parent
_START_S = 120
_STOP_S = 10


def version() -> str:
    [pin] = re.findall(r"^litellm==(\S+)$", (_FOLDER / "requirements.txt").read_text(), re.MULTILINE)
    return str(pin)


@asynccontextmanager
async def litellm_proxy(folder: Path, upstream: ObligingUpstream) -> AsyncIterator[Target]:
    python = await asyncio.to_thread(interpreter, _FOLDER.name)
    port = _free_port()
    key, limited_key = (f"sk-{secrets.token_hex(24)}" for _ in range(2))
    told = {
        "PROVIDER_URL": upstream.url,
        "PROVIDER_ROOT": upstream.url.removesuffix("/v1"),
        "PROVIDER_KEY": upstream.key,
        "OPENAI_BASE_URL": upstream.url,  # for requests that name no model
        "OPENAI_API_KEY": upstream.key,
        "LITELLM_MASTER_KEY": key,
        "LIMITED_KEY": limited_key,
    }
    command = [str(python.with_name("litellm")), "--config", str(_FOLDER / "config.yaml")]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    log = folder / "litellm.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=_environment(folder, told), stdout=out, stderr=STDOUT
        )
    try:
        await asyncio.wait_for(_ready(process, f"http://127.0.0.1:{port}", log), _START_S)
        yield Target(f"http://127.0.0.1:{port}/v1", key, limited_key)
    finally:
        await _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(folder: Path, told: dict[str, str]) -> dict[str, str]:
    """It asks nobody outside: not for prices, not for headers of Anthropic's, and it reports to no one."""
    return {
        "PATH": os.environ["PATH"],  # noqa: TID251 - for a process of our own
        "HOME": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
        "LITELLM_LOCAL_BLOG_POSTS": "True",
        "LITELLM_TELEMETRY_DISABLED": "true",
        **told,
    }


async def _ready(process: Process, url: str, log: Path) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        while True:
            try:
                if (await http.get(f"{url}/health/liveliness")).is_success:
                    return
            except httpx.TransportError:
                if process.returncode is not None:
                    last_words = (await asyncio.to_thread(log.read_text))[-2000:]
                    raise RuntimeError(f"LiteLLM's proxy ended: {last_words}") from None
            await asyncio.sleep(0.2)


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
