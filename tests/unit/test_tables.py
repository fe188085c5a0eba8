"""Real files in the encodings and shapes that people send are read whole; a fault is named with its remedy."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from fankui.encodings import EncodingError, detect_encoding
from fankui.tables import Table, TableError, open_table, plain
from fankui.writers import OutputError, check_output, write_table

SIMPLIFIED = "编号,反馈内容\n1,说好三天到货,\n2,房间有霉味；空调不制冷\n"
TRADITIONAL = "編號,反饋內容\n1,說好三天到貨還沒發，客服也沒有回覆\n2,房間有霉味，這個價格不值得\n"


def _texts(table: Table) -> list[str]:
    return [table.text_of(row) for row in table.rows()]


@pytest.mark.parametrize(
    ("encoding", "content", "found"),
    [
        ("utf-8", SIMPLIFIED, "utf-8"),
        ("utf-8-sig", SIMPLIFIED, "utf-8-sig"),
        ("gb18030", SIMPLIFIED, "gb18030"),
        ("gbk", SIMPLIFIED * 50, "gb18030"),
        ("big5", TRADITIONAL, "cp950"),
        ("gb18030", TRADITIONAL, "gb18030"),
        ("utf-16", SIMPLIFIED, "utf-16"),
        ("utf-16-le", SIMPLIFIED, "utf-16-le"),
        ("utf-16-be", SIMPLIFIED, "utf-16-be"),
        ("utf-32", SIMPLIFIED, "utf-32"),
        ("ascii", "id,text\n1,ok\n", "utf-8"),
    ],
)
def test_the_encodings_that_excel_and_chinese_systems_write_are_told_apart(
    tmp_path: Path, encoding: str, content: str, found: str
) -> None:
    path = tmp_path / "feedback.csv"
    path.write_bytes(content.encode(encoding))
    assert detect_encoding(path) == found
    table = open_table(path)
    assert table.rows_total == content.count("\n") - 1
    assert _texts(table)[0] == content.splitlines()[1].split(",")[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 rest of an xlsx", "is an Excel or zip file"),
        (bytes(range(256)) * 8, "byte 128 fits none of them"),
        ("编号,内容\n".encode("gb18030") + b"1,\xff\n", "byte 12 fits none of them"),
        (b"\xff\xfe\x00\xd8\x00\xd8\x41\x00", "marked as utf-16 but byte"),
        (b"", "is empty"),
        (b"id,text\n", "no row below its header"),
    ],
)
def test_what_is_not_a_text_table_is_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "feedback.csv"
    path.write_bytes(content)
    with pytest.raises((EncodingError, TableError), match=message):
        open_table(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "big5"])
def test_a_file_with_few_damaged_bytes_is_read_all_the_same(tmp_path: Path, encoding: str) -> None:
    rows = "".join(f"{n},說好三天到貨{n}天了還沒有人管客服電話也打不通\n" for n in range(200))
    content = ("編號,內容\n" + rows).encode(encoding)
    character = "人".encode(encoding.removesuffix("-sig"))
    place = content.index(character, len(content) // 2)
    path = tmp_path / "feedback.csv"
    path.write_bytes(content[:place] + b"\xff" + content[place + len(character) :])
    assert detect_encoding(path) == ("cp950" if encoding == "big5" else encoding)
    texts = _texts(open_table(path))
    damaged = [text for text in texts if "\ufffd" in text]
    assert len(texts) == 200 and len(damaged) == 1
    assert damaged[0].startswith("說好三天到貨") and damaged[0].endswith("電話也打不通")


@pytest.mark.parametrize(("faults", "read"), [(2, True), (9, False)])
def test_a_short_file_may_have_a_few_damaged_bytes_but_not_many(tmp_path: Path, faults: int, read: bool) -> None:
    content = bytearray(
        "编号,内容\n1,送货太慢了,说好三天到,十天了还没有到,打电话也没人接,气死人了\n".encode("gb18030") * 3
    )
    for place in list(range(20, len(content), 17))[:faults]:
        content[place] = 0xFF
    path = tmp_path / "short.csv"
    path.write_bytes(content)
    if read:
        assert detect_encoding(path) == "gb18030"
    else:
        with pytest.raises(EncodingError, match="fits none of them"):
            detect_encoding(path)


def test_a_wrong_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="There is no file"):
        open_table(tmp_path / "absent.csv")
    with pytest.raises(TableError, match="is a folder"):
        open_table(tmp_path)
    (tmp_path / "notes.docx").write_bytes(b"x")
    with pytest.raises(TableError, match=r"the ending \.docx is unknown"):
        open_table(tmp_path / "notes.docx")


def _csv(folder: Path, content: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("id,text\n1,好\n", "text"),
        ("工单编号,处理人,投诉内容\n1,张三,很慢\n", "投诉内容"),
        ("a,b\n甲,这一列的文字长得多而且是中文\n乙,所以它就是反馈本身没有错\n", "b"),
        ("随便什么名字\n很好\n", "随便什么名字"),
    ],
)
def test_the_text_column_is_found(tmp_path: Path, content: str, column: str) -> None:
    assert open_table(_csv(tmp_path, content)).text_column == column


def test_an_unclear_or_wrongly_named_text_column_is_asked_for(tmp_path: Path) -> None:
    path = _csv(tmp_path, "甲,乙\n一样长的字,一样长的字\n")
    with pytest.raises(TableError, match="--text-column; there are: 甲, 乙"):
        open_table(path)
    with pytest.raises(TableError, match=r"no column 'revue', only: id, review\. Did you mean 'review'\?"):
        open_table(_csv(tmp_path, "id,review\n1,好\n"), text_column="revue")


def test_ragged_quoted_and_multi_line_records_keep_every_cell(tmp_path: Path) -> None:
    path = _csv(tmp_path, 'id,text,text\n1,"第一行\n第二行, ""引号""",x,多出的,更多\n2\n\n3,好,y\n')
    table = open_table(path)
    assert table.columns == ("id", "text", "text_2", "column_4", "column_5")
    rows = [list(row.values.values()) for row in table.rows()]
    assert rows[0] == ["1", '第一行\n第二行, "引号"', "x", "多出的", "更多"]
    assert rows[1] == ["2", "", "", "", ""]
    assert len(rows) == table.rows_total == 3


