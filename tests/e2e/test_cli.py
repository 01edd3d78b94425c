"""The command line as a person types it: real processes, real exit codes."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.processes import GatewayProcess
from tests.fixtures.scripted_upstream import ScriptedUpstream

CONFIG = """
data_dir: {folder}
upstreams:
  local:
    base_url: http://127.0.0.1:9/v1
    models:
      small: {{size: small, price: {{input: 1, output: 2}}}}
"""


def weighbridge(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def test_help_teaches_and_no_command_is_wrong_usage() -> None:
    shown = weighbridge("--help")
    bare = weighbridge()

    assert shown.returncode == 0
    for command in ("up", "serve", "worker", "check-config", "keys", "spend", "scorer", "plan"):
        assert command in shown.stdout
    assert bare.returncode == 2
    assert "examples:" in weighbridge("spend", "--help").stdout


def test_plan_answers_without_any_config_and_is_wrong_usage_otherwise() -> None:
    planned = weighbridge("plan", "size", "--model", "llama-3-8b", "--json")
    wrong = weighbridge("plan", "size", "--model", "llama-3-8b", "--util", "1.5")
    unknown = weighbridge("plan", "size", "--modle", "llama-3-8b")

    assert (planned.returncode, round(json.loads(planned.stdout)["total_gib"], 3)) == (0, 17.224)
    assert (wrong.returncode, unknown.returncode) == (2, 2)
    assert wrong.stderr.startswith("weighbridge: plan size: --util must be above 0 and at most 1")
    assert unknown.stderr == "weighbridge plan size: there is no --modle. Did you mean --model?\n"
    assert "weighbridge plan TOOL" in weighbridge("plan").stdout


def test_check_config_says_good_or_where_it_is_wrong(config: Path) -> None:
    good = weighbridge("check-config", "--config", config)
    config.write_text(config.read_text().replace("input: 1", "input: cheap"))
    wrong = weighbridge("check-config", "--config", config)
    as_json = weighbridge("check-config", "--config", config, "--json")
    absent = weighbridge("check-config", "--config", config.parent / "none.yaml")

    assert (good.returncode, "Models: small" in good.stdout) == (0, True)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert "upstreams.local.models.small.price.input" in wrong.stderr
    assert json.loads(as_json.stdout)["ok"] is False
    assert absent.returncode == 2
    assert "weighbridge up" in absent.stderr


def test_keys_are_made_listed_and_revoked(config: Path) -> None:
    made = weighbridge("keys", "create", "--config", config, "--tenant", "acme", "--tier", "paid", "--json")
    operator = weighbridge("keys", "create", "--config", config, "--role", "finance", "--json")
    key = json.loads(made.stdout)
    revoked = weighbridge("keys", "revoke", "--config", config, key["id"])
    listed = json.loads(weighbridge("keys", "list", "--config", config, "--json").stdout)
    table = weighbridge("keys", "list", "--config", config).stdout

    assert key["key"].startswith("sk-wb-")
    assert json.loads(operator.stdout)["key"].startswith("wb-finance-")
    assert revoked.returncode == 0
    assert {row["id"]: bool(row["revoked_at"]) for row in listed}[key["id"]] is True
    assert key["key"] not in table


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["keys", "create", "--tenant", "nobody"], "--tier"),
        (["keys", "create", "--tenant", "x", "--tier", "gold"], "no tier 'gold'"),
        (["keys", "create"], "--tenant"),
        (["keys", "create", "--tenant", "x", "--tier", "paid", "--budget-usd", "lots"], "--budget-usd"),
        (["keys", "create", "--tenant", "x", "--tier", "paid", "--expires", "soon"], "--expires"),
        (["keys", "revoke", "nothing"], "no key"),
        (["spend", "--by", "colour"], "colour"),
        (["spend", "--from", "yesterday"], "yesterday"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_exit_code_2(config: Path, args: list[str], says: str) -> None:
    result = weighbridge(*args, "--config", config)

    assert result.returncode == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


async def test_serve_refuses_a_port_that_is_taken_in_one_line(gateway_process: GatewayProcess) -> None:
    await gateway_process.start()

    second = await asyncio.to_thread(weighbridge, "serve", "--config", gateway_process.config_file)

    assert second.returncode == 2
    assert "server.port" in second.stderr
    assert second.stderr.count("\n") == 1


async def test_spend_on_the_command_line_is_the_same_as_over_http(
    gateway_process: GatewayProcess, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)
    await gateway_process.start()
    await gateway_process.ask()
    over_http = await gateway_process.spend()
    await gateway_process.stop()

    spend = ["spend", "--config", gateway_process.config_file, "--by", "model"]
    as_json = await asyncio.to_thread(weighbridge, *spend, "--json")
    as_csv = await asyncio.to_thread(weighbridge, *spend, "--csv")
    table = await asyncio.to_thread(weighbridge, *spend)

    assert json.loads(as_json.stdout)["rows"] == over_http
    assert as_csv.stdout.splitlines()[1].startswith("small,1,0,2,0,0,0,1,")
    assert "total" in table.stdout
    assert "0.000004000" in table.stdout
