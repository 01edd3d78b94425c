"""What is measured beside our gateway: the upstream itself, a bare proxy, and the peers in their cheapest modes."""

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Protocol, Self

from errors import BenchError
from load import ANY_KEY, HERE, Billed, MockUpstream, Server
from processes import Process, free_port

PEERS = HERE / "peers"


class Books(Protocol):
    """A target's own record of what it served."""

    entries: int
    cost: int
    """Nano-dollars."""

    def reconcile(self, answered: int, billed: dict[str, Billed]) -> None:
        """Wait until the record has what was answered and what the upstream billed since the last call. Raises
        BenchError if it comes to say anything else."""


@dataclass(frozen=True, slots=True)
class Target(Server):
    process: Process | None = None
    """None: nothing stands between the load and the upstream."""
    books: Books | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.stop()


@dataclass(frozen=True, slots=True)
class Peer:
    """A package that is installed in an environment of its own. `{config}` and `{port}` are filled in."""

    config: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


PEER_BY_NAME = {
    "litellm": Peer(
        config="litellm.yaml",
        command=(
            "litellm",
            "--config",
            "{config}",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
            "--num_workers",
            "1",
        ),
        env={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_TELEMETRY": "False",
        },
    ),
    "lm-proxy": Peer(config="lm-proxy.toml", command=("lm-proxy", "--config", "{config}")),
    "rolter": Peer(
        config="rolter.toml", command=("rolter", "gateway", "-c", "{config}"), env={"RUST_LOG": "error"}
    ),
}


def direct(upstream: MockUpstream) -> Target:
    return Target("direct", upstream.port)


def start_bare(upstream: MockUpstream) -> Target:
    port = free_port()
    process = Process("bare", [sys.executable, str(HERE / "bare_proxy.py"), str(port), upstream.base_url])
    process.wait_for_port(port, timeout_s=30)
    return Target("bare", port, process=process)


def start_peer(name: str, upstream: MockUpstream, folder: Path) -> Target:
    peer, port = PEER_BY_NAME[name], free_port()
    programs = install_peer(name)
    config = folder / peer.config
    template = Template((PEERS / peer.config).read_text())
    root_url = upstream.base_url.removesuffix("/v1")
    config.write_text(
        template.substitute(port=port, base_url=upstream.base_url, root_url=root_url, key=ANY_KEY)
    )
    command = [part.format(config=config, port=port) for part in peer.command]
    process = Process(name, [str(programs / command[0]), *command[1:]], env=peer.env, cwd=folder)
    process.wait_for_port(port, timeout_s=120)
    return Target(name, port, process=process)


def install_peer(name: str) -> Path:
    """The folder with the peer's programs; made with uv when it is not there. Needs the network once."""
    home = PEERS / f"{name}-venv"
    programs = home / "bin"
    if not (programs / PEER_BY_NAME[name].command[0]).exists():
        uv = shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent)
        if uv is None:
            raise BenchError(f"{name} is not installed, and there is no uv to install it with")
        print(f"installing {name} into {home.relative_to(HERE)}", file=sys.stderr)
        subprocess.run([uv, "venv", "-q", "--clear", "-p", sys.executable, home], check=True)
        subprocess.run(
            [uv, "pip", "install", "-q", "-p", programs / "python", "-r", PEERS / f"{name}.txt"], check=True
        )
    return programs
