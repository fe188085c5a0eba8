"""Real feedback texts from outside the project: a folder of Parquet files, or downloads of the public sources."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fankui.errors import FankuiError, describe

COLUMNS = ("id", "sha256", "domain", "native_label", "text")
_MAX_DOWNLOAD = 200 * 1024 * 1024


class CorpusError(FankuiError):
    """A corpus is missing, unreachable or not what the labels were made on."""


@dataclass(frozen=True, slots=True)
class Record:
    """One text. `id` is `corpus:row`, `sha256` the first 16 hex digits of the cleaned text's hash."""

    id: str
    sha256: str
    domain: str
    native_label: str
    text: str


class Source(BaseModel):
    """One entry of data/corpora.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str
    page: str
    domain: str
    url: str | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    format: Literal["csv", "zip_lines"] = "csv"
    text: str = "review"
    native_label: str = "label"
    native_label_value: str = ""
    member: str = ""


def clean(text: str) -> str:
    """The form that is hashed: no BOM, ideographic spaces as blanks, single blanks, no outer quotes or blanks."""
    text = re.sub(r"\s+", " ", text.replace("\ufeff", "").replace("\u3000", " "))
    return text.strip().strip('"').strip()


def text_hash(text: str) -> str:
    """First 16 hex digits of SHA-256 of a cleaned text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def load_sources(path: Path) -> dict[str, Source]:
    """Read data/corpora.yaml. Raises CorpusError."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["corpora"]
        return {name: Source.model_validate(entry) for name, entry in entries.items()}
    except ValidationError as error:
        raise CorpusError(f"{path} is not valid: {describe(error)}") from error
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}.") from error


def read_folder(folder: Path) -> list[Record]:
    """All records of a folder's Parquet files, with each text checked against its hash. Raises CorpusError."""
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise CorpusError(f"There is no Parquet file in {folder}; run `fankui train corpora --output {folder}` first.")
    records: list[Record] = []
    for file in files:
        table = pl.read_parquet(file)
        missing = [column for column in COLUMNS if column not in table.columns]
        if missing:
            raise CorpusError(f"{file.name} lacks the column {missing[0]!r}; it needs {', '.join(COLUMNS)}.")
        for row in table.select(COLUMNS).iter_rows():
            record = Record(*row)
            if text_hash(record.text) != record.sha256:
                raise CorpusError(f"{file.name}: the text of {record.id} does not have the hash {record.sha256}.")
            records.append(record)
    return records


def _parse(name: str, source: Source, content: bytes) -> Iterator[Record]:
    def record(row: int, text: str, native: str) -> Record:
        text = clean(text)
        return Record(f"{name}:{row}", text_hash(text), source.domain, native, text)

    if source.format == "zip_lines":
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                member = next(m for m in archive.namelist() if m.endswith(source.member))
                lines = archive.read(member).decode("utf-8", "replace").splitlines()
        except (zipfile.BadZipFile, StopIteration) as error:
            raise CorpusError(f"{name}: the download is not a zip file that holds {source.member}.") from error
        for row, line in enumerate(lines):
            yield record(row, line, source.native_label_value)
        return
    reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig", "replace"), newline=""))
    if source.text not in (reader.fieldnames or []):
        raise CorpusError(f"{name}: the download has no column {source.text!r}, only {reader.fieldnames}.")
    for row, values in enumerate(reader):
        yield record(row, values[source.text] or "", values.get(source.native_label) or "")


def _fetch(name: str, source: Source) -> bytes:
    if not source.url:
        raise CorpusError(f"{name} ({source.title}) has no download address; see {source.page}.")
    try:
        with urllib.request.urlopen(source.url, timeout=60) as response:
            content: bytes = response.read(_MAX_DOWNLOAD + 1)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        raise CorpusError(f"{name} cannot be downloaded from {source.url}: {error}.") from error
    if len(content) > _MAX_DOWNLOAD:
        raise CorpusError(f"{name}: the download is larger than {_MAX_DOWNLOAD} bytes.")
    if source.sha256 and (found := hashlib.sha256(content).hexdigest()) != source.sha256:
        raise CorpusError(f"{name}: the download has the SHA-256 {found}, not {source.sha256}; nothing was kept.")
    return content


def download(
    sources: dict[str, Source],
    output: Path,
    *,
    expected: dict[str, str],
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Download each source that has a `url` into `output/NAME.parquet`.

    expected: id → hash of records that carry labels. A source none or few of whose labelled records have the
    expected hash is not the file the labels were made on. Raises CorpusError; a failing source leaves no file.
    """
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for name, source in sources.items():
        if not source.url:
            on_progress(f"{name}: not downloadable, see {source.page}")
            continue
        records = [r for r in _parse(name, source, _fetch(name, source)) if r.text]
        labelled = [r for r in records if r.id in expected]
        wrong = [r.id for r in labelled if r.sha256 != expected[r.id]]
        if wrong:
            raise CorpusError(
                f"{name}: {len(wrong)} of {len(labelled)} labelled records differ from what was labelled, for "
                f"instance {wrong[0]}; the source has changed and is not used."
            )
        path = output / f"{name}.parquet"
        pl.DataFrame({c: [getattr(r, c) for r in records] for c in COLUMNS}).write_parquet(path)
        on_progress(f"{name}: {len(records)} records, {len(labelled)} of them labelled")
        written.append(path)
    return written
