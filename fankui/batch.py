"""Tagging a table: stream it in chunks, keep a checkpoint, resume, and write rows out as they came in.

While it works, `.OUTPUT.partial/` beside the output holds the answers so far, one JSON line a row. The output itself is
written at the end, by going through the input once more, and appears in one step.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from fankui.encodings import UNREADABLE
from fankui.engine import Tagger
from fankui.errors import FankuiError
from fankui.tables import Row, Table, open_table, plain
from fankui.tags import Tags, Untaggable
from fankui.taxonomy import Taxonomy
from fankui.text import encodable
from fankui.writers import EXCEL_CHARACTERS, Record, check_output, write_table

CHUNK_ROWS = 1024
MAX_CHARACTERS = 20_000
"""Of a longer text only the beginning is read, and the row says so."""

SEPARATOR = "|"
_SHORTENED = f"Excel 单元格只能容纳 {EXCEL_CHARACTERS} 个字符,已截短 / shortened to what an Excel cell can hold"
_DAMAGED = f"有无法读出的字符({UNREADABLE}) / some characters could not be read ({UNREADABLE})"
_TOO_LONG = f"只读了前 {MAX_CHARACTERS} 个字符 / only the first {MAX_CHARACTERS} characters were read"


class BatchError(FankuiError):
    """A table cannot be tagged as asked."""


@dataclass(slots=True)
class Summary:
    """What came out of a table. `counts` holds per head how often each label was given."""

    rows: int = 0
    untaggable: int = 0
    untaggable_rows: list[int] = field(default_factory=list)
    damaged: int = 0
    """Rows whose text holds characters that could not be read."""
    needs_review: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    no_cause: int = 0
    seconds: float = 0.0
    resumed_rows: int = 0

    @property
    def rows_per_second(self) -> float:
        """Rows tagged in this run, by its time."""
        return (self.rows - self.resumed_rows) / self.seconds if self.seconds else 0.0

    def add(self, answer: dict[str, Any], taxonomy: Taxonomy) -> None:
        """Count one answer (the JSON of Tags or Untaggable)."""
        self.rows += 1
        if "sentiment" not in answer:
            self.untaggable += 1
            if len(self.untaggable_rows) < 20:
                self.untaggable_rows.append(self.rows)
            return
        self.needs_review += answer["needs_review"]
        self.damaged += answer.get("note") == _DAMAGED
        for head in taxonomy.heads:
            value = answer[head.field]
            items = value if isinstance(value, list) else [value]
            self.counts.setdefault(head.id, Counter()).update(item["label"] for item in items)
            if head.id == "cause":
                self.no_cause += not items


def tag_columns(taxonomy: Taxonomy) -> tuple[str, ...]:
    """The columns that a tagged table gains, in order."""
    known = ("sentiment", "causes", "request", "servqual", "demand", "loyalty")
    more = [head.field for head in taxonomy.heads if head.field not in known]
    return (
        "sentiment", "grade", "polarity", "sentiment_score", "causes", "cause_scores",
        "request", "servqual", "demand", "loyalty", *more, "needs_review", "model", "note",
    )  # fmt: skip


def flatten(answer: dict[str, Any], taxonomy: Taxonomy, version: str) -> Record:
    """An answer's JSON as cells of a table; several labels are joined by `|`."""
    cells: Record = dict.fromkeys(tag_columns(taxonomy))
    cells |= {"needs_review": True, "model": version, "note": answer.get("note")}
    if "sentiment" not in answer:
        return cells
    for head in taxonomy.heads:
        value = answer[head.field]
        many = isinstance(value, list)
        cells[head.field] = SEPARATOR.join(item["label"] for item in value) if many else value["label"]
    cells["grade"] = answer["sentiment"]["grade"]
    cells["polarity"] = answer["sentiment"]["polarity"]
    cells["sentiment_score"] = answer["sentiment"]["score"]
    cells["cause_scores"] = SEPARATOR.join(str(cause["score"]) for cause in answer["causes"])
    cells["needs_review"] = answer["needs_review"]
    return cells


def nested(answer: dict[str, Any], taxonomy: Taxonomy, version: str) -> Record:
    """An answer's JSON as fields of a JSON Lines record: the contract's form, with nulls where nothing was tagged."""
    if "sentiment" in answer:
        return answer
    empty: Record = {head.field: [] if head.kind == "multi" else None for head in taxonomy.heads}
    return {"id": answer["id"], **empty, "needs_review": True, "model": version, "taxonomy": taxonomy.version,
            "note": answer["note"]}  # fmt: skip


class _Checkpoint:
    """The folder of an unfinished job: what it is about, and the answers so far."""

    def __init__(self, target: Path, table: Table, version: str) -> None:
        self.folder = target.with_name(f".{target.name}.partial")
        self.answers = self.folder / "answers.jsonl"
        self.about = {
            "source": str(table.path.resolve()),
            "size": table.path.stat().st_size,
            "modified": table.path.stat().st_mtime_ns,
            "text_column": table.text_column,
            "model": version,
        }

    def begin(self, *, resume: bool, overwrite: bool) -> int:
        """Rows that are done already. Raises BatchError when what is there belongs to another job, or would be lost."""
        job = self.folder / "job.json"
        if job.exists() and not resume and not overwrite:
            raise BatchError(
                f"An earlier run for this output was interrupted ({self.folder}): pass --resume to continue it, "
                f"or --overwrite to start anew."
            )
        if resume and job.exists():
            before = json.loads(job.read_text(encoding="utf-8"))
            changed = [name for name, value in self.about.items() if before.get(name) != value]
            if changed:
                raise BatchError(
                    f"The unfinished job in {self.folder} had another {changed[0]}; "
                    f"run with --overwrite instead of --resume to start anew."
                )
            return self._whole_lines()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        job.write_text(json.dumps(self.about), encoding="utf-8")
        self.answers.touch()
        return 0

    def _whole_lines(self) -> int:
        """Count the complete lines and cut off one that an interruption left half written."""
        done = end = 0
        with self.answers.open("rb+") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                done += 1
                end += len(line)
            file.truncate(end)
        return done

    def remove(self) -> None:
        shutil.rmtree(self.folder)


