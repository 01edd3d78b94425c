"""Whether an answer says no more than that there is none, in English or Chinese. Only its beginning is looked at.

Conservative: what is quoted, told as a story, or followed by a long text counts as an answer.
"""

import re

MAX_CHARS = 1200
"""A longer text says more than no. A Chinese character counts as 2.5."""

_BEGINNING = 320
_SENTENCES = 3
_QUOTES = tuple("\"'`>«\N{LEFT DOUBLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}「『《【")
_DECORATION = " \t\r\n*_#-"
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。\uff01\uff1f])|\n+")
_HAN = re.compile("[\u4e00-\u9fff]")

_CANNOT = r"(?:can(?:no|')t|can not|(?:a|')m (?:sorry, )?(?:not able|unable|not allowed|not permitted) to|won't|will not|must decline to)"
_HELP = (
    r"(?:be able to|(?:directly |currently |really |in good conscience )?"
    r"(?:help|assist|answer|provide|comply|fulfil|fulfill|complete (?:this|that|your)|create|generate|write|produce|"
    r"access|browse|open|view|see (?:the|your|any)|process|do (?:that|this)|discuss|engage|give|offer|support|share|"
    r"determine|perform|predict|respond|continue|proceed|accommodate|participate|recommend|translate|summari[sz]e))\b"
    r"(?! (?:but|thinking|feeling|wondering|noticing|laughing|smiling|myself)\b)"
)
_LACKS = (
    r"do(?: not|n't) (?:currently |actually )?have (?:direct |real-time |enough |sufficient |any )?"
    r"(?:access|the ability|the capability|information|personal|feelings|an? opinion|opinions)"
)
_SORRY = (
    r"(?:(?:i(?:'| a)m|we(?:'| a)re) (?:\w+ )?(?:sorry|afraid)|sorry|my apologies|apologies|i (?:must |do )?apologi[sz]e"
    r"|unfortunately|regrettably)"
)
_AS_AI = r"as an? (?:ai|artificial intelligence|(?:large )?language model|(?:virtual |digital )?assistant)\b[^,.]{0,40},?"
_AM_AI = r"i(?:'| a)m (?:just |only |simply )?an? (?:ai|(?:large )?language model|virtual assistant)\b[^,.]{0,40},? (?:and|so)"
_ENGLISH = re.compile(
    rf"(?:{_SORRY}[,.:]?[^.]{{0,40}}?\b|(?:{_AS_AI}|{_AM_AI}) )?(?:but |that |however,? )?"
    rf"i ?(?:{_CANNOT} {_HELP}|{_LACKS})"
)
_UNKNOWN_ENGLISH = re.compile(
    r"(?:i(?:'| a)m sorry,? (?:but )?|sorry,? (?:but )?)?i (?:do(?: not|n't) know|have no idea)\b"
)

_CANNOT_CHINESE = (
    "(?:无法|無法|不能|没法|沒法|没办法|沒辦法|没有办法|沒有辦法|没有能力|不具备|不具備|不便|不可以)"
)
_HELP_CHINESE = (
    "(?:直接|继续|繼續|为您|為您|为你|為你|给您|給您|给你|給你)*"
    "(?:回答|提供|帮助|幫助|协助|協助|完成|满足|滿足|生成|访问|訪問|处理|處理|确定|確定|给出|給出|讨论|討論|查看|执行|執行|"
    "参与|參與|继续|繼續|理解|判断|判斷|获取|獲取|浏览|瀏覽|打开|打開|创作|創作|撰写|撰寫|翻译|翻譯|预测|預測|进行|進行|实现|實現)"
)
_SORRY_CHINESE = "(?:很|非常|十分|真的|实在)?(?:抱歉|对不起|對不起|不好意思|遗憾|遺憾)"
_AS_AI_CHINESE = "(?:作为|作為|身为|身為|我(?:只)?是)(?:一个|一個|一名|一款|个|個)?[^,。]{0,12}?(?:ai|人工智能|人工智慧|语言模型|語言模型|助手)"
_CHINESE = re.compile(
    f"{_SORRY_CHINESE}[^。]{{0,24}}?{_CANNOT_CHINESE}"
    f"|{_AS_AI_CHINESE}[^。]{{0,12}}?(?:{_CANNOT_CHINESE}|没有(?:个人|情感|意识)|沒有(?:個人|情感|意識))"
    f"|(?:目前|暂时|暫時)?我(?:目前|暂时|暫時|也)?{_CANNOT_CHINESE}{_HELP_CHINESE}"
)
_UNKNOWN_CHINESE = re.compile(f"(?:{_SORRY_CHINESE}[,。]?)?我(?:也)?(?:不知道|不清楚|不太清楚|不确定|不確定)")

_STORY_CHARS = 160
"""Whoever does not know, and goes on for longer, tells something."""


def is_refusal(text: str, prompt: str = "") -> bool:
    """`prompt` is what was asked: who asks for such words, to translate or to continue them, gets them."""
    if len(text) > MAX_CHARS:
        return False
    beginning = _plain(text[:_BEGINNING])
    if not beginning or beginning.startswith(_QUOTES):
        return False
    if not text.isascii() and len(text) + 1.5 * len(_HAN.findall(text)) > MAX_CHARS:
        return False
    is_short = len(text) <= _STORY_CHARS
    sentences = [part.lstrip(_DECORATION) for part in _SENTENCE.split(beginning, _SENTENCES)[:_SENTENCES]]
    if not any(_says_no(sentence, is_short) for sentence in sentences if sentence):
        return False
    return not _is_mentioned(prompt)


def _plain(text: str) -> str:
    folded = text.lstrip(_DECORATION).lower()
    return folded.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("\N{FULLWIDTH COMMA}", ",")


def _says_no(sentence: str, is_short: bool) -> bool:
    if _ENGLISH.match(sentence) or _CHINESE.match(sentence):
        return True
    return is_short and bool(_UNKNOWN_ENGLISH.match(sentence) or _UNKNOWN_CHINESE.match(sentence))


def _is_mentioned(prompt: str) -> bool:
    """Somewhere in the last of what was asked, such words stand themselves."""
    asked = _plain(prompt[-2000:])
    return bool(_ENGLISH.search(asked) or _CHINESE.search(asked))