@pytest.mark.parametrize(("delimiter", "name"), [(";", "t.csv"), ("\t", "t.csv"), ("\t", "t.tsv"), (",", "t.csv")])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str, name: str) -> None:
    table = open_table(_csv(tmp_path, f"id{delimiter}text\n1{delimiter}很好\n", name))
    assert _texts(table) == ["很好"]


def test_a_nul_and_a_ten_megabyte_field_are_read(tmp_path: Path) -> None:
    long = "很慢" * 1_700_000
    table = open_table(_csv(tmp_path, f"id,text\n1,a\x00b\n2,{long}\n"))
    assert _texts(table) == ["a\x00b", long]


def test_a_spreadsheet_keeps_numbers_dates_and_the_stored_results_of_formulas(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        date = book.add_format({"num_format": "yyyy-mm-dd"})
        for column, name in enumerate(["编号", "日期", "反馈内容"]):
            sheet.write(0, column, name)
        sheet.write(1, 0, 7)
        sheet.write_datetime(1, 1, datetime.datetime(2026, 7, 1), date)
        sheet.write_formula(1, 2, '=CONCATENATE("很","慢")', None, "很慢")
        sheet.write(2, 0, 8)
        sheet.write_formula(2, 2, '=A1&"x"', None, "")
    table = open_table(path)
    rows = list(table.rows())
    assert rows[0].values == {"编号": 7, "日期": datetime.date(2026, 7, 1), "反馈内容": "很慢"}
    assert table.text_of(rows[1]) == ""
    (tmp_path / "broken.xlsx").write_bytes(b"no spreadsheet")
    with pytest.raises(TableError, match="cannot be read as a spreadsheet"):
        open_table(tmp_path / "broken.xlsx")


def test_broken_json_lines_are_kept_and_marked_with_their_number(tmp_path: Path) -> None:
    lines = ['{"id": 1, "text": "好"}', "{broken", '"a string"', '{"text": ["a"]}', "", '{"text": "\\ud800"}']
    path = _csv(tmp_path, "\n".join(lines), "t.jsonl")
    table = open_table(path)
    rows = list(table.rows())
    assert [row.fault is None for row in rows] == [True, False, False, False, True]
    assert rows[1].values == {"raw": "{broken"}
    assert "line 2 is not JSON" in str(rows[1].fault)
    assert "'text' is not a text" in str(rows[3].fault)


def test_parquet_keeps_its_types_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"text": ["好", None], "when": [datetime.date(2026, 1, 2), None]}).write_parquet(path)
    table = open_table(path)
    assert [row.values["when"] for row in table.rows()] == [datetime.date(2026, 1, 2), None]
    assert _texts(table) == ["好", ""]
    path.write_bytes(b"PAR1 no")
    with pytest.raises(TableError, match="cannot be read as Parquet"):
        open_table(path)


