"""What `weighbridge up` says when all is up: lines that work when they are pasted into a shell."""

import json
import shlex
import shutil
import sys
from pathlib import Path
from string import Template

from gateway.cli.demo import DemoKeys
from gateway.config import Config, default_data_dir

_TEXT = Template("""
export OPENAI_BASE_URL=$base_url
export OPENAI_API_KEY=$api_key
export WEIGHBRIDGE_ADMIN_KEY=$admin_key

# Paste the three lines above into another shell. Then ask, with curl:
curl -sS "$$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $$OPENAI_API_KEY" -H 'Content-Type: application/json' -d '$body'

# or with Python:
$python -c 'import openai; print(openai.OpenAI().chat.completions.create(model="auto", messages=[{"role": "user", "content": "What is the capital of France?"}]).choices[0].message.content)'

# What it cost:
$weighbridge spend --by model$config_option
curl -sS "$admin_url/finance/spend?by=model" -H "Authorization: Bearer $$WEIGHBRIDGE_ADMIN_KEY"

# Settings: $config
# Logs:     $logs
# Ctrl-C here stops everything and keeps the data.""")

_BODY = {"model": "auto", "messages": [{"role": "user", "content": "What is the capital of France?"}]}


def as_text(path: Path, config: Config, keys: DemoKeys) -> str:
    is_default = path == default_data_dir() / "config.yaml"
    return _TEXT.substitute(
        _facts(path, config, keys),
        body=json.dumps(_BODY),
        python=shlex.quote(sys.executable),
        weighbridge=shlex.quote(_command()),
        config_option="" if is_default else f" --config {shlex.quote(str(path))}",
        logs=config.data_path / "logs",
    )


def as_json(path: Path, config: Config, keys: DemoKeys) -> str:
    return json.dumps(_facts(path, config, keys))


def reachable(host: str) -> str:
    """Where to knock for a server that listens on all addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def url(host: str, port: int) -> str:
    host = reachable(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _facts(path: Path, config: Config, keys: DemoKeys) -> dict[str, str]:
    server = config.server
    return {
        "base_url": f"{url(server.host, server.port)}/v1",
        "api_key": keys.app,
        "admin_url": url(server.admin_host, server.admin_port),
        "admin_key": keys.admin,
        "config": str(path),
    }


def _command() -> str:
    """As it can be called from anywhere: by name if the PATH leads to this very installation."""
    here = Path(sys.executable).with_name("weighbridge")
    found = shutil.which("weighbridge")
    return "weighbridge" if found and Path(found) == here else str(here)
