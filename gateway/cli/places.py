"""Where commands find the config file, and whether a port is free. Imports nothing that is slow to import."""

import argparse
import socket
from pathlib import Path

from gateway.config import default_data_dir
from gateway.errors import ConfigError


def config_path(args: argparse.Namespace) -> Path:
    path: Path | None = args.config
    return path or default_data_dir() / "config.yaml"


def bound(where: str, host: str, port: int) -> socket.socket:
    """A socket that has its port before anything else is started. Raises ConfigError if it cannot."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as exc:
        raise ConfigError(f"{where}: cannot listen on {host}: {exc.strerror}") from exc
    sock = socket.socket(family, kind, proto)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError as exc:
        sock.close()
        raise ConfigError(
            f"{where}: cannot listen on {host}:{port}: {exc.strerror}; stop what uses it, or choose another port"
        ) from exc
    sock.setblocking(False)
    return sock