def tag_table(
    source: Path,
    target: Path,
    tagger: Tagger,
    *,
    text_column: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    chunk_rows: int = CHUNK_ROWS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Tag each row of `source` and write them to `target`, as many and in the same order.

    on_progress is called with (rows done, rows in all). Raises FankuiError with a sentence for anything that is wrong
    with the files; an interrupted call leaves a checkpoint that `resume` continues.
    """
    if target.exists() and not overwrite:
        raise BatchError(f"{target} exists already; pass --overwrite to replace it.")
    if target.exists() and source.exists() and target.samefile(source):
        raise BatchError("The output would replace the input; choose another name.")
    table = open_table(source, text_column=text_column)
    check_output(target, table.rows_total)
    bundle = tagger.bundle
    checkpoint = _Checkpoint(target, table, bundle.manifest.version)
    try:
        done = checkpoint.begin(resume=resume, overwrite=overwrite)
    except OSError as error:
        raise BatchError(f"The folder {target.parent} cannot be written: {error.strerror}.") from error
    started = time.perf_counter()
    with checkpoint.answers.open("a", encoding="utf-8") as answers:
        _answer(table, tagger, answers, done, chunk_rows, on_progress)
    summary = Summary(resumed_rows=done)
    suffix = target.suffix.lower()
    columns, records = _joined(table, checkpoint.answers, bundle.taxonomy, bundle.manifest.version, suffix, summary)
    unfinished = checkpoint.folder / f"output{suffix}"
    write_table(unfinished, suffix, columns, records)
    unfinished.replace(target)
    checkpoint.remove()
    summary.seconds = time.perf_counter() - started
    return summary


def _answer(
    table: Table, tagger: Tagger, answers: IO[str], done: int, chunk_rows: int, on_progress: Callable[[int, int], None]
) -> None:
    rows = islice(table.rows(), done, None)
    on_progress(done, table.rows_total)
    while chunk := list(islice(rows, chunk_rows)):
        ids = [_id_of(row) for row in chunk]
        texts = [table.text_of(row) if row.fault is None else "" for row in chunk]
        tagged = tagger.tag([text[:MAX_CHARACTERS] for text in texts], ids=ids)
        lines = [_line(answer, row, text) for answer, row, text in zip(tagged, chunk, texts, strict=True)]
        answers.write("".join(lines))
        answers.flush()
        done += len(chunk)
        on_progress(done, table.rows_total)


def _id_of(row: Row) -> str | None:
    value = row.values.get("id")
    return None if value is None else str(plain(value))


def _line(answer: Tags | Untaggable, row: Row, text: str) -> str:
    if row.fault is not None:
        answer = Untaggable(id=answer.id, note=row.fault)
    elif isinstance(answer, Tags) and len(text) > MAX_CHARACTERS:
        answer = answer.model_copy(update={"note": _TOO_LONG, "needs_review": True})
    elif isinstance(answer, Tags) and UNREADABLE in text:
        answer = answer.model_copy(update={"note": _DAMAGED, "needs_review": True})
    elif UNREADABLE in text:
        answer = Untaggable(id=answer.id, note=_DAMAGED)
    return answer.model_dump_json() + "\n"


def _joined(
    table: Table, answers: Path, taxonomy: Taxonomy, version: str, suffix: str, summary: Summary
) -> tuple[Sequence[str], Iterator[Record]]:
    """The output's columns, and its records: each row's own values with its answer beside them.

    An own column that has the name of one of ours keeps it; ours is then called `fankui_NAME`.
    """
    as_json = suffix == ".jsonl"
    ours = tuple(head.field for head in taxonomy.heads) if as_json else tag_columns(taxonomy)
    names = {name: _free(name, table.columns) for name in (*ours, "needs_review", "model", "taxonomy", "note")}

    def records() -> Iterator[Record]:
        with answers.open(encoding="utf-8") as lines:
            for row, line in zip(table.rows(), lines, strict=True):
                answer = json.loads(line)
                summary.add(answer, taxonomy)
                shape = nested if as_json else flatten
                tags = {names.get(k, k): v for k, v in shape(answer, taxonomy, version).items()}
                if as_json:
                    own = {key: _json_value(value) for key, value in row.values.items()}
                    yield (
                        {"id": tags.pop("id"), **own, **tags}
                        if "id" not in own
                        else own | {k: v for k, v in tags.items() if k != "id"}
                    )
                else:
                    own = {key: plain(value) for key, value in row.values.items()}
                    if suffix == ".xlsx" and any(len(v) > EXCEL_CHARACTERS for v in own.values() if isinstance(v, str)):
                        tags[names["note"]] = _SHORTENED
                    yield own | tags

    return [*table.columns, *(names.get(name, name) for name in ours)], records()


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name = f"fankui_{name}"
    return name


def _json_value(value: Any) -> Any:
    if isinstance(value, list | dict):  # also what is nested must be JSON: no NaN, no lone surrogates
        return json.loads(encodable(json.dumps(value, ensure_ascii=False)), parse_constant=lambda _: None)
    return plain(value)
