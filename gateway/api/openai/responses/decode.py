"""A Responses request from bytes: the chat it means, and what a model must be able to do for it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.api.bodies import cache_wishes, invalid, mentions, read_object, refuse_dearer, refuse_forbidden
from gateway.api.media import text_bytes
from gateway.api.openai.decode import fields_of
from gateway.api.openai.responses.body import JsonObjectFormat, JsonSchemaFormat, ResponsesBody
from gateway.api.openai.responses.items import Conversation
from gateway.api.openai.responses.refusals import NOT_HERE, refuse_reasoning, refuse_unsupported
from gateway.api.openai.responses.tools import CUSTOM, Tools, read_tools
from gateway.errors import InvalidRequestError
from gateway.ticket import Request

_OPEN_CONTENT = frozenset({"input", "instructions", "tools", "tool_choice", "text", "metadata"})
"""What the caller wrote for the model, schemas included: any name may stand in there."""
_SAME_IN_CHAT = (
    "temperature", "top_p", "presence_penalty", "frequency_penalty", "service_tier", "user", "safety_identifier",
    "prompt_cache_key",
)  # fmt: skip
_OURS = frozenset(ResponsesBody.__struct_fields__) | NOT_HERE.keys()
"""Everything else is a sampling field that only the model's server knows."""


class ResponsesDecoder:
    """Callable: raw body and headers to a Request. Raises InvalidRequestError with the field at fault."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(ResponsesBody)

    def __call__(self, raw: bytes, headers: Mapping[bytes, bytes]) -> Request:
        native = read_object(raw)
        refuse_forbidden(raw, native, open_content=_OPEN_CONTENT)
        refuse_unsupported(native)
        refuse_reasoning(native.get("reasoning"))
        refuse_dearer(native.get("service_tier"))
        try:
            asked = self._decoder.decode(raw)
        except msgspec.ValidationError as exc:
            raise invalid(str(exc)) from exc
        conversation = _conversation(asked)
        tools = read_tools(asked.tools or (), asked.tool_choice)
        body = _as_chat(native, asked, conversation, tools)
        fields = fields_of(body)
        if tools.has_custom or conversation.has_custom:
            fields |= {CUSTOM}
        skips_cache, stores_cache = cache_wishes(headers)
        return Request(
            endpoint="responses",
            body=body,
            native=native,
            body_bytes=text_bytes(len(raw), body["messages"]),
            model=asked.model,
            is_stream=bool(asked.stream),
            output_tokens=asked.max_output_tokens,
            needs=_needs(body) | conversation.needs,
            fields=fields,
            writes_prompt_cache=mentions(raw, "prompt_cache_breakpoint"),
            is_deterministic=asked.temperature == 0,
            skips_cache=skips_cache,
            stores_cache=stores_cache,
        )


def _conversation(asked: ResponsesBody) -> Conversation:
    conversation = Conversation()
    if asked.instructions is not None:
        conversation.say("system", asked.instructions)
    if isinstance(asked.input, str):
        conversation.say("user", asked.input)
    else:
        if not asked.input:
            raise InvalidRequestError("Invalid value for 'input': it holds no items.", param="input")
        for index, item in enumerate(asked.input):
            conversation.add(item, f"input[{index}]")
    return conversation


def _as_chat(
    native: dict[str, Any], asked: ResponsesBody, conversation: Conversation, tools: Tools
) -> dict[str, Any]:
    """Only what was asked for: what is the default everywhere would only keep some servers from being asked."""
    messages = conversation.messages()
    if not messages:
        raise InvalidRequestError("Invalid value for 'input': it says nothing.", param="input")
    body: dict[str, Any] = {"model": asked.model, "messages": messages}
    body |= {name: native[name] for name in _SAME_IN_CHAT if native.get(name) is not None}
    body |= {name: value for name, value in native.items() if name not in _OURS and value is not None}
    if asked.stream:
        body["stream"] = True
    if asked.max_output_tokens is not None:
        body["max_completion_tokens"] = asked.max_output_tokens
    if tools.offered:
        body["tools"] = tools.offered
        if tools.choice is not None:
            body["tool_choice"] = tools.choice
        if asked.parallel_tool_calls is False:
            body["parallel_tool_calls"] = False
    if asked.reasoning is not None and asked.reasoning.effort is not None:
        body["reasoning_effort"] = asked.reasoning.effort
    if asked.top_logprobs or "message.output_text.logprobs" in (asked.include or ()):
        body["logprobs"] = True
        if asked.top_logprobs:
            body["top_logprobs"] = asked.top_logprobs
    return body | _format(asked)


def _format(asked: ResponsesBody) -> dict[str, Any]:
    if asked.text is None:
        return {}
    body: dict[str, Any] = {}
    if asked.text.verbosity not in (None, "medium"):
        body["verbosity"] = asked.text.verbosity
    wanted = asked.text.format
    if isinstance(wanted, JsonObjectFormat):
        body["response_format"] = {"type": "json_object"}
    elif isinstance(wanted, JsonSchemaFormat):
        schema = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def _needs(body: dict[str, Any]) -> frozenset[str]:
    needs: set[str] = set()
    if "tools" in body:
        needs.add("tools")
    if "logprobs" in body:
        needs.add("logprobs")
    if "response_format" in body:
        needs.add(body["response_format"]["type"])
    if body.get("reasoning_effort") not in (None, "none"):
        needs.add("reasoning")
    return frozenset(needs)
