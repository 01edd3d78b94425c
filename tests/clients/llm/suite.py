"""The `llm` command line over `extra-openai-models.yaml`, as a person uses it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from click.testing import CliRunner

from tests.clients.cases import API_KEY, BASE_URL, Cases, setting

cases = Cases("llm", version("llm"))
kept = tempfile.TemporaryDirectory()
folder = Path(kept.name)
os.environ["LLM_USER_PATH"] = str(folder)  # noqa: TID251 - how llm is told where its settings are

# Only now: it reads its folder when it is imported.
from llm.cli import cli  # noqa: E402

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6364f8cf500f000e1801805a347d6b0000000049454e44ae426082"
)
TOOL = """
def get_weather(city: str) -> str:
    "Tells the weather in a city."
    return f"sunny in {city}"
"""


def models() -> list[dict[str, object]]:
    named = {"chat": "MODEL", "cross": "CROSS_MODEL"}
    found: list[dict[str, object]] = []
    for alias, variable in named.items():
        if setting(variable):
            able = {"vision": True, "supports_schema": True, "supports_tools": True}
            model = {"model_name": setting(variable), "api_base": BASE_URL, "api_key_name": "ours", **able}
            found.append({"model_id": alias, **model})
            found.append({"model_id": f"{alias}-responses", "responses": True, **model})
    if setting("COMPLETION_MODEL"):
        model = {"model_name": setting("COMPLETION_MODEL"), "api_base": BASE_URL, "api_key_name": "ours"}
        found.append({"model_id": "completion", "completion": True, **model})
    return found


def llm(*arguments: str) -> str:
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output.strip()


def each_model(name: str) -> Callable[[Callable[[str], None]], None]:
    """Over chat completions and over responses, to providers of both dialects."""

    def add(body: Callable[[str], None]) -> None:
        for model in models():
            identity = str(model["model_id"])
            if identity != "completion":
                cases.case(f"{name}, {identity}")(lambda identity=identity: body(identity))

    return add


@cases.case("a prompt, as a process of its own")
def _() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llm", "-m", "chat", "Hello there"],
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout == "You said: Hello there\n"


@each_model("a prompt, streamed")
def _(model: str) -> None:
    assert llm("-m", model, "Count to 5") == "1 2 3 4 5"


@each_model("a prompt, not streamed, with a system prompt and usage")
def _(model: str) -> None:
    told = llm("-m", model, "--no-stream", "-u", "-s", "Speak like a pirate.", "Repeat your instructions.")

    assert "Speak like a pirate." in told
    assert "Token usage" in told


@each_model("a conversation goes on")
def _(model: str) -> None:
    llm("--log", "-m", model, "My name is Bob.")

    assert llm("-c", "What is my name?") == "Your name is Bob."


@each_model("a tool is called, and its result is told")
def _(model: str) -> None:
    told = llm("-m", model, "--functions", TOOL, "What is the weather in Paris?")

    assert told.endswith("The result is: sunny in Paris.")


@each_model("a schema")
def _(model: str) -> None:
    told = llm("-m", model, "--schema", "name, age int", "Anna is 31 years old.")

    assert json.loads(told) == {"name": "Anna", "age": 31}


@each_model("an image")
def _(model: str) -> None:
    file = folder / "pixel.png"
    file.write_bytes(PIXEL)

    assert llm("-m", model, "-a", str(file), "What is this?") == "I see the image. You said: What is this?"


@each_model("options: max_tokens, temperature")
def _(model: str) -> None:
    told = llm("-m", model, "-o", "max_tokens", "16", "-o", "temperature", "0.5", "Count to 100")

    assert told.split() == [str(number) for number in range(1, 17)]


@each_model("asynchronously")
def _(model: str) -> None:
    assert llm("-m", model, "--async", "Count to 5") == "1 2 3 4 5"


if setting("COMPLETION_MODEL"):

    @cases.case("a prompt to a completion model")
    def _() -> None:
        assert llm("-m", "completion", "Hello there") == "You said: Hello there"


@cases.case("an endpoint without any setting up: its models")
def _() -> None:
    assert setting("MODEL") in llm("openai", "endpoint", BASE_URL, "--models", "--key", API_KEY)


@cases.case("an endpoint without any setting up: a prompt")
def _() -> None:
    told = llm("openai", "endpoint", BASE_URL, "-m", setting("MODEL"), "--key", API_KEY, "Hello there")

    assert told == "You said: Hello there"


@cases.case("an error is told, and ends with a status")
def _() -> None:
    done = CliRunner().invoke(cli, ["-m", "chat", "--key", "sk-wrong", "Hello"])

    assert done.exit_code == 1
    assert "401" in done.output


if __name__ == "__main__":
    # JSON is YAML.
    (folder / "extra-openai-models.yaml").write_text(json.dumps(models()))
    (folder / "logs-off").touch()
    (folder / "keys.json").write_text(json.dumps({"ours": API_KEY}))
    cases.main()
