"""The two C programs: the fake upstream with its bill, and the load with its answers checked."""

import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from errors import BenchError

HERE = Path(__file__).resolve().parent
SERIAL = "@" * 10
"""The load replaces it by a number that no other request has."""
ANY_KEY = "sk-bench"


@dataclass(frozen=True, slots=True)
class Mode:
    """One kind of load."""

    name: str
    connections: int
    is_stream: bool = False
    repeats: bool = False
    """Every request is the same, so that a cache may answer."""
    gap_ms: int = 2
    """The upstream's pause between the events of a stream."""
    warmup_s: float = 0.3

    def body(self) -> str:
        prompt = "What is the capital of France? Answer in one sentence, please."
        serial = "" if self.repeats else f" {SERIAL}"
        pace = f" gap-us={self.gap_ms * 1000}" if self.is_stream else ""
        # Temperature 0 is what an exact cache accepts: each distinct request pays for a lookup and for storing its reply.
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": prompt + serial + pace}],
            "temperature": 0,
            "max_tokens": 256,
        }
        if self.is_stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(body, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Server:
    """Where to send requests on this machine, and the key to show."""

    name: str
    port: int
    key: str = ANY_KEY


@dataclass(frozen=True, slots=True)
class Answers:
    """What a load got, all of it good."""

    finished: int
    rps: float
    p50_ms: float
    p99_ms: float
    ttft_p50_ms: float
    ttft_p99_ms: float


@dataclass(frozen=True, slots=True)
class Billed:
    """What the upstream served of one of its models."""

    requests: int = 0
    input: int = 0
    output: int = 0

    def __sub__(self, earlier: "Billed") -> "Billed":
        return Billed(
            self.requests - earlier.requests, self.input - earlier.input, self.output - earlier.output
        )


class MockUpstream:
    def __init__(self, programs: Path) -> None:
        self._process = subprocess.Popen(
            [programs / "mock_upstream"], stdout=subprocess.PIPE, text=True, process_group=0
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline()
        if not port:
            raise BenchError("the fake upstream did not start")
        self.port = int(port)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def bill(self) -> dict[str, Billed]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/bill", timeout=5) as reply:
            return {model: Billed(**counts) for model, counts in json.load(reply)["models"].items()}

    def kill(self) -> None:
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(5)


def compile_programs(folder: Path) -> Path:
    """Build what is older than its source; the folder with the programs."""
    compiler = shutil.which("cc")
    folder.mkdir(exist_ok=True)
    for name in ("mock_upstream", "loadgen"):
        source, program = HERE / f"{name}.c", folder / name
        if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
            continue
        if compiler is None:
            raise BenchError(
                "no C compiler: install one that answers to `cc` (Debian, Ubuntu: apt-get install gcc libc6-dev)"
            )
        subprocess.run([compiler, "-O2", "-o", program, source], check=True)
    return folder


def run_load(
    programs: Path,
    server: Server,
    mode: Mode,
    options: Sequence[str],
    watch: Callable[[], None] | None = None,
) -> Answers:
    """Load until done, calling `watch` five times a second meanwhile. Raises BenchError if any answer was not good."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as body:
        body.write(mode.body())
        body.flush()
        command = [
            programs / "loadgen",
            "--port",
            str(server.port),
            "--header",
            f"Authorization: Bearer {server.key}",
        ]
        command += ["--conns", str(mode.connections), "--body", body.name]
        command += ["--expect", "[DONE]" if mode.is_stream else "of France is Paris"]
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
            while watch and process.poll() is None:
                watch()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
            result = json.loads(process.communicate()[0])
    bad = {kind: result[kind] for kind in ("bad_status", "bad_body", "broken", "hung") if result[kind]}
    if bad:
        counts = ", ".join(f"{kind} {count}" for kind, count in bad.items())
        first = result["first_bad"]
        raise BenchError(
            f"{server.name}, {mode.name}: {result['finished']} requests, {counts}. The first: {first}"
        )
    return Answers(
        finished=result["finished"],
        rps=result["rps"],
        p50_ms=result["p50_us"] / 1000,
        p99_ms=result["p99_us"] / 1000,
        ttft_p50_ms=result["ttft_p50_us"] / 1000,
        ttft_p99_ms=result["ttft_p99_us"] / 1000,
    )
