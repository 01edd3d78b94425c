"""From Anthropic's messages to the chat that they mean. What a chat cannot say is not dropped: it is named in `Wishes`.

Left out, because no answer depends on it: where prompts are cached, who the caller's user is, and the thinking of earlier
turns, which only the model that thought it can read.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.api.anthropic import bodies
from gateway.api.anthropic.blocks import Wishes, read_blocks, read_turn
from gateway.api.anthropic.bodies import (
    Block,
    DocumentBlock,
    ImageBlock,
    PromptBody,
    SearchResultBlock,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from gateway.errors import InvalidRequestError

Json = dict[str, Any]

_SMALL_BUDGET = 4096
_MEDIUM_BUDGET = 16384
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""Above `high` no two servers agree on a name."""


def chat_of(body: PromptBody, wishes: Wishes) -> Json:
    """The fields of a chat that say the same as what every prompt may have; raises InvalidRequestError."""
    chat: Json = {"model": body.model, "messages": _messages(body, wishes)}
    if body.tools:
        tools = [_tool(tool, f"tools[{index}]", wishes) for index, tool in enumerate(body.tools)]
        own = [tool for tool in tools if tool is not None]
        if own:
            chat["tools"] = own
            wishes.needs.add("tools")
    _choose_tool(body, chat)
    config = body.output_config
    if config is not None and config.format is not None:
        wanted = {"name": "answer", "schema": config.format.schema, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": wanted}
        wishes.needs.add("json_schema")
    effort = _effort(body, wishes)
    if effort is not None:
        chat["reasoning_effort"] = effort
        wishes.needs.add("reasoning")
    return chat


def _messages(body: PromptBody, wishes: Wishes) -> list[Json]:
    messages: list[Json] = []
    if body.system:
        messages += _system(read_blocks(body.system, "system", bodies.OF_SYSTEM, wishes))
    turns: list[tuple[str, list[Block]]] = []
    for index, turn in enumerate(body.messages):
        blocks = read_turn(turn, f"messages[{index}]", wishes)
        if turns and turns[-1][0] == turn.role:  # turns of one side that follow each other are one turn
            turns[-1][1].extend(blocks)
        else:
            turns.append((turn.role, blocks))
    for role, blocks in turns:
        if role == "assistant":
            messages += _assistant(blocks, wishes)
        else:
            messages += _user(blocks, wishes) if role == "user" else _system(blocks)
    if turns[-1][0] == "assistant":
        wishes.native.add(
            "messages.prefill"
        )  # to go on in the middle of an answer is not something that a chat can ask for
    return messages


def _system(blocks: Sequence[Block]) -> list[Json]:
    text = "\n\n".join([block.text for block in blocks if isinstance(block, TextBlock) and block.text])
    return [{"role": "system", "content": text}] if text else []


def _user(blocks: Sequence[Block], wishes: Wishes) -> list[Json]:
    """Results of tools are messages of their own, and come first: they answer the turn before."""
    results: list[Json] = []
    parts: list[Json] = []
    for block in blocks:
        if isinstance(block, ToolResultBlock):
            result, media = _tool_result(block, wishes)
            results.append(result)
            parts += media
        else:
            parts += _parts(block, wishes)
    return [*results, {"role": "user", "content": _content(parts)}] if parts else results


def _tool_result(block: ToolResultBlock, wishes: Wishes) -> tuple[Json, list[Json]]:
    """The message, and what of it only a user's message can hold, such as images."""
    parts = _inner_parts(block.content, wishes)
    text = "\n\n".join([part["text"] for part in parts if part["type"] == "text"])
    if block.is_error:
        text = f"Error: {text}"
    media = [part for part in parts if part["type"] != "text"]
    if media:
        media.insert(0, _text(f"Returned by the tool call {block.tool_use_id}:"))
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": text}, media


def _assistant(blocks: Sequence[Block], wishes: Wishes) -> list[Json]:
    text = "".join([block.text for block in blocks if isinstance(block, TextBlock)])
    calls = [_call(block) for block in blocks if isinstance(block, ToolUseBlock)]
    if any(isinstance(block, bodies.RedactedThinkingBlock) for block in blocks):
        wishes.native.add("messages.redacted_thinking")
    if calls:
        return [{"role": "assistant", "content": text or None, "tool_calls": calls}]
    return [{"role": "assistant", "content": text}] if text else []


def _call(block: ToolUseBlock) -> Json:
    arguments = msgspec.json.encode(block.input).decode()
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


def _parts(block: Block, wishes: Wishes) -> list[Json]:
    if isinstance(block, TextBlock):
        return [_text(block.text)] if block.text else []
    if isinstance(block, ImageBlock):
        return _image(block, wishes)
    if isinstance(block, SearchResultBlock):
        _note_citations(block.citations, wishes)
        found = "\n\n".join([inner.text for inner in block.content])
        return [_text(f"{block.title}\n{block.source}\n\n{found}")]
    if isinstance(block, DocumentBlock):
        return _document(block, wishes)
    return []


def _inner_parts(blocks: Any, wishes: Wishes) -> list[Json]:
    """Of blocks inside a block, which are a list once read."""
    return [part for block in blocks or () for part in _parts(block, wishes)]


def _image(block: ImageBlock, wishes: Wishes) -> list[Json]:
    if block.transformations:
        wishes.native.add("messages.transformations")
    wishes.needs.add("vision")
    source = block.source
    if isinstance(source, bodies.FileSource):
        wishes.native.add("messages.file_id")
        return []
    url = source.url if isinstance(source, bodies.UrlSource) else _data_url(source)
    return [{"type": "image_url", "image_url": {"url": url}}]


def _document(block: DocumentBlock, wishes: Wishes) -> list[Json]:
    _note_citations(block.citations, wishes)
    source = block.source
    head = "\n".join([text for text in (block.title, block.context) if text])
    if isinstance(source, bodies.TextSource):
        return [_text(f"{head}\n\n{source.data}" if head else source.data)]
    parts = [_text(head)] if head else []
    if isinstance(source, bodies.ContentSource):
        return parts + _inner_parts(source.content, wishes)
    wishes.needs.add("files")
    if isinstance(source, bodies.Base64Source):
        file = {"filename": block.title or "document.pdf", "file_data": _data_url(source)}
        return [*parts, {"type": "file", "file": file}]
    wishes.native.add(
        "messages.file_id" if isinstance(source, bodies.FileSource) else "messages.document_url"
    )
    return parts


def _note_citations(citations: bodies.Citations | None, wishes: Wishes) -> None:
    if citations is not None and citations.enabled:
        wishes.native.add("messages.citations")


def _content(parts: list[Json]) -> str | list[Json]:
    """One string where that says all: small servers' templates take nothing else."""
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join([part["text"] for part in parts])
    return parts


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _data_url(source: bodies.Base64Source) -> str:
    return f"data:{source.media_type};base64,{source.data}"


_RUN_BY_CALLERS = ("bash_", "text_editor_", "computer_", "memory_", "tool_search_tool_")
"""Others run on Anthropic's servers, which bill for their use, or for each turn that the model takes between them."""


def _tool(tool: bodies.Tool, place: str, wishes: Wishes) -> Json | None:
    if tool.type not in (None, "custom"):
        wishes.native.add(f"tools.{tool.type[:64]}")
        if not tool.type.startswith(_RUN_BY_CALLERS):
            wishes.needs.add("unpriced_tools")
        return None
    for field in ("name", "input_schema"):
        if getattr(tool, field) in (None, ""):
            raise InvalidRequestError(
                f"Missing required parameter: '{place}.{field}'.",
                code="missing_required_parameter",
                param=f"{place}.{field}",
            )
    if tool.defer_loading:
        wishes.native.add("tools.defer_loading")
    if tool.allowed_callers and tool.allowed_callers != ["direct"]:
        wishes.native.add("tools.allowed_callers")
    description = tool.description or ""
    if tool.input_examples:
        examples = "\n".join([msgspec.json.encode(example).decode() for example in tool.input_examples])
        description = f"{description}\n\nExamples of its input:\n{examples}".lstrip()
    function: Json = {"name": tool.name, "parameters": tool.input_schema}
    if description:
        function["description"] = description
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choose_tool(body: PromptBody, chat: Json) -> None:
    choice = body.tool_choice
    if choice is None or (not body.tools and choice.type in ("auto", "none")):
        return
    if not body.tools:
        raise InvalidRequestError(
            "`tool_choice` says which of the `tools` to use; send some.", param="tool_choice"
        )
    if choice.type == "tool":
        if choice.name not in {tool.name for tool in body.tools}:
            raise InvalidRequestError(
                f"Invalid value for 'tool_choice.name': there is no tool {str(choice.name)[:64]!r}.",
                param="tool_choice.name",
            )
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.type != "auto":
        chat["tool_choice"] = "required" if choice.type == "any" else "none"
    if choice.disable_parallel_tool_use:
        chat["parallel_tool_calls"] = False


def _effort(body: PromptBody, wishes: Wishes) -> str | None:
    """Thinking that is only allowed, `adaptive`, asks for nothing: a model that never thinks honours it."""
    thinking = body.thinking
    kind = thinking.type if thinking is not None else "disabled"
    if kind not in ("enabled", "adaptive", "disabled"):
        wishes.native.add("thinking")
    if body.output_config is not None and body.output_config.effort is not None:
        return _EFFORTS[body.output_config.effort]
    if thinking is None or kind != "enabled":
        return None
    if thinking.budget_tokens is None:
        raise InvalidRequestError(
            "Missing required parameter: 'thinking.budget_tokens'.",
            code="missing_required_parameter",
            param="thinking.budget_tokens",
        )
    if thinking.budget_tokens <= _SMALL_BUDGET:
        return "low"
    return "medium" if thinking.budget_tokens <= _MEDIUM_BUDGET else "high"
