"""Normalising keeps the way back to the text as sent; clauses are spans of it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fankui.emoji import WORDS
from fankui.text import has_chinese, is_blank, normalise, split_clauses

ANYTHING = st.text(st.characters(), max_size=80)  # surrogates included


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("說好三天到貨，十天了還沒發！", "说好三天到货,十天了还没发!"),
        ("ＡＢＣ１２３　全角", "ABC123 全角"),
        ("零宽\u200b字符\ufeff和控制\x00符", "零宽字符和控制符"),
        ("多个  \t 空格\r\n换行 ", "多个 空格 换行"),
        ("半角ﾊﾟ和组合e\u0301", "半角パ和组合é"),
        ("孤立\ud800代理", "孤立\ufffd代理"),
        ("太差了😡👍🏻谢谢☺️", "太差了[生气][赞]谢谢☺"),
        ("", ""),
    ],
)
def test_a_text_is_read_in_one_form(sent: str, read: str) -> None:
    assert normalise(sent).text == read


def test_evidence_offsets_refer_to_the_text_as_sent() -> None:
    sent = "㌔數\u200b不對，　說好三天到貨"
    normalised = normalise(sent)
    start = normalised.text.index("说好")
    begin, end = normalised.original(start, start + 6)
    assert sent[begin:end] == "說好三天到貨"


def test_every_emoji_that_is_known_becomes_a_word_and_stays_one_character_of_the_text_as_sent() -> None:
    for emoji, word in WORDS.items():
        normalised = normalise(f"好{emoji}的")
        assert normalised.text == f"好{word}的"
        assert normalised.original(1, 1 + len(word)) == (1, 2)


@given(ANYTHING)
def test_every_character_read_comes_from_somewhere_in_the_text_sent(sent: str) -> None:
    normalised = normalise(sent)
    assert len(normalised.text) == len(normalised.starts) == len(normalised.ends)
    assert list(normalised.starts) == sorted(normalised.starts)
    assert all(0 <= s < e <= len(sent) for s, e in zip(normalised.starts, normalised.ends, strict=True))


@given(ANYTHING)
def test_normalising_twice_changes_nothing_more(sent: str) -> None:
    once = normalise(sent).text
    assert normalise(once).text == once
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Cf") for c in once)


@pytest.mark.parametrize("span", [(0, 0), (2, 1), (0, 99), (-1, 1)])
def test_a_span_outside_the_text_is_refused(span: tuple[int, int]) -> None:
    with pytest.raises(IndexError, match="outside"):
        normalise("三个字").original(*span)


@given(st.text())
def test_the_quick_way_and_the_careful_way_agree(sent: str) -> None:
    quick, careful = normalise(sent), normalise(sent + "  ")  # Blanks at the end are left out, but bar the quick way.
    assert quick.text == careful.text
    assert list(zip(quick.starts, quick.ends, strict=True)) == list(zip(careful.starts, careful.ends, strict=True))


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("东西不错,就是物流慢。下次还来!", ["东西不错", "就是物流慢", "下次还来"]),
        ("花了1,299.50元 不值 太失望了", ["花了1,299.50元", "不值", "太失望了"]),
        ("iPhone 15 Pro 屏幕坏了", ["iPhone 15 Pro 屏幕坏了"]),
        ("。。。!!!", []),
        ("😡😡", []),
        ("差", ["差"]),
        ("", []),
    ],
)
def test_a_text_splits_into_clauses(text: str, clauses: list[str]) -> None:
    assert [text[start:end] for start, end in split_clauses(text)] == clauses


@given(ANYTHING)
def test_clauses_are_in_order_apart_and_not_empty(sent: str) -> None:
    text = normalise(sent).text
    end_before = 0
    for start, end in split_clauses(text):
        assert end_before <= start < end <= len(text)
        assert any(c.isalnum() for c in text[start:end])
        end_before = end


def test_blank_and_chinese_are_told_apart() -> None:
    assert is_blank("") and is_blank(" ") and is_blank("\ufffd")
    assert not is_blank("😡") and not is_blank("?")
    assert has_chinese("ok 好") and not has_chinese("very bad, refund!")
