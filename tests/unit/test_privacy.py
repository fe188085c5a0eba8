"""Personal data are found by kind and masked in place; ordinary numbers and words stay."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fankui.privacy import PersonalData, find, mask


def _check_character(first_17: str) -> str:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return "10X98765432"[sum(int(d) * w for d, w in zip(first_17, weights, strict=True)) % 11]


def _luhn_digit(number: str) -> str:
    doubled = [int(d) * 2 if i % 2 == 0 else int(d) for i, d in enumerate(reversed(number))]
    return str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


def _full_width(value: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in value)


def _found(text: str) -> list[tuple[str, str]]:
    return [(span.kind, text[span.start : span.end]) for span in find(text)]


DEBIT_CARD = "622848001234567890" + _luhn_digit("622848001234567890")
SHORT_CARD = "622588012345678" + _luhn_digit("622588012345678")

VALUES: list[tuple[PersonalData, str]] = [
    ("mobile", "13800138000"),
    ("mobile", "+8613800138000"),
    ("mobile", "+86 138 0013 8000"),
    ("mobile", "0086-19912345678"),
    ("mobile", "8617012345678"),
    ("mobile", "(+86)13800138000"),
    ("mobile", "138-0013-8000"),
    ("mobile", "138.0013.8000"),
    ("mobile", "1380-013-8000"),
    ("mobile", "1380 0138 000"),
    ("mobile", "1 3 8 0 0 1 3 8 0 0 0"),
    ("landline", "010-62345678"),
    ("landline", "(0755)8234567"),
    ("landline", "(021) 62345678"),
    ("landline", "0571 8765 4321"),
    ("landline", "02162345678"),
    ("landline", "+86-10-6234 5678"),
    ("landline", "0311-86234567-802"),
    ("landline", "0311-86234567转802"),
    ("id_card", "11010519491231002X"),
    ("id_card", "11010519491231002x"),
    ("id_card", "110105 19491231 002X"),
    ("id_card", "83000019920229000" + _check_character("83000019920229000")),
    ("id_card", "110105491231002"),
    ("bank_card", DEBIT_CARD),
    ("bank_card", " ".join((DEBIT_CARD[:4], DEBIT_CARD[4:8], DEBIT_CARD[8:12], DEBIT_CARD[12:16], DEBIT_CARD[16:]))),
    ("bank_card", SHORT_CARD),
    ("bank_card", "4111111111111111"),
    ("bank_card", "4111-1111-1111-1111"),
    ("bank_card", "5555 5555 5555 4444"),
    ("email", "li.lei_88+shop@mail.example.com.cn"),
    ("email", "13800138000@example.com"),
    ("plate", "京A12345"),
    ("plate", "沪A·D1234"),
    ("plate", "粤b 12345"),
    ("plate", "浙A-1B23C"),
    ("plate", "粤BD12345"),
    ("plate", "苏E·12345D"),
    ("plate", "新A12345"),
    ("plate", "京A1234学"),
    ("plate", "冀B1234挂"),
    ("plate", "鲁B1234警"),
    ("plate", "粤Z1234港"),
    ("plate", "沪A0023领"),
    ("plate", "使224·578"),
    ("address", "建国路88号"),
    ("address", "人民东路 12号院3号楼"),
    ("address", "北京市朝阳区建国路88号院3号楼2单元1203室"),
    ("address", "浙江省 杭州市 西湖区文三路478号3栋2单元501"),
    ("address", "上海市南京東路100號5樓501室"),
    ("address", "长宁路1600弄12号301室"),
    ("address", "和平路甲3号"),
    ("address", "阳光花园二期3栋A座1203室"),
    ("address", "阳光小区三号楼二单元"),
    ("address", "碧水大厦B座1203"),
    ("address", "翠湖花园3-2-502"),
    ("address", "翠湖苑12幢3单元5户"),
    ("address", "青山镇阳光小区12号"),
    ("address", "青山镇幸福村3组12号"),
]


@pytest.mark.parametrize(("kind", "value"), VALUES)
@pytest.mark.parametrize("text", ["{}", "信息是{}。谢谢", "，{}，", "就在{}了"])
def test_a_value_is_found_whatever_touches_it(kind: PersonalData, value: str, text: str) -> None:
    assert _found(text.format(value)) == [(kind, value)]


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_full_width_characters_count_like_their_narrow_forms(kind: PersonalData, value: str) -> None:
    assert _found(f"信息是{_full_width(value)}。") == [(kind, _full_width(value))]


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\u200b", "\ufeff"])
@pytest.mark.parametrize("hyphen", ["-", "‑", "–", "－"])
def test_any_blank_and_hyphen_may_separate_groups(blank: str, hyphen: str) -> None:
    assert _found(f"138{blank}0013{hyphen}8000") == [("mobile", f"138{blank}0013{hyphen}8000")]


@pytest.mark.parametrize(
    "text",
    [
        # mobile numbers
        "物流单20231380013800099一直没更新",
        "12800138000不是号段",
        "1380013800",
        "系数是0.13800138000",
        "运单1234-138-0013-8000-11",
        "订单号：19512345678",
        "时间戳1690000000000",
        # landlines
        "客服400-820-8820打不通，800-820-8820也是，95588和12315都忙",
        "010-12345678",
        "0000-62345678",
        "尺寸010-623456",
        "编号7-0312-62345678-1",
        "手机壳0266-62345678",
        # ID cards
        "110105194912310021",
        "11010519491331002" + _check_character("11010519491331002"),
        "11010519490229002" + _check_character("11010519490229002"),
        "11010518491231002" + _check_character("11010518491231002"),
        "17010519491231002" + _check_character("17010519491231002"),
        "110105491331002",
        "170105491231002",
        "SF110105491231002",
        "快递单号110105491231002",
        "9" + "11010519491231002X",
        # bank cards
        DEBIT_CARD[:-1] + str((int(DEBIT_CARD[-1]) + 1) % 10),
        "4111 1111 1111 1112",
        "111122223333444" + _luhn_digit("111122223333444"),
        "411111111111111111" + _luhn_digit("411111111111111111"),
        f"订单编号：{DEBIT_CARD}",
        f"1-{DEBIT_CARD[:4]}-{DEBIT_CARD[4:8]}-{DEBIT_CARD[8:12]}-{DEBIT_CARD[12:16]}",
        # e-mail addresses
        "@小王 你看看",
        "单价@2.5元，一共@10",
        "me@localhost",
        "@example.com",
        # plates
        "新GLC300和新GLA200都试驾了",
        "新galaxy手机",
        "京A1234",
        "京A1234567",
        "京AI2345",
        "京ABCDE1",
        "即使300000元也不卖",
        # addresses
        "坐3号线到5号楼下，12号那天在二号窗口等",
        "人民路3号线地铁口",
        "南京路12号那天下单",
        "我们小区12号停电",
        "阳光小区12号停电",
        "阳光小区12号可以入住",
        "在人民路3号门等",
        "人民路3号开业路12号",
        "我们小区3栋",
        "知道12号到货",
        "快递员住3单元",
        "人民路上有3个口",
        "翠湖花园3室2厅",
        "翠湖花园有12栋高层",
        "阳光小区300户",
        "翠湖花园12-10-2023",
        "三室一厅，二栋，101室",
        # everyday numbers
        "2024-01-15 12:30下单，2024/1/18到，花了1,299.50元，满199减20",
        "升级到v12.3.4567之后192.168.100.200打不开",
        "一共100000000元，打8.5折",
        "",
    ],
)
def test_ordinary_text_is_left_and_returned_itself(text: str) -> None:
    assert find(text) == ()
    assert mask(text) is text


def test_several_values_in_one_text_are_found_in_order() -> None:
    text = (
        "我叫小林，住在朝阳区建国路88号13800138000，邮箱lin@example.com，"
        "身份证11010519491231002X卡4111111111111111车牌京A12345座机010-62345678"
    )
    assert [kind for kind, _ in _found(text)] == [
        "address",
        "mobile",
        "email",
        "id_card",
        "bank_card",
        "plate",
        "landline",
    ]


@pytest.mark.parametrize("glue", [" ", ",", "/", "-", "或"])
def test_neighbouring_mobile_numbers_are_both_found(glue: str) -> None:
    assert _found(f"13800138000{glue}19912345678") == [("mobile", "13800138000"), ("mobile", "19912345678")]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("电话138-0013-8000,谢谢", "电话***-****-****,谢谢"),
        ("＋８６ １３８００１３８０００", "＋** ***********"),
        ("座机(0755)8234567。", "座机(****)*******。"),
        ("发到lin.mei@example.com吧", "发到***.***@*******.***吧"),
        ("住在西湖区 文三路478号3-501室,三楼", "住在*** ********-****,三楼"),
        ("车牌沪A·D1234被刮", "车牌**·*****被刮"),
    ],
)
def test_letters_and_digits_become_stars_and_separators_stay(sent: str, stored: str) -> None:
    assert mask(sent) == stored


def test_an_address_begins_at_its_districts_and_not_at_the_sentence_before() -> None:
    assert _found("麻烦快点送到浙江省杭州市文三路478号") == [("address", "浙江省杭州市文三路478号")]
    assert _found("东西一直放门口湖南长沙市岳麓区麓山路36号") == [("address", "湖南长沙市岳麓区麓山路36号")]
    assert _found("楼下超市建国路88号") == [("address", "建国路88号")]


def test_what_follows_a_unit_ends_neither_the_address_nor_its_mask() -> None:
    assert _found("建国路88号门卫代收") == [("address", "建国路88号")]
    assert _found("建国路88号15号楼3室2厅") == [("address", "建国路88号15号楼")]
    assert _found("阳光小区5栋101室内漏水") == [("address", "阳光小区5栋101室")]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("11010519491231002X" * 3, ["id_card"] * 3),
        ("(021)62345678" * 3, ["landline"] * 3),
        ("lin@example.com" + "13800138000", ["email", "mobile"]),
        ("lin@example.com" + "13800138000lin@example.com", ["email", "email"]),
        ("建国路88号人民路3号", ["address", "address"]),
        ("京A12345沪A·D1234", ["plate", "plate"]),
        (DEBIT_CARD + "lin@example.com", ["email"]),
    ],
)
def test_values_may_touch_each_other(text: str, kinds: list[str]) -> None:
    assert [kind for kind, _ in _found(text)] == kinds


def _digits_of(size: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=size, max_size=size)


MOBILES = st.tuples(st.sampled_from("3456789"), _digits_of(9)).map(lambda parts: "1" + "".join(parts))
ID_CARDS = (
    st.tuples(
        st.sampled_from(["110105", "310101", "440305", "650102"]),
        st.dates(date(1900, 1, 1), date(2099, 12, 31)).map(lambda day: f"{day:%Y%m%d}"),
        _digits_of(3),
    )
    .map("".join)
    .map(lambda first_17: first_17 + _check_character(first_17))
)
BANK_CARDS = _digits_of(16).map(lambda middle: "62" + middle + _luhn_digit("62" + middle))
FRAGMENTS = st.one_of(
    st.text(st.characters(), max_size=12),  # surrogates included
    st.text("0123456789０１２xX*-– .+()·@号路栋室楼村市区园一三开前京沪使新Aa", max_size=30),
    st.sampled_from([value for _, value in VALUES]),
    st.sampled_from([_full_width(value) for _, value in VALUES]),
    MOBILES,
    ID_CARDS,
    BANK_CARDS,
)
MIXTURES = st.lists(FRAGMENTS, max_size=8).map("".join)


@given(MIXTURES)
def test_masking_keeps_length_and_all_that_is_outside_the_spans(text: str) -> None:
    stored = mask(text)
    spans = find(text)
    inside = {i for span in spans for i in range(span.start, span.end)}
    assert len(stored) == len(text)
    assert all(
        after == ("*" if i in inside and before.isalnum() else before)
        for i, (before, after) in enumerate(zip(text, stored, strict=True))
    )


@given(MIXTURES)
def test_masking_twice_changes_nothing_more(text: str) -> None:
    stored = mask(text)
    assert mask(stored) is stored


@given(MIXTURES)
def test_spans_are_in_order_and_apart(text: str) -> None:
    end_before = 0
    for span in find(text):
        assert end_before <= span.start < span.end <= len(text)
        end_before = span.end


@pytest.mark.parametrize(("kind", "values"), [("mobile", MOBILES), ("id_card", ID_CARDS), ("bank_card", BANK_CARDS)])
@given(data=st.data())
def test_any_valid_number_between_words_is_found(
    kind: str, values: st.SearchStrategy[str], data: st.DataObject
) -> None:
    value = data.draw(values)
    words = st.text("的客户在电话里说过很多次,。! ", max_size=10)
    text = f"{data.draw(words)}{value}{data.draw(words)}"
    assert _found(text) == [(kind, value)]


def test_a_megabyte_that_almost_matches_everywhere_comes_to_an_end() -> None:
    shapes = [
        *("1", "a", "a@a.", "1 3 ", "138-0013-8000-", "4111 1111 1111 1112 ", "路1-1-1-", "市"),
        # each hides its neighbour until it is masked itself, or would if boundaries were drawn carelessly
        *("人民路3号开业路3号", "(021)62345678", "11010519491231002X", "lin@example.com13800138000"),
    ]
    text = "".join((shape * 90_000)[:90_000] for shape in shapes)
    assert len(mask(text)) == len(text)
