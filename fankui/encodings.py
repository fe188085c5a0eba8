"""In which encoding a text file is written: the ones that Excel and Chinese systems produce."""

from __future__ import annotations

import codecs
from pathlib import Path

from fankui.errors import FankuiError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UNREADABLE = "\ufffd"
"""Stands for bytes that are no character in the file's encoding."""
_BINARY = (
    (b"PK\x03\x04", "an Excel or zip file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file (.xls)"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
_CHUNK = 1 << 20
_MOST_DAMAGE = 0.005
"""Which share of its characters may be unreadable before a file counts as no text in that encoding."""
_FEW, _MOST_OF_FEW = 5, 0.05
"""So many may be in any case, as long as they are no larger share than this: a short file has few characters."""
# Characters that are frequent in running text of either script: they tell GB18030 from Big5, whose bytes overlap.
_FREQUENT = frozenset(
    "的一是不了在人有我他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小"
    "這來個國說們為時會過對裡後沒還麼問點發開給讓從電話客服,。!?,.:0123456789"
)


class EncodingError(FankuiError):
    """A file is not text, or in no known encoding."""


def _first_fault(path: Path, encoding: str) -> int | None:
    """None when the whole file decodes, else the byte offset of the first fault."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    offset = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                return offset - pending + error.start
            offset += len(chunk)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return offset
    return None


def _damage(path: Path, encoding: str) -> float | None:
    """The share of characters that are unreadable in an encoding; None when that is too many for a text."""
    if _first_fault(path, encoding) is None:  # what stands for unreadable ones may be written in the file itself
        return 0.0
    characters = unreadable = 0
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        while chunk := file.read(_CHUNK):
            characters += len(chunk)
            unreadable += chunk.count(UNREADABLE)
    allowed = max(_MOST_DAMAGE * characters, min(_FEW, _MOST_OF_FEW * characters))
    return unreadable / characters if unreadable <= allowed else None


def _frequent_share(sample: bytes, encoding: str) -> float:
    text = sample.decode(encoding, "ignore")
    return sum(character in _FREQUENT for character in text) / max(1, len(text))


def detect_encoding(path: Path) -> str:
    """A Python codec name: UTF-8, UTF-16/32 (with a mark, or plainly recognisable), GB18030 or Big5.

    A few bytes may not fit; whoever reads the file should have them replaced (`errors="replace"`). Raises EncodingError
    that names the first byte which is not text.
    """
    with path.open("rb") as file:
        head = file.read(1 << 16)
    for mark, kind in _BINARY:
        if head.startswith(mark):
            raise EncodingError(f"{path.name} is {kind}, not text as its name promises; convert it.")
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            if _damage(path, encoding) is None:
                fault = _first_fault(path, encoding)
                raise EncodingError(f"{path.name} is marked as {encoding} but byte {fault} does not fit; save it anew.")
            return encoding
    if _first_fault(path, "utf-8") is None:
        return "utf-8"
    candidates: tuple[str, ...] = ("utf-8", "gb18030", "cp950", "big5hkscs")
    if head.count(0) > len(head) // 100:  # ASCII in UTF-16, or no text at all
        candidates = ("utf-16-le", "utf-16-be")
    damage = {encoding: found for encoding in candidates if (found := _damage(path, encoding)) is not None}
    share = {encoding: _frequent_share(head, encoding) for encoding in damage}
    fitting = [encoding for encoding in damage if candidates[0] != "utf-16-le" or share[encoding] > 0.05]
    if not fitting:
        furthest = max(_first_fault(path, encoding) or 0 for encoding in ("utf-8", *candidates))
        raise EncodingError(
            f"{path.name} is not text in UTF-8, UTF-16, GB18030 or Big5: byte {furthest} fits none of them. "
            f"Save it as UTF-8 or as .xlsx."
        )
    return max(fitting, key=lambda encoding: (share[encoding], -damage[encoding]))
