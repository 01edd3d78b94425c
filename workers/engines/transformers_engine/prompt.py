"""From a request to the tokens that the model reads: the model's own chat template, and the checks before any work."""

import hashlib
from typing import Any

import msgspec

from workers.errors import InvalidRequestError
from workers.request import ChatRequest, CompletionRequest, Message, Request

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
"""For a base model, that was never taught to chat."""


class Prompts:
    """Thread-safe: it only reads."""

    def __init__(self, tokenizer: Any, *, vocabulary: int, window: int, short_call_ids: bool) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._window = window
        self._short_call_ids = short_call_ids

    def tokens(self, request: Request) -> list[list[int]]:
        """Of each prompt. Raises InvalidRequestError."""
        field = "prompt" if isinstance(request, CompletionRequest) else "messages"
        prompts = self._texts(request) if isinstance(request, CompletionRequest) else [self._chat(request)]
        for prompt in prompts:
            if len(prompt) >= self._window:
                text = (
                    f"This model's context window is {self._window} tokens and the {field} have {len(prompt)}. "
                    "Send less."
                )
                raise InvalidRequestError(text, code="context_length_exceeded", param=field)
        return prompts

    def limit(self, request: Request, prompt: list[int]) -> int:
        """The longest answer: as asked, and inside the window."""
        room = self._window - len(prompt)
        return room if request.output_limit is None else min(request.output_limit, room)

    def _texts(self, request: CompletionRequest) -> list[list[int]]:
        prompt = request.prompt
        if isinstance(prompt, str) or isinstance(prompt[0], int):
            return [self._text(prompt)]
        return [self._text(one) for one in prompt]

    def _text(self, prompt: Any) -> list[int]:
        if isinstance(prompt, str):
            return self._encoded(prompt, adds_special=True)
        if max(prompt) >= self._vocabulary:
            text = f"There is no token {max(prompt)}: the vocabulary has {self._vocabulary}."
            raise InvalidRequestError(text, param="prompt")
        return list(prompt)

    def _encoded(self, text: str, *, adds_special: bool) -> list[int]:
        # Not through the tokenizer itself, which sets itself up anew for each call and so bears only one thread.
        encoding = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=adds_special)
        return encoding.ids or [self._begin()]

    def _begin(self) -> int:
        """Something to go on from, where the text is empty."""
        known = (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id, 0)
        return next(token for token in known if token is not None)

    def _chat(self, request: ChatRequest) -> list[int]:
        import jinja2  # comes with the extra `worker`, as all that the templates need

        messages = [self._message(message, index) for index, message in enumerate(request.messages)]
        tools = msgspec.to_builtins(request.tools) if request.wants_tools else None
        try:
            text = self._tokenizer.apply_chat_template(
                messages,
                tools=tools,
                chat_template=self._tokenizer.chat_template or PLAIN_TEMPLATE,
                add_generation_prompt=True,
                tokenize=False,
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as exc:
            reason = str(exc)[:300]
            raise InvalidRequestError(
                f"The model's chat template refuses this: {reason}", param="messages"
            ) from exc
        # The template has written the beginning of the text already.
        return self._encoded(text, adds_special=False)

    def _message(self, message: Message, index: int) -> dict[str, Any]:
        if message.content is None and not message.tool_calls:
            text = f"Message {index} has neither `content` nor `tool_calls`."
            raise InvalidRequestError(text, param=f"messages[{index}].content")
        content = message.content or ""
        body: dict[str, Any] = {
            "role": "system" if message.role == "developer" else message.role,
            "content": content if isinstance(content, str) else "".join(part.text for part in content),
        }
        if message.name is not None:
            body["name"] = message.name
        if message.reasoning_content is not None:
            body["reasoning_content"] = message.reasoning_content
        if message.tool_calls:
            body["tool_calls"] = [
                {
                    "id": self._call_id(call.id),
                    "type": "function",
                    "function": {
                        "name": call.function.name,
                        "arguments": _arguments(call.function.arguments),
                    },
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            body["tool_call_id"] = self._call_id(message.tool_call_id)
        return body

    def _call_id(self, given: str) -> str:
        """Mistral's template takes nine letters or digits; callers may bring another model's longer ones."""
        if not self._short_call_ids or (len(given) == 9 and given.isalnum()):
            return given
        return hashlib.sha256(given.encode()).hexdigest()[:9]


def _arguments(text: str) -> Any:
    """Templates want the object. What is none is passed on as the model once wrote it."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
