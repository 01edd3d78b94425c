"""`weighbridge check-config`: everything that starting does, short of listening."""

import argparse
import io
import sys

import msgspec

from gateway.app import create_app
from gateway.cli.demo import make_worker_keys
from gateway.cli.footprint import footprint, is_missing
from gateway.cli.places import config_path
from gateway.cli.stores import configured_stores
from gateway.config import load
from gateway.errors import ConfigError


def run(args: argparse.Namespace) -> int:
    path = config_path(args)
    try:
        config = load(path)
        make_worker_keys(config)
        gateway = create_app(config, configured_stores(config), log_stream=io.BytesIO())
        names = sorted(name for upstream in config.upstreams.values() for name in upstream.models)
        policies = gateway.registry.names
        gateway.database.close()
    except ConfigError as exc:
        if args.json:
            print(msgspec.json.encode({"ok": False, "file": str(path), "error": str(exc)}).decode())
            return 2
        raise
    footprints = {
        name: found for name, worker in config.workers.items() if (found := footprint(worker)) is not None
    }
    missing = [name for name, worker in config.workers.items() if is_missing(worker)]
    if args.json:
        result = {
            "ok": True,
            "file": str(path),
            "models": names,
            "policies": policies,
            "tiers": list(config.tiers),
            "workers": footprints,
            "missing_models": missing,
        }
        print(msgspec.json.encode(result).decode())
    else:
        print(f"{path}: good. Models: {', '.join(names)}. Policies: {', '.join(policies)}.", file=sys.stdout)
        for name, found in footprints.items():
            print(f"worker `{name}`: {found}")
        for name in missing:
            print(
                f"worker `{name}`: {config.workers[name].model} is not on this machine: `up` cannot start it here"
            )
    return 0
