"""langchain-tests' standard suite over ChatOpenAI, as langchain-openai runs it against OpenAI itself. Run by `suite.py`."""

from typing import Any, ClassVar, Literal

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from tests.clients.cases import API_KEY, BASE_URL, setting


class _OverOurs(ChatModelIntegrationTests):
    """What a provider of chat completions can do: a tool's result is text there, so no image or PDF in one."""

    model_name = setting("MODEL")
    options: ClassVar[dict[str, Any]] = {}
    overriding_model = setting("REASONING_MODEL")

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": self.model_name,
            "base_url": BASE_URL,
            "api_key": API_KEY,
            "stream_usage": True,
            "max_retries": 0,
            **self.options,
        }

    @property
    def model_override_value(self) -> str:
        return self.overriding_model

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True


class TestChatCompletions(_OverOurs):
    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(self) -> dict[Literal["invoke", "stream"], list[Any]]:
        details: list[Any] = ["reasoning_output", "cache_read_input"]
        return {"invoke": details, "stream": details}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        params = {**self.chat_model_params, "model": setting("REASONING_MODEL"), "reasoning_effort": "medium"}
        return _whole(ChatOpenAI(**params), "Explain tides.", is_stream=stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        prompt = " ".join(str(number) for number in range(1500))
        return _whole(ChatOpenAI(**self.chat_model_params), prompt, is_stream=stream)


class TestResponses(_OverOurs):
    options: ClassVar[dict[str, Any]] = {"use_responses_api": True}


if setting("CROSS_MODEL"):

    class _AtAnthropics(_OverOurs):
        model_name = setting("CROSS_MODEL")
        overriding_model = setting("MODEL")

        @property
        def supports_json_mode(self) -> bool:
            return False  # it has schemas, and no JSON without one

    class TestChatCompletionsAtAnthropics(_AtAnthropics):
        pass

    class TestResponsesAtAnthropics(_AtAnthropics):
        options: ClassVar[dict[str, Any]] = {"use_responses_api": True}


def _whole(model: ChatOpenAI, prompt: str, *, is_stream: bool) -> AIMessage:
    if not is_stream:
        reply = model.invoke(prompt)
        assert isinstance(reply, AIMessage)
        return reply
    first, *rest = list(model.stream(prompt))
    for chunk in rest:
        first = first + chunk
    return first
