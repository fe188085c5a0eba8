"""Writing tagged tables: CSV, TSV, XLSX, JSON Lines and Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fankui.errors import FankuiError

WRITABLE = (".csv", ".tsv", ".xlsx", ".jsonl", ".parquet")
EXCEL_ROWS = 1_048_575
EXCEL_CHARACTERS = 32_767
EXCEL_NUMBER = 10**15
"""Excel keeps fifteen digits; a longer number, for instance an order number, is written as text."""
_PARQUET_ROWS = 50_000

Record = dict[str, Any]
"""Column → value, plain values only (text, number, truth value, None)."""


class OutputError(FankuiError):
    """An output cannot be written as asked."""


def check_output(path: Path, rows: int) -> None:
    """Refuse, before any work, an output that could not be written. Raises OutputError."""
    if path.suffix.lower() not in WRITABLE:
        raise OutputError(f"{path.name}: the ending {path.suffix or '(none)'} is unknown; write {', '.join(WRITABLE)}.")
    if path.suffix.lower() == ".xlsx" and rows > EXCEL_ROWS:
        raise OutputError(f"{rows:,} rows do not fit into one Excel sheet ({EXCEL_ROWS:,}); write .csv or .parquet.")
    if not path.parent.is_dir():
        raise OutputError(f"There is no folder {path.parent}; create it first.")


def write_table(path: Path, kind: str, columns: Sequence[str], records: Iterable[Record]) -> None:
    """Write records in the format `kind` (a suffix of WRITABLE) to `path`."""
    _WRITERS[kind](path, columns, records)


def _write_csv(path: Path, columns: Sequence[str], records: Iterable[Record], delimiter: str = ",") -> None:
    # With a byte order mark: Excel takes a CSV without one for the system's old encoding.
    with path.open("w", encoding="utf-8-sig", errors="replace", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        for record in records:
            writer.writerow([record.get(column) for column in columns])


def _write_tsv(path: Path, columns: Sequence[str], records: Iterable[Record]) -> None:
    _write_csv(path, columns, records, "\t")


def _write_xlsx(path: Path, columns: Sequence[str], records: Iterable[Record]) -> None:
    import xlsxwriter

    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "nan_inf_to_errors": True,
    }
    with xlsxwriter.Workbook(str(path), options) as workbook:
        sheet = workbook.add_worksheet("feedback")
        bold = workbook.add_format({"bold": True, "bottom": 1})
        sheet.freeze_panes(1, 0)
        for number, column in enumerate(columns):
            sheet.set_column(number, number, 60 if number == _widest(columns) else 14)
            sheet.write_string(0, number, column, bold)
        row = 0
        for row, record in enumerate(records, 1):
            for number, column in enumerate(columns):
                value = record.get(column)
                if isinstance(value, str):
                    sheet.write_string(row, number, value[:EXCEL_CHARACTERS])
                elif isinstance(value, int) and abs(value) > EXCEL_NUMBER:
                    sheet.write_string(row, number, str(value))
                elif value is not None:
                    sheet.write(row, number, value)
        sheet.autofilter(0, 0, row, len(columns) - 1)


def _widest(columns: Sequence[str]) -> int:
    """The column before the first of ours is as a rule the text."""
    return max(0, columns.index("sentiment") - 1) if "sentiment" in columns else 0


def _write_jsonl(path: Path, columns: Sequence[str], records: Iterable[Record]) -> None:
    del columns  # every record carries its own fields
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


def _write_parquet(path: Path, columns: Sequence[str], records: Iterable[Record]) -> None:
    """Columns of mixed kinds become text, so that no value is lost."""
    import polars as pl

    parts: list[pl.DataFrame] = []
    chunk: list[Record] = []

    def flush() -> None:
        data = {column: [record.get(column) for record in chunk] for column in columns}
        parts.append(pl.DataFrame({name: _series(name, values) for name, values in data.items()}))
        chunk.clear()

    for record in records:
        chunk.append(record)
        if len(chunk) == _PARQUET_ROWS:
            flush()
    if chunk or not parts:
        flush()
    try:
        frame = pl.concat(parts, how="vertical_relaxed")
    except pl.exceptions.PolarsError:  # a column is a number in one part and a text in another
        frame = pl.concat([part.cast(pl.String) for part in parts])
    frame.write_parquet(path)


def _series(name: str, values: list[Any]) -> Any:
    import polars as pl

    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1 and not kinds <= {int, float}:
        values = [None if value is None else str(value) for value in values]
    if str in kinds:
        values = [v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for v in values]
    return pl.Series(name, values, strict=False)


_WRITERS: dict[str, Any] = {
    ".csv": _write_csv, ".tsv": _write_tsv, ".xlsx": _write_xlsx, ".jsonl": _write_jsonl, ".parquet": _write_parquet,
}  # fmt: skip