def test_a_quotation_mark_that_is_never_closed_is_named_instead_of_swallowing_rows(tmp_path: Path) -> None:
    path = _csv(tmp_path, 'id,text\n1,好\n2,"没有关上\n3,还行\n')
    with pytest.raises(TableError, match="line 3: a quotation mark is opened and never closed"):
        open_table(path)


def test_commas_in_a_table_of_one_column_belong_to_the_text(tmp_path: Path) -> None:
    assert _texts(open_table(_csv(tmp_path, "反馈\n很慢,不满意\n\n好\n"))) == ["很慢,不满意", "", "好"]


def test_a_spreadsheet_may_begin_with_blank_rows_and_an_empty_sheet(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "t.xlsx")) as book:
        book.add_worksheet("空")
        sheet = book.add_worksheet("数据")
        sheet.write(2, 0, "反馈")
        sheet.write(3, 0, "很慢")
    assert _texts(open_table(tmp_path / "t.xlsx")) == ["很慢"]


def test_a_long_order_number_keeps_its_digits_in_excel(tmp_path: Path) -> None:
    write_table(tmp_path / "o.xlsx", ".xlsx", ["text", "order"], [{"text": "好", "order": 110_101_199_001_011_237}])
    (row,) = open_table(tmp_path / "o.xlsx", text_column="text").rows()
    assert row.values["order"] == "110101199001011237"


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20))
def test_any_csv_gives_back_its_cells_in_order(rows: list[tuple[str, str]]) -> None:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "text"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        table = open_table(_csv(Path(folder), content.getvalue()))
        assert [tuple(row.values.values()) for row in table.rows()] == rows


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".xlsx", ".jsonl", ".parquet"])
def test_what_is_written_reads_back(tmp_path: Path, kind: str) -> None:
    records = [
        {"text": '=1+1, "引号"\n换行', "n": 3, "mixed": "a"},
        {"text": "http://例子.invalid", "n": None, "mixed": 2.5},
        {"text": "孤立\ud800", "n": 5, "mixed": None},
    ]
    path = tmp_path / f"o{kind}"
    write_table(path, kind, ["text", "n", "mixed"], [{k: plain(v) for k, v in r.items()} for r in records])
    table = open_table(path, text_column="text")
    assert _texts(table) == ['=1+1, "引号"\n换行', "http://例子.invalid", "孤立\ufffd"]
    assert [float(row.values["n"]) if row.values["n"] else None for row in table.rows()] == [3, None, 5]


def test_excel_opens_our_csv_in_the_right_encoding(tmp_path: Path) -> None:
    write_table(tmp_path / "o.csv", ".csv", ["text"], [{"text": "好"}])
    assert (tmp_path / "o.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_a_cell_too_long_for_excel_is_shortened_to_its_limit(tmp_path: Path) -> None:
    write_table(tmp_path / "o.xlsx", ".xlsx", ["text"], [{"text": "长" * 40_000}])
    assert len(_texts(open_table(tmp_path / "o.xlsx"))[0]) == 32_767


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.docx is unknown"):
        check_output(tmp_path / "o.docx", 1)
    with pytest.raises(OutputError, match="do not fit into one Excel sheet"):
        check_output(tmp_path / "o.xlsx", 2_000_000)
    with pytest.raises(OutputError, match="There is no folder"):
        check_output(tmp_path / "absent" / "o.csv", 1)


def test_values_of_any_kind_become_plain() -> None:
    assert plain(datetime.datetime(2026, 7, 1, 8, 30)) == "2026-07-01 08:30:00"
    assert plain(decimal.Decimal("1.10")) == "1.10" and plain(float("nan")) is None
    assert json.loads(str(plain({"a": [1]}))) == {"a": [1]}
    assert plain(True) is True and plain(None) is None
