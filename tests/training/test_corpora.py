"""Corpora come from a folder or a download, and only texts that were labelled are accepted for their labels."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fankui import Taxonomy
from training.annotations import ROUNDS, AnnotationError, join, parse_labels, read_corrected, read_hashes, read_tickets
from training.corpora import CorpusError, Record, Source, clean, download, load_sources, read_folder, text_hash
from training.dataset import in_public_test, native_grades, read_examples
from training.recipe import Data

ROOT = Path(__file__).parents[2]
TICKETS = ROOT / "data/tickets"
TAXONOMY = Taxonomy.load(ROOT / "data" / "taxonomy.yaml")
REVIEWS = 'label,review\n1,"很好,下次还来"\n0,\u3000房间有霉味  \n0,"他说 ""不退"" 就不退"\n'


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address that serves it on this machine."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def _source(url: str | None, **more: object) -> Source:
    return Source.model_validate({"title": "t", "page": "p", "domain": "hotel", "url": url, **more})


def test_a_downloaded_csv_becomes_records_that_read_back(site: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = site
    (folder / "r.csv").write_text(REVIEWS, encoding="utf-8-sig")
    expected = {"hotel:1": text_hash("房间有霉味")}
    download({"hotel": _source(f"{address}/r.csv")}, tmp_path / "out", expected=expected)
    records = read_folder(tmp_path / "out")
    assert [(r.id, r.native_label, r.text) for r in records] == [
        ("hotel:0", "1", "很好,下次还来"),
        ("hotel:1", "0", "房间有霉味"),
        ("hotel:2", "0", '他说 "不退" 就不退'),
    ]


def test_a_zip_of_lines_becomes_records(site: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = site
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("data/neg.txt", "闪退;垃圾\n打不开\n")
    (folder / "a.zip").write_bytes(content.getvalue())
    source = _source(f"{address}/a.zip", format="zip_lines", member="neg.txt", native_label_value="0")
    download({"app": source}, tmp_path / "out", expected={})
    assert [(r.id, r.native_label) for r in read_folder(tmp_path / "out")] == [("app:0", "0"), ("app:1", "0")]


@pytest.mark.parametrize(
    ("expected", "sha256", "message"),
    [
        ({"hotel:1": "0" * 16}, None, "1 of 1 labelled records differ"),
        ({}, "0" * 64, "has the SHA-256"),
    ],
)
def test_a_changed_source_is_refused_and_leaves_nothing(
    site: tuple[Path, str], tmp_path: Path, expected: dict[str, str], sha256: str | None, message: str
) -> None:
    folder, address = site
    (folder / "r.csv").write_text(REVIEWS, encoding="utf-8")
    with pytest.raises(CorpusError, match=message):
        download({"hotel": _source(f"{address}/r.csv", sha256=sha256)}, tmp_path / "out", expected=expected)
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_the_right_file_hash_is_accepted(site: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = site
    (folder / "r.csv").write_text(REVIEWS, encoding="utf-8")
    digest = hashlib.sha256((folder / "r.csv").read_bytes()).hexdigest()
    assert download({"h": _source(f"{address}/r.csv", sha256=digest)}, tmp_path / "out", expected={})


def test_an_unreachable_or_unfit_source_is_named(site: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = site
    with pytest.raises(CorpusError, match="hotel cannot be downloaded"):
        download({"hotel": _source(f"{address}/absent.csv")}, tmp_path / "out", expected={})
    (folder / "r.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="no column 'review'"):
        download({"hotel": _source(f"{address}/r.csv")}, tmp_path / "out", expected={})
    with pytest.raises(CorpusError, match="no Parquet file"):
        read_folder(tmp_path / "nothing")


def test_the_projects_list_of_sources_names_every_corpus_that_has_labels() -> None:
    sources = load_sources(ROOT / "data" / "corpora.yaml")
    labelled = {id_.split(":")[0] for id_ in read_hashes(*(ROOT / "data/annotations").glob("*.jsonl"))}
    assert labelled <= set(sources)


def test_cleaning_does_what_the_hashes_were_made_of() -> None:
    assert clean('\ufeff"\u3000两个  空格\n换行 "') == "两个 空格 换行"


def _write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_labels_are_joined_with_the_text_they_were_given_for(tmp_path: Path) -> None:
    record = Record("hotel:1", text_hash("房间有霉味"), "hotel", "0", "房间有霉味")
    row = {"id": "hotel:1", "sha256": record.sha256, "labels": {"sentiment": 2, "cause": ["quality_below_requirement"]}}
    path = _write(tmp_path / "a.jsonl", row, row | {"id": "hotel:9"})
    examples, absent = join(path, {"hotel:1": record}, TAXONOMY)
    assert (len(examples), absent) == (1, 1)
    assert examples[0].labels == {"sentiment": (1,), "cause": (2,)}
    corrected, _ = join(path, {"hotel:1": record}, TAXONOMY, {"hotel:1": {"sentiment": 1}})
    assert corrected[0].labels["sentiment"] == (0,)
    with pytest.raises(AnnotationError, match="line 1: the text of hotel:1 is not the one labelled"):
        join(_write(tmp_path / "b.jsonl", row | {"sha256": "0" * 16}), {"hotel:1": record}, TAXONOMY)


@pytest.mark.parametrize("labels", [{"cause": ["boredom"]}, {"sentiment": 6}, {"mood": 1}, {"cause": "none"}])
def test_a_label_that_does_not_exist_is_named_with_its_line(tmp_path: Path, labels: dict[str, object]) -> None:
    row = {"id": "t1", "text": "差", "industry": "bank", "form": "rant", "labels": labels}
    with pytest.raises(AnnotationError, match=r"line 1 \(t1\)"):
        read_tickets(_write(tmp_path / "t.jsonl", row), TAXONOMY)


def test_corrected_tickets_are_train_texts(tmp_path: Path) -> None:
    labels = {"sentiment": "dissatisfied", "causes": ["broken_promise"], "demand": [], "loyalty": "none"}
    file = _write(tmp_path / "may.jsonl", {"id": "T-1", "text": "说好三天到货", "labels": labels})
    (example,) = read_examples(Data(tickets=tmp_path, annotations=tmp_path, corrected=(file,)), [], TAXONOMY)["train"]
    assert example.source == "corrected/may"
    assert example.labels == parse_labels(
        TAXONOMY, {"sentiment": 2, "cause": ["broken_promise"], "demand": []} | {"loyalty": "none"}
    )
    with pytest.raises(AnnotationError, match="line 1: it needs id, text and labels"):
        read_corrected(_write(tmp_path / "bad.jsonl", {"id": "T-1", "labels": {}}), TAXONOMY)
    with pytest.raises(AnnotationError, match=r"line 1 .*mood"):
        read_corrected(_write(tmp_path / "odd.jsonl", {"id": "T-1", "text": "好", "labels": {"mood": "bad"}}), TAXONOMY)


def test_the_projects_own_tickets_are_well_formed_and_apart() -> None:
    tickets = [e for name in ("train", "calibration", "dev") for e in read_tickets(TICKETS / f"{name}.jsonl", TAXONOMY)]
    assert len({e.text for e in tickets}) == len({e.id for e in tickets}) == len(tickets)


def test_stored_labels_become_positions_in_the_taxonomy() -> None:
    assert parse_labels(TAXONOMY, {"loyalty": "loyal"}) == {"loyalty": (2,)}


def test_no_annotated_text_stands_in_two_files() -> None:
    files = (*ROUNDS, "calibration.jsonl", "dev.jsonl")
    texts = [set(read_hashes(ROOT / "data/annotations" / name).values()) for name in files]
    assert len(set.union(*texts)) == sum(map(len, texts))


def test_each_correction_changes_a_training_label_and_says_why() -> None:
    folder = ROOT / "data/annotations"
    lines = [line for name in ROUNDS for line in (folder / name).read_text(encoding="utf-8").splitlines()]
    given = {row["id"]: row["labels"] for row in map(json.loads, lines)}
    for line in (folder / "corrections.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        right, wrong = (parse_labels(TAXONOMY, labels) for labels in (row["labels"], given[row["id"]]))
        assert right
        assert all(right[head] != wrong[head] for head in right)
        assert row["reason"]


def test_native_labels_allow_grades_and_the_public_test_is_fixed_by_hash() -> None:
    def record(corpus: str, native: str, sha: str = "00000014" + "0" * 8) -> Record:
        return Record(f"{corpus}:1", sha, "d", native, "t")

    assert native_grades(record("waimai_10k", "1")) == [3, 4]
    assert native_grades(record("bdci2021_bank", "2")) == [2]
    assert native_grades(record("bdci2018_car", "-1")) == []
    assert in_public_test(record("waimai_10k", "1"))
    assert not in_public_test(record("waimai_10k", "1", "00000015" + "0" * 8))
    assert not in_public_test(record("appstore_neg", "0"))
