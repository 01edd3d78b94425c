"""Which folders are served as encoders, and which words of the command line are not for them."""

from pathlib import Path

import pytest

from workers.assembly import service_of
from workers.chats import Chats
from workers.embeddings.service import Embeddings
from workers.errors import ConfigError
from workers.models import find
from workers.options import parser
from workers.service import Service
from workers.timing import Clocks


def serviced(folder: Path, *words: str) -> Service:
    """Nothing is loaded by it."""
    args = parser().parse_args(["--model", str(folder), *words])
    return service_of(find(args.model), args, Clocks(unix_s=lambda: 0, monotonic_s=lambda: 0.0))


def write(folder: Path, architecture: str) -> Path:
    (folder / "config.json").write_text(f'{{"architectures": ["{architecture}"]}}')
    return folder


@pytest.mark.parametrize(
    ("architecture", "words", "kind"),
    [
        ("BertModel", (), Embeddings),
        ("Qwen3ForCausalLM", (), Chats),
        ("Qwen3ForCausalLM", ("--engine", "encoder"), Embeddings),
        ("BertModel", ("--engine", "transformers"), Chats),
    ],
)
def test_the_folder_says_what_is_served_unless_the_command_line_does(
    tmp_path: Path, architecture: str, words: tuple[str, ...], kind: type[Service]
) -> None:
    assert isinstance(serviced(write(tmp_path, architecture), *words), kind)


def test_a_folder_whose_parts_have_folders_of_their_own_is_an_encoder(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")

    assert isinstance(serviced(tmp_path), Embeddings)


@pytest.mark.parametrize("words", [("--kv-gib", "1"), ("--attention", "sdpa"), ("--reuse-prompts",)])
def test_words_about_answers_are_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"{words[0]} is not for encoders"):
        serviced(write(tmp_path, "BertModel"), *words)


def test_a_file_is_no_encoder(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.touch()

    with pytest.raises(ConfigError, match="--engine encoder takes a folder"):
        serviced(file, "--engine", "encoder")


def test_a_config_that_is_no_json_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")

    with pytest.raises(ConfigError, match=r"config\.json: cannot be read"):
        serviced(tmp_path)
