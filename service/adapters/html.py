"""The words of an HTML message."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)|<[!?][^<>]*>", re.DOTALL)
_NO_TAG = re.compile("<(?!/?[a-zA-Z][^<>]*>)")
_UNSEEN = frozenset({"script", "style", "title"})
_CELLS = frozenset({"td", "th"})
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figure", "footer", "form", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section", "table", "tr", "ul",
})  # fmt: skip


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._unseen = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen = tag
        self._separate(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._unseen:
            self._unseen = ""
        self._separate(tag)

    def _separate(self, tag: str) -> None:
        if tag in _BLOCKS or tag in _CELLS:
            self.parts.append("\n" if tag in _BLOCKS else " ")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(re.sub(r"\s", " ", data))


def html_to_text(html: str) -> str:
    """What a reader sees of HTML: a line a block, blanks collapsed, entities decoded. Any string is accepted."""
    reader = _Reader()
    # The parser raises on some declarations, and takes quadratic time over tags that never end.
    reader.feed(_NO_TAG.sub("&lt;", _COMMENT.sub("", html)))
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return "\n".join(line for line in lines if line)
