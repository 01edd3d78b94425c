"""GGUF files on llama.cpp, in this process, through the `xllamacpp` wheel.

llama.cpp's own server code runs below: templates, sampling, grammars, stop strings, tools and slots are its. Every
request goes to it as a stream, answered or not as one, because a stream is what can be stopped.
"""

import asyncio
import os
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import anyio
import httpx
import msgspec
import structlog

from workers.engines.contract import EngineStats, Job, ModelCard, Token, TokenUsage
from workers.errors import ConfigError, EngineError, InvalidRequestError
from workers.models import ModelFile
from workers.request import CompletionRequest, Request

log = structlog.get_logger()

SAMPLING_FIELDS: tuple[str, ...] = (
    *("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "logit_bias"),
    *("stop",),
)
CHAT_FIELDS: tuple[str, ...] = (
    *("messages", "logprobs", "top_logprobs", "response_format", "tools", "tool_choice"),
    *("parallel_tool_calls",),
)
"""What llama.cpp takes under the same name and in the same shape, of every request and of a chat."""

UNREADABLE = (ValueError, RuntimeError, IndexError, TypeError, ArithmeticError)
"""What llama.cpp throws before it has a slot: it could not make a prompt or a grammar of the request."""

Emit = Callable[[bytes], bool]


class LlamaCppEngine:
    def __init__(
        self,
        model: ModelFile,
        *,
        slots: int,
        context: int,
        threads: int,
        batch: int | None = None,
        reuse_prompts: bool = False,
    ) -> None:
        self._model = model
        self._slots = slots
        self._context = context
        self._threads = threads
        # Prompt tokens read in one step. A hang-up, and the other slots' next token, wait for a step to end:
        # 16 take 0.15 s on one core with a 135M model. One step must also hold a token of every slot.
        self._batch = max(batch or 16, 4 * slots)
        self._reuse_prompts = reuse_prompts
        self._server: Any = None
        self._card: ModelCard | None = None
        # A request occupies a thread while it runs; two more for the canary and the figures.
        self._pool = ThreadPoolExecutor(slots + 2, thread_name_prefix="llamacpp")

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def card(self) -> ModelCard:
        if self._card is None:
            raise EngineError
        return self._card

    async def start(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self._load)

    async def stop(self) -> None:
        def release() -> None:
            self._server = None

        await asyncio.get_running_loop().run_in_executor(self._pool, release)
        self._pool.shutdown()

    async def generate(self, job: Job) -> AsyncGenerator[Token | TokenUsage, None]:
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        is_cancelled = threading.Event()

        def emit(chunk: bytes) -> bool:
            """Runs in the engine's thread; True stops the request."""
            if not is_cancelled.is_set():
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            return is_cancelled.is_set()

        call = loop.run_in_executor(self._pool, self._call, job.request, emit)
        call.add_done_callback(lambda _: chunks.put_nowait(None))
        reader = _Reader(job.request)
        try:
            while (chunk := await chunks.get()) is not None:
                for token in reader.read(chunk):
                    yield token
            await call
            yield reader.usage()
        finally:
            is_cancelled.set()
            # Its failure was raised above, or nobody is left to hear it; but its slot is free only when it ends.
            with anyio.CancelScope(shield=True), suppress(InvalidRequestError):
                await call

    async def stats(self) -> EngineStats:
        text = await asyncio.get_running_loop().run_in_executor(self._pool, self._metrics)
        figures = dict(re.findall(r"^llamacpp:(\w+) (\S+)$", text, re.MULTILINE))
        try:
            return EngineStats(
                busy_slots=int(float(figures["requests_processing"])),
                prompt_tokens=int(float(figures["prompt_tokens_total"])),
                generated_tokens=int(float(figures["tokens_predicted_total"])),
            )
        except KeyError as exc:
            log.error("engine.reports_no_figure", name=exc.args[0])
            raise EngineError from exc

    async def failed(self) -> None:
        await asyncio.Event().wait()  # it takes the process with it, or is silent

    def _metrics(self) -> str:
        return str(self._server.handle_metrics())

    def _call(self, request: Request, emit: Emit) -> None:
        body = _body(request, self._reuse_prompts)
        is_text = isinstance(request, CompletionRequest)
        handle = self._server.handle_completions if is_text else self._server.handle_chat_completions
        try:
            handle(body, emit)
        except UNREADABLE as exc:
            raise InvalidRequestError(f"The model cannot take this request: {str(exc)[:300]}") from exc

    def _load(self) -> None:
        try:
            import xllamacpp
        except ImportError as exc:
            raise ConfigError(
                f"the llama.cpp engine is not installed ({exc}); run `pip install xllamacpp`"
            ) from exc
        # A crash ends the process at once, instead of having a debugger report on it for seconds.
        os.putenv("GGML_NO_BACKTRACE", "1")
        # It insists on listening: give it a socket that nobody else can reach, and a key that nobody knows.
        folder = tempfile.mkdtemp(prefix="llamacpp-")
        key = secrets.token_urlsafe(32)
        try:
            self._server = xllamacpp.Server(
                self._params(xllamacpp.CommonParams(), f"{folder}/engine.sock", key)
            )
            self._card = self._read_card(f"{folder}/engine.sock", key)
        except RuntimeError as exc:
            raise ConfigError(f"llama.cpp cannot load {self._model.path}; the lines above say why") from exc
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _params(self, params: Any, socket: str, key: str) -> Any:
        params.model.path = str(self._model.path)
        params.hostnames, params.api_keys, params.n_threads_http = [socket], [key], 1
        params.ui = params.endpoint_slots = params.endpoint_props = False
        params.offline = params.endpoint_metrics = True
        params.verbosity = 1
        params.chat_template = self._model.chat_template
        # As OpenAI does it: an assistant's message at the end is history, not a beginning to go on from.
        params.prefill_assistant = False
        params.n_parallel, params.n_ctx = self._slots, self._slots * self._context
        params.n_batch = params.n_ubatch = self._batch
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        # Memory is what was asked for: no shrinking to fit, no second cache of prompts.
        params.fit_params, params.cache_ram_mib = False, 0
        return params

    def _read_card(self, socket: str, key: str) -> ModelCard:
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket), headers=headers, timeout=10) as client:
            props = client.get("http://engine/props").raise_for_status().json()
            meta = client.get("http://engine/v1/models").raise_for_status().json()["data"][0]["meta"]
        abilities = ["json_object", "json_schema", "logprobs", "completions"]
        if props["chat_template_caps"]["supports_tools"]:
            abilities.append("tools")
        return ModelCard(
            model=self._model.name,
            engine="llama.cpp",
            quantisation=props["model_ftype"],
            parameters=meta["n_params"],
            context_window=props["default_generation_settings"]["n_ctx"],
            abilities=tuple(abilities),
        )


