"""The configuration that `weighbridge up` writes on its first run."""

import re
from pathlib import Path

import yaml

from gateway.cli.demo import config_text, make_worker_keys
from gateway.config import parse


def test_the_first_configuration_is_good_and_asks_for_no_secret_of_anyone(tmp_path: Path) -> None:
    text = config_text(tmp_path, port=8080, admin_port=8081)

    config = parse(text)

    assert config.data_path == tmp_path
    assert (config.server.port, config.server.admin_port) == (8080, 8081)
    assert {model for upstream in config.upstreams.values() for model in upstream.models} == {
        "small",
        "medium",
        "cloud",
    }
    assert all(not upstream.api_key_env for upstream in config.upstreams.values())


def test_each_upstream_has_its_own_worker_at_its_own_port_and_key(tmp_path: Path) -> None:
    config = parse(config_text(tmp_path, port=8080, admin_port=8081))

    for name, upstream in config.upstreams.items():
        worker = config.workers[name]
        assert upstream.base_url == f"http://{worker.host}:{worker.port}/v1"
        assert upstream.api_key_file == worker.api_key_file
        assert set(upstream.models) == set(worker.serves)
        assert all(model.context_window <= worker.context_window for model in upstream.models.values())
    assert len({worker.port for worker in config.workers.values()}) == 2
    assert len({worker.api_key_file for worker in config.workers.values()}) == 2


def test_the_file_holds_no_secret(tmp_path: Path) -> None:
    text = config_text(tmp_path, port=8080, admin_port=8081)
    make_worker_keys(parse(text))

    keys = [path.read_text().strip() for path in (tmp_path / "secrets").iterdir()]

    assert len(set(keys)) == 2
    assert all(len(key) >= 32 and key not in text for key in keys)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {0o600}


def test_a_worker_s_key_is_made_once(tmp_path: Path) -> None:
    config = parse(config_text(tmp_path, port=8080, admin_port=8081))
    make_worker_keys(config)
    key = Path(config.workers["local"].api_key_file)
    before = key.read_text()

    make_worker_keys(config)

    assert key.read_text() == before


def test_any_path_may_hold_the_data(tmp_path: Path) -> None:
    folder = tmp_path / """it's: a #"place" 数据 $HOME"""

    config = parse(config_text(folder, port=8080, admin_port=8081))

    assert config.data_path == folder
    assert Path(config.workers["local"].api_key_file).parent == config.secrets_path


def test_the_example_of_a_real_provider_is_good_once_its_marks_are_taken_away(tmp_path: Path) -> None:
    text = config_text(tmp_path, port=8080, admin_port=8081)
    with_provider = re.sub(r"^  # (?=openai:|  )", "  ", text, flags=re.MULTILINE)

    config = parse(with_provider)

    assert yaml.safe_load(with_provider)["upstreams"]["openai"]["api_key_env"] == "OPENAI_API_KEY"
    assert [model.size for model in config.upstreams["openai"].models.values()] == ["cloud"]
