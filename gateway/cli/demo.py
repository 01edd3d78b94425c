"""What `weighbridge up` makes on its first run, and finds again later: the config file, secrets, a tenant with a key."""

import argparse
import json
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from gateway.cli.accounts import opened_accounts
from gateway.config import Config
from gateway.errors import ConfigError

TENANT, TIER = "demo", "paid"
_ACTOR = "weighbridge up"
_LOCAL_PORT, _CLOUD_PORT = 8101, 8102
_MOST_THREADS = 4


@dataclass(frozen=True, slots=True)
class DemoKeys:
    app: str
    admin: str


def config_text(folder: Path, *, port: int, admin_port: int) -> str:
    """A first configuration for a data folder. Port 0 takes a free one. It holds no secret, only where they are."""
    cores = len(os.sched_getaffinity(0))
    values: dict[str, str | int] = {
        "data_dir": str(folder),
        "local_key": str(folder / "secrets" / "worker-local.key"),
        "cloud_key": str(folder / "secrets" / "worker-cloud.key"),
        "port": port or _free_port(),
        "admin_port": admin_port or _free_port(),
        "local_port": _free_port(_LOCAL_PORT),
        "cloud_port": _free_port(_CLOUD_PORT),
        "threads": max(1, min(_MOST_THREADS, cores // 2)),
    }
    template = Template((Path(__file__).parent / "demo.yaml").read_text(encoding="utf-8"))
    # JSON's strings are YAML's too, whatever the path contains.
    return template.substitute(
        {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    )


def make_worker_keys(config: Config) -> None:
    """The workers' own keys, where the configuration looks for them in the folder of secrets."""
    for name in config.workers:
        _, file = config.worker_key(name)
        path = Path(file).expanduser()
        if file and path.parent == config.secrets_path and not path.exists():
            _write_private(path, secrets.token_urlsafe(32))


def demo_keys(config_path: Path, config: Config) -> DemoKeys:
    """The demo tenant's key and an admin's: those of the last run, or new ones if these are gone or revoked."""
    with opened_accounts(argparse.Namespace(config=config_path)) as accounts:
        if TENANT not in {tenant.id for tenant in accounts.all_tenants()}:
            accounts.create_tenant(TENANT, tier=TIER, name="Demo", actor=_ACTOR)
        return DemoKeys(
            app=_kept(
                config.secrets_path / "demo.key",
                is_good=lambda text: accounts.resolve(text) is not None,
                make=lambda: accounts.create_key(TENANT, label="demo", actor=_ACTOR).text,
            ),
            admin=_kept(
                config.secrets_path / "admin.key",
                is_good=lambda text: accounts.operators.resolve(text) is not None,
                make=lambda: accounts.operators.create("admin", label="demo", actor=_ACTOR).text,
            ),
        )


def _kept(path: Path, *, is_good: Callable[[str], bool], make: Callable[[], str]) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        text = ""
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    if text and is_good(text):
        return text
    text = make()
    _write_private(path, text)
    return text


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, and for its owner only."""
    draft = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
        draft.replace(path)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}") from exc


def _free_port(wanted: int = 0) -> int:
    """The wanted port if nobody has it."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", wanted))
        except OSError:
            sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