class _Reader:
    """Makes tokens of llama.cpp's chunks, and adds up the usage that it reports for each choice."""

    def __init__(self, request: Request) -> None:
        self._is_text = isinstance(request, CompletionRequest)
        self._answers_to_each = request.n or 1
        self._usages: dict[int, list[dict[str, Any]]] = {}
        """Of each prompt, one of each of its choices."""

    def read(self, chunk: bytes) -> list[Token]:
        data = msgspec.json.decode(chunk)
        if "choices" not in data:
            raise _refusal(data.get("error", data), "prompt" if self._is_text else "messages")
        if "prompt_progress" in data:
            return []
        if data.get("usage"):
            # A chat has one prompt, and tells its usage in a chunk without choices.
            prompt = data["choices"][0]["index"] // self._answers_to_each if self._is_text else 0
            self._usages.setdefault(prompt, []).append(data["usage"])
        return [_text_token(choice) if self._is_text else _token(choice) for choice in data["choices"]]

    def usage(self) -> TokenUsage:
        if not self._usages:
            log.error("engine.reported_no_usage")
            raise EngineError
        # Each choice reports its whole prompt, and those after the first find it computed.
        return TokenUsage(
            prompt=sum(usages[0]["prompt_tokens"] for usages in self._usages.values()),
            cached=sum(min(map(_cached, usages)) for usages in self._usages.values()),
            completion=sum(
                usage["completion_tokens"] for usages in self._usages.values() for usage in usages
            ),
        )


def _token(choice: dict[str, Any]) -> Token:
    delta = {name: value for name, value in choice["delta"].items() if name != "role" and value is not None}
    return Token(choice["index"], delta, choice.get("logprobs"), choice["finish_reason"])


def _text_token(choice: dict[str, Any]) -> Token:
    delta = {"content": choice["text"]} if choice["text"] else {}
    return Token(choice["index"], delta, choice.get("logprobs"), choice["finish_reason"])


def _cached(usage: dict[str, Any]) -> int:
    cached: int = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return cached


def _refusal(error: dict[str, Any], field: str) -> InvalidRequestError | EngineError:
    if error.get("type") == "exceed_context_size_error":
        text = (
            f"This model's context window is {error['n_ctx']} tokens and the {field} have {error['n_prompt_tokens']}. "
            "Send less."
        )
        return InvalidRequestError(text, code="context_length_exceeded", param=field)
    if error.get("code") == 400:
        return InvalidRequestError(f"The model cannot take this request: {str(error.get('message'))[:300]}")
    log.error("engine.failed", error=str(error)[:500])
    return EngineError()


def _body(request: Request, reuse_prompts: bool) -> bytes:
    """llama.cpp's names for it. `return_progress` gives a chance to stop while the prompt is read."""
    body: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "cache_prompt": reuse_prompts,
        "n": request.n or 1,
    }
    fields = SAMPLING_FIELDS
    if isinstance(request, CompletionRequest):
        body["prompt"] = request.prompt
        if request.logprobs is not None:
            body["logprobs"] = max(1, request.logprobs)  # for it 0 means none at all
    else:
        fields += CHAT_FIELDS
    body |= {name: value for name in fields if (value := getattr(request, name)) is not None}
    if request.output_limit is not None:
        body["max_tokens"] = request.output_limit
    if request.seed is not None:
        body["seed"] = request.seed % 0xFFFF_FFFF  # 32 bits, and the highest means a random one
    if request.repetition_penalty is not None:
        body["repeat_penalty"] = request.repetition_penalty
    return msgspec.json.encode(body)
