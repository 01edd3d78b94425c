"""An environment of its own for each client that brings a `requirements.txt`, made once and kept below `.venv/clients`."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_CLIENTS = Path(__file__).resolve().parent
_FOLDER = ROOT / ".venv" / "clients"


class UnavailableError(Exception):
    """The client cannot be had on this machine; the message says why, in one line."""


def interpreter(client: str) -> Path:
    """Of the client's own environment, or of this one if it asks for nothing special."""
    requirements = _CLIENTS / client / "requirements.txt"
    if not requirements.exists():
        return Path(sys.executable)
    folder = _FOLDER / client
    python = folder / "bin" / "python"
    wanted = hashlib.sha256(f"{sys.version} {folder} {requirements.read_text()}".encode()).hexdigest()
    with locked(client):
        stamp = folder / "stamp"
        if not stamp.exists() or stamp.read_text() != wanted:
            _make(folder, requirements)
            stamp.write_text(wanted)
    return python


def node_program(client: str) -> list[str]:
    """The command that runs the suite of a client from npm, in a folder that holds its packages."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise UnavailableError("there is no node with npm on the PATH")
    folder, source = _FOLDER / client, _CLIENTS / client
    packages = (source / "package.json").read_text()
    with locked(client):
        stamp = folder / "stamp"
        if not stamp.exists() or stamp.read_text() != packages:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            shutil.copy(source / "package.json", folder)
            quietly = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
            ask([npm, "install", *quietly], folder=folder)
            stamp.write_text(packages)
        for program in (_CLIENTS / "cases.mjs", source / "suite.mjs"):  # packages are looked for beside it
            shutil.copy(program, folder)
    return [node, str(folder / "suite.mjs")]


@contextmanager
def locked(client: str) -> Iterator[None]:
    """One process at a time makes what a client needs."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / f"{client}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(folder: Path, requirements: Path) -> None:
    """The requirements are complete: what they ask for themselves stands beside them."""
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv") or ROOT / ".venv" / "bin" / "uv"
    if not Path(uv).exists():
        ask([sys.executable, "-m", "venv", str(folder)])
        pip = str(folder / "bin" / "pip")
        ask([pip, "install", "--quiet", "--no-deps", "--requirement", str(requirements)])
        return
    ask([str(uv), "venv", "--quiet", "--python", sys.executable, str(folder)])
    python = str(folder / "bin" / "python")
    how = ("--quiet", "--no-deps", "--compile-bytecode", "--python", python)  # as pip does: runs write none
    ask([str(uv), "pip", "install", *how, "--requirement", str(requirements)])


def ask(command: list[str], *, folder: Path = ROOT, timeout_s: float = 300) -> None:
    """Runs an installer. Raises UnavailableError with its last line."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=_with_uv_names(),
            capture_output=True,
            check=False,
            text=True,
            timeout=timeout_s,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise UnavailableError(f"{Path(command[0]).name}: {exc}") from exc
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no word why"]
        raise UnavailableError(f"{Path(command[0]).name} {command[1]}: {lines[-1]}")


def _with_uv_names() -> dict[str, str]:
    """uv reads none of pip's variables, and brings certificates of its own: hand over what says where packages are."""
    env = dict(os.environ)  # noqa: TID251 - for a process of our own
    for to, source in (
        ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"),
        ("UV_INDEX", "PIP_EXTRA_INDEX_URL"),
        ("UV_FIND_LINKS", "PIP_FIND_LINKS"),
        ("SSL_CERT_FILE", "PIP_CERT"),
    ):
        if source in env:
            env.setdefault(to, env[source])
    env.setdefault("UV_SYSTEM_CERTS", "1")
    return env
