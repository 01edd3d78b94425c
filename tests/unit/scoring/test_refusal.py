"""Which answers only decline, and which merely sound so."""

# ruff: noqa: RUF001 - Chinese has punctuation of its own

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scoring.refusal import MAX_CHARS, is_refusal


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, but I can’t help with that.",
        "I'm sorry. I cannot provide medical advice.",
        "Sorry, I am unable to access websites.",
        "I apologize, but I won't be able to help with this.",
        "I cannot answer this question.",
        "I'm not able to browse the internet.",
        "As an AI language model, I cannot predict the future.",
        "As a large language model, I do not have access to real-time data.",
        "I'm just an AI and I don't have personal opinions.",
        "Unfortunately, I do not have enough information to say.",
        "**I can't do that.**",
        "Thank you for your question! I'm afraid I can't discuss this.",
        "I do not have access to your files.",
        "I don't know.",
        "I'm sorry, I don't know the answer to that.",
        "抱歉,我无法回答这个问题。",
        "很抱歉，我不能提供医疗建议。",
        "对不起，作为一个人工智能助手，我没有办法访问互联网。",
        "作为一个AI语言模型，我无法预测未来。",
        "我无法帮助您完成这个请求。",
        "目前我无法访问实时数据。",
        "很遺憾，我無法回答這個問題。",
        "我不知道。",
    ],
)
def test_an_answer_that_declines_is_seen(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Paris",
        "I can help with that. First, open the file.",
        "I can't help but admire the question. The capital is Paris.",
        "I cannot overstate how useful this is.",
        "As an AI language model, I can explain this: photosynthesis is how plants eat.",
        "As an assistant professor, she cannot vote.",
        "Sorry for the late reply! Yes, the meeting is at noon.",
        "Unfortunately, the train had already left.",
        "\"I'm sorry, but I can't help with that,\" said the clerk.",
        "“I cannot answer that,” he replied.",
        "> I'm sorry, but I can't assist with that.",
        "```\nI can't do that.\n```",
        "The model replied: I'm sorry, I can't help with that.",
        "You cannot divide by zero. The result is undefined.",
        "No.",
        "这个问题的答案是巴黎。",
        "我不能同意你更多：这是最好的方案。",
        "「我无法回答。」他说。",
        "很抱歉让您久等了。会议在中午。",
        "作为一个开源的语言模型，它支持中文。",
    ],
)
def test_an_answer_that_does_not_is_none(text: str) -> None:
    assert not is_refusal(text)


def test_who_says_no_first_and_then_a_lot_has_answered() -> None:
    beginning = "I cannot access the file, but here is what to look at. "

    assert is_refusal(beginning)
    assert not is_refusal(beginning + "Look at the third line of it. " * 50)
    assert not is_refusal("很抱歉，我无法访问该文件。" + "请看第三行。" * 100)


def test_not_to_know_is_a_story_where_it_goes_on() -> None:
    assert not is_refusal(
        "I don't know why I kept the letter. Perhaps it was the hand, or the stamp from a country that was no more. "
        "My grandmother had written it the summer before she left, and nobody had ever opened it."
    )


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Translate into English: 很抱歉，我无法回答这个问题。", "I'm sorry, I cannot answer this question."),
        ("Into Chinese, please: \"I'm sorry, but I can't help with that.\"", "很抱歉，我无法提供帮助。"),
        ("Correct the grammar: Sorry, i can't help you today.", "Sorry, I can't help you today."),
    ],
)
def test_who_asked_for_such_words_gets_them(prompt: str, answer: str) -> None:
    assert is_refusal(answer)
    assert not is_refusal(answer, prompt)


@given(
    st.text(max_size=2 * MAX_CHARS) | st.text("Isorycan't 我无法不能抱歉,。", max_size=400),
    st.text(max_size=50),
)
def test_no_text_makes_it_raise(text: str, prompt: str) -> None:
    assert is_refusal(text, prompt) in (True, False)
