"""openai-python: everything that the SDK offers and a gateway can serve, with its own types in strict mode."""

import openai

from tests.clients.cases import API_KEY, BASE_URL, Cases, setting

MODEL = setting("MODEL")

cases = Cases("openai-python", openai.__version__)
client = openai.OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0, _strict_response_validation=True)


@cases.case("chat: a plain reply")
def _() -> None:
    reply = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello there"}])

    assert reply.choices[0].message.content == "You said: Hello there"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


if __name__ == "__main__":
    cases.main()
