"""Reading tables row by row: CSV, TSV, XLSX, JSON Lines and Parquet, with the column that holds the text."""

from __future__ import annotations

import csv
import difflib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fankui.encodings import detect_encoding
from fankui.errors import FankuiError
from fankui.text import encodable, has_chinese, normalise

READABLE = (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".xlsm", ".ods", ".jsonl", ".ndjson", ".parquet")
RAW = "raw"
"""The field that keeps a line of JSON Lines that is not a JSON object."""

_TEXT_NAMES = (
    "text", "反馈内容", "投诉内容", "工单内容", "评论内容", "留言内容", "评价内容", "内容", "反馈",
    "投诉", "评论", "评价", "留言", "描述", "问题描述", "诉求", "意见", "正文", "feedback",
    "content", "review", "comment", "comments", "message", "description", "body",
)  # fmt: skip
_SAMPLE = 200
_NEVER = "\x1f"  # the unit separator, which texts do not contain
_PARQUET_ROWS = 8192
csv.field_size_limit(2**31 - 1)


class TableError(FankuiError):
    """A table cannot be read, or it is unclear which column holds the text."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `fault` says why it could not be read as it should; its values are kept all the same."""

    values: dict[str, Any]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A readable table: its columns, its size, and which column holds the text."""

    path: Path
    columns: tuple[str, ...]
    rows_total: int
    text_column: str
    encoding: str | None = None
    delimiter: str = ","

    def rows(self) -> Iterator[Row]:
        """All rows in order; the same each time it is called."""
        rows: Iterator[Row] = _READERS[_kind(self.path)](self)
        return rows

    def text_of(self, row: Row) -> str:
        """The text of a row as a string; empty when the cell is empty."""
        value = row.values.get(self.text_column)
        if value is None or (isinstance(value, float) and value != value):
            return ""
        return value if isinstance(value, str) else str(value)


def open_table(path: Path, *, text_column: str | None = None) -> Table:
    """Look through a table once: columns, number of rows, text column (the one named, or the likely one).

    Raises TableError or EncodingError with a sentence that names what is wrong and what to do.
    """
    if not path.exists():
        raise TableError(f"There is no file {path}.")
    if path.is_dir():
        raise TableError(f"{path} is a folder; name a file in it.")
    kind = _kind(path)
    if path.stat().st_size == 0:
        raise TableError(f"{path.name} is empty.")
    columns, total, encoding, delimiter = _SURVEYS[kind](path)
    if not columns or total == 0:
        raise TableError(f"{path.name} has no row below its header." if columns else f"{path.name} has no row.")
    table = Table(path, columns, total, "", encoding, delimiter)
    return Table(path, columns, total, _choose_text_column(table, text_column), encoding, delimiter)


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".txt"):
        return "csv"
    if suffix in (".xlsx", ".xls", ".xlsm", ".ods"):
        return "sheet"
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if suffix == ".parquet":
        return "parquet"
    raise TableError(f"{path.name}: the ending {suffix or '(none)'} is unknown; known are {', '.join(READABLE)}.")


def _choose_text_column(table: Table, named: str | None) -> str:
    columns = table.columns
    if named is not None:
        if named in columns:
            return named
        close = difflib.get_close_matches(named, columns, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise TableError(f"{table.path.name} has no column {named!r}, only: {', '.join(columns)}.{hint}")
    if len(columns) == 1:
        return columns[0]
    by_name = {normalise(column).text.lower(): column for column in columns}
    for name in _TEXT_NAMES:
        if name in by_name:
            return by_name[name]
    lengths = dict.fromkeys(columns, 0)
    for row in islice(table.rows(), _SAMPLE):
        for column, value in row.values.items():
            if isinstance(value, str) and has_chinese(value):
                lengths[column] += len(value)
    first, second = sorted(lengths, key=lambda column: -lengths[column])[:2]
    if lengths[first] > 2 * lengths[second]:
        return first
    raise TableError(
        f"{table.path.name}: it is not clear which column holds the feedback. Name it with --text-column; "
        f"there are: {', '.join(columns)}."
    )


def _unique(names: Sequence[Any]) -> tuple[str, ...]:
    """Column names as distinct, non-empty strings."""
    columns: list[str] = []
    for number, name in enumerate(names, 1):
        base = column = str(name if name is not None else "").strip().lstrip("\ufeff") or f"column_{number}"
        copy = 2
        while column in columns:
            column, copy = f"{base}_{copy}", copy + 1
        columns.append(column)
    return tuple(columns)


# CSV and TSV


def _csv_lines(path: Path, encoding: str, delimiter: str) -> Iterator[list[str]]:
    """Records with content, header first. A blank line is a record only in a table of one column."""
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        width = 0
        reader = csv.reader(file, delimiter=delimiter)
        for record in reader:
            width = width or len(record)
            if record:
                yield record
            elif width == 1:
                yield [""]


def _refuse_open_quote(path: Path, encoding: str, delimiter: str) -> None:
    """A quotation mark that is never closed would swallow all rows below it."""
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        line = 1
        while True:
            line = reader.line_num + 1
            try:
                next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "unexpected end of data" in str(error):
                    raise TableError(
                        f"{path.name}, line {line}: a quotation mark is opened and never closed, so that all rows "
                        f"below would be read as one; close or remove it."
                    ) from error


def _survey_csv(path: Path) -> tuple[tuple[str, ...], int, str, str]:
    encoding = detect_encoding(path)
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        header_line = file.readline()
    delimiter = max(",\t;|", key=header_line.count) if path.suffix.lower() != ".tsv" else "\t"
    if delimiter not in header_line:
        delimiter = _NEVER  # one column: what looks like a delimiter below is part of the text
    _refuse_open_quote(path, encoding, delimiter)
    try:
        lines = _csv_lines(path, encoding, delimiter)
        header = next(lines, [])
        total = 0
        width = len(header)
        for record in lines:
            total += 1
            width = max(width, len(record))
    except csv.Error as error:
        raise TableError(f"{path.name} is not a table: {error}.") from error
    return _unique([*header, *[None] * (width - len(header))]), total, encoding, delimiter


def _read_csv(table: Table) -> Iterator[Row]:
    lines = _csv_lines(table.path, table.encoding or "utf-8", table.delimiter)
    next(lines)
    for record in lines:
        yield Row(dict(zip(table.columns, record + [""] * (len(table.columns) - len(record)), strict=True)))


# Spreadsheets


def _sheet_rows(path: Path) -> Iterator[list[Any]]:
    """Rows of the first sheet that has any, from the first row with content; whole numbers as such."""
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        workbook = CalamineWorkbook.from_path(path)
        sheets = (workbook.get_sheet_by_index(number) for number in range(len(workbook.sheet_names)))
        sheet = next((sheet for sheet in sheets if sheet.total_height), None)
        begun = False
        for row in sheet.iter_rows() if sheet else ():
            begun = begun or any(value != "" for value in row)
            if begun:
                yield [_cell(value) for value in row]
    except (CalamineError, OSError) as error:
        raise TableError(f"{path.name} cannot be read as a spreadsheet: {error}.") from error


def _cell(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if value != "" else None


def _survey_sheet(path: Path) -> tuple[tuple[str, ...], int, None, str]:
    rows = _sheet_rows(path)
    header = next(rows, [])
    return _unique(header), sum(1 for _ in rows), None, ","


def _read_sheet(table: Table) -> Iterator[Row]:
    rows = _sheet_rows(table.path)
    next(rows)
    for row in rows:
        yield Row(dict(zip(table.columns, row + [None] * (len(table.columns) - len(row)), strict=True)))


# JSON Lines


def _json_records(path: Path, encoding: str) -> Iterator[Row]:
    with path.open(encoding=encoding, errors="replace", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                yield Row({RAW: line.rstrip("\r\n")}, f"第 {number} 行不是 JSON / line {number} is not JSON")
                continue
            if isinstance(value, dict):
                yield Row(value)
            else:
                yield Row({RAW: line.rstrip("\r\n")}, f"第 {number} 行不是对象 / line {number} is not a JSON object")


def _survey_jsonl(path: Path) -> tuple[tuple[str, ...], int, str, str]:
    encoding = detect_encoding(path)
    columns: dict[str, None] = {}
    total = 0
    for row in _json_records(path, encoding):
        columns.update(dict.fromkeys(row.values))
        total += 1
    return tuple(columns), total, encoding, ","


def _read_jsonl(table: Table) -> Iterator[Row]:
    for row in _json_records(table.path, table.encoding or "utf-8"):
        value = row.values.get(table.text_column)
        if (
            row.fault is None
            and value is not None
            and (isinstance(value, bool) or not isinstance(value, str | int | float))
        ):
            yield Row(row.values, f"字段 {table.text_column} 不是文本 / the field {table.text_column!r} is not a text")
        else:
            yield row


# Parquet


def _survey_parquet(path: Path) -> tuple[tuple[str, ...], int, None, str]:
    import polars as pl

    try:
        frame = pl.scan_parquet(path)
        return tuple(frame.collect_schema().names()), int(frame.select(pl.len()).collect().item()), None, ","
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(f"{path.name} cannot be read as Parquet: {error}.") from error


def _read_parquet(table: Table) -> Iterator[Row]:
    import polars as pl

    frame = pl.scan_parquet(table.path)
    for start in range(0, table.rows_total, _PARQUET_ROWS):
        for values in frame.slice(start, _PARQUET_ROWS).collect().iter_rows(named=True):
            yield Row(values)


_SURVEYS: dict[str, Any] = {
    "csv": _survey_csv, "sheet": _survey_sheet, "jsonl": _survey_jsonl, "parquet": _survey_parquet,
}  # fmt: skip
_READERS: dict[str, Any] = {"csv": _read_csv, "sheet": _read_sheet, "jsonl": _read_jsonl, "parquet": _read_parquet}


def plain(value: Any) -> Any:
    """A cell's value as one that every output format can hold: text, number, truth value or None."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
