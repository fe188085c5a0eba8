"""Normalising and splitting text while every position still refers to the text as sent."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

import opencc

from fankui.emoji import WORDS

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
# A clause ends at sentence punctuation, or at a blank between two Chinese characters (people use it as a comma);
# a point or comma inside a number ends nothing.
_CLAUSE_END = re.compile(r"[。!?;…~、\n]+|[,.:](?!\d)[,.:]*|(?<=[\u3400-\u9fff]) (?=[\u3400-\u9fff])")


@dataclass(frozen=True, slots=True)
class Normalised:
    """A text as the model reads it, with the way back.

    `starts[i]`, `ends[i]` bound, in characters of the text as sent, what became character i of `text`.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span [start, end) of `text` as a span of the text as sent; empty spans are refused."""
        if not 0 <= start < end <= len(self.text):
            raise IndexError(f"span {start}:{end} is outside a text of {len(self.text)} characters")
        return self.starts[start], self.ends[end - 1]


@cache
def _simplifier() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


def _simplify(text: str) -> list[str]:
    """Simplified Chinese, one item a character of `text` (an item may be longer than one character)."""
    converted: str = _simplifier().convert(text)
    if len(converted) == len(text):
        return list(converted)
    return [_simplifier().convert(character) for character in text]


def _combines(character: str) -> bool:
    """Whether it may merge with the character before it."""
    return bool(unicodedata.combining(character)) or "\u1160" <= character <= "\u11ff" or character in "\uff9e\uff9f"


def _clusters(text: str) -> list[tuple[int, int]]:
    """Spans of characters that NFKC may only change together: a base and what combines with it."""
    begins = [i for i, character in enumerate(text) if i == 0 or not _combines(character)]
    return list(pairwise([*begins, len(text)]))


def _is_variant(character: str) -> bool:
    """Whether it only says how the emoji before it is drawn: a style, a colour of skin."""
    return 0xFE00 <= ord(character) <= 0xFE0F or 0x1F3FB <= ord(character) <= 0x1F3FF


@lru_cache(maxsize=65_536)
def _fold(cluster: str) -> str:
    """NFKC of one cluster; blanks become a space, lone surrogates U+FFFD, invisible characters nothing, emoji words."""
    kept = []
    for character in unicodedata.normalize("NFKC", cluster):
        category = unicodedata.category(character)
        if category == "Cs":
            kept.append("\ufffd")
        elif character.isspace():
            kept.append(" ")
        elif category not in ("Cc", "Cf", "Cn") and not _is_variant(character):
            kept.append(WORDS.get(character, character))
    return "".join(kept)


class _Folds(dict[int, str]):
    """For `str.translate`: each character folded; two characters for one that does not become exactly one."""

    def __missing__(self, code: int) -> str:
        folded = _fold(chr(code))
        return self.setdefault(code, folded if len(folded) == 1 and not _combines(chr(code)) else "  ")


_FOLDS = _Folds()


def normalise(text: str) -> Normalised:
    """NFKC, traditional to simplified, emoji as words, no control or invisible characters, single spaces, trimmed.

    Lone surrogates become U+FFFD. Any string is accepted; the result may be empty.
    """
    folded = text.translate(_FOLDS)
    if "  " not in folded and folded.strip(" ") == folded:  # Most texts keep their positions.
        simplified = _simplifier().convert(folded)
        if len(simplified) == len(folded):
            return Normalised(simplified, range(len(text)), range(1, len(text) + 1))
    return _normalise_each(text)


def _normalise_each(text: str) -> Normalised:
    """The same for any text, character by character."""
    characters: list[str] = []
    spans: list[tuple[int, int]] = []
    for start, end in _clusters(text):
        for character in _fold(text[start:end]):
            if character == " " and (not characters or characters[-1] == " "):
                continue
            characters.append(character)
            spans.append((start, end))
    if characters and characters[-1] == " ":
        characters.pop()
        spans.pop()
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for item, (start, end) in zip(_simplify("".join(characters)), spans, strict=True):
        for character in item:
            out.append(character)
            starts.append(start)
            ends.append(end)
    return Normalised("".join(out), tuple(starts), tuple(ends))


def split_clauses(text: str) -> list[tuple[int, int]]:
    """Spans of the clauses of a normalised text, in order, without the punctuation that ends them.

    A fragment of one character joins its neighbour. A text without a letter, digit or ideograph has no clause.
    """
    edges = [0]
    for match in _CLAUSE_END.finditer(text):
        edges += match.span()
    edges.append(len(text))
    clauses: list[tuple[int, int]] = []
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        start = left + len(text[left:right]) - len(text[left:right].lstrip())
        end = start + len(text[left:right].strip())
        words = sum(c.isalnum() for c in text[start:end])
        if words == 0:
            continue
        if clauses and (words == 1 or clauses[-1][1] - clauses[-1][0] == 1):
            clauses[-1] = (clauses[-1][0], end)
        else:
            clauses.append((start, end))
    return clauses


def encodable(text: str) -> str:
    """The same text with lone surrogates, which no encoding can hold, as U+FFFD; positions stay."""
    return _SURROGATE.sub("\ufffd", text)


def has_chinese(text: str) -> bool:
    """Whether any character is a Chinese ideograph."""
    return _HAN.search(text) is not None


def is_blank(text: str) -> bool:
    """Whether a normalised text shows nothing: no letter, digit, symbol or punctuation mark."""
    return not any(unicodedata.category(c)[0] in "LNSP" and c != "\ufffd" for c in text)
