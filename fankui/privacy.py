"""Finding and masking personal data in Chinese feedback, so that it need not be stored.

Not found, because characters alone do not tell them from ordinary text: names, user names, WeChat and QQ numbers,
passports and permits, numbers spelt in words (幺三八…), landlines without an area code, e-mail addresses spelt out
("a at b"), numbers broken up in unusual places, cards of other issuers than UnionPay, Visa, Mastercard and JCB, plates
of the army and the armed police. A landline or an address is masked whether it is a customer's or a shop's; 400 and
800 numbers stay, for only companies have them. Numbers that the words before them call an order, tracking or serial
number stay too.

An address is found when a named street or community is followed by a number with 号, 栋, 幢, 单元, 室, 弄, 户 or 房.
Missed on purpose are those without such a number (朝阳区建国路), without such a name (我们小区3栋), with a name that
ends in 里, and a bare 12号, which may be a date, after a community unless its district or town is named before. Where
no district or punctuation shows where a name begins, the mask may begin a few characters too early or too late.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from string import ascii_letters, digits
from typing import Literal

PersonalData = Literal["mobile", "landline", "id_card", "bank_card", "email", "plate", "address"]


@dataclass(frozen=True, slots=True)
class Span:
    """Where personal data stand, in characters of the text; `end` is exclusive."""

    kind: PersonalData
    start: int
    end: int


_Search = Callable[[str], Iterator[tuple[int, int]]]

# One character for one, or positions would shift: full-width forms, other blanks (invisible ones too), hyphens and
# dots, and the traditional characters that the patterns name.
_FOLD = {0xFF01 + i: 0x21 + i for i in range(94)} | str.maketrans(
    "\t\u00a0\u2002\u2003\u2009\u200b\u200c\u200d\u2060\u3000\ufeff‐‑‒–—−•‧・"
    "號棟單戶樓層門組隊區縣鎮鄉園廈廣場莊東灣軒頻報軌車編碼條為線館廳機櫃當開發貨滬雲遼魯蘇贛晉陝閩貴粵寧瓊學領",
    " " * 11 + "------···"
    "号栋单户楼层门组队区县镇乡园厦广场庄东湾轩频报轨车编码条为线馆厅机柜当开发货沪云辽鲁苏赣晋陕闽贵粤宁琼学领",
)
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")


def _always(_match: re.Match[str]) -> bool:
    return True


def _matching(pattern: str, holds: Callable[[re.Match[str]], bool] = _always) -> _Search:
    """A search for what matches the pattern and holds; a match that does not hold hides none that begins inside it."""
    compiled = re.compile(pattern)

    def search(text: str) -> Iterator[tuple[int, int]]:
        position = 0
        while match := compiled.search(text, position):
            if holds(match):
                yield match.span()
                position = match.end()
            else:
                position = match.start() + 1

    return search


# E-mail addresses (RFC 5321): up to 64 characters before the @.

_AT_DOMAIN = re.compile(r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}")
_LOCAL_SIGNS = "._%+-"
_LOCAL = ascii_letters + digits + _LOCAL_SIGNS
_LONGEST_LOCAL = 64


def _emails(text: str) -> Iterator[tuple[int, int]]:
    floor = 0
    for match in _AT_DOMAIN.finditer(text):
        before = text[max(floor, match.start() - _LONGEST_LOCAL) : match.start()]
        local = before[len(before.rstrip(_LOCAL)) :].lstrip(_LOCAL_SIGNS)
        if local:
            yield match.start() - len(local), match.end()
        floor = match.end()


# Numbers. A hyphen ties a number to the digits beyond it, masked ones too: else a second masking would find more.

_BEGIN = r"(?:(?=[(+])|(?=[0-9])(?<![0-9])(?<![0-9*]-))"
_END = r"(?![0-9]|-[0-9*])"
_COUNTRY = r"(?:\(?(?:\+|00)?86\)?[- ]?)?"
_MOBILE = (
    # In one piece, but not the decimals of 0.13…; in groups of 3-4-4, 4-3-4, 4-4-3; digit by digit.
    rf"(?=[0-9(+])(?:(?:(?=[(+])|(?<![0-9])(?<!(?<![0-9])0\.)){_COUNTRY}1[3-9][0-9]{{9}}(?![0-9])"
    rf"|{_BEGIN}{_COUNTRY}1[3-9](?:[0-9][-. ][0-9]{{4}}[-. ][0-9]{{4}}|[0-9]{{2}}[- ][0-9]{{3}}[- ][0-9]{{4}}"
    rf"|[0-9]{{2}}[- ][0-9]{{4}}[- ][0-9]{{3}}){_END}"
    rf"|{_BEGIN}1[- ][3-9](?:[- ][0-9]){{9}}{_END})"
)
_AREA = (
    r"(?:10|2[0-57-9]|3(?:[1579][0-9]|35|49)|4(?:[1-7][0-9]|8[23])|5[1-9][0-9]|6(?:3[1-5]|6[0-8]|9[12])"
    r"|7(?:01|[1-79][0-9])|8[1-35789][0-9]|9[0134579][0-9])"
)
_LANDLINE = (
    rf"{_BEGIN}(?:\(0{_AREA}\)[- ]?|(?:0|(?:\+|00)86[- ]?0?){_AREA}[- ]?)[2-8][0-9]{{2,3}}[- ]?[0-9]{{4}}"
    rf"(?:(?:-|,?转| ?(?:分机|[Ee]xt\.?) ?)[0-9]{{1,6}})?{_END}"
)
_ID_CARD = r"(?<![0-9])[1-9][0-9]{5}[ -]?(?:19|20)[0-9]{6}[ -]?[0-9]{3}(?:[0-9](?![0-9])|[Xx])"
_OLD_ID_CARD = r"(?<![A-Za-z0-9])[1-9][0-9]{14}(?![A-Za-z0-9])"
_CARD_16 = r"[0-9]{4}([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{4}"
_SERIAL = re.compile(r"(?:[单编批货]号|(?:序列|流水)号|编码|条形?码|IMEI|SN)码?[ :#是为]{0,3}\Z")
_PROVINCES = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]")


def _is_no_serial(match: re.Match[str]) -> bool:
    return _SERIAL.search(match.string[max(0, match.start() - 12) : match.start()]) is None


def _bare(match: re.Match[str]) -> str:
    return match.group().replace(" ", "").replace("-", "")


def _is_date(year: str, month: str, day: str) -> bool:
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return False
    return True


def _is_id_card(match: re.Match[str]) -> bool:
    """GB 11643: province, birth date, and the check character of ISO 7064 MOD 11-2."""
    number = _bare(match).upper()
    total = sum(int(digit) << (17 - i) for i, digit in enumerate(number[:17]))
    return (
        _PROVINCES.match(number) is not None
        and _is_date(number[6:10], number[10:12], number[12:14])
        and number[17] == "10X98765432"[total % 11]
    )


def _is_old_id_card(match: re.Match[str]) -> bool:
    """Fifteen digits, issued until 1999: a year of two digits and no check character."""
    number = match.group()
    return (
        _PROVINCES.match(number) is not None
        and _is_date("19" + number[6:8], number[8:10], number[10:12])
        and _is_no_serial(match)
    )


def _is_bank_card(match: re.Match[str]) -> bool:
    """ISO/IEC 7812: an issuer's leading digits and the Luhn sum. Only UnionPay's have more than 16 digits."""
    number = _bare(match)
    total = sum(sum(divmod(int(digit) * (1 + i % 2), 10)) for i, digit in enumerate(reversed(number)))
    issuers = r"62|955[89]" if len(number) > 16 else r"62|955[89]|4|5[1-5]|35(?:2[89]|[3-8])"
    return total % 10 == 0 and re.match(issuers, number) is not None and _is_no_serial(match)


# Plates (GA 36): province, office, five characters or a new-energy car's six; embassies' only with their dot, since
# 使 before six digits is mostly a word (即使300000).

_PLATE = (
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼] ?[A-HJ-NP-Za-hj-np-z][-· ]?"
    r"(?:[A-HJ-NP-Za-hj-np-z0-9]{4}[挂学警港澳试领]"
    r"|(?:[A-HJ-NP-Za-hj-np-z0-9]{5}|[A-HJKa-hjk][A-HJ-NP-Za-hj-np-z0-9][0-9]{4}|[0-9]{5}[A-HJKa-hjk])(?![A-Za-z0-9]))"
    r"|使(?:·[0-9]{6}|·?[0-9]{3}·[0-9]{3})(?![0-9])"
)


def _is_plate(match: re.Match[str]) -> bool:
    value = match.group()
    # At most two of the five are letters; 新 is also the word "new", which stands before models such as GLC300.
    return sum(character.isdigit() for character in value) >= (4 if value[0] == "新" else 3)


# Addresses: the pattern finds street or community word, number and unit; the name before it is then read backwards.

_NUMBER = r"(?:[0-9]{1,5}(?:[-/][0-9]{1,4}){0,2}[A-Za-z]?|[A-Za-z][0-9]{0,3}|[零〇一二两三四五六七八九十百]{1,5})"
# Characters that end a name on its left: words of the sentence around an address, and units of an address before.
_NO_NAME = (
    "在到是于址我你您他她它们的了去从给这那哪住送寄往找叫就也还把被说问请让很太没不有为该此每各某个"
    "得着过吗呢吧啊及与跟对但而因已号栋幢室弄"
)
_STREET = (
    r"(?:路(?<![线铁网电思套]路)|街(?<!逛街)|大道|道(?<![知味渠通报频管隧轨跑车街楼]道)|巷|胡同)(?:[东西南北中]段)?"
)
_COMMUNITY = (
    r"(?:小区|社区|大厦|大楼|广场|公寓|村(?<!农村)|园(?<![儿公校乐]园)|城(?<![商县全]城)|[苑庄屯府湾庭居阁轩邸郡墅])"
    r"(?:[一二三四五六七八九十0-9A-Za-z]{1,2}[期区])?"
)
# What shows that 号 is a date or numbers something else, that 栋 or 室 counts.
_AFTER_NUMBER = (
    "线|口|窗|店|厅|馆|机|航站|门(?!卫)|电梯|柜|桌|车|床位|那|当|早|晚|上午|下午|中午|凌晨|前|之|以前|以后|起|开|封|停"
    "|发货|到|下单"
)
_AFTER_BUILDING = "楼|住宅|别墅|高层|房"
_AFTER_ROOM = "[0-9一二两三四]厅"
_ORDINARY = re.compile(rf"{_AFTER_NUMBER}|{_AFTER_BUILDING}|{_AFTER_ROOM}")
_UNIT = (
    rf"(?:[甲乙附]?{_NUMBER}(?:号[院楼栋]|号(?![ -]?{_NUMBER}号(?![院楼栋]))|[栋幢座弄层楼门组队室]|单元)[ -]?"
    rf"(?:(?:(?![{_NO_NAME}])[\u4e00-\u9fff]){{1,8}}?{_COMMUNITY})?)"
)
_LAST_UNIT = (
    rf"(?:{_NUMBER}(?:号?楼|号?栋|[幢座层]|单元)-?[0-9]{{3,4}}[室房]?(?![0-9.%元块个人年月日天次米平户多])"
    r"|[0-9]{1,3}-[0-9]{1,2}-(?!19|20)[0-9]{3,4}(?![0-9-])"
    rf"|[甲乙附]?{_NUMBER}号(?:[院房栋]|楼(?![上下道]))?(?!{_AFTER_NUMBER})"
    rf"|{_NUMBER}[栋幢](?!{_AFTER_BUILDING})|{_NUMBER}室(?!{_AFTER_ROOM})|{_NUMBER}(?:单元|[弄户房]))"
)
_PLACE = re.compile(rf"(?:(?P<street>{_STREET})|{_COMMUNITY}) ?(?P<units>{_UNIT}{{0,5}}{_LAST_UNIT})")
_MAYBE_DATE = re.compile(rf"{_NUMBER}号")
_MAYBE_COUNT = re.compile(rf"{_NUMBER}[户房]")
_DISTRICTS = "省市区县旗镇乡州盟"
_DISTRICT = re.compile(rf"[{_DISTRICTS}]")
_PART = re.compile(rf"[^{_DISTRICTS}路街道村]+[{_DISTRICTS}路街道村]? ?|[{_DISTRICTS}路街道村] ?")
_COMMON_WORD = re.compile(r"(?:超市|城市|小区|地区|景区|知道|味道) ?\Z")
_PROVINCE = re.compile(
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州"
    "|云南|陕西|甘肃|青海|台湾|内蒙古|广西|西藏|宁夏|新疆|香港|澳门"
)
_LONGEST_NAME = 4
_LIKELY_NAME = 3
_LONGEST_HEAD = 30


def _words_start(text: str, floor: int, end: int) -> int:
    """How far back from `end`, not before `floor`, the characters can belong to districts and a name."""
    start = end
    while start > max(floor, end - _LONGEST_HEAD):
        character = text[start - 1]
        parts_gap = character == " " and start - 1 > floor and text[start - 2] in _DISTRICTS
        if not parts_gap and (character in _NO_NAME or not "\u3400" <= character <= "\u9fff"):
            break
        start -= 1
    # What made 12号 ordinary must not become part of an address, or a second masking would take 12号 for one.
    ordinary = _ORDINARY.match(text, start, end) if start and text[start - 1] in "号栋幢室" else None
    return ordinary.end() if ordinary else start


def _name_start(words: str) -> int:
    """Where in the words before a street or community word its districts and name begin."""
    start = len(words)
    for part in reversed(_PART.findall(words)):
        name = part.rstrip(f" {_DISTRICTS}路街道村")
        if _COMMON_WORD.search(part):
            break
        if len(name) > _LONGEST_NAME:
            province = _PROVINCE.search(part)
            return start - len(part) + (province.start() if province else len(name) - _LIKELY_NAME)
        start -= len(part)
    return start


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    floor = 0
    for match in _PLACE.finditer(text):
        start = _words_start(text, floor, match.start())
        start += _name_start(text[start : match.start()])
        head, units = text[start : match.start()], match["units"]
        dated = match["street"] is None and _MAYBE_DATE.fullmatch(units) and not _DISTRICT.search(head)
        if len(head) >= 2 and not dated and not _MAYBE_COUNT.fullmatch(units):
            yield start, match.end()
        floor = match.end()


# Most certain first: what one kind has found, the later ones do not see.
_KINDS: tuple[tuple[PersonalData, _Search], ...] = (
    ("email", _emails),
    ("id_card", _matching(_ID_CARD, _is_id_card)),
    ("id_card", _matching(_OLD_ID_CARD, _is_old_id_card)),
    ("bank_card", _matching(rf"{_BEGIN}{_CARD_16}\1[0-9]{{1,3}}{_END}", _is_bank_card)),
    ("bank_card", _matching(rf"{_BEGIN}{_CARD_16}{_END}", _is_bank_card)),
    ("mobile", _matching(_MOBILE, _is_no_serial)),
    ("landline", _matching(_LANDLINE, _is_no_serial)),
    ("plate", _matching(_PLATE, _is_plate)),
    ("address", _addresses),
)


def _starred(text: str, spans: Sequence[Span]) -> str:
    """The text with a star for every letter and digit of the spans, which are in order."""
    pieces = []
    position = 0
    for span in spans:
        pieces += [text[position : span.start], _LETTER_OR_DIGIT.sub("*", text[span.start : span.end])]
        position = span.end
    return "".join([*pieces, text[position:]])


def find(text: str) -> tuple[Span, ...]:
    """Personal data in a text, in order and apart; of two readings of the same characters the more certain one.

    Any string is accepted. The time taken grows with the length of the text alone.
    """
    folded = text.translate(_FOLD)
    found: list[Span] = []
    # Masking one thing may uncover another beside it; searching until nothing is left makes masking idempotent.
    while True:
        before = len(found)
        for kind, search in _KINDS:
            spans = [Span(kind, start, end) for start, end in search(folded)]
            if spans:
                folded = _starred(folded, spans)
                found += spans
        if len(found) == before:
            return tuple(sorted(found, key=lambda span: span.start))


def mask(text: str) -> str:
    """The text with a star for every letter and digit of personal data; separators stay.

    The result has the length of the text, so offsets into the one are offsets into the other, and masking it again
    changes nothing. A text without personal data is returned itself.
    """
    spans = find(text)
    return _starred(text, spans) if spans else text
